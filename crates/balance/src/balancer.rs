//! The balancer: how a server is chosen, taken, and judged.
//!
//! A request takes the way of [`Balancer::select`]: load the view, ask the algorithm for a
//! candidate, take a place there. Candidates that were tried, are full, or turn out to rest are
//! passed over a few times; then `select_any` looks through the tiers word by word. Whatever could
//! take the request is found, and nothing scans the pool.
//!
//! The view is written under a lock, on changes of health only: by a report that rests or recovers
//! an endpoint, by the first request after the end of a rest, by the request that tries a rested
//! endpoint again, and by the first request of all. The last also makes this balancer the home of
//! the states, so that one that was built but never used (a reload that failed) disturbs nothing.
//! While an endpoint warms up after a rest, the view is written in steps with its growing share.
//!
//! `judge` is what takes endpoints out and brings them back; `warm` is the choice while one of
//! them gets its traffic by degrees.

mod judge;
mod warm;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::ask::{Ask, BoundFault, SelectFault, Selected};
use crate::bits::Bits;
use crate::board::{Board, Home};
use crate::choose::{Choose, Look, Walk, goes_by_keys, goes_by_weight, keeps, want};
use crate::hash::{mix, reduce};
use crate::members::Members;
use crate::round_robin::Turn;
use crate::rules::PoolRules;
use crate::spec::{Algorithm, BalanceFault, EndpointSpec, validate};
use crate::state::{EndpointState, Permit};
use crate::view::{Tier, View};

/// Candidates of the algorithm that are looked at before any other server is taken.
const ATTEMPTS_MAX: u32 = 8;

/// Views that one request goes by when health changes under it.
const VIEWS_MAX: u32 = 3;

/// One request in so many puts one endpoint of the board right, should a state be shared by two
/// pools in spite of the rule.
const HEAL_ONE_IN: u64 = 64;

/// The endpoints of a pool with their algorithm. Shared by all workers.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    rules: PoolRules,
    choose: Choose,
    members: Members,
    board: Option<Arc<Board>>,
    view: ArcSwap<View>,
    turn: Turn,
    /// Until then no ejection is tried: as many are out as may be.
    no_ejection_until_ms: AtomicU64,
    writer: Mutex<Writer>,
}

/// Held while the view is written.
#[derive(Debug, Default)]
struct Writer {
    /// The states know this balancer's board.
    settled: bool,
}

/// What the algorithm came to.
enum Choice {
    Taken(Selected),
    /// The health of a candidate is not what the view says.
    OldView,
    /// No candidate takes the request.
    Nobody,
}

/// What became of an attempt to take a place.
enum Admission {
    Taken(Permit),
    Full,
    /// It rests, which the view does not know.
    Resting,
}

impl Balancer {
    /// A balancer over these endpoints; positions are those of the vector. States may come from
    /// the balancer before a reload: counts and rests go on. A state belongs to one pool.
    pub fn new(
        algorithm: Algorithm,
        endpoints: Vec<(EndpointSpec, Arc<EndpointState>)>,
    ) -> Result<Balancer, BalanceFault> {
        Balancer::with_rules(algorithm, endpoints, PoolRules::default())
    }

    /// The same with rules of the pool.
    pub fn with_rules(
        algorithm: Algorithm,
        endpoints: Vec<(EndpointSpec, Arc<EndpointState>)>,
        rules: PoolRules,
    ) -> Result<Balancer, BalanceFault> {
        let mut specs = endpoints.iter().map(|(spec, _)| spec);
        validate(&algorithm, &mut specs, rules.tiers.len())?;
        let members = Members::new(endpoints, &rules);
        let board =
            keeps(&algorithm, &members, &rules).map(|keeps| Arc::new(Board::new(&members, keeps)));
        Ok(Balancer {
            algorithm,
            rules,
            choose: Choose::new(&algorithm, &members),
            members,
            board,
            view: ArcSwap::from_pointee(View::unread()),
            turn: Turn::default(),
            no_ejection_until_ms: AtomicU64::new(0),
            writer: Mutex::default(),
        })
    }

    /// Chooses an endpoint and takes a place there.
    pub fn select(&self, ask: &Ask<'_>) -> Result<Selected, SelectFault> {
        let mut view = self.view.load();
        if ask.now_ms >= view.next_change_ms {
            self.refresh_due(&view, ask.now_ms);
            view = self.view.load();
        }
        for _ in 0..VIEWS_MAX {
            match self.select_from(&view, ask) {
                Choice::Taken(selected) => return Ok(selected),
                Choice::OldView => view = self.view.load(),
                Choice::Nobody => break,
            }
        }
        self.select_any(&view, ask)
    }

    /// Takes a place at a given endpoint (session affinity) when it is not down, does not rest and
    /// is not full. A drained one (weight 0) keeps its sessions.
    pub fn take(&self, index: usize, now_ms: u64) -> Option<Selected> {
        let view = self.view.load();
        if now_ms >= view.next_change_ms {
            self.refresh_due(&view, now_ms);
        }
        if self.members.spec(index)?.down {
            return None;
        }
        match self.admit(index, now_ms, false) {
            Admission::Taken(permit) => Some(Selected { index, permit }),
            Admission::Full | Admission::Resting => None,
        }
    }

    /// Takes a place at the server that a session is bound to. Unlike [`Balancer::take`] it tells a
    /// full server, which keeps its sessions, from one that takes none, a drained one included;
    /// such a session is to be bound anew. When no server of the pool is healthy and requests are
    /// spread over all, sessions stay where they are. Tiers and slow start do not matter.
    pub fn select_bound(&self, index: usize, ask: &Ask<'_>) -> Result<Selected, BoundFault> {
        let mut view = self.view.load();
        if ask.now_ms >= view.next_change_ms {
            self.refresh_due(&view, ask.now_ms);
            view = self.view.load();
        }
        let open = self.members.spec(index).is_some_and(EndpointSpec::is_open);
        if !open || ask.tried.contains(&index) {
            return Err(BoundFault::Unusable);
        }
        match self.admit(index, ask.now_ms, view.tier == Tier::Resting) {
            Admission::Taken(permit) => Ok(Selected { index, permit }),
            Admission::Full => Err(BoundFault::Full),
            Admission::Resting => Err(BoundFault::Unusable),
        }
    }

    /// How it chooses.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The rules beside the algorithm.
    pub fn rules(&self) -> &PoolRules {
        &self.rules
    }

    /// Number of endpoints.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True without endpoints.
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// What endpoint `index` was told.
    ///
    /// # Panics
    /// When `index` is not below [`Balancer::len`].
    pub fn endpoint(&self, index: usize) -> &EndpointSpec {
        &self.members.specs()[index]
    }

    /// The live state of endpoint `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Balancer::len`].
    pub fn state(&self, index: usize) -> &Arc<EndpointState> {
        &self.members.member(index).state
    }

    /// Endpoints that are open (not down, weight above 0) and do not rest.
    pub fn ready_count(&self, now_ms: u64) -> usize {
        let ready = |(index, spec): &(usize, &EndpointSpec)| {
            spec.is_open() && !self.state(*index).is_resting(now_ms)
        };
        self.members
            .specs()
            .iter()
            .enumerate()
            .filter(ready)
            .count()
    }

    /// Goes by the algorithm.
    #[inline]
    fn select_from(&self, view: &View, ask: &Ask<'_>) -> Choice {
        if !view.warming.is_empty() {
            return self.select_warming(view, ask);
        }
        self.select_by(view, ask)
    }

    #[inline]
    fn select_by(&self, view: &View, ask: &Ask<'_>) -> Choice {
        let look = Look {
            ask,
            view,
            members: &self.members,
            board: self.board.as_deref(),
        };
        let mut walk = Walk::of(ask);
        while walk.step < ATTEMPTS_MAX {
            let Some(index) = self.choose.candidate(&look, &self.turn, &mut walk) else {
                break;
            };
            walk.step += 1;
            if ask.tried.contains(&index) {
                continue;
            }
            match self.admit(index, ask.now_ms, view.tier == Tier::Resting) {
                Admission::Taken(permit) => {
                    self.heal(ask.random);
                    return Choice::Taken(Selected { index, permit });
                }
                Admission::Full => {}
                Admission::Resting => return Choice::OldView,
            }
        }
        Choice::Nobody
    }

    /// Tries to take a place. `resting_too` when nobody better is left.
    fn admit(&self, index: usize, now_ms: u64, resting_too: bool) -> Admission {
        let member = self.members.member(index);
        let rests_until_ms = member.state.rests_until_ms();
        if rests_until_ms > now_ms && !resting_too {
            self.refresh_soon(now_ms);
            return Admission::Resting;
        }
        let Some(permit) = member.state.acquire(member.max_connections) else {
            return Admission::Full;
        };
        if rests_until_ms != 0 && !self.let_through(index, now_ms, resting_too) {
            return Admission::Resting;
        }
        let told = self.board.as_ref().map_or(0, |board| {
            board.sync(index, &*member.state);
            Arc::as_ptr(board).addr()
        });
        member.state.tell_others(told);
        Admission::Taken(permit)
    }

    /// Whether this request may go to an endpoint that had to rest: one after the rest, or any
    /// when nobody better is left.
    #[cold]
    fn let_through(&self, index: usize, now_ms: u64, resting_too: bool) -> bool {
        let member = self.members.member(index);
        if resting_too {
            member.state.let_through();
            return true;
        }
        let claimed = member.state.claim_trial(now_ms, member.trial_every_ms);
        if claimed {
            self.refresh(self.lock(), now_ms);
        } else {
            self.refresh_soon(now_ms);
        }
        claimed
    }

    /// Any server that takes the request, tier after tier, or why there is none.
    #[cold]
    fn select_any(&self, view: &View, ask: &Ask<'_>) -> Result<Selected, SelectFault> {
        if self.is_empty() {
            return Err(SelectFault::NoServers);
        }
        let start = match view.tier {
            Tier::Closed => return Err(SelectFault::TooFewHealthy),
            // The first healthy one, by definition of that tier.
            Tier::Zero => 0,
            _ => reduce(mix(ask.random), self.len() as u64) as usize,
        };
        let resting = view.tier == Tier::Resting;
        if let Some(selected) = self.any_of(&view.ready.bits, start, resting, ask) {
            return Ok(selected);
        }
        for spare in &view.spares {
            if let Some(selected) = self.any_of(spare, start, false, ask) {
                return Ok(selected);
            }
        }
        let mut ready = view.spares.iter().chain([&view.ready.bits]);
        if ready.any(|bits| self.any_full(bits, ask)) {
            return Err(SelectFault::AllFull);
        }
        // Everybody who is ready was tried, and failed: rather one that rests than an error, and
        // rather one whose checks fail than that.
        for last in [&view.open, &view.failing] {
            if let Some(selected) = self.any_of(last, start, true, ask) {
                return Ok(selected);
            }
            if self.any_full(last, ask) {
                return Err(SelectFault::AllFull);
            }
        }
        let nobody = view.open.is_empty() && view.ready.bits.is_empty();
        Err(if nobody {
            SelectFault::AllDown
        } else {
            SelectFault::AllTried
        })
    }

    fn any_of(
        &self,
        bits: &Bits,
        start: usize,
        resting_too: bool,
        ask: &Ask<'_>,
    ) -> Option<Selected> {
        let mut taken = None;
        let full = |at| self.board.as_ref().map_or(0, |board| board.full_word(at));
        let index = bits.find_from(start, full, |index| {
            if !ask.tried.contains(&index)
                && let Admission::Taken(permit) = self.admit(index, ask.now_ms, resting_too)
            {
                taken = Some(permit);
            }
            taken.is_some()
        })?;
        taken.map(|permit| Selected { index, permit })
    }

    fn any_full(&self, bits: &Bits, ask: &Ask<'_>) -> bool {
        let Some(board) = &self.board else {
            return false;
        };
        let with_room = |at| !board.full_word(at);
        bits.find_from(0, with_room, |index| !ask.tried.contains(&index))
            .is_some()
    }

    /// The first view, or one that a rest's end made old.
    #[cold]
    fn refresh_due(&self, view: &View, now_ms: u64) {
        if view.next_change_ms == 0 {
            self.refresh(self.lock(), now_ms);
        } else {
            self.refresh_soon(now_ms);
        }
    }

    /// Writes the view unless somebody is about it.
    fn refresh_soon(&self, now_ms: u64) {
        if let Ok(writer) = self.writer.try_lock() {
            self.refresh(writer, now_ms);
        }
    }

    fn refresh(&self, mut writer: MutexGuard<'_, Writer>, now_ms: u64) {
        if !writer.settled {
            writer.settled = true;
            for (slot, member) in self.members.list().iter().enumerate() {
                let home = |board: &Arc<Board>| Home {
                    board: Arc::clone(board),
                    slot,
                };
                member.state.move_home(self.board.as_ref().map(home));
            }
        }
        let before = self.view.load();
        let want = want(&self.algorithm);
        let loads = self.rules.follows_load && goes_by_weight(&self.algorithm);
        let mut view = View::read(&self.members, &self.rules, want, now_ms, &before);
        if loads {
            view.follow_load(&self.members, now_ms);
        }
        if let Some(board) = &self.board {
            board.open_exactly(&view.ready.bits, &view.warming, &self.members);
            if goes_by_keys(&self.algorithm) {
                view.warming = Box::default();
            }
        }
        self.view.store(Arc::new(view));
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Nothing panics while the view is written, and the next writer starts anew.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heal(&self, random: u64) {
        if let Some(board) = &self.board
            && random.is_multiple_of(HEAL_ONE_IN)
        {
            let slot = reduce(random.rotate_left(32), self.len() as u64) as usize;
            board.sync(slot, &*self.members.member(slot).state);
        }
    }
}
