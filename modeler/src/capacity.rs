//! The highest offered load that meets an objective, what stands in the way of more, and how sure that is.

use captures::Rate;

use crate::bounds::{Bounds, Verdict};
use crate::latency::{Fitted, LatencyMeasure, is_long_enough, rising};
use crate::objective::{Limit, Objective};
use crate::resample::Seen;

/// What limits the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binding {
    /// A limit on the response.
    Latency(LatencyMeasure),
    /// The limit on the share of errors.
    Errors,
    /// The ceiling of the throughput: beyond it the queue grows without end.
    Throughput,
    /// Nothing in what was measured: all loads met the objective.
    Nothing,
}

/// The answer to "how much can it take?".
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The highest offered load that meets the objective. When `verdict` is [`Verdict::Refused`] it is the
    /// highest load that was *measured* to meet it: a lower bound.
    pub rate: Rate,
    /// The same as a multiple of the capture's own curve; `None` without runs.
    pub scale: Option<f64>,
    /// The 95 % interval.
    pub interval: Bounds<Rate>,
    /// The 90 % interval.
    pub interval_90: Bounds<Rate>,
    /// The 80 % interval.
    pub interval_80: Bounds<Rate>,
    /// What binds.
    pub binding: Binding,
    /// Whether a load that met the objective and a higher one that did not were both measured.
    pub bracketed: bool,
    /// How far from what was measured.
    pub verdict: Verdict,
    /// The highest measured load that met the objective, with all lower ones.
    pub highest_pass: Option<Rate>,
    /// The lowest measured load that did not.
    pub lowest_fail: Option<Rate>,
    /// The next load worth running: it narrows the interval most.
    pub next_load: Rate,
}

impl Binding {
    /// The name in machine-readable output: `p95`, `mean`, `errors`, `throughput` or `none`.
    pub fn name(self) -> String {
        match self {
            Self::Latency(measure) => measure.name(),
            Self::Errors => "errors".to_owned(),
            Self::Throughput => "throughput".to_owned(),
            Self::Nothing => "none".to_owned(),
        }
    }
}

/// The capacity in one set of points, measured or drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Per second; infinite when nothing binds.
    pub(crate) rate: f64,
    pub(crate) binding: Binding,
    pub(crate) highest_pass: Option<f64>,
    pub(crate) lowest_fail: Option<f64>,
}

/// A measure of the response with its curve; `None` when it could not be fitted.
pub(crate) type Curves<'a> = [(LatencyMeasure, Option<&'a Fitted>)];

/// The capacity of `seen` (ascending by offered load): each limit inverted on its own, the lowest binds.
///
/// The curves say where between the highest load that passed and the lowest that failed; they never
/// contradict what was measured.
pub(crate) fn answer(
    seen: &[Seen],
    objective: Option<&Objective>,
    curves: &Curves<'_>,
    ceiling: f64,
) -> Answer {
    let mut rate = ceiling;
    let mut binding = if ceiling.is_finite() { Binding::Throughput } else { Binding::Nothing };
    let mut bind = |limit: f64, by: Binding| {
        if limit < rate {
            rate = limit;
            binding = by;
        }
    };
    for limit in objective.iter().flat_map(|objective| &objective.limits) {
        match *limit {
            Limit::Latency(measure, length) => {
                let curve = curves.iter().find(|(of, _)| *of == measure).and_then(|(_, curve)| *curve);
                let offered = curve.map_or(f64::INFINITY, |curve| curve.offered_for(length.as_secs_f64()));
                bind(offered, Binding::Latency(measure));
            }
            Limit::Errors(ratio) => bind(offered_for_errors(seen, ratio), Binding::Errors),
            // More is not offered than is carried: this limit is met by the ceiling or by no load.
            Limit::Throughput(least) if ceiling < least.as_per_second() => bind(0.0, Binding::Throughput),
            Limit::Throughput(_) => {}
        }
    }
    let loads = |met: bool| {
        seen.iter()
            .filter(move |each| broken(each, objective, curves).is_none() == met)
            // So near the ceiling a short stage passes before its queue has grown: that is no verdict.
            .filter(move |each| {
                !(met && ceiling.is_finite() && objective.is_some())
                    || each.offered.is_some_and(|offered| is_long_enough(offered, ceiling, each.length))
            })
            .filter_map(|each| each.offered)
    };
    let lowest_fail = loads(false).reduce(f64::min);
    let highest_pass =
        loads(true).filter(|pass| lowest_fail.is_none_or(|fail| *pass < fail)).reduce(f64::max);
    if let Some(fail) = lowest_fail.filter(|fail| *fail < rate) {
        rate = fail;
        let breaks = seen
            .iter()
            .find(|each| each.offered == Some(fail))
            .and_then(|each| broken(each, objective, curves));
        binding = breaks.unwrap_or(binding);
    }
    if let Some(pass) = highest_pass.filter(|pass| *pass > rate) {
        rate = pass;
    }
    Answer { rate, binding, highest_pass, lowest_fail }
}

/// The first limit that a load broke; `None` when it met them all.
fn broken(seen: &Seen, objective: Option<&Objective>, curves: &Curves<'_>) -> Option<Binding> {
    for limit in objective.iter().flat_map(|objective| &objective.limits) {
        match *limit {
            Limit::Latency(measure, length) => {
                let at = curves.iter().position(|(of, _)| *of == measure);
                let seconds = at.and_then(|at| seen.responses.get(at).copied()).unwrap_or(f64::NAN);
                if seconds >= length.as_secs_f64() {
                    return Some(Binding::Latency(measure));
                }
            }
            Limit::Errors(ratio) if seen.error_ratio >= ratio => return Some(Binding::Errors),
            Limit::Errors(_) | Limit::Throughput(_) => {}
        }
    }
    seen.saturated.then_some(Binding::Throughput)
}

/// The offered load at which the share of errors reaches `limit`: monotone regression, straight between loads.
fn offered_for_errors(seen: &[Seen], limit: f64) -> f64 {
    let known: Vec<(f64, f64, f64)> = seen
        .iter()
        .filter_map(|each| each.offered.map(|offered| (offered, each.error_ratio, each.outcomes)))
        .collect();
    let ratios: Vec<f64> = known.iter().map(|each| each.1).collect();
    let weights: Vec<f64> = known.iter().map(|each| each.2.max(1.0)).collect();
    let smooth = rising(&ratios, &weights);
    let Some(first) = smooth.iter().position(|ratio| *ratio >= limit) else {
        return f64::INFINITY;
    };
    if first == 0 {
        return 0.0;
    }
    let (below, above) = (known[first - 1].0, known[first].0);
    let share = (limit - smooth[first - 1]) / (smooth[first] - smooth[first - 1]).max(1e-12);
    below + (above - below) * share.clamp(0.0, 1.0)
}
