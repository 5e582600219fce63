//! Prints what a select and the drop of its permit cost, for every algorithm and several pool
//! sizes, as a Markdown table. Of many short rounds the quickest counts: what else
//! runs on the machine can only make a round slower.
//!
//! `cargo run --release -p keel-balance --example select_cost`
//!
//! Every tenth request stays open for a while, so that loads differ; states are visited in an order
//! that the algorithm gives, so large pools pay their cache misses.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use keel_balance::{
    Algorithm, Ask, Balancer, Breaker, BreakerSettings, BudgetSettings, ConcurrencySettings,
    EndpointSpec, EndpointState, HashScheme, HedgeSettings, Hedger, IpHashMode, Limiter, Outcome,
    OutlierSettings, Passive, PoolRules, RetryBudget, Tie, TimeFormula, hash_key,
};

const SIZES: [usize; 4] = [1, 10, 100, 1_000];
const ROUNDS: usize = 60;
const REQUESTS: u64 = 10_000;

fn main() {
    println!("nanoseconds per select + drop\n");
    println!("| algorithm | 1 server | 10 | 100 | 1,000 |\n|---|---|---|---|---|");
    for (name, algorithm) in algorithms() {
        let costs = SIZES.map(|size| cost(algorithm, size, |_| {}));
        row(name, &costs);
    }
    let limited = SIZES.map(|size| {
        cost(Algorithm::RoundRobin, size, |spec: &mut EndpointSpec| {
            spec.max_connections = 1_000
        })
    });
    row("round_robin, max_connections", &limited);
    let costs = SIZES.map(full_cost);
    row("every server full (refusal)", &costs);
    row(
        "report of a success",
        &SIZES.map(|size| report_cost(size, PoolRules::default())),
    );
    let outlier = || PoolRules {
        passive: Passive::Outlier(OutlierSettings::default()),
        ..PoolRules::default()
    };
    let costs = SIZES.map(|size| report_cost(size, outlier()));
    row("report of a success, outlier ejection", &costs);
    row("record_response, least_time", &SIZES.map(record_cost));
    println!("\nnanoseconds per request that is let through\n");
    println!("| what | one thread | two at once, each |\n|---|---|---|");
    for (name, guard) in guards() {
        let alone = guard_cost(&*guard, 1);
        println!("| {name} | {alone:.0} | {:.0} |", guard_cost(&*guard, 2));
    }
    println!("\nthe same with two threads at once, per request of each\n");
    println!("| algorithm | 1 server | 10 | 100 | 1,000 |\n|---|---|---|---|---|");
    for (name, algorithm) in algorithms() {
        row(name, &SIZES.map(|size| threads_cost(algorithm, size)));
    }
}

fn row(name: &str, costs: &[f64; 4]) {
    let [a, b, c, d] = costs;
    println!("| {name} | {a:.0} | {b:.0} | {c:.0} | {d:.0} |");
}

fn algorithms() -> Vec<(&'static str, Algorithm)> {
    let ring = HashScheme::default();
    let maglev = HashScheme::Maglev {
        table_size: keel_balance::MAGLEV_TABLE_DEFAULT,
    };
    let time = Algorithm::LeastTime {
        formula: TimeFormula::ActivePlusOne,
        probe_one_in: 50,
    };
    let hash = |scheme, bounded_load| Algorithm::Hash {
        scheme,
        bounded_load,
    };
    vec![
        ("round_robin", Algorithm::RoundRobin),
        (
            "weighted round robin, smooth",
            Algorithm::WeightedRoundRobin { burst: false },
        ),
        (
            "weighted round robin, burst",
            Algorithm::WeightedRoundRobin { burst: true },
        ),
        ("random", Algorithm::Random),
        ("weighted_random", Algorithm::WeightedRandom),
        (
            "least_conn, first",
            Algorithm::LeastConn { tie: Tie::First },
        ),
        (
            "least_conn, rotate",
            Algorithm::LeastConn { tie: Tie::Rotate },
        ),
        ("least_time", time),
        ("power_of_two", Algorithm::PowerOfTwo),
        (
            "ip_hash, consistent",
            Algorithm::IpHash(IpHashMode::Consistent),
        ),
        ("ip_hash, modulo", Algorithm::IpHash(IpHashMode::Modulo)),
        ("hash, ring", hash(ring, None)),
        ("hash, rendezvous", hash(HashScheme::Rendezvous, None)),
        ("hash, maglev", hash(maglev, None)),
        ("hash, ring, bounded", hash(ring, Some(1.25))),
        (
            "hash, rendezvous, bounded",
            hash(HashScheme::Rendezvous, Some(1.25)),
        ),
        ("hash, maglev, bounded", hash(maglev, Some(1.25))),
    ]
}

/// What is done around a request at this time.
type Guard = Box<dyn Fn(u64) + Sync>;

/// What stands around a request, by name.
fn guards() -> Vec<(&'static str, Guard)> {
    let breaker = Breaker::new(BreakerSettings::default());
    let budget = RetryBudget::new(BudgetSettings::default());
    let hedger = Hedger::new(HedgeSettings::default());
    let limiter = Arc::new(Limiter::new(ConcurrencySettings::default()));
    vec![
        (
            "circuit breaker, admit and record",
            Box::new(move |at| {
                if let Ok((pass, _)) = breaker.admit(at) {
                    black_box(breaker.record(pass, false, 1, at));
                }
            }),
        ),
        (
            "retry budget, request",
            Box::new(move |at| budget.request(at)),
        ),
        (
            "hedging, delay and response time",
            Box::new(move |at| {
                black_box(hedger.due_us(0));
                hedger.record(1_000 + at % 512, at);
            }),
        ),
        (
            "adaptive concurrency, enter and finish",
            Box::new(move |at| {
                if let Some(place) = limiter.enter() {
                    black_box(place.finish(1_000 + at % 512, at));
                }
            }),
        ),
    ]
}

fn guard_cost(guard: &(dyn Fn(u64) + Sync), threads: usize) -> f64 {
    let run = || (0..REQUESTS).for_each(|number| guard(1_000 + number / 64));
    quickest(|| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(run)));
            run();
        });
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn pool(algorithm: Algorithm, size: usize, change: impl Fn(&mut EndpointSpec)) -> Balancer {
    pool_with(algorithm, size, PoolRules::default(), change)
}

fn pool_with(
    algorithm: Algorithm,
    size: usize,
    rules: PoolRules,
    change: impl Fn(&mut EndpointSpec),
) -> Balancer {
    let endpoint = |index: usize| {
        let mut spec = EndpointSpec::new(format!("10.0.{}.{}:8080", index / 250, index % 250))
            .weight(1 + index as u32 % 3);
        change(&mut spec);
        let state = Arc::new(EndpointState::new());
        state.record_response(1_000 + 37 * index as u64 % 900, 0);
        (spec, state)
    };
    let endpoints = (0..size).map(endpoint).collect();
    Balancer::with_rules(algorithm, endpoints, rules).expect("a valid pool")
}

fn ask(number: u64) -> Ask<'static> {
    let random = number.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29) ^ number;
    let hash = Some(hash_key(&number.to_le_bytes()));
    let client = Some(IpAddr::V4(Ipv4Addr::from(
        0x0a00_0000 + number as u32 % 60_000,
    )));
    Ask {
        hash,
        client,
        ..Ask::at(1_000, random.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

fn cost(algorithm: Algorithm, size: usize, change: impl Fn(&mut EndpointSpec)) -> f64 {
    let balancer = pool(algorithm, size, change);
    let asks: Vec<Ask<'_>> = (0..REQUESTS).map(ask).collect();
    let mut open = std::collections::VecDeque::with_capacity(256);
    for ask in asks.iter().take(100) {
        open.push_back(balancer.select(ask).expect("a server").permit);
    }
    quickest(|| {
        let start = Instant::now();
        for (number, ask) in asks.iter().enumerate() {
            let selected = black_box(balancer.select(ask).expect("a server"));
            if number % 10 == 0 {
                open.push_back(selected.permit);
                open.pop_front();
            }
        }
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn full_cost(size: usize) -> f64 {
    let limit = |spec: &mut EndpointSpec| spec.max_connections = 1;
    let balancer = pool(Algorithm::RoundRobin, size, limit);
    let _all: Vec<_> = (0..size as u64)
        .filter_map(|n| balancer.select(&ask(n)).ok())
        .collect();
    quickest(|| {
        let start = Instant::now();
        for number in 0..REQUESTS {
            black_box(balancer.select(&ask(number)).is_err());
        }
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn report_cost(size: usize, rules: PoolRules) -> f64 {
    let balancer = pool_with(Algorithm::RoundRobin, size, rules, |_| {});
    quickest(|| {
        let start = Instant::now();
        for number in 0..REQUESTS as usize {
            black_box(balancer.report(number % size, Outcome::Success, 1_000));
        }
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn record_cost(size: usize) -> f64 {
    let algorithm = Algorithm::LeastTime {
        formula: TimeFormula::ActivePlusOne,
        probe_one_in: 50,
    };
    let balancer = pool(algorithm, size, |_| {});
    drop(balancer.select(&ask(1)));
    quickest(|| {
        let start = Instant::now();
        for number in 0..REQUESTS {
            let state = balancer.state(number as usize % size);
            state.record_response(black_box(1_000 + number % 512), 1_000 + number / 64);
        }
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn threads_cost(algorithm: Algorithm, size: usize) -> f64 {
    let balancer = pool(algorithm, size, |_| {});
    let asks: Vec<Ask<'_>> = (0..REQUESTS).map(ask).collect();
    let run = || {
        for ask in &asks {
            drop(black_box(balancer.select(ask).expect("a server")));
        }
    };
    quickest(|| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(run);
            scope.spawn(run);
        });
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    })
}

fn quickest(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
