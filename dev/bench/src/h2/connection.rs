//! One HTTP/2 connection of the load generator: so many streams, each asking again as soon as it is answered.
//!
//! Windows are as large as can be, so that they are renewed once in a gigabyte. All requests that a read makes possible go
//! out in one write.

use std::io;
use std::time::Instant;

use mio::Registry;
use mio::event::Event;

use crate::h2::frames::{
    self, CONTINUATION, DATA, END_STREAM, FrameReader, HEADERS, PADDED, PING, Piece, RST_STREAM,
    SETTINGS, WINDOW_MAX, WINDOW_UPDATE, fault,
};
use crate::h2::requests::Request;
use crate::load::Tally;
use crate::transport::{Received, Target, Transport};

/// Bytes after which the connection's window is renewed.
const RENEW_BYTES: u32 = 1 << 30;
/// The last stream that is opened on a connection.
const STREAM_MAX: u32 = WINDOW_MAX;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Shared {
    /// The proxy.
    pub target: Target,
    /// Requests; connection `i` begins with number `i` modulo their count and goes on to the next one each time.
    pub requests: Vec<Request>,
    /// Bytes that every body must have.
    pub body_bytes: u64,
    /// Requests under way on each connection.
    pub streams: usize,
}

/// A client connection.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    session: Session,
    is_dead: bool,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    started: Instant,
    /// `None` until the header block has come.
    status: Option<u16>,
    body: u64,
}

/// The streams of a connection.
#[derive(Debug)]
struct Session {
    index: usize,
    idle: bool,
    is_begun: bool,
    reader: FrameReader,
    streams: Vec<Stream>,
    next_id: u32,
    /// Bytes of DATA since the window was renewed.
    taken: u32,
    answers: usize,
    out: Vec<u8>,
}

impl Connection {
    /// Begins to connect and sends the first request as soon as that is done, and no second one until it is woken.
    pub fn open(index: usize, shared: &Shared, registry: &Registry) -> io::Result<Connection> {
        Ok(Connection {
            transport: Transport::open(index, &shared.target, registry)?,
            session: Session {
                index,
                idle: true,
                is_begun: false,
                reader: FrameReader::default(),
                streams: Vec::with_capacity(shared.streams),
                next_id: 1,
                taken: 0,
                answers: 0,
                out: Vec::new(),
            },
            is_dead: false,
        })
    }

    /// Sends requests from now on, as many at once as there are to be.
    pub fn wake(&mut self, shared: &Shared, tally: &mut Tally) {
        self.session.idle = false;
        let sent = self.session.ask(shared, Instant::now());
        let sent = sent.and_then(|()| self.send());
        self.note(sent, tally);
    }

    /// At least one answer has come, or none will.
    pub fn is_settled(&self) -> bool {
        self.session.answers > 0 || self.is_dead
    }

    /// Does what an event makes possible.
    pub fn advance(
        &mut self,
        event: &Event,
        shared: &Shared,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) {
        if self.is_dead {
            return;
        }
        let done = self.transport.flush().and_then(|()| {
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                return self.read(event.is_read_closed(), shared, buffer, tally);
            }
            Ok(())
        });
        self.note(done, tally);
    }

    fn note(&mut self, done: io::Result<()>, tally: &mut Tally) {
        if let Err(error) = done {
            self.is_dead = true;
            tally.fail(|| format!("connection {}: {error}", self.session.index));
        }
    }

    fn read(
        &mut self,
        read_closed: bool,
        shared: &Shared,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<()> {
        loop {
            let session = &mut self.session;
            let take = |bytes: &[u8]| session.take(bytes, shared, tally);
            let received = self.transport.receive(buffer, take)?;
            match received {
                Received::Blocked => return Ok(()),
                Received::Ended => return Err(fault("the connection was closed")),
                Received::Drained | Received::More => {}
            }
            if !self.session.is_begun && self.transport.is_open() {
                self.session.begin(shared)?;
            }
            self.send()?;
            // An emptied socket: more bytes raise another event, but the peer's end may not.
            if received == Received::Drained && !read_closed {
                return Ok(());
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if !self.session.out.is_empty() {
            self.transport.send(&self.session.out)?;
            self.session.out.clear();
        }
        Ok(())
    }
}

impl Session {
    fn begin(&mut self, shared: &Shared) -> io::Result<()> {
        self.is_begun = true;
        self.out.extend_from_slice(&frames::opening(WINDOW_MAX));
        self.ask(shared, Instant::now())
    }

    /// Puts as many requests into `out` as are missing; an idle one asks only once.
    fn ask(&mut self, shared: &Shared, now: Instant) -> io::Result<()> {
        let wanted = match (self.idle, self.next_id) {
            (true, 1) => 1,
            (true, _) => 0,
            (false, _) => shared.streams,
        };
        while self.streams.len() < wanted {
            if self.next_id >= STREAM_MAX {
                return Err(fault("no streams are left on the connection"));
            }
            let number = (self.index + self.next_id as usize / 2) % shared.requests.len();
            shared.requests[number].put(&mut self.out, self.next_id);
            self.streams.push(Stream {
                id: self.next_id,
                started: now,
                status: None,
                body: 0,
            });
            self.next_id += 2;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        let mut reader = std::mem::take(&mut self.reader);
        let read = reader.read(bytes, |piece| self.visit(piece, shared, tally));
        self.reader = reader;
        read
    }

    fn visit(&mut self, piece: Piece<'_>, shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        let Piece {
            head,
            payload,
            is_last,
        } = piece;
        match head.kind {
            DATA => {
                if head.has(PADDED) {
                    return Err(fault("padding of a body"));
                }
                self.taken += payload.len() as u32;
                if self.taken >= RENEW_BYTES {
                    frames::put_window(&mut self.out, self.taken);
                    self.taken = 0;
                }
                self.stream(head.stream)?.1.body += payload.len() as u64;
            }
            HEADERS => {
                // A second block holds trailers.
                let (_, stream) = self.stream(head.stream)?;
                stream
                    .status
                    .get_or_insert_with(|| frames::status(head, payload));
            }
            RST_STREAM => {
                let code = payload.get(3).copied().unwrap_or(0);
                return Err(fault(&format!("RST_STREAM with code {code}")));
            }
            CONTINUATION | WINDOW_UPDATE => return Ok(()),
            SETTINGS | PING | frames::GOAWAY => {
                return frames::put_duty(&mut self.out, head, payload);
            }
            kind => return Err(fault(&format!("a frame of type {kind}"))),
        }
        if head.has(END_STREAM) && is_last {
            self.complete(head.stream, shared, tally)?;
        }
        Ok(())
    }

    fn stream(&mut self, id: u32) -> io::Result<(usize, &mut Stream)> {
        let mut streams = self.streams.iter_mut().enumerate();
        streams
            .find(|(_, stream)| stream.id == id)
            .ok_or_else(|| fault("a frame of a stream that is not open"))
    }

    fn complete(&mut self, id: u32, shared: &Shared, tally: &mut Tally) -> io::Result<()> {
        let (index, _) = self.stream(id)?;
        let stream = self.streams.swap_remove(index);
        let status = stream.status.unwrap_or(0);
        if (200..300).contains(&status) && stream.body != shared.body_bytes {
            return Err(fault("the body has a wrong length"));
        }
        let now = Instant::now();
        tally.answer(status, now - stream.started);
        self.answers += 1;
        self.ask(shared, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn shared() -> Shared {
        Shared {
            target: Target {
                address: SocketAddr::from(([127, 0, 0, 1], 1)),
                client_addresses: 0,
                tls: None,
            },
            requests: vec![Request::get("/x", "a")],
            body_bytes: 5,
            streams: 2,
        }
    }

    /// A connection whose first two requests are under way.
    fn session() -> Session {
        let mut session = Session {
            index: 0,
            idle: false,
            is_begun: true,
            reader: FrameReader::default(),
            streams: Vec::new(),
            next_id: 1,
            taken: 0,
            answers: 0,
            out: Vec::new(),
        };
        session.ask(&shared(), Instant::now()).unwrap();
        session.out.clear();
        session
    }

    fn answer(stream: u32, status: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames::put(&mut bytes, HEADERS, frames::END_HEADERS, stream, &[status]);
        frames::put(&mut bytes, DATA, END_STREAM, stream, body);
        bytes
    }

    #[test]
    fn each_answer_makes_room_for_a_request() {
        let (mut session, mut tally) = (session(), Tally::default());
        let both = [answer(3, 0x88, b"12345"), answer(1, 0x88, b"12345")].concat();
        let (first, second) = both.split_at(25);
        session.take(first, &shared(), &mut tally).unwrap();
        session.take(second, &shared(), &mut tally).unwrap();
        assert_eq!((tally.latencies.total(), tally.not_2xx), (2, 0));
        let mut ids: Vec<u32> = session.streams.iter().map(|stream| stream.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [5, 7]);
        let mut wanted = Vec::new();
        Request::get("/x", "a").put(&mut wanted, 5);
        Request::get("/x", "a").put(&mut wanted, 7);
        assert_eq!(session.out, wanted);
    }

    #[test]
    fn other_statuses_are_told_and_other_lengths_are_faults() {
        let (mut session, mut tally) = (session(), Tally::default());
        let missing = answer(1, 0x8d, b"");
        session.take(&missing, &shared(), &mut tally).unwrap();
        assert_eq!((tally.latencies.total(), tally.not_2xx), (0, 1));
        let short = answer(3, 0x88, b"1234");
        assert!(session.take(&short, &shared(), &mut tally).is_err());
    }

    #[test]
    fn what_ends_streams_or_connections_early_is_a_fault() {
        for (kind, stream) in [(RST_STREAM, 1), (frames::GOAWAY, 0)] {
            let mut bytes = Vec::new();
            frames::put(&mut bytes, kind, 0, stream, &[0; 8]);
            let taken = session().take(&bytes, &shared(), &mut Tally::default());
            assert!(taken.is_err(), "{kind}");
        }
        let stranger = answer(9, 0x88, b"12345");
        let taken = session().take(&stranger, &shared(), &mut Tally::default());
        assert!(taken.is_err());
    }
}
