//! Answers of a broken backend: the client gets one well-framed answer that is in the bytes, or 502, and is never out of step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keel_testkit::client::Lost;
use keel_testkit::strict::{BodyDecoder, Mode, ResponseHead, Step, take_response_head};
use keel_testkit::{Answer, Wire};

use crate::lane::{Answering, Lane, Lanes};
use crate::verdicts::{Ours, Verdicts};

/// No deadline of the proxy is near this.
const HANG: Duration = Duration::from_secs(10);

/// What a backend does with one request.
#[derive(Debug, Clone)]
pub struct BackendCase {
    /// Suite and name.
    pub id: String,
    /// All that it sends.
    pub bytes: Vec<u8>,
    /// Method of the request.
    pub method: &'static str,
    /// Whether it closes after the last byte, or waits.
    pub close: bool,
    /// Whether the suite says that this is a good answer, so that a 502 would be wrong.
    pub must_pass: bool,
}

/// What the bytes are, read strictly.
#[derive(Debug)]
enum Truth {
    /// A whole answer.
    Whole(Box<ResponseHead>, Vec<u8>),
    /// The head is good; the body ends too early or is broken after these bytes.
    Broken(u16, Vec<u8>),
    /// There is no answer in it.
    Nothing,
}

/// Runs a suite of answers.
pub fn run(suite: &str, cases: Vec<BackendCase>) {
    assert!(!cases.is_empty(), "{suite} has no cases");
    let verdicts = Verdicts::load(suite);
    let either: Vec<bool> = cases
        .iter()
        .map(|case| verdicts.of(&case.id) == Some(&Ours::Either))
        .collect();
    let unused = verdicts.unused();
    assert!(unused.is_empty(), "{unused:#?}");
    let playing: Arc<Mutex<HashMap<usize, BackendCase>>> = Arc::default();
    let cases: Vec<_> = cases.into_iter().zip(either).collect();
    Lanes::start(backend(Arc::clone(&playing))).run(cases, |lane, (case, either)| {
        playing
            .lock()
            .expect("no lane panics")
            .insert(lane.number, case.clone());
        judge(lane, case, *either)
    });
}

/// `/probe` is answered well; anything else as the lane's case says.
fn backend(playing: Arc<Mutex<HashMap<usize, BackendCase>>>) -> Answering {
    Arc::new(move |stage, request, number| {
        if request.head.target == "/probe" {
            return stage.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Probe: yes\r\n\r\nprobe");
        }
        let case = playing
            .lock()
            .expect("no lane panics")
            .get(&number)
            .cloned();
        let case = case.expect("a lane plays a case before it is asked");
        stage.send(&case.bytes) && !case.close
    })
}

fn judge(lane: &Lane, case: &BackendCase, either: bool) -> Vec<String> {
    let truth = truth(case);
    let mut wrong = Vec::new();
    let mut wire = match Wire::try_connect(lane.address) {
        Ok(wire) => wire.with_deadline(HANG),
        Err(fault) => return vec![format!("{}: no connection: {fault}", case.id)],
    };
    let _gone = wire.try_send(format!(
        "{} /case HTTP/1.1\r\nHost: corpus.example\r\n\r\n",
        case.method
    ));
    let answer = wire.try_answer(case.method);
    if let Err(why) = first_answer(case, &truth, either, &answer) {
        wrong.push(format!("{why}; read strictly: {truth:?}"));
    }
    let keeps = answer.is_ok_and(|answer| !answer.head.fields.lists("connection", "close"));
    if let Err(why) = probe(lane, keeps.then_some(wire)) {
        wrong.push(why);
    }
    let _seen = lane.take();
    wrong.extend(lane.faults());
    wrong
        .into_iter()
        .map(|what| format!("{}: {what}", case.id))
        .collect()
}

/// The next request, on the same connection where that is kept, gets its own answer.
fn probe(lane: &Lane, kept: Option<Wire>) -> Result<(), String> {
    let wire = match kept {
        Some(wire) => Ok(wire),
        None => Wire::try_connect(lane.address).map(|wire| wire.with_deadline(HANG)),
    };
    let mut wire = wire.map_err(|fault| format!("no connection for the next request: {fault}"))?;
    let _gone = wire.try_send("GET /probe HTTP/1.1\r\nHost: corpus.example\r\n\r\n");
    match wire.try_answer("GET") {
        Ok(answer) if answer.header("x-probe").is_some() && answer.text() == "probe" => Ok(()),
        other => Err(format!("the next request is out of step: {other:?}")),
    }
}

/// Reads the bytes as the answer to the case's request.
fn truth(case: &BackendCase) -> Truth {
    let mut at = 0;
    loop {
        match take_response_head(&case.bytes[at..], case.method) {
            Ok(Step::Done(head, _)) if head.status == 101 => return Truth::Nothing,
            Ok(Step::Done(head, used)) if head.status < 200 => {
                at += used;
                let _interim = head;
            }
            Ok(Step::Done(head, used)) => return body_truth(case, head, at + used),
            Ok(Step::NeedMore) | Err(_) => return Truth::Nothing,
        }
    }
}

fn body_truth(case: &BackendCase, head: ResponseHead, at: usize) -> Truth {
    let mut decoder = BodyDecoder::new(head.framing, Mode::FromClient);
    let mut body = Vec::new();
    let fed = decoder.feed(&case.bytes[at..], &mut |data| body.extend_from_slice(data));
    let ended = decoder.is_done() || case.close && decoder.may_end_here();
    match fed {
        Ok(_) if ended => Truth::Whole(Box::new(head), body),
        _ => Truth::Broken(head.status, body),
    }
}

fn first_answer(
    case: &BackendCase,
    truth: &Truth,
    either: bool,
    answer: &Result<Answer, Lost>,
) -> Result<(), String> {
    let ours = |status: u16, answer: &Answer| {
        matches!(status, 502 | 504) && answer.header("x-error").is_some()
    };
    match (truth, answer) {
        (_, Err(Lost::Malformed(fault))) => Err(format!("a malformed answer: {fault}")),
        (_, Ok(answer)) if ours(answer.status(), answer) => {
            match (truth, case.must_pass && !either) {
                (Truth::Whole(..), true) => Err("a good answer became 502".to_owned()),
                _ => Ok(()),
            }
        }
        (_, Ok(_)) if either => Ok(()),
        (Truth::Whole(head, body), Ok(answer)) => {
            let same =
                answer.status() == head.status && (answer.body == *body || case.method == "HEAD");
            let text = || format!("status {} and {:?}", answer.status(), answer.text());
            same.then_some(())
                .ok_or_else(|| format!("the client got another answer: {}", text()))
        }
        (Truth::Broken(status, body), Err(Lost::Cut(_, Some(head), len))) => {
            let fits = head.status == *status && *len <= body.len() as u64;
            fits.then_some(())
                .ok_or_else(|| format!("cut, but of another answer: {head:?}, {len} bytes"))
        }
        (Truth::Broken(..), Ok(answer)) => Err(format!(
            "a broken answer reached the client as a whole one: {} with {} bytes",
            answer.status(),
            answer.body_len
        )),
        (Truth::Nothing, Ok(answer)) => Err(format!(
            "no answer, yet the client got {}: {:?}",
            answer.status(),
            answer.text()
        )),
        (_, Err(lost)) => Err(format!("no answer: {lost:?}")),
    }
}
