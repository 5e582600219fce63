//! Changes of health in words, for the log and the status.

use keel_balance::{Suspicion, Transition};

/// What happened to a server, and why.
pub(crate) fn change(change: Transition) -> String {
    match change {
        Transition::Rested => "too many failures".to_owned(),
        Transition::Ejected(why) => suspicion(why),
        Transition::Recovered => "it answers again".to_owned(),
        Transition::Down => "its checks fail".to_owned(),
        Transition::Up => "its checks pass".to_owned(),
    }
}

fn suspicion(why: Suspicion) -> String {
    match why {
        Suspicion::Consecutive(count) => format!("{count} failures in a row"),
        Suspicion::ErrorRate(counts) => {
            format!("{} of {} requests failed", counts.bad, counts.total)
        }
        Suspicion::SuccessRate(counts) => format!(
            "{} of {} requests failed, far more than at the others",
            counts.bad, counts.total
        ),
        Suspicion::Trial => "the request that tried it again failed".to_owned(),
    }
}
