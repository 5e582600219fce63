//! The task, against a real name server on loopback.

use std::time::{Duration, Instant};

use keel_testkit::{DnsServer, Mood, Record};
use tokio::sync::mpsc;

use super::*;
use crate::pool::ServerKeys;
use crate::resolve::ResolverSettings;

/// Longer than anything here should take.
const SOON: Duration = Duration::from_secs(20);

fn settings(server: &DnsServer) -> ResolverSettings {
    ResolverSettings {
        servers: vec![server.address()],
        timeout: Duration::from_millis(1000),
        ..ResolverSettings::default()
    }
}

fn all_of(host: &str, entry: usize) -> Target {
    Target::All(AllOf {
        place: Place {
            pool: "app".to_owned(),
            entry,
            name: host.to_owned(),
        },
        address: ServerAddress {
            host: host.to_owned(),
            port: 80,
        },
        weight: 1,
        tier: 0,
    })
}

fn one_of(host: &str) -> Arc<Server> {
    let address = ServerAddress {
        host: host.to_owned(),
        port: 80,
    };
    Arc::new(Server::new(
        ServerKeys::new().give(),
        host.to_owned(),
        address,
    ))
}

fn ips(found: &[Found], entry: usize) -> Vec<String> {
    let of = found.iter().find(|it| it.place.entry == entry);
    let servers = of.into_iter().flat_map(|it| &it.servers);
    servers.map(|it| it.address.ip().to_string()).collect()
}

async fn next(changes: &mut mpsc::Receiver<Vec<Found>>) -> Vec<Found> {
    let change = tokio::time::timeout(SOON, changes.recv()).await;
    change.expect("a change").expect("the task runs")
}

async fn until(what: &str, test: impl Fn() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < SOON, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn all_first_answers_come_at_once_and_changes_later() {
    let server = DnsServer::start();
    server.set_a("a.test", &["10.0.0.2", "10.0.0.1"]);
    server.set_a("b.test", &["10.0.1.1"]);
    let one = one_of("b.test");
    let (discovery, mut changes) = Discovery::start(Vec::new());
    let targets = vec![
        all_of("a.test", 0),
        all_of("gone.test", 1),
        Target::One(one.clone()),
    ];
    let found = discovery.watch(settings(&server), targets).await;
    assert_eq!(ips(&found, 0), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        **one.resolved.load(),
        ["10.0.1.1:80".parse().expect("an address")]
    );
    server.set_a("b.test", &["10.0.1.9"]);
    until("the server has its new address", || {
        **one.resolved.load() == ["10.0.1.9:80".parse().expect("an address")]
    })
    .await;
    server.set_a("a.test", &["10.0.0.3", "10.0.0.1"]);
    let change = next(&mut changes).await;
    assert_eq!(ips(&change, 0), ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(change.len(), 1);
    server.set_a("gone.test", &["10.0.2.1"]);
    assert_eq!(ips(&next(&mut changes).await, 1), ["10.0.2.1"]);
}

#[tokio::test]
async fn failures_keep_the_last_answer_and_are_counted() {
    let server = DnsServer::start();
    server.set_a("a.test", &["10.0.0.1"]);
    let (discovery, mut changes) = Discovery::start(Vec::new());
    let targets = || vec![all_of("a.test", 0)];
    discovery.watch(settings(&server), targets()).await;
    for (round, mood) in [Mood::Fails, Mood::Silent, Mood::Answers]
        .into_iter()
        .enumerate()
    {
        server.mood(mood);
        if mood == Mood::Answers {
            server.remove("a.test");
        }
        let failed = u64::try_from(round).expect("few") + 1;
        until("it fails", || discovery.counts().failed >= failed).await;
        assert_eq!(discovery.counts().failing, 1);
        let found = discovery.watch(settings(&server), targets()).await;
        assert_eq!(ips(&found, 0), ["10.0.0.1"]);
    }
    assert!(changes.try_recv().is_err(), "nothing was told");
    server.set_a("a.test", &["10.0.0.2"]);
    assert_eq!(ips(&next(&mut changes).await, 0), ["10.0.0.2"]);
    until("nothing fails", || discovery.counts().failing == 0).await;
}

#[tokio::test]
async fn changes_are_told_once_a_second_and_collected_meanwhile() {
    let server = DnsServer::start();
    let names: Vec<String> = (0..5).map(|n| format!("n{n}.test")).collect();
    for name in &names {
        server.set_a(name, &["10.0.0.1"]);
    }
    let (discovery, mut changes) = Discovery::start(Vec::new());
    let targets = names.iter().enumerate().map(|(n, name)| all_of(name, n));
    let found = discovery.watch(settings(&server), targets.collect()).await;
    assert_eq!(found.len(), 5);
    let receiving = tokio::spawn(async move {
        let (mut told, mut times) = (0, Vec::new());
        while told < 5 {
            told += next(&mut changes).await.len();
            times.push(Instant::now());
        }
        times
    });
    for (n, name) in names.iter().enumerate() {
        server.set_a(name, &[&format!("10.0.1.{n}")]);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let times = receiving.await.expect("all are told");
    assert!(times.len() < 5, "some were collected");
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > Duration::from_millis(900), "{apart:?} apart");
    }
}

#[tokio::test]
async fn a_set_that_only_turns_round_is_not_told() {
    let server = DnsServer::start();
    server.set_a("a.test", &["10.0.0.1", "10.0.0.2"]);
    let (discovery, mut changes) = Discovery::start(Vec::new());
    discovery
        .watch(settings(&server), vec![all_of("a.test", 0)])
        .await;
    server.set_a("a.test", &["10.0.0.2", "10.0.0.1"]);
    let asked = server.asked("a.test");
    until("it was asked twice more", || {
        server.asked("a.test") >= asked + 4
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn other_name_servers_are_asked_at_once() {
    let (before, after) = (DnsServer::start(), DnsServer::start());
    before.set("a.test", 3600, [Record::A([10, 0, 0, 1].into())]);
    after.set("a.test", 3600, [Record::A([10, 0, 0, 2].into())]);
    let (discovery, mut changes) = Discovery::start(Vec::new());
    discovery
        .watch(settings(&before), vec![all_of("a.test", 0)])
        .await;
    let found = discovery
        .watch(settings(&after), vec![all_of("a.test", 0)])
        .await;
    // What is known holds until the new server has answered.
    assert_eq!(ips(&found, 0), ["10.0.0.1"]);
    assert_eq!(ips(&next(&mut changes).await, 0), ["10.0.0.2"]);
}

#[tokio::test]
async fn nobody_waits_longer_than_a_look_up_may_take() {
    let server = DnsServer::start();
    server.mood(Mood::Silent);
    let (discovery, _changes) = Discovery::start(Vec::new());
    let many = (0..200).map(|n| all_of(&format!("n{n}.test"), n)).collect();
    let start = Instant::now();
    let found = discovery.watch(settings(&server), many).await;
    assert!(found.is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn what_another_process_knew_counts_as_the_first_answer() {
    let server = DnsServer::start();
    server.set_a("a.test", &["10.0.0.1"]);
    let srv = Record::Srv {
        priority: 1,
        weight: 2,
        port: 80,
        target: "a.test".to_owned(),
    };
    server.set("_app._tcp.test", 1, [srv]);
    let service = Target::Service(Service {
        place: Place {
            pool: "app".to_owned(),
            entry: 1,
            name: "_app._tcp.test".to_owned(),
        },
        name: "_app._tcp.test".to_owned(),
        tier: 0,
    });
    let targets = || vec![all_of("a.test", 0), service.clone()];
    let (before, _changes) = Discovery::start(Vec::new());
    let found = before.watch(settings(&server), targets()).await;
    assert_eq!(found.len(), 2);
    server.mood(Mood::Silent);
    let (after, mut changes) = Discovery::start(before.known().await);
    let start = Instant::now();
    assert_eq!(after.watch(settings(&server), targets()).await, found);
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "it does not wait"
    );
    until("it asked", || after.counts().failed >= 2).await;
    assert!(changes.try_recv().is_err());
    server.mood(Mood::Answers);
    server.set_a("a.test", &["10.0.0.2"]);
    assert_eq!(ips(&next(&mut changes).await, 0), ["10.0.0.2"]);
}
