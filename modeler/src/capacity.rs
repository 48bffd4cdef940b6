//! The highest offered load that meets an objective, what stands in the way of more, and how sure that is.

use captures::Rate;

use crate::bounds::{Bounds, Verdict};
use crate::failure::{self, Failing};
use crate::latency::{Fitted, LatencyMeasure, is_long_enough};
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
    /// Why the rate is a lower bound and no more; `None` when it is an estimate.
    pub lower_bound: Option<LowerBound>,
    /// Each limit of the objective on its own; empty without an objective.
    pub by_limit: Vec<LimitCapacity>,
    /// The highest measured load that met the objective, with all lower ones.
    pub highest_pass: Option<Rate>,
    /// The lowest measured load that did not.
    pub lowest_fail: Option<Rate>,
    /// The next load worth running: it narrows the interval most.
    pub next_load: Rate,
}

/// Why no more than a lower bound is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LowerBound {
    /// The estimate lies beyond twice the largest measured load, or nowhere in sight.
    TooFar,
    /// Nothing failed, and no resource was observed whose limit is known: where the responses lead is a guess.
    NothingObserved {
        /// Requests per second to which the responses lead.
        guess: Rate,
    },
    /// Nothing failed, and what was observed is only a small part of where requests spend their time.
    NotCovered {
        /// Requests per second to which the responses lead.
        guess: Rate,
        /// The largest share of a response without load that an observed resource explains, in `0..=1`.
        explained_ratio: f64,
    },
}

/// The capacity by one limit of the objective.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitCapacity {
    /// The limit, as it would be typed.
    pub limit: String,
    /// The highest offered load that meets it; `None` when it is met wherever the answer reaches.
    pub rate: Option<Rate>,
    /// The 95 % interval.
    pub interval: Option<Bounds<Rate>>,
    /// What binds: the limit itself, or the ceiling of the throughput before it.
    pub binding: Binding,
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
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Per second; infinite when nothing binds.
    pub(crate) rate: f64,
    pub(crate) binding: Binding,
    pub(crate) highest_pass: Option<f64>,
    pub(crate) lowest_fail: Option<f64>,
    /// By each limit of the objective alone, in their order: the rate, and what binds.
    pub(crate) by_limit: Vec<(f64, Binding)>,
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
    let limits: &[Limit] = objective.map_or(&[], |objective| &objective.limits);
    let whole = by(seen, limits, curves, ceiling);
    let alone = |limit: &Limit| {
        let found = by(seen, std::slice::from_ref(limit), curves, ceiling);
        (found.rate, found.binding)
    };
    let by_limit = match limits {
        [_] => vec![(whole.rate, whole.binding)],
        limits => limits.iter().map(alone).collect(),
    };
    Answer { by_limit, ..whole }
}

/// The capacity by `limits`, all together.
fn by(seen: &[Seen], limits: &[Limit], curves: &Curves<'_>, ceiling: f64) -> Answer {
    let mut rate = ceiling;
    let mut binding = if ceiling.is_finite() { Binding::Throughput } else { Binding::Nothing };
    let mut bind = |limit: f64, by: Binding| {
        if limit < rate {
            rate = limit;
            binding = by;
        }
    };
    for limit in limits {
        match *limit {
            Limit::Latency(measure, length) => {
                let curve = curves.iter().find(|(of, _)| *of == measure).and_then(|(_, curve)| *curve);
                let offered = curve.map_or(f64::INFINITY, |curve| curve.offered_for(length.as_secs_f64()));
                bind(offered, Binding::Latency(measure));
            }
            Limit::Errors(ratio) => bind(failure::offered_for(&failing(seen), ratio), Binding::Errors),
            // More is not offered than is carried: this limit is met by the ceiling or by no load.
            Limit::Throughput(least) if ceiling < least.as_per_second() => bind(0.0, Binding::Throughput),
            Limit::Throughput(_) => {}
        }
    }
    let loads = |met: bool| {
        seen.iter()
            .filter(move |each| broken(each, limits, curves).is_none() == met)
            // So near the ceiling a short stage passes before its queue has grown: that is no verdict.
            .filter(move |each| {
                !(met && ceiling.is_finite() && !limits.is_empty())
                    || each.offered.is_some_and(|offered| is_long_enough(offered, ceiling, each.length))
            })
            .filter_map(|each| each.offered)
    };
    let lowest_fail = loads(false).reduce(f64::min);
    let highest_pass =
        loads(true).filter(|pass| lowest_fail.is_none_or(|fail| *pass < fail)).reduce(f64::max);
    if let Some(fail) = lowest_fail.filter(|fail| *fail < rate) {
        rate = fail;
        let failed = seen.iter().find(|each| each.offered == Some(fail));
        binding = failed.and_then(|each| broken(each, limits, curves)).unwrap_or(binding);
    }
    if let Some(pass) = highest_pass.filter(|pass| *pass > rate) {
        rate = pass;
    }
    Answer { rate, binding, highest_pass, lowest_fail, by_limit: Vec::new() }
}

/// What each load showed of failures.
pub(crate) fn failing(seen: &[Seen]) -> Vec<Failing> {
    let of = |each: &Seen| {
        let offered = each.offered?;
        Some(Failing { offered, ratio: each.error_ratio, outcomes: each.outcomes })
    };
    seen.iter().filter_map(of).collect()
}

/// The first limit that a load broke; `None` when it met them all.
fn broken(seen: &Seen, limits: &[Limit], curves: &Curves<'_>) -> Option<Binding> {
    for limit in limits {
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
