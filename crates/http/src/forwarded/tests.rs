//! Client addresses, honest and forged. 10.0.0.0/8 and fd00::/8 are trusted.

use super::*;
use crate::request::{HeadLimits, RequestHead};
use proptest::prelude::*;

fn is_trusted(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
    }
}

fn client(fields: &str, peer: &str) -> String {
    let buf = format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::new();
    head.parse(&buf, &HeadLimits::default()).unwrap();
    let peer = peer.parse().unwrap();
    client_address(&head.fields, &buf, peer, &is_trusted, &DEFAULT_ORDER).to_string()
}

#[test]
fn an_untrusted_peer_is_the_client() {
    for fields in [
        "",
        "X-Forwarded-For: 1.1.1.1\r\n",
        "X-Real-IP: 1.1.1.1\r\n",
        "Forwarded: for=1.1.1.1\r\n",
    ] {
        assert_eq!(client(fields, "203.0.113.9"), "203.0.113.9");
    }
}

#[test]
fn x_forwarded_for_from_the_right() {
    for (value, expected) in [
        ("1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.2, 10.0.0.3", "1.1.1.1"),
        ("10.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("1.1.1.1, unknown, 10.0.0.3", "10.0.0.3"),
        ("1.1.1.1, garbage", "10.0.0.1"),
        ("garbage", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("1.1.1.1:5000", "1.1.1.1"),
        ("[2001:db8::1]:5000", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1.1.1.1", "1.1.1.1"),
        ("1.1.1.1,,10.0.0.2", "1.1.1.1"),
        ("1.1.1.1:port", "10.0.0.1"),
        ("010.1.1.1", "10.0.0.1"),
        ("[2001:db8::1]x", "10.0.0.1"),
    ] {
        assert_eq!(
            client(&format!("X-Forwarded-For: {value}\r\n"), "10.0.0.1"),
            expected,
            "{value}"
        );
    }
}

#[test]
fn several_lines_are_one_list() {
    let fields = "X-Forwarded-For: 6.6.6.6\r\nA: b\r\nx-forwarded-for: 1.1.1.1, 10.0.0.2\r\n";
    assert_eq!(client(fields, "10.0.0.1"), "1.1.1.1");
}

#[test]
fn the_order_of_fields_decides() {
    let all = "Forwarded: for=5.5.5.5\r\nX-Client-IP: 4.4.4.4\r\nCF-Connecting-IP: 3.3.3.3\r\nX-Real-IP: 2.2.2.2\r\n";
    assert_eq!(
        client(&format!("{all}X-Forwarded-For: 1.1.1.1\r\n"), "10.0.0.1"),
        "1.1.1.1"
    );
    assert_eq!(client(all, "10.0.0.1"), "2.2.2.2");
    assert_eq!(
        client(&format!("{all}X-Forwarded-For: ?\r\n"), "10.0.0.1"),
        "2.2.2.2"
    );
    assert_eq!(client("Forwarded: for=5.5.5.5\r\n", "10.0.0.1"), "5.5.5.5");
}

#[test]
fn rfc_7239() {
    for (value, expected) in [
        ("for=192.0.2.43", "192.0.2.43"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("by=203.0.113.43; for=192.0.2.60 ;", "192.0.2.60"),
        (
            "for=6.6.6.6, for=\"192.0.2.60:_x\";by=\"a,b;for=7.7.7.7\", for=10.0.0.2",
            "192.0.2.60",
        ),
        ("for=\"_gazonk\"", "10.0.0.1"),
        ("for=unknown", "10.0.0.1"),
        ("for=1.1.1.1, for=_hidden, for=10.0.0.3", "10.0.0.3"),
        ("for=1.1.1.1, proto=https, for=10.0.0.3", "10.0.0.3"),
        ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
        ("for=\"1.1.1.1", "10.0.0.1"),
        ("by=\"a\\\"b\";for=1.1.1.1", "1.1.1.1"),
        ("nonsense", "10.0.0.1"),
    ] {
        assert_eq!(
            client(&format!("Forwarded: {value}\r\n"), "10.0.0.1"),
            expected,
            "{value}"
        );
    }
}

#[test]
fn a_mapped_peer_is_its_ipv4_self() {
    assert_eq!(
        client("X-Forwarded-For: 1.1.1.1\r\n", "::ffff:10.0.0.1"),
        "1.1.1.1"
    );
    assert_eq!(client("", "::ffff:192.0.2.1"), "192.0.2.1");
}

proptest! {
    /// Reading from the left in one pass is the same as walking from the right.
    #[test]
    fn one_pass_is_the_walk_from_the_right(
        nodes in proptest::collection::vec("1\\.1\\.1\\.[1-9]|10\\.0\\.0\\.[1-9]|bad", 0..8),
    ) {
        let mut expected = None;
        for node in nodes.iter().rev() {
            let Ok(ip) = node.parse::<IpAddr>() else { break };
            expected = Some(ip);
            if !is_trusted(ip) {
                break;
            }
        }
        let expected = expected.map_or("10.0.0.1".to_string(), |ip| ip.to_string());
        let fields = format!("X-Forwarded-For: {}\r\n", nodes.join(", "));
        prop_assert_eq!(client(&fields, "10.0.0.1"), &expected[..]);
        let element = |n: &String| format!("for={n}");
        let elements: Vec<String> = nodes.iter().map(element).collect();
        let fields = format!("Forwarded: {}\r\n", elements.join(", "));
        prop_assert_eq!(client(&fields, "10.0.0.1"), &expected[..]);
    }

    #[test]
    fn any_value_is_survived(value in "[ -~]{0,60}") {
        client(&format!("Forwarded: {value}\r\nX-Forwarded-For: {value}\r\n"), "10.0.0.1");
    }
}
