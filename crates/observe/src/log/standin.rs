//! Stand-in for `keel_http::template` until that module is there; same names, same signatures.
#![allow(missing_docs)]

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Var {
    RemoteAddr,
    RemoteUser,
    TimeLocal,
    TimeIso8601,
    Msec,
    Request,
    RequestMethod,
    RequestUri,
    Status,
    BodyBytesSent,
    RequestLength,
    RequestTime,
    Http(String),
    Host,
    Scheme,
    ServerProtocol,
    UpstreamAddr,
    UpstreamStatus,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    UpstreamResponseTime,
    UpstreamCacheStatus,
    Connection,
    Route,
    Pool,
    Server,
    Listener,
    Retries,
    Termination,
    RequestId,
}

pub trait Variables {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    None,
    Log,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown variable at {offset}")]
pub struct TemplateFault {
    pub offset: usize,
}

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    Var(Var),
}

#[derive(Debug)]
pub struct Template(Vec<Part>);

impl Template {
    pub fn parse(text: &str) -> Result<Template, TemplateFault> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            parts.push(Part::Text(rest[..at].as_bytes().to_vec()));
            let offset = text.len() - rest.len() + at;
            rest = &rest[at + 1..];
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, after) = rest.split_at(len.unwrap_or(rest.len()));
            parts.push(Part::Var(var(name).ok_or(TemplateFault { offset })?));
            rest = after;
        }
        parts.push(Part::Text(rest.as_bytes().to_vec()));
        Ok(Template(parts))
    }

    pub fn render(&self, vars: &dyn Variables, out: &mut Vec<u8>, escape: Escape) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Var(var) => {
                    let start = out.len();
                    if !vars.write(var, out) {
                        out.truncate(start);
                        out.push(b'-');
                    } else if escape == Escape::Log
                        && out[start..]
                            .iter()
                            .any(|b| !(32..127).contains(b) || b"\"\\".contains(b))
                    {
                        let raw = out.split_off(start);
                        for b in raw {
                            if !(32..127).contains(&b) || b"\"\\".contains(&b) {
                                out.extend_from_slice(format!("\\x{b:02X}").as_bytes());
                            } else {
                                out.push(b);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn var(name: &str) -> Option<Var> {
    Some(match name {
        "remote_addr" => Var::RemoteAddr,
        "remote_user" => Var::RemoteUser,
        "time_local" => Var::TimeLocal,
        "time_iso8601" => Var::TimeIso8601,
        "msec" => Var::Msec,
        "request" => Var::Request,
        "request_uri" => Var::RequestUri,
        "status" => Var::Status,
        "body_bytes_sent" => Var::BodyBytesSent,
        "request_time" => Var::RequestTime,
        "upstream_addr" => Var::UpstreamAddr,
        "upstream_connect_time" => Var::UpstreamConnectTime,
        "upstream_header_time" => Var::UpstreamHeaderTime,
        "upstream_response_time" => Var::UpstreamResponseTime,
        "upstream_cache_status" => Var::UpstreamCacheStatus,
        name => Var::Http(name.strip_prefix("http_")?.replace('_', "-")),
    })
}
