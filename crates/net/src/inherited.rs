//! Listening sockets that were open before this process: from the process before it, or from a
//! supervisor (socket activation).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use socket2::{SockRef, Socket as RawSocket};

use crate::{Bound, Handed, Label};

/// Who opened a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The process that this one replaces: there may be one socket for each of its workers.
    Predecessor,
    /// A supervisor such as systemd. Its names are those of `FileDescriptorName=`.
    Supervisor,
}

#[derive(Debug)]
struct Entry {
    label: Label,
    origin: Origin,
    position: usize,
    socket: OwnedFd,
}

/// Sockets that wait for the listener that wants them.
#[derive(Debug, Default)]
pub struct Inherited {
    entries: Vec<Entry>,
    taken: Vec<usize>,
}

impl Inherited {
    /// None.
    pub fn none() -> Inherited {
        Inherited::default()
    }

    /// Adds sockets. What is no listening stream socket is refused; `label.address` is asked of the
    /// socket itself.
    ///
    /// # Errors
    /// Tells which socket is of no use, and why.
    pub fn add(&mut self, origin: Origin, sockets: Vec<Handed>) -> io::Result<()> {
        for (position, handed) in sockets.into_iter().enumerate() {
            let Handed { mut label, socket } = handed;
            let raw = SockRef::from(&socket);
            let name = &label.listener;
            let fault = |what: &str| io::Error::other(format!("inherited socket `{name}` {what}"));
            if raw.r#type()? != socket2::Type::STREAM {
                return Err(fault("is no stream socket; use ListenStream="));
            }
            if !raw.is_listener()? {
                return Err(fault("does not listen; use Accept=no"));
            }
            raw.set_nonblocking(true)?;
            // A process that was about to close it may have kept new connections off it.
            let _ = raw.detach_filter();
            let local = raw.local_addr()?;
            if let Some(address) = local.as_socket() {
                raw.set_tcp_nodelay(true)?;
                label.address = address.to_string();
            } else if let (Origin::Supervisor, Some(path)) = (origin, local.as_pathname()) {
                // A socket that was renamed does not know its name; the predecessor does.
                label.address = path.display().to_string();
            }
            self.entries.push(Entry {
                label,
                origin,
                position,
                socket,
            });
        }
        Ok(())
    }

    /// Takes the sockets for an address of a listener; none when there are none.
    ///
    /// They are matched by address; then by what the same listener got before when it asked for the
    /// same address, port 0 above all; a supervisor's socket with the listener's name matches when no address
    /// does. A dual-stack `[::]` of a supervisor serves `0.0.0.0` too.
    ///
    /// # Errors
    /// When the system does not tell the address of a socket.
    pub fn take(&mut self, listener: &str, asked: SocketAddr) -> io::Result<Vec<Bound>> {
        let text = asked.to_string();
        let by_address =
            |it: &Entry| asked.port() != 0 && (it.label.address == text || serves(it, asked));
        let by_question = |it: &Entry| {
            it.origin == Origin::Predecessor
                && it.label.listener == listener
                && it.label.asked == text
        };
        let by_name = |it: &Entry| it.origin == Origin::Supervisor && it.label.listener == listener;
        let mut found = self.remove(by_address);
        if found.is_empty() {
            found = self.remove(by_question);
        }
        if found.is_empty() {
            found = self.remove_like_first(by_name);
        }
        found
            .into_iter()
            .map(|entry| {
                let listener = TcpListener::from(entry.socket);
                let address = listener.local_addr()?;
                let lent = entry.label.lent || entry.origin == Origin::Supervisor;
                Ok(Bound {
                    listener,
                    address,
                    lent,
                })
            })
            .collect()
    }

    /// Takes the Unix socket with this path, or the supervisor's with the listener's name.
    pub fn take_unix(&mut self, listener: &str, path: &str) -> Option<UnixListener> {
        let mut found = self.remove(|it| it.label.address == path && is_unix(it));
        if found.is_empty() {
            found = self.remove_like_first(|it| {
                it.origin == Origin::Supervisor && it.label.listener == listener && is_unix(it)
            });
        }
        Some(UnixListener::from(found.pop()?.socket))
    }

    /// Positions of the predecessor's sockets that were taken, in its order.
    pub fn taken(&self) -> &[usize] {
        &self.taken
    }

    /// What nobody took, for a message; the sockets are closed with this.
    pub fn left(&self) -> Vec<&Label> {
        self.entries.iter().map(|it| &it.label).collect()
    }

    /// Of the supervisor's sockets only those with the address of the first: one name may stand for
    /// several addresses, and a listener's address wants one of them.
    fn remove_like_first(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let first = self.entries.iter().find(|it| wanted(it));
        let Some(address) = first.map(|it| it.label.address.clone()) else {
            return Vec::new();
        };
        self.remove(|it| wanted(it) && it.label.address == address)
    }

    fn remove(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (found, left) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(wanted);
        self.entries = left;
        let found: Vec<Entry> = found;
        let handed = found.iter().filter(|it| it.origin == Origin::Predecessor);
        self.taken.extend(handed.map(|it| it.position));
        found
    }
}

fn is_unix(entry: &Entry) -> bool {
    SockRef::from(&entry.socket)
        .domain()
        .is_ok_and(|domain| domain == socket2::Domain::UNIX)
}

/// Whether a dual-stack socket of a supervisor takes the connections of an IPv4 address.
fn serves(entry: &Entry, asked: SocketAddr) -> bool {
    let Ok(address) = entry.label.address.parse::<SocketAddr>() else {
        return false;
    };
    entry.origin == Origin::Supervisor
        && asked.is_ipv4()
        && asked.ip().is_unspecified()
        && address.is_ipv6()
        && address.ip().is_unspecified()
        && address.port() == asked.port()
        && SockRef::from(&entry.socket)
            .only_v6()
            .is_ok_and(|only| !only)
}

impl Bound {
    /// Another descriptor of the same socket: both take from one queue.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn duplicate(&self) -> io::Result<Bound> {
        let copy = self.listener.as_fd().try_clone_to_owned()?;
        Ok(Bound {
            listener: RawSocket::from(copy).into(),
            address: self.address,
            lent: self.lent,
        })
    }
}

#[cfg(test)]
mod tests;
