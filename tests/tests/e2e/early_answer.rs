//! Backends that answer while the client still sends.

use keel_testkit::client::Lost;
use keel_testkit::{Origin, Proxy};

use crate::GET;

/// Answers as soon as the head is there, and reads no more.
fn hasty() -> Origin {
    Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
            stage.until_end();
        }
    })
}

#[test]
fn the_client_gets_an_answer_that_comes_before_its_body_is_sent() {
    let origin = hasty();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    let answer = wire.answer().expect(403);
    assert_eq!(answer.text(), "no");
}

#[test]
fn the_backend_connection_is_not_used_again() {
    let origin = hasty();
    let proxy = Proxy::before(&[origin.address()]);
    for nth in 1..=3 {
        let mut wire = proxy.wire();
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin");
        wire.answer().expect(403);
        assert_eq!(origin.connections(), nth);
    }
}

#[test]
fn the_next_request_of_the_client_is_not_taken_from_the_old_body() {
    let origin = Origin::scripted(|stage| {
        let Some(head) = stage.head() else { return };
        if head.method == "POST" {
            stage.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
            stage.until_end();
        } else {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    // The body looks like a request; whatever is done with it, it is never one.
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    wire.answer().expect(403);
    let _maybe_closed = wire.try_send(format!("{body}{GET}"));
    match wire.try_answer("GET") {
        Ok(answer) => assert_eq!(answer.text(), "other"),
        Err(Lost::Nothing(_)) => {}
        Err(lost) => panic!("{lost:?}"),
    }
    for connection in 0..origin.connections() {
        let got = origin.received_text(connection);
        assert!(!got.starts_with("GET /smuggled"), "{got}");
    }
}

#[test]
fn a_whole_answer_and_a_reset_is_an_answer() {
    let origin = Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage
                .send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            // Unread bytes of the body make the system reset the connection on close.
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
    let mut writer = wire.stream().try_clone().expect("a socket can be cloned");
    let sender = std::thread::spawn(move || {
        let _refused_midway = std::io::Write::write_all(&mut writer, &vec![b'x'; 3_000_000]);
    });
    let answer = wire.answer();
    assert!(matches!(answer.status(), 413 | 502), "{:?}", answer.head);
    drop(wire);
    sender.join().expect("the sender does not panic");
}

#[test]
fn an_answer_that_streams_while_the_body_streams() {
    let origin = Origin::scripted(|stage| {
        if stage.head().is_none() {
            return;
        }
        stage.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut left = 9;
        loop {
            let bytes = stage.take_unread();
            left -= bytes.len().min(left);
            if !bytes.is_empty() {
                let text = String::from_utf8_lossy(&bytes).to_ascii_uppercase();
                stage.send(format!("{:x}\r\n{text}\r\n", text.len()));
            }
            if left == 0 {
                stage.send("0\r\n\r\n");
                return;
            }
            if !stage.some() {
                return;
            }
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\none");
    let mut writer = wire.stream().try_clone().expect("a socket can be cloned");
    let mut rest = ["two", "six"].into_iter();
    let mut body = Vec::new();
    let answer = wire.answer_into("POST", &mut |data| {
        body.extend_from_slice(data);
        if body.len() % 3 == 0
            && let Some(word) = rest.next()
        {
            std::io::Write::write_all(&mut writer, word.as_bytes()).expect("it takes it");
        }
    });
    assert_eq!(answer.map(|answer| answer.status()), Ok(200));
    assert_eq!(body, b"ONETWOSIX");
}
