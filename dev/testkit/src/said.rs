//! What a child process says, collected while it runs.
//!
//! Whoever asks gets all that the process has written by then, however busy the machine is: an answer of the process may
//! be here before the thread that collects its log has run.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread, read};

use crate::wait::{SOON, within};

/// Bytes that are read at once.
const PIECE: usize = 4096;

/// The lines that came through a pipe.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    lines: Arc<Mutex<String>>,
    pipe: Arc<OwnedFd>,
}

impl Said {
    /// Reads to the end on a thread, so that the child never waits for us.
    pub fn collect(pipe: impl Into<OwnedFd>) -> (Said, JoinHandle<()>) {
        let said = Said {
            lines: Arc::default(),
            pipe: Arc::new(pipe.into()),
        };
        let own = said.clone();
        (said, std::thread::spawn(move || own.read_all()))
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        let all_read = || {
            let lines = self.lock();
            let unread = ioctl_fionread(&*self.pipe).unwrap_or(0);
            (unread == 0).then(|| lines.clone())
        };
        within(SOON, all_read).unwrap_or_else(|| self.lock().clone())
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self) {
        let mut begun = Vec::new();
        let mut piece = [0; PIECE];
        loop {
            // Waits without the lock and reads with it: with the lock and nothing in the pipe, all is in the lines.
            let mut pipes = [PollFd::new(&*self.pipe, PollFlags::IN)];
            match poll(&mut pipes, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            let mut lines = self.lock();
            match read(&*self.pipe, &mut piece) {
                Err(Errno::INTR) => {}
                Ok(len) if len > 0 => {
                    begun.extend_from_slice(piece.get(..len).unwrap_or_default());
                    let whole = begun.iter().rposition(|byte| *byte == b'\n');
                    let rest = begun.split_off(whole.map_or(0, |at| at + 1));
                    lines.push_str(&String::from_utf8_lossy(&begun));
                    begun = rest;
                }
                Ok(_) | Err(_) => {
                    lines.push_str(&String::from_utf8_lossy(&begun));
                    return;
                }
            }
        }
    }
}
