//! One answer, read strictly.

use crate::strict::{Fields, ResponseHead};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status line and fields.
    pub head: ResponseHead,
    /// The body without transfer coding; empty when it was counted only.
    pub body: Vec<u8>,
    /// Bytes of the body, also when it was not kept.
    pub body_len: u64,
    /// Fields after a chunked body.
    pub trailers: Fields,
    /// Interim answers (1xx) that came before it.
    pub interim: Vec<ResponseHead>,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.fields.first(name)
    }

    /// All values of a field.
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.head
            .fields
            .all(name)
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("the body is no JSON ({fault}): {:?}", self.text()))
    }

    /// Fails unless the status is this one; gives the answer back for more questions.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status(), status, "{:?} {}", self.head, self.text());
        self
    }

    /// Fails unless it is one of the proxy's own errors with this status and `X-Error`.
    #[track_caller]
    pub fn expect_error(self, status: u16, x_error: &str) -> Answer {
        assert_eq!(
            (self.status(), self.header("x-error").as_deref()),
            (status, Some(x_error)),
            "{:?} {}",
            self.head,
            self.text()
        );
        self
    }

    /// What an echo origin saw: the values of a request field, in order.
    pub fn seen(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let headers = json["headers"]
            .as_array()
            .expect("an echo origin answered")
            .clone();
        headers
            .iter()
            .filter(|pair| {
                pair[0]
                    .as_str()
                    .is_some_and(|have| have.eq_ignore_ascii_case(name))
            })
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

    /// The name of the echo origin that answered.
    pub fn origin(&self) -> String {
        self.json()["origin"]
            .as_str()
            .expect("an echo origin answered")
            .to_owned()
    }
}
