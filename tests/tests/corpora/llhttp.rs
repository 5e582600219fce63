//! llhttp's tests: blocks of input, each followed by the log of a strict parser.

use std::path::Path;

use crate::answers::{self, BackendCase};
use crate::case::{Case, Verdict};
use crate::escape::{Style, unescape};
use crate::gunicorn::with_host;
use crate::{judge, suite};

#[test]
fn llhttp_requests() {
    let Some(folder) = suite("http1/llhttp") else {
        return;
    };
    let mut cases = Vec::new();
    for block in blocks(&folder.join("request")) {
        let id = format!("llhttp/{}", block.id);
        let verdict = match block.error {
            _ if block.kind.contains("lenient") => Verdict::None,
            // 21 to 23 pause the parser, 5 is data after the last request: neither refuses what came before.
            Some(5 | 21..=23) => Verdict::None,
            Some(_) => Verdict::Refuse(block.messages),
            None if block.messages == 0 => Verdict::None,
            None => Verdict::Accept,
        };
        match with_host(&block.bytes) {
            Some(mended) => {
                cases.push(Case::new(format!("{id}-as-is"), block.bytes, Verdict::None));
                cases.push(Case::new(id, mended, verdict));
            }
            None => cases.push(Case::new(id, block.bytes, verdict)),
        }
    }
    assert!(
        cases.len() >= 150,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    judge::run("llhttp/", cases);
}

#[test]
fn llhttp_answers() {
    let Some(folder) = suite("http1/llhttp") else {
        return;
    };
    let mut cases = Vec::new();
    for block in blocks(&folder.join("response")) {
        let strict = !block.kind.contains("lenient");
        for close in [true, false] {
            let end = if close { "close" } else { "open" };
            cases.push(BackendCase {
                id: format!("llhttp-answers/{}+{end}", block.id),
                bytes: block.bytes.clone(),
                method: if block.skips_body { "HEAD" } else { "GET" },
                close,
                must_pass: strict && close && block.messages > 0 && block.error.is_none(),
            });
        }
    }
    assert!(
        cases.len() >= 100,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    answers::run("llhttp-answers", cases);
}

/// One block of input.
struct Block {
    /// File and position in it.
    id: String,
    /// Type in the comment before it.
    kind: String,
    skips_body: bool,
    bytes: Vec<u8>,
    /// Whole messages in the log.
    messages: usize,
    /// The error in the log.
    error: Option<u32>,
}

fn blocks(folder: &Path) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (name, text) in crate::gunicorn::files(folder, "md") {
        let text = String::from_utf8(text).expect("the suite is UTF-8");
        parse(&name, &text, &mut blocks);
    }
    blocks
}

fn parse(name: &str, text: &str, blocks: &mut Vec<Block>) {
    let mut title = String::new();
    let mut kind = String::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        match (&mut open, bare) {
            (Some((fence, body)), "```") => {
                let (fence, body) = (*fence, std::mem::take(body));
                open = None;
                match fence {
                    "http" => {
                        let id =
                            format!("{name}/{}:{}", blocks.len(), title.replace([' ', '|'], "-"));
                        let skips_body = kind.contains("skipBody");
                        let (kind, bytes) = (kind.clone(), decode(&body));
                        blocks.push(Block {
                            id,
                            kind,
                            skips_body,
                            bytes,
                            messages: 0,
                            error: None,
                        });
                    }
                    "log" => note(blocks.last_mut(), &body),
                    _ => {}
                }
            }
            (Some((_, body)), _) => body.push_str(line),
            (None, "```http") => open = Some(("http", String::new())),
            (None, "```log") => open = Some(("log", String::new())),
            (None, _) if bare.starts_with('#') => {
                title = bare.trim_start_matches(['#', ' ']).to_owned()
            }
            (None, _) if bare.starts_with("<!-- meta") => kind = bare.to_owned(),
            _ => {}
        }
    }
}

fn note(block: Option<&mut Block>, log: &str) {
    let Some(block) = block else { return };
    block.messages = log
        .lines()
        .filter(|line| line.ends_with("message complete"))
        .count();
    block.error = log.lines().find_map(|line| {
        let (_, rest) = line.split_once("error code=")?;
        rest.split(' ').next()?.parse().ok()
    });
}

/// Drops the last newline, joins lines that end in a backslash, makes newlines CRLF, then reads escapes.
fn decode(body: &str) -> Vec<u8> {
    let body = body
        .strip_suffix('\n')
        .unwrap_or(body)
        .replace("\\\n", "")
        .replace('\n', "\r\n");
    unescape(body.as_bytes(), Style::Octal)
}
