//! Upgrade, tunnels, WebSocket.

use std::net::TcpStream;
use std::time::Duration;

use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy};
use tungstenite::Message;

use crate::GET;

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: raw\r\n\r\n";

/// Switches, then sends back what comes, in capitals.
fn shouting() -> Origin {
    Origin::scripted(|stage| {
        let Some(request) = stage.request() else {
            return;
        };
        if request.head.fields.first("upgrade").as_deref() != Some("raw") {
            return stage.fault("the Upgrade did not arrive");
        }
        stage.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n",
        );
        loop {
            let bytes = stage.take_unread().to_ascii_uppercase();
            stage.send(bytes);
            if !stage.some() {
                return;
            }
        }
    })
}

#[test]
fn bytes_go_both_ways_after_101() {
    let origin = shouting();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(UPGRADE);
    let head = wire.head("GET").expect("an answer");
    assert_eq!(head.status, 101);
    assert!(head.fields.lists("connection", "upgrade") && head.fields.lists("upgrade", "raw"));
    for word in ["one", "two\0\r\n\r\n", "three"] {
        wire.send(word);
        assert_eq!(
            wire.bytes(word.len()),
            word.to_ascii_uppercase().into_bytes()
        );
    }
}

#[test]
fn bytes_that_come_with_the_upgrade_are_not_lost() {
    let origin = shouting();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(format!("{UPGRADE}early"));
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    assert_eq!(wire.bytes(5), b"EARLY");
}

#[test]
fn a_megabyte_goes_both_ways_at_once() {
    let origin = shouting();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(UPGRADE);
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    let mut writer = wire.stream().try_clone().expect("a socket can be cloned");
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &vec![b'x'; 1 << 20]).expect("it takes all");
    });
    assert_eq!(wire.bytes(1 << 20), vec![b'X'; 1 << 20]);
    sender.join().expect("the sender does not panic");
}

#[test]
fn a_half_close_goes_through_a_tunnel() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
            );
            stage.until_end();
            stage.send("after the end");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(UPGRADE);
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    wire.send("bye").finish_sending();
    assert_eq!(wire.rest().0, b"after the end");
}

#[test]
fn the_end_of_a_tunnel_is_passed_on_quickly() {
    let origin = shouting();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(UPGRADE);
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    drop(wire);
    until_true("the backend sees the end", || origin.open() == 0);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let answer = wire.ask(UPGRADE).expect(200);
    assert_eq!(answer.seen_one("upgrade").as_deref(), Some("raw"));
    wire.ask(GET).expect(200);
}

#[test]
fn upgrade_without_connection_upgrade_goes_no_further() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .ask("/")
        .with("Upgrade", "websocket")
        .send()
        .expect(200);
    assert_eq!(answer.seen_one("upgrade"), None);
    let ask = "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(proxy.wire().ask(ask).expect(200).seen_one("upgrade"), None);
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let origin = Origin::fixed(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nevil",
    );
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.ask(GET).expect_error(502, "Backend-Unavailable");
}

#[test]
fn websocket_messages_pass_unchanged() {
    let origin = Origin::websocket();
    let proxy = Proxy::before(&[origin.address()]);
    let stream = TcpStream::connect(proxy.address()).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket option");
    let url = format!("ws://{}/chat", proxy.address());
    let (mut socket, answer) = tungstenite::client(url, stream).expect("a handshake");
    assert_eq!(answer.status().as_u16(), 101);
    let big = vec![7_u8; 300_000];
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(big),
    ] {
        socket.send(message.clone()).expect("it is taken");
        assert_eq!(socket.read().expect("an echo"), message);
    }
    socket
        .send(Message::Ping(vec![1, 2].into()))
        .expect("it is taken");
    assert_eq!(
        socket.read().expect("a pong"),
        Message::Pong(vec![1, 2].into())
    );
    socket.close(None).expect("a close");
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    until_true("the backend connection has ended", || origin.open() == 0);
}

#[test]
fn many_websockets_at_once() {
    let origin = Origin::websocket();
    let proxy = Proxy::before(&[origin.address()]);
    let url = format!("ws://{}/chat", proxy.address());
    let mut sockets: Vec<_> = (0..50)
        .map(|_| {
            let stream = TcpStream::connect(proxy.address()).expect("it listens");
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a socket option");
            tungstenite::client(&url, stream).expect("a handshake").0
        })
        .collect();
    for (at, socket) in sockets.iter_mut().enumerate() {
        socket
            .send(Message::text(format!("{at}")))
            .expect("it is taken");
    }
    for (at, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(
            socket.read().expect("an echo"),
            Message::text(format!("{at}"))
        );
    }
}

#[test]
fn a_silent_tunnel_is_closed_after_its_time() {
    let origin = shouting();
    let proxy = Proxy::before_with(&[origin.address()], "timeouts: { tunnel: 3s }", "");
    let mut wire = proxy.wire();
    wire.send(UPGRADE);
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    // A byte now and then keeps it open.
    for _ in 0..4 {
        assert!(wire.is_silent(Duration::from_secs(1)));
        wire.send("x");
        assert_eq!(wire.bytes(1), b"X");
    }
    wire.expect_close();
}
