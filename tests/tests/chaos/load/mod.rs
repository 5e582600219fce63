//! The clients: steady load on every path, each answer checked whole.

pub mod h1;
pub mod h2;
pub mod websocket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::TlsClient;

use super::account::{Outcome, Path, Pool, since};
use super::contract;
use super::dice::Dice;

/// No answer takes longer; what does counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What all clients share.
#[derive(Debug)]
pub struct Field {
    /// Begin of the run.
    pub base: Instant,
    /// Ends the load.
    pub stop: AtomicBool,
    /// WebSockets that were opened so far.
    pub opened: AtomicUsize,
    /// The listener in clear.
    pub web: SocketAddr,
    /// The listener with TLS.
    pub secure: SocketAddr,
    /// Who trusts its certificate.
    pub tls: TlsClient,
    /// Mean time between the requests of a client.
    pub pause: Duration,
}

impl Field {
    /// True while load is wanted.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Microseconds of the run so far.
    pub fn now_us(&self) -> u64 {
        since(self.base)
    }

    /// Waits as long as a client waits between requests.
    pub fn rest(&self, dice: &mut Dice) {
        let mean = u64::try_from(self.pause.as_micros()).unwrap_or(0);
        std::thread::sleep(Duration::from_micros(dice.between(mean / 2, mean * 3 / 2)));
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its id.
    pub id: u64,
    /// Method.
    pub method: &'static str,
    /// Target.
    pub target: String,
    /// Who may answer.
    pub pool: Pool,
    /// The body, when it has one.
    pub body: Option<Vec<u8>>,
}

impl Ask {
    /// The next request of a client: mostly small GETs, and some of everything.
    pub fn next(id: u64, dice: &mut Dice) -> Ask {
        let (method, most) = match dice.between(0, 99) {
            0..60 => ("GET", None),
            60..66 => ("HEAD", None),
            66..70 => ("DELETE", None),
            70..76 => ("PUT", Some(2_000)),
            76..97 => ("POST", Some(2_000)),
            _ => ("POST", Some(150_000)),
        };
        let len = most.map(|most| usize::try_from(dice.between(0, most)).unwrap_or(0));
        let (target, pool) = match dice.between(0, 9) {
            0..6 => ("/echo".to_owned(), Pool::App),
            6..8 => (format!("/big/{}", dice.between(1, 100_000)), Pool::Big),
            _ => ("/two".to_owned(), Pool::Two),
        };
        Ask {
            id,
            method,
            target,
            pool,
            body: len.map(|len| contract::body(&contract::text(id), len)),
        }
    }

    /// Judges a whole answer.
    pub fn judge(
        &self,
        status: u16,
        field: impl Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Outcome {
        let id = contract::text(self.id);
        if status != 200 {
            let by = field("x-error").or_else(|| field("x-origin"));
            return Outcome::Error(status, by.unwrap_or_default());
        }
        let right = contract::answer(&self.target, &id);
        let right: &[u8] = if self.method == "HEAD" { b"" } else { &right };
        match (field("x-id"), field("x-origin")) {
            (Some(have), Some(origin)) if have == id && body == right => Outcome::Served(origin),
            (have, origin) => Outcome::Wrong(format!(
                "{} {} got id {have:?} of {origin:?} and {} bytes instead of {}",
                self.method,
                self.target,
                body.len(),
                right.len()
            )),
        }
    }
}

/// The ids of client `number`.
pub fn ids(number: u64) -> impl FnMut() -> u64 {
    let mut next = number << 40;
    move || {
        next += 1;
        next
    }
}

/// How a client of this path is called.
pub fn is_secure(path: Path) -> bool {
    matches!(path, Path::Secure | Path::H2)
}
