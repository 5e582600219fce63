//! Checks by HTTP/1.1 and HTTP/2.

use std::time::Duration;

use keel_balance::StatusSet;
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, H2Origin, H2Reply, Origin, Reply, TlsServer};
use keel_tls::ServerName;
use keel_upstream::check::{CheckProtocol, Expect, HttpProbe, JsonTest, Probe};

use crate::tools::{connector, fault, passes, plan, run, target};

fn get(path: &str) -> HttpProbe {
    HttpProbe {
        path: path.to_owned(),
        ..HttpProbe::default()
    }
}

fn over2(probe: HttpProbe) -> Probe {
    Probe::Http(HttpProbe {
        protocol: CheckProtocol::Http2,
        ..probe
    })
}

fn healthy() -> Vec<JsonTest> {
    vec![JsonTest {
        path: vec!["status".to_owned()],
        value: "healthy".to_owned(),
    }]
}

#[tokio::test]
async fn what_is_sent_is_what_was_told() {
    let origin = Origin::fixed("HTTP/1.1 204 No Content\r\n\r\n");
    let probe = HttpProbe {
        method: "POST".to_owned(),
        host: Some("app.example.com".to_owned()),
        headers: vec![
            ("X-Probe".to_owned(), "yes".to_owned()),
            ("user-agent".to_owned(), "mine/1".to_owned()),
        ],
        ..get("/health?deep=1")
    };
    passes(Probe::Http(probe), origin.address()).await;
    assert_eq!(
        origin.received_text(0),
        "POST /health?deep=1 HTTP/1.1\r\nHost: app.example.com\r\nAccept: */*\r\nX-Probe: yes\r\n\
         user-agent: mine/1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    passes(Probe::Http(get("/")), origin.address()).await;
    assert_eq!(
        origin.received_text(1),
        format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: evenkeel-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            origin.address()
        )
    );
}

#[tokio::test]
async fn statuses_decide() {
    let origin = Origin::named("a");
    for (path, wanted) in [
        ("/status/200", None),
        ("/status/302", None),
        (
            "/status/404",
            Some("status 404 is not one of those expected"),
        ),
        (
            "/status/503",
            Some("status 503 is not one of those expected"),
        ),
    ] {
        let found = run(Probe::Http(get(path)), origin.address()).await;
        let fault = found.result.err().map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), wanted, "{path}");
    }
    let only_401 = HttpProbe {
        statuses: StatusSet::of([401]),
        ..get("/status/401")
    };
    passes(Probe::Http(only_401), origin.address()).await;
}

/// All framings of a body, over both protocols.
#[tokio::test]
async fn bodies_are_looked_into() {
    let plain = Origin::answering(|seen| match seen.head.target.as_str() {
        "/chunked" => Reply::new(200).chunks(&["all sys", "tems go"], "X-End: 1\r\n"),
        "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nall systems go").close(),
        _ => Reply::text("all systems go"),
    });
    let second = H2Origin::new("b").answering(|_| H2Reply::text("all systems go"));
    let with = |path: &str, expect: Expect| HttpProbe {
        body: Some(expect),
        ..get(path)
    };
    let text = || Expect::Bytes(b"systems go".to_vec());
    for path in ["/length", "/chunked", "/close"] {
        passes(Probe::Http(with(path, text())), plain.address()).await;
        let regex = Expect::regex("^all .* go$").unwrap();
        passes(Probe::Http(with(path, regex)), plain.address()).await;
        let wrong = with(path, Expect::Bytes(b"no go".to_vec()));
        let fault = fault(Probe::Http(wrong), plain.address()).await;
        assert!(
            fault.ends_with("`no go` is not in `all systems go`"),
            "{path}: {fault}"
        );
    }
    passes(over2(with("/", text())), second.address()).await;
    let wrong = with("/", Expect::Bytes(b"no go".to_vec()));
    let fault = fault(over2(wrong), second.address()).await;
    assert!(
        fault.ends_with("`no go` is not in `all systems go`"),
        "{fault}"
    );
}

#[tokio::test]
async fn no_more_than_the_limit_is_read_of_a_body() {
    let plain = Origin::answering(|seen| match seen.head.target.as_str() {
        "/chunked" => Reply::new(200).pattern_chunks(50_000_000),
        "/close" => Reply::new(200).pattern_until_close(50_000_000),
        _ => Reply::new(200).pattern(50_000_000),
    });
    let second = H2Origin::new("b").answering(|_| H2Reply::new(200).pattern(1_000_000));
    for path in ["/length", "/chunked", "/close"] {
        passes(Probe::Http(get(path)), plain.address()).await;
    }
    passes(over2(get("/")), second.address()).await;
    let probe = HttpProbe {
        body: Some(Expect::Bytes(b"never".to_vec())),
        ..get("/length")
    };
    let fault = fault(Probe::Http(probe), plain.address()).await;
    assert!(
        fault.contains("`never` is not in 65536 bytes that begin"),
        "{fault}"
    );
}

#[tokio::test]
async fn json_decides_and_is_shown() {
    let origin = Origin::answering(|seen| match seen.head.target.as_str() {
        "/well" => Reply::text(
            r#"{"status": "healthy", "version": "2.1", "uptime": 77, "checks": {"database": true, "disk": "ok"}}"#,
        ),
        "/ill" => Reply::new(503).body(r#"{"status": "unhealthy", "checks": {"redis": false}}"#),
        "/text" => Reply::text("healthy"),
        _ => Reply::text(r#"{"status": "degraded"}"#),
    });
    let probe = |path: &str| {
        Probe::Http(HttpProbe {
            json: healthy(),
            ..get(path)
        })
    };
    let well = run(probe("/well"), origin.address()).await;
    assert_eq!(well.result, Ok(()));
    let app = well.app.unwrap();
    assert_eq!(app.version.as_deref(), Some("2.1"));
    assert_eq!(app.uptime_s, Some(77.0));
    assert_eq!(app.checks.len(), 2);
    // Why it is ill is worth showing as well.
    let ill = run(probe("/ill"), origin.address()).await;
    assert_eq!(
        ill.result.unwrap_err().to_string(),
        "status 503 is not one of those expected"
    );
    assert_eq!(
        ill.app.unwrap().checks,
        [("redis".to_owned(), "false".to_owned())]
    );
    let other = fault(probe("/other"), origin.address()).await;
    assert!(
        other.ends_with("`status` is `degraded`, not `healthy`"),
        "{other}"
    );
    let text = fault(probe("/text"), origin.address()).await;
    assert!(text.ends_with("`healthy` is not a JSON object"), "{text}");
}

/// What the data plane would not pass on does not pass a check either.
#[tokio::test]
async fn broken_answers_fail() {
    for (answer, says) in [
        ("", "the connection ended before the answer"),
        (
            "HTTP/1.1 200 OK\r\nContent-Le",
            "the connection ended before the answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "the connection ended before the answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
            "the connection ended before the answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "the answer is not of the protocol",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "the answer is not of the protocol",
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "the answer is not of the protocol",
        ),
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            "the answer is not of the protocol",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "the answer is not of the protocol",
        ),
    ] {
        let origin = Origin::fixed(answer);
        let fault = fault(Probe::Http(get("/")), origin.address()).await;
        assert!(fault.starts_with(says), "{answer:?}: {fault}");
    }
    let flood = Origin::fixed("HTTP/1.1 102 Processing\r\n\r\n".repeat(100));
    let fault = fault(Probe::Http(get("/")), flood.address()).await;
    assert!(fault.contains("interim"), "{fault}");
}

#[tokio::test]
async fn interim_answers_and_head_are_no_trouble() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::fixed(answer);
    passes(Probe::Http(get("/")), origin.address()).await;
    let head = HttpProbe {
        method: "HEAD".to_owned(),
        ..get("/")
    };
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    passes(Probe::Http(head), origin.address()).await;
}

#[tokio::test]
async fn slow_answers_end_with_the_timeout() {
    let plain = Origin::answering(|_| Reply::text("late").after(Duration::from_secs(2)));
    let second = H2Origin::new("b").answering(|_| H2Reply::silence());
    let says = "no answer within the timeout";
    assert_eq!(fault(Probe::Http(get("/")), plain.address()).await, says);
    assert_eq!(fault(over2(get("/")), second.address()).await, says);
    // Head and half of the body in time.
    let half = Origin::scripted(|stage| {
        stage.head();
        stage.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        stage.until_end();
    });
    assert_eq!(fault(Probe::Http(get("/")), half.address()).await, says);
}

#[tokio::test]
async fn http2_faults_are_told() {
    for (reply, says) in [
        (H2Reply::new(500), "status 500"),
        (
            H2Reply::reset(11),
            "the answer is not of the protocol: HTTP/2: ",
        ),
        (
            H2Reply::text("half").then_reset(2),
            "the answer is not of the protocol: HTTP/2: ",
        ),
        (H2Reply::unprocessed(), ""),
    ] {
        let origin = H2Origin::new("b").answering(move |_| reply.clone());
        let fault = fault(over2(get("/")), origin.address()).await;
        assert!(fault.starts_with(says), "{fault}");
    }
    // A server of HTTP/1.1 that is spoken to in HTTP/2.
    let plain = Origin::scripted(|stage| {
        stage.some();
        stage.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let fault = fault(over2(get("/")), plain.address()).await;
    assert!(
        fault.starts_with("the answer is not of the protocol")
            || fault.starts_with("the connection ended"),
        "{fault}"
    );
}

#[tokio::test]
async fn over_tls_the_protocol_is_what_alpn_chose() {
    let (ca, scratch) = (Ca::new("one"), Scratch::new());
    let leaf = ca.leaf(&["localhost"]);
    let both = TlsServer::with_alpn(&leaf, &["h2"]);
    let second = H2Origin::new("b").tls(&both).echo();
    let first = TlsServer::with_alpn(&leaf, &["http/1.1"]).named("a");
    let tls = |alpn: &[&str]| Some(connector(&ca, &scratch, ServerName::Own, alpn));
    for (protocol, alpn, address, says) in [
        (CheckProtocol::Http2, &["h2"][..], second.address(), None),
        (
            CheckProtocol::Auto,
            &["h2", "http/1.1"],
            second.address(),
            None,
        ),
        (
            CheckProtocol::Auto,
            &["h2", "http/1.1"],
            first.address(),
            None,
        ),
        (CheckProtocol::Http1, &["http/1.1"], first.address(), None),
        (
            CheckProtocol::Http1,
            &["h2"],
            second.address(),
            Some("chose HTTP/2 by ALPN"),
        ),
        (
            CheckProtocol::Http2,
            &["h2", "http/1.1"],
            first.address(),
            Some("did not choose HTTP/2"),
        ),
    ] {
        let mut plan = plan(Probe::Http(HttpProbe {
            protocol,
            ..get("/")
        }));
        plan.tls = tls(alpn);
        let fault = plan.run(&target(address)).await.result.err();
        let fault = fault.map(|fault| fault.to_string());
        match says {
            None => assert_eq!(fault, None, "{protocol:?} {alpn:?}"),
            Some(says) => assert!(fault.is_some_and(|fault| fault.contains(says)), "{says}"),
        }
    }
}

#[test]
fn what_cannot_be_sent_is_told_beforehand() {
    let plan = |probe: HttpProbe| plan(Probe::Http(probe)).fault();
    assert_eq!(plan(get("/health?a=b")), None);
    let header = |name: &str, value: &str| HttpProbe {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..get("/")
    };
    for (probe, says) in [
        (get("health"), "not a path"),
        (get("/a b"), "not a path"),
        (get("/a\r\nX: y"), "not a path"),
        (header("X Y", "z"), "not the name of a header"),
        (header("X", "a\r\nb"), "bytes that no header may have"),
        (
            header("Transfer-Encoding", "chunked"),
            "written by the check itself",
        ),
        (
            HttpProbe {
                method: "GE T".to_owned(),
                ..get("/")
            },
            "not a method",
        ),
        (
            HttpProbe {
                host: Some("a b".to_owned()),
                ..get("/")
            },
            "not a host",
        ),
    ] {
        let fault = plan(probe).unwrap();
        assert!(fault.contains(says), "{fault}");
    }
}
