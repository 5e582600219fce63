//! Instructions per operation under callgrind, and their comparison with the checked-in baseline.
//!
//! An operation runs twice with different counts; the difference of instructions over the difference of counts is its
//! cost, free of start and set-up. The counts are the same on every run of the same binary, unlike times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::process::check_interrupt;
use crate::profile;
use crate::table::Table;

/// The two counts.
const COUNTS: [u64; 2] = [1_000, 5_000];

/// Instructions per operation by name.
pub type Counts = BTreeMap<String, f64>;

/// The checked-in file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// A cost may grow by so many per cent before the comparison fails.
    pub tolerance_percent: f64,
    /// Instructions per operation.
    pub instructions: Counts,
}

impl Baseline {
    /// From a file; `None` when there is no such file.
    pub fn read(file: &Path) -> Result<Option<Baseline>> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let baseline = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a baseline", file.display()))?;
        Ok(Some(baseline))
    }
}

/// How an operation compares with the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Grew by more than the tolerance.
    Worse,
    /// Shrank by more than the tolerance: the baseline should be renewed, so that the gain is kept.
    Better,
    /// The baseline does not know it.
    New,
    /// The baseline knows it, and it is no more.
    Gone,
}

/// One line of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Operation.
    pub name: String,
    /// Instructions now.
    pub now: Option<f64>,
    /// Instructions in the baseline.
    pub before: Option<f64>,
    /// What to think of it.
    pub verdict: Verdict,
}

/// Counts the instructions of one operation of this program.
pub fn count(operation: &str, scratch: &Path) -> Result<f64> {
    let [few, many] = COUNTS;
    let difference = total(operation, many, scratch)? - total(operation, few, scratch)?;
    Ok(difference as f64 / (many - few) as f64)
}

/// To a tenth: more digits tell nothing.
pub fn rounded(count: f64) -> f64 {
    (count * 10.0).round() / 10.0
}

fn total(operation: &str, count: u64, scratch: &Path) -> Result<i64> {
    check_interrupt()?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let out = scratch.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["op", operation, &count.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind; is it installed?")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{operation} failed under valgrind: {words}"
    );
    let text = fs::read_to_string(&out).context("callgrind wrote no file")?;
    profile::total(&text).context("callgrind's file has no total")
}

/// Compares counts with a baseline; without one everything is new.
pub fn compare(now: &Counts, baseline: Option<&Baseline>) -> Vec<Line> {
    let empty = Counts::new();
    let before = baseline.map_or(&empty, |baseline| &baseline.instructions);
    let tolerance = baseline.map_or(0.0, |baseline| baseline.tolerance_percent / 100.0);
    let known = now.iter().map(|(name, count)| {
        let before = before.get(name).copied();
        let verdict = before.map_or(Verdict::New, |before| judge(*count, before, tolerance));
        Line {
            name: name.clone(),
            now: Some(*count),
            before,
            verdict,
        }
    });
    let gone = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let gone = gone.map(|(name, count)| Line {
        name: name.clone(),
        now: None,
        before: Some(*count),
        verdict: Verdict::Gone,
    });
    known.chain(gone).collect()
}

fn judge(now: f64, before: f64, tolerance: f64) -> Verdict {
    if now > before * (1.0 + tolerance) {
        Verdict::Worse
    } else if now < before * (1.0 - tolerance) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// True when the comparison must fail.
pub fn is_failure(lines: &[Line]) -> bool {
    lines
        .iter()
        .any(|line| matches!(line.verdict, Verdict::Worse | Verdict::Gone))
}

/// The comparison as text.
pub fn render(lines: &[Line]) -> String {
    let mut table = Table::new(["operation", "instructions", "baseline", "change", ""]);
    let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.1}"));
    for line in lines {
        let change = match (line.now, line.before) {
            (Some(now), Some(before)) if before > 0.0 => {
                format!("{:+.1} %", (now / before - 1.0) * 100.0)
            }
            _ => "-".into(),
        };
        let verdict = match line.verdict {
            Verdict::Same => "",
            Verdict::Worse => "WORSE",
            Verdict::Better => "better: renew the baseline",
            Verdict::New => "new",
            Verdict::Gone => "GONE",
        };
        let cells = [
            line.name.clone(),
            number(line.now),
            number(line.before),
            change,
        ];
        table.row(cells.into_iter().chain([verdict.to_string()]));
    }
    table.render()
}

/// Where the baseline is, from the root of the workspace.
pub fn baseline_file() -> PathBuf {
    PathBuf::from("dev/bench/instructions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_over_the_tolerance_and_vanishing_fail() {
        let counts = |list: &[(&str, f64)]| {
            list.iter()
                .map(|(name, n)| (name.to_string(), *n))
                .collect::<Counts>()
        };
        let instructions = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0)]);
        let baseline = Baseline {
            tolerance_percent: 10.0,
            instructions,
        };
        let now = counts(&[("a", 110.0), ("b", 111.0), ("c", 80.0), ("e", 5.0)]);
        let lines = compare(&now, Some(&baseline));
        let verdict = |name| {
            lines
                .iter()
                .find(|line| line.name == name)
                .map(|line| line.verdict)
        };
        assert_eq!(verdict("a"), Some(Verdict::Same));
        assert_eq!(verdict("b"), Some(Verdict::Worse));
        assert_eq!(verdict("c"), Some(Verdict::Better));
        assert_eq!(verdict("d"), Some(Verdict::Gone));
        assert_eq!(verdict("e"), Some(Verdict::New));
        assert!(is_failure(&lines));
        assert!(!is_failure(&compare(&now, None)));
        assert!(render(&lines).contains("WORSE"));
    }
}
