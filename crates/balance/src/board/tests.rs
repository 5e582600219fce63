//! The board against its definition: after any order of events of several threads, and as soon as
//! all are done, it says what the states say.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::*;
use crate::members::Members;
use crate::rules::PoolRules;
use crate::scheduler::{self, Stepped};
use crate::spec::EndpointSpec;
use crate::state::EndpointState;

/// Runs under the scheduler of every test.
const SEEDS: std::ops::Range<u64> = 0..500;

/// A count under the scheduler in place of a state.
struct Count(Stepped);

impl Count {
    fn new() -> Self {
        Count(Cell::new(0))
    }
}

impl Truth for Count {
    fn active(&self) -> u32 {
        u32::try_from(self.0.load()).unwrap()
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
    let endpoints = weights.iter().enumerate().map(endpoint).collect();
    Members::new(endpoints, &PoolRules::default())
}

const ALL: Keeps = Keeps {
    score: Some(Score::Active),
    full: true,
    total: true,
    scales: false,
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

/// Changes counts, up or down, and tells the board.
fn change(board: &Board<Stepped>, counts: &[Count], moves: &[(usize, bool)]) {
    for (slot, up) in moves {
        counts[*slot].0.fetch_add(if *up { 1 } else { u64::MAX });
        board.sync(*slot, &counts[*slot]);
    }
}

#[test]
fn the_board_is_exact_when_all_changes_are_done() {
    let weights = [1, 1, 2, 1];
    let threads: [&[(usize, bool)]; 3] = [
        &[(0, true), (0, false)],
        &[(0, true), (1, true), (0, false), (1, false)],
        &[(1, true), (0, true)],
    ];
    for seed in SEEDS {
        let mut board: Board<Stepped> = Board::new(&members(&weights, 2), ALL);
        // Two groups of two.
        board.group_shift = 1;
        board.minima = cells(2, CLOSED);
        board.open[0].store(0b1111);
        let counts = weights.map(|_| Count::new());
        for (slot, count) in counts.iter().enumerate() {
            board.sync(slot, count);
        }
        let (of, at) = (&board, &counts);
        let body = |moves| Box::new(move || change(of, at, moves)) as Box<dyn FnOnce() + Send>;
        scheduler::run(
            seed,
            2 << (seed % 3),
            threads.into_iter().map(body).collect(),
        );
        board.check_invariants(&counts);
    }
}

#[test]
fn a_change_of_the_tier_during_requests_is_not_lost() {
    for seed in SEEDS {
        let board: Board<Stepped> = Board::new(&members(&[1, 1], 0), ALL);
        let counts = [Count::new(), Count::new()];
        let tiers = || {
            for open in [0b11, 0b10, 0b01] {
                board.open[0].store(open);
                for (slot, count) in counts.iter().enumerate() {
                    board.sync(slot, count);
                }
            }
        };
        let requests = || change(&board, &counts, &[(0, true), (0, true), (0, false)]);
        scheduler::run(
            seed,
            2 << (seed % 3),
            vec![Box::new(tiers), Box::new(requests)],
        );
        board.check_invariants(&counts);
    }
}

#[test]
fn a_minimum_that_is_too_low_for_an_instant_is_put_right() {
    let members = members(&[1; 100], 0);
    let board: Board = Board::new(&members, ALL);
    board.open_exactly(&Bits::of(100, |_| true), &[], &members);
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
        board.open_exactly(&Bits::of(len, |slot| slot != closed), &[], &members);
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
