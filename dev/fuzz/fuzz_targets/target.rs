//! Targets and hosts: the normal form is normal, and what is forwarded is read the same way again.
//!
//! The input is a target, optionally followed by a line feed and a Host.
#![no_main]

use keel_http::{HeadLimits, HeadStatus, NormalRequest, RequestHead};
use libfuzzer_sys::fuzz_target;

fn read(method: &str, target: &[u8], host: &[u8]) -> Option<(NormalRequest, Vec<u8>)> {
    let line = [
        method.as_bytes(),
        b" ",
        target,
        b" HTTP/1.1\r\nHost: ",
        host,
        b"\r\n\r\n",
    ];
    let buf = line.concat();
    let mut head = RequestHead::new();
    if head.parse(&buf, &HeadLimits::default()) != Ok(HeadStatus::Complete) {
        return None;
    }
    let mut normal = NormalRequest::new();
    normal.read(&head, &buf).ok()?;
    Some((normal, buf))
}

/// What a backend might do to a path: decode everything twice, take backslashes for slashes, drop path parameters.
fn careless_segments(path: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        let hex = tail
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match (
            b,
            hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => out.push(b),
        }
    }
    out.split(|b| matches!(b, b'/' | b'\\'))
        .map(|segment| {
            segment
                .split(|&b| b == b';')
                .next()
                .unwrap_or_default()
                .to_vec()
        })
        .collect()
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&b| b == b'\n');
    let target = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or(b"Example.com:80");
    for method in ["GET", "OPTIONS"] {
        let Some((normal, buf)) = read(method, target, host) else {
            continue;
        };
        let path = normal.path(&buf);
        let host = normal.host(&buf);
        assert!(
            !host.is_empty() && !host.ends_with(b".") && !host.iter().any(u8::is_ascii_uppercase)
        );
        assert!(host.iter().all(|b| !b"/?#@, \\%".contains(b)));
        assert!(
            normal
                .authority(&buf)
                .to_ascii_lowercase()
                .starts_with(host)
        );
        if normal.is_asterisk() {
            assert_eq!(
                (method, path, normal.target(&buf)),
                ("OPTIONS", &b"*"[..], &b"*"[..])
            );
            continue;
        }
        assert!(path.starts_with(b"/"));
        assert!(
            path.iter()
                .all(|b| (b'!'..=b'~').contains(b) && !b"#\\?".contains(b))
        );
        assert!(!path.windows(2).any(|pair| pair == b"//"));
        for segment in careless_segments(path) {
            assert!(
                segment != b"." && segment != b"..",
                "{}",
                path.escape_ascii()
            );
        }
        for segment in careless_segments(
            normal
                .target(&buf)
                .split(|&b| b == b'?')
                .next()
                .unwrap_or_default(),
        ) {
            assert!(
                segment != b"." && segment != b"..",
                "{}",
                path.escape_ascii()
            );
        }
        let (again, again_buf) = read(method, path, b"a").expect("a normal path is accepted");
        assert_eq!(
            (again.path(&again_buf), again.target(&again_buf)),
            (path, path)
        );
        let (sent, sent_buf) =
            read(method, normal.target(&buf), b"a").expect("what is forwarded is accepted");
        assert_eq!(sent.path(&sent_buf), path);
        assert_eq!(sent.query(&sent_buf), normal.query(&buf));
        assert_eq!(sent.target(&sent_buf), normal.target(&buf));
    }
});
