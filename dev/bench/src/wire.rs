//! As much of HTTP/1.1 as a load generator and an origin need, and no more: both talk only to well-behaved proxies,
//! over loopback, and must cost less than what they measure.

use memchr::memmem;

/// Why an answer cannot be used. Any of them makes a run void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFault {
    /// The bytes do not begin with an HTTP/1.x status line.
    StatusLine,
    /// Neither a length nor the end of the connection ends the body, or the length is not a number.
    BodyLength,
}

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// After this many bytes.
    Length(u64),
    /// With the connection.
    UntilClose,
}

/// What a load generator needs of an answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    /// Status code.
    pub status: u16,
    /// Bytes of the head with the blank line.
    pub len: usize,
    /// End of the body.
    pub body: Body,
}

/// Length of the head at the start of `buf` with its blank line, when all of it is there.
pub fn head_len(buf: &[u8]) -> Option<usize> {
    memmem::find(buf, b"\r\n\r\n").map(|at| at + 4)
}

/// Value of the first field called `name` (lower case) in a head, trimmed.
pub fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut start = memchr::memchr(b'\n', head)? + 1;
    while let Some(len) = memchr::memchr(b'\n', head.get(start..)?) {
        let line = &head[start..start + len];
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
        {
            return Some(line[name.len() + 1..].trim_ascii());
        }
        start += len + 1;
    }
    None
}

/// Digits as a number.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads the head of an answer to a GET; `None` when it is not complete yet.
pub fn answer_head(buf: &[u8]) -> Result<Option<AnswerHead>, WireFault> {
    let Some(len) = head_len(buf) else {
        return Ok(None);
    };
    let head = &buf[..len];
    if !head.starts_with(b"HTTP/1.") {
        return Err(WireFault::StatusLine);
    }
    let status = head
        .get(9..12)
        .and_then(decimal)
        .ok_or(WireFault::StatusLine)?;
    let body = match field(head, b"content-length") {
        Some(digits) => Body::Length(decimal(digits).ok_or(WireFault::BodyLength)?),
        None if field(head, b"transfer-encoding").is_some() => return Err(WireFault::BodyLength),
        None => Body::UntilClose,
    };
    Ok(Some(AnswerHead {
        status: status as u16,
        len,
        body,
    }))
}

/// A GET as a plain client sends it.
pub fn get(path: &str, host: &str, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: keel-bench/0.1\r\nAccept: */*\r\n{close}\r\n"
    );
    request.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_with_a_length() {
        let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH:  90 \r\n\r\n{\"a\"";
        let head = answer_head(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.body), (200, Body::Length(90)));
        assert_eq!(&bytes[head.len..], b"{\"a\"");
    }

    #[test]
    fn partial_heads_are_awaited_at_every_cut() {
        let bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        for cut in 0..bytes.len() {
            assert_eq!(answer_head(&bytes[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(answer_head(bytes).unwrap().unwrap().status, 503);
    }

    #[test]
    fn other_endings_of_a_body() {
        let close = answer_head(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(close.body, Body::UntilClose);
        let chunked = answer_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked, Err(WireFault::BodyLength));
        let wrong = answer_head(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n");
        assert_eq!(wrong, Err(WireFault::BodyLength));
        assert_eq!(
            answer_head(b"SSH-2.0-x\r\n\r\n"),
            Err(WireFault::StatusLine)
        );
        assert_eq!(answer_head(b"HTTP/1.1\r\n\r\n"), Err(WireFault::StatusLine));
    }

    #[test]
    fn fields_match_whole_names_only() {
        let head = b"GET / HTTP/1.1\r\nX-Content-Length: 5\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(field(head, b"content-length"), Some(&b"7"[..]));
        assert_eq!(field(head, b"content"), None);
        assert_eq!(field(head, b"x-content-length"), Some(&b"5"[..]));
        assert_eq!(field(b"GET / HTTP/1.1", b"host"), None);
    }

    #[test]
    fn decimals_do_not_overflow() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"-1"), None);
    }

    #[test]
    fn requests_end_their_head() {
        let request = get("/small", "bench", true);
        assert_eq!(head_len(&request), Some(request.len()));
        assert_eq!(field(&request, b"connection"), Some(&b"close"[..]));
        assert_eq!(field(&get("/", "bench", false), b"connection"), None);
    }
}
