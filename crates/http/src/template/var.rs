//! The variables: nginx's names where nginx has them, and a few of our own.

use std::borrow::Cow;

use crate::syntax::is_token;

macro_rules! variables {
    (
        plain { $($variant:ident = $name:literal $(| $alias:literal)*, $meaning:literal;)+ }
        named { $($family:ident = $prefix:literal, $family_meaning:literal;)+ }
    ) => {
        /// A variable of a template. The names of the families are kept as they are looked up: field names in lower
        /// case with dashes, cookies and arguments as written.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Var {
            $(#[doc = concat!("`$", $name, "`: ", $meaning, ".")] $variant,)+
            $(#[doc = concat!("`$", $prefix, "NAME`: ", $family_meaning, ".")] $family(String),)+
        }

        /// Every fixed name with its variable, aliases too.
        const PLAIN: &[(&str, Var)] =
            &[$(($name, Var::$variant), $(($alias, Var::$variant),)*)+];

        const NAMES: &[(&str, &str)] = &[
            $(($name, $meaning), $(($alias, concat!("same as `$", $name, "`")),)*)+
            $((concat!($prefix, "NAME"), $family_meaning),)+
        ];

        impl Var {
            /// The name, without `$`, as the reference lists it.
            pub fn name(&self) -> Cow<'static, str> {
                match self {
                    $(Var::$variant => Cow::Borrowed($name),)+
                    $(Var::$family(name) => {
                        let name = match self {
                            Var::Cookie(_) | Var::Arg(_) => name.clone(),
                            _ => name.replace('-', "_"),
                        };
                        Cow::Owned(format!(concat!($prefix, "{}"), name))
                    })+
                }
            }
        }
    };
}

variables! {
    plain {
        RemoteAddr = "remote_addr",
            "address of the client: the socket's peer, or what trusted proxies say";
        ClientAddr = "client_addr", "address of the client, same as `$remote_addr`";
        RemotePort = "remote_port", "port of the socket's peer";
        RealipRemoteAddr = "realip_remote_addr" | "peer_addr",
            "address of the socket's peer, whatever trusted proxies say";
        RealipRemotePort = "realip_remote_port", "port of the socket's peer";
        RemoteUser = "remote_user", "user name of basic authentication";
        TimeLocal = "time_local", "time in the common log format, `20/Nov/2026:21:12:03 +0000`";
        TimeIso8601 = "time_iso8601", "time in ISO 8601, `2026-11-20T21:12:03+00:00`";
        Msec = "msec", "Unix time in seconds with milliseconds";
        Request = "request", "request line as it came";
        RequestMethod = "request_method", "method";
        RequestUri = "request_uri", "target with its query, as it came";
        Uri = "uri" | "document_uri", "normalised path, without query";
        Args = "args" | "query_string", "query, without `?`";
        IsArgs = "is_args", "`?` when there is a query, else nothing";
        Status = "status", "status code sent to the client";
        BodyBytesSent = "body_bytes_sent", "bytes of body sent to the client";
        BytesSent = "bytes_sent", "bytes sent to the client, head included";
        RequestLength = "request_length", "bytes received from the client, head included";
        Host = "host", "host of the request in lower case, without port";
        ServerName = "server_name", "host of the request in lower case, without port";
        ServerPort = "server_port", "port on which the request came in";
        ServerAddr = "server_addr", "address on which the request came in";
        Scheme = "scheme", "`http` or `https`";
        Https = "https", "`on` when the client speaks TLS, else nothing";
        ServerProtocol = "server_protocol", "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`";
        SslProtocol = "ssl_protocol", "version of TLS, `TLSv1.3`";
        SslCipher = "ssl_cipher", "cipher suite by its OpenSSL name";
        SslServerName = "ssl_server_name", "name that the client asked for in the TLS handshake (SNI)";
        SslSessionId = "ssl_session_id", "id of the TLS session, in hexadecimal";
        SslSessionReused = "ssl_session_reused", "`r` when an earlier TLS session was resumed, else `.`";
        SslAlpn = "ssl_alpn_protocol", "protocol that ALPN chose, `h2` or `http/1.1`";
        SslJa4 = "ssl_ja4" | "ja4", "JA4 fingerprint of the client's TLS";
        SslClientVerify = "ssl_client_verify", "`SUCCESS` when the client showed a valid certificate, `NONE` when it showed none; nothing without TLS";
        SslClientSDn = "ssl_client_s_dn", "subject of the client's certificate (RFC 4514)";
        SslClientIDn = "ssl_client_i_dn", "issuer of the client's certificate (RFC 4514)";
        SslClientSerial = "ssl_client_serial", "serial number of the client's certificate, in hexadecimal";
        SslClientFingerprint = "ssl_client_fingerprint", "SHA-256 of the client's certificate, in hexadecimal";
        RequestTime = "request_time", "seconds from the end of the request's head to the end of the answer, with milliseconds";
        UpstreamAddr = "upstream_addr", "address of the server that answered";
        UpstreamStatus = "upstream_status", "status code of the server";
        UpstreamResponseTime = "upstream_response_time", "seconds from sending to the server to the end of its answer";
        UpstreamConnectTime = "upstream_connect_time", "seconds to connect to the server; 0.000 on a kept connection";
        UpstreamHeaderTime = "upstream_header_time", "seconds from sending to the server to the head of its answer";
        UpstreamCacheStatus = "upstream_cache_status", "how the cache took part: HIT, MISS, …";
        UpstreamBytesReceived = "upstream_bytes_received", "bytes received from the server";
        UpstreamBytesSent = "upstream_bytes_sent", "bytes sent to the server";
        Connection = "connection", "number of the client's connection";
        ConnectionRequests = "connection_requests", "requests on the client's connection so far";
        Pid = "pid", "process id";
        Hostname = "hostname", "name of this machine";
        RequestId = "request_id", "id of the request, kept from a trusted client or made";
        ProxyAddXForwardedFor = "proxy_add_x_forwarded_for",
            "X-Forwarded-For of the request with the peer's address appended";
        Termination = "termination", "who ended the request, why, in which phase; `---` when all went well";
        Route = "route", "name of the route";
        Pool = "pool", "name of the pool";
        Server = "server", "name of the server in the pool";
        Listener = "listener", "name of the listener";
        Retries = "retries", "how many more servers were tried after the first";
    }
    named {
        Http = "http_", "a field of the request, such as `$http_user_agent`";
        SentHttp = "sent_http_", "a field of the answer as it is sent to the client";
        UpstreamHttp = "upstream_http_", "a field of the server's answer";
        Cookie = "cookie_", "a cookie of the request";
        Arg = "arg_", "an argument of the query";
    }
}

impl Var {
    /// The variable of this name, without `$`.
    pub fn parse(name: &str) -> Option<Var> {
        if let Some((_, var)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return Some(var.clone());
        }
        // nginx has names of their own for these two.
        if matches!(name, "content_length" | "content_type") {
            return Some(Var::Http(name.replace('_', "-")));
        }
        let exact = |prefix| rest_of(name, prefix).map(str::to_owned);
        let field =
            |prefix| rest_of(name, prefix).map(|n| n.replace('_', "-").to_ascii_lowercase());
        field("http_")
            .map(Var::Http)
            .or_else(|| field("sent_http_").map(Var::SentHttp))
            .or_else(|| field("upstream_http_").map(Var::UpstreamHttp))
            .or_else(|| exact("cookie_").map(Var::Cookie))
            .or_else(|| exact("arg_").map(Var::Arg))
    }
}

/// What follows `prefix` in `name` when that is a token.
fn rest_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)
        .filter(|rest| is_token(rest.as_bytes()))
}

/// Every name with its meaning, for the reference page; `NAME` stands for a name of the user's choice.
pub fn var_names() -> &'static [(&'static str, &'static str)] {
    NAMES
}

/// The known name that is closest to a misspelt one, if any is close.
pub(crate) fn closest_name(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let limit = (name.len() / 2).clamp(1, 3);
    PLAIN
        .iter()
        .map(|(known, _)| (distance(&name, known), *known))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein distance in bytes. Only for texts from the configuration.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            (*cell, diagonal) = (left, above);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
