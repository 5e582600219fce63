//! The one list of what can be asked: the router and the OpenAPI document are made of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request};
use axum::http::{Method, Response, StatusCode};
use axum::routing::{MethodFilter, any, on};
use keel_control::{Actor, Control, Machine, Page};
use serde_json::json;

use crate::access::{self, Denied, Peer, Token};
use crate::answer::{self, Fault};
use crate::{body, openapi, servers};

/// How often wrong tokens are told of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Health,
    Stats,
    Metrics,
    OpenApi,
    Config,
    Pools,
    Servers,
    AddServer,
    Server,
    RemoveServer,
    SetState,
    SetWeight,
    Reload,
    Save,
    Drain,
    Upgrade,
}

/// A key of a request's body.
#[derive(Debug)]
pub struct BodyKey {
    pub name: &'static str,
    /// Type of JSON.
    pub kind: &'static str,
    pub needed: bool,
    pub about: &'static str,
}

/// Something that can be asked.
#[derive(Debug)]
pub struct Route {
    pub op: Op,
    pub method: &'static str,
    /// As axum and OpenAPI write it.
    pub path: &'static str,
    /// Whether it needs the right to change something.
    pub guarded: bool,
    pub summary: &'static str,
    /// Keys of the body; empty = it has none.
    pub body: &'static [BodyKey],
    /// Statuses and what they mean, beside those of every route.
    pub answers: &'static [(u16, &'static str)],
}

const fn route(op: Op, method: &'static str, path: &'static str, summary: &'static str) -> Route {
    Route {
        op,
        method,
        path,
        guarded: false,
        summary,
        body: &[],
        answers: &[(200, "What was asked for.")],
    }
}

impl Route {
    const fn guarded(mut self) -> Route {
        self.guarded = true;
        self
    }

    const fn body(mut self, body: &'static [BodyKey]) -> Route {
        self.body = body;
        self
    }

    const fn answers(mut self, answers: &'static [(u16, &'static str)]) -> Route {
        self.answers = answers;
        self
    }

    /// Names of the keys of its body.
    pub fn keys(&self) -> Vec<&'static str> {
        self.body.iter().map(|key| key.name).collect()
    }
}

const fn key(name: &'static str, kind: &'static str, needed: bool, about: &'static str) -> BodyKey {
    BodyKey {
        name,
        kind,
        needed,
        about,
    }
}

const SERVERS: &str = "/pools/{pool}/servers";
const SERVER: &str = "/pools/{pool}/servers/{server}";
const CHANGED: (u16, &str) = (200, "It was done; all workers serve it.");
const NO_SUCH: (u16, &str) = (404, "There is no such pool or server.");
const SENSELESS: (u16, &str) = (422, "The change makes no sense; nothing was changed.");
const STOPPING: (u16, &str) = (503, "The process is stopping and takes no changes.");

/// Everything, in the order of the document.
pub static ROUTES: &[Route] = &[
    route(Op::Health, "get", "/health", "Whether requests can be served.").answers(&[
        (200, "They can."),
        (503, "They cannot: no pool has a usable server, or a check of `health` fails."),
    ]),
    route(Op::Stats, "get", "/stats", "Counters, servers and routes."),
    route(Op::Metrics, "get", "/metrics", "Metrics in the text format of Prometheus."),
    route(Op::OpenApi, "get", "/openapi.json", "This document."),
    route(
        Op::Config,
        "get",
        "/config",
        "The configuration in force, defaults and run-time changes written out; it is a configuration itself. Secrets that were written in place are hidden.",
    )
    .guarded(),
    route(Op::Pools, "get", "/pools", "Every pool with its servers: state, since when, why, by which check, counts."),
    route(Op::Servers, "get", SERVERS, "The servers of a pool.").answers(&[(200, "The servers, in order."), NO_SUCH]),
    route(Op::AddServer, "post", SERVERS, "Adds a server.")
        .guarded()
        .body(&[
            key("address", "string", true, "Where it listens, `host:port`."),
            key("name", "string", false, "Name, unique in the pool; its address when absent."),
            key("weight", "integer", false, "Share of the traffic, 0 to 65535; 1 when absent."),
            key("max_connections", "integer", false, "Requests at a time; 0, no limit, when absent."),
            key("tier", "integer", false, "0 to 255; 0, used first, when absent."),
        ])
        .answers(&[
            (201, "It was added; all workers serve it."),
            NO_SUCH,
            (409, "The pool has a server of this name."),
            SENSELESS,
            STOPPING,
        ]),
    route(Op::Server, "get", SERVER, "One server.").answers(&[(200, "The server."), NO_SUCH]),
    route(Op::RemoveServer, "delete", SERVER, "Removes a server; its running requests end in their own time.")
        .guarded()
        .answers(&[CHANGED, NO_SUCH, SENSELESS, STOPPING]),
    route(Op::SetState, "put", "/pools/{pool}/servers/{server}/state", "Whether a server gets traffic.")
        .guarded()
        .body(&[
            key("state", "string", true, "`ready`, `drain` (no new requests; bound sessions are handed on) or `down`."),
            key("limit", "string", false, "With `drain`: after this time, such as `30s`, what still runs there is ended."),
        ])
        .answers(&[CHANGED, NO_SUCH, SENSELESS, STOPPING]),
    route(Op::SetWeight, "put", "/pools/{pool}/servers/{server}/weight", "A server's share of the traffic.")
        .guarded()
        .body(&[key("weight", "integer", true, "0 to 65535; 0 is no traffic.")])
        .answers(&[CHANGED, NO_SUCH, SENSELESS, STOPPING]),
    route(Op::Reload, "post", "/reload", "Reads the configuration anew. It is taken whole, or what runs goes on; run-time changes stay.")
        .guarded()
        .answers(&[
            (200, "It is served."),
            (409, "The process was not started from a file."),
            (422, "It has errors; `diagnostics` tells all of them."),
            STOPPING,
        ]),
    route(Op::Save, "post", "/save", "Writes run-time changes into the file.")
        .guarded()
        .answers(&[
            (200, "They are in the file."),
            (409, "There is no file, or it changed since it was read."),
            (422, "The lists in the file cannot be edited; nothing was written."),
            (500, "The file cannot be written, or what was written is not served; the fault tells which."),
            STOPPING,
        ]),
    route(Op::Drain, "post", "/drain", "Stops the process: it takes no new connections, and ends when what runs has ended.")
        .guarded()
        .answers(&[(202, "It is stopping.")]),
    route(Op::Upgrade, "post", "/upgrade", "Replaces the process by the program that lies on the disk now; listening sockets go over.")
        .guarded()
        .answers(&[
            (200, "The new process serves; this one ends when what runs has ended."),
            (500, "The new process does not serve; this one goes on."),
        ]),
];

/// Counts wrong tokens, so that whoever guesses does not fill the log.
#[derive(Debug, Default)]
pub struct WrongTokens(Mutex<(Option<Instant>, u64)>);

impl WrongTokens {
    /// How many there were since the last time that it was told, when it is to be told now.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, count) = &mut *state;
        *count += 1;
        let due = told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        due.then(|| {
            *told = Some(now);
            std::mem::take(count)
        })
    }
}

/// What every request needs.
#[derive(Debug)]
pub struct App {
    pub wrong_tokens: WrongTokens,
    pub control: Control,
    pub token: Option<Token>,
    pub asks_certificates: bool,
}

/// The router; each request brings its [`Peer`] as an extension.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let app = app.clone();
        let handler = move |Extension(peer): Extension<Peer>,
                            Path(params): Path<HashMap<String, String>>,
                            request: Request| {
            let app = app.clone();
            async move { respond(&app, route, &peer, &params, request).await }
        };
        let method = match (route.op, route.method) {
            // Load balancers in front ask it in many ways.
            (Op::Health, _) => any(handler),
            (_, "post") => on(MethodFilter::POST, handler),
            (_, "put") => on(MethodFilter::PUT, handler),
            (_, "delete") => on(MethodFilter::DELETE, handler),
            _ => on(MethodFilter::GET, handler),
        };
        router = router.route(route.path, method);
    }
    router
        .fallback(|request: Request| async move {
            let help = "there are /health, /stats, /metrics, /pools and more; /openapi.json tells all of it";
            let fault = Fault::new(StatusCode::NOT_FOUND, "there is nothing here", help);
            fault.answer(&place(request.method(), request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let path = request.uri().path();
            let what = format!("{} is not done here", request.method());
            let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, what, "/openapi.json tells what is");
            fault.answer(&place(request.method(), path))
        })
}

fn place(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

async fn respond(
    app: &App,
    route: &'static Route,
    peer: &Peer,
    params: &HashMap<String, String>,
    request: Request,
) -> Response<Body> {
    let place = place(request.method(), request.uri().path());
    let (head, content) = request.into_parts();
    let allowed = allow(app, route, peer, &head.headers);
    let outcome = match allowed {
        Ok(actor) => answer_to(app, route, actor, params, content).await,
        Err(denied) => {
            if let (Denied::Token, Some(times)) = (&denied, app.wrong_tokens.note(Instant::now())) {
                tracing::warn!(?peer, place, times, "admin: a wrong token");
            }
            Err(denied.into())
        }
    };
    outcome.unwrap_or_else(|fault| fault.answer(&place))
}

/// Who changes something, where that is needed; an actor without rights otherwise.
fn allow(
    app: &App,
    route: &Route,
    peer: &Peer,
    headers: &axum::http::HeaderMap,
) -> Result<Actor, Denied> {
    access::may_ask(peer, rustix::process::geteuid().as_raw())?;
    match route.guarded {
        false => Ok(Actor::new("nobody")),
        true => access::may_change(peer, headers, app.token.as_ref(), app.asks_certificates),
    }
}

async fn answer_to(
    app: &App,
    route: &'static Route,
    by: Actor,
    params: &HashMap<String, String>,
    content: Body,
) -> Result<Response<Body>, Fault> {
    let control = &app.control;
    let fine = |value: &serde_json::Value| answer::json_answer(StatusCode::OK, value);
    Ok(match route.op {
        Op::Health => answer::page(control.status().page(Page::Health)),
        Op::Stats => answer::page(control.status().page(Page::Stats)),
        Op::Metrics => answer::page(control.status().page(Page::Metrics)),
        Op::OpenApi => fine(&openapi::document()),
        Op::Config => {
            let status = control.status();
            let text = keel_config::effective(status.model(), &Machine);
            answer::text_answer(StatusCode::OK, format!("{text}\n"))
        }
        Op::Pools => fine(&control.status().pools()),
        Op::Servers | Op::Server => servers::tell(control, params)?,
        Op::AddServer | Op::RemoveServer | Op::SetState | Op::SetWeight => {
            let fields = match route.body.is_empty() {
                true => None,
                false => Some(body::read(content, &route.keys()).await?),
            };
            servers::change(control, route.op, by, params, fields).await?
        }
        Op::Reload => {
            let done = control.reload(by).await?;
            let warnings: Vec<_> = done.warnings.iter().map(answer::diagnostic).collect();
            fine(&json!({
                "generation": done.generation,
                "warnings": warnings,
                "after_restart": done.after_restart,
                "dropped": done.dropped,
            }))
        }
        Op::Save => {
            let saved = control.save(by).await?;
            let files: Vec<_> = saved
                .files
                .iter()
                .map(|it| it.display().to_string())
                .collect();
            fine(&json!({ "files": files, "servers": saved.servers }))
        }
        Op::Drain => {
            control.stop(&by);
            let what = "the process takes no new connections and ends when what runs has ended";
            answer::json_answer(StatusCode::ACCEPTED, &json!({ "done": what }))
        }
        Op::Upgrade => match control.upgrade(by).await {
            Ok(pid) => fine(&json!({ "pid": pid })),
            Err(why) => {
                let help = "this process goes on; its log and that of the new one tell more";
                return Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, why, help));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tokens_are_told_of_now_and_then() {
        let (wrong, start) = (WrongTokens::default(), Instant::now());
        assert_eq!(wrong.note(start), Some(1));
        for ms in 1..100 {
            assert_eq!(wrong.note(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(wrong.note(start + TELL_EVERY), Some(100));
        assert_eq!(wrong.note(start + TELL_EVERY), None);
    }
}
