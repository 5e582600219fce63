//! Watches the frames of an HTTP/2 connection with a client and says when they are an attack.
//!
//! Every limit of the protocol is about what a peer may send at once; the known floods stay within all of them and
//! cost the receiver more than the sender. So the meter counts frames by kind over windows of time. It reads the
//! 9 bytes of each frame's head and of some the first bytes after it, and skips the rest; it allocates nothing and
//! keeps no state for a stream. It does not check the protocol, which the HTTP/2 library does.
//!
//! A window begins with the first frame that it counts after the one before is over, so that a burst of at most twice
//! a limit can pass. Many kinds of frame are answers to what we send (a PING for each DATA that comes is how gRPC
//! measures a path); for these the limit is on what is beyond it, which is why the meter sees both directions.

mod limits;
mod walk;

pub use limits::{H2Abuse, H2GuardLimits};

use walk::{Frame, Step, Walk};

/// Bytes of the preface with which a client begins (RFC 9113, 3.4).
const PREFACE_BYTES: u8 = 24;
/// Length of the window for WINDOW_UPDATE.
const SECOND_MS: u64 = 1000;
/// Bytes sent for which one WINDOW_UPDATE more is fair: readers that give back 4 KiB at a time, for the stream and for
/// the connection, send one for every 2 KiB.
const BYTES_PER_WINDOW_UPDATE: u64 = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// RFC 9218, 7.1.
const PRIORITY_UPDATE: u8 = 16;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR: how we end a stream that the client broke.
const CLIENT_ERRORS: [u32; 4] = [1, 3, 5, 6];
/// How we end a stream beyond the number that we announced.
const REFUSED_STREAM: u32 = 7;

/// Counts events over a window of time.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    start_ms: u64,
    count: u64,
    /// Events that are fair in this window beyond the limit.
    credit: u64,
}

impl Window {
    #[inline]
    fn turn(&mut self, now_ms: u64, length_ms: u64) {
        if now_ms.saturating_sub(self.start_ms) >= length_ms {
            *self = Window {
                start_ms: now_ms,
                ..Window::default()
            };
        }
    }

    /// Counts one event; an error when it is one too many.
    #[inline]
    fn hit(
        &mut self,
        now_ms: u64,
        length_ms: u64,
        max: u32,
        abuse: H2Abuse,
    ) -> Result<(), H2Abuse> {
        self.turn(now_ms, length_ms);
        self.count += 1;
        if self.count > u64::from(max).saturating_add(self.credit) {
            Err(abuse)
        } else {
            Ok(())
        }
    }

    #[inline]
    fn allow(&mut self, now_ms: u64, length_ms: u64, credit: u64) {
        self.turn(now_ms, length_ms);
        self.credit = self.credit.saturating_add(credit);
    }
}

/// A header block that is being received.
#[derive(Debug, Clone, Copy)]
struct Block {
    since_ms: u64,
    bytes: u32,
    continuations: u32,
    empty: u32,
    /// Whether the frame that is being received is the last one.
    last: bool,
}

/// Meters one connection. Time is given by the caller, in milliseconds of any clock that does not go back.
#[derive(Debug, Clone)]
pub struct FrameMeter {
    limits: H2GuardLimits,
    received: Walk,
    sent: Walk,
    verdict: Option<H2Abuse>,
    resets: Window,
    error_resets: Window,
    pings: Window,
    settings: Window,
    priorities: Window,
    others: Window,
    empty_data: Window,
    small_data: Window,
    window_updates: Window,
    block: Option<Block>,
    last_stream: u32,
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
            error_resets: none,
            pings: none,
            settings: none,
            priorities: none,
            others: none,
            empty_data: none,
            small_data: none,
            window_updates: none,
            block: None,
            last_stream: 0,
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
                Step::End => {
                    self.block.take_if(|block| block.last);
                    Ok(())
                }
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
        if frame.length > limits.frame_bytes_max {
            return Err(H2Abuse::FrameTooLong);
        }
        if frame.kind == CONTINUATION {
            return self.continuation(frame, now_ms);
        }
        // Any other frame within a block is the library's to refuse; here the block is over.
        self.block = None;
        match frame.kind {
            DATA => self.data(frame, now_ms),
            HEADERS => self.headers(frame, now_ms),
            PRIORITY | PRIORITY_UPDATE => self.priorities.hit(
                now_ms,
                control_ms,
                limits.priorities_max,
                H2Abuse::PriorityFlood,
            ),
            RST_STREAM => self.reset(now_ms),
            SETTINGS => self.settings.hit(
                now_ms,
                control_ms,
                limits.settings_max,
                H2Abuse::SettingsFlood,
            ),
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

    fn reset(&mut self, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = &self.limits;
        self.resets.hit(
            now_ms,
            limits.resets_window_ms,
            limits.resets_max,
            H2Abuse::RapidReset,
        )
    }

    fn data(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = &self.limits;
        let control_ms = limits.control_window_ms;
        let small = limits.small_data_bytes;
        let content = frame.content();
        if content >= small.max(1) {
            let credit = u64::from(content / small.max(1));
            self.small_data.allow(now_ms, control_ms, credit);
            return Ok(());
        }
        if frame.flags & END_STREAM != 0 {
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

    fn headers(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        if frame.stream > self.last_stream {
            self.last_stream = frame.stream;
            self.streams_opened += 1;
            let control_ms = self.limits.control_window_ms;
            self.priorities.allow(now_ms, control_ms, 1);
        }
        let block = Block {
            since_ms: now_ms,
            bytes: frame.length,
            continuations: 0,
            empty: 0,
            last: frame.flags & END_HEADERS != 0,
        };
        self.block = Some(block);
        self.check_block(&block)
    }

    fn continuation(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let mut block = self.block.unwrap_or(Block {
            since_ms: now_ms,
            bytes: 0,
            continuations: 0,
            empty: 0,
            last: false,
        });
        block.bytes = block.bytes.saturating_add(frame.length);
        block.continuations += 1;
        block.empty += u32::from(frame.length == 0);
        block.last = frame.flags & END_HEADERS != 0;
        self.block = Some(block);
        self.check_block(&block)
    }

    fn check_block(&self, block: &Block) -> Result<(), H2Abuse> {
        if block.continuations > self.limits.continuations_max {
            Err(H2Abuse::ContinuationFlood)
        } else if block.empty > self.limits.empty_continuations_max {
            Err(H2Abuse::EmptyContinuation)
        } else if block.bytes > self.limits.header_block_bytes_max {
            Err(H2Abuse::HeaderBlockTooLong)
        } else {
            Ok(())
        }
    }

    fn our_frame(&mut self, frame: &Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let limits = self.limits;
        let control_ms = limits.control_window_ms;
        match frame.kind {
            DATA | HEADERS => {
                self.pings.allow(now_ms, control_ms, 1);
                self.small_data.allow(now_ms, control_ms, 1);
                let updates = u64::from(frame.length) / BYTES_PER_WINDOW_UPDATE;
                self.window_updates.allow(now_ms, SECOND_MS, updates);
                if frame.flags & END_STREAM != 0 {
                    self.resets.allow(now_ms, limits.resets_window_ms, 1);
                }
                Ok(())
            }
            RST_STREAM if frame.error_code() == REFUSED_STREAM => self.reset(now_ms),
            RST_STREAM if CLIENT_ERRORS.contains(&frame.error_code()) => self.error_resets.hit(
                now_ms,
                limits.resets_window_ms,
                limits.error_resets_max,
                H2Abuse::MadeYouReset,
            ),
            _ => Ok(()),
        }
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
        self.block.map(|block| block.since_ms)
    }
}

#[cfg(test)]
mod tests;
