//! What happens in a simulated world.

use proptest::prelude::*;

/// A small generator of numbers, so that a world is the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z % end.max(1) as u64) as usize
    }
}

/// How a message is sent.
#[derive(Debug, Clone)]
pub struct Body {
    pub len: usize,
    /// Bytes that its source has at a time.
    pub chunk: usize,
    pub trailers: bool,
    /// The end is said with the last byte; otherwise by itself.
    pub last: bool,
    /// A content-length says how long it is.
    pub said: bool,
    /// Time that the source rests between chunks.
    pub rest: u8,
}

/// How a side leaves a stream before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quit {
    Reset(u32),
    Release,
}

/// What one side does on a stream.
#[derive(Debug, Clone)]
pub struct Part {
    pub body: Body,
    /// Fields of its head: 0 few, 1 many, 2 such that CONTINUATION is needed.
    pub head: u8,
    /// Bytes that it reads at a time, and the time it rests in between.
    pub room: usize,
    pub rest: u8,
    /// It leaves after so many steps.
    pub quit: Option<(u8, Quit)>,
    pub priority: Option<(u8, bool)>,
    /// It watches for failure as well.
    pub watches: bool,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub request: Part,
    pub answer: Part,
    pub interims: u8,
    /// The answer comes before the request is read, and the rest of the request is not wanted.
    pub early: bool,
}

/// What happens to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    None,
    ServerDrains,
    ClientDrains,
    Lost,
    ServerEnds,
    Ping,
}

#[derive(Debug, Clone)]
pub struct World {
    pub seed: u64,
    pub plans: Vec<Plan>,
    pub streams_max: u32,
    /// Windows of streams and connections of both ends.
    pub windows: [(u32, u32); 2],
    pub out_max: [usize; 2],
    /// Bytes that move at a time at most, and bytes that may be under way.
    pub cut: usize,
    pub under_way: usize,
    pub turn: (u16, Turn),
}

fn body() -> impl Strategy<Value = Body> {
    let len = prop_oneof![
        2 => Just(0usize),
        3 => 1..200usize,
        3 => 200..40_000usize,
        1 => 40_000..400_000usize,
    ];
    let chunk = prop_oneof![1..50usize, 50..5000usize, 5000..40_000usize];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let rest = prop_oneof![4 => Just(0u8), 1 => 1..20u8];
    (len, chunk, flags, rest).prop_map(|(len, chunk, (trailers, last, said), rest)| Body {
        len,
        chunk: chunk.max(len / 400 + 1),
        trailers,
        last,
        said,
        rest,
    })
}

fn part() -> impl Strategy<Value = Part> {
    let how = prop_oneof![
        Just(Quit::Release),
        Just(Quit::Reset(8)),
        Just(Quit::Reset(2)),
        Just(Quit::Reset(7)),
        Just(Quit::Reset(0)),
    ];
    let quit = prop::option::weighted(0.15, (0..30u8, how));
    let rest = prop_oneof![4 => Just(0u8), 1 => 1..20u8];
    let room = prop_oneof![1..100usize, 100..20_000usize, Just(30_000usize)];
    let head = prop_oneof![6 => Just(0u8), 2 => Just(1u8), 1 => Just(2u8)];
    let priority = prop::option::of((0..8u8, any::<bool>()));
    (body(), head, room, rest, quit, priority, any::<bool>()).prop_map(
        |(body, head, room, rest, quit, priority, watches)| Part {
            room: room.max(body.len / 200),
            body,
            head,
            rest,
            quit,
            priority,
            watches,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let early = prop::bool::weighted(0.1);
    (part(), part(), 0..4u8, early).prop_map(|(request, answer, interims, early)| Plan {
        request,
        answer,
        interims,
        early,
    })
}

/// A world, in `turn` of which something happens to the connection.
pub fn world(turn: impl Strategy<Value = Turn>) -> impl Strategy<Value = World> {
    let windows = || {
        (
            prop_oneof![Just(16_384u32), Just(65_535u32), 16_384..1_048_576u32],
            prop_oneof![Just(65_535u32), 65_535..1_048_576u32],
        )
    };
    let out_max = || prop_oneof![Just(16_384usize), Just(4096usize), 4096..200_000usize];
    let cut = prop_oneof![1 => 1..64usize, 4 => 64..65_536usize];
    let under_way = prop_oneof![Just(1000usize), Just(1 << 20)];
    (
        any::<u64>(),
        prop::collection::vec(plan(), 1..24),
        prop_oneof![Just(100u32), 1..10u32],
        [windows(), windows()],
        [out_max(), out_max()],
        cut,
        under_way,
        (0..2000u16, turn),
    )
        .prop_map(
            |(seed, plans, streams_max, windows, out_max, cut, under_way, turn)| World {
                seed,
                plans,
                streams_max,
                windows,
                out_max,
                cut,
                under_way,
                turn,
            },
        )
}
