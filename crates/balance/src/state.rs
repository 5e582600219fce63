//! The live state of one endpoint, shared by all workers and carried over reloads.
//!
//! Invariants: `active` is exactly the number of living [`Permit`]s; it goes up only in
//! `EndpointState::acquire` and down only when a permit drops. Rests are written under the lock of
//! `passive`, and read without it. All that keeps traffic away is one word, `rests_until_ms`: a
//! rest, an ejection and checks that fail look the same to the hot path.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use crate::ask::Transition;
use crate::average::Average;
use crate::board::{Board, Home, Truth};
use crate::load::LoadShare;
use crate::outlier::{OutlierSettings, Suspicion, Tally};
use crate::spec::EndpointSpec;

/// Counts, health and times of one endpoint. It belongs to one pool.
///
/// What the hot path touches comes first, so that it shares one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct EndpointState {
    active: AtomicU32,
    last_response_us: AtomicU32,
    /// End of the rest, 0 when healthy, [`DOWN`] while checks fail. A time that has passed means
    /// that one request may try it.
    rests_until_ms: AtomicU64,
    average: Average,
    /// Address of the board of `home`, 0 without one: most endpoints have none, and the hot path
    /// must not load a pointer to learn that.
    home_id: AtomicUsize,
    home: ArcSwapOption<Home>,
    /// Failures in the present window; a copy for readers.
    fails: AtomicU32,
    /// A request was let through since the last failure, so that a success means recovery (one
    /// of before the rest does not).
    on_trial: AtomicBool,
    /// When it last came back, 0 when it never was away.
    back_at_ms: AtomicU64,
    /// What it reports of its load.
    load: LoadShare,
    /// When requests that run here still are ended, 0 for never.
    cut_at_ms: AtomicU64,
    /// What outlier ejection knows of it.
    tally: Tally,
    passive: Mutex<Passive>,
}

/// `rests_until_ms` while checks fail.
const DOWN: u64 = u64::MAX;

/// The window in which failures are counted, and what came of them.
#[derive(Debug, Default)]
struct Passive {
    fails: u32,
    window_start_ms: u64,
    last_change: Option<(Transition, u64)>,
}

impl EndpointState {
    /// The state of an endpoint that has not been used.
    pub fn new() -> Self {
        EndpointState::default()
    }

    /// Requests that hold a permit.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::SeqCst)
    }

    /// Decaying average of response times in microseconds; 0 before the first.
    pub fn response_time_us(&self) -> u32 {
        self.average.value_us()
    }

    /// The latest response time in microseconds; 0 before the first.
    pub fn last_response_us(&self) -> u32 {
        self.last_response_us.load(Ordering::Relaxed)
    }

    /// Failures in the latest window; back to 0 with a recovery or a new window's first failure.
    pub fn fails(&self) -> u32 {
        self.fails.load(Ordering::Relaxed)
    }

    /// True while it rests after failures (or while a single request tries it after a rest), is
    /// ejected, or its checks fail.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        self.rests_until_ms() > now_ms
    }

    /// When its rest ends, in the time of `report`; 0 when it is healthy, `u64::MAX` while its
    /// checks fail. A time that has passed means that it is about to be tried again.
    pub fn rests_until_ms(&self) -> u64 {
        self.rests_until_ms.load(Ordering::Acquire)
    }

    /// True while its checks fail.
    pub fn is_down(&self) -> bool {
        self.rests_until_ms() == DOWN
    }

    /// When it last came back from a rest, an ejection or failing checks; 0 when it never was away.
    pub fn back_at_ms(&self) -> u64 {
        self.back_at_ms.load(Ordering::Acquire)
    }

    /// Lets a new endpoint begin slowly, as if it had come back now. Before the balancer's first
    /// request, or it takes a while to show.
    pub fn begin_slowly(&self, now_ms: u64) {
        self.back_at_ms.store(now_ms.max(1), Ordering::Release);
    }

    /// Takes in what it reports of its load, 0 (idle) to 1. Costs one load when another report was
    /// taken in the last 100 ms. It counts in pools with [`crate::PoolRules::follows_load`].
    pub fn report_load(&self, busy: f64, now_ms: u64) {
        self.load.report(busy, now_ms);
    }

    /// The share of its weight that its reported load leaves, above 0 to 1; 1 without a report in
    /// the last 30 s.
    pub fn load_share(&self, now_ms: u64) -> f64 {
        self.load.at(now_ms)
    }

    /// Sets when requests and tunnels that still run here are ended (a drain with a limit); 0 is
    /// never. It is for whoever carries them to keep to.
    pub fn set_cut_at(&self, at_ms: u64) {
        self.cut_at_ms.store(at_ms, Ordering::Release);
    }

    /// When requests and tunnels that still run here are ended; 0 is never.
    pub fn cut_at_ms(&self) -> u64 {
        self.cut_at_ms.load(Ordering::Acquire)
    }

    /// The latest change of its health, and when that was.
    pub fn last_change(&self) -> Option<(Transition, u64)> {
        self.lock().last_change
    }

    /// What outlier ejection knows of it.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a response time (say, from sending the request to the head of the answer) into the
    /// decaying average.
    pub fn record_response(&self, response_us: u64, now_ms: u64) {
        let sample = u32::try_from(response_us).unwrap_or(u32::MAX);
        self.last_response_us.store(sample, Ordering::Relaxed);
        self.average.record(sample, now_ms);
        self.tell_home(|board| board.hears_times());
    }

    /// Takes a failure into the average, for an algorithm that goes by times.
    pub(crate) fn penalise(&self, least_us: u32, now_ms: u64) {
        self.average.penalise(least_us, now_ms);
        self.tell_home(|board| board.hears_times());
    }

    /// Makes this board the one that hears of every change, or none. The board must be synced
    /// afterwards, not before: a change in between would be heard by neither.
    pub(crate) fn move_home(&self, home: Option<Home>) {
        let id = home
            .as_ref()
            .map_or(0, |home| Arc::as_ptr(&home.board).addr());
        self.home.store(home.map(Arc::new));
        self.home_id.store(id, Ordering::SeqCst);
    }

    /// Tells a board other than `told` (its address) that the state changed: the one of a newer
    /// balancer, when an older one still serves the last requests of before a reload.
    pub(crate) fn tell_others(&self, told: usize) {
        if self.home_id.load(Ordering::SeqCst) != told {
            self.tell_home(|_| true);
        }
    }

    #[inline]
    fn tell_home(&self, hears: impl Fn(&Board) -> bool) {
        if self.home_id.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some(home) = &*self.home.load()
            && hears(&home.board)
        {
            home.board.sync(home.slot, self);
        }
    }

    /// Takes a place, unless `max` (0 is no limit) are taken. The caller tells the boards.
    pub(crate) fn acquire(self: &Arc<Self>, max: u32) -> Option<Permit> {
        if max != 0 && self.active() >= max {
            return None;
        }
        let before = self.active.fetch_add(1, Ordering::SeqCst);
        if max != 0 && before >= max {
            self.active.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Permit {
            state: Arc::clone(self),
        })
    }

    /// Claims the one request that may try the endpoint once its rest is over; nobody else may
    /// until that request was reported or `every_ms` has passed again (as nginx does).
    pub(crate) fn claim_trial(&self, now_ms: u64, every_ms: u64) -> bool {
        let until = self.rests_until_ms.load(Ordering::Acquire);
        if until == 0 || until > now_ms {
            return false;
        }
        let next = rest_end(now_ms, every_ms);
        let claim =
            self.rests_until_ms
                .compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire);
        if claim.is_ok() {
            self.let_through();
        }
        claim.is_ok()
    }

    /// Notes that a request goes to it though it rests: its success will be a recovery.
    pub(crate) fn let_through(&self) {
        self.on_trial.store(true, Ordering::Release);
    }

    /// Counts a success; a healthy endpoint's costs one load.
    #[inline]
    pub(crate) fn succeeded(&self, now_ms: u64) -> Option<Transition> {
        // Successes within the window do not take failures back (as in nginx).
        if self.rests_until_ms() == 0 || !self.on_trial.load(Ordering::Acquire) {
            return None;
        }
        let mut passive = self.lock();
        if matches!(self.rests_until_ms(), 0 | DOWN) {
            return None;
        }
        Some(self.come_back(&mut passive, Transition::Recovered, now_ms))
    }

    /// Counts a failure by `max_fails` and `fail_timeout_ms`.
    pub(crate) fn failed(&self, spec: &EndpointSpec, now_ms: u64) -> Option<Transition> {
        if spec.max_fails == 0 || spec.fail_timeout_ms == 0 {
            return None;
        }
        let mut passive = self.lock();
        let until = self.rests_until_ms();
        if until == DOWN {
            return None;
        }
        let window_end = passive.window_start_ms.saturating_add(spec.fail_timeout_ms);
        if until == 0 && (passive.fails == 0 || now_ms >= window_end) {
            passive.fails = 0;
            passive.window_start_ms = now_ms;
        }
        passive.fails = passive.fails.saturating_add(1);
        self.fails.store(passive.fails, Ordering::Relaxed);
        if until == 0 && passive.fails < spec.max_fails {
            return None;
        }
        // A failure during the rest, or of the request that tried it again, starts the rest anew.
        let end = rest_end(now_ms, spec.fail_timeout_ms).max(until);
        self.go_away(&mut passive, Transition::Rested, end, now_ms)
    }

    /// Ejects it for this reason, unless it is away already.
    pub(crate) fn eject(
        &self,
        settings: &OutlierSettings,
        why: Suspicion,
        now_ms: u64,
    ) -> Option<Transition> {
        let mut passive = self.lock();
        if self.rests_until_ms() != 0 {
            return None;
        }
        let end = self.tally.eject(settings, now_ms);
        self.go_away(&mut passive, Transition::Ejected(why), end, now_ms)
    }

    /// Ejects it again when it was a trial after the ejection that failed; true when it was.
    pub(crate) fn eject_again(&self, settings: &OutlierSettings, now_ms: u64) -> bool {
        let mut passive = self.lock();
        let until = self.rests_until_ms();
        let trial = self.on_trial.load(Ordering::Acquire);
        if matches!(until, 0 | DOWN) || !trial || now_ms < self.tally.ejected_until_ms() {
            return false;
        }
        let end = self.tally.eject_again(settings, now_ms);
        passive.last_change = Some((Transition::Ejected(Suspicion::Trial), now_ms));
        self.go_away(&mut passive, Transition::Rested, end, now_ms);
        true
    }

    /// Keeps traffic away until then, for a reason of the caller's; not shorter than it is away
    /// already.
    pub(crate) fn rest(&self, until_ms: u64, now_ms: u64) -> Option<Transition> {
        let mut passive = self.lock();
        if until_ms <= now_ms.max(self.rests_until_ms()) {
            return None;
        }
        self.go_away(&mut passive, Transition::Rested, until_ms, now_ms)
    }

    /// Takes what its checks say.
    pub(crate) fn checked(&self, passes: bool, now_ms: u64) -> Option<Transition> {
        let mut passive = self.lock();
        match (passes, self.is_down()) {
            (true, false) | (false, true) => None,
            (true, true) => Some(self.come_back(&mut passive, Transition::Up, now_ms)),
            (false, false) => {
                self.on_trial.store(false, Ordering::Release);
                self.rests_until_ms.store(DOWN, Ordering::Release);
                passive.last_change = Some((Transition::Down, now_ms));
                Some(Transition::Down)
            }
        }
    }

    /// `Some` when it was not away before.
    fn go_away(
        &self,
        passive: &mut Passive,
        change: Transition,
        until_ms: u64,
        now_ms: u64,
    ) -> Option<Transition> {
        self.on_trial.store(false, Ordering::Release);
        let until_ms = until_ms.clamp(1, DOWN - 1);
        let before = self.rests_until_ms.swap(until_ms, Ordering::AcqRel);
        if before != 0 {
            return None;
        }
        passive.last_change = Some((change, now_ms));
        Some(change)
    }

    fn come_back(&self, passive: &mut Passive, change: Transition, now_ms: u64) -> Transition {
        passive.fails = 0;
        passive.last_change = Some((change, now_ms));
        self.fails.store(0, Ordering::Relaxed);
        self.tally.returned(now_ms);
        self.back_at_ms.store(now_ms.max(1), Ordering::Release);
        self.rests_until_ms.store(0, Ordering::Release);
        change
    }

    fn lock(&self) -> MutexGuard<'_, Passive> {
        // Nothing panics under the lock, and the counts stay usable if it did.
        self.passive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let before = self.active.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a permit was dropped that nobody took");
        self.tell_home(|_| true);
    }
}

impl Truth for EndpointState {
    fn active(&self) -> u32 {
        EndpointState::active(self)
    }

    fn average_us(&self) -> u32 {
        self.response_time_us()
    }
}

/// End of a rest that begins now; never 0, which means healthy.
fn rest_end(now_ms: u64, fail_timeout_ms: u64) -> u64 {
    now_ms.saturating_add(fail_timeout_ms).clamp(1, DOWN - 1)
}

/// A place taken at an endpoint; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropping the permit ends the request's place at the server"]
pub struct Permit {
    state: Arc<EndpointState>,
}

impl Permit {
    /// The endpoint's state.
    pub fn state(&self) -> &EndpointState {
        &self.state
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state.release();
    }
}
