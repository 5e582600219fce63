//! How a request ended: who ended it, why, and in which phase. Three letters in the access log.

/// The phases of a request, in the order in which the driver walks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The connection was accepted; nothing has been read yet.
    Accept,
    /// Waiting for, or reading, the head of a request.
    ReadHead,
    /// Reading the bytes into a normal request; strictness lives here.
    Normalise,
    /// Looking for the route.
    Route,
    /// Applying limits of the route (body size and the like).
    Limits,
    /// Choosing a server.
    Select,
    /// Connecting to the server.
    Connect,
    /// Sending the request to the server.
    Send,
    /// Waiting for the head of the answer.
    ResponseHead,
    /// Passing the body of the answer on.
    Body,
    /// Passing bytes both ways after an upgrade.
    Tunnel,
    /// Done.
    Finish,
}

impl Phase {
    /// The letter of this phase in a termination code.
    pub const fn letter(self) -> char {
        match self {
            Phase::Accept => 'A',
            Phase::ReadHead => 'H',
            Phase::Normalise => 'N',
            Phase::Route => 'R',
            Phase::Limits => 'L',
            Phase::Select => 'Q',
            Phase::Connect => 'C',
            Phase::Send => 'S',
            Phase::ResponseHead => 'W',
            Phase::Body => 'B',
            Phase::Tunnel => 'T',
            Phase::Finish => '-',
        }
    }
}

/// Who ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Nobody: it ran to its end.
    Nobody,
    /// The client.
    Client,
    /// The backend server.
    Server,
    /// The proxy itself.
    Proxy,
}

impl Side {
    /// The letter of this side in a termination code.
    pub const fn letter(self) -> char {
        match self {
            Side::Nobody => '-',
            Side::Client => 'C',
            Side::Server => 'S',
            Side::Proxy => 'P',
        }
    }
}

/// Why a request ended before its natural end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It ended naturally.
    Done,
    /// A deadline passed.
    Timeout,
    /// The connection was closed or reset.
    Abort,
    /// The bytes broke the protocol.
    Protocol,
    /// A limit was reached.
    Limit,
    /// Nothing was there to serve it (no route, no server, connection refused).
    Unavailable,
    /// The configuration answered (redirect, fixed answer).
    Answered,
    /// The process is draining.
    Drain,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// The letter of this reason in a termination code.
    pub const fn letter(self) -> char {
        match self {
            Reason::Done => '-',
            Reason::Timeout => 'T',
            Reason::Abort => 'A',
            Reason::Protocol => 'P',
            Reason::Limit => 'L',
            Reason::Unavailable => 'U',
            Reason::Answered => 'R',
            Reason::Drain => 'D',
            Reason::Internal => 'I',
        }
    }
}

/// Who ended a request, why, and in which phase; written as three letters, `---` when all went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Termination {
    /// Who ended it.
    pub side: Side,
    /// Why.
    pub reason: Reason,
    /// In which phase.
    pub phase: Phase,
}

impl Termination {
    /// A request that ran to its end.
    pub const DONE: Termination = Termination {
        side: Side::Nobody,
        reason: Reason::Done,
        phase: Phase::Finish,
    };

    /// The three letters: side, reason, phase.
    pub const fn code(self) -> [u8; 3] {
        [
            self.side.letter() as u8,
            self.reason.letter() as u8,
            self.phase.letter() as u8,
        ]
    }
}

impl std::fmt::Display for Termination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [side, reason, phase] = self.code();
        write!(f, "{}{}{}", side as char, reason as char, phase as char)
    }
}
