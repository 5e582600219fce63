//! Pools, servers and algorithms.

use std::time::Duration;

use super::{Lower, SERVERS_MAX, Seen, text_of};
use crate::decode::{Data, Decoder, Fields, Item, word_of};
use crate::diagnostic::codes;
use crate::keys::{self, Algorithm};
use crate::model::{
    Balance, Discover, HashKey, HashScheme, HostHeader, IpHashMode, KeepAlive, Pool, Server,
    ServerTimeouts, Tie,
};
use crate::span::{Span, Spanned};
use crate::words::Word;

/// What holds for servers that say nothing themselves.
pub(super) struct Usual {
    max_fails: u32,
    fail_timeout: Duration,
    /// The pool has `outlier`.
    outlier: bool,
}

impl Lower<'_> {
    pub(super) fn pools(&mut self, entries: Vec<(Spanned<String>, Item)>) -> Vec<Pool> {
        let mut pools = Vec::with_capacity(entries.len());
        for (name, item) in entries {
            if let Data::Fields(fields) = item.data {
                pools.push(self.pool(name, fields));
            }
        }
        pools
    }

    fn pool(&mut self, name: Spanned<String>, mut fields: Fields) -> Pool {
        let outlier = self.outlier(&mut fields);
        let usual = Usual {
            max_fails: fields.value(&keys::POOL_MAX_FAILS),
            fail_timeout: fields.value(&keys::POOL_FAIL_TIMEOUT),
            outlier: outlier.is_some(),
        };
        let span = fields.span_of(&keys::POOL_SERVERS);
        let items = fields.items(&keys::POOL_SERVERS);
        let sound = !items.is_empty();
        self.limit(items.len(), SERVERS_MAX, "servers", span);
        let servers = self.servers(items, &usual);
        let balance_span = fields.span_of(&keys::POOL_BALANCE);
        let balance = fields
            .item(&keys::POOL_BALANCE)
            .and_then(|item| self.balance(item));
        let balance = Spanned::new(balance.unwrap_or(Balance::RoundRobin), balance_span);
        if sound {
            self.judge(&name, &servers, &balance, span);
        }
        let mut headers = fields.section(&keys::POOL_HEADERS_KEY);
        let host = self
            .host(fields.item(&keys::POOL_HOST))
            .unwrap_or(HostHeader::Keep);
        let spoken = self.spoken(&mut fields, &host);
        let health = self.health(&mut fields, &spoken, &host);
        let retry = self.retry(&mut fields);
        let limits = self.pool_limits(&mut fields);
        let concurrency = self.concurrency(&mut fields);
        let queue = self.queue(&mut fields, &servers, &limits, concurrency.as_ref());
        let load_report = self.load_report(&mut fields, &balance.value);
        Pool {
            name,
            balance,
            servers,
            protocol: spoken.protocol,
            tls: spoken.tls,
            http2: spoken.http2,
            keepalive: self.keepalive(&mut fields),
            timeouts: self.server_timeouts(&mut fields),
            hedge: self.hedge(&mut fields, &retry),
            retry,
            health,
            outlier,
            panic: self.panic(&mut fields),
            slow_start: self.slow_start(&mut fields),
            load_report,
            breaker: self.breaker(&mut fields, &keys::POOL_BREAKER),
            server_breaker: self.breaker(&mut fields, &keys::POOL_SERVER_BREAKER),
            limits,
            queue,
            concurrency,
            sticky: self.sticky(&mut fields),
            host,
            request_headers: self.edits(
                headers
                    .as_mut()
                    .and_then(|headers| headers.section(&keys::POOL_HEADERS_REQUEST)),
            ),
        }
    }

    fn keepalive(&mut self, fields: &mut Fields) -> KeepAlive {
        let span = fields.span();
        let mut own = fields
            .section(&keys::POOL_KEEPALIVE)
            .unwrap_or_else(|| self.defaults(&keys::KEEPALIVE, span));
        KeepAlive {
            connections: own.value(&keys::KEEPALIVE_CONNECTIONS),
            idle: own.value(&keys::KEEPALIVE_IDLE),
            requests: own.value(&keys::KEEPALIVE_REQUESTS),
        }
    }

    fn server_timeouts(&mut self, fields: &mut Fields) -> ServerTimeouts {
        let span = fields.span();
        let mut own = fields
            .section(&keys::POOL_TIMEOUTS)
            .unwrap_or_else(|| self.defaults(&keys::SERVER_TIMEOUTS, span));
        ServerTimeouts {
            connect: own.value(&keys::CONNECT),
            read: own.value(&keys::READ),
            send: own.value(&keys::SERVER_SEND),
            tunnel: own.value(&keys::TUNNEL),
        }
    }

    fn servers(&mut self, items: Vec<Item>, usual: &Usual) -> Vec<Server> {
        let mut servers = Vec::with_capacity(items.len());
        let mut seen = Seen::new();
        for item in items {
            let Some(server) = self.server(item, usual) else {
                continue;
            };
            if let Some(first) = seen.insert(server.name.value.clone(), server.name.span) {
                self.same_name("servers of this pool", &server.name, first);
            }
            servers.push(server);
        }
        servers
    }

    fn server(&mut self, item: Item, usual: &Usual) -> Option<Server> {
        let span = item.span;
        let mut fields = match item.data {
            Data::Fields(fields) => fields,
            data => return self.short_server(Item { span, data }, usual),
        };
        if usual.outlier {
            self.judged_twice(&fields);
        }
        let (address, discover) = self.place(&mut fields)?;
        let tier = self.tier(&mut fields);
        let name: Option<Spanned<String>> = fields.get(&keys::SERVER_NAME);
        let name = name.unwrap_or_else(|| {
            let name = match discover {
                Discover::Srv => address.host.to_string(),
                Discover::One | Discover::Addresses => address.to_string(),
            };
            Spanned::new(name, address.span)
        });
        Some(Server {
            name,
            address,
            discover,
            found_at: None,
            weight: fields.value(&keys::SERVER_WEIGHT),
            tier,
            down: fields.value(&keys::SERVER_DOWN),
            max_connections: fields.value(&keys::SERVER_MAX_CONNECTIONS),
            max_fails: fields
                .get(&keys::SERVER_MAX_FAILS)
                .unwrap_or(usual.max_fails),
            fail_timeout: fields
                .get(&keys::SERVER_FAIL_TIMEOUT)
                .unwrap_or(usual.fail_timeout),
        })
    }

    /// A server that is an address alone gets its defaults from the same table.
    fn short_server(&mut self, item: Item, usual: &Usual) -> Option<Server> {
        let address = text_of(item)?;
        let key = crate::tree::Key {
            text: keys::SERVER_ADDRESS.name.to_owned(),
            span: address.span,
        };
        let value = crate::tree::Value::Scalar {
            text: address.value,
            plain: false,
        };
        let value = crate::tree::Node {
            span: address.span,
            value,
        };
        let map = crate::tree::Value::Map(vec![(key, value)]);
        let node = crate::tree::Node {
            span: address.span,
            value: map,
        };
        let fields = Decoder::new(self.input, self.found).section(&node, &keys::SERVER);
        let item = Item {
            span: address.span,
            data: Data::Fields(fields),
        };
        self.server(item, usual)
    }

    /// Warns of a pool that cannot serve, and of weights that do nothing.
    fn judge(
        &mut self,
        name: &Spanned<String>,
        servers: &[Server],
        balance: &Spanned<Balance>,
        span: Span,
    ) {
        // Values that were reported as wrong stand in as 0 and the like: they are not judged.
        if servers.is_empty() || self.found.failed() {
            return;
        }
        if servers.iter().all(|server| server.weight == 0) {
            let what = format!("all servers of the pool `{}` have weight 0", name.value);
            self.report(&codes::ALL_WEIGHTS_ZERO, span, what, |report| {
                report.help("give at least one a weight above 0")
            });
        }
        if servers.iter().all(|server| server.down) {
            let what = format!("all servers of the pool `{}` are down", name.value);
            self.report(&codes::ALL_DOWN, span, what, |report| {
                report.help("take `down: true` from at least one")
            });
        }
        let ignored = match balance.value {
            Balance::Random => Some("random"),
            Balance::IpHash {
                mode: IpHashMode::Modulo,
            } => Some("ip_hash: modulo"),
            _ => None,
        };
        let weight = servers.first().map_or(1, |server| server.weight);
        let differ = servers
            .iter()
            .any(|server| server.weight != weight && server.weight > 0);
        if let (Some(algorithm), true) = (ignored, differ) {
            let what = format!("the servers' weights have no effect with `{algorithm}`");
            self.report(&codes::NO_EFFECT, balance.span, what, |report| {
                report.help("use `weighted_random`, `round_robin`, or another that goes by weight")
            });
        }
    }

    fn balance(&mut self, item: Item) -> Option<Balance> {
        let span = item.span;
        let mut fields = match item.data {
            Data::Fields(fields) => fields,
            // A name alone has the same defaults as the map with that name.
            Data::Word(at) => {
                let name = Algorithm::ALL.get(at)?.word();
                let node = crate::tree::fragment(&format!("{{ algorithm: {name} }}"), span);
                Decoder::new(self.input, self.found).section(&node, &keys::BALANCE)
            }
            _ => return None,
        };
        let algorithm = word_of::<Algorithm>(fields.item(&keys::BALANCE_ALGORITHM)?)?;
        self.foreign_settings(&fields, algorithm);
        Some(match algorithm {
            Algorithm::RoundRobin => Balance::RoundRobin,
            Algorithm::Weighted => Balance::Weighted {
                burst: fields.value(&keys::BALANCE_BURST),
            },
            Algorithm::Random => Balance::Random,
            Algorithm::WeightedRandom => Balance::WeightedRandom,
            Algorithm::LeastConn => Balance::LeastConn {
                tie: fields.word::<Tie>(&keys::BALANCE_TIE),
            },
            Algorithm::LeastTime => Balance::LeastTime {
                probe: fields.value(&keys::BALANCE_PROBE),
            },
            Algorithm::PowerOfTwo => Balance::PowerOfTwo,
            Algorithm::IpHash => Balance::IpHash {
                mode: fields.word::<IpHashMode>(&keys::BALANCE_MODE),
            },
            Algorithm::Hash => Balance::Hash {
                key: hash_key(fields.item(&keys::BALANCE_KEY)),
                scheme: fields.word::<HashScheme>(&keys::BALANCE_SCHEME),
                bounded_load: fields.get(&keys::BALANCE_BOUNDED),
            },
        })
    }

    /// Settings of another algorithm than the one that is chosen.
    fn foreign_settings(&mut self, fields: &Fields, algorithm: Algorithm) {
        let owners = [
            (&keys::BALANCE_BURST, Algorithm::Weighted),
            (&keys::BALANCE_TIE, Algorithm::LeastConn),
            (&keys::BALANCE_PROBE, Algorithm::LeastTime),
            (&keys::BALANCE_MODE, Algorithm::IpHash),
            (&keys::BALANCE_KEY, Algorithm::Hash),
            (&keys::BALANCE_SCHEME, Algorithm::Hash),
            (&keys::BALANCE_BOUNDED, Algorithm::Hash),
        ];
        for (key, owner) in owners {
            if fields.is_set(key) && owner != algorithm {
                let what = format!(
                    "`{}` is a setting of `{}`, the algorithm is `{}`",
                    key.name,
                    owner.word(),
                    algorithm.word()
                );
                self.report(&codes::CONFLICT, fields.span_of(key), what, |report| {
                    report.help(format!("remove it, or write `algorithm: {}`", owner.word()))
                });
            }
        }
    }
}

fn hash_key(item: Option<Item>) -> HashKey {
    match item.map(|item| item.data) {
        Some(Data::Word(1)) => HashKey::Path,
        Some(Data::Word(2)) => HashKey::Uri,
        Some(Data::Word(3)) => HashKey::TlsSession,
        Some(Data::Word(4)) => HashKey::Ja4,
        Some(Data::Fields(mut fields)) => {
            if let Some(name) = fields.get(&keys::HASH_HEADER) {
                return HashKey::Header(name);
            }
            if let Some(name) = fields.get(&keys::HASH_COOKIE) {
                return HashKey::Cookie(name);
            }
            fields
                .get(&keys::HASH_QUERY)
                .map_or(HashKey::ClientAddress, HashKey::Query)
        }
        _ => HashKey::ClientAddress,
    }
}
