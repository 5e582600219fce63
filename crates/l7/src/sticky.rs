//! Persistence: the requests of one client stay with one server.
//!
//! A client is known by a cookie of ours, which names its server in a way that only we can make and
//! that tells nobody anything, or by something else of its own, which a table ([`Bindings`]) remembers.
//! A server that is down, drained or gone hands its clients on, each once: from then on they are bound
//! to the server that the balancer chose. One that is full keeps them, and serves what it can.

mod bindings;
mod cookie;

use std::collections::HashMap;
use std::sync::Arc;

use keel_balance::{Ask, BoundFault, SelectFault, Selected};
use keel_http::HeaderId;

pub use bindings::Bindings;
pub use cookie::{CookiePlan, CookieSettings, SameSite, Secure};

use crate::snapshot::PoolPlan;
use crate::walk::Walk;

/// Persistence of a pool.
#[derive(Debug)]
pub enum StickyPlan {
    /// By a cookie of ours.
    Cookie(CookiePlan),
    /// By what a table remembers.
    Table(TablePlan),
}

/// What a client is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownBy {
    /// A cookie that the application sets.
    LearnedCookie(String),
    /// A header of the application's answers, which clients send back (lower-case name).
    LearnedHeader(String),
    /// The client's address.
    ClientAddress,
    /// The id of the client's TLS session.
    TlsSession,
    /// A header of requests (lower-case name).
    Header(String),
}

/// Persistence by a table.
#[derive(Debug)]
pub struct TablePlan {
    by: KnownBy,
    bindings: Arc<Bindings>,
    /// By position of the server: the id of its name.
    ids: Vec<u64>,
    positions: HashMap<u64, usize>,
}

/// How a request stands to the server that its client is bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bound {
    /// The client is bound to nobody, or is bound anew with this request.
    #[default]
    Anew,
    /// The request goes to the server that its client is bound to.
    There,
    /// That server is full: the request goes elsewhere, and the client stays bound.
    Elsewhere,
}

impl TablePlan {
    /// A plan for servers of these names, in the order of their positions. `bindings` are live: the
    /// same over reloads.
    pub fn new<'a>(
        by: KnownBy,
        bindings: Arc<Bindings>,
        servers: impl IntoIterator<Item = &'a str>,
    ) -> TablePlan {
        let ids: Vec<u64> = servers
            .into_iter()
            .map(|name| bindings.id_of(name))
            .collect();
        let positions = ids
            .iter()
            .copied()
            .enumerate()
            .map(|(at, id)| (id, at))
            .collect();
        TablePlan {
            by,
            bindings,
            ids,
            positions,
        }
    }

    /// The table.
    pub fn bindings(&self) -> &Arc<Bindings> {
        &self.bindings
    }

    /// Only answers bind clients: what clients send they could make up.
    fn learns(&self) -> bool {
        matches!(
            self.by,
            KnownBy::LearnedCookie(_) | KnownBy::LearnedHeader(_)
        )
    }

    fn key(&self, told: &[u8]) -> Option<u128> {
        let kind: &[u8] = match &self.by {
            KnownBy::LearnedCookie(_) => b"cookie",
            KnownBy::LearnedHeader(_) | KnownBy::Header(_) => b"header",
            KnownBy::ClientAddress => b"address",
            KnownBy::TlsSession => b"tls",
        };
        (!told.is_empty()).then(|| self.bindings.key(kind, told))
    }

    /// What the client of this request is known by, hashed.
    fn key_of(&self, walk: &Walk<'_>) -> Option<u128> {
        let ex = &*walk.ex;
        let buf = ex.bytes();
        let fields = &ex.head.fields;
        match &self.by {
            KnownBy::LearnedCookie(name) => self.key(fields.cookie(name.as_bytes(), buf)?),
            KnownBy::LearnedHeader(name) | KnownBy::Header(name) => {
                self.key(fields.first_named(name.as_bytes(), buf)?)
            }
            KnownBy::TlsSession => self.key(walk.client.tls.as_deref()?.session_id.as_bytes()),
            KnownBy::ClientAddress => match ex.record.client_ip.to_canonical() {
                std::net::IpAddr::V4(ip) => self.key(&ip.octets()),
                std::net::IpAddr::V6(ip) => self.key(&ip.octets()),
            },
        }
    }

    /// Chooses a server, and remembers which.
    fn select(
        &self,
        walk: &mut Walk<'_>,
        plan: &PoolPlan,
        ask: &Ask<'_>,
    ) -> Result<Selected, SelectFault> {
        let balancer = &plan.pool.balancer;
        let Some(key) = self.key_of(walk) else {
            return balancer.select(ask);
        };
        let before = self.bindings.find(key, ask.now_ms);
        let there = before.and_then(|id| self.positions.get(&id));
        if let Some(there) = there {
            match balancer.select_bound(*there, ask) {
                Ok(selected) => {
                    walk.ex.record.bound = Bound::There;
                    return Ok(selected);
                }
                Err(BoundFault::Full) => {
                    walk.ex.record.bound = Bound::Elsewhere;
                    return balancer.select(ask);
                }
                Err(BoundFault::Unusable) => {}
            }
        }
        let selected = balancer.select(ask)?;
        if before.is_none() && self.learns() {
            return Ok(selected);
        }
        let Some(id) = self.ids.get(selected.index) else {
            return Ok(selected);
        };
        let now = self.bindings.hand_on(key, before, *id, ask.now_ms);
        if now == *id {
            return Ok(selected);
        }
        // Another request of this client was handed on a moment ago: one client, one server.
        let there = self.positions.get(&now);
        let other = there.and_then(|there| balancer.select_bound(*there, ask).ok());
        Ok(other.unwrap_or(selected))
    }

    /// Learns from an answer which server the client is bound to from now on.
    fn learn(&self, walk: &Walk<'_>, server: usize) {
        let ex = &*walk.ex;
        let buf = ex.answer_buf.filled();
        let (fields, now_ms) = (&ex.answer.fields, walk.worker.clock.now_ms());
        let Some(id) = self.ids.get(server) else {
            return;
        };
        let teach = |told: &[u8]| {
            let Some(key) = self.key(told) else {
                return;
            };
            // What a stand-in says of a session that is bound elsewhere changes nothing.
            let stands_in = ex.record.bound == Bound::Elsewhere;
            if !stands_in || self.bindings.find(key, now_ms).is_none() {
                self.bindings.bind(key, *id, now_ms);
            }
        };
        match &self.by {
            KnownBy::LearnedHeader(name) => {
                fields.all_named(name.as_bytes(), buf).for_each(teach);
            }
            KnownBy::LearnedCookie(name) => fields
                .all(HeaderId::SetCookie, buf)
                .filter_map(|line| cookie_value(line, name.as_bytes()))
                .for_each(teach),
            KnownBy::ClientAddress | KnownBy::TlsSession | KnownBy::Header(_) => {}
        }
    }
}

/// The value that a `Set-Cookie` gives the cookie of this name (RFC 6265, 5.2). A cookie that is taken
/// away by an empty value has none.
fn cookie_value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pair = line.split(|&byte| byte == b';').next()?;
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let (key, value) = pair.split_at_checked(at)?;
    (key.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// Chooses a server for a request: the one that its client is bound to, or one by the balancer.
///
/// Not for a hedge, which is to go elsewhere and changes nothing of what the client is bound to: that
/// asks the balancer.
#[inline]
pub(crate) fn select(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    ask: &Ask<'_>,
) -> Result<Selected, SelectFault> {
    match &plan.sticky {
        None => plan.pool.balancer.select(ask),
        Some(sticky) => {
            walk.ex.record.bound = Bound::Anew;
            match sticky {
                StickyPlan::Cookie(cookie) => cookie.select(walk, plan, ask),
                StickyPlan::Table(table) => table.select(walk, plan, ask),
            }
        }
    }
}

/// The head of a server's answer is there: learns what it says about the client.
#[inline]
pub(crate) fn answered(walk: &Walk<'_>, plan: &PoolPlan, server: usize) {
    if let Some(StickyPlan::Table(table)) = &plan.sticky
        && table.learns()
    {
        table.learn(walk, server);
    }
}

/// The cookie that the client is told with this server's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetCookie<'a> {
    plan: &'a CookiePlan,
    server: usize,
    tls: bool,
    unix_s: u64,
}

impl SetCookie<'_> {
    /// Appends the `Set-Cookie` line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.plan.write(out, self.server, self.tls, self.unix_s);
    }
}

/// The cookie to set with an answer of this server, when the client has no good one.
#[inline]
pub(crate) fn set_cookie<'a>(
    walk: &Walk<'a>,
    plan: &'a PoolPlan,
    server: usize,
) -> Option<SetCookie<'a>> {
    match &plan.sticky {
        Some(StickyPlan::Cookie(cookie)) if walk.ex.record.bound == Bound::Anew => {
            let clock = &walk.worker.clock;
            Some(SetCookie {
                plan: cookie,
                server,
                tls: walk.listener.scheme == "https",
                unix_s: clock.unix_us(clock.now_us()) / 1_000_000,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_set_cookie_is_found_by_its_exact_name() {
        for (line, value) in [
            (&b"JSESSIONID=abc; Path=/; HttpOnly"[..], Some(&b"abc"[..])),
            (b" JSESSIONID = abc ;Secure", Some(b"abc")),
            (b"JSESSIONID=a=b", Some(b"a=b")),
            (b"JSESSIONID=", Some(b"")),
            (b"XJSESSIONID=abc", None),
            (b"jsessionid=abc", None),
            (b"other=1; JSESSIONID=abc", None),
            (b"JSESSIONID", None),
            (b"", None),
        ] {
            assert_eq!(cookie_value(line, b"JSESSIONID"), value, "{line:?}");
        }
    }
}
