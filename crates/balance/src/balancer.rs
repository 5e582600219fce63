//! The balancer: what a pool is, and how a server is chosen and judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ask::{Ask, Outcome, SelectFault, Selected, Transition};
use crate::spec::{Algorithm, BalanceFault, EndpointSpec, validate};
use crate::state::EndpointState;

/// The endpoints of a pool with their algorithm. Shared by all workers.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    endpoints: Box<[(EndpointSpec, Arc<EndpointState>)]>,
    turn: AtomicU64,
}

impl Balancer {
    /// A balancer over these endpoints; positions are those of the vector. States may come from
    /// the balancer before a reload: counts and rests go on.
    pub fn new(
        algorithm: Algorithm,
        endpoints: Vec<(EndpointSpec, Arc<EndpointState>)>,
    ) -> Result<Balancer, BalanceFault> {
        validate(&algorithm, &mut endpoints.iter().map(|(spec, _)| spec))?;
        Ok(Balancer {
            algorithm,
            endpoints: endpoints.into(),
            turn: AtomicU64::new(0),
        })
    }

    /// Chooses an endpoint and takes a place there.
    pub fn select(&self, ask: &Ask<'_>) -> Result<Selected, SelectFault> {
        if self.endpoints.is_empty() {
            return Err(SelectFault::NoServers);
        }
        let open = |i: &usize| self.endpoints[*i].0.is_open() && !ask.tried.contains(i);
        let mut order: Vec<usize> = (0..self.endpoints.len()).filter(open).collect();
        if order.is_empty() {
            return Err(if ask.tried.is_empty() {
                SelectFault::AllDown
            } else {
                SelectFault::AllTried
            });
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % order.len();
        order.rotate_left(turn);
        if let Algorithm::LeastConn { .. } = self.algorithm {
            order.sort();
            order.sort_by_key(|i| self.endpoints[*i].1.active());
        }
        order.sort_by_key(|i| {
            (
                self.endpoints[*i].1.is_resting(ask.now_ms),
                self.endpoints[*i].0.backup,
            )
        });
        for index in order {
            let (spec, state) = &self.endpoints[index];
            if let Some(permit) = state.acquire(spec.max_connections) {
                state.claim_trial(ask.now_ms, spec.fail_timeout_ms);
                return Ok(Selected { index, permit });
            }
        }
        Err(SelectFault::AllFull)
    }

    /// Takes a place at a chosen endpoint (session affinity), when it is ready and not full.
    pub fn take(&self, index: usize, now_ms: u64) -> Option<Selected> {
        let (spec, state) = self.endpoints.get(index)?;
        if spec.down || state.is_resting(now_ms) {
            return None;
        }
        let permit = state.acquire(spec.max_connections)?;
        Some(Selected { index, permit })
    }

    /// Counts how a request at an endpoint went; `Some` when that changed the endpoint's health.
    pub fn report(&self, index: usize, outcome: Outcome, now_ms: u64) -> Option<Transition> {
        let (spec, state) = self.endpoints.get(index)?;
        state.report(spec, outcome, now_ms)
    }

    /// How it chooses.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Number of endpoints.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// True without endpoints.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// What endpoint `index` was told.
    ///
    /// # Panics
    /// When `index` is not below [`Balancer::len`].
    pub fn endpoint(&self, index: usize) -> &EndpointSpec {
        &self.endpoints[index].0
    }

    /// The live state of endpoint `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Balancer::len`].
    pub fn state(&self, index: usize) -> &Arc<EndpointState> {
        &self.endpoints[index].1
    }

    /// Endpoints that are open (not down, weight above 0) and do not rest.
    pub fn ready_count(&self, now_ms: u64) -> usize {
        let ready = |(spec, state): &&(EndpointSpec, Arc<EndpointState>)| {
            spec.is_open() && !state.is_resting(now_ms)
        };
        self.endpoints.iter().filter(ready).count()
    }
}
