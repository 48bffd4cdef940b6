//! How the whole distribution of responses moved from one run to another, not one quantile of it.

use captures::{RouteInterval, Run};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Difference, Series, quantiles_at};

/// Quantiles of a shift function, and how many responses each run must hold for it.
const SHIFTED: [(f64, u64); 14] = [
    (0.1, 100),
    (0.2, 100),
    (0.3, 100),
    (0.4, 100),
    (0.5, 100),
    (0.6, 100),
    (0.7, 100),
    (0.8, 100),
    (0.9, 200),
    (0.95, 400),
    (0.98, 1_000),
    (0.99, 2_000),
    (0.995, 4_000),
    (0.999, 20_000),
];

/// The quantiles of all responses of `candidate` over those of `base`, ascending, each with its 95 % interval.
///
/// Only their numbers and intervals mean something: nothing is judged here. Empty when a run is too short, or
/// too few were answered.
///
/// Source: Doksum, *Empirical probability plots and statistical inference for nonlinear models in the two-sample
/// case* (1974): the shift function, here as a ratio; intervals as for `compare`.
pub fn shift(base: &Run, candidate: &Run, seed: u64) -> Vec<Difference> {
    let (Some(before), Some(after)) = (of_all(base), of_all(candidate)) else { return Vec::new() };
    let enough = before.sum.response.len().min(after.sum.response.len());
    let wanted: Vec<f64> =
        SHIFTED.iter().filter(|(_, least)| enough >= *least).map(|(quantile, _)| *quantile).collect();
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    quantiles_at("all requests", &before, &after, &wanted, &mut draw)
        .into_iter()
        .map(|raw| raw.difference)
        .collect()
}

fn of_all(run: &Run) -> Option<Series> {
    let seconds: Vec<RouteInterval> = run.intervals.iter().map(captures::Interval::overall).collect();
    Series::over(&seconds.iter().filter(|of| of.total() > 0).collect::<Vec<_>>())
}
