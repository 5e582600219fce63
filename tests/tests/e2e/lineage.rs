//! A process and those that replace it: the binary is a copy that a test may replace, and all of them write into one log.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keel_testkit::binary::evenkeel;
use keel_testkit::process::signal;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{SOON, until, within};
use rustix::process::Signal;

/// Processes that replace each other.
pub struct Lineage {
    first: Child,
    scratch: Scratch,
}

impl Lineage {
    /// Starts with this configuration and waits until it serves.
    #[track_caller]
    pub fn start(config: &str) -> Lineage {
        Lineage::start_with(Scratch::new(), config, |command| command)
    }

    /// As [`Lineage::start`], in a folder that may hold more files, with more on the command.
    #[track_caller]
    pub fn start_with(
        scratch: Scratch,
        config: &str,
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Lineage {
        let mut lineage = Lineage::launch(scratch, config, more);
        let serves = within(SOON, || {
            let ended = lineage.first.try_wait().ok().flatten();
            (lineage.generations() > 0 || ended.is_some()).then_some(ended.is_none())
        });
        assert_eq!(serves, Some(true), "it does not serve:\n{}", lineage.log());
        lineage
    }

    /// Starts without waiting for anything.
    #[track_caller]
    pub fn launch(
        scratch: Scratch,
        config: &str,
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Lineage {
        let binary = scratch.path().join("evenkeel");
        copy(evenkeel(), &binary);
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(scratch.path(), everybody).expect("our own folder");
        let file = write_config(&scratch, config);
        let mut command = Command::new(&binary);
        command.arg("run").arg(file).stdin(Stdio::null());
        command.stdout(Stdio::null());
        command.env("STATE_DIRECTORY", scratch.path().join("state"));
        let command = more(&mut command).stderr(log_file(&scratch));
        let first = command.spawn().expect("the copy can be started");
        Lineage { first, scratch }
    }

    /// Everything that was logged so far, by all of them.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_path(self.dir())).unwrap_or_default()
    }

    /// How many have come to serve.
    pub fn generations(&self) -> usize {
        ready_pids(&self.log()).len()
    }

    /// The process that serves: the last that was ready.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let pids = ready_pids(&self.log());
        *pids.last().expect("one of them serves")
    }

    /// The processes that have served, oldest first.
    pub fn pids(&self) -> Vec<u32> {
        ready_pids(&self.log())
    }

    /// All that were started for an upgrade, whether they came to serve or not.
    pub fn started(&self) -> Vec<u32> {
        started_pids(&self.log())
    }

    /// Their folder.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Address of a listener, as the last that told it has it.
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let log = self.log();
        let mut all = log.lines().filter_map(|line| listening(line, name));
        all.next_back()
            .unwrap_or_else(|| panic!("no listener {name}:\n{log}"))
    }

    /// Address of the listener `web`.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.listener("web")
    }

    /// Writes the configuration anew.
    pub fn configure(&self, config: &str) {
        write_config(&self.scratch, config);
    }

    /// Replaces the binary by a script, as an installation would: by a rename.
    pub fn replace_binary(&self, script: &str) {
        let written = self.scratch.write("evenkeel.script", script);
        let new = self.dir().join("evenkeel.new");
        copy(&written, &new);
        self.put(&new);
    }

    /// Puts the real binary back.
    pub fn restore_binary(&self) {
        let new = self.dir().join("evenkeel.new");
        copy(evenkeel(), &new);
        self.put(&new);
    }

    fn put(&self, new: &Path) {
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(new, everybody).expect("our own file");
        std::fs::rename(new, self.dir().join("evenkeel")).expect("the same folder");
    }

    /// Asks the one that serves for an upgrade, and waits until the next one serves. Gives the old one's id.
    #[track_caller]
    pub fn upgrade(&self) -> u32 {
        let (old, before) = (self.pid(), self.generations());
        signal(old, Signal::USR2);
        let ready = within(SOON, || (self.generations() > before).then_some(()));
        assert!(ready.is_some(), "no new process:\n{}", self.log());
        old
    }

    /// Asks for an upgrade that is meant to fail, and waits until it has; gives what was logged of it.
    #[track_caller]
    pub fn fail_to_upgrade(&self) -> String {
        const FAILED: &str = "upgrade failed";

        let (old, before) = (self.pid(), self.log().matches(FAILED).count());
        signal(old, Signal::USR2);
        let line = within(SOON, || {
            let log = self.log();
            let mut lines = log.lines().filter(|line| line.contains(FAILED));
            lines.nth(before).map(str::to_owned)
        });
        let line = line.unwrap_or_else(|| panic!("it did not fail:\n{}", self.log()));
        assert_eq!(self.pid(), old, "{}", self.log());
        line
    }

    /// Waits until a process has ended.
    #[track_caller]
    pub fn await_end(&mut self, pid: u32) {
        let ended = within(SOON, || {
            let _reaped = self.first.try_wait();
            (!is_running(pid)).then_some(())
        });
        assert!(ended.is_some(), "{pid} still runs:\n{}", self.log());
    }

    /// Stops the one that serves and waits for the end of all.
    #[track_caller]
    pub fn stop(mut self) -> String {
        signal(self.pid(), Signal::TERM);
        for pid in self.pids() {
            self.await_end(pid);
        }
        self.log()
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        let _gone = self.first.kill();
        let _gone = self.first.wait();
        for pid in started_pids(&self.log()) {
            // Its id may belong to somebody else by now.
            let of_ours = std::fs::read_link(format!("/proc/{pid}/exe"));
            if of_ours.is_ok_and(|exe| exe.starts_with(self.dir())) || runs_script(pid, self.dir())
            {
                signal(pid, Signal::KILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("---- the log ----\n{}-----------------", self.log());
        }
    }
}

/// Copies in a process of its own: a file that is open for writing cannot be executed, and a child that another test
/// starts at the same time would hold ours open for a moment.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|it| it.success()), "room for a copy");
}

fn runs_script(pid: u32, dir: &Path) -> bool {
    let dir = dir.display().to_string();
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&dir))
}

/// Whether a process runs: one that only waits to be reaped does not.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with('Z')
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("stderr.log")
}

fn log_file(scratch: &Scratch) -> File {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true);
    options
        .open(log_path(scratch.path()))
        .expect("the temporary folder is writable")
}

fn write_config(scratch: &Scratch, config: &str) -> PathBuf {
    let dir = scratch.path().display().to_string();
    let mut text = config.replace("@DIR@", &dir);
    if !text.lines().any(|line| line.starts_with("admin:")) {
        text.push_str("\nadmin: { bind: \"127.0.0.1:0\" }\n");
    }
    // Renamed into place: who reads it meanwhile has the whole of it.
    let new = scratch.write("evenkeel.yaml.new", text);
    let file = scratch.path().join("evenkeel.yaml");
    std::fs::rename(new, &file).expect("the same folder");
    file
}

fn number_after(line: &str, key: &str) -> Option<u32> {
    let (_, rest) = line.split_once(key)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// `ready workers=2 connections=400 pid=17`
fn ready_pids(log: &str) -> Vec<u32> {
    let ready = log.lines().filter(|line| line.contains(" ready "));
    ready
        .filter_map(|line| number_after(line, "pid="))
        .collect()
}

/// `upgrade: started the new program pid=18`
fn started_pids(log: &str) -> Vec<u32> {
    let started = log
        .lines()
        .filter(|line| line.contains("started the new program"));
    started
        .filter_map(|line| number_after(line, "pid="))
        .collect()
}

fn listening(line: &str, name: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(&format!("listening listener={name} address="))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Threads of a process with a field of their `status`, such as `Uid:`.
pub fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with(field))?;
            Some(
                line[field.len()..]
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        })
        .collect()
}

/// Waits until nothing but the process that serves is left.
#[track_caller]
pub fn await_alone(lineage: &mut Lineage) {
    let serving = lineage.pid();
    for pid in lineage.pids().into_iter().filter(|pid| *pid != serving) {
        lineage.await_end(pid);
    }
    until("it serves", || is_running(serving).then_some(()));
    std::thread::sleep(Duration::from_millis(1));
}
