//! Persistence of a pool.

use std::sync::Arc;

use keel_balance::StickySettings;
use keel_config::codes;
use keel_config::model::{self, LearnFrom, Model, Pool, Sticky, StickyBy, StickyCookie};
use keel_l7::{
    Bindings, CookiePlan, CookieSettings, KnownBy, PoolPlan, SameSite, Secure, StickyPlan,
    TablePlan,
};
use keel_tls::MacKey;

use super::Report;
use super::pools::ms;
use crate::ground::{Ground, PoolUnits};

/// Whose requests stay with one server. Gives the table, which goes on by the pool's name; it is kept
/// also while another way of persistence is tried.
pub(super) fn plan(
    report: &mut Report<'_>,
    pool: &Pool,
    before: Option<&PoolUnits>,
    plan: &mut PoolPlan,
) -> Option<Arc<Bindings>> {
    let sticky = pool.sticky.as_ref()?;
    let servers = pool.servers.iter().map(|server| server.name.value.as_str());
    let key = match key(report.model, report.ground) {
        Ok(key) => key,
        Err(error) => {
            let what = format!("no secret can be made for it: {error}");
            report.add(&codes::BAD_BALANCE, sticky.by.span, what, "set `secret`");
            return None;
        }
    };
    let by = match &sticky.by.value {
        StickyBy::Cookie(cookie) => {
            let cookie = CookiePlan::new(&settings(cookie), &key, &pool.name.value, servers);
            plan.sticky = Some(StickyPlan::Cookie(cookie));
            return before.and_then(|it| it.bindings.clone());
        }
        StickyBy::Learn(LearnFrom::Cookie(name)) => KnownBy::LearnedCookie(name.value.clone()),
        StickyBy::Learn(LearnFrom::Header(name)) => {
            KnownBy::LearnedHeader(name.value.to_ascii_lowercase())
        }
        StickyBy::ClientAddress => KnownBy::ClientAddress,
        StickyBy::TlsSession => KnownBy::TlsSession,
        StickyBy::Header(name) => KnownBy::Header(name.value.to_ascii_lowercase()),
    };
    let bindings = match before.and_then(|it| it.bindings.as_ref()) {
        Some(before) => before.clone(),
        None => Arc::new(Bindings::new(key, table(sticky))),
    };
    let table = TablePlan::new(by, bindings.clone(), servers);
    plan.sticky = Some(StickyPlan::Table(table));
    Some(bindings)
}

/// Gives tables that go on their new limits; at the swap, since they are in force.
pub(super) fn retune(model: &Model, ground: &Ground) {
    for pool in &model.pools {
        let units = ground.pools.get(&pool.name.value);
        let bindings = units.and_then(|it| it.bindings.as_ref());
        if let (Some(sticky), Some(bindings)) = (&pool.sticky, bindings) {
            bindings.retune(table(sticky));
        }
    }
}

fn key(model: &Model, ground: &Ground) -> std::io::Result<MacKey> {
    match &model.secret {
        Some(secret) => Ok(MacKey::new(secret.value.reveal().as_bytes())),
        None => ground.secret.key(&model.state.value),
    }
}

fn table(sticky: &Sticky) -> StickySettings {
    StickySettings {
        size_max: sticky.size as usize,
        idle_ms: ms(sticky.idle),
    }
}

fn settings(cookie: &StickyCookie) -> CookieSettings {
    CookieSettings {
        name: cookie.name.value.clone(),
        expires: cookie.expires,
        domain: cookie.domain.as_ref().map(|domain| domain.value.clone()),
        path: cookie.path.clone(),
        secure: match cookie.secure {
            model::CookieSecure::Auto => Secure::Auto,
            model::CookieSecure::Always => Secure::Always,
            model::CookieSecure::Never => Secure::Never,
        },
        same_site: match cookie.same_site {
            model::SameSite::Lax => SameSite::Lax,
            model::SameSite::Strict => SameSite::Strict,
            model::SameSite::None => SameSite::None,
        },
        http_only: cookie.http_only,
    }
}
