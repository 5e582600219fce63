//! Read buffers in a few sizes, kept by the worker and lent to connections that have bytes to hold.
//!
//! A connection holds a buffer only while it holds bytes: what idles costs nothing here, and the last
//! buffer given back is the next one lent, so it is warm in the cache. Buffers are made zeroed once
//! and reused as they are; nobody reads past what was filled.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// For what a slow peer leaves us with, and for reading from whoever is slow.
pub const TINY: usize = 1 << 10;
/// First size for what clients send.
pub const SMALL: usize = 4 << 10;
/// First size for what backends answer.
pub const MEDIUM: usize = 16 << 10;
/// Largest size, for bulk.
pub const LARGE: usize = 256 << 10;

/// The smallest class is for a short head that is kept for the log.
const CLASSES: [usize; 7] = [256, TINY, 2 << 10, SMALL, MEDIUM, 64 << 10, LARGE];
/// How many buffers of the largest class a worker lends at a time; beyond it, the next smaller ones.
pub const LARGE_LENT_MAX: usize = 128;
/// How many bytes of free buffers of each class a worker keeps: a burst's worth, not a peak's.
const KEPT_BYTES_PER_CLASS: usize = 2 << 20;

/// Bytes that were read and not yet used: `start..end` of a fixed piece of memory.
#[derive(Debug, Default)]
pub struct Buf {
    data: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buf {
    /// The bytes not yet used.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or(&[])
    }

    /// The bytes not yet used, to be moved about in place.
    #[inline]
    pub fn filled_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.start..self.end).unwrap_or(&mut [])
    }

    /// The free space after them.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        self.data.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// `n` bytes of the free space were filled.
    #[inline]
    pub fn fill(&mut self, n: usize) {
        self.end = (self.end + n).min(self.data.len());
    }

    /// The first `n` bytes were used.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Keeps only the first `n` bytes.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
    }

    /// Number of bytes not yet used.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether this holds no memory at all.
    #[inline]
    pub fn is_unset(&self) -> bool {
        self.data.is_empty()
    }

    /// Size of the memory.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.data.len()
    }

    /// Moves the bytes to the front so that all free space is behind them.
    pub fn compact(&mut self) {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Appends as much of `bytes` as fits; gives how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let n = bytes.len().min(space.len());
        if let (Some(to), Some(from)) = (space.get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
        self.fill(n);
        n
    }
}

/// The free buffers of one class.
#[derive(Debug, Default)]
struct Free {
    list: Vec<Box<[u8]>>,
    /// The fewest that there were since the last trim: so many were not needed.
    spare: usize,
}

/// The free buffers of one worker.
#[derive(Debug, Default)]
pub struct BufPool {
    free: RefCell<[Free; CLASSES.len()]>,
    large_lent: Cell<usize>,
    strings: RefCell<Vec<Vec<u8>>>,
    kept_bytes: Rc<Cell<usize>>,
}

impl BufPool {
    /// A pool with nothing in it yet.
    pub fn new() -> BufPool {
        BufPool::default()
    }

    /// A buffer of at least `size` bytes, or of the largest class.
    #[inline]
    pub fn take(&self, size: usize) -> Buf {
        let class = class_of(size);
        let largest = class == CLASSES.len() - 1;
        if largest && self.large_lent.get() >= LARGE_LENT_MAX {
            return self.lend(class - 1);
        }
        self.lend(class)
    }

    #[inline]
    fn lend(&self, class: usize) -> Buf {
        if class == CLASSES.len() - 1 {
            self.large_lent.set(self.large_lent.get() + 1);
        }
        let kept = self.free.borrow_mut().get_mut(class).and_then(|free| {
            let kept = free.list.pop();
            free.spare = free.spare.min(free.list.len());
            kept
        });
        let data = kept.unwrap_or_else(|| {
            let bytes = CLASSES.get(class).copied().unwrap_or(LARGE);
            vec![0; bytes].into_boxed_slice()
        });
        Buf {
            data,
            start: 0,
            end: 0,
        }
    }

    /// Gives a buffer's memory back and leaves an unset one in its place.
    #[inline]
    pub fn give(&self, buf: &mut Buf) {
        let Buf { data, .. } = std::mem::take(buf);
        if data.is_empty() {
            return;
        }
        if data.len() == LARGE {
            self.large_lent.set(self.large_lent.get().saturating_sub(1));
        }
        if let Some(free) = self.free.borrow_mut().get_mut(class_of(data.len()))
            && (free.list.len() + 1) * data.len() <= KEPT_BYTES_PER_CLASS
        {
            free.list.push(data);
        }
    }

    /// Frees what was not needed since the last time; gives how many bytes that were. Call it now
    /// and then: a burst's buffers are of use to the next burst only if that comes soon.
    pub fn trim(&self) -> usize {
        let mut freed = 0;
        for (free, size) in self.free.borrow_mut().iter_mut().zip(CLASSES) {
            let keep = free.list.len() - free.spare.min(free.list.len());
            freed += (free.list.len() - keep) * size;
            free.list.truncate(keep);
            free.spare = keep;
        }
        freed
    }

    /// Makes `buf` a buffer of at least `size` bytes with the same content.
    pub fn resize(&self, buf: &mut Buf, size: usize) {
        let mut larger = self.lend(class_of(size.max(buf.len())));
        larger.append(buf.filled());
        self.give(buf);
        *buf = larger;
    }

    /// Makes a buffer that will hold few bytes for a while as small as they allow.
    pub fn shrink(&self, buf: &mut Buf) {
        if buf.is_empty() {
            self.give(buf);
        } else if class_of(buf.len()) < class_of(buf.capacity()) {
            self.resize(buf, buf.len());
        }
    }

    /// Bytes that the worker's requests keep for longer than they pass through: the count is theirs to
    /// keep, and to give back.
    pub fn kept_bytes(&self) -> &Rc<Cell<usize>> {
        &self.kept_bytes
    }

    /// An empty byte string whose memory was used before.
    #[inline]
    pub fn take_string(&self) -> Vec<u8> {
        self.strings.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a byte string's memory back.
    #[inline]
    pub fn give_string(&self, mut string: Vec<u8>) {
        if string.capacity() == 0 || string.capacity() > 4 * MEDIUM {
            return;
        }
        string.clear();
        let mut strings = self.strings.borrow_mut();
        if strings.len() < 256 {
            strings.push(string);
        }
    }
}

fn class_of(size: usize) -> usize {
    CLASSES
        .iter()
        .position(|class| *class >= size)
        .unwrap_or(CLASSES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consume_and_fill_keep_the_window() {
        let pool = BufPool::new();
        let mut buf = pool.take(TINY);
        assert_eq!(buf.capacity(), TINY);
        assert_eq!(buf.append(b"hello world"), 11);
        buf.consume(6);
        assert_eq!(buf.filled(), b"world");
        buf.compact();
        assert_eq!(buf.filled(), b"world");
        assert_eq!(buf.space().len(), TINY - 5);
        buf.consume(99);
        assert!(buf.is_empty());
        assert_eq!(buf.space().len(), TINY);
    }

    #[test]
    fn resizing_keeps_the_bytes_and_shrinking_gives_memory_back() {
        let pool = BufPool::new();
        let mut buf = pool.take(MEDIUM);
        buf.append(b"abc");
        pool.resize(&mut buf, LARGE);
        assert_eq!((buf.capacity(), buf.filled()), (LARGE, b"abc".as_slice()));
        pool.shrink(&mut buf);
        assert_eq!((buf.capacity(), buf.filled()), (256, b"abc".as_slice()));
        buf.consume(3);
        pool.shrink(&mut buf);
        assert!(buf.is_unset());
    }

    #[test]
    fn what_was_not_needed_between_two_trims_is_freed() {
        let pool = BufPool::new();
        let mut lent: Vec<Buf> = (0..10).map(|_| pool.take(MEDIUM)).collect();
        lent.iter_mut().for_each(|buf| pool.give(buf));
        assert_eq!(
            pool.trim(),
            0,
            "all of them were in use since the last time"
        );
        let mut few: Vec<Buf> = (0..3).map(|_| pool.take(MEDIUM)).collect();
        few.iter_mut().for_each(|buf| pool.give(buf));
        assert_eq!(pool.trim(), 7 * MEDIUM);
        assert_eq!(pool.trim(), 3 * MEDIUM);
        assert_eq!(pool.trim(), 0);
    }

    #[test]
    fn a_buffer_given_back_is_lent_again_empty() {
        let pool = BufPool::new();
        let mut buf = pool.take(SMALL);
        buf.append(b"secret");
        pool.give(&mut buf);
        assert!(buf.is_unset());
        assert!(pool.take(SMALL).is_empty());
    }
}
