//! Connections that take their time: idle, stuck in a handshake or a header block, or with a head, a body or a reading that
//! goes on in drips.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::document::Document;
use crate::h2;
use crate::h2::frames::{self, FrameReader, WINDOW_MAX};
use crate::h2::requests::Request;
use crate::protocol::Protocol;
use crate::tls::{HOST, Stream};
use crate::wire;

/// Receive buffer of a slow reader, so that the kernel does not read in its place.
const SLOW_READ_BUFFER: usize = 4096;
/// Bytes that a slow reader takes at a time.
const SLOW_READ_BYTES: usize = 1024;
/// Requests at once on a connection whose window is 0; every proxy allows as many by its defaults.
const NO_WINDOW_STREAMS: u32 = 100;
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
    /// Connected to a port that wants TLS, nothing sent.
    TlsSilent,
    /// One request over TLS answered, nothing since.
    TlsIdle,
    /// One request over HTTP/2 answered, nothing since.
    H2Idle,
    /// HTTP/2 begun, no stream opened.
    H2NoStream,
    /// A header block without its end.
    H2CutOff,
    /// 100 answers of 2 MiB, with a window of 0 bytes for each.
    H2NoWindow,
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
            HoldKind::TlsSilent => "no ClientHello",
            HoldKind::TlsIdle => "idle TLS",
            HoldKind::H2Idle => "idle h2 over TLS",
            HoldKind::H2NoStream => "h2 with no stream",
            HoldKind::H2CutOff => "h2 header block cut off",
            HoldKind::H2NoWindow => "h2, 100 x 2 MiB, window 0",
        }
    }

    /// What the port is to speak. (A client that sends no ClientHello does not say.)
    pub const fn protocol(self) -> Protocol {
        match self {
            HoldKind::TlsIdle => Protocol::Tls,
            HoldKind::TlsSilent
            | HoldKind::H2Idle
            | HoldKind::H2NoStream
            | HoldKind::H2CutOff
            | HoldKind::H2NoWindow => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    /// What an HTTP/1.1 client sends at once after connecting.
    fn opening(self) -> Vec<u8> {
        let host = format!("Host: {HOST}\r\n");
        match self {
            HoldKind::Idle | HoldKind::TlsIdle => get(Document::Small),
            HoldKind::SlowHead => format!("GET /small HTTP/1.1\r\n{host}X-Slow: ").into_bytes(),
            HoldKind::SlowBody => {
                format!("POST /small HTTP/1.1\r\n{host}Content-Length: 1048576\r\n\r\n")
                    .into_bytes()
            }
            HoldKind::SlowRead | HoldKind::NoRead => get(Document::TwoMib),
            HoldKind::SlowLargeRead => get(Document::EightMib),
            _ => Vec::new(),
        }
    }

    /// What an HTTP/2 client sends once both sides have begun; empty for one that sends nothing more.
    fn requests(self) -> Vec<u8> {
        let mut out = Vec::new();
        if self == HoldKind::H2CutOff {
            request(Document::Small).put_cut_off(&mut out);
        }
        if self == HoldKind::H2NoWindow {
            let request = request(Document::TwoMib);
            for number in 0..NO_WINDOW_STREAMS {
                request.put(&mut out, 2 * number + 1);
            }
        }
        out
    }

    fn is_read_slowly(self) -> bool {
        matches!(
            self,
            HoldKind::SlowRead | HoldKind::SlowLargeRead | HoldKind::NoRead
        )
    }
}

fn get(document: Document) -> Vec<u8> {
    wire::get(&format!("/{}", document.name()), HOST, false)
}

fn request(document: Document) -> Request {
    Request::get(&format!("/{}", document.name()), HOST)
}

/// One held connection.
#[derive(Debug)]
pub struct Held {
    kind: HoldKind,
    stream: Stream,
    frames: FrameReader,
    is_open: bool,
}

impl Held {
    /// Connects and does what comes at once.
    pub fn open(kind: HoldKind, address: SocketAddr) -> Result<Held> {
        let tcp = connect(kind, address).context("cannot connect")?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let stream = if kind == HoldKind::TlsSilent {
            Stream::Plain(tcp)
        } else {
            Stream::open(tcp, kind.protocol())?
        };
        let mut held = Held {
            kind,
            stream,
            frames: FrameReader::default(),
            is_open: true,
        };
        match kind {
            HoldKind::TlsSilent => {}
            HoldKind::H2Idle => held.ask_h2()?,
            _ if kind.protocol() == Protocol::Http2 => held.begin_h2()?,
            _ => held.begin_h1()?,
        }
        held.stream.tcp().set_nonblocking(true)?;
        Ok(held)
    }

    fn begin_h1(&mut self) -> Result<()> {
        let sent = self.stream.write_all(&self.kind.opening());
        sent.and_then(|()| self.stream.flush())
            .context("cannot send")?;
        if matches!(self.kind, HoldKind::Idle | HoldKind::TlsIdle) {
            read_answer(&mut self.stream)?;
        }
        Ok(())
    }

    fn ask_h2(&mut self) -> Result<()> {
        let path = format!("/{}", Document::Small.name());
        let (status, body) = h2::client::get(&mut self.stream, &path, HOST)?;
        ensure!(status == 200, "status {status}");
        ensure!(body == Document::Small.body(), "not the document");
        Ok(())
    }

    /// Settings both ways, then the requests.
    fn begin_h2(&mut self) -> Result<()> {
        let is_stopped = self.kind == HoldKind::H2NoWindow;
        let opening = frames::opening(if is_stopped { 0 } else { WINDOW_MAX });
        self.stream.write_all(&opening).context("cannot send")?;
        self.stream.flush().context("cannot send")?;
        let answered = self.converse().context("no settings")?;
        ensure!(answered, "closed at the start of HTTP/2");
        let requests = self.kind.requests();
        self.stream.write_all(&requests).context("cannot send")?;
        self.stream.flush().context("cannot send")
    }

    /// This end's address.
    pub fn local(&self) -> Result<SocketAddr> {
        let local = self.stream.tcp().local_addr();
        local.context("a connection has no address")
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
            HoldKind::TlsSilent => self.receive(),
            _ if self.kind.protocol() == Protocol::Http2 => self.is_conversing(),
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

    /// Reads frames once and answers those that every client answers; false when the peer has closed. A stream that is
    /// reset is an error, as is the announced end of the connection.
    fn converse(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer)?;
        let mut out = Vec::new();
        let visit = |piece: frames::Piece<'_>| match piece.head.kind {
            frames::RST_STREAM => Err(frames::fault("RST_STREAM")),
            _ => frames::put_duty(&mut out, piece.head, piece.payload),
        };
        self.frames.read(&buffer[..count], visit)?;
        self.stream.write_all(&out)?;
        self.stream.flush()?;
        Ok(count > 0)
    }

    fn is_conversing(&mut self) -> bool {
        match self.converse() {
            Ok(is_open) => is_open,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn connect(kind: HoldKind, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if kind.is_read_slowly() {
        socket.set_recv_buffer_size(SLOW_READ_BUFFER)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream: TcpStream = socket.into();
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Reads one whole answer with a length.
fn read_answer(stream: &mut impl Read) -> Result<()> {
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
