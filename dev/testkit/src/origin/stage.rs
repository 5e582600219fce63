//! One connection at an origin, as a script sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::engine::{Shared, lock};
use crate::strict::{BodyDecoder, Mode, Request, RequestHead, Step, take_request_head};
use crate::tls::{Link, TlsServer};
use crate::wait::SOON;

/// How long an origin waits for bytes; idle connections of a pool last longer than a test.
const READ_DEADLINE: Duration = Duration::from_secs(300);

/// Most bytes that are recorded of one connection; the rest of a bulk body is counted, not kept.
const RECORD_LEN_MAX: usize = 4 * 1024 * 1024;

/// A connection in the hands of a script.
pub struct Stage {
    /// `None` once a script has taken it.
    link: Option<Link>,
    number: usize,
    buffer: Vec<u8>,
    log: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Shared>,
    requests: usize,
    stopped: Arc<AtomicBool>,
    waiting: Arc<AtomicBool>,
}

impl Stage {
    pub(super) fn new(
        stream: TcpStream,
        number: usize,
        log: Arc<Mutex<Vec<u8>>>,
        shared: Arc<Shared>,
        stopped: Arc<AtomicBool>,
        waiting: Arc<AtomicBool>,
    ) -> Stage {
        Stage {
            link: Some(Link::plain(stream)),
            number,
            buffer: Vec::new(),
            log,
            shared,
            requests: 0,
            stopped,
            waiting,
        }
    }

    /// Position of this connection at this origin, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Requests that were read on this connection, this one included.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// The socket.
    #[track_caller]
    pub fn stream(&self) -> &TcpStream {
        self.link.as_ref().expect("a connection that is ours").tcp()
    }

    /// Shakes hands as a TLS server; false when that failed.
    pub fn start_tls(&mut self, server: &TlsServer) -> bool {
        let Some(link) = self.link.take() else {
            return false;
        };
        // The engine keeps a clone of the socket to cut it; the plain link itself says nothing when it is dropped.
        let accepted = link.tcp().try_clone().ok();
        self.link = accepted.and_then(|stream| server.accept(stream));
        self.link.is_some()
    }

    /// The connection itself, for a script that speaks something else on it; nothing can be read or sent here afterwards.
    pub fn take_link(&mut self) -> Option<Link> {
        self.link.take()
    }

    /// Counts a request that a script has read by itself.
    pub fn count_request(&mut self) {
        self.requests += 1;
        self.shared.requests.fetch_add(1, Ordering::AcqRel);
    }

    /// True when the test stops the origin.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Reads the head of a request. `None` when the connection ended, or the bytes are no request, which fails the test.
    pub fn head(&mut self) -> Option<RequestHead> {
        loop {
            match take_request_head(&self.buffer, Mode::ToBackend) {
                Ok(Step::Done(head, used)) => {
                    self.buffer.drain(..used);
                    self.requests += 1;
                    self.shared.requests.fetch_add(1, Ordering::AcqRel);
                    return Some(head);
                }
                Ok(Step::NeedMore) => {
                    if !self.fill() {
                        if !self.buffer.is_empty() && !self.stopped.load(Ordering::Acquire) {
                            self.fault("a head that was never finished");
                        }
                        return None;
                    }
                }
                Err(fault) => {
                    let text = String::from_utf8_lossy(&self.buffer).into_owned();
                    self.fault(&format!("{fault}, in {text:?}"));
                    return None;
                }
            }
        }
    }

    /// Reads a body, giving it away piece by piece. `None` when the connection ended inside.
    pub fn body(&mut self, decoder: &mut BodyDecoder, sink: &mut dyn FnMut(&[u8])) -> Option<()> {
        loop {
            match decoder.feed(&self.buffer, sink) {
                Ok(used) => self.buffer.drain(..used),
                Err(fault) => {
                    self.fault(&format!("{fault}, in a body"));
                    return None;
                }
            };
            if decoder.is_done() {
                return Some(());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads a whole request. `None` when the connection ended before its end.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let mut decoder = BodyDecoder::new(head.framing, Mode::ToBackend);
        let mut body = Vec::new();
        self.body(&mut decoder, &mut |data| body.extend_from_slice(data))?;
        Some(Request {
            head,
            body,
            trailers: decoder.into_trailers(),
            complete: true,
        })
    }

    /// Reads until something came; false at the end of the stream.
    pub fn some(&mut self) -> bool {
        self.fill()
    }

    /// Reads and forgets all until the end of the stream.
    pub fn until_end(&mut self) {
        while self.fill() {
            self.buffer.clear();
        }
    }

    /// Sends; false when the peer no longer takes bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        link.write_all(bytes.as_ref())
            .and_then(|()| link.flush())
            .is_ok()
    }

    /// Sends byte by byte, with a pause after each.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> bool {
        bytes.as_ref().iter().all(|byte| {
            let sent = self.send([*byte]);
            std::thread::sleep(pause);
            sent
        })
    }

    /// Tells the peer that no more comes.
    pub fn finish_sending(&mut self) {
        if let Some(link) = &mut self.link {
            link.finish_sending();
        }
    }

    /// Makes the close at the end of the script a reset.
    pub fn reset(&mut self) {
        if let Some(link) = &mut self.link {
            link.make_rude();
        }
    }

    /// Bytes that have come and were not read as a message yet.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Reports a breach of the protocol, which fails the test.
    pub fn fault(&self, what: &str) {
        self.shared
            .fault(format!("connection {}: {what}", self.number));
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        let Some(link) = &mut self.link else {
            return false;
        };
        let _kept = link.tcp().set_read_timeout(Some(READ_DEADLINE));
        loop {
            if !link.has_decrypted() {
                // Bytes are taken only after the flag is down, so that nobody sees us waiting with bytes in hand.
                self.waiting.store(true, Ordering::SeqCst);
                let ready = link.tcp().peek(&mut [0]);
                self.waiting.store(false, Ordering::SeqCst);
                if ready.is_err_and(|fault| fault.kind() != ErrorKind::Interrupted) {
                    return false;
                }
            }
            return match link.read(&mut piece) {
                Ok(len) => {
                    let mut log = lock(&self.log);
                    let keep = RECORD_LEN_MAX.saturating_sub(log.len()).min(len);
                    log.extend_from_slice(&piece[..keep]);
                    self.buffer.extend_from_slice(&piece[..len]);
                    len > 0
                }
                Err(fault) if fault.kind() == ErrorKind::Interrupted => continue,
                Err(_) => false,
            };
        }
    }
}

/// A door that a test opens for a script, or a script for a test.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed one.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Opens it for good.
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// True when it is open.
    pub fn is_open(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits until it is open; panics after [`SOON`].
    #[track_caller]
    pub fn wait(&self) {
        let open = lock(&self.0.0);
        let (open, _) = self
            .0
            .1
            .wait_timeout_while(open, SOON, |open| !*open)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(*open, "a gate that nobody opened");
    }
}
