//! WebSocket on every path: HTTP/1 and HTTP/2, in clear and over TLS, to servers of either.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keel_testkit::h2::Event;
use keel_testkit::h2::frame::{code, setting};
use keel_testkit::wait::{SOON, until, until_true};
use keel_testkit::{H2Origin, H2Wire, Origin, Proxy};
use tungstenite::{Message, WebSocket};

use crate::site::{OWN, Site};

/// A frame of a client, masked with zeroes (RFC 6455 section 5.2), below 126 bytes.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short frame");
    assert!(len < 126, "a short frame");
    [&[0x80 | opcode, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// The same of a server.
fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(opcode, payload);
    frame.drain(2..6);
    frame[1] &= 0x7f;
    frame
}

/// Opens a WebSocket by extended CONNECT (RFC 8441), and gives its stream.
fn open(wire: &mut H2Wire, path: &str) -> u32 {
    wire.await_settings();
    let extended = wire.connection().setting(setting::ENABLE_CONNECT_PROTOCOL);
    assert_eq!(extended, Some(1), "announced in SETTINGS");
    let mut fields = wire.pseudo("CONNECT", path);
    fields.insert(1, (":protocol".to_owned(), "websocket".to_owned()));
    fields.push(("sec-websocket-version".to_owned(), "13".to_owned()));
    fields.push(("origin".to_owned(), "http://test.example".to_owned()));
    wire.start(&fields, false)
}

fn echoes(wire: &mut H2Wire, stream: u32) {
    let mut have = wire.head(stream).body.len();
    for text in ["hello", "", "again"] {
        let frame = unmasked(1, text.as_bytes());
        wire.data(stream, masked(1, text.as_bytes()), false);
        let want = have + frame.len();
        let answer = wire.so_far(stream, |answer| answer.body.len() >= want);
        assert_eq!(&answer.body[have..], frame, "{text:?} {answer:?}");
        have = want;
    }
}

fn over_h2(wire: &mut H2Wire) {
    let stream = open(wire, "/chat?x=y");
    let head = wire.head(stream);
    assert_eq!((head.status, head.reset), (200, None), "{head:?}");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert_eq!(head.header(name), None, "{name}");
    }
    echoes(wire, stream);
    wire.data(stream, masked(8, &1000_u16.to_be_bytes()), true);
    let answer = wire.answer(stream);
    assert!(
        answer.body.ends_with(&unmasked(8, &1000_u16.to_be_bytes())),
        "{answer:?}"
    );
    assert!(
        matches!(answer.reset, None | Some(code::NO_ERROR)),
        "{answer:?}"
    );
}

fn socket<S: std::io::Read + std::io::Write>(stream: S, address: SocketAddr) -> WebSocket<S> {
    let url = format!("ws://{address}/chat");
    match tungstenite::client(url, stream) {
        Ok((socket, _)) => socket,
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn http2_to_a_server_of_http1() {
    let origin = Origin::websocket();
    let proxy = Proxy::before(&[origin.address()]);
    over_h2(&mut H2Wire::connect(proxy.address()));
    until_true("the server's connection has ended", || origin.open() == 0);
    let site = Site::before(&[origin.address()], OWN);
    over_h2(&mut site.h2());
}

/// Accepts a WebSocket, then sends back each byte as it comes.
fn bytes_back() -> Origin {
    Origin::scripted(|stage| {
        let Some(request) = stage.request() else {
            return;
        };
        stage.send(accepted(&request.head.fields.first("sec-websocket-key")));
        loop {
            let bytes = stage.take_unread();
            stage.send(bytes);
            if !stage.some() {
                return;
            }
        }
    })
}

fn accepted(key: &Option<String>) -> String {
    let key = key.as_deref().unwrap_or_default();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

#[test]
fn the_handshake_that_a_server_of_http1_sees() {
    let origin = bytes_back();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat?x=y");
    assert_eq!(wire.head(stream).status, 200);
    wire.data(stream, "to and fro", false);
    wire.so_far(stream, |answer| answer.body == b"to and fro");
    let head = origin.received_text(0);
    assert!(head.starts_with("GET /chat?x=y HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for part in [
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-version: 13\r\n",
        "\r\norigin: http://test.example\r\n",
        "\r\nhost: test.example\r\n",
    ] {
        assert!(lower.contains(part), "{head}");
    }
    // The end of one direction is passed on, and the other still carries.
    wire.data(stream, "last", true);
    let answer = wire.answer(stream);
    assert_eq!(answer.body, b"to and frolast");
}

#[test]
fn several_on_one_connection_beside_requests() {
    let origin = Origin::websocket();
    let plain = Origin::echo();
    let text = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: /chat }}, pool: chat }}, {{ pool: app }} ]\n\
         pools: {{ chat: {{ servers: [\"{}\"] }}, app: {{ servers: [\"{}\"] }} }}\n",
        origin.address(),
        plain.address()
    );
    let proxy = Proxy::start(&text);
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..10).map(|_| open(&mut wire, "/chat")).collect();
    for stream in &streams {
        assert_eq!(wire.head(*stream).status, 200);
    }
    for stream in &streams {
        echoes(&mut wire, *stream);
        wire.get("/").expect(200);
    }
    wire.reset(streams[0], code::CANCEL);
    until_true("one has ended at its server", || origin.open() == 9);
    echoes(&mut wire, streams[1]);
    drop(wire);
    until_true("all have ended", || origin.open() == 0);
}

#[test]
fn http1_over_tls() {
    let origin = Origin::websocket();
    let site = Site::before(&[origin.address()], OWN);
    let link = site.wire().into_link();
    let mut socket = socket(link, site.address());
    let big = vec![7_u8; 300_000];
    for message in [Message::text("hello"), Message::binary(big)] {
        socket.send(message.clone()).expect("it is taken");
        assert_eq!(socket.read().expect("an echo"), message);
    }
    socket.close(None).expect("a close");
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    until_true("the server's connection has ended", || origin.open() == 0);
}

/// An h2 server that takes extended CONNECT and echoes bytes.
fn h2_server() -> Origin {
    H2Origin::new("h2")
        .settings(&[(setting::ENABLE_CONNECT_PROTOCOL, 1)])
        .scripted(|stage| {
            loop {
                match stage.event() {
                    Event::Head { stream, fields, .. } => {
                        stage.count_request();
                        if fields.first(":protocol").as_deref() != Some("websocket") {
                            stage.fault("no :protocol");
                        }
                        if fields.first("sec-websocket-key").is_some() {
                            stage.fault("a key, which HTTP/2 has not");
                        }
                        stage.connection.head(stream, &[(":status", "200")], false);
                    }
                    Event::Data { stream, bytes, end } => {
                        stage.connection.data(stream, bytes, end);
                    }
                    Event::End(_) => return,
                    _ => {}
                }
            }
        })
}

#[test]
fn servers_of_http2() {
    let origin = h2_server();
    let proxy = Proxy::before_with(&[origin.address()], "protocol: http2", "");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    assert_eq!(wire.head(stream).status, 200);
    wire.data(stream, "to and fro", false);
    let answer = wire.so_far(stream, |answer| answer.body == b"to and fro");
    assert_eq!(answer.reset, None);
    wire.data(stream, "", true);
    assert!(wire.answer(stream).ended);
    // From HTTP/1 it is an Upgrade; the accept field is made by the proxy, and tungstenite checks it.
    let stream = TcpStream::connect(proxy.address()).expect("it listens");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a socket option");
    let mut socket = socket(stream, proxy.address());
    socket.send(Message::text("x")).expect("it is taken");
    let fault = socket
        .read()
        .expect_err("what comes back is masked, as a client's frame is");
    assert!(fault.to_string().contains("mask"), "{fault}");
    let mut raw = proxy.wire();
    raw.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    let head = raw.head("GET").expect("an answer");
    assert_eq!(head.status, 101);
    // The example of RFC 6455 section 1.3.
    let accept = head.fields.first("sec-websocket-accept");
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    raw.send("bytes");
    assert_eq!(raw.bytes(5), b"bytes");
}

/// Whether a server takes WebSockets is not known before its SETTINGS. One that closes instead took nothing.
#[test]
fn a_server_of_http2_that_closes_before_its_settings_is_not_waited_for() {
    let closes = Origin::scripted(|_| std::thread::sleep(Duration::from_millis(50)));
    let opens = h2_server();
    let servers = [closes.address(), opens.address()];
    let proxy = Proxy::before_with(&servers, "protocol: http2, max_fails: 0", "workers: 1");
    for _ in 0..6 {
        let start = Instant::now();
        let mut wire = H2Wire::connect(proxy.address());
        let stream = open(&mut wire, "/chat");
        assert_eq!(wire.head(stream).status, 200);
        let took = start.elapsed();
        assert!(took < Duration::from_millis(900), "{took:?}");
    }
    assert!(closes.connections() > 0);
}

#[test]
fn refusals_pass_as_answers() {
    let origin =
        Origin::fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    let answer = wire.so_far(stream, |answer| answer.body.len() == 2);
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    let wrong = Origin::fixed(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
    );
    let proxy = Proxy::before(&[wrong.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    assert_eq!(
        wire.head(stream).status,
        502,
        "the key was ours, and this is no answer to it"
    );
}

#[test]
fn the_end_of_a_server_is_passed_on_at_once() {
    let origin = Origin::scripted(|stage| {
        let Some(request) = stage.request() else {
            return;
        };
        stage.send(accepted(&request.head.fields.first("sec-websocket-key")));
        stage.some();
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    assert_eq!(wire.head(stream).status, 200);
    wire.data(stream, "go", false);
    let start = Instant::now();
    let answer = wire.answer(stream);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(answer.ended || answer.reset.is_some());
}

#[test]
fn one_line_of_log_with_its_bytes() {
    let origin = Origin::websocket();
    let more = "access_logs: { main: { to: \"file:@DIR@/access.log\", format: '$request_method $status $bytes_sent $request_length $server_protocol' } }\naccess_log: main";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    over_h2(&mut H2Wire::connect(proxy.address()));
    let stream = TcpStream::connect(proxy.address()).expect("it listens");
    let mut socket = socket(stream, proxy.address());
    socket
        .send(Message::binary(vec![1; 10_000]))
        .expect("it is taken");
    socket.read().expect("an echo");
    socket.close(None).expect("a close");
    while socket.read().is_ok() {}
    drop(socket); // a tunnel of which one side has ended waits for the other
    let file = proxy.dir().join("access.log");
    let log = until("two lines", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    let line = |protocol: &str| {
        let found = log.lines().find(|line| line.ends_with(protocol));
        let words: Vec<String> = found
            .unwrap_or_default()
            .split(' ')
            .map(str::to_owned)
            .collect();
        assert_eq!(words.len(), 5, "{log}");
        words
    };
    let h1 = line("HTTP/1.1");
    assert_eq!((h1[0].as_str(), h1[1].as_str()), ("GET", "101"));
    for at in [2, 3] {
        let bytes: u64 = h1[at].parse().expect("a number");
        assert!((10_000..11_000).contains(&bytes), "{log}");
    }
    let h2 = line("HTTP/2.0");
    assert_eq!((h2[0].as_str(), h2[1].as_str()), ("GET", "200"));
}

/// Drain waits for them; at its limit they are ended.
#[test]
fn draining_waits_for_open_ones() {
    let origin = Origin::websocket();
    let proxy = Proxy::before_with(&[origin.address()], "", "drain_timeout: 5s");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    assert_eq!(wire.head(stream).status, 200);
    let start = Instant::now();
    proxy.terminate();
    assert_eq!(wire.await_goaway().code, code::NO_ERROR);
    echoes(&mut wire, stream);
    let exit = proxy.wait(SOON);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(4500) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert!(exit.code.is_some());
}

#[test]
fn a_silent_one_is_closed_after_its_time_and_long_ones_live() {
    let origin = Origin::websocket();
    let proxy = Proxy::before_with(&[origin.address()], "timeouts: { tunnel: 3s }", "");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = open(&mut wire, "/chat");
    assert_eq!(wire.head(stream).status, 200);
    for _ in 0..4 {
        assert!(wire.read_for(Duration::from_secs(1)));
        let have = wire.head(stream).body.len();
        wire.data(stream, masked(1, b"x"), false);
        let answer = wire.so_far(stream, |answer| answer.body.len() > have);
        assert_eq!(answer.reset, None);
    }
    let answer = wire.answer(stream);
    assert!(answer.ended || answer.reset.is_some());
    wire.ping();
}
