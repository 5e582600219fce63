//! Routes and their targets.

use std::sync::Arc;

use super::listener::redirect;
use super::{Lower, Seen, pages};
use crate::decode::{Data, Fields, Item, Text};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    Condition, ErrorPages, Expose, Forwarded, Pool, PoolId, Respond, Route, RouteTimeouts,
    ServerProtocol, Split, SplitBy, SplitPart, Target,
};
use crate::span::{Span, Spanned};

/// Statuses whose answers have no body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
const BODILESS: &[u16] = &[204, 205, 304];

impl Lower<'_> {
    pub(super) fn routes(
        &mut self,
        items: Vec<Item>,
        pages: &ErrorPages,
        forwarded: &Forwarded,
    ) -> Vec<Route> {
        let mut routes = Vec::with_capacity(items.len());
        let mut seen = Seen::new();
        for (at, item) in items.into_iter().enumerate() {
            let Data::Fields(mut fields) = item.data else {
                continue;
            };
            let name: Option<Spanned<String>> = fields.get(&keys::ROUTE_NAME);
            let name = name.unwrap_or_else(|| Spanned::new(format!("route-{}", at + 1), item.span));
            if let Some(first) = seen.insert(name.value.clone(), name.span) {
                self.same_name("routes", &name, first);
            }
            routes.extend(self.route(name, fields, pages, forwarded));
        }
        routes
    }

    pub(super) fn same_name(&mut self, what: &str, name: &Spanned<String>, first: Span) {
        let what = format!("two {what} are named `{}`", name.value);
        let sources = self.input.sources;
        self.report(&codes::DUPLICATE_NAME, name.span, what, |report| {
            report
                .related(sources, first, "first here")
                .help("give one of them another `name`")
        });
    }

    fn route(
        &mut self,
        name: Spanned<String>,
        mut fields: Fields,
        pages: &ErrorPages,
        forwarded: &Forwarded,
    ) -> Option<Route> {
        let span = fields.span_of(&keys::ROUTE_MATCH);
        let condition = match fields.section(&keys::ROUTE_MATCH) {
            Some(fields) => self.condition(fields),
            None => Condition::All(Vec::new()),
        };
        self.without_effect(&fields);
        let target = self.target(&mut fields);
        let mut error_pages = self.error_pages(fields.entries(&keys::ROUTE_PAGES));
        error_pages.inherit(pages);
        let mut limits = fields.section(&keys::ROUTE_LIMITS_KEY);
        let place = format!("routes.{}", name.value);
        let web_span = fields.span_of(&keys::ROUTE_GRPC_WEB);
        Some(Route {
            name,
            condition: Spanned::new(condition, span),
            headers: self.headers(fields.section(&keys::ROUTE_HEADERS)),
            body_limit: limits
                .as_mut()
                .and_then(|limits| limits.get(&keys::ROUTE_BODY)),
            timeouts: route_timeouts(fields.section(&keys::ROUTE_TIMEOUTS_KEY)),
            retry: self.route_retry(&mut fields),
            access_log: self.log_use(fields.item(&keys::ROUTE_LOG), &place),
            error_pages,
            show_backend: fields.get(&keys::ROUTE_SHOW_BACKEND),
            host: self.host(fields.item(&keys::ROUTE_HOST)),
            forwarded: self.forwarded(fields.section(&keys::ROUTE_FORWARDED), Some(forwarded)),
            grpc_web: Spanned::new(fields.value(&keys::ROUTE_GRPC_WEB), web_span),
            target: target?,
        })
    }

    /// Warns of settings that only matter when a request goes to a server.
    fn without_effect(&mut self, fields: &Fields) {
        if fields.is_set(&keys::ROUTE_POOL) {
            return;
        }
        for key in [
            &keys::ROUTE_HOST,
            &keys::ROUTE_FORWARDED,
            &keys::ROUTE_SHOW_BACKEND,
            &keys::ROUTE_GRPC_WEB,
            &keys::ROUTE_RETRY_KEY,
        ] {
            if fields.is_set(key) {
                let what = format!("`{}` has no effect: this route has no pool", key.name);
                self.report(&codes::NO_EFFECT, fields.span_of(key), what, |report| {
                    report.help("remove it")
                });
            }
        }
    }

    /// Refuses gRPC-Web towards servers that cannot speak gRPC.
    pub(super) fn grpc_web(&mut self, routes: &[Route], pools: &[Pool]) {
        for route in routes.iter().filter(|route| route.grpc_web.value) {
            let named: Vec<PoolId> = match &route.target.value {
                Target::Pool(pool) => vec![pool.value],
                Target::Split(split) => split.parts.iter().map(|part| part.pool.value).collect(),
                _ => Vec::new(),
            };
            let pool = named
                .iter()
                .filter_map(|id| pools.get(usize::from(id.0)))
                .find(|pool| pool.protocol == ServerProtocol::Http1);
            if let Some(pool) = pool {
                let what = format!(
                    "`grpc_web` stands in a route whose pool `{}` speaks HTTP/1.1",
                    pool.name.value
                );
                self.report(&codes::CONFLICT, route.grpc_web.span, what, |report| {
                    report
                        .why("gRPC needs HTTP/2")
                        .help("write `protocol: http2` in the pool")
                });
            }
        }
    }

    fn target(&mut self, fields: &mut Fields) -> Option<Spanned<Target>> {
        let by_set = fields.is_set(&keys::ROUTE_SPLIT_BY);
        let by_span = fields.span_of(&keys::ROUTE_SPLIT_BY);
        let by = fields.item(&keys::ROUTE_SPLIT_BY);
        let span = fields.span_of(&keys::ROUTE_POOL);
        let target = match fields.item(&keys::ROUTE_POOL).map(|item| item.data) {
            Some(Data::Text(text)) => {
                let pool = self.refer(|lower| &lower.pools, &text.text, span);
                pool.map(|pool| Spanned::new(Target::Pool(pool), span))
            }
            Some(Data::Entries(parts)) => {
                return self
                    .split(parts, by, span)
                    .map(|split| Spanned::new(Target::Split(split), span));
            }
            _ => self.own_target(fields),
        };
        if by_set {
            self.report(
                &codes::CONFLICT,
                by_span,
                "`split_by` stands without a split",
                |report| {
                    report.help(
                        "remove it, or give `pool` several pools: `pool: { app: 90, canary: 10 }`",
                    )
                },
            );
        }
        target
    }

    fn own_target(&mut self, fields: &mut Fields) -> Option<Spanned<Target>> {
        if let Some(item) = fields.item(&keys::ROUTE_REDIRECT) {
            return redirect(item).map(|redirect| redirect.map(Target::Redirect));
        }
        if let Some(answer) = fields.section(&keys::ROUTE_RESPOND) {
            let span = answer.span();
            return Some(Spanned::new(Target::Respond(self.respond(answer)), span));
        }
        let span = fields.span_of(&keys::ROUTE_EXPOSE);
        let expose = fields.item(&keys::ROUTE_EXPOSE)?;
        let expose = crate::decode::word_of::<Expose>(expose)?;
        Some(Spanned::new(Target::Expose(expose), span))
    }

    fn split(
        &mut self,
        entries: Vec<(Spanned<String>, Item)>,
        by: Option<Item>,
        span: Span,
    ) -> Option<Split> {
        let mut parts = Vec::with_capacity(entries.len());
        let mut sum = 0u64;
        for (name, item) in entries {
            let weight = match item.data {
                Data::Int(weight) => u32::try_from(weight).unwrap_or(0),
                // Reported already; the sum is then not judged.
                _ => 1,
            };
            sum += u64::from(weight);
            if let Some(pool) = self.refer(|lower| &lower.pools, &name.value, name.span) {
                parts.push(SplitPart { pool, weight });
            }
        }
        if sum == 0 {
            self.report(
                &codes::SPLIT_WEIGHTS,
                span,
                "all weights of this split are 0",
                |report| report.help("give at least one pool a weight above 0"),
            );
        }
        Some(Split {
            parts,
            by: split_by(by),
        })
    }

    fn respond(&mut self, mut fields: Fields) -> Respond {
        let status: u16 = fields.value(&keys::RESPOND_STATUS);
        let body_span = fields.span_of(&keys::RESPOND_BODY);
        let text: Option<Spanned<Text>> = fields.get(&keys::RESPOND_BODY);
        let (body, by_ending) = text.map_or_else(
            || (Arc::from([]), String::new()),
            |text| pages::body(text.value),
        );
        if BODILESS.contains(&status) && !body.is_empty() {
            let what = format!("an answer {status} has no body");
            self.report(&codes::BODY_FORBIDDEN, body_span, what, |report| {
                report.help("remove `body`, or answer with status 200")
            });
        }
        let own: Option<String> = fields.get(&keys::RESPOND_TYPE);
        let content_type = own.or_else(|| (!body.is_empty()).then_some(by_ending));
        let headers = self.values(fields.entries(&keys::RESPOND_HEADERS));
        Respond {
            status,
            body,
            content_type,
            headers,
        }
    }
}

fn split_by(item: Option<Item>) -> SplitBy {
    match item.map(|item| item.data) {
        Some(Data::Word(1)) => SplitBy::Random,
        Some(Data::Fields(mut fields)) => {
            if let Some(name) = fields.get(&keys::SPLIT_HEADER) {
                return SplitBy::Header(name);
            }
            fields
                .get(&keys::SPLIT_COOKIE)
                .map_or(SplitBy::ClientAddress, SplitBy::Cookie)
        }
        _ => SplitBy::ClientAddress,
    }
}

fn route_timeouts(fields: Option<Fields>) -> RouteTimeouts {
    let Some(mut fields) = fields else {
        return RouteTimeouts::default();
    };
    RouteTimeouts {
        connect: fields.get(&keys::ROUTE_CONNECT),
        read: fields.get(&keys::ROUTE_READ),
        send: fields.get(&keys::ROUTE_SEND),
        tunnel: fields.get(&keys::ROUTE_TUNNEL),
        body: fields.get(&keys::ROUTE_BODY_TIME),
    }
}
