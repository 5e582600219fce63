//! Who may send next, when the connection has not room for all.
//!
//! A stream that finds no room stands in line. When there is room again, those whose turn it is are told: by urgency
//! first, of equal urgency those that are not incremental one after the other in the order of their numbers, then those
//! that are in turn (RFC 9218, 10). One that is not incremental is told alone, for all the room is its; of the others as
//! many as there is room for a frame each. Every eighth time it is whoever has waited longest, so that nobody waits for
//! ever.

use super::{Connection, StreamRef};
use crate::frame::PAYLOAD_MAX;
use crate::priority::Priority;

/// So many turns go by rank until one goes by waiting time.
const TURNS_BY_RANK: u32 = 7;

/// What stands first is least.
type Rank = (u8, bool, u64);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    stream: StreamRef,
    priority: Priority,
    /// When it came, in turns.
    since: u64,
}

impl Waiting {
    fn rank(&self) -> Rank {
        rank(self.priority, self.stream, self.since)
    }
}

fn rank(priority: Priority, stream: StreamRef, since: u64) -> Rank {
    let order = match priority.incremental {
        true => since,
        false => u64::from(stream.id),
    };
    (priority.urgency, priority.incremental, order)
}

/// The streams that wait to send.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: Vec<Waiting>,
    /// Streams that were told to send and have not yet.
    granted: usize,
    turn: u64,
    by_rank: u32,
}

impl Line {
    /// Whether somebody else may have to wait for what one stream sends.
    #[inline]
    pub(super) fn is_contested(&self) -> bool {
        !self.waiting.is_empty() || self.granted > 0
    }

    /// All that could be written was: whoever was told to send and did not holds nobody up.
    #[inline]
    pub(super) fn forget_grants(&mut self) {
        self.granted = 0;
    }

    pub(super) fn change(&mut self, stream: StreamRef, priority: Priority) {
        if let Some(found) = self.waiting.iter_mut().find(|it| it.stream == stream) {
            found.priority = priority;
        }
    }

    /// Gives memory back when nobody waits.
    pub(super) fn trim(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Waiting>()
    }

    /// Takes the next one out; with `shares`, only one that shares with streams of this priority.
    fn next(&mut self, shares: Option<Priority>) -> Option<Waiting> {
        let waiting = self.waiting.iter().enumerate();
        let by_rank = shares.is_some() || self.by_rank < TURNS_BY_RANK;
        let (at, found) = match by_rank {
            true => waiting.min_by_key(|(_, it)| it.rank()),
            false => waiting.min_by_key(|(_, it)| (0, false, it.since)),
        }?;
        if shares.is_some_and(|with| with != found.priority || !with.incremental) {
            return None;
        }
        self.by_rank = if by_rank { self.by_rank + 1 } else { 0 };
        Some(self.waiting.swap_remove(at))
    }
}

impl Connection {
    /// Whether the stream may send now: it was told to, or nobody waits whose turn comes before.
    pub(super) fn is_in_turn(&self, stream: StreamRef, room: usize) -> bool {
        let Some(found) = self.streams.get(stream) else {
            return false;
        };
        if room == 0 || found.granted {
            return room > 0;
        }
        // When nothing waits to be written, nobody else will be told.
        let free = self.waiting_out() == 0 || room > self.line.granted.saturating_mul(PAYLOAD_MAX);
        // Whoever comes stands behind those that it shares with.
        let own = rank(found.priority, stream, u64::MAX);
        let first = |it: &Waiting| it.stream != stream && it.rank() < own;
        free && !self.line.waiting.iter().any(first)
    }

    /// The stream sends.
    pub(super) fn take_turn(&mut self, stream: StreamRef) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        let was_told = std::mem::take(&mut found.granted);
        let in_line = std::mem::take(&mut found.in_line);
        if was_told {
            self.line.granted = self.line.granted.saturating_sub(1);
        }
        if in_line {
            self.line.waiting.retain(|it| it.stream != stream);
        }
    }

    /// The stream waits.
    pub(super) fn stand_in_line(&mut self, stream: StreamRef) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        if std::mem::take(&mut found.granted) {
            // There was no room after all.
            self.line.granted = self.line.granted.saturating_sub(1);
        }
        if !std::mem::replace(&mut found.in_line, true) {
            self.line.turn += 1;
            self.line.waiting.push(Waiting {
                stream,
                priority: found.priority,
                since: self.line.turn,
            });
        }
    }

    /// The stream does not wait any more, and does not send.
    pub(super) fn leave_line(&mut self, stream: StreamRef) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        if found.granted || found.in_line {
            self.take_turn(stream);
            self.grant();
        }
    }

    /// Tells those to send whose turn it is, as far as there is room.
    pub(super) fn grant(&mut self) {
        if self.line.waiting.is_empty() {
            return;
        }
        let mut room = self.room();
        room = room.saturating_sub(self.line.granted.saturating_mul(PAYLOAD_MAX));
        let mut told = None;
        // What is left for others than the first has to be a frame, or always the same ones would get less.
        while room >= PAYLOAD_MAX || told.is_none() && room > 0 {
            let Some(next) = self.line.next(told) else {
                break;
            };
            let Some(found) = self.streams.get_mut(next.stream) else {
                continue;
            };
            found.in_line = false;
            found.granted = true;
            self.line.granted += 1;
            room = room.saturating_sub(PAYLOAD_MAX);
            told = Some(next.priority);
            if let Some(waker) = found.sender.take() {
                waker.wake();
            }
        }
    }
}
