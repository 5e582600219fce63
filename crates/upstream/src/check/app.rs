//! What an application says of itself in the JSON of its health page: `status`, `version`, `uptime`
//! and `checks`, for the status pages. Nothing here decides.

use serde_json::Value;

/// Most `checks` that are kept.
const CHECKS_MAX: usize = 32;

/// Most bytes that are kept of a text.
const TEXT_MAX: usize = 200;

/// What an application said of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppHealth {
    /// `status`, as `healthy`.
    pub status: Option<String>,
    /// `version`.
    pub version: Option<String>,
    /// `uptime`, in seconds.
    pub uptime_s: Option<f64>,
    /// `checks`: their names, and what each says (`true`, `ok`, or the `status` of an object).
    pub checks: Vec<(String, String)>,
}

impl AppHealth {
    /// Reads a document; `None` when it tells nothing of this.
    pub(super) fn read(document: &Value) -> Option<AppHealth> {
        let found = AppHealth {
            status: document.get("status").and_then(text),
            version: document.get("version").and_then(text),
            uptime_s: document.get("uptime").and_then(Value::as_f64),
            checks: checks(document.get("checks")),
        };
        (found != AppHealth::default()).then_some(found)
    }
}

fn checks(value: Option<&Value>) -> Vec<(String, String)> {
    let Some(Value::Object(checks)) = value else {
        return Vec::new();
    };
    let one = |(name, value): (&String, &Value)| {
        let says = text(value).or_else(|| value.get("status").and_then(text))?;
        Some((cut(name), says))
    };
    checks.iter().filter_map(one).take(CHECKS_MAX).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(cut(text)),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read_and_bounded() {
        let document = serde_json::json!({
            "status": "unhealthy", "version": "1.4.2", "uptime": 12345.5,
            "checks": {"database": true, "redis": false, "disk": {"status": "ok", "free": 0.4}, "odd": []},
        });
        let app = AppHealth::read(&document).unwrap();
        assert_eq!(app.status.as_deref(), Some("unhealthy"));
        assert_eq!(app.version.as_deref(), Some("1.4.2"));
        assert_eq!(app.uptime_s, Some(12345.5));
        let mut checks: Vec<String> = app
            .checks
            .iter()
            .map(|(name, says)| format!("{name}={says}"))
            .collect();
        checks.sort();
        assert_eq!(checks, ["database=true", "disk=ok", "redis=false"]);
        assert_eq!(AppHealth::read(&serde_json::json!([1, 2])), None);
        assert_eq!(AppHealth::read(&serde_json::json!({"a": 1})), None);
        let long = serde_json::json!({"status": "ä".repeat(10_000)});
        assert_eq!(
            AppHealth::read(&long).unwrap().status.unwrap().len(),
            TEXT_MAX
        );
    }
}
