//! The kernel's table of TCP sockets, to see when a proxy ends a connection without reading from it.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context, Result};

/// State of a socket that neither side has closed.
const ESTABLISHED: u8 = 1;

/// States of IPv4 sockets by (local, remote) address.
#[derive(Debug, Default)]
pub struct SocketTable {
    states: HashMap<(SocketAddr, SocketAddr), u8>,
}

impl SocketTable {
    /// As it is now.
    pub fn read() -> Result<SocketTable> {
        let text = fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
        Ok(SocketTable::parse(&text))
    }

    fn parse(text: &str) -> SocketTable {
        let states = text.lines().skip(1).filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
            let state = u8::from_str_radix(words.next()?, 16).ok()?;
            Some(((local, remote), state))
        });
        SocketTable {
            states: states.collect(),
        }
    }

    /// The socket at `local` has not closed its connection with `remote`.
    pub fn is_established(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.states.get(&(local, remote)) == Some(&ESTABLISHED)
    }
}

/// `0100007F:1F90` = 127.0.0.1:8080; the address is a number in the machine's byte order, the port is not.
fn address(word: &str) -> Option<SocketAddr> {
    let (ip, port) = word.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip.to_ne_bytes()), port).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table() {
        let text = "  sl  local_address rem_address   st tx_queue\n   \
            0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:0\n   \
            1: 0100007F:1F91 0100007F:C350 08 00000000:00000000 00:0\n broken\n";
        let table = SocketTable::parse(text);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert!(table.is_established(at(8080), at(50000)));
        assert!(!table.is_established(at(8081), at(50000)));
        assert!(!table.is_established(at(8082), at(50000)));
        assert_eq!(table.states.len(), 2);
    }

    #[test]
    fn a_closed_end_is_seen_without_reading() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        assert!(SocketTable::read().unwrap().is_established(local, peer));
        drop(server);
        assert!(!SocketTable::read().unwrap().is_established(local, peer));
        drop(client);
    }
}
