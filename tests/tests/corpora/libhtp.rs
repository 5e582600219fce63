//! libhtp's recorded conversations: both directions, no verdicts.

use std::path::Path;

use crate::answers::{self, BackendCase};
use crate::case::{Case, Verdict};
use crate::gunicorn::files;
use crate::{judge, suite};

#[test]
fn libhtp_requests() {
    let Some(folder) = suite("http1/libhtp") else {
        return;
    };
    let cases: Vec<Case> = conversations(&folder)
        .into_iter()
        .filter(|(_, talk)| !talk.client.is_empty())
        .map(|(name, talk)| Case {
            id: format!("libhtp/{name}"),
            packets: talk.client,
            verdict: Verdict::None,
            finish: false,
        })
        .collect();
    assert!(
        cases.len() >= 95,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    judge::run("libhtp/", cases);
}

#[test]
fn libhtp_answers() {
    let Some(folder) = suite("http1/libhtp") else {
        return;
    };
    let cases: Vec<BackendCase> = conversations(&folder)
        .into_iter()
        .filter(|(_, talk)| !talk.server.is_empty())
        .map(|(name, talk)| {
            let head = talk.client.concat().starts_with(b"HEAD ");
            BackendCase {
                id: format!("libhtp-answers/{name}"),
                bytes: talk.server.concat(),
                method: if head { "HEAD" } else { "GET" },
                close: true,
                must_pass: false,
            }
        })
        .collect();
    assert!(
        cases.len() >= 80,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    answers::run("libhtp-answers", cases);
}

#[derive(Default)]
struct Talk {
    client: Vec<Vec<u8>>,
    server: Vec<Vec<u8>>,
}

fn conversations(folder: &Path) -> Vec<(String, Talk)> {
    files(folder, "t")
        .into_iter()
        .map(|(name, bytes)| (name, parse(&bytes)))
        .collect()
}

/// `>>>` and `<<<` lines begin bytes of a side; the line break before a marker belongs to it; `><>` and `<><` are gaps.
fn parse(bytes: &[u8]) -> Talk {
    let mut talk = Talk::default();
    let mut side = None;
    let mut from = 0;
    let mut at = 0;
    while at < bytes.len() {
        let line_end = bytes[at..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |end| at + end + 1);
        let marker = [&b">>>"[..], b"<<<", b"><>", b"<><"]
            .into_iter()
            .find(|marker| bytes[at..line_end].trim_ascii_end().ends_with(marker));
        // A marker stands on a line of its own, or right after bytes that have no line break.
        let Some(marker) = marker else {
            at = line_end;
            continue;
        };
        let marker_at = at + bytes[at..line_end].trim_ascii_end().len() - 3;
        let mut end = marker_at;
        if marker_at == at {
            end = end.saturating_sub(usize::from(bytes[..end].ends_with(b"\n")));
            end = end.saturating_sub(usize::from(bytes[..end].ends_with(b"\r")));
        }
        push(&mut talk, side, &bytes[from.min(end)..end]);
        side = match marker {
            b">>>" => Some(true),
            b"<<<" => Some(false),
            _ => None,
        };
        from = line_end;
        at = line_end;
    }
    push(&mut talk, side, &bytes[from.min(bytes.len())..]);
    talk
}

fn push(talk: &mut Talk, side: Option<bool>, bytes: &[u8]) {
    match side {
        _ if bytes.is_empty() => {}
        Some(true) => talk.client.push(bytes.to_vec()),
        Some(false) => talk.server.push(bytes.to_vec()),
        None => {}
    }
}

#[test]
fn markers_are_found() {
    let talk = parse(b">>>\r\nGET / HTTP/1.0\r\n\r\n\r\n<<<\r\nHello>>>\r\nB\r\n");
    assert_eq!(talk.client, [&b"GET / HTTP/1.0\r\n\r\n"[..], b"B\r\n"]);
    assert_eq!(talk.server, [&b"Hello"[..]]);
}
