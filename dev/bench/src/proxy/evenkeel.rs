//! evenkeel's configuration, in the JSON that its YAML reader also takes.

use std::ffi::OsString;
use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{CERTIFICATE, KEY, Prepare, Purpose, REQUESTS_MAX, Setup};
use crate::protocol::Protocol;

/// Writes the files; returns the command.
pub(super) fn prepare(prepare: &Prepare<'_>) -> Result<Vec<OsString>> {
    let config = config(
        prepare.setup,
        &prepare.listen.to_string(),
        &prepare.dir.to_string_lossy(),
    );
    let file = prepare.file("evenkeel.yaml", &serde_json::to_string_pretty(&config)?)?;
    Ok(vec![
        prepare.program.clone().into_os_string(),
        "run".into(),
        file.into(),
    ])
}

fn config(setup: &Setup, listen: &str, dir: &str) -> Value {
    let mut listener = json!({ "bind": listen });
    let mut pool = json!({ "servers": servers(setup) });
    if let Some(balance) = &setup.balance {
        pool["balance"] = balance.clone();
    }
    let mut config = json!({ "workers": setup.workers, "routes": routes(setup) });
    if setup.protocol.is_tls() {
        listener["tls"] = json!({
            "certificates": [{ "cert": CERTIFICATE, "key": KEY }],
        });
        listener["http2"] = json!(setup.protocol == Protocol::Http2);
    }
    if setup.purpose == Purpose::Speed {
        listener["limits"] = json!({ "requests": REQUESTS_MAX });
        listener["backlog"] = json!(4096);
        pool["keepalive"] = json!({ "connections": setup.pool_idle_max, "requests": REQUESTS_MAX });
        config["connections"] = json!(setup.connections_max);
    }
    config["listeners"] = json!({ "web": listener });
    config["pools"] = json!({ "app": pool });
    if setup.protocol.is_tls() {
        config["state"] = json!(format!("{dir}/state"));
    }
    config["admin"] = json!("off");
    if setup.features.metrics {
        config["admin"] = json!({ "bind": "127.0.0.1:0" });
    }
    if setup.features.access_log {
        config["access_log"] =
            json!({ "to": format!("file:{dir}/access.log"), "format": "combined" });
    }
    if setup.features.header_edits {
        config["headers"] = json!({
            "request": { "set": { "X-Tenant": "bench" }, "remove": ["X-Debug"] },
            "response": {
                "set": { "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff" },
                "remove": ["X-Powered-By"],
            },
        });
    }
    config
}

fn servers(setup: &Setup) -> Vec<Value> {
    let server = |(index, origin): (usize, &SocketAddr)| {
        if setup.weighted {
            json!({ "address": origin.to_string(), "weight": index % 5 + 1 })
        } else {
            json!(origin.to_string())
        }
    };
    setup.origins.iter().enumerate().map(server).collect()
}

fn routes(setup: &Setup) -> Vec<Value> {
    if setup.features.routes == 0 {
        return vec![json!({ "pool": "app" })];
    }
    let route = |route| {
        let mut map = Map::new();
        map.insert(
            "match".into(),
            json!({ "path": Setup::route_prefix(route) }),
        );
        map.insert("pool".into(), json!("app"));
        Value::Object(map)
    };
    (0..setup.features.routes).map(route).collect()
}

/// Address of the listener `web` from the log, once the log says that it serves.
pub(super) fn listening(log: &str) -> Option<SocketAddr> {
    let plain = without_colours(log);
    let is_ready = plain
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == "ready"));
    let line = plain
        .lines()
        .find(|line| line.contains("listening") && is_web(line))?;
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("address="))?;
    is_ready
        .then(|| word.trim_matches('"').parse().ok())
        .flatten()
}

fn is_web(line: &str) -> bool {
    line.split_whitespace()
        .any(|word| word == "listener=web" || word == "listener=\"web\"")
}

/// The text without terminal escape sequences.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Features;

    #[test]
    fn listening_needs_address_and_ready() {
        let log = "INFO listening listener=admin address=127.0.0.1:4\nINFO listening listener=web address=127.0.0.1:43121\n";
        assert_eq!(listening(log), None);
        let ready = format!("{log}INFO ready\n");
        assert_eq!(listening(&ready), Some("127.0.0.1:43121".parse().unwrap()));
        let coloured = "\u{1b}[32mlistening\u{1b}[0m \u{1b}[3mlistener\u{1b}[0m=\"web\" address=127.0.0.1:9\n ready workers=1";
        assert_eq!(listening(coloured), Some("127.0.0.1:9".parse().unwrap()));
    }

    #[test]
    fn patience_keeps_the_defaults() {
        let mut setup = Setup::plain(&["127.0.0.1:1".parse().unwrap()]);
        setup.purpose = Purpose::Patience;
        let config = config(&setup, "127.0.0.1:0", "/d");
        assert_eq!(config["listeners"]["web"], json!({ "bind": "127.0.0.1:0" }));
        assert_eq!(
            config["pools"]["app"],
            json!({ "servers": ["127.0.0.1:1"] })
        );
        assert!(config.get("connections").is_none());
    }

    #[test]
    fn tls_has_a_certificate_and_says_whether_http2() {
        let mut setup = Setup::plain(&[]);
        for (protocol, is_http2) in [(Protocol::Tls, false), (Protocol::Http2, true)] {
            setup.protocol = protocol;
            let config = config(&setup, "127.0.0.1:0", "/d");
            assert_eq!(config["state"], "/d/state");
            let web = &config["listeners"]["web"];
            assert_eq!(web["tls"]["certificates"][0]["cert"], "site.pem");
            assert_eq!(web["http2"], is_http2);
        }
    }

    #[test]
    fn full_features() {
        let mut setup = Setup::plain(&["127.0.0.1:1".parse().unwrap()]);
        setup.features = Features {
            routes: 3,
            header_edits: true,
            access_log: true,
            metrics: true,
        };
        setup.weighted = true;
        let config = config(&setup, "127.0.0.1:0", "/d");
        assert_eq!(config["routes"][2]["match"]["path"], "/svc-00002/");
        assert_eq!(config["access_log"]["to"], "file:/d/access.log");
        assert_eq!(config["admin"]["bind"], "127.0.0.1:0");
        assert_eq!(config["pools"]["app"]["servers"][0]["weight"], 1);
    }
}
