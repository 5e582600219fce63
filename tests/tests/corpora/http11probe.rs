//! Http11Probe's pages: raw requests, and a row that says what may come back.

use std::path::Path;

use crate::case::{Case, Expected, Verdict};
use crate::escape::{Style, unescape};
use crate::verdicts::statuses;
use crate::{judge, suite};

#[test]
fn http11probe() {
    let Some(folder) = suite("http1/http11probe") else {
        return;
    };
    let mut pages = Vec::new();
    collect(&folder, &mut pages);
    pages.sort();
    let cases: Vec<Case> = pages.iter().filter_map(|page| case(page)).collect();
    assert!(
        cases.len() >= 125,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    judge::run("http11probe", cases);
}

fn collect(folder: &Path, pages: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the suite") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|have| have == "md") && !path.ends_with("SOURCE.md")
        {
            pages.push(std::fs::read_to_string(&path).expect("a readable page"));
        }
    }
}

fn case(page: &str) -> Option<Case> {
    let row = |name: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| **{name}** |")))?;
        Some(line.split('|').nth(2)?.trim().to_owned())
    };
    let id = row("Test ID")?.trim_matches('`').to_owned();
    let expected = row("Expected").map(|text| expected(&text));
    let packets = packets(&id, page)?;
    let verdict = expected.map_or(Verdict::None, Verdict::Expect);
    Some(Case {
        id: format!("http11probe/{id}"),
        packets,
        verdict,
        finish: false,
    })
}

/// The blocks marked `http` before the argument begins; one write each.
fn packets(id: &str, page: &str) -> Option<Vec<Vec<u8>>> {
    match id {
        "MAL-EMPTY-REQUEST" => return Some(vec![Vec::new()]),
        "MAL-BINARY-GARBAGE" => return Some(vec![garbage()]),
        _ => {}
    }
    let argument = [
        "\n## What the RFC",
        "\n## Why",
        "\n## Verdicts",
        "\n## Deep",
    ];
    let end = argument
        .iter()
        .filter_map(|mark| page.find(mark))
        .min()
        .unwrap_or(page.len());
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for line in page[..end].lines() {
        match line {
            "```http" => {
                open = true;
                packets.push(Vec::new());
            }
            "```" => open = false,
            "" if open => packets.push(Vec::new()),
            _ if open => packets.last_mut()?.extend(expand(line)),
            _ => {}
        }
    }
    packets.retain(|packet| !packet.is_empty());
    (!packets.is_empty()).then_some(packets)
}

/// A line with its shorthands written out.
fn expand(line: &str) -> Vec<u8> {
    let run = |letter: &str, count: usize| letter.repeat(count);
    let headers: String = (3..9999)
        .map(|number| format!("X-H-{number}: value\\r\\n"))
        .collect();
    let cookies: Vec<String> = (0..1000)
        .map(|number| format!("k{number}=v{number}"))
        .collect();
    let ranges = vec!["0-"; 1000].join(",");
    let line = line
        .replace("AAAA...{100,000 × 'A'}...", &run("A", 100_000))
        .replace("BBBB...{100,000 × 'B'}...", &run("B", 100_000))
        .replace("aaaa...{65,536 x 'a'}...", &run("a", 65_536))
        .replace("... (10,000 headers total) ...\\r\\n", &headers)
        .replace("k0=v0; k1=v1; ... k999=v999", &cookies.join("; "))
        .replace("AAAA...AAAA", &run("A", 65_536))
        .replace("aaaa...aaa", &run("a", 7_990))
        .replace("0-,0-,0-,...{1000 total}...", &ranges)
        .replace("[TAB]", "\\t")
        .replace("{ETag from step 1}", "\"corpus\"")
        .replace("{ETag from step 1, weak}", "W/\"corpus\"")
        .replace("{ETag from step 1, unquoted}", "corpus")
        .replace(
            "{Last-Modified from step 1}",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        );
    assert!(
        !line.contains("..."),
        "a shorthand that is not known: {line}"
    );
    unescape(line.as_bytes(), Style::Plain)
}

/// Bytes without order; the first is no token, as with any real garbage it may or may not be.
fn garbage() -> Vec<u8> {
    let mut state = 42_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).expect("eight bits")
    };
    (0..256).map(next).collect()
}

/// Reads a row such as "`400`, `505`, close, or timeout".
fn expected(text: &str) -> Expected {
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    if has("non-`101`") || has("not `101`") || has("non-1xx") || has("any response") {
        return Expected {
            statuses: vec![(200, 599)],
            close: true,
            timeout: false,
        };
    }
    if has("any status except `414`") {
        return Expected {
            statuses: vec![(200, 413), (415, 599)],
            close: false,
            timeout: false,
        };
    }
    if has("imf-fixdate") || has("excluded from echo") || has("preserve (warn)") {
        // The rules judge whether a name was changed on its way; refusing is as good.
        return Expected {
            statuses: vec![(200, 499), (501, 501)],
            close: true,
            timeout: false,
        };
    }
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let statuses = words
        .filter(|word| word.len() == 3)
        .filter_map(statuses)
        .collect();
    let close = has("close") && !has("connection closed") || has("drop");
    Expected {
        statuses,
        close,
        timeout: has("timeout"),
    }
}

#[test]
fn rows_are_understood() {
    let some = expected("`400`/`505`, close, or timeout");
    assert!(some.allows(400) && some.allows(505) && some.allows(408) && some.close && some.timeout);
    let some = expected("`2xx` + connection closed");
    assert!(some.allows(204) && !some.allows(400) && !some.close);
    let some = expected("`426` or non-`101`");
    assert!(some.allows(200) && !some.allows(101));
}
