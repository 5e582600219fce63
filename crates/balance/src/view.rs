//! The ready view of a pool: who may be chosen now, and the order prepared for it.
//!
//! Built anew whenever an endpoint's health changes and published through one pointer; never
//! changed afterwards. The *tier* in use is the first of these that has anybody: the open endpoints
//! that do not rest, of the first configured tier in which enough of them are left; for weighted
//! random, the first healthy endpoint though all weigh 0; everybody open, resting or not, since a
//! server that failed lately is better than a sure error (unless the pool fails closed).

use std::sync::Arc;

use crate::bits::Bits;
use crate::hash::reduce;
use crate::members::Members;
use crate::panic::PanicAction;
use crate::rules::PoolRules;
use crate::slow_start::SlowStart;
use crate::weighted_random::Line;
use crate::weighted_round_robin::Turns;

/// Steps in which the share of a server that came back grows.
const WARMING_STEPS: u64 = 50;

/// How often reported loads are read.
const LOADS_EVERY_MS: u64 = 500;

/// How often the states are read while checks of one fail.
const LOOK_AGAIN_MS: u64 = 1_000;

/// What an algorithm wants prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The list of ready endpoints.
    List,
    /// Turns by weight.
    Turns {
        /// The order in bursts.
        burst: bool,
    },
    /// A line of weights; zero weights fall to the first healthy endpoint when `zeros`.
    Line {
        /// Whether endpoints without weight are a tier of their own.
        zeros: bool,
    },
}

/// Which tier is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Open endpoints that do not rest, of the configured tier with this rank.
    Rank(u8),
    /// Healthy endpoints without weight.
    Zero,
    /// Everybody open.
    Resting,
    /// Nobody: too few are healthy.
    Closed,
}

/// One that gets a part of its traffic only: it came back lately, or reports a high load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Warming {
    pub(crate) index: u16,
    /// Its share of what it would get, below 1, relative to whoever has the most.
    pub(crate) share: f64,
}

/// Who may be chosen now.
#[derive(Debug)]
pub(crate) struct View {
    /// When the first rest ends, or a share changes; `u64::MAX` is never.
    pub(crate) next_change_ms: u64,
    pub(crate) tier: Tier,
    pub(crate) ready: Arc<Ready>,
    /// Healthy endpoints of other tiers, in their order, to turn to when none of `ready` takes the
    /// request.
    pub(crate) spares: Box<[Bits]>,
    /// Everybody open whose checks do not fail: the last resort but one.
    pub(crate) open: Bits,
    /// Everybody open whose checks fail: the last resort. It may be back, and the check not yet.
    pub(crate) failing: Bits,
    /// Those of `ready` that get their traffic by degrees.
    pub(crate) warming: Box<[Warming]>,
}

/// The endpoints of the tier in use.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) list: Box<[u16]>,
    pub(crate) bits: Bits,
    /// Sum of their weights.
    pub(crate) weight: u64,
    prepared: Prepared,
}

#[derive(Debug, Default)]
enum Prepared {
    /// All weigh the same, or weights do not matter.
    #[default]
    Even,
    Turns(Turns),
    Line(Line),
}

impl View {
    /// The view before the first look at the states: due at once.
    pub(crate) fn unread() -> Self {
        View {
            next_change_ms: 0,
            tier: Tier::Rank(0),
            ready: Arc::default(),
            spares: Box::default(),
            open: Bits::default(),
            failing: Bits::default(),
            warming: Box::default(),
        }
    }

    /// Reads the states. Takes what was prepared for `before` when the tier is the same.
    pub(crate) fn read(
        members: &Members,
        rules: &PoolRules,
        want: Want,
        now_ms: u64,
        before: &View,
    ) -> Self {
        let len = members.len();
        let rests = Bits::of(len, |index| members.member(index).state.is_resting(now_ms));
        let open = Bits::of(len, |index| members.specs()[index].is_open());
        let (serving, mut spares) = ranks(members, rules, &open, &rests);
        let (tier, bits) = match serving {
            Some(rank) => (Tier::Rank(rank as u8), spares.remove(rank)),
            None => {
                let (tier, bits) = without_ready(members, rules, want, &rests, &open);
                spares.clear();
                (tier, bits)
            }
        };
        let closed = rules.panic.action == PanicAction::FailClosed;
        let fails = |index: usize| match tier {
            // All are asked alike.
            Tier::Resting => false,
            _ => members.member(index).state.is_down(),
        };
        let may = |index: usize| open.contains(index) && (tier == Tier::Resting || !closed);
        let failing = Bits::of(len, |index| may(index) && fails(index));
        let open = Bits::of(len, |index| may(index) && !fails(index));
        let ready = if before.ready.bits == bits && before.tier == tier {
            Arc::clone(&before.ready)
        } else {
            Arc::new(Ready::new(members, want, bits))
        };
        let mut next_change_ms = next_change(members, now_ms);
        let mut warming = Vec::new();
        if let (Some(slow), Tier::Rank(_)) = (&rules.slow_start, tier) {
            warming = warming_of(members, slow, &ready.bits, now_ms);
            if !warming.is_empty() {
                let step_ms = (slow.duration_ms / WARMING_STEPS).max(1);
                next_change_ms = next_change_ms.min(now_ms.saturating_add(step_ms));
            }
        }
        View {
            next_change_ms,
            tier,
            ready,
            spares: spares.into(),
            open,
            failing,
            warming: warming.into(),
        }
    }

    /// Lets the loads that servers report weigh in.
    pub(crate) fn follow_load(&mut self, members: &Members, now_ms: u64) {
        self.next_change_ms = self
            .next_change_ms
            .min(now_ms.saturating_add(LOADS_EVERY_MS));
        if !matches!(self.tier, Tier::Rank(_)) {
            return;
        }
        let mut warming = std::mem::take(&mut self.warming).into_iter().peekable();
        let shares = self.ready.bits.iter().map(|index| {
            let warm = warming.next_if(|one| usize::from(one.index) == index);
            let share = warm.map_or(1.0, |one| one.share);
            (
                index,
                share * members.member(index).state.load_share(now_ms),
            )
        });
        let shares = partial(shares.collect());
        self.warming = shares.into();
    }

    /// The part of its traffic that `index` gets, up to 1.
    pub(crate) fn share(&self, index: usize) -> f64 {
        let at = self
            .warming
            .binary_search_by_key(&index, |one| usize::from(one.index));
        at.map_or(1.0, |at| self.warming[at].share)
    }

    /// True when `index` is in the tier in use.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.ready.bits.contains(index)
    }
}

/// The rank of the tier that serves, and the ready endpoints of every tier.
fn ranks(
    members: &Members,
    rules: &PoolRules,
    open: &Bits,
    rests: &Bits,
) -> (Option<usize>, Vec<Bits>) {
    let count = members.ranks_len();
    let mut ready = vec![Bits::empty(members.len()); count];
    let (mut healthy, mut all) = (vec![0usize; count], vec![0usize; count]);
    for index in open.iter() {
        let rank = members.rank(index);
        all[rank] += 1;
        if !rests.contains(index) {
            healthy[rank] += 1;
            ready[rank].insert(index);
        }
    }
    let serving = (0..count).find(|rank| rules.panic.serves(healthy[*rank], all[*rank]));
    (serving, ready)
}

/// The tier when no configured one serves.
fn without_ready(
    members: &Members,
    rules: &PoolRules,
    want: Want,
    rests: &Bits,
    open: &Bits,
) -> (Tier, Bits) {
    let none = || Bits::empty(members.len());
    let closed = rules.panic.action == PanicAction::FailClosed;
    if want == (Want::Line { zeros: true }) {
        let zero = |index: usize| !members.specs()[index].down && !open.contains(index);
        let ready = |index: usize| open.contains(index) && !rests.contains(index);
        let healthy = Bits::of(members.len(), |index| zero(index) && !rests.contains(index));
        if !healthy.is_empty() && !(0..members.len()).any(ready) {
            return (Tier::Zero, healthy);
        }
        if open.is_empty() && !closed {
            return (Tier::Resting, Bits::of(members.len(), zero));
        }
    }
    if closed && !open.is_empty() {
        return (Tier::Closed, none());
    }
    (Tier::Resting, open.clone())
}

/// When the first rest ends.
fn next_change(members: &Members, now_ms: u64) -> u64 {
    let mut next_ms = u64::MAX;
    for member in members.list() {
        let ends = member.state.rests_until_ms();
        if ends == u64::MAX {
            // Its checks fail. Who hears of their passing may be a newer balancer.
            next_ms = next_ms.min(now_ms.saturating_add(LOOK_AGAIN_MS));
        } else if ends > now_ms {
            next_ms = next_ms.min(ends);
        }
    }
    next_ms
}

/// Those that came back lately.
fn warming_of(members: &Members, slow: &SlowStart, ready: &Bits, now_ms: u64) -> Vec<Warming> {
    let share = |index: usize| match members.member(index).state.back_at_ms() {
        0 => 1.0,
        since => slow.share(now_ms.saturating_sub(since)),
    };
    partial(ready.iter().map(|index| (index, share(index))).collect())
}

/// Those of these endpoints and shares that get a part of their traffic only, relative to the
/// largest share.
fn partial(shares: Vec<(usize, f64)>) -> Vec<Warming> {
    let most = shares
        .iter()
        .fold(0.0f64, |most, (_, share)| most.max(*share));
    // Also those that the largest share makes whole: they fall back when others gain.
    let part = shares.into_iter().filter(|(_, share)| *share < 1.0);
    let relative = |share: f64| if most > 0.0 { share / most } else { 1.0 };
    part.map(|(index, share)| Warming {
        index: u16::try_from(index).expect("validated: ENDPOINTS_MAX"),
        share: relative(share),
    })
    .collect()
}

impl Ready {
    fn new(members: &Members, want: Want, bits: Bits) -> Self {
        let position = |index: usize| u16::try_from(index).expect("validated: ENDPOINTS_MAX");
        let weights: Vec<(u16, u32)> = bits
            .iter()
            .map(|index| (position(index), members.member(index).weight))
            .collect();
        let weight = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut list: Box<[u16]> = weights.iter().map(|(index, _)| *index).collect();
        if weight == 0 {
            // Nobody has a weight: the first, and only the first.
            list = list.first().copied().into_iter().collect();
        }
        let even = weights.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let prepared = match want {
            Want::Turns { burst: true } => Prepared::Turns(Turns::new(&weights, true)),
            _ if even || weight == 0 => Prepared::Even,
            Want::List => Prepared::Even,
            Want::Turns { burst: false } => Prepared::Turns(Turns::new(&weights, false)),
            Want::Line { .. } => Prepared::Line(Line::new(weights.into_iter())),
        };
        Ready {
            list,
            bits,
            weight,
            prepared,
        }
    }

    /// Whose turn it is.
    pub(crate) fn by_turn(&self, turn: u64) -> Option<usize> {
        match &self.prepared {
            Prepared::Turns(turns) => turns.at(turn),
            _ => {
                let at = turn.checked_rem(self.list.len() as u64)?;
                Some(usize::from(self.list[at as usize]))
            }
        }
    }

    /// Whom random bits point to, by weight when that was wanted.
    pub(crate) fn by_random(&self, random: u64) -> Option<usize> {
        match &self.prepared {
            Prepared::Line(line) => line.at_random(random),
            _ => self.evenly(random),
        }
    }

    /// Whom random bits point to, all with the same odds.
    pub(crate) fn evenly(&self, random: u64) -> Option<usize> {
        let at = reduce(random, self.list.len() as u64);
        self.list.get(at as usize).map(|index| usize::from(*index))
    }
}
