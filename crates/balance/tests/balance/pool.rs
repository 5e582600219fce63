//! Pools and questions for the tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, HashScheme, IpHashMode, Permit,
    SelectFault, Tie, TimeFormula, hash_key,
};

pub const RING: HashScheme = HashScheme::Ring {
    points: keel_balance::RING_POINTS_DEFAULT,
};
pub const RENDEZVOUS: HashScheme = HashScheme::Rendezvous;
pub const MAGLEV: HashScheme = HashScheme::Maglev {
    table_size: keel_balance::MAGLEV_TABLE_DEFAULT,
};

pub const LEAST_CONN: Algorithm = Algorithm::LeastConn { tie: Tie::First };

pub const fn hash(scheme: HashScheme) -> Algorithm {
    Algorithm::Hash {
        scheme,
        bounded_load: None,
    }
}

pub const fn bounded(scheme: HashScheme, bound: f64) -> Algorithm {
    Algorithm::Hash {
        scheme,
        bounded_load: Some(bound),
    }
}

pub const fn least_time(formula: TimeFormula, probe_one_in: u32) -> Algorithm {
    Algorithm::LeastTime {
        formula,
        probe_one_in,
    }
}

/// Every algorithm there is.
pub const ALL: [Algorithm; 18] = [
    Algorithm::RoundRobin,
    Algorithm::WeightedRoundRobin { burst: false },
    Algorithm::WeightedRoundRobin { burst: true },
    Algorithm::Random,
    Algorithm::WeightedRandom,
    LEAST_CONN,
    Algorithm::LeastConn { tie: Tie::Rotate },
    least_time(TimeFormula::Active, 50),
    least_time(TimeFormula::ActivePlusOne, 50),
    Algorithm::PowerOfTwo,
    Algorithm::IpHash(IpHashMode::Consistent),
    Algorithm::IpHash(IpHashMode::Modulo),
    hash(RING),
    hash(RENDEZVOUS),
    hash(MAGLEV),
    bounded(RING, 1.25),
    bounded(RENDEZVOUS, 1.0),
    bounded(MAGLEV, 2.0),
];

/// A pool of these servers.
pub fn pool_of(algorithm: Algorithm, specs: impl IntoIterator<Item = EndpointSpec>) -> Balancer {
    let fresh = |spec| (spec, Arc::new(EndpointState::new()));
    Balancer::new(algorithm, specs.into_iter().map(fresh).collect()).unwrap()
}

/// A pool of servers named 1, 2, 3, … with these weights.
pub fn pool(algorithm: Algorithm, weights: &[u32]) -> Balancer {
    pool_of(algorithm, specs(weights))
}

/// Servers named 1, 2, 3, … with these weights.
pub fn specs(weights: &[u32]) -> Vec<EndpointSpec> {
    let spec =
        |(at, weight): (usize, &u32)| EndpointSpec::new((at + 1).to_string()).weight(*weight);
    weights.iter().enumerate().map(spec).collect()
}

/// A small generator, so that every run is the same.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A question with fresh bits, key and client.
    pub fn ask(&mut self, now_ms: u64) -> Ask<'static> {
        let client = client(self.next() as u32);
        let hash = hash_key(&self.next().to_le_bytes());
        Ask {
            hash: Some(hash),
            client: Some(client),
            ..Ask::at(now_ms, self.next())
        }
    }
}

pub fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(number))
}

/// The name of the server that takes this request, which ends at once.
pub fn name<'a>(balancer: &'a Balancer, ask: &Ask<'_>) -> Result<&'a str, SelectFault> {
    let selected = balancer.select(ask)?;
    Ok(&balancer.endpoint(selected.index).name)
}

/// The names of the servers that take the next requests.
pub fn names(balancer: &Balancer, count: usize) -> String {
    let mut random = Random(7);
    let names = (0..count).map(|_| name(balancer, &random.ask(1)).unwrap());
    names.collect::<Vec<_>>().join(" ")
}

/// Takes `count` places at a server.
pub fn hold(balancer: &Balancer, index: usize, count: u32) -> Vec<Permit> {
    (0..count)
        .map(|_| balancer.take(index, 1).unwrap().permit)
        .collect()
}
