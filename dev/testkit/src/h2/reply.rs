//! What an HTTP/2 origin saw, and what it answers.

use std::time::Duration;

use serde_json::json;

use crate::origin::{Check, pattern};
use crate::strict::Fields;

/// A whole request.
#[derive(Debug, Clone, Default)]
pub struct H2Seen {
    /// All fields, with pseudo-fields.
    pub fields: Fields,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Its whole length, and whether it followed the pattern.
    pub check: Check,
    /// Fields after the body.
    pub trailers: Fields,
    /// Its stream.
    pub stream: u32,
    /// Which connection, from 0.
    pub connection: usize,
    /// Which request on that connection, from 1.
    pub nth: usize,
    /// Which request at this origin, from 1.
    pub nth_of_all: usize,
}

impl H2Seen {
    /// `:method`.
    pub fn method(&self) -> String {
        self.fields.first(":method").unwrap_or_default()
    }

    /// `:path`.
    pub fn path(&self) -> String {
        self.fields.first(":path").unwrap_or_default()
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.fields.first(name)
    }
}

/// Owned names and values.
pub(super) type Pairs = Vec<(String, String)>;

fn pairs(fields: &[(&str, &str)]) -> Pairs {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With END_STREAM.
    Whole,
    /// With RST_STREAM after what there is of it.
    Reset(u32),
    /// Never.
    Open,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct H2Reply {
    pub(super) interim: Vec<(u16, Pairs)>,
    /// 0 is no head at all.
    pub(super) status: u16,
    pub(super) fields: Pairs,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Pairs,
    pub(super) delay: Duration,
    pub(super) ending: Ending,
    /// GOAWAY before all else: the last stream counted from this one, and a code.
    pub(super) goaway: Option<(i64, u32)>,
}

impl H2Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> H2Reply {
        H2Reply {
            interim: Vec::new(),
            status,
            fields: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            delay: Duration::ZERO,
            ending: Ending::Whole,
            goaway: None,
        }
    }

    /// 200 with a text.
    pub fn text(text: &str) -> H2Reply {
        H2Reply::new(200).body(text)
    }

    /// RST_STREAM and nothing else.
    pub fn reset(code: u32) -> H2Reply {
        H2Reply::new(0).then_reset(code)
    }

    /// Nothing at all, for ever.
    pub fn silence() -> H2Reply {
        H2Reply {
            ending: Ending::Open,
            ..H2Reply::new(0)
        }
    }

    /// GOAWAY that says that this request was not looked at, and nothing else.
    pub fn unprocessed() -> H2Reply {
        H2Reply {
            goaway: Some((-2, 0)),
            ..H2Reply::silence()
        }
    }

    /// Sends GOAWAY first, with this request as the last.
    pub fn with_goaway(self, code: u32) -> H2Reply {
        H2Reply {
            goaway: Some((0, code)),
            ..self
        }
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: &str) -> H2Reply {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a field away.
    pub fn without(mut self, name: &str) -> H2Reply {
        self.fields.retain(|(have, _)| have != name);
        self
    }

    /// A body; no Content-Length is added.
    pub fn body(self, body: impl Into<Vec<u8>>) -> H2Reply {
        H2Reply {
            body: body.into(),
            ..self
        }
    }

    /// So many bytes of the pattern as the body.
    pub fn pattern(self, len: usize) -> H2Reply {
        self.body(
            pattern()
                .iter()
                .copied()
                .cycle()
                .take(len)
                .collect::<Vec<u8>>(),
        )
    }

    /// Fields after the body.
    pub fn trailers(self, fields: &[(&str, &str)]) -> H2Reply {
        H2Reply {
            trailers: pairs(fields),
            ..self
        }
    }

    /// An interim answer before it.
    pub fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> H2Reply {
        self.interim.push((status, pairs(fields)));
        self
    }

    /// Answers only after so long.
    pub fn after(self, delay: Duration) -> H2Reply {
        H2Reply { delay, ..self }
    }

    /// Resets the stream after head and body instead of ending it.
    pub fn then_reset(self, code: u32) -> H2Reply {
        H2Reply {
            ending: Ending::Reset(code),
            ..self
        }
    }

    /// Never ends the stream after head and body.
    pub fn then_silence(self) -> H2Reply {
        H2Reply {
            ending: Ending::Open,
            ..self
        }
    }

    /// What the path asks for, else an echo as JSON. `/bytes/N` gives N bytes of the pattern, `/status/N`, `/delay/MS`
    /// waits first, `/trailers` has trailers, `/interim` a 103 first.
    pub fn standard(name: &str, seen: &H2Seen) -> H2Reply {
        let path = seen.path();
        let mut parts = path.split(['/', '?']).skip(1);
        let what = parts.next().unwrap_or_default().to_owned();
        let number = parts.next().and_then(|number| number.parse::<u64>().ok());
        let small = |number: u64| usize::try_from(number).unwrap_or(0);
        let reply = match (what.as_str(), number) {
            ("bytes", Some(len)) => H2Reply::new(200)
                .with("content-length", &len.to_string())
                .pattern(small(len)),
            ("stream", Some(len)) => H2Reply::new(200).pattern(small(len)),
            ("status", Some(status)) => H2Reply::new(u16::try_from(status).unwrap_or(500)),
            ("delay", Some(ms)) => H2Reply::echo(name, seen).after(Duration::from_millis(ms)),
            ("trailers", _) => H2Reply::echo(name, seen)
                .without("content-length")
                .trailers(&[("x-sum", "42")]),
            ("interim", _) => H2Reply::echo(name, seen).interim(103, &[("link", "</a>")]),
            _ => H2Reply::echo(name, seen),
        };
        reply.with("x-origin", name)
    }

    /// What was seen, as JSON with the keys of the origin for HTTP/1, and `scheme`, `authority` and `stream`.
    pub fn echo(name: &str, seen: &H2Seen) -> H2Reply {
        let list = |fields: &Fields| -> Pairs {
            let regular = fields.0.iter().filter(|(name, _)| !name.starts_with(':'));
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            regular
                .map(|(name, value)| (name.clone(), text(value)))
                .collect()
        };
        let body = json!({
            "origin": name,
            "protocol": "HTTP/2.0",
            "method": seen.method(),
            "target": seen.path(),
            "scheme": seen.fields.first(":scheme"),
            "authority": seen.fields.first(":authority"),
            "headers": list(&seen.fields),
            "body": String::from_utf8_lossy(&seen.body),
            "body_len": seen.check.len,
            "body_is_pattern": !seen.check.broken,
            "trailers": list(&seen.trailers),
            "connection": seen.connection,
            "nth": seen.nth,
            "stream": seen.stream,
        });
        let body = body.to_string();
        H2Reply::new(200)
            .with("content-type", "application/json")
            .with("content-length", &body.len().to_string())
            .body(body)
    }
}
