//! How wrong the forecast is, by how far ahead: measured on the history by rolling origin.
//!
//! A miss has a slow part, the mean over a season, which grows with the distance, and a fast part around it,
//! which does not. Both are drawn for simulated paths.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::chosen::{Choice, Tried};
use super::members::{Series, ahead, candidates};
use super::types::ForecastScore;
use crate::resample::{normal, quantile_of};

/// So many origins at most.
const MOST_ORIGINS: usize = 16;
/// So many origins the exam needs: each is held against an interval that was learnt from the others.
const LEAST_ORIGINS: usize = 2;
/// So many steps beyond two years are enough to examine a forecast that knows the year.
const LEAST_AFTER_YEARS: usize = 56;
/// So many steps of an origin are examined at most.
const MOST_EXAMINED: usize = 5_000;
/// The share of the misses that the 80 % interval of a step is made to hold: the origins overlap, and what is to
/// come holds surprises that they did not.
const CAUTIOUS: f64 = 0.88;
/// The same for whole paths: less, because the first of many steps to exceed a capacity, on the busiest day of a
/// week or an event, comes from the tails; in simulated worlds the interval of the date then holds what it says.
const FAIR: f64 = 0.68;
/// How much the size of all misses of a path varies, on the logarithm: some times are wilder than others, and
/// the tails are heavier than those of a single normal.
const WILDNESS: f64 = 0.35;
/// So many tried forecasts are shown at most.
const MOST_SHOWN: usize = 6;
/// Draws for the coverage of the exam.
const EXAM_PATHS: usize = 200;

/// What was learnt of the misses.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    season: usize,
    /// The standard deviation of the slow part one season ahead.
    slow: f64,
    /// How it grows: with the number of seasons to this power.
    growth: f64,
    /// Stretches of fast parts, one season long.
    fast: Vec<Vec<f64>>,
    /// What misses are multiplied with so that intervals of single steps hold what they say, also on series that
    /// surprise.
    scale: f64,
    /// The same without that margin: what was seen, no more. A date is made of many steps, and its interval
    /// would grow far beyond what it says.
    fair: f64,
}

/// How wide misses are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// For intervals of single steps.
    Cautious,
    /// For what is made of whole paths.
    Fair,
}

/// What the history taught.
pub(crate) struct Learnt {
    pub(crate) spread: Spread,
    pub(crate) score: Option<ForecastScore>,
    /// What is taken beside the average of the members.
    pub(crate) choice: Choice,
    /// Forecasts that were tried and do not overlap, by origin: the step and what was expected, on the logarithm.
    pub(crate) tried: Vec<Vec<(usize, f64)>>,
}

/// One origin: the misses of its forecast, on the logarithm, as far as they are known.
struct Trial {
    /// The first step that was forecast.
    begin: usize,
    expected: Vec<f64>,
    misses: Vec<Option<f64>>,
}

impl Spread {
    /// Learns from `series`; the score is that of the forecasts that were tried.
    pub(crate) fn learn(series: &Series, steps: usize, chance: &mut ChaCha8Rng) -> Learnt {
        let season = series.season();
        let (trials, choice) = trials(series, steps, season);
        if trials.is_empty() {
            let fast = vec![vec![0.0; season]];
            return Learnt {
                spread: Self { season, slow: 0.3, growth: 0.5, fast, scale: 1.0, fair: 1.0 },
                score: None,
                choice,
                tried: Vec::new(),
            };
        }
        let all: Vec<&Trial> = trials.iter().collect();
        let tried = apart(&trials);
        let mut spread = Self::of(&all, season);
        if trials.len() < LEAST_ORIGINS {
            let ratios = Ratios::of(&trials[0], &spread, chance);
            spread.scale = scale_of(std::iter::once(&ratios), CAUTIOUS);
            spread.fair = spread.scale;
            return Learnt { spread, score: None, choice, tried };
        }
        let exams = exams(&trials, season, chance);
        spread.scale = scale_of(exams.iter(), CAUTIOUS);
        spread.fair = scale_of(exams.iter(), FAIR);
        Learnt { spread, score: Some(score(series, &trials, &exams)), choice, tried }
    }

    /// What `trials`, of which there are some, teach; not scaled.
    fn of(trials: &[&Trial], season: usize) -> Self {
        let mut spread = Self { season, slow: 0.1, growth: 0.5, fast: Vec::new(), scale: 1.0, fair: 1.0 };
        spread.learn_slow(trials);
        spread.learn_fast(trials);
        spread
    }

    fn learn_slow(&mut self, trials: &[&Trial]) {
        let mut squares: Vec<(f64, f64)> = Vec::new();
        for trial in trials {
            for (block, misses) in trial.misses.chunks(self.season).enumerate() {
                let Some(mean) = mean_of(misses) else { continue };
                if squares.len() <= block {
                    squares.resize(block + 1, (0.0, 0.0));
                }
                squares[block].0 += mean * mean;
                squares[block].1 += 1.0;
            }
        }
        let known: Vec<(f64, f64, f64)> = squares
            .iter()
            .enumerate()
            .filter(|(_, (_, count))| *count > 0.0)
            .map(|(block, (sum, count))| {
                ((block as f64 + 1.0).ln(), (sum / count).sqrt().max(1e-4).ln(), *count)
            })
            .collect();
        let total: f64 = known.iter().map(|each| each.2).sum();
        let mean_x = known.iter().map(|each| each.0 * each.2).sum::<f64>() / total;
        let mean_y = known.iter().map(|each| each.1 * each.2).sum::<f64>() / total;
        let cross: f64 = known.iter().map(|each| each.2 * (each.0 - mean_x) * (each.1 - mean_y)).sum();
        let square: f64 = known.iter().map(|each| each.2 * (each.0 - mean_x).powi(2)).sum();
        self.growth = if square > 0.0 { (cross / square).clamp(0.05, 0.8) } else { 0.5 };
        self.slow = (mean_y - self.growth * mean_x).exp();
    }

    fn learn_fast(&mut self, trials: &[&Trial]) {
        for trial in trials {
            for misses in trial.misses.chunks(self.season).filter(|misses| misses.len() == self.season) {
                let Some(mean) = mean_of(misses) else { continue };
                self.fast.push(misses.iter().map(|miss| miss.map_or(0.0, |miss| miss - mean)).collect());
            }
        }
        if self.fast.is_empty() {
            self.fast.push(vec![0.0; self.season]);
        }
    }

    /// A path of misses, `steps` long.
    pub(crate) fn path(&self, steps: usize, width: Width, chance: &mut ChaCha8Rng) -> Vec<f64> {
        let scale = match width {
            Width::Cautious => self.scale,
            Width::Fair => self.fair,
        };
        let mut path = Vec::with_capacity(steps);
        let mut slow = 0.0;
        let variance = |seasons: f64| self.slow * self.slow * seasons.powf(2.0 * self.growth);
        let mut block = 0.0;
        let wildness = (WILDNESS * normal(chance)).exp();
        while path.len() < steps {
            let before = slow;
            slow += (variance(block + 1.0) - variance(block)).max(0.0).sqrt() * normal(chance);
            block += 1.0;
            let fast = &self.fast[chance.random_range(0..self.fast.len())];
            for (at, fast) in fast.iter().enumerate().take(steps - path.len()) {
                let share = (at as f64 + 1.0) / self.season as f64;
                let level = if block < 2.0 { slow } else { before + (slow - before) * share };
                path.push(scale * wildness * (level + fast));
            }
        }
        path
    }
}

/// The misses of one origin over what others foretold: above 1 they lie outside.
struct Ratios {
    /// Over the half width of the 80 % interval.
    of_80: Vec<f64>,
    /// Over that of the 95 % interval.
    of_95: Vec<f64>,
}

impl Ratios {
    fn of(trial: &Trial, spread: &Spread, chance: &mut ChaCha8Rng) -> Self {
        let length = trial.misses.len();
        let paths: Vec<Vec<f64>> =
            (0..EXAM_PATHS).map(|_| spread.path(length, Width::Cautious, chance)).collect();
        let mut ratios = Self { of_80: Vec::new(), of_95: Vec::new() };
        for step in (0..length).step_by(length.div_ceil(MOST_EXAMINED).max(1)) {
            let Some(miss) = trial.misses[step] else { continue };
            let mut drawn: Vec<f64> = paths.iter().map(|path| path[step].abs()).collect();
            drawn.sort_by(f64::total_cmp);
            ratios.of_80.push(miss.abs() / quantile_of(&drawn, 0.8).max(1e-9));
            ratios.of_95.push(miss.abs() / quantile_of(&drawn, 0.95).max(1e-9));
        }
        ratios
    }
}

/// Each of `trials` held against what all others foretell: a miss has no part in what it is held against.
fn exams(trials: &[Trial], season: usize, chance: &mut ChaCha8Rng) -> Vec<Ratios> {
    trials
        .iter()
        .enumerate()
        .map(|(left_out, trial)| {
            let others: Vec<&Trial> =
                trials.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, other)| other).collect();
            Ratios::of(trial, &Spread::of(&others, season), chance)
        })
        .collect()
}

/// What everything is multiplied with so that the 80 % interval holds `share` of the misses.
///
/// Source: cross-conformal prediction, Vovk (2015).
fn scale_of<'r>(exams: impl Iterator<Item = &'r Ratios>, share: f64) -> f64 {
    let mut ratios: Vec<f64> = exams.flat_map(|exam| &exam.of_80).copied().collect();
    ratios.sort_by(f64::total_cmp);
    if ratios.is_empty() { 1.0 } else { quantile_of(&ratios, share).clamp(0.5, 3.0) }
}

/// How the forecasts that were tried did. Neither the interval that an origin is held against nor its scale know
/// its misses.
fn score(series: &Series, trials: &[Trial], exams: &[Ratios]) -> ForecastScore {
    let (mut count, mut inside_80, mut inside_95) = (0.0, 0.0, 0.0);
    for (left_out, exam) in exams.iter().enumerate() {
        let scale = scale_of(
            exams.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, other)| other),
            CAUTIOUS,
        );
        let inside = |ratios: &[f64]| ratios.iter().filter(|ratio| **ratio <= scale).count() as f64;
        count += exam.of_80.len() as f64;
        inside_80 += inside(&exam.of_80);
        inside_95 += inside(&exam.of_95);
    }
    ForecastScore {
        origins: trials.len(),
        mase: mase(series, trials),
        coverage_80: inside_80 / f64::max(count, 1.0),
        coverage_95: inside_95 / f64::max(count, 1.0),
        typical_miss_ratio: typical_miss(trials),
    }
}

/// The median of the relative misses of `trials`.
fn typical_miss(trials: &[Trial]) -> f64 {
    let mut misses: Vec<f64> = trials
        .iter()
        .flat_map(|trial| &trial.misses)
        .flatten()
        .map(|miss| ((-miss).exp() - 1.0).abs())
        .collect();
    misses.sort_by(f64::total_cmp);
    quantile_of(&misses, 0.5)
}

/// The mean absolute miss of `trials` over that of the seasonal naive forecast of `series`, one season ahead.
fn mase(series: &Series, trials: &[Trial]) -> f64 {
    let season = series.season();
    let volume = |log: f64| log.exp_m1().max(0.0);
    let mean = |misses: &[f64]| misses.iter().sum::<f64>() / misses.len().max(1) as f64;
    let naive: Vec<f64> = (season..series.values.len())
        .map(|at| (volume(series.values[at]) - volume(series.values[at - season])).abs())
        .collect();
    let missed: Vec<f64> = trials
        .iter()
        .flat_map(|trial| trial.expected.iter().zip(&trial.misses))
        .filter_map(|(expected, miss)| Some((volume(expected + (*miss)?) - volume(*expected)).abs()))
        .collect();
    if mean(&naive) > 0.0 { mean(&missed) / mean(&naive) } else { 0.0 }
}

/// Those of `trials` that do not overlap, the latest and longest first chosen, each as far as it is known.
fn apart(trials: &[Trial]) -> Vec<Vec<(usize, f64)>> {
    let mut chosen: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut free_to = usize::MAX;
    for trial in trials.iter().rev() {
        let whole = trial.expected.len();
        if trial.begin + whole > free_to || whole == 0 || chosen.len() >= MOST_SHOWN {
            continue;
        }
        // One that ends with the history is short; a longer one before it tells more.
        let longer = trials.iter().any(|other| other.begin < trial.begin && other.expected.len() > 2 * whole);
        if chosen.is_empty() && longer {
            continue;
        }
        free_to = trial.begin;
        chosen.push(
            trial.expected.iter().enumerate().map(|(step, value)| (trial.begin + step, *value)).collect(),
        );
    }
    chosen.reverse();
    chosen
}

/// Forecasts from earlier origins, as long as the history allows, and what the last of them teach to choose.
fn trials(series: &Series, steps: usize, season: usize) -> (Vec<Trial>, Choice) {
    let count = series.values.len();
    // A forecast that knows the year is not examined by how those did that could not.
    let two_years = (2.0 * series.steps_per_year()).ceil() as usize;
    let knows_year = count >= two_years + LEAST_AFTER_YEARS.max(8 * season);
    let least = (3 * season).max(count / 3).max(if knows_year { two_years } else { 0 });
    let truth = |step: usize| series.known[step].then(|| series.values[step]);
    // A season at least, and a quarter of the way, must be known of a trial that has a say.
    let enough = season.max(steps.min(count / 2) / 4);
    let (mut tried, mut trials): (Vec<Tried>, Vec<Trial>) = (Vec::new(), Vec::new());
    for begin in origins(count, steps, season, least) {
        let past = series.first(begin);
        let length = steps.min(count / 2).min(count - begin);
        let choice = Choice::by(&tried, begin, enough, &truth);
        let latest = Tried { begin, average: ahead(&past, length), candidates: candidates(&past, length) };
        let expected = choice.of(&latest.average, &latest.candidates);
        let miss = |(step, expected): (usize, &f64)| truth(begin + step).map(|value| value - expected);
        let misses = expected.iter().enumerate().map(miss).collect();
        trials.push(Trial { begin, expected, misses });
        tried.push(latest);
    }
    let choice = Choice::by(&tried, count, enough, &truth);
    (trials, choice)
}

/// Where trials begin: the first at `least`, the latest one season before the end.
fn origins(count: usize, steps: usize, season: usize, least: usize) -> Vec<usize> {
    let shortest = season.min(steps).min(count / 2).max(1);
    if count < least + shortest {
        return Vec::new();
    }
    let apart = ((count - least) / MOST_ORIGINS).max(shortest / 2).max(1);
    let last = count - shortest;
    let mut origins: Vec<usize> =
        (0..MOST_ORIGINS).map_while(|at| last.checked_sub(at * apart)).filter(|at| *at >= least).collect();
    origins.reverse();
    origins
}

fn mean_of(misses: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = misses.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::history::Step;
    use crate::resample::generator;

    fn trial(misses: &[f64]) -> Trial {
        Trial {
            begin: 0,
            expected: vec![5.0; misses.len()],
            misses: misses.iter().copied().map(Some).collect(),
        }
    }

    #[test]
    fn an_origin_is_held_against_intervals_that_never_saw_it() {
        let series =
            Series::new(&(0..70).map(|day| Some(100.0 + f64::from(day % 7))).collect::<Vec<_>>(), Step::Day);
        let calm = [0.01, -0.01, 0.01, -0.01, 0.01, -0.01, 0.01];
        let mut trials: Vec<Trial> = (0..4).map(|_| trial(&calm)).collect();
        let before = score(&series, &trials, &exams(&trials, 7, &mut generator(1, 2)));
        // What three calm origins foretell says nothing of a fourth that is a hundred times as wild: all of
        // its seven misses lie outside, of 28 examined.
        trials[3] = trial(&[1.0; 7]);
        let after = score(&series, &trials, &exams(&trials, 7, &mut generator(1, 2)));

        assert!(before.coverage_95 > 0.9, "{before:?}");
        assert!(after.coverage_95 <= 0.75, "{after:?}");
        assert_eq!(after.origins, 4);
    }
}
