//! Clients of HTTP/2: some requests at once on each connection.

use keel_testkit::h2::H2Answer;
use keel_testkit::h2::frame::code;
use keel_testkit::{H2Wire, Wire};

use super::{Ask, Field, PATIENCE, ids, is_secure};
use crate::account::{Asked, Outcome, Path, Tally};
use crate::contract;
use crate::dice::Dice;

/// Most requests at once.
const AT_ONCE: u64 = 8;

/// A request that is told to be unprocessed is sent again so often; a client would give up in the end.
const REPEATS: usize = 10;

/// Requests on one connection before the client opens another.
const PER_CONNECTION: u32 = 2_000;

/// What is known of a request after a round.
enum Known {
    /// Its end, and when that came.
    End(Outcome, u64),
    /// The server says that it has not looked at it (RFC 9113, 8.7).
    Unprocessed,
}

/// Asks until the load ends.
pub fn client(field: &Field, path: Path, number: u64, seed: u64) -> Tally {
    let mut dice = Dice::new(seed ^ number);
    let mut next = ids(number);
    let mut tally = Tally::new(path);
    let mut slot: Option<H2Wire> = None;
    while field.goes_on() {
        let count = dice.between(1, AT_ONCE);
        let asks = (0..count).map(|_| Ask::next(next(), &mut dice)).collect();
        batch(field, path, asks, &mut slot, &mut tally);
        field.rest(&mut dice);
    }
    tally
}

/// Sends all of these at once, and again those that are told to be unprocessed.
fn batch(
    field: &Field,
    path: Path,
    mut asks: Vec<Ask>,
    slot: &mut Option<H2Wire>,
    tally: &mut Tally,
) {
    let from_us = field.now_us();
    for round in 0..=REPEATS {
        let reused = slot.is_some();
        let known = send_all(field, path, &asks, slot, tally);
        let mut again = Vec::new();
        for (ask, known) in asks.into_iter().zip(known) {
            let (outcome, to_us) = match known {
                Known::End(outcome, at) => (outcome, at),
                Known::Unprocessed if round < REPEATS => {
                    tally.repeated += 1;
                    again.push(ask);
                    continue;
                }
                Known::Unprocessed => (
                    Outcome::Silent("refused for ever".to_owned()),
                    field.now_us(),
                ),
            };
            tally.take(Asked {
                id: ask.id,
                path,
                method: ask.method,
                pool: ask.pool,
                from_us,
                to_us,
                reused,
                outcome,
            });
        }
        if again.is_empty() {
            return;
        }
        asks = again;
    }
}

fn send_all(
    field: &Field,
    path: Path,
    asks: &[Ask],
    slot: &mut Option<H2Wire>,
    tally: &mut Tally,
) -> Vec<Known> {
    let mut wire = match slot.take() {
        Some(wire) => wire,
        None => match open(field, path) {
            Ok(wire) => {
                tally.connections += 1;
                wire.with_deadline(PATIENCE)
            }
            Err(why) => {
                let now = field.now_us();
                let lost = |_| Known::End(Outcome::Silent(format!("connect: {why}")), now);
                return asks.iter().map(lost).collect();
            }
        },
    };
    let streams: Vec<u32> = asks.iter().map(|ask| send(&mut wire, ask)).collect();
    let mut known: Vec<Known> = asks
        .iter()
        .zip(streams)
        .map(|(ask, stream)| receive(field, &mut wire, ask, stream))
        .collect();
    let faults = wire.take_faults();
    if let (false, Some(first)) = (faults.is_empty(), known.first_mut()) {
        *first = Known::End(Outcome::Wrong(format!("{faults:?}")), field.now_us());
    }
    let spent = wire.next_stream() > 2 * PER_CONNECTION;
    if wire.goaways().is_empty() && !wire.is_over() && !spent && faults.is_empty() {
        *slot = Some(wire);
    }
    known
}

fn open(field: &Field, path: Path) -> Result<H2Wire, String> {
    match is_secure(path) {
        false => {
            let wire = Wire::try_connect(field.web).map_err(|fault| fault.to_string())?;
            Ok(H2Wire::over(wire, &[]))
        }
        true => H2Wire::try_tls(&field.tls, field.secure),
    }
}

fn send(wire: &mut H2Wire, ask: &Ask) -> u32 {
    let id = contract::text(ask.id);
    let stream = wire.ask(
        ask.method,
        &ask.target,
        &[("x-id", &id)],
        ask.body.is_none(),
    );
    if let Some(body) = &ask.body {
        wire.data(stream, body.as_slice(), true);
    }
    stream
}

fn receive(field: &Field, wire: &mut H2Wire, ask: &Ask, stream: u32) -> Known {
    let answer = match wire.try_answer(stream) {
        Ok(answer) => answer,
        Err(lost) => {
            let beyond = wire.goaways().iter().any(|goaway| goaway.last < stream);
            let silent = Outcome::Silent(format!("{lost:?}"));
            return match beyond {
                true => Known::Unprocessed,
                false => Known::End(silent, field.now_us()),
            };
        }
    };
    if answer.reset == Some(code::REFUSED_STREAM) {
        return Known::Unprocessed;
    }
    let at = answer
        .over_at
        .map(|at| at.duration_since(field.base).as_micros());
    let at = at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
    Known::End(outcome(ask, &answer), at)
}

fn outcome(ask: &Ask, answer: &H2Answer) -> Outcome {
    match (answer.reset, answer.status) {
        // NO_ERROR after a whole answer only says that the rest of the request is not wanted (RFC 9113, 8.1).
        (Some(code::NO_ERROR) | None, _) if answer.ended => {
            ask.judge(answer.status, |name| answer.header(name), &answer.body)
        }
        (reset, _) => Outcome::Cut(
            // Without a head nothing names the server; the log does.
            answer.header("x-origin").unwrap_or_default(),
            format!("reset {reset:?} after {} bytes", answer.body.len()),
        ),
    }
}
