//! What is under load: the servers, the proxy with its successors, and the configurations that follow each other.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keel_testkit::Proxy;
use keel_testkit::process::signal;
use keel_testkit::scratch::Scratch;
use rustix::process::Signal;

use crate::fleet::{Kind, Server, free_address};
use crate::lineage::Lineage;
use crate::plan::Target;

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

/// What an operator would write who wants nothing lost. No budget of retries: when one of three servers answers 503, a third of
/// the requests are retried until a check finds it, which is more than a share of 20 % allows.
const POOL_KEYS: &str = "retry: { on: [error, timeout, invalid, refused, 502-504], tries: 5, per_try: 1s, within: 10s, body: 256KB, budget: off }, \
     health: { http: { path: /echo }, every: 500ms, every_down: 250ms, timeout: 400ms, rise: 1, fall: 2 }, \
     timeouts: { connect: 1s, read: 5s }";

/// How often, and after how long, an operator asks again.
const AGAIN: (u32, Duration) = (3, Duration::from_millis(200));

/// The servers.
pub struct Fleet {
    /// In the order of the plan.
    pub servers: Vec<Arc<Mutex<Server>>>,
    /// Their names.
    pub names: Vec<String>,
    /// What the plan knows of them.
    pub targets: Vec<Target>,
    addresses: Vec<SocketAddr>,
}

impl Fleet {
    /// Starts those whose programs are here.
    pub fn start(scratch: &Scratch) -> Fleet {
        let here = SERVERS.into_iter().filter(|(_, kind, _)| kind.is_here());
        let here: Vec<_> = here.collect();
        let servers: Vec<Server> = (10..)
            .zip(&here)
            .map(|(number, (name, kind, _))| Server::start(name, *kind, number, scratch.path()))
            .collect();
        let target = |(_, kind, group): &(&str, Kind, usize)| Target {
            group: *group,
            nature: kind.nature(),
        };
        let shared = |server| Arc::new(Mutex::new(server));
        Fleet {
            names: servers.iter().map(|server| server.name.clone()).collect(),
            addresses: servers.iter().map(|server| server.address).collect(),
            targets: here.iter().map(target).collect(),
            servers: servers.into_iter().map(shared).collect(),
        }
    }

    /// Positions of the servers of these groups.
    pub fn of_groups(&self, groups: &[usize]) -> Vec<usize> {
        let is_in = |server: &usize| groups.contains(&self.targets[*server].group);
        (0..self.names.len()).filter(is_in).collect()
    }

    /// The pools that a server is in.
    pub fn pools_of(&self, server: usize) -> &'static [&'static str] {
        match self.targets[server].group {
            0 => &["app", "big", "chat"],
            1 => &["app"],
            _ => &["two"],
        }
    }

    /// What each of them says of what it did.
    pub fn records(&self) -> Vec<(String, String)> {
        let record = |server: &Arc<Mutex<Server>>| {
            let server = server.lock().unwrap_or_else(PoisonError::into_inner);
            (server.name.clone(), server.record())
        };
        self.servers.iter().map(record).collect()
    }

    /// The pool's list of servers; it begins with another one each time, and one may be heavier.
    fn list(&self, groups: &[usize], turn: usize) -> String {
        let mut servers = self.of_groups(groups);
        let first = turn % servers.len();
        servers.rotate_left(first);
        let entry = |(place, server): (usize, usize)| {
            let weight = if place == 0 { turn % 3 + 1 } else { 1 };
            let (name, address) = (&self.names[server], self.addresses[server]);
            format!("{{ name: {name}, address: \"{address}\", weight: {weight} }}")
        };
        let entries: Vec<String> = servers.into_iter().enumerate().map(entry).collect();
        entries.join(", ")
    }
}

/// Where the proxy listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// In clear.
    pub web: SocketAddr,
    /// With TLS.
    pub secure: SocketAddr,
    /// A listener that comes and goes with the reloads.
    pub spare: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Addresses {
    /// Addresses that are free.
    pub fn free() -> Addresses {
        let [web, secure, spare, admin] = [1, 2, 3, 4].map(free_address);
        Addresses {
            web,
            secure,
            spare,
            admin,
        }
    }
}

/// The configuration of this turn: pools and routes stay, and around them something differs each time.
pub fn config(fleet: &Fleet, at: Addresses, turn: usize) -> String {
    let (app, own, two) = (
        fleet.list(&[0, 1], turn),
        fleet.list(&[0], turn),
        fleet.list(&[2], turn),
    );
    let Addresses {
        web,
        secure,
        spare,
        admin,
    } = at;
    let spare = match turn % 2 {
        0 => String::new(),
        _ => format!("  spare: {{ bind: \"{spare}\" }}\n"),
    };
    let more = (0..turn % 4).map(|number| {
        format!("  - {{ name: more{number}, match: {{ path: /more/{number} }}, pool: app }}\n")
    });
    let more: String = more.collect();
    format!(
        r#"
workers: 2
listeners:
  web: {{ bind: "{web}" }}
  secure: {{ bind: "{secure}", tls: {{ certificates: [ {{ cert: "@DIR@/site.pem", key: "@DIR@/site.key" }} ] }} }}
{spare}
admin: {{ bind: "{admin}", socket: "@DIR@/admin.sock" }}
state: "@DIR@/state"
drain_timeout: 30s
drain_timeout_tunnels: 1h
access_logs: {{ main: {{ to: "file:@DIR@/access.log", format: '$http_x_id $termination $server $upstream_status $retries' }} }}
access_log: main
routes:
{more}
  - {{ name: chat, match: {{ path: /chat }}, pool: chat }}
  - {{ name: big, match: {{ path: /big/ }}, pool: big }}
  - {{ name: two, match: {{ path: /two }}, pool: two }}
  - {{ name: all, pool: app }}
pools:
  app: {{ {POOL_KEYS}, servers: [{app}] }}
  big: {{ {POOL_KEYS}, servers: [{own}] }}
  chat: {{ {POOL_KEYS}, servers: [{own}] }}
  two: {{ {POOL_KEYS}, protocol: http2, servers: [{two}] }}
"#
    )
}

/// Puts the file of this turn in place and asks for a reload.
pub fn put(lineage: &Lineage, fleet: &Fleet, at: Addresses, turn: usize) {
    lineage.configure(&config(fleet, at, turn));
    signal(lineage.pid(), Signal::HUP);
}

/// Puts a broken file in place and asks for a reload: it has to be refused, and so has an upgrade meanwhile.
pub fn put_broken(lineage: &Lineage, fleet: &Fleet, at: Addresses, turn: usize) {
    lineage.configure(&format!("{}\npools: broken\n", config(fleet, at, turn)));
    signal(lineage.pid(), Signal::HUP);
}

/// Tells the process that serves, by the command line, to `drain` or `enable` a server in its pools; what went wrong.
pub fn tell(dir: &Path, what: &str, pools: &[&str], server: &str) -> Vec<String> {
    let socket = dir.join("admin.sock").display().to_string();
    let told = |pool: &&str| {
        let args = ["server", what, pool, server, "--socket", &socket];
        let mut exit = Proxy::run(&args);
        // The one that was asked may just be replaced, and says so.
        for _ in 0..AGAIN.0 {
            if exit.code == Some(0) {
                return None;
            }
            std::thread::sleep(AGAIN.1);
            exit = Proxy::run(&args);
        }
        (exit.code != Some(0)).then(|| format!("{args:?}: {}", exit.stderr.trim()))
    };
    pools.iter().filter_map(told).collect()
}
