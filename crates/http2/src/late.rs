//! Streams that are closed, as far as something may still come on them.

/// Streams that are remembered. Beyond it the oldest are forgotten, and what comes on them is let pass.
const REMEMBERED_MAX: usize = 1024;
/// Streams that the peer has reset lately, on which DATA that it had under way may follow.
const RESETS_REMEMBERED: usize = 8;

/// What a frame on a closed stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It was under way when we gave the stream up.
    Fair,
    /// The peer had reset the stream.
    AfterReset,
    /// The peer had ended the stream.
    Breach,
}

/// Streams that we gave up before the peer ended them, in order, and those that the peer reset.
#[derive(Debug, Default)]
pub(crate) struct LateFrames {
    given_up: Vec<u32>,
    /// Streams up to this one may have been given up too.
    forgotten: u32,
    resets: [u32; RESETS_REMEMBERED],
    resets_at: u8,
}

impl LateFrames {
    /// We gave a stream up, and the peer has not ended it.
    pub(crate) fn gave_up(&mut self, stream: u32) {
        if self.given_up.len() >= REMEMBERED_MAX {
            let half = self.given_up.len() / 2;
            let last = self.given_up.drain(..half).next_back();
            self.forgotten = self.forgotten.max(last.unwrap_or(0));
        }
        if let Err(at) = self.given_up.binary_search(&stream) {
            self.given_up.insert(at, stream);
        }
    }

    /// The peer reset a stream.
    pub(crate) fn was_reset(&mut self, stream: u32) {
        self.ended(stream);
        if let Some(slot) = self.resets.get_mut(usize::from(self.resets_at)) {
            *slot = stream;
        }
        self.resets_at = (self.resets_at + 1) % RESETS_REMEMBERED as u8;
    }

    /// The peer ended a stream.
    pub(crate) fn ended(&mut self, stream: u32) {
        if let Ok(at) = self.given_up.binary_search(&stream) {
            self.given_up.remove(at);
        }
    }

    /// Gives memory back when no stream is open: `last` is the last one there was. From then on what comes late on any of
    /// them is let pass.
    pub(crate) fn trim(&mut self, last: u32) {
        if !self.given_up.is_empty() {
            self.forgotten = last;
        }
        self.given_up = Vec::new();
    }

    /// What it means that a frame came on a closed stream.
    pub(crate) fn judge(&self, stream: u32) -> Late {
        if stream <= self.forgotten || self.given_up.binary_search(&stream).is_ok() {
            Late::Fair
        } else if self.resets.contains(&stream) {
            Late::AfterReset
        } else {
            Late::Breach
        }
    }

    /// Bytes of memory that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.given_up.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows() {
        let mut late = LateFrames::default();
        late.gave_up(5);
        late.gave_up(1);
        assert_eq!(late.judge(1), Late::Fair);
        assert_eq!(late.judge(3), Late::Breach);
        late.ended(1);
        assert_eq!(late.judge(1), Late::Breach);
        late.was_reset(5);
        assert_eq!(late.judge(5), Late::AfterReset);
        for stream in 0..RESETS_REMEMBERED as u32 {
            late.was_reset(101 + 2 * stream);
        }
        assert_eq!(late.judge(5), Late::Breach);
        late.gave_up(201);
        late.trim(301);
        assert_eq!(late.judge(201), Late::Fair);
        assert_eq!(late.judge(303), Late::Breach);
        assert_eq!(late.held_bytes(), 0);
    }

    #[test]
    fn room_has_an_end() {
        let mut late = LateFrames::default();
        for at in 0..10_000 {
            late.gave_up(2 * at + 1);
            assert!(late.given_up.len() <= REMEMBERED_MAX);
            assert_eq!(late.judge(1), Late::Fair);
        }
    }
}
