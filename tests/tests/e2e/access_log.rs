//! The access log: formats, destinations, reopening, termination codes.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use keel_testkit::wait::until;
use keel_testkit::{Ask, Origin, Proxy};
use rustix::process::Signal;

use crate::GET;

/// A proxy that logs to `access.log` in its folder.
fn logging(origin: &Origin, format: &str, more: &str) -> Proxy {
    let log = format!(
        "access_logs: {{ main: {{ to: \"file:@DIR@/access.log\", format: '{format}' }} }}\naccess_log: main\n{more}"
    );
    Proxy::before_with(&[origin.address()], "", &log)
}

/// The lines of a file, once there are so many.
fn lines(file: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", file.display()), || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

fn one_line(proxy: &Proxy) -> String {
    lines(&proxy.dir().join("access.log"), 1).remove(0)
}

#[test]
fn combined_is_that_of_nginx() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "combined", "");
    let ask = proxy
        .ask("/bytes/10?a=b")
        .with("Referer", "http://r/")
        .with("User-Agent", "a \"quoted\" one");
    ask.send().expect(200);
    let line = one_line(&proxy);
    let (before, after) = line.split_once(" [").expect("a time");
    assert_eq!(before, "127.0.0.1 - -");
    let (time, rest) = after.split_once("] ").expect("a time");
    assert!(
        time.len() == 26 && time.ends_with(" +0000") || time.contains(' '),
        "{time}"
    );
    assert_eq!(
        rest,
        r#""GET /bytes/10?a=b HTTP/1.1" 200 10 "http://r/" "a \x22quoted\x22 one""#
    );
}

#[test]
fn timed_and_main_have_the_fields_of_the_presets() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "timed", "");
    proxy.get("/delay/20").expect(200);
    let line = one_line(&proxy);
    for (key, least) in [
        ("rt=", 0.02),
        ("uct=\"", 0.0),
        ("uht=\"", 0.02),
        ("urt=\"", 0.02),
    ] {
        let of_key = line.split_once(&format!(" {key}")).map_or("", |it| it.1);
        let number = of_key.split(['"', ' ']).next().unwrap_or_default();
        let seconds = number.parse::<f64>().ok();
        assert!(
            seconds.is_some_and(|it| it >= least && it < 20.0),
            "{key}{number} in {line}"
        );
    }
    for part in [&format!("backend=\"{}\"", origin.address()), "cache=\""] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let proxy = logging(&origin, "main", "");
    proxy
        .ask("/")
        .with("X-Forwarded-For", "203.0.113.9")
        .send()
        .expect(200);
    let line = one_line(&proxy);
    assert!(
        line.contains("\"203.0.113.9\"") && line.contains(&origin.address().to_string()),
        "{line}"
    );
}

#[test]
fn json_lines_are_json() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "json", "");
    proxy
        .ask("/a?b")
        .with("User-Agent", "\"\\\u{e9}\t")
        .send()
        .expect(200);
    let json: serde_json::Value = serde_json::from_str(&one_line(&proxy)).expect("a JSON object");
    assert!(json.is_object());
    let text = json.to_string();
    for part in ["200", "127.0.0.1", "/a?b"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_template_of_ones_own() {
    let origin = Origin::named("a");
    let format = "$request_method|$uri|$args|$status|$host|$http_x_id|$sent_http_content_type|$upstream_addr|$upstream_status|$route|$pool|$termination|$request_id|$cookie_c|$arg_q|$scheme|$server_protocol|$body_bytes_sent";
    let proxy = logging(&origin, format, "");
    proxy
        .ask("/p?q=1&r")
        .with("X-Id", "7")
        .with("Cookie", "c=d")
        .host("h.example:1")
        .send()
        .expect(200);
    let line = one_line(&proxy);
    let cells: Vec<&str> = line.split('|').collect();
    assert_eq!(
        &cells[..7],
        [
            "GET",
            "/p",
            "q=1&r",
            "200",
            "h.example",
            "7",
            "application/json"
        ]
    );
    assert_eq!(
        &cells[7..12],
        [
            origin.address().to_string().as_str(),
            "200",
            "all",
            "app",
            "---"
        ]
    );
    assert!(cells[12].len() >= 16, "an id: {}", cells[12]);
    assert_eq!(&cells[13..17], ["d", "1", "http", "HTTP/1.1"]);
    assert!(cells[17].parse::<u64>().is_ok_and(|bytes| bytes > 100));
}

#[test]
fn a_client_cannot_forge_a_line() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "combined", "");
    proxy
        .ask("/a%0a127.0.0.1")
        .with("User-Agent", "x\u{7f}\u{e9}")
        .send();
    proxy.get("/last");
    let lines = lines(&proxy.dir().join("access.log"), 2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].is_ascii() && !lines[0].contains('\u{7f}'),
        "{:?}",
        lines[0]
    );
}

#[test]
fn every_request_is_logged_once() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "$request_uri $status", "");
    let mut wire = proxy.wire();
    for n in 0..500 {
        wire.ask(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .expect(200);
    }
    proxy.wire().ask("GET /bad HTTP/1.1\r\n\r\n").expect(400);
    let lines = lines(&proxy.dir().join("access.log"), 501);
    assert_eq!(lines.len(), 501);
    assert!((0..500).all(|n| lines.contains(&format!("/{n} 200"))));
    assert!(
        lines.iter().any(|line| line.ends_with(" 400")),
        "refused requests are logged"
    );
}

#[test]
fn termination_codes_tell_who_ended_it() {
    let origin = Origin::scripted(|stage| {
        let Some(request) = stage.request() else {
            return;
        };
        match request.head.target.as_str() {
            "/cut" => stage.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"),
            "/malformed" => stage.send("rubbish\r\n\r\n"),
            "/silent" => {
                stage.until_end();
                true
            }
            _ => stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        };
    });
    let log = "access_logs: { main: { to: \"file:@DIR@/access.log\", format: '$uri $termination' } }\naccess_log: main\n\
        routes: [ { match: { path: /redirect }, redirect: https }, { match: { host: test.example }, pool: app } ]";
    let keys = "max_fails: 0, timeouts: { read: 3s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, log);
    proxy.get("/fine").expect(200);
    proxy.get("/redirect").expect(301);
    proxy.get("/malformed").expect(502);
    proxy.get("/silent").expect(504);
    proxy
        .ask("/no-route")
        .host("other.example")
        .send()
        .expect(404);
    let mut wire = proxy.wire();
    wire.send("GET /cut HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert!(wire.try_answer("GET").is_err());
    let mut wire = proxy.wire();
    wire.send("GET /silent HTTP/1.1\r\nHost: test.example\r\nX: gone\r\n\r\n");
    origin.await_text(origin.connections().max(5) - 1, "gone");
    wire.reset();
    let lines = lines(&proxy.dir().join("access.log"), 7);
    let code = |path: &str| {
        let found: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("{path} ")))
            .collect();
        found.join(",")
    };
    assert_eq!(code("/fine"), "---");
    assert!(code("/redirect").starts_with("PR"), "{lines:?}");
    assert_eq!(code("/no-route"), "PUR");
    assert_eq!(code("/malformed"), "SPW");
    assert_eq!(code("/cut"), "SAB");
    assert!(
        code("/silent").contains("STW") && code("/silent").contains("CA"),
        "{lines:?}"
    );
}

#[test]
fn standard_output_and_off_per_route() {
    let origin = Origin::echo();
    let log = "access_logs: { main: { to: stdout, format: combined } }\naccess_log: main\n\
        routes: [ { match: { path: /quiet }, pool: app, access_log: off }, { pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", log);
    proxy.get("/quiet").expect(200);
    proxy.get("/loud").expect(200);
    proxy.await_stdout("/loud");
    assert!(!proxy.stdout().contains("/quiet"), "{}", proxy.stdout());
}

#[test]
fn the_log_is_off_by_default() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.get("/x").expect(200);
    proxy.terminate();
    let exit = proxy.wait(keel_testkit::wait::SOON);
    assert!(!exit.stdout.contains("GET /x") && !exit.stderr.contains("GET /x"));
}

#[test]
fn sigusr1_opens_the_file_again() {
    let origin = Origin::echo();
    let proxy = logging(&origin, "$uri", "");
    let (log, old) = (
        proxy.dir().join("access.log"),
        proxy.dir().join("access.log.1"),
    );
    proxy.get("/before").expect(200);
    lines(&log, 1);
    std::fs::rename(&log, &old).expect("the folder is ours");
    proxy.signal(Signal::USR1);
    until("the file is there again", || log.exists().then_some(()));
    proxy.get("/after").expect(200);
    assert_eq!(lines(&log, 1), ["/after"]);
    assert_eq!(lines(&old, 1), ["/before"]);
}

#[test]
fn syslog_gets_datagrams() {
    let origin = Origin::echo();
    let server = UdpSocket::bind("127.0.0.1:0").expect("the system gives us a port");
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket option");
    let at = server.local_addr().expect("a bound socket has an address");
    let log = format!(
        "access_logs: {{ main: {{ to: \"syslog:udp:{at}\", format: combined, facility: local7, tag: keel }} }}\naccess_log: main"
    );
    let proxy = Proxy::before_with(&[origin.address()], "", &log);
    proxy.get("/x").expect(200);
    let mut datagram = [0; 4096];
    let len = server.recv(&mut datagram).expect("a datagram");
    let text = String::from_utf8_lossy(&datagram[..len]);
    // local7.info is 23 * 8 + 6.
    assert!(
        text.starts_with("<190>") && text.contains("keel") && text.contains("GET /x"),
        "{text}"
    );
}

#[test]
fn lines_are_there_when_the_process_has_ended() {
    let origin = Origin::echo();
    let log = keel_testkit::scratch::Scratch::new();
    let file = log.path().join("access.log");
    let more = format!(
        "access_logs: {{ main: {{ to: \"file:{}\", format: '$uri' }} }}\naccess_log: main",
        file.display()
    );
    let proxy = Proxy::before_with(&[origin.address()], "", &more);
    let mut wire = proxy.wire();
    for _ in 0..50 {
        wire.ask(GET).expect(200);
    }
    proxy.terminate();
    proxy.wait(keel_testkit::wait::SOON).expect(0);
    let text = std::fs::read_to_string(&file).expect("the file is there");
    assert_eq!(text.lines().count(), 50);
}

#[test]
fn the_address_in_the_log_is_the_clients() {
    let origin = Origin::echo();
    let proxy = logging(
        &origin,
        "$remote_addr $realip_remote_addr",
        "trusted_proxies: [127.0.0.1]",
    );
    Ask::get(proxy.address(), "/")
        .with("X-Forwarded-For", "203.0.113.9")
        .send()
        .expect(200);
    assert_eq!(one_line(&proxy), "203.0.113.9 127.0.0.1");
}

#[test]
fn fields_of_an_answer_are_those_that_were_sent() {
    let origin = Origin::echo();
    let proxy = logging(
        &origin,
        "$status|$sent_http_x_ours|$upstream_http_x_ours|$sent_http_x_error",
        "headers: { response: { set: { X-Ours: \"ours\" } } }\n",
    );
    proxy.get("/").expect(200);
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n");
    wire.answer().expect(400);
    let mut lines = lines(&proxy.dir().join("access.log"), 2);
    // Two connections may be of two workers, which write when they come to it.
    lines.sort();
    assert_eq!(lines, ["200|ours|-|-", "400|ours|-|Bad-Request"]);
}
