//! Questions and what is told of them.

use std::fs;
use std::path::Path;

use keel_control::{Compiled, Question, explain};

use crate::compiled;

fn example() -> Compiled {
    compiled(
        r#"
listeners:
  web: { bind: ":8080", headers: { response: { remove: [Server] } } }
  old: { bind: ":8081", redirect: https }
headers: { request: { set: { X-Edge: one } } }
routes:
  - { name: star, match: { path: { exact: "*" } }, respond: { status: 204 } }
  - { name: health, match: { path: { exact: /health } }, expose: health }
  - { name: moved, match: { path: /old/ }, redirect: { to: "https://new.example$request_uri", status: 308 } }
  - { name: shop, match: { host: shop.example }, pool: { app: 90, canary: 10 }, split_by: { cookie: user } }
  - { name: dice, match: { host: dice.example }, pool: { app: 1, canary: 1 }, split_by: random }
  - name: api
    match: { path: /api/, method: [GET, HEAD], client: 10.0.0.0/8 }
    pool: app
    limits: { body: 1KB }
    headers: { request: { set: { X-A: "$host" }, remove: [X-B, Cookie] }, response: { add: { X-C: c } } }
  - { name: keyed, match: { host: keyed.example }, pool: keyed }
pools:
  app:
    balance: least_conn
    headers: { request: { remove: [Referer] } }
    servers:
      - "127.0.0.1:9001"
      - { name: spare, address: "127.0.0.1:9002", backup: true }
      - { address: "127.0.0.1:9003", down: true, weight: 3 }
  canary: { servers: [ "127.0.0.1:9009" ] }
  keyed:
    balance: { algorithm: hash, key: path }
    servers: [ "127.0.0.1:9011", "127.0.0.1:9012", "127.0.0.1:9013" ]
"#,
    )
}

/// `METHOD URL`, then ` | `-separated `from ADDRESS`, `on LISTENER` or a header.
fn question(text: &str) -> Question {
    let mut parts = text.split(" | ");
    let mut words = parts.next().unwrap_or_default().split(' ');
    let mut question = Question {
        method: words.next().expect("a method").to_owned(),
        url: words.next().expect("a URL").to_owned(),
        ..Question::default()
    };
    for part in parts {
        if let Some(address) = part.strip_prefix("from ") {
            question.client = address.parse().expect("an address");
        } else if let Some(listener) = part.strip_prefix("on ") {
            question.listener = Some(listener.to_owned());
        } else {
            let (name, value) = part.split_once(": ").expect("a header");
            question.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    question
}

const QUESTIONS: &[&str] = &[
    "GET http://a.example/none",
    "POST http://a.example/api/x | from 10.1.2.3",
    "GET http://a.example/api/x?y=z | from 10.1.2.3",
    "GET http://a.example/old/page?q",
    "GET http://a.example/health",
    "OPTIONS *",
    "GET http://SHOP.example:8080/ | Cookie: user=alice",
    "GET http://shop.example/ | Cookie: user=zoe",
    "GET http://dice.example/",
    "GET http://keyed.example/a",
    "GET http://a.example/ | on old",
    "GET http://a.example/%zz",
    "GET http://a.example/a/../../b",
    "GET http://a.example/ | Content-Length: 1 | Transfer-Encoding: chunked",
    "CONNECT http://a.example/",
];

/// The answers to all questions stand in `tests/explained.txt`; `KEEL_UPDATE=1` writes them anew.
#[test]
fn answers_read_as_they_should() {
    let compiled = example();
    let mut text = String::new();
    for asked in QUESTIONS {
        let told = explain(&compiled, &question(asked)).expect(asked);
        text.push_str(&format!("$ {asked}\n{}\n\n", told.lines.join("\n")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explained.txt");
    if std::env::var_os("KEEL_UPDATE").is_some() {
        fs::write(&path, &text).expect("writes");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "it is now:\n{text}");
}

/// The last line says what becomes of the request.
#[test]
fn the_end_is_told_in_one_line() {
    let compiled = example();
    let table = [
        ("GET http://a.example/none", false, "answer    404 "),
        (
            "GET http://a.example/old/",
            true,
            "answer    308 to https://new.example",
        ),
        (
            "GET http://a.example/%zz",
            false,
            "answer    400: refused before routing",
        ),
        (
            "GET http://a.example/ | on old",
            true,
            "answer    301 to https://",
        ),
        ("OPTIONS *", true, "answer    204 with 0 bytes"),
    ];
    for (asked, matched, last) in table {
        let told = explain(&compiled, &question(asked)).expect(asked);
        assert_eq!(told.matched, matched, "{asked}");
        let line = told.lines.last().expect("a line");
        assert!(line.starts_with(last), "{asked}: {line}");
    }
}

#[test]
fn a_client_stays_with_its_part_of_a_split() {
    let compiled = example();
    let part = |asked: &str| {
        let told = explain(&compiled, &question(asked)).expect(asked);
        let line = told.lines.iter().find(|line| line.starts_with("split"));
        line.cloned().expect("a split")
    };
    let users: Vec<String> = (0..100)
        .map(|at| part(&format!("GET http://shop.example/ | Cookie: user=u{at}")))
        .collect();
    let canary = users.iter().filter(|line| line.ends_with("to canary"));
    assert!((1..30).contains(&canary.count()), "{users:?}");
    assert!(part("GET http://dice.example/").ends_with("app 1, canary 1"));
}

/// What is hashed decides, as it does for a request that is served.
#[test]
fn a_key_chooses_the_server() {
    let compiled = example();
    let chosen = |path: usize| {
        let asked = format!("GET http://keyed.example/{path}");
        let told = explain(&compiled, &question(&asked)).expect("an answer");
        let line = told.lines.iter().find(|line| line.contains("would be"));
        line.cloned().expect("a server")
    };
    let servers: std::collections::BTreeSet<String> = (0..50).map(chosen).collect();
    assert_eq!(servers.len(), 3, "{servers:?}");
    assert_eq!(chosen(7), chosen(7));
}

#[test]
fn what_is_no_question_is_refused() {
    let compiled = example();
    for (asked, part) in [
        ("GET a.example/", "is no URL"),
        (
            "GET http://a/ | on nowhere",
            "there is no listener `nowhere`; there are: web, old",
        ),
    ] {
        let fault = explain(&compiled, &question(asked)).expect_err(asked);
        assert!(fault.contains(part), "{fault}");
    }
}

/// The scheme of the URL chooses among listeners, where none is named.
#[test]
fn the_scheme_chooses_the_listener() {
    let compiled = compiled(
        r#"
listeners:
  plain: { bind: ":8080" }
  site: { bind: ":8443", tls: { self_signed: true } }
routes:
  - { match: { scheme: https }, respond: { status: 204 } }
  - { match: { tls: { client_verified: true } }, respond: { status: 205 } }
  - { respond: { status: 404 } }
"#,
    );
    let answer = |text: &str| {
        let lines = explain(&compiled, &question(text))
            .expect("a request")
            .lines;
        (lines[0].clone(), lines.last().expect("a line").clone())
    };
    let (request, last) = answer("GET https://a.example/");
    assert!(request.ends_with("listener=site"), "{request}");
    assert!(last.contains("204"), "{last}");
    let (request, last) = answer("GET http://a.example/");
    assert!(
        request.ends_with("listener=plain") && last.contains("404"),
        "{last}"
    );
    let (request, _) = answer("GET https://a.example/ | on plain");
    assert!(request.ends_with("listener=plain"), "{request}");
}
