//! The curves for drawing, with their bands: reports draw and compute nothing.

use crate::bounds::{Bounds, Verdict};
use crate::family::{Knee, KneeMethod};
use crate::fit::average_at;
use crate::kneedle::{Bend, kneedle};
use crate::latency::{self, LatencyCurve, LatencyStep, Response};
use crate::model::{CurveStep, LoadUnit};
use crate::study::Study;
use crate::window::rate;

/// Steps of a drawn curve.
const STEPS: u32 = 80;
/// Steps in which the knee is looked for.
const KNEE_STEPS: u32 = 200;
/// How far beyond the largest measured load curves are drawn.
const BEYOND: f64 = 1.5;

/// Throughput by concurrency, in equal ratios: concurrency spans decades.
pub(crate) fn throughput(study: &Study<'_>) -> Vec<CurveStep> {
    let (Some(first), Some(last)) = (study.observed.first(), study.observed.last()) else {
        return Vec::new();
    };
    let (low, high) = (0.5 * first.n, BEYOND * last.n);
    (0..=STEPS)
        .map(|step| {
            let n = low * (high / low).powf(f64::from(step) / f64::from(STEPS));
            let x = average_at(&study.fits, n);
            let band = study.interval(0.95, |draw| {
                draw.family.map_or(x, |(family, values)| family.throughput_at(&values, n))
            });
            CurveStep {
                load: n,
                throughput: rate(x),
                interval: Bounds { low: rate(band.low.min(x)), high: rate(band.high.max(x)) },
                verdict: Verdict::of(n / last.n),
            }
        })
        .collect()
}

/// Throughput by offered load.
pub(crate) fn carried(study: &Study<'_>) -> Vec<CurveStep> {
    if study.unit == LoadUnit::Concurrency {
        return Vec::new();
    }
    (0..=STEPS)
        .map(|step| {
            let load = BEYOND * study.largest_load * f64::from(step) / f64::from(STEPS);
            let x = study.throughput_at(load);
            let band = study.interval_at(load, 0.95);
            CurveStep {
                load,
                throughput: rate(x),
                interval: Bounds { low: rate(band.low.min(x)), high: rate(band.high.max(x)) },
                verdict: Verdict::of(load / study.largest_load),
            }
        })
        .collect()
}

/// Response by offered load of all requests, denser towards the ceiling.
pub(crate) fn latency(study: &Study<'_>) -> Vec<LatencyCurve> {
    study.measures().filter_map(|(at, _)| latency_of(study, at, STEPS)).collect()
}

/// The response curve of one subject, in so many steps.
pub(crate) fn latency_of(study: &Study<'_>, at: usize, steps: u32) -> Option<LatencyCurve> {
    let fitted = study.concluded.curves[at].as_ref()?;
    let lowest = study.seen.iter().filter_map(|seen| seen.offered).fold(f64::INFINITY, f64::min);
    let responses: Vec<Response> = study.steady(at);
    let low = 0.5 * lowest;
    let high = (0.995 * fitted.ceiling).min(BEYOND * study.largest_load).max(low);
    let drawn = (0..=steps).map(|step| {
        let rest = 1.0 - f64::from(step) / f64::from(steps);
        let offered = high - (high - low) * rest * rest;
        let response = fitted.response_at(offered);
        let band = study.interval(0.95, |draw| {
            draw.concluded.curves[at]
                .as_ref()
                .map_or(response, |curve| curve.response_at(offered))
                .min(3_600.0)
        });
        LatencyStep {
            offered: rate(offered),
            response: latency::length(response),
            interval: Bounds { low: band.low.min(response), high: band.high.max(response) }
                .map(latency::length),
            verdict: Verdict::of(offered / study.largest_load),
        }
    });
    Some(LatencyCurve {
        measure: study.subjects[at].measure,
        shape: latency::shape(fitted),
        ceiling: fitted.ceiling.is_finite().then(|| rate(fitted.ceiling)),
        fit_error_ratio: latency::fit_error_ratio(fitted, &responses),
        left_out_error_ratio: study.left_out(at),
        terms: latency::terms(fitted),
        steps: drawn.collect(),
    })
}

/// The knee of the averaged curve: by Kneedle over the measured loads; where that finds none, where the slope has
/// fallen to half of the first, up to where curves are drawn.
pub(crate) fn knee(study: &Study<'_>) -> Option<Knee> {
    let (first, last) = (study.observed.first()?, study.observed.last()?);
    let found = |concurrency: f64, method: KneeMethod| {
        let throughput = rate(average_at(&study.fits, concurrency));
        Knee { concurrency, throughput, method }
    };
    let series: Vec<(f64, f64)> = (0..=KNEE_STEPS)
        .map(|step| {
            let n = first.n + (last.n - first.n) * f64::from(step) / f64::from(KNEE_STEPS);
            (n, average_at(&study.fits, n))
        })
        .collect();
    if let Some(concurrency) = kneedle(&series, Bend::ConcaveRising, 1.0) {
        return Some(found(concurrency, KneeMethod::Kneedle));
    }
    let (low, high) = (first.n.min(1.0), BEYOND * last.n);
    let steps = 400;
    let at = |step: i32| low * (high / low).powf(f64::from(step) / f64::from(steps));
    let slope = |step: i32| {
        (average_at(&study.fits, at(step + 1)) - average_at(&study.fits, at(step)))
            / (at(step + 1) - at(step))
    };
    let half = 0.5 * slope(0);
    let step = (1..steps).find(|&step| slope(step) <= half)?;
    Some(found((at(step) * at(step + 1)).sqrt(), KneeMethod::HalfSlope))
}
