//! Tests of `inherited`: real sockets, no other process.

use super::*;
use crate::{SocketBook, bind, bind_like};
use std::net::{TcpStream, UdpSocket};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn named(name: &str, socket: impl Into<OwnedFd>) -> Handed {
    Handed {
        label: Label {
            listener: name.to_owned(),
            asked: String::new(),
            address: String::new(),
            lent: false,
        },
        socket: socket.into(),
    }
}

#[test]
fn a_listener_gets_all_sockets_that_its_address_had() {
    let book = SocketBook::new();
    let asked = at("127.0.0.1:0");
    let first = bind(asked, 16).unwrap();
    let second = bind_like(&first, 16).unwrap();
    let other = bind(asked, 16).unwrap();
    book.keep("web", asked, &first).unwrap();
    book.keep("api", asked, &other).unwrap();
    book.keep("web", asked, &second).unwrap();
    let mut inherited = Inherited::none();
    inherited
        .add(Origin::Predecessor, book.copies().unwrap())
        .unwrap();
    let got = inherited.take("web", asked).unwrap();
    assert_eq!(
        got.iter().map(|it| it.address).collect::<Vec<_>>(),
        [first.address; 2]
    );
    assert!(inherited.take("web", asked).unwrap().is_empty());
    assert!(inherited.take("new", at("127.0.0.1:9")).unwrap().is_empty());
    assert_eq!(inherited.taken(), [0, 2]);
    assert_eq!(inherited.left()[0].listener, "api");
    // The name of a listener may change: a fixed address finds its socket all the same.
    assert_eq!(inherited.take("renamed", other.address).unwrap().len(), 1);
    assert_eq!(inherited.taken(), [0, 2, 1]);
}

#[test]
fn an_address_of_another_family_or_host_is_not_taken_by_port_0() {
    let book = SocketBook::new();
    let bound = bind(at("127.0.0.1:0"), 16).unwrap();
    book.keep("web", at("127.0.0.1:0"), &bound).unwrap();
    let mut inherited = Inherited::none();
    inherited
        .add(Origin::Predecessor, book.copies().unwrap())
        .unwrap();
    assert!(inherited.take("web", at("127.0.0.2:0")).unwrap().is_empty());
}

#[test]
fn a_supervisors_sockets_are_found_by_address_or_else_by_name() {
    let sockets: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|it| it.local_addr().unwrap()).collect();
    let mut inherited = Inherited::none();
    let handed = sockets.into_iter().map(|it| named("web", it)).collect();
    inherited.add(Origin::Supervisor, handed).unwrap();
    let got = inherited.take("any", addresses[1]).unwrap();
    assert_eq!(got[0].address, addresses[1]);
    assert!(got[0].lent, "the supervisor goes on with it");
    let unknown = at("127.0.0.1:1");
    assert!(inherited.take("api", unknown).unwrap().is_empty());
    assert_eq!(
        inherited.take("web", unknown).unwrap()[0].address,
        addresses[0]
    );
    assert_eq!(
        inherited.take("web", unknown).unwrap()[0].address,
        addresses[2]
    );
    assert!(inherited.take("web", unknown).unwrap().is_empty());
    assert!(inherited.taken().is_empty(), "those are the predecessor's");
}

#[test]
fn a_dual_stack_socket_serves_the_ipv4_wildcard() {
    let raw = RawSocket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    raw.set_only_v6(false).unwrap();
    raw.bind(&at("[::]:0").into()).unwrap();
    raw.listen(16).unwrap();
    let port = raw.local_addr().unwrap().as_socket().unwrap().port();
    let mut inherited = Inherited::none();
    inherited
        .add(Origin::Supervisor, vec![named("x", raw)])
        .unwrap();
    let wanted = SocketAddr::from(([0, 0, 0, 0], port));
    assert!(
        inherited
            .take("web", SocketAddr::from(([127, 0, 0, 1], port)))
            .unwrap()
            .is_empty()
    );
    assert_eq!(inherited.take("web", wanted).unwrap().len(), 1);
}

#[test]
fn what_does_not_listen_is_refused() {
    let datagrams = named("dns", UdpSocket::bind("127.0.0.1:0").unwrap());
    let said = Inherited::none()
        .add(Origin::Supervisor, vec![datagrams])
        .unwrap_err()
        .to_string();
    assert!(said.contains("`dns` is no stream socket"), "{said}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let said = Inherited::none()
        .add(Origin::Supervisor, vec![named("web", client)])
        .unwrap_err()
        .to_string();
    assert!(said.contains("`web` does not listen"), "{said}");
}

#[test]
fn unix_sockets_are_found_by_path() {
    let path = std::env::temp_dir().join(format!("evenkeel-inherited-{}", std::process::id()));
    let _stale = std::fs::remove_file(&path);
    let book = SocketBook::new();
    let listener = UnixListener::bind(&path).unwrap();
    let text = path.display().to_string();
    book.keep_unix("admin", &text, &listener).unwrap();
    let mut inherited = Inherited::none();
    inherited
        .add(Origin::Predecessor, book.copies().unwrap())
        .unwrap();
    assert!(inherited.take_unix("admin", "/elsewhere").is_none());
    assert!(inherited.take_unix("admin", &text).is_some());
    assert_eq!(inherited.taken(), [0]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn duplicates_take_from_one_queue() {
    let bound = bind(at("127.0.0.1:0"), 16).unwrap();
    let twin = bound.duplicate().unwrap();
    let _one = TcpStream::connect(bound.address).unwrap();
    let _two = TcpStream::connect(bound.address).unwrap();
    assert!(twin.listener.accept().is_ok() && bound.listener.accept().is_ok());
}
