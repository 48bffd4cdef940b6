//! Levels among moments: where a series of measurements holds its load, and where it is steady there.
//!
//! Steady by a test that is stated: no trend of the number in flight by Mann and Kendall, on at most twelve
//! stretches, since neighbouring seconds of a queue resemble each other.

use crate::point::Window;

/// A level's moments may differ from its median by this share, and by so many of their own spreads.
const LEVEL_RATIO: f64 = 0.1;
const LEVEL_SPREADS: f64 = 4.0;
/// A level of fewer moments than this gives no point.
pub(crate) const LEAST_MOMENTS: usize = 4;

/// The stretches of `loads` that hold one level, in order, warm-up included.
///
/// A moment that leaves the level begins a new one, unless the next comes back: one outlier is no change.
pub(crate) fn levels(loads: &[f64]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while at < loads.len() {
        let level = &loads[begin..at];
        // Medians: an outlier that stays must not hide the next level.
        let middle = median(level.to_vec());
        let spread = 1.4826 * median(level.iter().map(|each| (each - middle).abs()).collect());
        let leaves =
            |value: f64| (value - middle).abs() > (LEVEL_RATIO * middle.abs()).max(LEVEL_SPREADS * spread);
        let next = loads.get(at + 1).copied().unwrap_or(loads[at]);
        if !level.is_empty() && leaves(loads[at]) && leaves(next) {
            found.push(begin..at);
            begin = at;
        }
        at += 1;
    }
    found.push(begin..loads.len());
    found.retain(|level| level.len() >= LEAST_MOMENTS);
    found
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    crate::resample::quantile_of(&values, 0.5)
}

/// How many moments of the beginning to cut, at most half.
///
/// MSER (White 1997): the cut that minimises the standard error of the mean of what is left; with fifty moments
/// or more in batches of five, which is MSER-5. A warm-up begins at its extreme: the cut is made only when the first
/// batch lies beyond all that is kept. Otherwise what the rule cuts off is a busy spell like any other, and without
/// those the response would come out too short.
pub(crate) fn warm_up(series: &[f64]) -> usize {
    let batch = if series.len() >= 50 { 5 } else { 1 };
    let means: Vec<f64> =
        series.chunks_exact(batch).map(|chunk| chunk.iter().sum::<f64>() / batch as f64).collect();
    let score = |cut: usize| {
        let rest = &means[cut..];
        let mean = rest.iter().sum::<f64>() / rest.len() as f64;
        rest.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>()
            / (rest.len() * rest.len()) as f64
    };
    let cut = (0..=means.len() / 2).min_by(|&one, &other| score(one).total_cmp(&score(other))).unwrap_or(0);
    let kept = &means[cut..];
    let beyond = |first: f64| kept.iter().all(|mean| *mean < first) || kept.iter().all(|mean| *mean > first);
    if means.first().is_some_and(|first| beyond(*first)) { cut * batch } else { 0 }
}

/// By what share of its mean `series` rises or falls from end to end, when that is more than chance; else zero.
///
/// Source: the slope of least squares with its standard error; three of them count as more than chance.
pub(crate) fn trend(series: &[f64]) -> f64 {
    let count = series.len() as f64;
    if series.len() < 6 {
        return 0.0;
    }
    let (middle, mean) = (0.5 * (count - 1.0), series.iter().sum::<f64>() / count);
    let squares: f64 = (0..series.len()).map(|at| (at as f64 - middle).powi(2)).sum();
    let slope =
        series.iter().enumerate().map(|(at, value)| (at as f64 - middle) * (value - mean)).sum::<f64>()
            / squares;
    let left: f64 = series
        .iter()
        .enumerate()
        .map(|(at, value)| (value - mean - slope * (at as f64 - middle)).powi(2))
        .sum();
    let error = (left / (count - 2.0) / squares).sqrt();
    if slope.abs() > 3.0 * error && mean != 0.0 { slope * (count - 1.0) / mean } else { 0.0 }
}

/// Stretches whose means the test of steadiness compares.
const STRETCHES: usize = 12;
/// The chance of calling a steady level unsteady.
const UNSTEADY_CHANCE: f64 = 0.005;
/// A change from end to end below this share of the level is no matter, however certain.
const UNSTEADY_RATIO: f64 = 0.2;

/// By what share of its level the number in flight changed from end to end of `windows`; zero when it was steady,
/// `None` when they are too few to tell.
pub(crate) fn change_ratio(windows: &[Window]) -> Option<f64> {
    let length = windows.len().div_ceil(STRETCHES).max(1);
    let means: Vec<(f64, f64)> = windows
        .chunks_exact(length)
        .enumerate()
        .map(|(at, chunk)| {
            let mean = chunk.iter().map(|window| window.in_flight).sum::<f64>() / length as f64;
            ((at * length) as f64, mean)
        })
        .collect();
    let found = crate::trend::trend(&means)?;
    let change = found.growth_ratio();
    Some(if found.p_value < UNSTEADY_CHANCE && change.abs() > UNSTEADY_RATIO { change } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_grows_is_not_steady_and_one_that_sways_is() {
        let windows = |of: &dyn Fn(u64) -> f64| -> Vec<Window> {
            let window = |second| Window {
                second,
                planned: 10,
                completed: 10,
                in_flight: of(second),
                outcomes: 10,
                errors: 0,
                skipped: 0,
                response: captures::Histogram::new(),
            };
            (0..24).map(window).collect()
        };
        assert_eq!(change_ratio(&windows(&|second| 5.0 + (second % 7) as f64)), Some(0.0));
        let grown = change_ratio(&windows(&|second| 5.0 + second as f64)).expect("is long enough");
        assert!((grown - 22.0 / 16.5).abs() < 0.1, "{grown}");
        assert_eq!(change_ratio(&windows(&|_| 1.0)[..9]), None);
    }

    #[test]
    fn levels_are_found_and_an_outlier_is_no_level() {
        let mut loads = vec![100.0; 10];
        loads[4] = 180.0;
        loads.extend([200.0; 8]);
        loads.extend([250.0, 300.0, 400.0]);
        loads.extend([400.0; 7]);
        let found = levels(&loads);
        assert_eq!(found[..2], [0..10, 10..18]);
        assert_eq!(found.last().map(|level| level.end), Some(28));
        assert!(levels(&[]).is_empty());
    }

    #[test]
    fn a_warm_up_is_cut_and_a_trend_is_seen() {
        let steady: Vec<f64> = (0..40).map(|at| 10.0 + f64::from(at % 3)).collect();
        let mut cold = vec![40.0, 30.0, 20.0];
        cold.extend(&steady);
        assert_eq!(warm_up(&cold), 3);
        assert_eq!(trend(&steady), 0.0);
        // A busy spell at the beginning, as high as a later one, is no warm-up.
        let mut busy = vec![18.0, 30.0, 20.0];
        busy.extend(&steady);
        busy[30] = 25.0;
        assert_eq!(warm_up(&busy), 0);
        let rising: Vec<f64> = (0..40).map(|at| 100.0 + f64::from(at) + f64::from(at % 3)).collect();
        assert!((trend(&rising) - 0.326).abs() < 0.02, "{}", trend(&rising));
    }
}
