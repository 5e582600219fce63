//! HTTP/2: limits towards clients and towards servers.

use keel_config::model::{self, Http2, Listener, ServerHttp2};
use keel_http2::H2GuardLimits;
use keel_l7::{Http2Plan, ServerHttp2Plan, ServerProtocol};

use super::pools::ms;

/// What is announced to clients of a listener, and where abuse begins.
pub(super) fn clients(http2: &Http2, listener: &Listener) -> Http2Plan {
    let guard = H2GuardLimits::default();
    Http2Plan {
        streams_max: http2.streams,
        stream_window_bytes: http2.window,
        connection_window_bytes: http2.connection_window,
        header_list_bytes_max: u32::try_from(listener.limits.head).unwrap_or(u32::MAX),
        out_bytes_max: usize::try_from(http2.buffered).unwrap_or(usize::MAX),
        stall_timeout_ms: ms(http2.stall_timeout),
        guard: H2GuardLimits {
            resets_max: http2.resets,
            error_resets_max: http2.error_resets,
            pings_max: http2.pings,
            settings_max: http2.settings,
            continuations_max: http2.continuations,
            priorities_max: http2.priorities,
            empty_data_max: http2.empty_frames,
            small_data_max: http2.small_frames,
            window_updates_max: http2.window_updates,
            header_block_bytes_max: u32::try_from(listener.limits.head).unwrap_or(u32::MAX),
            ..guard
        },
    }
}

/// Limits towards the servers of a pool.
pub(super) fn servers(http2: &ServerHttp2) -> ServerHttp2Plan {
    let (every, timeout) = match &http2.ping {
        Some(ping) => (ms(ping.every), ms(ping.timeout)),
        None => (u64::MAX, u64::MAX),
    };
    ServerHttp2Plan {
        streams_max: http2.streams as usize,
        connections_max: http2.connections as usize,
        ping_every_ms: every,
        ping_timeout_ms: timeout,
        ..ServerHttp2Plan::default()
    }
}

/// What is spoken with the servers of a pool.
pub(super) fn protocol(protocol: model::ServerProtocol) -> ServerProtocol {
    match protocol {
        model::ServerProtocol::Http1 => ServerProtocol::Http1,
        model::ServerProtocol::Http2 => ServerProtocol::Http2,
        model::ServerProtocol::Auto => ServerProtocol::Auto,
    }
}
