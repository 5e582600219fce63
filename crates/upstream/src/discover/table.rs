//! When each name is asked, and what is known of it. Pure: time is an argument, in milliseconds.

use std::collections::HashMap;
use std::time::Duration;

use super::Known;
use crate::resolve::{HostAnswer, ResolveFault, ServiceAnswer};

/// From the first failure to the next question; doubles from one to the next.
const RETRY_FIRST_MS: u64 = 1000;
/// The longest time between two questions while they fail.
const RETRY_MAX_MS: u64 = 30_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Question {
    /// The addresses of a host.
    Host(String),
    /// The records of a service.
    Service(String),
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Question::Host(name) | Question::Service(name) => f.write_str(name),
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// To a [`Question::Host`].
    Host(HostAnswer),
    /// To a [`Question::Service`].
    Service(ServiceAnswer),
}

impl Answer {
    fn ttl(&self) -> Duration {
        match self {
            Answer::Host(answer) => answer.ttl,
            Answer::Service(answer) => answer.ttl,
        }
    }

    fn keep_of(&mut self, before: &Answer) {
        match (self, before) {
            (Answer::Host(now), Answer::Host(before)) => now.keep_of(before),
            (Answer::Service(now), Answer::Service(before)) => now.keep_of(before),
            _ => {}
        }
    }

    /// Whether both say the same; how long they say it for does not count.
    fn says_as(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Host(a), Answer::Host(b)) => a.addresses().eq(b.addresses()),
            (Answer::Service(a), Answer::Service(b)) => a.records == b.records,
            _ => false,
        }
    }
}

/// What an answer meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Same,
    /// Something new.
    Changed,
    /// It fails from now on.
    Fails(ResolveFault),
    /// It still fails.
    StillFails,
    /// Nobody wants to know any more.
    Unasked,
}

/// All names that are kept.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Question, Entry>,
    /// What another process knew and nobody has wanted yet.
    known: HashMap<Question, Answer>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The last good answer.
    answer: Option<Answer>,
    /// When it is asked next.
    due_ms: u64,
    /// Whether a question is out.
    asking: bool,
    /// Whether a question has come back.
    asked: bool,
    /// Failures since the last good answer.
    failures: u32,
}

impl Table {
    /// A table that begins with what another process knew.
    pub(super) fn new(known: Vec<Known>) -> Table {
        Table {
            entries: HashMap::new(),
            known: known.into_iter().map(from_known).collect(),
        }
    }

    /// Keeps these names and no others. New ones are due at once.
    pub(super) fn want(&mut self, questions: impl IntoIterator<Item = Question>, now_ms: u64) {
        let mut before = std::mem::take(&mut self.entries);
        for question in questions {
            let entry = before.remove(&question).unwrap_or_else(|| {
                let answer = self.known.remove(&question);
                Entry {
                    due_ms: now_ms,
                    asked: answer.is_some(),
                    answer,
                    ..Entry::default()
                }
            });
            self.entries.entry(question).or_insert(entry);
        }
    }

    /// All last good answers.
    pub(super) fn known(&self) -> Vec<Known> {
        let all = self.entries.iter();
        all.filter_map(
            |(question, entry)| match (question, entry.answer.as_ref()?) {
                (Question::Host(name), Answer::Host(answer)) => {
                    Some(Known::Host(name.clone(), answer.addresses().collect()))
                }
                (Question::Service(name), Answer::Service(answer)) => {
                    Some(Known::Service(name.clone(), answer.records.clone()))
                }
                _ => None,
            },
        )
        .collect()
    }

    /// All are due: another name server may say something else.
    pub(super) fn ask_all_anew(&mut self, now_ms: u64) {
        for entry in self.entries.values_mut() {
            entry.due_ms = entry.due_ms.min(now_ms);
        }
    }

    /// What is to be asked now, the longest due first, this many at most.
    pub(super) fn take_due(&mut self, now_ms: u64, at_most: usize) -> Vec<Question> {
        let waiting = self.entries.iter().filter(|(_, entry)| !entry.asking);
        let mut due: Vec<(u64, Question)> = waiting
            .filter(|(_, entry)| entry.due_ms <= now_ms)
            .map(|(question, entry)| (entry.due_ms, question.clone()))
            .collect();
        due.sort_unstable();
        due.truncate(at_most);
        for (_, question) in &due {
            if let Some(entry) = self.entries.get_mut(question) {
                entry.asking = true;
            }
        }
        due.into_iter().map(|(_, question)| question).collect()
    }

    /// When the next name is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let waiting = self.entries.values().filter(|entry| !entry.asking);
        waiting.map(|entry| entry.due_ms).min()
    }

    /// Takes what came back of a question that [`Table::take_due`] gave. The last good answer stays
    /// when this one is none.
    pub(super) fn heard(
        &mut self,
        question: &Question,
        outcome: Result<Answer, ResolveFault>,
        bounds: (Duration, Duration),
        now_ms: u64,
    ) -> Heard {
        let Some(entry) = self.entries.get_mut(question) else {
            return Heard::Unasked;
        };
        entry.asking = false;
        entry.asked = true;
        match outcome {
            Ok(mut answer) => {
                entry.failures = 0;
                let used = answer.ttl().min(bounds.1).max(bounds.0);
                let used_ms = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
                entry.due_ms = now_ms.saturating_add(used_ms);
                if let Some(before) = &entry.answer {
                    answer.keep_of(before);
                }
                let same = (entry.answer.as_ref()).is_some_and(|before| before.says_as(&answer));
                entry.answer = Some(answer);
                if same { Heard::Same } else { Heard::Changed }
            }
            Err(fault) => {
                let doubled = RETRY_FIRST_MS << entry.failures.min(10);
                entry.due_ms = now_ms.saturating_add(doubled.min(RETRY_MAX_MS));
                entry.failures = entry.failures.saturating_add(1);
                match entry.failures {
                    1 => Heard::Fails(fault),
                    _ => Heard::StillFails,
                }
            }
        }
    }

    /// The last good answer.
    pub(super) fn answer(&self, question: &Question) -> Option<&Answer> {
        self.entries.get(question)?.answer.as_ref()
    }

    /// Whether every name has been asked once.
    pub(super) fn all_asked(&self) -> bool {
        self.entries.values().all(|entry| entry.asked)
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of names whose last question failed.
    pub(super) fn failing(&self) -> usize {
        let all = self.entries.values();
        all.filter(|entry| entry.failures > 0).count()
    }
}

fn from_known(known: Known) -> (Question, Answer) {
    let ttl = Duration::ZERO;
    match known {
        Known::Host(name, addresses) => {
            let (mut v4, mut v6): (Vec<_>, Vec<_>) =
                addresses.into_iter().partition(|ip| ip.is_ipv4());
            v4.sort_unstable();
            v6.sort_unstable();
            let (v4, v6) = (Some(v4), Some(v6));
            (
                Question::Host(name),
                Answer::Host(HostAnswer { v4, v6, ttl }),
            )
        }
        Known::Service(name, mut records) => {
            records.sort_unstable();
            let answer = ServiceAnswer { records, ttl };
            (Question::Service(name), Answer::Service(answer))
        }
    }
}

#[cfg(test)]
mod tests;
