//! The ready view of a pool: who may be chosen now, and the order prepared for it.
//!
//! Built anew whenever an endpoint's health changes and published through one pointer; never
//! changed afterwards. The *tier* in use is the first of these that has anybody: primaries that are
//! open and do not rest; backups likewise; for weighted random, the first healthy endpoint though
//! all weigh 0; everybody open, resting or not, since a server that failed lately is better than a
//! sure error.

use std::sync::Arc;

use crate::bits::Bits;
use crate::hash::reduce;
use crate::members::Members;
use crate::weighted_random::Line;
use crate::weighted_round_robin::Turns;

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
    /// Open primaries that do not rest.
    Primary,
    /// Open backups that do not rest.
    Backup,
    /// Healthy endpoints without weight.
    Zero,
    /// Everybody open.
    Resting,
}

/// Who may be chosen now.
#[derive(Debug)]
pub(crate) struct View {
    /// When the first rest ends; `u64::MAX` is never.
    pub(crate) next_change_ms: u64,
    pub(crate) tier: Tier,
    pub(crate) ready: Arc<Ready>,
    /// Backups to turn to when no primary takes the request.
    pub(crate) spare: Bits,
    /// Everybody open: the last resort.
    pub(crate) open: Bits,
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
            tier: Tier::Primary,
            ready: Arc::default(),
            spare: Bits::default(),
            open: Bits::default(),
        }
    }

    /// Reads the states. Takes what was prepared for `before` when the tier is the same.
    pub(crate) fn read(members: &Members, want: Want, now_ms: u64, before: &View) -> Self {
        let len = members.len();
        let rests = Bits::of(len, |index| members.member(index).state.is_resting(now_ms));
        let open = Bits::of(len, |index| members.specs()[index].is_open());
        let healthy = |index: usize| open.contains(index) && !rests.contains(index);
        let backup = |index: usize| members.specs()[index].backup;
        let primary = Bits::of(len, |index| healthy(index) && !backup(index));
        let spare = Bits::of(len, |index| healthy(index) && backup(index));
        let (tier, bits, spare) = if !primary.is_empty() {
            (Tier::Primary, primary, spare)
        } else if !spare.is_empty() {
            (Tier::Backup, spare, Bits::default())
        } else {
            let (tier, bits) = without_ready(members, want, &rests, &open);
            (tier, bits, Bits::default())
        };
        let ready = if before.ready.bits == bits && before.tier == tier {
            Arc::clone(&before.ready)
        } else {
            Arc::new(Ready::new(members, want, bits))
        };
        View {
            next_change_ms: first_rest_end(members, now_ms),
            tier,
            ready,
            spare,
            open,
        }
    }

    /// True when `index` is in the tier in use.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.ready.bits.contains(index)
    }
}

/// The tier when nobody is ready.
fn without_ready(members: &Members, want: Want, rests: &Bits, open: &Bits) -> (Tier, Bits) {
    if want == (Want::Line { zeros: true }) {
        let zero = |index: usize| !members.specs()[index].down && !open.contains(index);
        let healthy = Bits::of(members.len(), |index| zero(index) && !rests.contains(index));
        if !healthy.is_empty() {
            return (Tier::Zero, healthy);
        }
        if open.is_empty() {
            return (Tier::Resting, Bits::of(members.len(), zero));
        }
    }
    (Tier::Resting, open.clone())
}

fn first_rest_end(members: &Members, now_ms: u64) -> u64 {
    let ends = members
        .list()
        .iter()
        .map(|member| member.state.rests_until_ms());
    ends.filter(|end| *end > now_ms).min().unwrap_or(u64::MAX)
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
