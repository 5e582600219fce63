//! What can go wrong with a request, as data: whose fault it was, whether somebody else may be asked,
//! and what the client, the log and the metrics are told.
//!
//! [`Kind`] is the whole vocabulary. [`Kind::row`] is the one place that maps it; the reference page
//! of errors is printed from it.

use keel_http::HeadFault;
use keel_types::{Phase, Reason, Side, Termination};

/// Whether a request that failed may be sent to a server once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: an answer has begun, or the fault is not the server's.
    Never,
    /// Yes: the server has not seen a complete request.
    Always,
    /// Only when doing it twice does no harm (RFC 9110, 9.2.2), since the server may have acted.
    IfIdempotent,
}

/// What a retry of this failure is called in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is not tried again.
    Never,
    /// It is, whatever was chosen.
    Any,
    /// `error`: no connection, or it broke.
    Error,
    /// `refused`: the server saw nothing of the request.
    Refused,
    /// `timeout`, while connecting or sending.
    ConnectTimeout,
    /// `timeout`, while waiting for the answer.
    AnswerTimeout,
    /// `invalid`: the answer broke the protocol.
    Invalid,
}

impl Condition {
    /// The word of `retry.on`; empty when there is none.
    pub const fn word(self) -> &'static str {
        match self {
            Condition::Never | Condition::Any => "",
            Condition::Error => "error",
            Condition::Refused => "refused",
            Condition::ConnectTimeout | Condition::AnswerTimeout => "timeout",
            Condition::Invalid => "invalid",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The head of the request breaks the protocol or a limit.
    BadHead(HeadFault),
    /// The head of the request did not come in time.
    HeadTimeout,
    /// The body of the request breaks the protocol.
    BadBody,
    /// The body of the request is longer than the route allows.
    BodyTooLarge,
    /// The body of the request did not come in time, or too slowly.
    BodyTimeout,
    /// The client went away before the request was complete.
    ClientGone,
    /// The client takes nothing of the answer.
    ClientStalled,
    /// The client went away before the answer was complete.
    ClientAborted,
    /// No route matches.
    NoRoute,
    /// No server of the pool may be chosen.
    NoServer,
    /// All servers of the pool have as many requests as they may have.
    AllFull,
    /// The circuit breaker of the pool is open, or those of all its servers are.
    BreakerOpen,
    /// The pool has as many requests or connections as it may have, or as it can serve well.
    PoolLimit,
    /// As many requests wait for a server as may, or a more urgent one took this one's place.
    QueueFull,
    /// No server was free for as long as a request may wait.
    QueueTimeout,
    /// The process has as many requests as it may have, or is short of memory.
    Shed,
    /// The server's name does not resolve.
    Unresolved,
    /// The server could not be connected to.
    ConnectFailed,
    /// The connect took too long.
    ConnectTimeout,
    /// The TLS handshake with the server failed, or its certificate is not the one expected.
    HandshakeFailed,
    /// We have no descriptor or port left to connect with.
    Exhausted,
    /// Sending the request failed with nothing of the request sent.
    SendRefused,
    /// Sending the request failed midway.
    SendFailed,
    /// The server takes nothing of the request.
    SendTimeout,
    /// The server closed before it answered.
    NoAnswer,
    /// The server reset the stream of HTTP/2 before it answered.
    StreamReset,
    /// The server did not answer in time.
    AnswerTimeout,
    /// The time that the client gave its call of gRPC is over.
    DeadlinePassed,
    /// The server speaks HTTP/2 and takes no WebSockets over it.
    NoUpgrade,
    /// The head of the answer breaks the protocol or a limit.
    BadAnswer(HeadFault),
    /// The body of the answer breaks the protocol.
    BadAnswerBody,
    /// The server closed before the end of the answer.
    AnswerCut,
    /// The server stalled in the middle of the answer.
    AnswerStalled,
    /// Nothing went through a tunnel for long.
    TunnelIdle,
    /// The time limit of draining is over.
    DrainTimeout,
    /// The server was drained with a time limit, and that is over.
    ServerDrained,
    /// A fault of ours.
    Internal,
}

/// What a [`Kind`] means to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Status of the answer; also the logged one when no answer could be sent.
    pub status: u16,
    /// Value of `X-Error`.
    pub name: &'static str,
    /// The text of the answer; tells nothing of the inside.
    pub text: &'static str,
    /// Who failed.
    pub side: Side,
    /// Why.
    pub reason: Reason,
    /// In which phase.
    pub phase: Phase,
    /// Whether another server may be asked.
    pub retry: Retry,
    /// What that is called in the configuration.
    pub condition: Condition,
    /// Whether the client's connection may go on after the answer. Not when the bytes of the client
    /// are in doubt: what follows them could be anything.
    pub keeps_connection: bool,
}

impl Row {
    /// The termination code of the log.
    pub fn termination(&self) -> Termination {
        Termination {
            side: self.side,
            reason: self.reason,
            phase: self.phase,
        }
    }
}

const BAD_REQUEST: (u16, &str, &str) = (400, "Bad-Request", "Bad request");
const REQUEST_TIMEOUT: (u16, &str, &str) = (408, "Request-Timeout", "Request timeout");
const GONE: (u16, &str, &str) = (499, "Client-Closed-Request", "Client closed request");
const UNAVAILABLE: (u16, &str, &str) =
    (503, "No-Healthy-Backends", "No healthy backends available");
const BACKEND: (u16, &str, &str) = (502, "Backend-Unavailable", "Backend error");
const TOO_LARGE: (u16, &str, &str) = (413, "Body-Too-Large", "Request body too large");
const NO_ROUTE: (u16, &str, &str) = (404, "No-Route", "No matching route found");
const FULL: (u16, &str, &str) = (503, "All-Backends-Full", "All backends are at their limit");
const POOL_FULL: (u16, &str, &str) = (503, "Pool-Limit", "Too many requests at a time");
const QUEUE_FULL: (u16, &str, &str) = (503, "Queue-Full", "Too many requests are waiting");
const QUEUE_TIMEOUT: (u16, &str, &str) = (503, "Queue-Timeout", "No backend became free in time");
const BROKEN: (u16, &str, &str) = (503, "Circuit-Open", "Service temporarily unavailable");
const OVERLOADED: (u16, &str, &str) = (503, "Overloaded", "Service overloaded");
const DRAINING: (u16, &str, &str) = (503, "Draining", "Service is shutting down");
const INTERNAL: (u16, &str, &str) = (500, "Internal-Error", "Internal server error");
const TIMEOUT: (u16, &str, &str) = (504, "Backend-Timeout", "Backend timeout");

impl Kind {
    /// Every kind once, for the reference and for tests.
    pub const ALL: [Kind; 37] = [
        Kind::BadHead(HeadFault::RequestLine),
        Kind::HeadTimeout,
        Kind::BadBody,
        Kind::BodyTooLarge,
        Kind::BodyTimeout,
        Kind::ClientGone,
        Kind::ClientStalled,
        Kind::ClientAborted,
        Kind::NoRoute,
        Kind::NoServer,
        Kind::AllFull,
        Kind::BreakerOpen,
        Kind::PoolLimit,
        Kind::QueueFull,
        Kind::QueueTimeout,
        Kind::Shed,
        Kind::Unresolved,
        Kind::ConnectFailed,
        Kind::ConnectTimeout,
        Kind::HandshakeFailed,
        Kind::Exhausted,
        Kind::SendRefused,
        Kind::SendFailed,
        Kind::SendTimeout,
        Kind::NoAnswer,
        Kind::StreamReset,
        Kind::AnswerTimeout,
        Kind::DeadlinePassed,
        Kind::NoUpgrade,
        Kind::BadAnswer(HeadFault::RequestLine),
        Kind::BadAnswerBody,
        Kind::AnswerCut,
        Kind::AnswerStalled,
        Kind::TunnelIdle,
        Kind::DrainTimeout,
        Kind::ServerDrained,
        Kind::Internal,
    ];

    /// What this kind means to the client, the log, the metrics and the next server.
    pub fn row(self) -> Row {
        use Phase::*;
        use Reason::*;
        use Retry::*;
        use Side::{Client, Proxy, Server};
        let (answer, side, reason, phase, retry) = match self {
            Kind::BadHead(fault) => (head_fault(fault), Client, Protocol, Normalise, Never),
            Kind::HeadTimeout => (REQUEST_TIMEOUT, Client, Timeout, ReadHead, Never),
            Kind::BadBody => (BAD_REQUEST, Client, Protocol, Send, Never),
            Kind::BodyTooLarge => (TOO_LARGE, Client, Limit, Limits, Never),
            Kind::BodyTimeout => (REQUEST_TIMEOUT, Client, Timeout, Send, Never),
            Kind::ClientGone => (GONE, Client, Abort, Send, Never),
            Kind::ClientStalled => (GONE, Client, Timeout, Body, Never),
            Kind::ClientAborted => (GONE, Client, Abort, Body, Never),
            Kind::NoRoute => (NO_ROUTE, Proxy, Unavailable, Route, Never),
            Kind::NoServer => (UNAVAILABLE, Proxy, Unavailable, Select, Never),
            Kind::AllFull => (FULL, Proxy, Limit, Select, Never),
            Kind::BreakerOpen => (BROKEN, Proxy, Unavailable, Select, Never),
            Kind::PoolLimit => (POOL_FULL, Proxy, Limit, Select, Never),
            Kind::QueueFull => (QUEUE_FULL, Proxy, Limit, Select, Never),
            Kind::QueueTimeout => (QUEUE_TIMEOUT, Proxy, Timeout, Select, Never),
            Kind::Shed => (OVERLOADED, Proxy, Limit, Limits, Never),
            Kind::Unresolved => (UNAVAILABLE, Server, Unavailable, Connect, Always),
            Kind::ConnectFailed => (BACKEND, Server, Unavailable, Connect, Always),
            Kind::ConnectTimeout => (TIMEOUT, Server, Timeout, Connect, Always),
            Kind::HandshakeFailed => (BACKEND, Server, Protocol, Connect, Always),
            Kind::Exhausted => (OVERLOADED, Proxy, Limit, Connect, Never),
            Kind::SendRefused => (BACKEND, Server, Abort, Send, Always),
            Kind::SendFailed => (BACKEND, Server, Abort, Send, IfIdempotent),
            Kind::SendTimeout => (TIMEOUT, Server, Timeout, Send, IfIdempotent),
            Kind::NoAnswer | Kind::StreamReset => {
                (BACKEND, Server, Abort, ResponseHead, IfIdempotent)
            }
            Kind::AnswerTimeout => (TIMEOUT, Server, Timeout, ResponseHead, IfIdempotent),
            // What a client may ask of any server as often as it likes counts against none.
            Kind::DeadlinePassed => (TIMEOUT, Proxy, Timeout, ResponseHead, Never),
            Kind::NoUpgrade => (BACKEND, Proxy, Unavailable, Connect, Never),
            Kind::BadAnswer(_) => (BACKEND, Server, Protocol, ResponseHead, IfIdempotent),
            Kind::BadAnswerBody => (BACKEND, Server, Protocol, Body, Never),
            Kind::AnswerCut => (BACKEND, Server, Abort, Body, Never),
            Kind::AnswerStalled => (TIMEOUT, Server, Timeout, Body, Never),
            Kind::TunnelIdle => (TIMEOUT, Proxy, Timeout, Tunnel, Never),
            Kind::DrainTimeout => (DRAINING, Proxy, Drain, Body, Never),
            Kind::ServerDrained => (UNAVAILABLE, Server, Drain, ResponseHead, IfIdempotent),
            Kind::Internal => (INTERNAL, Proxy, Internal, Route, Never),
        };
        let (status, name, text) = answer;
        Row {
            status,
            name,
            text,
            side,
            reason,
            phase,
            retry,
            condition: self.condition(),
            keeps_connection: side != Client && reason != Drain,
        }
    }

    fn condition(self) -> Condition {
        match self {
            Kind::Unresolved
            | Kind::HandshakeFailed
            | Kind::SendFailed
            | Kind::NoAnswer
            | Kind::StreamReset => Condition::Error,
            Kind::ConnectFailed | Kind::SendRefused => Condition::Refused,
            Kind::ConnectTimeout | Kind::SendTimeout => Condition::ConnectTimeout,
            Kind::AnswerTimeout => Condition::AnswerTimeout,
            Kind::BadAnswer(_) => Condition::Invalid,
            Kind::ServerDrained => Condition::Any,
            _ => Condition::Never,
        }
    }

    /// Whether the head of a request is malformed, as opposed to too large or asking for too much: a
    /// stream of HTTP/2 is reset for it (RFC 9113, 8.1.1).
    pub fn is_malformed(self) -> bool {
        matches!(self, Kind::BadHead(fault) if fault.status() == 400)
    }

    /// Whether the fault counts against the server (`max_fails`).
    pub fn blames_server(self) -> bool {
        let row = self.row();
        row.side == Side::Server && row.reason != Reason::Drain
    }
}

/// What a server did, in words, for the log and the status.
pub fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Unresolved => "its name does not resolve",
        Kind::ConnectFailed => "no connection",
        Kind::ConnectTimeout => "no connection in time",
        Kind::HandshakeFailed => "no TLS handshake",
        Kind::SendRefused => "it refused the request",
        Kind::SendFailed => "the connection ended while the request was sent",
        Kind::SendTimeout => "it took nothing of the request in time",
        Kind::NoAnswer => "the connection ended before an answer",
        Kind::StreamReset => "the stream was reset before an answer",
        Kind::AnswerTimeout => "no answer in time",
        Kind::BadAnswer(_) => "its answer breaks the protocol",
        _ => "its answer broke off",
    }
}

fn head_fault(fault: HeadFault) -> (u16, &'static str, &'static str) {
    match fault.status() {
        413 => (413, "Body-Too-Large", "Request body too large"),
        414 => (414, "Target-Too-Long", "Request target too long"),
        417 => (417, "Expectation-Failed", "Expectation failed"),
        431 => (431, "Head-Too-Large", "Request header fields too large"),
        501 => (501, "Not-Implemented", "Not implemented"),
        505 => (505, "Version-Not-Supported", "HTTP version not supported"),
        405 => (405, "Method-Not-Allowed", "Method not allowed"),
        _ => BAD_REQUEST,
    }
}

/// The table of errors as Markdown, for the reference.
pub fn reference() -> String {
    let mut out = String::from(
        "| kind | status | X-Error | text | code in the log | tried again with |\n\
         |---|---|---|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let row = kind.row();
        let safe = match row.retry {
            Retry::Never => "no",
            Retry::Always => "",
            Retry::IfIdempotent => "when the method is idempotent",
        };
        let word = row.condition.word();
        let retry = match (row.condition, safe) {
            (Condition::Never, _) | (Condition::Any, _) => safe.to_owned(),
            (_, "") => format!("`{word}`"),
            _ => format!("`{word}`, {safe}"),
        };
        let label = format!("{kind:?}");
        let label = label.split('(').next().unwrap_or_default();
        out.push_str(&format!(
            "| {label} | {} | `{}` | {} | `{}` | {retry} |\n",
            row.status,
            row.name,
            row.text,
            row.termination()
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_sources_are_kept() {
        let told = |kind: Kind| {
            let row = kind.row();
            (row.status, row.name, row.text)
        };
        assert_eq!(
            told(Kind::NoRoute),
            (404, "No-Route", "No matching route found")
        );
        assert_eq!(
            told(Kind::NoServer),
            (503, "No-Healthy-Backends", "No healthy backends available")
        );
        assert_eq!(told(Kind::ConnectFailed).1, "Backend-Unavailable");
        assert_eq!(told(Kind::AnswerTimeout).0, 504);
        assert_eq!(
            told(Kind::Internal),
            (500, "Internal-Error", "Internal server error")
        );
    }

    #[test]
    fn only_faults_of_servers_are_tried_elsewhere() {
        for kind in Kind::ALL {
            if kind.row().retry != Retry::Never {
                assert_eq!(kind.row().side, Side::Server, "{kind:?}");
            }
        }
    }

    #[test]
    fn every_kind_is_in_the_reference() {
        assert_eq!(reference().lines().count(), Kind::ALL.len() + 2);
    }
}
