//! Listeners.

use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    ClientLimits, ClientTimeouts, Listener, Redirect, RedirectStatus, Route, Target,
};
use crate::span::{Span, Spanned};

/// Where `https` leads.
const HTTPS_TARGET: &str = "https://$host$request_uri";

impl Lower<'_> {
    pub(super) fn global_timeouts(&mut self, fields: Option<Fields>, span: Span) -> ClientTimeouts {
        let mut fields = fields.unwrap_or_else(|| self.defaults(&keys::GLOBAL_TIMEOUTS, span));
        ClientTimeouts {
            handshake: fields.value(&keys::GLOBAL_HANDSHAKE),
            head: fields.value(&keys::GLOBAL_HEAD_TIME),
            idle: fields.value(&keys::GLOBAL_IDLE),
            body: fields.value(&keys::GLOBAL_BODY_TIME),
            send: fields.value(&keys::GLOBAL_SEND),
        }
    }

    pub(super) fn global_limits(&mut self, fields: Option<Fields>, span: Span) -> ClientLimits {
        let mut fields = fields.unwrap_or_else(|| self.defaults(&keys::GLOBAL_LIMITS, span));
        ClientLimits {
            head: fields.value(&keys::GLOBAL_HEAD),
            fields: fields.value(&keys::GLOBAL_FIELDS),
            target: fields.value(&keys::GLOBAL_TARGET),
            body: fields.value(&keys::GLOBAL_BODY),
            body_rate: fields.item(&keys::GLOBAL_BODY_RATE).and_then(rate),
            requests: fields.value(&keys::GLOBAL_REQUESTS),
        }
    }

    pub(super) fn listeners(
        &mut self,
        entries: Vec<(Spanned<String>, Item)>,
        timeouts: &ClientTimeouts,
        limits: &ClientLimits,
    ) -> Vec<Listener> {
        let mut listeners = Vec::with_capacity(entries.len());
        for (name, item) in entries {
            if let Data::Fields(fields) = item.data {
                listeners.push(self.listener(name, fields, timeouts, limits));
            }
        }
        listeners
    }

    fn listener(
        &mut self,
        name: Spanned<String>,
        mut fields: Fields,
        timeouts: &ClientTimeouts,
        limits: &ClientLimits,
    ) -> Listener {
        let (mut timeouts, mut limits) = (timeouts.clone(), limits.clone());
        if let Some(mut own) = fields.section(&keys::LISTENER_TIMEOUTS_KEY) {
            override_by(&mut timeouts.handshake, own.get(&keys::HANDSHAKE));
            override_by(&mut timeouts.head, own.get(&keys::HEAD_TIME));
            override_by(&mut timeouts.idle, own.get(&keys::IDLE));
            override_by(&mut timeouts.body, own.get(&keys::BODY_TIME));
            override_by(&mut timeouts.send, own.get(&keys::SEND));
        }
        if let Some(mut own) = fields.section(&keys::LISTENER_LIMITS_KEY) {
            override_by(&mut limits.head, own.get(&keys::HEAD));
            override_by(&mut limits.fields, own.get(&keys::FIELDS_MAX));
            override_by(&mut limits.target, own.get(&keys::TARGET));
            override_by(&mut limits.body, own.get(&keys::BODY));
            override_by(&mut limits.body_rate, own.item(&keys::BODY_RATE).map(rate));
            override_by(&mut limits.requests, own.get(&keys::REQUESTS_MAX));
        }
        let place = format!("listeners.{}", name.value);
        let tls = fields.section(&keys::LISTENER_TLS_KEY);
        Listener {
            binds: self.binds(fields.item(&keys::BIND)),
            tls: tls.and_then(|tls| self.listener_tls(tls)),
            http2: self.http2(&mut fields),
            redirect: fields.item(&keys::LISTENER_REDIRECT).and_then(redirect),
            backlog: fields.value(&keys::BACKLOG),
            timeouts,
            limits,
            access_log: self.log_use(fields.item(&keys::LISTENER_LOG), &place),
            headers: self.headers(fields.section(&keys::LISTENER_HEADERS)),
            name,
        }
    }
}

impl Lower<'_> {
    /// Warns of what is redirected to https and came by it.
    pub(super) fn loops(&mut self, listeners: &[Listener], routes: &[Route]) {
        if self.found.failed() {
            return;
        }
        let help = "redirect on the listener without TLS; for another port write the URL: `redirect: \"https://$host:8443$request_uri\"`";
        for listener in listeners.iter().filter(|listener| listener.tls.is_some()) {
            let Some(redirect) = listener.redirect.as_ref().filter(|it| to_https(it)) else {
                continue;
            };
            let what = "this listener speaks TLS and redirects to https";
            self.report(&codes::REDIRECT_LOOP, redirect.span, what, |it| {
                it.help(help)
            });
        }
        // A route may be meant for a plain listener; with TLS on all it is meant for none.
        if !listeners.iter().all(|listener| listener.tls.is_some()) {
            return;
        }
        for route in routes {
            let Target::Redirect(redirect) = &route.target.value else {
                continue;
            };
            if to_https(redirect) {
                let what = "every listener speaks TLS, and this route redirects to https";
                self.report(&codes::REDIRECT_LOOP, route.target.span, what, |it| {
                    it.help(help)
                });
            }
        }
    }
}

/// Whether it leads to the same host and path over TLS.
fn to_https(redirect: &Redirect) -> bool {
    redirect.to.value == HTTPS_TARGET
}

fn override_by<T>(value: &mut T, own: Option<T>) {
    if let Some(own) = own {
        *value = own;
    }
}

/// Bytes per second; `None` for `off`.
fn rate(item: Item) -> Option<u64> {
    match item.data {
        Data::Size(bytes) => Some(bytes),
        _ => None,
    }
}

/// A redirect in its short or long form.
pub(super) fn redirect(item: Item) -> Option<Spanned<Redirect>> {
    let span = item.span;
    let (to, status) = match item.data {
        Data::Fields(mut fields) => {
            let status = fields.is_set(&keys::REDIRECT_STATUS);
            let to = fields.item(&keys::REDIRECT_TO)?;
            (
                to,
                status.then(|| fields.word::<RedirectStatus>(&keys::REDIRECT_STATUS)),
            )
        }
        data => (Item { span, data }, None),
    };
    let (to, default) = match to.data {
        Data::Word(_) => {
            let to = Spanned::new(HTTPS_TARGET.to_owned(), to.span);
            (to, RedirectStatus::MovedPermanently)
        }
        _ => (text_of(to)?, RedirectStatus::Found),
    };
    Some(Spanned::new(
        Redirect {
            to,
            status: status.unwrap_or(default),
        },
        span,
    ))
}
