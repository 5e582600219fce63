//! Persistence: who stays at which server, and what moves them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keel_testkit::origin::Gate;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Answer, H2Wire, Origin, Proxy, Reply};

use crate::reload_connections::reload;
use crate::site::{OWN, Site};

fn origins() -> Vec<Origin> {
    ["a", "b", "c"]
        .iter()
        .map(|name| Origin::named(name))
        .collect()
}

/// One pool of these servers; `servers` are keys of each, `pool` keys of the pool.
fn config(origins: &[Origin], servers: &[&str], pool: &str) -> String {
    let servers: Vec<String> = origins
        .iter()
        .enumerate()
        .map(|(at, origin)| {
            let (name, at_address) = (origin.name(), origin.address());
            let keys = servers.get(at).copied().unwrap_or_default();
            format!("{{ name: {name}, address: \"{at_address}\", {keys} }}")
        })
        .collect();
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nstate: \"@DIR@/state\"\nworkers: 2\n\
         routes: [ {{ pool: app }} ]\npools: {{ app: {{ {pool}, servers: [ {} ] }} }}\n",
        servers.join(", ")
    )
}

/// The cookie of an answer, as a client sends it back.
fn cookie(answer: &Answer) -> Option<String> {
    let set = answer.header("set-cookie")?;
    Some(set.split(';').next().unwrap_or_default().to_owned())
}

/// Asks without a cookie until this server answers, and gives what it sets.
fn bound_to(proxy: &Proxy, name: &str) -> String {
    for _ in 0..30 {
        let answer = proxy.get("/").expect(200);
        if answer.origin() == name {
            return cookie(&answer).expect("a client without a cookie gets one");
        }
    }
    panic!("{name} answers nobody");
}

fn with(proxy: &Proxy, cookie: &str) -> Answer {
    proxy.ask("/").with("Cookie", cookie).send().expect(200)
}

#[test]
fn a_cookie_keeps_its_client_and_tells_nothing() {
    let origins = origins();
    let proxy = Proxy::start(&config(&origins, &[], "sticky: cookie"));
    let mut seen = BTreeSet::new();
    for origin in &origins {
        let name = origin.name();
        let cookie = bound_to(&proxy, name);
        let value = cookie.strip_prefix("evenkeel=").expect("the default name");
        assert_eq!(value.len(), 22, "{value}");
        assert!(!value.contains("127.0.0.1"), "{value}");
        seen.insert(value.to_owned());
        for _ in 0..10 {
            let answer = with(&proxy, &format!("theme=dark; {cookie}; x=y"));
            assert_eq!(answer.origin(), name);
            assert_eq!(answer.header("set-cookie"), None, "it has one");
        }
    }
    assert_eq!(seen.len(), 3);
    let set = proxy.get("/").header("set-cookie").expect("set");
    assert!(set.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{set}");
}

#[test]
fn values_that_are_forged_or_of_another_pool_or_node_are_as_none() {
    let origins = origins();
    let proxy = Proxy::start(&config(&origins, &[], "sticky: cookie"));
    let other = Proxy::start(&config(&origins, &[], "sticky: cookie"));
    let own = bound_to(&proxy, "b");
    let foreign = bound_to(&other, "b");
    assert_ne!(own, foreign, "each node has a secret of its own");
    let mut forged = own.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    let cut = &own[..own.len() - 1];
    for bad in [
        &foreign,
        &forged,
        cut,
        "evenkeel=",
        "evenkeel=b",
        "evenkeel",
    ] {
        let names: BTreeSet<String> = (0..6)
            .map(|_| {
                let answer = with(&proxy, bad);
                assert!(cookie(&answer).is_some(), "{bad}: a good one is set");
                answer.origin()
            })
            .collect();
        assert_eq!(names.len(), 3, "{bad}: balanced as anybody");
    }
    // A client may have two of the name, of different paths: the good one counts.
    for _ in 0..6 {
        assert_eq!(with(&proxy, &format!("{foreign}; {own}")).origin(), "b");
    }
}

#[test]
fn nodes_with_one_secret_understand_each_other() {
    let origins = origins();
    let text = config(&origins, &[], "sticky: { cookie: node }");
    let text = format!("{text}secret: \"0123456789abcdef0123456789abcdef\"\n");
    let (one, other) = (Proxy::start(&text), Proxy::start(&text));
    let cookie = bound_to(&one, "c");
    assert!(cookie.starts_with("node="), "{cookie}");
    for _ in 0..6 {
        let answer = with(&other, &cookie);
        assert_eq!(answer.origin(), "c");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn the_attributes_of_the_cookie_are_those_of_the_file() {
    let origins = origins();
    let proxy = Proxy::start(&config(
        &origins,
        &[],
        "sticky: { cookie: { name: node, expires: 1h, domain: example.com, path: /app, secure: always, \
         same_site: strict, http_only: false } }",
    ));
    let set = proxy.get("/").header("set-cookie").expect("set");
    let parts: Vec<&str> = set.split("; ").collect();
    assert!(parts[0].starts_with("node="), "{set}");
    assert_eq!(parts[1], "Max-Age=3600");
    assert!(
        parts[2].starts_with("Expires=") && parts[2].ends_with(" GMT"),
        "{set}"
    );
    assert_eq!(
        parts[3..],
        [
            "Domain=example.com",
            "Path=/app",
            "SameSite=Strict",
            "Secure"
        ]
    );
}

#[test]
fn over_http2_and_tls_it_is_the_same_and_secure() {
    let origins = origins();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let site = Site::with(&addresses, "sticky: cookie", OWN, "");
    let mut wire = site.h2();
    let first = wire.get("/");
    let set = first.header("set-cookie").expect("set");
    assert!(set.ends_with("; HttpOnly; Secure"), "{set}");
    let cookie = set.split(';').next().expect("a value").to_owned();
    let server = first.header("x-origin").expect("named");
    for _ in 0..6 {
        // RFC 9113, 8.2.3: cookies may come in crumbs.
        let crumbs = [("cookie", "theme=dark"), ("cookie", cookie.as_str())];
        let answer = wire.get_with("/", &crumbs);
        assert_eq!(answer.header("x-origin"), Some(server.clone()));
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn a_server_that_dies_hands_its_clients_on_once() {
    let mut origins = origins();
    let proxy = Proxy::start(&config(&origins, &[], "sticky: cookie"));
    let old = bound_to(&proxy, "b");
    let at = origins
        .iter()
        .position(|it| it.name() == "b")
        .expect("there");
    origins[at].stop();
    let answer = with(&proxy, &old);
    let new = cookie(&answer).expect("bound anew");
    let server = answer.origin();
    assert_ne!(server, "b");
    for _ in 0..10 {
        let answer = with(&proxy, &new);
        assert_eq!(answer.origin(), server);
        assert_eq!(answer.header("set-cookie"), None);
    }
    origins[at].restart();
    for _ in 0..10 {
        assert_eq!(
            with(&proxy, &new).origin(),
            server,
            "handed on once, not back"
        );
    }
}

#[test]
fn clients_of_a_server_that_goes_are_shared_evenly() {
    let origins = origins();
    let text = |down: &str| config(&origins, &["", down, ""], "sticky: { header: X-User }");
    let proxy = Proxy::start(&text(""));
    let of = |user: usize| {
        let user = format!("user-{user}");
        proxy
            .ask("/")
            .with("X-User", &user)
            .send()
            .expect(200)
            .origin()
    };
    let before: Vec<String> = (0..90).map(of).collect();
    reload(&proxy, &text("down: true"));
    let after: Vec<String> = (0..90).map(of).collect();
    let mut handed_on = BTreeMap::new();
    for (before, after) in before.iter().zip(&after) {
        match before.as_str() {
            "b" => *handed_on.entry(after.as_str()).or_insert(0) += 1,
            _ => assert_eq!(before, after, "others stay"),
        }
    }
    assert_eq!(handed_on, BTreeMap::from([("a", 15), ("c", 15)]));
    reload(&proxy, &text(""));
    let back: Vec<String> = (0..90).map(of).collect();
    assert_eq!(back, after, "nobody is handed on again");
}

#[test]
fn new_clients_come_by_weight() {
    let origins = origins();
    let servers = ["weight: 3", "weight: 2", "weight: 1"];
    let keys = "balance: weighted, sticky: { header: X-User }";
    let proxy = Proxy::start(&config(&origins, &servers, keys));
    let mut counts = BTreeMap::new();
    for round in 0..3 {
        for user in 0..60 {
            let user = format!("user-{user}");
            let answer = proxy.ask("/").with("X-User", &user).send().expect(200);
            if round == 0 {
                *counts.entry(answer.origin()).or_insert(0) += 1;
            }
        }
    }
    let counts: Vec<(&str, i32)> = counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counts, [("a", 30), ("b", 20), ("c", 10)]);
}

#[test]
fn a_full_server_keeps_its_clients_and_others_stand_in() {
    let gate = Gate::new();
    let origins: Vec<Origin> = ["a", "b"]
        .iter()
        .map(|name| {
            let (gate, name) = (gate.clone(), (*name).to_owned());
            Origin::answering(move |seen| {
                if seen.head.target == "/wait" {
                    gate.wait();
                }
                Reply::text(&name).with("X-Origin", &name)
            })
        })
        .collect();
    let servers: Vec<String> = ["a", "b"]
        .iter()
        .zip(&origins)
        .map(|(name, it)| {
            let at = it.address();
            format!("{{ name: {name}, address: \"{at}\", max_connections: 1 }}")
        })
        .collect();
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nstate: \"@DIR@/state\"\n\
         routes: [ {{ pool: app }} ]\npools: {{ app: {{ sticky: cookie, servers: [ {} ] }} }}\n",
        servers.join(", ")
    ));
    // One connection: when its second request is read, the first one has left the server.
    let mut holding = proxy.wire();
    let first = holding.ask(crate::GET).expect(200);
    let (server, cookie) = (first.text(), cookie(&first).expect("set"));
    holding.send(proxy.ask("/wait").with("Cookie", &cookie).to_bytes());
    let asked = || origins.iter().map(Origin::requests).sum::<usize>();
    until_true("the server is full", || asked() == 2);
    let elsewhere = with(&proxy, &cookie);
    assert_ne!(elsewhere.text(), server);
    assert_eq!(elsewhere.header("set-cookie"), None, "it stays bound");
    gate.open();
    assert_eq!(holding.answer().expect(200).text(), server);
    until_true("it is served where it is bound", || {
        with(&proxy, &cookie).text() == server
    });
}

/// Origins of an application that makes sessions: it sets a mark with `/login`, and `/logout` takes it away.
fn applications(set: fn(Reply, &str) -> Reply) -> Vec<Origin> {
    let made = Arc::new(AtomicUsize::new(0));
    ["a", "b", "c"]
        .iter()
        .map(|name| {
            let (made, name) = (made.clone(), (*name).to_owned());
            Origin::answering(move |seen| {
                let reply = Reply::text(&name);
                match seen.head.target.as_str() {
                    "/login" => {
                        let number = made.fetch_add(1, Ordering::Relaxed);
                        set(reply, &format!("{name}-session-{number}"))
                    }
                    _ => reply,
                }
            })
        })
        .collect()
}

fn addresses(origins: &[Origin]) -> Vec<std::net::SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

#[test]
fn a_session_cookie_of_the_application_is_learned() {
    let origins = applications(|reply, session| {
        reply.with("Set-Cookie", "theme=dark; Path=/").with(
            "Set-Cookie",
            &format!("JSESSIONID={session}; Path=/; HttpOnly"),
        )
    });
    let keys = "sticky: { learn: { cookie: JSESSIONID } }";
    let proxy = Proxy::before_with(&addresses(&origins), keys, "state: \"@DIR@/state\"");
    let sessions: Vec<(String, String)> = (0..9)
        .map(|_| {
            let answer = proxy.get("/login").expect(200);
            let sets = answer.headers("set-cookie");
            assert_eq!(sets.len(), 2, "the application's own and no more: {sets:?}");
            let cookie = sets[1].split(';').next().expect("a value").to_owned();
            (answer.text(), cookie)
        })
        .collect();
    for _ in 0..4 {
        for (server, cookie) in &sessions {
            assert_eq!(&with(&proxy, cookie).text(), server);
        }
    }
    let made_up: BTreeSet<String> = (0..6)
        .map(|_| with(&proxy, "JSESSIONID=made-up").text())
        .collect();
    assert_eq!(made_up.len(), 3, "clients teach nothing");
}

#[test]
fn a_session_header_of_the_application_is_learned() {
    let origins = applications(|reply, session| reply.with("X-Session", session));
    let keys = "sticky: { learn: { header: X-Session } }";
    let proxy = Proxy::before_with(&addresses(&origins), keys, "state: \"@DIR@/state\"");
    let sessions: Vec<(String, String)> = (0..6)
        .map(|_| {
            let answer = proxy.get("/login").expect(200);
            (answer.text(), answer.header("x-session").expect("made"))
        })
        .collect();
    for _ in 0..4 {
        for (server, session) in &sessions {
            let answer = proxy.ask("/").with("X-Session", session).send().expect(200);
            assert_eq!(&answer.text(), server);
        }
    }
}

#[test]
fn an_address_keeps_its_server_over_every_protocol() {
    let origins = origins();
    let trusted = "trusted_proxies: [ \"127.0.0.0/8\" ]\n";
    let text = format!(
        "{}{trusted}",
        config(&origins, &[], "sticky: client_address")
    );
    let proxy = Proxy::start(&text);
    let of = |client: &str| {
        let ask = proxy.ask("/").with("X-Forwarded-For", client);
        ask.send().expect(200).origin()
    };
    let clients = ["192.0.2.1", "192.0.2.2", "2001:db8::3", "192.0.2.4"];
    let before: Vec<String> = clients.iter().map(|client| of(client)).collect();
    assert!(
        before.iter().collect::<BTreeSet<_>>().len() == 3,
        "{before:?}"
    );
    for _ in 0..5 {
        let now: Vec<String> = clients.iter().map(|client| of(client)).collect();
        assert_eq!(now, before);
    }
    let mut wire = H2Wire::connect(proxy.address());
    for (client, server) in clients.iter().zip(before) {
        let answer = wire.get_with("/", &[("x-forwarded-for", client)]);
        assert_eq!(answer.header("x-origin"), Some(server));
    }
}

#[test]
fn a_tls_session_keeps_its_server() {
    let origins = origins();
    let tls = format!("{OWN}, tickets: off");
    let site = Site::with(&addresses(&origins), "sticky: tls_session", &tls, "");
    let client = site.client().only_tls12().without_tickets();
    let ask = |client: &keel_testkit::TlsClient| {
        let mut wire = client.connect(site.address());
        let names = (0..3).map(|_| wire.ask(crate::GET).expect(200).origin());
        names.collect::<Vec<String>>()
    };
    ask(&client);
    // The first connection had no session yet; from the second on the client is known.
    let known = ask(&client);
    assert!(known.iter().all(|name| *name == known[0]), "{known:?}");
    for _ in 0..4 {
        assert_eq!(ask(&client), known);
    }
}

#[test]
fn a_websocket_is_bound_as_any_request_is() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::websocket()).collect();
    let proxy = Proxy::before_with(
        &addresses(&origins),
        "sticky: cookie",
        "state: \"@DIR@/state\"",
    );
    let open = |cookie: Option<&str>| {
        let mut wire = proxy.wire();
        let ask = proxy
            .ask("/chat")
            .with("Connection", "Upgrade")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13")
            .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let ask = match cookie {
            Some(cookie) => ask.with("Cookie", cookie),
            None => ask,
        };
        wire.send(ask.to_bytes());
        let head = wire.head("GET").expect("an answer");
        assert_eq!(head.status, 101);
        (wire, head.fields.first("set-cookie"))
    };
    let (_first, set) = open(None);
    let set = set.expect("the 101 sets it");
    let cookie = set.split(';').next().expect("a value").to_owned();
    let more: Vec<_> = (0..5).map(|_| open(Some(&cookie))).collect();
    assert!(more.iter().all(|(_, set)| set.is_none()));
    let mut open: Vec<usize> = origins.iter().map(Origin::open).collect();
    open.sort_unstable();
    assert_eq!(open, [0, 0, 6]);
}

#[test]
fn cookies_are_good_after_a_restart_and_tables_after_a_reload() {
    let origins = origins();
    let scratch = Scratch::new();
    let state = scratch.path().join("state").display().to_string();
    let text = config(&origins, &[], "sticky: cookie").replace("@DIR@/state", &state);
    let cookie = bound_to(&Proxy::start(&text), "b");
    let proxy = Proxy::start(&text);
    for _ in 0..6 {
        assert_eq!(with(&proxy, &cookie).origin(), "b");
    }
    let text = |weight: &str| config(&origins, &[weight], "sticky: { header: X-User }");
    let proxy = Proxy::start(&text(""));
    let of = |user: usize| {
        let user = format!("user-{user}");
        proxy
            .ask("/")
            .with("X-User", &user)
            .send()
            .expect(200)
            .origin()
    };
    let before: Vec<String> = (0..30).map(of).collect();
    for weight in ["weight: 5", "", "max_fails: 2"] {
        reload(&proxy, &text(weight));
        let after: Vec<String> = (0..30).map(of).collect();
        assert_eq!(after, before);
    }
}
