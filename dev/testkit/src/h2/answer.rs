//! One answer of an HTTP/2 server.

use std::time::Instant;

use super::GoAway;
use crate::client::End;
use crate::strict::Fields;

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum H2Lost {
    /// The connection ended, or nothing came in time; with the GOAWAY when there was one.
    End(End, Option<GoAway>),
}

/// An answer, or what came of it before its stream was reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct H2Answer {
    /// The stream.
    pub stream: u32,
    /// The status; 0 when the stream was reset before.
    pub status: u16,
    /// All fields but `:status`.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// Fields after the body.
    pub trailers: Fields,
    /// Interim answers (1xx) that came before it.
    pub interim: Vec<(u16, Fields)>,
    /// The code with which the server reset the stream.
    pub reset: Option<u32>,
    /// True once END_STREAM has come.
    pub ended: bool,
    /// When END_STREAM or the reset came.
    pub over_at: Option<Instant>,
}

impl H2Answer {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.fields.first(name)
    }

    /// The first value of a trailer field.
    pub fn trailer(&self, name: &str) -> Option<String> {
        self.trailers.first(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("the body is no JSON ({fault}): {:?}", self.text()))
    }

    /// Fails unless this status came, with a whole answer.
    #[track_caller]
    pub fn expect(self, status: u16) -> H2Answer {
        let (have, reset) = (self.status, self.reset);
        assert_eq!(
            (have, reset, self.ended),
            (status, None, true),
            "{:?} {}",
            self.fields,
            self.text()
        );
        self
    }

    /// Fails unless it is one of the proxy's own errors with this status and `X-Error`.
    #[track_caller]
    pub fn expect_error(self, status: u16, x_error: &str) -> H2Answer {
        let answer = self.expect(status);
        assert_eq!(answer.header("x-error").as_deref(), Some(x_error));
        answer
    }

    /// Fails unless the stream was reset with one of these codes.
    #[track_caller]
    pub fn expect_reset(self, codes: &[u32]) -> H2Answer {
        assert!(
            self.reset.is_some_and(|code| codes.contains(&code)),
            "reset {:?} and not one of {codes:?}; {} {:?} {}",
            self.reset,
            self.status,
            self.fields,
            self.text()
        );
        self
    }

    /// What an echo origin saw: the values of a request field, in order.
    #[track_caller]
    pub fn seen(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let pairs = json["headers"].as_array().expect("an echo origin answered");
        let of_name = pairs.iter().filter(|pair| {
            pair[0]
                .as_str()
                .is_some_and(|have| have.eq_ignore_ascii_case(name))
        });
        of_name
            .map(|pair| pair[1].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What an echo origin saw: the only value of a request field, or none.
    #[track_caller]
    pub fn seen_one(&self, name: &str) -> Option<String> {
        let mut values = self.seen(name);
        assert!(values.len() <= 1, "{name} more than once: {values:?}");
        values.pop()
    }
}
