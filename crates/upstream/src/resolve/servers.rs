//! The name servers, asked one after the other.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::ResolverSettings;

/// As many as the C library asks, and some more.
const SERVERS_MAX: usize = 8;

/// The name servers. Each has a client of its own: one that fails or is silent must not answer for
/// the others, as it would if one client had them all.
pub(super) struct NameServers {
    servers: Vec<TokioResolver>,
    /// The one that answered last; it is asked first.
    first: AtomicUsize,
    /// Domains that a name may be short for.
    pub(super) search: Vec<Name>,
    /// With so many dots a name is likely no short one.
    pub(super) dots_min: usize,
}

impl NameServers {
    /// Those of the settings, or of the system.
    pub(super) fn new(settings: &ResolverSettings) -> Result<NameServers, String> {
        let (config, mut options) = match settings.servers.is_empty() {
            true => system(),
            false => (own(settings), ResolverOpts::default()),
        };
        let mut search = config.search.clone();
        search.extend(config.domain.clone().filter(|_| search.is_empty()));
        let mut names = config.name_servers;
        names.truncate(SERVERS_MAX);
        // What one that is silent takes of the time is missing for the next. Packets that are lost are
        // sent again within it.
        let count = u32::try_from(names.len()).unwrap_or(1).max(1);
        options.timeout = settings.timeout / count;
        options.attempts = 0;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let servers = names.into_iter().map(|server| client(server, &options));
        Ok(NameServers {
            servers: servers.collect::<Result<_, _>>()?,
            first: AtomicUsize::new(0),
            search,
            dots_min: options.ndots,
        })
    }

    /// Asks for the records of an absolute name until a name server has an answer, be it that there
    /// are none.
    pub(super) async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut last = NetError::NoConnections;
        for step in 0..count {
            let position = (first + step) % count;
            let Some(server) = self.servers.get(position) else {
                break;
            };
            match server.lookup(name.clone(), kind).await {
                Err(fault) if !matches!(fault, NetError::Dns(DnsError::NoRecordsFound(_))) => {
                    last = fault;
                }
                answer => {
                    self.first.store(position, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(last)
    }
}

fn client(server: NameServerConfig, options: &ResolverOpts) -> Result<TokioResolver, String> {
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options.clone())
        .build()
        .map_err(|fault| fault.to_string())
}

/// A machine without resolv.conf has its name server on the loopback address, as with the C library.
fn system() -> (ResolverConfig, ResolverOpts) {
    read_system_conf().unwrap_or_else(|_| {
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
        (config, ResolverOpts::default())
    })
}

fn own(settings: &ResolverSettings) -> ResolverConfig {
    let servers = settings.servers.iter().map(|at| {
        let mut server = NameServerConfig::udp_and_tcp(at.ip());
        server.connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut server.connections {
            connection.port = at.port();
        }
        server
    });
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}
