//! In virtual time.

use super::*;

const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

fn host(name: &str) -> Question {
    Question::Host(name.to_owned())
}

fn answer(ips: &[&str], ttl_s: u64) -> Answer {
    let v4 = ips.iter().map(|ip| ip.parse().expect("an address"));
    Answer::Host(HostAnswer {
        v4: Some(v4.collect()),
        v6: Some(Vec::new()),
        ttl: Duration::from_secs(ttl_s),
    })
}

fn unknown() -> ResolveFault {
    ResolveFault::Unknown("a".to_owned())
}

fn table(now_ms: u64) -> Table {
    let mut table = Table::default();
    table.want([host("a")], now_ms);
    table
}

/// Asks what is due, which must be `a`, and gives it this answer.
fn hear(table: &mut Table, outcome: Result<Answer, ResolveFault>, now_ms: u64) -> Heard {
    assert_eq!(table.take_due(now_ms, 9), [host("a")], "due at {now_ms}");
    assert_eq!(table.take_due(now_ms, 9), [], "it is out already");
    table.heard(&host("a"), outcome, BOUNDS, now_ms)
}

#[test]
fn the_ttl_within_its_bounds_says_when() {
    for (ttl_s, due_ms) in [
        (0, 1000),
        (1, 1000),
        (7, 7000),
        (60, 60_000),
        (86_400, 60_000),
    ] {
        let mut table = table(500);
        assert_eq!(table.next_due_ms(), Some(500));
        let heard = hear(&mut table, Ok(answer(&["10.0.0.1"], ttl_s)), 500);
        assert_eq!(heard, Heard::Changed);
        assert_eq!(table.next_due_ms(), Some(500 + due_ms));
        assert_eq!(table.take_due(500 + due_ms - 1, 9), []);
        let heard = hear(&mut table, Ok(answer(&["10.0.0.1"], ttl_s)), 500 + due_ms);
        assert_eq!(heard, Heard::Same);
    }
}

#[test]
fn failures_back_off_and_keep_the_last_good_answer() {
    let mut table = table(0);
    hear(&mut table, Ok(answer(&["10.0.0.1"], 1)), 0);
    let mut now_ms = 1000;
    assert_eq!(
        hear(&mut table, Err(unknown()), now_ms),
        Heard::Fails(unknown())
    );
    let mut waits = Vec::new();
    for _ in 0..7 {
        let due_ms = table.next_due_ms().expect("it is asked again");
        waits.push(due_ms - now_ms);
        now_ms = due_ms;
        assert_eq!(hear(&mut table, Err(unknown()), now_ms), Heard::StillFails);
    }
    assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert_eq!(table.answer(&host("a")), Some(&answer(&["10.0.0.1"], 1)));
    assert_eq!(table.failing(), 1);
    now_ms = table.next_due_ms().expect("it is asked again");
    assert_eq!(
        hear(&mut table, Ok(answer(&["10.0.0.1"], 5)), now_ms),
        Heard::Same
    );
    assert_eq!(table.failing(), 0);
    now_ms += 5000;
    assert_eq!(
        hear(&mut table, Err(unknown()), now_ms),
        Heard::Fails(unknown())
    );
}

#[test]
fn names_that_stay_keep_what_is_known_and_others_are_forgotten() {
    let mut table = table(0);
    assert!(!table.all_asked());
    hear(&mut table, Ok(answer(&["10.0.0.1"], 9)), 0);
    assert!(table.all_asked());
    table.want([host("a"), host("b"), host("b")], 10);
    assert_eq!(table.len(), 2);
    assert!(table.answer(&host("a")).is_some() && !table.all_asked());
    assert_eq!(table.take_due(10, 9), [host("b")]);
    table.want([host("a")], 20);
    let late = table.heard(&host("b"), Ok(answer(&["10.0.0.2"], 9)), BOUNDS, 30);
    assert_eq!(late, Heard::Unasked);
    assert!(table.all_asked());
    table.ask_all_anew(40);
    assert_eq!(table.take_due(40, 9), [host("a")]);
}

#[test]
fn no_more_are_asked_than_there_is_room_for_the_longest_due_first() {
    let mut table = Table::default();
    table.want(["a", "b", "c"].map(host), 0);
    for name in table.take_due(0, 3) {
        let ttl_s = if name == host("b") { 1 } else { 2 };
        table.heard(&name, Ok(answer(&["10.0.0.1"], ttl_s)), BOUNDS, 0);
    }
    assert_eq!(table.take_due(9000, 2), [host("b"), host("a")]);
    assert_eq!(table.take_due(9000, 2), [host("c")]);
}

#[test]
fn half_an_answer_keeps_the_other_half_of_the_one_before() {
    let mut table = table(0);
    let both = HostAnswer {
        v4: Some(vec!["10.0.0.1".parse().expect("an address")]),
        v6: Some(vec!["::1".parse().expect("an address")]),
        ttl: Duration::from_secs(1),
    };
    hear(&mut table, Ok(Answer::Host(both.clone())), 0);
    let half = HostAnswer {
        v6: None,
        ..both.clone()
    };
    assert_eq!(hear(&mut table, Ok(Answer::Host(half)), 1000), Heard::Same);
    let none = HostAnswer {
        v6: Some(Vec::new()),
        ..both
    };
    assert_eq!(
        hear(&mut table, Ok(Answer::Host(none)), 2000),
        Heard::Changed
    );
}
