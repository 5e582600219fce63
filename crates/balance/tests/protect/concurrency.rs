//! The adaptive limit with servers of known capacity.

use std::sync::Arc;

use keel_balance::{ConcurrencySettings, Limiter};

use crate::pool::Random;

/// A server that answers in `base_us` while it has at most `capacity` requests, and slower in
/// proportion beyond.
struct Server {
    base_us: u64,
    capacity: u32,
}

impl Server {
    fn time_us(&self, in_flight: u32, random: &mut Random) -> u64 {
        let queued = f64::from(in_flight) / f64::from(self.capacity);
        let noise = 0.9 + random.below(200) as f64 / 1_000.0;
        (self.base_us as f64 * queued.max(1.0) * noise) as u64
    }
}

fn settings() -> ConcurrencySettings {
    ConcurrencySettings {
        samples_min: 10,
        measure_every_ms: 10_000,
        ..ConcurrencySettings::default()
    }
}

/// One round of as many requests as get in, of at most `wanted`; the end of it.
fn round(
    limiter: &Arc<Limiter>,
    server: &Server,
    wanted: u32,
    now: u64,
    random: &mut Random,
) -> u64 {
    let places: Vec<_> = (0..wanted).map_while(|_| limiter.enter()).collect();
    assert!(places.len() as u32 <= limiter.limit());
    let in_flight = limiter.in_flight();
    let ends = now + 1 + server.time_us(in_flight, random) / 1_000;
    for place in places {
        let _ = place.finish(server.time_us(in_flight, random), ends);
    }
    ends
}

#[test]
fn the_limit_settles_near_the_capacity() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let server = Server {
            base_us: 1_000 + random.below(100_000),
            capacity: 20 + random.below(300) as u32,
        };
        let limiter = Arc::new(Limiter::new(settings()));
        let mut now = 0;
        let (mut sum, mut rounds) = (0u64, 0u64);
        while rounds < 300 {
            now = round(&limiter, &server, 1_000, now.max(rounds * 100), &mut random);
            let limit = limiter.limit();
            assert!((10..=1_000).contains(&limit), "seed {seed}");
            if rounds > 100 {
                sum += u64::from(limit);
            }
            rounds += 1;
        }
        let mean = sum as f64 / 199.0 / f64::from(server.capacity);
        assert!(
            (0.8..1.9).contains(&mean),
            "seed {seed}: {mean} of {}",
            server.capacity
        );
        assert_eq!(limiter.in_flight(), 0);
    }
}

#[test]
fn the_limit_follows_a_loss_of_capacity_and_its_return() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let mut server = Server {
            base_us: 20_000,
            capacity: 200,
        };
        let limiter = Arc::new(Limiter::new(settings()));
        let mut now = 0;
        let mut settled = |server: &Server, random: &mut Random| {
            for _ in 0..200 {
                now = round(&limiter, server, 1_000, now + 100, random);
            }
            // Not the moment of a measurement.
            (0..20)
                .map(|_| {
                    now = round(&limiter, server, 1_000, now + 100, random);
                    limiter.limit()
                })
                .max()
                .unwrap()
        };
        let before = settled(&server, &mut random);
        server.capacity = 40;
        let less = settled(&server, &mut random);
        server.capacity = 200;
        let after = settled(&server, &mut random);
        assert!((160..400).contains(&before), "seed {seed}: {before}");
        assert!((32..100).contains(&less), "seed {seed}: {less}");
        assert!((160..400).contains(&after), "seed {seed}: {after}");
    }
}

#[test]
fn a_limit_that_nobody_feels_stays() {
    let mut random = Random(7);
    let server = Server {
        base_us: 10_000,
        capacity: 500,
    };
    let limiter = Arc::new(Limiter::new(settings()));
    let mut now = 0;
    for _ in 0..1_000 {
        now = round(&limiter, &server, 12, now + 100, &mut random);
    }
    assert!(limiter.limit() <= 50, "{}", limiter.limit());
}

#[test]
fn places_are_exact_over_threads() {
    let limiter = Arc::new(Limiter::new(ConcurrencySettings::default()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for at in 0..5_000u64 {
                    if let Some(place) = limiter.enter() {
                        assert!(limiter.in_flight() <= limiter.settings().limit_max + 4);
                        let _ = place.finish(1_000, at);
                    }
                }
            });
        }
    });
    assert_eq!(limiter.in_flight(), 0);
}
