//! What is spoken with clients and servers: HTTP/2, and TLS to servers.

use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    Endpoint, EndpointHost, HostHeader, Http2, Ping, Roots, ServerHttp2, ServerName,
    ServerProtocol, ServerTls, TlsVersion, VerifyServer,
};
use crate::span::{Span, Spanned};
use crate::values;

/// What a pool speaks.
pub(super) struct Spoken {
    pub protocol: ServerProtocol,
    pub tls: Option<Spanned<ServerTls>>,
    pub http2: ServerHttp2,
}

impl Lower<'_> {
    pub(super) fn http2(&mut self, fields: &mut Fields) -> Option<Http2> {
        let item = fields.item(&keys::LISTENER_HTTP2)?;
        let mut own = match item.data {
            Data::Fields(own) => own,
            Data::Bool(true) => self.defaults(&keys::HTTP2, item.span),
            _ => return None,
        };
        let window_set = own.is_set(&keys::HTTP2_WINDOW);
        let window_span = own.span_of(&keys::HTTP2_WINDOW);
        let size = |own: &mut Fields, key| own.value::<u64>(key).try_into().unwrap_or(u32::MAX);
        let http2 = Http2 {
            streams: own.value(&keys::HTTP2_STREAMS),
            window: size(&mut own, &keys::HTTP2_WINDOW),
            connection_window: size(&mut own, &keys::HTTP2_CONNECTION_WINDOW),
            buffered: own.value(&keys::HTTP2_BUFFERED),
            resets: own.value(&keys::HTTP2_RESETS),
            error_resets: own.value(&keys::HTTP2_ERROR_RESETS),
            pings: own.value(&keys::HTTP2_PINGS),
            settings: own.value(&keys::HTTP2_SETTINGS),
            priorities: own.value(&keys::HTTP2_PRIORITIES),
            continuations: own.value(&keys::HTTP2_CONTINUATIONS),
            empty_frames: own.value(&keys::HTTP2_EMPTY_FRAMES),
            small_frames: own.value(&keys::HTTP2_SMALL_FRAMES),
            window_updates: own.value(&keys::HTTP2_WINDOW_UPDATES),
            stall_timeout: own.value(&keys::HTTP2_STALL_TIMEOUT),
        };
        if window_set && http2.window > http2.connection_window && http2.connection_window > 0 {
            let what = "`window` is larger than `connection_window`";
            self.report(&codes::NO_EFFECT, window_span, what, |report| {
                report
                    .why("what all streams may send together is the smaller one")
                    .help("raise `connection_window` too")
            });
        }
        Some(http2)
    }

    pub(super) fn spoken(&mut self, fields: &mut Fields, host: &HostHeader) -> Spoken {
        let protocol_span = fields.span_of(&keys::POOL_PROTOCOL);
        let protocol = fields.word::<ServerProtocol>(&keys::POOL_PROTOCOL);
        // A `tls` that was reported as wrong is not reported as absent too.
        let no_tls = !fields.is_set(&keys::POOL_TLS)
            || matches!(fields.peek(&keys::POOL_TLS), Some(Data::Bool(false)));
        let tls = self.server_tls(fields, host);
        if protocol == ServerProtocol::Auto && tls.is_none() && no_tls {
            let what = "`protocol: auto` stands without `tls`";
            self.report(&codes::CONFLICT, protocol_span, what, |report| {
                report
                    .why("the protocol is chosen in the TLS handshake, and there is none")
                    .help("write `tls: true`; or `protocol: http2` for servers that speak it without TLS (h2c)")
            });
        }
        let http2_set = fields.is_set(&keys::POOL_HTTP2);
        let http2_span = fields.span_of(&keys::POOL_HTTP2);
        if http2_set && protocol == ServerProtocol::Http1 {
            let what = "`http2` has no effect: the pool's protocol is `http1`";
            self.report(&codes::NO_EFFECT, http2_span, what, |report| {
                report.help("write `protocol: http2`, or remove it")
            });
        }
        let span = fields.span();
        let mut own = fields
            .section(&keys::POOL_HTTP2)
            .unwrap_or_else(|| self.defaults(&keys::SERVER_HTTP2, span));
        Spoken {
            protocol,
            tls,
            http2: ServerHttp2 {
                streams: own.value(&keys::SERVER_HTTP2_STREAMS),
                connections: own.value(&keys::SERVER_HTTP2_CONNECTIONS),
                ping: self.ping(&mut own),
            },
        }
    }

    fn ping(&mut self, fields: &mut Fields) -> Option<Ping> {
        let span = fields.span();
        let mut own = match fields.item(&keys::SERVER_HTTP2_PING).map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            Some(_) => return None,
            None => self.defaults(&keys::PING, span),
        };
        Some(Ping {
            every: own.value(&keys::PING_EVERY),
            timeout: own.value(&keys::PING_TIMEOUT),
        })
    }

    fn server_tls(&mut self, fields: &mut Fields, host: &HostHeader) -> Option<Spanned<ServerTls>> {
        let item = fields.item(&keys::POOL_TLS)?;
        self.tls_of(item, host)
    }

    /// TLS to servers: `true`, or a map. `None` for `false`.
    pub(super) fn tls_of(&mut self, item: Item, host: &HostHeader) -> Option<Spanned<ServerTls>> {
        let span = item.span;
        let mut own = match item.data {
            Data::Fields(own) => own,
            Data::Bool(true) => self.defaults(&keys::SERVER_TLS, span),
            _ => return None,
        };
        let verify = self.verify(&mut own);
        let server_name = self.server_name(&mut own, host);
        let certificate = self.own_certificate(&mut own);
        let tls = ServerTls {
            verify: verify?,
            server_name: server_name?,
            certificate,
            min_version: own.word::<TlsVersion>(&keys::SERVER_MIN_VERSION),
        };
        Some(Spanned::new(tls, span))
    }

    fn verify(&mut self, own: &mut Fields) -> Option<VerifyServer> {
        let ca_set = own.is_set(&keys::SERVER_CA);
        let ca_span = own.span_of(&keys::SERVER_CA);
        let verify_span = own.span_of(&keys::SERVER_VERIFY);
        let pin_set = own.is_set(&keys::SERVER_PIN);
        let verify: bool = own.get(&keys::SERVER_VERIFY).unwrap_or(true);
        let conflict = |lower: &mut Self, span: Span, what: &str, why: &str| {
            lower.report(&codes::CONFLICT, span, what, |report| {
                report.why(why).help("remove one of the two")
            });
        };
        if pin_set && !verify {
            let why = "a pinned certificate is verified, by its fingerprint";
            conflict(
                self,
                verify_span,
                "`verify: false` stands beside `pin`",
                why,
            );
        }
        if pin_set && ca_set {
            let why = "a pinned certificate is known by its fingerprint, no CA is asked";
            conflict(self, ca_span, "`ca` stands beside `pin`", why);
        }
        if pin_set {
            let pins = own.items(&keys::SERVER_PIN).into_iter().filter_map(text_of);
            let pins: Vec<_> = pins
                .filter_map(|text| Some(Spanned::new(values::fingerprint(&text).ok()?, text.span)))
                .collect();
            return (!pins.is_empty()).then_some(VerifyServer::Pinned(pins));
        }
        if !verify {
            if ca_set {
                let why = "certificates are not verified, so no CA is asked";
                conflict(self, ca_span, "`ca` stands beside `verify: false`", why);
            }
            let what = "the certificates of this pool's servers are not verified";
            self.report(&codes::NOT_VERIFIED, verify_span, what, |report| {
                report
                    .help("name their CA: `ca: FILE`; or their certificate itself: `pin: SHA-256`")
            });
            return Some(VerifyServer::Off);
        }
        let item = own.item(&keys::SERVER_CA)?;
        let roots = match item.data {
            Data::Word(_) => Roots::System,
            _ => Roots::File(self.input.path(item.span, &text_of(item)?.value)),
        };
        Some(VerifyServer::Full(Spanned::new(roots, ca_span)))
    }

    /// `host` becomes what the pool's `host` stands for.
    fn server_name(&mut self, own: &mut Fields, host: &HostHeader) -> Option<ServerName> {
        let item = own.item(&keys::SERVER_TLS_NAME)?;
        let span = item.span;
        match (&item.data, host) {
            (Data::Word(0), _) | (Data::Word(_), HostHeader::Server) => Some(ServerName::Server),
            (Data::Word(_), HostHeader::Literal(host)) => {
                let name = name_of_host(&host.value);
                Some(ServerName::Fixed(Spanned::new(name, span)))
            }
            (Data::Word(_), HostHeader::Keep) => {
                let what = "`server_name: host` stands in a pool that keeps the client's Host";
                self.report(&codes::CONFLICT, span, what, |report| {
                    report
                        .why("a connection is shared by requests for different hosts, its handshake names one")
                        .help("write the name, or set the pool's `host`")
                });
                None
            }
            _ => {
                let text = text_of(item)?;
                let name = values::tls_name(&text).ok()?;
                Some(ServerName::Fixed(Spanned::new(name, span)))
            }
        }
    }

    fn own_certificate(
        &mut self,
        own: &mut Fields,
    ) -> Option<(Spanned<std::path::PathBuf>, Spanned<std::path::PathBuf>)> {
        let key_set = own.is_set(&keys::SERVER_KEY);
        let cert_set = own.is_set(&keys::SERVER_CERT);
        let (cert_span, key_span) = (
            own.span_of(&keys::SERVER_CERT),
            own.span_of(&keys::SERVER_KEY),
        );
        if cert_set && !key_set {
            self.key_missing(cert_span);
        }
        if key_set && !cert_set {
            let what = "`key` stands without `cert`";
            self.report(&codes::CONFLICT, key_span, what, |report| {
                report.help("add `cert: FILE`, or remove it")
            });
        }
        let cert = self.file(own, &keys::SERVER_CERT)?;
        Some((cert, self.file(own, &keys::SERVER_KEY)?))
    }
}

/// The host of a Host header's value, which was checked.
fn name_of_host(host: &str) -> String {
    let endpoint = values::server_address(host)
        .or_else(|_| values::server_address(&format!("{host}:443")))
        .map(|endpoint: Endpoint| endpoint.host);
    match endpoint {
        Ok(EndpointHost::Ip(ip)) => ip.to_string(),
        Ok(EndpointHost::Name(name)) => name,
        Err(_) => host.to_ascii_lowercase(),
    }
}
