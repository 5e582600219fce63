//! A raw connection: any bytes out, strictly read answers in, every wait with a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::Answer;
use crate::strict::{BodyDecoder, Fault, Mode, ResponseHead, Step, take_response_head};
use crate::tls::{Link, TlsSession};
use crate::wait::SOON;

/// How reading to the end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order.
    Closed,
    /// The peer reset the connection, or ended it with an alert of TLS.
    Reset,
    /// The socket was closed without the goodbye (close_notify) of TLS.
    Truncated,
    /// The deadline passed with the connection open.
    Deadline,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The connection ended, or nothing came in time, before the first byte.
    Nothing(End),
    /// It ended, or stalled, inside an answer; the head when that was there, and the bytes of body so far.
    Cut(End, Option<Box<ResponseHead>>, u64),
    /// The bytes are no answer.
    Malformed(Fault),
}

/// A connection to the proxy, or to anything; plain, or with TLS when a [`TlsClient`](crate::tls::TlsClient) made it.
#[derive(Debug)]
pub struct Wire {
    link: Link,
    session: Option<TlsSession>,
    buffer: Vec<u8>,
    deadline: Duration,
    fault: Option<String>,
}

impl Wire {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Wire {
        Wire::try_connect(address).unwrap_or_else(|fault| panic!("connect to {address}: {fault}"))
    }

    /// Connects, or says why not.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Wire> {
        Ok(Wire::over(TcpStream::connect_timeout(&address, SOON)?))
    }

    /// Takes a connection that is there.
    pub fn over(stream: TcpStream) -> Wire {
        let _slower = stream.set_nodelay(true);
        Wire::over_link(Link::plain(stream))
    }

    /// Takes a connection that is there, of either kind and either side.
    pub fn over_link(link: Link) -> Wire {
        Wire {
            link,
            session: None,
            buffer: Vec::new(),
            deadline: SOON,
            fault: None,
        }
    }

    pub(crate) fn over_tls(link: Link, session: TlsSession) -> Wire {
        Wire {
            session: Some(session),
            ..Wire::over_link(link)
        }
    }

    /// What the handshake came to.
    #[track_caller]
    pub fn tls(&self) -> &TlsSession {
        self.session.as_ref().expect("a connection with TLS")
    }

    /// True with TLS.
    pub fn is_tls(&self) -> bool {
        self.link.is_tls()
    }

    /// What the system, or TLS, said when reading last failed.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The connection itself, for something else than HTTP/1; nothing of it must have been left unread.
    pub fn into_link(self) -> Link {
        self.link
    }

    /// Another deadline for each wait.
    pub fn with_deadline(mut self, deadline: Duration) -> Wire {
        self.deadline = deadline;
        self
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.link.tcp()
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        self.link
            .tcp()
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Sends all of it.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.try_send(bytes).expect("the peer takes our bytes");
        self
    }

    /// Sends all of it, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.link.tcp().set_write_timeout(Some(self.deadline))?;
        self.link.write_all(bytes.as_ref())?;
        self.link.flush()
    }

    /// Sends byte by byte, with a pause after each.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> &mut Wire {
        for byte in bytes.as_ref() {
            if self.try_send([*byte]).is_err() {
                break; // refused midway; the answer tells
            }
            std::thread::sleep(pause);
        }
        self
    }

    /// Tells the peer that nothing more will be sent; answers can still be read.
    pub fn finish_sending(&mut self) -> &mut Wire {
        self.link.finish_sending();
        self
    }

    /// Closes with a reset instead of in order.
    pub fn reset(mut self) {
        self.link.make_rude();
    }

    /// Limits what the system takes in for us, so that a peer feels that we read slowly.
    pub fn with_small_window(self) -> Wire {
        let _kept = socket2::SockRef::from(self.link.tcp()).set_recv_buffer_size(4096);
        self
    }

    /// The answer to a request that is not HEAD.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The answer to a request with this method.
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method)
            .unwrap_or_else(|lost| panic!("no answer to {method}: {lost:?}"))
    }

    /// Sends, then reads the answer to a request that is not HEAD.
    #[track_caller]
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// The answer to a request with this method, or why there is none.
    pub fn try_answer(&mut self, method: &str) -> Result<Answer, Lost> {
        let mut body = Vec::new();
        let mut answer = self.answer_into(method, &mut |data| body.extend_from_slice(data))?;
        answer.body = body;
        Ok(answer)
    }

    /// As [`Wire::try_answer`], with the body given away piece by piece.
    pub fn answer_into(
        &mut self,
        method: &str,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Answer, Lost> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head(method)?;
            match head.status {
                101 => break head,
                100..200 => interim.push(head),
                _ => break head,
            }
        };
        let mut decoder = BodyDecoder::new(head.framing, Mode::FromClient);
        let mut body_len = 0;
        let mut counted = |data: &[u8]| {
            body_len += data.len() as u64;
            sink(data);
        };
        loop {
            let used = decoder
                .feed(&self.buffer, &mut counted)
                .map_err(Lost::Malformed)?;
            self.buffer.drain(..used);
            if decoder.is_done() {
                break;
            }
            match self.fill() {
                Ok(()) => {}
                Err(End::Closed) if decoder.may_end_here() => break,
                Err(end) => return Err(Lost::Cut(end, Some(Box::new(head)), body_len)),
            }
        }
        let trailers = decoder.into_trailers();
        Ok(Answer {
            head,
            body: Vec::new(),
            body_len,
            trailers,
            interim,
        })
    }

    /// The next head, interim or final; its body stays unread.
    pub fn head(&mut self, method: &str) -> Result<ResponseHead, Lost> {
        loop {
            match take_response_head(&self.buffer, method).map_err(Lost::Malformed)? {
                Step::Done(head, used) => {
                    self.buffer.drain(..used);
                    return Ok(head);
                }
                Step::NeedMore => self.fill().map_err(|end| match self.buffer.is_empty() {
                    true => Lost::Nothing(end),
                    false => Lost::Cut(end, None, 0),
                })?,
            }
        }
    }

    /// Reads exactly so many bytes, without any meaning.
    #[track_caller]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let limit = self.deadline;
        self.try_bytes(len, limit)
            .unwrap_or_else(|end| panic!("{end:?} after {} of {len} bytes", self.buffer.len()))
    }

    /// Reads exactly so many bytes; what came of them before the end, or the limit, stays to be read.
    pub fn try_bytes(&mut self, len: usize, limit: Duration) -> Result<Vec<u8>, End> {
        self.await_bytes(len, limit)?;
        Ok(self.buffer.drain(..len).collect())
    }

    /// Waits until so many bytes can be read.
    pub fn await_bytes(&mut self, len: usize, limit: Duration) -> Result<(), End> {
        let end = Instant::now() + limit;
        while self.buffer.len() < len {
            self.fill_within(end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Bytes that have come and were not read yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads until the connection ends or the deadline passes.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let end = Instant::now() + self.deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.fill_within(left) {
                Ok(()) => {}
                Err(end) => return (std::mem::take(&mut self.buffer), end),
            }
        }
    }

    /// Fails unless the connection ends now with nothing more on it.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let (rest, end) = self.rest();
        let text = String::from_utf8_lossy(&rest);
        assert!(
            rest.is_empty() && end != End::Deadline,
            "{end:?}, and on the connection: {text:?}"
        );
    }

    /// True when nothing comes, and nothing ends, for so long.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.buffer.is_empty() && self.fill_within(time) == Err(End::Deadline)
    }

    fn fill(&mut self) -> Result<(), End> {
        self.fill_within(self.deadline)
    }

    fn fill_within(&mut self, limit: Duration) -> Result<(), End> {
        if limit.is_zero() {
            return Err(End::Deadline);
        }
        let _kept = self.link.tcp().set_read_timeout(Some(limit));
        let mut piece = [0; 64 * 1024];
        loop {
            return match self.link.read(&mut piece) {
                Ok(0) => Err(End::Closed),
                Ok(len) => {
                    self.buffer.extend_from_slice(&piece[..len]);
                    Ok(())
                }
                Err(fault) if fault.kind() == ErrorKind::Interrupted => continue,
                Err(fault)
                    if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    Err(End::Deadline)
                }
                Err(fault) => {
                    self.fault = Some(fault.to_string());
                    Err(match fault.kind() {
                        ErrorKind::UnexpectedEof => End::Truncated,
                        _ => End::Reset,
                    })
                }
            };
        }
    }
}
