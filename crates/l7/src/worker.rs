//! One worker: a thread with a runtime of its own and everything that its connections share.
//!
//! Nothing here is `Send`. What workers share among each other is in the [`Snapshot`], in the pools'
//! balancers and in the [`Gate`].

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use keel_net::{BufPool, Clock, Deadlines, Drain, Pulse};
use keel_observe::{LogBuffer, WorkerMetrics};
use keel_tls::rates::{ClientRates, RateLimit};
use keel_types::{ListenerId, PoolId, RouteId};
use keel_upstream::{IdleConnections, Pool};

use crate::exchange::Exchange;
use crate::h2::H2Connections;
use crate::snapshot::{PoolPlan, Snapshot};

/// A snapshot with this worker's handles for it.
pub struct View {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// This worker's counters, by the ids of the snapshot.
    pub metrics: WorkerMetrics,
    /// By route: whether a log of the route asks for fields of the server's answer.
    pub copies_answers: Vec<bool>,
    /// Name of this machine.
    pub hostname: String,
}

impl View {
    /// The plan of a pool.
    #[inline]
    pub fn pool(&self, id: PoolId) -> Option<&PoolPlan> {
        self.snapshot.pools.get(usize::from(id.0))
    }

    /// Whether a log of this route asks for fields of the server's answer.
    #[inline]
    pub fn copies_answers(&self, route: RouteId) -> bool {
        self.copies_answers
            .get(route.0 as usize)
            .copied()
            .unwrap_or(false)
    }
}

/// How many client connections the process may hold, over all workers.
#[derive(Debug)]
pub struct Gate {
    open: AtomicUsize,
    open_max: usize,
}

impl Gate {
    /// A gate for `open_max` connections.
    pub fn new(open_max: usize) -> Gate {
        Gate {
            open: AtomicUsize::new(0),
            open_max,
        }
    }

    /// Lets one more in, or not.
    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.open_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Pass { gate: self.clone() })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that may be.
    pub fn open_max(&self) -> usize {
        self.open_max
    }
}

/// One connection's place behind the [`Gate`]; given up on drop.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the connections of one worker share.
pub struct Worker {
    /// Number of the worker, from 0.
    pub index: usize,
    /// Time.
    pub clock: Clock,
    /// Read buffers.
    pub bufs: BufPool,
    /// The connections' deadlines.
    pub deadlines: Deadlines,
    /// Idle connections to servers.
    pub idle: IdleConnections,
    /// HTTP/2 connections to servers.
    pub h2: H2Connections,
    /// Whether the process is draining.
    pub drain: Drain,
    /// The limit of connections.
    pub gate: Arc<Gate>,
    /// Lines of the access logs.
    pub log: RefCell<LogBuffer>,
    /// Told of each tick, when a watchdog asks.
    pub pulse: Option<Pulse>,
    view: RefCell<Rc<View>>,
    /// Counts the views, so that waits see that theirs is not the latest any more.
    generation: Cell<u64>,
    /// When the last sweep was, in milliseconds of the clock.
    swept_ms: Cell<u64>,
    random: Cell<u64>,
    connections: Cell<u64>,
    open: Cell<usize>,
    cooled: Cell<usize>,
    heated: Cell<usize>,
    drain_due_ms: Cell<u64>,
    quiet_due_ms: Cell<u64>,
    tunnels_due_ms: Cell<u64>,
    /// TLS handshakes going on, by listener.
    handshakes: RefCell<Vec<usize>>,
    #[expect(
        clippy::vec_box,
        reason = "lent as boxes: moving one would cost more than a pointer"
    )]
    exchanges: RefCell<Vec<Box<Exchange>>>,
    /// How often clients begin handshakes, by listener, with what one may.
    handshake_rates: RefCell<Vec<Option<(u32, ClientRates)>>>,
}

/// Exchanges of ended streams that are kept for the next ones.
const EXCHANGES_KEPT: usize = 128;

/// Connections that must have gone cold before free memory is given back to the system.
const COOLED_TO_RELEASE: usize = 64;

impl Worker {
    /// A worker. `seed` makes its random numbers differ from those of others.
    pub fn new(
        index: usize,
        base: Instant,
        drain: Drain,
        gate: Arc<Gate>,
        (view, log): (View, LogBuffer),
        seed: u64,
    ) -> Worker {
        let worker = Worker {
            index,
            clock: Clock::new(base),
            bufs: BufPool::new(),
            deadlines: Deadlines::new(),
            idle: IdleConnections::new(),
            h2: H2Connections::default(),
            drain,
            gate,
            log: RefCell::new(log),
            pulse: None,
            view: RefCell::new(Rc::new(view)),
            generation: Cell::new(0),
            swept_ms: Cell::new(0),
            random: Cell::new(seed | 1),
            connections: Cell::new(0),
            open: Cell::new(0),
            cooled: Cell::new(0),
            heated: Cell::new(0),
            drain_due_ms: Cell::new(u64::MAX),
            quiet_due_ms: Cell::new(u64::MAX),
            tunnels_due_ms: Cell::new(u64::MAX),
            handshakes: RefCell::default(),
            exchanges: RefCell::default(),
            handshake_rates: RefCell::default(),
        };
        worker.serve_servers();
        worker
    }

    /// The snapshot in force, for a request to keep until it ends.
    #[inline]
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// How many views came before the one in force.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Serves from this view from now on. Requests that run keep theirs; connections to servers that
    /// are gone are closed as soon as nothing runs on them, and so are those of clients on listeners
    /// that are gone.
    pub fn publish(&self, view: View) {
        let before = self.view.replace(Rc::new(view));
        self.generation.set(self.generation.get() + 1);
        let servers_left = self.serve_servers();
        let view = self.view.borrow();
        let mut both = view
            .snapshot
            .listeners
            .iter()
            .zip(&before.snapshot.listeners);
        if servers_left || both.any(|(now, before)| now.gone && !before.gone) {
            // Whoever waits finds out that it is to leave.
            self.deadlines.wake_all();
        }
    }

    /// Keeps connections for the servers of the view, and for no others. Gives whether there are
    /// HTTP/2 connections to others.
    fn serve_servers(&self) -> bool {
        let view = self.view();
        let pools = || view.snapshot.pools.iter().map(|plan| &plan.pool);
        self.idle.serve(pools().flat_map(|pool| {
            let idle_timeout_ms = pool.keep_alive.idle_timeout_ms;
            let servers = pool.servers.iter();
            servers.map(move |server| (server, idle_timeout_ms))
        }));
        self.h2.serve(pools().flat_map(|pool| &pool.servers))
    }

    /// Whether the connections of a listener end as soon as nothing runs on them: the process drains,
    /// or the listener is gone.
    #[inline]
    pub fn is_leaving(&self, listener: ListenerId) -> bool {
        let view = self.view.borrow();
        let plan = view.snapshot.listeners.get(usize::from(listener.0));
        self.drain.is_draining() || plan.is_none_or(|plan| plan.gone)
    }

    /// Whether a listener speaks TLS.
    pub fn speaks_tls(&self, listener: ListenerId) -> bool {
        let view = self.view.borrow();
        let plan = view.snapshot.listeners.get(usize::from(listener.0));
        plan.is_some_and(|plan| plan.tls.is_some())
    }

    /// Counts a handshake that begins on a listener, when there is room below `max` for it.
    pub fn begin_handshake(&self, listener: ListenerId, max: usize) -> bool {
        let mut all = self.handshakes.borrow_mut();
        let position = usize::from(listener.0);
        if all.len() <= position {
            all.resize(position + 1, 0);
        }
        match all.get_mut(position) {
            Some(count) if *count < max => {
                *count += 1;
                true
            }
            _ => false,
        }
    }

    /// A handshake that was counted has ended.
    pub fn end_handshake(&self, listener: ListenerId) {
        if let Some(count) = self
            .handshakes
            .borrow_mut()
            .get_mut(usize::from(listener.0))
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether a client may begin a handshake now; `per_second` is what one may.
    pub fn may_shake(&self, listener: ListenerId, per_second: Option<u32>, client: IpAddr) -> bool {
        let Some(per_second) = per_second else {
            return true;
        };
        let position = usize::from(listener.0);
        let mut all = self.handshake_rates.borrow_mut();
        if all.len() <= position {
            all.resize_with(position + 1, || None);
        }
        let Some(rates) = all.get_mut(position) else {
            return true;
        };
        if rates.as_ref().is_none_or(|(limit, _)| *limit != per_second) {
            *rates = Some((
                per_second,
                ClientRates::new(RateLimit::per_second(per_second)),
            ));
        }
        let now_ms = self.clock.now_ms();
        rates
            .as_mut()
            .is_none_or(|(_, rates)| rates.allow(client, now_ms))
    }

    /// An exchange with nothing in it, for a stream.
    pub fn take_exchange(&self) -> Box<Exchange> {
        self.exchanges.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a stream's exchange back.
    pub fn give_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.clear(&self.bufs);
        let mut kept = self.exchanges.borrow_mut();
        if kept.len() < EXCHANGES_KEPT {
            kept.push(exchange);
        }
    }

    /// A random number (xorshift64*); not for secrets.
    #[inline]
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number for a new connection, unique in the process.
    pub fn next_connection(&self) -> u64 {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        ((self.index as u64) << 40) | number
    }

    /// Counts a connection of this worker as open while the guard lives.
    pub fn open_connection(self: &Rc<Self>) -> OpenConnection {
        self.open.set(self.open.get() + 1);
        OpenConnection {
            worker: self.clone(),
        }
    }

    /// Connections of this worker that are open.
    pub fn open_connections(&self) -> usize {
        self.open.get()
    }

    /// When requests that still run are ended because of a drain, in milliseconds of the clock.
    #[inline]
    pub fn drain_due_ms(&self) -> u64 {
        self.drain_due_ms.get()
    }

    /// When tunnels are ended because of a drain, in milliseconds of the clock.
    pub fn tunnels_due_ms(&self) -> u64 {
        self.tunnels_due_ms.get()
    }

    /// When kept connections without a request are closed because of a drain, in milliseconds of the clock; one that asks
    /// before is answered, and told that it was the last time.
    pub fn quiet_due_ms(&self) -> u64 {
        self.quiet_due_ms.get()
    }

    /// Closes kept connections without a request at `quiet_ms`, ends requests that still run at `requests_ms` and tunnels
    /// at `tunnels_ms`.
    pub fn set_drain_due(&self, quiet_ms: u64, requests_ms: u64, tunnels_ms: u64) {
        self.quiet_due_ms.set(quiet_ms);
        self.drain_due_ms.set(requests_ms);
        self.tunnels_due_ms.set(tunnels_ms);
    }

    /// A connection gave back what it held while it was busy.
    pub fn note_cooled(&self) {
        self.cooled.set(self.cooled.get() + 1);
    }

    /// A connection that was cold is busy again.
    pub fn note_heated(&self) {
        self.heated.set(self.heated.get() + 1);
    }

    /// What has to be done about once a second: closes idle connections that are too old or were
    /// closed, and after a burst gives the memory of connections that went cold back to the system.
    pub fn sweep(&self) {
        let (cooled, heated) = (self.cooled.replace(0), self.heated.replace(0));
        // Connections that come and go between the two will want their memory again.
        if cooled >= COOLED_TO_RELEASE && heated * 2 <= cooled {
            keel_sys::release_free_memory();
        }
        let now_ms = self.clock.now_ms();
        self.idle.sweep(now_ms);
        self.free_connections();
        self.h2.sweep();
        self.wake_for_cuts(now_ms);
    }

    /// Closes an idle connection of each pool at whose limit another worker waits for one.
    fn free_connections(&self) {
        let view = self.view();
        let limited = |plan: &&PoolPlan| {
            let limits = plan.limits.as_ref();
            limits.is_some_and(|limits| limits.connections().are_wanted())
        };
        for plan in view.snapshot.pools.iter().filter(limited) {
            self.free_connection(&plan.pool);
        }
    }

    /// Closes a connection to a server of the pool on which nothing runs, when there is one.
    pub fn free_connection(&self, pool: &Pool) {
        if !self.idle.close_one(pool.keys()) {
            self.h2.close_idle(pool.keys());
        }
    }

    /// Wakes what waits for servers that were drained with a limit which is over since the last sweep.
    fn wake_for_cuts(&self, now_ms: u64) {
        let after_ms = self.swept_ms.replace(now_ms);
        let view = self.view.borrow();
        let cut_now = view.snapshot.pools.iter().any(|plan| {
            let balancer = &plan.pool.balancer;
            let mut cuts = (0..balancer.len()).map(|at| balancer.state(at).cut_at_ms());
            cuts.any(|at_ms| at_ms > after_ms && at_ms <= now_ms)
        });
        if cut_now {
            self.deadlines.wake_all();
        }
    }

    /// Frees buffers that nobody needed of late, and gives a burst's worth back to the system.
    pub fn trim(&self) {
        const WORTH_RELEASING: usize = 512 << 10;

        if self.bufs.trim() >= WORTH_RELEASING {
            keel_sys::release_free_memory();
        }
    }

    /// Hands the lines of the access logs to the writer.
    pub fn flush_logs(&self) {
        self.log.borrow_mut().flush();
    }
}

/// See [`Worker::open_connection`].
pub struct OpenConnection {
    worker: Rc<Worker>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.worker.open.set(self.worker.open.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_lets_in_what_it_may_and_passes_are_given_back() {
        let gate = Arc::new(Gate::new(2));
        let first = gate.enter();
        let second = gate.enter();
        assert!(first.is_some() && second.is_some());
        assert!(gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
        assert_eq!(gate.open(), 1);
    }
}
