//! Prints, as Markdown tables, how a pool gets over trouble, from runs in virtual time with seeds:
//! how soon checks find a dead server, what reaches it meanwhile under each guard, how it gets its
//! traffic back, what retries and hedges cost, and how an adaptive limit follows a server.
//!
//! `cargo run --release -p keel-balance --example recovery_curves`

use std::collections::VecDeque;
use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, Breaker, BreakerSettings, BudgetSettings, Check, CheckFault,
    CheckSettings, ConcurrencySettings, EndpointSpec, EndpointState, Health, HedgeSettings, Hedger,
    Limiter, Outcome, OutlierSettings, Passive, PoolRules, RetryBudget, SlowStart, Tie,
};

/// SplitMix64, so that every run is the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A response time around `median_us` with a tail.
    fn time_us(&mut self, median_us: f64) -> u64 {
        let unit = (self.below(1 << 40) as f64 + 0.5) / (1u64 << 40) as f64;
        // A logistic number: quick to draw, with tails.
        let spread = (unit / (1.0 - unit)).ln() * 0.15;
        (median_us * spread.exp()) as u64
    }
}

fn main() {
    detection();
    dead_server();
    slow_start();
    retries();
    hedging();
    concurrency();
}

fn pool(algorithm: Algorithm, size: usize, rules: PoolRules) -> Balancer {
    let endpoint = |index: usize| {
        let spec = EndpointSpec::new(format!("server {index}"));
        (spec, Arc::new(EndpointState::new()))
    };
    let endpoints = (0..size).map(endpoint).collect();
    Balancer::with_rules(algorithm, endpoints, rules).expect("a valid pool")
}

/// Least, mean and largest of a list, in seconds with two digits.
fn spread(list: &[u64]) -> String {
    let mean = list.iter().sum::<u64>() / list.len().max(1) as u64;
    let ends = [
        list.iter().min().copied(),
        Some(mean),
        list.iter().max().copied(),
    ];
    let seconds = ends.map(|ms| format!("{:.2}", ms.unwrap_or(0) as f64 / 1_000.0));
    seconds.join(" / ")
}

/// A server that answers in 5 ms is silent from a random time on, and later answers again.
fn detection() {
    println!("Seconds until checks say so (least / mean / most of 10,000 runs)\n");
    println!("| every, timeout, fall, rise | down | up again |\n|---|---|---|");
    for (every_ms, timeout_ms, fall, rise) in [
        (5_000, 2_000, 3, 2),
        (10_000, 5_000, 3, 2),
        (1_000, 500, 2, 2),
    ] {
        let settings = CheckSettings {
            every_ms,
            timeout_ms,
            fall,
            rise,
            ..CheckSettings::default()
        };
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for seed in 0..10_000 {
            let mut random = Random(seed);
            let mut check = Check::new(settings.clone(), 0, random.next());
            let dies = 30_000 + random.below(10_000);
            let lives = dies + 60_000 + random.below(10_000);
            while up.len() as u64 <= seed {
                let begins = check.next_due_ms();
                check.begin(begins, random.next());
                let dead = (dies..lives).contains(&begins);
                let (result, took) = match dead {
                    true => (Err(CheckFault::Timeout), timeout_ms),
                    false => (Ok(()), 5),
                };
                let ends = begins + took;
                match check
                    .finish(result, ends, random.next())
                    .map(|change| change.to)
                {
                    Some(Health::Down) => down.push(ends - dies),
                    Some(Health::Up) if ends > lives => up.push(ends - lives),
                    _ => {}
                }
            }
        }
        let of = format!(
            "{} s, {} s, {fall}, {rise}",
            every_ms / 1_000,
            timeout_ms as f64 / 1_000.0
        );
        println!("| {of} | {} | {} |", spread(&down), spread(&up));
    }
}

/// One of four servers refuses everything for five minutes; 100 requests a second over the pool.
fn dead_server() {
    println!("\nRequests that reach a server which refuses for 5 minutes, of 25 a second\n");
    println!(
        "| guard | 1st minute | 2nd | 3rd | 4th | 5th | back after |\n|---|---|---|---|---|---|---|"
    );
    let outlier = PoolRules {
        passive: Passive::Outlier(OutlierSettings::default()),
        ..PoolRules::default()
    };
    for (name, rules, breaker) in [
        (
            "max_fails 1, fail_timeout 10 s",
            PoolRules::default(),
            false,
        ),
        ("outlier ejection", outlier, false),
        ("circuit breaker of the server", PoolRules::default(), true),
    ] {
        let breaker = breaker.then(|| Breaker::new(BreakerSettings::default()));
        let (minutes, back) = outage(&pool(Algorithm::RoundRobin, 4, rules), breaker.as_ref());
        let counts = minutes.map(|count| count.to_string()).join(" | ");
        println!("| {name} | {counts} | {:.1} s |", back as f64 / 1_000.0);
    }
}

fn outage(balancer: &Balancer, breaker: Option<&Breaker>) -> ([u32; 5], u64) {
    let mut random = Random(1);
    let (mut minutes, mut back) = ([0; 5], None);
    let (from, until) = (60_000, 360_000);
    for now in (0..720_000).step_by(10) {
        let mut tried: Vec<usize> = Vec::new();
        while let Ok(selected) = balancer.select(&Ask {
            tried: &tried,
            ..Ask::at(now, random.next())
        }) {
            let index = selected.index;
            let pass = match breaker
                .filter(|_| index == 0)
                .map(|breaker| breaker.admit(now))
            {
                Some(Err(_)) => {
                    tried.push(index);
                    continue;
                }
                Some(Ok((pass, _))) => Some(pass),
                None => None,
            };
            let dead = index == 0 && (from..until).contains(&now);
            if dead {
                minutes[((now - from) / 60_000) as usize] += 1;
            } else if index == 0 && now >= until {
                back = back.or(Some(now - until));
            }
            match (breaker, pass) {
                (Some(breaker), Some(pass)) => drop(breaker.record(pass, dead, 1, now).is_some()),
                _ => drop(
                    balancer
                        .report(
                            index,
                            if dead {
                                Outcome::Failure
                            } else {
                                Outcome::Success
                            },
                            now,
                        )
                        .is_some(),
                ),
            }
            if !dead {
                break;
            }
            tried.push(index);
        }
    }
    (minutes, back.unwrap_or(u64::MAX))
}

/// One of five servers comes back; 2,000 requests a second of 100 ms.
fn slow_start() {
    println!(
        "\nShare of its normal traffic in each 3 s after a server is back, slow start of 30 s\n"
    );
    let seconds: Vec<String> = (1..=11).map(|step| (step * 3).to_string()).collect();
    println!(
        "| algorithm, exponent | {} |\n|{}",
        seconds.join(" | "),
        "---|".repeat(12)
    );
    for (name, algorithm) in [
        ("round_robin", Algorithm::RoundRobin),
        ("least_conn", Algorithm::LeastConn { tie: Tie::Rotate }),
    ] {
        for exponent in [1.0, 2.0, 0.5] {
            let slow = SlowStart {
                exponent,
                ..SlowStart::default()
            };
            let shares = ramp(algorithm, slow).map(|share| format!("{share:.2}"));
            println!("| {name}, {exponent} | {} |", shares.join(" | "));
        }
    }
}

fn ramp(algorithm: Algorithm, slow: SlowStart) -> [f64; 11] {
    let rules = PoolRules {
        slow_start: Some(slow),
        ..PoolRules::default()
    };
    let balancer = pool(algorithm, 5, rules);
    let mut random = Random(2);
    let mut running = VecDeque::new();
    let (mut own, mut all) = ([0.0; 11], [0.0; 11]);
    for now in 0..34_000u64 {
        if now == 500 || now == 1_000 {
            balancer.checked(0, now == 1_000, now);
        }
        while running.front().is_some_and(|(end, _)| *end <= now) {
            running.pop_front();
        }
        for _ in 0..2 {
            let selected = balancer
                .select(&Ask::at(now, random.next()))
                .expect("a server");
            if now >= 1_000 {
                let step = ((now - 1_000) / 3_000) as usize;
                all[step] += 1.0;
                own[step] += f64::from(u8::from(selected.index == 0));
            }
            running.push_back((now + 100, selected.permit));
        }
    }
    std::array::from_fn(|step| own[step] / all[step] * 5.0)
}

/// Every attempt fails with these odds; up to three tries.
fn retries() {
    println!("\nAttempts per request with up to 3 tries, 1,000 requests a second for a minute\n");
    println!(
        "| attempts that fail | no budget | budget of 20 % | answered without | with |\n|---|---|---|---|---|"
    );
    for percent in [1, 10, 50, 90, 100] {
        let free = storm(percent, None);
        let budget = RetryBudget::new(BudgetSettings::default());
        let bound = storm(percent, Some(&budget));
        println!(
            "| {percent} % | {:.2} | {:.2} | {:.1} % | {:.1} % |",
            free.0, bound.0, free.1, bound.1
        );
    }
}

fn storm(percent: u64, budget: Option<&RetryBudget>) -> (f64, f64) {
    let mut random = Random(3);
    let (mut attempts, mut answered) = (0u32, 0u32);
    for now in 0..60_000 {
        budget.inspect(|budget| budget.request(now));
        for attempt in 0..3 {
            if attempt > 0 && !budget.is_none_or(|budget| budget.spend(now)) {
                break;
            }
            attempts += 1;
            if random.below(100) >= percent {
                answered += 1;
                break;
            }
        }
    }
    let requests = 60_000.0;
    (
        f64::from(attempts) / requests,
        f64::from(answered) / requests * 100.0,
    )
}

/// Answers in 20 ms, one in fifty in 500 ms.
fn hedging() {
    println!("\nResponse times in ms, 1,000 requests a second, one attempt in 50 slow\n");
    println!("| | p50 | p95 | p99 | p99.9 | extra requests |\n|---|---|---|---|---|---|");
    for (name, hedged) in [("plain", false), ("hedged after the 95th percentile", true)] {
        let mut random = Random(4);
        let hedger = Hedger::new(HedgeSettings::default());
        let (mut times, mut extra) = (Vec::new(), 0);
        for now in 0..100_000 {
            let mut attempt = || {
                let slow = random.below(50) == 0;
                random.time_us(if slow { 500_000.0 } else { 20_000.0 })
            };
            let (first, second) = (attempt(), attempt());
            let due = hedger.due_us(0).filter(|due| hedged && *due < first);
            extra += u32::from(due.is_some());
            hedger.record(first, now);
            times.push(due.map_or(first, |due| first.min(due + second)));
        }
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize] as f64 / 1_000.0;
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} % |",
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999),
            f64::from(extra) / 1_000.0
        );
    }
}

/// A server of 20 ms that takes 200 requests at a time, then 50, then 200; more are offered.
fn concurrency() {
    println!(
        "\nAdaptive limit of a server that takes 200 requests at a time, 50 from 30 s to 60 s\n"
    );
    println!("| second | limit | response time, ms |\n|---|---|---|");
    let limiter = Arc::new(Limiter::new(ConcurrencySettings::default()));
    let mut random = Random(5);
    let (mut now, mut shown) = (0u64, 0u64);
    while now < 90_000 {
        let capacity = if (30_000..60_000).contains(&now) {
            50.0
        } else {
            200.0
        };
        let places: Vec<_> = std::iter::from_fn(|| limiter.enter()).collect();
        let slower = (places.len() as f64 / capacity).max(1.0);
        let mut longest = 0;
        for place in places {
            let took_us = random.time_us(20_000.0 * slower);
            longest = longest.max(took_us);
            let _ = place.finish(took_us, now + took_us / 1_000);
        }
        now += (longest / 1_000).max(20);
        if now >= shown {
            println!(
                "| {} | {} | {:.0} |",
                now / 1_000,
                limiter.limit(),
                20.0 * slower
            );
            shown += if (30_000..33_000).contains(&shown) || (60_000..63_000).contains(&shown) {
                500
            } else {
                5_000
            };
        }
    }
}
