//! The forecasters whose plain average is the forecast: averages beat every member on 22 real series.
//!
//! All work on `log1p` of the volume, so that growth is a slope and a season a factor. Missing observations
//! are filled for those that need a whole series, and have no weight in the regression.

use std::f64::consts::TAU;

use super::history::Step;
use crate::regression;
use crate::resample::quantile_of;

/// A history on the logarithm, whole.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// `log1p` of the volume, gaps filled.
    pub(crate) values: Vec<f64>,
    /// Whether it was observed.
    pub(crate) known: Vec<bool>,
    /// The step.
    pub(crate) step: Step,
}

/// Seasons whose median is the season to come.
const RECENT_SEASONS: usize = 5;
/// Per season, so much of a trend is left.
const TREND_KEPT: f64 = 0.97;
/// A year of days.
const YEAR_DAYS: f64 = 365.25;

impl Series {
    /// Fills gaps with what was there one season before or after, else with the nearest.
    pub(crate) fn new(volumes: &[Option<f64>], step: Step) -> Self {
        let mut present: Vec<f64> = volumes.iter().flatten().copied().collect();
        present.sort_by(f64::total_cmp);
        // Where thousands are ordinary, nothing at all is an outage of whoever counted.
        let outage_below = 0.01 * quantile_of(&present, 0.5) - 1.0;
        let known: Vec<bool> =
            volumes.iter().map(|volume| volume.is_some_and(|volume| volume > outage_below)).collect();
        let mut values: Vec<f64> = volumes
            .iter()
            .zip(&known)
            .map(|(volume, known)| if *known { volume.unwrap_or(0.0).ln_1p() } else { f64::NAN })
            .collect();
        let season = step.season();
        for index in 0..values.len() {
            if values[index].is_nan() && index >= season {
                values[index] = values[index - season];
            }
        }
        for index in (0..values.len()).rev() {
            if values[index].is_nan() {
                let later = values.get(index + season).or(values.get(index + 1)).copied().unwrap_or(f64::NAN);
                values[index] = later;
            }
        }
        let mut last = values.iter().copied().find(|value| !value.is_nan()).unwrap_or(0.0);
        for value in &mut values {
            if value.is_nan() {
                *value = last;
            }
            last = *value;
        }
        Self { values, known, step }
    }

    /// The first `count` steps of it.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self { values: self.values[..count].to_vec(), known: self.known[..count].to_vec(), step: self.step }
    }

    /// The season that is used: a year of weeks needs two years.
    pub(crate) fn season(&self) -> usize {
        let season = self.step.season();
        if self.values.len() >= 2 * season { season } else { 1 }
    }
}

/// The average of the members, `steps` ahead, on the logarithm.
pub(crate) fn ahead(series: &Series, steps: usize) -> Vec<f64> {
    let (adjusted, season) = adjusted(series);
    let drift = steady_drift(series, &adjusted);
    // Members see the ups and downs around the steady drift; the drift itself does not fade.
    let around = |values: &[f64]| -> Vec<f64> {
        values.iter().enumerate().map(|(at, value)| value - drift * at as f64).collect()
    };
    let drifting = |member: Vec<f64>| -> Vec<f64> {
        let begin = adjusted.len();
        member.iter().enumerate().map(|(step, value)| value + drift * (begin + step) as f64).collect()
    };
    let level = Series { values: around(&series.values), ..series.clone() };
    let smooth = around(&adjusted);
    let regressed = drifting(regressed(&level, steps));
    let smoothed = seasonal(&drifting(theta(&smooth, steps)), &season, series.values.len());
    let highest = series.values.iter().copied().fold(0.0, f64::max);
    let average = |(one, other): (&f64, &f64)| REGRESSED_SHARE * one + (1.0 - REGRESSED_SHARE) * other;
    // Whatever a slope says: not beyond twenty times what was ever seen.
    regressed.iter().zip(&smoothed).map(average).map(|sum| sum.clamp(0.0, highest + 3.0)).collect()
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

/// The series without its season, and the season by phase: medians of the recent deviations from a moving mean.
fn adjusted(series: &Series) -> (Vec<f64>, Vec<f64>) {
    let (values, season) = (&series.values, series.season());
    if season < 2 {
        return (values.clone(), vec![0.0]);
    }
    let smooth = moving_mean(values, season);
    let mut phases: Vec<f64> = (0..season)
        .map(|phase| {
            let mut recent: Vec<f64> = (0..values.len())
                .rev()
                .filter(|at| at % season == phase && series.known[*at])
                .take(RECENT_SEASONS)
                .map(|at| values[at] - smooth[at])
                .collect();
            recent.sort_by(f64::total_cmp);
            quantile_of(&recent, 0.5)
        })
        .collect();
    let mean = phases.iter().sum::<f64>() / season as f64;
    for phase in &mut phases {
        *phase -= mean;
    }
    (values.iter().enumerate().map(|(at, value)| value - phases[at % season]).collect(), phases)
}

/// The mean over one season around each step; at the ends over what there is of whole seasons.
fn moving_mean(values: &[f64], season: usize) -> Vec<f64> {
    let count = values.len();
    let mut sums = Vec::with_capacity(count + 1);
    sums.push(0.0);
    for value in values {
        sums.push(sums.last().copied().unwrap_or(0.0) + value);
    }
    (0..count)
        .map(|at| {
            let begin = at.saturating_sub(season / 2).min(count.saturating_sub(season));
            let end = (begin + season).min(count);
            (sums[end] - sums[begin]) / (end - begin) as f64
        })
        .collect()
}

fn seasonal(level: &[f64], season: &[f64], begin: usize) -> Vec<f64> {
    level.iter().enumerate().map(|(step, level)| level + season[(begin + step) % season.len()]).collect()
}

/// Simple smoothing with half the drift. Source: Assimakopoulos and Nikolopoulos (2000), as read by Hyndman and
/// Billah (2003).
fn theta(values: &[f64], steps: usize) -> Vec<f64> {
    let smooth = |alpha: f64| {
        let mut level = values[0];
        let mut squares = 0.0;
        for value in &values[1..] {
            squares += (value - level).powi(2);
            level += alpha * (value - level);
        }
        (squares, level)
    };
    let candidates = (1..=19).map(|share| smooth(f64::from(share) * 0.05));
    let (_, level) = candidates.min_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or((0.0, values[0]));
    let drift = 0.5 * slope(values);
    (1..=steps).map(|step| level + drift * step as f64).collect()
}

/// The growth per step that both halves of the last year agree on: it is believed as far as they do.
///
/// A trend that came and went is left to the members, which damp it; one that held for a year will meet the
/// capacity, and damping would hide that.
fn steady_drift(series: &Series, adjusted: &[f64]) -> f64 {
    let per_year = YEAR_DAYS * 86_400.0 / series.step.length().as_secs_f64();
    let recent = &adjusted[adjusted.len().saturating_sub(per_year as usize)..];
    if recent.len() < 8 * series.season() {
        return 0.0;
    }
    let third = recent.len() / 3;
    let slopes = [slope(&recent[..third]), slope(&recent[third..2 * third]), slope(&recent[2 * third..])];
    let whole = slope(recent);
    let disagreement =
        slopes.iter().map(|each| (each - whole).abs()).fold(0.0, f64::max) / whole.abs().max(1e-12);
    whole * (1.0 - disagreement / 2.0).clamp(0.0, 1.0)
}

/// The slope of the line through all values.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let middle = 0.5 * (count - 1.0);
    let (mut cross, mut squares) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        cross += (at as f64 - middle) * value;
        squares += (at as f64 - middle).powi(2);
    }
    if squares > 0.0 { cross / squares } else { 0.0 }
}

/// Damped line and Fourier terms through linfa; recent observations weigh more.
fn regressed(series: &Series, steps: usize) -> Vec<f64> {
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

/// The share of the regression in the average; the rest is smoothing, which follows a new level at once.
const REGRESSED_SHARE: f64 = 2.0 / 3.0;
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

/// The periods of the Fourier terms, in steps.
fn harmonics(series: &Series) -> Vec<f64> {
    let count = series.values.len() as f64;
    let of = |period: f64, orders: &[u32]| {
        orders.iter().map(|&order| period / f64::from(order)).collect::<Vec<f64>>()
    };
    let mut periods = match series.step {
        _ if series.season() < 2 => Vec::new(),
        Step::Day => of(7.0, &[1, 2, 3]),
        // The week, the day and how the day differs by weekday.
        Step::Hour => of(168.0, &[1, 2, 3, 6, 7, 8, 13, 14, 15, 21, 28, 35, 42]),
        Step::Week => of(52.18, &[1, 2]),
        Step::Minutes(_) => {
            of(f64::from(u32::try_from(series.season()).unwrap_or(u32::MAX)), &[1, 2, 3, 4, 5, 6])
        }
    };
    if series.step == Step::Day && count >= 2.0 * YEAR_DAYS {
        periods.extend(of(YEAR_DAYS, &[1, 2]));
    }
    periods
}

/// Growth per year of the season-free series over its last year at most, as a ratio.
pub(crate) fn growth_per_year(series: &Series) -> f64 {
    let (adjusted, _) = adjusted(series);
    let per_year = YEAR_DAYS * 86_400.0 / series.step.length().as_secs_f64();
    let recent = adjusted.len().saturating_sub(per_year as usize);
    (slope(&adjusted[recent..]) * per_year).clamp(-10.0, 10.0).exp_m1()
}
