//! Against a real name server on loopback.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use keel_testkit::{DnsServer, Mood, Record};

use super::*;

fn dns(server: &DnsServer, timeout_ms: u64) -> Dns {
    let settings = ResolverSettings {
        servers: vec![server.address()],
        timeout: Duration::from_millis(timeout_ms),
        ..ResolverSettings::default()
    };
    Dns::new(&settings).expect("a client")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    let target = target.to_owned();
    Record::Srv {
        priority,
        weight,
        port,
        target,
    }
}

#[tokio::test]
async fn both_kinds_of_addresses_sorted_with_the_shortest_ttl() {
    let server = DnsServer::start();
    let v4 = |text: &str| Record::A(text.parse().expect("an address"));
    let records = [
        v4("10.0.0.2"),
        Record::Aaaa(Ipv6Addr::LOCALHOST),
        v4("10.0.0.1"),
    ];
    server.set("app.test", 7, records);
    let answer = dns(&server, 5000)
        .host("app.test")
        .await
        .expect("addresses");
    assert_eq!(answer.v4, Some(vec![ip("10.0.0.1"), ip("10.0.0.2")]));
    // Where there is no IPv6 its addresses are left out.
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let v6 = Some(ip("::1")).filter(|_| has_ipv6);
    assert_eq!(answer.v6, Some(v6.into_iter().collect()));
    assert_eq!(answer.ttl, Duration::from_secs(7));
}

#[tokio::test]
async fn a_name_that_stands_for_another_has_the_shorter_ttl_of_both() {
    let server = DnsServer::start();
    server.set("www.test", 3, [Record::Cname("app.test".to_owned())]);
    server.set("app.test", 60, [Record::A([10, 0, 0, 1].into())]);
    let answer = dns(&server, 5000)
        .host("WWW.test")
        .await
        .expect("addresses");
    assert_eq!(answer.addresses().collect::<Vec<_>>(), [ip("10.0.0.1")]);
    assert_eq!(answer.ttl, Duration::from_secs(3));
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let server = DnsServer::start();
    let dns = dns(&server, 1000);
    let unknown = dns.host("nobody.test").await;
    assert_eq!(
        unknown,
        Err(ResolveFault::Unknown("nobody.test".to_owned()))
    );
    server.set("empty.test", 1, []);
    let empty = dns.host("empty.test").await;
    assert_eq!(empty, Err(ResolveFault::Empty("empty.test".to_owned())));
    server.mood(Mood::Fails);
    let failed = dns.host("empty.test").await;
    assert!(
        matches!(failed, Err(ResolveFault::Failed { .. })),
        "{failed:?}"
    );
    server.mood(Mood::Silent);
    let start = Instant::now();
    let silent = dns.host("empty.test").await;
    assert!(silent.is_err(), "{silent:?}");
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "one second at the most: {took:?}"
    );
    let bad = dns.host("a..b").await;
    assert!(matches!(bad, Err(ResolveFault::Name { .. })), "{bad:?}");
}

#[tokio::test]
async fn addresses_of_one_kind_are_enough_and_the_other_is_unknown() {
    let server = DnsServer::start();
    server.set_a("app.test", &["10.0.0.1"]);
    server.mood(Mood::FailsIpv6);
    let mut answer = dns(&server, 5000).host("app.test").await.expect("one kind");
    assert_eq!(answer.v4, Some(vec![ip("10.0.0.1")]));
    assert_eq!(answer.v6, None);
    answer.keep_of(&HostAnswer {
        v4: Some(vec![ip("10.9.9.9")]),
        v6: Some(vec![ip("::1")]),
        ttl: Duration::ZERO,
    });
    let all: Vec<_> = answer.addresses().collect();
    assert_eq!(all, [ip("10.0.0.1"), ip("::1")]);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_asked_for_over_tcp() {
    let server = DnsServer::start();
    server.mood(Mood::Truncates);
    let octets: Vec<String> = (1..=200).map(|n| format!("10.0.0.{n}")).collect();
    let addresses: Vec<&str> = octets.iter().map(String::as_str).collect();
    server.set_a("app.test", &addresses);
    let answer = dns(&server, 5000)
        .host("app.test")
        .await
        .expect("addresses");
    assert_eq!(answer.addresses().count(), 200);
    assert!(server.asked_over_tcp() > 0);
}

#[tokio::test]
async fn services_bring_addresses_along_or_their_targets_are_asked() {
    let server = DnsServer::start();
    let records = [srv(10, 5, 8080, "a.test."), srv(20, 0, 8081, "b.test")];
    server.set("_app._tcp.test", 60, records);
    server.set("a.test", 9, [Record::A([10, 0, 0, 1].into())]);
    server.set("b.test", 8, [Record::A([10, 0, 0, 2].into())]);
    for additional in [false, true] {
        server.additional(additional);
        let before = server.asked("a.test");
        let dns = dns(&server, 5000);
        let answer = dns.service("_app._tcp.test").await.expect("records");
        let seen: Vec<_> = answer
            .records
            .iter()
            .map(|it| (it.priority, it.weight, it.port, it.target.as_str()))
            .collect();
        assert_eq!(seen, [(10, 5, 8080, "a.test"), (20, 0, 8081, "b.test")]);
        let addresses: Vec<_> = answer
            .records
            .iter()
            .map(|it| it.addresses.clone())
            .collect();
        assert_eq!(
            addresses,
            [Some(vec![ip("10.0.0.1")]), Some(vec![ip("10.0.0.2")])]
        );
        assert_eq!(answer.ttl, Duration::from_secs(8));
        assert_eq!(server.asked("a.test") > before, !additional);
    }
}

#[tokio::test]
async fn a_service_without_servers_is_no_answer() {
    let server = DnsServer::start();
    let dns = dns(&server, 5000);
    // RFC 2782: a target of "." says that the service is not to be had.
    server.set("_app._tcp.test", 60, [srv(0, 0, 0, ".")]);
    let none = dns.service("_app._tcp.test").await;
    assert_eq!(none, Err(ResolveFault::Empty("_app._tcp.test".to_owned())));
    server.set("_app._tcp.test", 60, [srv(0, 0, 80, "gone.test")]);
    let unreachable = dns.service("_app._tcp.test").await;
    assert!(
        matches!(unreachable, Err(ResolveFault::Failed { .. })),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let server = DnsServer::start();
    server.set_a("localhost", &["10.9.9.9"]);
    let answer = dns(&server, 5000)
        .host("localhost")
        .await
        .expect("everywhere");
    assert!(answer.addresses().all(|ip| ip.is_loopback()), "{answer:?}");
    assert_eq!(server.asked("localhost"), 0);
}

#[test]
fn the_search_list_is_walked_by_the_number_of_dots() {
    let name = |text: &str| hickory_resolver::proto::rr::Name::from_ascii(text).expect("a name");
    let search = [name("corp.test"), name("test")];
    let walked = |written: &str, search: &[_]| {
        let absolute = name(&format!("{}.", written.trim_end_matches('.')));
        let all = dns::candidates(written, absolute, search, 1);
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        walked("app", &search),
        ["app.corp.test.", "app.test.", "app."]
    );
    assert_eq!(
        walked("app.x", &search),
        ["app.x.", "app.x.corp.test.", "app.x.test."]
    );
    assert_eq!(walked("app.", &search), ["app."]);
    assert_eq!(walked("app", &[]), ["app."]);
    assert_eq!(walked("localhost", &search), ["localhost."]);
}

#[tokio::test]
async fn name_servers_that_are_silent_or_fail_leave_it_to_the_others() {
    let servers: [DnsServer; 3] = std::array::from_fn(|_| DnsServer::start());
    servers[0].mood(Mood::Silent);
    servers[1].mood(Mood::Fails);
    servers[2].set_a("app.test", &["10.0.0.1"]);
    let settings = ResolverSettings {
        servers: servers.iter().map(DnsServer::address).collect(),
        timeout: Duration::from_secs(3),
        ..ResolverSettings::default()
    };
    let dns = Dns::new(&settings).expect("a client");
    let answer = dns.host("app.test").await.expect("the third one knows");
    assert_eq!(answer.addresses().collect::<Vec<_>>(), [ip("10.0.0.1")]);
    servers[1].mood(Mood::Silent);
    for _ in 0..3 {
        dns.host("app.test")
            .await
            .expect("the third one still knows");
    }
    let start = Instant::now();
    let cold = Dns::new(&settings).expect("a client");
    cold.host("app.test").await.expect("within the time of all");
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "two were waited for"
    );
}
