//! The few statistics that the benchmarks need: a median with an interval, and a slope with one.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// How sure the intervals are.
const CONFIDENCE: f64 = 0.95;

/// A median, how far the values are from it, and an interval for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The middle value.
    pub median: f64,
    /// The median of the distances from it.
    pub mad: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The median with an interval from order statistics, which supposes nothing about how the values are distributed. Fewer
/// than six values cannot give 95 %: then the interval is from the least to the greatest. `None` without values.
pub fn median(values: &[f64]) -> Option<Median> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = middle(&sorted)?;
    let mut distances: Vec<f64> = sorted.iter().map(|value| (value - middle).abs()).collect();
    distances.sort_by(f64::total_cmp);
    // The greatest rank whose tail is at most what the confidence leaves to either side.
    let rank = Binomial::new(0.5, sorted.len() as u64)
        .map(|tails| {
            let rank =
                (0..sorted.len() as u64 / 2).take_while(|rank| tails.cdf(*rank) <= (1.0 - CONFIDENCE) / 2.0).count();
            rank.saturating_sub(1)
        })
        .unwrap_or(0);
    let (low, high) = (sorted[rank], sorted[sorted.len() - 1 - rank]);
    Some(Median { median: middle, mad: self::middle(&distances)?, low, high })
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// A slope and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Of the line through the points.
    pub slope: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The least-squares line's slope, with Student's interval. `None` for fewer than three points or without any spread.
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let count = points.len() as f64;
    let freedom = count - 2.0;
    if freedom < 1.0 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let residual: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    let error = (residual / freedom / spread).sqrt();
    let width = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(f64::midpoint(1.0, CONFIDENCE)) * error;
    Some(Slope { slope, low: slope - width, high: slope + width })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_median_of_few_values_has_all_of_them_for_an_interval() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(Median { median: 2.0, mad: 1.0, low: 1.0, high: 3.0 }));
        assert_eq!(median(&[1.0, 3.0]).unwrap().median, 2.0);
        // Of six values, the least and the greatest bracket the median with 1 - 2/64 = 97 %; of nine, the second ones with
        // 1 - 2 * 10/512 = 96 %.
        let nine: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(median(&nine), Some(Median { median: 5.0, mad: 2.0, low: 2.0, high: 8.0 }));
    }

    #[test]
    fn a_slope_is_found_with_its_interval() {
        let exact: Vec<_> = (0..5).map(|x| (f64::from(x), 2.0 * f64::from(x) + 1.0)).collect();
        let Slope { slope: found, low, high } = slope(&exact).unwrap();
        assert!((found - 2.0).abs() < 1e-9 && (high - low) < 1e-6, "{found} {low} {high}");
        // By hand: x 0..2, y 0, 1, 3: slope 1.5, residuals 1/6, -1/3, 1/6, one degree of freedom, t = 12.706.
        let Slope { slope: found, low, high } = slope(&[(0.0, 0.0), (1.0, 1.0), (2.0, 3.0)]).unwrap();
        assert!((found - 1.5).abs() < 1e-9);
        assert!(
            (high - found - 12.706 * (1.0_f64 / 12.0).sqrt()).abs() < 1e-2
                && (found - low - (high - found)).abs() < 1e-9
        );
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 1.0)]), None);
        assert_eq!(slope(&[(1.0, 0.0), (1.0, 1.0), (1.0, 2.0)]), None);
    }
}
