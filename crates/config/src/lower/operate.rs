//! Operation: the admin API, our own /health, load shed, names of servers.

use std::net::IpAddr;
use std::path::PathBuf;

use super::health::{expected, span_of_set};
use super::{Lower, text_of};
use crate::decode::{Data, Fields, items_of};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    Admin, BindAddress, Dependency, DependencyCheck, DiskFree, EndpointHost, MemoryLimit,
    OwnHealth, Resolver, Secret, Shed,
};
use crate::span::{Span, Spanned};
use crate::values;

impl Lower<'_> {
    /// `None` when it is off.
    pub(super) fn admin(&mut self, top: &mut Fields, state: &Spanned<PathBuf>) -> Option<Admin> {
        let span = top.span();
        let mut own = match top.item(&keys::ADMIN_KEY).map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            Some(_) => return None,
            None => self.defaults(&keys::ADMIN, span),
        };
        let defaulted = !own.is_set(&keys::ADMIN_BIND);
        let socket_defaulted = !own.is_set(&keys::ADMIN_SOCKET);
        let socket = match own.item(&keys::ADMIN_SOCKET) {
            None => Some(self.default_socket(state, own.span())),
            Some(item) => text_of(item)
                .map(|path| Spanned::new(self.input.path(path.span, &path.value), path.span)),
        };
        let binds = self.admin_binds(&mut own);
        let token: Option<Spanned<String>> = own.get(&keys::ADMIN_TOKEN);
        let tls_set = own.is_set(&keys::ADMIN_TLS);
        let tls_span = own.span_of(&keys::ADMIN_TLS);
        let tls = own
            .section(&keys::ADMIN_TLS)
            .and_then(|fields| self.listener_tls(fields));
        let token_span = token.as_ref().map(|token| token.span);
        for (name, at) in [("token", token_span), ("tls", tls_set.then_some(tls_span))] {
            if let (true, Some(at)) = (binds.is_empty(), at) {
                let what = format!("`{name}` has no effect: `bind` is `off`");
                self.report(&codes::NO_EFFECT, at, what, |report| {
                    report.help("remove it; the unix socket needs none")
                });
            }
        }
        let far = binds.iter().find(|bind| !is_loopback(bind));
        if let (Some(at), Some(bind), false) = (token_span, far, tls_set) {
            let what = format!("the admin token goes to `{}` without TLS", bind.value);
            self.report(&codes::IN_THE_CLEAR, at, what, |report| {
                report.help("add `tls` with a certificate, or bind to 127.0.0.1")
            });
        }
        Some(Admin {
            binds,
            defaulted,
            socket,
            socket_defaulted,
            token: token.map(|token| token.map(Secret::new)),
            tls,
        })
    }

    fn admin_binds(&mut self, own: &mut Fields) -> Vec<Spanned<BindAddress>> {
        let Some(item) = own.item(&keys::ADMIN_BIND) else {
            return Vec::new();
        };
        let texts = match item.data {
            Data::Items(_) => items_of(item).into_iter().filter_map(text_of).collect(),
            _ => Vec::from_iter(text_of(item)),
        };
        let binds = texts.into_iter();
        binds
            .filter_map(|text| Some(Spanned::new(values::bind(&text).ok()?, text.span)))
            .collect()
    }

    /// The socket that the command line looks for when it is told nothing.
    fn default_socket(&self, state: &Spanned<PathBuf>, span: Span) -> Spanned<PathBuf> {
        let path = crate::places::admin_socket(self.input.world, &state.value);
        Spanned::new(path, span)
    }

    pub(super) fn own_health(&mut self, top: &mut Fields) -> OwnHealth {
        let Some(mut own) = top.section(&keys::OWN_HEALTH_KEY) else {
            return OwnHealth::default();
        };
        let version = own.get(&keys::OWN_VERSION);
        let mut checks = Vec::new();
        for (name, item) in own.entries(&keys::OWN_CHECKS) {
            if let Data::Fields(fields) = item.data {
                checks.extend(self.dependency(name, fields));
            }
        }
        OwnHealth { version, checks }
    }

    fn dependency(&mut self, name: Spanned<String>, mut own: Fields) -> Option<DependencyCheck> {
        let of = if own.is_set(&keys::DEPENDS_TCP) {
            let (free, free_span) = (
                own.is_set(&keys::DEPENDS_FREE),
                own.span_of(&keys::DEPENDS_FREE),
            );
            self.foreign(free, "free", "disk", free_span);
            self.tcp_dependency(&mut own)
        } else {
            self.only_for_tcp(&own);
            if own.is_set(&keys::DEPENDS_DISK) {
                self.disk_dependency(&mut own)
            } else {
                self.pool_dependency(&mut own)
            }
        };
        Some(DependencyCheck {
            name,
            of: of?,
            every: own.value(&keys::DEPENDS_EVERY),
            timeout: own.value(&keys::DEPENDS_TIMEOUT),
        })
    }

    fn tcp_dependency(&mut self, own: &mut Fields) -> Option<Dependency> {
        let address: Spanned<String> = own.get(&keys::DEPENDS_TCP)?;
        let send_set = own.is_set(&keys::DEPENDS_SEND);
        let send_span = own.span_of(&keys::DEPENDS_SEND);
        let send: String = own.value(&keys::DEPENDS_SEND);
        let expect = own.item(&keys::DEPENDS_EXPECT).and_then(expected);
        if send_set && expect.is_none() {
            let what = "`send` stands without `expect`";
            self.report(&codes::NO_EFFECT, send_span, what, |report| {
                report.help("write what must come back: `expect: TEXT`")
            });
        }
        Some(Dependency::Tcp {
            address: Spanned::new(values::server_address(&address).ok()?, address.span),
            send: values::exchanged(&send).ok()?,
            expect,
        })
    }

    fn disk_dependency(&mut self, own: &mut Fields) -> Option<Dependency> {
        let free = match own.item(&keys::DEPENDS_FREE)?.data {
            Data::Number(share) => DiskFree::Share(share),
            Data::Size(bytes) => DiskFree::Bytes(bytes),
            _ => return None,
        };
        let path = self.file(own, &keys::DEPENDS_DISK)?;
        Some(Dependency::Disk { path, free })
    }

    fn pool_dependency(&mut self, own: &mut Fields) -> Option<Dependency> {
        for key in [&keys::DEPENDS_EVERY, &keys::DEPENDS_TIMEOUT] {
            if own.is_set(key) {
                let what = format!(
                    "`{}` has no effect: a pool is looked at when asked",
                    key.name
                );
                self.report(&codes::NO_EFFECT, own.span_of(key), what, |report| {
                    report.help("remove it")
                });
            }
        }
        let (free, span) = (
            own.is_set(&keys::DEPENDS_FREE),
            own.span_of(&keys::DEPENDS_FREE),
        );
        self.foreign(free, "free", "disk", span);
        let name: Spanned<String> = own.get(&keys::DEPENDS_POOL)?;
        self.refer(|lower| &lower.pools, &name, name.span)
            .map(Dependency::Pool)
    }

    fn only_for_tcp(&mut self, own: &Fields) {
        for key in [&keys::DEPENDS_SEND, &keys::DEPENDS_EXPECT] {
            self.foreign(own.is_set(key), key.name, "tcp", own.span_of(key));
        }
    }

    fn foreign(&mut self, set: bool, name: &str, owner: &str, span: Span) {
        if set {
            let what = format!("`{name}` is a setting of `{owner}`");
            self.report(&codes::CONFLICT, span, what, |report| {
                report.help(format!("remove it, or check by `{owner}`"))
            });
        }
    }

    pub(super) fn shed(&mut self, top: &mut Fields) -> Shed {
        let Some(mut own) = top.section(&keys::SHED_KEY) else {
            return Shed::default();
        };
        let memory = own.item(&keys::SHED_MEMORY).map(|item| item.data);
        let shed = Shed {
            memory: match memory {
                Some(Data::Number(share)) => Some(MemoryLimit::Share(share)),
                Some(Data::Size(bytes)) => Some(MemoryLimit::Bytes(bytes)),
                _ => None,
            },
            requests: own.get(&keys::SHED_REQUESTS),
        };
        if shed == Shed::default() && !self.found.failed() {
            let what = "`shed` has no effect: it has no limit";
            self.report(&codes::NO_EFFECT, own.span(), what, |report| {
                report.help("write `memory: 90%` or `requests: 10000`, or remove it")
            });
        }
        shed
    }

    pub(super) fn resolver(&mut self, top: &mut Fields) -> Resolver {
        let span = top.span();
        let mut own = top
            .section(&keys::RESOLVER_KEY)
            .unwrap_or_else(|| self.defaults(&keys::RESOLVER, span));
        let servers = own.items(&keys::RESOLVER_SERVERS).into_iter();
        let servers = servers.filter_map(text_of);
        let servers = servers
            .filter_map(|text| Some(Spanned::new(values::dns_server(&text).ok()?, text.span)))
            .collect();
        let at = span_of_set(&own, [&keys::RESOLVER_TTL_MIN, &keys::RESOLVER_TTL_MAX]);
        let resolver = Resolver {
            servers,
            ttl_min: own.value(&keys::RESOLVER_TTL_MIN),
            ttl_max: own.value(&keys::RESOLVER_TTL_MAX),
            timeout: own.value(&keys::RESOLVER_TIMEOUT),
        };
        self.ordered(
            at,
            (&keys::RESOLVER_TTL_MIN, resolver.ttl_min),
            (&keys::RESOLVER_TTL_MAX, resolver.ttl_max),
        );
        resolver
    }
}

/// Whether an address is of this machine alone.
fn is_loopback(bind: &BindAddress) -> bool {
    match &bind.host {
        EndpointHost::Ip(IpAddr::V4(ip)) => ip.is_loopback(),
        EndpointHost::Ip(IpAddr::V6(ip)) => ip.is_loopback(),
        EndpointHost::Name(name) => name == "localhost",
    }
}
