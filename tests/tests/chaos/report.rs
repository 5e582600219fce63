//! The tables at the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::account::{Path, Tally};
use super::judge::Verdict;
use super::load::websocket::Talks;

/// Stories that are told in full; more are counted.
const TOLD_MAX: usize = 40;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Sums {
    /// Requests that could not have been served, by the reason.
    pub excused: BTreeMap<&'static str, u64>,
    /// Requests and connections that were lost, with their stories.
    pub lost: Vec<String>,
    /// Wrong answers, second executions, malformed bytes.
    pub wrong: Vec<String>,
}

impl Sums {
    /// Takes a verdict; `who` begins its story.
    pub fn take(&mut self, who: &str, verdict: Verdict) {
        match verdict {
            Verdict::Excused(why) => *self.excused.entry(why).or_default() += 1,
            Verdict::Lost(story) => self.lost.push(format!("{who}: {story}")),
            Verdict::Wrong(story) => self.wrong.push(format!("{who}: {story}")),
        }
    }

    /// True when nothing was lost and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty()
    }
}

/// The tables as text.
pub fn text(tallies: &[Tally], talks: &Talks, sums: &Sums) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "| path | served | connections | repeated by the client | p50 ms | p90 | p99 | p99.9 | slowest | longest stall ms |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let mut all = Vec::new();
    for path in Path::ALL {
        let of: Vec<&Tally> = tallies.iter().filter(|tally| tally.path == path).collect();
        if !of.is_empty() {
            row(&mut out, path.name(), &of);
        }
        all.extend(of);
    }
    row(&mut out, "all", &all);
    let _ = writeln!(
        out,
        "\nWebSocket: {} opened, {} lasted to the end, {} messages echoed in order, slowest round {} ms, {} closed, {} refused",
        talks.opened,
        talks.lasted,
        talks.echoed,
        talks.slowest_us / 1_000,
        talks.closed.len(),
        talks.refused.len()
    );
    for (why, count) in &sums.excused {
        let _ = writeln!(out, "could not have been served: {count} ({why})");
    }
    for (what, stories) in [("LOST", &sums.lost), ("WRONG", &sums.wrong)] {
        let _ = writeln!(out, "{what}: {}", stories.len());
        for story in stories.iter().take(TOLD_MAX) {
            let _ = writeln!(out, "  {story}");
        }
    }
    out
}

fn row(out: &mut String, name: &str, tallies: &[&Tally]) {
    let mut times: Vec<u32> = tallies
        .iter()
        .flat_map(|tally| tally.latencies.iter().copied())
        .collect();
    times.sort_unstable();
    let at = |share: f64| {
        let last = times.len().saturating_sub(1);
        // Rounding down a share of a count.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a position in a list"
        )]
        let position = (last as f64 * share) as usize;
        f64::from(times.get(position).copied().unwrap_or(0)) / 1_000.0
    };
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).sum::<u64>();
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
        times.len(),
        sum(|tally| tally.connections),
        sum(|tally| tally.repeated),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        Tally::longest_stall(tallies).as_millis()
    );
}
