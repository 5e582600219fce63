//! Replacing the running program by the one that lies on the disk now, without closing a socket.
//!
//! The old process starts the new one with one end of a socket pair as its standard input and sends
//! it every listening socket and what it knows. The new one checks its configuration, starts its
//! workers on those sockets and says `ready`; only then the old one stops accepting. Both have the
//! same sockets open meanwhile, so no connection that the kernel has taken is lost. Whatever goes
//! wrong before `ready` ends the new process, and the old one goes on.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keel_net::{Channel, Handed, HandoverFault, Message, Taken};

use crate::parent::{HANDOVER, NOTIFY_SOCKET, WATCHDOG};

/// Why the new program does not serve. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeFault {
    /// There is no program to start.
    #[error("{path} cannot be started: {cause}; put the new program there and try again")]
    Start {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It said why.
    #[error("the new program cannot serve: {0}")]
    Refused(String),
    /// It ended without a word.
    #[error("the new program ended before it was ready ({0}); what it logged tells why")]
    Ended(ExitStatus),
    /// It is silent.
    #[error("the new program was not ready within {0:?} (`upgrade_timeout`) and was killed")]
    TimedOut(Duration),
    /// The handover broke.
    #[error("{0}; the new program was killed")]
    Handover(HandoverFault),
    /// Descriptors or threads have run out.
    #[error("cannot start an upgrade: {0}")]
    System(#[from] std::io::Error),
    /// There is one already.
    #[error("an upgrade is going on already")]
    Busy,
    /// What is to be handed over cannot be put together.
    #[error("cannot put together what is to be handed over; the log tells why")]
    Prepare,
    /// The end of this process would end the container.
    #[error(
        "this process is PID 1: the container would end with it; start a new container instead, or start evenkeel under an init (`docker run --init`)"
    )]
    FirstProcess,
}

/// How this program was started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program that runs, by the path that it was started from: what lies there later is its
    /// successor. To be called at the start, before anything can have been replaced.
    ///
    /// # Errors
    /// When the system does not tell which program runs.
    pub fn running() -> std::io::Result<Program> {
        let mut arguments = std::env::args_os();
        let called = PathBuf::from(arguments.next().unwrap_or_default());
        let file = std::env::current_exe()?;
        let path = candidates(&called)
            .into_iter()
            .find(|it| is_same_file(it, &file))
            .unwrap_or(file);
        Ok(Program {
            path,
            arguments: arguments.collect(),
        })
    }

    /// Where the successor is looked for.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a program that was called by this name may lie. Links stay links: what they point to may
/// change.
fn candidates(called: &Path) -> Vec<PathBuf> {
    if called.components().count() > 1 {
        return std::path::absolute(called).into_iter().collect();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(called))
        .collect()
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// What a new process is started with.
#[derive(Debug)]
pub struct Offer {
    /// The program.
    pub program: Program,
    /// All listening sockets.
    pub sockets: Vec<Handed>,
    /// What this process knows.
    pub state: Vec<u8>,
    /// The supervisor's socket.
    pub notify: Option<String>,
    /// The supervisor's watchdog, in microseconds.
    pub watchdog_usec: Option<String>,
    /// How long all of it may take.
    pub limit: Duration,
    /// Gets the id of the new process while it is not ready and not ended; 0 before and after.
    pub pid: Arc<AtomicU32>,
}

impl Offer {
    /// Starts the new program and waits until it serves. Blocks: not for a runtime's thread.
    ///
    /// # Errors
    /// Why it does not serve; its process is gone then.
    pub fn make(self) -> Result<Taken, UpgradeFault> {
        let (channel, theirs) = Channel::pair()?;
        let child = self.start(theirs)?;
        self.pid.store(child.id(), Ordering::Release);
        tracing::info!(pid = child.id(), path = %self.program.path.display(), "upgrade: started the new program");
        let due = Instant::now() + self.limit;
        let answer = self.hand_over(channel);
        // From here on the process may end, and its id belong to another.
        self.pid.store(0, Ordering::Release);
        match answer {
            Ok(Message::Ready(taken)) => Ok(taken),
            Ok(Message::Refused(why)) => {
                end(child, Instant::now() + GRACE);
                Err(UpgradeFault::Refused(why))
            }
            Ok(_) => {
                end(child, Instant::now());
                let fault = HandoverFault::Broken("it asks instead of answering");
                Err(UpgradeFault::Handover(fault))
            }
            Err(HandoverFault::Closed) => match end(child, due.min(Instant::now() + GRACE)) {
                Some(status) => Err(UpgradeFault::Ended(status)),
                None => Err(UpgradeFault::Handover(HandoverFault::Closed)),
            },
            Err(HandoverFault::TimedOut) => {
                end(child, Instant::now());
                Err(UpgradeFault::TimedOut(self.limit))
            }
            Err(fault) => {
                end(child, Instant::now());
                Err(UpgradeFault::Handover(fault))
            }
        }
    }

    fn start(&self, theirs: std::os::fd::OwnedFd) -> Result<Child, UpgradeFault> {
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.arguments)
            .stdin(Stdio::from(theirs))
            .env(HANDOVER, "1");
        let given = [
            (NOTIFY_SOCKET, self.notify.as_ref()),
            (WATCHDOG, self.watchdog_usec.as_ref()),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.spawn().map_err(|cause| UpgradeFault::Start {
            path: self.program.path.clone(),
            cause,
        })
    }

    fn hand_over(&self, mut channel: Channel) -> Result<Message, HandoverFault> {
        channel.set_limit(self.limit);
        channel.send_sockets(&self.sockets)?;
        channel.send_state(&self.state)?;
        channel.receive()
    }
}

/// Time for a process that gave up to end by itself, so that its exit code is seen.
const GRACE: Duration = Duration::from_secs(2);

/// Waits for a process until `due`, then kills it. Gives its status when it ended by itself.
fn end(mut child: Child, due: Instant) -> Option<ExitStatus> {
    const POLL: Duration = Duration::from_millis(10);

    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < due => std::thread::sleep(POLL),
            _ => break,
        }
    }
    let _gone = child.kill();
    // A killed process is gone at once, unless it hangs in the kernel.
    let status = child.wait().ok()?;
    status.signal().is_none().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn offer(script: &str, limit: Duration) -> Offer {
        let arguments = ["-c", script].map(OsString::from).to_vec();
        Offer {
            program: Program {
                path: PathBuf::from("/bin/sh"),
                arguments,
            },
            sockets: Vec::new(),
            state: b"{}".to_vec(),
            notify: None,
            watchdog_usec: None,
            limit,
            pid: Arc::default(),
        }
    }

    #[test]
    fn a_program_that_ends_is_told_with_its_code() {
        let fault = offer("exit 7", Duration::from_secs(20)).make().unwrap_err();
        assert!(
            matches!(&fault, UpgradeFault::Ended(status) if status.code() == Some(7)),
            "{fault}"
        );
    }

    #[test]
    fn a_program_that_is_silent_is_killed() {
        let start = Instant::now();
        let limit = Duration::from_millis(300);
        let fault = offer("exec sleep 60", limit).make().unwrap_err();
        assert!(matches!(fault, UpgradeFault::TimedOut(_)), "{fault}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_speaks_something_else_is_killed() {
        let fault = offer(
            "echo hello to everybody >&0; sleep 60",
            Duration::from_secs(20),
        )
        .make()
        .unwrap_err();
        assert!(
            matches!(fault, UpgradeFault::Handover(HandoverFault::Foreign(_))),
            "{fault}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_told_by_its_path() {
        let mut offer = offer("", Duration::from_secs(20));
        offer.program.path = PathBuf::from("/nonexistent/evenkeel");
        let said = offer.make().unwrap_err().to_string();
        assert!(said.contains("/nonexistent/evenkeel"), "{said}");
    }

    #[test]
    fn the_running_program_is_found_where_it_was_started() {
        let program = Program::running().unwrap();
        assert!(is_same_file(
            program.path(),
            &std::env::current_exe().unwrap()
        ));
        assert!(program.path().is_absolute());
        let by_name: Vec<PathBuf> = candidates(Path::new("sh"));
        let runs = |it: &PathBuf| {
            std::fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o111 != 0)
        };
        assert!(by_name.iter().any(runs), "{by_name:?}");
    }
}
