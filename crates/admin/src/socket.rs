//! The unix socket: made for its owner alone, in the place of one that nobody listens on any more.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// Longest path of a socket: `sun_path` of Linux has 108 bytes, the last of which is 0.
const PATH_BYTES_MAX: usize = 107;
/// Connections that may wait there.
const BACKLOG: i32 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketFault {
    /// Another process listens there.
    #[error(
        "{0} is the socket of a process that runs; stop that one, or set another `admin: {{ socket: … }}`"
    )]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("{0} is there and is no socket; remove it, or set another `admin: {{ socket: … }}`")]
    NotASocket(PathBuf),
    /// The system takes no path of this length.
    #[error(
        "{0} is longer than the {PATH_BYTES_MAX} bytes that the path of a socket may have; set another `admin: {{ socket: … }}`"
    )]
    TooLong(PathBuf),
    /// What the system said.
    #[error("{path}: {cause}; set another `admin: {{ socket: … }}`, or `off`")]
    Other {
        /// The path.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
}

/// Listens on a unix socket that only its owner may use (mode 0600). Its folder is made when it is missing, for its
/// owner alone. A socket on which nobody listens is replaced.
///
/// # Errors
/// When somebody listens there, or the system refuses it.
pub fn bind(path: &Path) -> Result<UnixListener, SocketFault> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(SocketFault::TooLong(path.to_owned()));
    }
    let other = |cause| SocketFault::Other {
        path: path.to_owned(),
        cause,
    };
    if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        let mut made = DirBuilder::new();
        made.recursive(true).mode(0o700);
        made.create(folder).map_err(other)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => return Err(SocketFault::InUse(path.to_owned())),
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(other)?;
            }
            // Not ours to use, or its queue is full: somebody is there.
            Err(_) => return Err(SocketFault::InUse(path.to_owned())),
        },
        Ok(_) => return Err(SocketFault::NotASocket(path.to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(other(cause)),
    }
    listen(path).map_err(other)
}

/// The socket has its mode before it has a name (unix(7): the mode of the socket, less the umask, is that of the file):
/// nobody else may connect meanwhile, and no name is looked at twice in a folder that may be another user's.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let mode = fs::symlink_metadata(path)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let _ = fs::remove_file(path);
        return Err(io::Error::other(format!(
            "this system makes sockets with mode {mode:o}, for everybody"
        )));
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// The name of a socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketName {
    path: PathBuf,
    /// What had the name when it was noted.
    of: Option<Identity>,
}

impl SocketName {
    /// Notes the name of a socket that this process listens on.
    pub fn note(path: &Path) -> SocketName {
        SocketName {
            path: path.to_owned(),
            of: identity(path),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, when it still is that of the same socket: another process may have put its own there.
    pub fn remove(&self) {
        if self.of.is_some() && identity(&self.path) == self.of {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device, number, and when it was made: numbers are used again.
type Identity = (u64, u64, (i64, i64));

fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), (meta.mtime(), meta.mtime_nsec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keel-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn only_its_owner_may_use_it() {
        let folder = folder("mode");
        let path = folder.join("a/admin.sock");
        let listener = bind(&path).expect("a new socket");
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.join("a")), 0o700);
        let names = fs::read_dir(folder.join("a")).expect("a folder").count();
        assert_eq!(names, 1, "no other name, not for a moment");
        assert!(UnixStream::connect(&path).is_ok());
        drop(listener);
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn one_that_lives_is_refused_and_a_stale_one_replaced() {
        let folder = folder("stale");
        let path = folder.join("admin.sock");
        let first = bind(&path).expect("a new socket");
        assert!(matches!(bind(&path), Err(SocketFault::InUse(_))));
        drop(first);
        let second = bind(&path).expect("nobody listens there any more");
        assert!(UnixStream::connect(&path).is_ok());
        let name = SocketName::note(&path);
        name.remove();
        assert!(!path.exists() && name.path() == path);
        drop(second);
        let third = bind(&path).expect("a new socket");
        name.remove();
        assert!(path.exists(), "that of another");
        drop(third);
        fs::remove_file(&path).expect("ours");
        fs::write(&path, "text").expect("ours");
        assert!(matches!(bind(&path), Err(SocketFault::NotASocket(_))));
        let long = folder.join("x".repeat(200));
        assert!(matches!(bind(&long), Err(SocketFault::TooLong(_))));
        fs::remove_dir_all(&folder).expect("ours");
    }
}
