//! The documents that the origins serve, named by the last segment of a path.

use serde::{Deserialize, Serialize};

/// What an origin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// 90 bytes of JSON.
    Small,
    /// 10 KiB.
    TenKib,
    /// 1 MiB.
    OneMib,
    /// 2 MiB, for slow readers.
    TwoMib,
    /// 8 MiB, more than the kernel's buffers take from a proxy whose client does not read.
    EightMib,
}

/// The 90 bytes of [`Document::Small`].
const SMALL: &str =
    r#"{"id":"0d9f7c1e","name":"evenkeel","state":"healthy","count":1234567,"list":[1,2,3,45,67]}"#;

impl Document {
    /// All of them.
    pub const ALL: [Document; 5] = [
        Document::Small,
        Document::TenKib,
        Document::OneMib,
        Document::TwoMib,
        Document::EightMib,
    ];

    /// Last segment of its path.
    pub const fn name(self) -> &'static str {
        match self {
            Document::Small => "small",
            Document::TenKib => "10k",
            Document::OneMib => "1m",
            Document::TwoMib => "2m",
            Document::EightMib => "8m",
        }
    }

    /// Bytes of its body.
    pub const fn bytes(self) -> u64 {
        match self {
            Document::Small => SMALL.len() as u64,
            Document::TenKib => 10 << 10,
            Document::OneMib => 1 << 20,
            Document::TwoMib => 2 << 20,
            Document::EightMib => 8 << 20,
        }
    }

    /// Head and body as an origin sends them.
    pub fn answer(self) -> Vec<u8> {
        let kind = if self == Document::Small {
            "application/json"
        } else {
            "text/html"
        };
        answer(kind, &self.body())
    }

    /// Its body.
    pub fn body(self) -> Vec<u8> {
        if self == Document::Small {
            return SMALL.as_bytes().to_vec();
        }
        let line =
            b"<p>The quick brown fox jumps over the lazy dog, and a proxy passes it on.</p>\n";
        line.iter()
            .copied()
            .cycle()
            .take(self.bytes() as usize)
            .collect()
    }
}

/// An answer of an origin, with the fields that applications commonly send.
pub fn answer(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nX-Powered-By: keel-bench\r\nCache-Control: no-store\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn documents_are_as_long_as_they_say() {
        assert_eq!(Document::Small.bytes(), 90);
        for document in Document::ALL {
            assert_eq!(document.body().len() as u64, document.bytes());
            let answer = document.answer();
            let head = wire::answer_head(&answer).unwrap().unwrap();
            assert_eq!(head.body, wire::Body::Length(document.bytes()));
            assert_eq!((answer.len() - head.len) as u64, document.bytes());
        }
    }
}
