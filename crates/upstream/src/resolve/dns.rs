//! The client of the name servers.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::Hosts;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::servers::NameServers;
use super::{HostAnswer, ResolveFault, ResolverSettings, ServiceAnswer, ServiceRecord};
use crate::discover::SERVERS_MAX;

const HOSTS_FILE: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The hosts file has no TTL: it is looked at again after this long.
const HOSTS_TTL: Duration = Duration::from_secs(30);

/// Targets of one service whose addresses are asked for at the same time.
const TARGETS_AT_ONCE: usize = 16;

/// Asks for names. Cheap to clone; what it learned from the system's files is as of its making, see
/// [`Dns::is_stale`].
#[derive(Clone)]
pub struct Dns {
    inner: Arc<Inner>,
}

struct Inner {
    servers: NameServers,
    hosts: Hosts,
    timeout: Duration,
    files: [Option<SystemTime>; 2],
}

impl Dns {
    /// A client with these settings.
    ///
    /// # Errors
    /// When the client cannot be made; the text says why.
    pub fn new(settings: &ResolverSettings) -> Result<Dns, String> {
        let files = stamps();
        Ok(Dns {
            inner: Arc::new(Inner {
                servers: NameServers::new(settings)?,
                hosts: Hosts::from_system().unwrap_or_default(),
                timeout: settings.timeout,
                files,
            }),
        })
    }

    /// Whether the hosts file or resolv.conf changed since.
    pub fn is_stale(&self) -> bool {
        self.inner.files != stamps()
    }

    /// The addresses of a host, at least one.
    ///
    /// # Errors
    /// When there is none, or nobody says so in time.
    pub async fn host(&self, host: &str) -> Result<HostAnswer, ResolveFault> {
        self.in_time(host, self.inner.host(host)).await
    }

    /// The records of a service with the addresses of their targets, at least one.
    ///
    /// # Errors
    /// When there is no record or no target has an address, or nobody says so in time.
    pub async fn service(&self, service: &str) -> Result<ServiceAnswer, ResolveFault> {
        self.in_time(service, self.service_of(service)).await
    }

    async fn in_time<T>(
        &self,
        name: &str,
        asking: impl Future<Output = Result<T, ResolveFault>>,
    ) -> Result<T, ResolveFault> {
        let timeout = self.inner.timeout;
        tokio::time::timeout(timeout, asking)
            .await
            .unwrap_or_else(|_| {
                Err(ResolveFault::Timeout {
                    name: name.to_owned(),
                    timeout,
                })
            })
    }

    async fn service_of(&self, service: &str) -> Result<ServiceAnswer, ResolveFault> {
        let fqdn = parsed(service, service)?;
        let lookup = self.inner.lookup(fqdn, RecordType::SRV).await;
        let lookup = lookup.map_err(|fault| told(service, &fault))?;
        let mut records = service_records(&lookup);
        if records.is_empty() {
            return Err(ResolveFault::Empty(service.to_owned()));
        }
        let mut ttl = ttl_of(&lookup);
        for record in &mut records {
            record.addresses = additional(&lookup, &record.target);
        }
        if let Some(shortest) = lookup.additionals().iter().map(|it| it.ttl).min() {
            ttl = ttl.min(seconds(shortest));
        }
        ttl = ttl.min(self.ask_targets(&mut records).await);
        if records.iter().all(|it| it.addresses.is_none()) {
            let cause = "none of its servers has an address".to_owned();
            let name = service.to_owned();
            return Err(ResolveFault::Failed { name, cause });
        }
        Ok(ServiceAnswer { records, ttl })
    }

    /// Looks up the targets that came without addresses. Gives the shortest TTL.
    async fn ask_targets(&self, records: &mut [ServiceRecord]) -> Duration {
        let missing = records.iter().filter(|it| it.addresses.is_none());
        let mut names: Vec<String> = missing.map(|it| it.target.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let mut ttl = Duration::MAX;
        for some in names.chunks(TARGETS_AT_ONCE) {
            let mut asking = tokio::task::JoinSet::new();
            for name in some {
                let (dns, name) = (self.clone(), name.clone());
                asking.spawn(async move {
                    let answer = dns.inner.host(&format!("{name}.")).await;
                    (name, answer)
                });
            }
            while let Some(asked) = asking.join_next().await {
                let Ok((name, Ok(answer))) = asked else {
                    continue;
                };
                ttl = ttl.min(answer.ttl);
                for record in records.iter_mut().filter(|it| it.target == name) {
                    record.addresses = Some(answer.addresses().collect());
                }
            }
        }
        ttl
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Inner {
    async fn host(&self, host: &str) -> Result<HostAnswer, ResolveFault> {
        let name = parsed(host, host)?;
        if let Some(answer) = self.in_hosts_file(&name) {
            return Ok(answer);
        }
        let mut fault = ResolveFault::Unknown(host.to_owned());
        for candidate in candidates(host, name, &self.servers.search, self.servers.dots_min) {
            match self.addresses(host, candidate).await {
                Ok(answer) => return Ok(answer),
                Err(none @ (ResolveFault::Unknown(_) | ResolveFault::Empty(_))) => fault = none,
                // A later name must not take the place of one that could not be asked.
                Err(failed) => return Err(failed),
            }
        }
        Err(fault)
    }

    fn in_hosts_file(&self, name: &Name) -> Option<HostAnswer> {
        let of = |kind| {
            let query = Query::query(name.clone(), kind);
            let found = self.hosts.lookup_static_host(&query);
            found.map_or_else(Vec::new, |lookup| addresses_in(&lookup))
        };
        let (v4, v6) = (of(RecordType::A), of(RecordType::AAAA));
        (v4.len() + v6.len() > 0).then_some(HostAnswer {
            v4: Some(v4),
            v6: Some(v6),
            ttl: HOSTS_TTL,
        })
    }

    /// Both kinds of addresses of one absolute name.
    async fn addresses(&self, written: &str, name: Name) -> Result<HostAnswer, ResolveFault> {
        let (v4, v6) = tokio::join!(
            self.lookup(name.clone(), RecordType::A),
            self.lookup(name, RecordType::AAAA),
        );
        let mut fault = None;
        let mut ttl = Duration::MAX;
        let mut part = |asked: Result<Lookup, NetError>| match asked {
            Ok(lookup) => {
                let found = addresses_in(&lookup);
                if !found.is_empty() {
                    ttl = ttl.min(ttl_of(&lookup));
                }
                Some(found)
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if none.response_code == ResponseCode::NoError =>
            {
                Some(Vec::new())
            }
            Err(failed) => {
                fault.get_or_insert(told(written, &failed));
                None
            }
        };
        let (v4, mut v6) = (part(v4), part(v6));
        if let (Some(v4), Some(v6)) = (&v4, &mut v6)
            && !v4.is_empty()
        {
            keep_reachable(v6);
        }
        let count = v4.iter().chain(&v6).flatten().count();
        match fault {
            Some(fault) if count == 0 => Err(fault),
            None if count == 0 => Err(ResolveFault::Empty(written.to_owned())),
            _ => Ok(HostAnswer { v4, v6, ttl }),
        }
    }

    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        self.servers.lookup(&name, kind).await
    }
}

/// The names that a written one may stand for, the likeliest first; all of them absolute. With so many
/// dots the name itself is the likeliest.
pub(super) fn candidates(
    written: &str,
    absolute: Name,
    search: &[Name],
    dots_min: usize,
) -> Vec<Name> {
    if written.ends_with('.') || absolute.is_localhost() {
        return vec![absolute];
    }
    let mut relative = absolute.clone();
    relative.set_fqdn(false);
    let longer = search.iter().filter_map(|domain| {
        let mut name = relative.clone().append_domain(domain).ok()?;
        name.set_fqdn(true);
        Some(name)
    });
    let mut all: Vec<Name> = longer.collect();
    let dots = written.matches('.').count();
    let at = if dots >= dots_min { 0 } else { all.len() };
    all.insert(at, absolute);
    all
}

/// Leaves out IPv6 addresses to which this machine has no route: where names have both kinds and the
/// machine has IPv4 only, half of all servers would be dead. Nothing is sent.
fn keep_reachable(v6: &mut Vec<IpAddr>) {
    const ANY_PORT: u16 = 9;

    if v6.is_empty() {
        return;
    }
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(socket) => v6.retain(|ip| socket.connect((*ip, ANY_PORT)).is_ok()),
        Err(_) => v6.clear(),
    }
}

/// When the files of the system were changed last.
fn stamps() -> [Option<SystemTime>; 2] {
    [HOSTS_FILE, RESOLV_CONF].map(|file| std::fs::metadata(file).and_then(|it| it.modified()).ok())
}

/// A written name as an absolute one.
fn parsed(text: &str, written: &str) -> Result<Name, ResolveFault> {
    let mut name = Name::from_str_relaxed(text).map_err(|fault| ResolveFault::Name {
        name: written.to_owned(),
        cause: fault.to_string(),
    })?;
    name.set_fqdn(true);
    Ok(name)
}

fn addresses_in(lookup: &Lookup) -> Vec<IpAddr> {
    let records = lookup.answers().iter();
    sorted(records.filter_map(|record| record.data.ip_addr()))
}

fn additional(lookup: &Lookup, target: &str) -> Option<Vec<IpAddr>> {
    let records = lookup.additionals().iter();
    let of_target = records.filter(|record| plain(&record.name) == target);
    let found = sorted(of_target.filter_map(|record| record.data.ip_addr()));
    (!found.is_empty()).then_some(found)
}

fn sorted(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = addresses.collect();
    // The order of an answer rotates by itself; sorted, an unchanged set stays unchanged.
    all.sort_unstable();
    all.dedup();
    all
}

/// The records, without those that say that there is no such service (target `.`, RFC 2782).
fn service_records(lookup: &Lookup) -> Vec<ServiceRecord> {
    let services = lookup.answers().iter().filter_map(|record| {
        let RData::SRV(service) = &record.data else {
            return None;
        };
        let target = plain(&service.target);
        (!target.is_empty() && service.port != 0).then_some(ServiceRecord {
            priority: service.priority,
            weight: service.weight,
            port: service.port,
            target,
            addresses: None,
        })
    });
    let mut all: Vec<ServiceRecord> = services.collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(SERVERS_MAX);
    all
}

fn plain(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn ttl_of(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    seconds(shortest.unwrap_or(0))
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(u64::from(ttl))
}

fn told(name: &str, fault: &NetError) -> ResolveFault {
    let name = name.to_owned();
    let cause = match fault {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => return ResolveFault::Empty(name),
            ResponseCode::NXDomain => return ResolveFault::Unknown(name),
            code => code.to_str().to_owned(),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_str().to_owned(),
        other => other.to_string(),
    };
    ResolveFault::Failed { name, cause }
}
