//! A real browser, headless Chromium: a page over HTTP/2 with many requests at once, and a WebSocket beside them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keel_testkit::peers::PeerServer;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{until, within};
use keel_testkit::{Ask, require_peer};

use crate::site::{OWN, Site};

/// The page, what it fetches, an echo of WebSocket frames, and `/result`: what the page found.
const SERVER: &str = r"
const http = require('http'), crypto = require('crypto');
const page = `<!doctype html><title>page</title><script>
const said = [];
const socket = new WebSocket('wss://' + location.host + '/echo');
socket.binaryType = 'arraybuffer';
const closed = new Promise(done => {
  socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(100000)); };
  socket.onmessage = event => {
    if (typeof event.data === 'string') { said.push('text ' + event.data); return; }
    said.push('binary ' + event.data.byteLength);
    socket.close(1000, 'enough');
  };
  socket.onerror = () => said.push('error');
  socket.onclose = event => { said.push('closed ' + event.code + ' ' + event.reason); done(); };
});
const small = Array.from({ length: 60 }, (_, n) => fetch('/small/' + n).then(answer => answer.text()));
const upload = fetch('/length', { method: 'POST', body: 'x'.repeat(300000) }).then(answer => answer.text());
Promise.all([closed, upload, ...small]).then(([, length, ...texts]) => {
  const own = performance.getEntriesByType('navigation')[0].nextHopProtocol;
  const theirs = new Set(performance.getEntriesByType('resource').map(entry => entry.nextHopProtocol));
  said.push('length ' + length, 'small ' + texts.filter(text => text === 'small').length);
  said.push('page ' + own, 'resources ' + [...theirs].join());
  fetch('/result', { method: 'POST', body: said.join('\\n') });
});
</script>`;
let result = '';
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', data => { body += data; });
  request.on('end', () => {
    if (request.url === '/') { response.setHeader('Content-Type', 'text/html'); response.end(page); return; }
    if (request.url === '/length') { response.end(String(body.length)); return; }
    if (request.url === '/result') { if (request.method === 'POST') result = body; response.end(result); return; }
    response.end('small');
  });
});
const head = (first, length) => {
  if (length < 126) return Buffer.from([first, length]);
  const wide = length > 65535, bytes = Buffer.alloc(wide ? 10 : 4);
  bytes[0] = first;
  bytes[1] = wide ? 127 : 126;
  if (wide) bytes.writeBigUInt64BE(BigInt(length), 2); else bytes.writeUInt16BE(length, 2);
  return bytes;
};
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  socket.on('error', () => {});
  let got = Buffer.alloc(0);
  socket.on('data', data => {
    got = Buffer.concat([got, data]);
    for (;;) {
      if (got.length < 14 && (got.length < 6 || (got[1] & 127) > 125)) return;
      const short = got[1] & 127;
      const [length, at] = short === 126 ? [got.readUInt16BE(2), 4] : short === 127 ? [Number(got.readBigUInt64BE(2)), 10] : [short, 2];
      if (got.length < at + 4 + length) return;
      const mask = got.subarray(at, at + 4), content = Buffer.from(got.subarray(at + 4, at + 4 + length));
      for (let n = 0; n < length; n++) content[n] ^= mask[n & 3];
      socket.write(head(got[0], length));
      socket.write(content);
      if ((got[0] & 15) === 8) { socket.end(); return; }
      got = got.subarray(at + 4 + length);
    }
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
";

/// A browser that looks at a page, killed on drop.
struct Browser(Child);

impl Browser {
    fn open(program: &Path, scratch: &Scratch, url: &str) -> Browser {
        let profile = format!("--user-data-dir={}", scratch.path().display());
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                &profile,
            ])
            .arg("--remote-debugging-port=0")
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Browser(child.expect("a program that was found can be started"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_page_and_its_websocket_over_http2() {
    let chromium = require_peer!("chromium");
    let Some(node) = PeerServer::node(SERVER) else {
        return;
    };
    let more = "access_logs: { main: { to: \"file:@DIR@/access.log\", format: '$request_method $uri $status $server_protocol' } }\naccess_log: main";
    let site = Site::with(&[node.address()], "", OWN, more);
    let scratch = Scratch::new();
    let url = format!("https://{}/", site.address());
    let browser = Browser::open(&chromium, &scratch, &url);
    let result = within(Duration::from_secs(60), || {
        let said = Ask::get(node.address(), "/result")
            .send()
            .expect(200)
            .text();
        (!said.is_empty()).then_some(said)
    });
    drop(browser);
    let log = || std::fs::read_to_string(site.proxy.dir().join("access.log")).unwrap_or_default();
    let result = result.unwrap_or_else(|| panic!("the page did not come to its end:\n{}", log()));
    let lines: Vec<&str> = result.lines().collect();
    for line in [
        "text hello",
        "binary 100000",
        "closed 1000 enough",
        "length 300000",
        "small 60",
        "page h2",
        "resources h2",
    ] {
        assert!(lines.contains(&line), "no `{line}` in:\n{result}");
    }
    let log = until("the WebSocket is in the log", || {
        Some(log()).filter(|log| log.contains("/echo"))
    });
    assert!(
        log.lines().all(|line| line.ends_with("HTTP/2.0")),
        "all of it over HTTP/2, the WebSocket too (RFC 8441):\n{log}"
    );
}
