//! The server program: this test binary, started again by [`super::fleet`] with [`SPEC`] set.
//!
//! It answers as [`super::contract`] says, or as badly as it is told on standard input, one word a line; at the end of
//! standard input it ends, so that none is left behind. Each POST that it has read whole is written to its record before
//! anything else is done with it: that is what "executed" means here. What reached it and was not well-formed is
//! written there too.

use std::fs::File;
use std::io::{BufRead, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use keel_testkit::h2::H2Seen;
use keel_testkit::h2::frame::code;
use keel_testkit::origin::Stage;
use keel_testkit::strict::Request;
use keel_testkit::{H2Origin, H2Reply, Origin};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::contract;

/// The variable that makes this binary a server: `PROTOCOL ADDRESS NAME RECORD`.
pub const SPEC: &str = "KEEL_CHAOS_ORIGIN";

/// Begins a line of the record about what was not well-formed.
pub const FAULT: &str = "! ";

/// How late a slow server answers.
const SLOW: Duration = Duration::from_millis(300);

/// How long a server that ends in order goes on answering.
const LEAVING: Duration = Duration::from_millis(250);

/// A head that is longer than any limit.
const HUGE: usize = 1 << 20;

/// How it behaves; the words that it is told.
const MODES: [&str; 10] = [
    "normal",
    "slow",
    "mute",
    "reset",
    "slam",
    "garbage",
    "badhead",
    "cut",
    "unavailable",
    "leave",
];

#[derive(Debug)]
struct Behaviour {
    mode: AtomicU8,
    turn: AtomicU8,
    name: String,
    record: File,
}

impl Behaviour {
    fn mode(&self) -> &'static str {
        MODES[usize::from(self.mode.load(Ordering::Acquire))]
    }

    /// Counts up, so that each way of being bad has its turn.
    fn turn(&self) -> u8 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn executed(&self, method: &str, id: &str) {
        if method == "POST" {
            self.write(id);
        }
    }

    /// One write, appended: it is there whole whatever becomes of us afterwards.
    fn write(&self, line: &str) {
        let written = (&self.record).write_all(format!("{line}\n").as_bytes());
        written.expect("the record can be written");
    }
}

/// Serves until standard input ends, when this process was started as a server.
pub fn run_if_asked() {
    let Ok(spec) = std::env::var(SPEC) else {
        return;
    };
    let words: Vec<&str> = spec.splitn(4, ' ').collect();
    let [protocol, address, name, record] = words[..] else {
        panic!("{SPEC} is not PROTOCOL ADDRESS NAME RECORD: {spec}");
    };
    let address: SocketAddr = address.parse().expect("an address");
    let record = File::options().append(true).create(true).open(record);
    let behaviour: &'static Behaviour = Box::leak(Box::new(Behaviour {
        mode: AtomicU8::new(0),
        turn: AtomicU8::new(0),
        name: name.to_owned(),
        record: record.expect("the record can be opened"),
    }));
    let origin = match protocol {
        "h2" => H2Origin::new(name)
            .at(address)
            .answering(|seen| reply(behaviour, seen)),
        _ => Origin::scripted_at(address, |stage| serve(behaviour, stage)),
    };
    for word in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some(mode) = MODES.iter().position(|mode| *mode == word) else {
            panic!("no such behaviour: {word}");
        };
        behaviour
            .mode
            .store(u8::try_from(mode).unwrap_or(0), Ordering::Release);
        for fault in origin.take_faults() {
            behaviour.write(&format!("{FAULT}{fault}"));
        }
        if word == "leave" {
            std::thread::sleep(LEAVING);
            break;
        }
    }
    for fault in origin.take_faults() {
        behaviour.write(&format!("{FAULT}{fault}"));
    }
    std::process::exit(0);
}

fn serve(own: &Behaviour, stage: &mut Stage) {
    if own.mode() == "slam" {
        return stage.reset();
    }
    while let Some(request) = stage.request() {
        let id = request.head.fields.first("x-id").unwrap_or_default();
        own.executed(&request.head.method, &id);
        if request.head.fields.lists("upgrade", "websocket") && own.mode() != "reset" {
            return websocket(own, stage, &request);
        }
        if !answer(own, stage, &request, &id) {
            return;
        }
    }
}

/// Answers; false when the connection is to be closed.
fn answer(own: &Behaviour, stage: &mut Stage, request: &Request, id: &str) -> bool {
    let method = request.head.method.as_str();
    let content = contract::answer(&request.head.target, id);
    let broken = request.body != contract::body(id, request.body.len());
    let mode = own.mode();
    let (status, close) = match mode {
        "unavailable" => (503, ""),
        _ if broken => (500, ""),
        "leave" => (200, "Connection: close\r\n"),
        _ => (200, ""),
    };
    let name = &own.name;
    let len = content.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nX-Origin: {name}\r\nX-Id: {id}\r\n{close}Content-Length: {len}\r\n\r\n"
    );
    let body: &[u8] = if method == "HEAD" { b"" } else { &content };
    match mode {
        "slow" => std::thread::sleep(SLOW),
        "mute" => {
            stage.until_end();
            return false;
        }
        "reset" => {
            stage.reset();
            return false;
        }
        "garbage" => {
            stage.send(garbage(own.turn()));
            return false;
        }
        "badhead" => {
            stage.send(bad_head(own.turn()));
            return false;
        }
        // Of HEAD there is nothing to cut but the head.
        "cut" if body.is_empty() => {
            stage.send(&head.as_bytes()[..head.len() / 2]);
            return false;
        }
        "cut" => {
            let whole = [head.as_bytes(), body].concat();
            stage.send(&whole[..head.len() + len / 2]);
            return false;
        }
        _ => {}
    }
    stage.send([head.as_bytes(), body].concat()) && close.is_empty()
}

/// What is no HTTP at all.
fn garbage(turn: u8) -> Vec<u8> {
    match turn % 4 {
        0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        1 => vec![0; 4_096],
        2 => b"220 mail.example ESMTP\r\n".to_vec(),
        _ => b"HTTP/1.1 OK 200\r\nContent-Length: 2\r\n\r\nok".to_vec(),
    }
}

/// HTTP that must not be believed.
fn bad_head(turn: u8) -> Vec<u8> {
    match turn % 4 {
        0 => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok".to_vec(),
        1 => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok".to_vec()
        }
        2 => b"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        _ => {
            let mut huge = b"HTTP/1.1 200 OK\r\nX-Huge: ".to_vec();
            huge.resize(HUGE, b'x');
            huge.extend_from_slice(b"\r\nContent-Length: 2\r\n\r\nok");
            huge
        }
    }
}

fn websocket(own: &Behaviour, stage: &mut Stage, request: &Request) {
    let key = request
        .head
        .fields
        .first("sec-websocket-key")
        .unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let name = &own.name;
    stage.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nX-Origin: {name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    let unread = stage.take_unread();
    let Some(link) = stage.take_link() else {
        return;
    };
    let mut socket = WebSocket::from_partially_read(link, unread, Role::Server, None);
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            // A read with a time limit ends so when a stopped process goes on.
            Err(Error::Io(fault)) if fault.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let sent = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message),
            _ => socket.flush(),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn reply(own: &Behaviour, seen: &H2Seen) -> H2Reply {
    let id = seen.header("x-id").unwrap_or_default();
    let method = seen.method();
    let content = contract::answer(&seen.path(), &id);
    let len = content.len();
    let head = |status| {
        H2Reply::new(status)
            .with("x-origin", &own.name)
            .with("x-id", &id)
            .with("content-length", &len.to_string())
    };
    let whole = |status| match method.as_str() {
        "HEAD" => head(status),
        _ => head(status).body(content.as_slice()),
    };
    // REFUSED_STREAM and a GOAWAY that leaves the stream out say that nothing was done: so nothing is.
    let turn = own.turn();
    let untouched = match own.mode() {
        "reset" if turn.is_multiple_of(2) => Some(H2Reply::reset(code::REFUSED_STREAM)),
        "slam" => Some(H2Reply::unprocessed()),
        _ => None,
    };
    if let Some(refusal) = untouched {
        return refusal;
    }
    own.executed(&method, &id);
    match own.mode() {
        "slow" => whole(200).after(SLOW),
        "mute" => H2Reply::silence(),
        "reset" => H2Reply::reset(code::INTERNAL_ERROR),
        "garbage" => whole(200).with("X-Upper", "case"),
        "badhead" => whole(200).with("connection", "close"),
        "cut" => head(200)
            .body(&content[..len / 2])
            .then_reset(code::INTERNAL_ERROR),
        "unavailable" => whole(503),
        "leave" => whole(200).with_goaway(0),
        _ if seen.body != contract::body(&id, seen.body.len()) => whole(500),
        _ => whole(200),
    }
}
