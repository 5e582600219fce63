//! Worker threads: how they are made, what they serve from, and how they are told of a new snapshot.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keel_l7::{Ack, DrainTimes, Gate, Order, Snapshot, View, Worker, run_worker};
use keel_net::{Bound, Drain, Pulse};
use keel_observe::{LogWriter, Registry};
use keel_types::ListenerId;
use tokio::sync::{mpsc, oneshot};

use crate::start::StartFault;

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 16;
/// How long a worker may take to carry an order out; then the others are not held up any longer.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

/// What all workers serve from.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) registry: Registry,
    /// By route: whether one of its logs asks for fields of the server's answer.
    pub(crate) copies_answers: Vec<bool>,
    pub(crate) hostname: String,
}

impl Serving {
    /// Call it on the worker's own thread.
    pub(crate) fn view(&self, worker: usize) -> View {
        View {
            snapshot: self.snapshot.clone(),
            metrics: self.registry.worker(worker),
            copies_answers: self.copies_answers.clone(),
            hostname: self.hostname.clone(),
        }
    }
}

/// What each worker thread is made of.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) logs: LogWriter,
    pub(crate) base: Instant,
    pub(crate) drain: Drain,
    pub(crate) gate: Arc<Gate>,
    pub(crate) drain_times: DrainTimes,
    pub(crate) pulse: Pulse,
}

/// Threads of workers, and where they take orders.
pub(crate) type Spawned = (
    Vec<JoinHandle<std::io::Result<()>>>,
    Vec<mpsc::Sender<Order>>,
);

/// Starts a worker for each set of sockets. What they serve from first is kept by nobody else: its logs
/// and certificates end with the configuration.
pub(crate) fn spawn(
    maker: &Arc<Maker>,
    serving: &Arc<Serving>,
    sets: Vec<Vec<(ListenerId, Bound)>>,
) -> Result<Spawned, StartFault> {
    let mut threads = Vec::with_capacity(sets.len());
    let mut senders = Vec::with_capacity(sets.len());
    for (index, set) in sets.into_iter().enumerate() {
        let (maker, serving) = (maker.clone(), serving.clone());
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let drain_times = maker.drain_times;
        let make = move || maker.worker(index, &serving);
        let run = move || run_worker(make, set, drain_times, orders);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(run)
            .map_err(StartFault::Thread)?;
        threads.push(thread);
        senders.push(sender);
    }
    Ok((threads, senders))
}

impl Maker {
    fn worker(&self, index: usize, serving: &Serving) -> Worker {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64;
        // Not for secrets: only so that workers and restarts do not draw the same numbers.
        let seed = now ^ (u64::from(std::process::id()) << 32) ^ ((index as u64 + 1) << 17);
        let mut worker = Worker::new(
            index,
            self.base,
            self.drain.clone(),
            self.gate.clone(),
            (serving.view(index), self.logs.buffer()),
            seed,
        );
        worker.pulse = Some(self.pulse.clone());
        worker
    }
}

/// Orders that workers were given.
#[derive(Debug)]
pub(crate) struct Given {
    due: tokio::time::Instant,
    waits: Vec<(mpsc::Sender<Order>, usize, oneshot::Receiver<()>)>,
    failed: Vec<usize>,
}

/// Tells every worker something and waits until all have done it; gives those that have not. A worker
/// that is at its end is none of them; one that does not come to it in time is not waited for, and
/// warned of.
pub(crate) async fn tell_all(
    workers: &[mpsc::Sender<Order>],
    order: impl FnMut(usize, Ack) -> Vec<Order>,
) -> Vec<usize> {
    give_all(workers, order).await.done().await
}

/// As [`tell_all`], but what the workers do is still to be waited for.
pub(crate) async fn give_all(
    workers: &[mpsc::Sender<Order>],
    mut order: impl FnMut(usize, Ack) -> Vec<Order>,
) -> Given {
    let mut given = Given {
        due: tokio::time::Instant::now() + ORDER_TIMEOUT,
        waits: Vec::with_capacity(workers.len()),
        failed: Vec::new(),
    };
    for (index, worker) in workers.iter().enumerate() {
        let (done, wait) = oneshot::channel();
        let mut late = false;
        for order in order(index, done) {
            let sent = tokio::time::timeout_at(given.due, worker.send(order)).await;
            late |= sent.is_err();
        }
        match late {
            true => {
                tracing::warn!(worker = index, "a worker takes no orders");
                given.failed.push(index);
            }
            false => given.waits.push((worker.clone(), index, wait)),
        }
    }
    given
}

impl Given {
    /// Waits until all is done; gives the workers that have not done it.
    pub(crate) async fn done(mut self) -> Vec<usize> {
        for (orders, worker, wait) in self.waits {
            match tokio::time::timeout_at(self.due, wait).await {
                Ok(Ok(())) => {}
                // At its end: it has closed its sockets and takes no orders.
                Ok(Err(_)) if orders.is_closed() => {}
                Ok(Err(_)) => {
                    tracing::error!(worker, "a worker could not carry out an order");
                    self.failed.push(worker);
                }
                Err(_) => {
                    tracing::warn!(worker, "a worker has not carried out an order in 10 s");
                }
            }
        }
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

    fn unlisten(_: usize, done: Ack) -> Vec<Order> {
        vec![Order::Unlisten(ListenerId(0), ADDRESS, done)]
    }

    #[tokio::test]
    async fn a_dropped_order_is_a_failure_unless_the_worker_ends() {
        let (mut senders, mut all) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (sender, orders) = mpsc::channel::<Order>(1);
            senders.push(sender);
            all.push(orders);
        }
        let (mut ends, mut fails, mut obeys) = (all.remove(0), all.remove(0), all.remove(0));
        let workers = tokio::spawn(async move {
            drop(fails.recv().await);
            if let Some(Order::Unlisten(.., done)) = obeys.recv().await {
                done.send(()).expect("somebody waits");
            }
            ends.close();
            drop(ends.recv().await);
            (fails, obeys)
        });
        assert_eq!(tell_all(&senders, unlisten).await, [1]);
        drop(workers.await);
    }
}
