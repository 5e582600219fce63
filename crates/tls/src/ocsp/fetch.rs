//! One question to a responder: POST over plain HTTP/1.0 (RFC 6960 appendix A), with an end to every wait.
//!
//! Plain HTTP is right here: answers are signed, and a responder over TLS would need its own answer first.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Most bytes of an answer; usual are 500 to 3000.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// For all of it but the look-up of the name, which the system's resolver ends by itself.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 3;

/// Why a question got no answer.
#[derive(Debug, Error)]
pub(super) enum FetchFault {
    #[error("the responder's URL {0:?} cannot be used")]
    Url(String),
    #[error("the name {host} has no address")]
    Name {
        host: String,
        source: Option<io::Error>,
    },
    #[error("no connection to {0}")]
    Connect(String, #[source] io::Error),
    #[error("the responder did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection to the responder failed")]
    Io(#[source] io::Error),
    #[error("the responder's answer is no HTTP")]
    NotHttp,
    #[error("the responder answers with status {0}")]
    Status(u16),
    #[error("the responder's answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the responder closed before the end of its answer")]
    Cut,
}

impl FetchFault {
    /// With what it stems from.
    pub(super) fn text(&self) -> String {
        let source = match self {
            FetchFault::Name { source, .. } => source.as_ref(),
            FetchFault::Connect(_, source) | FetchFault::Io(source) => Some(source),
            _ => None,
        };
        match source {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// A URL of HTTP, cut into its parts.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// Host and port as in the field Host.
    authority: &'a str,
    host: &'a str,
    port: u16,
    /// With the query.
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Url<'a>> {
        // What is not printable could break out of the request's head.
        let rest = url
            .get(7..)
            .filter(|_| url.bytes().all(|byte| byte.is_ascii_graphic()))?;
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        (!host.is_empty() && !host.contains('@')).then_some(Url {
            authority,
            host,
            port,
            path,
        })
    }
}

/// Asks the responder at `url`, and gives its answer in DER, not yet judged. Blocks for up to `timeout`.
pub(super) fn fetch(url: &str, request: &[u8], timeout: Duration) -> Result<Vec<u8>, FetchFault> {
    let end = Instant::now() + timeout;
    let parts = Url::parse(url).ok_or_else(|| FetchFault::Url(url.to_owned()))?;
    let mut stream = connect(&parts, end)?;
    let slash = if parts.path.starts_with('/') { "" } else { "/" };
    let head = format!(
        "POST {slash}{} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/ocsp-request\r\n\
         Accept: application/ocsp-response\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        parts.path,
        parts.authority,
        request.len()
    );
    stream
        .set_write_timeout(Some(left(end)?))
        .map_err(FetchFault::Io)?;
    stream
        .write_all(&[head.as_bytes(), request].concat())
        .map_err(of_io)?;

    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream
            .set_read_timeout(Some(left(end)?))
            .map_err(FetchFault::Io)?;
        let len = match stream.read(&mut piece) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_io(error)),
        };
        bytes.extend_from_slice(piece.get(..len).unwrap_or_default());
        if let Some(body) = body(&bytes, len == 0)? {
            return Ok(body);
        }
    }
}

fn connect(url: &Url<'_>, end: Instant) -> Result<TcpStream, FetchFault> {
    let name = |source| FetchFault::Name {
        host: url.host.to_owned(),
        source,
    };
    let found = (url.host, url.port)
        .to_socket_addrs()
        .map_err(|error| name(Some(error)))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    let mut fault = name(None);
    for (at, address) in addresses.iter().enumerate() {
        // What is left is shared, so that one dead address does not use it all.
        let share = left(end)? / u32::try_from(addresses.len() - at).unwrap_or(1);
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => fault = FetchFault::Connect(url.authority.to_owned(), error),
        }
    }
    Err(fault)
}

/// The body once it is whole; `closed` when nothing more comes.
fn body(bytes: &[u8], closed: bool) -> Result<Option<Vec<u8>>, FetchFault> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match () {
            () if bytes.len() > HEAD_BYTES_MAX => Err(FetchFault::NotHttp),
            () if closed && bytes.is_empty() => Err(FetchFault::Cut),
            () if closed => Err(FetchFault::NotHttp),
            () => Ok(None),
        };
    };
    let (head, rest) = bytes.split_at_checked(end).unwrap_or_default();
    let rest = rest.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| FetchFault::NotHttp)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| {
        let (version, rest) = line.split_once(' ')?;
        version
            .starts_with("HTTP/1.")
            .then_some(rest.get(..3)?.parse().ok()?)
    });
    match status.ok_or(FetchFault::NotHttp)? {
        200 => {}
        status => return Err(FetchFault::Status(status)),
    }
    let mut expected = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("Content-Length") {
            let len: usize = value.trim().parse().map_err(|_| FetchFault::NotHttp)?;
            expected = Some(len);
        }
        // HTTP/1.0 has no chunks; who sends them all the same has not read the request.
        if name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(FetchFault::NotHttp);
        }
    }
    if expected.unwrap_or(rest.len()) > ANSWER_BYTES_MAX {
        return Err(FetchFault::TooLarge);
    }
    match expected {
        Some(len) if rest.len() >= len => Ok(rest.get(..len).map(<[u8]>::to_vec)),
        Some(_) if closed => Err(FetchFault::Cut),
        None if closed => Ok(Some(rest.to_vec())),
        _ => Ok(None),
    }
}

fn left(end: Instant) -> Result<Duration, FetchFault> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(FetchFault::Timeout)
    } else {
        Ok(left)
    }
}

fn of_io(error: io::Error) -> FetchFault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => FetchFault::Timeout,
        _ => FetchFault::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parts = |url| Url::parse(url).map(|url| (url.authority, url.host, url.port, url.path));
        assert_eq!(
            parts("http://a.example"),
            Some(("a.example", "a.example", 80, ""))
        );
        assert_eq!(parts("http://a:81/p?q#f"), Some(("a:81", "a", 81, "/p?q")));
        assert_eq!(parts("http://a?q"), Some(("a", "a", 80, "?q")));
        assert_eq!(
            parts("http://[::1]:81/"),
            Some(("[::1]:81", "::1", 81, "/"))
        );
        assert_eq!(parts("http://[::1]"), Some(("[::1]", "::1", 80, "")));
        for url in [
            "",
            "http://",
            "http:///x",
            "http://a:x/",
            "http://a:99999",
            "http://u@a/",
            "http://a/\r\nX: y",
            "http://a/ b",
        ] {
            assert_eq!(parts(url), None, "{url:?}");
        }
    }

    #[test]
    fn answers_of_http() {
        let good = |bytes: &[u8], closed| body(bytes, closed).map_err(|fault| fault.to_string());
        let head = b"HTTP/1.1 200 OK\r\nContent-length: 3\r\nServer: x\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(good(&head[..cut], false), Ok(None));
            assert!(good(&head[..cut], true).is_err());
        }
        assert_eq!(good(&[head, &b"ab"[..]].concat(), false), Ok(None));
        assert!(
            good(&[head, &b"ab"[..]].concat(), true)
                .unwrap_err()
                .contains("before the end")
        );
        assert_eq!(
            good(&[head, &b"abcd"[..]].concat(), false),
            Ok(Some(b"abc".to_vec()))
        );
        assert_eq!(good(b"HTTP/1.0 200 OK\r\n\r\nabc", false), Ok(None));
        assert_eq!(
            good(b"HTTP/1.0 200 OK\r\n\r\nabc", true),
            Ok(Some(b"abc".to_vec()))
        );
        for (bytes, what) in [
            (&b"HTTP/1.0 503 No\r\n\r\n"[..], "status 503"),
            (b"SSH-2.0-x\r\n\r\n", "no HTTP"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "no HTTP",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no HTTP"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n",
                "over 65536",
            ),
            (b"\xff\r\n\r\n", "no HTTP"),
            (b"HTTP/1.1\r\n\r\n", "no HTTP"),
        ] {
            let fault = good(bytes, false).unwrap_err();
            assert!(fault.contains(what), "{fault}");
        }
        assert!(good(&[b'x'; HEAD_BYTES_MAX + 1], false).is_err());
    }

    #[test]
    fn a_silent_and_a_dripping_responder_end_at_the_timeout() {
        for drips in [false, true] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                if drips {
                    while stream.write_all(b"H").is_ok() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                } else {
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
            let started = Instant::now();
            let fault = fetch(&url, b"request", Duration::from_millis(200)).unwrap_err();
            assert!(matches!(fault, FetchFault::Timeout), "{fault}");
            assert!(started.elapsed() < Duration::from_secs(5));
            server.join().unwrap();
        }
    }
}
