//! Watches the frames of an HTTP/2 connection with a client and says when they are an attack.
//!
//! Every limit of the protocol is about what a peer may send at once; the known floods stay within all of them and
//! cost the receiver more than the sender. So the meter counts frames by kind over windows of time. It reads the
//! 9 bytes of each frame's head, of some the first bytes after it, header blocks and settings, and skips the rest. It
//! keeps state only for streams on which more than a head comes. The protocol is the HTTP/2 library's to check; the
//! meter checks what the library lets pass, or answers with another error code than RFC 9113 asks for.
//!
//! A window begins with the first frame that it counts after the one before is over, so that a burst of at most twice
//! a limit can pass. Many kinds of frame are answers to what we send (a PING for each DATA that comes is how gRPC
//! measures a path); for these the limit is on what is beyond it, which is why the meter sees both directions.

mod block;
mod hpack;
mod limits;
mod settings;
mod uploads;
mod walk;
mod window;

pub use limits::{H2Abuse, H2GuardLimits};

use block::HeaderBlocks;
use settings::Settings;
use uploads::{Late, Uploads};
use walk::{Frame, Step, Walk};
use window::Window;

/// Bytes of the preface with which a client begins (RFC 9113, 3.4).
const PREFACE_BYTES: u8 = 24;
/// Length of the window for WINDOW_UPDATE.
const SECOND_MS: u64 = 1000;
/// Bytes sent for which one WINDOW_UPDATE more is fair: readers that give back 4 KiB at a time, for the stream and for
/// the connection, send one for every 2 KiB. So are two for each frame that is not tiny.
const BYTES_PER_WINDOW_UPDATE: u64 = 1024;
/// DATA that we send is tiny below this: because the server sends so, or because the client opens its window byte by
/// byte (CVE-2019-9511).
const TINY_ANSWER_BYTES: u32 = 64;
/// A stream is young for one to two of these: that long a reset of it may be part of a rapid reset.
const YOUNG_MS: u64 = 1000;
/// How many times `resets_max` streams that are not young may be reset.
const OLD_RESETS: u32 = 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// RFC 9218, 7.1.
const PRIORITY_UPDATE: u8 = 16;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY_FLAG: u8 = 0x20;
const ACK: u8 = 1;

/// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR: how we end a stream that the client broke.
const CLIENT_ERRORS: [u32; 4] = [1, 3, 5, 6];
/// How we end a stream beyond the number that we announced.
const REFUSED_STREAM: u32 = 7;
const STREAM_CLOSED: u32 = 5;

/// Which streams are not young any more.
#[derive(Debug, Clone, Copy, Default)]
struct Ages {
    /// The last stream that is surely old.
    old: u32,
    /// The last stream at `marked_ms`.
    recent: u32,
    marked_ms: u64,
    last_opened_ms: u64,
}

impl Ages {
    /// A stream was opened; `last` is the one before it.
    fn opened(&mut self, last: u32, now_ms: u64) {
        if now_ms.saturating_sub(self.last_opened_ms) >= YOUNG_MS {
            (self.old, self.recent, self.marked_ms) = (last, last, now_ms);
        } else if now_ms.saturating_sub(self.marked_ms) >= YOUNG_MS {
            (self.old, self.recent, self.marked_ms) = (self.recent, last, now_ms);
        }
        self.last_opened_ms = now_ms;
    }

    fn is_old(&self, stream: u32, now_ms: u64) -> bool {
        let quiet = now_ms.saturating_sub(self.last_opened_ms) >= YOUNG_MS;
        stream <= self.old || quiet
    }
}

/// Meters one connection. Time is given by the caller, in milliseconds of any clock that does not go back.
#[derive(Debug, Clone)]
pub struct FrameMeter {
    limits: H2GuardLimits,
    received: Walk,
    sent: Walk,
    verdict: Option<H2Abuse>,
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
    tiny_answers: u64,
    blocks: HeaderBlocks,
    client_settings: Settings,
    uploads: Uploads,
    block_is_trailers: bool,
    last_stream: u32,
    ages: Ages,
    streams_opened: u64,
    bytes_received: u64,
    bytes_sent: u64,
    last_client_frame_ms: u64,
}

impl FrameMeter {
    /// A meter for a connection that begins `now_ms`. `preface` says whether the first bytes for
    /// [`FrameMeter::feed`] are the client's preface, which is skipped unread.
    pub fn new(limits: H2GuardLimits, preface: bool, now_ms: u64) -> FrameMeter {
        let none = Window::default();
        FrameMeter {
            limits,
            received: Walk::new(if preface { PREFACE_BYTES } else { 0 }),
            sent: Walk::new(0),
            verdict: None,
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
            tiny_answers: 0,
            blocks: HeaderBlocks::new(),
            client_settings: Settings::default(),
            uploads: Uploads::default(),
            block_is_trailers: false,
            last_stream: 0,
            ages: Ages::default(),
            streams_opened: 0,
            bytes_received: 0,
            bytes_sent: 0,
            last_client_frame_ms: now_ms,
        }
    }

    /// Takes bytes that came from the client, in any pieces. An abuse stays: every later call gives it again.
    pub fn feed(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), H2Abuse> {
        self.check()?;
        self.bytes_received += bytes.len() as u64;
        while let Some(step) = self.received.step(&mut bytes) {
            let done = match step {
                Step::Begin(frame) => {
                    self.last_client_frame_ms = now_ms;
                    self.client_frame(&frame, now_ms)
                }
                Step::Part(part) => self.client_part(part),
                Step::End => self.client_frame_end(),
            };
            self.judge(done)?;
        }
        Ok(())
    }

    /// Takes bytes that went to the client, in any pieces. Without it much of what a busy client has to send looks
    /// like a flood.
    pub fn feed_sent(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), H2Abuse> {
        self.check()?;
        self.bytes_sent += bytes.len() as u64;
        while let Some(step) = self.sent.step(&mut bytes) {
            if let Step::Begin(frame) = step {
                let done = self.our_frame(&frame, now_ms);
                self.judge(done)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn check(&self) -> Result<(), H2Abuse> {
        self.verdict.map_or(Ok(()), Err)
    }

    #[inline]
    fn judge(&mut self, done: Result<(), H2Abuse>) -> Result<(), H2Abuse> {
        self.verdict = done.err();
        done
    }

    fn client_frame(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = self.limits;
        let control_ms = limits.control_window_ms;
        check_length(frame, &limits)?;
        if frame.kind == CONTINUATION {
            return self.blocks.go_on(frame, now_ms, &limits);
        }
        if self.blocks.since_ms().is_some() {
            return Err(H2Abuse::Protocol);
        }
        match frame.kind {
            DATA => self.data(frame, now_ms),
            HEADERS => self.headers(frame, now_ms),
            PRIORITY | PRIORITY_UPDATE => self.priorities.hit(
                now_ms,
                control_ms,
                limits.priorities_max,
                H2Abuse::PriorityFlood,
            ),
            RST_STREAM => {
                self.uploads.reset(frame.stream);
                self.reset(now_ms, self.ages.is_old(frame.stream, now_ms))
            }
            SETTINGS => self.settings.hit(
                now_ms,
                control_ms,
                limits.settings_max,
                H2Abuse::SettingsFlood,
            ),
            PUSH_PROMISE => Err(H2Abuse::PushPromise),
            PING => self
                .pings
                .hit(now_ms, control_ms, limits.pings_max, H2Abuse::PingFlood),
            WINDOW_UPDATE => self.window_updates.hit(
                now_ms,
                SECOND_MS,
                limits.window_updates_max,
                H2Abuse::WindowUpdateFlood,
            ),
            _ => self
                .others
                .hit(now_ms, control_ms, limits.others_max, H2Abuse::OtherFlood),
        }
    }

    fn client_part(&mut self, part: &[u8]) -> Result<(), H2Abuse> {
        match self.received.kind() {
            SETTINGS => self.client_settings.feed(part),
            _ => self.blocks.feed(part),
        }
    }

    fn client_frame_end(&mut self) -> Result<(), H2Abuse> {
        if let Some(stream) = self.blocks.end_frame()?
            && self.block_is_trailers
        {
            self.uploads.set_malformed(stream);
        }
        Ok(())
    }

    /// The client reset a stream, or opened one beyond what we announced; `old` when that may happen more often.
    fn reset(&mut self, now_ms: u64, old: bool) -> Result<(), H2Abuse> {
        let limits = &self.limits;
        let (window, max) = match old {
            true => (
                &mut self.old_resets,
                limits.resets_max.saturating_mul(OLD_RESETS),
            ),
            false => (&mut self.resets, limits.resets_max),
        };
        window.hit(now_ms, limits.resets_window_ms, max, H2Abuse::RapidReset)
    }

    fn data(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = self.limits;
        let control_ms = limits.control_window_ms;
        let ends = frame.flags & END_STREAM != 0;
        if self.was_opened(frame.stream) {
            self.more(frame.stream, true, ends)?;
        }
        let small = limits.small_data_bytes;
        let content = frame.content().unwrap_or(0);
        if content >= small.max(1) {
            let credit = u64::from(content / small.max(1));
            self.small_data.allow(now_ms, control_ms, credit);
            return Ok(());
        }
        if ends {
            return Ok(());
        }
        if content == 0 {
            let max = limits.empty_data_max;
            self.empty_data
                .hit(now_ms, control_ms, max, H2Abuse::EmptyDataFlood)
        } else {
            let max = limits.small_data_max;
            self.small_data
                .hit(now_ms, control_ms, max, H2Abuse::SmallDataFlood)
        }
    }

    /// Whether the client has used the number for a stream; others are the library's to refuse.
    fn was_opened(&self, stream: u32) -> bool {
        stream % 2 == 1 && stream <= self.last_stream
    }

    fn more(&mut self, stream: u32, data: bool, ends: bool) -> Result<(), H2Abuse> {
        // A number that was skipped is another error, and the library's.
        let all = self.streams_opened == u64::from(self.last_stream).div_ceil(2);
        match self.uploads.more(stream, data, ends) {
            Late::Closed if all => Err(H2Abuse::ClosedStream),
            _ => Ok(()),
        }
    }

    fn headers(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let ends = frame.flags & END_STREAM != 0;
        self.block_is_trailers = self.was_opened(frame.stream);
        if self.block_is_trailers {
            self.more(frame.stream, false, ends)?;
        } else if frame.stream > self.last_stream {
            self.opened(frame.stream, ends, now_ms);
        }
        self.blocks.begin(frame, now_ms, &self.limits)
    }

    fn opened(&mut self, stream: u32, ends: bool, now_ms: u64) {
        let control_ms = self.limits.control_window_ms;
        self.ages.opened(self.last_stream, now_ms);
        self.last_stream = stream;
        self.streams_opened += 1;
        self.priorities.allow(now_ms, control_ms, 1);
        if !ends {
            self.uploads.open(stream);
            self.empty_data.allow(now_ms, control_ms, 1);
        }
    }

    fn our_frame(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = self.limits;
        let control_ms = limits.control_window_ms;
        match frame.kind {
            DATA | HEADERS => {
                self.pings.allow(now_ms, control_ms, 1);
                self.small_data.allow(now_ms, control_ms, 1);
                let updates = self.updates_for(frame);
                self.window_updates.allow(now_ms, SECOND_MS, updates);
                if frame.flags & END_STREAM != 0 {
                    self.resets.allow(now_ms, limits.resets_window_ms, 1);
                }
                Ok(())
            }
            RST_STREAM => {
                let given_up = self.uploads.give_up(frame.stream);
                match frame.error_code() {
                    REFUSED_STREAM => self.reset(now_ms, false),
                    // What was under way to a stream that the library has forgotten.
                    STREAM_CLOSED if given_up => self.reset(now_ms, true),
                    code if CLIENT_ERRORS.contains(&code) => self.error_resets.hit(
                        now_ms,
                        limits.resets_window_ms,
                        limits.error_resets_max,
                        H2Abuse::MadeYouReset,
                    ),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// WINDOW_UPDATE that are fair for a frame that we sent.
    fn updates_for(&mut self, frame: &Frame) -> u64 {
        if frame.kind != DATA {
            return 0;
        }
        if frame.length < TINY_ANSWER_BYTES {
            self.tiny_answers += 1;
            return self.tiny_answers % 2;
        }
        2 + u64::from(frame.length) / BYTES_PER_WINDOW_UPDATE
    }

    /// Frames of DATA of the stream were taken from the library.
    pub fn data_taken(&mut self, stream: u32, frames: u32) {
        self.uploads.take(stream, frames);
    }

    /// Nobody waits for more of the stream; what comes of it is thrown away.
    pub fn stream_over(&mut self, stream: u32) {
        self.uploads.give_up(stream);
    }

    /// Whether so much DATA waits to be taken that nothing should be read until some of it was
    /// ([`FrameMeter::data_taken`], [`FrameMeter::stream_over`]).
    pub fn is_full(&self) -> bool {
        self.uploads.unread() >= self.limits.unread_data_max
    }

    /// Whether so much DATA waits that little should be read at a time: a thousand frames fit into what is read
    /// otherwise.
    pub fn is_busy(&self) -> bool {
        self.uploads.unread() >= self.limits.unread_data_max / 4
    }

    /// Whether the trailers of a stream have pseudo-header fields, which the HTTP/2 library drops: such a request is
    /// malformed (RFC 9113, 8.1). Known from the end of the trailers until [`FrameMeter::stream_over`].
    pub fn has_malformed_trailers(&self, stream: u32) -> bool {
        self.uploads.is_malformed(stream)
    }

    /// What was found, if anything was.
    pub fn verdict(&self) -> Option<H2Abuse> {
        self.verdict
    }

    /// Streams that the client has opened.
    pub fn streams_opened(&self) -> u64 {
        self.streams_opened
    }

    /// Bytes from the client, with the preface.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Bytes to the client.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// When the head of the client's last frame was complete; before the first, when the connection began.
    pub fn last_client_frame_ms(&self) -> u64 {
        self.last_client_frame_ms
    }

    /// When the header block that is not whole yet began: one that stays open holds all other streams up, so it
    /// needs a deadline.
    pub fn header_block_since_ms(&self) -> Option<u64> {
        self.blocks.since_ms()
    }
}

/// The lengths that frames may have (RFC 9113, 4.2 and 6).
fn check_length(frame: &Frame, limits: &H2GuardLimits) -> Result<(), H2Abuse> {
    let length = frame.length;
    if length > limits.frame_bytes_max {
        return Err(H2Abuse::FrameTooLong);
    }
    let right = match frame.kind {
        DATA | HEADERS => !frame.is_cut(),
        PRIORITY => length == 5,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if frame.flags & ACK != 0 => length == 0,
        SETTINGS => length.is_multiple_of(6),
        PING => length == 8,
        GOAWAY => length >= 8,
        _ => true,
    };
    match right {
        true => Ok(()),
        false => Err(H2Abuse::FrameLength),
    }
}

#[cfg(test)]
mod breaches;
#[cfg(test)]
mod fair;
#[cfg(test)]
mod tests;
