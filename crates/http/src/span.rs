//! A range of bytes in a buffer that somebody else owns.

/// Half-open range of bytes `start..end` in the buffer that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The empty span at offset 0.
    pub const EMPTY: Span = Span { start: 0, end: 0 };

    /// A span from `start` to `end`, in bytes.
    #[inline]
    pub const fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of this span; empty when the span does not lie within `buf`.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the span has no bytes.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_out_of_range_is_empty() {
        let buf = b"hello";
        assert_eq!(Span::new(1, 3).of(buf), b"el");
        assert_eq!(Span { start: 3, end: 1 }.of(buf), b"");
        assert_eq!(Span { start: 3, end: 99 }.of(buf), b"");
        assert_eq!(Span { start: 3, end: 1 }.len(), 0);
        assert!(Span::EMPTY.is_empty());
    }
}
