//! Streams after their handshake: data both ways, ends, and what writes promise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use keel_tls::{HandshakeFault, Stream};
use support::{Ca, Folder, acceptor, pipe, settings, shake, shaken};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A CA, and an acceptor with a certificate of it for `localhost`.
fn site() -> (Folder, Ca, Arc<keel_tls::Acceptor>) {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let source = folder.pair("site", &ca.leaf(&["localhost"]));
    let acceptor = acceptor(settings(vec![source]));
    (folder, ca, acceptor)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn data_goes_both_ways_without_a_flush() {
    let (_folder, ca, acceptor) = site();
    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    let data = pattern(3_000_000);
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        // As callers of plain TCP do it: no flush.
        server.write_all(&sent).await.unwrap();
        server
    });
    let mut got = vec![0; data.len()];
    client.read_exact(&mut got).await.unwrap();
    assert!(got == data);
    let mut server = writer.await.unwrap();

    let sent = data.clone();
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        client
    });
    let mut got = vec![0; data.len()];
    // Pieces smaller than a record, then large ones.
    let (small, large) = got.split_at_mut(100_000);
    for piece in small.chunks_mut(777) {
        server.read_exact(piece).await.unwrap();
    }
    for piece in large.chunks_mut(256 * 1024) {
        server.read_exact(piece).await.unwrap();
    }
    assert!(got == data);
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn a_full_socket_holds_what_it_did_not_count() {
    let (_folder, ca, acceptor) = site();
    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    let data = pattern(20_000_000);
    // The client does not read: at some point the socket is full.
    let mut written = 0;
    let pending = poll_fn(|cx| {
        loop {
            match Pin::new(&mut server).poll_write(cx, &data[written..]) {
                Poll::Ready(n) => written += n.unwrap(),
                Poll::Pending => return Poll::Ready(true),
            }
        }
    })
    .await;
    assert!(pending && written > 0 && written < data.len());
    // All that was counted arrives, though the writer does nothing more.
    let mut got = vec![0; written];
    client.read_exact(&mut got).await.unwrap();
    assert!(got == data[..written]);
    // And the rest follows when the same bytes are written again.
    let rest = data[written..].to_vec();
    let writer = tokio::spawn(async move { server.write_all(&rest).await.map(|()| server) });
    let mut got = vec![0; data.len() - written];
    client.read_exact(&mut got).await.unwrap();
    assert!(got == data[written..]);
    writer.await.unwrap().unwrap();
}

#[tokio::test]
async fn other_bytes_after_a_pending_write_are_an_error() {
    let (_folder, ca, acceptor) = site();
    let (_client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    let data = pattern(1 << 16);
    poll_fn(|cx| {
        while Pin::new(&mut server).poll_write(cx, &data).is_ready() {}
        Poll::Ready(())
    })
    .await;
    let fault = server.write(b"HTTP/1.1 504 other bytes").await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn parts_arrive_as_one() {
    let (_folder, ca, acceptor) = site();
    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    assert!(server.is_write_vectored());
    let (head, body) = (b"head\r\n\r\n".to_vec(), pattern(150_000));
    let parts = [&head[..], b"", &body[..], b"end"];
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let whole = parts.concat();
    let reader = tokio::spawn(async move {
        let mut got = vec![0; total];
        client.read_exact(&mut got).await.unwrap();
        got
    });
    let slices = parts.map(IoSlice::new);
    let n = server.write_vectored(&slices).await.unwrap();
    assert!(n > head.len(), "one call takes more than the first part");
    server.write_all(&whole[n..]).await.unwrap();
    assert!(reader.await.unwrap() == whole);
}

#[tokio::test]
async fn a_clean_end_is_an_end_and_a_cut_is_an_error() {
    let (_folder, ca, acceptor) = site();
    let mut buf = [0; 64];

    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut buf).await.unwrap(), 3);
    assert_eq!(server.read(&mut buf).await.unwrap(), 0);
    assert_eq!(server.read(&mut buf).await.unwrap(), 0);
    // The other direction is still open (RFC 8446 section 6.1).
    server.write_all(b"late").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut buf).await.unwrap(), 4);
    assert_eq!(client.read(&mut buf).await.unwrap(), 0);

    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    client.write_all(b"cut").await.unwrap();
    client.get_mut().0.shutdown().await.unwrap();
    assert_eq!(server.read(&mut buf).await.unwrap(), 3);
    let fault = server.read(&mut buf).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn alive_until_something_comes() {
    let (_folder, ca, acceptor) = site();
    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    assert!(server.poll_alive());
    client.write_all(b"unasked").await.unwrap();
    poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
    assert!(!server.poll_alive());

    let (client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    drop(client);
    poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
    assert!(!server.poll_alive());

    let (client, server) = pipe().await;
    let mut plain = Stream::from(server);
    assert!(plain.poll_alive() && plain.facts().is_none() && !plain.is_tls());
    drop(client);
    poll_fn(|cx| plain.poll_read_ready(cx)).await.unwrap();
    assert!(!plain.poll_alive());
}

#[tokio::test]
async fn broken_records_end_the_stream() {
    let (_folder, ca, acceptor) = site();
    let (mut client, mut server) = shaken(&acceptor, ca.client(), "localhost").await;
    let (tcp, _) = client.get_mut();
    tcp.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
    tcp.write_all(&[7; 20]).await.unwrap();
    let fault = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::InvalidData);
    assert_eq!(
        server.read(&mut [0; 8]).await.unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[tokio::test]
async fn first_bytes_that_are_not_tls_come_back() {
    let (_folder, _ca, acceptor) = site();
    let (mut client, server) = pipe().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    match acceptor.accept(server).await {
        Err(HandshakeFault::Plain { first, .. }) => assert_eq!(first, b"GET / HTTP/1.1\r\n\r\n"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bad_beginnings_have_their_faults() {
    let (_folder, _ca, acceptor) = site();
    let (client, server) = pipe().await;
    drop(client);
    assert!(matches!(
        acceptor.accept(server).await,
        Err(HandshakeFault::Closed)
    ));

    // A message that says to be of 64 KiB.
    let (mut client, server) = pipe().await;
    client
        .write_all(&[22, 3, 1, 0x40, 0, 1, 1, 0, 0])
        .await
        .unwrap();
    assert!(matches!(
        acceptor.accept(server).await,
        Err(HandshakeFault::TooLarge)
    ));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50]);

    // A ServerHello.
    let (mut client, server) = pipe().await;
    client
        .write_all(&[22, 3, 1, 0, 4, 2, 0, 0, 0])
        .await
        .unwrap();
    let fault = acceptor.accept(server).await.unwrap_err();
    assert_eq!(fault.label(), "protocol");
}

#[tokio::test]
async fn a_first_message_byte_by_byte_is_whole_at_the_end() {
    let (_folder, ca, acceptor) = site();
    let (client, server) = pipe().await;
    let (near, far) = tokio::io::duplex(1);
    // A client whose bytes pass a pipe of one byte.
    let config = Arc::new(ca.client());
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    let name = "localhost".try_into().unwrap();
    let pump = tokio::spawn(async move {
        client.set_nodelay(true).unwrap();
        let (mut far, mut client) = (far, client);
        let _ = tokio::io::copy_bidirectional(&mut far, &mut client).await;
    });
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(server));
    let facts = server.as_ref().unwrap().facts().unwrap().clone();
    assert_eq!(facts.version, "TLSv1.3");
    assert_eq!(facts.server_name.as_deref(), Some("localhost"));
    assert_eq!(facts.session_id.len(), 64);
    assert!(facts.ja4.starts_with("t13d"), "{facts:?}");
    drop((client, server));
    pump.await.unwrap();
    // The same client in one piece has the same fingerprint.
    let (_client, server) = shake(&acceptor, &config, "localhost").await;
    assert_eq!(server.unwrap().facts().unwrap().ja4, facts.ja4);
}
