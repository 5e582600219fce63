//! The demo at a terminal, with its keys.

use keel_testkit::terminal::Terminal;

/// The number behind `name` in the last whole figure line of `shown`.
fn figure(shown: &str, name: &str) -> u64 {
    let line = shown.rsplit('\r').find(|line| line.contains("failed: "));
    let after = line
        .and_then(|line| line.split(name).nth(1))
        .unwrap_or_default();
    let digits: String = after
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}

#[test]
fn a_key_stops_a_server_and_no_request_fails() {
    let mut demo = Terminal::evenkeel(&["demo", "--port", "0"]);
    demo.await_text(0, "press 1, 2 or 3");
    demo.await_text(0, "failed: 0");
    demo.press("2");
    let since = demo.shown().len();
    let stopped = demo.await_text(since, "(stopped)");
    assert!(stopped.contains("s2: "), "{stopped}");
    // Several lines without it: traffic has moved on.
    let since = demo.shown().len();
    let first = figure(&demo.shown(), "s1:");
    keel_testkit::wait::until_true("the others take its traffic", || {
        figure(&demo.shown(), "s1:") > first + 50
    });
    demo.press("2");
    let back = keel_testkit::wait::until("it is started again", || {
        let new = demo.shown().get(since..)?.to_owned();
        let last = new
            .rsplit('\r')
            .find(|line| line.contains("failed: "))?
            .to_owned();
        (!last.contains("(stopped)")).then_some(last)
    });
    assert_eq!(figure(&format!("\r{back}"), "failed:"), 0, "{back}");
    demo.press("q");
    assert!(demo.ended().success());
    assert_eq!(figure(&demo.shown(), "failed:"), 0, "{}", demo.shown());
}
