//! Who uses one stream: sends a message and reads the other's, and is driven only when it was woken.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keel_http2::{Connection, ErrorCode, StreamError, StreamRef};

use super::plan::{Body, Dice, Part, Plan, Quit};
use crate::side::{Woken, list, text};

/// The byte at a place of a message.
pub fn byte(index: usize, as_server: bool, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8) ^ (index * 7) ^ (usize::from(as_server) * 101)) as u8
}

pub type Text = Vec<(String, String)>;

fn head(part: &Part, index: usize, as_server: bool) -> Text {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let mut out = match as_server {
        true => vec![pair(":status", "200".to_owned())],
        false => vec![
            pair(":method", "POST".to_owned()),
            pair(":scheme", "https".to_owned()),
            pair(":authority", "test.example".to_owned()),
            pair(":path", format!("/{index}")),
        ],
    };
    if part.body.said {
        out.push(pair("content-length", part.body.len.to_string()));
    }
    match part.head {
        0 => out.push(pair("x-same", "again and again".to_owned())),
        1 => out.extend((0..60).map(|at| pair(&format!("x-{at}"), format!("{index}-{at}")))),
        _ => out.push(pair("x-long", format!("{index}").repeat(20_000))),
    }
    out
}

fn trailers(index: usize) -> Text {
    vec![("x-sum".to_owned(), index.to_string())]
}

fn interim(at: u8) -> Text {
    let link = ("link".to_owned(), at.to_string());
    vec![(":status".to_owned(), "103".to_owned()), link]
}

pub fn pairs(text: &Text) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// Whether the head of a message is all of it.
fn is_head_only(body: &Body) -> bool {
    body.len == 0 && !body.trailers && body.last
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Interim(u8),
    Head,
    Body,
    Done,
}

/// What became of a side of a stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    pub over: bool,
    pub sent: bool,
    pub received: bool,
    pub quit: bool,
    pub error: Option<StreamError>,
}

#[derive(Debug)]
pub struct Task {
    pub stream: StreamRef,
    pub index: usize,
    pub woken: Arc<Woken>,
    /// When its timers are due: of the source, of the reader.
    pub due: [Option<u64>; 2],
    /// It has more to do without being woken.
    pub again: bool,
    pub outcome: Outcome,
    as_server: bool,
    plan: Plan,
    send: Stage,
    sent: usize,
    chunk_end: usize,
    recv: Stage,
    got: usize,
    steps: u8,
}

impl Task {
    /// Opens the stream of a plan.
    pub fn open(conn: &mut Connection, index: usize, plan: &Plan, now: u64) -> Task {
        let fields = head(&plan.request, index, false);
        let ended = is_head_only(&plan.request.body);
        let stream = conn.open(pairs(&fields), ended, false, now / 10);
        let stream = stream.expect("a stream can be opened");
        let send = if ended { Stage::Done } else { Stage::Body };
        let mut task = Task::new(stream, index, plan, false, send);
        task.outcome.sent = ended;
        task.prioritise(conn);
        task
    }

    /// Takes a stream that a client opened; its head says of which plan it is.
    pub fn accept(conn: &mut Connection, stream: StreamRef, plans: &[Plan]) -> Task {
        let cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(found)) = conn.poll_head(stream, &cx) else {
            panic!("no head on {stream:?}");
        };
        let fields = text(&list(&found.fields));
        let path = &fields.iter().find(|(name, _)| name == ":path").unwrap().1;
        let index: usize = path[1..].parse().unwrap();
        let plan = &plans[index];
        assert_eq!(fields, head(&plan.request, index, false));
        assert_eq!(found.ended, is_head_only(&plan.request.body));
        conn.give_fields(found.fields);
        let send = match plan.interims {
            0 => Stage::Head,
            many => Stage::Interim(many),
        };
        let mut task = Task::new(stream, index, plan, true, send);
        task.recv = Stage::Body;
        task.prioritise(conn);
        task
    }

    fn new(stream: StreamRef, index: usize, plan: &Plan, as_server: bool, send: Stage) -> Task {
        Task {
            stream,
            index,
            woken: Woken::new(),
            due: [None; 2],
            again: true,
            outcome: Outcome::default(),
            as_server,
            plan: plan.clone(),
            send,
            sent: 0,
            chunk_end: 0,
            recv: Stage::Head,
            got: 0,
            steps: 0,
        }
    }

    fn ours(&self) -> &Part {
        if self.as_server {
            &self.plan.answer
        } else {
            &self.plan.request
        }
    }

    fn theirs(&self) -> &Part {
        if self.as_server {
            &self.plan.request
        } else {
            &self.plan.answer
        }
    }

    fn prioritise(&mut self, conn: &mut Connection) {
        if let Some((urgency, incremental)) = self.ours().priority {
            conn.set_priority(self.stream, urgency, incremental);
        }
    }

    /// Whether it may run now.
    pub fn is_ready(&self, now: u64) -> bool {
        let due = self.due.iter().flatten().any(|due| *due <= now);
        !self.outcome.over && (self.again || due || self.woken.is_woken())
    }

    /// Does some steps; fewer than it could, now and then.
    pub fn run(&mut self, conn: &mut Connection, dice: &mut Dice, now: u64) {
        self.woken.take();
        self.again = false;
        for _ in 0..=dice.below(6) {
            self.steps = self.steps.saturating_add(1);
            if let Some((after, how)) = self.ours().quit
                && self.steps > after
            {
                return self.leave(conn, how, now);
            }
            if self.ours().watches {
                self.watch(conn);
            }
            let sent = self.drive_send(conn, dice, now);
            let received = self.drive_recv(conn, now);
            if self.is_done() {
                return self.finish(conn, now);
            }
            if !sent && !received {
                return;
            }
        }
        self.again = true;
    }

    fn is_done(&self) -> bool {
        self.send == Stage::Done && (self.recv == Stage::Done || self.is_early())
    }

    fn is_early(&self) -> bool {
        self.as_server && self.plan.early
    }

    fn leave(&mut self, conn: &mut Connection, how: Quit, now: u64) {
        if let Quit::Reset(code) = how {
            conn.reset(self.stream, ErrorCode(code), now / 10);
        }
        self.outcome.quit = true;
        self.finish(conn, now);
    }

    fn finish(&mut self, conn: &mut Connection, now: u64) {
        conn.release(self.stream, now / 10);
        self.outcome.over = true;
    }

    fn watch(&mut self, conn: &mut Connection) {
        let waker = Waker::from(self.woken.clone());
        let failed = conn.poll_failed(self.stream, &Context::from_waker(&waker));
        if let Poll::Ready(error) = failed {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: StreamError) {
        let first = *self.outcome.error.get_or_insert(error);
        assert_eq!(first, error, "{} failed twice", self.index);
    }

    fn is_resting(&mut self, which: usize, now: u64) -> bool {
        match self.due[which] {
            Some(due) if due > now => true,
            _ => {
                self.due[which] = None;
                false
            }
        }
    }

    /// Gives whether something was done.
    fn drive_send(&mut self, conn: &mut Connection, dice: &mut Dice, now: u64) -> bool {
        if self.send == Stage::Done || self.is_resting(0, now) {
            return false;
        }
        let body = self.ours().body.clone();
        let done = match self.send {
            Stage::Interim(left) => {
                let fields = interim(left);
                self.send = if left > 1 {
                    Stage::Interim(left - 1)
                } else {
                    Stage::Head
                };
                conn.send_head(self.stream, pairs(&fields), false, now / 10)
            }
            Stage::Head => {
                let ended = is_head_only(&body);
                let fields = head(self.ours(), self.index, self.as_server);
                self.send = if ended { Stage::Done } else { Stage::Body };
                let done = conn.send_head(self.stream, pairs(&fields), ended, now / 10);
                self.outcome.sent = ended && done.is_ok();
                done
            }
            _ if self.sent < body.len => match self.send_some(conn, dice, &body, now) {
                Poll::Ready(done) => done,
                Poll::Pending => return false,
            },
            _ => self.send_end(conn, &body, now),
        };
        if let Err(error) = done {
            self.fail(error);
            self.send = Stage::Done;
        }
        true
    }

    fn send_some(
        &mut self,
        conn: &mut Connection,
        dice: &mut Dice,
        body: &Body,
        now: u64,
    ) -> Poll<Result<(), StreamError>> {
        if self.chunk_end <= self.sent {
            self.chunk_end = body.len.min(self.sent + body.chunk);
        }
        let piece: Vec<u8> = (self.sent..self.chunk_end)
            .map(|at| byte(self.index, self.as_server, at))
            .collect();
        let one = dice.below(piece.len() + 1);
        let two = one + dice.below(piece.len() - one + 1);
        let parts = [&piece[..one], &piece[one..two], &piece[two..]];
        let last = body.last && !body.trailers && self.chunk_end == body.len;
        let waker = Waker::from(self.woken.clone());
        let cx = Context::from_waker(&waker);
        let sent = match conn.poll_send(self.stream, &cx, parts, last, now / 10) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(sent)) => sent,
        };
        assert!(sent > 0 && sent <= piece.len());
        self.sent += sent;
        let ended = last && self.sent == body.len;
        assert_eq!(conn.has_ended(self.stream), ended);
        if ended {
            self.outcome.sent = true;
            self.send = Stage::Done;
        } else if self.sent == self.chunk_end && body.rest > 0 {
            self.due[0] = Some(now + u64::from(body.rest));
        }
        Poll::Ready(Ok(()))
    }

    fn send_end(
        &mut self,
        conn: &mut Connection,
        body: &Body,
        now: u64,
    ) -> Result<(), StreamError> {
        let done = match body.trailers {
            true => conn.send_trailers(self.stream, pairs(&trailers(self.index)), now / 10),
            false => conn.end_stream(self.stream, now / 10),
        };
        self.send = Stage::Done;
        self.outcome.sent = done.is_ok();
        assert_eq!(conn.has_ended(self.stream), done.is_ok());
        done
    }

    /// Gives whether something was done.
    fn drive_recv(&mut self, conn: &mut Connection, now: u64) -> bool {
        if self.recv == Stage::Done || self.is_early() || self.is_resting(1, now) {
            return false;
        }
        let waker = Waker::from(self.woken.clone());
        let cx = Context::from_waker(&waker);
        let done = match self.recv {
            Stage::Body => {
                let mut room = vec![0; self.theirs().room];
                match conn.poll_read(self.stream, &cx, &mut room) {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(0)) => {
                        self.received(conn);
                        Ok(())
                    }
                    Poll::Ready(Ok(len)) => {
                        self.check(&room[..len]);
                        if self.theirs().rest > 0 {
                            self.due[1] = Some(now + u64::from(self.theirs().rest));
                        }
                        Ok(())
                    }
                    Poll::Ready(Err(error)) => Err(error),
                }
            }
            _ => match conn.poll_head(self.stream, &cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(found)) => {
                    self.head(&text(&list(&found.fields)), found.ended);
                    conn.give_fields(found.fields);
                    Ok(())
                }
                Poll::Ready(Err(error)) => Err(error),
            },
        };
        if let Err(error) = done {
            self.fail(error);
            self.recv = Stage::Done;
        }
        true
    }

    fn head(&mut self, fields: &Text, ended: bool) {
        if fields[0].1 == "103" {
            assert_eq!(fields, &interim(self.plan.interims - self.got as u8));
            assert!(!ended);
            self.got += 1;
            return;
        }
        assert_eq!(self.got, usize::from(self.plan.interims));
        assert_eq!(fields, &head(&self.plan.answer, self.index, true));
        assert_eq!(ended, is_head_only(&self.plan.answer.body));
        (self.got, self.recv) = (0, Stage::Body);
    }

    fn check(&mut self, bytes: &[u8]) {
        for (at, found) in bytes.iter().enumerate() {
            let wanted = byte(self.index, !self.as_server, self.got + at);
            assert_eq!(*found, wanted, "{} at {}", self.index, self.got + at);
        }
        self.got += bytes.len();
        assert!(self.got <= self.theirs().body.len);
    }

    /// The end of the other's message.
    fn received(&mut self, conn: &mut Connection) {
        let body = &self.theirs().body;
        assert_eq!(self.got, body.len, "{} ended early", self.index);
        assert_eq!(conn.is_received(self.stream), !body.trailers);
        let lines = conn.take_trailers(self.stream);
        let wanted = match body.trailers {
            true => format!("x-sum: {}\r\n", self.index),
            false => String::new(),
        };
        assert_eq!(lines, wanted.as_bytes());
        self.recv = Stage::Done;
        self.outcome.received = true;
    }
}
