//! Response against offered load, one curve per quantile.
//!
//! Only steady points are fitted: past saturation the queue grows for as long as the stage lasts, so a
//! response measured there says more about the stage than about the service. Saturated points bound the
//! curve through the ceiling, which all curves share with the throughput.

use std::time::Duration;

use captures::Rate;

use crate::bounds::{Bounds, Verdict};
use crate::objective::trimmed;
use crate::regression;

/// What of the response a curve is about.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum LatencyMeasure {
    /// The arithmetic mean.
    Mean,
    /// A quantile, in `0..=1`.
    Quantile(f64),
}

/// How a curve was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyShape {
    /// `R = s · (1 + k · ρᵐ / (1 − ρ))` with `ρ` = offered rate over ceiling.
    ///
    /// Source: Kingman's and Sakasegawa's approximations of the waiting time of G/G/c, the burstiness and the
    /// number of servers left free as `k` and `m`.
    Queueing {
        /// `s`: the response without waiting.
        service: Duration,
        /// `k`: how much waiting weighs.
        waiting: f64,
        /// `m`: how late waiting sets in; large with many servers.
        exponent: f64,
    },
    /// Straight lines on the logarithm between measured loads, made monotone by pooling; beyond the last in
    /// proportion to `1 / (1 − ρ)`.
    Monotone,
}

/// Response against offered load.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyCurve {
    /// What of the response.
    pub measure: LatencyMeasure,
    /// How it was made.
    pub shape: LatencyShape,
    /// The ceiling at which it grows without limit; `None` when none is in sight.
    pub ceiling: Option<Rate>,
    /// The median of |predicted − measured| / measured over the steady points.
    pub fit_error_ratio: f64,
    /// The curve for drawing: ascending loads, up to just below the ceiling.
    pub steps: Vec<LatencyStep>,
}

/// One step of a drawn curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyStep {
    /// The offered load.
    pub offered: Rate,
    /// The response there.
    pub response: Duration,
    /// The 95 % interval of the response.
    pub interval: Bounds<Duration>,
    /// Whether the load was measured.
    pub verdict: Verdict,
}

impl LatencyMeasure {
    /// The name in machine-readable output and in objectives: `mean`, `p50`, `p99.9`.
    pub fn name(self) -> String {
        match self {
            Self::Mean => "mean".to_owned(),
            Self::Quantile(quantile) => format!("p{}", trimmed(quantile * 100.0)),
        }
    }
}

/// A steady response: offered rate per second and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) offered: f64,
    pub(crate) seconds: f64,
}

/// A fitted curve, for arithmetic.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) form: Form,
    /// Infinite when none is in sight.
    pub(crate) ceiling: f64,
    /// The mean of the squared logarithmic residuals.
    pub(crate) score: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Form {
    Queueing { service: f64, slope: f64, exponent: f64 },
    Monotone { knots: Vec<(f64, f64)> },
}

/// What `m` may be. With c servers it is near √(2(c + 1)) − 1, and larger for quantiles.
pub(crate) const EXPONENTS: [f64; 11] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 13.0, 19.0, 28.0];
/// Where the ceiling may lie when none was measured, as multiples of the highest steady load.
const CEILINGS: [f64; 16] =
    [1.01, 1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.4, 1.55, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0];
/// A queueing curve that misses the points by more than this (root mean square of the logarithm) is not used.
const WORST_SCORE: f64 = 0.35;

impl Fitted {
    /// The response in seconds at `offered` per second; infinite at the ceiling and beyond.
    pub(crate) fn response_at(&self, offered: f64) -> f64 {
        if offered >= self.ceiling {
            return f64::INFINITY;
        }
        match &self.form {
            Form::Queueing { service, slope, exponent } => {
                service + slope * crowding(offered / self.ceiling, *exponent)
            }
            Form::Monotone { knots } => between(knots, offered, self.ceiling),
        }
    }

    /// The highest offered rate with a response of at most `seconds`; infinite when it never gets there.
    pub(crate) fn offered_for(&self, seconds: f64) -> f64 {
        if self.response_at(0.0) > seconds {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, self.ceiling);
        if !high.is_finite() {
            let Form::Monotone { knots } = &self.form else {
                return f64::INFINITY;
            };
            high = knots.last().map_or(0.0, |knot| knot.0);
            if self.response_at(high) <= seconds {
                return f64::INFINITY;
            }
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.response_at(middle) <= seconds {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// `ρᵐ / (1 − ρ)`.
fn crowding(load_ratio: f64, exponent: f64) -> f64 {
    load_ratio.powf(exponent) / (1.0 - load_ratio)
}

/// On the logarithm between the knots; beyond the last in proportion to `1 / (1 − ρ)`.
fn between(knots: &[(f64, f64)], offered: f64, ceiling: f64) -> f64 {
    let (Some(first), Some(last)) = (knots.first(), knots.last()) else {
        return f64::INFINITY;
    };
    if offered <= first.0 {
        return first.1.exp();
    }
    if offered >= last.0 {
        let growth = if ceiling.is_finite() { (ceiling - last.0) / (ceiling - offered) } else { 1.0 };
        return last.1.exp() * growth;
    }
    let above = knots.partition_point(|knot| knot.0 < offered).max(1);
    let ((x0, y0), (x1, y1)) = (knots[above - 1], knots[above]);
    (y0 + (y1 - y0) * (offered - x0) / (x1 - x0)).exp()
}

/// The ceiling that suits all `families` of responses best, when none was measured; infinite without a bend.
pub(crate) fn shared_ceiling(families: &[Vec<Response>], exponents: &[f64]) -> f64 {
    let highest = families.iter().flatten().map(|each| each.offered).fold(0.0, f64::max);
    let score = |ceiling: f64| {
        families
            .iter()
            .filter_map(|responses| queueing(responses, ceiling, exponents))
            .map(|fit| fit.score)
            .sum::<f64>()
    };
    let candidates = CEILINGS.map(|multiple| (highest * multiple, score(highest * multiple)));
    let best = candidates.iter().copied().min_by(|one, other| one.1.total_cmp(&other.1));
    best.map_or(f64::INFINITY, |(ceiling, _)| if highest > 0.0 { ceiling } else { f64::INFINITY })
}

/// The curve through `responses` (ascending by load) with a pole at `ceiling`.
pub(crate) fn fit(responses: &[Response], ceiling: f64, exponents: &[f64]) -> Option<Fitted> {
    if responses.is_empty() {
        return None;
    }
    let queueing = if responses.len() >= 3 && ceiling.is_finite() {
        queueing(responses, ceiling, exponents)
    } else {
        None
    };
    Some(
        queueing.filter(|fit| fit.score.sqrt() < WORST_SCORE).unwrap_or_else(|| monotone(responses, ceiling)),
    )
}

fn queueing(responses: &[Response], ceiling: f64, exponents: &[f64]) -> Option<Fitted> {
    let below: Vec<Response> =
        responses.iter().copied().filter(|each| each.offered < 0.995 * ceiling).collect();
    if below.len() < 2 {
        return None;
    }
    let fits = exponents.iter().map(|&exponent| {
        let (service, slope) = line(&below, ceiling, exponent);
        let mut fit = Fitted { form: Form::Queueing { service, slope, exponent }, ceiling, score: 0.0 };
        fit.score = score(&fit, &below);
        fit
    });
    fits.min_by(|one, other| one.score.total_cmp(&other.score))
}

/// `R ≈ s + b·z` with relative errors: each row is divided by its response, then solved by linfa.
fn line(responses: &[Response], ceiling: f64, exponent: f64) -> (f64, f64) {
    let crowded: Vec<f64> = responses.iter().map(|each| crowding(each.offered / ceiling, exponent)).collect();
    let constant: Vec<f64> = responses.iter().map(|each| 1.0 / each.seconds).collect();
    let relative: Vec<f64> = responses.iter().zip(&crowded).map(|(each, z)| z / each.seconds).collect();
    let target = vec![1.0; responses.len()];
    let least = responses.iter().map(|each| each.seconds).fold(f64::INFINITY, f64::min);
    match regression::linear(&[constant.clone(), relative.clone()], &target).as_deref() {
        Some(&[service, slope]) if service > 0.0 && slope >= 0.0 => (service, slope),
        // Falling with load: no waiting was seen.
        Some(&[service, slope]) if service > 0.0 && slope < 0.0 => {
            let flat = regression::linear(&[constant], &target).map_or(least, |found| found[0]);
            (flat, 0.0)
        }
        // All waiting: the service is at most the shortest response.
        _ => {
            let service = 0.3 * least;
            let rest: Vec<f64> = responses.iter().map(|each| 1.0 - service / each.seconds).collect();
            let slope = regression::linear(&[relative], &rest).map_or(0.0, |found| found[0].max(0.0));
            (service, slope)
        }
    }
}

fn score(fit: &Fitted, responses: &[Response]) -> f64 {
    let miss = |each: &Response| (fit.response_at(each.offered) / each.seconds).ln().powi(2);
    responses.iter().map(miss).sum::<f64>() / responses.len() as f64
}

/// Pool adjacent violators on the logarithm. Source: Ayer et al. (1955).
fn monotone(responses: &[Response], ceiling: f64) -> Fitted {
    let logs: Vec<f64> = responses.iter().map(|each| each.seconds.max(1e-9).ln()).collect();
    let pooled = rising(&logs, &vec![1.0; logs.len()]);
    let mut knots: Vec<(f64, f64)> = Vec::new();
    for (each, log) in responses.iter().zip(pooled) {
        match knots.last_mut() {
            Some(last) if each.offered <= last.0 => last.1 = last.1.max(log),
            _ => knots.push((each.offered, log)),
        }
    }
    let highest = knots.last().map_or(0.0, |knot| knot.0);
    // A load that was carried lies below the ceiling, whatever chance says.
    let ceiling = ceiling.max(highest * 1.005);
    let mut fit = Fitted { form: Form::Monotone { knots }, ceiling, score: 0.0 };
    fit.score = score(&fit, responses);
    fit
}

/// The closest series to `values` that never falls, by weighted least squares.
pub(crate) fn rising(values: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&value, &weight) in values.iter().zip(weights) {
        let mut pool = (value, weight, 1);
        while let Some(&(before, mass, count)) = pools.last() {
            if before <= pool.0 {
                break;
            }
            pools.pop();
            pool = ((before * mass + pool.0 * pool.1) / (mass + pool.1), mass + pool.1, count + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

/// The shape of a fitted curve, for readers.
pub(crate) fn shape(fit: &Fitted) -> LatencyShape {
    match fit.form {
        Form::Queueing { service, slope, exponent } => {
            LatencyShape::Queueing { service: length(service), waiting: slope / service, exponent }
        }
        Form::Monotone { .. } => LatencyShape::Monotone,
    }
}

/// Seconds as a length of time; an hour is the limit.
pub(crate) fn length(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 3_600.0)).unwrap_or(Duration::from_secs(3_600))
}

/// The median of |predicted − measured| / measured.
pub(crate) fn fit_error_ratio(fit: &Fitted, responses: &[Response]) -> f64 {
    let mut misses: Vec<f64> = responses
        .iter()
        .map(|each| (fit.response_at(each.offered) / each.seconds - 1.0).abs())
        .filter(|miss| miss.is_finite())
        .collect();
    misses.sort_by(f64::total_cmp);
    crate::resample::quantile_of(&misses, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queueing_curve_is_found_again_and_inverted() {
        let truth = |offered: f64| 0.02 + 0.004 * crowding(offered / 400.0, 3.0);
        let responses: Vec<Response> = [50.0, 100.0, 200.0, 300.0, 380.0]
            .iter()
            .map(|&offered| Response { offered, seconds: truth(offered) })
            .collect();
        let fit = fit(&responses, 400.0, &EXPONENTS).expect("there are responses");
        let offered = fit.offered_for(truth(390.0));
        assert!((offered - 390.0).abs() < 1e-6, "{offered}");
        assert!(fit.response_at(400.0).is_infinite());
        let found = shared_ceiling(&[responses], &EXPONENTS);
        assert!((found / 400.0 - 1.0).abs() < 0.02, "{found}");
    }

    #[test]
    fn pooling_never_falls() {
        assert_eq!(rising(&[1.0, 3.0, 2.0, 4.0], &[1.0; 4]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(rising(&[3.0, 2.0, 1.0], &[1.0, 1.0, 2.0]), [1.75; 3]);
    }
}
