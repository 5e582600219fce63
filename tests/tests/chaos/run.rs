//! A run from beginning to end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keel_testkit::process::signal;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::within;
use keel_testkit::{Ca, TlsClient};
use rustix::process::Signal;

use crate::account::{Asked, Path, Tally};
use crate::contract;
use crate::journal::{Journal, words};
use crate::judge::{Known, judge_records, read_log};
use crate::lineage::Lineage;
use crate::load::websocket::{self, Talks};
use crate::load::{Field, h1, h2};
use crate::plan::{Action, Deed, Rhythm, Target, plan};
use crate::report::{Sums, text};
use crate::site::{Addresses, Fleet, config, put, put_broken, tell};

/// How long a run is in CI.
const SECONDS: u64 = 35;

/// The seed when nobody chooses one.
const SEED: u64 = 4;

/// How often what is done.
const RHYTHM: Rhythm = Rhythm {
    harm: 300,
    reload: 1_000,
    upgrade: 1_000,
    drains: 15,
};

/// Clients of each path.
const CLIENTS: [(Path, usize); 5] = [
    (Path::Kept, 6),
    (Path::Fresh, 2),
    (Path::Secure, 2),
    (Path::H2c, 2),
    (Path::H2, 2),
];

/// Threads of WebSocket clients, and connections of each.
const TALKERS: (usize, usize) = (3, 20);

/// How long an upgrade may take.
const UPGRADE: Duration = Duration::from_secs(15);

/// In the journal, when a drain was not done as it was asked for.
const REFUSED: &str = "was not drained:";

/// The log's writer is behind by so much at most.
const LOG_DELAY: Duration = Duration::from_millis(1_500);

fn from_env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    let number = |text: String| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    };
    text.map_or(default, number)
}

/// Puts the deeds that are named in the place of all others, when some are.
fn filtered(actions: Vec<Action>, targets: &[Target]) -> Vec<Action> {
    let Ok(only) = std::env::var("EVENKEEL_CHAOS_HARMS") else {
        return actions;
    };
    let only: Vec<String> = only.split(',').map(str::to_lowercase).collect();
    let is_wanted = |deed: Deed| {
        let word = match deed {
            Deed::Harm(_, harm, _) => format!("{harm:?}"),
            Deed::Drain(..) => "drain".to_owned(),
            Deed::Reload => "reload".to_owned(),
            Deed::Upgrade => "upgrade".to_owned(),
        };
        only.contains(&word.to_lowercase())
    };
    let instead = |(turn, mut action): (usize, Action)| {
        let (Deed::Harm(server, _, time) | Deed::Drain(server, time)) = action.deed else {
            return is_wanted(action.deed).then_some(action);
        };
        let harms = targets[server].nature.harms().iter();
        let mut deeds: Vec<Deed> = harms.map(|harm| Deed::Harm(server, *harm, time)).collect();
        deeds.push(Deed::Drain(server, time));
        deeds.retain(|deed| is_wanted(*deed));
        action.deed = *deeds.get(turn % deeds.len().max(1))?;
        Some(action)
    };
    actions
        .into_iter()
        .enumerate()
        .filter_map(instead)
        .collect()
}

/// All that takes part in a run.
struct Run {
    fleet: Fleet,
    lineage: Arc<Lineage>,
    at: Addresses,
    field: Arc<Field>,
    journal: Arc<Journal>,
    actions: Vec<Action>,
    _folder: Scratch,
}

#[test]
fn nothing_is_lost() {
    let _alone = crate::alone();
    let seconds = from_env("EVENKEEL_CHAOS_SECONDS", SECONDS);
    let seed = from_env("EVENKEEL_CHAOS_SEED", SEED);
    let run = Run::start(seconds, seed);
    println!("seed {seed}, {seconds} s, {} actions", run.actions.len());
    let (clients, talkers) = load(&run.field, seed);
    run.act();
    let end = Duration::from_secs(seconds);
    std::thread::sleep(end.saturating_sub(run.field.base.elapsed()));
    run.field.stop.store(true, Ordering::Relaxed);

    let ended = |client: JoinHandle<Tally>| client.join().expect("a client does not panic");
    let tallies: Vec<Tally> = clients.into_iter().map(ended).collect();
    let mut talks = Talks::default();
    for talker in talkers {
        talks.add(talker.join().expect("a client does not panic"));
    }
    let sums = run.judge(&tallies, &talks);
    println!("{}\n{}", text(&tallies, &talks, &sums), run.changes());
    if !sums.is_clean() {
        for (at_us, line) in run.journal.lines() {
            println!("{:>8.3} s  {line}", at_us as f64 / 1e6);
        }
    }
    let (lost, wrong) = (sums.lost.len(), sums.wrong.len());
    assert!(sums.is_clean(), "{lost} lost, {wrong} wrong; seed {seed}");
}

type Clients = (Vec<JoinHandle<Tally>>, Vec<JoinHandle<Talks>>);

fn load(field: &Arc<Field>, seed: u64) -> Clients {
    let mut clients = Vec::new();
    for (path, count) in CLIENTS {
        for _ in 0..count {
            let number = clients.len() as u64 + 1;
            let field = Arc::clone(field);
            clients.push(std::thread::spawn(move || match path {
                Path::H2c | Path::H2 => h2::client(&field, path, number, seed),
                _ => h1::client(&field, path, number, seed),
            }));
        }
    }
    let talkers = (0..TALKERS.0).map(|number| {
        let field = Arc::clone(field);
        let number = number as u64 + 1_000;
        std::thread::spawn(move || websocket::client(&field, TALKERS.1, number, seed))
    });
    (clients, talkers.collect())
}

impl Run {
    fn start(seconds: u64, seed: u64) -> Run {
        let folder = Scratch::new();
        let fleet = Fleet::start(&folder);
        let actions = plan(seed, &fleet.targets, seconds * 1_000, RHYTHM);
        let actions = filtered(actions, &fleet.targets);
        let (ca, home) = (Ca::new("an authority of tests"), Scratch::new());
        ca.leaf(&["localhost", "test.example"]).write(&home, "site");
        let at = Addresses::free();
        let lineage = Lineage::start_with(home, &config(&fleet, at, 0), |command| command);
        Run {
            fleet,
            lineage: Arc::new(lineage),
            at,
            field: Arc::new(Field {
                base: Instant::now(),
                stop: AtomicBool::new(false),
                opened: AtomicUsize::new(0),
                web: at.web,
                secure: at.secure,
                tls: TlsClient::new(&ca),
                pause: Duration::from_millis(8),
            }),
            journal: Arc::default(),
            actions,
            _folder: folder,
        }
    }

    /// Does what the plan says, what takes time on a thread of its own; returns when all are over.
    fn act(&self) {
        let mut running = Vec::new();
        let mut turn = 0;
        for action in &self.actions {
            let when = Duration::from_millis(action.at_ms);
            std::thread::sleep(when.saturating_sub(self.field.base.elapsed()));
            let what = words(action.deed, &self.fleet.names);
            self.journal.say(self.field.now_us(), what);
            match action.deed {
                Deed::Reload => {
                    turn += 1;
                    let put = if turn % 10 == 9 { put_broken } else { put };
                    put(&self.lineage, &self.fleet, self.at, turn);
                }
                deed => running.extend(self.begin(deed)),
            }
        }
        for thread in running {
            thread.join().expect("an action does not panic");
        }
    }

    fn begin(&self, deed: Deed) -> Option<JoinHandle<()>> {
        let (field, journal) = (Arc::clone(&self.field), Arc::clone(&self.journal));
        match deed {
            Deed::Harm(number, harm, time) => {
                let server = Arc::clone(&self.fleet.servers[number]);
                Some(std::thread::spawn(move || {
                    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                    let span = journal.begin(number, Some(harm), field.now_us());
                    server.harm(harm);
                    std::thread::sleep(Duration::from_millis(time));
                    server.heal(harm);
                    journal.end(span, field.now_us());
                    let name = &server.name;
                    journal.say(field.now_us(), format!("{name} is well after {harm:?}"));
                }))
            }
            Deed::Upgrade => {
                let lineage = Arc::clone(&self.lineage);
                Some(std::thread::spawn(move || {
                    let outcome = upgrade(&lineage);
                    journal.say(field.now_us(), outcome);
                }))
            }
            Deed::Drain(number, time) => {
                let (name, dir) = (&self.fleet.names[number], self.lineage.dir());
                let (name, dir) = (name.clone(), dir.to_owned());
                let pools = self.fleet.pools_of(number);
                Some(std::thread::spawn(move || {
                    let span = journal.begin(number, None, field.now_us());
                    let mut faults = tell(&dir, "drain", pools, &name);
                    std::thread::sleep(Duration::from_millis(time));
                    faults.extend(tell(&dir, "enable", pools, &name));
                    journal.end(span, field.now_us());
                    let outcome = if faults.is_empty() {
                        "is back after a drain"
                    } else {
                        REFUSED
                    };
                    journal.say(
                        field.now_us(),
                        format!("{name} {outcome} {}", faults.join("; ")),
                    );
                }))
            }
            Deed::Reload => None,
        }
    }

    /// What came of reloads and upgrades.
    fn changes(&self) -> String {
        let log = self.lineage.log();
        let asked = |deed| self.actions.iter().filter(|it| it.deed == deed).count();
        let said = |what: &str| log.matches(what).count();
        let is_drain = |action: &&Action| matches!(action.deed, Deed::Drain(..));
        let drains = self.actions.iter().filter(is_drain).count();
        let refused = self
            .journal
            .lines()
            .into_iter()
            .filter(|(_, line)| line.contains(REFUSED));
        let refused: Vec<String> = refused.map(|(_, line)| format!("\n  {line}")).collect();
        let failed = log.lines().filter(|line| line.contains("upgrade failed"));
        let failed: Vec<String> = failed.map(|line| format!("\n  {line}")).collect();
        format!(
            "reloads asked for {}, taken {}, refused {}; upgrades asked for {}, done {}, failed {}; drains asked for {drains}, refused {}; panics {}{}{}",
            asked(Deed::Reload),
            said("configuration reloaded"),
            said("reload refused"),
            asked(Deed::Upgrade),
            self.lineage.generations().saturating_sub(1),
            failed.len(),
            refused.len(),
            said("panicked"),
            refused.concat(),
            failed.concat(),
        )
    }

    fn judge(&self, tallies: &[Tally], talks: &Talks) -> Sums {
        std::thread::sleep(LOG_DELAY);
        let log = std::fs::read_to_string(self.lineage.dir().join("access.log"));
        let known = Known {
            names: self.fleet.names.clone(),
            app: self.fleet.of_groups(&[0, 1]),
            big: self.fleet.of_groups(&[0]),
            two: self.fleet.of_groups(&[2]),
            spans: self.journal.spans(),
            log: read_log(&log.unwrap_or_default()),
        };
        let mut sums = Sums::default();
        for asked in tallies.iter().flat_map(|tally| &tally.odd) {
            sums.take(&who(asked), known.judge(asked));
        }
        for closed in &talks.closed {
            let who = format!("{:.3} s, WebSocket", closed.closed_us as f64 / 1e6);
            sums.take(&who, known.judge_closed(closed));
        }
        for refused in &talks.refused {
            let at = refused.closed_us as f64 / 1e6;
            let who = format!("{at:.3} s, opening a WebSocket");
            sums.take(&who, known.judge_refused(refused));
        }
        let faults = judge_records(&self.fleet.records(), tallies);
        sums.wrong.extend(faults);
        sums
    }
}

/// Asks for an upgrade and waits for its outcome. It fails when the file is broken at that moment, as it should.
fn upgrade(lineage: &Lineage) -> String {
    let failures = || lineage.log().matches("upgrade failed").count();
    let (old, before) = (lineage.pid(), (lineage.generations(), failures()));
    signal(old, Signal::USR2);
    let outcome = within(UPGRADE, || {
        let now = (lineage.generations(), failures());
        (now != before).then_some(now.0 > before.0)
    });
    match outcome {
        Some(true) => format!("{} serves in the place of {old}", lineage.pid()),
        Some(false) => format!("upgrade of {old} failed"),
        None => format!("nothing came of the upgrade of {old}"),
    }
}

fn who(asked: &Asked) -> String {
    let (from, to) = (asked.from_us as f64 / 1e6, asked.to_us as f64 / 1e6);
    let first = match asked.reused {
        true => "",
        false => ", first on its connection",
    };
    let Asked { method, pool, .. } = asked;
    let (path, id) = (asked.path.name(), contract::text(asked.id));
    format!("{from:.3} to {to:.3} s, {path} {method} {pool:?} {id}{first}")
}
