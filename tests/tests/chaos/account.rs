//! What became of each request: counts of those that were served, and the whole story of the others.

use std::time::{Duration, Instant};

/// One slot of the record of when requests were completed, in milliseconds.
const SLOT_MS: u64 = 10;

/// How a client speaks to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// HTTP/1.1, one connection for many requests.
    Kept,
    /// HTTP/1.1, a connection for each request.
    Fresh,
    /// HTTP/1.1 over TLS, kept.
    Secure,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

impl Path {
    /// All of them, in the order of the report.
    pub const ALL: [Path; 5] = [Path::Kept, Path::Fresh, Path::Secure, Path::H2c, Path::H2];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Path::Kept => "HTTP/1.1 kept",
            Path::Fresh => "HTTP/1.1 new",
            Path::Secure => "HTTP/1.1 TLS",
            Path::H2c => "HTTP/2 clear",
            Path::H2 => "HTTP/2 TLS",
        }
    }
}

/// Which servers may answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Ours and those of others, HTTP/1.1.
    App,
    /// Ours, HTTP/1.1: they make large answers.
    Big,
    /// Ours, HTTP/2.
    Two,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The right answer, whole, by this server.
    Served(String),
    /// A whole answer with another status: the proxy's own error (`X-Error`) or a server's.
    Error(u16, String),
    /// It broke off, and that could be seen; the server whose it was.
    Cut(String, String),
    /// Not one byte of an answer; how it ended.
    Silent(String),
    /// An answer that says it is right and is not, or that is none.
    Wrong(String),
}

/// A request that was not simply served.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its id, as in `X-Id`.
    pub id: u64,
    /// How it was asked.
    pub path: Path,
    /// Method.
    pub method: &'static str,
    /// Who might have answered.
    pub pool: Pool,
    /// When it was sent, and when its end was known, in microseconds of the run.
    pub from_us: u64,
    /// See `from_us`.
    pub to_us: u64,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// What came.
    pub outcome: Outcome,
}

/// What one client has to tell.
#[derive(Debug, Clone)]
pub struct Tally {
    /// How it asked.
    pub path: Path,
    /// Microseconds of each request that was served.
    pub latencies: Vec<u32>,
    /// POSTs that were answered, and by whom.
    pub posts: Vec<(u64, String)>,
    /// All that was not served.
    pub odd: Vec<Asked>,
    /// Requests that were told to be unprocessed (GOAWAY, REFUSED_STREAM) and were sent again (RFC 9113, 8.7).
    pub repeated: u64,
    /// Connections opened.
    pub connections: u64,
    /// True for each slot of time in which a request was served.
    pub slots: Vec<bool>,
}

impl Tally {
    /// An empty one.
    pub fn new(path: Path) -> Tally {
        Tally {
            path,
            latencies: Vec::new(),
            posts: Vec::new(),
            odd: Vec::new(),
            repeated: 0,
            connections: 0,
            slots: Vec::new(),
        }
    }

    /// Takes a request's end.
    pub fn take(&mut self, asked: Asked) {
        let Outcome::Served(server) = asked.outcome else {
            return self.odd.push(asked);
        };
        let time = asked.to_us.saturating_sub(asked.from_us);
        self.latencies.push(u32::try_from(time).unwrap_or(u32::MAX));
        let slot = usize::try_from(asked.to_us / 1_000 / SLOT_MS).unwrap_or(0);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, false);
        }
        self.slots[slot] = true;
        if asked.method == "POST" {
            self.posts.push((asked.id, server));
        }
    }

    /// The longest time between two answers, of several clients together, while all of them ran.
    pub fn longest_stall(tallies: &[&Tally]) -> Duration {
        let slots = tallies.iter().map(|tally| tally.slots.len()).max();
        let served = |slot: usize| {
            let mut each = tallies.iter().map(|tally| tally.slots.get(slot));
            each.any(|slot| slot == Some(&true))
        };
        let (mut longest, mut now) = (0, 0);
        // Before the first answer the clients are not there yet.
        for slot in (0..slots.unwrap_or(0)).skip_while(|slot| !served(*slot)) {
            now = if served(slot) { 0 } else { now + 1 };
            longest = longest.max(now);
        }
        Duration::from_millis(longest * SLOT_MS)
    }
}

/// Microseconds of the run so far.
pub fn since(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stall_is_that_of_all_clients_together() {
        let of = |slots: &[u8]| Tally {
            slots: slots.iter().map(|slot| *slot == 1).collect(),
            ..Tally::new(Path::Kept)
        };
        let (one, two) = (of(&[0, 1, 0, 0, 0, 1]), of(&[0, 0, 0, 1]));
        assert_eq!(Tally::longest_stall(&[&one]), Duration::from_millis(30));
        assert_eq!(
            Tally::longest_stall(&[&one, &two]),
            Duration::from_millis(10)
        );
        assert_eq!(Tally::longest_stall(&[]), Duration::ZERO);
    }
}
