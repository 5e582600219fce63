//! The panic threshold: what a pool does when too few of its servers are healthy.
//!
//! With a tenth of the servers left, sending everything to that tenth drowns it too, and a check
//! that fails for all is more often wrong than right. Below the threshold, requests go to all
//! servers, healthy or not; or none is served, for those who prefer an error to a doubtful answer.

/// What happens below the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PanicAction {
    /// Requests go to all servers, healthy or not.
    #[default]
    SpreadOverAll,
    /// No request is served.
    FailClosed,
}

/// When too few servers are healthy, and what then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Panic {
    /// Share of healthy servers, 0 to 1, below which a tier does not serve; a tier without any
    /// healthy server never does. Default 0: one is enough.
    pub threshold: f64,
    /// What happens when no tier serves. Default [`PanicAction::SpreadOverAll`].
    pub action: PanicAction,
}

impl Default for Panic {
    fn default() -> Self {
        Panic {
            threshold: 0.0,
            action: PanicAction::SpreadOverAll,
        }
    }
}

impl Panic {
    /// Whether a tier with `healthy` of `open` servers serves.
    pub fn serves(&self, healthy: usize, open: usize) -> bool {
        healthy > 0 && healthy as f64 >= self.threshold.clamp(0.0, 1.0) * open as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_from_the_threshold_on() {
        let serving = |threshold: f64, open: usize| {
            let panic = Panic {
                threshold,
                ..Panic::default()
            };
            (0..=open).find(|healthy| panic.serves(*healthy, open))
        };
        assert_eq!(serving(0.0, 10), Some(1), "none is never enough");
        assert_eq!(serving(0.5, 10), Some(5));
        assert_eq!(serving(0.5, 3), Some(2));
        assert_eq!(serving(1.0, 7), Some(7));
        assert_eq!(serving(7.0, 7), Some(7));
        assert_eq!(serving(0.0, 0), None);
    }
}
