//! Other people's programs: curl, nginx, Node, Python, where they are installed.
//!
//! [`peer`] finds one. Where it is missing the test says `skipped: … not found` and returns, or fails when
//! `EVENKEEL_REQUIRE_PEERS=1`, which CI sets.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::scratch::Scratch;
use crate::wait::{SOON, within};

/// Folders that are looked into beside PATH, for daemons are not always on a user's PATH.
const MORE_DIRS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Tries to find a free port for a program that cannot say which one it took.
const PORT_TRIES: usize = 5;

/// Where a program is. When it is not there: says so and gives `None`, or panics where peers are required.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(MORE_DIRS.iter().map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

/// A Python that has grpcio, which `.ci/run` puts into `target/peers/grpc`. When it is not there: as [`peer`].
pub fn grpc_python() -> Option<PathBuf> {
    let python = crate::binary::repository().join("target/peers/grpc/bin/python");
    if python.is_file() {
        return Some(python);
    }
    missing("grpcio in target/peers/grpc");
    None
}

/// Says that a program is not there, or panics where peers are required.
pub fn missing(name: &str) {
    let required = std::env::var_os("EVENKEEL_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{name} is not installed, and EVENKEEL_REQUIRE_PEERS=1"
    );
    eprintln!("skipped: {name} not found");
}

/// The path of a program, or return from the test.
#[macro_export]
macro_rules! require_peer {
    ($name:expr) => {
        match $crate::peers::peer($name) {
            Some(path) => path,
            None => return,
        }
    };
}

/// Runs a program with arguments to its end.
#[track_caller]
pub fn run(program: &std::path::Path, args: &[&str]) -> Output {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    output.unwrap_or_else(|fault| panic!("{} cannot be started: {fault}", program.display()))
}

/// A server program that runs, killed on drop.
#[derive(Debug)]
pub struct PeerServer {
    child: Child,
    address: SocketAddr,
    second: SocketAddr,
    scratch: Scratch,
}

impl PeerServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second port that was free, for those that listen on two (`@PORT2@`, the second argument).
    pub fn second_address(&self) -> SocketAddr {
        self.second
    }

    /// Its folder.
    pub fn dir(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// nginx with what stands in `http { server { listen …; HERE } }`; `@DIR@` is its folder, `www` in it the root.
    /// `None` when nginx is not there.
    pub fn nginx(server: &str) -> Option<PeerServer> {
        PeerServer::nginx_with("", server)
    }

    /// As [`PeerServer::nginx`], with more in the `http` block.
    pub fn nginx_with(http: &str, server: &str) -> Option<PeerServer> {
        let plain = "server { listen 127.0.0.1:@PORT@; root @DIR@/www; @SERVER@ }";
        PeerServer::nginx_http(&format!("{http}\n{}", plain.replace("@SERVER@", server)))
    }

    /// nginx with all its `server` blocks given; they listen on `@PORT@`, and on `@PORT2@` where there are two.
    pub fn nginx_http(http: &str) -> Option<PeerServer> {
        let program = peer("nginx")?;
        Some(PeerServer::on_free_port("nginx", |ports, scratch| {
            let dir = scratch.path().display().to_string();
            std::fs::create_dir_all(scratch.path().join("www")).expect("a fresh folder");
            let text = NGINX_CONF
                .replace("@HTTP@", http)
                .replace("@PORT@", &ports[0].to_string())
                .replace("@PORT2@", &ports[1].to_string())
                .replace("@DIR@", &dir);
            let file = scratch.write("nginx.conf", text);
            let mut command = Command::new(&program);
            command.arg("-p").arg(scratch.path()).arg("-c").arg(file);
            command.arg("-e").arg(scratch.path().join("error.log"));
            command
        }))
    }

    /// A Node script; it listens on `process.argv[2]`. `None` when Node is not there.
    pub fn node(script: &str) -> Option<PeerServer> {
        let program = peer("node")?;
        Some(PeerServer::on_free_port("node", |ports, scratch| {
            let mut command = Command::new(&program);
            command
                .arg(scratch.write("server.js", script))
                .args(ports.map(|port| port.to_string()));
            command
        }))
    }

    /// A Python script; it listens on `sys.argv[1]`. `None` when Python is not there.
    pub fn python(script: &str) -> Option<PeerServer> {
        PeerServer::python_of(&peer("python3")?, script)
    }

    /// As [`PeerServer::python`], with this Python.
    pub fn python_of(program: &std::path::Path, script: &str) -> Option<PeerServer> {
        Some(PeerServer::on_free_port("python3", |ports, scratch| {
            let mut command = Command::new(program);
            command
                .arg(scratch.write("server.py", script))
                .args(ports.map(|port| port.to_string()));
            command
        }))
    }

    fn on_free_port(name: &str, prepare: impl Fn([u16; 2], &Scratch) -> Command) -> PeerServer {
        for _ in 0..PORT_TRIES {
            let bind = || TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
            let probes = [bind(), bind()];
            let [address, second] = probes
                .each_ref()
                .map(|probe| probe.local_addr().expect("a bound socket has an address"));
            drop(probes);
            let scratch = Scratch::new();
            let mut command = prepare([address.port(), second.port()], &scratch);
            let quiet = Stdio::null;
            command
                .stdin(quiet())
                .stdout(quiet())
                .current_dir(scratch.path());
            let log = std::fs::File::create(scratch.path().join("stderr.log"));
            command.stderr(log.expect("a fresh folder"));
            let child = command
                .spawn()
                .expect("a program that was found can be started");
            let mut server = PeerServer {
                child,
                address,
                second,
                scratch,
            };
            let up = within(SOON, || {
                let ended = server.child.try_wait().ok().flatten().is_some();
                let up = TcpStream::connect(address).is_ok();
                (ended || up).then_some(up && !ended)
            });
            if up == Some(true) {
                return server;
            }
            let log = std::fs::read_to_string(server.dir().join("stderr.log"));
            eprintln!(
                "{name} did not start on {address}: {}",
                log.unwrap_or_default()
            );
        }
        panic!("{name} could not be started");
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        // nginx's master takes its workers with it on SIGTERM; SIGKILL would leave them.
        crate::process::signal(self.child.id(), rustix::process::Signal::TERM);
        if within(std::time::Duration::from_secs(3), || {
            self.child.try_wait().ok().flatten()
        })
        .is_none()
        {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

const NGINX_CONF: &str = "
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    client_max_body_size 0;
    keepalive_requests 100000;
    @HTTP@
}
";
