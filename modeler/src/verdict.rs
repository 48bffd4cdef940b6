//! The answer in words a purchase can rest on: with interval, bracket and distance from what was measured.

use crate::bounds::{Bounds, Verdict};
use crate::capacity::{Binding, Capacity};
use crate::fit::average_at;
use crate::model::{LoadUnit, ModelRequest};
use crate::study::{Draw, Study};
use crate::window::rate;

/// Where a curve is believed to end, in multiples of the largest measured load.
const FARTHEST: f64 = 2.0;
/// A next load beyond all measured ones is this multiple of the largest.
const NEXT_STEP: f64 = 1.4;
/// A closed curve counts as flat when one more request in flight buys less than this share of the first.
const FLAT_RATIO: f64 = 0.1;

/// The capacity of the study.
pub(crate) fn capacity(study: &Study<'_>, request: &ModelRequest) -> Capacity {
    match study.unit {
        LoadUnit::Offered => open(study, request),
        LoadUnit::Concurrency => closed(study),
    }
}

fn open(study: &Study<'_>, request: &ModelRequest) -> Capacity {
    let largest = study.largest_load;
    let found = study.concluded.answer;
    let farthest = if request.force { f64::INFINITY } else { FARTHEST * largest };
    let verdict = if found.rate.is_finite() { Verdict::of(found.rate / largest) } else { Verdict::Refused };
    let refused = found.rate > farthest || !found.rate.is_finite();
    let stated = if refused { found.highest_pass.unwrap_or(0.0) } else { found.rate };
    let beyond = (stated / largest - 1.0).max(0.0);
    let missed = study.backtest.map_or(0.1, |test| test.mean_error_ratio.max(0.03));
    let interval = |coverage: f64| {
        let drawn = study.interval(coverage, |draw: &Draw| {
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
        interval_80,
        binding: if refused && !found.rate.is_finite() { Binding::Nothing } else { found.binding },
        bracketed: found.highest_pass.is_some() && found.lowest_fail.is_some(),
        verdict,
        highest_pass: found.highest_pass.map(rate),
        lowest_fail: found.lowest_fail.map(rate),
        next_load: rate(next),
    }
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
    let bracketed = study.declines || slope(largest) < FLAT_RATIO * first;
    let interval = |coverage: f64| {
        let noise = study.noise_at(reached);
        let drawn = study.interval(coverage, |draw| {
            let best = draw.family.map_or(highest, |(family, values)| {
                loads.iter().step_by(8).map(|&n| family.throughput_at(&values, n)).fold(0.0, f64::max)
            });
            best * (noise * draw.luck).exp()
        });
        Bounds { low: rate(drawn.low.min(highest)), high: rate(drawn.high.max(highest)) }
    };
    let best = study.observed.iter().map(|each| each.x).fold(0.0, f64::max);
    Capacity {
        rate: rate(highest),
        scale: None,
        interval: interval(0.95),
        interval_80: interval(0.8),
        binding: if bracketed { Binding::Throughput } else { Binding::Nothing },
        bracketed,
        verdict: Verdict::of(reached / largest),
        highest_pass: Some(rate(best)),
        lowest_fail: None,
        next_load: rate(if bracketed { reached } else { NEXT_STEP * largest }),
    }
}
