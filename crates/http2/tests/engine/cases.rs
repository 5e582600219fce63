//! Tables of what a peer may send, and what has to become of it.

use crate::side::*;
use crate::wire::*;
use keel_http2::{ErrorCode, StreamError};

/// What an end has to make of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is wrong.
    Fine,
    /// GOAWAY with this code.
    Fatal(u32),
    /// RST_STREAM of the stream with this code; the connection goes on.
    Reset(u32, u32),
    /// RST_STREAM or GOAWAY with this code.
    Either(u32, u32),
}

pub use Expect::{Either, Fatal, Fine, Reset};

pub type Case = (&'static str, Vec<Vec<u8>>, Expect);

/// Runs each case with its bytes in one piece, frame by frame, and byte by byte.
pub fn run(cases: Vec<Case>, side: impl Fn() -> Side) {
    let mut wrong = Vec::new();
    assert!(!cases.is_empty());
    for (what, frames, expected) in cases {
        let whole = frames.concat();
        let bytes: Vec<Vec<u8>> = whole.iter().map(|byte| vec![*byte]).collect();
        for (cut, pieces) in [("whole", vec![whole]), ("frames", frames), ("bytes", bytes)] {
            let mut side = side();
            // Frames one by one are answered one by one.
            let mut answers = Vec::new();
            for piece in &pieces {
                side.feed(piece);
                if cut != "whole" {
                    answers.extend(side.take());
                }
            }
            answers.extend(side.take());
            if let Err(found) = judge(&mut side, &answers, expected) {
                wrong.push(format!(
                    "{what} ({cut}): {expected:?}, but {found}: {answers:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn judge(side: &mut Side, answers: &[Frame], expected: Expect) -> Result<(), String> {
    let goaway = answers.iter().rfind(|frame| frame.kind == GOAWAY);
    let resets: Vec<(u32, u32)> = answers
        .iter()
        .filter(|frame| frame.kind == RST_STREAM)
        .map(|frame| (frame.stream, frame.code()))
        .collect();
    let done = match expected {
        Fine => alive(side, goaway, &resets, &[]),
        Fatal(code) => dead(side, goaway, code),
        Reset(stream, code) => alive(side, goaway, &resets, &[(stream, code)]),
        Either(stream, code) => match goaway {
            Some(_) => dead(side, goaway, code),
            None => alive(side, goaway, &resets, &[(stream, code)]),
        },
    };
    done?;
    failures(side, expected)
}

fn alive(
    side: &mut Side,
    goaway: Option<&Frame>,
    resets: &[(u32, u32)],
    expected: &[(u32, u32)],
) -> Result<(), String> {
    if goaway.is_some() || side.failed.is_some() {
        return Err(format!("the connection is over: {:?}", side.failed));
    }
    if resets != expected {
        return Err(format!("resets are {resets:?}"));
    }
    match side.is_alive() && !side.conn.is_over() {
        true => Ok(()),
        false => Err("no answer to PING".to_owned()),
    }
}

fn dead(side: &mut Side, goaway: Option<&Frame>, code: u32) -> Result<(), String> {
    let Some(goaway) = goaway else {
        return Err("no GOAWAY".to_owned());
    };
    if goaway.code() != code || goaway.stream != 0 {
        return Err(format!("GOAWAY with {}", goaway.code()));
    }
    if side.failed.map(|abuse| abuse.code()) != Some(code) {
        return Err(format!("`receive` gave {:?}", side.failed));
    }
    if !side.conn.is_over() {
        return Err("it is not over".to_owned());
    }
    // Whatever comes now says the same, and nothing more is sent.
    let again = side.conn.receive(&mut &ping(false, [0; 8])[..], 1);
    if again.map_err(|abuse| abuse.code()) != Err(code) || !side.conn.out().is_empty() {
        return Err(format!("it goes on: {again:?}"));
    }
    Ok(())
}

/// Streams have failed as the answer says.
fn failures(side: &mut Side, expected: Expect) -> Result<(), String> {
    for stream in side.opened.clone() {
        let found = side.failure(stream);
        let wanted = match expected {
            Fatal(_) if found.is_none() => return Err(format!("{stream:?} goes on")),
            Reset(id, code) if id == stream.id() => Some(StreamError::Ended(ErrorCode(code))),
            _ => continue,
        };
        if found != wanted {
            return Err(format!("{stream:?} failed with {found:?}"));
        }
    }
    Ok(())
}
