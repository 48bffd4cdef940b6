//! How wrong the forecast is, by how far ahead: measured on the history by rolling origin.
//!
//! A miss has a slow part, the mean over a season, which grows with the distance, and a fast part around it,
//! which does not. Both are drawn for simulated paths.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::members::{Series, ahead};
use super::types::ForecastScore;
use crate::resample::{normal, quantile_of};

/// So many origins at most.
const MOST_ORIGINS: usize = 16;
/// So many origins the exam needs: each is held against an interval that was learnt from the others.
const LEAST_ORIGINS: usize = 2;
/// So many steps of an origin are examined at most.
const MOST_EXAMINED: usize = 5_000;
/// The share of the trials' misses that the 80 % interval is made to hold.
const CALIBRATED: f64 = 0.88;
/// How much the size of all misses of a path varies, on the logarithm: some times are wilder than others, and
/// the tails are heavier than those of a single normal.
const WILDNESS: f64 = 0.35;
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
    /// What everything is multiplied with so that intervals hold what they say.
    scale: f64,
}

/// What the history taught.
pub(crate) struct Learnt {
    pub(crate) spread: Spread,
    pub(crate) score: Option<ForecastScore>,
}

/// One origin: the misses of its forecast, on the logarithm, as far as they are known.
struct Trial {
    expected: Vec<f64>,
    misses: Vec<Option<f64>>,
}

impl Spread {
    /// Learns from `series`; the score is that of the forecasts that were tried.
    pub(crate) fn learn(series: &Series, steps: usize, chance: &mut ChaCha8Rng) -> Learnt {
        let season = series.season();
        let trials = trials(series, steps, season);
        if trials.is_empty() {
            let fast = vec![vec![0.0; season]];
            return Learnt { spread: Self { season, slow: 0.3, growth: 0.5, fast, scale: 1.0 }, score: None };
        }
        let all: Vec<&Trial> = trials.iter().collect();
        let (spread, _) = Self::of(&all, season, chance);
        let score = (trials.len() >= LEAST_ORIGINS).then(|| score(series, &trials, season, chance));
        Learnt { spread, score }
    }

    /// What `trials`, of which there are some, teach; and the paths, not scaled, that it was scaled with.
    fn of(trials: &[&Trial], season: usize, chance: &mut ChaCha8Rng) -> (Self, Vec<Vec<f64>>) {
        let mut spread = Self { season, slow: 0.1, growth: 0.5, fast: Vec::new(), scale: 1.0 };
        spread.learn_slow(trials);
        spread.learn_fast(trials);
        let longest = trials.iter().map(|trial| trial.misses.len()).max().unwrap_or(1);
        let paths: Vec<Vec<f64>> = (0..EXAM_PATHS).map(|_| spread.path(longest, chance)).collect();
        spread.calibrate(trials, &paths);
        (spread, paths)
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
        self.growth = if square > 0.0 { (cross / square).clamp(0.25, 0.8) } else { 0.5 };
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

    /// Scales so that more of the trials' misses than 80 % lie inside the 80 % interval: the trials overlap, and
    /// what is to come holds surprises that they did not.
    fn calibrate(&mut self, trials: &[&Trial], paths: &[Vec<f64>]) {
        let mut ratios: Vec<f64> = Vec::new();
        for step in examined(paths) {
            let mut drawn: Vec<f64> = paths.iter().map(|path| path[step].abs()).collect();
            drawn.sort_by(f64::total_cmp);
            let usual = quantile_of(&drawn, 0.8).max(1e-9);
            ratios.extend(
                trials
                    .iter()
                    .filter_map(|trial| trial.misses.get(step).copied().flatten())
                    .map(|miss| miss.abs() / usual),
            );
        }
        ratios.sort_by(f64::total_cmp);
        self.scale = quantile_of(&ratios, CALIBRATED).clamp(0.5, 3.0);
    }

    /// A path of misses, `steps` long.
    pub(crate) fn path(&self, steps: usize, chance: &mut ChaCha8Rng) -> Vec<f64> {
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
                path.push(self.scale * wildness * (level + fast));
            }
        }
        path
    }
}

/// How the forecasts that were tried did. The interval of each origin is learnt from all other origins only:
/// a miss has no part in the interval that it is held against.
fn score(series: &Series, trials: &[Trial], season: usize, chance: &mut ChaCha8Rng) -> ForecastScore {
    let (mut count, mut inside_80, mut inside_95) = (0.0, 0.0, 0.0);
    for (left_out, trial) in trials.iter().enumerate() {
        let others: Vec<&Trial> =
            trials.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, other)| other).collect();
        let (spread, paths) = Spread::of(&others, season, chance);
        for step in examined(&paths) {
            let Some(miss) = trial.misses.get(step).copied().flatten() else { continue };
            let mut drawn: Vec<f64> = paths.iter().map(|path| spread.scale * path[step]).collect();
            drawn.sort_by(f64::total_cmp);
            let within = |tail: f64| {
                f64::from(u8::from(
                    quantile_of(&drawn, tail) <= miss && miss <= quantile_of(&drawn, 1.0 - tail),
                ))
            };
            count += 1.0;
            inside_80 += within(0.1);
            inside_95 += within(0.025);
        }
    }
    ForecastScore {
        origins: trials.len(),
        mase: mase(series, trials),
        coverage_80: inside_80 / f64::max(count, 1.0),
        coverage_95: inside_95 / f64::max(count, 1.0),
    }
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

/// The steps at which paths are held against misses: all, or of many an even choice.
fn examined(paths: &[Vec<f64>]) -> impl Iterator<Item = usize> + use<> {
    let longest = paths.first().map_or(0, Vec::len);
    (0..longest).step_by(longest.div_ceil(MOST_EXAMINED).max(1))
}

/// Forecasts from earlier origins, as long as the history allows.
fn trials(series: &Series, steps: usize, season: usize) -> Vec<Trial> {
    let count = series.values.len();
    let trial = |begin: usize| {
        let expected = ahead(&series.first(begin), steps.min(count / 2).min(count - begin));
        let miss = |(step, expected): (usize, &f64)| {
            series.known[begin + step].then(|| series.values[begin + step] - expected)
        };
        let misses = expected.iter().enumerate().map(miss).collect();
        Trial { expected, misses }
    };
    origins(count, steps, season).into_iter().map(trial).collect()
}

/// Where trials begin: the latest one season before the end.
fn origins(count: usize, steps: usize, season: usize) -> Vec<usize> {
    let least = (3 * season).max(count / 3);
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
        Trial { expected: vec![5.0; misses.len()], misses: misses.iter().copied().map(Some).collect() }
    }

    #[test]
    fn an_origin_is_held_against_intervals_that_never_saw_it() {
        let series =
            Series::new(&(0..70).map(|day| Some(100.0 + f64::from(day % 7))).collect::<Vec<_>>(), Step::Day);
        let calm = [0.01, -0.01, 0.01, -0.01, 0.01, -0.01, 0.01];
        let mut trials: Vec<Trial> = (0..4).map(|_| trial(&calm)).collect();
        let before = score(&series, &trials, 7, &mut generator(1, 2));
        // What three calm origins foretell says nothing of a fourth that is a hundred times as wild: all of
        // its seven misses lie outside, of 28 examined.
        trials[3] = trial(&[1.0; 7]);
        let after = score(&series, &trials, 7, &mut generator(1, 2));

        assert!(before.coverage_95 > 0.9, "{before:?}");
        assert!(after.coverage_95 <= 0.75, "{after:?}");
        assert_eq!(after.origins, 4);
    }
}
