//! The year: how much of it comes again is judged by how much one half of the history resembles the other.

use std::f64::consts::TAU;

use super::{Series, moving_mean};
use crate::regression;
use crate::resample::quantile_of;

/// Waves in a year: six tell months apart.
const WAVES: u32 = 6;
/// Outliers are cut at so many standard deviations from the mean around them.
const ROBUST_SPREAD: f64 = 3.0;
/// So many steps of a year are fitted; more would only cost time.
const MOST_FITTED: usize = 4_000;

/// A yearly course around its mean, on the logarithm.
#[derive(Clone, Debug)]
pub(super) struct Year {
    length: f64,
    /// Sines and cosines in turn; none without a year.
    waves: Vec<f64>,
}

impl Year {
    /// That of `series`, which holds two of them at least; else none.
    pub(super) fn of(series: &Series) -> Self {
        let length = series.steps_per_year();
        let none = Self { length, waves: Vec::new() };
        let count = series.values.len();
        if (count as f64) < 2.0 * length {
            return none;
        }
        let smooth = without_outliers(series);
        let half = count / 2;
        let (Some(all), Some(first), Some(second)) = (
            fit(&smooth, 0, count, length),
            fit(&smooth, 0, half, length),
            fit(&smooth, half, count, length),
        ) else {
            return none;
        };
        // Waves are orthogonal: the product of two courses is that of their coefficients.
        let product = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        let size = product(&first, &first) + product(&second, &second);
        let share = if size > 0.0 { (2.0 * product(&first, &second) / size).clamp(0.0, 1.0) } else { 0.0 };
        Self { length, waves: all.into_iter().map(|wave| wave * share).collect() }
    }

    /// What the year adds at a step counted from the first of the history.
    pub(super) fn at(&self, step: usize) -> f64 {
        self.waves.iter().zip(waves_at(step as f64, self.length)).map(|(weight, wave)| weight * wave).sum()
    }

    /// `values` without it.
    pub(super) fn taken_off(&self, values: &[f64]) -> Vec<f64> {
        values.iter().enumerate().map(|(step, value)| value - self.at(step)).collect()
    }
}

fn waves_at(step: f64, length: f64) -> impl Iterator<Item = f64> {
    (1..=WAVES).flat_map(move |order| {
        let angle = TAU * step * f64::from(order) / length;
        [angle.sin(), angle.cos()]
    })
}

/// The waves of the year between two steps, beside a line.
fn fit(values: &[f64], from: usize, to: usize, length: f64) -> Option<Vec<f64>> {
    let every = (to - from).div_ceil(MOST_FITTED).max(1);
    let steps: Vec<usize> = (from..to).step_by(every).collect();
    let target: Vec<f64> = steps.iter().map(|&step| values[step]).collect();
    let mut columns = vec![vec![1.0; steps.len()]];
    columns.push(steps.iter().map(|&step| (step as f64 - from as f64 + 1.0) / (to - from) as f64).collect());
    for wave in 0..2 * WAVES as usize {
        let column = steps.iter().filter_map(|&step| waves_at(step as f64, length).nth(wave)).collect();
        columns.push(column);
    }
    Some(regression::linear(&columns, &target)?.split_off(2))
}

/// The values, the season averaged out, outliers cut.
fn without_outliers(series: &Series) -> Vec<f64> {
    let values = moving_mean(&series.values, series.season().max(1));
    let month = (series.steps_per_year() / 12.0) as usize;
    let around = moving_mean(&values, month.max(3));
    let mut misses: Vec<f64> = values.iter().zip(&around).map(|(one, other)| (one - other).abs()).collect();
    misses.sort_by(f64::total_cmp);
    let most = ROBUST_SPREAD * 1.4826 * quantile_of(&misses, 0.5);
    values.iter().zip(&around).map(|(value, around)| value.clamp(around - most, around + most)).collect()
}
