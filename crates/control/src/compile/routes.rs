//! Routes: conditions to matchers, targets, edits, and the router over them.

use std::sync::Arc;

use keel_balance::Split;
use keel_config::model::{
    self, Condition, ErrorPages, FieldTest, Redirect, Respond, Route, SplitBy,
};
use keel_config::{Code, Diagnostic, Span, Spanned, codes};
use keel_l7::{
    Edits, ErrorPage, FixedAnswer, ForwardedPlan, HashKey, RetryPlan, RoutePlan, RouteTimeouts,
    Target, XForwarded,
};
use keel_route::{
    HostPattern, Matcher, PathInMatcher, PathPattern, RouteFault, RouteSpec, Router, Step, TlsFact,
    ValueTest,
};
use keel_types::ListenerId;

use super::pools::{host, ms};
use super::{Report, edits, logs, retry};
use crate::status::{Handle, Page};

/// The routes of a snapshot.
pub(super) struct Routes {
    /// `None` when a matcher cannot be compiled.
    pub(super) router: Option<Router>,
    /// In the order of the router; one more at the end for unmatched requests.
    pub(super) plans: Vec<RoutePlan>,
    /// Names in the same order, without the last.
    pub(super) names: Vec<String>,
    /// How many stand before those of the file.
    pub(super) before: usize,
}

/// Where each part of a matcher was written, and the code of what may be wrong with it.
type Places = Vec<(PathInMatcher, Span, &'static Code)>;

/// For parts without a pattern: there can only be too many of them.
const NO_PATTERN: &Code = &codes::OUT_OF_RANGE;

/// Compiles all routes.
pub(super) fn plans(report: &mut Report<'_>) -> Routes {
    let model = report.model;
    let handle = &report.ground.handle;
    let mut specs = Vec::new();
    let mut plans = Vec::new();
    let mut places: Vec<Places> = Vec::new();
    let shared_pages = pages(&model.error_pages);
    for (position, listener) in model.listeners.iter().enumerate() {
        let Some(redirect) = &listener.redirect else {
            continue;
        };
        let name = format!("{} redirect", listener.name.value);
        let id = report.ids.get(position).map_or(u16::MAX, |id| id.0);
        specs.push(RouteSpec {
            name: name.clone(),
            matcher: Matcher::Listener(vec![id]),
        });
        places.push(vec![(PathInMatcher::default(), redirect.span, NO_PATTERN)]);
        let target = redirect_target(report, &redirect.value);
        plans.push(bare_plan(name, target, shared_pages.clone()));
    }
    let before = specs.len();
    for route in &model.routes {
        // The whole comes first: a part that is all of it says more.
        let mut found = vec![(PathInMatcher::default(), route.condition.span, NO_PATTERN)];
        let ids = &report.ids;
        let matcher = matcher(&route.condition.value, ids, &mut Vec::new(), &mut found);
        specs.push(RouteSpec {
            name: route.name.value.clone(),
            matcher,
        });
        places.push(found);
        plans.push(plan(report, route, handle, &shared_pages));
    }
    let names = specs.iter().map(|spec| spec.name.clone()).collect();
    let router = match Router::compile(specs) {
        Ok(router) => Some(router),
        Err(faults) => {
            for fault in &faults {
                fault_found(report, fault, &places);
            }
            None
        }
    };
    if let Some(router) = &router {
        warn_unreachable(report, router, before);
    }
    plans.push(no_route(&shared_pages));
    Routes {
        router,
        plans,
        names,
        before,
    }
}

fn fault_found(report: &mut Report<'_>, fault: &RouteFault, places: &[Places]) {
    let found = places.get(fault.route).map_or(&[][..], Vec::as_slice);
    // The longest place that is a beginning of the fault's; of two, the later one.
    let (span, code) = found
        .iter()
        .filter(|(path, ..)| fault.part.0.starts_with(&path.0))
        .max_by_key(|(path, ..)| path.0.len())
        .map_or((Span::default(), NO_PATTERN), |(_, span, code)| {
            (*span, *code)
        });
    report.add(code, span, fault.message.clone(), "");
}

fn warn_unreachable(report: &mut Report<'_>, router: &Router, before: usize) {
    let model = report.model;
    for shadowed in router.unreachable() {
        let Some(route) = shadowed
            .route
            .checked_sub(before)
            .and_then(|at| model.routes.get(at))
        else {
            continue;
        };
        let by = router.name(shadowed.by).unwrap_or_default();
        let what = format!("route `{}` can never be reached", route.name.value);
        let mut found = Diagnostic::new(
            &codes::UNREACHABLE_ROUTE,
            &model.sources,
            route.name.span,
            what,
        )
        .why(format!(
            "route `{by}` stands before it and takes all its requests"
        ))
        .help("move it before that route, or take it away");
        if let Some(first) = shadowed
            .by
            .checked_sub(before)
            .and_then(|at| model.routes.get(at))
        {
            found = found.related(&model.sources, first.name.span, "this route takes them");
        }
        report.push(found);
    }
}

/// A condition as a matcher; notes where each part was written.
fn matcher(
    condition: &Condition,
    ids: &[ListenerId],
    path: &mut Vec<Step>,
    places: &mut Places,
) -> Matcher {
    let mut list = |conditions: &[Condition], step: fn(usize) -> Step, path: &mut Vec<Step>| {
        let parts = conditions.iter().enumerate().map(|(position, condition)| {
            path.push(step(position));
            let part = matcher(condition, ids, path, places);
            path.pop();
            part
        });
        parts.collect::<Vec<_>>()
    };
    match condition {
        Condition::All(all) if all.is_empty() => Matcher::Always,
        Condition::All(all) => Matcher::All(list(all, Step::All, path)),
        Condition::Any(any) => Matcher::Any(list(any, Step::Any, path)),
        Condition::Not(not) => {
            path.push(Step::Not);
            let part = matcher(not, ids, path, places);
            path.pop();
            Matcher::Not(Box::new(part))
        }
        Condition::Listener(positions) => listeners(positions, ids),
        Condition::Host(hosts) => {
            let hosts = hosts.iter().map(|host| {
                (
                    Matcher::Host(host_pattern(host)),
                    host.span,
                    &codes::BAD_HOST,
                )
            });
            alternatives(hosts.collect(), path, places)
        }
        Condition::Path(paths) => {
            let paths = paths
                .iter()
                .map(|it| (Matcher::Path(path_pattern(it)), it.span, path_code(it)));
            alternatives(paths.collect(), path, places)
        }
        Condition::Method(methods) => {
            Matcher::Method(methods.iter().map(|method| method.value.clone()).collect())
        }
        Condition::Header(test) => field(test, path, places, |name, test| Matcher::Header {
            name,
            test,
        }),
        Condition::Cookie(test) => field(test, path, places, |name, test| Matcher::Cookie {
            name,
            test,
        }),
        Condition::Query(test) => field(test, path, places, |name, test| Matcher::Query {
            name,
            test,
        }),
        Condition::Client(nets) => Matcher::Client(nets.iter().map(|net| net.value).collect()),
        Condition::Tls(test) => {
            let fact = tls_fact(test.fact);
            let parts = test.tests.iter().map(|value| {
                let test = value_test(value);
                (Matcher::Tls { fact, test }, value.span, value_code(value))
            });
            alternatives(parts.collect(), path, places)
        }
        Condition::Scheme(scheme) => Matcher::Scheme(keel_config::Word::word(*scheme).to_owned()),
    }
}

/// Listeners by their ids.
fn listeners(positions: &[Spanned<ListenerId>], ids: &[ListenerId]) -> Matcher {
    let id = |at: &Spanned<ListenerId>| ids.get(usize::from(at.value.0)).map(|id| id.0);
    Matcher::Listener(positions.iter().filter_map(id).collect())
}

/// A matcher, where it was written, and the code of what may be wrong with it.
type Part = (Matcher, Span, &'static Code);

/// One of several; a single one stands for itself.
fn alternatives(mut parts: Vec<Part>, path: &[Step], places: &mut Places) -> Matcher {
    if parts.len() == 1
        && let Some((only, span, code)) = parts.pop()
    {
        places.push((PathInMatcher(path.to_vec()), span, code));
        return only;
    }
    for (position, (_, span, code)) in parts.iter().enumerate() {
        let mut at = path.to_vec();
        at.push(Step::Any(position));
        places.push((PathInMatcher(at), *span, code));
    }
    Matcher::Any(parts.into_iter().map(|(part, ..)| part).collect())
}

fn field(
    test: &FieldTest,
    path: &[Step],
    places: &mut Places,
    make: fn(String, ValueTest) -> Matcher,
) -> Matcher {
    let parts = test
        .tests
        .iter()
        .map(|value| {
            let matcher = make(test.name.value.clone(), value_test(value));
            (matcher, value.span, value_code(value))
        })
        .collect();
    alternatives(parts, path, places)
}

fn host_pattern(pattern: &model::HostPattern) -> HostPattern {
    match pattern {
        model::HostPattern::Exact(name) => HostPattern::Exact(name.clone()),
        model::HostPattern::Wildcard(suffix) => HostPattern::Wildcard(format!("*.{suffix}")),
        model::HostPattern::Any => HostPattern::Any,
    }
}

fn path_pattern(pattern: &model::PathPattern) -> PathPattern {
    match pattern {
        model::PathPattern::Exact(path) => PathPattern::Exact(path.clone()),
        model::PathPattern::Prefix { path, segment } => PathPattern::Prefix {
            path: path.clone(),
            segment: *segment,
        },
        model::PathPattern::Glob(glob) => PathPattern::Glob(glob.clone()),
        model::PathPattern::Regex(regex) => PathPattern::Regex(regex.clone()),
    }
}

fn tls_fact(fact: model::TlsFact) -> TlsFact {
    match fact {
        model::TlsFact::ServerName => TlsFact::ServerName,
        model::TlsFact::Version => TlsFact::Version,
        model::TlsFact::Ja4 => TlsFact::Ja4,
        model::TlsFact::ClientSubject => TlsFact::ClientSubject,
        model::TlsFact::ClientFingerprint => TlsFact::ClientFingerprint,
        model::TlsFact::ClientVerified => TlsFact::ClientVerified,
    }
}

fn path_code(pattern: &model::PathPattern) -> &'static Code {
    match pattern {
        model::PathPattern::Exact(_) | model::PathPattern::Prefix { .. } => &codes::BAD_PATH,
        model::PathPattern::Glob(_) => &codes::BAD_GLOB,
        model::PathPattern::Regex(_) => &codes::BAD_REGEX,
    }
}

fn value_code(test: &model::ValueTest) -> &'static Code {
    match test {
        model::ValueTest::Regex(_) => &codes::BAD_REGEX,
        _ => &codes::BAD_FIELD_VALUE,
    }
}

fn value_test(test: &model::ValueTest) -> ValueTest {
    match test {
        model::ValueTest::Present => ValueTest::Present,
        model::ValueTest::Absent => ValueTest::Absent,
        model::ValueTest::Exact(text) => ValueTest::Exact(text.clone()),
        model::ValueTest::Prefix(text) => ValueTest::Prefix(text.clone()),
        model::ValueTest::Suffix(text) => ValueTest::Suffix(text.clone()),
        model::ValueTest::Contains(text) => ValueTest::Contains(text.clone()),
        model::ValueTest::Regex(text) => ValueTest::Regex(text.clone()),
    }
}

fn plan(
    report: &mut Report<'_>,
    route: &Route,
    handle: &Arc<Handle>,
    shared_pages: &Arc<[ErrorPage]>,
) -> RoutePlan {
    let model = report.model;
    let own_pages = route.error_pages != model.error_pages;
    let times = &route.timeouts;
    RoutePlan {
        name: route.name.value.clone(),
        target: target(report, route, handle),
        body_bytes_max: route.body_limit,
        retry: route_retry(model, route),
        timeouts: RouteTimeouts {
            connect_ms: times.connect.map(ms),
            read_ms: times.read.map(ms),
            send_ms: times.send.map(ms),
            body_ms: times.body.map(ms),
            tunnel_ms: times.tunnel.map(ms),
        },
        request_edits: edits::level(report, &route.headers.request),
        response_edits: response_edits(report, route),
        forwarded: forwarded(&route.forwarded),
        host: route.host.as_ref().map(host),
        grpc_web: route.grpc_web.value,
        show_backend: route.show_backend.unwrap_or(model.show_backend),
        logs: route.access_log.as_ref().map(|ids| logs::positions(ids)),
        error_pages: if own_pages {
            pages(&route.error_pages)
        } else {
            shared_pages.clone()
        },
    }
}

/// The route's own settings of retries, over those of its pool. Parts of a split that say different
/// things share the first one's for what the route leaves open.
fn route_retry(model: &model::Model, route: &Route) -> Option<RetryPlan> {
    if route.retry == model::RouteRetry::default() {
        return None;
    }
    let pool = match &route.target.value {
        model::Target::Pool(pool) => pool.value,
        model::Target::Split(split) => split.parts.first()?.pool.value,
        _ => return None,
    };
    let pool = model.pools.get(usize::from(pool.0))?;
    Some(retry::plan(&route.retry.over(&pool.retry)))
}

fn target(report: &mut Report<'_>, route: &Route, handle: &Arc<Handle>) -> Target {
    match &route.target.value {
        model::Target::Pool(pool) => Target::Pool(pool.value),
        model::Target::Split(split) => Target::Split {
            split: Split::new(split.parts.iter().map(|part| part.weight)),
            pools: split.parts.iter().map(|part| part.pool.value).collect(),
            by: match &split.by {
                SplitBy::ClientAddress => HashKey::ClientAddress,
                SplitBy::Random => HashKey::Random,
                SplitBy::Header(name) => HashKey::Header(name.value.to_ascii_lowercase()),
                SplitBy::Cookie(name) => HashKey::Cookie(name.value.clone()),
            },
        },
        model::Target::Redirect(redirect) => redirect_target(report, redirect),
        model::Target::Respond(respond) => Target::Respond(fixed(respond)),
        model::Target::Expose(expose) => {
            let page = match expose {
                model::Expose::Health => Page::Health,
                model::Expose::Stats => Page::Stats,
                model::Expose::Metrics => Page::Metrics,
            };
            Target::Produce(handle.page(page))
        }
    }
}

fn redirect_target(report: &mut Report<'_>, redirect: &Redirect) -> Target {
    let location = report.template(&redirect.to.value, redirect.to.span);
    Target::Redirect {
        status: redirect.status.code(),
        location,
    }
}

/// The route's edits, and the fields of its fixed answer.
fn response_edits(report: &mut Report<'_>, route: &Route) -> Edits {
    let mut all = edits::level(report, &route.headers.response);
    if let model::Target::Respond(respond) = &route.target.value {
        for field in &respond.headers {
            let value = report.template(&field.value.value, field.value.span);
            all.add(&field.name.value, value);
        }
    }
    all
}

fn fixed(respond: &Respond) -> FixedAnswer {
    FixedAnswer {
        status: respond.status,
        content_type: respond.content_type.clone().unwrap_or_default(),
        headers: Vec::new(),
        body: respond.body.clone(),
    }
}

fn forwarded(forwarded: &model::Forwarded) -> ForwardedPlan {
    ForwardedPlan {
        x_forwarded: match forwarded.x_forwarded {
            model::XForwarded::Append => XForwarded::Append,
            model::XForwarded::Replace => XForwarded::Replace,
            model::XForwarded::Off => XForwarded::Off,
        },
        x_real_ip: forwarded.x_real_ip,
        forwarded: forwarded.forwarded,
    }
}

fn pages(pages: &ErrorPages) -> Arc<[ErrorPage]> {
    (400..=599)
        .filter_map(|status| {
            pages.page(status).map(|page| ErrorPage {
                statuses: (status, status),
                content_type: page.content_type.clone(),
                body: page.body.clone(),
            })
        })
        .collect()
}

const FORWARDED_DEFAULT: ForwardedPlan = ForwardedPlan {
    x_forwarded: XForwarded::Append,
    x_real_ip: true,
    forwarded: false,
};

fn bare_plan(name: String, target: Target, error_pages: Arc<[ErrorPage]>) -> RoutePlan {
    RoutePlan {
        name,
        target,
        body_bytes_max: None,
        retry: None,
        timeouts: RouteTimeouts::default(),
        request_edits: Edits::default(),
        response_edits: Edits::default(),
        forwarded: FORWARDED_DEFAULT,
        host: None,
        grpc_web: false,
        show_backend: false,
        logs: None,
        error_pages,
    }
}

fn no_route(pages: &Arc<[ErrorPage]>) -> RoutePlan {
    bare_plan("-".to_owned(), Target::NoRoute, pages.clone())
}
