//! The streams that have, or may still get, something from the client beyond their first header block. A stream that
//! ends with its first block, as most do, takes no room here.

/// Streams that are remembered. Beyond it the oldest is forgotten, and nothing is said about it or older ones any more.
const REMEMBERED_MAX: usize = 16_384;
/// Streams that the client has reset lately, on which frames that were under way may follow.
const RESETS_REMEMBERED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Upload {
    stream: u32,
    /// DATA that came and was not taken.
    unread: u32,
    /// The client has not ended it.
    open: bool,
    /// We have not given it up.
    wanted: bool,
    /// Its trailers have pseudo-header fields.
    malformed: bool,
}

/// What a frame on a stream that is no longer new means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It belongs there, or it cannot be said.
    Fair,
    /// The client had ended the stream.
    Closed,
}

/// Streams with more to come, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uploads {
    list: Vec<Upload>,
    unread: u32,
    forgotten: u32,
    resets: [u32; RESETS_REMEMBERED],
    resets_at: u8,
}

impl Uploads {
    fn find(&mut self, stream: u32) -> Option<(usize, &mut Upload)> {
        let at = self.list.binary_search_by_key(&stream, |it| it.stream);
        at.ok().and_then(|at| Some((at, self.list.get_mut(at)?)))
    }

    fn remove(&mut self, at: usize) {
        if at < self.list.len() {
            let gone = self.list.remove(at);
            self.unread = self.unread.saturating_sub(gone.unread);
        }
        if self.list.is_empty() && self.list.capacity() > 64 {
            self.list = Vec::new();
        }
    }

    /// A stream, with a number above all others, was opened and not ended.
    pub(super) fn open(&mut self, stream: u32) {
        if self.list.len() >= REMEMBERED_MAX {
            self.forgotten = self.list.first().map_or(0, |it| it.stream);
            self.remove(0);
        }
        self.list.push(Upload {
            stream,
            unread: 0,
            open: true,
            wanted: true,
            malformed: false,
        });
    }

    /// DATA or trailers came on a stream that had been opened.
    pub(super) fn more(&mut self, stream: u32, data: bool, ends: bool) -> Late {
        let Some((at, upload)) = self.find(stream) else {
            let unknown = stream <= self.forgotten || data && self.resets.contains(&stream);
            return if unknown { Late::Fair } else { Late::Closed };
        };
        if !upload.open {
            return Late::Closed;
        }
        let counts = data && upload.wanted;
        upload.unread += u32::from(counts);
        upload.open = !ends;
        let over = !upload.open && !upload.wanted;
        self.unread += u32::from(counts);
        if over {
            self.remove(at);
        }
        Late::Fair
    }

    /// The client reset the stream.
    pub(super) fn reset(&mut self, stream: u32) {
        if let Some((at, _)) = self.find(stream) {
            self.remove(at);
            if let Some(slot) = self.resets.get_mut(usize::from(self.resets_at)) {
                *slot = stream;
            }
            self.resets_at = (self.resets_at + 1) % RESETS_REMEMBERED as u8;
        }
    }

    /// Nobody on our side waits for more of the stream. Gives whether that was so before, while the client has not
    /// ended it: what comes then was under way.
    pub(super) fn give_up(&mut self, stream: u32) -> bool {
        let Some((at, upload)) = self.find(stream) else {
            return false;
        };
        let before = !upload.wanted;
        upload.wanted = false;
        let unread = std::mem::take(&mut upload.unread);
        let over = !upload.open;
        self.unread = self.unread.saturating_sub(unread);
        if over {
            self.remove(at);
        }
        before
    }

    /// Frames of DATA were taken.
    pub(super) fn take(&mut self, stream: u32, frames: u32) {
        if let Some((_, upload)) = self.find(stream) {
            let taken = frames.min(upload.unread);
            upload.unread -= taken;
            self.unread = self.unread.saturating_sub(taken);
        }
    }

    /// DATA of all streams that came and was not taken.
    pub(super) fn unread(&self) -> u32 {
        self.unread
    }

    /// The trailers of the stream have pseudo-header fields.
    pub(super) fn set_malformed(&mut self, stream: u32) {
        if let Some((_, upload)) = self.find(stream) {
            upload.malformed = true;
        }
    }

    /// Whether the trailers of the stream have pseudo-header fields.
    pub(super) fn is_malformed(&self, stream: u32) -> bool {
        let at = self.list.binary_search_by_key(&stream, |it| it.stream);
        at.ok()
            .and_then(|at| self.list.get(at))
            .is_some_and(|it| it.malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_from_its_beginning_to_its_end() {
        let mut uploads = Uploads::default();
        uploads.open(1);
        uploads.open(5);
        assert_eq!(uploads.more(1, true, false), Late::Fair);
        assert_eq!(uploads.more(1, true, true), Late::Fair);
        assert_eq!(uploads.more(1, true, false), Late::Closed);
        assert_eq!(uploads.more(3, true, false), Late::Closed);
        assert_eq!(uploads.unread(), 2);
        uploads.take(1, 1);
        assert_eq!(uploads.unread(), 1);
        assert!(!uploads.give_up(1));
        assert_eq!(uploads.unread(), 0, "what is given up is not waited for");
        uploads.take(1, 1);
        uploads.more(5, true, false);
        uploads.reset(5);
        assert_eq!(uploads.unread(), 0);
        assert_eq!(uploads.more(5, true, false), Late::Fair, "was under way");
        assert_eq!(uploads.more(5, false, true), Late::Closed);
        assert_eq!(uploads.list, []);
    }

    #[test]
    fn what_follows_on_a_stream_that_we_gave_up() {
        let mut uploads = Uploads::default();
        uploads.open(1);
        uploads.more(1, true, false);
        assert!(!uploads.give_up(1));
        for _ in 0..10 {
            assert_eq!(uploads.more(1, true, false), Late::Fair);
        }
        assert!(uploads.give_up(1));
        assert_eq!(uploads.unread(), 0);
        assert_eq!(uploads.more(1, false, true), Late::Fair);
        assert_eq!(uploads.more(1, false, true), Late::Closed);
    }

    #[test]
    fn room_has_an_end() {
        let mut uploads = Uploads::default();
        for at in 0..20_000_u32 {
            uploads.open(2 * at + 1);
            uploads.more(2 * at + 1, true, false);
        }
        assert_eq!(uploads.list.len(), REMEMBERED_MAX);
        assert_eq!(uploads.unread(), REMEMBERED_MAX as u32);
        assert_eq!(uploads.more(1, true, false), Late::Fair, "forgotten");
        for at in 0..20_000_u32 {
            uploads.give_up(2 * at + 1);
            uploads.reset(2 * at + 1);
        }
        assert_eq!((uploads.list.capacity(), uploads.unread()), (0, 0));
    }
}
