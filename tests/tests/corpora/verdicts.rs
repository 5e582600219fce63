//! Where our verdict differs from a suite's, and why: `data/corpora.txt`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::case::{Case, Expected, Verdict};

/// Our own verdict for one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ours {
    /// Replaces the suite's verdict.
    Verdict(Verdict),
    /// An answer of a backend that the strict reader takes as broken and we pass on mended, or the other way round.
    Either,
}

/// The list, and which of its lines were used.
pub struct Verdicts {
    suite: String,
    lines: BTreeMap<String, Ours>,
    used: Mutex<Vec<String>>,
}

impl Verdicts {
    /// The lines for the cases whose id begins with `suite`.
    pub fn load(suite: &str) -> Verdicts {
        let text = include_str!("../../data/corpora.txt");
        let rows = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let lines = rows.filter_map(|row| {
            let cells: Vec<&str> = row.splitn(3, '|').map(str::trim).collect();
            let [id, verdict, reason] = cells.as_slice() else {
                panic!("data/corpora.txt: not `case | verdict | reason`: {row}");
            };
            assert!(!reason.is_empty(), "data/corpora.txt: no reason: {row}");
            id.starts_with(suite)
                .then(|| ((*id).to_owned(), parse(verdict)))
        });
        Verdicts {
            suite: suite.to_owned(),
            lines: lines.collect(),
            used: Mutex::default(),
        }
    }

    /// The case with our verdict, where there is one.
    pub fn apply(&self, case: Case) -> Case {
        match self.of(&case.id) {
            Some(Ours::Verdict(verdict)) => Case {
                verdict: verdict.clone(),
                ..case
            },
            _ => case,
        }
    }

    /// Our verdict for a case, if it is listed.
    pub fn of(&self, id: &str) -> Option<&Ours> {
        let (id, ours) = self.lines.get_key_value(id)?;
        self.used
            .lock()
            .expect("nothing panics with the lock")
            .push(id.clone());
        Some(ours)
    }

    /// Lines that no case asked for: the list is stale.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.lock().expect("nothing panics with the lock");
        let unused = self.lines.keys().filter(|id| !used.contains(id));
        unused
            .map(|id| format!("data/corpora.txt: {} has no case {id}", self.suite))
            .collect()
    }
}

/// `any`, `accept`, `refuse`, `refuse N`, `either`, or what may come: `400 5xx close timeout`
fn parse(text: &str) -> Ours {
    match text {
        "any" => return Ours::Verdict(Verdict::None),
        "accept" => return Ours::Verdict(Verdict::Accept),
        "refuse" => return Ours::Verdict(Verdict::Refuse(0)),
        "either" => return Ours::Either,
        _ => {}
    }
    if let Some(count) = text.strip_prefix("refuse ") {
        return Ours::Verdict(Verdict::Refuse(
            count.parse().expect("refuse takes a number"),
        ));
    }
    let mut expected = Expected::default();
    for word in text.split_whitespace() {
        match word {
            "close" => expected.close = true,
            "timeout" => expected.timeout = true,
            _ => expected
                .statuses
                .push(statuses(word).expect("a status, or a class as 4xx")),
        }
    }
    Ours::Verdict(Verdict::Expect(expected))
}

/// `404` or `4xx` as a range.
pub fn statuses(word: &str) -> Option<(u16, u16)> {
    if let Some(class) = word.strip_suffix("xx") {
        let class: u16 = class.parse().ok()?;
        return Some((class * 100, class * 100 + 99));
    }
    let status = word.parse().ok().filter(|_| word.len() == 3)?;
    Some((status, status))
}
