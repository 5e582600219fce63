//! The table of bindings against a plain model, and the server that a session is bound to.

use std::time::Instant;

use keel_balance::{Ask, Binding, BoundFault, EndpointSpec, Outcome, StickySettings, StickyTable};
use proptest::prelude::*;

use crate::pool::{LEAST_CONN, pool_of, specs};

/// The same as a list, the least recently used first.
struct Model {
    settings: StickySettings,
    list: Vec<Binding>,
}

impl Model {
    fn is_old(&self, one: &Binding, now_ms: u64) -> bool {
        one.used_ms + self.settings.idle_ms <= now_ms
    }

    fn find(&mut self, key: u128, now_ms: u64) -> Option<u64> {
        let at = self.list.iter().position(|one| one.key == key)?;
        let mut one = self.list.remove(at);
        if self.is_old(&one, now_ms) {
            return None;
        }
        one.used_ms = now_ms;
        self.list.push(one);
        Some(one.server)
    }

    fn bind(&mut self, key: u128, server: u64, now_ms: u64) {
        for _ in 0..2 {
            if self
                .list
                .first()
                .is_some_and(|one| self.is_old(one, now_ms))
            {
                self.list.remove(0);
            }
        }
        self.list.retain(|one| one.key != key);
        if self.list.len() >= self.settings.size_max {
            self.list.remove(0);
        }
        self.list.push(Binding {
            key,
            server,
            used_ms: now_ms,
        });
    }
}

#[derive(Debug, Clone)]
enum Step {
    Find(u128),
    Bind(u128, u64),
    Remove(u128),
    Expire,
    Wait(u64),
    Retune(usize),
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u128..30;
    prop_oneof![
        4 => key.clone().prop_map(Step::Find),
        6 => (key.clone(), 0u64..4).prop_map(|(key, server)| Step::Bind(key, server)),
        1 => key.prop_map(Step::Remove),
        1 => Just(Step::Expire),
        2 => (1u64..40).prop_map(Step::Wait),
        1 => (1usize..20).prop_map(Step::Retune),
        1 => Just(Step::HandOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn it_is_the_model(size_max in 1usize..16, steps in prop::collection::vec(step(), 1..120)) {
        let settings = StickySettings { size_max, idle_ms: 100 };
        let mut table = StickyTable::new(settings);
        let mut model = Model { settings, list: Vec::new() };
        let mut now = 1;
        for step in steps {
            match step {
                Step::Find(key) => prop_assert_eq!(table.find(key, now), model.find(key, now)),
                Step::Bind(key, server) => {
                    table.bind(key, server, now);
                    model.bind(key, server, now);
                }
                Step::Remove(key) => {
                    let known = model.list.iter().position(|one| one.key == key);
                    let server = known.map(|at| model.list.remove(at).server);
                    prop_assert_eq!(table.remove(key), server);
                }
                Step::Expire => {
                    let before = model.list.len();
                    let settings = model.settings;
                    model.list.retain(|one| one.used_ms + settings.idle_ms > now);
                    prop_assert_eq!(table.expire(now), before - model.list.len());
                }
                Step::Wait(ms) => now += ms,
                Step::Retune(size_max) => {
                    model.settings.size_max = size_max;
                    table.retune(model.settings);
                    let surplus = model.list.len().saturating_sub(size_max);
                    model.list.drain(..surplus);
                }
                Step::HandOver => {
                    let mut next = StickyTable::new(model.settings);
                    next.import(table.iter(), now);
                    let settings = model.settings;
                    model.list.retain(|one| one.used_ms + settings.idle_ms > now);
                    table = next;
                }
            }
            let all: Vec<Binding> = table.iter().collect();
            prop_assert_eq!(&all, &model.list);
            prop_assert_eq!(table.len(), model.list.len());
            for server in 0..4 {
                let own = model.list.iter().filter(|one| one.server == server);
                prop_assert_eq!(table.count_of(server), own.count());
            }
        }
    }
}

#[test]
fn what_is_here_already_wins_over_what_is_handed_over() {
    let settings = StickySettings {
        size_max: 3,
        idle_ms: 1_000,
    };
    let mut old = StickyTable::new(settings);
    for (key, now) in [(1, 10), (2, 20), (3, 30)] {
        old.bind(key, 7, now);
    }
    let mut new = StickyTable::new(settings);
    new.bind(2, 8, 25);
    new.bind(4, 8, 40);
    new.import(old.iter(), 50);
    let all: Vec<(u128, u64)> = new.iter().map(|one| (one.key, one.server)).collect();
    assert_eq!(all, [(2, 8), (3, 7), (4, 8)], "the first is one too many");
}

/// A flood of new clients costs the same for each, however long it goes on.
#[test]
fn a_flood_stays_within_its_bounds() {
    let mut table = StickyTable::new(StickySettings {
        size_max: 10_000,
        idle_ms: 1_000,
    });
    let begin = Instant::now();
    for key in 0..1_000_000u128 {
        table.bind(
            key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            1,
            5,
        );
    }
    assert_eq!((table.len(), table.count_of(1)), (10_000, 10_000));
    assert_eq!(table.evicted(), 990_000);
    // Some seconds without optimisation; a scan for each would take hours.
    assert!(begin.elapsed().as_secs() < 60);
}

#[test]
fn a_full_server_keeps_its_sessions_and_an_unusable_one_hands_them_on() {
    let mut specs = specs(&[1, 1, 0, 1]);
    specs[0].max_connections = 1;
    specs[3].down = true;
    let balancer = pool_of(LEAST_CONN, specs);
    let ask = Ask::at(1_000, 1);
    let held = balancer.select_bound(0, &ask).unwrap();
    assert_eq!(held.index, 0);
    assert_eq!(
        balancer.select_bound(0, &ask).unwrap_err(),
        BoundFault::Full
    );
    drop(held);
    assert!(balancer.select_bound(0, &ask).is_ok());
    for (index, why) in [(2, "drained"), (3, "down"), (4, "gone")] {
        let fault = balancer.select_bound(index, &ask).unwrap_err();
        assert_eq!(fault, BoundFault::Unusable, "{why}");
    }
    let tried = Ask { tried: &[1], ..ask };
    assert_eq!(
        balancer.select_bound(1, &tried).unwrap_err(),
        BoundFault::Unusable
    );
    balancer.checked(1, false, 1_000);
    assert_eq!(
        balancer.select_bound(1, &ask).unwrap_err(),
        BoundFault::Unusable
    );
    balancer.checked(1, true, 1_001);
    assert_eq!(balancer.select_bound(1, &ask).unwrap().index, 1);
}

/// When requests go to all because none is healthy, sessions need not move as well.
#[test]
fn sessions_stay_while_all_rest() {
    let balancer = pool_of(LEAST_CONN, ["a", "b"].map(EndpointSpec::new));
    balancer.report(0, Outcome::Failure, 1_000);
    let ask = Ask::at(1_001, 1);
    assert_eq!(
        balancer.select_bound(0, &ask).unwrap_err(),
        BoundFault::Unusable
    );
    balancer.report(1, Outcome::Failure, 1_001);
    assert_eq!(balancer.select_bound(0, &ask).unwrap().index, 0);
    assert_eq!(balancer.select_bound(1, &ask).unwrap().index, 1);
}

/// The bound request may be the one that tries a server after its rest.
#[test]
fn a_session_may_be_the_trial() {
    let balancer = pool_of(LEAST_CONN, ["a", "b"].map(EndpointSpec::new));
    balancer.report(0, Outcome::Failure, 1_000);
    let late = Ask::at(11_001, 1);
    let trial = balancer.select_bound(0, &late).unwrap();
    assert_eq!(
        balancer.select_bound(0, &late).unwrap_err(),
        BoundFault::Unusable
    );
    balancer.report(0, Outcome::Success, 11_002);
    drop(trial);
    assert!(balancer.select_bound(0, &Ask::at(11_003, 1)).is_ok());
}
