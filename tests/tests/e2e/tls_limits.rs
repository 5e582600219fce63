//! Limits of handshakes, what connections with TLS take in memory, and what metrics tell of certificates.

use std::time::{Duration, Instant};

use keel_testkit::process::raise_descriptor_limit;
use keel_testkit::wait::{SOON, until_true, within};
use keel_testkit::{H2Wire, LeafSpec, Origin, TlsClient, Wire, get};

use crate::site::{NAMES, OWN, Site};
use crate::{GET, memory_bound};

/// Handshakes that are begun and not gone on with.
const HALF_OPEN: usize = 300;
/// Idle connections whose memory is measured.
const IDLE: u64 = 500;
/// Bytes of memory of an idle connection.
const IDLE_TLS_BYTES_MAX: u64 = 16 * 1024;
/// The same with HTTP/2.
const IDLE_H2_BYTES_MAX: u64 = 15 * 1024;

/// The beginning of a ClientHello.
const HALF_A_HELLO: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

#[test]
fn half_open_handshakes_starve_nobody() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let mut through = site.wire();
    through.ask(GET).expect(200);
    let held: Vec<Wire> = (0..HALF_OPEN)
        .map(|nth| {
            let mut wire = Wire::connect(site.address());
            if nth % 2 == 0 {
                wire.send(HALF_A_HELLO);
            }
            wire
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        through.ask(GET).expect(200);
        site.wire().ask(GET).expect(200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    drop(held);
}

#[test]
fn handshakes_at_a_time_are_limited() {
    let origin = Origin::echo();
    let tls = format!("{OWN}, handshakes: {{ concurrent: 10 }}");
    let site = Site::with(&[origin.address()], "", &tls, "workers: 1");
    let mut through = site.wire();
    through.ask(GET).expect(200);
    let held: Vec<Wire> = (0..15) // some more than the limit: those that are refused leave no place
        .map(|_| {
            let mut wire = Wire::connect(site.address());
            wire.send(HALF_A_HELLO);
            wire
        })
        .collect();
    for _ in 0..5 {
        assert!(site.client().try_connect(site.address()).is_err());
    }
    through.ask(GET).expect(200);
    drop(held);
    until_true("there is room again", || {
        site.client().try_connect(site.address()).is_ok()
    });
}

#[test]
fn handshakes_of_one_address_are_limited() {
    let origin = Origin::echo();
    let tls = format!("{OWN}, handshakes: {{ per_client: 1r/s }}");
    let site = Site::before(&[origin.address()], &tls);
    let outcomes: Vec<bool> = (0..40)
        .map(|_| site.client().try_connect(site.address()).is_ok())
        .collect();
    let taken = outcomes.iter().filter(|taken| **taken).count();
    assert!((1..30).contains(&taken), "{taken} of 40 at once");
    until_true("time brings new ones", || {
        site.client().try_connect(site.address()).is_ok()
    });
}

/// Opens idle connections, each after one request, and gives what one takes once they rest: as soon as that is no more
/// than this.
fn idle_bytes<T>(site: &Site, bytes_max: u64, open: impl Fn() -> T) -> u64 {
    let warm: Vec<T> = (0..50).map(|_| open()).collect();
    drop(warm);
    std::thread::sleep(Duration::from_millis(700));
    let before = site.proxy.usage().rss_bytes;
    let held: Vec<T> = (0..IDLE).map(|_| open()).collect();
    // What they held while they were busy is given back once they rest.
    let each = || site.proxy.usage().rss_bytes.saturating_sub(before) / IDLE;
    within(SOON, || (each() <= memory_bound(bytes_max)).then_some(()));
    let found = each();
    drop(held);
    found
}

#[test]
fn idle_connections_are_small() {
    raise_descriptor_limit();
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let client = site.client();
    let h1 = idle_bytes(&site, IDLE_TLS_BYTES_MAX, || {
        let mut wire = client.connect(site.address());
        wire.ask(GET).expect(200);
        wire
    });
    println!("an idle connection with TLS takes {h1} bytes");
    assert!(h1 <= memory_bound(IDLE_TLS_BYTES_MAX), "{h1}");
    let h2 = idle_bytes(&site, IDLE_H2_BYTES_MAX, || {
        let mut wire = H2Wire::tls(&client, site.address());
        wire.get("/").expect(200);
        wire
    });
    println!("an idle connection with TLS and HTTP/2 takes {h2} bytes");
    assert!(h2 <= memory_bound(IDLE_H2_BYTES_MAX), "{h2}");
}

/// The value of the first sample whose series begins so and holds the label.
fn sample(site: &Site, name: &str, label: &str) -> Option<f64> {
    let text = get(site.proxy.admin(), "/metrics").expect(200).text();
    let of_name = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let values = of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

#[test]
fn metrics_tell_of_handshakes_and_certificates() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    for _ in 0..3 {
        site.wire().ask(GET).expect(200);
    }
    let stranger = TlsClient::new(&keel_testkit::Ca::new("another"));
    assert!(stranger.try_connect(site.address()).is_err());
    let days = sample(
        &site,
        "evenkeel_tls_certificate_expiry_seconds",
        "localhost",
    );
    let days = days.unwrap_or_default() / 86_400.0;
    assert!((88.0..91.0).contains(&days), "{days}");
    until_true("handshakes are counted", || {
        sample(&site, "evenkeel_listener_handshakes_total", "web").unwrap_or_default() >= 4.0
    });
    let broken = site.proxy.dir().join("site.pem");
    std::fs::write(&broken, "nothing of a certificate\n").expect("the folder is ours");
    until_true("a refusal is counted", || {
        sample(&site, "evenkeel_tls_certificate_reloads_total", "refused").unwrap_or_default()
            >= 1.0
    });
    site.wire().ask(GET).expect(200);
    let next = site.ca.leaf(&NAMES);
    std::fs::write(&broken, &next.cert_pem).expect("the folder is ours");
    std::fs::write(site.proxy.dir().join("site.key"), &next.key_pem).expect("the folder is ours");
    until_true("the new pair is shown", || {
        site.wire().tls().certificates[0] == next.der.to_vec()
    });
    until_true("it is counted", || {
        sample(&site, "evenkeel_tls_certificate_reloads_total", "taken").unwrap_or_default() >= 1.0
    });
}

#[test]
fn certificates_that_end_soon_are_warned_of() {
    let origin = Origin::echo();
    for (days, warned) in [(20, true), (30, false)] {
        let site = Site::prepared(&[origin.address()], "", OWN, "", |ca, scratch| {
            let leaf = ca.issue(LeafSpec::names(&NAMES).valid(-30, days));
            leaf.write(scratch, "site");
        });
        site.wire().ask(GET).expect(200);
        let log = site.proxy.log();
        let told = log.contains("ends in 19 days");
        assert_eq!(told, warned, "{days} days: {log}");
    }
    // One that has ended is still served: who is cut off cannot tell.
    let site = Site::prepared(&[origin.address()], "", OWN, "", |ca, scratch| {
        ca.issue(LeafSpec::names(&NAMES).expired())
            .write(scratch, "site");
    });
    TlsClient::trusting()
        .connect(site.address())
        .ask(GET)
        .expect(200);
    let log = site.proxy.log();
    assert!(log.contains("site.pem has ended"), "{log}");
}
