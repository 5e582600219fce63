//! Real programs on both sides: curl, nginx, Node, Python.

use keel_testkit::peers::{PeerServer, run};
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Load, Origin, Proxy, require_peer};

fn curl(args: &[&str]) -> Option<String> {
    let curl = keel_testkit::peers::peer("curl")?;
    let all: Vec<&str> = ["-sS", "--max-time", "60"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let output = run(&curl, &all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn curl_gets_posts_and_uploads() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address()]);
    let url = format!("http://{}/x?y", proxy.address());
    let Some(got) = curl(&[&url]) else { return };
    assert!(got.contains("\"target\":\"/x?y\""), "{got}");
    let posted = curl(&["-d", "a=b", &url]).unwrap_or_default();
    assert!(posted.contains("\"body\":\"a=b\""), "{posted}");
    let scratch = Scratch::new();
    let file = scratch
        .write("upload", vec![b'x'; 3_000_000])
        .display()
        .to_string();
    for more in [
        &["-T", &file][..],
        &["-T", &file, "-H", "Transfer-Encoding: chunked"],
        &[
            "--data-binary",
            &format!("@{file}"),
            "-H",
            "Expect: 100-continue",
        ],
    ] {
        let args: Vec<&str> = more.iter().copied().chain([url.as_str()]).collect();
        let seen = curl(&args).unwrap_or_default();
        assert!(seen.contains("\"body_len\":3000000"), "{more:?}: {seen}");
    }
    let head = curl(&["-I", &url]).unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let many = curl(&[&url, &url, &url, "-w", "%{num_connects} "]).unwrap_or_default();
    assert!(
        many.contains("1 ") && many.contains("0 "),
        "one connection for all: {many}"
    );
    let old = curl(&["--http1.0", &url]).unwrap_or_default();
    assert!(old.contains("\"origin\":\"a\""), "{old}");
}

#[test]
fn curl_downloads_what_nginx_serves() {
    let Some(nginx) = PeerServer::nginx("location / { }") else {
        return;
    };
    let body: Vec<u8> = keel_testkit::origin::pattern()
        .iter()
        .copied()
        .cycle()
        .take(20_000_000)
        .collect();
    std::fs::write(nginx.dir().join("www/big.bin"), &body).expect("a fresh folder");
    let proxy = Proxy::before(&[nginx.address()]);
    let scratch = Scratch::new();
    let file = scratch.path().join("got").display().to_string();
    let url = format!("http://{}/big.bin", proxy.address());
    if curl(&["-o", &file, &url]).is_none() {
        return;
    }
    assert!(std::fs::read(&file).expect("curl wrote it") == body);
    let part =
        curl(&["-r", "100-199", "-o", &file, "-w", "%{http_code}", &url]).unwrap_or_default();
    assert_eq!(part, "206");
    assert!(std::fs::read(&file).expect("curl wrote it") == body[100..200]);
    let answer = proxy.get("/missing");
    assert_eq!((answer.status(), answer.header("x-error")), (404, None));
}

#[test]
fn nginx_as_backend_under_load() {
    let server = "location / { return 200 \"ok\\n\"; add_header X-Origin nginx; }";
    let Some(nginx) = PeerServer::nginx(server) else {
        return;
    };
    let proxy = Proxy::before(&[nginx.address()]);
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(2000);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

#[test]
fn nginx_that_closes_its_connections_costs_nothing() {
    // nginx closes each kept connection after 3 requests, and idle ones at once.
    let http = "keepalive_requests 3; keepalive_timeout 1s;";
    let server = "keepalive_requests 3; keepalive_timeout 1s; location / { return 200 \"ok\\n\"; }";
    let Some(nginx) = PeerServer::nginx_with(&http.replace("keepalive_requests 3;", ""), server)
    else {
        return;
    };
    let proxy = Proxy::before_with(&[nginx.address()], "max_fails: 0", "");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(500);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    load.await_more(100);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

const NODE: &str = "
const http = require('http');
const server = http.createServer((req, res) => {
  if (req.url === '/stream') {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Trailer': 'X-Sum' });
    let n = 0;
    const timer = setInterval(() => {
      res.write(`data: ${n}\\n\\n`);
      if (++n === 5) { clearInterval(timer); res.addTrailers({ 'X-Sum': '5' }); res.end(); }
    }, 20);
    return;
  }
  let length = 0;
  req.on('data', data => { length += data.length; });
  req.on('end', () => {
    res.setHeader('X-Origin', 'node');
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({ length, url: req.url, headers: req.headers }));
  });
});
server.on('upgrade', (req, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: ' + req.headers.upgrade + '\\r\\n\\r\\n');
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
";

#[test]
fn node_as_backend() {
    let Some(node) = PeerServer::node(NODE) else {
        return;
    };
    let proxy = Proxy::before(&[node.address()]);
    let json = Ask::post(proxy.address(), "/x?y", vec![b'x'; 500_000])
        .send()
        .expect(200)
        .json();
    assert_eq!(
        (&json["length"], &json["url"]),
        (&500_000.into(), &"/x?y".into())
    );
    assert_eq!(json["headers"]["x-forwarded-for"], "127.0.0.1");
    let stream = proxy
        .ask("/stream")
        .with("TE", "trailers")
        .with("Connection", "TE")
        .send()
        .expect(200);
    assert_eq!(
        stream.text(),
        "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"
    );
    assert_eq!(stream.trailers.first("x-sum").as_deref(), Some("5"));
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    wire.send("there and back");
    assert_eq!(wire.bytes(14), b"there and back");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(500);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

const NODE_CLIENT: &str = "
const http = require('http');
const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
let left = 200, failed = 0;
function one() {
  const req = http.request({ port, host: '127.0.0.1', path: '/chunks/5000', agent, method: 'GET' }, res => {
    let length = 0;
    res.on('data', data => { length += data.length; });
    res.on('end', () => { if (res.statusCode !== 200 || length !== 5000) failed++; done(); });
  });
  req.on('error', () => { failed++; done(); });
  req.end();
}
function done() { if (--left === 0) { console.log('failed ' + failed); agent.destroy(); } }
for (let n = 0; n < 200; n++) one();
";

#[test]
fn node_as_client() {
    let node = require_peer!("node");
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let scratch = Scratch::new();
    let script = scratch
        .write("client.js", NODE_CLIENT)
        .display()
        .to_string();
    let output = run(&node, &[&script, &proxy.address().port().to_string()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "failed 0");
}

const PYTHON: &str = "
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'
    def do_GET(self):
        body = ('python ' + self.path).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        length = int(self.headers['Content-Length'])
        data = self.rfile.read(length)
        body = str(len(data)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

#[test]
fn python_as_backend_speaks_http_10() {
    let Some(python) = PeerServer::python(PYTHON) else {
        return;
    };
    let proxy = Proxy::before(&[python.address()]);
    let mut wire = proxy.wire();
    for n in 0..5 {
        let answer = wire
            .ask(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .expect(200);
        assert_eq!(answer.text(), format!("python /{n}"));
    }
    let answer = Ask::post(proxy.address(), "/", vec![b'x'; 70_000])
        .send_on(&mut wire)
        .expect(200);
    assert_eq!(answer.text(), "70000");
}

#[test]
fn python_as_client() {
    let python = require_peer!("python3");
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let script = "import sys, http.client, json\n\
        c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n\
        for n in range(50):\n\
        \x20   c.request('POST', '/%d' % n, body=b'x' * n)\n\
        \x20   r = c.getresponse(); d = json.loads(r.read())\n\
        \x20   assert r.status == 200 and d['body_len'] == n, d\n\
        print('fine')\n";
    let output = run(
        &python,
        &["-c", script, &proxy.address().port().to_string()],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "fine",
        "{said}"
    );
}

#[test]
fn real_servers_die_under_load() {
    let Some(nginx) = PeerServer::nginx("location / { return 200 ok; }") else {
        return;
    };
    let Some(node) = PeerServer::node(NODE) else {
        return;
    };
    let keys = "max_fails: 1, fail_timeout: 1s";
    let proxy = Proxy::before_with(&[nginx.address(), node.address()], keys, "");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(200);
    drop(node);
    load.await_more(200);
    until_true("it is seen", || load.served() > 400);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}
