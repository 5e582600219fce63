//! Both ends of HTTP/2 against a peer that sends anything: no panic, no memory beyond what the settings allow, an end
//! that stays one, and the cut of the input changes nothing. The first four bytes say which end it is, how the input is
//! cut, and what is done with the streams.
#![no_main]

use std::task::{Context, Poll, Waker};

use keel_http2::{
    Config, Connection, ErrorCode, Event, FieldList, H2Abuse, H2GuardLimits, StreamRef,
};
use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\x20\0\0\0\0\x04\x01\0\0\0\0";
const OUT_MAX: usize = 16_384;
/// What may wait to be written: what streams put there, answers to a piece of input, heads.
const OUT_BOUND: usize = OUT_MAX + (64 << 10) + (48 << 10);
const HELD_BOUND: usize = 1 << 20;
/// Bytes of input at a time.
const PIECE_MAX: usize = 4096;

fn config(tight: bool) -> Config {
    let mut limits = H2GuardLimits::default();
    if tight {
        limits.resets_max = 3;
        limits.error_resets_max = 3;
        limits.pings_max = 3;
        limits.settings_max = 3;
        limits.priorities_max = 3;
        limits.others_max = 5;
        limits.empty_data_max = 3;
        limits.small_data_max = 30;
        limits.window_updates_max = 30;
        limits.continuations_max = 3;
        limits.header_block_bytes_max = 8192;
    }
    Config {
        stream_window_bytes: 20_000,
        connection_window_bytes: 65_535,
        streams_max: 8,
        header_list_bytes_max: 4096,
        out_bytes_max: OUT_MAX,
        limits,
    }
}

/// Numbers that a seed gives.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

struct Play {
    conn: Connection,
    is_server: bool,
    streams: Vec<StreamRef>,
    now_ms: u64,
    failed: Option<H2Abuse>,
    /// Bytes of what is written that are whole frames, and what is left of the next.
    frame_left: usize,
    frame_head: Vec<u8>,
}

impl Play {
    fn new(is_server: bool, tight: bool) -> Play {
        let mut play = Play {
            conn: match is_server {
                true => Connection::server(config(tight), 0),
                false => Connection::client(config(tight)),
            },
            is_server,
            streams: Vec::new(),
            now_ms: 0,
            failed: None,
            frame_left: 0,
            frame_head: Vec::new(),
        };
        if !is_server {
            assert!(play.conn.out().starts_with(PREFACE));
            play.conn.written(PREFACE.len());
            for ended in [true, false, false] {
                let head: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
                let opened = play.conn.open(head.into_iter(), ended, ended, 0);
                play.streams.push(opened.unwrap());
            }
        }
        play
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let rest = &mut bytes;
        while !rest.is_empty() {
            let before = rest.len();
            match self.conn.receive(rest, self.now_ms) {
                Ok(Some(Event::Opened(stream))) => {
                    assert!(self.is_server && rest.len() < before);
                    self.streams.push(stream);
                }
                Ok(None) => assert!(rest.is_empty()),
                Err(abuse) => {
                    assert!(self.conn.is_over() && self.conn.active() == 0);
                    assert_eq!(*self.failed.get_or_insert(abuse), abuse);
                    return;
                }
            }
        }
        let active = self.conn.active();
        assert!(active <= 8, "{active}");
        assert!(self.conn.held_bytes() < HELD_BOUND);
    }

    /// Writes so much, of which all has to be frames.
    fn write(&mut self, bytes: usize) {
        let len = self.conn.out().len().min(bytes);
        for &byte in &self.conn.out()[..len] {
            if self.frame_left > 0 {
                self.frame_left -= 1;
                continue;
            }
            self.frame_head.push(byte);
            if let [a, b, c, kind, _, _, _, _, _] = *self.frame_head {
                self.frame_left = u32::from_be_bytes([0, a, b, c]) as usize;
                assert!(self.frame_left <= 16_384 && kind < 10 && kind != 2 && kind != 5);
                self.frame_head.clear();
            }
        }
        self.conn.written(len);
    }

    /// Something with one of the streams.
    fn act(&mut self, dice: &mut Dice) {
        if self.streams.is_empty() {
            return;
        }
        let at = dice.below(self.streams.len());
        let (stream, now_ms) = (self.streams[at], self.now_ms);
        let conn = &mut self.conn;
        let cx = Context::from_waker(Waker::noop());
        let fields: [(&[u8], &[u8]); 2] = [(b":status", b"200"), (b"X-Up", b"up")];
        let content = [7; 30_000];
        match dice.below(16) {
            0 | 1 => {
                if let Poll::Ready(Ok(head)) = conn.poll_head(stream, &cx) {
                    conn.give_fields(head.fields);
                }
            }
            2..=5 => {
                let mut room = vec![0; dice.below(40_000)];
                let _ = conn.poll_read(stream, &cx, &mut room);
            }
            6 => {
                let lines = conn.take_trailers(stream);
                assert!(lines.is_empty() || lines.ends_with(b"\r\n"));
            }
            7 if self.is_server => drop(conn.send_head(stream, fields.into_iter(), false, now_ms)),
            8 => {
                let trailers = fields.into_iter().skip(1);
                let _ = conn.send_trailers(stream, trailers, now_ms);
            }
            9 | 10 => {
                let (one, two) = content.split_at(dice.below(content.len()));
                let last = dice.below(3) == 0;
                let sent = conn.poll_send(stream, &cx, [one, &[], two], last, now_ms);
                assert!(!matches!(sent, Poll::Ready(Ok(0))));
            }
            11 => drop(conn.end_stream(stream, now_ms)),
            12 => conn.reset(stream, ErrorCode(dice.below(14) as u32), now_ms),
            13 => conn.set_priority(stream, dice.below(8) as u8, dice.below(2) == 0),
            14 if dice.below(50) == 0 => conn.drain(),
            _ => {
                conn.release(stream, now_ms);
                self.streams.swap_remove(at);
            }
        }
    }

    /// The peer is gone: whoever waits hears of it, and nothing is left.
    fn end(mut self) {
        self.conn.lost();
        assert!(self.conn.is_over());
        assert_eq!(self.conn.active(), 0);
        let cx = Context::from_waker(Waker::noop());
        let mut room = [0; 4096];
        for stream in std::mem::take(&mut self.streams) {
            while let Poll::Ready(Ok(head)) = self.conn.poll_head(stream, &cx) {
                self.conn.give_fields(head.fields);
            }
            loop {
                match self.conn.poll_read(stream, &cx, &mut room) {
                    Poll::Ready(Ok(0) | Err(_)) => break,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => panic!("a reader waits for ever"),
                }
            }
            assert!(self.conn.poll_head(stream, &cx).is_ready());
            self.conn.release(stream, self.now_ms);
        }
        self.conn.give_fields(FieldList::default());
        let len = self.conn.out().len();
        self.write(len);
        self.conn.trim();
        assert!(
            self.conn.held_bytes() < 96 << 10,
            "{}",
            self.conn.held_bytes()
        );
    }
}

/// Nobody does anything, and the input comes in pieces of this size.
fn alone(is_server: bool, data: &[u8], piece: usize) -> (Vec<u8>, Option<H2Abuse>, Vec<StreamRef>) {
    let mut play = Play::new(is_server, true);
    for piece in data.chunks(piece) {
        play.feed(piece);
    }
    (play.conn.out().to_vec(), play.failed, play.streams)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[how, cut, seed, acts], data)) = data.split_first_chunk() else {
        return;
    };
    let is_server = how & 1 == 0;
    let mut input = Vec::new();
    if how & 2 == 0 {
        if is_server {
            input.extend_from_slice(PREFACE);
        }
        input.extend_from_slice(SETTINGS);
    }
    input.extend_from_slice(data);
    let piece = 1 + usize::from(cut) * usize::from(cut) / 16;
    assert_eq!(
        alone(is_server, &input, usize::MAX),
        alone(is_server, &input, piece)
    );

    let mut dice = Dice(u64::from(seed) * 0x9e37_79b9 + 1);
    let mut play = Play::new(is_server, how & 4 == 0);
    let mut rest = &input[..];
    while !rest.is_empty() && play.failed.is_none() {
        if play.conn.wants_bytes() {
            let (now, after) = rest.split_at(piece.min(PIECE_MAX).min(rest.len()));
            play.feed(now);
            rest = after;
        } else {
            play.write(1 + dice.below(20_000));
        }
        for _ in 0..acts & 15 {
            play.act(&mut dice);
        }
        if dice.below(1 + usize::from(acts >> 4)) == 0 {
            play.write(1 + dice.below(30_000));
        }
        play.now_ms += dice.below(3) as u64;
        assert!(play.conn.out().len() < OUT_BOUND);
    }
    play.end();
});
