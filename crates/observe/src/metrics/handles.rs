//! Typed handles through which a worker counts, and the guard that holds a gauge up.
//!
//! Invariant: a handle stays on the thread of its worker (it is neither `Send` nor `Sync`), so its
//! cells have one writer.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use keel_http2::H2Abuse;

use super::cell::Cell;
use super::histogram::Histogram;
use super::protect::ProtectCells;

/// Keeps a type on the thread that made it.
pub(crate) type StaysHere = PhantomData<*const ()>;

/// The class of a status code, a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusClass {
    /// No answer was given: the client went away, or the connection was closed without one.
    None,
    /// 100 to 199.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
}

impl StatusClass {
    /// All classes, in the order of their cells.
    pub const ALL: [StatusClass; 6] = [
        StatusClass::None,
        StatusClass::Informational,
        StatusClass::Success,
        StatusClass::Redirection,
        StatusClass::ClientError,
        StatusClass::ServerError,
    ];

    /// The class of a status code; anything outside 100 to 599 (0 for "no answer") is `None`.
    #[inline]
    pub const fn of(status: u16) -> StatusClass {
        match status / 100 {
            1 => StatusClass::Informational,
            2 => StatusClass::Success,
            3 => StatusClass::Redirection,
            4 => StatusClass::ClientError,
            5 => StatusClass::ServerError,
            _ => StatusClass::None,
        }
    }

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            StatusClass::None => "none",
            StatusClass::Informational => "1xx",
            StatusClass::Success => "2xx",
            StatusClass::Redirection => "3xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }
}

/// How a server failed a request, a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    /// No connection could be made.
    Connect,
    /// A deadline passed while connecting, sending or waiting.
    Timeout,
    /// The connection was closed or reset before the answer was whole.
    Reset,
    /// The answer broke the protocol.
    Protocol,
}

impl ErrorKind {
    /// All kinds, in the order of their cells.
    pub const ALL: [ErrorKind; 4] = [
        ErrorKind::Connect,
        ErrorKind::Timeout,
        ErrorKind::Reset,
        ErrorKind::Protocol,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Connect => "connect",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Reset => "reset",
            ErrorKind::Protocol => "protocol",
        }
    }
}

/// Why a client connection was not taken, a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// The limit on client connections was reached.
    Limit,
    /// The process is draining.
    Drain,
    /// Accepting failed for want of descriptors, memory or another resource.
    Resources,
    /// As many TLS handshakes were going on as may be.
    Handshakes,
    /// The client began TLS handshakes faster than it may.
    HandshakeRate,
}

impl RejectReason {
    /// All reasons, in the order of their cells.
    pub const ALL: [RejectReason; 5] = [
        RejectReason::Limit,
        RejectReason::Drain,
        RejectReason::Resources,
        RejectReason::Handshakes,
        RejectReason::HandshakeRate,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            RejectReason::Limit => "limit",
            RejectReason::Drain => "drain",
            RejectReason::Resources => "resources",
            RejectReason::Handshakes => "handshakes",
            RejectReason::HandshakeRate => "handshake_rate",
        }
    }
}

/// Requests of one worker over all routes, kept over reloads that drop routes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct TotalCells {
    pub(crate) requests: Cell,
    pub(crate) errors: Cell,
}

/// One worker's cells for one route.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct RouteCells {
    pub(crate) in_flight: Cell,
    pub(crate) requests: [Cell; 6],
    pub(crate) request_bytes: Cell,
    pub(crate) response_bytes: Cell,
    pub(crate) duration: Histogram,
}

/// One worker's cells for one server of a pool.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct ServerCells {
    pub(crate) in_flight: Cell,
    pub(crate) requests: [Cell; 6],
    pub(crate) request_bytes: Cell,
    pub(crate) response_bytes: Cell,
    pub(crate) reused: Cell,
    pub(crate) first_byte: Histogram,
    pub(crate) connect: Histogram,
    pub(crate) opened: Cell,
    pub(crate) retries: Cell,
    pub(crate) errors: [Cell; 4],
}

/// One worker's cells for one pool.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct PoolCells {
    pub(crate) unavailable: Cell,
    pub(crate) protect: ProtectCells,
}

/// One worker's cells for one listener.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct ListenerCells {
    pub(crate) open: Cell,
    pub(crate) accepted: Cell,
    pub(crate) rejected: [Cell; RejectReason::ALL.len()],
    pub(crate) requests: Cell,
    pub(crate) bad_requests: Cell,
    pub(crate) handshakes: [Cell; 2],
    pub(crate) http2_abuse: [Cell; H2Abuse::ALL.len()],
}

/// What one worker counts about one route.
#[derive(Debug)]
pub struct RouteMetrics {
    cells: Arc<RouteCells>,
    totals: Arc<TotalCells>,
    stays: StaysHere,
}

impl RouteMetrics {
    pub(crate) fn new(cells: Arc<RouteCells>, totals: Arc<TotalCells>) -> RouteMetrics {
        RouteMetrics {
            cells,
            totals,
            stays: PhantomData,
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    #[inline]
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.cells.in_flight.add(1);
        InFlight(Held::Route(Rc::clone(self)))
    }

    /// Counts a finished request: its status (0 when no answer was given) and the microseconds from
    /// the first byte of its head to the last byte of the answer. Call it once per request; it also
    /// feeds the process totals (a 5xx is an error there).
    #[inline]
    pub fn finish(&self, status: u16, total_us: u64) {
        let class = StatusClass::of(status);
        self.cells.requests[class as usize].add(1);
        self.cells.duration.record_us(total_us);
        self.totals.requests.add(1);
        self.totals
            .errors
            .add(u64::from(class == StatusClass::ServerError));
    }

    /// Counts bytes read from the client (head and body) and written to it. May be called several
    /// times for one request, so that long transfers show while they run.
    #[inline]
    pub fn bytes(&self, request: u64, response: u64) {
        self.cells.request_bytes.add(request);
        self.cells.response_bytes.add(response);
    }
}

/// What one worker counts about one server of a pool.
#[derive(Debug)]
pub struct ServerMetrics {
    cells: Arc<ServerCells>,
    stays: StaysHere,
}

impl ServerMetrics {
    pub(crate) fn new(cells: Arc<ServerCells>) -> ServerMetrics {
        ServerMetrics {
            cells,
            stays: PhantomData,
        }
    }

    /// Counts an attempt as in flight on this server until the guard is dropped.
    #[inline]
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.cells.in_flight.add(1);
        InFlight(Held::Server(Rc::clone(self)))
    }

    /// Counts a new connection and the microseconds that connecting took.
    #[inline]
    pub fn connected(&self, connect_us: u64) {
        self.cells.opened.add(1);
        self.cells.connect.record_us(connect_us);
    }

    /// Counts an attempt that went over a kept connection.
    #[inline]
    pub fn reused(&self) {
        self.cells.reused.add(1);
    }

    /// Counts an answer: its status, and the microseconds from the start of sending the request to
    /// the end of the answer's head.
    #[inline]
    pub fn answered(&self, status: u16, first_byte_us: u64) {
        self.cells.requests[StatusClass::of(status) as usize].add(1);
        self.cells.first_byte.record_us(first_byte_us);
    }

    /// Counts an attempt that ended without a usable answer (class `none`) and why. When it fails
    /// after its head was counted by [`answered`](Self::answered), use [`broken`](Self::broken).
    #[inline]
    pub fn failed(&self, kind: ErrorKind) {
        self.cells.requests[StatusClass::None as usize].add(1);
        self.broken(kind);
    }

    /// Counts an answer that failed after its head, such as a body that was cut off.
    #[inline]
    pub fn broken(&self, kind: ErrorKind) {
        self.cells.errors[kind as usize].add(1);
    }

    /// Counts an attempt on this server that was followed by another one, here or elsewhere.
    #[inline]
    pub fn retried(&self) {
        self.cells.retries.add(1);
    }

    /// Counts bytes written to the server and read from it.
    #[inline]
    pub fn bytes(&self, request: u64, response: u64) {
        self.cells.request_bytes.add(request);
        self.cells.response_bytes.add(response);
    }
}

/// What one worker counts about one pool as a whole.
#[derive(Debug)]
pub struct PoolMetrics {
    cells: Arc<PoolCells>,
    stays: StaysHere,
}

impl PoolMetrics {
    pub(crate) fn new(cells: Arc<PoolCells>) -> PoolMetrics {
        PoolMetrics {
            cells,
            stays: PhantomData,
        }
    }

    pub(crate) fn cells(&self) -> &PoolCells {
        &self.cells
    }

    /// Counts a request for which no server of the pool could be chosen.
    #[inline]
    pub fn unavailable(&self) {
        self.cells.unavailable.add(1);
    }
}

/// What one worker counts about one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    cells: Arc<ListenerCells>,
    stays: StaysHere,
}

impl ListenerMetrics {
    pub(crate) fn new(cells: Arc<ListenerCells>) -> ListenerMetrics {
        ListenerMetrics {
            cells,
            stays: PhantomData,
        }
    }

    /// Counts an accepted connection, and counts it as open until the guard is dropped.
    #[inline]
    pub fn accept(self: &Rc<Self>) -> InFlight {
        self.cells.accepted.add(1);
        self.cells.open.add(1);
        InFlight(Held::Listener(Rc::clone(self)))
    }

    /// Counts a connection that was not taken, and why.
    #[inline]
    pub fn rejected(&self, reason: RejectReason) {
        self.cells.rejected[reason as usize].add(1);
    }

    /// Counts a request whose head was read whole and well-formed.
    #[inline]
    pub fn request(&self) {
        self.cells.requests.add(1);
    }

    /// Counts a request that was refused before routing because its bytes broke the protocol or a
    /// limit.
    #[inline]
    pub fn bad_request(&self) {
        self.cells.bad_requests.add(1);
    }

    /// Counts a TLS handshake by its outcome.
    #[inline]
    pub fn handshake(&self, completed: bool) {
        self.cells.handshakes[usize::from(!completed)].add(1);
    }

    /// Counts an HTTP/2 connection that was ended for what its client did.
    #[inline]
    pub fn http2_abuse(&self, abuse: H2Abuse) {
        self.cells.http2_abuse[abuse.index()].add(1);
    }
}

/// Holds a gauge one higher until it is dropped. It stays on its worker's thread:
///
/// ```compile_fail
/// fn moves_to_another_thread<T: Send>() {}
/// moves_to_another_thread::<keel_observe::InFlight>();
/// ```
#[derive(Debug)]
#[must_use = "the gauge falls when the guard is dropped"]
pub struct InFlight(Held);

#[derive(Debug)]
enum Held {
    Route(Rc<RouteMetrics>),
    Server(Rc<ServerMetrics>),
    Listener(Rc<ListenerMetrics>),
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        match &self.0 {
            Held::Route(route) => route.cells.in_flight.sub(1),
            Held::Server(server) => server.cells.in_flight.sub(1),
            Held::Listener(listener) => listener.cells.open.sub(1),
        }
    }
}
