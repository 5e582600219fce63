//! Stapling against OpenSSL's responder, and against responders that misbehave.
//! Without `openssl` in PATH these tests say so and pass, or fail where `EVENKEEL_REQUIRE_PEERS=1`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use keel_tls::ocsp::{CertificateKey, CertificateToStaple, StapleEvent, Stapled, Staples};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use support::Folder;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

fn openssl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("openssl"))
        .find(|p| p.is_file());
    if found.is_none() {
        let required = std::env::var_os("EVENKEEL_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(
            !required,
            "openssl is not installed, and EVENKEEL_REQUIRE_PEERS=1"
        );
        eprintln!("skipped: openssl not found");
    }
    found
}

/// A CA with its files, and the responder's own certificate.
struct Ca {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Ca {
        let folder = Folder::new();
        let mut params = named("ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        folder.write("ca.pem", certificate.pem());
        folder.write("ca.key", key.serialize_pem());
        let der = certificate.der().clone();
        let issuer = Issuer::new(params, key);

        let mut params = named("responder");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        let key = KeyPair::generate().unwrap();
        folder.write(
            "responder.pem",
            params.signed_by(&key, &issuer).unwrap().pem(),
        );
        folder.write("responder.key", key.serialize_pem());
        folder.write("index.txt", "");
        Ca {
            folder,
            issuer,
            certificate: der,
        }
    }

    /// A chain of a certificate with this number, whose answers come from `port`.
    fn chain(&self, serial: u8, port: u16, must_staple: bool) -> Vec<CertificateDer<'static>> {
        let mut params = named("site");
        params.serial_number = Some(SerialNumber::from_slice(&[0x10, serial]));
        let url = format!("http://127.0.0.1:{port}/ocsp");
        let mut place = vec![
            0x30,
            0,
            0x06,
            8,
            0x2b,
            6,
            1,
            5,
            5,
            7,
            0x30,
            1,
            0x86,
            url.len() as u8,
        ];
        place.extend_from_slice(url.as_bytes());
        place[1] = place.len() as u8 - 2;
        let content = [&[0x30, place.len() as u8], &place[..]].concat();
        let access = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content);
        params.custom_extensions.push(access);
        if must_staple {
            let content = vec![0x30, 3, 2, 1, 5];
            let feature = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], content);
            params.custom_extensions.push(feature);
        }
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        vec![leaf, self.certificate.clone()]
    }

    /// What the CA says of the numbers: `V` valid or `R` revoked.
    fn index(&self, entries: &[(char, u8)]) {
        let line = |(state, serial): &(char, u8)| {
            let revoked = if *state == 'R' { "260101000000Z" } else { "" };
            format!("{state}\t350101000000Z\t{revoked}\t10{serial:02X}\tunknown\t/CN=site\n")
        };
        self.folder
            .write("index.txt", entries.iter().map(line).collect::<String>());
    }

    /// A responder whose answers are signed by `signer` and good for a day.
    fn responder(&self, program: &PathBuf, signer: &str) -> Responder {
        let file = |name: &str| self.folder.path().join(name);
        let mut child = Command::new(program)
            .args(["ocsp", "-port", "0", "-ndays", "1", "-index"])
            .arg(file("index.txt"))
            .arg("-CA")
            .arg(file("ca.pem"))
            .arg("-rsigner")
            .arg(file(&format!("{signer}.pem")))
            .arg("-rkey")
            .arg(file(&format!("{signer}.key")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // `ACCEPT [::]:41487 PID=9056`
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.split_whitespace().nth(1).unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Responder { child, port }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["site.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

struct Responder {
    child: Child,
    port: u16,
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers each connection with these bytes; counts them.
fn serve(bytes: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    (port, count)
}

fn one<'a>(chain: &'a [CertificateDer<'static>]) -> CertificateToStaple<'a> {
    CertificateToStaple {
        key: CertificateKey::of(&chain[0]),
        source: "site.pem",
        chain,
    }
}

fn kinds(events: Vec<StapleEvent>) -> Vec<Stapled> {
    assert!(events.iter().all(|event| event.source == "site.pem"));
    events.into_iter().map(|event| event.what).collect()
}

#[track_caller]
fn taken(events: Vec<StapleEvent>) -> u64 {
    match kinds(events)[..] {
        [Stapled::Taken { until }] => until,
        ref other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failed(events: Vec<StapleEvent>) -> (String, Duration) {
    match &kinds(events)[..] {
        [Stapled::Failed { why, retry }] => (why.clone(), *retry),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_answer_is_fetched_kept_and_renewed_at_half() {
    let Some(program) = openssl() else { return };
    for signer in ["ca", "responder"] {
        let ca = Ca::new();
        ca.index(&[('V', 1)]);
        let responder = ca.responder(&program, signer);
        let chain = ca.chain(1, responder.port, true);
        let (state, now) = (ca.folder.path().join("state"), SystemTime::now());
        let staples = Staples::new(&state);
        assert_eq!(
            staples.load(now, &[one(&chain)]),
            [],
            "nothing is asked at the start"
        );
        assert_eq!(staples.staple_for(&one(&chain).key), None);
        taken(staples.refresh(now, &[one(&chain)]));
        let answer = staples.staple_for(&one(&chain).key).unwrap();
        assert_eq!(staples.refresh(now + DAY / 2 - MINUTE, &[one(&chain)]), []);
        drop(responder);

        // A restart, with the responder dead: the answer is there, and goes on until its end.
        let staples = Staples::new(&state);
        taken(staples.load(now, &[one(&chain)]));
        assert_eq!(staples.staple_for(&one(&chain).key), Some(answer.clone()));
        assert_eq!(staples.refresh(now + DAY / 2 - MINUTE, &[one(&chain)]), []);
        let (why, retry) = failed(staples.refresh(now + DAY / 2 + MINUTE, &[one(&chain)]));
        assert!(why.contains("no connection") && retry == MINUTE, "{why}");
        assert_eq!(staples.staple_for(&one(&chain).key), Some(answer));
        let ended = kinds(staples.refresh(now + DAY + MINUTE, &[one(&chain)]));
        assert!(
            matches!(
                ended[..],
                [Stapled::Ended, Stapled::Failed { .. }, Stapled::MustStaple]
            ),
            "{ended:?}"
        );
        assert_eq!(staples.staple_for(&one(&chain).key), None);
    }
}

#[test]
fn a_second_listener_takes_what_the_first_one_fetched() {
    let Some(program) = openssl() else { return };
    let ca = Ca::new();
    ca.index(&[('V', 1)]);
    let responder = ca.responder(&program, "ca");
    let chain = ca.chain(1, responder.port, false);
    let now = SystemTime::now();
    let (a, b) = (
        Staples::new(ca.folder.path()),
        Staples::new(ca.folder.path()),
    );
    assert_eq!(b.load(now, &[one(&chain)]), []);
    taken(a.refresh(now, &[one(&chain)]));
    drop(responder);
    taken(b.refresh(now, &[one(&chain)]));
    assert_eq!(
        a.staple_for(&one(&chain).key),
        b.staple_for(&one(&chain).key)
    );
}

#[test]
fn revoked_and_unknown_certificates_get_no_answer() {
    let Some(program) = openssl() else { return };
    let ca = Ca::new();
    ca.index(&[('V', 1)]);
    let now = SystemTime::now();
    let mut responder = ca.responder(&program, "responder");
    let staples = Staples::new(ca.folder.path());
    let unknown = ca.chain(9, responder.port, false);
    let (why, _) = failed(staples.refresh(now, &[one(&unknown)]));
    assert!(why.contains("does not know"), "{why}");

    let chain = ca.chain(1, responder.port, false);
    taken(staples.refresh(now, &[one(&chain)]));
    let port = responder.port;
    ca.index(&[('R', 1)]);
    let _ = responder.child.kill();
    let _ = responder.child.wait();
    let responder = ca.responder(&program, "responder");
    // The new responder has another port; a relay stands in for the old one.
    let relay = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let to = responder.port;
    thread::spawn(move || {
        let (mut client, _) = relay.accept().unwrap();
        let mut server = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
        let mut request = [0; 4096];
        let len = client.read(&mut request).unwrap();
        server.write_all(&request[..len]).unwrap();
        let _ = std::io::copy(&mut server, &mut client);
    });
    let events = kinds(staples.refresh(now + DAY / 2 + MINUTE, &[one(&chain)]));
    let [Stapled::Ended, Stapled::Failed { why, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(why.contains("revoked"), "{why}");
    assert_eq!(staples.staple_for(&one(&chain).key), None);
    let files = std::fs::read_dir(ca.folder.path()).unwrap().flatten();
    assert_eq!(
        files
            .filter(|file| file.file_name().to_string_lossy().ends_with(".ocsp"))
            .count(),
        0
    );
}

#[test]
fn stale_and_future_answers_are_refused() {
    let Some(program) = openssl() else { return };
    let ca = Ca::new();
    ca.index(&[('V', 1)]);
    let responder = ca.responder(&program, "ca");
    let chain = ca.chain(1, responder.port, false);
    let staples = Staples::new(ca.folder.path());
    let now = SystemTime::now();
    let (why, _) = failed(staples.refresh(now + 2 * DAY, &[one(&chain)]));
    assert!(why.contains("out of date"), "{why}");
    let staples = Staples::new(ca.folder.path());
    let (why, _) = failed(staples.refresh(now - DAY, &[one(&chain)]));
    assert!(why.contains("from the future"), "{why}");
    assert_eq!(staples.staple_for(&one(&chain).key), None);
}

#[test]
fn pauses_grow_from_a_minute_to_an_hour() {
    let ca = Ca::new();
    let (port, count) = serve(b"HTTP/1.0 200 OK\r\n\r\ngarbage");
    let chain = ca.chain(1, port, false);
    let staples = Staples::new(ca.folder.path());
    let mut now = SystemTime::now();
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        let (why, retry) = failed(staples.refresh(now, &[one(&chain)]));
        assert!(why.contains("not an OCSP answer"), "{why}");
        assert_eq!(retry, minutes * MINUTE);
        assert_eq!(
            staples.refresh(now + retry - Duration::from_secs(2), &[one(&chain)]),
            []
        );
        now += retry;
    }
    assert_eq!(count.load(Ordering::SeqCst), 8);
}

#[test]
fn responders_that_misbehave() {
    let ca = Ca::new();
    static HUGE: [u8; 100_000] = [b'x'; 100_000];
    for (bytes, expected) in [
        (
            &b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"[..],
            "status 503",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
            "before the end",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "over 65536",
        ),
        (&HUGE, "no HTTP"),
        (b"", "closed"),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n\x30\x03\x0a\x01\x06",
            "unauthorized",
        ),
    ] {
        let (port, _) = serve(bytes);
        let chain = ca.chain(1, port, false);
        let staples = Staples::new(ca.folder.path());
        let (why, _) = failed(staples.refresh(SystemTime::now(), &[one(&chain)]));
        // A socket that is closed with unread data can be reset.
        assert!(
            why.contains(expected) || why.contains("reset"),
            "{expected}: {why}"
        );
    }
}

#[test]
fn one_question_at_each_call_and_a_dead_responder_is_left_alone() {
    let ca = Ca::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let chains: Vec<_> = (1..=5)
        .map(|serial| ca.chain(serial, port, false))
        .collect();
    let all: Vec<_> = chains.iter().map(|chain| one(chain)).collect();
    let staples = Staples::new(ca.folder.path());
    let now = SystemTime::now();
    failed(staples.refresh(now, &all));
    assert_eq!(
        staples.refresh(now, &all),
        [],
        "the others of the same responder wait too"
    );
    assert_eq!(staples.refresh(now + MINUTE, &all).len(), 1);

    let (port, count) = serve(b"HTTP/1.0 200 OK\r\n\r\ngarbage");
    let chains: Vec<_> = (1..=3)
        .map(|serial| ca.chain(serial, port, false))
        .collect();
    let all: Vec<_> = chains.iter().map(|chain| one(chain)).collect();
    for asked in 1..=3 {
        failed(staples.refresh(now, &all));
        assert_eq!(count.load(Ordering::SeqCst), asked);
    }
    assert_eq!(staples.refresh(now, &all), []);
}

#[test]
fn certificates_that_cannot_be_asked_about() {
    let ca = Ca::new();
    let staples = Staples::new(ca.folder.path());
    let now = SystemTime::now();
    // No responder: nothing is said, since most CAs have none today.
    let key = KeyPair::generate().unwrap();
    let plain = named("x")
        .signed_by(&key, &ca.issuer)
        .unwrap()
        .der()
        .clone();
    assert_eq!(
        staples.refresh(now, &[one(&[plain, ca.certificate.clone()])]),
        []
    );
    // No issuer in the file.
    let chain = ca.chain(1, 1, true);
    let events = kinds(staples.refresh(now, &[one(&chain[..1])]));
    let [Stapled::Unable(why), Stapled::MustStaple] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(why.contains("append"), "{why}");
    assert_eq!(staples.refresh(now + DAY, &[one(&chain[..1])]), []);
}
