//! Medians: what is reported of repeated measurements.

use serde::{Deserialize, Serialize};

/// Of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many there are.
    pub n: usize,
}

/// The summary of `figures`; `None` where there are none. What is not a number is left out.
pub fn summary(figures: &[f64]) -> Option<Summary> {
    let mut sorted: Vec<f64> = figures.iter().copied().filter(|figure| !figure.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let (&min, &max) = (sorted.first()?, sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    Some(Summary { median, min, max, n: sorted.len() })
}

/// The median of `figures`; `None` where there are none.
pub fn median(figures: &[f64]) -> Option<f64> {
    summary(figures).map(|summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        let all = summary(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(all, Some(Summary { median: 2.5, min: 1.0, max: 4.0, n: 4 }));
    }
}
