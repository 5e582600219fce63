//! The board against its definition: after any order of events of several threads, and as soon as
//! all are done, it says what the states say. A scheduler with chosen preemptions runs the threads;
//! it is sequentially consistent, as the board's accesses are.

use std::sync::Arc;

use proptest::prelude::*;
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::*;
use crate::members::Members;
use crate::spec::EndpointSpec;
use crate::state::EndpointState;

/// A count under the test scheduler in place of a state.
#[derive(Default)]
struct Count(AtomicU64);

impl Truth for Count {
    fn active(&self) -> u32 {
        u32::try_from(self.0.load(SeqCst)).unwrap()
    }

    fn average_us(&self) -> u32 {
        0
    }
}

fn members(weights: &[u32], max_connections: u32) -> Members {
    let endpoint = |(index, weight): (usize, &u32)| {
        let spec = EndpointSpec {
            max_connections,
            ..EndpointSpec::new(index.to_string())
        };
        (spec.weight(*weight), Arc::new(EndpointState::new()))
    };
    Members::new(weights.iter().enumerate().map(endpoint).collect())
}

const ALL: Keeps = Keeps {
    score: Some(Score::Active),
    full: true,
    total: true,
};

impl<C: Cell> Board<C> {
    /// Every cell says what the states say.
    fn check_invariants<T: Truth>(&self, states: &[T]) {
        let mut total = 0;
        for (slot, state) in states.iter().enumerate() {
            let reading = self.read(slot, state);
            assert_eq!(self.key(slot), reading.key, "key of {slot}");
            assert_eq!(
                self.full_word(slot / 64) >> (slot % 64) & 1 != 0,
                reading.full
            );
            total += reading.active;
        }
        assert_eq!(self.total(), total, "total");
        for (group, minimum) in self.minima.iter().enumerate() {
            assert_eq!(
                minimum.load(),
                self.least_in(group, &[]).key,
                "minimum of {group}"
            );
        }
    }
}

/// Three threads change the counts of the same two endpoints, in groups of two.
fn shared_counts() {
    let weights = [1, 1, 2, 1];
    let mut board: Board<AtomicU64> = Board::new(&members(&weights, 2), ALL);
    board.group_shift = 1;
    board.minima = cells(2, CLOSED);
    let states: Vec<Count> = weights.iter().map(|_| Count::default()).collect();
    let world = Arc::new((board, states));
    let (board, states) = &*world;
    for word in &board.open {
        word.store(0b1111, SeqCst);
    }
    for (slot, state) in states.iter().enumerate() {
        board.sync(slot, state);
    }
    let change = |moves: &'static [(usize, bool)]| {
        let world = Arc::clone(&world);
        shuttle::thread::spawn(move || {
            let (board, states) = &*world;
            for (slot, up) in moves {
                let by = if *up { 1 } else { u64::MAX };
                states[*slot].0.fetch_add(by, SeqCst);
                board.sync(*slot, &states[*slot]);
            }
        })
    };
    let threads = [
        change(&[(0, true), (0, false)]),
        change(&[(0, true), (1, true), (0, false), (1, false)]),
        change(&[(1, true), (0, true)]),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
    board.check_invariants(states);
}

#[test]
fn the_board_is_exact_when_all_changes_are_done() {
    shuttle::check_pct(shared_counts, 400, 3);
    shuttle::check_pct(shared_counts, 400, 5);
    shuttle::check_random(shared_counts, 400);
}

#[test]
fn a_change_of_the_tier_during_requests_is_not_lost() {
    let run = || {
        let weights = [1, 1];
        let board: Board<AtomicU64> = Board::new(&members(&weights, 0), ALL);
        let world = Arc::new((board, [Count::default(), Count::default()]));
        let requests = Arc::clone(&world);
        let thread = shuttle::thread::spawn(move || {
            let (board, states) = &*requests;
            for by in [1, 1, u64::MAX] {
                states[0].0.fetch_add(by, SeqCst);
                board.sync(0, &states[0]);
            }
        });
        let (board, states) = &*world;
        for open in [0b11, 0b10, 0b01] {
            board.open[0].store(open, SeqCst);
            for (slot, state) in states.iter().enumerate() {
                board.sync(slot, state);
            }
        }
        thread.join().unwrap();
        board.check_invariants(states);
    };
    shuttle::check_pct(run, 400, 3);
}

#[test]
fn a_minimum_that_is_too_low_for_an_instant_is_put_right() {
    let members = members(&[1; 100], 0);
    let board: Board = Board::new(&members, ALL);
    board.open_exactly(&Bits::of(100, |_| true), &members);
    let mut permits = Vec::new();
    for (slot, member) in members
        .list()
        .iter()
        .enumerate()
        .filter(|(slot, _)| *slot != 99)
    {
        permits.extend(member.state.acquire(0));
        board.sync(slot, &*member.state);
    }
    board.minima[1].store(0, SeqCst);
    assert_eq!(board.least(&[]), Some((99, 0, 1)));
    let key = board.minima[1].load(SeqCst);
    assert_eq!(key, board.least_in(1, &[]).key);
}

#[test]
fn keys_keep_the_order_of_loads_per_weight_exactly() {
    let key = |active, weight| Score::Active.key(active, 0, weight);
    assert_eq!(key(3, 3), key(65_535, 65_535));
    assert_eq!(key(2, 4), key(1, 2));
    assert!(key(65_533, 65_534) < key(65_534, 65_535));
    assert!(key(u32::MAX, 1) < CLOSED);
}

#[test]
fn products_are_those_of_the_two_formulas() {
    let scores = |formula| [(50, 5), (30, 10), (40, 6)].map(|(us, n)| time_score(formula, n, us));
    assert_eq!(scores(TimeFormula::Active), [250, 300, 240]);
    assert_eq!(scores(TimeFormula::ActivePlusOne), [300, 330, 280]);
    let longest = Score::Time(TimeFormula::ActivePlusOne).key(u32::MAX, u32::MAX, 1);
    assert!(
        longest < CLOSED,
        "the worst server that is open is not a closed one"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any sequence of changes to pools of any number of groups.
    #[test]
    fn the_least_is_found_in_pools_of_any_size(
        weights in prop::collection::vec(1u32..5, 1..200),
        moves in prop::collection::vec((any::<prop::sample::Index>(), 0u32..4), 1..60),
        closed in any::<prop::sample::Index>(),
        tried in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let len = weights.len();
        let members = members(&weights, 6);
        let board: Board = Board::new(&members, ALL);
        let closed = closed.index(len);
        board.open_exactly(&Bits::of(len, |slot| slot != closed), &members);
        let mut permits = Vec::new();
        for (at, count) in moves {
            let slot = at.index(len);
            let state = &members.member(slot).state;
            permits.extend((0..count).filter_map(|_| state.acquire(6)));
            board.sync(slot, &**state);
        }
        let states: Vec<&EndpointState> =
            members.list().iter().map(|member| &*member.state).collect();
        board.check_invariants(&states);

        let tried: Vec<usize> = tried.iter().map(|at| at.index(len)).collect();
        let open = |slot: &usize| {
            *slot != closed && !tried.contains(slot) && states[*slot].active() < 6
        };
        let better = |a: &usize, b: &usize| {
            let (wa, wb) = (u64::from(weights[*a]), u64::from(weights[*b]));
            (u64::from(states[*a].active()) * wb).cmp(&(u64::from(states[*b].active()) * wa))
        };
        let expected = (0..len).filter(open).min_by(better);
        let found = board.least(&tried);
        prop_assert_eq!(found.map(|(slot, _, _)| slot), expected);
        if let Some((slot, key, count)) = found {
            let ties = (0..len).filter(open).filter(|other| better(&slot, other).is_eq());
            let ties: Vec<usize> = ties.collect();
            prop_assert_eq!(count > 1, ties.len() > 1);
            for start in 0..len {
                let next = ties.iter().find(|tie| **tie >= start).or(ties.first());
                prop_assert_eq!(board.first_with(key, start, &tried), next.copied());
            }
        }
    }
}

impl Truth for &EndpointState {
    fn active(&self) -> u32 {
        EndpointState::active(self)
    }

    fn average_us(&self) -> u32 {
        self.response_time_us()
    }
}
