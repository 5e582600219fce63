//! Clients of WebSocket: connections that are to last for the whole run, each message echoed in order.

use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tungstenite::handshake::client::Response;
use tungstenite::{Message, WebSocket};

use super::Field;
use crate::dice::Dice;

/// How long an echo may take: longer than a server is ever stopped.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a client waits before it opens a connection anew.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection that ended before its time.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The server at its other end.
    pub server: String,
    /// When it was opened, in microseconds of the run.
    pub opened_us: u64,
    /// When its end was known.
    pub closed_us: u64,
    /// How it ended.
    pub why: String,
}

/// What the clients of WebSocket have to tell.
#[derive(Debug, Clone, Default)]
pub struct Talks {
    /// Connections opened.
    pub opened: u64,
    /// Connections that lasted to the end of the run.
    pub lasted: u64,
    /// Messages that came back as they were sent.
    pub echoed: u64,
    /// Connections that ended before.
    pub closed: Vec<Closed>,
    /// Openings that failed; `server` is empty.
    pub refused: Vec<Closed>,
    /// The longest time to an echo, in microseconds.
    pub slowest_us: u64,
}

impl Talks {
    /// Adds those of another client.
    pub fn add(&mut self, other: Talks) {
        self.opened += other.opened;
        self.lasted += other.lasted;
        self.echoed += other.echoed;
        self.closed.extend(other.closed);
        self.refused.extend(other.refused);
        self.slowest_us = self.slowest_us.max(other.slowest_us);
    }
}

struct Talk {
    socket: WebSocket<TcpStream>,
    server: String,
    opened_us: u64,
    sent: u64,
}

/// Keeps `count` connections open and talks on all of them in turn.
pub fn client(field: &Field, count: usize, number: u64, seed: u64) -> Talks {
    let mut dice = Dice::new(seed ^ number);
    let mut talks = Talks::default();
    let mut open: Vec<Talk> = Vec::new();
    while field.goes_on() {
        while open.len() < count && field.goes_on() {
            let Some(talk) = begin(field, &mut talks) else {
                break;
            };
            open.push(talk);
        }
        let from_us = field.now_us();
        // All are sent first, so that none waits for the echo of another.
        let sent: Vec<_> = open.iter_mut().map(|talk| say(talk, &mut dice)).collect();
        let mut still = Vec::new();
        for (mut talk, sent) in open.into_iter().zip(sent) {
            match sent.and_then(|message| hear(&mut talk, &message)) {
                Ok(()) => {
                    talks.echoed += 1;
                    still.push(talk);
                }
                Err(why) => talks.closed.push(ended(field, &talk, why)),
            }
        }
        talks.slowest_us = talks.slowest_us.max(field.now_us() - from_us);
        open = still;
        field.rest(&mut dice);
    }
    for mut talk in open {
        match end(&mut talk) {
            Ok(()) => talks.lasted += 1,
            Err(why) => talks.closed.push(ended(field, &talk, why)),
        }
    }
    talks
}

fn ended(field: &Field, talk: &Talk, why: String) -> Closed {
    Closed {
        server: talk.server.clone(),
        opened_us: talk.opened_us,
        closed_us: field.now_us(),
        why: format!("after {} messages: {why}", talk.sent),
    }
}

fn begin(field: &Field, talks: &mut Talks) -> Option<Talk> {
    let opened_us = field.now_us();
    match connect(field) {
        Ok((socket, answer)) => {
            talks.opened += 1;
            field.opened.fetch_add(1, Ordering::Relaxed);
            let server = answer.headers().get("x-origin");
            let server = server
                .and_then(|name| name.to_str().ok())
                .unwrap_or_default();
            Some(Talk {
                socket,
                server: server.to_owned(),
                opened_us,
                sent: 0,
            })
        }
        Err(why) => {
            talks.refused.push(Closed {
                server: String::new(),
                opened_us,
                closed_us: field.now_us(),
                why,
            });
            std::thread::sleep(AGAIN);
            None
        }
    }
}

fn connect(field: &Field) -> Result<(WebSocket<TcpStream>, Response), String> {
    let stream =
        TcpStream::connect_timeout(&field.web, PATIENCE).map_err(|fault| fault.to_string())?;
    let _kept = stream.set_read_timeout(Some(PATIENCE));
    let _slower = stream.set_nodelay(true);
    let url = format!("ws://{}/chat", field.web);
    tungstenite::client(url, stream).map_err(|fault| fault.to_string())
}

fn say(talk: &mut Talk, dice: &mut Dice) -> Result<Message, String> {
    talk.sent += 1;
    let len = usize::try_from(dice.between(0, 300)).unwrap_or(0);
    let message = Message::text(format!("{} {} {}", talk.server, talk.sent, "x".repeat(len)));
    let sent = talk.socket.send(message.clone());
    sent.map_err(|fault| format!("send: {fault}"))?;
    Ok(message)
}

fn hear(talk: &mut Talk, message: &Message) -> Result<(), String> {
    match talk.socket.read() {
        Ok(have) if have == *message => Ok(()),
        Ok(have) => Err(format!("WRONG: {have:?} instead of {message:?}")),
        Err(fault) => Err(fault.to_string()),
    }
}

/// Closes in order: the server's close has to come.
fn end(talk: &mut Talk) -> Result<(), String> {
    talk.socket.close(None).map_err(|fault| fault.to_string())?;
    match talk.socket.read() {
        Ok(Message::Close(_)) => Ok(()),
        other => Err(format!("{other:?} instead of a close")),
    }
}
