//! The demo's terminal: one line that is written over, single keys without Enter.

use std::io::{IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A server's number: stop or start it.
    Toggle(usize),
    /// The end.
    Quit,
}

/// Whether there is somebody to press keys.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The terminal. Put back as it was on drop.
pub struct Screen {
    before: Option<Termios>,
    keys: mpsc::Receiver<Key>,
    // Held so that `key` waits for ever when there is no terminal.
    _sender: mpsc::Sender<Key>,
    live: bool,
}

impl Screen {
    /// Takes the terminal, when there is one.
    pub fn new() -> Screen {
        let (sender, keys) = mpsc::channel(16);
        let live = is_interactive();
        let before = live.then(single_keys).flatten();
        if before.is_some() {
            let sender = sender.clone();
            std::thread::spawn(move || read_keys(&sender));
        }
        Screen {
            before,
            keys,
            _sender: sender,
            live,
        }
    }

    /// Writes the live line: over the last one on a terminal, below it elsewhere.
    pub fn line(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads a terminal that is gone.
        let _ = match self.live {
            true => write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush()),
            false => writeln!(out, "{text}"),
        };
    }

    /// The next key. Cancel-safe.
    pub async fn key(&mut self) -> Key {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Keys come one by one and are not shown; Ctrl-C stays a signal.
fn single_keys() -> Option<Termios> {
    let before = tcgetattr(std::io::stdin()).ok()?;
    let mut changed = before.clone();
    changed
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &changed).ok()?;
    Some(before)
}

fn read_keys(sender: &mpsc::Sender<Key>) {
    for byte in std::io::stdin().lock().bytes() {
        let key = match byte {
            Ok(digit @ b'1'..=b'9') => Key::Toggle(usize::from(digit - b'0')),
            Ok(b'q' | b'Q') => Key::Quit,
            Ok(_) => continue,
            Err(_) => return,
        };
        if sender.blocking_send(key).is_err() {
            return;
        }
    }
}
