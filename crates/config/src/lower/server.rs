//! Places and tiers of servers.

use super::Lower;
use crate::decode::Fields;
use crate::diagnostic::codes;
use crate::keys::{self, Key};
use crate::model::{Discover, Endpoint, EndpointHost, Resolve};
use crate::span::Spanned;
use crate::values;

impl Lower<'_> {
    /// Where a server is, and how many it is.
    pub(super) fn place(&mut self, fields: &mut Fields) -> Option<(Spanned<Endpoint>, Discover)> {
        let resolve_span = fields.span_of(&keys::SERVER_RESOLVE);
        if fields.is_set(&keys::SERVER_SRV) {
            self.by_record(fields);
            self.one_name(fields, "srv");
            let name: Spanned<String> = fields.get(&keys::SERVER_SRV)?;
            let host = values::srv_name(&name).ok()?;
            let endpoint = Endpoint {
                host: EndpointHost::Name(host),
                port: 0,
            };
            return Some((Spanned::new(endpoint, name.span), Discover::Srv));
        }
        let address: Spanned<String> = fields.get(&keys::SERVER_ADDRESS)?;
        let endpoint = values::server_address(&address).ok()?;
        let all = fields.word::<Resolve>(&keys::SERVER_RESOLVE) == Resolve::All;
        if all {
            self.one_name(fields, "resolve: all");
            if let EndpointHost::Ip(_) = endpoint.host {
                let what = "`resolve: all` has no effect: the address is no name";
                self.report(&codes::NO_EFFECT, resolve_span, what, |report| {
                    report.help("remove it")
                });
            }
        }
        let discover = match (all, &endpoint.host) {
            (true, EndpointHost::Name(_)) => Discover::Addresses,
            _ => Discover::One,
        };
        Some((Spanned::new(endpoint, address.span), discover))
    }

    /// Reports settings that stand in an SRV record.
    fn by_record(&mut self, fields: &Fields) {
        let from_record: [&Key; 4] = [
            &keys::SERVER_RESOLVE,
            &keys::SERVER_WEIGHT,
            &keys::SERVER_TIER,
            &keys::SERVER_BACKUP,
        ];
        for key in from_record.iter().filter(|key| fields.is_set(key)) {
            let what = format!("`{}` stands beside `srv`", key.name);
            self.report(&codes::CONFLICT, fields.span_of(key), what, |report| {
                report
                    .why(
                        "weight, tier (the priority) and port of each server are in its SRV record",
                    )
                    .help("remove it")
            });
        }
    }

    /// Several servers cannot have one name.
    fn one_name(&mut self, fields: &Fields, beside: &str) {
        if fields.is_set(&keys::SERVER_NAME) {
            let at = fields.span_of(&keys::SERVER_NAME);
            let what = format!("`name` stands beside `{beside}`");
            self.report(&codes::CONFLICT, at, what, |report| {
                report
                    .why("the entry stands for several servers; each is named by its address")
                    .help("remove it")
            });
        }
    }

    pub(super) fn tier(&mut self, fields: &mut Fields) -> u8 {
        let set = [&keys::SERVER_TIER, &keys::SERVER_BACKUP].map(|key| fields.is_set(key));
        let at = fields.span_of(&keys::SERVER_BACKUP);
        let backup: bool = fields.value(&keys::SERVER_BACKUP);
        let tier: Option<u16> = fields.get(&keys::SERVER_TIER);
        if set == [true, true] {
            let what = "`backup` stands beside `tier`";
            self.report(&codes::CONFLICT, at, what, |report| {
                report
                    .why("`backup: true` is short for `tier: 1`")
                    .help("keep `tier`")
            });
        }
        match tier {
            Some(tier) => u8::try_from(tier).unwrap_or(u8::MAX),
            None => u8::from(backup),
        }
    }

    /// Reports `max_fails` and `fail_timeout` of a server whose pool has `outlier`.
    pub(super) fn judged_twice(&mut self, fields: &Fields) {
        for key in [&keys::SERVER_MAX_FAILS, &keys::SERVER_FAIL_TIMEOUT] {
            if fields.is_set(key) {
                let what = format!("`{}` stands in a pool that has `outlier`", key.name);
                self.report(&codes::CONFLICT, fields.span_of(key), what, |report| {
                    report
                        .why("a server is judged in one of the two ways")
                        .help("remove it, or the pool's `outlier`")
                });
            }
        }
    }
}
