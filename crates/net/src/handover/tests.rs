//! Tests of `handover`: real sockets, no other process.

use super::*;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

fn ends() -> (Channel, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    (ours, Channel::on(UnixStream::from(theirs)))
}

fn label(number: usize) -> Label {
    Label {
        listener: format!("web\n{number}"),
        asked: "127.0.0.1:0".to_owned(),
        address: String::new(),
        lent: false,
    }
}

#[test]
fn sockets_arrive_in_order_with_their_labels_and_still_listen() {
    const COUNT: usize = 150;

    let (mut old, mut new) = ends();
    let listeners: Vec<TcpListener> = (0..COUNT)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses: Vec<_> = listeners
        .iter()
        .map(|it| it.local_addr().unwrap())
        .collect();
    let handed: Vec<Handed> = listeners
        .into_iter()
        .enumerate()
        .map(|(number, it)| Handed {
            label: label(number),
            socket: it.into(),
        })
        .collect();
    let state = vec![7u8; 3 << 20];
    let sender = std::thread::spawn(move || {
        old.send_sockets(&handed).unwrap();
        drop(handed);
        old.send_state(&[7u8; 3 << 20]).unwrap();
        old
    });
    let mut all = Vec::new();
    let got = loop {
        match new.receive().unwrap() {
            Message::Sockets(mut some) => all.append(&mut some),
            Message::State(state) => break state,
            other => panic!("{other:?}"),
        }
    };
    assert!(got == state);
    assert_eq!(all.len(), COUNT);
    for (number, (handed, address)) in all.into_iter().zip(&addresses).enumerate() {
        assert_eq!(handed.label, label(number));
        let listener = TcpListener::from(handed.socket);
        assert_eq!(listener.local_addr().unwrap(), *address);
        let _client = TcpStream::connect(address).unwrap();
        assert!(listener.accept().is_ok());
    }
    let mut old = sender.join().unwrap();
    let taken = Taken {
        pid: 7,
        sockets: vec![0, 149],
    };
    new.send_ready(&taken).unwrap();
    new.send_refused("late").unwrap();
    assert!(matches!(old.receive().unwrap(), Message::Ready(it) if it == taken));
    assert!(matches!(old.receive().unwrap(), Message::Refused(why) if why == "late"));
    drop(new);
    assert!(matches!(old.receive(), Err(HandoverFault::Closed)));
}

#[test]
fn silence_ends_at_the_deadline() {
    let (mut old, _new) = ends();
    old.set_limit(Duration::from_millis(50));
    let start = Instant::now();
    assert!(matches!(old.receive(), Err(HandoverFault::TimedOut)));
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert!(matches!(old.receive(), Err(HandoverFault::TimedOut)));
}

#[test]
fn who_reads_nothing_does_not_hold_up_for_ever() {
    let (mut old, new) = ends();
    old.set_limit(Duration::from_millis(100));
    assert!(matches!(
        old.send_state(&vec![0; 32 << 20]),
        Err(HandoverFault::TimedOut)
    ));
    drop(new);
    old.set_limit(Duration::from_secs(5));
    assert!(matches!(old.send_state(&[0]), Err(HandoverFault::Closed)));
}

#[test]
fn what_is_no_message_is_refused() {
    let head = |version: u8, kind: u8, count: u8, len: [u8; 4]| {
        let mut head = MAGIC.to_vec();
        head.extend([version, kind, 0, count]);
        head.extend(len);
        head
    };
    for (bytes, what) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), "not evenkeel"),
        (head(2, b'R', 0, [0; 4]), "ours is 1, its is 2"),
        (head(1, b'Q', 0, [0; 4]), "unknown kind"),
        (head(1, b'R', 0, [1, 0, 0, 0]), "too long"),
        (head(1, b'S', 0, [255; 4]), "too long"),
        (head(1, b'L', 65, [0, 0, 0, 2]), "too long"),
        (
            [head(1, b'R', 0, [0, 0, 0, 2]), b"[]".to_vec()].concat(),
            "`ready`",
        ),
        (
            [head(1, b'L', 0, [0, 0, 0, 2]), b"{}".to_vec()].concat(),
            "labels",
        ),
        (
            [head(1, b'L', 1, [0, 0, 0, 2]), b"[]".to_vec()].concat(),
            "missing",
        ),
    ] {
        let (mut end, other) = ends();
        (&other.stream).write_all(&bytes).unwrap();
        let said = end.receive().unwrap_err().to_string();
        assert!(said.contains(what), "{said}: {what}");
    }
}

#[test]
fn labels_without_their_sockets_are_refused() {
    let (mut end, mut other) = ends();
    let labels = serde_json::to_vec(&[label(1)]).unwrap();
    other.send(b'L', &labels, &[]).unwrap();
    assert!(matches!(end.receive(), Err(HandoverFault::Broken(_))));
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let (mut end, mut other) = ends();
    let reader = std::thread::spawn(move || end.receive().unwrap());
    other.send_refused(&"é".repeat(1 << 20)).unwrap();
    let Message::Refused(why) = reader.join().unwrap() else {
        panic!("another message");
    };
    assert_eq!(why.len(), 1 << 20);
}

#[test]
fn the_other_end_is_closed_in_children_unless_it_is_given() {
    let (ours, theirs) = Channel::pair().unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", "test -S /dev/stdin"])
        .stdin(theirs)
        .status()
        .unwrap();
    assert!(status.success());
    let mut rest = Vec::new();
    (&ours.stream).read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}
