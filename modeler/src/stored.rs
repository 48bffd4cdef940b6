//! The stored form of a model, `model.json`: documented API, so it has structs of its own.
//!
//! Fields may be added; those that are there keep their name and meaning. Rates are per second, responses in
//! milliseconds, intervals `[low, high]`.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::Rate;
use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::crowding::Crowding;
use crate::fit::FamilyFit;
use crate::latency::{LatencyCurve, LatencyShape};
use crate::model::{CurveStep, LoadUnit, Model};
use crate::plateau::change_ratio;
use crate::point::Point;
use crate::resource::Growth;
use crate::stored_answers::StoredAnswers;

/// The version of `model.json` that this program writes.
pub const STORED_MODEL_VERSION: u32 = 1;

/// `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredModel {
    /// [`STORED_MODEL_VERSION`].
    pub version: u32,
    /// The answer.
    pub capacity: StoredCapacity,
    /// The objective, as it would be typed.
    pub objective: Option<String>,
    /// Whole sentences.
    pub warnings: Vec<String>,
    /// `offered` (requests per second) or `concurrency` (in flight).
    pub load_unit: String,
    /// The largest measured load.
    pub largest_load: f64,
    /// The mean rate of `1x`.
    pub rate_at_1x: Option<f64>,
    /// The share of the capture's requests that was held back from the replay.
    pub held_back_ratio: f64,
    /// Throughput by concurrency.
    pub families: Vec<StoredFamily>,
    /// The highest throughput.
    pub ceiling: Option<StoredCeiling>,
    /// Where more concurrency buys half of what it bought at first.
    pub knee: Option<StoredKnee>,
    /// Throughput at the loads that were asked for.
    pub predict: Vec<StoredPrediction>,
    /// What the target used, by resource.
    #[serde(default)]
    pub resources: Vec<StoredResource>,
    /// What runs out first.
    #[serde(default)]
    pub bottleneck: Option<StoredBottleneck>,
    /// Costs, routes, mix, headroom, behaviour beyond, advice.
    #[serde(default)]
    pub answers: StoredAnswers,
    /// Fitted on the lower loads, scored on the upper.
    pub backtest: Option<StoredBacktest>,
    /// Response by offered load.
    pub latency: Vec<StoredLatency>,
    /// The average of the families, by concurrency.
    pub throughput_curve: Vec<StoredStep>,
    /// Throughput by offered load.
    pub carried_curve: Vec<StoredStep>,
    /// What it rests on.
    pub points: Vec<StoredPoint>,
    /// The seed of every draw.
    pub seed: u64,
}

/// The utilisation law of one resource: used = idle + demand × throughput.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredResource {
    /// As it was observed.
    pub name: String,
    /// `linear`, `super_linear` or `flat`.
    pub growth: String,
    /// Used without load, in its own unit.
    pub idle: f64,
    /// Its unit × seconds for each request.
    pub demand: f64,
    /// 95 %.
    pub demand_interval: [f64; 2],
    /// How much there is.
    pub limit: Option<f64>,
    /// The most that was used.
    pub used_most: f64,
    /// Requests per second at which it runs out.
    pub bound: Option<f64>,
    /// 95 %.
    pub bound_interval: Option<[f64; 2]>,
    /// Whether it was seen at its limit.
    pub exhausted: bool,
}

/// What runs out first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredBottleneck {
    /// The resource; nothing when none that was observed explains the ceiling.
    pub resource: Option<String>,
    /// Requests per second at which it runs out.
    pub bound: Option<f64>,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// Whether it was seen at its limit.
    pub measured: bool,
    /// The reason, in one sentence.
    pub because: String,
}

/// The highest load that meets the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCapacity {
    /// Requests per second.
    pub rate_per_second: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// 90 %.
    #[serde(default)]
    pub interval_90: [f64; 2],
    /// 80 %.
    pub interval_80: [f64; 2],
    /// A multiple of the capture's own curve.
    pub scale: Option<f64>,
    /// `p95`, `mean`, `errors`, `throughput` or `none`.
    pub binding: String,
    /// Whether both sides of it were measured.
    pub bracketed: bool,
    /// `measured`, `extrapolated`, `low_confidence` or `refused`.
    pub verdict: String,
    /// Whether the rate is a lower bound and no more; the warnings say why.
    #[serde(default)]
    pub lower_bound_only: bool,
    /// By each limit of the objective alone.
    #[serde(default)]
    pub by_limit: Vec<StoredLimit>,
    /// The highest measured load that met the objective.
    pub highest_pass: Option<f64>,
    /// The lowest measured load that did not.
    pub lowest_fail: Option<f64>,
    /// The next load worth running.
    pub next_load: f64,
}

/// The capacity by one limit of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLimit {
    /// As it would be typed.
    pub limit: String,
    /// Requests per second; nothing when it is met wherever the answer reaches.
    pub rate_per_second: Option<f64>,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// The limit's own name, or `throughput` when the ceiling comes before it.
    pub binding: String,
}

/// One family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFamily {
    /// `linear`, `amdahl`, `usl`, `hinge` or `smooth_hinge`.
    pub name: String,
    /// Its share in the average.
    pub weight: f64,
    /// By name.
    pub parameters: BTreeMap<String, f64>,
    /// By name; those that cannot be told are missing.
    pub standard_errors: BTreeMap<String, f64>,
    /// 95 %, by name.
    pub intervals: BTreeMap<String, [f64; 2]>,
    /// Names of the parameters that lie on a bound.
    pub on_bound: Vec<String>,
    /// The root of the mean squared relative error at loads left out.
    pub left_out_error_ratio: Option<f64>,
    /// Why it has no weight.
    pub excluded: Option<String>,
}

/// The highest throughput.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCeiling {
    /// Requests per second.
    pub rate_per_second: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// Whether it was measured.
    pub measured: bool,
}

/// Where more concurrency buys half of what it bought at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredKnee {
    /// In flight.
    pub concurrency: f64,
    /// Requests per second.
    pub throughput: f64,
    /// `kneedle` or `half_slope`.
    #[serde(default)]
    pub method: String,
}

/// The throughput at one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPrediction {
    /// In the model's unit of load.
    pub load: f64,
    /// Requests per second; nothing when refused.
    pub throughput: Option<f64>,
    /// 95 %; outer bounds when refused.
    pub interval: [f64; 2],
    /// `measured`, `extrapolated`, `low_confidence` or `refused`.
    pub verdict: String,
    /// Whether it is there by force.
    pub forced: bool,
}

/// Fitted on the lower loads, scored on the upper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredBacktest {
    /// Loads fitted.
    pub fitted: usize,
    /// Loads predicted.
    pub predicted: usize,
    /// In the mean.
    pub mean_error_ratio: f64,
    /// At worst.
    pub largest_error_ratio: f64,
}

/// Response by offered load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLatency {
    /// `p50`, `p95`, …, `mean`.
    pub measure: String,
    /// `queueing`, `polynomial` or `monotone`.
    pub shape: String,
    /// The law of waiting of a queueing curve: `kingman`, `mmc_waiting` or `mmc_response`.
    #[serde(default)]
    pub law: Option<String>,
    /// Of a queueing curve: `service_ms`, `growth`, `waiting`, and `exponent` or `servers`. Of a polynomial the
    /// coefficients of ln R (R in seconds) by feature: `intercept`, `rho`, `rho2`, `rho3`, `minus_log_rest`.
    pub parameters: BTreeMap<String, f64>,
    /// Where it grows without limit.
    pub ceiling: Option<f64>,
    /// The median of |predicted − measured| / measured.
    pub fit_error_ratio: f64,
    /// The root of the mean squared relative error at loads left out.
    #[serde(default)]
    pub left_out_error_ratio: Option<f64>,
    /// The curve.
    pub curve: Vec<StoredLatencyStep>,
}

/// One step of a latency curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLatencyStep {
    /// Requests per second.
    pub offered: f64,
    /// Milliseconds.
    pub response_ms: f64,
    /// 95 %, milliseconds.
    pub interval_ms: [f64; 2],
}

/// One step of a throughput curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredStep {
    /// Concurrency, or requests per second.
    pub load: f64,
    /// Requests per second.
    pub throughput: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// `measured`, `extrapolated`, `low_confidence` or `refused`.
    pub verdict: String,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPoint {
    /// A run and its stage, or a line of a table.
    pub source: String,
    /// A multiple of the capture's own curve.
    pub scale: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Requests per second.
    pub offered: Option<f64>,
    /// Requests per second.
    pub throughput: f64,
    /// Its standard error.
    pub throughput_error: Option<f64>,
    /// In flight.
    pub concurrency: Option<f64>,
    /// Milliseconds by measure.
    pub response_ms: BTreeMap<String, f64>,
    /// The share of errors.
    pub error_ratio: f64,
    /// |N − X·R| / N.
    pub little_gap_ratio: Option<f64>,
    /// X·R / N: 1 where Little's law holds.
    #[serde(default)]
    pub little_ratio: Option<f64>,
    /// What was used, by resource, in its own unit.
    #[serde(default)]
    pub resources: BTreeMap<String, f64>,
    /// By what share of its level the number in flight changed while the load was held; zero when it was steady,
    /// nothing when there are too few seconds to tell.
    #[serde(default)]
    pub change_ratio: Option<f64>,
    /// Whether more was offered than carried.
    pub saturated: bool,
    /// Whether an earlier backlog was being worked off.
    pub draining: bool,
}

impl From<&Model> for StoredModel {
    fn from(model: &Model) -> Self {
        let capacity = &model.capacity;
        Self {
            version: STORED_MODEL_VERSION,
            capacity: StoredCapacity {
                rate_per_second: capacity.rate.as_per_second(),
                interval: pair(capacity.interval),
                interval_90: pair(capacity.interval_90),
                interval_80: pair(capacity.interval_80),
                scale: capacity.scale,
                binding: capacity.binding.name(),
                bracketed: capacity.bracketed,
                verdict: capacity.verdict.as_str().to_owned(),
                lower_bound_only: capacity.lower_bound.is_some(),
                by_limit: capacity
                    .by_limit
                    .iter()
                    .map(|each| StoredLimit {
                        limit: each.limit.clone(),
                        rate_per_second: each.rate.map(Rate::as_per_second),
                        interval: each.interval.map(pair),
                        binding: each.binding.name(),
                    })
                    .collect(),
                highest_pass: capacity.highest_pass.map(Rate::as_per_second),
                lowest_fail: capacity.lowest_fail.map(Rate::as_per_second),
                next_load: capacity.next_load.as_per_second(),
            },
            objective: model.objective.as_ref().map(ToString::to_string),
            warnings: model.warnings.clone(),
            load_unit: match model.load_unit {
                LoadUnit::Concurrency => "concurrency".to_owned(),
                LoadUnit::Offered => "offered".to_owned(),
            },
            largest_load: model.largest_load,
            rate_at_1x: model.rate_at_1x.map(Rate::as_per_second),
            held_back_ratio: model.held_back_ratio,
            families: model.families.iter().map(family).collect(),
            ceiling: model.ceiling.map(|ceiling| StoredCeiling {
                rate_per_second: ceiling.rate.as_per_second(),
                interval: pair(ceiling.interval),
                measured: ceiling.measured,
            }),
            knee: model.knee.map(|knee| StoredKnee {
                concurrency: knee.concurrency,
                throughput: knee.throughput.as_per_second(),
                method: knee.method.as_str().to_owned(),
            }),
            predict: model
                .predictions
                .iter()
                .map(|each| StoredPrediction {
                    load: each.load,
                    throughput: each.throughput.map(Rate::as_per_second),
                    interval: pair(each.interval),
                    verdict: each.verdict.as_str().to_owned(),
                    forced: each.forced,
                })
                .collect(),
            resources: model
                .resources
                .iter()
                .map(|law| StoredResource {
                    name: law.name.clone(),
                    growth: match law.growth {
                        Growth::Linear => "linear",
                        Growth::SuperLinear => "super_linear",
                        Growth::Flat => "flat",
                    }
                    .to_owned(),
                    idle: law.idle,
                    demand: law.demand,
                    demand_interval: [law.demand_interval.low, law.demand_interval.high],
                    limit: law.limit,
                    used_most: law.used_most,
                    bound: law.bound.map(Rate::as_per_second),
                    bound_interval: law.bound_interval.map(pair),
                    exhausted: law.exhausted,
                })
                .collect(),
            bottleneck: model.bottleneck.as_ref().map(|found| StoredBottleneck {
                resource: found.resource.clone(),
                bound: found.bound.map(Rate::as_per_second),
                interval: found.interval.map(pair),
                measured: found.measured,
                because: found.because.clone(),
            }),
            answers: StoredAnswers::from(model),
            backtest: model.backtest.map(|test| StoredBacktest {
                fitted: test.fitted,
                predicted: test.predicted,
                mean_error_ratio: test.mean_error_ratio,
                largest_error_ratio: test.largest_error_ratio,
            }),
            latency: model.latency.iter().map(latency).collect(),
            throughput_curve: model.throughput_curve.iter().map(step).collect(),
            carried_curve: model.carried_curve.iter().map(step).collect(),
            points: model.points.iter().map(point).collect(),
            seed: model.seed,
        }
    }
}

fn pair(bounds: Bounds<Rate>) -> [f64; 2] {
    [bounds.low.as_per_second(), bounds.high.as_per_second()]
}

fn milliseconds(length: Duration) -> f64 {
    length.as_nanos() as f64 / 1e6
}

fn family(fit: &FamilyFit) -> StoredFamily {
    let named = |of: &dyn Fn(&crate::Parameter) -> Option<f64>| {
        fit.parameters.iter().filter_map(|each| of(each).map(|value| (each.name.to_owned(), value))).collect()
    };
    // JSON knows no infinity: an interval without an upper end is left out.
    let whole = |bounds: Bounds<f64>| {
        (bounds.low.is_finite() && bounds.high.is_finite()).then_some([bounds.low, bounds.high])
    };
    StoredFamily {
        name: fit.family.name().to_owned(),
        weight: fit.weight,
        parameters: named(&|each| Some(each.value)),
        standard_errors: named(&|each| each.standard_error),
        intervals: fit
            .parameters
            .iter()
            .filter_map(|each| each.interval.and_then(whole).map(|bounds| (each.name.to_owned(), bounds)))
            .collect(),
        on_bound: fit
            .parameters
            .iter()
            .filter(|each| each.on_bound)
            .map(|each| each.name.to_owned())
            .collect(),
        left_out_error_ratio: fit.left_out_error_ratio,
        excluded: fit.excluded.clone(),
    }
}

fn latency(curve: &LatencyCurve) -> StoredLatency {
    let (shape, parameters) = match curve.shape {
        LatencyShape::Queueing { service, growth, waiting, law } => {
            let place = match law {
                Crowding::Kingman { exponent } => ("exponent", exponent),
                Crowding::Waiting { servers } | Crowding::Response { servers } => ("servers", servers as f64),
            };
            let named =
                [("service_ms", milliseconds(service)), ("growth", growth), ("waiting", waiting), place];
            ("queueing", named.map(|(name, value)| (name.to_owned(), value)).into())
        }
        LatencyShape::Polynomial => {
            let terms = curve.terms.iter().map(|(name, value)| ((*name).to_owned(), *value));
            ("polynomial", terms.collect())
        }
        LatencyShape::Monotone => ("monotone", BTreeMap::new()),
    };
    StoredLatency {
        measure: curve.measure.name(),
        shape: shape.to_owned(),
        law: match curve.shape {
            LatencyShape::Queueing { law, .. } => Some(law.name().to_owned()),
            LatencyShape::Polynomial | LatencyShape::Monotone => None,
        },
        parameters,
        ceiling: curve.ceiling.map(Rate::as_per_second),
        fit_error_ratio: curve.fit_error_ratio,
        left_out_error_ratio: curve.left_out_error_ratio,
        curve: curve
            .steps
            .iter()
            .map(|step| StoredLatencyStep {
                offered: step.offered.as_per_second(),
                response_ms: milliseconds(step.response),
                interval_ms: [milliseconds(step.interval.low), milliseconds(step.interval.high)],
            })
            .collect(),
    }
}

fn step(step: &CurveStep) -> StoredStep {
    StoredStep {
        load: step.load,
        throughput: step.throughput.as_per_second(),
        interval: pair(step.interval),
        verdict: step.verdict.as_str().to_owned(),
    }
}

fn point(point: &Point) -> StoredPoint {
    let mean = point.mean_response.map(|mean| ("mean".to_owned(), milliseconds(mean)));
    let quantiles = point
        .quantiles
        .iter()
        .map(|at| (crate::LatencyMeasure::Quantile(at.quantile).name(), milliseconds(at.response)));
    StoredPoint {
        source: point.source.clone(),
        scale: point.scale,
        seconds: point.length.as_secs_f64(),
        offered: point.offered.map(Rate::as_per_second),
        throughput: point.throughput.as_per_second(),
        throughput_error: point.throughput_error.map(Rate::as_per_second),
        concurrency: point.concurrency,
        response_ms: mean.into_iter().chain(quantiles).collect(),
        error_ratio: point.error_ratio,
        little_gap_ratio: point.little_gap_ratio,
        little_ratio: point
            .concurrency
            .zip(point.mean_response)
            .map(|(n, mean)| point.throughput.as_per_second() * mean.as_secs_f64() / n.max(1e-12)),
        resources: point.resources.iter().map(|each| (each.name.clone(), each.used)).collect(),
        change_ratio: change_ratio(&point.windows),
        saturated: point.saturated,
        draining: point.draining,
    }
}
