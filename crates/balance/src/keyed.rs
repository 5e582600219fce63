//! Hash on a key: a consistent table, and what happens when the server of a key cannot take it.
//!
//! Tables are made once, of all open servers; a server that rests is skipped. Then exactly its keys
//! move, and they come back when it recovers. On a ring the next point is asked; the other tables
//! are asked again with the hash turned over. After [`PROBES_MAX`] of these, which needs most of
//! the pool to be out, any ready server takes the request.

use crate::bounded_load::{Bound, Load};
use crate::choose::{Look, Walk};
use crate::hash::{GOLDEN, hash_address, hash_key, mix};
use crate::maglev::Maglev;
use crate::members::{Members, Share};
use crate::rendezvous::Rendezvous;
use crate::ring::Ring;
use crate::spec::HashScheme;
use crate::view::Tier;

/// Servers of a key that are asked before any is taken.
const PROBES_MAX: u32 = 32;

/// The same with a bound: the least loaded server is known, so the search may end sooner.
const BOUNDED_PROBES_MAX: u32 = 16;

/// Where the hash comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// `Ask::hash`.
    Key,
    /// `Ask::client`.
    Client,
}

/// Choice by a hash.
#[derive(Debug)]
pub(crate) struct Keyed {
    source: Source,
    bound: Option<Bound>,
    /// One for each tier; the first also serves when no tier does.
    tables: Box<[Table]>,
}

#[derive(Debug)]
enum Table {
    Nobody,
    Ring(Ring),
    Rendezvous(Rendezvous),
    Maglev(Maglev),
}

impl Keyed {
    pub(crate) fn new(
        members: &Members,
        scheme: HashScheme,
        source: Source,
        bound: Option<f64>,
    ) -> Self {
        let tables =
            (0..members.ranks_len()).map(|rank| Table::new(&shares(members, rank), scheme));
        Keyed {
            source,
            bound: bound.map(Bound),
            tables: tables.collect(),
        }
    }

    /// The next server of the key that is ready and within the bound.
    pub(crate) fn candidate(&self, look: &Look<'_>, walk: &mut Walk) -> Option<usize> {
        if walk.step == 0 {
            walk.hash = mix(self.hash(look));
        }
        let view = look.view;
        let rank = match view.tier {
            Tier::Rank(rank) => usize::from(rank),
            _ => 0,
        };
        let table = self.tables.get(rank).unwrap_or(&Table::Nobody);
        let load = look
            .board
            .filter(|_| self.bound.is_some())
            .map(|board| Load {
                total: board.total(),
                weight: view.ready.weight,
            });
        let most = if load.is_some() {
            BOUNDED_PROBES_MAX
        } else {
            PROBES_MAX
        };
        while walk.probes < most {
            let index = table.probe(walk)?;
            walk.probes += 1;
            // With a bound the least loaded one is known, and better than the same one again.
            let again = load.is_some() && look.ask.tried.contains(&index);
            if !again && view.is_ready(index) && self.allows(look, load, index) {
                return Some(index);
            }
        }
        match look.board.filter(|_| load.is_some()) {
            Some(board) => board.least(look.ask.tried).map(|(index, _, _)| index),
            None => {
                walk.probes += 1;
                view.ready.evenly(mix(walk.hash ^ u64::from(walk.probes)))
            }
        }
    }

    fn hash(&self, look: &Look<'_>) -> u64 {
        let ask = look.ask;
        let client = match self.source {
            Source::Client => ask.client.map(hash_address),
            Source::Key => None,
        };
        client.or(ask.hash).unwrap_or(ask.random)
    }

    fn allows(&self, look: &Look<'_>, load: Option<Load>, index: usize) -> bool {
        let (Some(bound), Some(load)) = (self.bound, load) else {
            return true;
        };
        let member = look.members.member(index);
        // Less for one that warms up, or it would get what is over the bound of all others.
        let share = look.board.map_or(1.0, |board| board.share(index));
        bound.allows(load, member.state.active(), member.weight, share)
    }
}

impl Table {
    fn new(shares: &[Share], scheme: HashScheme) -> Self {
        if shares.is_empty() {
            return Table::Nobody;
        }
        match scheme {
            HashScheme::Ring { points } => Table::Ring(Ring::new(shares, points)),
            HashScheme::Rendezvous => Table::Rendezvous(Rendezvous::new(shares)),
            HashScheme::Maglev { table_size } => Table::Maglev(Maglev::new(shares, table_size)),
        }
    }

    /// The server that the key prefers after `walk.probes` others.
    fn probe(&self, walk: &mut Walk) -> Option<usize> {
        let again = || match walk.probes {
            0 => walk.hash,
            probes => mix(walk
                .hash
                .wrapping_add(GOLDEN.wrapping_mul(u64::from(probes)))),
        };
        match self {
            Table::Nobody => None,
            Table::Rendezvous(table) => table.endpoint(again()),
            Table::Maglev(table) => table.endpoint(again()),
            Table::Ring(ring) => {
                if walk.probes == 0 {
                    walk.at = ring.start(walk.hash);
                }
                let index = ring.endpoint(walk.at);
                walk.at += 1;
                index
            }
        }
    }
}

fn shares(members: &Members, rank: usize) -> Vec<Share> {
    let specs = members.specs().iter().enumerate();
    let chosen = specs.filter(|(index, spec)| spec.is_open() && members.rank(*index) == rank);
    let share = |(index, spec): (usize, &crate::EndpointSpec)| Share {
        index: u16::try_from(index).expect("validated: ENDPOINTS_MAX"),
        identity: hash_key(spec.name.as_bytes()),
        weight: spec.weight,
    };
    chosen.map(share).collect()
}
