//! Active checks of servers.

use std::time::Duration;

use super::upstream::Spoken;
use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item, items_of};
use crate::diagnostic::codes;
use crate::keys::{self, Key};
use crate::model::{
    CheckStart, CheckTls, Expected, HealthCheck, HostHeader, HttpProbe, JsonTest, Probe,
    ServerProtocol, Statuses,
};
use crate::span::{Span, Spanned};
use crate::values;

impl Lower<'_> {
    pub(super) fn health(
        &mut self,
        fields: &mut Fields,
        spoken: &Spoken,
        host: &HostHeader,
    ) -> Option<Spanned<HealthCheck>> {
        let mut own = fields.section(&keys::POOL_HEALTH)?;
        let span = own.span();
        let probe = self.probe(&mut own, host);
        let down_set = own.is_set(&keys::HEALTH_EVERY_DOWN);
        let down_span = own.span_of(&keys::HEALTH_EVERY_DOWN);
        let every: Duration = own.value(&keys::HEALTH_EVERY);
        let every_down: Duration = own.value(&keys::HEALTH_EVERY_DOWN);
        if down_set && every_down > every {
            let what = "`every_down` is longer than `every`";
            self.report(&codes::CONFLICT, down_span, what, |report| {
                report
                    .why("a server that is down is checked at least as often as one that is up, so that it is back soon")
                    .help("write a shorter time, or remove it")
            });
        }
        let tls = self.check_tls(&mut own, host);
        let protocol = self.check_protocol(&mut own, probe.as_ref(), spoken, &tls);
        Some(Spanned::new(
            HealthCheck {
                probe: probe?,
                every,
                every_down: every_down.min(every),
                timeout: own.value(&keys::HEALTH_TIMEOUT),
                rise: own.value(&keys::HEALTH_RISE),
                fall: own.value(&keys::HEALTH_FALL),
                jitter: own.value(&keys::HEALTH_JITTER),
                start: own.word::<CheckStart>(&keys::HEALTH_START),
                port: own.get(&keys::HEALTH_PORT),
                protocol,
                tls,
            },
            span,
        ))
    }

    fn probe(&mut self, own: &mut Fields, host: &HostHeader) -> Option<Probe> {
        if own.is_set(&keys::HEALTH_HTTP) {
            let item = own.item(&keys::HEALTH_HTTP)?;
            return self.http_probe(item, host).map(Probe::Http);
        }
        if own.is_set(&keys::HEALTH_GRPC) {
            let service = match own.item(&keys::HEALTH_GRPC)?.data {
                Data::Fields(mut fields) => fields.value(&keys::GRPC_SERVICE),
                _ => String::new(),
            };
            return Some(Probe::Grpc { service });
        }
        if own.is_set(&keys::HEALTH_EXCHANGE) {
            let mut fields = own.section(&keys::HEALTH_EXCHANGE)?;
            let send: String = fields.value(&keys::EXCHANGE_SEND);
            return Some(Probe::Exchange {
                send: values::exchanged(&send).ok()?,
                expect: expected(fields.item(&keys::EXCHANGE_EXPECT)?)?,
            });
        }
        own.is_set(&keys::HEALTH_TCP).then_some(Probe::Tcp)
    }

    fn http_probe(&mut self, item: Item, host: &HostHeader) -> Option<HttpProbe> {
        let span = item.span;
        let (mut fields, path) = match item.data {
            Data::Fields(mut fields) => {
                let path = fields.value(&keys::PROBE_PATH);
                (fields, path)
            }
            data => {
                let path = text_of(Item { span, data })?.value;
                (self.defaults(&keys::HTTP_PROBE, span), path)
            }
        };
        let own_host: Option<Spanned<String>> = fields.get(&keys::PROBE_HOST);
        let host = own_host.or_else(|| match host {
            HostHeader::Literal(host) => Some(host.clone()),
            HostHeader::Keep | HostHeader::Server => None,
        });
        let headers = self.values(fields.entries(&keys::PROBE_HEADERS));
        let statuses = fields.items(&keys::PROBE_STATUS);
        let json = fields.entries(&keys::PROBE_JSON).into_iter();
        Some(HttpProbe {
            path,
            method: fields.value(&keys::PROBE_METHOD),
            host,
            headers: headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
            statuses: self.statuses(statuses.into_iter().filter_map(text_of)),
            body: fields.item(&keys::PROBE_BODY).and_then(expected),
            json: json
                .filter_map(|(name, item)| {
                    Some(JsonTest {
                        path: name.split('.').map(str::to_owned).collect(),
                        value: text_of(item)?.value,
                    })
                })
                .collect(),
        })
    }

    /// Statuses of answers, whose form was checked.
    pub(super) fn statuses(&self, texts: impl Iterator<Item = Spanned<String>>) -> Statuses {
        let ranges = texts.filter_map(|text| values::answer_status(&text, &[]).ok());
        Statuses::new(ranges.collect())
    }

    fn check_tls(&mut self, own: &mut Fields, host: &HostHeader) -> CheckTls {
        let Some(item) = own.item(&keys::HEALTH_TLS) else {
            return CheckTls::Pool;
        };
        if matches!(item.data, Data::Bool(false)) {
            return CheckTls::Off;
        }
        self.tls_of(item, host)
            .map_or(CheckTls::Pool, |tls| CheckTls::Own(Box::new(tls)))
    }

    fn check_protocol(
        &mut self,
        own: &mut Fields,
        probe: Option<&Probe>,
        spoken: &Spoken,
        tls: &CheckTls,
    ) -> ServerProtocol {
        let set = own.is_set(&keys::HEALTH_PROTOCOL);
        let span = own.span_of(&keys::HEALTH_PROTOCOL);
        let written = own.word::<ServerProtocol>(&keys::HEALTH_PROTOCOL);
        let protocol = if set { written } else { spoken.protocol };
        let has_tls = match tls {
            CheckTls::Pool => spoken.tls.is_some(),
            CheckTls::Off => false,
            CheckTls::Own(_) => true,
        };
        match probe {
            Some(Probe::Grpc { .. }) => {
                if set && written == ServerProtocol::Http1 {
                    let what = "`protocol: http1` stands beside `grpc`";
                    self.report(&codes::CONFLICT, span, what, |report| {
                        report.why("gRPC is spoken over HTTP/2").help("remove it")
                    });
                }
                ServerProtocol::Http2
            }
            Some(Probe::Tcp | Probe::Exchange { .. }) if set => {
                let what = "`protocol` has no effect: this check speaks no HTTP";
                self.report(&codes::NO_EFFECT, span, what, |report| {
                    report.help("remove it, or check by `http`")
                });
                protocol
            }
            Some(Probe::Http(_)) if protocol == ServerProtocol::Auto && !has_tls => {
                self.auto_without_tls(set, span, own.span());
                protocol
            }
            _ => protocol,
        }
    }

    fn auto_without_tls(&mut self, set: bool, span: Span, section: Span) {
        let at = if set { span } else { section };
        let what = "checks have the protocol `auto` and no TLS";
        self.report(&codes::CONFLICT, at, what, |report| {
            report
                .why("the protocol is chosen in the TLS handshake, and there is none")
                .help("write `protocol: http1` or `protocol: http2` in `health`")
        });
    }

    /// Reports that one setting is above another that bounds it.
    pub(super) fn ordered<T: PartialOrd>(&mut self, at: Span, low: (&Key, T), high: (&Key, T)) {
        if low.1 > high.1 {
            let what = format!("`{}` is above `{}`", low.0.name, high.0.name);
            self.report(&codes::CONFLICT, at, what, |report| {
                report.help(format!("raise `{}`, or lower the other", high.0.name))
            });
        }
    }
}

/// Where the first of these keys stands that is set.
pub(super) fn span_of_set(fields: &Fields, keys: [&Key; 2]) -> Span {
    let set = keys.into_iter().find(|key| fields.is_set(key));
    set.map_or(fields.span(), |key| fields.span_of(key))
}

/// What an answer must hold.
pub(super) fn expected(item: Item) -> Option<Expected> {
    let span = item.span;
    match item.data {
        Data::Fields(mut fields) => fields.get(&keys::EXPECTED_REGEX).map(Expected::Regex),
        data => {
            let text = text_of(Item { span, data })?;
            let bytes = values::exchanged(&text).ok()?;
            Some(Expected::Bytes(Spanned::new(bytes, span)))
        }
    }
}

/// The words and the statuses of a list in which both may stand.
pub(super) fn cases(item: Option<Item>) -> (Vec<Item>, Vec<Spanned<String>>) {
    let items = item.map(items_of).unwrap_or_default();
    let (words, others): (Vec<Item>, Vec<Item>) = items
        .into_iter()
        .partition(|item| matches!(item.data, Data::Word(_)));
    (words, others.into_iter().filter_map(text_of).collect())
}
