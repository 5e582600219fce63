//! The store against a model, in virtual time.

use std::thread;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn store(bytes_max: u64) -> Sessions {
    Sessions::new(
        SessionSettings {
            bytes_max,
            timeout: TIMEOUT,
        },
        at(0),
    )
}

fn id(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[7; 28]].concat()
}

/// What holds at any time, for each shard.
fn check(sessions: &Sessions) {
    for shard in &sessions.shards {
        let shard = lock(shard);
        let bytes: usize = shard
            .entries
            .iter()
            .map(|(id, entry)| cost(id, &entry.state))
            .sum();
        assert_eq!(shard.bytes, bytes);
        assert!(bytes <= sessions.shard_bytes_max);
        assert!(shard.order.len() <= 2 * shard.entries.len() + 16);
        for (id, entry) in &shard.entries {
            let places = shard
                .order
                .iter()
                .filter(|place| **place == (id.clone(), entry.number));
            assert_eq!(places.count(), 1);
        }
    }
}

#[test]
fn what_was_put_is_there_until_it_is_taken() {
    let sessions = store(BYTES_MAX);
    assert!(sessions.can_cache());
    assert!(sessions.put(id(1), b"one".to_vec()));
    assert_eq!(sessions.get(&id(1)).as_deref(), Some(&b"one"[..]));
    assert_eq!(sessions.get(&id(1)).as_deref(), Some(&b"one"[..]));
    assert!(sessions.put(id(1), b"another".to_vec()));
    assert_eq!(sessions.take(&id(1)).as_deref(), Some(&b"another"[..]));
    assert_eq!(sessions.take(&id(1)), None);
    assert_eq!(sessions.get(&id(2)), None);
    assert_eq!(sessions.usage(), (0, 0));
    check(&sessions);
}

#[test]
fn a_session_ends_at_its_age() {
    let sessions = store(BYTES_MAX);
    sessions.put(id(1), b"one".to_vec());
    sessions.refresh(at(599));
    assert!(sessions.get(&id(1)).is_some());
    sessions.refresh(at(600));
    assert_eq!(sessions.get(&id(1)), None);
    assert_eq!(sessions.take(&id(1)), None);
    // One that nobody asks for is forgotten too, after a round over the shards.
    sessions.put(id(2), b"two".to_vec());
    for _ in 0..SHARDS {
        sessions.refresh(at(1200));
    }
    assert_eq!(sessions.usage(), (0, 0));
}

#[test]
fn the_oldest_go_first_and_memory_is_bounded() {
    let bytes_max = 1 << 20;
    let sessions = store(bytes_max);
    for number in 0..100_000 {
        assert!(sessions.put(id(number), vec![0; 100]));
    }
    check(&sessions);
    let (count, bytes) = sessions.usage();
    assert!(
        bytes as u64 <= bytes_max && bytes as u64 > bytes_max * 9 / 10,
        "{bytes}"
    );
    let recent = (100_000 - count as u32 / 2..100_000).filter(|&n| sessions.get(&id(n)).is_some());
    assert_eq!(recent.count(), count / 2);
    assert_eq!(sessions.get(&id(0)), None);
    // One that is larger than a shard displaces nothing.
    assert!(!sessions.put(id(0), vec![0; 1 << 16]));
    assert!(!sessions.put(vec![0; ID_MAX + 1], Vec::new()));
    assert_eq!(sessions.usage(), (count, bytes));
}

#[test]
fn ids_put_again_and_again_do_not_grow_the_queue() {
    let sessions = store(BYTES_MAX);
    for turn in 0..10_000 {
        sessions.put(id(turn % 3), vec![0; 10]);
        sessions.put(id(9), vec![0; 10]);
        sessions.take(&id(9));
    }
    check(&sessions);
    assert_eq!(sessions.usage().0, 3);
}

#[test]
fn nothing_is_kept_without_room_or_time() {
    assert!(!store(0).can_cache());
    assert!(!store(0).put(id(1), Vec::new()));
    let timeout = Duration::ZERO;
    let sessions = Sessions::new(
        SessionSettings {
            bytes_max: BYTES_MAX,
            timeout,
        },
        at(0),
    );
    assert!(!sessions.can_cache());
    sessions.put(id(1), Vec::new());
    assert_eq!(sessions.get(&id(1)), None);
}

#[test]
fn each_is_taken_once_however_many_ask() {
    let sessions = store(BYTES_MAX);
    for number in 0..500 {
        sessions.put(id(number), vec![1]);
    }
    let taken: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..500).filter_map(|n| sessions.take(&id(n))).count()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(taken, 500);
    check(&sessions);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_never_says_what_was_not_put_last(
        steps in proptest::collection::vec((0u8..4, 0u32..30, 0usize..400), 1..300),
    ) {
        let sessions = store(64 * 1024);
        let (mut model, mut now) = (HashMap::new(), 0);
        for (number, (step, key, size)) in steps.into_iter().enumerate() {
            let state = vec![number as u8; size];
            match step {
                0 => {
                    model.remove(&key);
                    if sessions.put(id(key), state.clone()) {
                        model.insert(key, (state, now));
                    }
                }
                1 => {
                    let found = sessions.take(&id(key));
                    let known = model.remove(&key);
                    prop_assert!(found.is_none() || known.is_some_and(|(s, made)| Some(s) == found && now - made < 600));
                }
                2 => {
                    let found = sessions.get(&id(key));
                    prop_assert!(found.is_none() || model.get(&key).is_some_and(|(s, made)| Some(s) == found.as_ref() && now - made < 600));
                }
                _ => {
                    now += size as u64;
                    sessions.refresh(at(now));
                }
            }
            check(&sessions);
        }
    }
}
