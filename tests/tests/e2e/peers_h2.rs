//! HTTP/2 and gRPC against other people's programs: curl, h2load, Node and grpcio, as clients and as servers; nginx behind.

use keel_testkit::peers::{PeerServer, grpc_python, run};
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ask, Ca, H2Wire, Load, Origin, Proxy, require_peer};

use crate::site::{OWN, Site};

#[test]
fn curl_with_prior_knowledge() {
    let curl = require_peer!("curl");
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address()]);
    let url = |path: &str| format!("http://{}{path}", proxy.address());
    let ask = |args: &[&str]| {
        let output = run(
            &curl,
            &[
                &["-sS", "--max-time", "60", "--http2-prior-knowledge"],
                args,
            ]
            .concat(),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let format = [
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code} %{size_download}",
    ];
    let said = ask(&[&format[..], &[&url("/bytes/5000000")]].concat());
    assert_eq!(said, "2 200 5000000");
    let scratch = Scratch::new();
    let file = scratch
        .write("upload", vec![b'x'; 3_000_000])
        .display()
        .to_string();
    let seen = ask(&["-T", &file, &url("/")]);
    assert!(seen.contains("\"body_len\":3000000"), "{seen}");
    let seen = ask(&["-d", "a=b", "-b", "c=d; e=f", &url("/x?y")]);
    assert!(
        seen.contains("\"target\":\"/x?y\"") && seen.contains("c=d; e=f"),
        "{seen}"
    );
    let head = ask(&["-I", &url("/bytes/10")]);
    assert!(
        head.starts_with("HTTP/2 200") && head.contains("content-length: 10"),
        "{head}"
    );
}

#[test]
fn h2load_in_clear_and_over_tls() {
    let h2load = require_peer!("h2load");
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let site = Site::before(&[origin.address()], OWN);
    let clear = format!("http://{}/bytes/2000", proxy.address());
    let secure = format!("https://{}/bytes/2000", site.address());
    for url in [clear, secure] {
        let output = run(&h2load, &["-n", "2000", "-c", "4", "-m", "25", &url]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{said}"
        );
    }
}

const NGINX: &str = "
server {
    listen 127.0.0.1:@PORT@ http2;
    keepalive_requests 50;
    root @DIR@/www;
    location / { return 200 \"$server_protocol $request_uri\\n\"; add_header X-Origin nginx; }
    location /big { }
}
server {
    listen 127.0.0.1:@PORT2@ ssl http2;
    ssl_certificate @SITE@.pem;
    ssl_certificate_key @SITE@.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 \"$server_protocol $ssl_protocol\\n\"; add_header X-Origin nginx; }
}";

/// nginx says GOAWAY after each 50 requests: that costs nobody anything.
#[test]
fn nginx_behind() {
    let ca = Ca::new("an authority of servers");
    let files = Scratch::new();
    ca.leaf(&["127.0.0.1"]).write(&files, "site");
    let stem = files.path().join("site").display().to_string();
    let Some(nginx) = PeerServer::nginx_http(&NGINX.replace("@SITE@", &stem)) else {
        return;
    };
    std::fs::write(nginx.dir().join("www/big"), vec![b'x'; 5_000_000]).expect("a fresh folder");
    let proxy = Proxy::before_with(&[nginx.address()], "protocol: http2, max_fails: 0", "");
    assert_eq!(proxy.get("/x?y").expect(200).text(), "HTTP/2.0 /x?y\n");
    assert_eq!(proxy.get("/big").expect(200).body_len, 5_000_000);
    let mut wire = H2Wire::connect(proxy.address());
    assert_eq!(wire.get("/big").expect(200).body.len(), 5_000_000);
    let load = Load::start(proxy.address(), 8, &Ask::get(proxy.address(), "/"));
    load.await_more(2000);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    let scratch = Scratch::new();
    scratch.write("ca.pem", ca.pem());
    let keys = "protocol: auto, tls: { ca: \"@DIR@/ca.pem\" }";
    let text = keel_testkit::proxy::simple(&[nginx.second_address()], keys, "");
    let proxy = Proxy::start_in(scratch, &text, &[]);
    assert_eq!(proxy.get("/").expect(200).text(), "HTTP/2.0 TLSv1.3\n");
}

const NODE_SERVER: &str = "
const http2 = require('http2');
const server = http2.createServer({ settings: { enableConnectProtocol: true } });
server.on('stream', (stream, headers) => {
  if (headers[':method'] === 'CONNECT') { stream.respond({ ':status': 200 }); stream.pipe(stream); return; }
  let length = 0;
  stream.on('data', data => { length += data.length; });
  stream.on('end', () => {
    if (headers[':path'] === '/trailers') {
      stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
      stream.write('one'); stream.end('two');
      return;
    }
    stream.respond({ ':status': 200, 'content-type': 'application/json', 'x-origin': 'node' });
    stream.end(JSON.stringify({ length, headers }));
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
";

#[test]
fn node_behind() {
    let Some(node) = PeerServer::node(NODE_SERVER) else {
        return;
    };
    let proxy = Proxy::before_with(&[node.address()], "protocol: http2", "");
    let json = Ask::post(proxy.address(), "/x?y", vec![b'x'; 500_000])
        .send()
        .expect(200)
        .json();
    assert_eq!(
        (&json["length"], &json["headers"][":path"]),
        (&500_000.into(), &"/x?y".into())
    );
    let mut wire = H2Wire::connect(proxy.address());
    let answer = wire.get("/trailers").expect(200);
    assert_eq!(
        (answer.text().as_str(), answer.trailer("x-sum").as_deref()),
        ("onetwo", Some("42"))
    );
    let mut fields = wire.pseudo("CONNECT", "/chat");
    fields.insert(1, (":protocol".to_owned(), "websocket".to_owned()));
    let stream = wire.start(&fields, false);
    assert_eq!(wire.head(stream).status, 200);
    wire.data(stream, "to and fro", true);
    assert_eq!(wire.answer(stream).text(), "to and fro");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(500);
    assert_eq!(load.stop().failed, 0);
}

const NODE_CLIENT: &str = "
const http2 = require('http2'), fs = require('fs');
const [url, ca] = process.argv.slice(2);
const session = http2.connect(url, ca ? { ca: fs.readFileSync(ca) } : {});
session.on('error', error => { console.log('session ' + error); process.exit(1); });
let left = 300, failed = 0;
function done() { if (--left === 0) { console.log('failed ' + failed); session.close(); } }
for (let n = 0; n < 300; n++) {
  const post = n % 3 === 0;
  const stream = session.request({ ':method': post ? 'POST' : 'GET', ':path': post ? '/' : '/chunks/5000' });
  let status = 0, length = 0;
  stream.on('response', headers => { status = headers[':status']; });
  stream.on('data', data => { length += data.length; });
  stream.on('end', () => { if (status !== 200 || (!post && length !== 5000)) failed++; done(); });
  stream.on('error', () => { failed++; done(); });
  stream.end(post ? 'x'.repeat(n * 100) : undefined);
}
";

#[test]
fn node_as_client() {
    let node = require_peer!("node");
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let site = Site::before(&[origin.address()], OWN);
    let scratch = Scratch::new();
    let script = scratch
        .write("client.js", NODE_CLIENT)
        .display()
        .to_string();
    let root = scratch.write("ca.pem", site.ca.pem()).display().to_string();
    let clear = format!("http://{}", proxy.address());
    let secure = format!("https://localhost:{}", site.address().port());
    for args in [vec![&script, &clear], vec![&script, &secure, &root]] {
        let args: Vec<&str> = args.into_iter().map(String::as_str).collect();
        let output = run(&node, &args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "failed 0",
            "{args:?} {said}"
        );
    }
}

const GRPC_SERVER: &str = "
import sys, time, grpc
from concurrent import futures
def unary(request, context):
    if request == b'fail':
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'as asked: \\u00e4')
    if request == b'slow':
        time.sleep(3)
    context.set_trailing_metadata((('x-sum', str(len(request))),))
    return request
def down(request, context):
    for n in range(int(request)):
        yield b'%d' % n
def up(requests, context):
    return b'%d' % sum(len(r) for r in requests)
def chat(requests, context):
    for request in requests:
        yield request.upper()
handlers = {
    'Unary': grpc.unary_unary_rpc_method_handler(unary),
    'Down': grpc.unary_stream_rpc_method_handler(down),
    'Up': grpc.stream_unary_rpc_method_handler(up),
    'Chat': grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('kit.Kit', handlers),))
server.add_insecure_port('127.0.0.1:' + sys.argv[1])
server.start()
server.wait_for_termination()
";

const GRPC_CLIENT: &str = "
import sys, time, grpc
target, root = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
if root:
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(open(root, 'rb').read()))
else:
    channel = grpc.insecure_channel(target)
unary = channel.unary_unary('/kit.Kit/Unary')
for n in range(100):
    answer, call = unary.with_call(b'x' * n * 100, timeout=10)
    assert answer == b'x' * n * 100
    assert dict(call.trailing_metadata())['x-sum'] == str(n * 100)
assert len(unary(b'x' * 3000000, timeout=20)) == 3000000
down = channel.unary_stream('/kit.Kit/Down')
assert [int(m) for m in down(b'500', timeout=10)] == list(range(500))
up = channel.stream_unary('/kit.Kit/Up')
assert up((b'x' * 1000 for _ in range(200)), timeout=10) == b'200000'
chat = channel.stream_stream('/kit.Kit/Chat')
assert list(chat((b'm%d' % n for n in range(100)), timeout=10)) == [b'M%d' % n for n in range(100)]
def fails(call, code, *args, **keys):
    try:
        call(*args, **keys)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError('it did not fail')
error = fails(unary, grpc.StatusCode.FAILED_PRECONDITION, b'fail', timeout=10)
assert error.details() == 'as asked: \\u00e4', error
start = time.time()
fails(unary, grpc.StatusCode.DEADLINE_EXCEEDED, b'slow', timeout=0.5)
assert time.time() - start < 2
fails(channel.unary_unary('/kit.Kit/None'), grpc.StatusCode.UNIMPLEMENTED, b'', timeout=10)
fails(channel.unary_unary('/other.Service/Do'), grpc.StatusCode.UNIMPLEMENTED, b'', timeout=10)
calls = [unary.future(b'y' * 1000, timeout=20) for _ in range(200)]
assert all(call.result() == b'y' * 1000 for call in calls)
print('fine')
";

/// grpcio on both sides, in clear and over TLS.
#[test]
fn grpcio_on_both_sides() {
    let Some(python) = grpc_python() else { return };
    let Some(server) = PeerServer::python_of(&python, GRPC_SERVER) else {
        return;
    };
    let routes = "routes: [ { match: { path: /kit.Kit/ }, pool: app } ]";
    let keys = "protocol: http2, max_fails: 0";
    let clear = Proxy::before_with(&[server.address()], keys, routes);
    let site = Site::with(&[server.address()], keys, OWN, routes);
    let scratch = Scratch::new();
    let script = scratch
        .write("client.py", GRPC_CLIENT)
        .display()
        .to_string();
    let root = scratch.write("ca.pem", site.ca.pem()).display().to_string();
    let secure = format!("localhost:{}", site.address().port());
    for args in [
        vec![&script, &clear.address().to_string()],
        vec![&script, &secure, &root],
    ] {
        let args: Vec<&str> = args.into_iter().map(String::as_str).collect();
        let output = run(&python, &args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "fine",
            "{args:?} {said}"
        );
    }
}
