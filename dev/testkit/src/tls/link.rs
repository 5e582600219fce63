//! The bytes of one connection: a socket, or TLS over one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection, StreamOwned};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A connection that can be read and written. TLS says goodbye (close_notify) on drop, unless told not to.
#[derive(Debug)]
pub struct Link {
    kind: Kind,
    rude: bool,
}

impl Link {
    /// Without TLS.
    pub fn plain(stream: TcpStream) -> Link {
        Link::of(Kind::Plain(stream))
    }

    pub(super) fn client(stream: StreamOwned<ClientConnection, TcpStream>) -> Link {
        Link::of(Kind::Client(Box::new(stream)))
    }

    pub(super) fn server(stream: StreamOwned<ServerConnection, TcpStream>) -> Link {
        Link::of(Kind::Server(Box::new(stream)))
    }

    fn of(kind: Kind) -> Link {
        Link { kind, rude: false }
    }

    /// The socket.
    pub fn tcp(&self) -> &TcpStream {
        match &self.kind {
            Kind::Plain(stream) => stream,
            Kind::Client(stream) => &stream.sock,
            Kind::Server(stream) => &stream.sock,
        }
    }

    /// The client's side of TLS.
    pub fn as_client(&self) -> Option<&ClientConnection> {
        match &self.kind {
            Kind::Client(stream) => Some(&stream.conn),
            _ => None,
        }
    }

    /// The server's side of TLS.
    pub fn as_server(&self) -> Option<&ServerConnection> {
        match &self.kind {
            Kind::Server(stream) => Some(&stream.conn),
            _ => None,
        }
    }

    /// True with TLS.
    pub fn is_tls(&self) -> bool {
        !matches!(self.kind, Kind::Plain(_))
    }

    /// Bytes that TLS has already decrypted, so that no one has to wait for them.
    pub fn has_decrypted(&mut self) -> bool {
        let state = match &mut self.kind {
            Kind::Plain(_) => return false,
            Kind::Client(stream) => stream.conn.process_new_packets(),
            Kind::Server(stream) => stream.conn.process_new_packets(),
        };
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.say_goodbye();
        let _gone = self.tcp().shutdown(Shutdown::Write);
    }

    /// No goodbye on drop, and a reset instead of an orderly close.
    pub fn make_rude(&mut self) {
        self.rude = true;
        let _gone = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// No goodbye of TLS on drop; the socket itself is closed in order.
    pub fn without_goodbye(&mut self) {
        self.rude = true;
    }

    fn say_goodbye(&mut self) {
        if !self.is_tls() {
            return;
        }
        let _kept = self.tcp().set_write_timeout(Some(GOODBYE));
        match &mut self.kind {
            Kind::Plain(_) => {}
            Kind::Client(stream) => stream.conn.send_close_notify(),
            Kind::Server(stream) => stream.conn.send_close_notify(),
        }
        let _gone = self.flush();
    }
}

impl Read for Link {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.kind {
            Kind::Plain(stream) => stream.read(buf),
            Kind::Client(stream) => stream.read(buf),
            Kind::Server(stream) => stream.read(buf),
        }
    }
}

impl Write for Link {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match &mut self.kind {
            Kind::Plain(stream) => stream.write(buf),
            Kind::Client(stream) => stream.write(buf),
            Kind::Server(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.kind {
            Kind::Plain(stream) => stream.flush(),
            Kind::Client(stream) => stream.flush(),
            Kind::Server(stream) => stream.flush(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.rude {
            self.say_goodbye();
        }
    }
}
