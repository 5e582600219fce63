//! The engine: times, changes, what the balancer hears, and reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_balance::{
    Algorithm, Ask, Balancer, CheckSettings, EndpointSpec, EndpointState, Health, Outcome,
    OutlierSettings, Passive, PoolRules, Start,
};
use keel_testkit::{Origin, Reply};
use keel_types::PoolId;
use keel_upstream::check::{CheckPlan, CheckReport, Checker, HttpProbe, PoolChecks, Probe};
use keel_upstream::{KeepAlive, Pool, Server, ServerAddress, ServerKeys};

use crate::tools::{nobody, plan};

/// A server that is well until told otherwise.
struct Patient {
    origin: Origin,
    well: Arc<AtomicBool>,
}

impl Patient {
    fn new(is_well: bool) -> Patient {
        let well = Arc::new(AtomicBool::new(is_well));
        let asked = well.clone();
        let origin = Origin::answering(move |_| match asked.load(Ordering::SeqCst) {
            true => Reply::text("ok"),
            false => Reply::new(503),
        });
        Patient { origin, well }
    }

    fn set(&self, is_well: bool) {
        self.well.store(is_well, Ordering::SeqCst);
    }

    fn port(&self) -> u16 {
        self.origin.address().port()
    }
}

fn settings() -> CheckSettings {
    CheckSettings {
        every_ms: 100,
        every_down_ms: Some(50),
        timeout_ms: 200,
        rise: 2,
        fall: 3,
        jitter: 0.0,
        start: Start::Optimistic,
    }
}

fn checks(settings: CheckSettings) -> Option<Arc<CheckPlan>> {
    Some(Arc::new(CheckPlan {
        settings,
        ..plan(Probe::Http(HttpProbe::default()))
    }))
}

fn pool(name: &str, ports: &[u16], states: &[Arc<EndpointState>], rules: PoolRules) -> Arc<Pool> {
    let mut keys = ServerKeys::new();
    let server = |port: &u16| {
        let address = ServerAddress {
            host: "127.0.0.1".to_owned(),
            port: *port,
        };
        Arc::new(Server::new(keys.give(), port.to_string(), address))
    };
    let servers: Vec<_> = ports.iter().map(server).collect();
    let endpoints = ports.iter().zip(states);
    let endpoints =
        endpoints.map(|(port, state)| (EndpointSpec::new(port.to_string()), state.clone()));
    Arc::new(Pool {
        id: PoolId(0),
        name: name.to_owned(),
        balancer: Balancer::with_rules(Algorithm::RoundRobin, endpoints.collect(), rules).unwrap(),
        servers,
        keep_alive: KeepAlive {
            connections_max: 0,
            idle_timeout_ms: 0,
            requests_max: 1,
        },
        connect_timeout_ms: 1_000,
        read_timeout_ms: 1_000,
        send_timeout_ms: 1_000,
    })
}

fn states(count: usize) -> Vec<Arc<EndpointState>> {
    (0..count).map(|_| Arc::default()).collect()
}

fn plain(name: &str, ports: &[u16]) -> Arc<Pool> {
    pool(name, ports, &states(ports.len()), PoolRules::default())
}

fn start() -> Checker {
    let (checker, task) = Checker::new(Instant::now());
    tokio::spawn(task.run());
    checker
}

fn report(pool: &Pool, index: usize) -> Arc<CheckReport> {
    pool.servers[index].check.load_full().unwrap().report()
}

/// Waits until the server is usable, or is not, and says how long that took.
async fn await_usable(pool: &Pool, index: usize, usable: bool) -> Duration {
    let begin = Instant::now();
    while pool.balancer.state(index).is_down() == usable {
        assert!(begin.elapsed() < Duration::from_secs(10), "it never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    begin.elapsed()
}

#[tokio::test]
async fn a_server_goes_and_comes_back_in_the_times_told() {
    let patient = Patient::new(true);
    let pool = plain("app", &[patient.port()]);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(settings()),
    }]);
    tokio::time::sleep(Duration::from_millis(350)).await;
    let now = report(&pool, 0);
    assert_eq!(
        (now.health, now.usable, now.kind),
        (Health::Up, true, "http")
    );
    assert_eq!(&*now.check, "GET /");
    assert!((3..=5).contains(&now.passed), "{now:?}");
    assert!(now.last.is_some_and(|last| last.passed && last.took_us > 0));

    patient.set(false);
    let took = await_usable(&pool, 0, false).await.as_millis();
    // The first failure within one interval, the third two later.
    assert!((195..1_200).contains(&took), "{took} ms to fall");
    let now = report(&pool, 0);
    assert_eq!(
        (now.health, now.usable, now.failed),
        (Health::Down, false, 3)
    );
    let why = now.last_failure.as_ref().unwrap();
    assert_eq!(
        why.fault.to_string(),
        "status 503 is not one of those expected"
    );
    assert_eq!(why.at_ms, now.since_ms);

    patient.set(true);
    let took = await_usable(&pool, 0, true).await.as_millis();
    // Quicker: two passes at the rhythm of a down server.
    assert!((45..900).contains(&took), "{took} ms to rise");
    assert!(report(&pool, 0).last_failure.is_some(), "still told");
}

#[tokio::test]
async fn a_checked_start_lets_nobody_in_before_the_first_pass() {
    let (well, ill) = (Patient::new(true), Patient::new(false));
    let pool = plain("app", &[well.port(), ill.port()]);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(CheckSettings {
            start: Start::FirstCheck,
            ..settings()
        }),
    }]);
    assert!(
        pool.balancer.state(0).is_down() && pool.balancer.state(1).is_down(),
        "at once"
    );
    assert!(checker.first_checks(Duration::from_secs(5)).await);
    assert!(!pool.balancer.state(0).is_down(), "one pass is enough");
    assert!(pool.balancer.state(1).is_down());
    let ill = report(&pool, 1);
    assert_eq!(
        (ill.health, ill.failed),
        (Health::Down, 1),
        "and so is one failure"
    );
}

#[tokio::test]
async fn first_checks_are_waited_for_no_longer_than_told() {
    let hangs = Origin::scripted(|stage| stage.until_end());
    let pool = plain("app", &[hangs.address().port()]);
    let checker = start();
    let begin = Instant::now();
    assert!(
        checker.first_checks(Duration::from_secs(5)).await,
        "nobody waits"
    );
    checker.set(vec![PoolChecks {
        pool,
        plan: checks(CheckSettings {
            start: Start::FirstCheck,
            timeout_ms: 3_000,
            ..settings()
        }),
    }]);
    assert!(!checker.first_checks(Duration::from_millis(100)).await);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_reload_keeps_health_and_counts_of_servers_that_stay() {
    let (stays, goes, comes) = (Patient::new(false), Patient::new(true), Patient::new(true));
    let old_states = states(2);
    let ports = [goes.port(), stays.port()];
    let old = pool("app", &ports, &old_states, PoolRules::default());
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: old.clone(),
        plan: checks(settings()),
    }]);
    await_usable(&old, 1, false).await;
    let before = report(&old, 1);

    // Another position, another interval, and a neighbour.
    let new_states = [old_states[1].clone(), Arc::default()];
    let ports = [stays.port(), comes.port()];
    let new = pool("app", &ports, &new_states, PoolRules::default());
    let slower = CheckSettings {
        every_down_ms: None,
        every_ms: 10_000,
        ..settings()
    };
    checker.set(vec![PoolChecks {
        pool: new.clone(),
        plan: checks(slower),
    }]);
    let after = report(&new, 0);
    assert_eq!(
        (after.health, after.since_ms),
        (Health::Down, before.since_ms)
    );
    assert!(after.failed >= before.failed);
    assert_eq!(report(&new, 1).health, Health::Unknown);
    // One may be under way still.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = goes.origin.requests();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(goes.origin.requests(), asked, "who is gone is not asked");

    // Without checks nobody is down because of one.
    checker.set(vec![PoolChecks {
        pool: new.clone(),
        plan: None,
    }]);
    assert!(!new.balancer.state(0).is_down());
    assert!(new.servers[0].check.load().is_none());
}

/// What the process before an upgrade knew to be down does not get requests until it passes.
#[tokio::test]
async fn a_server_that_was_down_before_stays_down() {
    let patient = Patient::new(false);
    let pool = plain("app", &[patient.port()]);
    pool.balancer.checked(0, false, 0);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(CheckSettings {
            fall: 100,
            ..settings()
        }),
    }]);
    assert_eq!(report(&pool, 0).health, Health::Down);
    while report(&pool, 0).failed < 4 {
        assert!(
            pool.balancer.state(0).is_down(),
            "a failure brings nobody up"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    patient.set(true);
    await_usable(&pool, 0, true).await;
    assert!(report(&pool, 0).passed >= 2);
}

#[tokio::test]
async fn the_same_server_at_another_address_is_another_one() {
    let one = Patient::new(false);
    let old = plain("app", &[one.port()]);
    let checker = start();
    let set = |pool: &Arc<Pool>| {
        checker.set(vec![PoolChecks {
            pool: pool.clone(),
            plan: checks(settings()),
        }]);
    };
    set(&old);
    await_usable(&old, 0, false).await;
    let mut keys = ServerKeys::new();
    let address = ServerAddress {
        host: "127.0.0.2".to_owned(),
        port: one.port(),
    };
    let moved = Server::new(keys.give(), one.port().to_string(), address);
    let mut new = Arc::into_inner(plain("app", &[one.port()])).unwrap();
    new.servers = vec![Arc::new(moved)];
    let new = Arc::new(new);
    set(&new);
    assert_eq!(report(&new, 0).health, Health::Unknown);
}

#[tokio::test]
async fn traffic_that_fails_brings_the_next_check_forward_but_not_a_storm() {
    let patient = Patient::new(true);
    let pool = plain("app", &[patient.port()]);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(CheckSettings {
            every_ms: 60_000,
            every_down_ms: Some(100),
            fall: 1,
            start: Start::FirstCheck,
            ..settings()
        }),
    }]);
    assert!(checker.first_checks(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(patient.origin.requests(), 1, "the next is due in a minute");
    patient.set(false);
    pool.servers[0].hasten_check();
    let took = await_usable(&pool, 0, false).await;
    assert!(took < Duration::from_secs(5), "{took:?}");

    patient.set(true);
    await_usable(&pool, 0, true).await;
    let before = patient.origin.requests();
    let end = Instant::now() + Duration::from_millis(1_000);
    while Instant::now() < end {
        pool.servers[0].hasten_check();
        tokio::task::yield_now().await;
    }
    let more = patient.origin.requests() - before;
    assert!(
        (3..=12).contains(&more),
        "{more} checks in a second of failures"
    );
}

#[tokio::test]
async fn no_more_checks_run_at_a_time_than_there_may() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    let origin = Origin::scripted(move |stage| {
        stage.request();
        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(count, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        now.fetch_sub(1, Ordering::SeqCst);
        stage.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let port = origin.address().port();
    let checker = start();
    let pools = (0..600).map(|number| PoolChecks {
        pool: plain(&format!("pool-{number}"), &[port]),
        plan: checks(CheckSettings {
            start: Start::FirstCheck,
            timeout_ms: 5_000,
            every_ms: 60_000,
            every_down_ms: None,
            ..settings()
        }),
    });
    let pools: Vec<_> = pools.collect();
    checker.set(pools.clone());
    assert!(checker.first_checks(Duration::from_secs(30)).await);
    assert!(most.load(Ordering::SeqCst) <= keel_upstream::check::CHECKS_MAX);
    assert_eq!(origin.requests(), 600);
    let up = |one: &PoolChecks| report(&one.pool, 0).health == Health::Up;
    assert!(pools.iter().all(up));
}

#[tokio::test]
async fn a_server_that_nobody_can_reach_falls() {
    let pool = plain("app", &[nobody().port()]);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(settings()),
    }]);
    await_usable(&pool, 0, false).await;
    let why = report(&pool, 0).last_failure.clone().unwrap();
    assert!(
        why.fault.to_string().starts_with("no connection"),
        "{}",
        why.fault
    );
}

/// Success rates are compared once a second, whether or not there are checks.
#[tokio::test]
async fn outliers_are_swept() {
    let rules = PoolRules {
        passive: Passive::Outlier(OutlierSettings {
            consecutive: 0,
            error_rate: None,
            ..OutlierSettings::default()
        }),
        ..PoolRules::default()
    };
    let ports = [1, 2, 3, 4, 5, 6];
    let pool = pool("app", &ports, &states(6), rules);
    let checker = start();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: None,
    }]);
    let base = Instant::now();
    let now = || base.elapsed().as_millis() as u64;
    for round in 0..1_200u64 {
        let selected = pool.balancer.select(&Ask::at(now(), round)).unwrap();
        let outcome = match selected.index == 2 && round % 2 == 0 {
            true => Outcome::Failure,
            false => Outcome::Success,
        };
        pool.balancer.report(selected.index, outcome, now());
    }
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let rests: Vec<bool> = (0..6)
        .map(|index| pool.balancer.state(index).is_resting(now()))
        .collect();
    assert_eq!(rests, [false, false, true, false, false, false]);
}

/// A process that was replaced leaves the checks to the one after it.
#[tokio::test]
async fn stopped_checks_ask_nobody() {
    let patient = Patient::new(true);
    let pool = plain("app", &[patient.port()]);
    let (checker, task) = Checker::new(Instant::now());
    let task = tokio::spawn(task.run());
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(settings()),
    }]);
    while patient.origin.requests() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    checker.clone().stop();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("the task ends")
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = patient.origin.requests();
    checker.set(vec![PoolChecks {
        pool: pool.clone(),
        plan: checks(settings()),
    }]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(patient.origin.requests(), asked);
    assert!(!pool.balancer.state(0).is_down());
}
