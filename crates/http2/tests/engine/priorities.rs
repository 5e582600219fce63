//! Who sends when there is not room for all (RFC 9218): by urgency, in turns or one after the other, and nobody never.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use keel_http2::StreamRef;

use crate::side::*;
use crate::wire::*;

const LONG: usize = 400_000;

/// Who was woken, in order, as a runtime runs them.
type Queue = Arc<Mutex<VecDeque<usize>>>;

struct Place {
    queue: Queue,
    at: usize,
}

impl Wake for Place {
    fn wake(self: Arc<Place>) {
        self.queue.lock().unwrap().push_back(self.at);
    }
}

struct Racer {
    stream: StreamRef,
    waker: Waker,
    left: usize,
}

/// Answers that are all there at once, and a line that takes a few bytes at a time.
struct Race {
    side: Side,
    racers: Vec<Racer>,
    queue: Queue,
    frames: FrameReader,
    /// Content that has gone over the line, by stream.
    sent: BTreeMap<u32, usize>,
    /// Streams in the order in which they ended, and what all had sent then.
    ended: Vec<(u32, BTreeMap<u32, usize>)>,
}

impl Race {
    /// Requests with these `priority` fields, each for so many bytes.
    fn new(priorities: &[&str], bytes: usize) -> Race {
        let huge = [(INITIAL_WINDOW_SIZE, (1 << 31) - 1)];
        let mut race = Race {
            side: Side::server_with(config(), &huge),
            racers: Vec::new(),
            queue: Queue::default(),
            frames: FrameReader::default(),
            sent: BTreeMap::new(),
            ended: Vec::new(),
        };
        race.side.feed(&window_update(0, (1 << 31) - 1 - 65_535));
        for priority in priorities {
            race.add(priority, bytes);
        }
        race
    }

    /// One more request; gives its number.
    fn add(&mut self, priority: &str, bytes: usize) -> u32 {
        let number = self.racers.last().map_or(1, |last| last.stream.id() + 2);
        let field = match priority {
            "" => vec![],
            told => block(&[("priority", told)]),
        };
        self.side
            .feed(&headers(number, [POST, &field].concat(), true));
        let stream = *self.side.opened.last().unwrap();
        self.side.answer(stream, &[(":status", "200")], false);
        let (queue, at) = (self.queue.clone(), self.racers.len());
        let waker = Waker::from(Arc::new(Place { queue, at }));
        waker.wake_by_ref();
        self.racers.push(Racer {
            stream,
            waker,
            left: bytes,
        });
        self.sent.insert(number, 0);
        number
    }

    /// Whoever was woken sends what it can.
    fn send(&mut self) {
        let content = [0; 50_000];
        let next = || self.queue.lock().unwrap().pop_front();
        while let Some(at) = next() {
            let racer = &mut self.racers[at];
            let cx = Context::from_waker(&racer.waker);
            while racer.left > 0 {
                let piece = &content[..racer.left.min(content.len())];
                let last = piece.len() == racer.left;
                let parts = [piece, &[][..], &[][..]];
                match self.side.conn.poll_send(racer.stream, &cx, parts, last, 0) {
                    Poll::Ready(Ok(sent)) => racer.left -= sent,
                    Poll::Ready(Err(error)) => panic!("{error}"),
                    Poll::Pending => break,
                }
            }
        }
    }

    /// So many bytes go over the line.
    fn write(&mut self, bytes: usize) {
        let out = self.side.conn.out();
        let len = out.len().min(bytes);
        let frames = self.frames.feed(&out[..len]);
        self.side.conn.written(len);
        for frame in frames.iter().filter(|frame| frame.kind == DATA) {
            *self.sent.get_mut(&frame.stream).unwrap() += frame.payload.len();
            if frame.ends() {
                self.ended.push((frame.stream, self.sent.clone()));
            }
        }
    }

    /// Until nobody has anything left.
    fn run(&mut self, line: usize) {
        loop {
            self.send();
            if self.side.conn.out().is_empty() {
                break;
            }
            self.write(line);
        }
        let left: usize = self.racers.iter().map(|racer| racer.left).sum();
        assert_eq!(left, 0, "somebody waits for ever");
        assert_eq!(self.ended.len(), self.racers.len());
    }

    fn order(&self) -> Vec<u32> {
        self.ended.iter().map(|(stream, _)| *stream).collect()
    }

    /// What a stream had sent when another ended.
    fn sent_at(&self, end: u32, stream: u32) -> usize {
        let found = self.ended.iter().find(|(ended, _)| *ended == end);
        found.unwrap().1[&stream]
    }
}

const LINES: [usize; 4] = [500, 9000, 40_000, 1 << 20];

#[test]
fn urgency_decides() {
    for line in LINES {
        let told = ["u=7", "u=6", "u=5", "u=4", "u=2", "u=1", "u=0"];
        let mut race = Race::new(&told, LONG);
        race.run(line);
        assert_eq!(race.order(), [13, 11, 9, 7, 5, 3, 1], "{line}");
        let behind = race.sent_at(13, 1);
        assert!(behind < LONG / 3, "{line}: {behind}");
    }
}

/// The same urgency: who is not incremental comes whole, in the order of numbers.
#[test]
fn one_after_the_other() {
    for line in LINES {
        let mut race = Race::new(&["u=3"; 5], LONG);
        race.run(line);
        assert_eq!(race.order(), [1, 3, 5, 7, 9], "{line}");
        let behind = race.sent_at(1, 9);
        assert!(behind < LONG / 3, "{line}: {behind}");
    }
}

/// The same urgency: who is incremental shares with its equals; so do all that say nothing.
#[test]
fn in_turns() {
    for told in ["u=3, i", "u=6;x, i=?1", ""] {
        for line in LINES {
            let mut race = Race::new(&[told; 6], LONG);
            race.run(line);
            let first = race.ended[0].0;
            let least = race.sent.keys().map(|it| race.sent_at(first, *it)).min();
            assert!(
                least.unwrap() > LONG - 200_000,
                "{told} {line}: {:?}",
                race.ended[0]
            );
        }
    }
}

/// Endless answers that are urgent do not keep others from theirs.
#[test]
fn nobody_starves() {
    for (endless, told) in [
        ("u=0", "u=7"),
        ("u=0, i", "u=7, i"),
        ("u=3", "u=3, i"),
        ("u=3, i", "u=4"),
    ] {
        for line in LINES {
            let mut race = Race::new(&[endless; 3], usize::MAX / 8);
            let last = race.add(told, 100_000);
            for _ in 0..20_000_000 / line.min(65_536) {
                race.send();
                race.write(line);
            }
            assert_eq!(
                race.order(),
                [last],
                "{endless} {told} {line}: {:?}",
                race.sent
            );
        }
    }
}

/// Who comes later and is urgent does not wait for those before.
#[test]
fn late_and_urgent() {
    let mut race = Race::new(&["u=5", "u=5, i", "", "u=5"], LONG);
    race.send();
    race.write(30_000);
    let urgent = race.add("u=0", 100_000);
    race.run(30_000);
    assert_eq!(race.order()[0], urgent);
    let others: usize = [1, 3, 5, 7].map(|it| race.sent_at(urgent, it)).iter().sum();
    assert!(others < 200_000, "{others}");
}

/// A priority that changes: by PRIORITY_UPDATE, and by whoever answers (RFC 9218, 7 and 8).
#[test]
fn priorities_change() {
    for by in ["frame", "call", "answer"] {
        let mut race = Race::new(&["u=1", "u=1", "u=6"], LONG);
        race.send();
        let last = race.racers[2].stream;
        match by {
            "frame" => {
                let update = [&last.id().to_be_bytes()[..], b"u=0"].concat();
                race.side.feed(&frame(PRIORITY_UPDATE, 0, 0, &update));
            }
            "call" => race.side.conn.set_priority(last, 0, false),
            _ => race.side.conn.answer_priority(last, b"u=0"),
        }
        race.run(20_000);
        // Frames that were there before the change go first.
        assert_eq!(race.order()[0], last.id(), "{by}");
        assert!(race.sent_at(last.id(), 1) < LONG / 2, "{by}");
    }
}

/// Whoever is told to send and does not, holds nobody up for longer than what waits to be written.
#[test]
fn the_slow_hold_nobody_up() {
    for told in ["u=0", "u=0, i"] {
        let mut race = Race::new(&[told; 4], LONG);
        race.send();
        // They stand in line, and none of them ever comes back.
        let slow: Vec<usize> = std::mem::take(&mut race.racers)
            .into_iter()
            .map(|racer| racer.left)
            .collect();
        assert!(slow.iter().all(|left| *left > 0));
        for _ in 0..20 {
            race.queue.lock().unwrap().clear();
            race.write(20_000);
        }
        let number = 2 * slow.len() as u32 + 1;
        race.side.feed(&headers(number, POST, true));
        let stream = *race.side.opened.last().unwrap();
        race.side.answer(stream, &[(":status", "200")], false);
        let (mut left, content) = (100_000, [0; 50_000]);
        for _ in 0..100 {
            let len = left.min(content.len());
            if let Poll::Ready(sent) = race.side.send(stream, &content[..len], false) {
                left -= sent.unwrap();
            }
            race.side.take();
        }
        assert_eq!(left, 0, "{told}");
    }
}

/// Whoever was told to send and is reset before it does: the next is told, though nothing is written meanwhile.
#[test]
fn the_turn_of_the_dead_is_given_on() {
    let mut race = Race::new(&[], 0);
    race.side = Side::server_with(config(), &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    let first = race.add("u=0", LONG);
    race.add("u=7", LONG);
    for _ in 0..10 {
        race.send();
        race.write(usize::MAX);
    }
    assert!(race.queue.lock().unwrap().is_empty() && race.side.conn.out().is_empty());
    race.side.feed(&window_update(0, 1000));
    assert_eq!(*race.queue.lock().unwrap(), [0]);
    race.side.feed(&reset(first, CANCEL));
    let told = race.queue.lock().unwrap().pop_back();
    assert_eq!(told, Some(1));
}

/// A stream without a window of its own holds nobody up, and comes when it has one again.
#[test]
fn a_closed_window_holds_nobody_up() {
    let mut race = Race::new(&[], 0);
    race.side.feed(&settings(&[(INITIAL_WINDOW_SIZE, 0)]));
    let urgent = race.add("u=0", 50_000);
    race.send();
    let other = race.add("u=7", 50_000);
    race.side.feed(&window_update(other, 60_000));
    for _ in 0..10 {
        race.send();
        race.write(20_000);
    }
    assert_eq!(race.order(), [other]);
    race.side.feed(&window_update(urgent, 60_000));
    race.run(20_000);
    assert_eq!(race.order(), [other, urgent]);
}

/// The connection's window is what is contested.
#[test]
fn shares_of_the_connections_window() {
    let huge = [(INITIAL_WINDOW_SIZE, (1 << 31) - 1)];
    let mut race = Race::new(&[], 0);
    race.side = Side::server_with(config(), &huge);
    for told in ["u=6", "u=2", "u=4, i", "u=4, i"] {
        race.add(told, LONG);
    }
    for _ in 0..1000 {
        race.send();
        race.write(usize::MAX);
        race.side.feed(&window_update(0, 10_000));
        if race.ended.len() == race.racers.len() {
            break;
        }
    }
    assert_eq!(race.order()[0], 3);
    assert_eq!(race.order()[3], 1);
    assert!(race.sent_at(3, 1) < LONG / 3);
    let (one, two) = (race.sent_at(3, 5), race.sent_at(3, 7));
    assert!(one.abs_diff(two) < 40_000, "{one} {two}");
}
