//! What went wrong at a server, and which of it is held against it.

/// Lowest status code that a [`StatusSet`] can hold.
const STATUS_MIN: u16 = 100;
/// Highest status code that a [`StatusSet`] can hold.
const STATUS_MAX: u16 = 599;

/// A set of HTTP status codes, 100 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusSet([u64; 8]);

impl StatusSet {
    /// The set of these codes; what is not from 100 to 599 is left out.
    pub fn of(codes: impl IntoIterator<Item = u16>) -> Self {
        let mut set = StatusSet::default();
        for code in codes {
            if let Some((word, bit)) = place(code) {
                set.0[word] |= bit;
            }
        }
        set
    }

    /// True when `code` is in the set.
    pub fn contains(&self, code: u16) -> bool {
        place(code).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// True without any code.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }
}

fn place(code: u16) -> Option<(usize, u64)> {
    let at = (STATUS_MIN..=STATUS_MAX)
        .contains(&code)
        .then(|| usize::from(code - STATUS_MIN))?;
    Some((at / 64, 1 << (at % 64)))
}

/// What went wrong with a request at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// No connection: refused, unreachable, no name, no TLS handshake.
    Connect,
    /// It took too long: connecting, sending, answering.
    Timeout,
    /// The connection ended in the middle.
    Reset,
    /// The answer broke the protocol.
    Protocol,
    /// An answer with this status code.
    Status(u16),
}

/// Which failures count against a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureSet {
    /// [`FailureClass::Connect`]. Default true.
    pub connect: bool,
    /// [`FailureClass::Timeout`]. Default true.
    pub timeout: bool,
    /// [`FailureClass::Reset`]. Default true.
    pub reset: bool,
    /// [`FailureClass::Protocol`]. Default true.
    pub protocol: bool,
    /// Status codes. Default none: an answer is an answer.
    pub statuses: StatusSet,
}

impl Default for FailureSet {
    fn default() -> Self {
        FailureSet {
            connect: true,
            timeout: true,
            reset: true,
            protocol: true,
            statuses: StatusSet::default(),
        }
    }
}

impl FailureSet {
    /// Whether this failure counts.
    pub fn counts(&self, class: FailureClass) -> bool {
        match class {
            FailureClass::Connect => self.connect,
            FailureClass::Timeout => self.timeout,
            FailureClass::Reset => self.reset,
            FailureClass::Protocol => self.protocol,
            FailureClass::Status(code) => self.statuses.contains(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_exactly_its_codes() {
        let set = StatusSet::of((500..=599).chain([100, 429, 99, 600, 0]));
        for code in 0..=1_000u16 {
            let expected = (500..=599).contains(&code) || code == 100 || code == 429;
            assert_eq!(set.contains(code), expected, "{code}");
        }
        assert!(StatusSet::default().is_empty() && !set.is_empty());
    }

    #[test]
    fn what_counts_is_chosen() {
        let mut set = FailureSet::default();
        assert!(set.counts(FailureClass::Connect) && set.counts(FailureClass::Protocol));
        assert!(!set.counts(FailureClass::Status(503)));
        set.statuses = StatusSet::of([503]);
        set.timeout = false;
        assert!(set.counts(FailureClass::Status(503)) && !set.counts(FailureClass::Status(502)));
        assert!(!set.counts(FailureClass::Timeout) && set.counts(FailureClass::Reset));
    }
}
