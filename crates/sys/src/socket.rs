//! What a socket's send queue holds.

use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of Linux, the same number as `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were written to a TCP socket and not acknowledged by the far end yet; 0 where the
/// system does not tell.
pub fn queued_bytes(socket: impl AsFd) -> usize {
    // SAFETY: SIOCOUTQ writes one `int` and nothing else; `Getter` gives it room for a `c_int`.
    let asked = unsafe { ioctl(socket, Getter::<SIOCOUTQ, std::ffi::c_int>::new()) };
    asked
        .ok()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_is_not_read_stays_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(queued_bytes(&near), 0);
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = near.write(&[0; 65_536]) {
            written += n;
        }
        assert!(queued_bytes(&near) > 0);
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written);
    }
}
