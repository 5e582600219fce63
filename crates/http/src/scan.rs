//! When a growing head is worth another parse.
//!
//! A head that arrives byte by byte must cost O(n) in all. So a parse is tried on the first bytes (most heads are
//! whole then), and later only when a blank line has come in or the head has doubled since the last try (which finds
//! faults and limits early). The scanner never decides anything: the parser alone says what a head is.

/// Decides when [`crate::RequestHead::parse`] or [`crate::ResponseHead::parse`] is worthwhile.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScan {
    /// Bytes looked at so far.
    seen: usize,
    /// The next size at which to try anyway.
    next: usize,
}

impl HeadScan {
    /// A scanner for a new head.
    pub const fn new() -> HeadScan {
        HeadScan { seen: 0, next: 0 }
    }

    /// Forgets the head; call it when the next head begins.
    #[inline]
    pub const fn reset(&mut self) {
        *self = HeadScan::new();
    }

    /// Whether to parse now. `buf` holds all bytes of this head so far and grows from call to call.
    #[inline]
    pub fn ready(&mut self, buf: &[u8]) -> bool {
        if buf.is_empty() {
            return false;
        }
        let from = self.seen.saturating_sub(2);
        let blank = self.seen > 0 && has_blank_line(buf.get(from..).unwrap_or_default());
        self.seen = buf.len();
        if blank || buf.len() >= self.next {
            self.next = buf.len().saturating_mul(2);
            return true;
        }
        false
    }
}

/// Whether `bytes` has an empty line, ended by LF with or without CR (a bare LF is a fault: the parser says so).
fn has_blank_line(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| matches!(bytes.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drips_cost_few_parses() {
        let head = [
            b"GET / HTTP/1.1\r\nA: ",
            [b'x'; 60_000].as_slice(),
            b"\r\n\r\n",
        ]
        .concat();
        let mut scan = HeadScan::new();
        let tries: Vec<usize> = (1..=head.len())
            .filter(|&n| scan.ready(&head[..n]))
            .collect();
        assert!(tries.len() < 20, "{tries:?}");
        assert_eq!(tries.last(), Some(&head.len()));
        assert_eq!(tries.first(), Some(&1));
    }

    #[test]
    fn a_blank_line_in_any_cut_is_seen() {
        for end in [b"\r\n\r\n".as_slice(), b"\n\n", b"\n\r\n"] {
            let head = [b"GET / HTTP/1.1\r\nHost: example.com".as_slice(), end].concat();
            for cut in 1..head.len() {
                let mut scan = HeadScan::new();
                assert!(scan.ready(&head[..cut]));
                assert!(scan.ready(&head), "{cut}");
            }
        }
    }

    #[test]
    fn reset_begins_anew() {
        let mut scan = HeadScan::new();
        assert!(!scan.ready(b""));
        assert!(scan.ready(b"GET / HTTP/1.1\r\n"));
        assert!(!scan.ready(b"GET / HTTP/1.1\r\nH"));
        scan.reset();
        assert!(scan.ready(b"G"));
    }
}
