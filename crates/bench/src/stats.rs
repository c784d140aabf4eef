//! Medians and ratios of figures that were measured in turns.

use serde::{Deserialize, Serialize};

/// The median of some figures, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The one in the middle; of an even number the mean of the two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

/// Returns the spread of figures, or `None` if there are none.
pub fn spread(figures: &[f64]) -> Option<Spread> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    };
    Some(Spread { min, median, max })
}

/// Returns the ratio of the medians of `ours` to `theirs`, with the least and the largest ratio within a round.
/// `None` without figures, or where theirs are nothing.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    let (one, other) = (spread(ours)?, spread(theirs)?);
    if other.min <= 0.0 {
        return None;
    }
    let rounds: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    let within = spread(&rounds)?;
    Some(Spread {
        median: one.median / other.median,
        ..within
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let of = |figures: &[f64]| spread(figures).map(|s| (s.min, s.median, s.max));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(of(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_ratio_is_of_medians_and_spreads_over_rounds() {
        let ratio = ratio(&[10.0, 30.0, 20.0], &[10.0, 10.0, 40.0]).expect("there are figures");
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 2.0, 3.0));
        assert_eq!(super::ratio(&[1.0], &[0.0]), None);
        assert_eq!(super::ratio(&[], &[1.0]), None);
    }
}
