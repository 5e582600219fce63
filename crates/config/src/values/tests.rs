//! Tests of single values: addresses, names, patterns.

use super::*;
use crate::model::{EndpointHost, HostPattern, LogTarget};

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> &'static str {
    result.expect_err("a fault").code.id
}

#[test]
fn durations() {
    for (text, ms) in [
        ("30s", 30_000),
        ("1.5h", 5_400_000),
        ("250ms", 250),
        ("2d", 172_800_000),
        ("0s", 0),
    ] {
        assert_eq!(duration(text), Ok(ms), "{text}");
    }
    for (text, expected, guess) in [
        ("30", "E0104", None),
        ("30sec", "E0105", Some("30s")),
        ("5 min", "E0105", Some("5m")),
        ("10MB", "E0105", None),
        ("1m30s", "E0105", Some("90s")),
        ("-1s", "E0103", None),
        ("soon", "E0103", None),
        ("1..5s", "E0103", None),
        ("", "E0103", None),
    ] {
        let fault = duration(text).expect_err(text);
        assert_eq!(
            (fault.code.id, fault.guess.as_deref()),
            (expected, guess),
            "{text}"
        );
    }
    assert_eq!(duration("99999999999999999999999999d"), Ok(u64::MAX));
}

#[test]
fn sizes_are_1024_based() {
    for (text, bytes) in [
        ("100MB", 100 * 1024 * 1024),
        ("100MiB", 100 * 1024 * 1024),
        ("64kb", 65_536),
        ("1.5GB", 1_610_612_736),
        ("0B", 0),
        ("1TiB", 1 << 40),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    assert_eq!(
        size("10m").expect_err("nginx's unit").guess.as_deref(),
        Some("10MB")
    );
    assert_eq!(code(size("10")), "E0104");
    assert_eq!(code(size("10h")), "E0105");
}

#[test]
fn numbers() {
    assert_eq!(whole("42"), Ok(42));
    assert_eq!(whole("-1"), Ok(-1));
    assert_eq!(whole("99999999999999999999"), Ok(i64::MAX));
    assert_eq!(
        whole("1_000").expect_err("underscore").guess.as_deref(),
        Some("1000")
    );
    assert_eq!(
        whole("010").expect_err("octal").guess.as_deref(),
        Some("10")
    );
    assert_eq!(code(whole("0x10")), "E0110");
    assert_eq!(decimal("1.25"), Ok(1.25));
    assert_eq!(code(decimal("1e3")), "E0110");
    assert_eq!(percent("2.5%"), Ok(2.5));
    assert_eq!(code(percent("2")), "E0104");
}

#[test]
fn addresses() {
    let shown = |text: &str| bind(text).map(|endpoint| endpoint.to_string());
    assert_eq!(shown(":80").as_deref(), Ok("0.0.0.0:80"));
    assert_eq!(shown("[::]:80").as_deref(), Ok("[::]:80"));
    assert_eq!(shown("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
    let named = server_address("App.Internal.:8080").expect("a name");
    assert_eq!(named.host, EndpointHost::Name("app.internal".to_owned()));
    for (text, guess) in [
        ("80", Some(":80")),
        ("*:80", Some(":80")),
        ("http://127.0.0.1:80/x", Some("127.0.0.1:80")),
        ("127.0.0.1", None),
        ("127.0.0.1:99999", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:http", None),
        ("127.0.0.256:80", None),
        ("::1:80", Some("[::1]:80")),
        ("fe80::abcd", None),
        ("[::1:80", None),
        ("[::1]x", None),
    ] {
        let fault = bind(text).expect_err(text);
        assert_eq!(
            (fault.code.id, fault.guess.as_deref()),
            ("E0201", guess),
            "{text}"
        );
    }
    assert_eq!(code(server_address(":80")), "E0201");
    assert_eq!(code(server_address("a:0")), "E0201");
    assert_eq!(code(server_address("a b:80")), "E0203");
    assert_eq!(code(bind("caf\u{e9}:80")), "E0203");
    assert_eq!(host_header("example.com"), Ok(()));
    assert_eq!(host_header("[::1]:80"), Ok(()));
}

#[test]
fn networks() {
    let read = |text: &str| network(text).map(|(net, cut)| (net.to_string(), cut));
    assert_eq!(read("10.0.0.0/8"), Ok(("10.0.0.0/8".to_owned(), false)));
    assert_eq!(read("10.1.2.3/8"), Ok(("10.0.0.0/8".to_owned(), true)));
    assert_eq!(read("192.0.2.1"), Ok(("192.0.2.1/32".to_owned(), false)));
    assert_eq!(
        read("2001:db8::/32"),
        Ok(("2001:db8::/32".to_owned(), false))
    );
    for text in [
        "10.0.0.0/33",
        "10.0.0.0/255.0.0.0",
        "10.0.0/8",
        "private",
        "10.0.0.0/",
        "::/129",
        "1.2.3.4/+8",
    ] {
        assert_eq!(code(network(text)), "E0202", "{text}");
    }
}

#[test]
fn hosts() {
    assert_eq!(
        host_pattern("API.Example.com."),
        Ok(HostPattern::Exact("api.example.com".to_owned()))
    );
    assert_eq!(
        host_pattern("*.example.com"),
        Ok(HostPattern::Wildcard("example.com".to_owned()))
    );
    assert_eq!(host_pattern("*"), Ok(HostPattern::Any));
    assert_eq!(
        host_pattern("[::1]"),
        Ok(HostPattern::Exact("[::1]".to_owned()))
    );
    for (text, guess) in [
        ("example.com:80", Some("example.com")),
        ("https://example.com/x", Some("example.com")),
        (".example.com", Some("*.example.com")),
        ("::1", Some("[::1]")),
        ("a.*.com", None),
        ("a..b", None),
        ("~^api", None),
    ] {
        let fault = host_pattern(text).expect_err(text);
        assert_eq!(
            (fault.code.id, fault.guess.as_deref()),
            ("E0203", guess),
            "{text}"
        );
    }
}

#[test]
fn paths() {
    for text in ["/", "/api/", "/a%20b", "/a%2fb", "/%41", "/~x/.y"] {
        assert_eq!(path(text), Ok(()), "{text}");
    }
    for text in [
        "api",
        "^/v1",
        "/a?b",
        "/a#b",
        "/a//b",
        "/a/../b",
        "/a b",
        "/caf\u{e9}",
        "/api/*",
        "/a%2",
        "/a\\b",
    ] {
        assert_eq!(code(path(text)), "E0204", "{text}");
    }
    assert_eq!(glob("/a/*/b"), Ok(()));
    assert_eq!(code(glob("/a?b")), "E0204");
    assert_eq!(code(glob("*.php")), "E0204");
    assert_eq!((exact_path("*"), exact_path("/a")), (Ok(()), Ok(())));
    assert_eq!(code(exact_path("/a*")), "E0204");
    assert_eq!(code(path("*")), "E0204");
}

#[test]
fn fields_and_methods() {
    assert_eq!(field_name("X-Tenant"), Ok(()));
    assert_eq!(
        field_name("X-A:").expect_err("colon").guess.as_deref(),
        Some("X-A")
    );
    assert_eq!(code(field_name("X A")), "E0206");
    assert_eq!(code(query_name("a=b")), "E0206");
    assert_eq!(code(field_value("a\r\nb")), "E0207");
    assert_eq!(field_value("a\tb"), Ok(()));
    assert_eq!(method("PROPFIND"), Ok(()));
    assert_eq!(
        method("get").expect_err("case").guess.as_deref(),
        Some("GET")
    );
    assert_eq!(code(method("GET POST")), "E0205");
    assert_eq!(media_type("text/html; charset=utf-8"), Ok(()));
    assert_eq!(code(media_type("html")), "E0217");
    assert_eq!(code(name("a b")), "E0209");
    assert_eq!(code(name("-a")), "E0209");
    assert_eq!(server_name("[::1]:80"), Ok(()));
    assert_eq!(server_name("10.0.0.1:80"), Ok(()));
}

#[test]
fn statuses() {
    let set = status_set("500, 502-504").expect("statuses");
    assert_eq!((set.classes, set.codes), (vec![], vec![500, 502, 503, 504]));
    assert_eq!(status_set("5xx").expect("a class").classes, [5]);
    for text in ["200", "600", "5x", "504-502", "", "404,", "0404"] {
        assert_eq!(code(status_set(text)), "E0210", "{text}");
    }
}

#[test]
fn destinations() {
    assert_eq!(log_target("stdout"), Ok(LogTarget::Stdout));
    assert_eq!(
        log_target("file:a.log"),
        Ok(LogTarget::File("a.log".into()))
    );
    assert_eq!(
        log_target("/var/log/a"),
        Ok(LogTarget::File("/var/log/a".into()))
    );
    assert_eq!(
        log_target("syslog:/dev/log"),
        Ok(LogTarget::SyslogUnix("/dev/log".into()))
    );
    let udp = log_target("syslog:udp:[::1]").expect("an address");
    assert!(matches!(udp, LogTarget::SyslogUdp(to) if to.to_string() == "[::1]:514"));
    for text in [
        "access.log",
        "syslog",
        "syslog:tcp:a:1",
        "file:",
        "logs/",
        "http://a/b",
        "syslog:udp:logs.internal:514",
        "syslog:udp:localhost",
    ] {
        assert_eq!(code(log_target(text)), "E0211", "{text}");
    }
    for text in ["https://a$uri", "/x", "$scheme://x"] {
        assert_eq!(redirect_target(text), Ok(()), "{text}");
    }
    for text in ["http", "//evil", "www.example.com", "https://", "a b"] {
        assert_eq!(code(redirect_target(text)), "E0212", "{text}");
    }
    assert_eq!(log_format("$remote_addr"), Ok(()));
    assert_eq!(
        log_format("combind").expect_err("slip").guess.as_deref(),
        Some("combined")
    );
}

#[test]
fn fingerprints() {
    let mut expected = [0xAB; 32];
    expected[0] = 0x01;
    let plain = format!("01{}", "ab".repeat(31));
    assert_eq!(fingerprint(&plain), Ok(expected));
    let colons = format!("01{}", ":AB".repeat(31));
    assert_eq!(fingerprint(&colons), Ok(expected));
    assert_eq!(fingerprint(&format!("sha256:{plain}")), Ok(expected));
    for wrong in [
        "",
        "01",
        &format!("{plain}00"),
        &format!("0x{}", &plain[2..]),
    ] {
        let fault = fingerprint(wrong).expect_err(wrong);
        assert_eq!(fault.code.id, "E0220", "{wrong}");
    }
}

#[test]
fn rates() {
    assert_eq!(rate("100r/s"), Ok(100));
    assert_eq!(rate("1000000r/s"), Ok(1_000_000));
    for wrong in [
        "",
        "100",
        "100/s",
        "100r",
        "r/s",
        "60r/m",
        "0r/s",
        "1000001r/s",
        "-1r/s",
        "1.5r/s",
        "0100r/s",
        "100R/s",
        "100r/s ",
    ] {
        assert!(rate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_in_tls() {
    assert_eq!(tls_name("App.Internal."), Ok("app.internal".to_owned()));
    assert_eq!(tls_name("::1"), Ok("::1".to_owned()));
    for wrong in ["", "*.internal", "app:443", "[::1]", "a..b"] {
        assert!(tls_name(wrong).is_err(), "{wrong}");
    }
    for right in ["localhost", "*.dev.internal", "127.0.0.1", "2001:db8::1"] {
        assert_eq!(certificate_name(right), Ok(()), "{right}");
    }
    for wrong in ["*", "a.*.b", "[::1]", "a.b:443", "https://a.b"] {
        assert!(certificate_name(wrong).is_err(), "{wrong}");
    }
}
