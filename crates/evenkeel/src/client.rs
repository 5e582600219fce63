//! Asks the admin API of a running process: over its unix socket, or over TCP.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use keel_admin::ASK_SUCCESSOR;
use keel_config::admin_sockets;
use keel_control::Machine;
use keel_tls::{ClientSettings, Connector, Roots};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::Failure;
use crate::cli::Target;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A question.
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, percent-encoded.
    pub path: String,
    /// JSON.
    pub body: Option<Value>,
    /// How long the answer may take.
    pub limit: Duration,
}

/// An answer.
pub struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    /// Whether a process said so that is being replaced: it did nothing, and its successor will.
    pub fn is_of_predecessor(&self) -> bool {
        let help = self.body.pointer("/error/help").and_then(Value::as_str);
        self.status == 503 && help == Some(ASK_SUCCESSOR)
    }

    /// What was asked for; else says what is wrong. A request or a configuration that is wrong ends with exit code 2.
    pub fn fine(self) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let error = self.body.get("error").cloned().unwrap_or_default();
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let found = error.get("diagnostics").and_then(Value::as_array);
        for one in found.into_iter().flatten() {
            eprintln!("{}", finding(one));
        }
        let what = match text("what") {
            "" => format!("the process answered with status {}", self.status),
            what => what.to_owned(),
        };
        let help = match text("help") {
            "" => String::new(),
            help => format!("\nhelp: {help}"),
        };
        if self.status == 400 || found.is_some() {
            eprintln!("error: {what}{help}");
            return Err(Failure::Told);
        }
        Err(Failure::Run(anyhow!("{what}{help}")))
    }
}

/// A finding about the configuration, in the form that `check` prints, but for the line itself.
pub fn finding(one: &Value) -> String {
    let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| one.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut out = format!("{}[{}]: {}\n", text("severity"), text("code"), text("what"));
    if !text("file").is_empty() {
        let (line, column) = (number("line"), number("column"));
        out.push_str(&format!(" --> {}:{line}:{column}\n", text("file")));
    }
    for (name, label) in [("why", "why"), ("guess", "did you mean"), ("help", "help")] {
        if !text(name).is_empty() {
            out.push_str(&format!("  = {label}: {}\n", text(name)));
        }
    }
    out
}

/// Asks, and waits for the answer.
///
/// # Errors
/// When nobody is there to ask.
pub fn ask(target: &Target, question: Question<'_>) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let limit = question.limit;
    runtime.block_on(async {
        let asking = tokio::time::timeout(limit, ask_on(target, question));
        let answered = asking.await;
        answered.map_err(|_| anyhow!("no answer within {} s", limit.as_secs()))?
    })
}

async fn ask_on(target: &Target, question: Question<'_>) -> Result<Answer> {
    match &target.url {
        Some(url) => over_tcp(target, url, question).await,
        None => {
            let (stream, path) = connect_local(target.socket.as_deref()).await?;
            let asked = converse(stream, "localhost", None, question).await;
            asked.with_context(|| format!("{} broke off", path.display()))
        }
    }
}

/// The socket that was named, or the first at which somebody listens.
async fn connect_local(named: Option<&Path>) -> Result<(UnixStream, PathBuf)> {
    let paths = match named {
        Some(path) => vec![path.to_path_buf()],
        None => admin_sockets(&Machine),
    };
    let mut tried = Vec::new();
    let mut forbidden = false;
    for path in paths {
        match UnixStream::connect(&path).await {
            Ok(stream) => return Ok((stream, path)),
            Err(error) => tried.push(match error.kind() {
                ErrorKind::PermissionDenied => {
                    forbidden = true;
                    format!(
                        "{} is another user's: ask as root or as the user of the process",
                        path.display()
                    )
                }
                ErrorKind::NotFound => format!("there is no socket {}", path.display()),
                ErrorKind::ConnectionRefused => {
                    format!("nobody listens on {} any more", path.display())
                }
                _ => format!("{}: {error}", path.display()),
            }),
        }
    }
    let tried = tried.join("; ");
    if forbidden {
        bail!("{tried}");
    }
    bail!(
        "{tried}. Is it running? Name its socket with --socket PATH (`admin: {{ socket: … }}` of its configuration), or its address with --url"
    )
}

async fn over_tcp(target: &Target, url: &str, question: Question<'_>) -> Result<Answer> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("`{url}` is no URL; write http://127.0.0.1:9900"))?;
    let authority = uri
        .authority()
        .with_context(|| format!("`{url}` has no host; write http://127.0.0.1:9900"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => bail!("`{url}` is neither http:// nor https://"),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let token = target.token.as_deref().map(token).transpose()?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)));
    let stream = connecting
        .await
        .map_err(|_| {
            anyhow!(
                "{url}: no connection within {} s",
                CONNECT_TIMEOUT.as_secs()
            )
        })?
        .with_context(|| format!("{url}: is it running?"))?;
    if !tls {
        let asked = converse(stream, authority.as_str(), token.as_deref(), question).await;
        return asked.with_context(|| format!("{url} broke off"));
    }
    let settings = ClientSettings {
        roots: target.ca.clone().map_or(Roots::System, Roots::File),
        certificate: target.cert.clone().zip(target.key.clone()),
        ..ClientSettings::default()
    };
    let (connector, _) = Connector::new(settings).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow!("{}", faults.join("; "))
    })?;
    let stream = connector.connect(host, stream).await;
    let stream = stream.map_err(|fault| anyhow!("{url}: TLS: {fault}"))?;
    let asked = converse(stream, authority.as_str(), token.as_deref(), question).await;
    asked.with_context(|| format!("{url} broke off"))
}

/// `env:NAME` and `file:PATH` keep a token out of the list of processes.
fn token(text: &str) -> Result<String> {
    if let Some(name) = text.strip_prefix("env:") {
        return std::env::var(name).with_context(|| format!("--token: `{name}` is not set"));
    }
    if let Some(path) = text.strip_prefix("file:") {
        let token = std::fs::read_to_string(path).with_context(|| format!("--token: {path}"))?;
        return Ok(token.trim_end().to_owned());
    }
    Ok(text.to_owned())
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    token: Option<&str>,
    question: Question<'_>,
) -> Result<Answer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; what went wrong with it the answer tells.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(question.method)
        .uri(&question.path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match &question.body {
        None => Body::empty(),
        Some(json) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(json.to_string())
        }
    };
    let answer = sender.send_request(request.body(body)?).await?;
    let status = answer.status().as_u16();
    let bytes = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::String(text));
    Ok(Answer { status, body })
}

/// A name as a segment of a path (RFC 3986 section 3.3).
pub fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_stops_is_asked_again() {
        let answer = |status, help: &str| Answer {
            status,
            body: serde_json::json!({ "error": { "what": "x", "help": help } }),
        };
        assert!(answer(503, ASK_SUCCESSOR).is_of_predecessor());
        assert!(!answer(503, "try again in a moment").is_of_predecessor());
        assert!(!answer(409, ASK_SUCCESSOR).is_of_predecessor());
    }

    #[test]
    fn names_become_segments() {
        assert_eq!(segment("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(segment("[::1]:80/a b"), "%5B::1%5D:80%2Fa%20b");
    }

    #[test]
    fn a_finding_reads_like_that_of_check() {
        let one = serde_json::json!({
            "code": "E0101", "severity": "error", "file": "a.yaml", "line": 3, "column": 5,
            "what": "`x` is not a key", "why": "it would do nothing", "help": null, "guess": "y",
        });
        assert_eq!(
            finding(&one),
            "error[E0101]: `x` is not a key\n --> a.yaml:3:5\n  = why: it would do nothing\n  = did you mean: y\n"
        );
    }
}
