//! Paths: which are refused, and the one normal form of the rest.
//!
//! A path on which servers in the field disagree is refused, because a rule for `/admin` must hold for whatever the
//! backend takes to be `/admin`. That covers dot segments hidden behind `%2f`, `%5c` or `;`, overlong UTF-8, encoded
//! control bytes and a `..` after an empty segment (servers that merge slashes and servers that do not go to
//! different places).

use crate::fault::HeadFault;
use crate::syntax::{hex_value, is_unreserved};

/// What a scan of a target found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Length of the path; a `?` follows when the target is longer.
    pub(crate) path_len: usize,
    /// Whether the path is its own normal form.
    pub(crate) clean: bool,
}

/// Looks at the path and query of an origin-form target. Refuses bytes outside visible ASCII, `#`, and a backslash
/// in the path. The query is not decoded by anyone on the way, so beyond that it may be what it likes.
#[inline]
pub(crate) fn scan_target(target: &[u8]) -> Result<Scan, HeadFault> {
    let mut clean = true;
    let mut before = 0u8;
    for (at, &b) in target.iter().enumerate() {
        match b {
            b'?' => {
                check_query(target.get(at + 1..).unwrap_or_default())?;
                return Ok(Scan {
                    path_len: at,
                    clean,
                });
            }
            b'/' | b'.' => clean &= before != b'/',
            b'%' => clean = false,
            b'#' | b'\\' | 0..=b' ' | 0x7f.. => return Err(HeadFault::TargetByte),
            _ => {}
        }
        before = b;
    }
    Ok(Scan {
        path_len: target.len(),
        clean,
    })
}

#[inline]
fn check_query(query: &[u8]) -> Result<(), HeadFault> {
    let sound = query.iter().fold(true, |sound, &b| {
        sound & (b > b' ') & (b < 0x7f) & (b != b'#')
    });
    if sound {
        Ok(())
    } else {
        Err(HeadFault::TargetByte)
    }
}

/// What normalising did beyond changing the spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Normalised {
    /// Whether there were dot segments, so that the path must not be forwarded as it was sent.
    pub(crate) dot_segments: bool,
}

/// Appends the normal form of `path`, which begins with a slash and has passed [`scan_target`].
pub(crate) fn normalise_path(path: &[u8], out: &mut Vec<u8>) -> Result<Normalised, HeadFault> {
    debug_assert!(path.first() == Some(&b'/'));
    let root = out.len();
    let mut dot_segments = false;
    let mut after_empty = false;
    let mut segments = path.split(|&b| b == b'/').skip(1).peekable();
    while let Some(raw) = segments.next() {
        let last = segments.peek().is_none();
        let start = out.len();
        out.push(b'/');
        decode_segment(raw, out)?;
        let segment = out.get(start + 1..).unwrap_or_default();
        check_hidden_dots(segment)?;
        let up = segment == b"..";
        let here = segment == b".";
        if up || here {
            dot_segments = true;
            if up && after_empty {
                return Err(HeadFault::HiddenDotSegment);
            }
            out.truncate(start);
            if up {
                let parent = memchr::memrchr(b'/', out.get(root..).unwrap_or_default());
                out.truncate(root + parent.ok_or(HeadFault::AboveRoot)?);
            }
            if last {
                out.push(b'/');
            }
        } else if segment.is_empty() && !last {
            out.truncate(start);
        }
        after_empty |= raw.is_empty();
    }
    debug_assert!(out.get(root) == Some(&b'/'));
    Ok(Normalised { dot_segments })
}

/// Appends a segment with unreserved bytes decoded and other encodings in upper case (RFC 3986, 6.2.2).
fn decode_segment(raw: &[u8], out: &mut Vec<u8>) -> Result<(), HeadFault> {
    let mut rest = raw;
    let mut lead = 0u8;
    while let [b, tail @ ..] = rest {
        if *b != b'%' {
            out.push(*b);
            (rest, lead) = (tail, 0);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(HeadFault::PercentMalformed);
        };
        let (Some(h), Some(l)) = (hex_value(*high), hex_value(*low)) else {
            return Err(HeadFault::PercentMalformed);
        };
        let byte = h << 4 | l;
        if byte < b' ' || byte == 0x7f {
            return Err(HeadFault::PercentControl);
        }
        if is_overlong(lead, byte) {
            return Err(HeadFault::PercentOverlong);
        }
        if is_unreserved(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        }
        (rest, lead) = (tail, byte);
    }
    Ok(())
}

/// Whether two bytes begin a UTF-8 sequence that is longer than it need be: how `%c0%ae` becomes a dot somewhere.
const fn is_overlong(lead: u8, byte: u8) -> bool {
    match lead {
        0xc0 | 0xc1 => byte >= 0x80 && byte <= 0xbf,
        0xe0 => byte >= 0x80 && byte <= 0x9f,
        0xf0 => byte >= 0x80 && byte <= 0x8f,
        _ => false,
    }
}

/// Refuses a segment that is or becomes a dot segment for a server that decodes `%2F` and `%5C` early or strips path
/// parameters (`;`).
fn check_hidden_dots(segment: &[u8]) -> Result<(), HeadFault> {
    if !segment.contains(&b'.') || !segment.iter().any(|b| matches!(b, b'%' | b';')) {
        return Ok(());
    }
    let mut part_start = 0;
    let mut at = 0;
    let mut parts = 0;
    while at <= segment.len() {
        let width = separator(segment.get(at..).unwrap_or_default());
        if width > 0 || at == segment.len() {
            let part = segment.get(part_start..at).unwrap_or_default();
            parts += 1;
            let alone = parts == 1 && at == segment.len();
            if matches!(part, b"." | b"..") && !alone {
                return Err(HeadFault::HiddenDotSegment);
            }
            part_start = at + width;
        }
        at += width.max(1);
    }
    Ok(())
}

/// The width of something at the start that a lenient server takes for the end of a segment; 0 for none.
const fn separator(bytes: &[u8]) -> usize {
    match bytes {
        [b';', ..] => 1,
        [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..] | [b'%', b'3', b'B', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<(String, bool), HeadFault> {
        let scan = scan_target(path.as_bytes())?;
        let mut out = b"kept".to_vec();
        let done = normalise_path(&path.as_bytes()[..scan.path_len], &mut out)?;
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix("kept").unwrap().to_string();
        if scan.clean {
            assert_eq!(
                text,
                path[..scan.path_len],
                "clean means its own normal form"
            );
            assert!(!done.dot_segments);
        }
        Ok((text, done.dot_segments))
    }

    #[test]
    fn normal_forms() {
        for (path, expected, dots) in [
            ("/", "/", false),
            ("/a/b", "/a/b", false),
            ("/a/b/", "/a/b/", false),
            ("//", "/", false),
            ("///a//b//", "/a/b/", false),
            ("/a/./b", "/a/b", true),
            ("/a/.", "/a/", true),
            ("/.", "/", true),
            ("/a/b/..", "/a/", true),
            ("/a/b/../c", "/a/c", true),
            ("/a/b/../../c", "/c", true),
            ("/a/%2e%2E/b", "/b", true),
            ("/%7Euser/%41%5a", "/~user/AZ", false),
            ("/a%2fb%3f%c3%a9", "/a%2Fb%3F%C3%A9", false),
            ("/%2541", "/%2541", false),
            ("/.hidden/...", "/.hidden/...", false),
            ("/a..b/..c/d..", "/a..b/..c/d..", false),
            ("/a;v=1.2/b;..x", "/a;v=1.2/b;..x", false),
            ("/with_\"quotes\"|^`{}<>", "/with_\"quotes\"|^`{}<>", false),
            ("/caf%C9", "/caf%C9", false),
            ("/%e0%a0%80", "/%E0%A0%80", false),
            ("/a?b#".trim_end_matches('#'), "/a", false),
        ] {
            assert_eq!(normal(path), Ok((expected.to_string(), dots)), "{path}");
        }
    }

    #[test]
    fn refused_paths() {
        use HeadFault::*;
        for (path, fault) in [
            ("/..", AboveRoot),
            ("/a/../..", AboveRoot),
            ("/%2e%2e/a", AboveRoot),
            ("/./..", AboveRoot),
            ("/a//../b", HiddenDotSegment),
            ("/a//./../b", HiddenDotSegment),
            ("/..%2fa", HiddenDotSegment),
            ("/x/%2e%2e%2Fadmin", HiddenDotSegment),
            ("/x/..%5Cadmin", HiddenDotSegment),
            ("/a%2f..%2fb", HiddenDotSegment),
            ("/a%2f..", HiddenDotSegment),
            ("/a%2f.", HiddenDotSegment),
            ("/..;/admin", HiddenDotSegment),
            ("/..;x=1/admin", HiddenDotSegment),
            ("/.;/admin", HiddenDotSegment),
            ("/%2e%2e%3b/admin", HiddenDotSegment),
            ("/%", PercentMalformed),
            ("/%4", PercentMalformed),
            ("/%zz", PercentMalformed),
            ("/%u002e", PercentMalformed),
            ("/%+1", PercentMalformed),
            ("/%4/1", PercentMalformed),
            ("/%00", PercentControl),
            ("/a%0d%0aX: y".split(' ').next().unwrap(), PercentControl),
            ("/%7f", PercentControl),
            ("/%c0%ae%c0%ae/", PercentOverlong),
            ("/%c1%9c", PercentOverlong),
            ("/%e0%80%af", PercentOverlong),
            ("/%f0%80%80%af", PercentOverlong),
            ("/a\\b", TargetByte),
            ("/a#b", TargetByte),
            ("/a?b#c", TargetByte),
            ("/a b", TargetByte),
            ("/a?b c", TargetByte),
            ("/\u{e9}", TargetByte),
            ("/?\u{e9}", TargetByte),
            ("/\0", TargetByte),
            ("/?\0", TargetByte),
            ("/\x7f", TargetByte),
        ] {
            assert_eq!(normal(path), Err(fault), "{path}");
        }
    }

    #[test]
    fn the_query_is_opaque() {
        for target in [
            "/?", "/?%", "/?%00", "/?a\\b", "/?..%2f", "/?a?b", "/?a=b|c",
        ] {
            assert_eq!(
                scan_target(target.as_bytes()),
                Ok(Scan {
                    path_len: 1,
                    clean: true
                })
            );
        }
    }
}
