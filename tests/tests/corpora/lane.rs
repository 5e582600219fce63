//! Lanes: listeners of one proxy, each with a pool and an origin of its own, so that many cases run at once
//! and what reaches a backend belongs to one case.
//!
//! Backend connections are kept from case to case within a lane, so that a case that leaves one in the wrong state spoils
//! the next, which is then seen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use keel_testkit::origin::Stage;
use keel_testkit::strict::{BodyDecoder, Fields, Mode, Request};
use keel_testkit::wait::within;
use keel_testkit::{Origin, Proxy};

/// Lanes that run at once.
const LANES: usize = 32;

/// How long a backend connection may take to come to rest after a case.
const REST: Duration = Duration::from_secs(5);

/// Growth of resident memory that caches and buffers of the lanes may cause; a leak in thousands of cases is more.
const GROWTH_MAX: u64 = 96 * 1024 * 1024;

/// A request as a lane's origin got it, growing while its body comes.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// What has come so far.
    pub request: Request,
    /// True when its connection ended before the body did.
    pub cut: bool,
}

type Arrivals = Arc<Mutex<Vec<Arrived>>>;

/// How a lane's origin answers: it gets the whole request, and may use the connection as it likes.
/// False ends the connection.
pub type Answering = Arc<dyn Fn(&mut Stage, &Request, usize) -> bool + Send + Sync>;

/// Most requests that are taken for late.
const OWED_MAX: usize = 16;

/// Longest line of a report.
const LINE_CHARS_MAX: usize = 400;

/// One listener and its origin.
pub struct Lane {
    /// Position, from 0.
    pub number: usize,
    /// Where to connect to.
    pub address: std::net::SocketAddr,
    origin: Origin,
    arrivals: Arrivals,
    /// Requests of earlier cases that had not arrived when those were judged.
    owed: Mutex<Vec<Request>>,
}

impl Lane {
    /// Takes what has come since the last case, once every request has ended one way or the other.
    pub fn take(&self) -> Result<Vec<Arrived>, String> {
        let at_rest = within(REST, || {
            let arrivals = lock(&self.arrivals);
            arrivals
                .iter()
                .all(|arrived| arrived.request.complete || arrived.cut)
                .then_some(())
        });
        let arrivals = std::mem::take(&mut *lock(&self.arrivals));
        match at_rest {
            Some(()) => Ok(arrivals),
            None => Err("a backend connection was left in the middle of a request".to_owned()),
        }
    }

    /// Takes the requests of earlier cases that had not arrived when those were judged.
    pub fn take_owed(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.owed))
    }

    /// Notes requests that may still arrive; only the last few, for nothing is late for long.
    pub fn owe(&self, mut owed: Vec<Request>) {
        owed.drain(..owed.len().saturating_sub(OWED_MAX));
        *lock(&self.owed) = owed;
    }

    /// Breaches of the protocol at the origin since the last case.
    pub fn faults(&self) -> Vec<String> {
        self.origin.take_faults()
    }
}

/// A proxy with lanes.
pub struct Lanes {
    proxy: Proxy,
    lanes: Vec<Lane>,
}

impl Lanes {
    /// Starts a proxy whose deadlines are short, with origins that answer so.
    pub fn start(answer: Answering) -> Lanes {
        let parts: Vec<_> = (0..LANES)
            .map(|number| origin(number, Arc::clone(&answer)))
            .collect();
        let proxy = Proxy::start(&config(&parts));
        let lanes = parts
            .into_iter()
            .enumerate()
            .map(|(number, (origin, arrivals))| {
                let address = proxy.listener(&format!("lane{number}"));
                Lane {
                    number,
                    address,
                    origin,
                    arrivals,
                    owed: Mutex::default(),
                }
            });
        Lanes {
            lanes: lanes.collect(),
            proxy,
        }
    }

    /// Runs all cases, many at once, and fails with all that is wrong. `judge` gives what is wrong with one.
    pub fn run<C: Send>(mut self, cases: Vec<C>, judge: impl Fn(&Lane, &C) -> Vec<String> + Sync) {
        let total = cases.len();
        let before = self.proxy.usage();
        let queue = Mutex::new(VecDeque::from(cases));
        let wrong = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for lane in &self.lanes {
                let (queue, wrong, judge) = (&queue, &wrong, &judge);
                scope.spawn(move || {
                    loop {
                        let Some(case) = lock(queue).pop_front() else {
                            return;
                        };
                        let found = judge(lane, &case);
                        lock(wrong).extend(found.into_iter().map(|line| shorten(&line)));
                    }
                });
            }
        });
        let mut wrong = wrong.into_inner().expect("no judge panics");
        self.check_process(before, &mut wrong);
        wrong.sort();
        assert!(
            wrong.is_empty(),
            "{} of {total} cases:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        println!("{total} cases");
    }

    /// Nothing panicked, hung or leaked.
    fn check_process(&mut self, before: keel_testkit::process::Usage, wrong: &mut Vec<String>) {
        if !self.proxy.is_running() {
            wrong.push(format!("the proxy has ended:\n{}", self.proxy.log()));
            return;
        }
        if self.proxy.log().contains("panicked") {
            wrong.push(format!("the proxy panicked:\n{}", self.proxy.log()));
        }
        // Client connections all have ended; each lane may keep a few towards its origin.
        let most = before.descriptors + LANES * 8;
        let kept = within(REST, || {
            let now = self.proxy.usage().descriptors;
            (now <= most).then_some(now)
        });
        if kept.is_none() {
            let now = self.proxy.usage().descriptors;
            wrong.push(format!(
                "{now} descriptors are open, {} were at the start",
                before.descriptors
            ));
        }
        let grown = self
            .proxy
            .usage()
            .rss_bytes
            .saturating_sub(before.rss_bytes);
        if grown > GROWTH_MAX {
            wrong.push(format!("memory grew by {} KiB", grown / 1024));
        }
    }
}

/// Some cases are 64 KiB of one letter.
fn shorten(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

fn config(parts: &[(Origin, Arrivals)]) -> String {
    // The suites are about HTTP/1: its preface would begin HTTP/2 otherwise, and be answered in it.
    let mut text = "workers: 2\nlisteners:\n".to_owned();
    for number in 0..parts.len() {
        text.push_str(&format!(
            "  lane{number}: {{ bind: \"127.0.0.1:0\", http2: false, timeouts: {{ head: 500ms, idle: 500ms, body: 500ms, send: 2s }} }}\n"
        ));
    }
    text.push_str("routes:\n");
    for number in 0..parts.len() {
        text.push_str(&format!(
            "  - {{ match: {{ listener: lane{number} }}, pool: pool{number} }}\n"
        ));
    }
    text.push_str("pools:\n");
    for (number, (origin, _)) in parts.iter().enumerate() {
        let at = origin.address();
        text.push_str(&format!(
            "  pool{number}: {{ servers: [{{ address: \"{at}\", max_fails: 0 }}], timeouts: {{ connect: 2s, read: 700ms, send: 2s }} }}\n"
        ));
    }
    text
}

fn origin(number: usize, answer: Answering) -> (Origin, Arrivals) {
    let arrivals = Arrivals::default();
    let kept = Arc::clone(&arrivals);
    let origin = Origin::scripted(move |stage| {
        while let Some(request) = receive(stage, &kept) {
            if !answer(stage, &request, number) {
                return;
            }
        }
    });
    (origin, arrivals)
}

/// Reads a request and notes each step of it, so that one that is never finished is seen too.
fn receive(stage: &mut Stage, arrivals: &Arrivals) -> Option<Request> {
    let head = stage.head()?;
    let mut decoder = BodyDecoder::new(head.framing, Mode::ToBackend);
    let mut request = Request {
        head,
        body: Vec::new(),
        trailers: Fields::default(),
        complete: decoder.is_done(),
    };
    let at = {
        let mut arrivals = lock(arrivals);
        arrivals.push(Arrived {
            request: request.clone(),
            cut: false,
        });
        arrivals.len() - 1
    };
    let whole = stage
        .body(&mut decoder, &mut |data| {
            request.body.extend_from_slice(data)
        })
        .is_some();
    request.trailers = decoder.into_trailers();
    request.complete = whole;
    if let Some(entry) = lock(arrivals).get_mut(at) {
        *entry = Arrived {
            request: request.clone(),
            cut: !whole,
        };
    }
    whole.then_some(request)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
