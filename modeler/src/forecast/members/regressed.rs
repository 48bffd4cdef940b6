//! A damped line and Fourier terms through linfa; recent observations weigh more.

use std::f64::consts::TAU;

use super::{Series, Step};
use crate::regression;
use crate::resample::quantile_of;

/// Per season, so much of a trend is left.
const TREND_KEPT: f64 = 0.97;
/// Outliers are cut at so many standard deviations, as the median of the misses tells them, …
const ROBUST_SPREAD: f64 = 3.0;
/// … and so many times over.
const ROBUST_PASSES: usize = 2;
/// So many seasons must agree before a new level is taken to last.
const LASTING_SEASONS: usize = 5;
/// Seasons until an observation weighs half.
const HALF_LIFE_SEASONS: f64 = 26.0;
/// Of what was missed of late, so much is left after a season.
const MEMORY: f64 = 0.5;

/// The regression, `steps` ahead.
pub(super) fn regressed(series: &Series, steps: usize) -> Vec<f64> {
    let count = series.values.len();
    let season = series.season() as f64;
    // The weight of an observation halves in so many steps.
    let half_life = (HALF_LIFE_SEASONS * season).max(30.0);
    let root = |at: usize| {
        let age = (count - 1 - at) as f64;
        if series.known[at] { (-0.5 * std::f64::consts::LN_2 * age / half_life).exp() } else { 0.0 }
    };
    let terms = harmonics(series);
    let used: Vec<usize> = (0..count).filter(|&at| root(at) > 1e-3).collect();
    let trend = |at: f64| (at - count as f64) / season.max(7.0);
    let kept: f64 = TREND_KEPT;
    // Beyond the last observation the line bends: each season adds a little less than the one before.
    let bent = |seasons: f64| if seasons > 0.0 { (1.0 - kept.powf(seasons)) / -kept.ln() } else { seasons };
    let row = |at: f64| {
        let waves = terms.iter().flat_map(|period| {
            let angle = TAU * at / period;
            [angle.sin(), angle.cos()]
        });
        [1.0, bent(trend(at))].into_iter().chain(waves).collect::<Vec<f64>>()
    };
    let mut values = series.values.clone();
    let rows: Vec<Vec<f64>> =
        used.iter().map(|&at| row(at as f64).iter().map(|value| value * root(at)).collect()).collect();
    let width = 2 + 2 * terms.len();
    let columns: Vec<Vec<f64>> =
        (0..width).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
    let solve = |values: &[f64]| {
        let target: Vec<f64> = used.iter().map(|&at| values[at] * root(at)).collect();
        regression::linear(&columns, &target)
    };
    let Some(mut found) = solve(&values) else {
        return naive(series, steps);
    };
    for _ in 0..ROBUST_PASSES {
        let expected: Vec<f64> = used
            .iter()
            .map(|&at| row(at as f64).iter().zip(&found).map(|(value, weight)| value * weight).sum())
            .collect();
        let mut misses: Vec<f64> =
            used.iter().zip(&expected).map(|(&at, expected)| (series.values[at] - expected).abs()).collect();
        misses.sort_by(f64::total_cmp);
        let most = ROBUST_SPREAD * 1.4826 * quantile_of(&misses, 0.5);
        for (&at, expected) in used.iter().zip(&expected) {
            values[at] = series.values[at].clamp(expected - most, expected + most);
        }
        match solve(&values) {
            Some(better) => found = better,
            None => break,
        }
    }
    let fitted = |at: f64| row(at).iter().zip(&found).map(|(value, weight)| value * weight).sum::<f64>();
    // What the line missed of late: what a month agrees on stays, the rest fades.
    let length = (season as usize).max(3);
    let mut missed: Vec<f64> = (0..LASTING_SEASONS)
        .filter(|back| (back + 1) * length <= count)
        .map(|back| {
            let end = count - back * length;
            (end - length..end).map(|at| values[at] - fitted(at as f64)).sum::<f64>() / length as f64
        })
        .collect();
    let latest = missed.first().copied().unwrap_or(0.0);
    missed.sort_by(f64::total_cmp);
    let lasting = quantile_of(&missed, 0.5);
    (0..steps)
        .map(|step| {
            fitted((count + step) as f64)
                + lasting
                + (latest - lasting) * MEMORY.powf(step as f64 / season.max(1.0))
        })
        .collect()
}

/// As one season before; the mean of the last two.
fn naive(series: &Series, steps: usize) -> Vec<f64> {
    let (values, season) = (&series.values, series.season());
    let back = |step: usize, seasons: usize| {
        values.len().checked_sub(season * seasons).map(|at| values[at + step % season])
    };
    (0..steps)
        .map(|step| {
            let one = back(step, 1).unwrap_or(0.0);
            back(step, 2).map_or(one, |other| 0.6 * one + 0.4 * other)
        })
        .collect()
}

/// The periods of the Fourier terms, in steps.
fn harmonics(series: &Series) -> Vec<f64> {
    let of = |period: f64, orders: &[u32]| {
        orders.iter().map(|&order| period / f64::from(order)).collect::<Vec<f64>>()
    };
    let season = series.season();
    match series.step {
        _ if season < 2 => Vec::new(),
        Step::Day | Step::Week => of(season as f64, &[1, 2, 3]),
        // The week, the day and how the day differs by weekday.
        Step::Hour if season == 168 => of(168.0, &[1, 2, 3, 6, 7, 8, 13, 14, 15, 21, 28, 35, 42]),
        Step::Hour => of(24.0, &[1, 2, 3, 4, 5, 6]),
        Step::Minutes(minutes) => {
            let day = 1_440.0 / f64::from(minutes);
            if season as f64 > day {
                of(7.0 * day, &[1, 2, 3, 6, 7, 8, 14, 21, 28, 35, 42])
            } else {
                of(day, &[1, 2, 3, 4, 5, 6])
            }
        }
    }
}
