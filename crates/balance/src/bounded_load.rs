//! Bounded load: no server takes more than a factor of the mean, so that one hot key cannot drown
//! the server that it belongs to; the rest of its requests go to the next servers of the key.
//!
//! Somebody is always below the bound: not all can be above the mean. The board knows that one, so
//! a key whose first servers are all taken needs no long search.

/// The bound, at least 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound(pub(crate) f64);

/// The load of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Active requests of all servers.
    pub(crate) total: u64,
    /// Weight of all servers.
    pub(crate) weight: u64,
}

impl Bound {
    /// True when a server with `active` requests, this weight and this share of its traffic may
    /// take one more.
    pub(crate) fn allows(self, load: Load, active: u32, weight: u32, share: f64) -> bool {
        let limit = self.limit(load, weight);
        if share < 1.0 {
            f64::from(active) < (limit as f64 * share).ceil()
        } else {
            u64::from(active) < limit
        }
    }

    /// Most requests of a server when the pool has one more than now.
    pub(crate) fn limit(self, load: Load, weight: u32) -> u64 {
        let mean = (load.total + 1) as f64 * f64::from(weight) / load.weight.max(1) as f64;
        (self.0 * mean).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_factor_of_the_mean_rounded_up() {
        let bound = Bound(1.25);
        let load = Load {
            total: 99,
            weight: 10,
        };
        assert_eq!(bound.limit(load, 1), 13);
        assert_eq!(bound.limit(load, 5), 63);
        assert!(bound.allows(load, 12, 1, 1.0) && !bound.allows(load, 13, 1, 1.0));
        assert_eq!(
            bound.limit(
                Load {
                    total: 0,
                    weight: 1_000
                },
                1
            ),
            1
        );
    }
}
