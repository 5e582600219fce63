//! Answers that could be given are given: one short case for each way in which a server, a connection or a client fails.

use std::time::Duration;

use keel_testkit::h2::Frame;
use keel_testkit::{H2Wire, Origin, Proxy};

/// A client that reads late and says something after our GOAWAY: a reset then would take the rest of the answer along.
#[test]
fn the_last_answer_of_an_http2_connection_arrives_whole() {
    const LEN: usize = 60_000;
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { requests: 1 } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::over(proxy.wire().with_small_window(), &[]);
    let stream = wire.ask("GET", &format!("/bytes/{LEN}"), &[], true);
    // All of it goes into the kernel's buffers, and the proxy is done with the connection.
    std::thread::sleep(Duration::from_millis(300));
    wire.send(&Frame::ping([1; 8]));
    std::thread::sleep(Duration::from_millis(100));
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.body.len(), LEN);
}
