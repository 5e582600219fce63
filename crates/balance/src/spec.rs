//! What a pool is told: its endpoints, its algorithm, and what may be wrong with them.
//!
//! Plain data. [`validate`] is the only logic: it names the first thing that no balancer can be
//! built from. The configuration reports the same faults with their place in the file; this is the
//! last line of defence.

use std::collections::HashSet;

/// Most endpoints in one pool. Positions are kept as `u16` in the prepared tables.
pub const ENDPOINTS_MAX: usize = 65_000;

/// Largest weight of an endpoint.
pub const WEIGHT_MAX: u32 = 65_535;

/// Points that the heaviest endpoint puts on a ring unless told otherwise.
pub const RING_POINTS_DEFAULT: u32 = 256;

/// Most points that one endpoint may put on a ring.
pub const RING_POINTS_MAX: u32 = 4_096;

/// Slots of a Maglev table unless told otherwise: the size used by its authors, a prime.
pub const MAGLEV_TABLE_DEFAULT: u32 = 65_537;

/// Most slots of a Maglev table (10 MB).
pub const MAGLEV_TABLE_MAX: u32 = 5_000_011;

/// One request in so many (2 %) goes to a random server under [`Algorithm::LeastTime`] by default.
pub const LEAST_TIME_PROBE_ONE_IN_DEFAULT: u32 = 50;

/// Bound of [`Algorithm::Hash`] that is right for most: a quarter above the mean.
pub const BOUNDED_LOAD_DEFAULT: f64 = 1.25;

/// One server of a pool, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Identity in consistent hashing; unique in the pool. The same name on another node, or after
    /// a reload, takes the same keys.
    pub name: String,
    /// Share of the traffic, 0 to 65,535, default 1. 0 drains it: no new requests.
    pub weight: u32,
    /// Used only when no primary can take the request. Default false.
    pub backup: bool,
    /// Most requests at a time over all workers; 0 (the default) is no limit.
    pub max_connections: u32,
    /// Failures within `fail_timeout_ms` after which it rests; 0 is never. Default 1.
    pub max_fails: u32,
    /// The window in which failures count, and how long the rest lasts, in milliseconds. Default 10
    /// s.
    pub fail_timeout_ms: u64,
    /// Taken out by configuration: gets nothing, whatever its health. Default false.
    pub down: bool,
}

impl EndpointSpec {
    /// An endpoint with the defaults (weight 1, one failure in 10 s rests it for 10 s).
    pub fn new(name: impl Into<String>) -> Self {
        EndpointSpec {
            name: name.into(),
            weight: 1,
            backup: false,
            max_connections: 0,
            max_fails: 1,
            fail_timeout_ms: 10_000,
            down: false,
        }
    }

    /// The same with another weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// True when the configuration lets it take new traffic: not down and not drained.
    pub fn is_open(&self) -> bool {
        !self.down && self.weight > 0
    }
}

/// How a pool chooses among its ready endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Algorithm {
    /// One after the other in file order, exact over all workers. Weights above 0 are equal.
    RoundRobin,
    /// In proportion to the weights, exact over all workers.
    WeightedRoundRobin {
        /// 3/2/1 gives 1 1 1 2 2 3 instead of the smooth 1 2 1 3 2 1.
        burst: bool,
    },
    /// Any, with equal odds. Weights above 0 are equal.
    Random,
    /// Any, with odds by weight. When the ready ones weigh 0 in total: the first of them.
    WeightedRandom,
    /// The fewest active requests per unit of weight.
    LeastConn {
        /// Which of several equal ones.
        tie: Tie,
    },
    /// The smallest product of average response time and active requests, per unit of weight.
    LeastTime {
        /// How active requests enter the product.
        formula: TimeFormula,
        /// One request in so many goes to a random server, so that one which was slow is
        /// measured again; 0 is never.
        probe_one_in: u32,
    },
    /// The less busy of two drawn at random.
    PowerOfTwo,
    /// By client address.
    IpHash(IpHashMode),
    /// By a key of the request, consistent: few keys move when a server comes or goes.
    Hash {
        /// The table behind it.
        scheme: HashScheme,
        /// No server takes more than this times the mean load; at least 1. `None` is no bound.
        bounded_load: Option<f64>,
    },
}

/// Which of several equally loaded servers [`Algorithm::LeastConn`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tie {
    /// The first in file order.
    First,
    /// The next by weighted round robin, so that an idle pool is used evenly.
    #[default]
    Rotate,
}

/// How active requests enter the product of [`Algorithm::LeastTime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormula {
    /// `time x active`: an idle server always wins.
    Active,
    /// `time x (active + 1)`: what the request would find there.
    #[default]
    ActivePlusOne,
}

/// How [`Algorithm::IpHash`] maps an address to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpHashMode {
    /// A Maglev table of [`MAGLEV_TABLE_DEFAULT`] slots.
    #[default]
    Consistent,
    /// First eight hex digits of the MD5 of the address as text, modulo the number of servers.
    /// Most clients move when the number changes.
    Modulo,
}

/// The table behind [`Algorithm::Hash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashScheme {
    /// Points on a ring; a key belongs to the next point. Exactly the keys of a lost server move,
    /// to its neighbours; shares scatter by some 6 %. 10 bytes a point.
    Ring {
        /// Points of the heaviest server, 1 to [`RING_POINTS_MAX`]; more is more even and larger.
        points: u32,
    },
    /// Highest random weight: exactly the keys of a lost server move, and they spread evenly.
    /// Shares scatter by 1 % at 13 servers, 9 % at 1,000. 256 KiB a pool, however large.
    Rendezvous,
    /// A Maglev table: the most even one, shares exact to one slot; a few more keys move than must
    /// when the pool is changed (none when a server rests). 2 bytes a slot.
    Maglev {
        /// Slots; a prime from 2 to [`MAGLEV_TABLE_MAX`].
        table_size: u32,
    },
}

impl Default for HashScheme {
    fn default() -> Self {
        HashScheme::Ring {
            points: RING_POINTS_DEFAULT,
        }
    }
}

/// Why no balancer can be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BalanceFault {
    /// More than [`ENDPOINTS_MAX`].
    #[error("a pool has {count} servers; at most {ENDPOINTS_MAX} are possible")]
    TooManyEndpoints {
        /// How many were given.
        count: usize,
    },
    /// Two endpoints share a name.
    #[error("two servers of the pool are named `{name}`; names must differ, hashing goes by them")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A weight above [`WEIGHT_MAX`].
    #[error("server `{name}` has weight {weight}; weights go from 0 to {WEIGHT_MAX}")]
    WeightTooLarge {
        /// The endpoint.
        name: String,
        /// Its weight.
        weight: u32,
    },
    /// Not a number of at least 1.
    #[error("bounded load {bound} must be a number of at least 1 (1.25 is a good one)")]
    BoundTooSmall {
        /// The bound.
        bound: f64,
    },
    /// A ring without points, or with too many.
    #[error("a ring of {points} points a server; 1 to {RING_POINTS_MAX} are possible")]
    RingPoints {
        /// The number given.
        points: u32,
    },
    /// A Maglev table that is not a prime in range, or smaller than the pool.
    #[error(
        "a Maglev table of {table_size} slots; it must be a prime of at most {MAGLEV_TABLE_MAX} \
         and not smaller than the number of servers ({MAGLEV_TABLE_DEFAULT} is a good one)"
    )]
    MaglevTable {
        /// The size given.
        table_size: u32,
    },
    /// Tiers are given for another number of servers than there are.
    #[error("{tiers} tiers for {servers} servers; every server must have one, or none")]
    Tiers {
        /// Number of tiers given.
        tiers: usize,
        /// Number of servers.
        servers: usize,
    },
}

/// Names the first thing from which no balancer can be built.
pub(crate) fn validate(
    algorithm: &Algorithm,
    specs: &mut dyn ExactSizeIterator<Item = &EndpointSpec>,
    tiers: usize,
) -> Result<(), BalanceFault> {
    let count = specs.len();
    if count > ENDPOINTS_MAX {
        return Err(BalanceFault::TooManyEndpoints { count });
    }
    if tiers != 0 && tiers != count {
        let servers = count;
        return Err(BalanceFault::Tiers { tiers, servers });
    }
    let mut names = HashSet::with_capacity(count);
    for spec in specs {
        if spec.weight > WEIGHT_MAX {
            return Err(BalanceFault::WeightTooLarge {
                name: spec.name.clone(),
                weight: spec.weight,
            });
        }
        if !names.insert(spec.name.as_str()) {
            return Err(BalanceFault::DuplicateName {
                name: spec.name.clone(),
            });
        }
    }
    let Algorithm::Hash {
        scheme,
        bounded_load,
    } = algorithm
    else {
        return Ok(());
    };
    if let Some(bound) = *bounded_load
        && !(bound.is_finite() && bound >= 1.0)
    {
        return Err(BalanceFault::BoundTooSmall { bound });
    }
    match *scheme {
        HashScheme::Ring { points } if points == 0 || points > RING_POINTS_MAX => {
            Err(BalanceFault::RingPoints { points })
        }
        HashScheme::Maglev { table_size }
            if table_size > MAGLEV_TABLE_MAX
                || (table_size as usize) < count
                || !is_prime(table_size) =>
        {
            Err(BalanceFault::MaglevTable { table_size })
        }
        _ => Ok(()),
    }
}

fn is_prime(n: u32) -> bool {
    if n < 4 {
        return n >= 2;
    }
    if n.is_multiple_of(2) {
        return false;
    }
    let mut divisor = 3;
    while divisor * divisor <= n {
        if n.is_multiple_of(divisor) {
            return false;
        }
        divisor += 2;
    }
    true
}
