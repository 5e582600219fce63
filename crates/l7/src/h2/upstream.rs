//! HTTP/2 connections to servers: one worker's, shared by its requests as far as their streams go.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use http::Request;
use keel_net::Deadline;
use keel_tls::Stream;
use keel_upstream::{KeepAlive, Server as Upstream, ServerKey};
use tokio::sync::Notify;

use super::H2Body;
use crate::limits::PoolLimits;
use crate::snapshot::ServerHttp2Plan;
use crate::worker::Worker;

/// One connection, as the requests on it see it.
struct Shared {
    worker: Rc<Worker>,
    send: SendRequest<Bytes>,
    address: SocketAddr,
    active: Cell<usize>,
    requests: Cell<u32>,
    opened_ms: u64,
    quiet_since_ms: Cell<u64>,
    closed: Cell<bool>,
    /// Its server is gone: it ends with the last request on it.
    leaving: Cell<bool>,
    changed: Rc<Notify>,
    /// Those of its pool, when it has some.
    limits: Option<Arc<PoolLimits>>,
    /// Of its keeper.
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .field("active", &self.active.get())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn has_room(&self, plan: &ServerHttp2Plan, requests_max: u32) -> bool {
        let streams_max = plan.streams_max.min(self.send.current_max_send_streams());
        self.active.get() < streams_max && !self.is_worn(requests_max)
    }

    /// Whether the connection takes further streams. After a GOAWAY it goes on only for those that run.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let leaving = matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Err(_)));
        !self.closed.get() && !leaving
    }

    /// Closes the connection, on which nothing runs.
    fn close_idle(&self) {
        self.closed.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether somebody waits for the place of a connection of its pool.
    fn is_wanted(&self) -> bool {
        let limits = self.limits.as_ref();
        limits.is_some_and(|limits| limits.connections().are_wanted())
    }

    /// Whether it has carried as many requests as it may.
    fn is_worn(&self, requests_max: u32) -> bool {
        self.requests.get() >= requests_max
    }
}

/// The connections to one server, by its key's slot.
#[derive(Debug, Default)]
struct Server {
    /// The server's id; 0 when nobody has the slot.
    id: u64,
    /// The server, when what its name stands for may change.
    named: Option<Arc<Upstream>>,
    list: Vec<Rc<Shared>>,
    connecting: bool,
    /// It chose HTTP/1.1 when it was last asked: nobody gains by waiting for another's connection.
    chose_http1: bool,
    changed: Rc<Notify>,
}

impl Server {
    /// The server is gone. Whoever waits for a connection to it looks again, and opens one for itself.
    fn leave(&self) {
        for shared in &self.list {
            shared.leaving.set(true);
        }
        self.changed.notify_waiters();
    }

    /// A place on the first connection that has room. Only the one that is taken is asked whether it is
    /// still open: that costs a look into the library.
    fn take(&mut self, plan: &ServerHttp2Plan, requests_max: u32) -> Option<H2Call> {
        loop {
            let at = self
                .list
                .iter()
                .position(|it| it.has_room(plan, requests_max))?;
            match self.list.get(at) {
                Some(shared) if shared.is_open() => return Some(call(shared)),
                _ => drop(self.list.remove(at)),
            }
        }
    }
}

/// The HTTP/2 connections of one worker, by the server's key.
///
/// They are shared for servers that [`H2Connections::serve`] named. A request of an older snapshot whose
/// server is gone gets a connection of its own.
#[derive(Debug, Default)]
pub struct H2Connections {
    servers: RefCell<Vec<Server>>,
}

/// A place on a connection for one request; given up on drop.
#[derive(Debug)]
pub struct H2Call {
    shared: Rc<Shared>,
}

impl Drop for H2Call {
    fn drop(&mut self) {
        self.shared.active.set(self.shared.active.get() - 1);
        let now_ms = self.shared.worker.clock.now_ms();
        self.shared.quiet_since_ms.set(now_ms);
        if self.shared.active.get() == 0 && self.shared.is_wanted() {
            self.shared.close_idle();
        }
        self.shared.changed.notify_one();
    }
}

impl H2Call {
    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Requests that the connection carried before this one.
    pub fn requests_before(&self) -> u32 {
        self.shared.requests.get().saturating_sub(1)
    }

    /// Whether the server said that it takes extended CONNECT (RFC 8441).
    pub fn takes_upgrades(&self) -> bool {
        self.shared.send.is_extended_connect_protocol_enabled()
    }

    /// How long the connection has been open, in milliseconds.
    pub fn age_ms(&self) -> u64 {
        let now_ms = self.shared.worker.clock.now_ms();
        now_ms.saturating_sub(self.shared.opened_ms)
    }

    /// Opens a stream with this head; `ended` when no body follows.
    pub fn send(&self, head: Request<()>, ended: bool) -> Result<H2Body, h2::Error> {
        let mut send = self.shared.send.clone();
        match send.send_request(head, ended) {
            Ok((answer, stream)) => Ok(H2Body::to_server(answer, stream, ended)),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// No further request goes over this connection.
    pub fn give_up(&self) {
        self.shared.closed.set(true);
    }
}

/// Leave to open a connection; taken back on drop.
pub struct Connecting<'a> {
    all: &'a H2Connections,
    server: ServerKey,
}

impl Connecting<'_> {
    /// Remembers what the server chose. Requests to one that speaks HTTP/1.1 do not wait for each other's
    /// connections from then on.
    pub fn chose_http1(&self, it_did: bool) {
        self.all
            .with(self.server, |server| server.chose_http1 = it_did);
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.all.with(self.server, |server| {
            server.connecting = false;
            server.changed.notify_waiters();
        });
    }
}

/// How a request comes to a stream.
pub enum Way<'a> {
    /// Over a connection that has room.
    Call(H2Call),
    /// Over one that it has to open.
    Connect(Connecting<'a>),
    /// Over one that another request is opening, or when a stream ends.
    Wait {
        /// Told when something changed.
        changed: Rc<Notify>,
        /// All streams that there may be are taken.
        full: bool,
    },
}

impl H2Connections {
    /// These are the servers from now on. Connections to all others end when nothing runs on them; their
    /// keepers find out when they are woken.
    ///
    /// Gives whether there are any.
    pub fn serve<'a>(&self, all: impl IntoIterator<Item = &'a Arc<Upstream>>) -> bool {
        let mut servers = self.servers.borrow_mut();
        let mut before = std::mem::take(&mut *servers);
        for one in all {
            let key = one.key;
            let position = key.slot as usize;
            if servers.len() <= position {
                servers.resize_with(position + 1, Server::default);
            }
            let kept = before.get_mut(position).filter(|it| it.id == key.id);
            let mut server = kept.map(std::mem::take).unwrap_or_default();
            server.id = key.id;
            server.named = one.is_name().then(|| one.clone());
            if let Some(place) = servers.get_mut(position) {
                *place = server;
            }
        }
        before.iter().for_each(Server::leave);
        before.iter().any(|server| !server.list.is_empty())
    }

    /// Takes no further requests over connections to addresses that the server's name does not stand
    /// for any more. Call it about once a second.
    pub fn sweep(&self) {
        for server in self.servers.borrow_mut().iter_mut() {
            let Some(named) = &server.named else {
                continue;
            };
            if !server.list.is_empty() {
                let addresses = named.resolved.load();
                server.list.retain(|shared| {
                    let stays = addresses.contains(&shared.address);
                    shared.leaving.set(!stays);
                    stays
                });
            }
        }
    }

    /// Closes the connection to any of these servers that has been without a request for longest;
    /// false when there is none.
    pub fn close_idle(&self, servers: impl IntoIterator<Item = ServerKey>) -> bool {
        let mut oldest: Option<Rc<Shared>> = None;
        for key in servers {
            self.with(key, |server| {
                let idle = |it: &&Rc<Shared>| it.active.get() == 0 && !it.closed.get();
                let idle = server.list.iter().filter(idle);
                let first = idle.min_by_key(|it| it.quiet_since_ms.get());
                let since_ms = oldest.as_ref().map(|it| it.quiet_since_ms.get());
                if let Some(first) = first
                    && since_ms.is_none_or(|since_ms| first.quiet_since_ms.get() < since_ms)
                {
                    oldest = Some(first.clone());
                }
            });
        }
        if let Some(shared) = &oldest {
            shared.close_idle();
        }
        oldest.is_some()
    }

    /// Looks at what there is for a server; `None` when the server is gone.
    fn with<T>(&self, server: ServerKey, f: impl FnOnce(&mut Server) -> T) -> Option<T> {
        let mut servers = self.servers.borrow_mut();
        let found = servers.get_mut(server.slot as usize)?;
        (found.id == server.id).then(|| f(found))
    }

    /// A place on a connection to `server` that is open and has room.
    pub fn take(
        &self,
        server: ServerKey,
        plan: &ServerHttp2Plan,
        requests_max: u32,
    ) -> Option<H2Call> {
        self.with(server, |it| it.take(plan, requests_max))?
    }

    /// A place on a connection to `server`, or what to do for one.
    pub fn find(&self, server: ServerKey, plan: &ServerHttp2Plan, requests_max: u32) -> Way<'_> {
        let way = self.with(server, |it| {
            if let Some(call) = it.take(plan, requests_max) {
                return Way::Call(call);
            }
            it.list.retain(|shared| shared.is_open());
            let fresh = it.list.iter().filter(|it| !it.is_worn(requests_max));
            let full = fresh.count() >= plan.connections_max;
            if full || it.connecting && !it.chose_http1 {
                let changed = it.changed.clone();
                return Way::Wait { changed, full };
            }
            it.connecting = true;
            Way::Connect(Connecting { all: self, server })
        });
        // Not made before it is needed: its drop says that nobody is connecting.
        way.unwrap_or_else(|| Way::Connect(Connecting { all: self, server }))
    }

    /// Takes a new connection in, keeps it going, and gives a place on it.
    pub fn add(
        worker: &Rc<Worker>,
        server: ServerKey,
        plan: &ServerHttp2Plan,
        keep: &KeepAlive,
        (send, connection): (SendRequest<Bytes>, Connection<Stream, Bytes>),
        (address, held, limits): (
            SocketAddr,
            Option<Box<dyn std::fmt::Debug>>,
            Option<Arc<PoolLimits>>,
        ),
    ) -> H2Call {
        let changed = worker.h2.with(server, |it| it.changed.clone());
        let shared = Rc::new(Shared {
            worker: worker.clone(),
            send,
            address,
            active: Cell::new(0),
            requests: Cell::new(0),
            opened_ms: worker.clock.now_ms(),
            quiet_since_ms: Cell::new(worker.clock.now_ms()),
            closed: Cell::new(false),
            leaving: Cell::new(changed.is_none()),
            changed: changed.unwrap_or_default(),
            limits,
            waker: Cell::default(),
        });
        let _ = worker.h2.with(server, |it| it.list.push(shared.clone()));
        let call = call(&shared);
        let keeper = Keeper {
            deadline: worker.deadlines.add(),
            ping_every_ms: plan.ping_every_ms,
            ping_timeout_ms: plan.ping_timeout_ms,
            keep: *keep,
            next_ping_ms: worker.clock.now_ms().saturating_add(plan.ping_every_ms),
            pong_due_ms: None,
            streams_max: 0,
            shared,
            _held: held,
        };
        tokio::task::spawn_local(keeper.keep(connection));
        call
    }
}

fn call(shared: &Rc<Shared>) -> H2Call {
    shared.active.set(shared.active.get() + 1);
    shared.requests.set(shared.requests.get().saturating_add(1));
    H2Call {
        shared: shared.clone(),
    }
}

/// What a window is at most (RFC 9113, 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Settings and limits towards servers.
pub fn client_builder(plan: &ServerHttp2Plan) -> h2::client::Builder {
    // Room for all streams at once: clients that take nothing of their answers must not hold up those of others.
    let streams = u32::try_from(plan.streams_max).unwrap_or(u32::MAX);
    let window_bytes = plan.stream_window_bytes.saturating_mul(streams);
    let window_bytes = window_bytes.max(plan.connection_window_bytes);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(plan.stream_window_bytes)
        .initial_connection_window_size(window_bytes.min(WINDOW_MAX))
        .max_header_list_size(64 << 10)
        .max_send_buffer_size(plan.send_buffer_bytes)
        .max_concurrent_streams(0);
    builder
}

/// Keeps a connection going until it ends: moves its frames, pings, and closes it when it idles.
struct Keeper {
    shared: Rc<Shared>,
    deadline: Deadline,
    ping_every_ms: u64,
    ping_timeout_ms: u64,
    keep: KeepAlive,
    next_ping_ms: u64,
    pong_due_ms: Option<u64>,
    /// Streams that the server took at a time when it was last looked.
    streams_max: usize,
    /// The connection's place in a limit.
    _held: Option<Box<dyn std::fmt::Debug>>,
}

impl Keeper {
    async fn keep(mut self, mut connection: Connection<Stream, Bytes>) {
        let mut ping = connection.ping_pong();
        poll_fn(|cx| {
            self.shared.waker.set(Some(cx.waker().clone()));
            let ended = Pin::new(&mut connection).poll(cx).is_ready();
            self.tell_of_room();
            if ended || self.is_over(ping.as_mut(), cx) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        // Dropping the connection fails what still runs on it.
        self.shared.closed.set(true);
        self.shared.changed.notify_waiters();
    }

    /// Whoever waits for a stream looks again when the server takes more of them.
    fn tell_of_room(&mut self) {
        let streams_max = self.shared.send.current_max_send_streams();
        if streams_max > self.streams_max {
            self.shared.changed.notify_waiters();
        }
        self.streams_max = streams_max;
    }

    /// Whether the connection is dead, or idle for too long.
    fn is_over(&mut self, ping: Option<&mut PingPong>, cx: &mut Context<'_>) -> bool {
        let now_ms = self.shared.worker.clock.now_ms();
        let idle = self.shared.active.get() == 0;
        let idle_due_ms = match idle {
            true => self.shared.quiet_since_ms.get() + self.keep.idle_timeout_ms,
            false => u64::MAX,
        };
        let is_of_use = !self.shared.is_worn(self.keep.requests_max)
            && !self.shared.leaving.get()
            && !self.shared.closed.get()
            && !self.shared.worker.drain.is_draining();
        if now_ms >= idle_due_ms || idle && !is_of_use {
            return true;
        }
        if let Some(ping) = ping {
            if ping.poll_pong(cx).is_ready() {
                self.pong_due_ms = None;
            }
            if self.pong_due_ms.is_some_and(|due| now_ms >= due) {
                tracing::debug!(server = %self.shared.address, "no answer to a ping");
                return true;
            }
            if now_ms >= self.next_ping_ms {
                self.next_ping_ms = now_ms.saturating_add(self.ping_every_ms);
                if !idle && self.pong_due_ms.is_none() && ping.send_ping(Ping::opaque()).is_ok() {
                    self.pong_due_ms = Some(now_ms + self.ping_timeout_ms);
                    // The ping goes out with the next poll of the connection.
                    cx.waker().wake_by_ref();
                }
            }
        }
        let due_ms = self
            .next_ping_ms
            .min(idle_due_ms)
            .min(self.pong_due_ms.unwrap_or(u64::MAX));
        self.deadline.set(due_ms);
        let _ = self.deadline.poll_fired(cx);
        false
    }
}
