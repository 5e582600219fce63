//! The servers: processes of their own that are killed, stopped and started again on addresses that stay.
//!
//! Addresses are of 127.0.77.0/24, so that no outgoing connection of anybody takes their ports while they are down.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use keel_testkit::peers;
use keel_testkit::process::signal;
use keel_testkit::wait::{SOON, within};
use rustix::process::Signal;

use super::origin::SPEC;
use super::plan::{Harm, Nature};

/// What kind of program a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours, of HTTP/1.1 and WebSocket.
    Own,
    /// Ours, of HTTP/2 with prior knowledge.
    OwnH2,
    /// nginx, one process.
    Nginx,
    /// Node.
    Node,
    /// Python's `http.server`.
    Python,
}

impl Kind {
    /// How it can be harmed.
    pub fn nature(self) -> Nature {
        match self {
            Kind::Own | Kind::OwnH2 => Nature::Own,
            _ => Nature::Foreign,
        }
    }

    /// Whether its program is here. Says that it is not, or fails where peers are required.
    pub fn is_here(self) -> bool {
        self.program()
            .is_none_or(|name| peers::peer(name).is_some())
    }

    fn program(self) -> Option<&'static str> {
        match self {
            Kind::Own | Kind::OwnH2 => None,
            Kind::Nginx => Some("nginx"),
            Kind::Node => Some("node"),
            Kind::Python => Some("python3"),
        }
    }
}

/// A server; ended on drop.
#[derive(Debug)]
pub struct Server {
    /// Its name in the configuration and in `X-Origin`.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is.
    pub kind: Kind,
    folder: PathBuf,
    child: Option<Child>,
    orders: Option<ChildStdin>,
}

impl Server {
    /// Starts one; `number` is the last byte of its address.
    pub fn start(name: &str, kind: Kind, number: u8, folder: &Path) -> Server {
        let address = free_address(number);
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a fresh folder");
        let mut server = Server {
            name: name.to_owned(),
            address,
            kind,
            folder,
            child: None,
            orders: None,
        };
        server.launch();
        server
    }

    /// The ids of the requests that it executed, and what it found wrong with what came.
    pub fn record(&self) -> String {
        std::fs::read_to_string(self.record_path()).unwrap_or_default()
    }

    /// Begins a harm.
    pub fn harm(&mut self, harm: Harm) {
        match harm {
            Harm::Kill => self.kill(),
            Harm::Restart => self.leave(),
            Harm::Stop => self.signal(Signal::STOP),
            other => self.order(word(other)),
        }
    }

    /// Ends a harm; it serves again when this returns.
    pub fn heal(&mut self, harm: Harm) {
        match harm {
            Harm::Kill | Harm::Restart => self.launch(),
            Harm::Stop => self.signal(Signal::CONT),
            _ => self.order("normal"),
        }
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join("record")
    }

    fn signal(&self, which: Signal) {
        if let Some(child) = &self.child {
            signal(child.id(), which);
        }
    }

    fn order(&mut self, word: &str) {
        let orders = self.orders.as_mut().expect("a server of ours that runs");
        writeln!(orders, "{word}").expect("a server of ours reads its orders");
    }

    fn kill(&mut self) {
        self.orders = None;
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Ends in the way that its kind knows, and waits for the end.
    fn leave(&mut self) {
        match self.kind {
            Kind::Own | Kind::OwnH2 => self.order("leave"),
            Kind::Nginx => self.signal(Signal::QUIT),
            Kind::Node | Kind::Python => self.signal(Signal::TERM),
        }
        if let Some(child) = &mut self.child {
            let _ended = within(Duration::from_secs(2), || child.try_wait().ok().flatten());
        }
        self.kill();
    }

    fn launch(&mut self) {
        let mut command = match self.kind {
            Kind::Own => self.own("h1"),
            Kind::OwnH2 => self.own("h2"),
            Kind::Nginx => self.nginx(),
            Kind::Node => self.script("server.js", NODE),
            Kind::Python => self.script("server.py", PYTHON),
        };
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("log"));
        command
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log.expect("a fresh folder"));
        let mut child = command.spawn().expect("a program that is here");
        self.orders = child.stdin.take();
        self.child = Some(child);
        let up = within(SOON, || TcpStream::connect(self.address).ok());
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(up.is_some(), "{} does not start: {}", self.name, log());
    }

    fn own(&self, protocol: &str) -> Command {
        let program = std::env::current_exe().expect("a program has a path");
        let mut command = Command::new(program);
        let (address, name) = (self.address, &self.name);
        let record = self.record_path().display().to_string();
        command
            .args([
                "server_process",
                "--exact",
                "--nocapture",
                "--include-ignored",
            ])
            .env(SPEC, format!("{protocol} {address} {name} {record}"));
        command
    }

    fn script(&self, file: &str, text: &str) -> Command {
        let path = self.folder.join(file);
        std::fs::write(&path, text).expect("a fresh folder");
        let program = self.kind.program().and_then(peers::peer);
        let mut command = Command::new(program.expect("a program that is here"));
        command.arg(path).arg(self.address.ip().to_string());
        command
            .arg(self.address.port().to_string())
            .arg(&self.name)
            .arg(self.record_path());
        command
    }

    fn nginx(&self) -> Command {
        let text = NGINX
            .replace("@DIR@", &self.folder.display().to_string())
            .replace("@ADDRESS@", &self.address.to_string())
            .replace("@NAME@", &self.name);
        let file = self.folder.join("nginx.conf");
        std::fs::write(&file, text).expect("a fresh folder");
        let program = peers::peer("nginx").expect("a program that is here");
        let mut command = Command::new(program);
        command.arg("-p").arg(&self.folder).arg("-c").arg(file);
        command.arg("-e").arg(self.folder.join("error.log"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too.
        self.orders = None;
        if let Some(child) = &mut self.child {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

fn word(harm: Harm) -> &'static str {
    match harm {
        Harm::Slow => "slow",
        Harm::Mute => "mute",
        Harm::Reset => "reset",
        Harm::Slam => "slam",
        Harm::Garbage => "garbage",
        Harm::BadHead => "badhead",
        Harm::Cut => "cut",
        Harm::Unavailable => "unavailable",
        Harm::Kill | Harm::Restart | Harm::Stop => "normal",
    }
}

/// An address whose port is free, and stays ours by habit.
pub fn free_address(number: u8) -> SocketAddr {
    let probe = TcpListener::bind((Ipv4Addr::new(127, 0, 77, number), 0));
    let probe = probe.expect("the whole of 127.0.0.0/8 is this machine");
    probe.local_addr().expect("a bound socket has an address")
}

const NGINX: &str = r#"
daemon off;
master_process off;
pid @DIR@/nginx.pid;
events { worker_connections 1024; }
http {
    log_format ids '$http_x_id';
    map $request_method $acts { default 0; POST 1; }
    access_log @DIR@/record ids if=$acts;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    keepalive_requests 1000000;
    keepalive_timeout 300s;
    server {
        listen @ADDRESS@ backlog=1024;
        location / {
            add_header X-Origin @NAME@;
            add_header X-Id $http_x_id;
            return 200 "$http_x_id\n";
        }
    }
}
"#;

const NODE: &str = r#"
const [, , host, port, name, record] = process.argv;
const fs = require('fs');
const out = fs.openSync(record, 'a');
const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    const id = request.headers['x-id'] || '';
    if (request.method === 'POST') fs.writeSync(out, id + '\n');
    response.writeHead(200, { 'X-Origin': name, 'X-Id': id, 'Content-Length': id.length + 1 });
    response.end(id + '\n');
  });
});
server.keepAliveTimeout = 300000;
server.listen({ port: Number(port), host, backlog: 1024 });
"#;

const PYTHON: &str = r#"
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
host, port, name, record = sys.argv[1:5]
out = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 65536
    disable_nagle_algorithm = True

    def answer(self):
        if 'chunked' in self.headers.get('Transfer-Encoding', ''):
            while True:
                size = int(self.rfile.readline().split(b';')[0], 16)
                self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
        else:
            self.rfile.read(int(self.headers.get('Content-Length', 0)))
        id = self.headers.get('X-Id', '')
        if self.command == 'POST':
            os.write(out, (id + '\n').encode())
        self.send_response(200)
        self.send_header('X-Origin', name)
        self.send_header('X-Id', id)
        self.send_header('Content-Length', str(len(id) + 1))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write((id + '\n').encode())
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

Server((host, int(port)), Handler).serve_forever()
"#;
