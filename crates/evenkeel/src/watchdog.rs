//! Tells the supervisor's watchdog that the process lives, for as long as its workers do.

use std::time::Duration;

/// Pings as often as the supervisor wants (`None`: never). `stuck` gives the workers that have not
/// ticked for so long; while there is one, nothing is said, and the supervisor ends the process.
///
/// It runs on the main thread's runtime: when that is stuck, nothing is said either.
pub async fn watch(
    every: Option<Duration>,
    stuck: impl Fn(Duration) -> Vec<usize>,
    ping: impl Fn(),
) {
    /// Workers tick ten times a second; a machine that is busy may be late.
    const LATE_MIN: Duration = Duration::from_secs(1);

    let Some(every) = every else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        ticks.tick().await;
        let late = stuck(every.max(LATE_MIN));
        if late.is_empty() {
            told = false;
            ping();
        } else if !std::mem::replace(&mut told, true) {
            tracing::error!(workers = ?late, "workers are stuck: the watchdog is not told any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[tokio::test(start_paused = true)]
    async fn pings_go_on_while_workers_tick_and_stop_when_one_is_stuck() {
        let start = tokio::time::Instant::now();
        let (pings, stuck) = (Cell::new(0), RefCell::new(Vec::new()));
        let every = Duration::from_secs(15);
        let watching = watch(
            Some(every),
            |limit| {
                assert_eq!(limit, every);
                stuck.borrow().clone()
            },
            || pings.set(pings.get() + 1),
        );
        tokio::pin!(watching);
        let run = async |seconds: u64, watching: &mut std::pin::Pin<&mut _>| {
            let _ = tokio::time::timeout_at(start + Duration::from_secs(seconds), watching).await;
        };
        run(61, &mut watching).await;
        assert_eq!(pings.get(), 5);
        *stuck.borrow_mut() = vec![1];
        run(121, &mut watching).await;
        assert_eq!(pings.get(), 5);
        stuck.borrow_mut().clear();
        run(136, &mut watching).await;
        assert_eq!(pings.get(), 6);
    }
}
