//! Circuit breakers against a model that keeps every call, and in outages.

use std::sync::atomic::{AtomicU64, Ordering};

use keel_balance::{Breaker, BreakerChange, BreakerSettings, BreakerState, Pass, SlowCalls};

use crate::pool::Random;

fn settings(random: &mut Random) -> BreakerSettings {
    BreakerSettings {
        window_ms: 10 * (1 + random.below(1_000)),
        volume_min: random.below(30),
        error_share: (random.below(4) > 0).then(|| 0.05 + random.below(95) as f64 / 100.0),
        slow: (random.below(2) > 0).then(|| SlowCalls {
            over_ms: random.below(100),
            share: 0.05 + random.below(95) as f64 / 100.0,
        }),
        open_ms: 1 + random.below(5_000),
        open_growth: 1.0 + random.below(20) as f64 / 10.0,
        open_max_ms: 1 + random.below(20_000),
        probes: random.below(5) as u32,
    }
}

/// The definition: all calls of the present closed time, in a list.
struct Model {
    settings: BreakerSettings,
    state: BreakerState,
    calls: Vec<(u64, bool, bool)>,
    opens: u32,
    open_for_ms: u64,
    closed_at_ms: u64,
    out: u32,
    well: u32,
    lease_ms: u64,
}

impl Model {
    fn new(settings: BreakerSettings) -> Self {
        Model {
            settings,
            state: BreakerState::Closed,
            calls: Vec::new(),
            opens: 0,
            open_for_ms: 0,
            closed_at_ms: 0,
            out: 0,
            well: 0,
            lease_ms: 0,
        }
    }

    fn admits(&mut self, now: u64) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { until_ms } if until_ms > now => false,
            BreakerState::Open { .. } => {
                self.state = BreakerState::HalfOpen;
                (self.out, self.well) = (1, 0);
                self.lease_ms = now + self.open_for_ms;
                true
            }
            BreakerState::HalfOpen => {
                if self.lease_ms <= now {
                    self.out = self.well;
                    self.lease_ms = now + self.open_for_ms;
                }
                let free = self.out < self.settings.probes.max(1);
                self.out += u32::from(free);
                free
            }
        }
    }

    fn recorded(&mut self, failed: bool, took: u64, now: u64) {
        let slow = self.settings.slow.is_some_and(|slow| took > slow.over_ms);
        if self.state == BreakerState::HalfOpen {
            self.well += 1;
            if failed || slow {
                self.open(now);
            } else if self.well == self.settings.probes.max(1) {
                self.state = BreakerState::Closed;
                self.closed_at_ms = now;
                self.calls.clear();
            }
            return;
        }
        self.calls.push((now, failed, slow));
        let slot = (self.settings.window_ms / 10).max(1);
        let inside = |call: &&(u64, bool, bool)| call.0 / slot + 10 > now / slot;
        let calls: Vec<_> = self.calls.iter().filter(inside).collect();
        let count = |is: fn(&(u64, bool, bool)) -> bool| calls.iter().filter(|it| is(it)).count();
        let (all, bad, late) = (calls.len(), count(|it| it.1), count(|it| it.2));
        let enough = all as u64 >= self.settings.volume_min.max(1);
        let over = |part: usize, share: Option<f64>| {
            part > 0 && share.is_some_and(|share| part as f64 / all as f64 >= share)
        };
        let slow_share = self.settings.slow.map(|slow| slow.share);
        let tripped = over(bad, self.settings.error_share) || over(late, slow_share);
        if (failed || slow) && enough && tripped {
            if now - self.closed_at_ms >= self.open_for_ms {
                self.opens = 0;
            }
            self.open(now);
        }
    }

    fn open(&mut self, now: u64) {
        let times = i32::try_from(self.opens).unwrap();
        let grown = self.settings.open_ms as f64 * self.settings.open_growth.powi(times);
        self.open_for_ms = (grown as u64).min(self.settings.open_max_ms).max(1);
        self.opens += 1;
        let until_ms = now + self.open_for_ms;
        self.state = BreakerState::Open { until_ms };
    }
}

#[test]
fn does_what_the_model_does() {
    for seed in 0..5_000 {
        let mut random = Random(seed);
        let settings = settings(&mut random);
        let (breaker, mut model) = (Breaker::new(settings), Model::new(settings));
        let (bad, step) = (random.below(100), 1 + random.below(400));
        let (mut now, mut changes) = (0, 0);
        for _ in 0..300 {
            now += random.below(step);
            let pass = breaker.admit(now);
            assert_eq!(pass.is_ok(), model.admits(now), "seed {seed} at {now}");
            let Ok((pass, _)) = pass else {
                now += random.below(settings.open_ms);
                continue;
            };
            // Some never tell how it went.
            if random.below(20) > 0 {
                let (failed, took) = (random.below(100) < bad, random.below(120));
                changes += u32::from(breaker.record(pass, failed, took, now).is_some());
                model.recorded(failed, took, now);
            }
            assert_eq!(breaker.state(), model.state, "seed {seed} at {now}");
        }
        let never = settings.error_share.is_none() && settings.slow.is_none();
        assert!(!never || changes == 0, "seed {seed}");
    }
}

/// A server fails for a while; a call each 10 ms.
#[test]
fn few_calls_reach_a_server_that_is_out_and_it_comes_back() {
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let breaker = Breaker::new(BreakerSettings::default());
        let from = 20_000 + random.below(30_000);
        let until = from + 30_000 + random.below(120_000);
        let (mut wasted, mut closed_at, mut refused_before) = (0, None, 0);
        for now in (0..until + 70_000).step_by(10) {
            let out = (from..until).contains(&now);
            let Ok((pass, _)) = breaker.admit(now) else {
                refused_before += u32::from(now < from);
                continue;
            };
            let failed = out || (now < from && random.below(100) == 0);
            wasted += u32::from(out);
            match breaker.record(pass, failed, 1, now) {
                Some(BreakerChange::Closed) if now >= until => closed_at = Some(now),
                Some(BreakerChange::Opened { .. }) if now > until => closed_at = None,
                _ => {}
            }
        }
        assert_eq!(refused_before, 0, "seed {seed}: 1 % is no reason");
        // Half a window of calls, then at most three probes a time.
        assert!(wasted <= 510 + 3 * 12, "seed {seed}: {wasted} calls");
        let back = closed_at.map(|at| at - until);
        assert!(back.is_some_and(|ms| ms <= 65_100), "seed {seed}: {back:?}");
    }
}

#[test]
fn probes_are_never_more_than_allowed_over_threads() {
    for round in 0..200u64 {
        let breaker = Breaker::new(BreakerSettings::default());
        for now in 0..20 {
            let (pass, _) = breaker.admit(now).unwrap();
            let _ = breaker.record(pass, true, 1, now);
        }
        let probes = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let passes: Vec<Pass> = (0..50)
                        .filter_map(|at| breaker.admit(6_000 + round + at).ok())
                        .map(|(pass, _)| pass)
                        .collect();
                    assert!(passes.iter().all(Pass::is_probe));
                    probes.fetch_add(passes.len() as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(probes.into_inner(), 3);
    }
}

#[test]
fn no_call_is_lost_between_threads() {
    let settings = BreakerSettings {
        error_share: None,
        ..BreakerSettings::default()
    };
    let breaker = Breaker::new(settings);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in 0..20_000u64 {
                    let (pass, _) = breaker.admit(at / 10).unwrap();
                    let _ = breaker.record(pass, at % 4 == 0, 1, at / 10);
                }
            });
        }
    });
    let (counts, _) = breaker.counts(2_000);
    assert_eq!((counts.total, counts.bad), (80_000, 20_000));
}
