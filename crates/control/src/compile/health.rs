//! Active checks of pools.

use std::sync::Arc;

use keel_balance::{CheckSettings, Start, StatusSet};
use keel_config::model::{
    self, CheckStart, CheckTls, Expected, HealthCheck, Pool, ServerProtocol, ServerTls,
};
use keel_config::{Spanned, codes};
use keel_tls::{ClientSettings, Connector};
use keel_upstream::check::{
    CheckPlan, CheckProtocol, Exchange, Expect, HttpProbe, JsonTest, Probe,
};

use super::pools::ms;
use super::{Report, tls};
use crate::ground::PoolUnits;

/// TLS of checks, with what it was made of.
type Link = (ClientSettings, Arc<Connector>);

/// How the servers of a pool are checked, and with what TLS; `None` when they are not, or when
/// something is wrong, which is reported.
pub(super) fn plan(
    report: &mut Report<'_>,
    pool: &Pool,
    before: Option<&PoolUnits>,
) -> (Option<Arc<CheckPlan>>, Option<Link>) {
    let Some(health) = &pool.health else {
        return (None, None);
    };
    let Some(probe) = probe(report, health) else {
        return (None, None);
    };
    let link = own_tls(pool, health).and_then(|settings| {
        let before = before.and_then(|it| it.check_tls.as_ref());
        tls::connect(report, settings, spoken(health), before)
    });
    let plan = CheckPlan {
        probe,
        settings: settings(health),
        port: health.port,
        tls: link.as_ref().map(|(_, connector)| connector.clone()),
    };
    if let Some(fault) = plan.fault() {
        report.add(&codes::BAD_FIELD_VALUE, health.span, fault, "");
        return (None, None);
    }
    (Some(Arc::new(plan)), link)
}

/// What TLS checks speak, if any. Always a connector of their own: ALPN and sessions are not the
/// traffic's.
fn own_tls<'a>(pool: &'a Pool, health: &'a HealthCheck) -> Option<&'a Spanned<ServerTls>> {
    match &health.tls {
        CheckTls::Off => None,
        CheckTls::Pool => pool.tls.as_ref(),
        CheckTls::Own(tls) => Some(tls),
    }
}

fn spoken(health: &HealthCheck) -> ServerProtocol {
    match health.probe {
        model::Probe::Grpc { .. } => ServerProtocol::Http2,
        _ => health.protocol,
    }
}

fn settings(health: &HealthCheck) -> CheckSettings {
    CheckSettings {
        every_ms: ms(health.every),
        every_down_ms: Some(ms(health.every_down)),
        timeout_ms: ms(health.timeout),
        rise: health.rise,
        fall: health.fall,
        jitter: health.jitter,
        start: match health.start {
            CheckStart::Optimistic => Start::Optimistic,
            CheckStart::Checked => Start::FirstCheck,
        },
    }
}

fn probe(report: &mut Report<'_>, health: &HealthCheck) -> Option<Probe> {
    Some(match &health.probe {
        model::Probe::Tcp => Probe::Tcp,
        model::Probe::Grpc { service } => Probe::Grpc {
            service: service.clone(),
            host: None,
        },
        model::Probe::Exchange { send, expect } => Probe::Exchange(Exchange {
            send: send.clone(),
            expect: Some(expected(report, expect)?),
        }),
        model::Probe::Http(http) => {
            let text = |it: &Spanned<String>| it.value.clone();
            Probe::Http(HttpProbe {
                protocol: match health.protocol {
                    ServerProtocol::Http1 => CheckProtocol::Http1,
                    ServerProtocol::Http2 => CheckProtocol::Http2,
                    ServerProtocol::Auto => CheckProtocol::Auto,
                },
                method: http.method.clone(),
                path: http.path.clone(),
                host: http.host.as_ref().map(text),
                headers: http
                    .headers
                    .iter()
                    .map(|(name, value)| (text(name), text(value)))
                    .collect(),
                statuses: StatusSet::of(http.statuses.codes()),
                body: match &http.body {
                    Some(body) => Some(expected(report, body)?),
                    None => None,
                },
                json: http
                    .json
                    .iter()
                    .map(|test| JsonTest {
                        path: test.path.clone(),
                        value: test.value.clone(),
                    })
                    .collect(),
            })
        }
    })
}

fn expected(report: &mut Report<'_>, expected: &Expected) -> Option<Expect> {
    match expected {
        Expected::Bytes(bytes) => Some(Expect::Bytes(bytes.value.clone())),
        Expected::Regex(regex) => match Expect::regex(&regex.value) {
            Ok(expect) => Some(expect),
            Err(fault) => {
                report.add(&codes::BAD_REGEX, regex.span, fault, "");
                None
            }
        },
    }
}
