//! How the servers of a pool are checked.

use std::fmt::Write;
use std::sync::Arc;

use keel_balance::{CheckSettings, StatusSet};
use keel_tls::Connector;

use super::expect::{Expect, JsonTest};

/// How the servers of a pool are checked.
#[derive(Debug, Clone)]
pub struct CheckPlan {
    /// How a server is asked.
    pub probe: Probe,
    /// When, and what its answers come to.
    pub settings: CheckSettings,
    /// Port that is asked; `None` is the server's.
    pub port: Option<u16>,
    /// TLS; `None` is none. Its ALPN has to fit what is spoken.
    pub tls: Option<Arc<Connector>>,
}

/// How a server is asked.
#[derive(Debug, Clone)]
pub enum Probe {
    /// By connecting, and the TLS handshake with TLS.
    Tcp,
    /// By an HTTP request.
    Http(HttpProbe),
    /// By `grpc.health.v1.Health/Check` over HTTP/2.
    Grpc {
        /// Name of the service; empty is the server as a whole.
        service: String,
        /// `:authority`; `None` is the server's address.
        host: Option<String>,
    },
    /// By a text that is sent and one that must come back.
    Exchange(Exchange),
}

/// What is spoken in a check by HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, over TLS or by prior knowledge.
    Http2,
    /// What the server chooses by ALPN; HTTP/1.1 in clear.
    Auto,
}

/// A check by an HTTP request.
#[derive(Debug, Clone)]
pub struct HttpProbe {
    /// What is spoken.
    pub protocol: CheckProtocol,
    /// A token.
    pub method: String,
    /// Path with query; begins with `/`.
    pub path: String,
    /// Host; `None` is the server's address with the port that is asked.
    pub host: Option<String>,
    /// More fields. Those that the check sends itself (User-Agent, Accept) are replaced.
    pub headers: Vec<(String, String)>,
    /// Statuses that pass.
    pub statuses: StatusSet,
    /// What the body must hold; `None` is anything.
    pub body: Option<Expect>,
    /// Fields that the body must have, all of them; empty: it need not be JSON.
    pub json: Vec<JsonTest>,
}

impl Default for HttpProbe {
    /// `GET /`, which passes with 200 to 399.
    fn default() -> Self {
        HttpProbe {
            protocol: CheckProtocol::Http1,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            statuses: StatusSet::of(200..=399),
            body: None,
            json: Vec::new(),
        }
    }
}

/// A check by a text that is sent and one that must come back.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What is sent once connected; empty when the server speaks first.
    pub send: Vec<u8>,
    /// What must come back within the first [`super::BODY_MAX`] bytes; `None`: connecting and sending
    /// suffice.
    pub expect: Option<Expect>,
}

impl CheckPlan {
    /// What cannot be sent, in words; `None` when all is well. For the configuration to report.
    pub fn fault(&self) -> Option<String> {
        match &self.probe {
            Probe::Http(probe) => probe.fault(),
            Probe::Grpc {
                host: Some(host), ..
            } => host_fault(host),
            _ => None,
        }
    }

    /// The check in few words: `GET /health`, `tcp`, `grpc app.Orders`, with the port when it is
    /// another one.
    pub fn describe(&self) -> String {
        let mut text = match &self.probe {
            Probe::Tcp => "tcp".to_owned(),
            Probe::Http(probe) => format!("{} {}", probe.method, probe.path),
            Probe::Grpc { service, .. } if service.is_empty() => "grpc".to_owned(),
            Probe::Grpc { service, .. } => format!("grpc {service}"),
            Probe::Exchange(_) => "exchange".to_owned(),
        };
        if let Some(port) = self.port {
            let _ = write!(text, " (port {port})");
        }
        if self.tls.is_some() {
            text.push_str(" over TLS");
        }
        text
    }

    /// The kind of check, as the configuration calls it.
    pub fn kind(&self) -> &'static str {
        match self.probe {
            Probe::Tcp => "tcp",
            Probe::Http(_) => "http",
            Probe::Grpc { .. } => "grpc",
            Probe::Exchange(_) => "exchange",
        }
    }
}

impl HttpProbe {
    fn fault(&self) -> Option<String> {
        if http::Method::from_bytes(self.method.as_bytes()).is_err() {
            return Some(format!("`{}` is not a method", self.method));
        }
        let path_is_plain = self.path.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.path.starts_with('/') || !path_is_plain || self.path.contains('#') {
            return Some(format!(
                "`{}` is not a path: it begins with / and has no spaces, no # and only ASCII",
                self.path
            ));
        }
        if let Some(fault) = self.host.as_deref().and_then(host_fault) {
            return Some(fault);
        }
        for (name, value) in &self.headers {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Some(format!("`{name}` is not the name of a header"));
            }
            if http::HeaderValue::from_str(value).is_err() {
                return Some(format!(
                    "the value of `{name}` has bytes that no header may have"
                ));
            }
            let framing = ["host", "content-length", "transfer-encoding", "connection"];
            if framing.iter().any(|one| name.eq_ignore_ascii_case(one)) {
                return Some(format!("`{name}` is written by the check itself"));
            }
        }
        None
    }

    /// The value of a field of the configuration, when it has it.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// True when the method comes with a body as a rule, so that its absence has to be said.
    pub(super) fn tells_length(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
    }
}

fn host_fault(host: &str) -> Option<String> {
    let valid = host.parse::<http::uri::Authority>().is_ok() && !host.contains('@');
    (!valid).then(|| format!("`{host}` is not a host"))
}
