//! What a peer can make a connection hold or do has an end, and so has what one stream can keep from the others.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keel_http2::{Config, StreamRef};

use crate::side::*;
use crate::wire::*;

/// Everybody's window is wide open.
const HUGE: u32 = (1 << 31) - 1;

/// A stream and the task that sends on it.
struct Sender {
    stream: StreamRef,
    woken: Arc<Woken>,
}

/// Opens a stream and answers it.
fn answered(side: &mut Side, number: u32) -> Sender {
    side.feed(&headers(number, POST, true));
    let stream = side.opened.pop().unwrap();
    side.answer(stream, &[(":status", "200")], false);
    let woken = Woken::new();
    Sender { stream, woken }
}

impl Sender {
    /// Sends until it has to wait.
    fn send(&self, side: &mut Side) {
        let waker = Waker::from(self.woken.clone());
        let cx = Context::from_waker(&waker);
        let parts = [&[0; FRAME_MAX][..], &[], &[]];
        let mut poll = || side.conn.poll_send(self.stream, &cx, parts, false, 0);
        while poll().is_ready() {}
    }
}

/// Six streams that wait to send.
fn six(side: &mut Side) -> Vec<Sender> {
    let senders: Vec<Sender> = (0..6).map(|at| answered(side, 2 * at + 1)).collect();
    senders.iter().for_each(|sender| sender.send(side));
    senders
}

/// How many were told to send since the last call.
fn told(senders: &[Sender]) -> usize {
    senders
        .iter()
        .filter(|sender| sender.woken.take() > 0)
        .count()
}

/// A server's end whose streams wait for room in `out`, or for the connection's window.
fn contested(by_window: bool) -> Side {
    let out_bytes_max = if by_window { 1 << 20 } else { 65_536 };
    let config = Config {
        out_bytes_max,
        ..config()
    };
    let mut side = Side::server_with(config, &[(INITIAL_WINDOW_SIZE, HUGE)]);
    if !by_window {
        side.feed(&window_update(0, 1 << 30));
    }
    side
}

/// All was written, so that nothing is written any more whose end would tell the next.
#[test]
fn a_window_update_tells_the_next_when_those_who_were_told_stay_away() {
    for by_window in [false, true] {
        let mut side = contested(by_window);
        let senders = six(&mut side);
        side.take();
        if by_window {
            assert_eq!(told(&senders), 0);
            side.feed(&window_update(0, 65_536));
        }
        assert_eq!(told(&senders), 4, "by the window: {by_window}");
        side.feed(&window_update(0, 1_000_000));
        assert_eq!(told(&senders), 2, "by the window: {by_window}");
    }
}

#[test]
fn a_newcomer_tells_the_next_when_those_who_were_told_stay_away() {
    let mut side = contested(false);
    let mut senders = six(&mut side);
    let newcomer = answered(&mut side, 13);
    side.take();
    assert_eq!(told(&senders), 4);
    newcomer.send(&mut side);
    senders.push(newcomer);
    // Two from before and the newcomer.
    assert_eq!(told(&senders), 3);
    let last = senders.last().unwrap().stream;
    assert!(side.send(last, b"x", false).is_ready());
}

/// HEADERS that are read for the table's sake only, each of which makes a list as long as may be.
#[test]
fn headers_on_streams_that_were_given_up_are_counted() {
    for drained in [false, true] {
        let mut side = Side::server();
        side.feed(&headers(1, POST, false));
        let stream = side.opened[0];
        assert!(side.head(stream).is_ready());
        side.answer(stream, &[(":status", "404")], true);
        side.conn.release(stream, 0);
        if drained {
            side.conn.drain();
            side.feed(&ping(true, *b"drained?"));
        }
        let number = if drained { 3 } else { 1 };
        // One such block is fair: it was under way.
        side.feed(&headers(number, [0x82; 8], false));
        assert!(side.is_alive(), "drained: {drained}");
        let mut times = 0;
        while side.failed.is_none() && times < 10_000 {
            side.feed(&headers(number, [0x82; 8], false));
            times += 1;
        }
        let code = side.failed.map(|abuse| abuse.code());
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "drained: {drained}");
    }
}

/// 32 interim heads may wait, but not 32 of the longest that there are.
#[test]
fn interim_heads_that_wait_are_bounded_by_their_bytes() {
    let mut side = Side::client();
    let streams = [side.open(true), side.open(true)];
    let mut first = vec![0x08, 3, b'1', b'0', b'3', 0x40];
    string(&mut first, b"x");
    string(&mut first, &[b'v'; 4000]);
    side.feed(&headers(1, &first, false));
    let long = [&[0x08, 3, b'1', b'0', b'3'][..], &[0xbe; 15]].concat();
    for stream in streams {
        for _ in 0..32 {
            side.feed(&headers(stream.id(), &long, false));
        }
        let mut held = 0;
        while let Poll::Ready(Ok(head)) = side.conn.poll_head(stream, &noop()) {
            held += head.fields.held_bytes();
        }
        assert!((60_000..300_000).contains(&held), "{held}");
        let resets = side.take_essential();
        let codes = resets.iter().filter(|frame| frame.kind == RST_STREAM);
        let codes: Vec<u32> = codes.map(Frame::code).collect();
        assert_eq!(codes, [PROTOCOL_ERROR]);
        side.conn.release(stream, 0);
    }
    assert!(side.is_alive());
}

/// A burst on each of a hundred streams, one after the other, that is read: only what the windows say may be held.
#[test]
fn memory_of_what_was_read_is_given_back() {
    for ended in [false, true] {
        let mut side = Side::server();
        for at in 0..100 {
            let number = 2 * at + 1;
            side.feed(&headers(number, POST, false));
            let stream = side.opened.pop().unwrap();
            assert!(side.head(stream).is_ready());
            side.feed(&data(number, [0; FRAME_MAX], false).repeat(3));
            side.feed(&data(number, [0; FRAME_MAX], ended));
            let mut room = [0; 65_536];
            let read = side.conn.poll_read(stream, &noop(), &mut room);
            assert_eq!(read, Poll::Ready(Ok(65_536)));
            if !ended {
                assert_eq!(side.read(stream).1, Poll::Pending);
            }
            side.take();
        }
        assert_eq!((side.failed, side.conn.active()), (None, 100));
        let held = side.conn.held_bytes();
        assert!(held < 100 * 20_000, "ended: {ended}, {held}");
    }
}

/// What is known of uploads that were given up is not kept by an idle connection; what was under way is let pass.
#[test]
fn memory_of_streams_that_were_given_up_is_given_back() {
    let given_up = |whole: bool| {
        let mut side = Side::server();
        for at in 0..40 {
            side.feed(&headers(2 * at + 1, POST, whole));
            let stream = side.opened.pop().unwrap();
            assert!(side.head(stream).is_ready());
            side.answer(stream, &[(":status", "404")], true);
            side.conn.release(stream, 0);
        }
        side.take();
        side.conn.trim();
        side
    };
    let mut side = given_up(false);
    assert_eq!(side.conn.held_bytes(), given_up(true).conn.held_bytes());
    for at in 0..40 {
        side.feed(&data(2 * at + 1, "late", true));
    }
    assert_eq!(side.take_essential(), []);
    assert!(side.is_alive());
}

/// Sends on a stream what its windows and the connection's have room for, and has it read at once.
struct Upload {
    /// What is left of the connection's window and of the stream's.
    windows: [usize; 2],
    /// Updates of the connection's window.
    updates: usize,
}

impl Upload {
    fn new(side: &mut Side, windows: [usize; 2]) -> Upload {
        side.take();
        Upload {
            windows,
            updates: 0,
        }
    }

    /// Whether so many bytes went through.
    fn run(&mut self, side: &mut Side, stream: StreamRef, bytes: usize) -> bool {
        let mut left = bytes;
        while left > 0 {
            let len = left.min(FRAME_MAX).min(self.windows[0]);
            let len = len.min(self.windows[1]);
            if len == 0 {
                return false;
            }
            side.feed(&data(stream.id(), &[0; FRAME_MAX][..len], false));
            self.windows = self.windows.map(|window| window - len);
            assert_eq!(side.read(stream).0.len(), len);
            left -= len;
            for frame in side.take() {
                if frame.kind != WINDOW_UPDATE {
                    continue;
                }
                let by = frame.number(0) as usize;
                match frame.stream {
                    0 => {
                        self.windows[0] += by;
                        self.updates += 1;
                    }
                    _ => self.windows[1] += by,
                }
            }
        }
        assert_eq!(side.failed, None);
        true
    }
}

/// Fills the window of a stream that nobody reads.
fn fill(side: &mut Side, number: u32, window: usize) {
    for part in vec![0; window].chunks(FRAME_MAX) {
        side.feed(&data(number, part, false));
    }
}

/// A server's answers: half of the streams hold more than half of the connection's window.
#[test]
fn answers_that_are_not_read_do_not_keep_back_the_others() {
    let window = 256 << 10;
    let all = 100 * window;
    let config = Config {
        stream_window_bytes: window as u32,
        connection_window_bytes: all as u32,
        ..config()
    };
    let mut side = Side::client_with(config, &[]);
    let streams: Vec<StreamRef> = (0..100).map(|_| side.open(true)).collect();
    for stream in &streams {
        side.feed(&headers(stream.id(), OK, false));
    }
    for stream in &streams[..51] {
        fill(&mut side, stream.id(), window);
    }
    let mut upload = Upload::new(&mut side, [all - 51 * window, window]);
    assert!(upload.run(&mut side, streams[51], 3 * all));
    assert!(upload.updates < 20, "{}", upload.updates);
}

/// Three uploads that nobody reads hold three quarters of the connection's window.
#[test]
fn uploads_that_are_not_read_do_not_keep_back_the_others() {
    let (window, all) = (256 << 10, 1 << 20);
    let config = Config {
        stream_window_bytes: window as u32,
        connection_window_bytes: all as u32,
        ..config()
    };
    let mut side = Side::server_with(config, &[]);
    for number in [1, 3, 5, 7] {
        side.feed(&headers(number, POST, false));
    }
    for number in [1, 3, 5] {
        fill(&mut side, number, window);
    }
    let streams = std::mem::take(&mut side.opened);
    let mut upload = Upload::new(&mut side, [all - 3 * window, window]);
    assert!(upload.run(&mut side, streams[3], 8 * all));
    // It is told for every half of what is left, not for every frame.
    assert!(upload.updates <= 64, "{}", upload.updates);
    for &stream in &streams[..3] {
        assert_eq!(side.read(stream).0.len(), window);
    }
    let given: usize = side
        .take()
        .iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0)
        .map(|frame| frame.number(0) as usize)
        .sum();
    assert!(upload.windows[0] + given >= all / 2);
}

/// Even when a single byte of the connection's window is left.
#[test]
fn the_last_byte_of_the_connections_window_goes_round() {
    let mut side = Side::server();
    for number in [1, 3, 5] {
        side.feed(&headers(number, POST, false));
    }
    fill(&mut side, 1, 65_536);
    fill(&mut side, 3, 65_535);
    let stream = side.opened[2];
    let mut upload = Upload::new(&mut side, [1, 65_536]);
    assert!(upload.run(&mut side, stream, 100));
}

/// Opens requests until far more waits to be written than an end with streams to answer would take.
fn with_requests() -> Side {
    let mut side = Side::client();
    let long = "v".repeat(3000);
    for _ in 0..100 {
        side.open_with(&[("authorization", &long)], false);
    }
    assert!(side.conn.out().len() > 250_000);
    side
}

/// A server may be slow to take requests because nobody takes its answers.
#[test]
fn a_client_reads_on_however_many_requests_wait() {
    let mut side = with_requests();
    assert!(side.conn.wants_bytes());
    let frames = side.take();
    assert!(frames.len() >= 100 && side.conn.wants_bytes());
}

/// What a server makes a client answer while it takes nothing.
#[test]
fn a_client_stops_reading_when_its_own_answers_pile_up() {
    type Flood = (&'static str, fn(&mut Side, u32));
    let floods: [Flood; 3] = [
        ("PING", |side, _| side.feed(&ping(false, [0; 8]))),
        ("SETTINGS", |side, _| side.feed(&settings(&[]))),
        ("resets", |side, at| {
            let stream = side.open(true);
            assert_eq!(stream.id(), 201 + 2 * at);
            side.feed(&window_update(stream.id(), 0));
            side.conn.release(stream, 0);
        }),
    ];
    for (what, once) in floods {
        let mut side = with_requests();
        let mut times = 0;
        while side.conn.wants_bytes() && times < 10_000 {
            once(&mut side, times);
            times += 1;
        }
        assert!((1000..10_000).contains(&times), "{what}: {times}");
        side.take();
        assert!(side.conn.wants_bytes(), "{what}");
    }
}

/// 64 KiB beyond what streams may put there, whatever it is.
#[test]
fn a_server_stops_reading_when_its_heads_pile_up() {
    let mut side = Side::server();
    let long = "v".repeat(3000);
    let mut before = 0;
    for at in 0..100 {
        side.feed(&headers(2 * at + 1, POST, true));
        let stream = side.opened.pop().unwrap();
        let waits = side.conn.out().len();
        assert_eq!(side.conn.wants_bytes(), waits < 131_072, "{waits}");
        before = before.max(waits);
        side.answer(stream, &[(":status", "200"), ("set-cookie", &long)], true);
    }
    assert!(before > 131_072, "{before}");
    side.take();
    assert!(side.conn.wants_bytes());
}

/// Answers that were written do not count, though there is always something of an upload that waits.
#[test]
fn a_client_that_uploads_reads_on_while_its_answers_are_written() {
    let mut side = client_with_huge_windows();
    let stream = side.open(false);
    for _ in 0..10_000 {
        while side.send(stream, &[0; FRAME_MAX], false).is_ready() {}
        // The socket takes half of what there is.
        let waits = side.conn.out().len();
        side.conn.written(waits / 2);
        assert!(side.conn.wants_bytes());
        side.feed(&ping(false, [0; 8]));
    }
}

/// A client's end whose streams have all the windows they want.
fn client_with_huge_windows() -> Side {
    let mut side = Side::client_with(config(), &[(INITIAL_WINDOW_SIZE, HUGE)]);
    side.feed(&window_update(0, 1 << 30));
    side
}
