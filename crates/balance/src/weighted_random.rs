//! Weighted random: a point on a line of weights laid end to end, found by bisection.

use crate::hash::reduce;

/// Weights laid end to end, with the position of the endpoint that each belongs to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    ends: Box<[u64]>,
    indices: Box<[u16]>,
}

impl Line {
    /// A line of (position, weight).
    pub(crate) fn new(weights: impl Iterator<Item = (u16, u32)>) -> Self {
        let mut sum = 0u64;
        let (ends, indices): (Vec<u64>, Vec<u16>) = weights
            .map(|(index, weight)| {
                sum += u64::from(weight);
                (sum, index)
            })
            .unzip();
        Line {
            ends: ends.into(),
            indices: indices.into(),
        }
    }

    /// Length of the line: the sum of the weights.
    pub(crate) fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whose weight lies at `point`, which is below the total.
    pub(crate) fn at(&self, point: u64) -> Option<usize> {
        let slot = self.ends.partition_point(|end| *end <= point);
        self.indices.get(slot).map(|index| usize::from(*index))
    }

    /// Whose weight lies where even random bits point to.
    pub(crate) fn at_random(&self, random: u64) -> Option<usize> {
        self.at(reduce(random, self.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_belongs_to_its_weight() {
        let line = Line::new([(4, 3), (7, 0), (9, 2)].into_iter());
        let found: Vec<_> = (0..6).map(|point| line.at(point)).collect();
        assert_eq!(found, [Some(4), Some(4), Some(4), Some(9), Some(9), None]);
        assert_eq!(line.at_random(u64::MAX), Some(9));
        assert_eq!(Line::default().at_random(7), None);
    }
}
