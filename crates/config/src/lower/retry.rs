//! Retries and hedges.

use std::time::Duration;

use super::Lower;
use super::health::{cases, span_of_set};
use crate::decode::{Data, Fields, Item, word_of};
use crate::diagnostic::codes;
use crate::keys::{self, RetryCase};
use crate::model::{Backoff, Hedge, HedgeAfter, Retry, RetryBudget, RetryOn, RouteRetry};

/// By how much the highest ceiling of a wait is above the first, when the file says nothing.
const BACKOFF_GROWTH: u32 = 10;

impl Lower<'_> {
    pub(super) fn retry(&mut self, fields: &mut Fields) -> Retry {
        let span = fields.span_of(&keys::POOL_RETRY);
        let item = fields.item(&keys::POOL_RETRY);
        let tries = short_tries(item.as_ref());
        let mut own = match item.map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            _ => self.defaults(&keys::RETRY, span),
        };
        let on_set = own.is_set(&keys::RETRY_ON);
        let within = own.get(&keys::RETRY_WITHIN);
        let per_try = own.get(&keys::RETRY_PER_TRY);
        let mut on = self.retry_on(own.item(&keys::RETRY_ON));
        // Who limits an attempt wants another after it.
        on.answer_timeout |= !on_set && per_try.is_some();
        let backoff = own.item(&keys::RETRY_BACKOFF);
        let budget = own.item(&keys::RETRY_BUDGET);
        Retry {
            on,
            tries: tries.unwrap_or_else(|| own.value(&keys::RETRY_TRIES)),
            within,
            per_try,
            backoff: self.backoff(backoff).unwrap_or_default(),
            budget: self.budget(budget),
            unsafe_methods: own.value(&keys::RETRY_UNSAFE),
            body: own.value(&keys::RETRY_BODY),
            grpc: own
                .items(&keys::RETRY_GRPC)
                .into_iter()
                .filter_map(word_of)
                .collect(),
        }
    }

    pub(super) fn route_retry(&mut self, fields: &mut Fields) -> RouteRetry {
        let item = fields.item(&keys::ROUTE_RETRY_KEY);
        let tries = short_tries(item.as_ref());
        let mut own = match item.map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            _ => {
                return RouteRetry {
                    tries,
                    ..RouteRetry::default()
                };
            }
        };
        let backoff = own.item(&keys::ROUTE_BACKOFF);
        let grpc = own.is_set(&keys::ROUTE_GRPC);
        let on = own.item(&keys::ROUTE_ON);
        RouteRetry {
            on: on.map(|item| self.retry_on(Some(item))),
            tries: own.get(&keys::ROUTE_TRIES),
            within: own.get(&keys::ROUTE_WITHIN),
            per_try: own.get(&keys::ROUTE_PER_TRY),
            backoff: self.backoff(backoff),
            unsafe_methods: own.get(&keys::ROUTE_UNSAFE),
            body: own.get(&keys::ROUTE_REPLAY),
            grpc: grpc.then(|| {
                let items = own.items(&keys::ROUTE_GRPC).into_iter();
                items.filter_map(word_of).collect()
            }),
        }
    }

    fn retry_on(&mut self, item: Option<Item>) -> RetryOn {
        let (words, statuses) = cases(item);
        let words: Vec<RetryCase> = words.into_iter().filter_map(word_of).collect();
        RetryOn {
            error: words.contains(&RetryCase::Error),
            connect_timeout: words.contains(&RetryCase::ConnectTimeout)
                || words.contains(&RetryCase::Timeout),
            answer_timeout: words.contains(&RetryCase::Timeout),
            invalid: words.contains(&RetryCase::Invalid),
            refused: words.contains(&RetryCase::Refused),
            statuses: self.statuses(statuses.into_iter()),
        }
    }

    /// `None` when the file says nothing.
    fn backoff(&mut self, item: Option<Item>) -> Option<Option<Backoff>> {
        match item?.data {
            Data::Time(first) => Some(Some(Backoff {
                first,
                max: highest(first),
            })),
            Data::Fields(mut own) => {
                let at = span_of_set(&own, [&keys::BACKOFF_FIRST, &keys::BACKOFF_MAX]);
                let first: Duration = own.value(&keys::BACKOFF_FIRST);
                let max = own.get(&keys::BACKOFF_MAX).unwrap_or(highest(first));
                self.ordered(at, (&keys::BACKOFF_FIRST, first), (&keys::BACKOFF_MAX, max));
                Some(Some(Backoff { first, max }))
            }
            Data::Word(_) => Some(None),
            _ => None,
        }
    }

    fn budget(&mut self, item: Option<Item>) -> Option<RetryBudget> {
        let item = item?;
        match item.data {
            Data::Fields(mut own) => Some(RetryBudget {
                share: own.value(&keys::BUDGET_SHARE),
                min: own.value(&keys::BUDGET_MIN),
            }),
            Data::Number(share) => {
                let mut own = self.defaults(&keys::BUDGET, item.span);
                Some(RetryBudget {
                    share,
                    min: own.value(&keys::BUDGET_MIN),
                })
            }
            _ => None,
        }
    }

    pub(super) fn hedge(&mut self, fields: &mut Fields, retry: &Retry) -> Option<Hedge> {
        let mut own = fields.section(&keys::POOL_HEDGE)?;
        let span = own.span();
        if retry.budget.is_none() {
            let what = "`hedge` stands beside `budget: off`";
            self.report(&codes::CONFLICT, span, what, |report| {
                report
                    .why("hedged requests are taken from the budget of retries, so that they never make an overload worse")
                    .help("write a budget: `retry: { budget: 20% }`")
            });
        }
        let at = span_of_set(&own, [&keys::HEDGE_MIN, &keys::HEDGE_MAX]);
        let bounded = own.is_set(&keys::HEDGE_MIN) || own.is_set(&keys::HEDGE_MAX);
        let after = match own.item(&keys::HEDGE_AFTER)?.data {
            Data::Time(time) => HedgeAfter::Time(time),
            Data::Number(share) => HedgeAfter::Percentile(share),
            _ => return None,
        };
        let (min, max): (Duration, Duration) =
            (own.value(&keys::HEDGE_MIN), own.value(&keys::HEDGE_MAX));
        self.ordered(at, (&keys::HEDGE_MIN, min), (&keys::HEDGE_MAX, max));
        if bounded && matches!(after, HedgeAfter::Time(_)) {
            let what = "`min` and `max` have no effect: `after` is a time";
            self.report(&codes::NO_EFFECT, at, what, |report| {
                report.help("remove them, or write `after` as a share such as `95%`")
            });
        }
        Some(Hedge {
            after,
            min,
            max,
            extra: own.value(&keys::HEDGE_EXTRA),
        })
    }
}

/// The tries of `off` and of a number alone.
fn short_tries(item: Option<&Item>) -> Option<u32> {
    match item?.data {
        Data::Word(_) => Some(1),
        Data::Int(tries) => u32::try_from(tries).ok(),
        _ => None,
    }
}

fn highest(first: Duration) -> Duration {
    first.saturating_mul(BACKOFF_GROWTH)
}
