//! A listening socket before it is closed.

use std::io;
use std::os::fd::AsFd;

use socket2::{SockFilter, SockRef};

/// Keeps new connections off a listening socket, while those whose handshake has begun may end it and
/// wait to be accepted. Closing the socket a moment later, with its queue empty, resets nobody.
///
/// Clients that come then are not refused but get no answer, and ask again a second later: at a closed
/// port, or at whoever has it then. There is no way back. Not for a socket that another process has too.
///
/// # Errors
/// What the system says.
pub fn refuse_new(socket: &impl AsFd) -> io::Result<()> {
    /// Load the byte at a position of the TCP header.
    const LOAD_BYTE: u16 = 0x30;
    /// Go on at `jt` when a bit of `k` is set, else at `jf`.
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// Where the flags are in the TCP header, and the one of them that begins a connection.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;

    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn who_waits_in_the_queue_is_accepted_and_nobody_else_comes_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = TcpStream::connect(address).unwrap();
        refuse_new(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut accepted, _) = listener.accept().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(listener);
        queued.write_all(b"still here").unwrap();
        let mut bytes = [0; 10];
        accepted.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"still here");
    }
}
