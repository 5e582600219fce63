//! Events counted over windows of time.

use super::H2Abuse;

/// What is left of the credit of one window that the next one has, at most: answers to the last frames that we sent.
const CARRY_MAX: i32 = 128;

/// A time so long before `now_ms` that every window since is over.
pub(super) const fn long_before(now_ms: u32) -> u32 {
    now_ms ^ (1 << 31)
}

/// Counts events over a window of time. Times are the low 32 bits of milliseconds, which go around in 49 days: a window
/// without an event for as long may last once more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    start_ms: u32,
    /// Events of this window, less those that are fair beyond the limit.
    balance: i32,
}

impl Window {
    /// A window that begins with the first event.
    pub(super) fn new(now_ms: u32) -> Window {
        Window {
            start_ms: long_before(now_ms),
            balance: 0,
        }
    }

    #[inline]
    fn turn(&mut self, now_ms: u32, length_ms: u32) {
        if now_ms.wrapping_sub(self.start_ms) >= length_ms {
            *self = Window {
                start_ms: now_ms,
                balance: self.balance.clamp(-CARRY_MAX, 0),
            };
        }
    }

    /// Counts one event; an error when it is one too many.
    #[inline]
    pub(super) fn hit(
        &mut self,
        now_ms: u32,
        length_ms: u32,
        max: u32,
        abuse: H2Abuse,
    ) -> Result<(), H2Abuse> {
        self.turn(now_ms, length_ms);
        self.balance = self.balance.saturating_add(1);
        if i64::from(self.balance) > i64::from(max) {
            Err(abuse)
        } else {
            Ok(())
        }
    }

    /// Makes `credit` events more fair.
    #[inline]
    pub(super) fn allow(&mut self, now_ms: u32, length_ms: u32, credit: u32) {
        self.turn(now_ms, length_ms);
        self.balance = self.balance.saturating_sub_unsigned(credit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same in large numbers, each for itself.
    #[derive(Default)]
    struct Plain {
        start_ms: u64,
        count: u64,
        credit: u64,
    }

    impl Plain {
        fn turn(&mut self, now_ms: u64, length_ms: u64) {
            if now_ms - self.start_ms >= length_ms {
                let left = self.credit.saturating_sub(self.count);
                self.credit = left.min(CARRY_MAX as u64);
                (self.start_ms, self.count) = (now_ms, 0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_balance_says_what_two_counters_say(
            begin in prop_oneof![1_000_000..2_000_000u64, 0xffff_f000..0x1_0000_1000u64],
            steps in prop::collection::vec((0..400u64, prop::option::of(0..300u32)), 0..400),
            max in 0..5u32,
        ) {
            let (mut now, length) = (begin, 1000u32);
            let (mut window, mut plain) = (Window::new(now as u32), Plain::default());
            for (after, credit) in steps {
                now += after.saturating_sub(200);
                plain.turn(now, u64::from(length));
                match credit.filter(|credit| credit % 8 == 0) {
                    Some(credit) => {
                        plain.credit += u64::from(credit);
                        window.allow(now as u32, length, credit);
                    }
                    None => {
                        plain.count += 1;
                        let fair = plain.count <= u64::from(max) + plain.credit;
                        let found = window.hit(now as u32, length, max, H2Abuse::Protocol);
                        prop_assert_eq!(found.is_ok(), fair);
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_have_an_end() {
        let mut window = Window::new(0);
        for _ in 0..3 {
            window.allow(0, 10, u32::MAX);
        }
        assert_eq!(window.hit(0, 10, 0, H2Abuse::Protocol), Ok(()));
        window.balance = i32::MAX;
        assert_eq!(window.hit(0, 10, u32::MAX, H2Abuse::Protocol), Ok(()));
        let max = i32::MAX as u32 - 1;
        assert_eq!(
            window.hit(0, 10, max, H2Abuse::PingFlood),
            Err(H2Abuse::PingFlood)
        );
    }
}
