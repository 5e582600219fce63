//! What an answer must hold.

use keel_balance::CheckFault;
use serde_json::Value;

/// How much of an answer a fault shows, in bytes.
const EXCERPT: usize = 60;

/// Most memory that the program of a regex may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What an answer must hold, anywhere.
#[derive(Debug, Clone)]
pub enum Expect {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A match of this regex.
    Regex(regex::bytes::Regex),
}

impl Expect {
    /// Compiles a regex (syntax of the `regex` crate, which takes linear time).
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn regex(text: &str) -> Result<Expect, String> {
        regex::bytes::RegexBuilder::new(text)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map(Expect::Regex)
            .map_err(|error| error.to_string())
    }

    /// Whether an answer, or what has come of it, holds it.
    pub(super) fn holds(&self, answer: &[u8]) -> bool {
        match self {
            Expect::Bytes(bytes) => memchr::memmem::find(answer, bytes).is_some(),
            Expect::Regex(regex) => regex.is_match(answer),
        }
    }

    /// The fault of an answer that does not hold it.
    pub(super) fn missing(&self, answer: &[u8]) -> CheckFault {
        let wanted = match self {
            Expect::Bytes(bytes) => format!("`{}`", excerpt(bytes)),
            Expect::Regex(regex) => format!("a match of `{}`", excerpt(regex.as_str().as_bytes())),
        };
        CheckFault::Body(format!("{wanted} is not in {}", shown(answer)).into())
    }
}

/// A field of a JSON answer and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTest {
    /// Names that lead to the field, from the outermost object inwards; in an array the position.
    pub path: Vec<String>,
    /// Its value: of a text the text, of a number or boolean as JSON writes it.
    pub value: String,
}

impl JsonTest {
    /// The fault of a document in which the field is missing or has another value.
    pub(super) fn fault(&self, document: &Value) -> Option<CheckFault> {
        let name = self.path.join(".");
        let mut at = document;
        for step in &self.path {
            let inner = match at {
                Value::Array(list) => step.parse().ok().and_then(|at: usize| list.get(at)),
                _ => at.get(step),
            };
            match inner {
                Some(inner) => at = inner,
                None => {
                    return Some(CheckFault::Body(format!("it has no field `{name}`").into()));
                }
            }
        }
        let is = match at {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (is != self.value).then(|| {
            let (is, wanted) = (excerpt(is.as_bytes()), &self.value);
            CheckFault::Body(format!("`{name}` is `{is}`, not `{wanted}`").into())
        })
    }
}

/// An answer in few words.
pub(super) fn shown(answer: &[u8]) -> String {
    match answer.len() {
        0 => "an empty answer".to_owned(),
        len if len <= EXCERPT => format!("`{}`", excerpt(answer)),
        len => format!("{len} bytes that begin `{}`", excerpt(answer)),
    }
}

/// The beginning of some bytes, fit for a log.
fn excerpt(bytes: &[u8]) -> String {
    let some = bytes.get(..EXCERPT).unwrap_or(bytes);
    String::from_utf8_lossy(some).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_regexes_are_found_anywhere() {
        let text = Expect::Bytes(b"+PONG".to_vec());
        assert!(text.holds(b"junk+PONG\r\n") && !text.holds(b"+PON"));
        let regex = Expect::regex(r"^220 .* ready").unwrap();
        assert!(regex.holds(b"220 mx.example.com ready") && !regex.holds(b"554 no"));
        let fault = regex.missing(b"554 \x01\r\n").to_string();
        assert!(
            fault.contains(r"a match of `^220 .* ready` is not in `554 \u{1}\r\n`"),
            "{fault}"
        );
        assert!(Expect::regex("(").is_err());
        assert!(Expect::regex(r"\w{2000}{2000}").is_err(), "too large");
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let document = serde_json::json!({
            "status": "healthy", "data": {"ready": true, "nodes": [{"n": 3}]}, "none": null,
        });
        let test = |path: &str, value: &str| JsonTest {
            path: path.split('.').map(str::to_owned).collect(),
            value: value.to_owned(),
        };
        for (path, value) in [
            ("status", "healthy"),
            ("data.ready", "true"),
            ("data.nodes.0.n", "3"),
            ("none", "null"),
        ] {
            assert_eq!(test(path, value).fault(&document), None, "{path}");
        }
        for (path, value, says) in [
            ("status", "Healthy", "`status` is `healthy`, not `Healthy`"),
            ("data.nodes.1.n", "3", "no field `data.nodes.1.n`"),
            ("status.inner", "x", "no field `status.inner`"),
        ] {
            let fault = test(path, value).fault(&document).unwrap().to_string();
            assert!(fault.contains(says), "{fault}");
        }
    }
}
