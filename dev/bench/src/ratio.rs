//! Medians, ranges and pairwise ratios of rounds.
//!
//! Rounds are compared pair by pair, the same round of two proxies, because a machine's speed drifts between rounds
//! and two runs next to each other see the same machine.

use serde::Serialize;

/// Median and range of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Middle value, or the mean of the two middle ones.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Of the finite values; `None` when there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[upper]
        } else {
            (sorted[upper - 1] + sorted[upper]) / 2.0
        };
        Some(Spread { median, min, max })
    }
}

/// `ours[i] / theirs[i]` for each round that both have. A round of `None` (void) has no ratio.
pub fn pairwise(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Vec<Option<f64>> {
    let pairs = ours.iter().zip(theirs);
    pairs
        .map(|pair| match pair {
            (Some(a), Some(b)) if *b > 0.0 => Some(a / b),
            _ => None,
        })
        .collect()
}

/// Index of the series with the lowest median; series without a value do not count.
pub fn lowest_median(series: &[Vec<Option<f64>>]) -> Option<usize> {
    let medians = series.iter().enumerate().filter_map(|(index, values)| {
        Spread::of(values.iter().copied().flatten()).map(|spread| (index, spread.median))
    });
    medians
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_series() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([7.0]).unwrap().median, 7.0);
        assert!(Spread::of([]).is_none());
        assert!(Spread::of([f64::NAN]).is_none());
    }

    #[test]
    fn ratios_pair_rounds_and_skip_void_ones() {
        let ratios = pairwise(
            &[Some(10.0), None, Some(9.0), Some(1.0)],
            &[Some(20.0), Some(20.0), Some(10.0), Some(0.0)],
        );
        assert_eq!(ratios, vec![Some(0.5), None, Some(0.9), None]);
    }

    #[test]
    fn drift_of_the_machine_cancels_out_in_pairs() {
        let slower: Vec<_> = [10.0, 13.0, 20.0].map(Some).to_vec();
        let ours: Vec<_> = [9.0, 11.7, 18.0].map(Some).to_vec();
        let spread = Spread::of(pairwise(&ours, &slower).into_iter().flatten()).unwrap();
        assert!((spread.max - spread.min).abs() < 1e-9);
    }

    #[test]
    fn best_peer_is_the_lowest_median_not_the_lowest_value() {
        let series = vec![
            vec![Some(13.0), Some(14.0), Some(13.5)],
            vec![Some(5.0), Some(15.0), Some(16.0)],
            vec![None, None],
        ];
        assert_eq!(lowest_median(&series), Some(0));
        assert_eq!(lowest_median(&[vec![None]]), None);
    }
}
