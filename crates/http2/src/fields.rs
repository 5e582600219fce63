//! A decoded list of fields.

/// What a field counts beyond its name and value (RFC 9113, 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// No list is larger, so that places in it are numbers of 32 bits.
const BYTES_MAX: usize = u32::MAX as usize;

/// The fields of one header block, pseudo-header fields among them, in the order in which they came.
///
/// One piece of memory for all of them, made to be used again: [`FieldList::clear`] keeps it.
#[derive(Debug, Clone, Default)]
pub struct FieldList {
    bytes: Vec<u8>,
    /// Where each field's name and value end in `bytes`.
    ends: Vec<(u32, u32)>,
    listed: usize,
    over: bool,
}

impl FieldList {
    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.listed = 0;
        self.over = false;
    }

    /// Appends a field, unless the list would become larger than `list_bytes_max`, as RFC 9113, 6.5.2 counts it: then
    /// the list is marked ([`FieldList::is_over`]), and takes nothing more.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8], list_bytes_max: usize) {
        if !self.takes(name.len().saturating_add(value.len()), list_bytes_max) {
            return;
        }
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((name_end, self.bytes.len() as u32));
    }

    /// [`FieldList::push`] of a name and a value that stand together, where the name ends after `name_len`.
    #[inline]
    pub(crate) fn push_joined(&mut self, joined: &[u8], name_len: usize, list_bytes_max: usize) {
        if self.takes(joined.len(), list_bytes_max) {
            let name_end = self.bytes.len() + name_len;
            self.bytes.extend_from_slice(joined);
            self.ends.push((name_end as u32, self.bytes.len() as u32));
        }
    }

    /// How many bytes the name and the value of the next field may have.
    #[inline]
    pub(crate) fn room(&self, list_bytes_max: usize) -> usize {
        if self.over {
            return 0;
        }
        let listed = self.listed.saturating_add(FIELD_OVERHEAD);
        list_bytes_max.min(BYTES_MAX).saturating_sub(listed)
    }

    /// The memory after the last field, for a name and a value that [`FieldList::settle`] makes a field.
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends the field whose name and value were written at `start`, or forgets them: as [`FieldList::push`] does.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        start: usize,
        name_len: usize,
        value_len: usize,
        list_bytes_max: usize,
    ) {
        if self.takes(name_len.saturating_add(value_len), list_bytes_max) {
            let name_end = start + name_len;
            debug_assert_eq!(name_end + value_len, self.bytes.len());
            self.ends.push((name_end as u32, self.bytes.len() as u32));
        } else {
            self.bytes.truncate(start);
        }
    }

    /// Counts a field whose name and value have `len` bytes, and says whether it is taken.
    #[inline]
    fn takes(&mut self, len: usize, list_bytes_max: usize) -> bool {
        self.listed = self
            .listed
            .saturating_add(len.saturating_add(FIELD_OVERHEAD));
        self.over |= self.listed > list_bytes_max.min(BYTES_MAX);
        !self.over
    }

    /// Whether something was left out because the list is too large.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes of the list as RFC 9113, 6.5.2 counts them, with what was left out.
    pub fn listed_bytes(&self) -> usize {
        self.listed
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Names and values.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let mut at = 0;
        self.ends.iter().map(move |&(name_end, end)| {
            let name = self.bytes.get(at..name_end as usize).unwrap_or_default();
            let value = self.bytes.get(name_end as usize..end as usize);
            at = end as usize;
            (name, value.unwrap_or_default())
        })
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(u32, u32)>()
    }
}
