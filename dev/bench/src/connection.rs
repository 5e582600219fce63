//! One client connection of the load generator.
//!
//! Writing → Head → Body, and again; a connection that fails is dead, because its run is void already.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::load::Tally;
use crate::wire::{self, Body};

/// An answer's head longer than this is a failure.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Shared {
    /// The proxy.
    pub target: SocketAddr,
    /// Requests; connection `i` begins with number `i` modulo their count and goes on to the next one each time.
    pub requests: Vec<Vec<u8>>,
    /// Bytes that every body must have.
    pub body_bytes: u64,
    /// A new connection for every request.
    pub reconnect: bool,
    /// Client addresses to spread connections over; 0 = the system's choice.
    pub client_addresses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The request is not written whole yet (or the connection not made).
    Writing,
    /// Waits for the end of the answer's head.
    Head,
    /// Waits for the rest of the body.
    Body,
    /// The answer is complete and the peer is to close the connection.
    Closing,
    /// Stays open without a request.
    Idle,
    /// Failed.
    Dead,
}

/// A client connection.
#[derive(Debug)]
pub struct Connection {
    index: usize,
    idle: bool,
    stream: TcpStream,
    state: State,
    carry: Vec<u8>,
    written: usize,
    status: u16,
    /// Bytes of the body still to come; `None` = it ends with the connection.
    body_left: Option<u64>,
    body_read: u64,
    started: Instant,
    answers: usize,
}

impl Connection {
    /// Begins to connect and sends the first request as soon as that is done. An `idle` one sends no second one until it
    /// is woken.
    pub fn open(
        index: usize,
        idle: bool,
        shared: &Shared,
        registry: &Registry,
    ) -> io::Result<Connection> {
        Connection::begin(index, idle, 0, shared, registry)
    }

    fn begin(
        index: usize,
        idle: bool,
        answers: usize,
        shared: &Shared,
        registry: &Registry,
    ) -> io::Result<Connection> {
        let started = Instant::now();
        let stream = connect(index, shared, registry)?;
        let mut connection = Connection {
            index,
            idle,
            stream,
            state: State::Writing,
            carry: Vec::new(),
            written: 0,
            status: 0,
            body_left: None,
            body_read: 0,
            started,
            answers,
        };
        // On loopback the connection is made by now, and its first event is not needed.
        connection.write(shared)?;
        Ok(connection)
    }

    /// Sends requests from now on.
    pub fn wake(&mut self, shared: &Shared, tally: &mut Tally) {
        self.idle = false;
        if self.state == State::Idle {
            self.written = 0;
            self.started = Instant::now();
            self.state = State::Writing;
            let written = self.write(shared);
            self.note(written, tally);
        }
    }

    /// At least one answer has come, or none will.
    pub fn is_settled(&self) -> bool {
        self.answers > 0 || self.state == State::Dead
    }

    /// Does what an event makes possible.
    pub fn advance(
        &mut self,
        event: &Event,
        shared: &Shared,
        registry: &Registry,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) {
        let done = match self.state {
            State::Dead => Ok(()),
            State::Writing => self.write(shared),
            _ => Ok(()),
        };
        let done = done.and_then(|()| {
            let wanted = !matches!(self.state, State::Dead | State::Writing);
            if wanted && (event.is_readable() || event.is_read_closed() || event.is_error()) {
                return self.read(event.is_read_closed(), shared, registry, buffer, tally);
            }
            Ok(())
        });
        self.note(done, tally);
    }

    fn note(&mut self, done: io::Result<()>, tally: &mut Tally) {
        if let Err(error) = done {
            self.state = State::Dead;
            tally.fail(|| format!("connection {}: {error}", self.index));
        }
    }

    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        let request = &shared.requests[(self.index + self.answers) % shared.requests.len()];
        while self.written < request.len() {
            match self.stream.write(&request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.state = State::Head;
        Ok(())
    }

    fn read(
        &mut self,
        read_closed: bool,
        shared: &Shared,
        registry: &Registry,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if count == 0 {
                return self.ended(shared, registry, tally);
            }
            self.take(&buffer[..count], shared, tally)?;
            if self.state == State::Writing {
                self.write(shared)?;
            }
            // A short read emptied the socket: more bytes raise another event, but the peer's end may not.
            if count < buffer.len() && !read_closed {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8], shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        match self.state {
            State::Head if self.carry.is_empty() => self.take_head(bytes, shared, tally),
            State::Head => {
                let mut all = std::mem::take(&mut self.carry);
                all.extend_from_slice(bytes);
                self.take_head(&all, shared, tally)
            }
            State::Body => self.take_body(bytes.len() as u64, shared, tally),
            State::Closing => Err(fault("bytes after the end of an answer")),
            State::Idle => Err(fault("bytes without a request")),
            State::Writing | State::Dead => Ok(()),
        }
    }

    fn take_head(&mut self, bytes: &[u8], shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        let head = wire::answer_head(bytes).map_err(|what| fault(&format!("{what:?}")))?;
        let Some(head) = head else {
            self.carry.extend_from_slice(bytes);
            let fits = self.carry.len() <= HEAD_BYTES_MAX;
            return if fits {
                Ok(())
            } else {
                Err(fault("the head does not end"))
            };
        };
        self.status = head.status;
        self.body_read = 0;
        self.body_left = match head.body {
            Body::Length(length) => Some(length),
            Body::UntilClose if shared.reconnect => None,
            Body::UntilClose => return Err(fault("the answer ends with the connection")),
        };
        let is_wrong = self
            .body_left
            .is_some_and(|length| length != shared.body_bytes);
        if is_wrong && (200..300).contains(&self.status) {
            return Err(fault("the body has a wrong length"));
        }
        self.state = State::Body;
        self.take_body((bytes.len() - head.len) as u64, shared, tally)
    }

    fn take_body(&mut self, count: u64, shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        self.body_read += count;
        let Some(left) = self.body_left else {
            return Ok(());
        };
        let left = left
            .checked_sub(count)
            .ok_or_else(|| fault("bytes after the end of an answer"))?;
        self.body_left = Some(left);
        if left == 0 {
            let now = self.complete(tally);
            self.state = if self.idle {
                State::Idle
            } else if shared.reconnect {
                State::Closing
            } else {
                self.written = 0;
                self.started = now;
                State::Writing
            };
        }
        Ok(())
    }

    fn complete(&mut self, tally: &mut Tally) -> Instant {
        let now = Instant::now();
        tally.answer(self.status, now - self.started);
        self.answers += 1;
        now
    }

    /// The peer has closed.
    fn ended(&mut self, shared: &Shared, registry: &Registry, tally: &mut Tally) -> io::Result<()> {
        match self.state {
            State::Closing => {}
            State::Body if self.body_left.is_none() && self.body_read == shared.body_bytes => {
                self.complete(tally);
            }
            State::Idle => return Err(fault("an idle connection was closed")),
            _ => return Err(fault("the connection was closed within an answer")),
        }
        *self = Connection::begin(self.index, self.idle, self.answers, shared, registry)?;
        Ok(())
    }
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn connect(index: usize, shared: &Shared, registry: &Registry) -> io::Result<TcpStream> {
    let mut stream = if shared.client_addresses == 0 {
        TcpStream::connect(shared.target)?
    } else {
        let last = 1 + (index % usize::from(shared.client_addresses)) as u8;
        connect_from(Ipv4Addr::new(127, 0, 1, last), shared.target)?
    };
    registry.register(
        &mut stream,
        Token(index),
        Interest::READABLE | Interest::WRITABLE,
    )?;
    Ok(stream)
}

fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&target.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
