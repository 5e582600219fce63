//! Statuses of error pages: `404`, `5xx`, `500,502-504`.

use super::Fault;
use crate::diagnostic::codes;

/// Statuses, from the least exact way of naming them to the most exact one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusSet {
    /// Named by class; a code or range of another page wins over these.
    pub classes: Vec<u16>,
    /// Named by code or range.
    pub codes: Vec<u16>,
}

/// Reads a set of statuses.
pub(crate) fn status_set(text: &str) -> Result<StatusSet, Fault> {
    let bad = |says: String| {
        Fault::new(&codes::BAD_STATUS, says)
            .help("write a status (`404`), a class (`5xx`), or a list of statuses and ranges (`500,502-504`), from 400 to 599")
    };
    let mut set = StatusSet {
        classes: Vec::new(),
        codes: Vec::new(),
    };
    for part in text.split(',') {
        let part = part.trim();
        match part {
            "4xx" | "4XX" => set.classes.push(4),
            "5xx" | "5XX" => set.classes.push(5),
            _ => {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (code(first), code(last));
                let (Some(first), Some(last)) = (first, last) else {
                    return Err(bad(format!("has `{part}`, which is no error status")));
                };
                if first > last {
                    return Err(bad(format!(
                        "has the range `{part}`, which ends before it starts"
                    )));
                }
                set.codes.extend(first..=last);
            }
        }
    }
    Ok(set)
}

fn code(text: &str) -> Option<u16> {
    let text = text.trim();
    (text.len() == 3)
        .then(|| text.parse().ok())
        .flatten()
        .filter(|code| (400..600).contains(code))
}
