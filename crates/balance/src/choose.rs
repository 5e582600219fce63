//! The one place that knows all algorithms: what each wants prepared, and who is its next
//! candidate for a request.

use crate::ask::Ask;
use crate::board::{Board, Keeps, Score};
use crate::ip_hash::Modulo;
use crate::keyed::{Keyed, Source};
use crate::members::Members;
use crate::round_robin::Turn;
use crate::rules::PoolRules;
use crate::spec::{Algorithm, HashScheme, IpHashMode, MAGLEV_TABLE_DEFAULT, Tie};
use crate::view::{View, Want};
use crate::{least_conn, least_time, power_of_two, random, round_robin};

/// What a choice may look at.
pub(crate) struct Look<'a> {
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) view: &'a View,
    pub(crate) members: &'a Members,
    pub(crate) board: Option<&'a Board>,
}

/// Where one request's choice stands between attempts.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Attempts so far.
    pub(crate) step: u32,
    /// Looks at a hash table so far.
    pub(crate) probes: u32,
    /// Hash of the key, from the first attempt on.
    pub(crate) hash: u64,
    /// Place on a ring.
    pub(crate) at: usize,
    /// The request was tried elsewhere before.
    pub(crate) further: bool,
}

impl Walk {
    pub(crate) fn of(ask: &Ask<'_>) -> Walk {
        Walk {
            further: !ask.tried.is_empty(),
            ..Walk::default()
        }
    }
}

/// An algorithm with what it keeps of its own.
#[derive(Debug)]
pub(crate) enum Choose {
    /// Round robin, with or without weights.
    Turns,
    /// Random, with or without weights.
    Random,
    LeastConn(Tie),
    LeastTime {
        probe_one_in: u32,
    },
    PowerOfTwo,
    Modulo(Modulo),
    Keyed(Box<Keyed>),
}

impl Choose {
    pub(crate) fn new(algorithm: &Algorithm, members: &Members) -> Self {
        match *algorithm {
            Algorithm::RoundRobin | Algorithm::WeightedRoundRobin { .. } => Choose::Turns,
            Algorithm::Random | Algorithm::WeightedRandom => Choose::Random,
            Algorithm::LeastConn { tie } => Choose::LeastConn(tie),
            Algorithm::LeastTime { probe_one_in, .. } => Choose::LeastTime { probe_one_in },
            Algorithm::PowerOfTwo => Choose::PowerOfTwo,
            Algorithm::IpHash(IpHashMode::Modulo) => Choose::Modulo(Modulo::new(members)),
            Algorithm::IpHash(IpHashMode::Consistent) => {
                let scheme = HashScheme::Maglev {
                    table_size: MAGLEV_TABLE_DEFAULT,
                };
                Choose::Keyed(Box::new(Keyed::new(members, scheme, Source::Client, None)))
            }
            Algorithm::Hash {
                scheme,
                bounded_load,
            } => Choose::Keyed(Box::new(Keyed::new(
                members,
                scheme,
                Source::Key,
                bounded_load,
            ))),
        }
    }

    /// The next candidate of this request, `None` when the algorithm has no more. It may be one
    /// that was tried or is full.
    #[inline]
    pub(crate) fn candidate(&self, look: &Look<'_>, turn: &Turn, walk: &mut Walk) -> Option<usize> {
        let Look { ask, view, .. } = *look;
        match self {
            Choose::Turns => round_robin::candidate(view, turn, walk.step, walk.further),
            Choose::Random => random::candidate(view, ask.random, walk.step),
            Choose::LeastConn(tie) => {
                least_conn::candidate(view, look.board?, *tie, turn, ask.tried)
            }
            Choose::LeastTime { probe_one_in } => least_time::candidate(
                view,
                look.board?,
                *probe_one_in,
                ask.random,
                walk.step,
                ask.tried,
            ),
            Choose::PowerOfTwo => {
                power_of_two::candidate(view, look.members, ask.random, walk.step)
            }
            Choose::Modulo(modulo) => modulo.candidate(look, walk),
            Choose::Keyed(keyed) => keyed.candidate(look, walk),
        }
    }
}

/// What the ready view has to prepare.
pub(crate) fn want(algorithm: &Algorithm) -> Want {
    match algorithm {
        Algorithm::WeightedRoundRobin { burst } => Want::Turns { burst: *burst },
        Algorithm::LeastConn { tie: Tie::Rotate } => Want::Turns { burst: false },
        Algorithm::WeightedRandom => Want::Line { zeros: true },
        Algorithm::PowerOfTwo => Want::Line { zeros: false },
        _ => Want::List,
    }
}

/// True when the board's keys alone see to it that an endpoint gets a part of its traffic only. Under
/// [`Algorithm::LeastConn`] they do as long as there is load: all idle endpoints have the same key.
pub(crate) fn goes_by_keys(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::LeastTime { .. })
}

/// True when weights matter, and so the reported loads that change them.
pub(crate) fn goes_by_weight(algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::WeightedRoundRobin { .. }
        | Algorithm::WeightedRandom
        | Algorithm::LeastConn { .. }
        | Algorithm::LeastTime { .. }
        | Algorithm::PowerOfTwo => true,
        Algorithm::RoundRobin
        | Algorithm::Random
        | Algorithm::IpHash(_)
        | Algorithm::Hash { .. } => false,
    }
}

/// What the board has to keep; `None` when there is no need of one.
pub(crate) fn keeps(algorithm: &Algorithm, members: &Members, rules: &PoolRules) -> Option<Keeps> {
    let bounded = matches!(
        algorithm,
        Algorithm::Hash {
            bounded_load: Some(_),
            ..
        }
    );
    let score = match algorithm {
        Algorithm::LeastTime { formula, .. } => Some(Score::Time(*formula)),
        Algorithm::LeastConn { .. } => Some(Score::Active),
        _ if bounded => Some(Score::Active),
        _ => None,
    };
    let full = members
        .list()
        .iter()
        .any(|member| member.max_connections != 0);
    let keeps = Keeps {
        score,
        full,
        total: bounded,
        scales: rules.slow_start.is_some() || rules.follows_load,
    };
    (score.is_some() || full).then_some(keeps)
}
