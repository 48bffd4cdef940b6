//! The answer in words a purchase can rest on: with interval, bracket and distance from what was measured.

use crate::bounds::{Bounds, Verdict};
use crate::capacity::{Binding, Capacity, LimitCapacity, LowerBound};
use crate::fit::{Observed, average_at};
use crate::model::{LoadUnit, ModelRequest};
use crate::study::{Draw, LEAST_EXPLAINED_RATIO, Study};
use crate::window::rate;

/// Where a curve is believed to end, in multiples of the largest measured load.
const FARTHEST: f64 = 2.0;
/// A next load beyond all measured ones is this multiple of the largest.
const NEXT_STEP: f64 = 1.4;
/// A closed curve counts as flat when one more request in flight buys less than this share of the first.
const FLAT_RATIO: f64 = 0.1;
/// A plateau was measured when a load so much smaller than the largest…
const PLATEAU_LOAD_RATIO: f64 = 0.8;
/// … carried at least this share of the highest throughput.
const PLATEAU_RATIO: f64 = 0.97;

/// The capacity of the study.
pub(crate) fn capacity(study: &Study<'_>, request: &ModelRequest) -> Capacity {
    match study.unit {
        LoadUnit::Offered => open(study, request),
        LoadUnit::Concurrency => closed(study),
    }
}

fn open(study: &Study<'_>, request: &ModelRequest) -> Capacity {
    let largest = study.largest_load;
    let found = &study.concluded.answer;
    let farthest = if request.force { f64::INFINITY } else { FARTHEST * largest };
    let lower_bound = lower_bound(study, farthest);
    let refused = lower_bound.is_some_and(|_| !request.force || !found.rate.is_finite());
    let lower_bound = lower_bound.filter(|_| refused);
    let verdict = if refused { Verdict::Refused } else { Verdict::of(found.rate / largest) };
    let stated = if refused { found.highest_pass.unwrap_or(0.0) } else { found.rate };
    let beyond = (stated / largest - 1.0).max(0.0);
    let missed = study.backtest.map_or(0.1, |test| test.mean_error_ratio.max(0.03));
    let interval = |coverage: f64| {
        let drawn = study.corrected_interval(coverage, stated, |draw: &Draw| {
            let wider = (1.5 * missed * beyond.min(1.0) * draw.luck).exp();
            (draw.concluded.answer.rate * wider).min(farthest.min(1e3 * largest))
        });
        let low = if refused { stated } else { drawn.low.min(stated) };
        Bounds { low: rate(low), high: rate(drawn.high.max(stated)) }
    };
    let interval_80 = interval(0.8);
    let next = match (found.highest_pass, found.lowest_fail) {
        (Some(_), Some(_)) if found.rate <= largest => {
            // The middle of what is still open.
            0.5 * (interval_80.low.as_per_second() + interval_80.high.as_per_second())
        }
        (None, Some(fail)) => 0.5 * fail,
        _ => NEXT_STEP * largest,
    };
    Capacity {
        rate: rate(stated),
        scale: request
            .rate_at_1x
            .filter(|one| one.as_per_second() > 0.0)
            .map(|one| stated / one.as_per_second()),
        interval: interval(0.95),
        interval_90: interval(0.9),
        interval_80,
        binding: if refused && !found.rate.is_finite() { Binding::Nothing } else { found.binding },
        bracketed: found.highest_pass.is_some()
            && found.lowest_fail.is_some()
            && verdict == Verdict::Measured,
        verdict,
        lower_bound,
        by_limit: by_limit(study, request, farthest, refused),
        highest_pass: found.highest_pass.map(rate),
        lowest_fail: found.lowest_fail.map(rate),
        next_load: rate(next),
    }
}

/// Why the answer is no more than what was measured; `None` when it is an estimate.
///
/// Beyond the measured loads an estimate rests on what ends there. A resource that was observed ends where its limit
/// is; without one the responses alone would have to foretell it, and well below the limit they do not.
fn lower_bound(study: &Study<'_>, farthest: f64) -> Option<LowerBound> {
    let found = &study.concluded.answer;
    let guess = rate(found.rate);
    if !found.rate.is_finite() || found.rate > farthest {
        return Some(LowerBound::TooFar);
    }
    if found.rate <= study.largest_load || found.lowest_fail.is_some() || study.ceiling_measured {
        return None;
    }
    let serves = study.resources.serves.iter().any(|serves| *serves);
    match study.concluded.explained_ratio {
        _ if !serves => Some(LowerBound::NothingObserved { guess }),
        Some(explained_ratio) if explained_ratio < LEAST_EXPLAINED_RATIO => {
            Some(LowerBound::NotCovered { guess, explained_ratio })
        }
        _ => None,
    }
}

/// Each limit of the objective alone.
fn by_limit(study: &Study<'_>, request: &ModelRequest, farthest: f64, refused: bool) -> Vec<LimitCapacity> {
    let limits = request.objective.iter().flat_map(|objective| &objective.limits);
    let most = farthest.min(1e3 * study.largest_load);
    limits
        .zip(&study.concluded.answer.by_limit)
        .enumerate()
        .map(|(at, (limit, &(found, binding)))| {
            let known = found <= most && (!refused || found <= study.largest_load);
            let drawn = || study.interval(0.95, |draw| draw.concluded.answer.by_limit[at].0.min(most));
            LimitCapacity {
                limit: limit.to_string(),
                rate: known.then(|| rate(found)),
                interval: known.then(drawn).map(|drawn| Bounds {
                    low: rate(drawn.low.min(found)),
                    high: rate(drawn.high.max(found)),
                }),
                binding: if known { binding } else { Binding::Nothing },
            }
        })
        .collect()
}

/// The highest throughput of the averaged curve within twice the measured concurrency.
fn closed(study: &Study<'_>) -> Capacity {
    let largest = study.largest_load;
    let loads: Vec<f64> = (1..=400).map(|step| FARTHEST * largest * f64::from(step) / 400.0).collect();
    let curve: Vec<f64> = loads.iter().map(|&n| average_at(&study.fits, n)).collect();
    let highest = curve.iter().copied().fold(0.0, f64::max);
    let reached = curve.iter().position(|x| *x >= 0.99 * highest).map_or(largest, |at| loads[at]);
    let slope = |n: f64| (average_at(&study.fits, 1.01 * n) - average_at(&study.fits, n)) / (0.01 * n);
    let smallest = study.observed.first().map_or(1.0, |each| each.n);
    let first = average_at(&study.fits, smallest) / smallest;
    let verdict = Verdict::of(reached / largest);
    let flat = slope(largest) < FLAT_RATIO * first && has_plateau(&study.observed);
    let bracketed = verdict == Verdict::Measured && (study.declines || flat);
    let interval = |coverage: f64| {
        let noise = study.noise_at(reached);
        let drawn = study.interval(coverage, |draw| {
            let best = draw.family.map_or(highest, |(family, values)| {
                loads.iter().step_by(8).map(|&n| family.throughput_at(&values, n)).fold(0.0, f64::max)
            });
            (best * (noise * draw.luck).exp()).min(1e3 * highest)
        });
        Bounds { low: rate(drawn.low.min(highest)), high: rate(drawn.high.max(highest)) }
    };
    let best = study.observed.iter().map(|each| each.x).fold(0.0, f64::max);
    Capacity {
        rate: rate(highest),
        scale: None,
        interval: interval(0.95),
        interval_90: interval(0.9),
        interval_80: interval(0.8),
        binding: if bracketed { Binding::Throughput } else { Binding::Nothing },
        bracketed,
        verdict,
        lower_bound: None,
        by_limit: Vec::new(),
        highest_pass: Some(rate(best)),
        lowest_fail: None,
        next_load: rate(if bracketed { reached } else { NEXT_STEP * largest }),
    }
}

/// Whether more load was measured to buy no more throughput, whatever the curves say.
fn has_plateau(observed: &[Observed]) -> bool {
    let largest = observed.iter().map(|each| each.n).fold(0.0, f64::max);
    let best = observed.iter().map(|each| each.x).fold(0.0, f64::max);
    observed.iter().any(|each| each.n <= PLATEAU_LOAD_RATIO * largest && each.x >= PLATEAU_RATIO * best)
}

#[cfg(test)]
mod tests {
    use crate::{Verdict, model, points_from_table};

    fn check(throughput: impl Fn(f64) -> f64, bracketed: bool) {
        let rows: String =
            [1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0].map(|n| format!("{n},{}\n", throughput(n))).concat();
        let points = points_from_table(&format!("n,x\n{rows}"), "t").expect("is a table");
        let request = crate::ModelRequest::plain(1);
        let capacity = model(points, &request).expect("has enough loads").capacity;
        assert_eq!(capacity.bracketed, bracketed, "{capacity:?}");
        assert!(!capacity.bracketed || capacity.verdict == Verdict::Measured);
    }

    #[test]
    fn a_throughput_that_still_rises_is_not_bracketed() {
        check(|n| 100.0 * n, false);
        // Amdahl with a share of 0.2: at 32 one more request buys 2 % of what the first one bought.
        check(|n| 100.0 * n / (1.0 + 0.2 * (n - 1.0)), false);
    }

    #[test]
    fn a_plateau_or_a_decline_that_was_measured_brackets() {
        check(|n| 100.0 * n.min(14.0), true);
        // The USL with its peak at 14.
        check(|n| 100.0 * n / (1.0 + 0.02 * (n - 1.0) + 0.005 * n * (n - 1.0)), true);
    }
}
