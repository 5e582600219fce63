//! Every file of `tests/bad` loads, and what compiling it reports stands beside it, with place, guess and help.
//!
//! `KEEL_UPDATE=1 cargo test -p keel-control` writes the texts anew; look at the difference.

use std::fs;
use std::path::{Path, PathBuf};

use keel_config::model::{Balance, HashKey, HashScheme};
use keel_config::{Severity, codes, load_str, render_all};
use keel_control::compile;

use crate::reports;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = fs::read_dir(folder).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn reports_read_as_they_should() {
    let update = std::env::var_os("KEEL_UPDATE").is_some();
    let mut differ = Vec::new();
    for case in cases() {
        let found = reports(&fs::read_to_string(&case).expect("a case"));
        assert!(!found.is_empty(), "nothing was found in {}", case.display());
        let text = render_all(&found, false);
        let expected = case.with_extension("txt");
        if update {
            fs::write(&expected, &text).expect("writes");
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            differ.push(format!("{}:\n{text}", case.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

/// The codes that the loader leaves to this stage, but for that of balancing, of names and of
/// certificates that end, which need more than a file.
#[test]
fn every_code_of_this_stage_has_a_case() {
    let mut shown = std::collections::BTreeSet::new();
    for case in cases() {
        for report in reports(&fs::read_to_string(&case).expect("a case")) {
            assert!(report.at.line > 0 && report.at.column > 0, "{report}");
            shown.insert(report.code.id);
        }
    }
    let expected = [
        &codes::BAD_REGEX,
        &codes::BAD_GLOB,
        &codes::BAD_TEMPLATE,
        &codes::BAD_CERTIFICATE,
        &codes::BAD_TLS,
        &codes::UNREACHABLE_ROUTE,
    ];
    assert_eq!(shown, expected.map(|code| code.id).into_iter().collect());
}

/// The loader refuses what no balancer takes; what still comes here is told at the place of `balance`.
#[test]
fn a_balancer_that_cannot_be_made_is_told() {
    let text = "\
listeners: { web: { bind: \":80\" } }
pools:
  app: { servers: [\"127.0.0.1:9001\"] }
  other:
    servers: [\"127.0.0.1:9001\"]
    balance: { algorithm: hash }
routes: [ { pool: { app: 1, other: 1 } } ]
";
    let (mut model, _) = load_str(text).expect("loads");
    model.pools[1].balance.value = Balance::Hash {
        key: HashKey::Path,
        scheme: HashScheme::Ring,
        bounded_load: Some(0.5),
    };
    let found = compile(&model).expect_err("refused");
    assert_eq!(found.len(), 1, "{found:?}");
    let report = &found[0];
    assert_eq!(
        (report.code.id, report.severity()),
        ("E0404", Severity::Error)
    );
    assert_eq!((report.at.line, report.at.column), (6, 14));
    assert!(report.what.contains("0.5"), "{report}");
}

/// All that is wrong is told at once, from all parts.
#[test]
fn nothing_hides_behind_the_first_fault() {
    let text = "\
listeners: { web: { bind: \":80\" } }
access_logs: { main: { format: \"$remote_adr\" } }
access_log: main
routes:
  - { match: { path: { regex: \"((a{999}){999}){99}\" } }, respond: { headers: { X: \"${host\" } } }
  - { match: { header: { X: { regex: \"((b{999}){999}){99}\" } } }, redirect: \"/$nothing_like_it\" }
";
    let found = reports(text);
    let places: Vec<(&str, u32)> = found
        .iter()
        .map(|report| (report.code.id, report.at.line))
        .collect();
    let expected = [
        ("E0403", 2),
        ("E0401", 5),
        ("E0403", 5),
        ("E0401", 6),
        ("E0403", 6),
    ];
    assert_eq!(places, expected, "{}", render_all(&found, false));
}

/// The loader reads expressions as the router does: what the one takes the other takes, but for its size.
#[test]
fn loader_and_router_read_expressions_alike() {
    let deep = |groups: usize| format!("{}a{}", "(".repeat(groups), ")".repeat(groups));
    let texts = [
        "^/v[0-9]+/",
        "(?i)\\.PHP$",
        "\\d+\\w",
        "\\bx\\b",
        "(?-u:\\xff)",
        "(?u)\\p{L}",
        "(?u:é)",
        "é",
        "\\x{e9}",
        "a**",
        "(?x) a # b",
        "(?=a)",
        "(a)\\1",
        "[[:alpha:]]",
        "a{0}",
        "a{,3}",
        "(?P<n>a)",
        "(?<n>a)(?<n>b)",
        "\\u{110000}",
        "[^\\n]",
        "\\pN",
        "(?R)^a$",
        "|",
        "()",
        "",
        "\\",
        "[b-a]",
    ];
    let texts = texts.map(str::to_owned);
    let limit = keel_route::REGEX_NEST_MAX as usize;
    for text in texts.into_iter().chain((limit - 2..limit + 2).map(deep)) {
        let quoted = text.replace('\'', "\'\'");
        let file = format!(
            "listeners: {{ web: {{ bind: ':80' }} }}\n\
             routes: [ {{ match: {{ header: {{ X: {{ regex: '{quoted}' }} }} }}, respond: {{ status: 204 }} }} ]\n"
        );
        let spec = keel_route::RouteSpec {
            name: "a".to_owned(),
            matcher: keel_route::Matcher::Header {
                name: "X".to_owned(),
                test: keel_route::ValueTest::Regex(text.clone()),
            },
        };
        let routed = keel_route::Router::compile(vec![spec]);
        let loaded = load_str(&file).is_ok();
        // An empty value is refused for being empty.
        assert_eq!(
            loaded,
            routed.is_ok() && !text.is_empty(),
            "{text}: {routed:?}"
        );
    }
}
