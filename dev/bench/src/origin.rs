//! The origins behind the proxies: any number of listening addresses served by one thread, in a process of its own.
//!
//! One epoll set, edge-triggered; answers are prepared once and written in one call where the socket takes them. The
//! process ends when its standard input does, and writes its counters when a line arrives there.

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use memchr::memmem;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document};
use crate::wire;

/// Bytes of the one read buffer.
const READ_BYTES: usize = 64 << 10;
/// Events taken at a time.
const EVENTS_MAX: usize = 1024;
/// A head longer than this ends the connection.
const HEAD_BYTES_MAX: usize = 256 << 10;
/// Pending connections per listener; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// What the origins have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginCounts {
    /// Requests answered.
    pub requests: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Requests without an X-Forwarded-For: the proxy does less work than it should.
    pub unforwarded: u64,
    /// Connections given up for a request that the origin cannot read.
    pub refused: u64,
}

/// Counters with one writer.
#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    connections: AtomicU64,
    unforwarded: AtomicU64,
    refused: AtomicU64,
}

fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    fn counts(&self) -> OriginCounts {
        OriginCounts {
            requests: self.requests.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            unforwarded: self.unforwarded.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The `origin` command: prints the addresses as one line of JSON, then serves until standard input ends.
pub fn serve(servers: usize) -> Result<()> {
    let mut origin = Origin::bind(servers)?;
    let addresses = origin.addresses()?;
    println!("{}", serde_json::to_string(&addresses)?);
    let counters = Arc::clone(&origin.counters);
    thread::spawn(move || answer_questions(&counters));
    origin.run()
}

/// One line of counters for each line read; ends the process when its parent is gone.
fn answer_questions(counters: &Counters) {
    for line in io::stdin().lock().lines() {
        let told = line
            .ok()
            .and_then(|_| serde_json::to_string(&counters.counts()).ok());
        match told {
            Some(text) => println!("{text}"),
            None => break,
        }
    }
    std::process::exit(0);
}

/// An answer on its way: which one, and how much of it was written.
#[derive(Debug)]
struct Pending {
    answer: Arc<[u8]>,
    written: usize,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Bytes of an unfinished head.
    carry: Vec<u8>,
    /// Bytes of a request body still to come.
    body_left: u64,
    pending: Option<Pending>,
}

/// What became of a connection after some work on it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait,
    Close,
}

struct Origin {
    poll: Poll,
    listeners: Vec<TcpListener>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: Answers,
    counters: Arc<Counters>,
}

struct Answers {
    documents: Vec<(&'static [u8], Arc<[u8]>)>,
}

impl Answers {
    fn prepare() -> Answers {
        let entry = |d: Document| (d.name().as_bytes(), Arc::from(d.answer()));
        Answers {
            documents: Document::ALL.map(entry).to_vec(),
        }
    }

    /// The answer to a head: the document named by the last segment of its path, or, for `head`, the head itself.
    fn to(&self, head: &[u8]) -> Option<Arc<[u8]>> {
        let line = &head[..memchr::memchr(b'\r', head)?];
        let target = line.split(|b| *b == b' ').nth(1)?;
        let path = &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
        let last = &path[memchr::memrchr(b'/', path)? + 1..];
        if last == b"head" {
            return Some(Arc::from(document::answer("text/plain", head)));
        }
        let found = self.documents.iter().find(|(name, _)| *name == last);
        found.map(|(_, answer)| Arc::clone(answer))
    }
}

impl Origin {
    fn bind(servers: usize) -> Result<Origin> {
        let poll = Poll::new().context("cannot make an epoll set")?;
        let mut listeners = Vec::with_capacity(servers);
        for index in 0..servers {
            let mut listener = listen().context("cannot listen on a free port")?;
            poll.registry()
                .register(&mut listener, Token(index), Interest::READABLE)?;
            listeners.push(listener);
        }
        Ok(Origin {
            poll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            answers: Answers::prepare(),
            counters: Arc::default(),
        })
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let addresses: io::Result<_> = self.listeners.iter().map(TcpListener::local_addr).collect();
        addresses.context("a listener has no address")
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0u8; READ_BYTES];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.context("epoll failed")?,
            }
            for event in &events {
                match event.token().0.checked_sub(self.listeners.len()) {
                    None => self.accept_all(event.token().0),
                    Some(index) => self.advance(index, event, &mut buffer),
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) {
        // Any error, WouldBlock first of all, ends this round; the next connection raises the next edge.
        while let Ok((stream, _)) = self.listeners[listener].accept() {
            // Only speed is lost without it.
            let _ = stream.set_nodelay(true);
            bump(&self.counters.connections);
            if self.adopt(stream).is_err() {
                bump(&self.counters.refused);
            }
        }
    }

    fn adopt(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let index = self.free.pop().unwrap_or(self.connections.len());
        let token = Token(self.listeners.len() + index);
        register(self.poll.registry(), &mut stream, token)?;
        let connection = Connection {
            stream,
            carry: Vec::new(),
            body_left: 0,
            pending: None,
        };
        if index == self.connections.len() {
            self.connections.push(Some(connection));
        } else {
            self.connections[index] = Some(connection);
        }
        Ok(())
    }

    fn advance(&mut self, index: usize, event: &Event, buffer: &mut [u8]) {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return;
        };
        let step = connection.advance(event, buffer, &self.answers, &self.counters);
        if step.unwrap_or(Step::Close) == Step::Close {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

fn listen() -> Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn register(registry: &Registry, stream: &mut TcpStream, token: Token) -> io::Result<()> {
    registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
}

impl Connection {
    fn advance(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        answers: &Answers,
        counters: &Counters,
    ) -> io::Result<Step> {
        // After a blocked write the edge of what arrived meanwhile is gone: look without one.
        let was_blocked = self.is_blocked();
        if (was_blocked && !self.flush()?) || (!was_blocked && !event.is_readable()) {
            return Ok(Step::Wait);
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Ok(Step::Close),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) => return Err(error),
            };
            if self.take(&buffer[..count], answers, counters)? == Step::Close {
                bump(&counters.refused);
                return Ok(Step::Close);
            }
            // A short read emptied the socket, so the next bytes raise an edge; the peer's end may not.
            if self.is_blocked() || (count < buffer.len() && !event.is_read_closed()) {
                return Ok(Step::Wait);
            }
        }
    }

    /// An answer may go out, and the socket did not take all of it.
    fn is_blocked(&self) -> bool {
        self.pending.is_some() && self.body_left == 0
    }

    /// Works through bytes that arrived. Several requests may be in them; a second one waits for the first's answer.
    fn take(&mut self, bytes: &[u8], answers: &Answers, counters: &Counters) -> io::Result<Step> {
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(bytes);
            let all = std::mem::take(&mut self.carry);
            return self.take_whole(&all, answers, counters);
        }
        self.take_whole(bytes, answers, counters)
    }

    fn take_whole(
        &mut self,
        mut bytes: &[u8],
        answers: &Answers,
        counters: &Counters,
    ) -> io::Result<Step> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let skipped = bytes.len().min(self.body_left as usize);
                self.body_left -= skipped as u64;
                bytes = &bytes[skipped..];
                if self.body_left == 0 && self.pending.is_some() {
                    self.flush()?;
                }
                continue;
            }
            let Some(len) = wire::head_len(bytes) else {
                self.carry.extend_from_slice(bytes);
                let fits = self.carry.len() <= HEAD_BYTES_MAX;
                return Ok(if fits { Step::Wait } else { Step::Close });
            };
            let (head, rest) = bytes.split_at(len);
            bytes = rest;
            let Some(answer) = answers.to(head) else {
                return Ok(Step::Close);
            };
            bump(&counters.requests);
            if memmem::find(head, b"orwarded-").is_none() {
                bump(&counters.unforwarded);
            }
            self.pending = Some(Pending { answer, written: 0 });
            self.body_left = if head.starts_with(b"GET ") {
                0
            } else {
                wire::field(head, b"content-length")
                    .and_then(wire::decimal)
                    .unwrap_or(0)
            };
            if self.body_left == 0 && !self.flush()? {
                // Proxies do not pipeline: what follows an unfinished answer is not ours to read.
                return Ok(if bytes.is_empty() {
                    Step::Wait
                } else {
                    Step::Close
                });
            }
        }
        Ok(Step::Wait)
    }

    /// Writes what is pending; true when all of it is out. An answer waits for the end of its request's body.
    fn flush(&mut self) -> io::Result<bool> {
        if self.body_left > 0 {
            return Ok(true);
        }
        while let Some(pending) = &mut self.pending {
            match self.stream.write(&pending.answer[pending.written..]) {
                Ok(count) => pending.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if pending.written == pending.answer.len() {
                self.pending = None;
            }
        }
        Ok(true)
    }
}
