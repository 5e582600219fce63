//! Recovery curves of real runs: the tables of docs/guides/health.md. Prints them; judges only what holds on any machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keel_testkit::{Origin, Proxy, Reply, get};

/// What the troubled server does.
const WELL: u8 = 0;
const HANGS: u8 = 1;
const HALF_FAILS: u8 = 2;

/// Clients, and how often each asks: 200 requests a second in all.
const CLIENTS: u64 = 20;
const PACE: Duration = Duration::from_millis(100);

/// One request.
#[derive(Debug, Clone)]
struct Sample {
    /// When it was to begin.
    at: Duration,
    took: Duration,
    status: u16,
    origin: String,
}

/// Four servers, of which the first is troubled.
struct Site {
    servers: Vec<Origin>,
    mood: Arc<AtomicU8>,
    proxy: Proxy,
}

impl Site {
    fn new(pool: &str) -> Site {
        let mood = Arc::new(AtomicU8::new(WELL));
        let servers: Vec<Origin> = (0..4)
            .map(|number| {
                let (mood, name) = (mood.clone(), number.to_string());
                Origin::answering(move |seen| {
                    let mood = if number == 0 {
                        mood.load(Ordering::SeqCst)
                    } else {
                        WELL
                    };
                    let reply = match mood {
                        HANGS => Reply::text("late").after(Duration::from_secs(3)),
                        HALF_FAILS if seen.nth % 2 == 0 => Reply::new(500),
                        _ => Reply::text("fine"),
                    };
                    reply.with("X-Origin", &name)
                })
            })
            .collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(Origin::address).collect();
        let proxy = Proxy::before_with(&addresses, pool, "");
        Site {
            servers,
            mood,
            proxy,
        }
    }

    /// Asks for so long; what happened is begun by the closure on this thread.
    fn run(
        &mut self,
        whole: Duration,
        what_happens: impl FnOnce(&mut Site, Instant),
    ) -> Vec<Sample> {
        let begin = Instant::now() + Duration::from_millis(50);
        let address = self.proxy.address();
        let clients: Vec<JoinHandle<Vec<Sample>>> = (0..CLIENTS)
            .map(|number| {
                std::thread::spawn(move || {
                    client(address, begin, PACE * number as u32 / CLIENTS as u32, whole)
                })
            })
            .collect();
        what_happens(self, begin);
        let samples = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        samples.collect()
    }
}

/// Asks at its times, each time on a connection of its own; a late answer does not put off the next time.
fn client(address: SocketAddr, begin: Instant, offset: Duration, whole: Duration) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut at = offset;
    while at < whole {
        sleep_until(begin + at);
        let start = Instant::now();
        let answer = get(address, "/");
        samples.push(Sample {
            at,
            took: start.elapsed(),
            status: answer.status(),
            origin: answer.header("x-origin").unwrap_or_default(),
        });
        at += PACE;
    }
    samples
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// For each half second from 2 s on: a number of the samples in it.
fn halves(samples: &[Sample], to: u64, number: impl Fn(&[&Sample]) -> String) -> Vec<String> {
    steps(samples, Duration::from_millis(500), to, number)
}

/// For each step from 2 s on: a number of the samples in it.
fn steps(
    samples: &[Sample],
    step: Duration,
    to: u64,
    number: impl Fn(&[&Sample]) -> String,
) -> Vec<String> {
    let nth = |at: u64| (second(at).as_millis() / step.as_millis()) as u32;
    (nth(2)..nth(to))
        .map(|at| {
            let range = step * at..step * (at + 1);
            let those: Vec<&Sample> = samples
                .iter()
                .filter(|one| range.contains(&one.at))
                .collect();
            number(&those)
        })
        .collect()
}

fn failed(those: &[&Sample]) -> String {
    those
        .iter()
        .filter(|one| one.status != 200)
        .count()
        .to_string()
}

fn failed_or_slow(those: &[&Sample]) -> String {
    let slow = Duration::from_millis(300);
    let bad = |one: &&&Sample| one.status != 200 || one.took > slow;
    those.iter().filter(bad).count().to_string()
}

fn share(those: &[&Sample]) -> String {
    let own = those.iter().filter(|one| one.origin == "0").count();
    format!("{:.2}", 4.0 * own as f64 / those.len().max(1) as f64)
}

/// Prints columns of which the first cell is of second 2.
fn print(title: &str, step: f64, columns: &[(&str, Vec<String>)]) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    println!(
        "\n{title}\n\n| second | {} |\n|{}",
        names.join(" | "),
        "---|".repeat(names.len() + 1)
    );
    for row in 0..columns[0].1.len() {
        let cells: Vec<&str> = columns
            .iter()
            .map(|(_, cells)| cells[row].as_str())
            .collect();
        println!("| {:.1} | {} |", 2.0 + row as f64 * step, cells.join(" | "));
    }
}

const CHECKS: &str =
    "health: { http: { path: / }, every: 1s, every_down: 500ms, timeout: 300ms, fall: 2, rise: 2 }";

#[test]
#[ignore = "it measures for minutes; run it by name to print the tables of the guide"]
fn a_server_that_dies_and_comes_back() {
    let run = |pool: &str| {
        Site::new(pool).run(second(9), |site, begin| {
            sleep_until(begin + second(2));
            site.servers[0].stop();
            sleep_until(begin + second(5));
            site.servers[0].restart();
        })
    };
    let alone = run("retry: off, max_fails: 0");
    let passive = run("retry: off, max_fails: 1, fail_timeout: 2s");
    let checks = run(&format!("retry: off, max_fails: 0, {CHECKS}"));
    let retries = run(&format!("max_fails: 1, fail_timeout: 2s, {CHECKS}"));
    print(
        "Dead from 2 s to 5 s: requests of 100 in each half second that failed",
        0.5,
        &[
            ("nothing", halves(&alone, 9, failed)),
            ("max_fails 1, 2 s", halves(&passive, 9, failed)),
            ("checks", halves(&checks, 9, failed)),
            ("max_fails, checks, retries", halves(&retries, 9, failed)),
        ],
    );
    print(
        "The same: its share of the traffic",
        0.5,
        &[
            ("max_fails 1, 2 s", halves(&passive, 9, share)),
            ("checks", halves(&checks, 9, share)),
            ("max_fails, checks, retries", halves(&retries, 9, share)),
        ],
    );
    assert_eq!(
        retries.iter().filter(|one| one.status != 200).count(),
        0,
        "nothing is lost"
    );
}

#[test]
#[ignore = "it measures for minutes; run it by name to print the tables of the guide"]
fn a_server_that_hangs() {
    let run = |pool: &str| {
        Site::new(pool).run(second(9), |site, begin| {
            sleep_until(begin + second(2));
            site.mood.store(HANGS, Ordering::SeqCst);
            sleep_until(begin + second(5));
            site.mood.store(WELL, Ordering::SeqCst);
        })
    };
    let read = "timeouts: { read: 1s }";
    let passive = run(&format!("max_fails: 3, fail_timeout: 2s, {read}"));
    let checks = run(&format!("max_fails: 0, {CHECKS}, {read}"));
    let retries = run(&format!(
        "max_fails: 0, {CHECKS}, {read}, retry: {{ on: [error, timeout], per_try: 200ms }}"
    ));
    print(
        "It hangs from 2 s to 5 s: requests of 100 in each half second that failed or took over 0.3 s",
        0.5,
        &[
            ("max_fails 3, 2 s", halves(&passive, 9, failed_or_slow)),
            ("checks", halves(&checks, 9, failed_or_slow)),
            (
                "checks, a try of 0.2 s",
                halves(&retries, 9, failed_or_slow),
            ),
        ],
    );
    assert_eq!(
        retries.iter().filter(|one| one.status != 200).count(),
        0,
        "nothing is lost"
    );
}

#[test]
#[ignore = "it measures for minutes; run it by name to print the tables of the guide"]
fn a_server_of_which_half_the_answers_fail() {
    let run = |pool: &str| {
        Site::new(pool).run(second(10), |site, begin| {
            sleep_until(begin + second(2));
            site.mood.store(HALF_FAILS, Ordering::SeqCst);
            sleep_until(begin + second(6));
            site.mood.store(WELL, Ordering::SeqCst);
        })
    };
    let outlier = "outlier: { error_rate: 20%, error_volume: 20, window: 5s, ejection: 2s, on: [error, timeout, 5xx] }";
    let alone = run("max_fails: 1");
    let ejected = run(outlier);
    let retried = run(&format!("{outlier}, retry: {{ on: [error, 500] }}"));
    print(
        "Half of its answers are 500 from 2 s to 6 s: requests of 100 in each half second that failed",
        0.5,
        &[
            ("nothing", halves(&alone, 10, failed)),
            ("outlier, 20 %", halves(&ejected, 10, failed)),
            ("outlier, and retries", halves(&retried, 10, failed)),
        ],
    );
    print(
        "The same: its share of the traffic",
        0.5,
        &[
            ("nothing", halves(&alone, 10, share)),
            ("outlier, 20 %", halves(&ejected, 10, share)),
            ("outlier, and retries", halves(&retried, 10, share)),
        ],
    );
    assert_eq!(
        retried.iter().filter(|one| one.status != 200).count(),
        0,
        "nothing is lost"
    );
}

#[test]
#[ignore = "it measures for minutes; run it by name to print the tables of the guide"]
fn slow_start() {
    let run = |pool: &str| {
        Site::new(&format!("{CHECKS}, {pool}")).run(second(15), |site, begin| {
            site.servers[0].stop();
            sleep_until(begin + second(3));
            site.servers[0].restart();
        })
    };
    let at_once = run("balance: round_robin");
    let line = run("balance: round_robin, slow_start: 8s");
    let curve = run("balance: round_robin, slow_start: { time: 8s, curve: 2, from: 5% }");
    let least = run("balance: { algorithm: least_conn, tie: rotate }, slow_start: 8s");
    print(
        "It starts at 3 s: its share of the traffic",
        1.0,
        &[
            ("without", steps(&at_once, second(1), 15, share)),
            ("8 s", steps(&line, second(1), 15, share)),
            (
                "8 s, curve 2, from 5 %",
                steps(&curve, second(1), 15, share),
            ),
            ("8 s, least_conn", steps(&least, second(1), 15, share)),
        ],
    );
    for run in [at_once, line, curve, least] {
        let late: Vec<&Sample> = run.iter().filter(|one| one.at > second(13)).collect();
        let share: f64 = share(&late).parse().unwrap();
        assert!((0.8..1.2).contains(&share), "{share} at the end");
    }
}
