//! Requests: what the client sent, what the backend got, what the client got back.

use std::sync::Arc;
use std::time::Duration;

use keel_testkit::client::{End, Lost};
use keel_testkit::origin::Stage;
use keel_testkit::strict::{Fault, Fields, Mode, Reading, Request, compare, read_requests};
use keel_testkit::{Answer, Wire};

use crate::case::{Case, Verdict};
use crate::lane::{Answering, Arrived, Lane, Lanes};
use crate::verdicts::Verdicts;

/// No deadline of the proxy is near this.
const HANG: Duration = Duration::from_secs(10);

/// Between two packets of a case.
const PACKET_PAUSE: Duration = Duration::from_millis(5);

/// Field by which an answer is known to come from the backend.
const MARK: &str = "x-lane";

/// What the client got back.
struct Heard {
    answers: Vec<Answer>,
    /// How it ended, when it was in order.
    end: End,
}

/// Runs a suite of requests: every case as it is, and once more half-closed.
pub fn run(suite: &str, cases: Vec<Case>) {
    assert!(!cases.is_empty(), "{suite} has no cases");
    let verdicts = Verdicts::load(suite);
    let finished: Vec<Case> = cases.iter().map(Case::finished).collect();
    let mut all: Vec<Case> = cases.into_iter().map(|case| verdicts.apply(case)).collect();
    all.extend(finished);
    let unused = verdicts.unused();
    assert!(unused.is_empty(), "{unused:#?}");
    Lanes::start(backend()).run(all, judge);
}

/// A backend that does what the suites ask of an origin server.
pub fn backend() -> Answering {
    Arc::new(stage_answer)
}

fn stage_answer(stage: &mut Stage, request: &Request, number: usize) -> bool {
    let fields = &request.head.fields;
    let first = |name: &str| fields.first(name).unwrap_or_default();
    const TAG: &str = "\"corpus\"";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let (tags, since) = (first("if-none-match"), first("if-modified-since"));
    let fresh = match tags.is_empty() {
        true => since == DATE,
        false => tags == "*" || tags.contains(TAG),
    };
    let (status, body) = match request.head.method.as_str() {
        "GET" | "HEAD" if fresh => ("304 Not Modified", None),
        "OPTIONS" => ("204 No Content", None),
        "TRACE" | "DELETE" => ("405 Method Not Allowed", Some(String::new())),
        _ => (
            "200 OK",
            Some(
                fields
                    .all("cookie")
                    .map(String::from_utf8_lossy)
                    .collect::<Vec<_>>()
                    .join("; "),
            ),
        ),
    };
    let mut text = format!(
        "HTTP/1.1 {status}\r\nDate: {DATE}\r\nETag: {TAG}\r\nLast-Modified: {DATE}\r\nAllow: GET, HEAD, POST, OPTIONS\r\nX-Lane: {number}\r\n"
    );
    if let Some(body) = &body {
        text.push_str(&format!(
            "Content-Type: text/plain\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    text.push_str("\r\n");
    if request.head.method != "HEAD" {
        text.push_str(&body.unwrap_or_default());
    }
    stage.send(text) && request.head.keeps_alive()
}

/// All that is wrong with one case.
fn judge(lane: &Lane, case: &Case) -> Vec<String> {
    let sent = read_until_close(&case.bytes());
    let mut wrong = Vec::new();
    let heard = match converse(lane, case, &sent) {
        Ok(heard) => Some(heard),
        Err(why) => {
            wrong.push(why);
            None
        }
    };
    let arrived = lane.take().unwrap_or_else(|why| {
        wrong.push(why);
        Vec::new()
    });
    wrong.extend(lane.faults());
    let arrived = without_stragglers(lane, &sent, arrived);
    same_requests(&sent, &arrived, &mut wrong);
    if let Some(heard) = &heard {
        answers_match(lane, heard, &arrived, &mut wrong);
        wrong.extend(verdict(case, &sent, &arrived, heard));
    }
    wrong
        .into_iter()
        .map(|what| format!("{}: {what}", case.id))
        .collect()
}

/// What the client said, up to the request after which the connection must close.
fn read_until_close(bytes: &[u8]) -> Reading {
    let mut reading = read_requests(bytes, Mode::FromClient);
    if let Some(last) = reading
        .requests
        .iter()
        .position(|request| !request.head.keeps_alive())
    {
        reading.requests.truncate(last + 1);
        reading.fault = None;
        reading.rest = 0;
    }
    reading
}

/// Sends the case, and reads strictly until the proxy closes.
fn converse(lane: &Lane, case: &Case, sent: &Reading) -> Result<Heard, String> {
    let mut wire = Wire::try_connect(lane.address)
        .map_err(|fault| format!("no connection: {fault}"))?
        .with_deadline(HANG);
    for (at, packet) in case.packets.iter().enumerate() {
        if at > 0 {
            std::thread::sleep(PACKET_PAUSE);
        }
        if wire.try_send(packet).is_err() {
            break; // refused and closed midway; what it said is read below
        }
    }
    if case.finish {
        wire.finish_sending();
    }
    let heard = listen(&mut wire, case, sent);
    if heard.is_err() {
        // What the proxy still does for this case must not be taken for the next one's.
        let _rest = wire.rest();
    }
    heard
}

/// Reads answers until the proxy closes.
fn listen(wire: &mut Wire, case: &Case, sent: &Reading) -> Result<Heard, String> {
    let mut methods = sent
        .requests
        .iter()
        .map(|request| request.head.method.as_str());
    let bytes = case.bytes();
    let unreadable = bytes.get(sent.at..).unwrap_or_default().trim_ascii_start();
    let mut answers = Vec::new();
    loop {
        let known = methods.next();
        if known.is_none() && unreadable.starts_with(b"HEAD ") {
            return after_unreadable_head(wire, answers);
        }
        // Whatever comes after the last request that can be read is an error answer.
        match wire.try_answer(known.unwrap_or("GET")) {
            Ok(answer) if answer.status() == 101 => return Err("a 101 nobody gave".to_owned()),
            Ok(answer) => answers.push(answer),
            Err(Lost::Nothing(End::Deadline)) => return Err("the connection hangs".to_owned()),
            Err(Lost::Nothing(end)) => return Ok(Heard { answers, end }),
            Err(Lost::Malformed(Fault(what))) => return Err(format!("a malformed answer: {what}")),
            Err(Lost::Cut(end, head, len)) => {
                return Err(format!(
                    "an answer cut after {len} bytes of body ({end:?}): {head:?}"
                ));
            }
        }
    }
}

/// The answer to a broken HEAD: whether the proxy read the method or not decides if it has a body, and both are right.
fn after_unreadable_head(wire: &mut Wire, mut answers: Vec<Answer>) -> Result<Heard, String> {
    let head = match wire.head("GET") {
        Ok(head) => head,
        Err(Lost::Nothing(end)) if end != End::Deadline => return Ok(Heard { answers, end }),
        Err(lost) => return Err(format!("no answer to a broken HEAD: {lost:?}")),
    };
    let (body, end) = wire.rest();
    let length = head.fields.first("content-length").unwrap_or_default();
    if !body.is_empty() && length != body.len().to_string() {
        return Err(format!(
            "{} bytes after the answer to a broken HEAD",
            body.len()
        ));
    }
    let (body_len, trailers, interim) = (body.len() as u64, Fields::default(), Vec::new());
    answers.push(Answer {
        head,
        body,
        body_len,
        trailers,
        interim,
    });
    Ok(Heard { answers, end })
}

/// A request that the proxy has given up reaches the backend when the network likes, which may be after its client has
/// seen the end: one that does not fit this case, but was sent in one before and not seen then, belongs to that.
fn without_stragglers(lane: &Lane, sent: &Reading, mut arrived: Vec<Arrived>) -> Vec<Arrived> {
    let mut owed = lane.take_owed();
    while !fits(sent, &arrived) {
        let straggler = arrived.iter().enumerate().find_map(|(at, got)| {
            let of = owed
                .iter()
                .position(|owed| compare(owed, &got.request).is_ok())?;
            Some((at, of))
        });
        let Some((at, of)) = straggler else { break };
        arrived.remove(at);
        owed.remove(of);
    }
    owed.extend(sent.requests.iter().skip(arrived.len()).cloned());
    lane.owe(owed);
    arrived
}

fn fits(sent: &Reading, arrived: &[Arrived]) -> bool {
    let mut pairs = sent.requests.iter().zip(arrived);
    arrived.len() <= sent.requests.len()
        && pairs.all(|(sent, got)| compare(sent, &got.request).is_ok())
}

/// Nothing reached the backend that the client did not say.
fn same_requests(sent: &Reading, arrived: &[Arrived], wrong: &mut Vec<String>) {
    if arrived.len() > sent.requests.len() {
        let (got, said) = (arrived.len(), sent.requests.len());
        let why = sent.fault.map_or("its end", |fault| fault.0);
        let extra = &arrived[said].request.head;
        wrong.push(format!(
            "the client sent {said} requests up to {why}, the backend got {got}: {} {}",
            extra.method, extra.target
        ));
    }
    for (sent, got) in sent.requests.iter().zip(arrived) {
        if let Err(difference) = compare(sent, &got.request) {
            wrong.push(difference.0);
        }
    }
}

/// Answers of the backend belong to requests that it got whole, and come from its own lane.
fn answers_match(lane: &Lane, heard: &Heard, arrived: &[Arrived], wrong: &mut Vec<String>) {
    let marks: Vec<String> = heard
        .answers
        .iter()
        .filter_map(|answer| answer.header(MARK))
        .collect();
    let whole = arrived
        .iter()
        .filter(|arrived| arrived.request.complete)
        .count();
    if marks.len() > whole {
        wrong.push(format!(
            "{} answers of the backend to {whole} requests",
            marks.len()
        ));
    }
    if let Some(other) = marks.iter().find(|mark| **mark != lane.number.to_string()) {
        wrong.push(format!("an answer of lane {other}"));
    }
}

fn verdict(case: &Case, sent: &Reading, arrived: &[Arrived], heard: &Heard) -> Option<String> {
    let whole = arrived
        .iter()
        .filter(|arrived| arrived.request.complete)
        .count();
    let statuses: Vec<u16> = heard.answers.iter().map(Answer::status).collect();
    let served = heard
        .answers
        .iter()
        .filter(|answer| answer.header(MARK).is_some())
        .count();
    match &case.verdict {
        Verdict::None => None,
        Verdict::Accept => {
            let want = sent.complete().count().max(1);
            (whole != want || served != want).then(|| {
                let why = sent.fault.map_or(String::new(), |fault| format!(" (read strictly: {fault})"));
                format!("must be accepted: {want} requests, {whole} forwarded, answers {statuses:?}{why}")
            })
        }
        Verdict::Refuse(before) => {
            let refused = statuses.last().is_none_or(|status| *status >= 400);
            (whole > *before || !refused)
                .then(|| format!("must be refused: {whole} forwarded, answers {statuses:?}"))
        }
        Verdict::Expect(expected) => {
            let fine = match statuses.last() {
                Some(status) => expected.allows(*status),
                None => (expected.close || expected.timeout) && heard.end != End::Deadline,
            };
            (!fine).then(|| format!("wants {expected:?}, got {statuses:?} and {:?}", heard.end))
        }
    }
}
