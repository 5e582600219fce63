//! Callgrind's output: instructions of a whole run, and those of one source file.
//!
//! The format is a list of cost lines (`LINE COST`) under the file that they belong to: `fl=` names the file of a function,
//! `fi=` and `fe=` that of code inlined into it. A name is written once, as `(7) name`, and later only as `(7)`. The line
//! after a `calls=` line is the cost of the called function, which has cost lines of its own.

use std::collections::HashMap;

/// Instructions of a whole run.
pub fn total(text: &str) -> Option<i64> {
    let value = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
    let total = value("summary:").or_else(|| value("totals:"))?;
    total.split_ascii_whitespace().next()?.parse().ok()
}

/// Instructions of the lines of all files whose path ends so, inlined or not, without what they call.
pub fn of_file(text: &str, suffix: &str) -> i64 {
    let mut names: HashMap<&str, bool> = HashMap::new();
    let mut is_wanted = false;
    let mut is_call = false;
    let mut sum = 0;
    for line in text.lines() {
        let file = ["fl=", "fi=", "fe="]
            .iter()
            .find_map(|key| line.strip_prefix(key));
        // The file of a called function may be the first mention of a name.
        let callee = ["cfi=", "cfl="]
            .iter()
            .find_map(|key| line.strip_prefix(key));
        if let Some(name) = file.or(callee) {
            let matches = matching(name, suffix, &mut names);
            is_wanted = if file.is_some() { matches } else { is_wanted };
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            if is_wanted && !is_call {
                sum += line
                    .split_ascii_whitespace()
                    .nth(1)
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0);
            }
            is_call = false;
        }
    }
    sum
}

/// Whether the file `(7) name` or `(7)` or `name` ends with `suffix`.
fn matching<'a>(name: &'a str, suffix: &str, names: &mut HashMap<&'a str, bool>) -> bool {
    match name.split_once(") ") {
        Some((id, path)) => {
            let ends = path.ends_with(suffix);
            names.insert(id, ends);
            ends
        }
        None => match names.get(name.trim_end_matches(')')) {
            Some(known) => *known,
            None => name.ends_with(suffix),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() {
        let text = "version: 1\nevents: Ir\nsummary: 123456\n\nfn=x\n1 2\ntotals: 99\n";
        assert_eq!(total(text), Some(123_456));
        assert_eq!(total("events: Ir\ntotals: 99\n"), Some(99));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn own_and_inlined_lines_count_and_calls_do_not() {
        let text = "positions: line\nevents: Ir\n\
            fl=(1) /src/driver.rs\nfn=(1) drive\n10 5\nfi=(2) /src/heads.rs\n20 7\n+1 3\nfe=(1)\n11 100\n\
            cfi=(2)\ncfn=(2) write\ncalls=4 20\n12 4000\n\n\
            fl=(2)\nfn=(2)\n30 11\ncfi=(3) /libc/memcpy.S\ncfn=(3)\ncalls=1 1\n* 900\n-2 13\n\n\
            fl=(3)\nfn=(3) memcpy\n1 900\n";
        assert_eq!(of_file(text, "src/heads.rs"), 7 + 3 + 11 + 13);
        assert_eq!(of_file(text, "driver.rs"), 105);
        assert_eq!(of_file(text, "memcpy.S"), 900);
        assert_eq!(of_file(text, "none.rs"), 0);
    }
}
