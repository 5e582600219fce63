//! A thousand WebSockets over a hundred reloads: none is closed, each message comes back in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::process::raise_descriptor_limit;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ca, TlsClient};

use crate::lineage::Lineage;
use crate::load::Field;
use crate::load::websocket::{self, Talks};
use crate::site::{Addresses, Fleet, config, put};

/// Threads, and connections of each.
const TALKERS: (usize, usize) = (10, 100);

const RELOADS: usize = 100;

#[test]
fn websockets_outlive_reloads() {
    let _alone = crate::alone();
    raise_descriptor_limit();
    let (folder, home) = (Scratch::new(), Scratch::new());
    let fleet = Fleet::start(&folder);
    let ca = Ca::new("an authority of tests");
    ca.leaf(&["localhost", "test.example"]).write(&home, "site");
    let at = Addresses::free();
    let lineage = Lineage::start_with(home, &config(&fleet, at, 0), |command| command);
    let field = Arc::new(Field {
        base: Instant::now(),
        stop: AtomicBool::new(false),
        opened: AtomicUsize::new(0),
        web: at.web,
        secure: at.secure,
        tls: TlsClient::new(&ca),
        pause: Duration::from_millis(20),
    });
    let talkers: Vec<_> = (0..TALKERS.0)
        .map(|number| {
            let field = Arc::clone(&field);
            std::thread::spawn(move || websocket::client(&field, TALKERS.1, number as u64, 1))
        })
        .collect();
    let all = TALKERS.0 * TALKERS.1;
    until_true("all are open", || {
        field.opened.load(Ordering::Relaxed) >= all
    });

    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    for turn in 1..=RELOADS {
        let asked = Instant::now();
        put(&lineage, &fleet, at, turn);
        until_true("the configuration is reloaded", || {
            lineage.log().matches("configuration reloaded").count() >= turn
        });
        slowest = slowest.max(asked.elapsed());
    }
    let time = begin.elapsed();
    field.stop.store(true, Ordering::Relaxed);
    let mut talks = Talks::default();
    for talker in talkers {
        talks.add(talker.join().expect("a client does not panic"));
    }
    println!(
        "{RELOADS} reloads in {time:.1?}, the slowest {slowest:.0?}; {} WebSockets opened, {} lasted, {} messages echoed",
        talks.opened, talks.lasted, talks.echoed
    );
    assert!(talks.closed.is_empty(), "{:#?}", talks.closed);
    assert!(talks.refused.is_empty(), "{:#?}", talks.refused);
    assert_eq!((talks.opened, talks.lasted), (all as u64, all as u64));
}
