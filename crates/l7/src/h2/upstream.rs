//! HTTP/2 connections to servers: one worker's, shared by its requests as far as their streams go.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use keel_http2::{Connection, StreamError};
use keel_net::Deadline;
use keel_tls::Stream;
use keel_upstream::{KeepAlive, Server as Upstream, ServerKey};

use super::H2Body;
use super::conn::{H2Conn, Wire};
use super::keeper::{Keeper, TRIM_AFTER_MS, client_config};
use super::waiting::{Line, Ticket};
use crate::limits::PoolLimits;
use crate::snapshot::ServerHttp2Plan;
use crate::worker::Worker;

/// Streams at a time on a connection whose server has yet to say how many it takes: what it should take at least
/// (RFC 9113, 6.5.2).
const UNTOLD_STREAMS_MAX: usize = 100;

/// One connection, as the requests on it see it.
pub(super) struct Shared {
    pub(super) conn: Rc<H2Conn>,
    pub(super) address: SocketAddr,
    pub(super) active: Cell<usize>,
    requests: Cell<u32>,
    opened_ms: u64,
    pub(super) quiet_since_ms: Cell<u64>,
    pub(super) closed: Cell<bool>,
    /// Its server is gone: it ends with the last request on it.
    leaving: Cell<bool>,
    /// Who waits for a stream to its server.
    pub(super) line: Rc<Line>,
    /// Those of its pool, when it has some.
    limits: Option<Arc<PoolLimits>>,
    pub(super) keep: KeepAlive,
    /// When its keeper looks at it in any case.
    pub(super) deadline: Deadline,
    /// For what, while nothing runs, besides the end of that.
    pub(super) due_ms: Cell<u64>,
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
    /// Streams that the server takes at a time.
    pub(super) fn streams_max(&self) -> usize {
        let engine = self.conn.engine();
        match engine.has_settings() {
            true => engine.peer_streams_max(),
            false => UNTOLD_STREAMS_MAX,
        }
    }

    /// Further streams that it takes now.
    fn room(&self, plan: &ServerHttp2Plan, requests_max: u32) -> usize {
        let streams = plan.streams_max.min(self.streams_max());
        let left = requests_max.saturating_sub(self.requests.get());
        streams
            .saturating_sub(self.active.get())
            .min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether the connection takes further streams. After a GOAWAY it goes on only for those that run.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.get() && self.conn.engine().is_open()
    }

    /// Closes the connection, on which nothing runs.
    fn close_idle(&self) {
        self.closed.set(true);
        self.look();
    }

    /// Has its keeper look at it.
    fn look(&self) {
        self.conn.wake_io();
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

    /// Whether it is kept for further requests.
    pub(super) fn is_of_use(&self) -> bool {
        !self.is_worn(self.keep.requests_max)
            && !self.leaving.get()
            && self.is_open()
            && !self.conn.worker.drain.is_draining()
    }

    /// When a connection on which nothing runs is looked at again.
    pub(super) fn idle_due_ms(&self) -> u64 {
        let after_ms = self.keep.idle_timeout_ms.min(TRIM_AFTER_MS);
        let idle_due_ms = self.quiet_since_ms.get().saturating_add(after_ms);
        idle_due_ms.min(self.due_ms.get())
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
    line: Rc<Line>,
}

impl Server {
    /// The server is gone. Whoever waits for a connection to it looks again, and opens one for itself.
    fn leave(&self) {
        for shared in &self.list {
            shared.leaving.set(true);
        }
        self.line.tell_all();
    }

    /// Lets go of connections that are closed, and of those to addresses that are not the server's any more. Whoever
    /// waits may open others for them.
    fn sweep(&mut self) {
        let before = self.list.len();
        if before == 0 {
            return;
        }
        self.list.retain(|shared| !shared.closed.get());
        if let Some(named) = &self.named {
            let addresses = named.resolved.load();
            self.list.retain(|shared| {
                let stays = addresses.contains(&shared.address);
                if !stays {
                    shared.leaving.set(true);
                    shared.look();
                }
                stays
            });
        }
        if self.list.len() < before {
            self.line.tell_all();
        }
    }

    /// A place on the first connection that has room, when it is for more than the `ahead` who came before. Only the
    /// connection that is taken is asked whether it is still open.
    fn take(&mut self, plan: &ServerHttp2Plan, requests_max: u32, ahead: usize) -> Option<H2Call> {
        if ahead > 0 {
            let open = self.list.iter().filter(|it| it.is_open());
            let room = open.map(|it| it.room(plan, requests_max));
            if room.fold(0, usize::saturating_add) <= ahead {
                return None;
            }
        }
        loop {
            let has_room = |it: &Rc<Shared>| it.room(plan, requests_max) > 0;
            let at = self.list.iter().position(has_room)?;
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
        let shared = &*self.shared;
        shared.active.set(shared.active.get().saturating_sub(1));
        let now_ms = shared.conn.worker.clock.now_ms();
        shared.quiet_since_ms.set(now_ms);
        if shared.active.get() == 0 {
            if shared.is_wanted() {
                shared.close_idle();
            } else if shared.is_of_use() {
                shared.deadline.set(shared.idle_due_ms());
            } else {
                shared.look();
            }
        }
        shared.line.tell_one();
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
        self.shared.conn.engine().takes_extended_connect()
    }

    /// Whether the server's settings came.
    pub fn has_settings(&self) -> bool {
        self.shared.conn.engine().has_settings()
    }

    /// Whether the connection takes further streams.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Whether the server broke the protocol, with which the connection ended.
    pub fn is_broken(&self) -> bool {
        self.shared.conn.engine().fault().is_some()
    }

    /// How long the connection has been open, in milliseconds.
    pub fn age_ms(&self) -> u64 {
        let now_ms = self.shared.conn.worker.clock.now_ms();
        now_ms.saturating_sub(self.shared.opened_ms)
    }

    /// Opens a stream with these fields; `ended` when no body follows, `head_only` when the answer has none.
    pub fn send<'f>(
        &self,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        ended: bool,
        head_only: bool,
    ) -> Result<H2Body, StreamError> {
        let conn = &self.shared.conn;
        let now_ms = conn.worker.clock.now_ms();
        let opened = match self.shared.closed.get() {
            true => Err(StreamError::Refused),
            false => conn.engine().open(fields, ended, head_only, now_ms),
        };
        match opened {
            Ok(stream) => Ok(H2Body::new(conn.clone(), stream)),
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
            match server.chose_http1 {
                true => server.line.tell_all(),
                // Whoever takes a place, or goes to open one, leaves the line, of which the next one is told.
                false => server.line.tell_one(),
            }
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
        /// Told when it is time to look again.
        ticket: Ticket,
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

    /// Forgets connections that are closed, and takes no further requests over those to addresses that the server's
    /// name does not stand for any more. Call it about once a second.
    pub fn sweep(&self) {
        for server in self.servers.borrow_mut().iter_mut() {
            server.sweep();
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

    /// A place on a connection to `server` that is open and has room for more than those who wait.
    pub fn take(
        &self,
        server: ServerKey,
        plan: &ServerHttp2Plan,
        requests_max: u32,
    ) -> Option<H2Call> {
        self.with(server, |it| {
            let ahead = it.line.ahead_of(None);
            it.take(plan, requests_max, ahead)
        })?
    }

    /// A place on a connection to `server`, or what to do for one. Who was told to wait comes again with its ticket.
    pub fn find(
        &self,
        server: ServerKey,
        plan: &ServerHttp2Plan,
        requests_max: u32,
        ticket: Option<Ticket>,
    ) -> Way<'_> {
        let way = self.with(server, |it| {
            let ticket = ticket.filter(|ticket| ticket.is_of(&it.line));
            let ahead = it.line.ahead_of(ticket.as_ref());
            if let Some(call) = it.take(plan, requests_max, ahead) {
                return Way::Call(call);
            }
            it.list.retain(|shared| shared.is_open());
            let fresh = it.list.iter().filter(|it| !it.is_worn(requests_max));
            let full = fresh.count() >= plan.connections_max;
            // Who was told before us has the first look, and may open a connection itself.
            let waits = || it.connecting || it.line.is_awaited(ahead);
            if full || !it.chose_http1 && waits() {
                let ticket = ticket.unwrap_or_else(|| it.line.join());
                return Way::Wait { ticket, full };
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
        stream: Stream,
        (address, held, limits): (
            SocketAddr,
            Option<Box<dyn std::fmt::Debug>>,
            Option<Arc<PoolLimits>>,
        ),
    ) -> H2Call {
        let now_ms = worker.clock.now_ms();
        let line = worker.h2.with(server, |it| it.line.clone());
        let engine = Connection::client(client_config(plan));
        let shared = Rc::new(Shared {
            conn: H2Conn::new(worker.clone(), engine),
            address,
            active: Cell::new(0),
            requests: Cell::new(0),
            opened_ms: now_ms,
            quiet_since_ms: Cell::new(now_ms),
            closed: Cell::new(false),
            leaving: Cell::new(line.is_none()),
            line: line.unwrap_or_default(),
            limits,
            keep: *keep,
            deadline: worker.deadlines.add(),
            due_ms: Cell::new(u64::MAX),
        });
        let _ = worker.h2.with(server, |it| it.list.push(shared.clone()));
        let call = call(&shared);
        let keeper = Keeper::new(shared, Wire::new(stream), plan, held);
        tokio::task::spawn_local(keeper.keep());
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

#[cfg(test)]
mod tests;
