//! The origin that most tests use: it answers what it saw as JSON, or what the path asks for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::reply::BODY_KEPT_MAX;
use super::{Check, Origin, Reply, Seen, Stage};
use crate::strict::{BodyDecoder, Fields, Mode};

impl Origin {
    /// Answers each request as the closure says, over kept connections.
    pub fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::with_handler(
            "answering",
            Arc::new(move |stage| serve(stage, "", &answer)),
        )
    }

    /// The usual one. What the path asks for, else an echo as JSON:
    /// `/bytes/N`, `/chunks/N`, `/until-close/N` give N bytes of the pattern, with Content-Length, chunked, or ended
    /// by the close; `/status/N`; `/delay/MS` waits first; `/close` closes after the answer. Each answer carries `X-Origin`.
    pub fn named(name: &str) -> Origin {
        let own = name.to_owned();
        let handler = move |stage: &mut Stage| serve_named(stage, &own);
        Origin::with_handler(name, Arc::new(handler))
    }

    /// As [`Origin::named`], on an address of the caller's.
    pub fn named_at(address: std::net::SocketAddr, name: &str) -> Origin {
        let own = name.to_owned();
        let handler = move |stage: &mut Stage| serve_named(stage, &own);
        Origin::with_handler_at(address, name, Arc::new(handler))
    }

    /// As [`Origin::named`], where the name does not matter.
    pub fn echo() -> Origin {
        Origin::named("echo")
    }
}

pub(super) fn serve_named(stage: &mut Stage, name: &str) {
    serve(stage, name, &|seen| standard(name, seen));
}

pub(super) fn serve(stage: &mut Stage, name: &str, answer: &dyn Fn(&Seen) -> Reply) {
    while let Some(seen) = read(stage) {
        let keeps = seen.head.keeps_alive();
        if !answer(&seen).send(stage, &seen.head.method, name) || !keeps {
            return;
        }
    }
}

fn read(stage: &mut Stage) -> Option<Seen> {
    let head = stage.head()?;
    if head
        .fields
        .first("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        stage.send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut decoder = BodyDecoder::new(head.framing, Mode::ToBackend);
    let (mut body, mut check) = (Vec::new(), Check::default());
    stage.body(&mut decoder, &mut |data| {
        check.feed(data);
        let keep = BODY_KEPT_MAX.saturating_sub(body.len()).min(data.len());
        body.extend_from_slice(&data[..keep]);
    })?;
    let (connection, nth) = (stage.number(), stage.requests());
    Some(Seen {
        head,
        body,
        check,
        trailers: decoder.into_trailers(),
        connection,
        nth,
    })
}

fn standard(name: &str, seen: &Seen) -> Reply {
    let path = seen.head.target.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').skip(1);
    let what = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|number| number.parse::<u64>().ok());
    match (what, number) {
        ("bytes", Some(len)) => Reply::new(200).pattern(len),
        ("chunks", Some(len)) => Reply::new(200).pattern_chunks(len),
        ("until-close", Some(len)) => Reply::new(200).pattern_until_close(len),
        ("status", Some(status)) => Reply::new(u16::try_from(status).unwrap_or(500)),
        ("delay", Some(ms)) => echo(name, seen).after(Duration::from_millis(ms)),
        ("close", _) => echo(name, seen).close(),
        _ => echo(name, seen),
    }
}

fn echo(name: &str, seen: &Seen) -> Reply {
    let pairs = |fields: &Fields| -> Vec<(String, String)> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        fields
            .0
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    };
    let body = json!({
        "origin": name,
        "method": seen.head.method,
        "target": seen.head.target,
        "headers": pairs(&seen.head.fields),
        "framing": format!("{:?}", seen.head.framing),
        "body": String::from_utf8_lossy(&seen.body),
        "body_len": seen.check.len,
        "body_is_pattern": !seen.check.broken,
        "trailers": pairs(&seen.trailers),
        "connection": seen.connection,
        "nth": seen.nth,
    });
    Reply::new(200)
        .with("Content-Type", "application/json")
        .body(body.to_string())
}
