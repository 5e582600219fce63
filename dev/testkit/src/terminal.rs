//! A program at a terminal: what it shows, and keys that somebody presses.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::binary;
use crate::wait::{until, until_true};

/// The evenkeel binary with a terminal for its input and output.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts the binary with these arguments.
    pub fn evenkeel(args: &[&str]) -> Terminal {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has terminals");
        grantpt(&ours).expect("a terminal of our own");
        unlockpt(&ours).expect("a terminal of our own");
        let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
        let name = name.into_string().expect("the name is plain text");
        let open = || {
            OwnedFd::from(
                File::options()
                    .read(true)
                    .write(true)
                    .open(&name)
                    .expect("our terminal"),
            )
        };
        let child = Command::new(binary::evenkeel())
            .args(args)
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("the binary starts");
        let keyboard = File::from(ours);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, text) = (
            keyboard.try_clone().expect("a second handle"),
            shown.clone(),
        );
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(bytes.get(..n).unwrap_or(&[])));
            }
        });
        Terminal {
            child,
            keyboard,
            shown,
        }
    }

    /// All that was shown so far, control sequences included.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// Waits until `part` is shown, after what was there when `since` was taken.
    pub fn await_text(&self, since: usize, part: &str) -> String {
        until(part, || {
            let shown = self.shown();
            let new = shown.get(since..)?.to_owned();
            new.contains(part).then_some(new)
        })
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("a terminal takes keys");
    }

    /// Waits for the end of the program.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until_true("the program has ended", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
