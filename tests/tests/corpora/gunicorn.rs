//! gunicorn's request files: the folder is the verdict.

use std::path::Path;

use keel_testkit::strict::{Mode, read_requests};

use crate::case::{Case, Verdict};
use crate::escape::{Style, unescape};
use crate::{judge, suite};

#[test]
fn gunicorn() {
    let Some(folder) = suite("http1/gunicorn") else {
        return;
    };
    let mut cases = Vec::new();
    for (kind, verdict) in [("valid", Verdict::Accept), ("invalid", Verdict::Refuse(0))] {
        for (name, bytes) in files(&folder.join(kind), "http") {
            let id = format!("gunicorn/{kind}/{name}");
            let bytes = decode(&bytes);
            match with_host(&bytes) {
                // Without Host all are refused for that; as they stand they are judged by the rules only.
                Some(mended) => {
                    cases.push(Case::new(format!("{id}-as-is"), bytes, Verdict::None));
                    cases.push(Case::new(id, mended, verdict.clone()));
                }
                None => cases.push(Case::new(id, bytes, verdict.clone())),
            }
        }
    }
    assert!(
        cases.len() >= 137,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    judge::run("gunicorn", cases);
}

/// The files of a folder with this extension, sorted by name.
pub fn files(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder of the suite");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.is_file())
        .filter(|path| {
            extension.is_empty() || path.extension().is_some_and(|have| have == extension)
        })
        .map(|path| {
            let name = path
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned());
            (
                name.unwrap_or_default(),
                std::fs::read(&path).expect("a readable file"),
            )
        })
        .collect();
    files.sort();
    files
}

fn decode(text: &[u8]) -> Vec<u8> {
    let joined: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    unescape(&joined, Style::Plain)
}

/// Puts a Host into each HTTP/1.1 head that has none; `None` when none lacks it.
pub fn with_host(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let mut from = 0;
    let mut changed = false;
    // Heads that cannot be read for another reason are left as they are, but for the first.
    while from < out.len() {
        let end = out[from..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n");
        let head_end = end.map_or(out.len(), |end| from + end + 4);
        let lower = out[from..head_end].to_ascii_lowercase();
        let has_host = lower.windows(6).any(|window| window == b"\nhost:");
        let line = out[from..]
            .windows(2)
            .position(|window| window == b"\r\n")
            .filter(|at| *at > 0);
        let Some(line) = line else { break };
        let is_11 = out[from..from + line].ends_with(b"HTTP/1.1");
        if is_11 && !has_host {
            let at = from + line + 2;
            out.splice(at..at, b"Host: corpus.example\r\n".iter().copied());
            changed = true;
        }
        let reading = read_requests(&out[from..], Mode::FromClient);
        match next_head(&out, from, &reading.requests) {
            Some(next) => from = next,
            None => break,
        }
    }
    changed.then_some(out)
}

/// Where the request after the first one begins, when the first can be read whole.
fn next_head(
    bytes: &[u8],
    from: usize,
    requests: &[keel_testkit::strict::Request],
) -> Option<usize> {
    requests.first().filter(|request| request.complete)?;
    // The shortest prefix that holds the first request whole ends where the next begins.
    let (mut low, mut high) = (1, bytes.len() - from);
    let whole = |len: usize| {
        let reading = read_requests(&bytes[from..from + len], Mode::FromClient);
        reading
            .requests
            .first()
            .is_some_and(|request| request.complete)
    };
    while low < high {
        let middle = (low + high) / 2;
        if whole(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    (from + low < bytes.len()).then_some(from + low)
}

#[test]
fn host_is_put_where_it_lacks() {
    let two = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\n\r\n";
    let want = b"POST /a HTTP/1.1\r\nHost: corpus.example\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: corpus.example\r\n\r\n";
    assert_eq!(with_host(two).as_deref(), Some(&want[..]));
    assert_eq!(with_host(b"GET / HTTP/1.0\r\n\r\n"), None);
}
