//! Bodies of requests: small JSON maps, read within limits, every key checked.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::answer::Fault;

/// Most bytes of a body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body that is a JSON map with some of these keys.
pub async fn read(body: Body, known: &[&str]) -> Result<Fields, Fault> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = match reading {
        Err(_) => {
            return Err(Fault::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()),
                "send it at once",
            ));
        }
        Ok(Err(_)) => {
            return Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {BODY_BYTES_MAX} bytes, or broke off"),
                "send a small JSON map; GET /openapi.json tells its keys",
            ));
        }
        Ok(Ok(bytes)) => bytes,
    };
    let names = || {
        known
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Fault::bad(
            format!("the body is not JSON: {error}"),
            format!("send a JSON map with {}", names()),
        )
    })?;
    let Value::Object(fields) = value else {
        return Err(Fault::bad(
            "the body is no JSON map",
            format!("send a map with {}", names()),
        ));
    };
    if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Fault::bad(
            format!("`{key}` is not known here"),
            format!("keys are {}", names()),
        ));
    }
    Ok(Fields(fields))
}

/// The keys of a body.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// A text; `None` when the key is absent or null.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Fault> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Fault::bad(
                format!("`{key}` is {other}, which is no text"),
                format!("write it in quotes: \"{key}\": \"…\""),
            )),
        }
    }

    /// A whole number from 0 to `max`; `None` when the key is absent or null.
    pub fn number(&self, key: &str, max: u32) -> Result<Option<u32>, Fault> {
        let number = match self.0.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let fits = number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= max);
        match fits {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::bad(
                format!("`{key}` is {number}"),
                format!("write a whole number from 0 to {max}"),
            )),
        }
    }

    /// The same of a key that must be there.
    pub fn needed<T>(value: Option<T>, key: &str) -> Result<T, Fault> {
        value.ok_or_else(|| Fault::bad(format!("`{key}` is missing"), format!("add `{key}`")))
    }
}
