//! The process, the client's address, the request id, the admin listener.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::{Lower, text_of};
use crate::decode::{Fields, Item, items_of, word_of};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    Admin, BindAddress, ClientAddress, Connections, EndpointHost, KeepId, Listener, Process,
    RequestId, Workers,
};
use crate::span::{Span, Spanned};
use crate::values;
use ipnet::IpNet;

impl Lower<'_> {
    pub(super) fn process(&mut self, top: &mut Fields) -> Process {
        let drain_timeout = top.value(&keys::DRAIN_TIMEOUT);
        let user = top.get(&keys::USER);
        let group: Option<Spanned<String>> = top.get(&keys::GROUP);
        if let (None, Some(group)) = (&user, &group) {
            let what = "`group` stands without `user`";
            self.report(&codes::CONFLICT, group.span, what, |report| {
                report
                    .why("root without its group is still root")
                    .help("write `user` too, or remove it")
            });
        }
        let mut reload = top.section(&keys::RELOAD_KEY);
        Process {
            workers: top
                .get(&keys::WORKERS)
                .map_or(Workers::Auto, Workers::Fixed),
            connections: top
                .get(&keys::CONNECTIONS)
                .map_or(Connections::Auto, Connections::Fixed),
            drain_timeout,
            drain_timeout_tunnels: top.get(&keys::DRAIN_TUNNELS).unwrap_or(drain_timeout),
            upgrade_timeout: top.value(&keys::UPGRADE_TIMEOUT),
            user,
            group,
            watch: reload
                .as_mut()
                .is_some_and(|reload| reload.value(&keys::RELOAD_WATCH)),
        }
    }

    /// The folder for what outlives a restart, as the file or else the environment says.
    pub(super) fn state(&mut self, top: &mut Fields) -> Spanned<PathBuf> {
        let span = top.span_of(&keys::STATE);
        if let Some(path) = top.get::<Spanned<String>>(&keys::STATE) {
            return Spanned::new(self.input.path(span, &path.value), span);
        }
        Spanned::new(crate::places::state_folder(self.input.world), span)
    }

    pub(super) fn client_address(&mut self, top: &mut Fields) -> ClientAddress {
        let items = top.items(&keys::TRUSTED_PROXIES);
        let trusted_proxies = self.networks(items);
        for net in trusted_proxies.iter().filter(|net| net.prefix_len() == 0) {
            let what = format!("`{}` is every address", net.value);
            self.report(&codes::TRUST_EVERYBODY, net.span, what, |report| {
                report.help("name the networks of your own proxies")
            });
        }
        let mut fields = top
            .section(&keys::CLIENT_ADDRESS_KEY)
            .unwrap_or_else(|| self.defaults(&keys::CLIENT_ADDRESS, top.span()));
        let headers = fields
            .items(&keys::CLIENT_HEADERS)
            .into_iter()
            .filter_map(word_of)
            .collect();
        ClientAddress {
            trusted_proxies,
            headers,
        }
    }

    /// A section that the file does not have: the defaults of its keys.
    pub(super) fn defaults(&mut self, table: &'static keys::Table, span: Span) -> Fields {
        let nothing = crate::tree::Node {
            span,
            value: crate::tree::Value::Map(Vec::new()),
        };
        crate::decode::Decoder::new(self.input, self.found).section(&nothing, table)
    }

    pub(super) fn networks(&mut self, items: Vec<Item>) -> Vec<Spanned<IpNet>> {
        let mut networks = Vec::with_capacity(items.len());
        for text in items.into_iter().filter_map(text_of) {
            let Ok((net, cut)) = values::network(&text) else {
                continue;
            };
            if cut {
                let what = format!("`{}` has bits set after its prefix", text.value);
                self.report(&codes::HOST_BITS, text.span, what, |report| {
                    report.help(format!(
                        "write `{net}`, or the address alone if you mean only that"
                    ))
                });
            }
            networks.push(Spanned::new(net, text.span));
        }
        networks
    }

    pub(super) fn request_id(&mut self, top: &mut Fields) -> RequestId {
        let mut fields = top
            .section(&keys::REQUEST_ID_KEY)
            .unwrap_or_else(|| self.defaults(&keys::REQUEST_ID, top.span()));
        let header: Option<Spanned<String>> = fields.get(&keys::REQUEST_ID_HEADER);
        let header = header.unwrap_or_else(|| Spanned::new(String::new(), fields.span()));
        self.editable(&header);
        RequestId {
            header,
            keep: fields.word::<KeepId>(&keys::REQUEST_ID_KEEP),
        }
    }

    pub(super) fn binds(&mut self, item: Option<Item>) -> Vec<Spanned<BindAddress>> {
        let texts = item
            .map(items_of)
            .unwrap_or_default()
            .into_iter()
            .filter_map(text_of);
        texts
            .filter_map(|text| Some(Spanned::new(values::bind(&text).ok()?, text.span)))
            .collect()
    }

    /// Two sockets on one address would each get a part of the connections (SO_REUSEPORT), so it is refused;
    /// the admin listener that nobody asked for gives way instead.
    pub(super) fn same_addresses(&mut self, listeners: &[Listener], admin: &mut Option<Admin>) {
        let mut seen: HashMap<BindAddress, Span> = HashMap::new();
        let binds = listeners.iter().flat_map(|listener| &listener.binds);
        let fixed = admin.as_ref().filter(|admin| !admin.defaulted);
        for bind in binds.chain(fixed.into_iter().flat_map(|admin| &admin.binds)) {
            if bind.port == 0 {
                continue;
            }
            if let Some(first) = seen.insert(bind.value.clone(), bind.span) {
                self.bound_twice(bind, first);
            }
        }
        let defaulted = admin.as_ref().filter(|admin| admin.defaulted);
        let bind = defaulted.and_then(|admin| admin.binds.first().cloned());
        if let Some(bind) = bind.filter(|bind| is_taken(&seen, bind.port)) {
            if let Some(admin) = admin {
                admin.binds.clear();
            }
            let what = format!(
                "the admin API has no TCP address: its default `{}` is a listener's",
                bind.value
            );
            self.report(&codes::NO_EFFECT, bind.span, what, |report| {
                report.help("give it another address: `admin: { bind: \"127.0.0.1:9901\" }`")
            });
        }
    }

    fn bound_twice(&mut self, bind: &Spanned<BindAddress>, first: Span) {
        let what = format!("`{}` is bound twice", bind.value);
        let sources = self.input.sources;
        self.report(&codes::SAME_ADDRESS, bind.span, what, |report| {
            report
                .related(sources, first, "first here")
                .help("take another port, or tell the two apart by host in `routes`")
        });
    }
}

/// Whether a listener takes a port of 127.0.0.1.
fn is_taken(seen: &HashMap<BindAddress, Span>, port: u16) -> bool {
    let hosts = [
        EndpointHost::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        EndpointHost::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        EndpointHost::Name("localhost".to_owned()),
    ];
    hosts
        .into_iter()
        .any(|host| seen.contains_key(&BindAddress { host, port }))
}
