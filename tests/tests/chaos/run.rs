//! A run from beginning to end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, Proxy, TlsClient};

use crate::account::{Path, Tally};
use crate::contract;
use crate::fleet::{Kind, Server, free_address};
use crate::journal::{Journal, words};
use crate::judge::{Known, judge_records, read_log};
use crate::load::websocket::{self, Talks};
use crate::load::{Field, h1, h2};
use crate::plan::{Action, Deed, Rhythm, Target, plan};
use crate::report::{Sums, text};

/// How long a run is in CI.
const SECONDS: u64 = 45;

/// The seed when nobody chooses one.
const SEED: u64 = 4;

/// The servers: name, kind, group. Of each group the plan leaves enough well.
const SERVERS: [(&str, Kind, usize); 11] = [
    ("a", Kind::Own, 0),
    ("b", Kind::Own, 0),
    ("c", Kind::Own, 0),
    ("d", Kind::Own, 0),
    ("e", Kind::Own, 0),
    ("nginx", Kind::Nginx, 1),
    ("node", Kind::Node, 1),
    ("python", Kind::Python, 1),
    ("r", Kind::OwnH2, 2),
    ("s", Kind::OwnH2, 2),
    ("t", Kind::OwnH2, 2),
];

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

struct Fleet {
    servers: Vec<Arc<Mutex<Server>>>,
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
    groups: Vec<usize>,
    targets: Vec<Target>,
}

impl Fleet {
    fn start(scratch: &Scratch) -> Fleet {
        let here: Vec<_> = SERVERS
            .into_iter()
            .filter(|(_, kind, _)| kind.is_here())
            .collect();
        let servers: Vec<Server> = (10..)
            .zip(&here)
            .map(|(number, (name, kind, _))| Server::start(name, *kind, number, scratch.path()))
            .collect();
        let target = |(_, kind, group): &(&str, Kind, usize)| Target {
            group: *group,
            nature: kind.nature(),
        };
        Fleet {
            names: servers.iter().map(|server| server.name.clone()).collect(),
            addresses: servers.iter().map(|server| server.address).collect(),
            groups: here.iter().map(|(_, _, group)| *group).collect(),
            targets: here.iter().map(target).collect(),
            servers: servers
                .into_iter()
                .map(|server| Arc::new(Mutex::new(server)))
                .collect(),
        }
    }

    fn of_groups(&self, groups: &[usize]) -> Vec<usize> {
        let is_in = |server: &usize| groups.contains(&self.groups[*server]);
        (0..self.names.len()).filter(is_in).collect()
    }

    /// The pool's list of servers.
    fn list(&self, groups: &[usize]) -> String {
        let entry = |server: usize| {
            format!(
                "{{ name: {}, address: \"{}\" }}",
                self.names[server], self.addresses[server]
            )
        };
        let entries: Vec<String> = self.of_groups(groups).into_iter().map(entry).collect();
        entries.join(", ")
    }
}

/// What an operator would write who wants nothing lost.
fn config(fleet: &Fleet, web: SocketAddr, secure: SocketAddr) -> String {
    let keys = "retry: { on: [error, timeout, invalid, refused, 502-504], tries: 5, per_try: 1s, within: 10s, body: 256KB, budget: off }, \
                health: { http: { path: /echo }, every: 500ms, every_down: 250ms, timeout: 400ms, rise: 1, fall: 2 }, \
                timeouts: { connect: 1s, read: 5s }";
    let (app, own, two) = (fleet.list(&[0, 1]), fleet.list(&[0]), fleet.list(&[2]));
    format!(
        r#"
workers: 2
listeners:
  web: {{ bind: "{web}" }}
  secure: {{ bind: "{secure}", tls: {{ certificates: [ {{ cert: "@DIR@/site.pem", key: "@DIR@/site.key" }} ] }} }}
state: "@DIR@/state"
access_logs: {{ main: {{ to: "file:@DIR@/access.log", format: '$http_x_id $termination $server $upstream_status $retries' }} }}
access_log: main
routes:
  - {{ name: chat, match: {{ path: /chat }}, pool: chat }}
  - {{ name: big, match: {{ path: /big/ }}, pool: big }}
  - {{ name: two, match: {{ path: /two }}, pool: two }}
  - {{ name: all, pool: app }}
pools:
  app: {{ {keys}, servers: [{app}] }}
  big: {{ {keys}, servers: [{own}] }}
  chat: {{ {keys}, servers: [{own}] }}
  two: {{ {keys}, protocol: http2, servers: [{two}] }}
"#
    )
}

fn from_env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
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

#[test]
fn nothing_is_lost() {
    let seconds = from_env("EVENKEEL_CHAOS_SECONDS", SECONDS);
    let seed = from_env("EVENKEEL_CHAOS_SEED", SEED);
    let scratch = Scratch::new();
    let fleet = Fleet::start(&scratch);
    let rhythm = Rhythm {
        harm: 400,
        reload: 0,
        upgrade: 0,
        drains: 0,
    };
    let actions = filtered(
        plan(seed, &fleet.targets, seconds * 1_000, rhythm),
        &fleet.targets,
    );
    println!("seed {seed}, {seconds} s, {} actions", actions.len());

    let ca = Ca::new("an authority of tests");
    let home = Scratch::new();
    ca.leaf(&["localhost", "test.example"]).write(&home, "site");
    let (web, secure) = (free_address(1), free_address(2));
    let proxy = Proxy::start_in(home, &config(&fleet, web, secure), &[]);
    let field = Arc::new(Field {
        base: Instant::now(),
        stop: AtomicBool::new(false),
        web,
        secure,
        tls: TlsClient::new(&ca),
        pause: Duration::from_millis(8),
    });
    let journal = Arc::new(Journal::default());
    let (clients, talkers) = load(&field, seed);
    act(&field, &journal, &fleet, &actions);
    let end = Duration::from_secs(seconds);
    std::thread::sleep(end.saturating_sub(field.base.elapsed()));
    field.stop.store(true, Ordering::Relaxed);

    let tallies: Vec<Tally> = clients
        .into_iter()
        .map(|client| client.join().expect("a client does not panic"))
        .collect();
    let mut talks = Talks::default();
    for talker in talkers {
        talks.add(talker.join().expect("a client does not panic"));
    }
    let sums = judge(&fleet, &journal, &proxy, &tallies, &talks);
    println!("{}", text(&tallies, &talks, &sums));
    if !sums.is_clean() {
        for (at_us, line) in journal.lines() {
            println!("{:>8.3} s  {line}", at_us as f64 / 1e6);
        }
    }
    assert!(
        sums.is_clean(),
        "{} lost, {} wrong; seed {seed}",
        sums.lost.len(),
        sums.wrong.len()
    );
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
        std::thread::spawn(move || {
            websocket::client(&field, TALKERS.1, number as u64 + 1_000, seed)
        })
    });
    (clients, talkers.collect())
}

/// Does what the plan says, each harm on a thread of its own; returns when all are over.
fn act(field: &Arc<Field>, journal: &Arc<Journal>, fleet: &Fleet, actions: &[Action]) {
    let mut running = Vec::new();
    for action in actions {
        let at = Duration::from_millis(action.at_ms);
        std::thread::sleep(at.saturating_sub(field.base.elapsed()));
        journal.say(field.now_us(), words(action.deed, &fleet.names));
        if let Deed::Harm(number, harm, time) = action.deed {
            let server = Arc::clone(&fleet.servers[number]);
            let (field, journal) = (Arc::clone(field), Arc::clone(journal));
            running.push(std::thread::spawn(move || {
                let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                let span = journal.begin(number, Some(harm), field.now_us());
                server.harm(harm);
                std::thread::sleep(Duration::from_millis(time));
                server.heal(harm);
                journal.end(span, field.now_us());
                journal.say(
                    field.now_us(),
                    format!("{} is well after {harm:?}", server.name),
                );
            }));
        }
    }
    for harm in running {
        harm.join().expect("a harm does not panic");
    }
}

fn judge(
    fleet: &Fleet,
    journal: &Journal,
    proxy: &Proxy,
    tallies: &[Tally],
    talks: &Talks,
) -> Sums {
    // The log's writer is behind by a moment.
    std::thread::sleep(Duration::from_millis(1_500));
    let log = std::fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default();
    let known = Known {
        names: fleet.names.clone(),
        app: fleet.of_groups(&[0, 1]),
        big: fleet.of_groups(&[0]),
        two: fleet.of_groups(&[2]),
        spans: journal.spans(),
        log: read_log(&log),
    };
    let mut sums = Sums::default();
    for asked in tallies.iter().flat_map(|tally| &tally.odd) {
        let who = format!(
            "{:.3} to {:.3} s, {} {} {:?} {}{}",
            asked.from_us as f64 / 1e6,
            asked.to_us as f64 / 1e6,
            asked.path.name(),
            asked.method,
            asked.pool,
            contract::text(asked.id),
            if asked.reused {
                ""
            } else {
                ", first on its connection"
            },
        );
        sums.take(&who, known.judge(asked));
    }
    for closed in &talks.closed {
        let who = format!("{:.3} s, WebSocket", closed.closed_us as f64 / 1e6);
        sums.take(&who, known.judge_closed(closed));
    }
    for refused in &talks.refused {
        let who = format!(
            "{:.3} s, opening a WebSocket",
            refused.closed_us as f64 / 1e6
        );
        sums.take(&who, known.judge_refused(refused));
    }
    let records = fleet.servers.iter().map(|server| {
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        (server.name.clone(), server.record())
    });
    sums.wrong
        .extend(judge_records(&records.collect::<Vec<_>>(), tallies));
    sums
}
