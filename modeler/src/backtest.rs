//! The model's own exam: fitted on the lower loads, scored on the upper ones.

use crate::fit::{Observed, average_at, fit_all};
use crate::point::same_level;

/// How well the lower loads predict the upper ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backtest {
    /// Loads that were fitted.
    pub fitted: usize,
    /// Higher loads that were predicted.
    pub predicted: usize,
    /// The mean of |predicted − measured| / measured throughput.
    pub mean_error_ratio: f64,
    /// The largest of them.
    pub largest_error_ratio: f64,
}

/// Fits the lower two thirds of the loads and scores the next ones; `None` with fewer than four
/// loads, or when the next lies beyond twice the fitted.
///
/// `observed` is ascending by concurrency.
pub(crate) fn backtest(observed: &[Observed]) -> Option<Backtest> {
    let mut levels: Vec<f64> = Vec::new();
    for each in observed {
        if levels.last().is_none_or(|&last| !same_level(last, each.n)) {
            levels.push(each.n);
        }
    }
    let fitted = (levels.len() * 2).div_ceil(3).max(3);
    let first_predicted = *levels.get(fitted)?;
    let (lower, upper) = observed.split_at(observed.partition_point(|each| each.n < first_predicted));
    // Beyond twice the fitted load nothing would be answered, so nothing is scored: with an open load past
    // saturation the number in flight is whatever the stage let it grow to.
    let farthest = 2.0 * lower.last()?.n * (1.0 + 1e-9);
    let fits = fit_all(lower);
    let misses: Vec<f64> = upper
        .iter()
        .filter(|each| each.n <= farthest)
        .map(|each| (average_at(&fits, each.n) / each.x.max(1e-12) - 1.0).abs())
        .collect();
    let predicted = levels.iter().skip(fitted).filter(|level| **level <= farthest).count();
    (!misses.is_empty()).then(|| Backtest {
        fitted,
        predicted,
        mean_error_ratio: misses.iter().sum::<f64>() / misses.len() as f64,
        largest_error_ratio: misses.iter().copied().fold(0.0, f64::max),
    })
}
