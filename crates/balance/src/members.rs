//! The endpoints of a pool, with what the hot path needs of each packed together.

use std::sync::Arc;

use crate::spec::EndpointSpec;
use crate::state::EndpointState;

/// The endpoints in the order given.
#[derive(Debug)]
pub(crate) struct Members {
    specs: Box<[EndpointSpec]>,
    list: Box<[Member]>,
}

/// One endpoint, as the hot path sees it: a few of these share a cache line.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) state: Arc<EndpointState>,
    pub(crate) fail_timeout_ms: u64,
    pub(crate) weight: u32,
    pub(crate) max_connections: u32,
}

impl Members {
    pub(crate) fn new(endpoints: Vec<(EndpointSpec, Arc<EndpointState>)>) -> Self {
        let mut specs = Vec::with_capacity(endpoints.len());
        let mut list = Vec::with_capacity(endpoints.len());
        for (spec, state) in endpoints {
            list.push(Member {
                state,
                fail_timeout_ms: spec.fail_timeout_ms,
                weight: spec.weight,
                max_connections: spec.max_connections,
            });
            specs.push(spec);
        }
        Members {
            specs: specs.into(),
            list: list.into(),
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
