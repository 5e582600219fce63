//! The suite of httpwg-cli against the listener, in clear and with what its own client does not expect.

use keel_testkit::binary::repository;
use keel_testkit::peers::{missing, run};
use keel_testkit::{Origin, Proxy};

/// Of 107 cases; the best others pass 102.
const PASSED_MIN: u32 = 103;

#[test]
fn httpwg() {
    let program = repository().join("target/peers/httpwg/bin/httpwg");
    if !program.is_file() {
        return missing("httpwg in target/peers/httpwg");
    }
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    // By itself it waits for a quarter of a second for each frame, which a busy machine does not keep to.
    let patience = ["--connect-timeout", "20000", "--frame-timeout", "5000"];
    let address = proxy.address().to_string();
    let output = run(&program, &[&["-a", &address], &patience[..]].concat());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // It writes in colours.
    let plain: String = said
        .split('\u{1b}')
        .enumerate()
        .map(|(at, part)| match at {
            0 => part,
            _ => part.split_once('m').map_or("", |(_, rest)| rest),
        })
        .collect();
    let failed: Vec<&str> = plain
        .lines()
        .filter(|line| line.contains("Test failed"))
        .collect();
    let summary = plain
        .lines()
        .find_map(|line| line.split_once("Passed ")?.1.split_once('/'));
    let passed: u32 = summary
        .and_then(|(passed, _)| passed.parse().ok())
        .unwrap_or_default();
    println!("{passed} passed; {failed:#?}");
    assert!(passed >= PASSED_MIN, "{passed} passed:\n{plain}");
    origin.take_faults(); // bodies that never came
}
