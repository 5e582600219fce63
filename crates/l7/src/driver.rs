//! The one driver: it walks a request through its phases and has one exit.
//!
//! ```text
//! normalise → client address → route → limits → answer of our own? → forward (select, connect,
//! send, response head, retry?) → response edits → body → finish
//! ```
//!
//! Whatever happens on the way is a [`Kind`]; [`exchange`] turns it into an answer, closes what has
//! to be closed, and calls `finish` exactly once.

use std::rc::Rc;

use keel_http::forwarded::client_address;
use keel_http::{BodyLength, Version, frame_request};
use keel_route::{HeaderSource, RequestView, TlsFact};
use keel_tls::TlsFacts;
use keel_types::RouteId;

use crate::client::Client;
use crate::error::Kind;
use crate::exchange::{Exchange, NO_FRAMING, Record};
use crate::finish::finish;
use crate::grpc::Call;
use crate::hash::hash_of;
use crate::own::{answer_ourselves, fail};
use crate::pass::pass_to;
use crate::snapshot::{HashKey, KeepRequestId, ListenerPlan, Target};
use crate::walk::Walk;
use crate::worker::{View, Worker};

/// What happens to the client's connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next request may come.
    KeepAlive,
    /// It is closed, once the client has had the time to read what we sent.
    Linger,
    /// It is closed at once.
    Close,
    /// It is reset, so that nobody takes what was sent for the whole.
    Reset,
    /// The stream is reset as malformed (RFC 9113, 8.1.1); the connection goes on.
    Malformed,
}

/// Runs one exchange whose head is complete at the front of the client's input.
pub async fn exchange(
    worker: &Rc<Worker>,
    view: &View,
    listener: &ListenerPlan,
    client: &mut Client,
    ex: &mut Exchange,
) -> Next {
    ex.take_head(&worker.bufs, &mut client.input);
    ex.framing = NO_FRAMING;
    client.requests += 1;
    exchange_stream(worker, view, listener, client, ex).await
}

/// Runs one exchange whose head, and with HTTP/2 its framing, is in `ex` already.
pub async fn exchange_stream(
    worker: &Rc<Worker>,
    view: &View,
    listener: &ListenerPlan,
    client: &mut Client,
    ex: &mut Exchange,
) -> Next {
    begin_record(worker, view, client, ex);
    let mut walk = Walk::new(worker, view, listener, client, ex);
    let next = match walk_phases(&mut walk).await {
        Ok(next) => next,
        Err(kind) => {
            if let Kind::BadHead(_) = kind {
                let listener = walk.client.listener;
                walk.view.metrics.listener(listener).bad_request();
            }
            fail(&mut walk, kind).await
        }
    };
    finish(&mut walk);
    next
}

/// Refuses a head that could not be read; there is no request then, only an answer and a log line.
pub async fn refuse(
    worker: &Rc<Worker>,
    view: &View,
    listener: &ListenerPlan,
    client: &mut Client,
    ex: &mut Exchange,
    kind: Kind,
) -> Next {
    ex.framing = NO_FRAMING;
    begin_record(worker, view, client, ex);
    ex.record.bad_head = true;
    ex.head.clear();
    let mut walk = Walk::new(worker, view, listener, client, ex);
    walk.view
        .metrics
        .listener(walk.client.listener)
        .bad_request();
    let next = fail(&mut walk, kind).await;
    finish(&mut walk);
    next
}

/// Begins with nothing of the request before: not how far its body came either.
fn begin_record(worker: &Worker, view: &View, client: &Client, ex: &mut Exchange) {
    ex.up.release(&worker.bufs);
    ex.down.release(&worker.bufs);
    ex.call = None;
    ex.websocket_key = None;
    ex.record = Record {
        start_us: worker.clock.tick(),
        client_ip: client.peer.ip(),
        route: view.snapshot.no_route(),
        bytes_received: ex.head_buf.len() as u64,
        ..Record::default()
    };
}

async fn walk_phases(walk: &mut Walk<'_>) -> Result<Next, Kind> {
    read_request(walk)?;
    let route_id = find_route(walk);
    walk.ex.record.route = route_id;
    let view = walk.view;
    walk.in_flight = Some(view.metrics.route(route_id).begin());
    let route = view
        .snapshot
        .routes
        .get(route_id.0 as usize)
        .ok_or(Kind::Internal)?;
    walk.ex.call = Call::of(walk.ex, route, walk.worker.clock.now_ms());
    let body_bytes_max = route.body_bytes_max.unwrap_or(walk.listener.body_bytes_max);
    if matches!(walk.ex.framing.body, BodyLength::Fixed(bytes) if bytes > body_bytes_max) {
        return Err(Kind::BodyTooLarge);
    }
    let pool = match &route.target {
        Target::NoRoute => return Err(Kind::NoRoute),
        Target::Pool(pool) => *pool,
        Target::Split { split, pools, by } => {
            let chosen = match by {
                HashKey::Random => split.choose_random(walk.worker.random()),
                key => split.choose_hash(hash_of(walk, key)),
            };
            *pools.get(chosen).ok_or(Kind::Internal)?
        }
        own => return answer_ourselves(walk, route, own).await,
    };
    pass_to(walk, route, pool).await
}

/// Normalise and client address: from bytes to a request that routing may look at.
fn read_request(walk: &mut Walk<'_>) -> Result<(), Kind> {
    let Walk {
        ex, view, client, ..
    } = walk;
    let Exchange {
        head,
        head_buf,
        framing,
        normal,
        record,
        ..
    } = &mut **ex;
    let buf = head_buf.filled();
    if head.version != Version::Http2 {
        *framing = frame_request(head, buf).map_err(Kind::BadHead)?;
    }
    normal.read(head, buf).map_err(Kind::BadHead)?;
    view.metrics.listener(client.listener).request();
    let snapshot = &view.snapshot;
    if walk.trusted {
        record.client_ip = client_address(
            &head.fields,
            buf,
            client.peer.ip(),
            &|ip| snapshot.is_trusted(ip),
            &snapshot.client_address_headers,
        );
    }
    if !snapshot.request_id.header.is_empty() {
        identify(walk);
    }
    Ok(())
}

/// Keeps the request's id or makes one: 32 hexadecimal digits.
fn identify(walk: &mut Walk<'_>) {
    let plan = &walk.view.snapshot.request_id;
    let keeps = match plan.keep {
        KeepRequestId::Always => true,
        KeepRequestId::Trusted => walk.trusted,
        KeepRequestId::Never => false,
    };
    let (high, low) = (walk.worker.random(), walk.worker.random());
    let Exchange {
        head,
        head_buf,
        record,
        ..
    } = &mut *walk.ex;
    if keeps
        && let Some(told) = head
            .fields
            .first_named(plan.header.as_bytes(), head_buf.filled())
        && !told.is_empty()
        && let Some(slot) = record.request_id.get_mut(..told.len())
    {
        slot.copy_from_slice(told);
        record.request_id_len = told.len() as u8;
        return;
    }
    for (half, number) in record.request_id.chunks_exact_mut(16).zip([high, low]) {
        for (position, digit) in half.iter_mut().enumerate() {
            let nibble = (number >> (60 - 4 * position)) & 15;
            *digit = b"0123456789abcdef"
                .get(nibble as usize)
                .copied()
                .unwrap_or(b'0');
        }
    }
    record.request_id_len = 32;
}

/// A request's fields for the router.
struct FieldsOf<'a> {
    ex: &'a Exchange,
    tls: Option<&'a TlsFacts>,
}

impl HeaderSource for FieldsOf<'_> {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        for value in self.ex.head.fields.all_named(name, self.ex.bytes()) {
            if f(value) {
                return;
            }
        }
    }

    fn tls(&self, fact: TlsFact) -> Option<&[u8]> {
        let tls = self.tls?;
        let client = tls.client.as_deref();
        let value = match fact {
            TlsFact::ServerName => tls.server_name.as_deref()?,
            TlsFact::Version => tls.version,
            TlsFact::Ja4 => &tls.ja4,
            TlsFact::ClientSubject => &client?.subject,
            TlsFact::ClientFingerprint => &client?.fingerprint_sha256,
            TlsFact::ClientVerified => client.filter(|client| client.verified).map(|_| "1")?,
        };
        Some(value.as_bytes())
    }
}

fn find_route(walk: &Walk<'_>) -> RouteId {
    let ex = &*walk.ex;
    let buf = ex.bytes();
    let view = RequestView {
        listener: walk.client.listener.0,
        method: ex.head.method_span.of(buf),
        scheme: walk.listener.scheme,
        host: ex.normal.host(buf),
        port: ex.normal.port(),
        path: ex.normal.path(buf),
        query: ex.normal.query(buf),
        client: ex.record.client_ip,
        headers: &FieldsOf {
            ex,
            tls: walk.client.tls.as_deref(),
        },
    };
    match walk.view.snapshot.router.find(&view) {
        Some(route) => RouteId(route as u32),
        None => walk.view.snapshot.no_route(),
    }
}
