//! The waiting queue against a plain list.

use keel_balance::{Leave, Priority, QueueSettings, Ticket, WaitQueue};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Move {
    Push { priority: u8, deadline: Option<u64> },
    Pop,
    Expire,
    Cancel(u8),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let push = (0u8..4, prop::option::of(0u64..60));
    let one = prop_oneof![
        6 => push.prop_map(|(priority, deadline)| Move::Push { priority, deadline }),
        3 => Just(Move::Pop),
        1 => Just(Move::Expire),
        1 => any::<u8>().prop_map(Move::Cancel),
        2 => (0u64..20).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..80)
}

/// One that waits, in order of arrival.
#[derive(Debug, Clone)]
struct One {
    item: u32,
    ticket: Ticket,
    priority: u8,
    deadline: u64,
}

#[derive(Default)]
struct Model(Vec<One>);

impl Model {
    fn take(&mut self, found: Option<One>) -> Option<One> {
        self.0
            .retain(|one| Some(one.item) != found.as_ref().map(|it| it.item));
        found
    }

    fn next(&mut self, now: u64) -> Option<One> {
        let alive = self.0.iter().filter(|one| one.deadline > now);
        let found = alive.min_by_key(|one| (one.priority, one.item)).cloned();
        self.take(found)
    }

    fn expired(&mut self, now: u64) -> Option<One> {
        let over = self.0.iter().filter(|one| one.deadline <= now);
        let found = over
            .min_by_key(|one| (one.deadline, one.priority, one.item))
            .cloned();
        self.take(found)
    }

    fn displaced(&mut self, priority: u8) -> Option<One> {
        let last = self
            .0
            .iter()
            .max_by_key(|one| (one.priority, one.item))
            .cloned();
        let found = last.filter(|one| one.priority > priority);
        self.take(found)
    }
}

fn run(len_max: usize, wait_max_ms: u64, moves: Vec<Move>) -> Result<(), TestCaseError> {
    let settings = QueueSettings {
        len_max,
        wait_max_ms,
    };
    let (mut queue, mut model) = (WaitQueue::new(settings), Model::default());
    let (mut now, mut item) = (1_000u64, 0u32);
    for one in moves {
        match one {
            Move::Push { priority, deadline } => {
                item += 1;
                let own = deadline.map(|in_ms| now + in_ms);
                let pushed = queue.push(item, Priority(priority), own, now);
                let deadline = own.unwrap_or(u64::MAX).min(now + wait_max_ms);
                let mut left = None;
                let mut taken = deadline > now && len_max > 0;
                if taken && model.0.len() >= len_max {
                    let expired = model.expired(now).map(|it| (it.item, Leave::Expired));
                    left = expired.or_else(|| {
                        model
                            .displaced(priority)
                            .map(|it| (it.item, Leave::Displaced))
                    });
                    taken = left.is_some();
                }
                prop_assert_eq!(pushed.is_ok(), taken);
                if let Ok((ticket, displaced)) = pushed {
                    prop_assert_eq!(displaced.map(|it| (it.item, it.why)), left);
                    model.0.push(One {
                        item,
                        ticket,
                        priority,
                        deadline,
                    });
                }
            }
            Move::Pop => {
                let (is, expected) = (queue.pop(now), model.next(now));
                prop_assert_eq!(is.map(|it| it.1), expected.map(|it| it.item));
            }
            Move::Expire => {
                let (is, expected) = (queue.expire(now), model.expired(now));
                prop_assert_eq!(is.map(|it| it.item), expected.map(|it| it.item));
            }
            Move::Cancel(at) => {
                if let Some(one) = model.0.get(usize::from(at) % model.0.len().max(1)).cloned() {
                    prop_assert_eq!(queue.cancel(one.ticket), Some(one.item));
                    prop_assert_eq!(queue.cancel(one.ticket), None);
                    model.take(Some(one));
                }
            }
            Move::Wait(ms) => now += ms,
        }
        prop_assert_eq!(queue.len(), model.0.len());
        prop_assert!(queue.len() <= len_max);
        let next = model.0.iter().map(|one| one.deadline).min();
        prop_assert_eq!(queue.next_deadline_ms(), next);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn is_the_plain_list(len_max in 0usize..8, wait_max_ms in 0u64..50, moves in moves()) {
        run(len_max, wait_max_ms, moves)?;
    }
}
