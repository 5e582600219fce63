//! Whole requests in, answers out, many at once on one connection.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::origin::READ_DEADLINE;
use super::reply::Ending;
use super::{Event, Frame, H2Reply, H2Seen, H2Stage};
use crate::client::End;

/// Most bytes of a body that an origin keeps.
const BODY_KEPT_MAX: usize = 64 * 1024;

/// Answers until the connection ends.
pub(super) fn serve(
    stage: &mut H2Stage<'_>,
    all: &AtomicUsize,
    answer: &dyn Fn(&H2Seen) -> H2Reply,
) {
    let mut coming: BTreeMap<u32, H2Seen> = BTreeMap::new();
    let mut due: Vec<(Instant, u32, H2Reply)> = Vec::new();
    // The highest stream that was looked at, and the last one that a GOAWAY of ours lets through.
    let (mut highest, mut last) = (0, u32::MAX);
    loop {
        let now = Instant::now();
        while let Some(at) = due.iter().position(|(when, ..)| *when <= now) {
            let (_, stream, reply) = due.swap_remove(at);
            if let Some((offset, code)) = reply.goaway {
                let told = u32::try_from(i64::from(stream) + offset).unwrap_or(0);
                // What was looked at must not be called unseen.
                last = last.min(if offset < 0 { told } else { told.max(highest) });
                stage.connection.send(&Frame::goaway(last, code));
            }
            send(stage, stream, &reply);
        }
        let next = due.iter().map(|(when, ..)| when.duration_since(now)).min();
        let limit = next.unwrap_or(READ_DEADLINE);
        let whole = match stage.connection.event(limit) {
            Event::Head {
                stream,
                fields,
                end,
            } => {
                match coming.get_mut(&stream) {
                    Some(seen) => seen.trailers = fields,
                    None => {
                        coming.insert(stream, begin(stage, all, stream, fields, end));
                    }
                }
                end.then_some(stream)
            }
            Event::Data { stream, bytes, end } => {
                if let Some(seen) = coming.get_mut(&stream) {
                    seen.check.feed(&bytes);
                    let room = BODY_KEPT_MAX.saturating_sub(seen.body.len());
                    seen.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                end.then_some(stream)
            }
            Event::Reset { stream, .. } => {
                coming.remove(&stream);
                due.retain(|(_, of, _)| *of != stream);
                None
            }
            Event::End(End::Deadline) if next.is_some() => None,
            Event::End(_) => return,
            _ => None,
        };
        let seen = whole.and_then(|stream| coming.remove(&stream));
        // Streams beyond a GOAWAY are not looked at (RFC 9113 section 6.8): they may be sent to others.
        if let Some(seen) = seen.filter(|seen| seen.stream <= last) {
            highest = highest.max(seen.stream);
            let reply = answer(&seen);
            due.push((Instant::now() + reply.delay, seen.stream, reply));
        }
    }
}

fn begin(
    stage: &mut H2Stage<'_>,
    all: &AtomicUsize,
    stream: u32,
    fields: crate::strict::Fields,
    end: bool,
) -> H2Seen {
    let expects = fields.first("expect");
    if expects.is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) && !end {
        stage.connection.head(stream, &[(":status", "100")], false);
    }
    H2Seen {
        fields,
        stream,
        nth: stage.count_request(),
        nth_of_all: H2Stage::next_of_all(all),
        connection: stage.number(),
        ..H2Seen::default()
    }
}

fn send(stage: &mut H2Stage<'_>, stream: u32, reply: &H2Reply) {
    let own = &mut stage.connection;
    for (status, fields) in &reply.interim {
        own.head(stream, &with_status(*status, fields), false);
    }
    let whole = reply.ending == Ending::Whole;
    let (body, trailers) = (!reply.body.is_empty(), !reply.trailers.is_empty());
    if reply.status != 0 {
        let head = with_status(reply.status, &reply.fields);
        own.head(stream, &head, whole && !body && !trailers);
    }
    if body {
        own.data(stream, reply.body.as_slice(), whole && !trailers);
    }
    if trailers {
        own.head(stream, &reply.trailers, whole);
    }
    if let Ending::Reset(code) = reply.ending {
        own.reset(stream, code);
    }
}

fn with_status(status: u16, fields: &[(String, String)]) -> Vec<(String, String)> {
    let mut head = vec![(":status".to_owned(), status.to_string())];
    head.extend_from_slice(fields);
    head
}
