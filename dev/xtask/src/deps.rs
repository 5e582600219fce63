//! Which crate may depend on which, checked against the manifests and against ARCHITECTURE.md.
//!
//! The rules: dependencies point to a lower tier; the few edges within a tier are listed; the data planes do not know the
//! configuration; pure crates use no runtime, socket, file, clock or randomness; each third-party engine has one owner. Beside
//! the rules, the table in ARCHITECTURE.md must show exactly the edges that exist, so that nobody adds one unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Tier of every package below `crates/`; one that is missing here is an error.
const TIERS: [(&str, u8); 21] = [
    ("keel-types", 0),
    ("keel-http", 1),
    ("keel-http2", 1),
    ("keel-route", 1),
    ("keel-balance", 1),
    ("keel-policy", 1),
    ("keel-cache", 1),
    ("keel-waf", 1),
    ("keel-classify", 1),
    ("keel-dns", 1),
    ("keel-config", 1),
    ("keel-upstream", 2),
    ("keel-net", 2),
    ("keel-tls", 2),
    ("keel-observe", 2),
    ("keel-sys", 2),
    ("keel-l7", 3),
    ("keel-l4", 3),
    ("keel-gslb", 3),
    ("keel-control", 4),
    ("keel-admin", 4),
];

/// Tier of the binary.
const TOP: u8 = 5;

/// Edges within one tier, each with its reason.
const SAME_TIER: [(&str, &str); 7] = [
    ("keel-route", "keel-http"),       // matchers read the normal request
    ("keel-http2", "keel-http"),       // trailers become lines of HTTP/1
    ("keel-upstream", "keel-net"),     // streams and deadlines
    ("keel-upstream", "keel-tls"),     // streams to servers may be in TLS
    ("keel-upstream", "keel-observe"), // counters of pools
    ("keel-net", "keel-sys"),          // socket options
    ("keel-admin", "keel-control"),    // the admin listener sees only control's handle
];

/// Crates that must not know the configuration, though it is in a lower tier.
const WITHOUT_CONFIG: [&str; 8] = [
    "keel-upstream",
    "keel-net",
    "keel-tls",
    "keel-observe",
    "keel-sys",
    "keel-l7",
    "keel-l4",
    "keel-gslb",
];

/// Packages of `dev/` and `tests/`, and what of ours they may use. `*` is all crates.
const DEV: [(&str, &[&str]); 4] = [
    ("keel-testkit", &[]), // the judge shares nothing with what it judges
    ("keel-tests", &["keel-testkit"]),
    ("keel-bench", &["*", "keel-testkit"]),
    ("xtask", &["*"]),
];

/// What a pure crate (tier 0 and 1) must not use outside of its tests.
const NOT_PURE: [&str; 13] = [
    "tokio",
    "mio",
    "socket2",
    "rustix",
    "libc",
    "nix",
    "async-std",
    "rand",
    "getrandom",
    "fastrand",
    "chrono",
    "time",
    "tracing",
];

/// Third-party engines and the crates that own them.
const OWNERS: [(&str, &[&str]); 10] = [
    ("httparse", &["keel-http"]),
    ("saphyr", &["keel-config"]),
    ("saphyr-parser", &["keel-config"]),
    ("axum", &["keel-admin", "evenkeel"]), // the demo has origins of its own
    ("hickory-resolver", &["keel-upstream"]),
    ("rustls", &["keel-tls", "keel-testkit", "keel-bench"]), // their clients and origins
    ("tokio-rustls", &["keel-tls"]),
    ("clap", &["evenkeel", "keel-bench"]),
    ("mimalloc", &["evenkeel"]),
    ("anyhow", &["evenkeel", "xtask", "keel-bench"]),
];

/// What must not be in the tree at all, not even through others.
const NOT_IN_TREE: [&str; 6] = [
    "openssl",
    "openssl-sys",
    "native-tls",
    "ring",
    "serde_yaml",
    "async-std",
];

const BEGIN: &str = "<!-- edges: begin -->";
const END: &str = "<!-- edges: end -->";

/// One package of the workspace and what its manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    /// Normal and build dependencies.
    uses: BTreeSet<String>,
    /// Dev-dependencies.
    tests_with: BTreeSet<String>,
}

/// All that is wrong.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let packages = packages(root)?;
    let mut wrong = Vec::new();
    for package in &packages {
        check_package(package, &mut wrong);
    }
    let built = built(root)?;
    for name in NOT_IN_TREE {
        if built.contains(name) {
            wrong.push(format!(
                "{name} is built; find who brings it with `cargo tree --target all -i {name}`"
            ));
        }
    }
    let file = root.join("ARCHITECTURE.md");
    let text =
        std::fs::read_to_string(&file).context("ARCHITECTURE.md, which must show every edge")?;
    wrong.extend(check_table(&text, &packages));
    Ok(wrong)
}

/// Prints the table that ARCHITECTURE.md would have to hold.
pub fn print_table(root: &Path) -> Result<()> {
    print!("{BEGIN}\n{}{END}\n", table(&packages(root)?));
    Ok(())
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut packages = metadata(&root.join("Cargo.toml"))?;
    packages.sort_by(|a, b| (tier(&b.name), &a.name).cmp(&(tier(&a.name), &b.name)));
    Ok(packages)
}

/// Names of all packages that are built for some target. The lock file holds more: what a feature
/// that nobody asks for would bring.
fn built(root: &Path) -> Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--workspace", "--target", "all", "--prefix", "none"])
        .args(["--format", "{p}", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .context("cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned);
    Ok(names.collect())
}

fn metadata(manifest: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let json: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = json["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(json: &Value) -> Package {
    let name = json["name"].as_str().unwrap_or_default().to_owned();
    let mut package = Package {
        name,
        uses: BTreeSet::new(),
        tests_with: BTreeSet::new(),
    };
    for dependency in json["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default().to_owned();
        match dependency["kind"].as_str() {
            Some("dev") => package.tests_with.insert(name),
            _ => package.uses.insert(name),
        };
    }
    package
}

fn tier(name: &str) -> Option<u8> {
    match name {
        "evenkeel" => Some(TOP),
        _ => TIERS
            .iter()
            .find(|(have, _)| *have == name)
            .map(|(_, tier)| *tier),
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("keel-") || name == "evenkeel"
}

fn check_package(package: &Package, wrong: &mut Vec<String>) {
    let name = package.name.as_str();
    for (engine, owners) in OWNERS {
        if package.uses.contains(engine) && !owners.contains(&name) {
            wrong.push(format!(
                "{name} uses {engine}, which belongs to {}",
                owners.join(", ")
            ));
        }
    }
    let ours = |set: &BTreeSet<String>| -> Vec<String> {
        set.iter().filter(|name| is_ours(name)).cloned().collect()
    };
    if let Some((_, may)) = DEV.iter().find(|(have, _)| *have == name) {
        for other in ours(&package.uses)
            .into_iter()
            .chain(ours(&package.tests_with))
        {
            let all = may.contains(&"*") && tier(&other).is_some();
            if !all && !may.contains(&other.as_str()) {
                wrong.push(format!("{name} uses {other}; it may use {may:?} of ours"));
            }
        }
        return;
    }
    let Some(own) = tier(name) else {
        wrong.push(format!(
            "{name} has no tier; add it to TIERS in xtask and to ARCHITECTURE.md"
        ));
        return;
    };
    for other in ours(&package.uses) {
        if let Some(why) = forbidden(name, own, &other) {
            wrong.push(format!("{name} uses {other}: {why}"));
        }
    }
    for other in ours(&package.tests_with) {
        // Tests may use the kit and what the crate could use itself; never a crate above.
        if other != "keel-testkit" && tier(&other).is_none_or(|tier| tier > own) {
            wrong.push(format!(
                "the tests of {name} use {other}, which lies above it"
            ));
        }
    }
    if own <= 1 {
        for other in NOT_PURE
            .iter()
            .filter(|other| package.uses.contains(**other))
        {
            wrong.push(format!("{name} is pure and must not use {other}"));
        }
    }
}

fn forbidden(name: &str, own: u8, other: &str) -> Option<&'static str> {
    let Some(tier) = tier(other) else {
        return Some("it belongs to dev/ or tests/, or has no tier");
    };
    if other == "keel-config" && WITHOUT_CONFIG.contains(&name) {
        return Some("data planes do not know the configuration; control compiles it");
    }
    if own == 1 && tier == 0 || tier < own || SAME_TIER.contains(&(name, other)) {
        return None;
    }
    Some("dependencies point down only")
}

/// `| crate | tier | uses |`, one line for each crate.
fn table(packages: &[Package]) -> String {
    let mut text = "| crate | tier | uses |\n|---|---|---|\n".to_owned();
    for package in packages
        .iter()
        .filter(|package| is_ours(&package.name) || package.name == "xtask")
    {
        let tier = tier(&package.name).map_or_else(|| "dev".to_owned(), |tier| format!("T{tier}"));
        let uses: Vec<_> = package
            .uses
            .iter()
            .filter(|name| is_ours(name))
            .map(|n| short(n))
            .collect();
        let uses = if uses.is_empty() {
            "–".to_owned()
        } else {
            uses.join(", ")
        };
        text.push_str(&format!("| {} | {tier} | {uses} |\n", short(&package.name)));
    }
    text
}

fn short(name: &str) -> &str {
    name.strip_prefix("keel-").unwrap_or(name)
}

/// The edges that the table shows must be the edges that exist.
fn check_table(text: &str, packages: &[Package]) -> Vec<String> {
    let how = "`cargo xtask deps --table` prints it as it is now";
    let Some((_, rest)) = text.split_once(BEGIN) else {
        return vec![format!(
            "ARCHITECTURE.md has no table between {BEGIN} and {END}; {how}"
        )];
    };
    let shown = edges(rest.split(END).next().unwrap_or_default());
    let real = edges(&table(packages));
    let mut wrong = Vec::new();
    for (name, uses) in &real {
        let Some(have) = shown.get(name) else {
            wrong.push(format!("ARCHITECTURE.md does not show {name}; {how}"));
            continue;
        };
        for other in uses.difference(have) {
            wrong.push(format!(
                "ARCHITECTURE.md does not show that {name} uses {other}; {how}"
            ));
        }
        for other in have.difference(uses) {
            wrong.push(format!(
                "ARCHITECTURE.md shows that {name} uses {other}, but it does not; {how}"
            ));
        }
    }
    for name in shown.keys().filter(|name| !real.contains_key(*name)) {
        wrong.push(format!(
            "ARCHITECTURE.md shows {name}, which does not exist; {how}"
        ));
    }
    wrong
}

fn edges(table: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let clean = |name: &str| name.trim().trim_matches('`').to_owned();
        let uses = cells
            .get(2)
            .copied()
            .unwrap_or_default()
            .split(',')
            .map(clean);
        let uses = uses
            .filter(|name| !name.is_empty() && name != "–")
            .collect();
        (clean(cells.first().copied().unwrap_or_default()), uses)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str], tests_with: &[&str]) -> Package {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: name.to_owned(),
            uses: set(uses),
            tests_with: set(tests_with),
        }
    }

    fn wrong(name: &str, uses: &[&str], tests_with: &[&str]) -> usize {
        let mut found = Vec::new();
        check_package(&package(name, uses, tests_with), &mut found);
        found.len()
    }

    #[test]
    fn edges_point_down() {
        assert_eq!(
            wrong(
                "keel-l7",
                &["keel-http", "keel-upstream", "keel-types"],
                &["keel-testkit"]
            ),
            0
        );
        assert_eq!(wrong("keel-http", &["keel-route"], &[]), 1);
        assert_eq!(wrong("keel-route", &["keel-http"], &[]), 0);
        assert_eq!(wrong("keel-net", &["keel-l7"], &[]), 1);
        assert_eq!(wrong("keel-l7", &["keel-config"], &[]), 1);
        assert_eq!(wrong("keel-http", &[], &["keel-l7"]), 1);
        assert_eq!(wrong("keel-new", &[], &[]), 1);
        assert_eq!(wrong("keel-control", &["keel-admin"], &[]), 1);
    }

    #[test]
    fn purity_and_owners() {
        assert_eq!(wrong("keel-balance", &["tokio"], &["proptest"]), 1);
        assert_eq!(wrong("keel-l7", &["httparse"], &[]), 1);
        assert_eq!(wrong("keel-testkit", &["keel-http"], &[]), 1);
        assert_eq!(wrong("keel-tests", &["keel-testkit"], &[]), 0);
    }

    #[test]
    fn a_new_edge_must_be_shown() {
        let before = [
            package("keel-l7", &["keel-http"], &[]),
            package("keel-http", &[], &[]),
        ];
        let text = format!("# A\n{BEGIN}\n{}{END}\n", table(&before));
        assert_eq!(check_table(&text, &before), Vec::<String>::new());
        let after = [
            package("keel-l7", &["keel-http", "keel-net"], &[]),
            package("keel-http", &[], &[]),
        ];
        assert_eq!(check_table(&text, &after).len(), 1);
        assert_eq!(check_table("# A\n", &before).len(), 1);
    }
}
