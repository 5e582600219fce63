//! The state of one exchange, reused from request to request on a busy connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::grpc::Call;
use crate::link::Link;
use crate::protect::{Admission, Taken};
use crate::relay::Relay;
use crate::sticky::Bound;
use keel_http::{
    BodyLength, HeadScan, NormalRequest, RequestFraming, RequestHead, ResponseFraming, ResponseHead,
};
use keel_net::{Buf, BufPool};
use keel_observe::InFlight;
use keel_types::{PoolId, RouteId, Termination};

/// The framing before a head was judged: nothing may follow on the connection.
pub const NO_FRAMING: RequestFraming = RequestFraming {
    body: BodyLength::Empty,
    keep_alive: false,
    expect_continue: false,
    upgrade: false,
    te_trailers: false,
    nominates: false,
};

/// Servers that one request may be tried on.
pub const TRIES_CEILING: usize = 16;

/// What the log and the metrics are told about a request. Times are in microseconds of the worker's
/// clock.
#[derive(Debug)]
pub struct Record {
    /// When the head was complete.
    pub start_us: u64,
    /// How long the last connect took; `None` on a reused connection.
    pub connect_us: Option<u64>,
    /// When the request began to go to the server.
    pub sent_us: u64,
    /// When the head of the answer was there.
    pub answered_us: u64,
    /// When all was over.
    pub end_us: u64,
    /// Status sent to the client, 0 for none.
    pub status: u16,
    /// Status that the failure would have, where the client is told it in another way (gRPC); 0 for
    /// none.
    pub failed_as: u16,
    /// Status that the server answered, 0 for none.
    pub server_status: u16,
    /// Bytes sent to the client, heads and framing included.
    pub bytes_sent: u64,
    /// Bytes of body sent to the client.
    pub body_bytes_sent: u64,
    /// Bytes read from the client, the head included.
    pub bytes_received: u64,
    /// Bytes sent to the server.
    pub server_bytes_sent: u64,
    /// Bytes of head and body read from the server.
    pub server_bytes_received: u64,
    /// The client's address, after trusted proxies.
    pub client_ip: IpAddr,
    /// The route.
    pub route: RouteId,
    /// The pool.
    pub pool: Option<PoolId>,
    /// Position of the server in its pool.
    pub server: Option<usize>,
    /// The address of the server.
    pub server_address: Option<SocketAddr>,
    /// Attempts after the first.
    pub retries: u32,
    /// How it stands to the server that its client is bound to.
    pub bound: Bound,
    /// What a refusal of ours says in `Retry-After`, in seconds; 0 for nothing.
    pub retry_after_s: u32,
    /// How it ended.
    pub termination: Termination,
    /// The head could not be read: there is no method, no target.
    pub bad_head: bool,
    /// `X-Request-ID`, 0 bytes when there is none.
    pub request_id: [u8; 64],
    /// Length of `request_id`.
    pub request_id_len: u8,
}

impl Default for Record {
    fn default() -> Record {
        Record {
            start_us: 0,
            connect_us: None,
            sent_us: 0,
            answered_us: 0,
            end_us: 0,
            status: 0,
            failed_as: 0,
            server_status: 0,
            bytes_sent: 0,
            body_bytes_sent: 0,
            bytes_received: 0,
            server_bytes_sent: 0,
            server_bytes_received: 0,
            client_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            route: RouteId(0),
            pool: None,
            server: None,
            server_address: None,
            retries: 0,
            bound: Bound::Anew,
            retry_after_s: 0,
            termination: Termination::DONE,
            bad_head: false,
            request_id: [0; 64],
            request_id_len: 0,
        }
    }
}

impl Record {
    /// The request's id.
    pub fn request_id(&self) -> &[u8] {
        self.request_id
            .get(..usize::from(self.request_id_len))
            .unwrap_or(&[])
    }
}

/// The server that an exchange runs with, and what it holds there.
#[derive(Debug)]
pub struct Attempt {
    /// The way to it.
    pub link: Link,
    /// Position of the server in its pool.
    pub server: usize,
    /// Counts it in the metrics.
    pub in_flight: InFlight,
    /// Bytes that were sent to the server before its answer's head, counted already.
    pub sent_bytes: u64,
    /// Set when the request went on to another server after this answer.
    pub detached: Option<Detached>,
    /// The request's place at the server.
    pub taken: Taken,
    /// What the request holds of the pool. Behind the place at the server: whoever waits is told when
    /// both are free.
    pub admission: Option<Admission>,
}

/// What became of a request that went on to another server after an answer that is given all the
/// same.
#[derive(Debug, Clone, Copy)]
pub struct Detached {
    /// All of it went out before the answer, so that the connection may go on.
    pub whole: bool,
    /// Bytes of it that this server got.
    pub sent_bytes: u64,
}

/// One exchange: a request, its answer, and both directions between them.
#[derive(Debug)]
pub struct Exchange {
    /// The head of the request.
    pub head: RequestHead,
    /// Its bytes.
    pub head_buf: Buf,
    /// What the head says about the message.
    pub framing: RequestFraming,
    /// The request as routing sees it.
    pub normal: NormalRequest,
    /// The head of the answer.
    pub answer: ResponseHead,
    /// What it says about the message.
    pub answer_framing: ResponseFraming,
    /// Bytes from the server, the head first.
    pub answer_buf: Buf,
    /// How far the answer's head has been looked at.
    pub answer_scan: HeadScan,
    /// A copy of the answer's head, when a log asks for its fields.
    pub answer_copy: Vec<u8>,
    /// A copy of the head that went to the client, when a log asks for its fields.
    pub sent_copy: Vec<u8>,
    /// Client to server.
    pub up: Relay,
    /// Server to client.
    pub down: Relay,
    /// What is special about it when it is a call of gRPC.
    pub call: Option<Call>,
    /// The key that we asked a server of HTTP/1.1 for a WebSocket with.
    pub websocket_key: Option<Box<[u8; 24]>>,
    /// For log and metrics.
    pub record: Record,
}

impl Exchange {
    /// An exchange with nothing in it.
    pub fn new() -> Exchange {
        Exchange {
            head: RequestHead::new(),
            head_buf: Buf::default(),
            framing: NO_FRAMING,
            normal: NormalRequest::new(),
            answer: ResponseHead::new(),
            answer_framing: ResponseFraming {
                body: BodyLength::Empty,
                keep_alive: false,
                switching: false,
                nominates: false,
                declared_length: None,
            },
            answer_buf: Buf::default(),
            answer_scan: HeadScan::new(),
            answer_copy: Vec::new(),
            sent_copy: Vec::new(),
            up: Relay::default(),
            down: Relay::default(),
            call: None,
            websocket_key: None,
            record: Record::default(),
        }
    }

    /// Takes the head that was just parsed out of the connection's input: its bytes stay as they are
    /// until the exchange ends, what follows them goes on in a buffer of its own.
    pub fn take_head(&mut self, bufs: &BufPool, input: &mut Buf) {
        let rest = input.filled().get(self.head.len..).unwrap_or(&[]);
        let mut next = Buf::default();
        if !rest.is_empty() {
            next = bufs.take(rest.len());
            next.append(rest);
        }
        bufs.give(&mut self.head_buf);
        self.head_buf = std::mem::replace(input, next);
        self.head_buf.truncate(self.head.len);
    }

    /// Gives back everything that is only needed while a request runs.
    pub fn clear(&mut self, bufs: &BufPool) {
        bufs.give(&mut self.head_buf);
        bufs.give(&mut self.answer_buf);
        self.up.release(bufs);
        self.down.release(bufs);
        self.answer_copy.clear();
        self.sent_copy.clear();
    }

    /// Changes the answer for that of another exchange. What was sent of the request is not part of it.
    pub fn swap_answers(&mut self, other: &mut Exchange) {
        std::mem::swap(&mut self.answer, &mut other.answer);
        std::mem::swap(&mut self.answer_framing, &mut other.answer_framing);
        std::mem::swap(&mut self.answer_buf, &mut other.answer_buf);
        std::mem::swap(&mut self.answer_scan, &mut other.answer_scan);
        std::mem::swap(&mut self.websocket_key, &mut other.websocket_key);
    }

    /// The head's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.head_buf.filled()
    }
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange::new()
    }
}
