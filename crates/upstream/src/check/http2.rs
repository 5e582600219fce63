//! A check by HTTP/2: one stream on a connection of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keel_balance::CheckFault;
use keel_http::{HeadFault, HeadLimits, Method, ResponseHead, h2_fields};
use keel_http2::{Config, Connection, H2GuardLimits, StreamError, StreamRef};
use keel_tls::Stream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::BODY_MAX;
use super::http1::{INTERIM_MAX, malformed, request};
use super::plan::HttpProbe;
use super::probe::Answer;

/// Most bytes of an answer's head.
const HEAD_MAX: u32 = 16 * 1024;

/// Bytes that are read at a time.
const READ: usize = 8 * 1024;

/// How long the goodbye (GOAWAY) may take.
const GOODBYE: Duration = Duration::from_millis(100);

/// Only a client's frames are measured in time.
const NOW_MS: u64 = 0;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) fields: Vec<(&'a [u8], &'a [u8])>,
    pub(super) body: &'a [u8],
}

/// An answer with what HTTP/2 has beside status and body.
#[derive(Debug, Default)]
pub(super) struct Answer2 {
    /// The head in the form of HTTP/1.1.
    pub(super) head: Vec<u8>,
    /// Field lines.
    pub(super) trailers: Vec<u8>,
    pub(super) answer: Answer,
}

/// Asks, and reads the answer.
pub(super) async fn run(
    probe: &HttpProbe,
    authority: &str,
    stream: Stream,
) -> Result<Answer, CheckFault> {
    let head = request(probe, authority);
    let question = Question {
        method: &probe.method,
        authority,
        path: &probe.path,
        fields: h2_fields(head.as_bytes()).collect(),
        body: b"",
    };
    Ok(call(stream, &question).await?.answer)
}

/// Sends a request with its body and reads the answer.
pub(super) async fn call(
    mut stream: Stream,
    question: &Question<'_>,
) -> Result<Answer2, CheckFault> {
    let mut engine = Connection::client(Config {
        stream_window_bytes: BODY_MAX as u32,
        connection_window_bytes: BODY_MAX as u32,
        streams_max: 0,
        header_list_bytes_max: HEAD_MAX,
        out_bytes_max: BODY_MAX,
        limits: H2GuardLimits::default(),
    });
    let mut asking = Asking::begin(&mut engine, question, stream.is_tls())?;
    let answer = poll_fn(|cx| {
        read(cx, &mut stream, &mut engine);
        let asked = asking.poll(cx, &mut engine);
        if asked.is_pending() {
            // A failure wakes who asks, and so does what the engine has to say later.
            write(cx, &mut stream, &mut engine);
            engine.set_io_waker(cx.waker());
        }
        asked
    })
    .await;
    if !engine.is_over() {
        engine.release(asking.stream, NOW_MS);
        engine.drain();
        let goodbye = async {
            stream.write_all(engine.out()).await?;
            stream.shutdown().await
        };
        // It is said for the server's sake only.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
    answer
}

/// Gives the engine what has come.
fn read(cx: &mut Context<'_>, stream: &mut Stream, engine: &mut Connection) {
    let mut room = [0; READ];
    while !engine.is_over() {
        let mut room = ReadBuf::new(&mut room);
        match Pin::new(&mut *stream).poll_read(cx, &mut room) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                let mut bytes = room.filled();
                while !bytes.is_empty() {
                    // A server opens no streams, and what it does wrong ends the engine.
                    let _ = engine.receive(&mut bytes, NOW_MS);
                }
            }
            Poll::Ready(_) => engine.lost(),
        }
    }
}

/// Writes what there is to be written.
fn write(cx: &mut Context<'_>, stream: &mut Stream, engine: &mut Connection) {
    while !engine.out().is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, engine.out()) {
            Poll::Pending => return,
            Poll::Ready(Ok(n)) if n > 0 => engine.written(n),
            Poll::Ready(_) => return engine.lost(),
        }
    }
}

/// The one stream.
struct Asking<'a> {
    stream: StreamRef,
    method: Method,
    /// What is still to be sent.
    body: &'a [u8],
    has_head: bool,
    interim: usize,
    got: Answer2,
}

impl<'a> Asking<'a> {
    fn begin(
        engine: &mut Connection,
        question: &Question<'a>,
        tls: bool,
    ) -> Result<Asking<'a>, CheckFault> {
        let scheme = if tls { "https" } else { "http" };
        let told = [
            (":method", question.method),
            (":scheme", scheme),
            (":authority", question.authority),
            (":path", question.path),
        ];
        let told = told.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = told.into_iter().chain(question.fields.iter().copied());
        let method = Method::of(question.method.as_bytes());
        let (ended, head_only) = (question.body.is_empty(), method == Method::Head);
        let stream = engine.open(fields, ended, head_only, NOW_MS);
        Ok(Asking {
            stream: stream.map_err(|error| broken(engine, error))?,
            method,
            body: question.body,
            has_head: false,
            interim: 0,
            got: Answer2::default(),
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        engine: &mut Connection,
    ) -> Poll<Result<Answer2, CheckFault>> {
        self.send(cx, engine);
        let done = match self.has_head {
            true => Ok(()),
            false => ready!(self.poll_head(cx, engine)),
        };
        if let Err(fault) = done {
            return Poll::Ready(Err(fault));
        }
        let read = ready!(self.poll_body(cx, engine));
        self.got.trailers = engine.take_trailers(self.stream);
        let got = std::mem::take(&mut self.got);
        Poll::Ready(read.map(|()| got).map_err(|error| broken(engine, error)))
    }

    /// Sends on. A server that takes nothing may have answered all the same.
    fn send(&mut self, cx: &mut Context<'_>, engine: &mut Connection) {
        while !self.body.is_empty() {
            match engine.poll_send(self.stream, cx, [self.body, b"", b""], true, NOW_MS) {
                Poll::Ready(Ok(n)) => self.body = self.body.get(n..).unwrap_or_default(),
                Poll::Ready(Err(_)) => self.body = b"",
                Poll::Pending => return,
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        engine: &mut Connection,
    ) -> Poll<Result<(), CheckFault>> {
        while self.interim <= INTERIM_MAX {
            let came = match ready!(engine.poll_head(self.stream, cx)) {
                Ok(came) => came,
                Err(error) => return Poll::Ready(Err(broken(engine, error))),
            };
            if came.fields.is_over() {
                return Poll::Ready(Err(malformed(HeadFault::HeadTooLong)));
            }
            let mut head = ResponseHead::new();
            let (out, limits) = (&mut self.got.head, &HeadLimits::default());
            let (fields, ended) = (came.fields.iter(), came.ended);
            if let Err(fault) = head.read_h2(out, fields, ended, self.method, limits) {
                return Poll::Ready(Err(malformed(fault)));
            }
            if !head.is_interim() {
                self.got.answer.status = head.status;
                self.has_head = true;
                return Poll::Ready(Ok(()));
            }
            self.interim += 1;
        }
        Poll::Ready(Err(malformed("more than 8 interim answers")))
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        engine: &mut Connection,
    ) -> Poll<Result<(), StreamError>> {
        let answer = &mut self.got.answer;
        let mut room = [0; READ];
        loop {
            let n = match ready!(engine.poll_read(self.stream, cx, &mut room)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(n) => n,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let left = BODY_MAX - answer.body.len();
            let data = room.get(..n.min(left)).unwrap_or_default();
            answer.body.extend_from_slice(data);
            if n > left {
                answer.cut = true;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn broken(engine: &Connection, error: StreamError) -> CheckFault {
    match (engine.fault(), error) {
        (Some(fault), _) => {
            let what = fault.name();
            CheckFault::Answer(format!("HTTP/2: the server broke the rules ({what})").into())
        }
        (None, StreamError::Lost) => CheckFault::Closed,
        (None, error) => CheckFault::Answer(format!("HTTP/2: {error}").into()),
    }
}
