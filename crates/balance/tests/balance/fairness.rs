//! Shares of the traffic against weights, for every algorithm and weights from 0 to 65,535.

use keel_balance::{Algorithm, Ask, Balancer, HashScheme, IpHashMode, Tie};
use proptest::prelude::*;

use crate::pool::*;

/// Weights of all sizes, zeros among them, at least one above 0.
fn weights(servers_max: usize) -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![Just(0u32), Just(1), 1u32..10, 1u32..1_000, 1u32..=65_535];
    prop::collection::vec(weight, 1..servers_max).prop_filter("somebody must be open", |weights| {
        weights.iter().any(|weight| *weight > 0)
    })
}

fn counts(balancer: &Balancer, requests: u64, seed: u64) -> Vec<f64> {
    let mut counts = vec![0.0; balancer.len()];
    let mut random = Random(seed);
    for _ in 0..requests {
        counts[balancer.select(&random.ask(1)).unwrap().index] += 1.0;
    }
    counts
}

fn shares(weights: &[u32], requests: u64) -> Vec<f64> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    weights
        .iter()
        .map(|weight| requests as f64 * f64::from(*weight) / total)
        .collect()
}

fn ones(weights: &[u32]) -> Vec<u32> {
    weights
        .iter()
        .map(|weight| u32::from(*weight > 0))
        .collect()
}

/// Checks counts of independent draws against their expectation, six standard deviations wide.
fn near(counts: &[f64], shares: &[f64]) -> Result<(), TestCaseError> {
    for (count, share) in counts.iter().zip(shares) {
        let width = 6.0 * share.sqrt() + 3.0;
        prop_assert!((count - share).abs() <= width, "{count} for {share}");
        prop_assert!(*share > 0.0 || *count == 0.0, "a drained server was chosen");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn round_robin_is_exact(weights in weights(40), seed in any::<u64>()) {
        let requests = 500;
        let counts = counts(&pool(Algorithm::RoundRobin, &weights), requests, seed);
        for (count, share) in counts.iter().zip(shares(&ones(&weights), requests)) {
            prop_assert!((count - share).abs() < 1.0 && (share > 0.0 || *count == 0.0));
        }
    }

    #[test]
    fn smooth_weights_are_off_by_a_few_turns_at_any_time(
        weights in weights(12),
        requests in 1u64..4_000,
    ) {
        let algorithm = Algorithm::WeightedRoundRobin { burst: false };
        let counts = counts(&pool(algorithm, &weights), requests, 1);
        for (count, share) in counts.iter().zip(shares(&weights, requests)) {
            // nginx's order itself strays by more than a turn when there are many servers.
            prop_assert!((count - share).abs() <= 4.0, "{count} for {share}");
            prop_assert!(share > 0.0 || *count == 0.0);
        }
    }

    #[test]
    fn bursts_are_exact_over_a_period(weights in prop::collection::vec(0u32..40, 1..12)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let total: u32 = weights.iter().sum();
        let balancer = pool(Algorithm::WeightedRoundRobin { burst: true }, &weights);
        let order: Vec<usize> =
            (0..total).map(|_| balancer.select(&Ask::at(1, 0)).unwrap().index).collect();
        let expected = weights.iter().enumerate();
        let expected = expected.flat_map(|(at, weight)| std::iter::repeat_n(at, *weight as usize));
        prop_assert_eq!(order, expected.collect::<Vec<_>>());
    }

    #[test]
    fn random_draws_have_the_odds_of_the_weights(weights in weights(20), seed in any::<u64>()) {
        let requests = 3_000;
        let equal = shares(&ones(&weights), requests);
        near(&counts(&pool(Algorithm::Random, &weights), requests, seed), &equal)?;
        let by_weight = shares(&weights, requests);
        near(&counts(&pool(Algorithm::WeightedRandom, &weights), requests, seed), &by_weight)?;
        // Idle, so that the first draw counts.
        near(&counts(&pool(Algorithm::PowerOfTwo, &weights), requests, seed), &by_weight)?;
    }

    /// Idle pools by weighted turns; busy pools by load per weight.
    #[test]
    fn least_conn_rotates_by_weight_and_levels_loads(weights in weights(12)) {
        let algorithm = Algorithm::LeastConn { tie: Tie::Rotate };
        let idle = counts(&pool(algorithm, &weights), 500, 1);
        for (count, share) in idle.iter().zip(shares(&weights, 500)) {
            prop_assert!((count - share).abs() <= 4.0 && (share > 0.0 || *count == 0.0));
        }
        let busy = pool(algorithm, &weights);
        let mut held = Vec::new();
        for _ in 0..1_000 {
            held.push(busy.select(&Ask::at(1, 0)).unwrap());
        }
        for (index, share) in shares(&weights, 1_000).into_iter().enumerate() {
            let active = f64::from(busy.state(index).active());
            prop_assert!((active - share).abs() <= weights.len() as f64, "{active} for {share}");
        }
    }

    #[test]
    fn power_of_two_levels_loads(weights in prop::collection::vec(1u32..100, 2..12), seed in any::<u64>()) {
        let balancer = pool(Algorithm::PowerOfTwo, &weights);
        let mut random = Random(seed);
        let mut held = Vec::new();
        for _ in 0..4_000 {
            held.push(balancer.select(&random.ask(1)).unwrap());
        }
        for (index, share) in shares(&weights, 4_000).into_iter().enumerate() {
            let active = f64::from(balancer.state(index).active());
            prop_assert!((active - share).abs() <= 12.0 + share / 5.0, "{active} for {share}");
        }
    }
}

proptest! {
    // Tables are built in every case, with optimisation off.
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Rendezvous and Maglev follow any weights to the grain of their tables.
    #[test]
    fn tables_follow_the_weights(weights in weights(20), seed in any::<u64>()) {
        let requests = 8_000;
        let exact = shares(&weights, requests);
        for (algorithm, slots) in [
            (hash(RENDEZVOUS), f64::from(1 << 17)),
            (hash(MAGLEV), 65_537.0),
            (Algorithm::IpHash(IpHashMode::Consistent), 65_537.0),
        ] {
            let counts = counts(&pool(algorithm, &weights), requests, seed);
            for (count, share) in counts.iter().zip(&exact) {
                let grain = 6.0 * (share / requests as f64 / slots).sqrt() * requests as f64;
                let width = 6.0 * share.sqrt() + grain + 3.0;
                prop_assert!((count - share).abs() <= width, "{algorithm:?}: {count} for {share}");
                prop_assert!(*share > 0.0 || *count == 0.0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// A ring of 256 points for the heaviest follows weights down to about a hundredth of that.
    #[test]
    fn rings_follow_the_weights(
        weights in prop::collection::vec(1u32..=16, 1..16),
        scale in prop_oneof![Just(1u32), Just(100), Just(4_095)],
        seed in any::<u64>(),
    ) {
        let requests = 8_000;
        let weights: Vec<u32> = weights.iter().map(|weight| weight * scale).collect();
        let heaviest = weights.iter().max().copied().unwrap_or(1);
        for points in [256, 2_048] {
            let ring = pool(hash(HashScheme::Ring { points }), &weights);
            let counts = counts(&ring, requests, seed);
            for (at, (count, share)) in counts.iter().zip(shares(&weights, requests)).enumerate() {
                let own = f64::from(points) / 2.0 * f64::from(weights[at]) / f64::from(heaviest);
                let width = share * 6.0 / own.max(1.0).sqrt() + share / own.max(1.0);
                let width = width + 6.0 * share.sqrt() + 3.0;
                prop_assert!((count - share).abs() <= width, "{count} for {share}");
            }
        }
    }

    #[test]
    fn modulo_is_even(servers in 1usize..20, seed in any::<u64>()) {
        let weights = vec![1; servers];
        let requests = 2_000;
        let modulo = pool(Algorithm::IpHash(IpHashMode::Modulo), &weights);
        near(&counts(&modulo, requests, seed), &shares(&weights, requests))?;
    }
}
