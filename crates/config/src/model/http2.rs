//! HTTP/2 towards clients and towards servers.

use std::time::Duration;

use crate::words::words;

/// Limits of HTTP/2 towards clients. Counts are of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at a time; default 128.
    pub streams: u32,
    /// Bytes of a stream's initial window; default 256 KiB.
    pub window: u32,
    /// Bytes of the connection's window; default 1 MiB.
    pub connection_window: u32,
    /// Bytes of answers that wait to be written to the client, from which on streams wait; default 64 KiB.
    pub buffered: u64,
    /// Streams reset by the client in 30 s, beyond those that ran to their end; default 200.
    pub resets: u32,
    /// Streams reset by us for a fault of the client in 30 s; default 50.
    pub error_resets: u32,
    /// PING frames in 10 s, beyond the frames of answers; default 100.
    pub pings: u32,
    /// SETTINGS frames in 10 s; default 32.
    pub settings: u32,
    /// Frames of priorities in 10 s, beyond the streams that were opened; default 500.
    pub priorities: u32,
    /// CONTINUATION frames of one head; default 10.
    pub continuations: u32,
    /// DATA frames in 10 s that hold nothing and end nothing; default 100.
    pub empty_frames: u32,
    /// DATA frames of fewer than 16 bytes in 10 s, beyond what other traffic accounts for; default 1000.
    pub small_frames: u32,
    /// WINDOW_UPDATE frames in 1 s, beyond one for each KiB that was sent; default 10,000.
    pub window_updates: u32,
    /// How long an answer may wait for a stream's window; default 15 s.
    pub stall_timeout: Duration,
}

words! {
    /// What is spoken with servers.
    ServerProtocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2: by ALPN with `tls`, with prior knowledge (h2c) without.
        Http2 = "http2",
        /// What the server chooses in the TLS handshake (ALPN), HTTP/2 if it can.
        Auto = "auto",
    }
}

/// Pings to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Silence before one is sent; default 30 s.
    pub every: Duration,
    /// How long its answer may take; default 10 s.
    pub timeout: Duration,
}

/// HTTP/2 towards servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHttp2 {
    /// Streams of one connection at a time; default 100.
    pub streams: u32,
    /// Connections of each worker to each server; default 8.
    pub connections: u32,
    /// `None` = off.
    pub ping: Option<Ping>,
}
