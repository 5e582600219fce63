//! A WebSocket echo.

use std::sync::Arc;

use tungstenite::Message;

use super::{Origin, Stage};

impl Origin {
    /// Accepts WebSocket connections and sends each message back, until the close.
    pub fn websocket() -> Origin {
        Origin::with_handler("websocket", Arc::new(echo))
    }
}

fn echo(stage: &mut Stage) {
    let stream = match stage.stream().try_clone() {
        Ok(stream) => stream,
        Err(fault) => return stage.fault(&format!("the socket cannot be cloned: {fault}")),
    };
    let mut socket = match tungstenite::accept(stream) {
        Ok(socket) => socket,
        Err(fault) => return stage.fault(&format!("the handshake failed: {fault}")),
    };
    // An Err is the end of the connection: an orderly close is `ConnectionClosed`, all else is for the client to judge.
    while let Ok(message) = socket.read() {
        let sent = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message),
            // tungstenite answers pings and closes by itself when flushed.
            _ => socket.flush(),
        };
        if sent.is_err() {
            return;
        }
    }
}
