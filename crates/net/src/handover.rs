//! The channel over which a process hands its listening sockets and what it knows to the next one.
//!
//! A Unix stream socket. Each message is a head of 12 bytes (`EVKH`, version, kind, number of
//! sockets, length of the content) and its content; descriptors come along with the bytes of the head
//! (`SCM_RIGHTS`). Everything that is read has a limit, and every wait ends at the channel's deadline.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::{Handed, Label};

const MAGIC: [u8; 4] = *b"EVKH";
/// Grows with every change of a message that an older version would misread.
const VERSION: u8 = 1;
const HEAD: usize = 12;
/// Descriptors in one message; the kernel allows 253.
const BATCH: usize = 64;
/// Most sockets that a process takes over.
const SOCKETS_MAX: usize = 16_384;
/// Most bytes of state.
const STATE_MAX: usize = 256 << 20;
/// Most bytes of any other message.
const CONTENT_MAX: usize = 1 << 20;

/// Which of the sockets the new process uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Process id of the new process.
    pub pid: u32,
    /// Positions in the order in which the sockets were sent.
    pub sockets: Vec<usize>,
}

/// What one process tells the other.
#[derive(Debug)]
pub enum Message {
    /// Old to new: listening sockets, at most 64; several of these may follow each other.
    Sockets(Vec<Handed>),
    /// Old to new: what else it knows, in a form that is none of this module's business. Ends the
    /// offer; empty when there is nothing.
    State(Vec<u8>),
    /// New to old: it serves.
    Ready(Taken),
    /// New to old: it cannot, and why.
    Refused(String),
}

/// Why a handover does not go on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverFault {
    /// The deadline of the channel has come.
    #[error("the other process was silent for too long")]
    TimedOut,
    /// The other process has closed its end.
    #[error("the other process went away")]
    Closed,
    /// The other end speaks another language.
    #[error("the other process speaks another version of the handover: {0}")]
    Foreign(String),
    /// A message makes no sense.
    #[error("a message of the handover is broken: {0}")]
    Broken(&'static str),
    /// What the system said.
    #[error("handover: {0}")]
    Io(#[from] io::Error),
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    due: Option<Instant>,
    bytes: Vec<u8>,
    sockets: VecDeque<OwnedFd>,
    received: usize,
}

impl Channel {
    /// A channel, and the other end for a child process.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::on(ours), theirs.into()))
    }

    /// The channel that the parent process gave us as standard input, which then becomes
    /// `/dev/null`.
    ///
    /// # Errors
    /// When standard input is no Unix socket.
    pub fn from_stdin() -> io::Result<Channel> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let domain = socket2::SockRef::from(&stdin).domain()?;
        if domain != socket2::Domain::UNIX {
            return Err(io::Error::other("standard input is no Unix socket"));
        }
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Channel::on(UnixStream::from(stdin)))
    }

    fn on(stream: UnixStream) -> Channel {
        Channel {
            stream,
            due: None,
            bytes: Vec::new(),
            sockets: VecDeque::new(),
            received: 0,
        }
    }

    /// From now on every wait ends `limit` from now.
    pub fn set_limit(&mut self, limit: Duration) {
        self.due = Some(Instant::now() + limit);
    }

    /// Sends sockets, in batches.
    ///
    /// # Errors
    /// When the other end is gone or too slow.
    pub fn send_sockets(&mut self, all: &[Handed]) -> Result<(), HandoverFault> {
        for batch in all.chunks(BATCH) {
            let labels: Vec<&Label> = batch.iter().map(|it| &it.label).collect();
            let content = serde_json::to_vec(&labels).map_err(io::Error::from)?;
            let sockets: Vec<BorrowedFd<'_>> = batch.iter().map(|it| it.socket.as_fd()).collect();
            self.send(b'L', &content, &sockets)?;
        }
        Ok(())
    }

    /// Sends state; the offer is complete then.
    ///
    /// # Errors
    /// When the other end is gone or too slow, or there is more than 256 MiB.
    pub fn send_state(&mut self, state: &[u8]) -> Result<(), HandoverFault> {
        self.send(b'S', state, &[])
    }

    /// Says that this process serves.
    ///
    /// # Errors
    /// When the other end is gone or too slow.
    pub fn send_ready(&mut self, taken: &Taken) -> Result<(), HandoverFault> {
        let content = serde_json::to_vec(taken).map_err(io::Error::from)?;
        self.send(b'R', &content, &[])
    }

    /// Says that this process cannot serve.
    ///
    /// # Errors
    /// When the other end is gone or too slow.
    pub fn send_refused(&mut self, why: &str) -> Result<(), HandoverFault> {
        let end = why.floor_char_boundary(CONTENT_MAX);
        self.send(b'X', why.get(..end).unwrap_or_default().as_bytes(), &[])
    }

    fn send(
        &mut self,
        kind: u8,
        content: &[u8],
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverFault> {
        let max = content_max(kind);
        let (Ok(len), Ok(count)) = (u32::try_from(content.len()), u16::try_from(sockets.len()))
        else {
            return Err(HandoverFault::Broken("more than a message can hold"));
        };
        if content.len() > max {
            return Err(HandoverFault::Broken("more than a message can hold"));
        }
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&[VERSION, kind]);
        head.extend_from_slice(&count.to_be_bytes());
        head.extend_from_slice(&len.to_be_bytes());
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.send_head(&head, sockets)?;
        self.stream.write_all(content).map_err(fault)
    }

    /// The head goes out whole: 12 bytes always fit into what the kernel holds, or nothing does.
    fn send_head(&self, head: &[u8], sockets: &[BorrowedFd<'_>]) -> Result<(), HandoverFault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(HandoverFault::Broken("too many sockets in a message"));
        }
        let parts = [IoSlice::new(head)];
        let sent = loop {
            match sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(io::Error::from).map_err(fault)?,
            }
        };
        (&self.stream)
            .write_all(head.get(sent..).unwrap_or_default())
            .map_err(fault)
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// When the other end is gone, too slow, or sends what cannot be read.
    pub fn receive(&mut self) -> Result<Message, HandoverFault> {
        self.read_to(HEAD)?;
        let head: Vec<u8> = self.bytes.drain(..HEAD).collect();
        let (kind, count, len) = parse_head(&head)?;
        self.read_to(len)?;
        let content: Vec<u8> = self.bytes.drain(..len).collect();
        match kind {
            b'L' => self.handed(count, &content).map(Message::Sockets),
            b'S' => Ok(Message::State(content)),
            b'R' => serde_json::from_slice(&content)
                .map(Message::Ready)
                .map_err(|_| HandoverFault::Broken("`ready` cannot be read")),
            _ => Ok(Message::Refused(
                String::from_utf8_lossy(&content).into_owned(),
            )),
        }
    }

    fn handed(&mut self, count: usize, content: &[u8]) -> Result<Vec<Handed>, HandoverFault> {
        let labels: Vec<Label> = serde_json::from_slice(content)
            .map_err(|_| HandoverFault::Broken("the labels of sockets cannot be read"))?;
        if labels.len() != count || self.sockets.len() < count {
            return Err(HandoverFault::Broken("sockets are missing"));
        }
        let sockets = self.sockets.drain(..count);
        let together = labels.into_iter().zip(sockets);
        Ok(together
            .map(|(label, socket)| Handed { label, socket })
            .collect())
    }

    /// Reads until `len` bytes are there.
    fn read_to(&mut self, len: usize) -> Result<(), HandoverFault> {
        let mut piece = vec![0; 64 << 10];
        while self.bytes.len() < len {
            let left = self.left()?;
            self.stream.set_read_timeout(Some(left))?;
            let n = self.receive_some(&mut piece)?;
            if n == 0 {
                return Err(HandoverFault::Closed);
            }
            self.bytes
                .extend_from_slice(piece.get(..n).unwrap_or_default());
        }
        Ok(())
    }

    fn receive_some(&mut self, piece: &mut [u8]) -> Result<usize, HandoverFault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(piece)];
        let got = match recvmsg(
            &self.stream,
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => return self.receive_some(piece),
            other => other.map_err(io::Error::from).map_err(fault)?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                self.sockets.extend(sockets);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(HandoverFault::Broken(
                "sockets were lost; raise the limit of open files",
            ));
        }
        self.received = self.received.max(self.sockets.len());
        if self.received > SOCKETS_MAX {
            return Err(HandoverFault::Broken("too many sockets"));
        }
        Ok(got.bytes)
    }

    fn left(&self) -> Result<Duration, HandoverFault> {
        /// A wait without a deadline would be a wait without end.
        const DEFAULT: Duration = Duration::from_secs(30);

        let Some(due) = self.due else {
            return Ok(DEFAULT);
        };
        let left = due.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(HandoverFault::TimedOut),
            false => Ok(left),
        }
    }
}

fn content_max(kind: u8) -> usize {
    match kind {
        b'S' => STATE_MAX,
        _ => CONTENT_MAX,
    }
}

/// Kind, number of sockets, length of the content.
fn parse_head(head: &[u8]) -> Result<(u8, usize, usize), HandoverFault> {
    let &[a, b, c, d, version, kind, c1, c0, l3, l2, l1, l0] = head else {
        return Err(HandoverFault::Broken("a head is cut off"));
    };
    if [a, b, c, d] != MAGIC {
        return Err(HandoverFault::Foreign("not evenkeel".to_owned()));
    }
    if version != VERSION {
        let what = format!("ours is {VERSION}, its is {version}");
        return Err(HandoverFault::Foreign(what));
    }
    if !b"LSRX".contains(&kind) {
        return Err(HandoverFault::Broken("a message of an unknown kind"));
    }
    let count = usize::from(u16::from_be_bytes([c1, c0]));
    let len = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
    if len > content_max(kind) || count > BATCH {
        return Err(HandoverFault::Broken("a message is too long"));
    }
    Ok((kind, count, len))
}

fn fault(error: io::Error) -> HandoverFault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HandoverFault::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => HandoverFault::Closed,
        _ => HandoverFault::Io(error),
    }
}

#[cfg(test)]
mod tests;
