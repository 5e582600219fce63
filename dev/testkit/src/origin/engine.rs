//! Listening, accepting, stopping and starting again.

use std::collections::HashSet;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::Stage;
use crate::wait::{until, within};

pub(crate) type Handler = Arc<dyn Fn(&mut Stage) + Send + Sync>;

/// Connections that the system may hold for us before they are accepted.
const BACKLOG: i32 = 4096;

/// A connection that is open.
#[derive(Debug)]
struct Live {
    number: usize,
    stream: TcpStream,
    /// True while its script waits for bytes.
    waiting: Arc<AtomicBool>,
}

impl Live {
    /// True when its script waits and the system holds neither bytes nor an end for it.
    fn is_at_rest(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let nothing = rustix::net::recv(&self.stream, &mut [0_u8][..], flags);
        // In this order: were the flag read first, a script could take the bytes in between.
        nothing.is_err() && self.waiting.load(Ordering::SeqCst)
    }
}

/// What the threads of an origin share with the test.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) requests: AtomicUsize,
    accepted: AtomicUsize,
    open: AtomicUsize,
    received: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    live: Mutex<Vec<Live>>,
    peers: Mutex<HashSet<SocketAddr>>,
    faults: Mutex<Vec<String>>,
}

impl Shared {
    pub(super) fn fault(&self, what: String) {
        lock(&self.faults).push(what);
    }
}

/// A server behind the proxy.
pub struct Origin {
    name: String,
    address: SocketAddr,
    handler: Handler,
    shared: Arc<Shared>,
    running: Option<Running>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish()
    }
}

struct Running {
    stop: Arc<AtomicBool>,
    acceptor: JoinHandle<()>,
}

impl Origin {
    /// An origin that does with each connection what the closure does; the connection closes when the closure returns.
    pub fn scripted(script: impl Fn(&mut Stage) + Send + Sync + 'static) -> Origin {
        Origin::with_handler("scripted", Arc::new(script))
    }

    /// An origin that answers each request on a connection of its own with the same bytes, then closes.
    pub fn fixed(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::scripted(move |stage| {
            if stage.request().is_some() {
                stage.send(&answer);
            }
        })
    }

    /// As [`Origin::scripted`], on an address of the caller's.
    pub fn scripted_at(
        address: SocketAddr,
        script: impl Fn(&mut Stage) + Send + Sync + 'static,
    ) -> Origin {
        Origin::with_handler_at(address, "scripted", Arc::new(script))
    }

    pub(crate) fn with_handler(name: &str, handler: Handler) -> Origin {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Origin::with_handler_at(any, name, handler)
    }

    pub(crate) fn with_handler_at(address: SocketAddr, name: &str, handler: Handler) -> Origin {
        let listener = listen(address);
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let running = Some(run(listener, &handler, &shared));
        Origin {
            name: name.to_owned(),
            address,
            handler,
            shared,
            running,
        }
    }

    /// Its name, which it gives in `X-Origin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it has read so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Connections that it has accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// All that has come on a connection, counted from 0.
    pub fn received(&self, connection: usize) -> Vec<u8> {
        let log = lock(&self.shared.received).get(connection).map(Arc::clone);
        log.map(|log| lock(&log).clone()).unwrap_or_default()
    }

    /// As [`Origin::received`], as text.
    pub fn received_text(&self, connection: usize) -> String {
        String::from_utf8_lossy(&self.received(connection)).into_owned()
    }

    /// Waits until the text has come on a connection.
    pub fn await_text(&self, connection: usize, text: &str) -> String {
        until(&format!("{text:?} at the origin"), || {
            Some(self.received_text(connection)).filter(|have| have.contains(text))
        })
    }

    /// Waits until all that was sent to us so far has been read, and every connection waits for more.
    /// False when that does not come about in time.
    pub fn await_rest(&self, limit: Duration) -> bool {
        // Connections are accepted in order: once ours is there, all earlier ones are.
        let Ok(barrier) = TcpStream::connect(self.address) else {
            return false;
        };
        let Ok(own) = barrier.local_addr() else {
            return false;
        };
        let accepted = within(limit, || {
            lock(&self.shared.peers).remove(&own).then_some(())
        });
        drop(barrier);
        let at_rest = || {
            lock(&self.shared.live)
                .iter()
                .all(Live::is_at_rest)
                .then_some(())
        };
        accepted.is_some() && within(limit, at_rest).is_some()
    }

    /// Takes the breaches of the protocol that were seen; those left here fail the test on drop.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.faults))
    }

    /// Stops: no new connections, all open ones cut.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.stop.store(true, Ordering::Release);
        let _woken = TcpStream::connect(self.address);
        running
            .acceptor
            .join()
            .expect("the acceptor does not panic");
        for live in lock(&self.shared.live).drain(..) {
            let _gone = live.stream.shutdown(Shutdown::Both);
        }
    }

    /// Starts again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        self.running = Some(run(listen(self.address), &self.handler, &self.shared));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
        let faults = self.take_faults();
        if !faults.is_empty() && !std::thread::panicking() {
            panic!(
                "what reached origin {:?} was not well-formed: {faults:#?}",
                self.name
            );
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> TcpListener {
    let try_listen = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    // A port that was ours a moment ago may be held by the proxy's own outgoing connection for an instant.
    until(&format!("listening on {address}"), || try_listen().ok())
}

fn run(listener: TcpListener, handler: &Handler, shared: &Arc<Shared>) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let (handler, shared, stopped) = (Arc::clone(handler), Arc::clone(shared), Arc::clone(&stop));
    let acceptor = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.load(Ordering::Acquire) {
                return;
            }
            if let Ok(stream) = stream {
                serve(
                    stream,
                    Arc::clone(&handler),
                    Arc::clone(&shared),
                    Arc::clone(&stopped),
                );
            }
        }
    });
    Running { stop, acceptor }
}

fn serve(stream: TcpStream, handler: Handler, shared: Arc<Shared>, stopped: Arc<AtomicBool>) {
    let _slower = stream.set_nodelay(true);
    let log = Arc::new(Mutex::new(Vec::new()));
    let number = {
        let mut received = lock(&shared.received);
        received.push(Arc::clone(&log));
        received.len() - 1
    };
    let waiting = Arc::new(AtomicBool::new(false));
    if let Ok(second) = stream.try_clone() {
        lock(&shared.live).push(Live {
            number,
            stream: second,
            waiting: Arc::clone(&waiting),
        });
    }
    if let Ok(peer) = stream.peer_addr() {
        lock(&shared.peers).insert(peer);
    }
    shared.open.fetch_add(1, Ordering::AcqRel);
    shared.accepted.fetch_add(1, Ordering::AcqRel);
    let body = move || {
        let mut stage = Stage::new(stream, number, log, Arc::clone(&shared), stopped, waiting);
        let outcome = catch_unwind(AssertUnwindSafe(|| handler(&mut stage)));
        if outcome.is_err() {
            shared.fault(format!("the script of connection {number} panicked"));
        }
        drop(stage);
        lock(&shared.live).retain(|live| live.number != number);
        shared.open.fetch_sub(1, Ordering::AcqRel);
    };
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    small.spawn(body).expect("the system gives us a thread");
}
