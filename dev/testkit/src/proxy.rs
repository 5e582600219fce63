//! The binary under test, with a configuration, as a child process.
//!
//! In a configuration `@DIR@` stands for the folder that the file lies in. Without an `admin:` key the admin listener is
//! put on a port that the system gives. The process is killed on drop, and what it said is shown when a test fails.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::binary::evenkeel;
use crate::client::{Ask, Wire};
use crate::process::{Usage, signal, usage};
use crate::said::Said;
use crate::scratch::Scratch;
use crate::wait::{SOON, until, within};

/// Where systemd tells a service to put sockets and the like.
const RUN_FOLDER: &str = "RUNTIME_DIRECTORY";

/// How a process ended, and what it said.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Exit {
    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Exit {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless standard error holds all of these.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Exit {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in:\n{}",
                self.stderr
            );
        }
        self
    }
}

/// A running evenkeel.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    scratch: Scratch,
    out: Said,
    err: Said,
    readers: Vec<JoinHandle<()>>,
    listeners: Vec<(String, SocketAddr)>,
}

impl Proxy {
    /// Starts with this configuration and waits until it serves.
    #[track_caller]
    pub fn start(config: &str) -> Proxy {
        Proxy::start_in(Scratch::new(), config, &[])
    }

    /// One listener `web` and one pool `app` of these servers: the shortest useful file.
    #[track_caller]
    pub fn before(servers: &[SocketAddr]) -> Proxy {
        Proxy::start(&simple(servers, "", ""))
    }

    /// As [`Proxy::before`], with more keys of the pool, in flow style, and more of the file.
    #[track_caller]
    pub fn before_with(servers: &[SocketAddr], pool_keys: &str, more: &str) -> Proxy {
        Proxy::start(&simple(servers, pool_keys, more))
    }

    /// Starts in a folder that may hold more files, with more environment.
    #[track_caller]
    pub fn start_in(scratch: Scratch, config: &str, env: &[(&str, &str)]) -> Proxy {
        let file = write_config(&scratch, config);
        let mut command = Command::new(evenkeel());
        command.arg("run").arg(file).envs(env.iter().copied());
        Proxy::launch(command, scratch)
    }

    /// As [`Proxy::start_in`], with a hard limit of open files.
    #[track_caller]
    pub fn start_limited(scratch: Scratch, config: &str, descriptors: u64) -> Proxy {
        let file = write_config(&scratch, config);
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" run \"$1\"");
        command.arg("-c").arg(script).arg(evenkeel()).arg(file);
        Proxy::launch(command, scratch)
    }

    /// Starts a command line of the binary that serves, and waits until it does.
    #[track_caller]
    pub fn with_args(args: &[&str]) -> Proxy {
        let mut command = Command::new(evenkeel());
        command.args(args);
        Proxy::launch(command, Scratch::new())
    }

    #[track_caller]
    fn launch(mut command: Command, scratch: Scratch) -> Proxy {
        // Each has a place of its own for what it makes while it runs: they would fight over one.
        if !command.get_envs().any(|(name, _)| name == RUN_FOLDER) {
            command.env(RUN_FOLDER, scratch.path().join("run"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let (out, reads_out) = Said::collect(stdout);
        let (err, reads_err) = Said::collect(stderr);
        let mut proxy = Proxy {
            child,
            scratch,
            out,
            err,
            readers: vec![reads_out, reads_err],
            listeners: Vec::new(),
        };
        let ended = within(SOON, || {
            let ready = proxy.log().lines().any(is_ready);
            let ended = proxy.child.try_wait().ok().flatten();
            (ready || ended.is_some()).then_some(ended.filter(|_| !ready))
        });
        match ended {
            Some(None) => {}
            Some(Some(status)) => panic!(
                "it ended with {status} instead of serving:\n{}",
                proxy.log()
            ),
            None => panic!("it does not say `ready`:\n{}", proxy.log()),
        }
        proxy.listeners = proxy.log().lines().filter_map(listening).collect();
        proxy
    }

    /// Runs the binary with these arguments to its end.
    pub fn run(args: &[&str]) -> Exit {
        let mut command = Command::new(evenkeel());
        command.args(args);
        run_to_end(command, SOON)
    }

    /// The same with more environment.
    pub fn run_with(args: &[&str], env: &[(&str, &str)]) -> Exit {
        let mut command = Command::new(evenkeel());
        command.args(args).envs(env.iter().copied());
        run_to_end(command, SOON)
    }

    /// Runs the binary to its end as a user without privileges, whoever runs the tests.
    pub fn run_unprivileged(args: &[&str]) -> Exit {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        /// The user that owns nothing.
        const NOBODY: u32 = 65_534;

        let scratch = Scratch::new();
        let binary = scratch.path().join("evenkeel");
        std::fs::copy(evenkeel(), &binary).expect("room for a copy of the binary");
        for path in [scratch.path(), &binary] {
            let everybody = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, everybody).expect("our own file");
        }
        let mut command = Command::new(&binary);
        command.args(args).current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        run_to_end(command, SOON)
    }

    /// Runs a subcommand on this configuration to its end: `check`, or a `run` that is meant to fail.
    pub fn run_on(subcommand: &str, config: &str, more: &[&str]) -> Exit {
        let scratch = Scratch::new();
        Proxy::run_in(&scratch, subcommand, config, more)
    }

    /// As [`Proxy::run_on`], in a folder that holds more files.
    pub fn run_in(scratch: &Scratch, subcommand: &str, config: &str, more: &[&str]) -> Exit {
        let file = write_config(scratch, config);
        let mut command = Command::new(evenkeel());
        command.arg(subcommand).arg(file).args(more);
        run_to_end(command, SOON)
    }

    /// Address of the listener `web`, or of the first one.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let public = || {
            self.listeners
                .iter()
                .find(|(name, _)| name != "admin")
                .map(|(_, at)| *at)
        };
        let web = self
            .listeners
            .iter()
            .find(|(name, _)| name == "web")
            .map(|(_, at)| *at);
        web.or_else(public)
            .unwrap_or_else(|| panic!("no listener:\n{}", self.log()))
    }

    /// Address of a listener.
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let all = self.listener_addresses(name);
        *all.first()
            .unwrap_or_else(|| panic!("no listener {name}:\n{}", self.log()))
    }

    /// All addresses of a listener, in the order in which they were bound.
    pub fn listener_addresses(&self, name: &str) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter(|(have, _)| have == name)
            .map(|(_, at)| *at)
            .collect()
    }

    /// Address of the admin listener.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.listener("admin")
    }

    /// A raw connection to the listener `web`.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        Wire::connect(self.address())
    }

    /// A GET to the listener `web`.
    #[track_caller]
    pub fn get(&self, target: &str) -> crate::Answer {
        Ask::get(self.address(), target).send()
    }

    /// A GET to be added to.
    #[track_caller]
    pub fn ask(&self, target: &str) -> Ask {
        Ask::get(self.address(), target)
    }

    /// The folder of the configuration file.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Standard error so far.
    pub fn log(&self) -> String {
        self.err.text()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.out.text()
    }

    /// Waits for a line of standard output that holds the text.
    pub fn await_stdout(&self, text: &str) -> String {
        until(&format!("{text:?} on standard output"), || {
            line_with(&self.stdout(), text)
        })
    }

    /// Waits for a line of standard error that holds the text.
    pub fn await_log(&self, text: &str) -> String {
        until(&format!("{text:?} in the log"), || {
            line_with(&self.log(), text)
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it uses now.
    #[track_caller]
    pub fn usage(&self) -> Usage {
        usage(self.pid()).unwrap_or_else(|| panic!("it has ended:\n{}", self.log()))
    }

    /// Sends a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Exit {
        let status = within(limit, || self.child.try_wait().ok().flatten());
        let Some(status) = status else {
            panic!("still running after {limit:?}:\n{}", self.log());
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        Exit {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.log(),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- the proxy said ----\n{}------------------------",
                self.log()
            );
        }
    }
}

/// The shortest useful configuration, and more.
pub fn simple(servers: &[SocketAddr], pool_keys: &str, more: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|at| format!("\"{at}\"")).collect();
    let servers = servers.join(", ");
    let comma = if pool_keys.is_empty() { "" } else { ", " };
    let mut text = String::new();
    if !more.contains("listeners:") {
        text.push_str("listeners: { web: { bind: \"127.0.0.1:0\" } }\n");
    }
    if !more.contains("routes:") {
        text.push_str("routes: [ { name: all, pool: app } ]\n");
    }
    text.push_str(&format!(
        "pools: {{ app: {{ servers: [{servers}]{comma}{pool_keys} }} }}\n{more}\n"
    ));
    text
}

fn write_config(scratch: &Scratch, config: &str) -> std::path::PathBuf {
    let dir = scratch.path().display().to_string();
    let mut text = config.replace("@DIR@", &dir);
    if !text.lines().any(|line| line.starts_with("admin:")) {
        text.push_str("\nadmin: { bind: \"127.0.0.1:0\" }\n");
    }
    scratch.write("evenkeel.yaml", text)
}

fn run_to_end(mut command: Command, limit: Duration) -> Exit {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    let (out, reads_out) = Said::collect(child.stdout.take().expect("standard output is piped"));
    let (err, reads_err) = Said::collect(child.stderr.take().expect("standard error is piped"));
    let Some(status) = within(limit, || child.try_wait().ok().flatten()) else {
        let _gone = child.kill();
        panic!("still running after {limit:?}:\n{}", err.text());
    };
    for reader in [reads_out, reads_err] {
        reader.join().expect("a reader does not panic");
    }
    Exit {
        code: status.code(),
        stdout: out.text(),
        stderr: err.text(),
    }
}

fn line_with(text: &str, part: &str) -> Option<String> {
    text.lines()
        .find(|line| line.contains(part))
        .map(str::to_owned)
}

fn is_ready(line: &str) -> bool {
    line.split_whitespace().any(|word| word == "ready")
}

/// `listening listener=web address=127.0.0.1:43121`
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (_, rest) = line.split_once("listening ")?;
    let value = |key: &str| {
        rest.split_whitespace()
            .find_map(|word| word.strip_prefix(key))
    };
    let name = value("listener=")?.trim_matches('"');
    let address = value("address=")?.trim_matches('"').parse().ok()?;
    Some((name.to_owned(), address))
}
