//! A simulated hour: eight requests a second at servers of different speed; one is slow for a
//! while, one refuses for a while. Nobody who is ready starves, nobody who is dead gets more than
//! its trials, and whoever comes back gets traffic again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, Outcome, Permit, SelectFault, TimeFormula,
};

use crate::pool::*;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
const REQUEST_EVERY_MS: u64 = 125;
const SERVERS: usize = 5;
const SLOW: usize = 1;
const DEAD: usize = 3;

/// When [`DEAD`] refuses every connection.
const REFUSES: std::ops::Range<u64> = 20 * MINUTE_MS..25 * MINUTE_MS;

/// Most requests in a row without one for a ready server. The rarest is the slow server's under
/// least time: one in 50 x 5; this many misses it with a chance of e^-20.
const GAP_MAX: u64 = 5_000;

fn response_ms(index: usize, now_ms: u64) -> u64 {
    match index {
        SLOW if now_ms < 10 * MINUTE_MS => 2_000,
        index => 20 + 10 * index as u64,
    }
}

struct Hour {
    balancer: Balancer,
    random: Random,
    running: BinaryHeap<Reverse<(u64, u64)>>,
    permits: Vec<Option<(usize, u64, Permit)>>,
    last_served: [u64; SERVERS],
    counts: [[u64; SERVERS]; 60],
    refused: u64,
}

impl Hour {
    fn new(algorithm: Algorithm, seed: u64) -> Self {
        let spec = |spec| EndpointSpec {
            max_fails: 2,
            ..spec
        };
        Hour {
            balancer: pool_of(algorithm, specs(&[1, 2, 1, 1, 3]).into_iter().map(spec)),
            random: Random(seed),
            running: BinaryHeap::new(),
            permits: Vec::new(),
            last_served: [0; SERVERS],
            counts: [[0; SERVERS]; 60],
            refused: 0,
        }
    }

    fn run(&mut self) {
        for number in 0..HOUR_MS / REQUEST_EVERY_MS {
            let now = number * REQUEST_EVERY_MS;
            self.finish_until(now);
            self.request(number, now);
        }
        self.finish_until(u64::MAX);
        assert!((0..SERVERS).all(|index| self.balancer.state(index).active() == 0));
    }

    fn finish_until(&mut self, now: u64) {
        while let Some(Reverse((at, number))) =
            self.running.peek().copied().filter(|r| r.0.0 <= now)
        {
            self.running.pop();
            let (index, began, _permit) = self.permits[number as usize].take().unwrap();
            self.balancer
                .state(index)
                .record_response((at - began) * 1_000, at);
            let _ = self.balancer.report(index, Outcome::Success, at);
        }
    }

    fn request(&mut self, number: u64, now: u64) {
        let ask = self.random.ask(now);
        let mut tried = Vec::new();
        loop {
            let selected = match self.balancer.select(&Ask {
                tried: &tried,
                ..ask
            }) {
                Ok(selected) => selected,
                Err(fault) => panic!("{fault} at {now} ms, tried {tried:?}"),
            };
            let index = selected.index;
            if index == DEAD && REFUSES.contains(&now) {
                self.refused += 1;
                let _ = self.balancer.report(index, Outcome::Failure, now);
                tried.push(index);
                continue;
            }
            self.running.push(Reverse((
                now + response_ms(index, now),
                self.permits.len() as u64,
            )));
            self.permits.push(Some((index, now, selected.permit)));
            self.served(number, now, index);
            return;
        }
    }

    fn served(&mut self, number: u64, now: u64, index: usize) {
        self.last_served[index] = number;
        self.counts[(now / MINUTE_MS) as usize][index] += 1;
        // Ten seconds of grace after the refusals: the last rest.
        if (REFUSES.start..REFUSES.end + 20_000).contains(&now) {
            self.last_served[DEAD] = number;
        }
        let algorithm = self.balancer.algorithm();
        for (at, last) in self.last_served.iter().enumerate() {
            let gap = number - last;
            assert!(
                gap <= GAP_MAX,
                "{algorithm:?}: {at} got nothing for {gap} requests"
            );
        }
    }
}

#[test]
fn nobody_starves_in_an_hour() {
    for (seed, algorithm) in ALL.into_iter().enumerate() {
        // By file order, one request at a time: the last server gets one when others are busy.
        if algorithm == LEAST_CONN {
            continue;
        }
        let mut hour = Hour::new(algorithm, seed as u64);
        hour.run();
        // 5 minutes, two failures, then a trial each 10 seconds.
        assert!(
            hour.refused <= 2 + 30,
            "{algorithm:?}: {} refusals",
            hour.refused
        );
        let minute = |at: usize, index: usize| hour.counts[at][index];
        assert!(
            minute(27, DEAD) > 0,
            "{algorithm:?}: the dead server came back"
        );
        if algorithm == least_time(TimeFormula::ActivePlusOne, 50) {
            let (slow, quick) = (minute(5, SLOW), minute(50, SLOW));
            assert!(
                slow < 30 && quick > 2 * slow,
                "{algorithm:?}: {slow}, then {quick}"
            );
        }
    }
}

#[test]
fn a_burst_beyond_all_limits_ends_with_the_burst() {
    for algorithm in ALL {
        let limit = |spec| EndpointSpec {
            max_connections: 10,
            ..spec
        };
        let balancer = pool_of(algorithm, specs(&[1, 2, 3]).into_iter().map(limit));
        let mut random = Random(1);
        for second in 0..20 {
            let burst: Vec<_> = (0..100)
                .map(|_| balancer.select(&random.ask(second * 1_000)))
                .collect();
            assert_eq!(
                burst.iter().filter(|result| result.is_ok()).count(),
                30,
                "{algorithm:?}"
            );
            let full =
                |result: &&Result<_, SelectFault>| matches!(result, Err(SelectFault::AllFull));
            assert_eq!(burst.iter().filter(full).count(), 70);
        }
    }
}
