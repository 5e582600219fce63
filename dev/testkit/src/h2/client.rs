//! A client of HTTP/2 that can send anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::Role;
use super::frame::{PREFACE, setting};
use super::{Connection, Event, Frame, H2Answer, H2Lost};
use crate::client::{End, Wire};
use crate::strict::Fields;
use crate::tls::TlsClient;
use crate::wait::SOON;

/// What a server said when it ended the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway {
    /// The last stream that was, or may be, served.
    pub last: u32,
    /// Error code.
    pub code: u32,
    /// What it says about it.
    pub debug: String,
}

/// A connection to the proxy, or to any server. Breaches of the protocol by the server fail the test on drop.
#[derive(Debug)]
pub struct H2Wire {
    connection: Connection,
    next: u32,
    answers: BTreeMap<u32, H2Answer>,
    goaways: Vec<GoAway>,
    pongs: Vec<[u8; 8]>,
    ended: Option<End>,
    deadline: Duration,
    authority: String,
}

impl H2Wire {
    /// Connects with prior knowledge, and sends the preface and SETTINGS without push.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> H2Wire {
        H2Wire::over(Wire::connect(address), &[])
    }

    /// As [`H2Wire::connect`], with more SETTINGS.
    #[track_caller]
    pub fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> H2Wire {
        H2Wire::over(Wire::connect(address), settings)
    }

    /// Connects over TLS; `h2` must be chosen by ALPN.
    #[track_caller]
    pub fn tls(client: &TlsClient, address: SocketAddr) -> H2Wire {
        let wire = client.clone().alpn(&["h2", "http/1.1"]).connect(address);
        assert_eq!(wire.tls().alpn.as_deref(), Some("h2"), "{:?}", wire.tls());
        H2Wire::over(wire, &[])
    }

    /// As [`H2Wire::tls`], or says why not.
    pub fn try_tls(client: &TlsClient, address: SocketAddr) -> Result<H2Wire, String> {
        let wire = client.clone().alpn(&["h2"]).try_connect(address)?;
        match wire.tls().alpn.as_deref() {
            Some("h2") => Ok(H2Wire::over(wire, &[])),
            other => Err(format!("ALPN chose {other:?}")),
        }
    }

    /// Takes a connection that is there, and sends the preface and SETTINGS without push.
    pub fn over(wire: Wire, settings: &[(u16, u32)]) -> H2Wire {
        let mut own = H2Wire::bare(wire);
        let all = [&[(setting::ENABLE_PUSH, 0)], settings].concat();
        own.connection.raw(PREFACE);
        own.connection.settings(&all);
        own
    }

    /// Takes a connection that is there, and sends nothing.
    pub fn bare(wire: Wire) -> H2Wire {
        H2Wire {
            connection: Connection::new(wire, Role::Client),
            next: 1,
            answers: BTreeMap::new(),
            goaways: Vec::new(),
            pongs: Vec::new(),
            ended: None,
            deadline: SOON,
            authority: "test.example".to_owned(),
        }
    }

    /// Another deadline for each wait.
    pub fn with_deadline(mut self, deadline: Duration) -> H2Wire {
        self.deadline = deadline;
        self
    }

    /// Another `:authority` than `test.example`.
    pub fn authority(mut self, authority: &str) -> H2Wire {
        self.authority = authority.to_owned();
        self
    }

    /// The connection, for single frames and for what is done without being told to.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The stream that the next request will have.
    pub fn next_stream(&self) -> u32 {
        self.next
    }

    /// The pseudo-fields of a request.
    pub fn pseudo(&self, method: &str, path: &str) -> Vec<(String, String)> {
        let scheme = match self.connection.wire().is_tls() {
            true => "https",
            false => "http",
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair(":method", method),
            pair(":scheme", scheme),
            pair(":authority", &self.authority),
            pair(":path", path),
        ]
    }

    /// Sends a request's head as it is given, and gives its stream.
    pub fn start<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)], end: bool) -> u32 {
        let stream = self.take_stream();
        self.connection.head(stream, fields, end);
        stream
    }

    /// Sends the head of a request with the usual pseudo-fields, and gives its stream.
    pub fn ask(&mut self, method: &str, path: &str, more: &[(&str, &str)], end: bool) -> u32 {
        let mut fields = self.pseudo(method, path);
        let more = more.iter();
        fields.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.start(&fields, end)
    }

    /// Takes the next stream for frames that a test writes itself.
    pub fn take_stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.connection.stream_begins(stream);
        stream
    }

    /// Sends a piece of a body; what the windows do not allow goes out while answers are awaited.
    pub fn data(&mut self, stream: u32, bytes: impl Into<Vec<u8>>, end: bool) -> &mut H2Wire {
        self.connection.data(stream, bytes, end);
        self
    }

    /// Sends trailers after all DATA of the stream.
    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> &mut H2Wire {
        self.connection.head(stream, fields, true);
        self
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32, code: u32) -> &mut H2Wire {
        self.connection.reset(stream, code);
        self
    }

    /// Sends a frame as it is; false when the server takes none.
    pub fn send(&mut self, frame: &Frame) -> bool {
        self.connection.send(frame)
    }

    /// GET, and its answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> H2Answer {
        let stream = self.ask("GET", path, &[], true);
        self.answer(stream)
    }

    /// GET with more fields, and its answer.
    #[track_caller]
    pub fn get_with(&mut self, path: &str, more: &[(&str, &str)]) -> H2Answer {
        let stream = self.ask("GET", path, more, true);
        self.answer(stream)
    }

    /// POST without Content-Length, and its answer.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: impl Into<Vec<u8>>) -> H2Answer {
        let stream = self.ask("POST", path, &[], false);
        self.data(stream, body, true);
        self.answer(stream)
    }

    /// Waits for the whole answer on a stream, or for its reset.
    #[track_caller]
    pub fn answer(&mut self, stream: u32) -> H2Answer {
        self.try_answer(stream)
            .unwrap_or_else(|lost| panic!("no answer on stream {stream}: {lost:?}"))
    }

    /// As [`H2Wire::answer`], or why there is none.
    pub fn try_answer(&mut self, stream: u32) -> Result<H2Answer, H2Lost> {
        self.pump(|own| {
            let answer = own.answers.get(&stream)?;
            (answer.ended || answer.reset.is_some()).then_some(())
        })?;
        Ok(self.answers.remove(&stream).unwrap_or_default())
    }

    /// Waits for the final head on a stream, or for its reset; the answer so far.
    #[track_caller]
    pub fn head(&mut self, stream: u32) -> H2Answer {
        self.so_far(stream, |answer| answer.status != 0)
    }

    /// Waits until the answer so far, or its reset, is what one waits for.
    #[track_caller]
    pub fn so_far(&mut self, stream: u32, is_it: impl Fn(&H2Answer) -> bool) -> H2Answer {
        let found = self.pump(|own| {
            let answer = own.answers.get(&stream)?;
            let over = answer.reset.is_some() || answer.ended;
            (over || is_it(answer)).then(|| answer.clone())
        });
        found.unwrap_or_else(|lost| panic!("not on stream {stream}: {lost:?}"))
    }

    /// Waits until all bodies have gone out.
    pub fn await_sent(&mut self) -> Result<(), H2Lost> {
        self.pump(|own| (own.connection.unsent() == 0).then_some(()))
    }

    /// Waits for GOAWAY.
    #[track_caller]
    pub fn await_goaway(&mut self) -> GoAway {
        let found = self.pump(|own| own.goaways.last().cloned());
        found.unwrap_or_else(|lost| panic!("no GOAWAY: {lost:?}"))
    }

    /// All GOAWAY frames so far.
    pub fn goaways(&self) -> &[GoAway] {
        &self.goaways
    }

    /// Waits for the end of the connection; the last GOAWAY, and how it ended.
    pub fn await_end(&mut self) -> (Option<GoAway>, End) {
        let outcome = self.pump(|_| None::<()>);
        let end = match outcome {
            Err(H2Lost::End(end, _)) => end,
            Ok(()) => End::Deadline,
        };
        (self.goaways.last().cloned(), end)
    }

    /// Sends a ping, and waits for its answer: how long it took.
    #[track_caller]
    pub fn ping(&mut self) -> Duration {
        let start = Instant::now();
        let data = u64::from(self.next).to_be_bytes();
        self.pongs.clear();
        self.connection.send(&Frame::ping(data));
        let came = self.pump(|own| own.pongs.contains(&data).then_some(()));
        came.unwrap_or_else(|lost| panic!("no answer to PING: {lost:?}"));
        start.elapsed()
    }

    /// Reads for so long, whatever comes; true while the connection is open.
    pub fn read_for(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.ended.is_some() || left.is_zero() {
                return self.ended.is_none();
            }
            self.step(left);
        }
    }

    /// Waits for the server's SETTINGS.
    #[track_caller]
    pub fn await_settings(&mut self) -> &mut H2Wire {
        let came = self.pump(|own| own.connection.greeted.then_some(()));
        came.unwrap_or_else(|lost| panic!("no SETTINGS: {lost:?}"));
        self
    }

    /// True once the connection has ended.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes the breaches of the protocol that were seen; those left here fail the test on drop.
    pub fn take_faults(&mut self) -> Vec<String> {
        self.connection.take_faults()
    }

    fn pump<T>(&mut self, mut ask: impl FnMut(&mut H2Wire) -> Option<T>) -> Result<T, H2Lost> {
        let end = Instant::now() + self.deadline;
        loop {
            if let Some(found) = ask(self) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            let lost = |end, own: &H2Wire| H2Lost::End(end, own.goaways.last().cloned());
            match self.ended {
                Some(ended) => return Err(lost(ended, self)),
                None if left.is_zero() => return Err(lost(End::Deadline, self)),
                None => self.step(left),
            }
        }
    }

    /// Takes one event into the record.
    fn step(&mut self, limit: Duration) {
        match self.connection.event(limit) {
            Event::Head {
                stream,
                fields,
                end,
            } => self.head_comes(stream, fields, end),
            Event::Data { stream, bytes, end } => {
                let answer = self.answer_on(stream);
                answer.body.extend_from_slice(&bytes);
                answer.ended |= end;
                answer.over_at = end.then(Instant::now);
            }
            Event::Reset { stream, code } => {
                let answer = self.answer_on(stream);
                answer.reset = Some(code);
                answer.over_at.get_or_insert_with(Instant::now);
            }
            Event::GoAway { last, code, debug } => self.goaways.push(GoAway {
                last,
                code,
                debug: String::from_utf8_lossy(&debug).into_owned(),
            }),
            Event::Ping { ack: true, data } => self.pongs.push(data),
            Event::End(End::Deadline) => {}
            Event::End(end) => self.ended = Some(end),
            _ => {}
        }
    }

    fn answer_on(&mut self, stream: u32) -> &mut H2Answer {
        let fresh = H2Answer {
            stream,
            ..H2Answer::default()
        };
        self.answers.entry(stream).or_insert(fresh)
    }

    fn head_comes(&mut self, stream: u32, mut fields: Fields, end: bool) {
        let status = fields.first(":status").and_then(|text| text.parse().ok());
        fields.0.retain(|(name, _)| !name.starts_with(':'));
        let answer = self.answer_on(stream);
        answer.ended |= end;
        answer.over_at = end.then(Instant::now);
        match status {
            Some(status @ 100..200) => answer.interim.push((status, fields)),
            Some(status) => {
                answer.status = status;
                answer.fields = fields;
            }
            None => answer.trailers = fields,
        }
    }
}

impl Drop for H2Wire {
    fn drop(&mut self) {
        let faults = self.take_faults();
        if !faults.is_empty() && !std::thread::panicking() {
            panic!("what the server sent was not well-formed: {faults:#?}");
        }
    }
}
