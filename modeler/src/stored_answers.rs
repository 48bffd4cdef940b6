//! The stored form of what a model answers beside the capacity: costs, routes, mix, headroom, behaviour beyond.
//!
//! Part of `model.json`; the same promises hold as for the rest of it. Every number stands with its unit in its
//! name or its line, and with the interval, the method and the points it came from where it has them.

use std::collections::BTreeMap;

use captures::Rate;
use serde::{Deserialize, Serialize};

use crate::beyond::Overload;
use crate::model::Model;

/// What a model answers beside the capacity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredAnswers {
    /// How far today's peak is from the capacity.
    pub headroom: Option<StoredHeadroom>,
    /// What more load than is carried does.
    pub beyond: Option<StoredBeyond>,
    /// How the runs came back after too much load.
    pub recoveries: Vec<StoredRecovery>,
    /// Failures by offered load, where a curve could be fitted.
    pub failures: Option<StoredFailures>,
    /// What each route costs, by resource.
    pub costs: Vec<StoredCosts>,
    /// The routes, busiest first.
    pub routes: Vec<StoredRoute>,
    /// The capacity under another mix.
    pub mix: Option<StoredMix>,
    /// What to do: whole sentences, the most telling first.
    pub advice: Vec<String>,
    /// What would make the answer firmer: whole sentences, what helps most first.
    pub firmer: Vec<String>,
    /// How each number was made, by its name in this file.
    pub methods: BTreeMap<String, String>,
    /// In what the numbers of each part are counted, by its name in this file.
    pub units: BTreeMap<String, String>,
    /// The points that everything came from.
    pub sources: Vec<String>,
}

/// The capacity over the present peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredHeadroom {
    /// Requests per second.
    pub current: f64,
    /// 2 means that twice as much would still be carried.
    pub ratio: f64,
    /// 95 %.
    pub interval: [f64; 2],
}

/// Failures by offered load: `p = floor + (1 − floor) / (1 + (half_at / load)^steepness)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFailures {
    /// The share that fails without load, in `0..=1`.
    pub floor_ratio: f64,
    /// Requests per second at which half of the others fail.
    pub half_at: f64,
    /// How steeply.
    pub steepness: f64,
}

/// Behaviour beyond the capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredBeyond {
    /// `graceful`, `errors` or `collapse`.
    pub overload: String,
    /// Requests per second.
    pub offered: f64,
    /// Of the ceiling.
    pub throughput_ratio: f64,
    /// Of all outcomes.
    pub error_ratio: f64,
    /// The point.
    pub source: String,
}

/// A return from too much load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRecovery {
    /// The run and its stage.
    pub source: String,
    /// In flight when the load fell.
    pub backlog: f64,
    /// Requests per second that followed.
    pub offered: f64,
    /// Until no more was in flight than the load needs; nothing when the run ended before.
    pub seconds: Option<f64>,
    /// For how long it was watched.
    pub watched_seconds: f64,
}

/// The costs of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCosts {
    /// As it was observed.
    pub resource: String,
    /// Used without requests.
    pub idle: f64,
    /// The dearest in sum first.
    pub routes: Vec<StoredRouteCost>,
    /// The mean of |predicted − used| / used.
    pub miss_ratio: f64,
    /// Which routes cannot be told apart.
    pub warning: Option<String>,
}

/// The cost of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRouteCost {
    /// The route.
    pub route: String,
    /// Resource × seconds a request (of `cpu_cores`: CPU-seconds).
    pub cost: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// By the positive elastic net.
    pub shrunk: f64,
    /// Of what all requests use.
    pub share_ratio: f64,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRoute {
    /// The route.
    pub route: String,
    /// Of all requests.
    pub share_ratio: f64,
    /// At the lowest and at the highest load.
    pub error_ratios: [f64; 2],
    /// Requests per second of all routes at which it breaks the objective.
    pub capacity: Option<f64>,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// Response in milliseconds at each offered load, by measure.
    pub latency: BTreeMap<String, Vec<[f64; 2]>>,
}

/// The capacity under another mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredMix {
    /// The resource whose costs decide.
    pub resource: String,
    /// Requests per second, all routes together.
    pub rate_per_second: f64,
    /// 95 %.
    pub interval: [f64; 2],
    /// The cost of a mean request over that in the runs.
    pub cost_ratio: f64,
    /// Routes whose cost is unknown.
    pub unknown: Vec<String>,
}

impl From<&Model> for StoredAnswers {
    fn from(model: &Model) -> Self {
        let per_second = Rate::as_per_second;
        Self {
            headroom: model.headroom.map(|each| StoredHeadroom {
                current: per_second(each.current),
                ratio: each.ratio,
                interval: [each.interval.low, each.interval.high],
            }),
            beyond: model.beyond.as_ref().map(|each| StoredBeyond {
                overload: match each.overload {
                    Overload::Graceful => "graceful",
                    Overload::Errors => "errors",
                    Overload::Collapse => "collapse",
                }
                .to_owned(),
                offered: per_second(each.offered),
                throughput_ratio: each.throughput_ratio,
                error_ratio: each.error_ratio,
                source: each.source.clone(),
            }),
            failures: model.failures.map(|each| StoredFailures {
                floor_ratio: each.floor_ratio,
                half_at: per_second(each.half_at),
                steepness: each.steepness,
            }),
            recoveries: model
                .recoveries
                .iter()
                .map(|each| StoredRecovery {
                    source: each.source.clone(),
                    backlog: each.backlog,
                    offered: per_second(each.offered),
                    seconds: each.seconds.map(|length| length.as_secs_f64()),
                    watched_seconds: each.watched.as_secs_f64(),
                })
                .collect(),
            costs: model
                .costs
                .iter()
                .map(|each| StoredCosts {
                    resource: each.resource.clone(),
                    idle: each.idle,
                    routes: each
                        .routes
                        .iter()
                        .map(|route| StoredRouteCost {
                            route: route.route.clone(),
                            cost: route.cost,
                            interval: [route.interval.low, route.interval.high],
                            shrunk: route.shrunk,
                            share_ratio: route.share_ratio,
                        })
                        .collect(),
                    miss_ratio: each.miss_ratio,
                    warning: each.warning.clone(),
                })
                .collect(),
            routes: model.routes.iter().map(route).collect(),
            mix: model.mix.as_ref().map(|each| StoredMix {
                resource: each.resource.clone(),
                rate_per_second: per_second(each.rate),
                interval: [per_second(each.interval.low), per_second(each.interval.high)],
                cost_ratio: each.cost_ratio,
                unknown: each.unknown.clone(),
            }),
            advice: model.advice.clone(),
            firmer: model.firmer.clone(),
            methods: METHODS.iter().map(|(name, how)| ((*name).to_owned(), (*how).to_owned())).collect(),
            units: UNITS.iter().map(|(name, unit)| ((*name).to_owned(), (*unit).to_owned())).collect(),
            sources: model
                .points
                .iter()
                .filter(|point| !point.draining)
                .map(|point| point.source.clone())
                .collect(),
        }
    }
}

fn route(each: &crate::model::RouteModel) -> StoredRoute {
    let curve = |curve: &crate::latency::LatencyCurve| {
        let steps = curve
            .steps
            .iter()
            .map(|step| [step.offered.as_per_second(), step.response.as_nanos() as f64 / 1e6]);
        (curve.measure.name(), steps.collect())
    };
    StoredRoute {
        route: each.route.clone(),
        share_ratio: each.share_ratio,
        error_ratios: each.error_ratios,
        capacity: each.capacity.map(Rate::as_per_second),
        interval: each.interval.map(|bounds| [bounds.low.as_per_second(), bounds.high.as_per_second()]),
        latency: each.latency.iter().map(curve).collect(),
    }
}

/// By the names of `model.json`.
const UNITS: [(&str, &str); 12] = [
    (
        "points",
        "load and throughput in requests per second, concurrency in requests in flight, response_ms in milliseconds, resources in their own unit",
    ),
    (
        "families",
        "concurrency in requests in flight, throughput in requests per second; rate is requests per second for each request in flight",
    ),
    (
        "capacity",
        "requests per second; of a closed load the throughput, with next_load in requests in flight",
    ),
    ("ceiling", "requests per second"),
    ("knee", "concurrency in requests in flight, throughput in requests per second"),
    ("predict", "load in the model's load_unit, throughput in requests per second"),
    ("latency", "offered in requests per second, responses in milliseconds"),
    (
        "resources",
        "idle, limit and used_most in the unit of the resource, demand in that unit × seconds a request, bound in requests per second",
    ),
    ("costs", "cost in the unit of the resource × seconds a request: CPU-seconds of cpu_cores"),
    ("mix", "requests per second, all routes together"),
    ("headroom", "current in requests per second, ratio without unit"),
    ("recoveries", "backlog in requests in flight, offered in requests per second, times in seconds"),
];

/// By the names of `model.json`.
const METHODS: [(&str, &str); 18] = [
    (
        "points",
        "stages that hold; warm-up cut by MSER-5; quantiles of merged histograms; the number in flight steady by Mann and Kendall's test (change_ratio)",
    ),
    (
        "bottleneck",
        "the lowest bound of the utilisation law among resources with a limit, or the one that was seen used up",
    ),
    (
        "mix",
        "the capacity over the ratio of the mean costs of a request under both mixes; interval from the draws of both",
    ),
    ("headroom", "the capacity, and its interval, over the present peak"),
    (
        "beyond",
        "throughput and errors at the largest load beyond the measured ceiling, beside those of the ceiling",
    ),
    ("recoveries", "seconds until no more is in flight than the lower load needs"),
    (
        "routes",
        "latency curves of each route against the load of all; capacity where its curve reaches the limit of the objective",
    ),
    (
        "backtest",
        "all families fitted on the lower two thirds of the loads, scored on the next ones up to twice the largest fitted",
    ),
    (
        "failures",
        "a logistic curve on the logarithm of the load, by weighted least squares; without one, monotone regression",
    ),
    ("by_limit", "each limit alone, as the capacity"),
    (
        "families",
        "bounded weighted least squares; t intervals with n − p degrees of freedom; weighed by leaving one load out",
    ),
    (
        "latency",
        "s + g·ρ + b·z(ρ) with Kingman's or M/M/c's z, or a regression of ln R on ρ, ρ², ρ³ and −ln(1 − ρ) chosen by AICc, by the loads left out",
    ),
    (
        "capacity",
        "each limit of the objective inverted on its curve; interval from up to 1 000 block-bootstrap draws of the seconds",
    ),
    (
        "ceiling",
        "the mean of saturated loads; without one, where a resource runs out, or where waiting leads",
    ),
    (
        "knee",
        "Kneedle on the averaged curve over the measured loads; where it finds none, where the slope has fallen to half of the first",
    ),
    (
        "resources",
        "utilisation law: used = idle + demand × throughput, by non-negative least squares; interval by bootstrap",
    ),
    (
        "costs",
        "non-negative least squares on two-second rows, beside a positive elastic net; interval by bootstrap",
    ),
    ("predict", "the weighted average of the families; interval with noise, back-test and hidden ceilings"),
];
