//! The rules of a pool beside its algorithm: what takes a server out, what happens when few are
//! left, how one comes back, and in which order tiers are used. The default is plain: `max_fails`
//! and `fail_timeout` of each server, all servers when none is healthy, backups second.

use crate::outlier::OutlierSettings;
use crate::panic::Panic;
use crate::slow_start::SlowStart;

/// Rules of a pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolRules {
    /// How failures of real traffic are judged.
    pub passive: Passive,
    /// When too few servers are healthy, and what then.
    pub panic: Panic,
    /// How a server that came back gets its traffic; `None` (the default) is all at once.
    pub slow_start: Option<SlowStart>,
    /// The tier of each server, by position; the lowest that serves is used. Empty (the default):
    /// backups are tier 1, all others tier 0. Otherwise `backup` means nothing.
    pub tiers: Vec<u8>,
    /// Weights follow what servers report of their load ([`crate::EndpointState::report_load`]),
    /// under every algorithm that goes by weights. Default false.
    pub follows_load: bool,
}

/// How failures of real traffic are judged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Passive {
    /// By `max_fails` and `fail_timeout_ms` of each server, as nginx does.
    #[default]
    MaxFails,
    /// By comparison with the others; `max_fails` and `fail_timeout_ms` mean nothing.
    Outlier(OutlierSettings),
}
