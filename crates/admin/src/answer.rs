//! Answers: JSON, and errors that say what, where and how to mend it.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use keel_config::{Diagnostic, Severity};
use keel_control::{ChangeFault, ReloadFault, SaveFault};
use keel_l7::FixedAnswer;
use serde_json::{Value, json};

use crate::access::Denied;

/// The help of an answer 503 by a process that stops: nothing was done, and where another process takes its place, that
/// one can be asked the same at once.
pub const ASK_SUCCESSOR: &str = "ask the process that takes its place";

/// An error.
#[derive(Debug)]
pub struct Fault {
    pub status: StatusCode,
    /// What is wrong, one sentence.
    pub what: String,
    /// How to mend it.
    pub help: String,
    /// Findings about the configuration, where that is the reason.
    pub diagnostics: Vec<Value>,
}

impl Fault {
    pub fn new(status: StatusCode, what: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault {
            status,
            what: what.into(),
            help: help.into(),
            diagnostics: Vec::new(),
        }
    }

    /// A request that makes no sense.
    pub fn bad(what: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, what, help)
    }

    /// The answer; `place` is the method and path that were asked.
    pub fn answer(self, place: &str) -> Response<Body> {
        let mut error = json!({ "what": self.what, "where": place, "help": self.help });
        if let (false, Some(fields)) = (self.diagnostics.is_empty(), error.as_object_mut()) {
            fields.insert("diagnostics".to_owned(), self.diagnostics.into());
        }
        let mut response = json_answer(self.status, &json!({ "error": error }));
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"evenkeel\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// A JSON answer.
pub fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    text_answer(status, format!("{value:#}\n"))
}

/// The same of a text that is JSON already.
pub fn text_answer(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One of our own pages.
pub fn page(page: FixedAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(page.body.to_vec()));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let typed = [("content-type".to_owned(), page.content_type)];
    for (name, value) in typed.iter().chain(&page.headers) {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A finding about the configuration.
pub fn diagnostic(found: &Diagnostic) -> Value {
    let severity = match found.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "code": found.code.id,
        "severity": severity,
        "file": found.at.file,
        "line": found.at.line,
        "column": found.at.column,
        "what": found.what,
        "why": found.why,
        "help": found.help,
        "guess": found.guess,
    })
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Fault {
        match denied {
            Denied::User(uid) => Fault::new(
                StatusCode::FORBIDDEN,
                format!("user {uid} may not use this socket"),
                "ask as root, or as the user of the process",
            ),
            Denied::Token => Fault::new(
                StatusCode::UNAUTHORIZED,
                "the token is wrong",
                "send that of `admin: { token: … }`, without quotes",
            ),
            Denied::CrossSite => Fault::new(
                StatusCode::FORBIDDEN,
                "a web page may not change anything here",
                "send no `Origin` and no `Sec-Fetch-Site` of another site: use `evenkeel` or curl, not a browser",
            ),
            Denied::Nothing { token: true, .. } => Fault::new(
                StatusCode::UNAUTHORIZED,
                "this needs the token",
                "send `Authorization: Bearer TOKEN` with that of `admin: { token: … }`, or use the unix socket",
            ),
            Denied::Nothing {
                certificate: true, ..
            } => Fault::new(
                StatusCode::FORBIDDEN,
                "this needs a client certificate",
                "show one that the CA of `admin: { tls: { client: … } }` signed, or use the unix socket",
            ),
            Denied::Nothing { .. } => Fault::new(
                StatusCode::FORBIDDEN,
                "over TCP this process can only be looked at",
                "use the unix socket (`evenkeel status` and the like do), or set `admin: { token: env:NAME }`",
            ),
        }
    }
}

impl From<ChangeFault> for Fault {
    fn from(fault: ChangeFault) -> Fault {
        let what = fault.to_string();
        let (status, help) = match fault {
            ChangeFault::NoPool(_) => (StatusCode::NOT_FOUND, "GET /pools tells the pools"),
            ChangeFault::NoServer { .. } => (
                StatusCode::NOT_FOUND,
                "take one of those names; GET /pools/POOL/servers tells more",
            ),
            ChangeFault::Exists { .. } => (
                StatusCode::CONFLICT,
                "take another name, or change the one that is there",
            ),
            ChangeFault::Bad(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "nothing was changed; mend the request",
            ),
            ChangeFault::Start(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "nothing was changed; the log tells more",
            ),
            ChangeFault::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "nothing was changed; try again in a moment",
            ),
            ChangeFault::Stopping => (StatusCode::SERVICE_UNAVAILABLE, ASK_SUCCESSOR),
        };
        Fault::new(status, what, help)
    }
}

impl From<ReloadFault> for Fault {
    fn from(fault: ReloadFault) -> Fault {
        let diagnostics: Vec<Value> = fault.diagnostics().iter().map(diagnostic).collect();
        let (status, what, help) = match &fault {
            ReloadFault::Bad(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "the configuration has errors".to_owned(),
                "mend the file and reload again; what runs goes on as it was",
            ),
            ReloadFault::NoFile => (
                StatusCode::CONFLICT,
                fault.to_string(),
                "start it from a file",
            ),
            ReloadFault::Start(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                fault.to_string(),
                "what runs goes on as it was; mend the cause and reload again",
            ),
            ReloadFault::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                fault.to_string(),
                "try again in a moment",
            ),
            ReloadFault::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                fault.to_string(),
                ASK_SUCCESSOR,
            ),
        };
        Fault {
            diagnostics,
            ..Fault::new(status, what, help)
        }
    }
}

impl From<SaveFault> for Fault {
    fn from(fault: SaveFault) -> Fault {
        let what = fault.to_string();
        let (status, help) = match fault {
            SaveFault::NoFile => (StatusCode::CONFLICT, "start it from a file"),
            SaveFault::Changed(_) => (
                StatusCode::CONFLICT,
                "POST /reload, look at GET /pools, then save again",
            ),
            SaveFault::Edit(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "nothing was written; edit the file by hand and reload",
            ),
            SaveFault::Write { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "give the process's user the right to write the file and its folder",
            ),
            SaveFault::Written(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "look at the file, then POST /reload",
            ),
            SaveFault::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "nothing was written; try again in a moment",
            ),
            SaveFault::Stopping => (StatusCode::SERVICE_UNAVAILABLE, ASK_SUCCESSOR),
        };
        Fault::new(status, what, help)
    }
}
