//! TLS against other people's programs: openssl and curl as clients, openssl as OCSP responder, nginx and Node behind.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keel_testkit::peers::{PeerServer, run};
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{SOON, until, until_true, within};
use keel_testkit::{Ask, Ca, LeafSpec, Load, Origin, Proxy, TlsClient, require_peer};

use crate::site::{NAMES, OWN, Site};

/// What `openssl s_client` says when it connects, asks for `/`, and stays until it is answered.
fn s_client(openssl: &Path, site: &Site, more: &[&str]) -> String {
    let address = site.address().to_string();
    let root = site.proxy.dir().join("ca.pem").display().to_string();
    let mut args = vec!["s_client", "-connect", &address, "-CAfile", &root];
    if !more.contains(&"-servername") {
        args.extend(["-servername", "localhost"]);
    }
    let asks = !more.contains(&"-reconnect");
    if asks {
        // Otherwise it leaves with the end of its input, which comes before a slow answer.
        args.push("-ign_eof");
    }
    args.extend(more);
    let mut child = Command::new(openssl)
        .args(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program that was found can be started");
    if asks {
        let stdin = child.stdin.as_mut().expect("it is piped");
        let ask = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let _gone = std::io::Write::write_all(stdin, ask.as_bytes());
    }
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn openssl_resumes() {
    let openssl = require_peer!("openssl");
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    for more in [&["-tls1_2"][..], &["-tls1_2", "-no_ticket"]] {
        let said = s_client(&openssl, &site, &[more, &["-reconnect"]].concat());
        let count = |what: &str| said.matches(what).count();
        assert_eq!(
            (count("New, TLS"), count("Reused, TLS")),
            (1, 5),
            "{more:?}: {said}"
        );
    }
    let kept = site.proxy.dir().join("session").display().to_string();
    let first = s_client(&openssl, &site, &["-tls1_3", "-sess_out", &kept]);
    assert!(
        first.contains("New, TLSv1.3") && first.contains("HTTP/1.1 200 "),
        "{first}"
    );
    let second = s_client(&openssl, &site, &["-tls1_3", "-sess_in", &kept]);
    assert!(
        second.contains("Reused, TLSv1.3") && second.contains("HTTP/1.1 200 "),
        "{second}"
    );
    assert!(second.contains("Verify return code: 0 (ok)"), "{second}");
}

#[test]
fn openssl_by_name_and_with_a_certificate() {
    let openssl = require_peer!("openssl");
    let origin = Origin::echo();
    let tls = "certificates: [ { cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" }, { cert: \"@DIR@/b.pem\", key: \"@DIR@/b.key\" } ], \
               client: { ca: \"@DIR@/ca.pem\", verify: required }";
    let site = Site::prepared(&[origin.address()], "", tls, "", |ca, scratch| {
        ca.leaf(&["b.example"]).write(scratch, "b");
        ca.issue(LeafSpec::client("anna").rsa())
            .write(scratch, "anna");
    });
    let file = |name: &str| site.proxy.dir().join(name).display().to_string();
    let (cert, key) = (file("anna.pem"), file("anna.key"));
    let with = ["-cert", &cert, "-key", &key];
    for (name, subject) in [
        ("localhost", "CN = localhost"),
        ("b.example", "CN = b.example"),
    ] {
        let said = s_client(
            &openssl,
            &site,
            &[&["-servername", name], &with[..]].concat(),
        );
        assert!(said.contains(subject), "{said}");
        assert!(
            said.contains("HTTP/1.1 200 ") && said.contains("CN=anna"),
            "{said}"
        );
    }
    let said = s_client(&openssl, &site, &[]);
    assert!(
        said.contains("alert") && !said.contains("HTTP/1.1 200 "),
        "{said}"
    );
    // Old versions are not spoken.
    let said = s_client(&openssl, &site, &[&["-tls1_1"][..], &with].concat());
    assert!(
        said.contains("alert") || said.contains("no protocols available"),
        "{said}"
    );
}

/// `openssl ocsp` as the responder of the authority, on a port that was free.
struct Responder(Child);

impl Responder {
    fn start(openssl: &Path, scratch: &Scratch, port: u16, serials: &[(u64, &str)]) -> Responder {
        let line = |(serial, state): &(u64, &str)| {
            let serial = format!("{serial:X}");
            let serial = if serial.len() % 2 == 1 {
                format!("0{serial}")
            } else {
                serial
            };
            let revoked = if *state == "R" { "251101000000Z" } else { "" };
            format!("{state}\t351101000000Z\t{revoked}\t{serial}\tunknown\t/CN=x\n")
        };
        let index: String = serials.iter().map(line).collect();
        let index = scratch.write("index.txt", index);
        let file = |name: &str| scratch.path().join(name);
        let child = Command::new(openssl)
            .arg("ocsp")
            .arg("-index")
            .arg(index)
            .args(["-port", &port.to_string(), "-nmin", "60"])
            .arg("-rsigner")
            .arg(file("ca.pem"))
            .arg("-rkey")
            .arg(file("ca.key"))
            .arg("-CA")
            .arg(file("ca.pem"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a program that was found can be started");
        // Whoever asks before it listens asks again after a minute.
        until_true("the responder listens", || listens(port));
        Responder(child)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Whether somebody listens on a port, found out without a connection: `openssl ocsp` would wait for a request on it.
fn listens(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let here = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| {
            let cells: Vec<&str> = line.split_whitespace().take(4).collect();
            matches!(cells[..], [_, local, _, LISTEN] if local.ends_with(&here))
        })
    })
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    probe
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

#[test]
fn answers_of_a_responder_are_stapled() {
    let openssl = require_peer!("openssl");
    let origin = Origin::echo();
    let port = free_port();
    let mut responder = None;
    let site = Site::prepared(&[origin.address()], "", OWN, "", |ca, scratch| {
        let url = format!("http://127.0.0.1:{port}/");
        let leaf = ca.issue(LeafSpec::names(&NAMES).ocsp(&url));
        leaf.write(scratch, "site");
        // The chain tells whom to ask about.
        scratch.write("site.pem", format!("{}{}", leaf.cert_pem, ca.pem()));
        scratch.write("ca.key", ca.key_pem());
        responder = Some(Responder::start(
            &openssl,
            scratch,
            port,
            &[(leaf.serial, "V")],
        ));
    });
    let client = site.client();
    let staple = within(SOON, || {
        // A fresh client each time, for resumption brings no staple.
        let wire = client.clone().only_tls12().connect(site.address());
        Some(wire.tls().staple.clone()).filter(|staple| !staple.is_empty())
    });
    assert!(
        staple.is_some(),
        "no staple; the proxy said:\n{}",
        site.proxy.log()
    );
    let said = s_client(&openssl, &site, &["-status"]);
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
    assert!(said.contains("Cert Status: good"), "{said}");
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
}

/// A responder that takes connections and says nothing: no handshake waits for it.
#[test]
fn a_dead_responder_delays_nothing() {
    let origin = Origin::echo();
    let hole = Origin::scripted(|stage| {
        stage.until_end();
    });
    let url = format!("http://{}/", hole.address());
    let site = Site::prepared(&[origin.address()], "", OWN, "", |ca, scratch| {
        let leaf = ca.issue(LeafSpec::names(&NAMES).ocsp(&url));
        leaf.write(scratch, "site");
        scratch.write("site.pem", format!("{}{}", leaf.cert_pem, ca.pem()));
    });
    let start = std::time::Instant::now();
    for _ in 0..20 {
        site.wire().ask(crate::GET).expect(200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let log = until("the responder is asked", || {
        (hole.connections() > 0).then(|| site.proxy.log())
    });
    assert!(!log.contains("ERROR"), "{log}");
    hole.take_faults();
}

fn curl(site: &Site, more: &[&str]) -> Option<String> {
    let curl = keel_testkit::peers::peer("curl")?;
    let root = site.proxy.dir().join("ca.pem").display().to_string();
    let all = [&["-sS", "--max-time", "60", "--cacert", &root], more].concat();
    let output = run(&curl, &all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {more:?}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn curl_over_tls() {
    let origin = Origin::named("a");
    let site = Site::before(&[origin.address()], OWN);
    let url = format!("https://localhost:{}/bytes/3000000", site.address().port());
    let resolve = [
        "-4",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code} %{size_download} %{ssl_verify_result}",
    ];
    for (version, flag) in [("1.1", "--http1.1"), ("2", "--http2")] {
        for tls in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
            let args = [&resolve[..], tls, &[flag, &url]].concat();
            let Some(said) = curl(&site, &args) else {
                return;
            };
            assert_eq!(said, format!("{version} 200 3000000 0"), "{tls:?}");
        }
    }
    let url = format!("https://localhost:{}/", site.address().port());
    let many: Vec<String> = (0..20).map(|at| format!("{url}nth-{at}")).collect();
    let mut args = vec!["-4", "-s", "-Z", "--parallel-max", "20", "--http2"];
    args.extend(many.iter().map(String::as_str));
    let all = curl(&site, &args).unwrap_or_default();
    assert_eq!(all.matches("\"target\":\"/nth-").count(), 20, "{all}");
    let file = site.proxy.dir().join("upload");
    std::fs::write(&file, vec![b'x'; 3_000_000]).expect("the folder is ours");
    let file = file.display().to_string();
    for flag in ["--http1.1", "--http2"] {
        let seen = curl(&site, &["-4", flag, "-T", &file, &url]).unwrap_or_default();
        assert!(seen.contains("\"body_len\":3000000"), "{seen}");
    }
}

const NGINX_TLS: &str = "
server {
    listen 127.0.0.1:@PORT@ ssl;
    ssl_certificate @DIR@/site.pem;
    ssl_certificate_key @DIR@/site.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:s:1m;
    root @DIR@/www;
    location / { return 200 \"$ssl_protocol $ssl_session_reused $ssl_server_name\\n\"; add_header X-Origin nginx; }
    location /big { }
}";

#[test]
fn nginx_over_tls_as_backend() {
    let ca = Ca::new("an authority of servers");
    let leaf = ca.leaf(&["localhost", "127.0.0.1"]);
    let config = NGINX_TLS
        .replace("@DIR@/site.pem", "@SITE@.pem")
        .replace("@DIR@/site.key", "@SITE@.key");
    let files = Scratch::new();
    leaf.write(&files, "site");
    let stem = files.path().join("site").display().to_string();
    let Some(nginx) = PeerServer::nginx_http(&config.replace("@SITE@", &stem)) else {
        return;
    };
    std::fs::write(nginx.dir().join("www/big"), vec![b'x'; 5_000_000]).expect("a fresh folder");
    let scratch = Scratch::new();
    scratch.write("ca.pem", ca.pem());
    let text = keel_testkit::proxy::simple(
        &[nginx.address()],
        "tls: { ca: \"@DIR@/ca.pem\", server_name: localhost }, keepalive: { requests: 10 }",
        "",
    );
    let proxy = Proxy::start_in(scratch, &text, &[]);
    let first = proxy.get("/").expect(200).text();
    assert!(
        first.starts_with("TLSv1.3 ") && first.contains("localhost"),
        "{first}"
    );
    assert_eq!(proxy.get("/big").expect(200).body_len, 5_000_000);
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(300);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    let resumed = (0..40).any(|_| proxy.get("/").expect(200).text().contains(" r "));
    assert!(resumed, "sessions with servers are resumed");
}

#[test]
fn a_browser_s_way_in_with_our_own_certificate() {
    let Some(_) = keel_testkit::peers::peer("curl") else {
        return;
    };
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], "self_signed: true");
    TlsClient::trusting()
        .connect(site.address())
        .ask(crate::GET)
        .expect(200);
    let state = site.proxy.dir().join("state");
    let ca = until("the certificate of the local authority", || find_ca(&state));
    std::fs::copy(&ca, site.proxy.dir().join("ca.pem")).expect("the folder is ours");
    let url = format!("https://localhost:{}/", site.address().port());
    let said = curl(&site, &["-4", &url]).unwrap_or_default();
    assert!(said.contains("\"origin\":\"echo\""), "{said}");
}

/// A file below the folder with a certificate and without a key, whose name speaks of a CA.
fn find_ca(folder: &Path) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        if path.is_dir() {
            if let Some(found) = find_ca(&path) {
                return Some(found);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.file_name()?.to_string_lossy().into_owned();
        if text.contains("BEGIN CERTIFICATE") && name.contains("ca") {
            return Some(path);
        }
    }
    None
}
