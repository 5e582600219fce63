//! The listening sockets of the process, as the next one will want them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Bound;

/// What a handed socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The listener's name in the configuration; `admin` for the admin listener.
    pub listener: String,
    /// The address as the configuration asks for it: port 0 stays 0. A path for a Unix socket.
    pub asked: String,
    /// The address that the socket has. A path for a Unix socket.
    pub address: String,
    /// [`Bound::lent`].
    #[serde(default)]
    pub lent: bool,
}

/// A socket with its label.
#[derive(Debug)]
pub struct Handed {
    /// What it is for.
    pub label: Label,
    /// The listening socket.
    pub socket: OwnedFd,
}

#[derive(Debug)]
struct Entry {
    label: Label,
    copy: OwnedFd,
}

/// Copies of every listening socket of the process: a handover sends them to the next process.
/// Clones share the book.
///
/// A copy keeps its socket open, and whoever connects then waits for nobody. So whoever stops
/// listening calls [`SocketBook::clear`] *before* the socket's owner takes
/// what is queued and closes it.
#[derive(Debug, Clone, Default)]
pub struct SocketBook(Arc<Mutex<Vec<Entry>>>);

impl SocketBook {
    /// An empty book.
    pub fn new() -> SocketBook {
        SocketBook::default()
    }

    /// Notes a socket of a listener. `asked` is the address as the configuration has it.
    ///
    /// # Errors
    /// When the socket cannot be duplicated: descriptors have run out.
    pub fn keep(&self, listener: &str, asked: SocketAddr, bound: &Bound) -> io::Result<()> {
        let copy = bound.listener.as_fd().try_clone_to_owned()?;
        let address = bound.address.to_string();
        self.add(listener, (asked.to_string(), address, bound.lent), copy);
        Ok(())
    }

    /// Notes a socket of the Unix domain by its path.
    ///
    /// # Errors
    /// When the socket cannot be duplicated: descriptors have run out.
    pub fn keep_unix(&self, listener: &str, path: &str, socket: &UnixListener) -> io::Result<()> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        self.add(listener, (path.to_owned(), path.to_owned(), false), copy);
        Ok(())
    }

    fn add(&self, listener: &str, (asked, address, lent): (String, String, bool), copy: OwnedFd) {
        let label = Label {
            listener: listener.to_owned(),
            asked,
            address,
            lent,
        };
        self.entries().push(Entry { label, copy });
    }

    /// Closes all copies.
    pub fn clear(&self) {
        self.entries().clear();
    }

    /// A copy of each socket with its label, in the order in which they were noted.
    ///
    /// # Errors
    /// When a socket cannot be duplicated: descriptors have run out.
    pub fn copies(&self) -> io::Result<Vec<Handed>> {
        self.entries()
            .iter()
            .map(|it| {
                Ok(Handed {
                    label: it.label.clone(),
                    socket: it.copy.try_clone()?,
                })
            })
            .collect()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind;
    use std::net::TcpStream;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn copies_keep_a_socket_open_until_they_are_cleared() {
        let book = SocketBook::new();
        let bound = bind(any(), 16).unwrap();
        book.keep("web", any(), &bound).unwrap();
        let address = bound.address;
        drop(bound);
        assert!(TcpStream::connect(address).is_ok());
        let labels: Vec<Label> = book
            .copies()
            .unwrap()
            .into_iter()
            .map(|it| it.label)
            .collect();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].asked, "127.0.0.1:0");
        assert_eq!(labels[0].address, address.to_string());
        book.clear();
        assert!(TcpStream::connect(address).is_err());
        assert!(book.copies().unwrap().is_empty());
    }
}
