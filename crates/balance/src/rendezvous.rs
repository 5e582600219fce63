//! Weighted rendezvous hashing, prepared as a table.
//!
//! Rendezvous asks every server for a score of the key and takes the best: exactly the keys of a
//! lost server move, and they spread over all others by weight. Asked per request that is one hash
//! per server, some microseconds at 1,000 servers. So keys are first hashed into a fixed number of
//! buckets and every *bucket* holds its rendezvous once: a request is one look at a table, and the
//! movement stays exactly minimal, since the number of buckets never depends on the servers. The
//! price is grain: with `n` equal servers the shares scatter by `sqrt(n / BUCKETS)`, 1 % of a share
//! at 13 servers and 9 % at 1,000.
//!
//! The table is not built by comparing all servers in all buckets either. Each server has a stream
//! of arrivals, evenly spaced in time by `1 / weight` with a jitter of its own, each falling into a
//! bucket by its hash; the server that arrives first in a bucket has it. First arrivals depend on
//! nothing but the server, as scores do, and all buckets are taken after about `BUCKETS x
//! ln(BUCKETS)` arrivals, whatever the number of servers.

use crate::hash::mix;
use crate::members::Share;

/// Number of buckets; the same for every pool, or keys would move when a pool grows.
pub(crate) const BUCKETS: usize = 1 << 17;

/// Rounds of `ROUND_ARRIVALS` per bucket; each leaves an eighth of what was left.
const ROUNDS_MAX: u32 = 32;

/// Arrivals per bucket and round.
const ROUND_ARRIVALS: u64 = 2;

/// Marks a bucket that nobody has yet.
const NOBODY: u16 = u16::MAX;

/// Who has which bucket.
#[derive(Debug, Clone)]
pub(crate) struct Rendezvous {
    owners: Box<[u16]>,
}

impl Rendezvous {
    /// The table of these endpoints.
    pub(crate) fn new(shares: &[Share]) -> Self {
        let weight: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        if weight == 0 {
            return Rendezvous {
                owners: Box::default(),
            };
        }
        let mut race = Race {
            first: vec![(f64::INFINITY, NOBODY); BUCKETS],
            left: BUCKETS,
        };
        let mut streams: Vec<Stream> = shares.iter().map(Stream::new).collect();
        let round = (BUCKETS as u64 * ROUND_ARRIVALS) as f64 / weight as f64;
        for number in 1..=ROUNDS_MAX {
            let end = round * f64::from(number);
            for stream in &mut streams {
                stream.run(end, &mut race);
            }
            if race.left == 0 {
                break;
            }
        }
        let spare = shares[0].index;
        let owner = |(_, owner): &(f64, u16)| if *owner == NOBODY { spare } else { *owner };
        Rendezvous {
            owners: race.first.iter().map(owner).collect(),
        }
    }

    /// Who has the bucket of `hash`.
    pub(crate) fn endpoint(&self, hash: u64) -> Option<usize> {
        let bucket = (hash >> (64 - BUCKETS.trailing_zeros())) as usize;
        self.owners.get(bucket).map(|owner| usize::from(*owner))
    }
}

/// First arrivals so far.
struct Race {
    first: Vec<(f64, u16)>,
    left: usize,
}

/// The arrivals of one endpoint.
struct Stream {
    share: Share,
    count: u64,
}

impl Stream {
    fn new(share: &Share) -> Self {
        Stream {
            share: *share,
            count: 0,
        }
    }

    /// Lets everybody of this stream arrive who does so before `end`.
    fn run(&mut self, end: f64, race: &mut Race) {
        loop {
            let bits = mix(self.share.identity ^ mix(self.count));
            // The low half is the jitter, the high half the bucket. Addition and division of
            // floats round the same way on every platform.
            let jitter = (bits & 0xffff_ffff) as f64 / (1u64 << 32) as f64;
            let time = (self.count as f64 + jitter) / f64::from(self.share.weight);
            if time >= end {
                return;
            }
            self.count += 1;
            let bucket = (bits >> (64 - BUCKETS.trailing_zeros())) as usize;
            let (first, owner) = &mut race.first[bucket];
            if time < *first {
                race.left -= usize::from(*owner == NOBODY);
                (*first, *owner) = (time, self.share.index);
            }
        }
    }
}
