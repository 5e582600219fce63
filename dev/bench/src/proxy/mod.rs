//! Starting a proxy with a configuration that asks all of them for the same work.
//!
//! The same work: as many workers, X-Forwarded-For added, kept connections to the same origins, the same lines logged,
//! the same headers edited. Where a proxy has a faster way to do the same, it gets it (HAProxy reuses connections always
//! and logs to a file instead of a socket, nginx buffers its log), so that the best peer is at its best.

mod evenkeel;
mod haproxy;
mod nginx;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::client::Peer;
use crate::process::{self, Farewell, Guard, LOOK_EVERY, Launch};
use crate::protocol::Protocol;
use crate::tls::Pair;

/// How long a proxy may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Files of the certificate beside a configuration.
const CERTIFICATE: &str = "site.pem";
const KEY: &str = "site.key";
const BUNDLE: &str = "bundle.pem";
/// Kept connections and requests per connection that no run reaches.
pub const REQUESTS_MAX: u64 = 1_000_000_000;

/// The proxies known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Ours.
    Evenkeel,
}

impl ProxyKind {
    /// All, in the order in which they take turns.
    pub const ALL: [ProxyKind; 3] = [ProxyKind::Nginx, ProxyKind::Haproxy, ProxyKind::Evenkeel];

    /// Name in tables, and of the program.
    pub const fn name(self) -> &'static str {
        match self {
            ProxyKind::Nginx => "nginx",
            ProxyKind::Haproxy => "haproxy",
            ProxyKind::Evenkeel => "evenkeel",
        }
    }
}

/// What a proxy has to do besides forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Routes `/svc-0000/`, `/svc-0001/`, …; 0 = one route for everything.
    pub routes: usize,
    /// One request header set and one removed; two answer headers set and one removed.
    pub header_edits: bool,
    /// A line in combined form for each request, to a file.
    pub access_log: bool,
    /// Counters that can be read over HTTP while it runs.
    pub metrics: bool,
}

/// Whether a run is about speed or about patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// No timeouts or spooling that could disturb a measurement.
    Speed,
    /// Defaults, with the timeouts that the manuals commonly show.
    Patience,
}

/// One configuration, said once for all proxies.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The pool.
    pub origins: Vec<SocketAddr>,
    /// Worker processes or threads.
    pub workers: usize,
    /// What clients speak; over TLS with the bench's own certificate.
    pub protocol: Protocol,
    /// Extra work.
    pub features: Features,
    /// evenkeel's `balance` value; `None` = round robin, the only one that all peers are asked for.
    pub balance: Option<Value>,
    /// Weights 1 to 5 in turn instead of equal ones.
    pub weighted: bool,
    /// Client connections to allow for.
    pub connections_max: usize,
    /// Idle connections to keep to the pool.
    pub pool_idle_max: usize,
    /// What the run is about.
    pub purpose: Purpose,
}

impl Setup {
    /// Plain forwarding with one worker.
    pub fn plain(origins: &[SocketAddr]) -> Setup {
        Setup {
            origins: origins.to_vec(),
            workers: 1,
            protocol: Protocol::Http1,
            features: Features::default(),
            balance: None,
            weighted: false,
            connections_max: 8192,
            pool_idle_max: 1024,
            purpose: Purpose::Speed,
        }
    }

    /// Path prefix of a route.
    pub fn route_prefix(route: usize) -> String {
        format!("/svc-{route:05}/")
    }
}

/// Programs to run.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Path of our binary.
    pub evenkeel: PathBuf,
    /// A program and its arguments under which proxies run; empty for none.
    pub wrapper: Vec<OsString>,
}

impl Programs {
    /// Ours is this file; the peers are the installed ones.
    pub fn new(evenkeel: &Path) -> Programs {
        Programs {
            evenkeel: evenkeel.to_path_buf(),
            wrapper: Vec::new(),
        }
    }

    /// Path of a program, when it is there.
    pub fn find(&self, kind: ProxyKind) -> Option<PathBuf> {
        if kind == ProxyKind::Evenkeel {
            return self.evenkeel.is_file().then(|| self.evenkeel.clone());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let mut folders = std::env::split_paths(&path).chain(system);
        folders.find_map(|dir| Some(dir.join(kind.name())).filter(|file| file.is_file()))
    }

    /// First line of what the program says about its version.
    pub fn version(&self, kind: ProxyKind) -> Option<String> {
        let flag = if kind == ProxyKind::Evenkeel {
            "--version"
        } else {
            "-v"
        };
        let output = Command::new(self.find(kind)?).arg(flag).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&text).lines().next()?.to_string();
        let line = line.strip_prefix("nginx version: ").unwrap_or(&line);
        Some(line.split(" - ").next().unwrap_or(line).to_string())
    }
}

/// Files of one proxy while it is prepared.
struct Prepare<'a> {
    setup: &'a Setup,
    program: PathBuf,
    dir: &'a Path,
    /// Where to listen; port 0 when the proxy finds a free port and tells it.
    listen: SocketAddr,
}

impl Prepare<'_> {
    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes certificate and key, both also into one file as HAProxy wants them, where TLS is spoken.
    fn write_pair(&self) -> Result<()> {
        if self.setup.protocol.is_tls() {
            let pair = Pair::shared()?;
            self.file(CERTIFICATE, &pair.certificate)?;
            self.file(KEY, &pair.key)?;
            self.file(BUNDLE, &format!("{}{}", pair.certificate, pair.key))?;
        }
        Ok(())
    }
}

/// A running proxy. It and its files end with this value.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub kind: ProxyKind,
    /// Where it serves.
    pub address: SocketAddr,
    protocol: Protocol,
    guard: Guard,
    dir: TempDir,
    /// Keeps the port ours until the proxy is gone.
    _reserved: Option<Socket>,
}

impl Running {
    /// Starts `kind` on `cores` and waits until it serves.
    pub fn start(
        kind: ProxyKind,
        programs: &Programs,
        setup: &Setup,
        cores: &[usize],
    ) -> Result<Running> {
        let name = kind.name();
        let program = programs
            .find(kind)
            .with_context(|| format!("{name} is not installed"))?;
        let dir = tempfile::Builder::new().prefix("keel-bench-").tempdir();
        let dir = dir.context("cannot make a temporary folder")?;
        let reserved = if kind == ProxyKind::Evenkeel {
            None
        } else {
            Some(reserve_port()?)
        };
        let listen = match &reserved {
            Some(socket) => socket
                .local_addr()?
                .as_socket()
                .context("not an IP address")?,
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let prepare = Prepare {
            setup,
            program,
            dir: dir.path(),
            listen,
        };
        prepare.write_pair()?;
        let command = match kind {
            ProxyKind::Nginx => nginx::prepare(&prepare)?,
            ProxyKind::Haproxy => haproxy::prepare(&prepare)?,
            ProxyKind::Evenkeel => evenkeel::prepare(&prepare)?,
        };
        let command = programs.wrapper.iter().cloned().chain(command).collect();
        let guard = launch(kind, command, dir.path(), cores)?;
        let mut running = Running {
            kind,
            address: listen,
            protocol: setup.protocol,
            guard,
            dir,
            _reserved: reserved,
        };
        running.await_service()?;
        Ok(running)
    }

    /// It, for single requests.
    pub fn peer(&self) -> Peer {
        Peer {
            address: self.address,
            protocol: self.protocol,
        }
    }

    /// Root of its processes.
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Lines in its access log so far.
    pub fn logged_lines(&self) -> Result<u64> {
        let name = if self.kind == ProxyKind::Haproxy {
            "stdout"
        } else {
            "access.log"
        };
        let path = self.dir.path().join(name);
        let mut file =
            File::open(&path).with_context(|| format!("no log at {}", path.display()))?;
        let mut buffer = vec![0; 1 << 20];
        let mut lines = 0;
        loop {
            let count = file.read(&mut buffer).context("cannot read the log")?;
            if count == 0 {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64;
        }
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        self.guard.terminate();
        self.guard.wait(patience).map(drop)
    }

    fn await_service(&mut self) -> Result<()> {
        let end = Instant::now() + START_PATIENCE;
        loop {
            process::check_interrupt()?;
            if let Some(status) = self.guard.ended()? {
                bail!(
                    "{} ended at start ({status}): {}",
                    self.kind.name(),
                    self.last_words()
                );
            }
            if self.is_serving() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{} does not serve: {}", self.kind.name(), self.last_words());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn is_serving(&mut self) -> bool {
        if self.kind == ProxyKind::Evenkeel {
            let text = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
            match evenkeel::listening(&text) {
                Some(address) => self.address = address,
                None => return false,
            }
        }
        TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_ok()
    }

    /// The end of what it wrote to its standard error.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines
            .into_iter()
            .rev()
            .fold(String::new(), |mut all, line| {
                // Writing to a String cannot fail.
                let _ = write!(all, "\n    {line}");
                all
            })
    }
}

fn launch(kind: ProxyKind, command: Vec<OsString>, dir: &Path, cores: &[usize]) -> Result<Guard> {
    // nginx's workers would outlive a master that is killed.
    let is_master = kind == ProxyKind::Nginx;
    let farewell = if is_master {
        Farewell::Terminate
    } else {
        Farewell::Kill
    };
    Guard::start(Launch {
        name: kind.name(),
        command,
        cores,
        farewell,
        stdin: Stdio::null(),
        stdout: process::output_file(&dir.join("stdout"))?.into(),
        stderr: process::output_file(&dir.join("stderr"))?.into(),
    })
}

/// Binds a free port without listening, so that nobody else gets it and the proxy, with SO_REUSEADDR, still can.
fn reserve_port() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .context("cannot bind a free port")?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_can_be_listened_on() {
        let reserved = reserve_port().unwrap();
        let address = reserved.local_addr().unwrap();
        let proxy = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        proxy.set_reuse_address(true).unwrap();
        proxy.bind(&address).unwrap();
        proxy.listen(8).unwrap();
        assert!(TcpStream::connect(address.as_socket().unwrap()).is_ok());
    }

    #[test]
    fn missing_programs_are_not_found() {
        let programs = Programs::new(Path::new("/nonexistent/evenkeel"));
        assert_eq!(programs.find(ProxyKind::Evenkeel), None);
        assert_eq!(programs.version(ProxyKind::Evenkeel), None);
    }
}
