//! The Autobahn suite against WebSocket on each path: what comes is the same as without a proxy, case by case.
//!
//! It needs a Python 2.7, which `.ci/run` looks for; without one it is not installed and these tests say so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keel_testkit::binary::repository;
use keel_testkit::scratch::Scratch;
use keel_testkit::{Origin, Proxy};
use serde_json::{Value, json};

use crate::site::{OWN, Site};

/// The folder of the suite, and the Python that it was installed with.
fn suite() -> Option<(PathBuf, PathBuf)> {
    let folder = repository().join("target/peers/autobahn");
    let python = std::fs::read_to_string(folder.join("python")).ok()?;
    Some((PathBuf::from(python.trim()), folder))
}

/// The cases; without those of size and of compression.
const CASES: [&str; 9] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.*", "10.*",
];

/// The suite waits a second for what is to come, which is not enough on a busy machine now and then: a case that went
/// otherwise is run so often in all.
const ROUNDS: usize = 4;

/// Runs cases against several addresses at once; what became of each case, by agent.
fn run(
    (python, folder): (&Path, &Path),
    agents: &[(&str, String)],
    cases: &[String],
) -> BTreeMap<String, BTreeMap<String, Value>> {
    let scratch = Scratch::new();
    let servers = agents
        .iter()
        .map(|(agent, url)| json!({ "agent": agent, "url": url }));
    let spec = json!({
        "outdir": scratch.path().join("reports"),
        "servers": servers.collect::<Vec<_>>(),
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = scratch.write("spec.json", spec.to_string());
    let output = Command::new(python)
        .env("PYTHONPATH", folder)
        .current_dir(scratch.path())
        .arg(folder.join("bin/wstest"))
        .args(["-m", "fuzzingclient", "-s"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("a Python that was found can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(scratch.path().join("reports/index.json"));
    serde_json::from_str(&text.expect("a report")).expect("a report in JSON")
}

#[test]
fn as_without_a_proxy() {
    let Some((python, folder)) = suite() else {
        eprintln!("skipped: the Autobahn suite is not installed");
        return;
    };
    let origin = Origin::websocket();
    let clear = Proxy::before(&[origin.address()]);
    let site = Site::before(&[origin.address()], OWN);
    // Two of us in a row speak HTTP/2 with each other.
    let inner = Proxy::before(&[origin.address()]);
    let outer = Proxy::before_with(&[inner.address()], "protocol: http2", "");
    let url = |scheme: &str, address: SocketAddr| format!("{scheme}://{address}/");
    let agents = [
        ("direct", url("ws", origin.address())),
        ("clear", url("ws", clear.address())),
        ("tls", url("wss", site.address())),
        ("http2", url("ws", outer.address())),
    ];
    let mut cases = CASES.map(str::to_owned).to_vec();
    let mut other = Vec::new();
    for round in 0..ROUNDS {
        let report = run((&python, &folder), &agents, &cases);
        if round == 0 {
            let direct = report.get("direct").expect("a report of each");
            let sound = direct.values().filter(|found| found["behavior"] == "OK");
            assert!(sound.count() > 200, "{}", direct.len());
        }
        other = differences(&report);
        if other.is_empty() {
            break;
        }
        println!("round {round}: {other:#?}");
        cases = other.iter().map(|(case, _)| case.clone()).collect();
        cases.sort();
        cases.dedup();
    }
    origin.take_faults(); // some cases are no WebSocket at all
    assert!(other.is_empty(), "{other:#?}");
}

/// What went otherwise than without a proxy: the case, and how.
fn differences(report: &BTreeMap<String, BTreeMap<String, Value>>) -> Vec<(String, String)> {
    let direct = report.get("direct").expect("a report of each");
    let mut other = Vec::new();
    for (agent, cases) in report {
        for (case, found) in cases {
            let expected = direct.get(case).expect("the same cases");
            for key in ["behavior", "behaviorClose", "remoteCloseCode"] {
                // An echo that comes before the breach, or does not, is a matter of time: both are right.
                let word = |value: &Value| match value.as_str() {
                    Some("NON-STRICT") => json!("OK"),
                    _ => value.clone(),
                };
                if word(&found[key]) != word(&expected[key]) {
                    let how = format!("{agent}: {key} {} and not {}", found[key], expected[key]);
                    other.push((case.clone(), how));
                }
            }
        }
    }
    other
}
