//! One case of a suite.

/// What a suite says of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: only the rules that hold for all.
    None,
    /// Every request in it must be served by the backend.
    Accept,
    /// It must be refused after so many good requests at most.
    Refuse(usize),
    /// The last answer, or the lack of one, must be among these.
    Expect(Expected),
}

/// What may come as the last answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Ranges of statuses.
    pub statuses: Vec<(u16, u16)>,
    /// The connection may be closed without an answer.
    pub close: bool,
    /// The proxy may wait until its deadline, then answer 408 or close.
    pub timeout: bool,
}

impl Expected {
    /// True when this status may come.
    pub fn allows(&self, status: u16) -> bool {
        self.statuses
            .iter()
            .any(|&(from, to)| (from..=to).contains(&status))
            || self.timeout && status == 408
    }
}

/// A case: bytes, and what is expected of them.
#[derive(Debug, Clone)]
pub struct Case {
    /// Suite and name.
    pub id: String,
    /// What is sent, in so many writes.
    pub packets: Vec<Vec<u8>>,
    /// What the suite says.
    pub verdict: Verdict,
    /// True to half-close after the last byte, false to leave the connection open.
    pub finish: bool,
}

impl Case {
    /// A case in one write that leaves the connection open.
    pub fn new(id: impl Into<String>, bytes: Vec<u8>, verdict: Verdict) -> Case {
        Case {
            id: id.into(),
            packets: vec![bytes],
            verdict,
            finish: false,
        }
    }

    /// All that is sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.packets.concat()
    }

    /// The same, half-closed after the last byte; judged by the rules only.
    pub fn finished(&self) -> Case {
        let id = format!("{}+finish", self.id);
        Case {
            id,
            verdict: Verdict::None,
            finish: true,
            ..self.clone()
        }
    }
}
