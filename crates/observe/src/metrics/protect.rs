//! What is counted of the protection of a pool: refusals, breakers, the queue, hedges, the budget of
//! retries.

use super::catalog;
use super::cell::Cell;
use super::exposition::Text;
use super::handles::{PoolCells, PoolMetrics};
use super::histogram::{Buckets, Histogram};
use super::series::Series;

/// Why a request was refused before any server of its pool was asked, a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The circuit breaker of the pool was open, or those of all servers.
    Breaker,
    /// The pool had as many requests or connections as it may have.
    Limit,
    /// The pool had as many requests as it can serve well (adaptive concurrency).
    Concurrency,
    /// The queue was full.
    QueueFull,
    /// No server became free within the longest wait.
    QueueTimeout,
    /// The process had too many requests, or was short of memory.
    Shed,
}

impl Refusal {
    /// All reasons, in the order of their cells.
    pub const ALL: [Refusal; 6] = [
        Refusal::Breaker,
        Refusal::Limit,
        Refusal::Concurrency,
        Refusal::QueueFull,
        Refusal::QueueTimeout,
        Refusal::Shed,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Breaker => "breaker",
            Refusal::Limit => "limit",
            Refusal::Concurrency => "concurrency",
            Refusal::QueueFull => "queue_full",
            Refusal::QueueTimeout => "queue_timeout",
            Refusal::Shed => "shed",
        }
    }
}

/// What a circuit breaker changed to, a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerTurn {
    /// Requests are refused.
    Opened,
    /// A few requests pass.
    HalfOpened,
    /// Requests pass again.
    Closed,
}

impl BreakerTurn {
    /// All changes, in the order of their cells.
    pub const ALL: [BreakerTurn; 3] = [
        BreakerTurn::Opened,
        BreakerTurn::HalfOpened,
        BreakerTurn::Closed,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerTurn::Opened => "open",
            BreakerTurn::HalfOpened => "half_open",
            BreakerTurn::Closed => "closed",
        }
    }
}

/// One worker's cells for the protection of one pool.
#[derive(Debug, Default)]
pub(crate) struct ProtectCells {
    refused: [Cell; Refusal::ALL.len()],
    /// Of the pool's breaker, then of its servers'.
    turns: [[Cell; BreakerTurn::ALL.len()]; 2],
    budget_exhausted: Cell,
    hedges: Cell,
    hedges_won: Cell,
    waiting: Cell,
    waited: Histogram,
}

impl PoolMetrics {
    /// Counts a request that was refused before any server was asked.
    pub fn refused(&self, why: Refusal) {
        if let Some(cell) = self.cells().protect.refused.get(why as usize) {
            cell.add(1);
        }
    }

    /// Counts a change of the pool's breaker, or of that of one of its servers.
    pub fn breaker_turned(&self, of_server: bool, turn: BreakerTurn) {
        let turns = self.cells().protect.turns.get(usize::from(of_server));
        if let Some(cell) = turns.and_then(|turns| turns.get(turn as usize)) {
            cell.add(1);
        }
    }

    /// Counts a further attempt (a retry or a hedge) that the budget did not allow.
    pub fn budget_exhausted(&self) {
        self.cells().protect.budget_exhausted.add(1);
    }

    /// Counts a hedge: a request that was sent to a second server because the first is slow.
    pub fn hedged(&self) {
        self.cells().protect.hedges.add(1);
    }

    /// Counts a hedge that answered first.
    pub fn hedge_won(&self) {
        self.cells().protect.hedges_won.add(1);
    }

    /// A request waits for a free server from now on.
    pub fn wait_began(&self) {
        self.cells().protect.waiting.add(1);
    }

    /// It waits no longer, after so many microseconds.
    pub fn wait_ended(&self, waited_us: u64) {
        let cells = &self.cells().protect;
        cells.waiting.sub(1);
        cells.waited.record_us(waited_us);
    }
}

/// Writes the families of protection for these pools.
pub(super) fn render<'a>(
    pools: impl Iterator<Item = &'a Series<PoolCells>> + Clone,
    text: &mut Text<'_>,
) {
    text.family(&catalog::POOL_REFUSED);
    for series in pools.clone() {
        for why in Refusal::ALL {
            let sum = series.sum(|cells| read(cells.protect.refused.get(why as usize)));
            text.labelled(&series.labels, "reason", why.name(), sum);
        }
    }
    for (of_server, family) in [
        (0, &catalog::POOL_BREAKER_CHANGES),
        (1, &catalog::SERVER_BREAKER_CHANGES),
    ] {
        text.family(family);
        for series in pools.clone() {
            for turn in BreakerTurn::ALL {
                let sum = series.sum(|cells| {
                    let turns = cells.protect.turns.get(of_server);
                    read(turns.and_then(|turns| turns.get(turn as usize)))
                });
                text.labelled(&series.labels, "to", turn.name(), sum);
            }
        }
    }
    type Figure = fn(&ProtectCells) -> &Cell;
    let plain: [(&catalog::Metric, Figure); 4] = [
        (&catalog::POOL_BUDGET_EXHAUSTED, |it| &it.budget_exhausted),
        (&catalog::POOL_HEDGES, |it| &it.hedges),
        (&catalog::POOL_HEDGES_WON, |it| &it.hedges_won),
        (&catalog::POOL_WAITING, |it| &it.waiting),
    ];
    for (family, figure) in plain {
        text.family(family);
        for series in pools.clone() {
            let sum = series.sum(|cells| figure(&cells.protect).read());
            text.value(&series.labels, sum);
        }
    }
    text.family(&catalog::POOL_QUEUE_WAIT);
    for series in pools {
        let mut waited = Buckets::default();
        for cells in series.each() {
            cells.protect.waited.add_to(&mut waited);
        }
        text.histogram(&series.labels, &waited);
    }
}

fn read(cell: Option<&Cell>) -> u64 {
    cell.map_or(0, Cell::read)
}
