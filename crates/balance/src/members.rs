//! The endpoints of a pool, with what the hot path needs of each packed together.

use std::sync::Arc;

use crate::rules::{Passive, PoolRules};
use crate::spec::EndpointSpec;
use crate::state::EndpointState;

/// The endpoints in the order given.
#[derive(Debug)]
pub(crate) struct Members {
    specs: Box<[EndpointSpec]>,
    list: Box<[Member]>,
    /// The rank of each one's tier among the tiers of open endpoints.
    ranks: Box<[u8]>,
    ranks_len: usize,
}

/// One endpoint, as the hot path sees it: a few of these share a cache line.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) state: Arc<EndpointState>,
    /// How long one trial after a rest keeps others away.
    pub(crate) trial_every_ms: u64,
    pub(crate) weight: u32,
    pub(crate) max_connections: u32,
}

impl Members {
    pub(crate) fn new(
        endpoints: Vec<(EndpointSpec, Arc<EndpointState>)>,
        rules: &PoolRules,
    ) -> Self {
        let mut specs = Vec::with_capacity(endpoints.len());
        let mut list = Vec::with_capacity(endpoints.len());
        for (spec, state) in endpoints {
            list.push(Member {
                state,
                trial_every_ms: match rules.passive {
                    Passive::MaxFails => spec.fail_timeout_ms,
                    Passive::Outlier(settings) => settings.ejection_ms.max(1),
                },
                weight: spec.weight,
                max_connections: spec.max_connections,
            });
            specs.push(spec);
        }
        let (ranks, ranks_len) = ranks(&specs, &rules.tiers);
        Members {
            specs: specs.into(),
            list: list.into(),
            ranks,
            ranks_len,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn spec(&self, index: usize) -> Option<&EndpointSpec> {
        self.specs.get(index)
    }

    pub(crate) fn specs(&self) -> &[EndpointSpec] {
        &self.specs
    }

    pub(crate) fn member(&self, index: usize) -> &Member {
        &self.list[index]
    }

    pub(crate) fn list(&self) -> &[Member] {
        &self.list
    }

    /// The rank of the tier of `index`: 0 is used first.
    pub(crate) fn rank(&self, index: usize) -> usize {
        usize::from(self.ranks[index])
    }

    /// Number of tiers that have an open endpoint.
    pub(crate) fn ranks_len(&self) -> usize {
        self.ranks_len
    }
}

/// The rank of each endpoint's tier, and the number of ranks. One that is not open has a rank, but
/// makes none: a pool whose primaries are all drained uses its backups as if they were primaries.
fn ranks(specs: &[EndpointSpec], tiers: &[u8]) -> (Box<[u8]>, usize) {
    let tier = |index: usize| {
        let told = tiers.get(index).copied();
        told.unwrap_or(u8::from(specs[index].backup))
    };
    let mut used: Vec<u8> = (0..specs.len())
        .filter(|index| specs[*index].is_open())
        .map(tier)
        .collect();
    used.sort_unstable();
    used.dedup();
    // At most 255 are below any.
    let rank = |index: usize| used.partition_point(|one| *one < tier(index)) as u8;
    ((0..specs.len()).map(rank).collect(), used.len())
}

/// What a prepared table is made from: position, identity and share of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// Position in the pool.
    pub(crate) index: u16,
    /// Hash of the name.
    pub(crate) identity: u64,
    /// Weight, above 0.
    pub(crate) weight: u32,
}
