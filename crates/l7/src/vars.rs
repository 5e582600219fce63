//! The values of `$variables` for one exchange: for headers, redirects and the access log.

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;

use keel_http::template::{Var, Variables};
use keel_http::{HeaderId, Version};
use keel_tls::{Alpn, PeerCertificate, TlsFacts};

use crate::exchange::Exchange;
use crate::heads::{write_ip, write_number};
use crate::worker::View;

/// What of a connection the variables tell.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts {
    /// The far end of the socket.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Number of the connection.
    pub number: u64,
    /// Requests on it so far, this one included.
    pub requests: u32,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Position of the listener.
    pub listener: usize,
}

/// One exchange, to be asked for variables.
pub struct Vars<'a> {
    /// The exchange.
    pub ex: &'a Exchange,
    /// Names of routes, pools and servers.
    pub view: &'a View,
    /// The connection.
    pub connection: ConnectionFacts,
    /// The client's TLS session.
    pub tls: Option<&'a TlsFacts>,
    /// The wall clock when the record is written, in microseconds since the Unix epoch.
    pub unix_us: u64,
}

impl Variables for Vars<'_> {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let known = self.write_request(var, out)
            || self.write_answer(var, out)
            || self.write_connection(var, out)
            || self.write_tls(var, out)
            || self.write_names(var, out);
        known && out.len() > before
    }
}

impl Vars<'_> {
    /// What the client sent.
    fn write_request(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let ex = self.ex;
        let buf = ex.bytes();
        let put = |value: &[u8], out: &mut Vec<u8>| out.extend_from_slice(value);
        match var {
            Var::Request => self.write_request_line(out),
            Var::RequestMethod => put(ex.head.method_span.of(buf), out),
            Var::RequestUri => put(ex.head.target.of(buf), out),
            Var::ServerProtocol if ex.record.bad_head => {}
            Var::ServerProtocol => put(ex.head.version.as_str().as_bytes(), out),
            Var::Uri => put(ex.normal.path(buf), out),
            Var::Args => put(ex.normal.query(buf).unwrap_or_default(), out),
            Var::IsArgs if ex.normal.query(buf).is_some() => put(b"?", out),
            Var::IsArgs => {}
            Var::Host | Var::ServerName => put(ex.normal.host(buf), out),
            Var::Http(name) => put_joined(ex.head.fields.all_named(name.as_bytes(), buf), out),
            Var::Cookie(name) => {
                put(
                    ex.head
                        .fields
                        .cookie(name.as_bytes(), buf)
                        .unwrap_or_default(),
                    out,
                );
            }
            Var::Arg(name) => put(
                argument(ex.normal.query(buf), name).unwrap_or_default(),
                out,
            ),
            Var::RequestLength => write_number(out, ex.record.bytes_received),
            Var::RequestId => put(ex.record.request_id(), out),
            Var::ProxyAddXForwardedFor => {
                for value in ex.head.fields.all(HeaderId::XForwardedFor, buf) {
                    put(value, out);
                    put(b", ", out);
                }
                write_ip(out, self.connection.peer.ip());
            }
            _ => return false,
        }
        true
    }

    /// What was answered, and how long it took.
    fn write_answer(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let record = &self.ex.record;
        let answered = (record.server_status > 0).then_some(record.answered_us);
        match var {
            Var::Status => write_status(out, record.status),
            Var::BodyBytesSent => write_number(out, record.body_bytes_sent),
            Var::BytesSent => write_number(out, record.bytes_sent),
            Var::RequestTime => write_seconds(out, record.end_us.saturating_sub(record.start_us)),
            Var::UpstreamStatus if record.server_status > 0 => {
                write_status(out, record.server_status);
            }
            Var::UpstreamConnectTime if record.sent_us > 0 => {
                write_seconds(out, record.connect_us.unwrap_or(0));
            }
            Var::UpstreamHeaderTime => {
                if let Some(at) = answered {
                    write_seconds(out, at.saturating_sub(record.sent_us));
                }
            }
            Var::UpstreamResponseTime if record.sent_us > 0 => {
                write_seconds(out, record.end_us.saturating_sub(record.sent_us));
            }
            Var::UpstreamBytesReceived => write_number(out, record.server_bytes_received),
            Var::UpstreamBytesSent => write_number(out, record.server_bytes_sent),
            Var::SentHttp(name) => {
                out.extend_from_slice(answer_field(&self.ex.sent_copy, name).unwrap_or_default());
            }
            Var::UpstreamHttp(name) => {
                out.extend_from_slice(answer_field(&self.ex.answer_copy, name).unwrap_or_default());
            }
            Var::Termination => out.extend_from_slice(&record.termination.code()),
            Var::Retries => write_number(out, u64::from(record.retries)),
            _ => return false,
        }
        true
    }

    /// Who is connected to whom.
    fn write_connection(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let connection = &self.connection;
        match var {
            Var::RemoteAddr | Var::ClientAddr => write_ip(out, self.ex.record.client_ip),
            Var::RealipRemoteAddr => write_ip(out, connection.peer.ip()),
            Var::RemotePort => write_number(out, u64::from(connection.peer.port())),
            Var::ServerAddr => write_ip(out, connection.local.ip()),
            Var::ServerPort => write_number(out, u64::from(connection.local.port())),
            Var::Https if connection.scheme == "https" => out.extend_from_slice(b"on"),
            Var::Scheme => out.extend_from_slice(connection.scheme.as_bytes()),
            Var::Connection => write_number(out, connection.number),
            Var::ConnectionRequests => write_number(out, u64::from(connection.requests)),
            Var::Pid => write_number(out, u64::from(std::process::id())),
            Var::Msec => {
                write_number(out, self.unix_us / 1_000_000);
                out.push(b'.');
                write_padded(out, self.unix_us / 1000 % 1000);
            }
            _ => return false,
        }
        true
    }

    /// What the client's TLS session is.
    fn write_tls(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let Some(tls) = self.tls else {
            return false;
        };
        let client = tls.client.as_deref();
        let of_client = |get: fn(&PeerCertificate) -> &str| client.map_or("", get);
        let value = match var {
            Var::SslProtocol => tls.version,
            Var::SslCipher => tls.cipher,
            Var::SslServerName => tls.server_name.as_deref().unwrap_or(""),
            Var::SslSessionId => &tls.session_id,
            Var::SslSessionReused if tls.resumed => "r",
            Var::SslSessionReused => ".",
            Var::SslAlpn => tls.alpn.map_or("", Alpn::as_str),
            Var::SslJa4 => &tls.ja4,
            Var::SslClientVerify if client.is_some() => "SUCCESS",
            Var::SslClientVerify => "NONE",
            Var::SslClientSDn => of_client(|client| &client.subject),
            Var::SslClientIDn => of_client(|client| &client.issuer),
            Var::SslClientSerial => of_client(|client| &client.serial),
            Var::SslClientFingerprint => of_client(|client| &client.fingerprint_sha256),
            _ => return false,
        };
        out.extend_from_slice(value.as_bytes());
        true
    }

    /// Names from the configuration.
    fn write_names(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let record = &self.ex.record;
        let snapshot = &self.view.snapshot;
        let pool = record
            .pool
            .and_then(|id| self.view.pool(id))
            .map(|plan| &plan.pool);
        match var {
            Var::Route => {
                if let Some(route) = snapshot.routes.get(record.route.0 as usize) {
                    out.extend_from_slice(route.name.as_bytes());
                }
            }
            Var::Pool => out.extend_from_slice(pool.map_or("", |pool| &pool.name).as_bytes()),
            Var::Server => {
                let server = pool
                    .zip(record.server)
                    .and_then(|(pool, at)| pool.servers.get(at));
                out.extend_from_slice(server.map_or("", |server| &server.name).as_bytes());
            }
            Var::Hostname => out.extend_from_slice(self.view.hostname.as_bytes()),
            Var::Listener => {
                if let Some(listener) = snapshot.listeners.get(self.connection.listener) {
                    out.extend_from_slice(listener.name.as_bytes());
                }
            }
            Var::UpstreamAddr => {
                if let Some(address) = record.server_address {
                    let brackets = address.is_ipv6();
                    if brackets {
                        out.push(b'[');
                    }
                    write_ip(out, address.ip());
                    out.extend_from_slice(if brackets { b"]:" } else { b":" });
                    write_number(out, u64::from(address.port()));
                }
            }
            _ => return false,
        }
        true
    }

    /// The request line as it was sent.
    fn write_request_line(&self, out: &mut Vec<u8>) {
        let ex = self.ex;
        if ex.record.bad_head {
            return;
        }
        let buf = ex.bytes();
        if ex.head.version == Version::Http2 {
            out.extend_from_slice(ex.head.method_span.of(buf));
            out.push(b' ');
            out.extend_from_slice(ex.head.target.of(buf));
            out.extend_from_slice(b" HTTP/2.0");
            return;
        }
        let start = ex.head.method_span.start as usize;
        let end = (ex.head.line_end as usize).saturating_sub(2);
        out.extend_from_slice(buf.get(start..end).unwrap_or(&[]));
    }
}

fn put_joined<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (position, value) in values.enumerate() {
        if position > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(value);
    }
}

/// The first value of a query parameter, as sent.
pub fn argument<'a>(query: Option<&'a [u8]>, name: &str) -> Option<&'a [u8]> {
    query?.split(|byte| *byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix(b"=")
        }
    })
}

/// The first value of a field in a copied head.
fn answer_field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    // What stands behind the head is a body.
    let mut fields = lines.take_while(|line| !line.trim_ascii().is_empty());
    fields.find_map(|line| {
        let (field, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        field
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

/// Statuses have three digits in a log, also when there was none.
fn write_status(out: &mut Vec<u8>, status: u16) {
    write_padded(out, u64::from(status));
}

fn write_padded(out: &mut Vec<u8>, number: u64) {
    let digit = |at: u64| b'0' + (number / at % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

/// Microseconds as seconds with three decimals, as nginx writes them.
fn write_seconds(out: &mut Vec<u8>, us: u64) {
    write_number(out, us / 1_000_000);
    out.push(b'.');
    write_padded(out, us / 1000 % 1000);
}

thread_local! {
    static DATE: RefCell<DateText> = RefCell::default();
}

/// Calls `f` with the date of `second` since the Unix epoch, as `Date` writes it.
pub fn with_date<T>(second: u64, f: impl FnOnce(&[u8]) -> T) -> T {
    DATE.with_borrow_mut(|date| f(date.at(second)))
}

/// A date as `Date` writes it (RFC 9110, 5.6.7), made once a second.
#[derive(Debug, Default)]
pub struct DateText {
    second: u64,
    text: Vec<u8>,
}

impl DateText {
    /// The text for a time in seconds since the Unix epoch.
    pub fn at(&mut self, second: u64) -> &[u8] {
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            // Writing into a Vec cannot fail.
            let _ = write!(self.text, "{}", httpdate::HttpDate::from(time));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_whole() {
        let query = Some(b"ab=1&a=2&flag&a=3".as_slice());
        assert_eq!(argument(query, "a"), Some(b"2".as_slice()));
        assert_eq!(argument(query, "flag"), Some(b"".as_slice()));
        assert_eq!(argument(query, "b"), None);
    }

    #[test]
    fn seconds_have_three_decimals() {
        let mut out = Vec::new();
        write_seconds(&mut out, 12_034_567);
        assert_eq!(out, b"12.034");
    }

    #[test]
    fn the_date_is_made_once_a_second() {
        let mut date = DateText::default();
        assert_eq!(date.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_778), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn fields_of_a_copied_head_are_found() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain \r\nX: y\r\n\r\n";
        assert_eq!(
            answer_field(head, "content-type"),
            Some(b"text/plain".as_slice())
        );
        assert_eq!(answer_field(head, "x-none"), None);
    }
}
