//! SETTINGS (RFC 9113, 6.5): what we announce, and what the peer does.

use crate::frame::{self, SETTINGS, WINDOW_DEFAULT, WINDOW_MAX};
use crate::{Config, H2Abuse};

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// RFC 8441, 3.
const ENABLE_CONNECT_PROTOCOL: u16 = 8;
/// RFC 9218, 2.1.
const NO_RFC7540_PRIORITIES: u16 = 9;

/// What the peer announced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerSettings {
    /// Streams that it takes at a time.
    pub(crate) streams_max: u32,
    /// What the window of a new stream is.
    pub(crate) stream_window: u32,
    /// It takes extended CONNECT.
    pub(crate) extended_connect: bool,
}

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            streams_max: u32::MAX,
            stream_window: WINDOW_DEFAULT,
            extended_connect: false,
        }
    }
}

impl PeerSettings {
    /// Takes one frame's payload. `table` is told each size of the table for our encoder, in order.
    pub(crate) fn read(
        &mut self,
        payload: &[u8],
        of_client: bool,
        mut table: impl FnMut(u32),
    ) -> Result<(), H2Abuse> {
        for entry in payload.as_chunks::<6>().0 {
            let [i0, i1, v0, v1, v2, v3] = *entry;
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                HEADER_TABLE_SIZE => table(value),
                ENABLE_PUSH if value > u32::from(of_client) => return Err(H2Abuse::Protocol),
                MAX_CONCURRENT_STREAMS => self.streams_max = value,
                INITIAL_WINDOW_SIZE if value > WINDOW_MAX => return Err(H2Abuse::WindowSetting),
                INITIAL_WINDOW_SIZE => self.stream_window = value,
                MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(H2Abuse::Protocol);
                }
                ENABLE_CONNECT_PROTOCOL => {
                    // It may not be taken back.
                    if value > 1 || value == 0 && self.extended_connect {
                        return Err(H2Abuse::Protocol);
                    }
                    self.extended_connect = value == 1;
                }
                NO_RFC7540_PRIORITIES if value > 1 => return Err(H2Abuse::Protocol),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends the SETTINGS with which we begin, and the window of the connection.
pub(crate) fn announce(config: &Config, as_server: bool, out: &mut Vec<u8>) {
    let both = [
        (INITIAL_WINDOW_SIZE, config.stream_window_bytes),
        (MAX_HEADER_LIST_SIZE, config.header_list_bytes_max),
    ];
    let own: &[(u16, u32)] = match as_server {
        true => &[
            (MAX_CONCURRENT_STREAMS, config.streams_max),
            (ENABLE_CONNECT_PROTOCOL, 1),
            (NO_RFC7540_PRIORITIES, 1),
        ],
        false => &[(ENABLE_PUSH, 0)],
    };
    let mut payload = Vec::with_capacity(30);
    for (id, value) in both.iter().chain(own) {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame::write(out, SETTINGS, 0, 0, &payload);
    let more = config
        .connection_window_bytes
        .saturating_sub(WINDOW_DEFAULT);
    if more > 0 {
        frame::write_window(out, 0, more.min(WINDOW_MAX - WINDOW_DEFAULT));
    }
}
