//! What a look-up gave, and why it gave nothing.

use std::net::IpAddr;
use std::time::Duration;

/// Why a name gave no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveFault {
    /// The text is no name.
    #[error("`{name}` is no host name ({cause}); write a name of DNS or an IP address")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The name servers said no, or something that is no answer.
    #[error("{name} does not resolve ({cause})")]
    Failed {
        /// The name that was asked for.
        name: String,
        /// What came back.
        cause: String,
    },
    /// There is no such name (NXDOMAIN).
    #[error("{0} does not exist (NXDOMAIN)")]
    Unknown(String),
    /// The name servers know the name but no address or server for it.
    #[error("{0} resolves to nothing")]
    Empty(String),
    /// Nobody answered in time.
    #[error("{name} does not resolve: no answer within {} s", .timeout.as_secs_f32())]
    Timeout {
        /// The name that was asked for.
        name: String,
        /// How long it was waited for.
        timeout: Duration,
    },
}

/// The addresses of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAnswer {
    /// IPv4 addresses, sorted; `None` when the question for them failed: then the last ones stay.
    pub v4: Option<Vec<IpAddr>>,
    /// IPv6 addresses, likewise.
    pub v6: Option<Vec<IpAddr>>,
    /// How long the answer may be used, as its records say.
    pub ttl: Duration,
}

impl HostAnswer {
    /// Fills in, from the answer before, what could not be asked this time.
    pub fn keep_of(&mut self, before: &HostAnswer) {
        if self.v4.is_none() {
            self.v4.clone_from(&before.v4);
        }
        if self.v6.is_none() {
            self.v6.clone_from(&before.v6);
        }
    }

    /// All addresses, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.iter().chain(&self.v6).flatten().copied()
    }
}

/// One SRV record, with the addresses of its target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRecord {
    /// Lower is used first.
    pub priority: u16,
    /// Share among the records of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The target's name, lower case, without the last dot.
    pub target: String,
    /// The target's addresses, sorted; `None` when they could not be asked.
    pub addresses: Option<Vec<IpAddr>>,
}

/// The records of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// The records, sorted.
    pub records: Vec<ServiceRecord>,
    /// How long the answer may be used: the shortest TTL of all that is in it.
    pub ttl: Duration,
}

impl ServiceAnswer {
    /// Fills in, from the answer before, addresses of targets that could not be asked this time.
    pub fn keep_of(&mut self, before: &ServiceAnswer) {
        for record in &mut self.records {
            if record.addresses.is_none() {
                let same = before.records.iter().find(|it| it.target == record.target);
                record.addresses = same.and_then(|same| same.addresses.clone());
            }
        }
    }
}
