//! Checks by connecting, and by a text that is sent and one that must come back.

use std::time::{Duration, Instant};

use keel_balance::CheckFault;
use keel_testkit::Origin;
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, TlsServer};
use keel_tls::ServerName;
use keel_upstream::check::{Exchange, Expect, Probe};

use crate::tools::{connector, fault, nobody, passes, plan, run, target};

fn exchange(send: &str, expect: Expect) -> Probe {
    Probe::Exchange(Exchange {
        send: send.as_bytes().to_vec(),
        expect: Some(expect),
    })
}

fn text(text: &str) -> Expect {
    Expect::Bytes(text.as_bytes().to_vec())
}

/// Answers as Redis does.
fn redis() -> Origin {
    Origin::scripted(|stage| {
        while stage.some() {
            match stage.take_unread().as_slice() {
                b"PING\r\n" => stage.send("+PONG\r\n"),
                _ => stage.send("-ERR unknown command\r\n"),
            };
        }
    })
}

#[tokio::test]
async fn a_port_that_takes_connections_passes() {
    let origin = Origin::scripted(|stage| stage.until_end());
    passes(Probe::Tcp, origin.address()).await;
    let fault = fault(Probe::Tcp, nobody()).await;
    assert!(fault.starts_with("no connection: "), "{fault}");
    assert!(fault.contains("refused"), "{fault}");
}

#[tokio::test]
async fn all_addresses_are_tried_and_none_is_a_fault() {
    let origin = Origin::scripted(|stage| stage.until_end());
    let mut two = target(nobody());
    two.addresses.push(origin.address());
    assert_eq!(plan(Probe::Tcp).run(&two).await.result, Ok(()));
    two.addresses.clear();
    let finding = plan(Probe::Tcp).run(&two).await;
    assert_eq!(finding.result, Err(CheckFault::Unresolved));
}

#[tokio::test]
async fn another_port_is_asked_when_told_so() {
    let origin = Origin::scripted(|stage| stage.until_end());
    let mut plan = plan(Probe::Tcp);
    plan.port = Some(origin.address().port());
    assert_eq!(plan.run(&target(nobody())).await.result, Ok(()));
}

/// A listener whose queue is full takes no connection and refuses none.
#[tokio::test]
async fn a_connection_that_hangs_ends_with_the_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(50), connecting).await {
            Ok(stream) => held.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let begin = Instant::now();
    let finding = run(Probe::Tcp, address).await;
    assert_eq!(finding.result, Err(CheckFault::ConnectTimeout));
    let took = begin.elapsed();
    assert!((450..3_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn redis_is_asked_with_ping() {
    let origin = redis();
    passes(exchange("PING\r\n", text("+PONG")), origin.address()).await;
    let fault = fault(exchange("QUIT\r\n", text("+OK")), origin.address());
    // Redis waits for the next command, and the check for what never comes.
    assert_eq!(fault.await, "no answer within the timeout");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_listened_to_and_may_take_several_writes() {
    let origin = Origin::scripted(|stage| {
        stage.drip(
            "220 mx.example.com ESMTP ready\r\n",
            Duration::from_millis(3),
        );
        stage.until_end();
    });
    let greeting = || Expect::regex("^220 .* ready").unwrap();
    passes(exchange("", greeting()), origin.address()).await;
    let busy = Origin::scripted(|stage| {
        stage.send("421 too busy\r\n");
    });
    let fault = fault(exchange("", greeting()), busy.address()).await;
    assert_eq!(
        fault,
        "the body does not hold what is expected: a match of `^220 .* ready` is not in `421 too busy\\r\\n`"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_the_limit_only() {
    let origin = Origin::scripted(|stage| while stage.send(vec![b'x'; 16 * 1024]) {});
    let fault = fault(exchange("", text("never")), origin.address()).await;
    assert!(
        fault.contains("is not in 65536 bytes that begin `xxx"),
        "{fault}"
    );
}

#[tokio::test]
async fn the_end_without_a_word_is_told_as_such() {
    let origin = Origin::scripted(|_| {});
    let fault = fault(exchange("PING\r\n", text("+PONG")), origin.address()).await;
    assert_eq!(fault, "the connection ended before the answer");
}

#[tokio::test]
async fn tls_is_part_of_the_check() {
    let (ca, other, scratch) = (Ca::new("one"), Ca::new("two"), Scratch::new());
    let server = TlsServer::new(&ca.leaf(&["app.internal"]));
    let origin = server.scripted(|stage| {
        stage.send("hello");
        stage.until_end();
    });
    let named = || ServerName::Fixed("app.internal".to_owned());
    let mut plan = plan(Probe::Tcp);
    plan.tls = Some(connector(&ca, &scratch, named(), &[]));
    assert_eq!(plan.run(&target(origin.address())).await.result, Ok(()));
    plan.probe = exchange("", text("hello"));
    assert_eq!(plan.run(&target(origin.address())).await.result, Ok(()));
    for (ca, name, why) in [
        (&ca, ServerName::Own, "another name"),
        (&other, named(), "another CA"),
    ] {
        plan.tls = Some(connector(ca, &scratch, name, &[]));
        let fault = plan
            .run(&target(origin.address()))
            .await
            .result
            .unwrap_err();
        assert!(matches!(fault, CheckFault::Handshake(_)), "{why}: {fault}");
    }
    // One that speaks no TLS.
    let plain = Origin::scripted(|stage| {
        stage.some();
        stage.send("what?\r\n");
    });
    let fault = plan.run(&target(plain.address())).await.result.unwrap_err();
    assert!(matches!(fault, CheckFault::Handshake(_)), "{fault}");
}
