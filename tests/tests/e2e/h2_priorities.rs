//! Which stream's answer goes first when a connection has not room for all (RFC 9218).

use keel_testkit::h2::Frame;
use keel_testkit::h2::frame::setting;
use keel_testkit::{H2Wire, Proxy};

/// Of each answer.
const BYTES: usize = 100_000;
/// RFC 9218, 7.1.
const PRIORITY_UPDATE: u8 = 16;

fn proxy() -> Proxy {
    let body = "x".repeat(BYTES);
    Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}
routes:
  - {{ match: {{ path: {{ exact: /urgent }} }}, respond: {{ body: {body}, headers: {{ Priority: u=0 }} }} }}
  - {{ respond: {{ body: {body} }} }}
"
    ))
}

/// Three answers that wait for a window; `hurry` makes the last one urgent. The first to end, and what the others had
/// sent by then.
fn first(
    wire: &mut H2Wire,
    path: &str,
    priority: &[(&str, &str)],
    hurry: impl Fn(&mut H2Wire, u32),
) {
    wire.connection().auto.windows = false;
    let streams = [
        wire.ask("GET", "/", &[], true),
        wire.ask("GET", "/", &[("priority", "u=5")], true),
        wire.ask("GET", path, priority, true),
    ];
    for stream in streams {
        wire.head(stream);
    }
    hurry(wire, streams[2]);
    // All that was asked for stands in line by the time that this is answered.
    wire.ping();
    wire.connection().give(0, 1 << 20);
    assert_eq!(wire.answer(streams[2]).expect(200).body.len(), BYTES);
    let others = [0, 1].map(|at| wire.so_far(streams[at], |_| true));
    let sent: usize = others.iter().map(|answer| answer.body.len()).sum();
    // The connection's first window went to whoever asked first, and every eighth turn is anybody's.
    assert!(sent < 65_535 + BYTES, "{sent}");
    for stream in [streams[0], streams[1]] {
        assert_eq!(wire.answer(stream).expect(200).body.len(), BYTES);
    }
}

#[test]
fn what_is_urgent_goes_first() {
    let proxy = proxy();
    let large = [(setting::INITIAL_WINDOW_SIZE, 1 << 20)];
    let connect = || H2Wire::connect_with(proxy.address(), &large);
    // As the client asked, as it says later, and as the answer says.
    first(&mut connect(), "/", &[("priority", "u=1")], |_, _| {});
    first(&mut connect(), "/", &[], |wire, stream| {
        let update = [&stream.to_be_bytes()[..], b"u=1"].concat();
        wire.send(&Frame::new(PRIORITY_UPDATE, 0, 0, update));
    });
    first(&mut connect(), "/urgent", &[], |_, _| {});
}

#[test]
fn the_answer_says_how_urgent_it_is() {
    let proxy = proxy();
    let answer = H2Wire::connect(proxy.address()).get("/urgent");
    assert_eq!(answer.header("priority").as_deref(), Some("u=0"));
}
