//! How often each client may start a handshake: a table of token buckets by address, for one worker.
//!
//! The table is made once and never grows, and a step looks at eight rows. A client that has no row takes that of the
//! eight whose bucket is the fullest, and goes on with that bucket: nothing is lost when it is full, as it is after
//! any pause, and when it is not, a flood from many addresses gains nothing by coming from yet another one. A client
//! that is being held back has the emptiest bucket, so it is not pushed out by newcomers.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// A default for [`RateLimit::clients_max`].
pub const CLIENTS_MAX: usize = 100_000;
/// Rows that a client may stand in.
const WAYS: usize = 8;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// How many handshakes a client may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Handshakes a second that are allowed for as long as it lasts; 0 counts as 1.
    pub per_second: u32,
    /// Handshakes that may come at once after a pause; 0 counts as 1.
    pub burst: u32,
    /// Most clients that are told apart, rounded up to a multiple of 8. Each takes 16 bytes.
    pub clients_max: usize,
}

impl RateLimit {
    /// A rate with as much as burst, for [`CLIENTS_MAX`] clients.
    pub fn per_second(per_second: u32) -> RateLimit {
        RateLimit {
            per_second,
            burst: per_second,
            clients_max: CLIENTS_MAX,
        }
    }
}

/// Rates by client. An IPv6 client is its /64, since one host commonly has all of it; an IPv4 address mapped into IPv6
/// counts as that IPv4 address.
pub struct ClientRates {
    /// Plain numbers, so that fresh memory of the system is used as it is: pages are touched when clients come.
    sets: Vec<[Row; WAYS]>,
    /// Keyed, so that nobody can aim at the rows of another client.
    hasher: RandomState,
    /// Time that one handshake costs, in nanoseconds.
    interval: u64,
    /// How far a bucket may run ahead of the time and still allow one more.
    ahead_max: u64,
    displaced: u64,
}

/// The client, and when its bucket will be full: nanoseconds on the clock of the caller. This is GCRA, the leaky
/// bucket as a meter, in one number. A row of zeros is a full bucket, which is all that matters about it.
type Row = [u64; 2];

impl fmt::Debug for ClientRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRates")
            .field("clients_max", &self.clients_max())
            .finish_non_exhaustive()
    }
}

impl ClientRates {
    /// A table in which each client may begin with a burst.
    pub fn new(limit: RateLimit) -> ClientRates {
        let interval = NS_PER_S / u64::from(limit.per_second.max(1));
        ClientRates {
            sets: vec![[[0; 2]; WAYS]; limit.clients_max.div_ceil(WAYS).max(1)],
            hasher: RandomState::new(),
            interval,
            ahead_max: interval.saturating_mul(u64::from(limit.burst.max(1)) - 1),
            displaced: 0,
        }
    }

    /// Whether a client may start a handshake now, which then is counted; one that is refused costs nothing. `now_ms`
    /// are milliseconds of a clock that does not go back.
    pub fn allow(&mut self, client: IpAddr, now_ms: u64) -> bool {
        let key = key(client);
        let now = now_ms.saturating_mul(NS_PER_MS);
        let at = self.hasher.hash_one(key) % self.sets.len() as u64;
        let Some(set) = self.sets.get_mut(at as usize) else {
            return true; // There is always a set.
        };
        let own = set.iter().position(|[owner, _]| *owner == key);
        let fullest = || {
            set.iter()
                .enumerate()
                .min_by_key(|(_, [_, full_at])| *full_at)
        };
        let at = own
            .or_else(|| fullest().map(|(at, _)| at))
            .unwrap_or_default();
        let Some(row) = set.get_mut(at) else {
            return true;
        };
        let [owner, full_at] = row;
        if *owner != key {
            self.displaced += u64::from(*full_at > now);
            *owner = key;
        }
        let from = (*full_at).max(now);
        let allowed = from - now <= self.ahead_max;
        if allowed {
            *full_at = from.saturating_add(self.interval);
        }
        allowed
    }

    /// Clients that the table tells apart at most.
    pub fn clients_max(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How often a client had to take a bucket that was not full, since the table had no better row: a number that
    /// grows says that `clients_max` is hit.
    pub fn displaced(&self) -> u64 {
        self.displaced
    }
}

/// A number for each client. The prefix of IPv4 is one of multicast, from which no IPv6 client comes.
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => 0xffff_ffff_0000_0000 | u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn rates(per_second: u32, burst: u32, clients_max: usize) -> ClientRates {
        ClientRates::new(RateLimit {
            per_second,
            burst,
            clients_max,
        })
    }

    fn allowed(rates: &mut ClientRates, client: IpAddr, now_ms: u64, tries: usize) -> usize {
        (0..tries).filter(|_| rates.allow(client, now_ms)).count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rates = rates(10, 5, 100);
        assert_eq!(allowed(&mut rates, v4(1), 1000, 20), 5);
        assert_eq!(allowed(&mut rates, v4(1), 1099, 20), 0);
        assert_eq!(allowed(&mut rates, v4(1), 1100, 20), 1);
        assert_eq!(allowed(&mut rates, v4(1), 1400, 20), 3);
        assert_eq!(allowed(&mut rates, v4(1), 9000, 20), 5);
        assert_eq!(
            allowed(&mut rates, v4(2), 9000, 20),
            5,
            "another client is not affected"
        );
        // A clock that goes back gives nothing away and does not stick.
        assert_eq!(allowed(&mut rates, v4(1), 0, 20), 0);
        assert_eq!(allowed(&mut rates, v4(1), 9500, 20), 5);
    }

    #[test]
    fn who_is_one_client() {
        let same = |a: &str, b: &str| key(a.parse().unwrap()) == key(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::1", "127.0.0.1"));
        assert_eq!(
            allowed(&mut rates(10, 5, 8), "::1".parse().unwrap(), 0, 20),
            5
        );
    }

    #[test]
    fn odd_limits() {
        assert_eq!(allowed(&mut rates(0, 0, 0), v4(1), 0, 5), 1);
        assert_eq!(rates(1, 1, 0).clients_max(), 8);
        assert_eq!(
            ClientRates::new(RateLimit::per_second(100)).clients_max(),
            CLIENTS_MAX
        );
        let mut most = rates(u32::MAX, u32::MAX, 8);
        assert_eq!(allowed(&mut most, v4(1), u64::MAX, 100), 100);
    }

    #[test]
    fn a_flood_of_addresses_gets_no_more_than_the_table_has_and_frees_nobody() {
        let mut rates = rates(1, 4, 64);
        let held = v4(7_000_000);
        assert_eq!(allowed(&mut rates, held, 0, 100), 4);
        // Each new address in turn, ten seconds long: 64 bursts and the rates of 64 clients.
        let mut passed = 0;
        for number in 0..200_000 {
            passed += allowed(&mut rates, v4(number), u64::from(number) / 20, 1);
        }
        assert!(passed <= 64 * (4 + 10), "{passed}");
        assert!(rates.displaced() > 100_000);
        assert_eq!(rates.sets.len() * WAYS, 64);
        assert!(allowed(&mut rates, held, 10_000, 100) <= 4);
    }

    #[test]
    fn one_that_is_held_back_is_not_pushed_out() {
        let mut rates = rates(1, 10, 8);
        assert_eq!(allowed(&mut rates, v4(1), 0, 100), 10);
        // The others get all that is theirs, as long as there is room.
        for number in 2..=8 {
            assert_eq!(allowed(&mut rates, v4(number), 0, 9), 9);
        }
        assert_eq!(rates.displaced(), 0);
        for number in 9..50 {
            rates.allow(v4(number), 0);
        }
        assert!(!rates.allow(v4(1), 500));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// In any stretch of time a client gets at most burst + rate × time, and with a table that is large enough
        /// at least what a bucket of whole tokens would give.
        #[test]
        fn no_client_gets_more_than_its_bucket(
            per_second in 1u32..200, burst in 1u32..20,
            steps in proptest::collection::vec((0u32..6, 0u64..400), 1..400),
        ) {
            let mut rates = rates(per_second, burst, 100_000);
            let (mut now, mut passed) = (0, HashMap::<u32, Vec<u64>>::new());
            for (client, pause) in steps {
                now += pause;
                let times = passed.entry(client).or_default();
                let allowed = rates.allow(v4(client), now);
                let limit = |since: u64| u64::from(burst) + (now - since) * u64::from(per_second) / 1000 + 1;
                if allowed {
                    times.push(now);
                    for (at, since) in times.iter().enumerate() {
                        prop_assert!((times.len() - at) as u64 <= limit(*since));
                    }
                } else {
                    // Refused only when some stretch that ends now is used up.
                    let used = times.iter().enumerate().any(|(at, since)| {
                        (times.len() - at) as u64 + 1 >= limit(*since).saturating_sub(1)
                    });
                    prop_assert!(used);
                }
            }
        }

        /// All together never get more than the rows of the table, whoever comes.
        #[test]
        fn the_table_bounds_all(steps in proptest::collection::vec((any::<u32>(), 0u64..3), 1..2000)) {
            let mut rates = rates(5, 3, 16);
            let (mut now, mut passed) = (0, 0);
            for (client, pause) in steps {
                now += pause;
                passed += u64::from(rates.allow(v4(client % 100_000), now));
                prop_assert!(passed <= 16 * (3 + now * 5 / 1000 + 1));
            }
        }
    }
}
