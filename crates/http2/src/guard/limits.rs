//! What the frames of a client may cost, and the names of what it does too much of.

use thiserror::Error;

/// What the frames of a client may cost. Windows are shorter than 24 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H2GuardLimits {
    /// RST_STREAM from the client within about a second of opening the stream, and streams that we refuse, in
    /// `resets_window_ms`, beyond the number of streams that we answered to their end in it. Of older streams the
    /// client may reset 20 times as many: each has cost it a place among those that run. Default 200, so a rapid reset
    /// ends after at most 400.
    pub resets_max: u32,
    /// RST_STREAM that we send because the client broke the rules of a stream ("made you reset"), in
    /// `resets_window_ms`. Default 50.
    pub error_resets_max: u32,
    /// Milliseconds. Default 30000.
    pub resets_window_ms: u32,
    /// PING, in `control_window_ms`, beyond the number of HEADERS and DATA that we sent in it. Default 100.
    pub pings_max: u32,
    /// SETTINGS, in `control_window_ms`. Default 32.
    pub settings_max: u32,
    /// PRIORITY and PRIORITY_UPDATE, in `control_window_ms`, beyond the number of streams opened in it. Default 500.
    pub priorities_max: u32,
    /// Frames of all other kinds, known or not, in `control_window_ms`. Default 10000.
    pub others_max: u32,
    /// DATA without content or END_STREAM, in `control_window_ms`, beyond one for each stream that has a body (some
    /// clients send one before trailers). Default 100.
    pub empty_data_max: u32,
    /// DATA with content of fewer than `small_data_bytes`, without END_STREAM, in `control_window_ms`, beyond one for
    /// each `small_data_bytes` of larger DATA and one for each HEADERS or DATA that we sent in it. Little messages cost
    /// no more memory than their bytes; this only ends what no program that says something does. Default 100000.
    pub small_data_max: u32,
    /// Bytes under which DATA is small. Default 16.
    pub small_data_bytes: u32,
    /// Milliseconds. Default 10000.
    pub control_window_ms: u32,
    /// WINDOW_UPDATE in a second, beyond one for each KiB and two for each DATA that we sent in it (half a one for DATA
    /// of fewer than 64 bytes). Default 10000.
    pub window_updates_max: u32,
    /// CONTINUATION of one header block. Default 10.
    pub continuations_max: u32,
    /// Empty CONTINUATION of one header block. Default 1.
    pub empty_continuations_max: u32,
    /// Bytes of one header block, compressed, with padding. Default 65536.
    pub header_block_bytes_max: u32,
}

impl Default for H2GuardLimits {
    fn default() -> H2GuardLimits {
        H2GuardLimits {
            resets_max: 200,
            error_resets_max: 50,
            resets_window_ms: 30_000,
            pings_max: 100,
            settings_max: 32,
            priorities_max: 500,
            others_max: 10_000,
            empty_data_max: 100,
            small_data_max: 100_000,
            small_data_bytes: 16,
            control_window_ms: 10_000,
            window_updates_max: 10_000,
            continuations_max: 10,
            empty_continuations_max: 1,
            header_block_bytes_max: 65536,
        }
    }
}

impl H2GuardLimits {
    /// The same for one header block; of all else nothing is too much.
    pub(super) fn for_blocks_only(self) -> H2GuardLimits {
        H2GuardLimits {
            resets_max: u32::MAX,
            error_resets_max: u32::MAX,
            pings_max: u32::MAX,
            settings_max: u32::MAX,
            priorities_max: u32::MAX,
            others_max: u32::MAX,
            empty_data_max: u32::MAX,
            small_data_max: u32::MAX,
            window_updates_max: u32::MAX,
            ..self
        }
    }
}

/// What a client did too much of, or so wrong that the connection has to end. The answer is GOAWAY with
/// [`H2Abuse::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum H2Abuse {
    /// Streams opened and reset at once (CVE-2023-44487).
    #[error("the client resets too many streams")]
    RapidReset,
    /// Streams that the client makes us reset (CVE-2025-8671).
    #[error("the client makes us reset too many streams")]
    MadeYouReset,
    /// PING flood (CVE-2019-9512).
    #[error("the client sends too many PING frames")]
    PingFlood,
    /// SETTINGS flood (CVE-2019-9515).
    #[error("the client sends too many SETTINGS frames")]
    SettingsFlood,
    /// Shuffling of priorities (CVE-2019-9513).
    #[error("the client sends too many priority frames")]
    PriorityFlood,
    /// Frames of other kinds.
    #[error("the client sends too many frames of other kinds")]
    OtherFlood,
    /// Empty frames (CVE-2019-9518).
    #[error("the client sends too many empty DATA frames")]
    EmptyDataFlood,
    /// Much framing for little data (CVE-2019-9511 is its mirror).
    #[error("the client sends too many tiny DATA frames")]
    SmallDataFlood,
    /// WINDOW_UPDATE flood.
    #[error("the client sends too many WINDOW_UPDATE frames")]
    WindowUpdateFlood,
    /// CONTINUATION flood (CVE-2024-27316).
    #[error("a header block has too many CONTINUATION frames")]
    ContinuationFlood,
    /// The same with empty frames.
    #[error("a header block has empty CONTINUATION frames")]
    EmptyContinuation,
    /// A header block without end.
    #[error("a header block is too long")]
    HeaderBlockTooLong,
    /// A frame longer than we announced (RFC 9113, 4.2).
    #[error("a frame is longer than announced")]
    FrameTooLong,
    /// A frame whose length is not that of its kind (RFC 9113, 6).
    #[error("a frame has not the length of its kind")]
    FrameLength,
    /// DATA or HEADERS on a stream that the client had ended (RFC 9113, 5.1).
    #[error("a frame came on a stream that the client had ended")]
    ClosedStream,
    /// SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 (RFC 9113, 6.5.2).
    #[error("a setting asks for a window above 2^31-1 bytes")]
    WindowSetting,
    /// More DATA than the window, or a window above 2^31-1 bytes (RFC 9113, 6.9).
    #[error("a window was overrun")]
    FlowControl,
    /// PUSH_PROMISE, which only servers send (RFC 9113, 8.4).
    #[error("a client sent PUSH_PROMISE")]
    PushPromise,
    /// A header block that cannot be read (RFC 9113, 4.3).
    #[error("a header block cannot be read")]
    Compression,
    /// A frame within a header block (RFC 9113, 6.10), and every other breach with PROTOCOL_ERROR.
    #[error("the client broke the protocol")]
    Protocol,
}

impl H2Abuse {
    /// Every kind, for metrics that begin at zero.
    pub const ALL: [H2Abuse; 20] = [
        H2Abuse::RapidReset,
        H2Abuse::MadeYouReset,
        H2Abuse::PingFlood,
        H2Abuse::SettingsFlood,
        H2Abuse::PriorityFlood,
        H2Abuse::OtherFlood,
        H2Abuse::EmptyDataFlood,
        H2Abuse::SmallDataFlood,
        H2Abuse::WindowUpdateFlood,
        H2Abuse::ContinuationFlood,
        H2Abuse::EmptyContinuation,
        H2Abuse::HeaderBlockTooLong,
        H2Abuse::FrameTooLong,
        H2Abuse::FrameLength,
        H2Abuse::ClosedStream,
        H2Abuse::WindowSetting,
        H2Abuse::FlowControl,
        H2Abuse::PushPromise,
        H2Abuse::Compression,
        H2Abuse::Protocol,
    ];

    /// The name in metrics and logs. Stable.
    pub const fn name(self) -> &'static str {
        match self {
            H2Abuse::RapidReset => "rapid_reset",
            H2Abuse::MadeYouReset => "made_you_reset",
            H2Abuse::PingFlood => "ping_flood",
            H2Abuse::SettingsFlood => "settings_flood",
            H2Abuse::PriorityFlood => "priority_flood",
            H2Abuse::OtherFlood => "other_flood",
            H2Abuse::EmptyDataFlood => "empty_data_flood",
            H2Abuse::SmallDataFlood => "small_data_flood",
            H2Abuse::WindowUpdateFlood => "window_update_flood",
            H2Abuse::ContinuationFlood => "continuation_flood",
            H2Abuse::EmptyContinuation => "empty_continuation",
            H2Abuse::HeaderBlockTooLong => "header_block_too_long",
            H2Abuse::FrameTooLong => "frame_too_long",
            H2Abuse::FrameLength => "frame_length",
            H2Abuse::ClosedStream => "closed_stream",
            H2Abuse::WindowSetting => "window_setting",
            H2Abuse::FlowControl => "flow_control",
            H2Abuse::PushPromise => "push_promise",
            H2Abuse::Compression => "compression",
            H2Abuse::Protocol => "protocol",
        }
    }

    /// Its place in [`H2Abuse::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it is too much of what may be, and not a breach of the protocol.
    pub const fn is_flood(self) -> bool {
        self.code() == 11
    }

    /// The error code for GOAWAY (RFC 9113, 7).
    pub const fn code(self) -> u32 {
        match self {
            H2Abuse::PushPromise | H2Abuse::Protocol => 1,
            H2Abuse::WindowSetting | H2Abuse::FlowControl => 3,
            H2Abuse::ClosedStream => 5,
            H2Abuse::FrameTooLong | H2Abuse::FrameLength => 6,
            H2Abuse::Compression => 9,
            _ => 11,
        }
    }
}
