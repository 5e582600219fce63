//! Turns typed values into the model, and reports what concerns several of them: names that refer to
//! nothing, settings that do not go together or have no effect.

mod headers;
mod health;
mod listener;
mod log;
mod matcher;
mod names;
mod operate;
mod pages;
mod pool;
mod process;
mod protect;
mod retry;
mod route;
mod server;
mod sticky;
mod tls;
mod upstream;

use std::collections::HashMap;

use crate::decode::{Data, Decoder, Findings, Input, Item};
use crate::diagnostic::{Code, Diagnostic, codes};
use crate::keys;
use crate::model::{AccessLog, ListenerId, LogId, Model, PoolId, Secret};
use crate::span::{Span, Spanned};
use crate::tree::Node;
use names::Names;

/// Most listeners.
pub const LISTENERS_MAX: usize = 1024;
/// Most pools.
pub const POOLS_MAX: usize = 65_535;
/// Most access logs, those written in place included.
pub const ACCESS_LOGS_MAX: usize = 1024;
/// Most servers of one pool; no balancer takes more.
pub const SERVERS_MAX: usize = 65_000;

/// What is known while the model is made.
struct Lower<'a> {
    input: Input<'a>,
    found: &'a mut Findings,
    listeners: Names<ListenerId>,
    pools: Names<PoolId>,
    log_names: Names<LogId>,
    logs: Vec<AccessLog>,
}

/// Makes the model of a whole configuration. `None` when there was an error.
pub(crate) fn lower(root: &Node, input: Input<'_>, found: &mut Findings) -> Option<Model> {
    let mut top = Decoder::new(input, found).section(root, &keys::TOP);
    let mut lower = Lower {
        input,
        found,
        listeners: Names::new("listener"),
        pools: Names::new("pool"),
        log_names: Names::new("access log"),
        logs: Vec::new(),
    };
    let model = lower.model(&mut top);
    if found.failed() { None } else { Some(model) }
}

impl Lower<'_> {
    fn model(&mut self, top: &mut crate::decode::Fields) -> Model {
        let listeners = top.entries(&keys::LISTENERS);
        let pools = top.entries(&keys::POOLS);
        let logs = top.entries(&keys::ACCESS_LOGS);
        self.limit(listeners.len(), LISTENERS_MAX, "listeners", top.span());
        self.limit(pools.len(), POOLS_MAX, "pools", top.span());
        for ((name, _), at) in listeners.iter().take(LISTENERS_MAX).zip(0..) {
            self.listeners.add(name, ListenerId(at));
        }
        for ((name, _), at) in pools.iter().take(POOLS_MAX).zip(0..) {
            self.pools.add(name, PoolId(at));
        }
        self.named_logs(logs);

        let process = self.process(top);
        let client_address = self.client_address(top);
        let request_id = self.request_id(top);
        let show_backend = top.value(&keys::SHOW_BACKEND);
        let access_log = self.log_use(top.item(&keys::ACCESS_LOG_DEFAULT), "access_log");
        let error_pages = self.error_pages(top.entries(&keys::ERROR_PAGES));
        let headers = self.headers(top.section(&keys::GLOBAL_HEADERS));
        let forwarded = self.forwarded(top.section(&keys::GLOBAL_FORWARDED), None);
        let timeouts = self.global_timeouts(top.section(&keys::GLOBAL_TIMEOUTS_KEY), top.span());
        let limits = self.global_limits(top.section(&keys::GLOBAL_LIMITS_KEY), top.span());
        let listeners = self.listeners(listeners, &timeouts, &limits);
        let pools = self.pools(pools);
        let span = top.span();
        let state = self.state(top);
        let mut admin = self.admin(top, &state);
        let health = self.own_health(top);
        let secret: Option<Spanned<String>> = top.get(&keys::SECRET);
        let routes = self.routes(top.items(&keys::ROUTES), &error_pages, &forwarded);
        self.loops(&listeners, &routes);
        self.grpc_web(&routes, &pools);
        self.same_addresses(&listeners, &mut admin);
        if !self.found.failed()
            && routes.is_empty()
            && listeners.iter().any(|listener| listener.redirect.is_none())
        {
            self.report(&codes::NO_ROUTES, span, "there are no routes", |report| {
                report.help("add `routes: [ { pool: NAME } ]`")
            });
        }
        self.unused();
        Model {
            process,
            state,
            client_address,
            request_id,
            show_backend,
            access_log: access_log.unwrap_or_default(),
            access_logs: std::mem::take(&mut self.logs),
            error_pages,
            headers,
            listeners,
            routes,
            pools,
            admin,
            health,
            shed: self.shed(top),
            resolver: self.resolver(top),
            secret: secret.map(|secret| secret.map(Secret::new)),
            sources: self.input.sources.clone(),
        }
    }

    fn report(
        &mut self,
        code: &'static Code,
        span: Span,
        what: impl Into<String>,
        finish: impl FnOnce(Diagnostic) -> Diagnostic,
    ) {
        // What is absent may stand in a file that could not be read.
        if self.input.partial && [&codes::UNKNOWN_NAME, &codes::NO_ROUTES].contains(&code) {
            return;
        }
        self.found.push(finish(Diagnostic::new(
            code,
            self.input.sources,
            span,
            what,
        )));
    }

    fn limit(&mut self, is: usize, most: usize, what: &str, span: Span) {
        if is > most {
            let what = format!("there are {is} {what}, at most {most} are possible");
            self.report(&codes::OUT_OF_RANGE, span, what, |report| report);
        }
    }

    /// Warns of pools and logs that nothing refers to.
    fn unused(&mut self) {
        if self.found.failed() {
            return;
        }
        let sources = self.input.sources;
        for (kind, name, span) in self.pools.unused().chain(self.log_names.unused()) {
            let what = format!("the {kind} `{name}` is not used");
            let report = Diagnostic::new(&codes::UNUSED, sources, span, what);
            self.found
                .push(report.help("remove it, or name it where it was meant to be used"));
        }
    }
}

/// The text of an item.
fn text_of(item: Item) -> Option<crate::span::Spanned<String>> {
    match item.data {
        Data::Text(text) => Some(crate::span::Spanned::new(text.text, item.span)),
        _ => None,
    }
}

/// Names that were seen, for those that must be told apart without regard to case or not.
type Seen = HashMap<String, Span>;
