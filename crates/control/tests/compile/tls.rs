//! Certificates and keys as people get them wrong: each is told with its place, and a check writes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use keel_config::{Diagnostic, InMemory, Source, load, render_all};
use keel_control::{Compiled, compile};
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, LeafSpec};

/// Loads and compiles a text as a file of the folder. The certificates stand in line 4.
fn try_compile(scratch: &Scratch, certificates: &str) -> Result<Compiled, Vec<Diagnostic>> {
    let text = format!(
        "state: state\nlisteners:\n  site: {{ bind: \":443\", tls: {{ ocsp: false, certificates:\n    {certificates} }} }}\n\
         routes: [ {{ respond: {{ status: 204 }} }} ]\n"
    );
    let file = scratch.path().join("a.yaml");
    let world = InMemory::new().file(&file, text);
    let (model, _) = load(Source::file(&file, &world))
        .unwrap_or_else(|found| panic!("does not load:\n{}", render_all(&found, false)));
    compile(&model)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The one finding about a pair in line 4, with the columns of `cert` and `key`.
fn fault(scratch: &Scratch) -> (String, u32, u32, String) {
    let found = try_compile(scratch, "{ cert: site.pem, key: site.key }").expect_err("refused");
    let [report] = found.as_slice() else {
        panic!("{}", render_all(&found, false));
    };
    let helped = report.help.as_deref().is_some_and(|help| !help.is_empty());
    assert!(helped, "{report} has no help");
    (
        report.code.id.to_owned(),
        report.at.line,
        report.at.column,
        report.what.clone(),
    )
}

const CERT: u32 = 13;
const KEY: u32 = 28;

#[test]
fn a_good_pair_is_taken_and_nothing_is_written() {
    let scratch = Scratch::new();
    Ca::new("a CA").leaf(&["a.example"]).write(&scratch, "site");
    let before = files(scratch.path());
    let compiled = try_compile(&scratch, "{ cert: site.pem, key: site.key }")
        .unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
    assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    let start = compiled.tls[0].as_ref().expect("TLS");
    assert_eq!(start.settings.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(start.handshake_timeout_ms, 10_000);
    assert_eq!(start.settings.state_folder, scratch.path().join("state"));
    assert_eq!(compiled.snapshot.listeners[0].scheme, "https");
    assert_eq!(files(scratch.path()), before);
}

#[test]
fn a_key_of_another_certificate_is_told_at_the_key() {
    let scratch = Scratch::new();
    let ca = Ca::new("a CA");
    ca.leaf(&["a.example"]).write(&scratch, "site");
    scratch.write("site.key", &ca.leaf(&["b.example"]).key_pem);
    let (code, line, column, what) = fault(&scratch);
    assert_eq!((code.as_str(), line), ("E0405", 4), "{what}");
    assert!([CERT, KEY, 5].contains(&column), "{column}: {what}");
}

#[test]
fn a_key_with_a_passphrase_is_told() {
    let scratch = Scratch::new();
    let leaf = Ca::new("a CA").leaf(&["a.example"]);
    leaf.write(&scratch, "site");
    scratch.write(
        "site.key",
        leaf.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    );
    let (code, line, column, what) = fault(&scratch);
    assert_eq!((code.as_str(), line, column), ("E0405", 4, KEY), "{what}");
    assert!(
        what.contains("encrypted") || what.contains("passphrase"),
        "{what}"
    );
    scratch.write(
        "site.key",
        leaf.key_pem
            .replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\n\nM"),
    );
    let (code, line, _, what) = fault(&scratch);
    assert_eq!((code.as_str(), line), ("E0405", 4), "{what}");
}

#[test]
fn files_that_hold_something_else_are_told() {
    let scratch = Scratch::new();
    let leaf = Ca::new("a CA").leaf(&["a.example"]);
    for (cert, key, column) in [
        ("", leaf.key_pem.as_str(), CERT),
        ("no PEM\n", &leaf.key_pem, CERT),
        (&leaf.key_pem, &leaf.key_pem, CERT),
        (&leaf.cert_pem, "", KEY),
        (&leaf.cert_pem, &leaf.cert_pem, KEY),
    ] {
        scratch.write("site.pem", cert);
        scratch.write("site.key", key);
        let (code, line, at, what) = fault(&scratch);
        assert_eq!((code.as_str(), line, at), ("E0405", 4, column), "{what}");
    }
}

#[test]
fn a_certificate_that_has_ended_is_a_warning() {
    let scratch = Scratch::new();
    let ca = Ca::new("a CA");
    ca.issue(LeafSpec::names(&["a.example"]).expired())
        .write(&scratch, "old");
    ca.issue(LeafSpec::names(&["b.example"]).valid(-60, 5))
        .write(&scratch, "late");
    let list = "[ { cert: old.pem, key: old.key }, { cert: late.pem, key: late.key } ]";
    let compiled =
        try_compile(&scratch, list).unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
    let found: Vec<_> = compiled
        .warnings
        .iter()
        .map(|report| (report.code.id, report.at.line))
        .collect();
    assert_eq!(
        found,
        [("W0013", 4), ("W0013", 4)],
        "{:?}",
        compiled.warnings
    );
}

/// Compiles a pool whose `tls` stands in line 4 from column 5.
fn try_pool(scratch: &Scratch, tls: &str) -> Result<Compiled, Vec<Diagnostic>> {
    let text = format!(
        "listeners: {{ web: {{ bind: \":80\" }} }}\nroutes: [ {{ pool: app }} ]\npools: {{ app: {{ protocol: auto, servers: [\"127.0.0.1:9001\"], tls:\n    {tls} }} }}\n"
    );
    let file = scratch.path().join("a.yaml");
    let world = InMemory::new().file(&file, text);
    let (model, _) = load(Source::file(&file, &world))
        .unwrap_or_else(|found| panic!("does not load:\n{}", render_all(&found, false)));
    compile(&model)
}

#[test]
fn pools_get_their_connector_or_a_report() {
    let scratch = Scratch::new();
    let ca = Ca::new("a CA");
    scratch.write("ca.pem", ca.pem());
    ca.issue(LeafSpec::client("proxy")).write(&scratch, "own");
    scratch.write("other.key", &ca.leaf(&["b.example"]).key_pem);
    let good = "{ ca: ca.pem, server_name: app.internal, cert: own.pem, key: own.key }";
    let compiled =
        try_pool(&scratch, good).unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
    assert!(compiled.snapshot.pools[0].tls.is_some());
    assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    let unsafe_one = try_pool(&scratch, "{ verify: false }").expect("compiles");
    // Loading warned of it already.
    assert!(unsafe_one.warnings.is_empty() && unsafe_one.snapshot.pools[0].tls.is_some());
    for (tls, column) in [
        ("{ ca: no-such-ca.pem }", 11),
        ("{ ca: own.key }", 11),
        ("{ ca: ca.pem, cert: no-such.pem, key: own.key }", 25),
        ("{ ca: ca.pem, cert: own.pem, key: no-such.key }", 39),
    ] {
        let found = try_pool(&scratch, tls).expect_err("refused");
        let [report] = found.as_slice() else {
            panic!("{}", render_all(&found, false));
        };
        let place = (report.code.id, report.at.line, report.at.column);
        assert_eq!(place, ("E0405", 4, column), "{report}");
    }
    let mismatched = "{ ca: ca.pem, cert: own.pem, key: other.key }";
    let found = try_pool(&scratch, mismatched).expect_err("refused");
    assert_eq!((found[0].code.id, found[0].at.line), ("E0405", 4));
}
