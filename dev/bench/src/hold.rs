//! Connections that take their time: idle, or with a head, a body or a reading that goes on in drips.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::document::Document;
use crate::wire;

/// Receive buffer of a slow reader, so that the kernel does not read in its place.
const SLOW_READ_BUFFER: usize = 4096;
/// Bytes that a slow reader takes at a time.
const SLOW_READ_BYTES: usize = 1024;
/// Time for the one whole answer that an idle connection gets.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ways to be slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// Connected, nothing sent.
    Silent,
    /// One request answered, nothing since.
    Idle,
    /// A head of which a byte comes each second.
    SlowHead,
    /// A body of 1 MiB of which a byte comes every two seconds.
    SlowBody,
    /// An answer of 2 MiB of which 1 KiB is read each second.
    SlowRead,
    /// An answer of 8 MiB of which 1 KiB is read each second: the kernel's buffers cannot hold it for the proxy.
    SlowLargeRead,
    /// An answer of 2 MiB of which nothing is read.
    NoRead,
}

impl HoldKind {
    /// Between two drips of one connection.
    pub const fn period(self) -> Duration {
        match self {
            HoldKind::SlowBody => Duration::from_secs(2),
            _ => Duration::from_secs(1),
        }
    }

    /// In words.
    pub const fn about(self) -> &'static str {
        match self {
            HoldKind::Silent => "silent after connect",
            HoldKind::Idle => "idle keep-alive",
            HoldKind::SlowHead => "head in drips",
            HoldKind::SlowBody => "body of 1 byte in 2 s",
            HoldKind::SlowRead => "2 MiB read at 1 KiB/s",
            HoldKind::SlowLargeRead => "8 MiB read at 1 KiB/s",
            HoldKind::NoRead => "2 MiB not read",
        }
    }

    /// What is sent at once after connecting.
    fn opening(self) -> Vec<u8> {
        let host = "Host: bench.example\r\n";
        match self {
            HoldKind::Silent => Vec::new(),
            HoldKind::Idle => get(Document::Small),
            HoldKind::SlowHead => format!("GET /small HTTP/1.1\r\n{host}X-Slow: ").into_bytes(),
            HoldKind::SlowBody => {
                format!("POST /small HTTP/1.1\r\n{host}Content-Length: 1048576\r\n\r\n")
                    .into_bytes()
            }
            HoldKind::SlowRead | HoldKind::NoRead => get(Document::TwoMib),
            HoldKind::SlowLargeRead => get(Document::EightMib),
        }
    }

    fn is_read_slowly(self) -> bool {
        matches!(
            self,
            HoldKind::SlowRead | HoldKind::SlowLargeRead | HoldKind::NoRead
        )
    }
}

fn get(document: Document) -> Vec<u8> {
    wire::get(&format!("/{}", document.name()), "bench.example", false)
}

/// One held connection.
#[derive(Debug)]
pub struct Held {
    kind: HoldKind,
    stream: TcpStream,
    is_open: bool,
}

impl Held {
    /// Connects and sends what comes at once.
    pub fn open(kind: HoldKind, address: SocketAddr) -> Result<Held> {
        let mut stream = connect(kind, address).context("cannot connect")?;
        stream.write_all(&kind.opening()).context("cannot send")?;
        if kind == HoldKind::Idle {
            read_answer(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Held {
            kind,
            stream,
            is_open: true,
        })
    }

    /// This end's address.
    pub fn local(&self) -> Result<SocketAddr> {
        self.stream
            .local_addr()
            .context("a connection has no address")
    }

    /// The peer was not seen to end it.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// One drip. Idle and slowly sending connections also look whether the peer has ended them.
    pub fn drip(&mut self) {
        if !self.is_open {
            return;
        }
        let alive = match self.kind {
            HoldKind::NoRead => true,
            HoldKind::SlowHead | HoldKind::SlowBody => self.receive() && self.send(),
            _ => self.receive(),
        };
        self.is_open = alive;
    }

    fn send(&mut self) -> bool {
        match self.stream.write(b"a") {
            Ok(count) => count == 1,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; SLOW_READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn connect(kind: HoldKind, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if kind.is_read_slowly() {
        socket.set_recv_buffer_size(SLOW_READ_BUFFER)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream: TcpStream = socket.into();
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Reads one whole answer with a length.
fn read_answer(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).context("no answer")?;
        ensure!(count > 0, "closed before the answer was whole");
        bytes.extend_from_slice(&buffer[..count]);
        let head = wire::answer_head(&bytes).ok().context("not an answer")?;
        let Some(head) = head else { continue };
        ensure!(head.status == 200, "status {}", head.status);
        let wire::Body::Length(length) = head.body else {
            continue;
        };
        if (bytes.len() - head.len) as u64 >= length {
            return Ok(());
        }
    }
}
