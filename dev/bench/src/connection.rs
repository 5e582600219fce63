//! One HTTP/1.1 connection of the load generator.
//!
//! Writing → Head → Body, and again; a connection that fails is dead, because its run is void already.

use std::io;
use std::time::Instant;

use mio::Registry;
use mio::event::Event;

use crate::load::Tally;
use crate::transport::{Received, Target, Transport};
use crate::wire::{self, Body};

/// An answer's head longer than this is a failure.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Shared {
    /// The proxy.
    pub target: Target,
    /// Requests; connection `i` begins with number `i` modulo their count and goes on to the next one each time.
    pub requests: Vec<Vec<u8>>,
    /// Bytes that every body must have.
    pub body_bytes: u64,
    /// A new connection for every request.
    pub reconnect: bool,
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
    transport: Transport,
    exchange: Exchange,
}

/// The requests and answers on a connection.
#[derive(Debug)]
struct Exchange {
    index: usize,
    idle: bool,
    state: State,
    carry: Vec<u8>,
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
        let mut connection = Connection {
            transport: Transport::open(index, &shared.target, registry)?,
            exchange: Exchange {
                index,
                idle,
                state: State::Writing,
                carry: Vec::new(),
                status: 0,
                body_left: None,
                body_read: 0,
                started,
                answers,
            },
        };
        connection.write(shared)?;
        Ok(connection)
    }

    /// Sends requests from now on.
    pub fn wake(&mut self, shared: &Shared, tally: &mut Tally) {
        self.exchange.idle = false;
        if self.exchange.state == State::Idle {
            self.exchange.started = Instant::now();
            self.exchange.state = State::Writing;
            let written = self.write(shared);
            self.note(written, tally);
        }
    }

    /// At least one answer has come, or none will.
    pub fn is_settled(&self) -> bool {
        self.exchange.answers > 0 || self.exchange.state == State::Dead
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
        if self.exchange.state == State::Dead {
            return;
        }
        let done = self.transport.flush().and_then(|()| {
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                return self.read(event.is_read_closed(), shared, registry, buffer, tally);
            }
            Ok(())
        });
        self.note(done, tally);
    }

    fn note(&mut self, done: io::Result<()>, tally: &mut Tally) {
        if let Err(error) = done {
            self.exchange.state = State::Dead;
            tally.fail(|| format!("connection {}: {error}", self.exchange.index));
        }
    }

    /// Sends the next request when it is time for one.
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        let exchange = &mut self.exchange;
        if exchange.state != State::Writing || !self.transport.is_open() {
            return Ok(());
        }
        let number = (exchange.index + exchange.answers) % shared.requests.len();
        exchange.state = State::Head;
        self.transport.send(&shared.requests[number])
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
            let exchange = &mut self.exchange;
            let take = |bytes: &[u8]| exchange.take(bytes, shared, tally);
            let received = self.transport.receive(buffer, take)?;
            match received {
                Received::Blocked => return Ok(()),
                Received::Ended => return self.ended(shared, registry, tally),
                Received::Drained | Received::More => self.write(shared)?,
            }
            // An emptied socket: more bytes raise another event, but the peer's end may not.
            if received == Received::Drained && !read_closed {
                return Ok(());
            }
        }
    }

    /// The peer has closed.
    fn ended(&mut self, shared: &Shared, registry: &Registry, tally: &mut Tally) -> io::Result<()> {
        self.exchange.ended(shared, tally)?;
        let Exchange {
            index,
            idle,
            answers,
            ..
        } = self.exchange;
        *self = Connection::begin(index, idle, answers, shared, registry)?;
        Ok(())
    }
}

impl Exchange {
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
            State::Writing => Err(fault("bytes without a request")),
            State::Dead => Ok(()),
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

    /// The peer has closed: fails unless that was to be.
    fn ended(&mut self, shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        match self.state {
            State::Closing => Ok(()),
            State::Body if self.body_left.is_none() && self.body_read == shared.body_bytes => {
                self.complete(tally);
                Ok(())
            }
            State::Idle => Err(fault("an idle connection was closed")),
            State::Writing => Err(fault("the connection was closed before a request")),
            _ => Err(fault("the connection was closed within an answer")),
        }
    }
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
