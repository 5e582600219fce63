//! What would happen to a request, and why: `evenkeel explain`.

use std::net::{IpAddr, Ipv4Addr};

use keel_balance::{Algorithm, Ask};
use keel_http::{HeadStatus, NormalRequest, RequestHead, frame_request};
use keel_l7::{Edits, ListenerPlan, Target};
use keel_route::{HeaderSource, RequestView};
use keel_types::PoolId;

use crate::compile::{Compiled, RemovedNames};
use crate::hashed::{Asked, in_words};

/// Routes that are told of before the one that matched; the others are summed up.
const TRIALS_SHOWN_MAX: usize = 10_000;

/// A request to explain.
#[derive(Debug, Clone)]
pub struct Question {
    /// The method.
    pub method: String,
    /// The URL, `http://host/path?query`; `*` for `OPTIONS *`.
    pub url: String,
    /// Headers, as name and value.
    pub headers: Vec<(String, String)>,
    /// The client's address.
    pub client: IpAddr,
    /// The listener's name; when unset the first that speaks the scheme of the URL, or else the first.
    pub listener: Option<String>,
}

impl Default for Question {
    fn default() -> Question {
        Question {
            method: "GET".to_owned(),
            url: "http://localhost/".to_owned(),
            headers: Vec::new(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: None,
        }
    }
}

/// The explanation, as lines for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The lines.
    pub lines: Vec<String>,
    /// Whether a route matched.
    pub matched: bool,
}

struct Headers<'a>(&'a RequestHead, &'a [u8]);

impl HeaderSource for Headers<'_> {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        for value in self.0.fields.all_named(name, self.1) {
            if f(value) {
                return;
            }
        }
    }
}

/// Explains a request by the same code that serves it.
///
/// # Errors
/// A sentence when the question is no request: a bad URL, header, or listener.
pub fn explain(compiled: &Compiled, question: &Question) -> Result<Explained, String> {
    let snapshot = &compiled.snapshot;
    let bytes = as_request(question)?;
    let mut head = RequestHead::new();
    let listener = listener(compiled, question)?;
    let plan = snapshot
        .listeners
        .get(listener)
        .ok_or("there is no listener")?;
    match head.parse(&bytes, &plan.head_limits) {
        Ok(HeadStatus::Complete) => {}
        Ok(HeadStatus::Partial) => return Err("the request is not complete".to_owned()),
        Err(fault) => return Ok(refused(&fault.to_string(), fault.status())),
    }
    let mut normal = NormalRequest::new();
    let read = frame_request(&head, &bytes)
        .map(drop)
        .and_then(|()| normal.read(&head, &bytes));
    if let Err(fault) = read {
        return Ok(refused(&fault.to_string(), fault.status()));
    }
    let view = RequestView {
        listener: u16::try_from(listener).unwrap_or(u16::MAX),
        method: head.method_span.of(&bytes),
        scheme: plan.scheme,
        host: normal.host(&bytes),
        port: normal.port(),
        path: normal.path(&bytes),
        query: normal.query(&bytes),
        client: question.client,
        headers: &Headers(&head, &bytes),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines = vec![format!(
        "request   {} host={} path={} client={} listener={}",
        question.method,
        text(view.host),
        text(view.path),
        question.client,
        plan.name
    )];
    let matched = explain_trials(compiled, plan, &view, &mut lines);
    match matched {
        None => lines.push("answer    404 No matching route found (X-Error: No-Route)".to_owned()),
        Some(route) => {
            explain_steps(compiled, listener, route, &mut lines);
            let asked = Asked {
                head: &head,
                bytes: &bytes,
                target: normal.target(&bytes),
                view,
            };
            explain_target(compiled, route, &asked, &mut lines);
        }
    }
    Ok(Explained {
        lines,
        matched: matched.is_some(),
    })
}

/// Which routes were tried and why; the one that matched.
fn explain_trials(
    compiled: &Compiled,
    plan: &ListenerPlan,
    view: &RequestView<'_>,
    lines: &mut Vec<String>,
) -> Option<usize> {
    let router = &compiled.snapshot.router;
    let mut matched = None;
    for trial in router.explain(view, TRIALS_SHOWN_MAX) {
        let name = router.name(trial.route).unwrap_or_default();
        let verdict = if trial.matched { "matches" } else { "no" };
        let why = match trial.route < compiled.routes_before {
            // The router knows numbers of listeners only.
            true => format!("the listener is {}", plan.name),
            false => trial.why,
        };
        lines.push(format!("route     {name}: {verdict}: {why}"));
        if trial.matched {
            matched = Some(trial.route);
        }
    }
    matched.or_else(|| router.find(view))
}

fn refused(why: &str, status: u16) -> Explained {
    let lines = vec![format!("answer    {status}: refused before routing: {why}")];
    Explained {
        lines,
        matched: false,
    }
}

/// The question as the bytes that a client would send, so that it goes through the same door.
fn as_request(question: &Question) -> Result<Vec<u8>, String> {
    let (authority, target) = authority_and_target(&question.url)?;
    let mut out = format!("{} {target} HTTP/1.1\r\n", question.method);
    if !question
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        out.push_str(&format!("Host: {authority}\r\n"));
    }
    for (name, value) in &question.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    Ok(out.into_bytes())
}

/// Splits a URL into what `Host` says and what the request line says.
fn authority_and_target(url: &str) -> Result<(&str, String), String> {
    if url == "*" {
        return Ok(("localhost", url.to_owned()));
    }
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("`{url}` is no URL: write http://host/path"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    Ok(match target.starts_with('/') {
        true => (authority, target.to_owned()),
        false => (authority, format!("/{target}")),
    })
}

/// The listener of that name; without one the first that speaks the URL's scheme, or else the first.
fn listener(compiled: &Compiled, question: &Question) -> Result<usize, String> {
    let listeners = &compiled.snapshot.listeners;
    let Some(name) = &question.listener else {
        let scheme = question.url.split("://").next().unwrap_or_default();
        let first = listeners.iter().position(|plan| plan.scheme == scheme);
        return Ok(first.unwrap_or(0));
    };
    listeners
        .iter()
        .position(|plan| plan.name == *name)
        .ok_or_else(|| {
            let known: Vec<&str> = listeners.iter().map(|plan| plan.name.as_str()).collect();
            format!(
                "there is no listener `{name}`; there are: {}",
                known.join(", ")
            )
        })
}

fn explain_target(compiled: &Compiled, route: usize, asked: &Asked<'_>, lines: &mut Vec<String>) {
    let Some(plan) = compiled.snapshot.routes.get(route) else {
        return;
    };
    match &plan.target {
        Target::Pool(pool) => explain_pool(compiled, *pool, asked, lines),
        Target::Split { split, pools, by } => {
            let weights: Vec<String> = pools
                .iter()
                .enumerate()
                .map(|(at, pool)| format!("{} {}", pool_name(compiled, *pool), split.weight(at)))
                .collect();
            let goes_to = asked
                .hash(by)
                .and_then(|hash| pools.get(split.choose_hash(hash)))
                .map(|pool| format!("; this one goes to {}", pool_name(compiled, *pool)));
            lines.push(format!(
                "split     by {}: {}{}",
                in_words(by),
                weights.join(", "),
                goes_to.unwrap_or_default()
            ));
            for pool in pools {
                explain_pool(compiled, *pool, asked, lines);
            }
        }
        Target::Redirect { status, location } => {
            lines.push(format!("answer    {status} to {location}"));
        }
        Target::Respond(answer) => {
            lines.push(format!(
                "answer    {} with {} bytes",
                answer.status,
                answer.body.len()
            ));
        }
        Target::Produce(_) => lines.push("answer    a page of our own".to_owned()),
        Target::NoRoute => {}
    }
}

/// Limits and edits, from the outside to the inside.
fn explain_steps(compiled: &Compiled, listener: usize, route: usize, lines: &mut Vec<String>) {
    let snapshot = &compiled.snapshot;
    let (Some(outer), Some(inner)) = (snapshot.listeners.get(listener), snapshot.routes.get(route))
    else {
        return;
    };
    let bytes = inner.body_bytes_max.unwrap_or(outer.body_bytes_max);
    lines.push(format!("step      limit: a body of at most {bytes} bytes"));
    let none = RemovedNames::default();
    let outer_gone = compiled.removed.listeners.get(listener).unwrap_or(&none);
    let inner_gone = compiled.removed.routes.get(route).unwrap_or(&none);
    if matches!(inner.target, Target::Pool(_) | Target::Split { .. }) {
        explain_edits("request", &outer.request_edits, &outer_gone.request, lines);
        explain_edits("request", &inner.request_edits, &inner_gone.request, lines);
    }
    explain_edits("answer", &outer.response_edits, &outer_gone.response, lines);
    explain_edits("answer", &inner.response_edits, &inner_gone.response, lines);
}

fn explain_edits(what: &str, edits: &Edits, gone: &[String], lines: &mut Vec<String>) {
    for name in gone {
        lines.push(format!("step      {what} header {name} is removed"));
    }
    for field in &edits.write {
        lines.push(format!(
            "step      {what} header {}: {}",
            field.name, field.value
        ));
    }
}

fn pool_name(compiled: &Compiled, pool: PoolId) -> &str {
    let plan = compiled.snapshot.pools.get(usize::from(pool.0));
    plan.map_or("", |plan| plan.pool.name.as_str())
}

fn explain_pool(compiled: &Compiled, pool: PoolId, asked: &Asked<'_>, lines: &mut Vec<String>) {
    let Some(plan) = compiled.snapshot.pools.get(usize::from(pool.0)) else {
        return;
    };
    let balancer = &plan.pool.balancer;
    lines.push(format!(
        "pool      {}: {:?}",
        plan.pool.name,
        balancer.algorithm()
    ));
    let gone = compiled.removed.pools.get(usize::from(pool.0));
    let gone = gone.map_or(&[][..], Vec::as_slice);
    explain_edits("request", &plan.request_edits, gone, lines);
    if let Some(hashed) = &plan.hash_key {
        lines.push(format!("step      the hash is of {}", in_words(hashed)));
    }
    let by_chance = matches!(
        balancer.algorithm(),
        Algorithm::Random | Algorithm::WeightedRandom | Algorithm::PowerOfTwo
    );
    let chosen = balancer
        .select(&Ask {
            client: Some(asked.view.client),
            hash: plan.hash_key.as_ref().and_then(|key| asked.hash(key)),
            ..Ask::at(0, 0)
        })
        .ok()
        .filter(|_| !by_chance)
        .map(|selected| selected.index);
    for (index, server) in plan.pool.servers.iter().enumerate() {
        let spec = balancer.endpoint(index);
        let mut facts = vec![format!("weight {}", spec.weight)];
        if spec.backup {
            facts.push("backup".to_owned());
        }
        if spec.down {
            facts.push("down: gets no new traffic".to_owned());
        }
        if chosen == Some(index) {
            facts.push("would be chosen by a fresh start".to_owned());
        }
        lines.push(format!(
            "candidate {} {} ({})",
            server.name,
            server.address,
            facts.join(", ")
        ));
    }
    for name in (compiled.found_by_name.get(usize::from(pool.0)))
        .into_iter()
        .flatten()
    {
        lines.push(format!(
            "candidate {name} (stands for servers that are found when evenkeel runs)"
        ));
    }
}
