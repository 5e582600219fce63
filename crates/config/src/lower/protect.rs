//! What keeps a pool and its servers from harm.

use std::time::Duration;

use super::Lower;
use super::health::{cases, span_of_set};
use crate::decode::{Data, Fields, word_of};
use crate::diagnostic::codes;
use crate::keys::{self, FailureCase, Key};
use crate::model::{
    Balance, Breaker, Concurrency, Failures, Outlier, Panic, PanicAction, PoolLimits, Queue,
    Server, SlowCalls, SlowStart, SuccessRate,
};
use crate::span::Spanned;

impl Lower<'_> {
    pub(super) fn outlier(&mut self, fields: &mut Fields) -> Option<Spanned<Outlier>> {
        let max_fails = [&keys::POOL_MAX_FAILS, &keys::POOL_FAIL_TIMEOUT];
        let set: Vec<_> = max_fails
            .into_iter()
            .filter(|key| fields.is_set(key))
            .map(|key| (key.name, fields.span_of(key)))
            .collect();
        let mut own = fields.section(&keys::POOL_OUTLIER)?;
        let span = own.span();
        for (name, at) in set {
            let sources = self.input.sources;
            let what = format!("`{name}` stands beside `outlier`");
            self.report(&codes::CONFLICT, at, what, |report| {
                report
                    .why("a server is judged in one of the two ways")
                    .related(sources, span, "the other one")
                    .help("remove one of the two; `outlier: { consecutive: N }` counts failures in a row")
            });
        }
        let error_rate: Option<f64> = own.get(&keys::OUTLIER_ERROR_RATE);
        let success_rate = self.success_rate(&mut own);
        let at = span_of_set(&own, [&keys::OUTLIER_EJECTION, &keys::OUTLIER_EJECTION_MAX]);
        let (ejection, ejection_max): (Duration, Duration) = (
            own.value(&keys::OUTLIER_EJECTION),
            own.value(&keys::OUTLIER_EJECTION_MAX),
        );
        let (low, high) = (&keys::OUTLIER_EJECTION, &keys::OUTLIER_EJECTION_MAX);
        self.ordered(at, (low, ejection), (high, ejection_max));
        let consecutive: u32 = own.value(&keys::OUTLIER_CONSECUTIVE);
        if consecutive == 0 && error_rate.is_none() && success_rate.is_none() {
            let what = "`outlier` has no effect: each of its reasons is off";
            self.report(&codes::NO_EFFECT, span, what, |report| {
                report.help("leave one of `consecutive`, `error_rate` and `success_rate` on")
            });
        }
        let outlier = Outlier {
            consecutive,
            error_rate,
            error_volume: own.value(&keys::OUTLIER_ERROR_VOLUME),
            success_rate,
            window: own.value(&keys::OUTLIER_WINDOW),
            ejection,
            ejection_max,
            ejected_max: own.value(&keys::OUTLIER_EJECTED_MAX),
            on: self.failures(&mut own),
        };
        Some(Spanned::new(outlier, span))
    }

    fn failures(&mut self, own: &mut Fields) -> Failures {
        let (words, statuses) = cases(own.item(&keys::OUTLIER_ON));
        let words: Vec<FailureCase> = words.into_iter().filter_map(word_of).collect();
        Failures {
            error: words.contains(&FailureCase::Error),
            timeout: words.contains(&FailureCase::Timeout),
            statuses: self.statuses(statuses.into_iter()),
        }
    }

    fn success_rate(&mut self, own: &mut Fields) -> Option<SuccessRate> {
        let span = own.span_of(&keys::OUTLIER_SUCCESS_RATE);
        let mut own = match own.item(&keys::OUTLIER_SUCCESS_RATE).map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            Some(_) => return None,
            None => self.defaults(&keys::SUCCESS_RATE, span),
        };
        Some(SuccessRate {
            deviations: own.value(&keys::SUCCESS_DEVIATIONS),
            gap: own.value(&keys::SUCCESS_GAP),
            servers: own.value(&keys::SUCCESS_SERVERS),
            volume: own.value(&keys::SUCCESS_VOLUME),
        })
    }

    pub(super) fn panic(&mut self, fields: &mut Fields) -> Panic {
        let span = fields.span();
        let mut own = fields
            .section(&keys::POOL_PANIC)
            .unwrap_or_else(|| self.defaults(&keys::PANIC, span));
        Panic {
            threshold: own.value(&keys::PANIC_THRESHOLD),
            action: own.word::<PanicAction>(&keys::PANIC_ACTION),
        }
    }

    pub(super) fn slow_start(&mut self, fields: &mut Fields) -> Option<SlowStart> {
        let item = fields.item(&keys::POOL_SLOW_START)?;
        let (mut own, time) = match item.data {
            Data::Fields(mut own) => {
                let time = own.value(&keys::SLOW_TIME);
                (own, time)
            }
            Data::Time(time) => (self.defaults(&keys::SLOW_START, item.span), time),
            _ => return None,
        };
        Some(SlowStart {
            time,
            curve: own.value(&keys::SLOW_CURVE),
            from: own.value(&keys::SLOW_FROM),
        })
    }

    /// Header in which servers tell how busy they are.
    pub(super) fn load_report(
        &mut self,
        fields: &mut Fields,
        balance: &Balance,
    ) -> Option<Spanned<String>> {
        let name: Spanned<String> = fields.get(&keys::POOL_LOAD_REPORT)?;
        self.editable(&name);
        let ignored = match balance {
            Balance::Random => Some("random"),
            Balance::IpHash { .. } => Some("ip_hash"),
            Balance::Hash { .. } => Some("hash"),
            _ => None,
        };
        if let Some(algorithm) = ignored {
            let what = format!("reported loads have no effect with `{algorithm}`");
            self.report(&codes::NO_EFFECT, name.span, what, |report| {
                report.help("use `round_robin`, `least_conn`, or another that goes by weight")
            });
        }
        Some(name)
    }

    pub(super) fn breaker(&mut self, fields: &mut Fields, key: &Key) -> Option<Breaker> {
        let mut own = fields.section(key)?;
        let span = own.span();
        let slow = own.section(&keys::BREAKER_SLOW).map(|mut slow| SlowCalls {
            over: slow.value(&keys::SLOW_OVER),
            share: slow.value(&keys::SLOW_SHARE),
        });
        let errors: Option<f64> = own.get(&keys::BREAKER_ERRORS);
        if errors.is_none() && slow.is_none() {
            let what = format!("`{}` has no effect: it never opens", key.name);
            self.report(&codes::NO_EFFECT, span, what, |report| {
                report.help("write `errors: 50%`, or what is slow: `slow: { over: 1s }`")
            });
        }
        let at = span_of_set(&own, [&keys::BREAKER_OPEN, &keys::BREAKER_OPEN_MAX]);
        let (open, open_max): (Duration, Duration) = (
            own.value(&keys::BREAKER_OPEN),
            own.value(&keys::BREAKER_OPEN_MAX),
        );
        self.ordered(
            at,
            (&keys::BREAKER_OPEN, open),
            (&keys::BREAKER_OPEN_MAX, open_max),
        );
        Some(Breaker {
            errors,
            slow,
            volume: own.value(&keys::BREAKER_VOLUME),
            window: own.value(&keys::BREAKER_WINDOW),
            open,
            open_max,
            probes: own.value(&keys::BREAKER_PROBES),
        })
    }

    pub(super) fn pool_limits(&mut self, fields: &mut Fields) -> PoolLimits {
        let Some(mut own) = fields.section(&keys::POOL_LIMITS) else {
            return PoolLimits::default();
        };
        PoolLimits {
            requests: own.value(&keys::LIMITS_REQUESTS),
            connections: own.value(&keys::LIMITS_CONNECTIONS),
        }
    }

    pub(super) fn concurrency(&mut self, fields: &mut Fields) -> Option<Concurrency> {
        let mut own = fields.section(&keys::POOL_CONCURRENCY)?;
        let at = span_of_set(&own, [&keys::CONCURRENCY_MIN, &keys::CONCURRENCY_MAX]);
        let (min, max): (u32, u32) = (
            own.value(&keys::CONCURRENCY_MIN),
            own.value(&keys::CONCURRENCY_MAX),
        );
        self.ordered(
            at,
            (&keys::CONCURRENCY_MIN, min),
            (&keys::CONCURRENCY_MAX, max),
        );
        Some(Concurrency {
            min,
            max,
            tolerance: own.value(&keys::CONCURRENCY_TOLERANCE),
        })
    }

    pub(super) fn queue(
        &mut self,
        fields: &mut Fields,
        servers: &[Server],
        limits: &PoolLimits,
        concurrency: Option<&Concurrency>,
    ) -> Option<Queue> {
        let mut own = fields.section(&keys::POOL_QUEUE)?;
        let bounded = servers.iter().any(|server| server.max_connections > 0)
            || *limits != PoolLimits::default()
            || concurrency.is_some();
        if !bounded {
            let what = "`queue` has no effect: nothing in this pool is ever full";
            self.report(&codes::NO_EFFECT, own.span(), what, |report| {
                report.help("write `max_connections` at the servers, or `limits` or `concurrency` at the pool")
            });
        }
        let mut priority = own.section(&keys::QUEUE_PRIORITY);
        Some(Queue {
            length: own.value(&keys::QUEUE_LENGTH),
            wait: own.value(&keys::QUEUE_WAIT),
            priority: priority
                .as_mut()
                .and_then(|priority| priority.get(&keys::PRIORITY_HEADER)),
        })
    }
}
