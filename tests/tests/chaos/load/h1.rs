//! Clients of HTTP/1.1.

use keel_testkit::Wire;
use keel_testkit::client::Lost;

use super::{Ask, Field, PATIENCE, ids, is_secure};
use crate::account::{Asked, Outcome, Path, Tally};
use crate::contract;
use crate::dice::Dice;

/// Asks until the load ends.
pub fn client(field: &Field, path: Path, number: u64, seed: u64) -> Tally {
    let mut dice = Dice::new(seed ^ number);
    let mut next = ids(number);
    let mut tally = Tally::new(path);
    let mut slot: Option<Wire> = None;
    while field.goes_on() {
        let ask = Ask::next(next(), &mut dice);
        let reused = slot.is_some();
        let from_us = field.now_us();
        let outcome = exchange(field, path, &ask, &mut slot, &mut tally, &mut dice);
        tally.take(Asked {
            id: ask.id,
            path,
            method: ask.method,
            pool: ask.pool,
            from_us,
            to_us: field.now_us(),
            reused,
            outcome,
        });
        field.rest(&mut dice);
    }
    tally
}

/// One request; the connection is kept when it may be.
fn exchange(
    field: &Field,
    path: Path,
    ask: &Ask,
    slot: &mut Option<Wire>,
    tally: &mut Tally,
    dice: &mut Dice,
) -> Outcome {
    let mut wire = match slot.take() {
        Some(wire) => wire,
        None => match open(field, path) {
            Ok(wire) => {
                tally.connections += 1;
                wire.with_deadline(PATIENCE)
            }
            Err(why) => return Outcome::Silent(format!("connect: {why}")),
        },
    };
    // A server that answers early may close while we send: the answer tells, not the send.
    let sent = wire.try_send(bytes(ask, dice.is(25)));
    let answer = match wire.try_answer(ask.method) {
        Ok(answer) => answer,
        Err(Lost::Nothing(end)) => return Outcome::Silent(format!("{end:?}, sent {sent:?}")),
        Err(Lost::Malformed(fault)) => return Outcome::Wrong(fault.to_string()),
        Err(Lost::Cut(end, head, len)) => {
            let by = head.and_then(|head| head.fields.first("x-origin"));
            return Outcome::Cut(by.unwrap_or_default(), format!("{end:?} after {len} bytes"));
        }
    };
    if sent.is_ok() && path != Path::Fresh && !answer.head.fields.lists("connection", "close") {
        *slot = Some(wire);
    }
    ask.judge(answer.status(), |name| answer.header(name), &answer.body)
}

fn open(field: &Field, path: Path) -> Result<Wire, String> {
    match is_secure(path) {
        false => Wire::try_connect(field.web).map_err(|fault| fault.to_string()),
        true => {
            let client = field.tls.clone().alpn(&["http/1.1"]);
            client.try_connect(field.secure)
        }
    }
}

/// The request, its body with a length or in chunks.
fn bytes(ask: &Ask, chunked: bool) -> Vec<u8> {
    let id = contract::text(ask.id);
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: test.example\r\nX-Id: {id}\r\n",
        ask.method, ask.target
    );
    let Some(body) = &ask.body else {
        return (head + "\r\n").into_bytes();
    };
    if !chunked {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        return [head.as_bytes(), body].concat();
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for piece in body.chunks(5_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
