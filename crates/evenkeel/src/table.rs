//! The table of `status`.

use std::fmt::Write as _;

use serde_json::Value;

/// Longest reason that is shown.
const WHY_CHARS_MAX: usize = 60;

/// What `GET /pools` told, for people.
pub fn status(status: &Value) -> String {
    let mut out = String::new();
    if let Some(process) = status.get("process") {
        head(&mut out, process);
    }
    let pools = status.get("pools").and_then(Value::as_object);
    for (name, pool) in pools.into_iter().flatten() {
        let _ = writeln!(out, "\npool {name}: {}", summary(pool));
        let servers = pool.get("servers").and_then(Value::as_array);
        let rows: Vec<Vec<String>> = servers.into_iter().flatten().map(row).collect();
        table(&mut out, &rows);
    }
    out
}

fn head(out: &mut String, process: &Value) {
    let number = |name: &str| process.get(name).and_then(Value::as_u64).unwrap_or(0);
    let version = process
        .get("version")
        .and_then(Value::as_str)
        .unwrap_or("?");
    let _ = write!(
        out,
        "evenkeel {version}, process {}, configuration {}",
        number("pid"),
        number("generation")
    );
    match number("changes_not_in_file") {
        0 => {}
        1 => out.push_str(", 1 run-time change is not in the file (`evenkeel save`)"),
        count => {
            let _ = write!(
                out,
                ", {count} run-time changes are not in the file (`evenkeel save`)"
            );
        }
    }
    out.push('\n');
    if let Some(last) = process.get("last_reload").filter(|it| it.is_object()) {
        let text = |name: &str| last.get(name).and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(out, "last reload: {}, by {}", text("result"), text("by"));
    }
}

/// What is known of a pool as a whole.
fn summary(pool: &Value) -> String {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (usable, all) = (number(pool, "usable"), number(pool, "servers"));
    let all = match pool.get("servers").and_then(Value::as_array) {
        Some(servers) => servers.len() as u64,
        None => all,
    };
    let mut parts = vec![format!("{usable} of {all} usable")];
    if let Some(state) = pool.pointer("/breaker/state").and_then(Value::as_str) {
        parts.push(format!("breaker {}", state.replace('_', " ")));
    }
    if let Some(queue) = pool.get("queue") {
        parts.push(format!(
            "{} of {} places in the queue taken",
            number(queue, "waiting"),
            number(queue, "length")
        ));
    }
    if let Some(limit) = pool.get("concurrency") {
        let (is, most) = (number(limit, "in_flight"), number(limit, "limit"));
        parts.push(format!("{is} requests of {most} that fit"));
    }
    if let Some(sessions) = pool.pointer("/sticky/sessions").and_then(Value::as_u64) {
        parts.push(format!("{sessions} bound sessions"));
    }
    parts.join(", ")
}

const COLUMNS: [&str; 11] = [
    "SERVER", "STATE", "FOR", "WEIGHT", "TIER", "ACTIVE", "REQUESTS", "FAILURES", "STICKY",
    "CHECK", "WHY",
];

fn row(server: &Value) -> Vec<String> {
    let text = |name: &str| server.get(name).and_then(Value::as_str);
    let number = |name: &str| server.get(name).and_then(Value::as_u64);
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let weight = match (
        number("weight"),
        server.get("effective_weight").and_then(Value::as_f64),
    ) {
        (Some(weight), Some(now)) if (now - weight as f64).abs() > 0.005 => {
            format!("{weight} (now {now})")
        }
        (weight, _) => shown(weight),
    };
    let why = match (text("why"), text("by")) {
        (Some(why), Some(by)) => format!("{} ({by})", why),
        (Some(why), None) => why.to_owned(),
        _ => "-".to_owned(),
    };
    vec![
        text("name").unwrap_or("?").to_owned(),
        text("state").unwrap_or("?").replace('_', " "),
        since(server.get("state_seconds").and_then(Value::as_f64)),
        weight,
        shown(number("tier")),
        shown(number("active_connections")),
        shown(number("requests")),
        shown(number("failures")),
        shown(number("sticky_sessions")),
        check(server.get("check")),
        why,
    ]
}

/// Kind and counts of a server's check, and its last failure.
fn check(check: Option<&Value>) -> String {
    let Some(check) = check.filter(|it| it.is_object()) else {
        return "-".to_owned();
    };
    let number = |name: &str| check.get(name).and_then(Value::as_u64).unwrap_or(0);
    let kind = check.get("kind").and_then(Value::as_str).unwrap_or("?");
    let mut out = format!(
        "{kind} {} ok, {} failed",
        number("passed"),
        number("failed")
    );
    if let Some(why) = check.pointer("/last_failure/why").and_then(Value::as_str) {
        let ago = check
            .pointer("/last_failure/seconds_ago")
            .and_then(Value::as_f64);
        let _ = write!(out, " (last: {}, {} ago)", shorten(why), since(ago));
    }
    out
}

fn shorten(text: &str) -> String {
    match text.chars().count() > WHY_CHARS_MAX {
        false => text.to_owned(),
        true => text
            .chars()
            .take(WHY_CHARS_MAX)
            .chain(std::iter::once('…'))
            .collect(),
    }
}

/// A time in its two largest units.
fn since(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Columns as wide as their widest cell; those that say nothing of any server are left out.
fn table(out: &mut String, rows: &[Vec<String>]) {
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let kept: Vec<usize> = (0..COLUMNS.len())
        .filter(|at| *at < 3 || rows.iter().any(|row| cell(row, *at) != "-"))
        .collect();
    let title = |at: usize| COLUMNS.get(at).copied().unwrap_or_default();
    let width = |at: usize| {
        let widest = rows.iter().map(|row| cell(row, at).chars().count()).max();
        widest.unwrap_or(0).max(title(at).len())
    };
    let mut line = |cells: Vec<String>| {
        let padded = kept.iter().zip(&cells);
        let padded = padded.map(|(at, text)| format!("{text:<width$}", width = width(*at)));
        let line = padded.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "  {}", line.trim_end());
    };
    line(kept.iter().map(|at| title(*at).to_owned()).collect());
    for row in rows {
        line(kept.iter().map(|at| cell(row, *at)).collect());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_table_for_people() {
        let status = json!({
            "process": { "version": "0.1.0", "pid": 7, "generation": 3, "changes_not_in_file": 2,
                "last_reload": { "by": "SIGHUP", "result": "refused" } },
            "pools": { "app": { "usable": 1, "breaker": { "state": "half_open" }, "servers": [
                { "name": "one", "state": "up", "state_seconds": 61.5, "weight": 1, "effective_weight": 1.0, "tier": 0,
                  "active_connections": 2, "requests": 10, "failures": 0, "why": null, "by": null },
                { "name": "10.0.0.2:80", "state": "slow_start", "state_seconds": 90_000.0, "weight": 3, "effective_weight": 0.3,
                  "tier": 1, "active_connections": 0, "requests": 1, "failures": 4, "why": "2 checks passed", "by": "check",
                  "check": { "kind": "http", "passed": 2, "failed": 1, "last_failure": { "why": "status 500", "seconds_ago": 3.2 } } },
            ] } },
        });
        let expected = "\
evenkeel 0.1.0, process 7, configuration 3, 2 run-time changes are not in the file (`evenkeel save`)
last reload: refused, by SIGHUP

pool app: 1 of 2 usable, breaker half open
  SERVER       STATE       FOR    WEIGHT       TIER  ACTIVE  REQUESTS  FAILURES  CHECK                                         WHY
  one          up          1m 1s  1            0     2       10        0         -                                             -
  10.0.0.2:80  slow start  1d 1h  3 (now 0.3)  1     0       1         4         http 2 ok, 1 failed (last: status 500, 3s ago)  2 checks passed (check)
";
        let is = super::status(&status);
        let words = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines.map(|words| words.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(words(&is), words(expected), "{is}");
        // Columns stand below each other.
        let at = |line: usize, text: &str| is.lines().nth(line).and_then(|line| line.find(text));
        assert_eq!(at(4, "CHECK"), at(6, "http 2 ok"), "{is}");
    }
}
