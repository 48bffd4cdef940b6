//! The forecasters whose plain average is the forecast: averages beat every member on real series.
//!
//! All work on `log1p` of the volume, so that growth is a slope and a season a factor. What all agree on is
//! taken off first and put back at the end: the year, as far as years resemble each other, and the drift that
//! held through the last one. The members then see what is left: a regression on a damped line and Fourier
//! terms, smoothing after a decomposition (damped trend, and half the drift), and two autoregressions, one that
//! returns to its mean and one that stays where it is. Missing observations are filled for those that need a
//! whole series, and have no weight in the regression.

mod candidates;
mod changes;
mod decompose;
mod regressed;
mod smoothing;
mod yearly;

use super::history::Step;
use crate::resample::quantile_of;
use decompose::{Decomposed, Window, decompose};
use yearly::Year;

pub(crate) use candidates::{CANDIDATES, Candidate, candidates, trend_pieces};
pub(crate) use changes::Piece;

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
/// Days in a year.
pub(super) const YEAR_DAYS: f64 = 365.25;
/// An autoregression looks back this many steps at most.
const LONGEST_MEMORY: usize = 14;

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
        let season = *periods(step, values.len()).last().unwrap_or(&1);
        for index in season..values.len() {
            if values[index].is_nan() {
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

    /// The lengths of its seasons in steps, ascending: those that it holds twice.
    pub(crate) fn periods(&self) -> Vec<usize> {
        periods(self.step, self.values.len())
    }

    /// Its longest season in steps; 1 without any.
    pub(crate) fn season(&self) -> usize {
        *self.periods().last().unwrap_or(&1)
    }

    /// Steps in a year.
    pub(crate) fn steps_per_year(&self) -> f64 {
        YEAR_DAYS * 86_400.0 / self.step.length().as_secs_f64()
    }

    fn with(&self, values: Vec<f64>) -> Self {
        Self { values, known: self.known.clone(), step: self.step }
    }
}

/// The day and the week, where a history of `count` steps holds them twice. The year is seen to elsewhere.
fn periods(step: Step, count: usize) -> Vec<usize> {
    let candidates = match step {
        Step::Minutes(minutes) => vec![1_440 / minutes as usize, 10_080 / minutes as usize],
        Step::Hour => vec![24, 168],
        Step::Day => vec![7],
        Step::Week => Vec::new(),
    };
    candidates.into_iter().filter(|period| count >= 2 * period).collect()
}

/// The average of the members, `steps` ahead, on the logarithm.
pub(crate) fn ahead(series: &Series, steps: usize) -> Vec<f64> {
    let year = Year::of(series);
    let without_year = series.with(year.taken_off(&series.values));
    let (adjusted, _) = adjusted(&without_year);
    let drift = steady_drift(series, &adjusted);
    let begin = series.values.len();
    // Members see the ups and downs around the steady drift; the drift itself does not fade.
    let level: Vec<f64> =
        without_year.values.iter().enumerate().map(|(at, value)| value - drift * at as f64).collect();
    let level = series.with(level);
    let members = members(&level, steps);
    let highest = series.values.iter().copied().fold(0.0, f64::max);
    (0..steps)
        .map(|step| {
            let sum: f64 = members.iter().map(|member| member[step]).sum();
            let at = begin + step;
            let value = sum / members.len() as f64 + drift * at as f64 + year.at(at);
            // Whatever a slope says: not beyond twenty times what was ever seen.
            value.clamp(0.0, highest + 3.0)
        })
        .collect()
}

/// The members, each `steps` ahead.
fn members(level: &Series, steps: usize) -> Vec<Vec<f64>> {
    let periods = level.periods();
    let moving = decompose(&level.values, &periods, Window::Moving);
    let robust = decompose(&level.values, &periods, Window::MovingRobust);
    let lasting = decompose(&level.values, &periods, Window::LastingRobust);
    let continued = |parts: &Decomposed, around: Vec<f64>| parts.with_seasons(around);
    vec![
        regressed::regressed(level, steps),
        continued(&moving, smoothing::damped(&moving.rest, steps)),
        continued(&lasting, smoothing::theta(&lasting.rest, steps)),
        continued(&lasting, smoothing::returning(&lasting.rest, steps, LONGEST_MEMORY)),
        continued(&robust, smoothing::staying(&robust.rest, steps, LONGEST_MEMORY)),
    ]
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
            let last = (values.len() - 1 - phase) / season;
            let mut recent: Vec<f64> = (0..=last)
                .rev()
                .map(|cycle| phase + cycle * season)
                .filter(|&at| series.known[at])
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

/// The growth per step that all thirds of the last year, or of the last two where there are as many, agree on:
/// it is believed as far as they do.
///
/// A trend that came and went is left to the members, which damp it; one that held for a year will meet the
/// capacity, and damping would hide that.
fn steady_drift(series: &Series, adjusted: &[f64]) -> f64 {
    let year = series.steps_per_year() as usize;
    let window = if adjusted.len() >= 2 * year { 2 * year } else { year };
    let recent = &adjusted[adjusted.len().saturating_sub(window)..];
    if recent.len() < 8 * series.step.season().min(168) {
        return 0.0;
    }
    let third = recent.len() / 3;
    let slopes = [slope(&recent[..third]), slope(&recent[third..2 * third]), slope(&recent[2 * third..])];
    let whole = slope(recent);
    let disagreement =
        slopes.iter().map(|each| (each - whole).abs()).fold(0.0, f64::max) / whole.abs().max(1e-12);
    // Thirds of the same growth differ by half of it through noise alone.
    whole * (1.0 - (disagreement - 0.5) / 1.5).clamp(0.0, 1.0)
}

/// The slope of the line through all values.
pub(super) fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let middle = 0.5 * (count - 1.0);
    let (mut cross, mut squares) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        cross += (at as f64 - middle) * value;
        squares += (at as f64 - middle).powi(2);
    }
    if squares > 0.0 { cross / squares } else { 0.0 }
}

/// Growth per year of the season-free series over its last year at most, as a ratio: since it changed last when
/// that is a quarter of a year ago or longer. A level that moved at once is no growth.
pub(crate) fn growth_per_year(series: &Series) -> f64 {
    let year = series.steps_per_year();
    let (mut adjusted, _) = adjusted(&series.with(Year::of(series).taken_off(&series.values)));
    let count = adjusted.len();
    let mut recent = count.saturating_sub(year as usize);
    for pair in trend_pieces(series).windows(2) {
        let from = pair[1].from;
        let jump = pair[1].at(from as f64) - pair[0].at(from as f64);
        adjusted[from..].iter_mut().for_each(|value| *value -= jump);
        if (count - from) as f64 >= year / 4.0 {
            recent = recent.max(from);
        }
    }
    (slope(&adjusted[recent..]) * year).clamp(-10.0, 10.0).exp_m1()
}

#[cfg(test)]
mod tests;
