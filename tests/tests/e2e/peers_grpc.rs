//! gRPC with grpcio, in depth: calls balanced one by one, TLS on both sides, cancellation, deadlines, failures of ours.

use std::path::Path;

use keel_testkit::peers::{PeerServer, grpc_python, run};
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, Proxy};

/// A server; with certificate and key in `@DIR@` it speaks TLS.
const SERVER: &str = "
import sys, time, os, grpc
from concurrent import futures
name = '@NAME@'
gone = []
def who(request, context):
    return name.encode()
def big(request, context):
    return request
def left(request, context):
    return b'%d' % int(context.time_remaining() * 1000)
def wait(request, context):
    context.add_callback(lambda: gone.append(request))
    yield request
    while context.is_active():
        time.sleep(0.01)
def seen(request, context):
    return b' '.join(gone)
def refuse(request, context):
    context.set_trailing_metadata((('x-why', 'because'), ('x-raw-bin', bytes(range(256)))))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'no; 100% \\u00fc\\n')
def tell(request, context):
    fields = dict(context.invocation_metadata())
    context.send_initial_metadata((('x-first', fields['x-text']),))
    context.set_trailing_metadata((('x-last-bin', fields['x-raw-bin']),))
    return b''
one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
handlers = { 'Who': one(who), 'Big': one(big), 'Left': one(left), 'Wait': many(wait), 'Seen': one(seen), 'Refuse': one(refuse), 'Tell': one(tell) }
sizes = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=sizes)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('kit.Deep', handlers),))
address = '127.0.0.1:' + sys.argv[1]
read = lambda file: open(os.path.join('@DIR@', file), 'rb').read()
if '@TLS@':
    server.add_secure_port(address, grpc.ssl_server_credentials([(read('server.key'), read('server.pem'))]))
else:
    server.add_insecure_port(address)
server.start()
server.wait_for_termination()
";

const CLIENT: &str = "
import sys, time, collections, grpc
target, root = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
sizes = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]
if root:
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(open(root, 'rb').read()), options=sizes)
else:
    channel = grpc.insecure_channel(target, options=sizes)
call = lambda name: channel.unary_unary('/kit.Deep/' + name)
calls = [call('Who').future(b'', timeout=60) for _ in range(1000)]
served = collections.Counter(one.result() for one in calls)
assert len(served) == 2 and min(served.values()) >= 450, served
message = bytes(range(256)) * 65536
assert call('Big')(message, timeout=60) == message
left = int(call('Left')(b'', timeout=5))
assert 3000 < left <= 5100, left
_, told = call('Tell').with_call(b'', timeout=10, metadata=(('x-text', 'words'), ('x-raw-bin', b'\\x00\\xff')))
assert dict(told.initial_metadata())['x-first'] == 'words', told.initial_metadata()
assert dict(told.trailing_metadata())['x-last-bin'] == b'\\x00\\xff', told.trailing_metadata()
waiting = channel.unary_stream('/kit.Deep/Wait')
def ends(key, end):
    answers = waiting(key, timeout=20)
    assert next(answers) == key
    end(answers)
    until = time.time() + 20
    while not any(key in call('Seen')(b'', timeout=10).split() for _ in range(4)):
        assert time.time() < until, 'the server did not hear of the end of %r' % key
        time.sleep(0.02)
ends(b'cancelled', lambda answers: answers.cancel())
start = time.time()
try:
    list(waiting(b'overdue', timeout=0.5))
    raise AssertionError('it did not fail')
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
assert time.time() - start < 5
def fails(code, name, request=b'', **fields):
    try:
        call(name)(request, timeout=20, metadata=tuple(('x-' + key, value) for key, value in fields.items()))
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError('it did not fail')
error = fails(grpc.StatusCode.FAILED_PRECONDITION, 'Refuse')
assert error.details() == 'no; 100% \\u00fc\\n', error
assert dict(error.trailing_metadata())['x-raw-bin'] == bytes(range(256)), error
fails(grpc.StatusCode.UNAVAILABLE, 'Who', dead='1')
fails(grpc.StatusCode.RESOURCE_EXHAUSTED, 'Big', b'x' * 5000, small='1')
fails(grpc.StatusCode.UNAVAILABLE, 'Who', busy='1')
print('fine')
";

fn server(python: &Path, name: &str, tls: Option<&Scratch>) -> Option<PeerServer> {
    let dir = tls.map_or(String::new(), |at| at.path().display().to_string());
    let script = SERVER
        .replace("@NAME@", name)
        .replace("@TLS@", if tls.is_some() { "yes" } else { "" })
        .replace("@DIR@", &dir);
    PeerServer::python_of(python, &script)
}

/// A proxy that speaks with and without TLS to clients, before these servers.
fn proxy(ca: &Ca, servers: &[PeerServer], tls: bool) -> Proxy {
    let scratch = Scratch::new();
    scratch.write("ca.pem", ca.pem());
    ca.leaf(&["localhost"]).write(&scratch, "site");
    let servers: Vec<String> = servers
        .iter()
        .map(|one| format!("\"{}\"", one.address()))
        .collect();
    let tls = match tls {
        true => ", tls: { ca: \"@DIR@/ca.pem\", server_name: localhost }",
        false => "",
    };
    let config = format!(
        "state: \"@DIR@/state\"
listeners:
  clear: {{ bind: \"127.0.0.1:0\" }}
  web: {{ bind: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" }} ] }} }}
pools:
  app: {{ servers: [{}], protocol: http2{tls} }}
  dead: {{ servers: [\"127.0.0.1:1\"], protocol: http2 }}
routes:
  - {{ match: {{ path: /kit.Deep/, header: {{ x-dead: \"1\" }} }}, pool: dead }}
  - {{ match: {{ path: /kit.Deep/, header: {{ x-busy: \"1\" }} }}, respond: {{ status: 503, body: busy }} }}
  - {{ match: {{ path: /kit.Deep/, header: {{ x-small: \"1\" }} }}, pool: app, limits: {{ body: 1000B }} }}
  - {{ match: {{ path: /kit.Deep/ }}, pool: app }}
",
        servers.join(", ")
    );
    Proxy::start_in(scratch, &config, &[])
}

#[test]
fn grpcio_in_depth() {
    let Some(python) = grpc_python() else { return };
    let ca = Ca::new("an authority of tests");
    let files = Scratch::new();
    ca.leaf(&["localhost"]).write(&files, "server");
    let root = files.write("ca.pem", ca.pem()).display().to_string();
    let script = files.write("client.py", CLIENT).display().to_string();
    for tls in [false, true] {
        let files = tls.then_some(&files);
        let servers: Vec<PeerServer> = ["one", "two"]
            .into_iter()
            .filter_map(|name| server(&python, name, files))
            .collect();
        let proxy = proxy(&ca, &servers, tls);
        let clear = proxy.listener("clear").to_string();
        let secure = format!("localhost:{}", proxy.listener("web").port());
        for args in [vec![&script, &clear], vec![&script, &secure, &root]] {
            let args: Vec<&str> = args.into_iter().map(String::as_str).collect();
            let output = run(&python, &args);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim(),
                "fine",
                "TLS to servers: {tls}, {args:?} {said}"
            );
        }
    }
}
