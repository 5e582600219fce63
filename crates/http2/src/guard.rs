//! Counts what a client sends, and says when it is an attack.
//!
//! Every limit of the protocol is about what a peer may send at once; the known floods stay within all of them and
//! cost the receiver more than the sender. So the guard counts frames by kind over windows of time. What may be sent
//! at all is not its business but the connection's, which tells it of each frame.
//!
//! A window begins with the first frame that it counts after the one before is over, so that a burst of at most twice
//! a limit can pass. Many kinds of frame are answers to what we send (a PING for each DATA that comes is how gRPC
//! measures a path); for these the limit is on what is beyond it, which is why the guard is told of both directions.

mod ages;
mod block;
mod limits;
mod window;

pub use limits::{H2Abuse, H2GuardLimits};

use crate::ErrorCode;
use crate::frame::{PING, PRIORITY, PRIORITY_UPDATE, SETTINGS, WINDOW_UPDATE};
use ages::Ages;
use block::Block;
use window::Window;

/// Length of the window for WINDOW_UPDATE.
const SECOND_MS: u32 = 1000;
/// Bytes sent for which one WINDOW_UPDATE more is fair: readers that give back 4 KiB at a time, for the stream and for
/// the connection, send one for every 2 KiB. So are two for each frame that is not tiny.
const BYTES_PER_WINDOW_UPDATE: u32 = 1024;
/// DATA that we send is tiny below this: because the server sends so, or because the client opens its window byte by
/// byte (CVE-2019-9511).
const TINY_ANSWER_BYTES: u32 = 64;
/// How many times `resets_max` streams that are not young may be reset.
const OLD_RESETS: u32 = 20;

/// How we end a stream that the client broke.
const CLIENT_ERRORS: [ErrorCode; 4] = [
    ErrorCode::PROTOCOL_ERROR,
    ErrorCode::FLOW_CONTROL_ERROR,
    ErrorCode::STREAM_CLOSED,
    ErrorCode::FRAME_SIZE_ERROR,
];

/// Meters one connection. Time is milliseconds of any clock that does not go back. An error means that the connection
/// has to end; the guard is of no use then.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: H2GuardLimits,
    /// The latest time that was told.
    now_ms: u64,
    block: Option<Block>,
    resets: Window,
    old_resets: Window,
    error_resets: Window,
    pings: Window,
    settings: Window,
    priorities: Window,
    others: Window,
    empty_data: Window,
    small_data: Window,
    window_updates: Window,
    ages: Ages,
    /// Of two tiny answers one makes a WINDOW_UPDATE fair.
    tiny_answer_is_odd: bool,
}

impl Guard {
    /// A guard for a connection with a client that begins `now_ms`.
    pub(crate) fn new(limits: H2GuardLimits, now_ms: u64) -> Guard {
        let none = Window::new(now_ms as u32);
        Guard {
            limits,
            now_ms,
            block: None,
            resets: none,
            old_resets: none,
            error_resets: none,
            pings: none,
            settings: none,
            priorities: none,
            others: none,
            empty_data: none,
            small_data: none,
            window_updates: none,
            ages: Ages::new(now_ms as u32),
            tiny_answer_is_odd: false,
        }
    }

    /// A guard for a connection with a server, whose frames are not counted: of `limits` those for one header block hold.
    pub(crate) fn off(limits: H2GuardLimits) -> Guard {
        Guard::new(limits.for_blocks_only(), 0)
    }

    /// The low bits of the time.
    #[inline]
    fn at(&mut self, now_ms: u64) -> u32 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms as u32
    }

    /// A frame of `kind` begins (any but DATA, HEADERS, CONTINUATION and RST_STREAM, which have calls of their own).
    #[inline]
    pub(crate) fn control(&mut self, kind: u8, now_ms: u64) -> Result<(), H2Abuse> {
        let now = self.at(now_ms);
        let limits = &self.limits;
        let control_ms = limits.control_window_ms;
        let (window, length_ms, max, abuse) = match kind {
            WINDOW_UPDATE => (
                &mut self.window_updates,
                SECOND_MS,
                limits.window_updates_max,
                H2Abuse::WindowUpdateFlood,
            ),
            PING => (
                &mut self.pings,
                control_ms,
                limits.pings_max,
                H2Abuse::PingFlood,
            ),
            SETTINGS => (
                &mut self.settings,
                control_ms,
                limits.settings_max,
                H2Abuse::SettingsFlood,
            ),
            PRIORITY | PRIORITY_UPDATE => (
                &mut self.priorities,
                control_ms,
                limits.priorities_max,
                H2Abuse::PriorityFlood,
            ),
            _ => (
                &mut self.others,
                control_ms,
                limits.others_max,
                H2Abuse::OtherFlood,
            ),
        };
        window.hit(now, length_ms, max, abuse)
    }

    /// DATA with `content` bytes (without padding).
    #[inline]
    pub(crate) fn data(&mut self, content: u32, ends: bool, now_ms: u64) -> Result<(), H2Abuse> {
        let now = self.at(now_ms);
        let limits = &self.limits;
        let control_ms = limits.control_window_ms;
        let small = limits.small_data_bytes.max(1);
        if content >= small {
            self.small_data.allow(now, control_ms, content / small);
            return Ok(());
        }
        if ends {
            return Ok(());
        }
        let (window, max, abuse) = match content {
            0 => (
                &mut self.empty_data,
                limits.empty_data_max,
                H2Abuse::EmptyDataFlood,
            ),
            _ => (
                &mut self.small_data,
                limits.small_data_max,
                H2Abuse::SmallDataFlood,
            ),
        };
        window.hit(now, control_ms, max, abuse)
    }

    /// The client opened `stream`; `last` is the number of the one before. `ends`: no body follows.
    #[inline]
    pub(crate) fn opened(&mut self, stream: u32, last: u32, ends: bool, now_ms: u64) {
        debug_assert!(stream > last, "numbers of streams grow");
        let now = self.at(now_ms);
        let control_ms = self.limits.control_window_ms;
        self.ages.opened(last, now);
        self.priorities.allow(now, control_ms, 1);
        if !ends {
            self.empty_data.allow(now, control_ms, 1);
        }
    }

    /// The client reset a stream.
    pub(crate) fn was_reset(&mut self, stream: u32, now_ms: u64) -> Result<(), H2Abuse> {
        let now = self.at(now_ms);
        let old = self.ages.is_old(stream, now);
        self.count_reset(old, now)
    }

    /// The client reset a stream, or opened one beyond what we announced; `old` when that may happen more often.
    fn count_reset(&mut self, old: bool, now: u32) -> Result<(), H2Abuse> {
        let limits = &self.limits;
        let (window, max) = match old {
            true => (
                &mut self.old_resets,
                limits.resets_max.saturating_mul(OLD_RESETS),
            ),
            false => (&mut self.resets, limits.resets_max),
        };
        window.hit(now, limits.resets_window_ms, max, H2Abuse::RapidReset)
    }

    /// We reset a stream with `code`; `late` when that answers DATA that came after we had given the stream up.
    pub(crate) fn reset(&mut self, code: u32, late: bool, now_ms: u64) -> Result<(), H2Abuse> {
        let now = self.at(now_ms);
        match ErrorCode(code) {
            ErrorCode::REFUSED_STREAM => self.count_reset(false, now),
            // It was under way, and is nobody's fault.
            ErrorCode::STREAM_CLOSED if late => self.count_reset(true, now),
            code if CLIENT_ERRORS.contains(&code) => self.error_resets.hit(
                now,
                self.limits.resets_window_ms,
                self.limits.error_resets_max,
                H2Abuse::MadeYouReset,
            ),
            _ => Ok(()),
        }
    }

    /// We sent HEADERS.
    #[inline]
    pub(crate) fn sent_headers(&mut self, ends: bool, now_ms: u64) {
        self.sent(0, ends, now_ms);
    }

    /// We sent DATA with so many bytes.
    #[inline]
    pub(crate) fn sent_data(&mut self, bytes: u32, ends: bool, now_ms: u64) {
        let updates = self.updates_for(bytes);
        self.sent(updates, ends, now_ms);
    }

    /// We sent something for which so many WINDOW_UPDATE are fair.
    #[inline]
    fn sent(&mut self, updates: u32, ends: bool, now_ms: u64) {
        let now = self.at(now_ms);
        let control_ms = self.limits.control_window_ms;
        self.pings.allow(now, control_ms, 1);
        self.small_data.allow(now, control_ms, 1);
        self.window_updates.allow(now, SECOND_MS, updates);
        if ends {
            self.resets.allow(now, self.limits.resets_window_ms, 1);
        }
    }

    /// WINDOW_UPDATE that are fair for DATA that we sent.
    #[inline]
    fn updates_for(&mut self, bytes: u32) -> u32 {
        if bytes < TINY_ANSWER_BYTES {
            self.tiny_answer_is_odd = !self.tiny_answer_is_odd;
            return u32::from(self.tiny_answer_is_odd);
        }
        2 + bytes / BYTES_PER_WINDOW_UPDATE
    }

    /// HEADERS with a payload of `length` bytes begins.
    #[inline]
    pub(crate) fn block_begins(&mut self, length: u32, now_ms: u64) -> Result<(), H2Abuse> {
        self.at(now_ms);
        let block = Block::new(length, self.now_ms);
        self.block = Some(block);
        block.check(&self.limits)
    }

    /// CONTINUATION with a payload of `length` bytes begins.
    pub(crate) fn block_goes_on(&mut self, length: u32, now_ms: u64) -> Result<(), H2Abuse> {
        self.at(now_ms);
        // RFC 9113, 6.10.
        let block = self.block.as_mut().ok_or(H2Abuse::Protocol)?;
        block.go_on(length);
        block.check(&self.limits)
    }

    /// The last byte of a frame with END_HEADERS is here.
    #[inline]
    pub(crate) fn block_ends(&mut self) {
        self.block = None;
    }

    /// When the header block that is not whole yet began: one that stays open holds all other streams up, so it needs
    /// a deadline.
    pub(crate) fn block_since_ms(&self) -> Option<u64> {
        self.block.map(|block| block.since_ms)
    }
}

#[cfg(test)]
mod fair;
#[cfg(test)]
mod tests;
