//! Both ends with each other, over a line that is cut and delayed at random, in worlds that a seed makes.
//!
//! A task runs only when it was woken, when its own timer is due, or at its start; the owner of a socket only when it
//! was woken or can move bytes. So what nobody is woken for stands still, and is found.

mod plan;
mod run;
mod task;
mod watch;

use proptest::prelude::*;

use plan::{Turn, world};
use run::Universe;

/// `PROPTEST_CASES` says how many worlds.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::with_cases(cases.unwrap_or(64))
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn messages_arrive_whole(world in world(prop_oneof![Just(Turn::None), Just(Turn::Ping)])) {
        Universe::run(world);
    }

    #[test]
    fn whatever_happens(world in world(prop_oneof![
        Just(Turn::ServerDrains), Just(Turn::ClientDrains), Just(Turn::Lost), Just(Turn::ServerEnds)
    ])) {
        Universe::run(world);
    }
}
