//! Events counted over windows of time.

use super::H2Abuse;

/// What is left of the credit of one window that the next one has, at most: answers to the last frames that we sent.
const CARRY_MAX: u64 = 128;

/// Counts events over a window of time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    start_ms: u64,
    count: u64,
    /// Events that are fair in this window beyond the limit.
    credit: u64,
}

impl Window {
    #[inline]
    fn turn(&mut self, now_ms: u64, length_ms: u64) {
        if now_ms.saturating_sub(self.start_ms) >= length_ms {
            *self = Window {
                start_ms: now_ms,
                count: 0,
                credit: self.credit.saturating_sub(self.count).min(CARRY_MAX),
            };
        }
    }

    /// Counts one event; an error when it is one too many.
    #[inline]
    pub(super) fn hit(
        &mut self,
        now_ms: u64,
        length_ms: u64,
        max: u32,
        abuse: H2Abuse,
    ) -> Result<(), H2Abuse> {
        self.turn(now_ms, length_ms);
        self.count += 1;
        if self.count > u64::from(max).saturating_add(self.credit) {
            Err(abuse)
        } else {
            Ok(())
        }
    }

    /// Makes `credit` events more fair.
    #[inline]
    pub(super) fn allow(&mut self, now_ms: u64, length_ms: u64, credit: u64) {
        self.turn(now_ms, length_ms);
        self.credit = self.credit.saturating_add(credit);
    }
}
