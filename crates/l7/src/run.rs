//! A worker's life: its runtime, its listeners, its tick, and its drain.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use keel_net::{Bound, TICK};
use keel_types::ListenerId;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::accept::accept;
use crate::worker::{View, Worker};

/// Ticks between two flushes of the access log.
const TICKS_PER_FLUSH: u64 = 2;
/// Ticks between two looks at the free buffers.
const TICKS_PER_TRIM: u64 = 3;
/// Ticks between two sweeps of idle server connections.
const TICKS_PER_SWEEP: u64 = 10;

/// How long a drain may take.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// For requests that run.
    pub requests: Duration,
    /// For tunnels.
    pub tunnels: Duration,
}

/// Told when an order has been carried out; dropped when it could not be, which is logged.
pub type Ack = oneshot::Sender<()>;

/// What the control plane tells a worker while it runs. The channel is to be bounded: a worker takes
/// one order after the other.
pub enum Order {
    /// The view to serve from from now on; made on the worker's own thread, from its number. Requests
    /// that run keep theirs.
    Publish(Box<dyn FnOnce(usize) -> View + Send>, Ack),
    /// Takes connections on this socket too. Publish the listener's plan first.
    Listen(ListenerId, Bound, Ack),
    /// Takes the connections that wait on the listener's socket of this address, then closes it.
    Unlisten(ListenerId, SocketAddr, Ack),
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Order::Publish(..) => f.write_str("Publish"),
            Order::Listen(id, bound, _) => write!(f, "Listen({}, {})", id.0, bound.address),
            Order::Unlisten(id, address, _) => write!(f, "Unlisten({}, {address})", id.0),
        }
    }
}

/// Runs a worker on this thread until the drain is over: every connection closed, or
/// `drain_times` after its begin.
///
/// # Errors
/// When the runtime cannot be made or a socket cannot be registered with it.
pub fn run_worker(
    make: impl FnOnce() -> Worker,
    listeners: Vec<(ListenerId, Bound)>,
    drain_times: DrainTimes,
    mut orders: mpsc::Receiver<Order>,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let worker = Rc::new(make());
    runtime.block_on(async {
        let ticker = tokio::task::spawn_local(tick(worker.clone()));
        let mut sockets = Sockets::new(worker.clone());
        let mut ended = Ok(());
        for (listener, bound) in listeners {
            ended = ended.and_then(|()| sockets.listen(listener, bound));
        }
        if ended.is_ok() {
            ended = serve(&worker, &mut sockets, &mut orders).await;
        }
        drain(&worker, drain_times).await;
        ticker.abort();
        worker.flush_logs();
        if let Some(pulse) = &worker.pulse {
            pulse.end(worker.index);
        }
        ended
    })
}

/// Takes connections and orders until the drain begins and what was queued then is taken.
async fn serve(
    worker: &Rc<Worker>,
    sockets: &mut Sockets,
    orders: &mut mpsc::Receiver<Order>,
) -> std::io::Result<()> {
    let mut takes_orders = true;
    while !worker.drain.is_draining() {
        tokio::select! {
            () = worker.drain.begun() => {}
            ended = sockets.ended() => ended?,
            order = orders.recv(), if takes_orders => match order {
                Some(order) => obey(worker, sockets, order),
                None => takes_orders = false,
            },
        }
    }
    // Whoever waits for an order to be carried out hears that it is not.
    orders.close();
    while orders.try_recv().is_ok() {}
    while !sockets.accepting.is_empty() {
        sockets.ended().await?;
    }
    Ok(())
}

fn obey(worker: &Rc<Worker>, sockets: &mut Sockets, order: Order) {
    match order {
        Order::Publish(make, done) => {
            worker.publish(make(worker.index));
            let _ = done.send(());
        }
        Order::Listen(listener, bound, done) => {
            let address = bound.address;
            match sockets.listen(listener, bound) {
                Ok(()) => drop(done.send(())),
                Err(error) => tracing::error!(%address, "cannot take connections: {error}"),
            }
        }
        Order::Unlisten(listener, address, done) => sockets.unlisten(listener, address, done),
    }
}

/// The listening sockets of a worker, each with a task that takes connections.
struct Sockets {
    worker: Rc<Worker>,
    accepting: JoinSet<std::io::Result<()>>,
    open: Vec<(ListenerId, SocketAddr, oneshot::Sender<Ack>)>,
}

impl Sockets {
    fn new(worker: Rc<Worker>) -> Sockets {
        Sockets {
            worker,
            accepting: JoinSet::new(),
            open: Vec::new(),
        }
    }

    fn listen(&mut self, listener: ListenerId, bound: Bound) -> std::io::Result<()> {
        let (local, lent) = (bound.address, bound.lent);
        let socket = TcpListener::from_std(bound.listener)?;
        let (stop, stopped) = oneshot::channel();
        self.open.push((listener, local, stop));
        self.accepting.spawn_local(accept(
            self.worker.clone(),
            socket,
            (listener, local),
            lent,
            stopped,
        ));
        Ok(())
    }

    /// Tells the task of a socket to end; it says so when the socket is closed. One that is not there
    /// is closed already.
    fn unlisten(&mut self, listener: ListenerId, address: SocketAddr, done: Ack) {
        let is_it =
            |(id, local, _): &(ListenerId, SocketAddr, _)| (*id, *local) == (listener, address);
        let mut done = Some(done);
        // After an upgrade with fewer workers there may be several.
        while let Some(at) = self.open.iter().position(is_it) {
            let (_, _, stop) = self.open.swap_remove(at);
            let _ = stop.send(done.take().unwrap_or_else(|| oneshot::channel().0));
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// The end of a task that took connections; waits for ever while there is none.
    async fn ended(&mut self) -> std::io::Result<()> {
        match self.accepting.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(std::io::Error::other("accepting panicked")),
            None => std::future::pending().await,
        }
    }
}

/// Fires deadlines, flushes logs, sweeps idle connections.
async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        interval.tick().await;
        count += 1;
        let now_us = worker.clock.tick();
        worker.deadlines.fire(now_us / 1000);
        if let Some(pulse) = &worker.pulse {
            pulse.beat(worker.index, now_us / 1000);
        }
        if count.is_multiple_of(TICKS_PER_FLUSH) {
            worker.flush_logs();
        }
        if count.is_multiple_of(TICKS_PER_TRIM) {
            worker.trim();
        }
        if count.is_multiple_of(TICKS_PER_SWEEP) {
            worker.clock.follow_wall();
            worker.sweep();
        }
    }
}

/// Waits for the connections to end, waking those that idle so that they close. What still runs at
/// the end of the time is ended by its own driver, which answers, logs and counts it.
async fn drain(worker: &Rc<Worker>, times: DrainTimes) {
    /// Time for the drivers to end what they run.
    const GRACE: Duration = Duration::from_millis(500);
    /// How long kept connections may wait for their next request when another process serves by now. A client that sends one
    /// while we close has no answer to it, and must not repeat a POST (RFC 9112, 9.3.1); nobody is in a hurry then.
    const QUIET_WHEN_REPLACED: Duration = Duration::from_secs(5);

    let now_ms = worker.clock.tick() / 1000;
    let after =
        |time: Duration| now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let quiet = match worker.drain.is_replaced() {
        true => QUIET_WHEN_REPLACED.min(times.requests),
        false => Duration::ZERO,
    };
    worker.set_drain_due(after(quiet), after(times.requests), after(times.tunnels));
    let due = tokio::time::Instant::now() + times.requests.max(times.tunnels);
    while worker.open_connections() > 0 && tokio::time::Instant::now() < due + GRACE {
        worker.deadlines.wake_all();
        tokio::time::sleep(Duration::from_millis(20)).await;
        worker.clock.tick();
        if tokio::time::Instant::now() >= due {
            let left = worker.open_connections();
            tracing::debug!(
                worker = worker.index,
                left,
                "drain timeout: ending what is left"
            );
        }
    }
    let left = worker.open_connections();
    if left > 0 {
        tracing::warn!(
            worker = worker.index,
            connections = left,
            "drain timeout: closed what was left"
        );
    }
}
