//! Sets of status codes.

use std::ops::RangeInclusive;

/// A set of status codes, 100 to 599, as ranges in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses {
    ranges: Vec<RangeInclusive<u16>>,
}

impl Statuses {
    /// The set of these ranges.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Statuses { ranges }
    }

    /// Whether a code is in the set.
    pub fn contains(&self, code: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&code))
    }

    /// True without any code.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Every code; one that stands in two ranges comes twice.
    pub fn codes(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// The ranges, in the order of the file.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.ranges
    }
}
