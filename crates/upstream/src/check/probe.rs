//! One check: a connection, a question, and what the answer comes to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keel_balance::CheckFault;
use keel_tls::{Alpn, Stream};
use tokio::net::TcpStream;

use super::app::AppHealth;
use super::plan::{CheckPlan, CheckProtocol, HttpProbe, Probe};
use super::{exchange, expect, grpc, http1, http2};
use crate::connect::start_connect;

/// Whom a check asks.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address of the server, for TLS.
    pub host: String,
    /// `host:port` for Host and `:authority`.
    pub authority: String,
    /// The addresses, in turn until one takes the connection.
    pub addresses: Vec<SocketAddr>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Whether it passed.
    pub result: Result<(), CheckFault>,
    /// What the application said of itself, in an answer of JSON, whether or not it passed.
    pub app: Option<AppHealth>,
}

impl From<Result<(), CheckFault>> for Finding {
    fn from(result: Result<(), CheckFault>) -> Finding {
        Finding { result, app: None }
    }
}

/// An HTTP answer, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// There is more of the body than was read.
    pub(super) cut: bool,
}

impl CheckPlan {
    /// Asks a server once. Ends within the settings' timeout.
    pub async fn run(&self, target: &Target) -> Finding {
        let timeout = Duration::from_millis(self.settings.timeout_ms);
        let connected = AtomicBool::new(false);
        match tokio::time::timeout(timeout, self.ask(target, &connected)).await {
            Ok(finding) => finding,
            Err(_) if connected.load(Ordering::Relaxed) => Err(CheckFault::Timeout).into(),
            Err(_) => Err(CheckFault::ConnectTimeout).into(),
        }
    }

    async fn ask(&self, target: &Target, connected: &AtomicBool) -> Finding {
        let stream = match self.connect(target, connected).await {
            Ok(stream) => stream,
            Err(fault) => return Err(fault).into(),
        };
        match &self.probe {
            Probe::Tcp => Ok(()).into(),
            Probe::Exchange(exchange) => exchange::run(exchange, stream).await.into(),
            Probe::Grpc { service, host } => {
                let authority = host.as_deref().unwrap_or(&target.authority);
                grpc::run(service, authority, stream).await.into()
            }
            Probe::Http(probe) => {
                let authority = probe.host.as_deref().unwrap_or(&target.authority);
                let answer = match speaks_http2(probe.protocol, &stream) {
                    Ok(true) => http2::run(probe, authority, stream).await,
                    Ok(false) => http1::run(probe, authority, stream).await,
                    Err(fault) => Err(fault),
                };
                match answer {
                    Ok(answer) => judge(probe, &answer),
                    Err(fault) => Err(fault).into(),
                }
            }
        }
    }

    async fn connect(&self, target: &Target, connected: &AtomicBool) -> Result<Stream, CheckFault> {
        let mut last = CheckFault::Unresolved;
        for address in &target.addresses {
            let mut address = *address;
            if let Some(port) = self.port {
                address.set_port(port);
            }
            match connect_to(address).await {
                Ok(tcp) => {
                    connected.store(true, Ordering::Relaxed);
                    let Some(tls) = &self.tls else {
                        return Ok(Stream::from(tcp));
                    };
                    match tls.connect(&target.host, tcp).await {
                        Ok(stream) => return Ok(stream),
                        Err(fault) => last = CheckFault::Handshake(fault.to_string().into()),
                    }
                }
                Err(error) => last = CheckFault::Connect(error.to_string().into()),
            }
        }
        Err(last)
    }
}

async fn connect_to(address: SocketAddr) -> std::io::Result<TcpStream> {
    start_connect(address)?.await
}

/// Which of the two HTTP protocols it is; a server that chose another one than the check must speak
/// fails it.
fn speaks_http2(protocol: CheckProtocol, stream: &Stream) -> Result<bool, CheckFault> {
    let chosen = stream.facts().and_then(|facts| facts.alpn);
    match (protocol, chosen) {
        (CheckProtocol::Http1, Some(Alpn::H2)) => Err(CheckFault::Answer(
            "the server chose HTTP/2 by ALPN, and the check is to speak HTTP/1.1".into(),
        )),
        (CheckProtocol::Http2, chosen) if stream.is_tls() && chosen != Some(Alpn::H2) => Err(
            CheckFault::Answer("the server did not choose HTTP/2 by ALPN".into()),
        ),
        (CheckProtocol::Http1, _) => Ok(false),
        (CheckProtocol::Http2, _) => Ok(true),
        (CheckProtocol::Auto, chosen) => Ok(chosen == Some(Alpn::H2)),
    }
}

/// What an HTTP answer comes to.
fn judge(probe: &HttpProbe, answer: &Answer) -> Finding {
    // Whatever the check wants of it, it is worth showing.
    let document = match answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') | Some(b'[') if !answer.cut => serde_json::from_slice(&answer.body).ok(),
        _ => None,
    };
    Finding {
        result: judge_answer(probe, answer, document.as_ref()),
        app: document.as_ref().and_then(AppHealth::read),
    }
}

fn judge_answer(
    probe: &HttpProbe,
    answer: &Answer,
    document: Option<&serde_json::Value>,
) -> Result<(), CheckFault> {
    if !probe.statuses.contains(answer.status) {
        return Err(CheckFault::Status(answer.status));
    }
    if let Some(expect) = &probe.body
        && !expect.holds(&answer.body)
    {
        return Err(expect.missing(&answer.body));
    }
    if probe.json.is_empty() {
        return Ok(());
    }
    let Some(document) = document else {
        let what = expect::shown(&answer.body);
        let why = match answer.cut {
            true => format!("more than {} bytes of JSON", super::BODY_MAX),
            false => format!("{what} is not a JSON object"),
        };
        return Err(CheckFault::Body(why.into()));
    };
    let mut faults = probe.json.iter().filter_map(|test| test.fault(document));
    faults.next().map_or(Ok(()), Err)
}
