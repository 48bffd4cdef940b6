//! Trends that are not for every series: from the last change on, and towards a level that is nearly reached.
//!
//! They are no part of the average. A series gets one only when it has missed less than the average did when both
//! were tried on earlier parts of that series (see `chosen.rs`).

use super::changes::{Piece, pieces};
use super::{Series, Year, adjusted, slope};

/// What a candidate believes of the trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// It goes on as it went since it changed last.
    SinceChange,
    /// It nears a level that it will not pass.
    Saturating,
}

/// Candidates, in the order of [`candidates`].
pub(crate) const CANDIDATES: [Candidate; 2] = [Candidate::SinceChange, Candidate::Saturating];
/// Of what the line missed of late, so much is left after a season.
const MEMORY: f64 = 0.5;
/// A level that is to be neared lies within so many times what was reached, …
const MOST_TIMES: f64 = 3.0;
/// … and is known only when the criterion falls by so much against growth without an end.
const LEAST_GAIN: f64 = 10.0;
/// Levels that are tried.
const LEVELS: usize = 60;

/// The candidates for `series`, `steps` ahead, on the logarithm; `None` where one has nothing to say.
pub(crate) fn candidates(series: &Series, steps: usize) -> [Option<Vec<f64>>; 2] {
    let parts = Parts::of(series);
    let pieces = pieces(series, &parts.adjusted);
    [parts.since_change(series, &pieces, steps), parts.saturating(series, steps)]
}

/// Where the trend of `series` changed: its pieces.
pub(crate) fn trend_pieces(series: &Series) -> Vec<Piece> {
    pieces(series, &Parts::of(series).adjusted)
}

/// A series without its seasons, and these.
struct Parts {
    adjusted: Vec<f64>,
    phases: Vec<f64>,
    year: Year,
}

impl Parts {
    fn of(series: &Series) -> Self {
        let year = Year::of(series);
        let (adjusted, phases) = adjusted(&series.with(year.taken_off(&series.values)));
        Self { adjusted, phases, year }
    }

    /// The trend `line` ahead with the seasons, from what it missed of late on.
    fn with_seasons(&self, series: &Series, steps: usize, line: &dyn Fn(f64) -> f64) -> Vec<f64> {
        let count = self.adjusted.len();
        let season = series.season().max(1);
        let recent = count.saturating_sub(season.max(3))..count;
        let missed = recent.clone().map(|at| self.adjusted[at] - line(at as f64)).sum::<f64>()
            / recent.len().max(1) as f64;
        let highest = series.values.iter().copied().fold(0.0, f64::max);
        (0..steps)
            .map(|step| {
                let at = count + step;
                let faded = missed * MEMORY.powf(step as f64 / season as f64);
                let value = line(at as f64) + faded + self.phases[at % self.phases.len()] + self.year.at(at);
                value.clamp(0.0, highest + 3.0)
            })
            .collect()
    }

    fn since_change(&self, series: &Series, pieces: &[Piece], steps: usize) -> Option<Vec<f64>> {
        let last = pieces.last().filter(|_| pieces.len() > 1)?;
        // A slope that might as well be none is believed less.
        let certainty = (last.slope / last.slope_error.max(1e-12)).powi(2);
        let kept = certainty / (1.0 + certainty);
        let count = self.adjusted.len() as f64;
        let line = |at: f64| {
            if at < count { last.at(at) } else { last.at(count) + kept * last.slope * (at - count) }
        };
        Some(self.with_seasons(series, steps, &line))
    }

    /// Growth that slows down as it nears a level.
    ///
    /// Source: Verhulst's logistic growth (1838), by least squares on ln(y / (K − y)) for each level K.
    fn saturating(&self, series: &Series, steps: usize) -> Option<Vec<f64>> {
        let season = series.season().max(1);
        let every = season.max(self.adjusted.len().div_ceil(400));
        let blocks: Vec<f64> = self
            .adjusted
            .chunks_exact(every)
            .map(|block| block.iter().sum::<f64>() / block.len() as f64)
            .collect();
        if blocks.len() < 12 {
            return None;
        }
        let count = blocks.len() as f64;
        let line = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let slope = slope(values);
            (mean - slope * 0.5 * (values.len() as f64 - 1.0), slope)
        };
        let squares = |fitted: &dyn Fn(f64) -> f64| {
            blocks.iter().enumerate().map(|(at, value)| (value - fitted(at as f64)).powi(2)).sum::<f64>()
        };
        let (level, growth) = line(&blocks);
        let endless = squares(&|at| level + growth * at);
        let top = blocks.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let last = blocks[blocks.len() - blocks.len().div_ceil(6)..].iter().sum::<f64>()
            / blocks.len().div_ceil(6) as f64;
        let mut best: Option<(f64, f64, f64, f64)> = None;
        for at in 1..=LEVELS {
            // From a little above all that was seen to three times of it.
            let limit = top + 0.01 + (MOST_TIMES.ln() - 0.01) * (at as f64 / LEVELS as f64).powi(2);
            let bent: Vec<f64> =
                blocks.iter().map(|value| value - (limit.exp() - value.exp()).max(1e-12).ln()).collect();
            let (begin, rate) = line(&bent);
            if rate <= 0.0 {
                continue;
            }
            let missed = squares(&|at| logistic(limit, begin + rate * at));
            if best.is_none_or(|known| missed < known.0) {
                best = Some((missed, limit, begin, rate));
            }
        }
        let (missed, limit, begin, rate) = best?;
        let criterion = |squares: f64, free: f64| count * (squares / count).max(1e-12).ln() + 2.0 * free;
        // Before the growth slows down nobody knows where it ends.
        let slows = last > limit - std::f64::consts::LN_2;
        if !slows || criterion(missed, 4.0) > criterion(endless, 3.0) - LEAST_GAIN {
            return None;
        }
        let middle = 0.5 * (every as f64 - 1.0);
        let line = |at: f64| logistic(limit, begin + rate * (at - middle) / every as f64);
        Some(self.with_seasons(series, steps, &line))
    }
}

/// ln(K / (1 + e⁻ᶻ)), `limit` being ln K.
fn logistic(limit: f64, z: f64) -> f64 {
    limit - (-z).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::history::Step;

    fn week_of(day: usize) -> f64 {
        [1.0, 1.05, 1.1, 1.05, 1.0, 0.7, 0.6][day % 7]
    }

    fn series(count: usize, trend: impl Fn(f64) -> f64) -> Series {
        let volume = |day: usize| Some(1e6 * week_of(day) * trend(day as f64).exp());
        Series::new(&(0..count).map(volume).collect::<Vec<_>>(), Step::Day)
    }

    #[test]
    fn a_trend_that_changed_is_continued_from_its_change_on() {
        let trend = |day: f64| 0.003 * (day - 250.0).max(0.0);
        let [since_change, _] = candidates(&series(400, trend), 90);
        let last = since_change.expect("changed")[89];
        let truth = (1e6 * week_of(489) * trend(489.0).exp()).ln();
        assert!((last - truth).abs() < 0.05, "{last} is not {truth}");
        assert_eq!(candidates(&series(400, |day| 0.001 * day), 90)[0], None);
    }

    #[test]
    fn growth_that_slows_down_nears_its_level_and_growth_that_does_not_has_none() {
        // A tenth of its level at first, half of it on day 200.
        let trend = |day: f64| -(-(day - 200.0) / 60.0).exp().ln_1p();
        let [_, saturating] = candidates(&series(400, trend), 180);
        let last = saturating.expect("slows down")[179];
        let truth = (1e6 * week_of(579) * trend(579.0).exp()).ln();
        assert!((last - truth).abs() < 0.05, "{last} is not {truth}");
        assert_eq!(candidates(&series(400, |day| 0.002 * day), 180)[1], None);
    }
}
