//! Priorities (RFC 9218): the field and the frame say the same in the same words.

/// How urgent a stream is that says nothing.
pub(crate) const URGENCY_DEFAULT: u8 = 3;
/// The least urgent.
const URGENCY_MAX: u8 = 7;

/// Reads the value of a `priority` field: how urgent (`u`, 0 to 7, 0 being first) and whether what comes is of use as it
/// comes (`i`). What is not there or not understood is none, as RFC 9218, 4 has it.
///
/// ```
/// assert_eq!(keel_http2::read_priority(b"u=1, i"), (Some(1), Some(true)));
/// assert_eq!(keel_http2::read_priority(b"i=?0"), (None, Some(false)));
/// ```
pub fn read_priority(value: &[u8]) -> (Option<u8>, Option<bool>) {
    let (mut urgency, mut incremental) = (None, None);
    for part in value.split(|&byte| byte == b',') {
        // Parameters of a member mean nothing here.
        let member = part.split(|&byte| byte == b';').next().unwrap_or(part);
        match member.trim_ascii() {
            [b'u', b'=', digit @ b'0'..=b'7'] => urgency = Some((digit - b'0').min(URGENCY_MAX)),
            b"i" | b"i=?1" => incremental = Some(true),
            b"i=?0" => incremental = Some(false),
            _ => {}
        }
    }
    (urgency, incremental)
}

/// How a stream stands among others that have something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) urgency: u8,
    /// It shares with its equals; otherwise they go one after the other.
    pub(crate) incremental: bool,
}

impl Default for Priority {
    /// Of a peer that says nothing. It knows nothing of priorities, and its streams may be endless: they share.
    fn default() -> Priority {
        Priority {
            urgency: URGENCY_DEFAULT,
            incremental: true,
        }
    }
}

impl Priority {
    /// Of a peer that said this.
    pub(crate) fn told(value: &[u8]) -> Priority {
        let (urgency, incremental) = read_priority(value);
        Priority {
            urgency: urgency.unwrap_or(URGENCY_DEFAULT),
            incremental: incremental.unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, urgency, incremental) in [
            ("", None, None),
            ("u=0", Some(0), None),
            ("u=7,i", Some(7), Some(true)),
            (" i=?1 ,  u=5 ", Some(5), Some(true)),
            ("u=5;x=1, i;y", Some(5), Some(true)),
            ("u=8", None, None),
            ("u=-1, i=1", None, None),
            ("u=1, u=2", Some(2), None),
            ("x, u=\"1\"", None, None),
        ] {
            assert_eq!(
                read_priority(value.as_bytes()),
                (urgency, incremental),
                "{value}"
            );
        }
        assert!(!Priority::told(b"").incremental);
        assert!(Priority::default().incremental);
    }
}
