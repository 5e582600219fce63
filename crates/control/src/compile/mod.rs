//! From the validated model to what the data plane reads.
//!
//! What only the cores can judge (expressions, templates, balancers) is reported here with the same
//! diagnostics, at the place in the file where it was written.

mod edits;
mod health;
mod http2;
mod logs;
mod pools;
mod protect;
mod removed;
mod report;
mod retry;
mod routes;
mod sticky;
mod summary;
mod tls;

use keel_config::Diagnostic;
use keel_config::model::{ClientHeader, KeepId, Listener, Model};
use keel_http::{HeadLimits, HeaderId};
use keel_l7::{KeepRequestId, ListenerPlan, RequestIdPlan, Snapshot};
use keel_observe::log::LogSpec;
use keel_observe::{AccessLog, Names, PoolNames};
use keel_types::ListenerId;

use crate::depend;
use crate::ground::Ground;
use crate::names;
use crate::overlay;
pub(crate) use protect::retune;
pub use removed::{Removed, RemovedNames};
pub(crate) use report::Report;
pub use summary::RuleSummary;
pub use tls::TlsStart;

/// A configuration, ready to start.
#[derive(Debug)]
pub struct Compiled {
    /// What the data plane reads. Its logs are not opened yet.
    pub snapshot: Snapshot,
    /// What TLS of the listeners is made of, by position. The snapshot's is made at the start.
    pub tls: Vec<Option<TlsStart>>,
    /// The same of the admin listener.
    pub admin_tls: Option<TlsStart>,
    /// The access logs to open, in the order of their positions.
    pub logs: Vec<LogSpec>,
    /// Names for the metrics.
    pub names: Names,
    /// What `/stats` tells about the routes.
    pub rules: Vec<RuleSummary>,
    /// What `explain` tells of headers that go.
    pub removed: Removed,
    /// By pool: names whose servers are found when the process runs; not told of one that runs.
    pub found_by_name: Vec<Vec<String>>,
    /// Routes that stand before those of the file (redirects of whole listeners).
    pub routes_before: usize,
    /// Ids of the listeners, in the order of the model.
    pub(crate) ids: Vec<ListenerId>,
    /// Live state by name, that of before where it goes on.
    pub(crate) ground: Ground,
    /// What our own `/health` depends on.
    pub(crate) depends: depend::Plan,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a model for a process that begins. Entries of pools that stand for servers to be found by
/// name have none yet.
///
/// # Errors
/// All that the cores find wrong, errors and warnings.
pub fn compile(model: &Model) -> Result<Compiled, Vec<Diagnostic>> {
    if !overlay::has_entries(model) {
        return compile_on(model, &Ground::default());
    }
    let mut compiled = compile_on(&overlay::expanded(model, &[]), &Ground::default())?;
    compiled.found_by_name = names::entries(model);
    Ok(compiled)
}

/// Compiles a model, each of whose entries is one server, so that live state goes on.
pub(crate) fn compile_on(model: &Model, ground: &Ground) -> Result<Compiled, Vec<Diagnostic>> {
    let (ids, places) = ground.place(model);
    let mut report = Report::new(model, ground, ids.clone());
    let mut next = ground.next();
    let logs = logs::specs(&mut report);
    let pools = pools::plans(&mut report, &mut next);
    let tls = tls::listeners(&mut report);
    let admin_tls = tls::admin(&mut report);
    let routes = routes::plans(&mut report);
    let listeners = listeners(&mut report, places.len(), &logs);
    let depends = depend::Plan::new(&mut report, &model.health);
    next.listeners = places;
    if report.failed() {
        return Err(report.sorted());
    }
    let (Some(router), Some(pools)) = (routes.router, pools) else {
        return Err(report.sorted());
    };
    let rules = summary::rules(model);
    let removed = Removed::of(model, routes.before);
    let names = names(model, &next, &routes.names);
    next.shed = protect::shed(&model.shed, ground);
    let snapshot = Snapshot {
        listeners,
        router,
        routes: routes.plans,
        pools,
        logs: Vec::new(),
        trusted_proxies: model
            .client_address
            .trusted_proxies
            .iter()
            .map(|net| **net)
            .collect(),
        client_address_headers: model.client_address.headers.iter().map(header_id).collect(),
        request_id: request_id(model),
        shed: next.shed.as_ref().map(|(_, shed)| shed.clone()),
    };
    Ok(Compiled {
        snapshot,
        tls,
        admin_tls,
        logs,
        names,
        rules,
        removed,
        found_by_name: Vec::new(),
        routes_before: routes.before,
        ids,
        ground: next,
        depends,
        warnings: report.sorted(),
    })
}

/// The plans of all places, by `ListenerId`.
fn listeners(report: &mut Report<'_>, places: usize, logs: &[LogSpec]) -> Vec<ListenerPlan> {
    let (model, ground) = (report.model, report.ground);
    let mut plans: Vec<Option<ListenerPlan>> = model
        .listeners
        .iter()
        .map(|it| Some(listener(report, it)))
        .collect();
    let mut all = Vec::with_capacity(places);
    for id in 0..places {
        let here = report.ids.iter().position(|it| usize::from(it.0) == id);
        let plan = here.and_then(|at| plans.get_mut(at)).and_then(Option::take);
        let last = || ground.last_plan(id).map(|plan| gone(plan, ground, logs));
        all.extend(plan.or_else(last));
    }
    all
}

fn request_id(model: &Model) -> RequestIdPlan {
    let keep = match model.request_id.keep {
        KeepId::Trusted => KeepRequestId::Trusted,
        KeepId::Always => KeepRequestId::Always,
        KeepId::Never => KeepRequestId::Never,
    };
    RequestIdPlan::new(&model.request_id.header.value, keep)
}

fn header_id(header: &ClientHeader) -> HeaderId {
    match header {
        ClientHeader::XForwardedFor => HeaderId::XForwardedFor,
        ClientHeader::XRealIp => HeaderId::XRealIp,
        ClientHeader::CfConnectingIp => HeaderId::CfConnectingIp,
        ClientHeader::XClientIp => HeaderId::XClientIp,
        ClientHeader::Forwarded => HeaderId::Forwarded,
    }
}

fn listener(report: &mut Report<'_>, listener: &Listener) -> ListenerPlan {
    let model = report.model;
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let logs = listener.access_log.as_ref().unwrap_or(&model.access_log);
    let (limits, timeouts) = (&listener.limits, &listener.timeouts);
    ListenerPlan {
        gone: false,
        name: listener.name.value.clone(),
        scheme: match listener.tls {
            Some(_) => "https",
            None => "http",
        },
        tls: None,
        http2: listener
            .http2
            .as_ref()
            .map(|it| http2::clients(it, listener)),
        head_limits: HeadLimits {
            head_bytes_max: usize::try_from(limits.head).unwrap_or(usize::MAX),
            fields_max: limits.fields as usize,
            target_bytes_max: usize::try_from(limits.target).unwrap_or(usize::MAX),
        },
        head_timeout_ms: ms(timeouts.head),
        idle_timeout_ms: ms(timeouts.idle),
        body_timeout_ms: ms(timeouts.body),
        send_timeout_ms: ms(timeouts.send),
        body_rate_min: limits.body_rate.unwrap_or(0),
        requests_max: limits.requests,
        body_bytes_max: limits.body,
        logs: logs::positions(logs),
        request_edits: edits::merged(
            report,
            [
                &tls::client_headers(model, listener),
                &model.headers.request,
                &listener.headers.request,
            ],
        ),
        response_edits: edits::merged(
            report,
            [
                &tls::hsts(listener),
                &model.headers.response,
                &listener.headers.response,
            ],
        ),
    }
}

/// The plan of a listener that no configuration has any more, by which its connections end.
fn gone(last: &ListenerPlan, ground: &Ground, logs: &[LogSpec]) -> ListenerPlan {
    let opened = ground.snapshot.as_ref().map(|it| it.logs.as_slice());
    let name = |at: &usize| opened.and_then(|all| all.get(*at)).map(AccessLog::name);
    let now = |name: &str| logs.iter().position(|spec| spec.name == name);
    ListenerPlan {
        gone: true,
        logs: last.logs.iter().filter_map(name).filter_map(now).collect(),
        ..last.clone()
    }
}

fn names(model: &Model, ground: &Ground, routes: &[String]) -> Names {
    Names {
        listeners: ground.listeners.iter().map(|it| it.name.clone()).collect(),
        routes: routes.to_vec(),
        pools: model
            .pools
            .iter()
            .map(|pool| PoolNames {
                name: pool.name.value.clone(),
                servers: pool
                    .servers
                    .iter()
                    .map(|server| server.name.value.clone())
                    .collect(),
            })
            .collect(),
    }
}
