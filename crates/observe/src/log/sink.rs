//! An open destination: a file, a stream that may be slow, or a datagram socket.
//!
//! Invariant: what [`Sink::write`] reports as consumed has left for good; the rest is offered again
//! later, so a line is continued exactly where it stopped. Only regular files are written with
//! calls that may wait.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::destination::{Destination, SyslogTarget};

/// Mode of a log file that had to be made: logs hold addresses and paths of people.
const FILE_MODE: u32 = 0o640;

/// A pipe that polls as writable takes this much without waiting (pipe(7), PIPE_BUF).
const PIECE_BYTES: usize = 4096;

/// Longest syslog message: what the common daemons take by default. Longer lines are cut.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 8 * 1024;

/// What came of an attempt to write.
#[derive(Debug)]
pub(crate) struct Progress {
    /// How many bytes from the front are dealt with, whole lines for datagrams.
    pub(crate) consumed: usize,
    /// Lines among them that could not be sent and never can.
    pub(crate) discarded: u64,
    /// Lines that were cut to the longest datagram.
    pub(crate) cut: u64,
    /// Why writing stopped.
    pub(crate) state: State,
}

/// Why writing stopped.
#[derive(Debug)]
pub(crate) enum State {
    /// Everything is written.
    Done,
    /// The reader is slow; try again soon.
    Busy,
    /// It failed; the rest may be tried again later.
    Failed(io::Error),
    /// It failed for good: nobody will ever read the rest.
    Gone(io::Error),
}

/// An open destination.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A regular file.
    File(File),
    /// A pipe, FIFO, terminal or device.
    Stream(File),
    /// A syslog socket; `None` while it cannot be reached.
    Syslog(SyslogTarget, Option<Datagram>),
}

/// A connected, non-blocking datagram socket.
#[derive(Debug)]
pub(crate) enum Datagram {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Sink {
    /// Opens a destination. A syslog socket that is not there yet is no error: the daemon may start
    /// later, so the reason is returned beside the sink.
    pub(crate) fn open(destination: &Destination) -> io::Result<(Sink, Option<io::Error>)> {
        let sink = match destination {
            Destination::Stdout => Sink::of_file(duplicate(io::stdout().as_fd())?)?,
            Destination::Stderr => Sink::of_file(duplicate(io::stderr().as_fd())?)?,
            Destination::File(path) => Sink::of_file(open_file(path)?)?,
            Destination::Syslog(target) => {
                let (datagram, fault) = match Datagram::connect(target) {
                    Ok(datagram) => (Some(datagram), None),
                    Err(fault) => (None, Some(fault)),
                };
                return Ok((Sink::Syslog(target.clone(), datagram), fault));
            }
        };
        Ok((sink, None))
    }

    fn of_file(file: File) -> io::Result<Sink> {
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::Error::from(ErrorKind::IsADirectory));
        }
        let slow = kind.is_fifo() || kind.is_socket() || kind.is_char_device();
        Ok(if slow {
            Sink::Stream(file)
        } else {
            Sink::File(file)
        })
    }

    /// Whether two sinks are the same file on disk, or the same pipe.
    pub(crate) fn is_same_file(&self, other: &Sink) -> bool {
        let identity = |sink: &Sink| match sink {
            Sink::File(file) | Sink::Stream(file) => file
                .metadata()
                .ok()
                .map(|of| (of.dev(), of.ino(), of.rdev())),
            Sink::Syslog(..) => None,
        };
        identity(self).is_some_and(|mine| identity(other) == Some(mine))
    }

    /// Writes as much as goes now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Progress {
        match self {
            Sink::File(file) => write_stream(bytes, |rest| file.write(rest)),
            Sink::Stream(file) => write_stream(bytes, |rest| {
                if !is_writable(file)? {
                    return Err(io::Error::from(ErrorKind::WouldBlock));
                }
                file.write(&rest[..rest.len().min(PIECE_BYTES)])
            }),
            Sink::Syslog(target, slot) => write_datagrams(target, slot, bytes),
        }
    }
}

fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

/// Opens for appending; a FIFO without a reader is refused rather than waited for. Root follows no
/// link that another user may have put there: it would write wherever that user wants.
fn open_file(path: &Path) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= OFlags::APPEND | OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let name = path.file_name().filter(|_| geteuid().is_root());
    let Some(name) = name else {
        return Ok(File::from(openat(CWD, path, flags, mode)?));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let there = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, there, Mode::empty())?;
    let stat = fstat(&folder)?;
    let others_write = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    if stat.st_uid != 0 || others_write {
        flags |= OFlags::NOFOLLOW;
    }
    match openat(&folder, name, flags, mode) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::LOOP) if flags.contains(OFlags::NOFOLLOW) => Err(io::Error::other(format!(
            "{} is a symbolic link in a folder of another user; name the file itself",
            path.display()
        ))),
        Err(fault) => Err(fault.into()),
    }
}

fn is_writable(file: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    match poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    ) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn write_stream(bytes: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> Progress {
    let mut consumed = 0;
    let state = loop {
        if consumed == bytes.len() {
            break State::Done;
        }
        match write(&bytes[consumed..]) {
            Ok(0) => break State::Failed(io::Error::from(ErrorKind::WriteZero)),
            Ok(n) => consumed += n,
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => break State::Busy,
            Err(fault) if fault.kind() == ErrorKind::BrokenPipe => break State::Gone(fault),
            Err(fault) => break State::Failed(fault),
        }
    };
    Progress {
        consumed,
        discarded: 0,
        cut: 0,
        state,
    }
}

fn write_datagrams(target: &SyslogTarget, slot: &mut Option<Datagram>, bytes: &[u8]) -> Progress {
    let mut progress = Progress {
        consumed: 0,
        discarded: 0,
        cut: 0,
        state: State::Done,
    };
    while progress.consumed < bytes.len() {
        let rest = &bytes[progress.consumed..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let message = &rest[..end.min(DATAGRAM_BYTES_MAX)];
        match send(target, slot, message) {
            Ok(()) => progress.cut += u64::from(end > DATAGRAM_BYTES_MAX),
            Err(fault) if rustix::io::Errno::from_io_error(&fault) == Some(TOO_LONG) => {
                progress.discarded += 1;
            }
            Err(fault) if is_full(&fault) => {
                progress.state = State::Busy;
                return progress;
            }
            Err(fault) => {
                // Whatever it was, the next attempt begins with a new socket.
                *slot = None;
                progress.state = State::Failed(fault);
                return progress;
            }
        }
        progress.consumed += (end + 1).min(rest.len());
    }
    progress
}

const TOO_LONG: rustix::io::Errno = rustix::io::Errno::MSGSIZE;

fn is_full(fault: &io::Error) -> bool {
    fault.kind() == ErrorKind::WouldBlock
        || rustix::io::Errno::from_io_error(fault) == Some(rustix::io::Errno::NOBUFS)
}

fn send(target: &SyslogTarget, slot: &mut Option<Datagram>, message: &[u8]) -> io::Result<()> {
    let datagram = match slot {
        Some(datagram) => datagram,
        None => slot.insert(Datagram::connect(target)?),
    };
    loop {
        let sent = match datagram {
            Datagram::Unix(socket) => socket.send(message),
            Datagram::Udp(socket) => socket.send(message),
        };
        match sent {
            Ok(_) => return Ok(()),
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
}

impl Datagram {
    fn connect(target: &SyslogTarget) -> io::Result<Datagram> {
        match target {
            SyslogTarget::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Ok(Datagram::Unix(socket))
            }
            SyslogTarget::Udp(address) => {
                let any = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Datagram::Udp(socket))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn root_follows_no_link_of_another_user() {
        if !geteuid().is_root() {
            return; // Others have nothing that a link could lead them to.
        }
        let folder = std::env::temp_dir().join(format!("keel-links-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let (link, target) = (folder.join("access.log"), folder.join("target"));
        symlink(&target, &link).expect("a link");
        let owned = |uid: u32, mode: u32| {
            chown(&folder, Some(uid), None).expect("root may");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&folder, mode).expect("root may");
        };
        for (uid, mode) in [(77, 0o755), (0, 0o775), (0, 0o1777)] {
            owned(uid, mode);
            let said = open_file(&link).expect_err("another's link").to_string();
            assert!(said.contains("access.log is a symbolic link"), "{said}");
            assert!(!target.exists(), "nothing was made");
            open_file(&folder.join("plain.log")).expect("no link");
        }
        owned(0, 0o755);
        open_file(&link).expect("a link of root's own");
        assert!(target.exists());
        let missing = open_file(&folder.join("none/access.log")).expect_err("no folder");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
