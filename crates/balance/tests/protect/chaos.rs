//! Everything at once: servers that die and come back, checks, passive health, breakers, slow
//! start, tiers, reloads. No request is lost that a server could have served, nobody who works
//! stays out, and nothing of it depends on luck: every run has a seed.

use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, Breaker, BreakerChange, BreakerSettings, Check, CheckFault,
    CheckSettings, EndpointSpec, EndpointState, Outcome, OutlierSettings, Panic, Passive,
    PoolRules, SelectFault, SlowStart, Start,
};

use crate::pool::{ALL, Random};

const SEEDS: u64 = 2_000;
const TROUBLE_MS: u64 = 60_000;
const QUIET_MS: u64 = 400_000;

struct Chaos {
    seed: u64,
    random: Random,
    specs: Vec<EndpointSpec>,
    states: Vec<Arc<EndpointState>>,
    rules: PoolRules,
    balancer: Balancer,
    checks: Option<Vec<Check>>,
    breakers: Option<Vec<Breaker>>,
    works: Vec<bool>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = 1 + random.below(7) as usize;
        let rules = rules(&mut random, count);
        let spec = |at: usize| EndpointSpec {
            max_fails: 1 + at as u32 % 3,
            fail_timeout_ms: 2_000,
            ..EndpointSpec::new(at.to_string()).weight(1 + at as u32 % 2)
        };
        let specs: Vec<EndpointSpec> = (0..count).map(spec).collect();
        let states: Vec<_> = specs
            .iter()
            .map(|_| Arc::new(EndpointState::new()))
            .collect();
        let settings = CheckSettings {
            start: match random.below(2) {
                0 => Start::Optimistic,
                _ => Start::FirstCheck,
            },
            ..CheckSettings::default()
        };
        let check = |_| Check::new(settings.clone(), 0, seed);
        let checks = (random.below(3) > 0).then(|| (0..count).map(check).collect());
        let breaker = |_| Breaker::new(BreakerSettings::default());
        let breakers = (random.below(3) == 0).then(|| (0..count).map(breaker).collect());
        Chaos {
            seed,
            balancer: build(&mut random, &specs, &states, &rules),
            random,
            specs,
            states,
            rules,
            checks,
            breakers,
            works: vec![true; count],
        }
    }

    /// Something happens to a server, or to the configuration.
    fn trouble(&mut self) {
        let at = self.random.below(self.works.len() as u64) as usize;
        match self.random.below(40) {
            0 => self.works[at] = false,
            1 | 2 => self.works[at] = true,
            3 => self.reload(),
            _ => {}
        }
    }

    fn reload(&mut self) {
        if self.random.below(2) == 0 {
            self.rules = rules(&mut self.random, self.specs.len());
        }
        self.balancer = build(&mut self.random, &self.specs, &self.states, &self.rules);
    }

    fn check(&mut self, now: u64) {
        for (at, check) in self.checks.iter_mut().flatten().enumerate() {
            if check.next_due_ms() > now {
                continue;
            }
            let _ = check.begin(now, self.random.next());
            let result = match self.works[at] {
                true => Ok(()),
                false => Err(CheckFault::ConnectTimeout),
            };
            let _ = check.finish(result, now, self.random.next());
            let _ = self.balancer.checked(at, check.is_usable(), now);
        }
    }

    /// One request, tried at every server if need be; the number of tries.
    fn request(&mut self, now: u64) -> usize {
        let mut tried = Vec::new();
        let ask = self.random.ask(now);
        loop {
            let selected = match self.balancer.select(&Ask {
                tried: &tried,
                ..ask
            }) {
                Ok(selected) => selected,
                Err(fault) => {
                    let seed = self.seed;
                    assert_eq!(fault, SelectFault::AllTried, "seed {seed} at {now}");
                    let lost = self.works.iter().any(|works| *works);
                    assert!(
                        !lost,
                        "seed {seed} at {now}: tried {tried:?} of {:?}",
                        self.works
                    );
                    return tried.len();
                }
            };
            let at = selected.index;
            assert!(!tried.contains(&at), "seed {}", self.seed);
            tried.push(at);
            self.tell(at, now);
            if self.works[at] {
                return tried.len();
            }
        }
    }

    fn tell(&mut self, at: usize, now: u64) {
        let failed = !self.works[at];
        let outcome = if failed {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        let _ = self.balancer.report(at, outcome, now);
        if let Some(breakers) = &self.breakers
            && let Ok((pass, _)) = breakers[at].admit(now)
            && let Some(change) = breakers[at].record(pass, failed, 1, now)
            && let BreakerChange::Opened { until_ms, .. } = change
        {
            let _ = self.balancer.rest(at, until_ms, now);
        }
        if let Some(checks) = &mut self.checks
            && failed
        {
            checks[at].hasten(now);
        }
    }
}

fn rules(random: &mut Random, count: usize) -> PoolRules {
    PoolRules {
        passive: match random.below(2) {
            0 => Passive::MaxFails,
            _ => Passive::Outlier(OutlierSettings::default()),
        },
        panic: Panic {
            threshold: random.below(2) as f64 * 0.5,
            ..Panic::default()
        },
        slow_start: (random.below(2) == 0).then(SlowStart::default),
        tiers: match random.below(2) {
            0 => Vec::new(),
            _ => (0..count).map(|_| random.below(3) as u8).collect(),
        },
        follows_load: random.below(2) == 0,
    }
}

fn build(
    random: &mut Random,
    specs: &[EndpointSpec],
    states: &[Arc<EndpointState>],
    rules: &PoolRules,
) -> Balancer {
    // The tables of the last ones take long to make.
    let algorithm = ALL[random.below(10) as usize];
    let endpoints = specs.iter().cloned().zip(states.iter().cloned()).collect();
    Balancer::with_rules(algorithm, endpoints, rules.clone()).unwrap()
}

#[test]
fn no_request_is_lost_that_could_have_been_served() {
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        for now in (0..TROUBLE_MS).step_by(50) {
            chaos.trouble();
            chaos.check(now);
            chaos.request(now);
        }
        chaos.works.fill(true);
        // Long enough for the longest ejection and the longest open time.
        for now in (TROUBLE_MS..TROUBLE_MS + QUIET_MS).step_by(500) {
            chaos.check(now);
            assert_eq!(chaos.request(now), 1, "seed {seed} at {now}");
        }
        // Not every algorithm and tier gave each of them traffic; now all get some.
        chaos.rules = PoolRules::default();
        let endpoints = chaos
            .specs
            .iter()
            .cloned()
            .zip(chaos.states.iter().cloned());
        chaos.balancer = Balancer::new(Algorithm::RoundRobin, endpoints.collect()).unwrap();
        for _ in 0..2 * chaos.works.len() {
            assert_eq!(chaos.request(TROUBLE_MS + QUIET_MS), 1, "seed {seed}");
        }
        for state in &chaos.states {
            let change = state.last_change();
            assert_eq!(state.rests_until_ms(), 0, "seed {seed}: {change:?}");
            assert_eq!(state.active(), 0, "seed {seed}");
        }
    }
}
