//! The date on which capacity runs out, from simulated paths.

use jiff::civil::DateTime;

use super::types::{CapacityGiven, Exhaustion, ExhaustionStep};
use crate::resample::{generator, normal};

/// A 95 % interval is so many standard deviations wide.
const WIDTH_95: f64 = 2.0 * 1.959_964;

/// Each path meets its own draw of the capacity; `volume_per_rate` turns a rate into a volume of a step.
pub(crate) fn of(
    paths: &[Vec<f64>],
    moments: &[DateTime],
    capacity: CapacityGiven,
    volume_per_rate: f64,
    seed: u64,
) -> Exhaustion {
    let mut chance = generator(seed, 4);
    let spread = capacity.interval.map_or(0.0, |interval| {
        let (low, high) = (interval.low.as_per_second(), interval.high.as_per_second());
        if low > 0.0 && high > low { ((high / low).ln() / WIDTH_95).min(1.0) } else { 0.0 }
    });
    let mut first: Vec<Option<usize>> = paths
        .iter()
        .map(|path| {
            let rate = capacity.rate.as_per_second() * (spread * normal(&mut chance)).exp();
            path.iter().position(|volume| *volume > rate * volume_per_rate)
        })
        .collect();
    // Those that never run out come last.
    first.sort_by_key(|step| step.unwrap_or(usize::MAX));
    let count = first.len().max(1);
    let date = |probability: f64| {
        let place = ((probability * count as f64).ceil() as usize).clamp(1, count) - 1;
        first.get(place).copied().flatten().map(|step| moments[step])
    };
    let mut passed = 0;
    let by_date = moments
        .iter()
        .enumerate()
        .map(|(step, at)| {
            while first.get(passed).is_some_and(|each| each.is_some_and(|each| each <= step)) {
                passed += 1;
            }
            ExhaustionStep { at: *at, probability: passed as f64 / count as f64 }
        })
        .collect();
    Exhaustion {
        p10: date(0.1),
        p50: date(0.5),
        p90: date(0.9),
        beyond_ratio: first.iter().filter(|step| step.is_none()).count() as f64 / count as f64,
        by_date,
    }
}
