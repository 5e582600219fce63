//! HTTP/2: limits towards clients and towards servers.

use keel_config::model::{self, Http2, Listener, ServerHttp2};
use keel_http2::H2GuardLimits;
use keel_l7::{Http2Plan, ServerHttp2Plan, ServerProtocol};

use super::pools::ms;

/// Streams that were reset before we came to look at them; each is memory that nobody waits for.
const PENDING_RESETS_MAX: u32 = 50;

/// The library counts resets for breaches over the life of a connection, the meter over 30 s but only when they are
/// sent. So the library's limit is for a client that reads nothing.
const UNSENT_RESETS: usize = 20;

/// What is announced to clients of a listener, and where abuse begins.
pub(super) fn clients(http2: &Http2, listener: &Listener) -> Http2Plan {
    let guard = H2GuardLimits::default();
    Http2Plan {
        streams_max: http2.streams,
        stream_window_bytes: http2.window,
        connection_window_bytes: http2.connection_window,
        header_list_bytes_max: u32::try_from(listener.limits.head).unwrap_or(u32::MAX),
        send_buffer_bytes: per_stream(http2),
        pending_resets_max: http2.resets.min(PENDING_RESETS_MAX) as usize,
        local_resets_max: (http2.error_resets as usize).saturating_mul(UNSENT_RESETS),
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

/// A stream's share of what may wait for a client.
fn per_stream(http2: &Http2) -> usize {
    /// Less would be a frame at a time.
    const LEAST: u64 = 16 << 10;
    /// More fills no faster network.
    const MOST: u64 = 256 << 10;

    let share = http2.buffered / u64::from(http2.streams.max(1));
    share.clamp(LEAST, MOST) as usize
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
