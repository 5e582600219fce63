//! HAProxy's configuration.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Result;

use super::{BUNDLE, Prepare, Setup};
use crate::protocol::Protocol;

/// nginx's `combined` in HAProxy's words; the two captures are Referer and User-Agent.
const COMBINED: &str =
    r#"'%ci - - [%T] "%HM %HU %HV" %ST %B "%[capture.req.hdr(0)]" "%[capture.req.hdr(1)]"'"#;

/// Writes the files; returns the command.
pub(super) fn prepare(prepare: &Prepare<'_>) -> Result<Vec<OsString>> {
    let map = prepare.dir.join("routes.map");
    if prepare.setup.features.routes > 0 {
        prepare.file("routes.map", &routes_map(prepare.setup.features.routes))?;
    }
    let bundle = prepare.dir.join(BUNDLE);
    let text = config(
        prepare.setup,
        &bind(prepare.setup, prepare.listen, &bundle.to_string_lossy()),
        &map.to_string_lossy(),
    );
    let file = prepare.file("haproxy.cfg", &text)?;
    let program = prepare.program.clone().into_os_string();
    Ok(vec![program, "-db".into(), "-f".into(), file.into()])
}

/// One line for each route: its prefix and its backend.
fn routes_map(routes: usize) -> String {
    (0..routes).fold(String::new(), |mut text, route| {
        let _ = writeln!(text, "{} app", Setup::route_prefix(route));
        text
    })
}

/// What follows `bind`.
fn bind(setup: &Setup, listen: SocketAddr, bundle: &str) -> String {
    match setup.protocol {
        Protocol::Http1 => listen.to_string(),
        Protocol::Tls => format!("{listen} ssl crt {bundle} alpn http/1.1"),
        Protocol::Http2 => format!("{listen} ssl crt {bundle} alpn h2,http/1.1"),
    }
}

fn config(setup: &Setup, bind: &str, map: &str) -> String {
    let mut text = String::new();
    let threads = setup.workers;
    let maxconn = setup.connections_max;
    let _ = write!(text, "global\n  maxconn {maxconn}\n  nbthread {threads}\n");
    if setup.features.access_log {
        text.push_str("  log stdout format raw local0 info\n");
    }
    text.push_str(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 65s\n  timeout server 60s\n\
         \x20 timeout http-request 10s\n  timeout http-keep-alive 65s\n  option forwardfor\n  http-reuse always\n\
         \x20 backlog 4096\n",
    );
    let _ = write!(text, "frontend web\n  bind {bind}\n  maxconn {maxconn}\n");
    if setup.features.access_log {
        text.push_str("  log global\n  capture request header Referer len 128\n");
        let _ = writeln!(
            text,
            "  capture request header User-Agent len 128\n  log-format {COMBINED}"
        );
    }
    if setup.features.header_edits {
        text.push_str(
            "  http-request set-header X-Tenant bench\n  http-request del-header X-Debug\n\
             \x20 http-response del-header X-Powered-By\n  http-response set-header X-Frame-Options DENY\n\
             \x20 http-response set-header X-Content-Type-Options nosniff\n",
        );
    }
    if setup.features.metrics {
        text.push_str(
            "  http-request use-service prometheus-exporter if { path /haproxy-metrics }\n",
        );
    }
    if setup.features.routes > 0 {
        let _ = writeln!(text, "  use_backend %[path,map_beg({map})]");
    } else {
        text.push_str("  default_backend app\n");
    }
    text.push_str("backend app\n  balance roundrobin\n");
    for (index, origin) in setup.origins.iter().enumerate() {
        let weight = if setup.weighted { index % 5 + 1 } else { 1 };
        let _ = writeln!(text, "  server s{index} {origin} weight {weight}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Features;

    #[test]
    fn tls_offers_its_protocols() {
        let listen = "127.0.0.1:443".parse().unwrap();
        let mut setup = Setup::plain(&[]);
        assert_eq!(bind(&setup, listen, "/b"), "127.0.0.1:443");
        setup.protocol = Protocol::Http2;
        let line = bind(&setup, listen, "/b");
        assert_eq!(line, "127.0.0.1:443 ssl crt /b alpn h2,http/1.1");
    }

    #[test]
    fn plain_and_full() {
        let mut setup = Setup::plain(&["127.0.0.1:1".parse().unwrap()]);
        let text = config(&setup, "127.0.0.1:80", "/m");
        assert!(text.contains("default_backend app") && !text.contains("log-format"));
        setup.features = Features {
            routes: 1000,
            header_edits: true,
            access_log: true,
            metrics: true,
        };
        let text = config(&setup, "127.0.0.1:80", "/m");
        assert!(text.contains("map_beg(/m)") && text.contains("log-format"));
        assert!(text.contains("set-header X-Tenant bench") && text.contains("prometheus-exporter"));
        assert_eq!(routes_map(1000).lines().count(), 1000);
    }
}
