//! The model of a service: everything that was concluded, as plain values.

use captures::Rate;

use crate::backtest::Backtest;
use crate::bottleneck::{Bottleneck, bottleneck};
use crate::bounds::{Bounds, Verdict};
use crate::capacity::Capacity;
use crate::ceiling::Ceiling;
use crate::curve;
use crate::error::ModelError;
use crate::family::Knee;
use crate::fit::FamilyFit;
use crate::latency::{LatencyCurve, LatencyMeasure};
use crate::objective::Objective;
use crate::point::{Point, same_level};
use crate::predict::{Prediction, predict};
use crate::resample::{Subject, Urn};
use crate::resource::{self, Line, ResourceLaw};
use crate::study::{Resources, Study};
use crate::verdict;
use crate::warn;
use crate::window::rate;

/// In what the loads of a model are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadUnit {
    /// Requests in flight: a closed load.
    Concurrency,
    /// Offered requests per second: an open load.
    Offered,
}

/// A load somebody asks about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// In the unit of the model.
    Plain(f64),
    /// A multiple of the capture's own curve.
    Scale(f64),
}

/// What to model, beside the points.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRequest {
    /// The objective; `None` asks for the throughput alone.
    pub objective: Option<Objective>,
    /// Loads whose throughput is asked for.
    pub at: Vec<Load>,
    /// The mean rate of `1x`; `None` without runs.
    pub rate_at_1x: Option<Rate>,
    /// The share of the capture's requests that the runs held back, in `0..=1`.
    pub held_back_ratio: f64,
    /// Limits of resources that their names do not say: the name as observed, or what follows its last slash.
    pub limits: Vec<(String, f64)>,
    /// Whether to answer beyond twice the largest measured load.
    pub force: bool,
    /// The seed of every draw.
    pub seed: u64,
}

/// Everything that was concluded.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it rests on, by ascending load.
    pub points: Vec<Point>,
    /// In what loads are counted (of `predictions` and of the largest load).
    pub load_unit: LoadUnit,
    /// The largest measured load.
    pub largest_load: f64,
    /// The objective that was asked for.
    pub objective: Option<Objective>,
    /// Throughput against concurrency: every family, with its weight; weights add up to 1. Empty when the
    /// points do not know their concurrency.
    pub families: Vec<FamilyFit>,
    /// The weighted average of the families over concurrency, for drawing.
    pub throughput_curve: Vec<CurveStep>,
    /// Throughput against offered load, for drawing; empty for a closed load.
    pub carried_curve: Vec<CurveStep>,
    /// The highest throughput; `None` when nothing bends.
    pub ceiling: Option<Ceiling>,
    /// Where more concurrency starts to buy half of what it bought at first.
    pub knee: Option<Knee>,
    /// Response against offered load: p50, p95, p99, and what the objective names. Empty for a closed load.
    pub latency: Vec<LatencyCurve>,
    /// The answer: the highest offered load that meets the objective; for a closed load, or without an
    /// objective, the highest throughput.
    pub capacity: Capacity,
    /// The mean rate of `1x`; `None` without runs.
    pub rate_at_1x: Option<Rate>,
    /// The share of the capture's requests that the runs held back: a partial mix when above zero.
    pub held_back_ratio: f64,
    /// Throughput at the loads that were asked for.
    pub predictions: Vec<Prediction>,
    /// What was observed of the target, by resource: its demand and where it runs out.
    pub resources: Vec<ResourceLaw>,
    /// What runs out first; `None` when nothing was observed that could.
    pub bottleneck: Option<Bottleneck>,
    /// How well the lower loads predict the upper ones.
    pub backtest: Option<Backtest>,
    /// What a reader must know before believing it: whole sentences.
    pub warnings: Vec<String>,
    /// The seed of every draw.
    pub seed: u64,
}

/// One step of a drawn curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveStep {
    /// Concurrency, or offered requests per second.
    pub load: f64,
    /// The throughput there.
    pub throughput: Rate,
    /// The 95 % interval.
    pub interval: Bounds<Rate>,
    /// Whether the load was measured.
    pub verdict: Verdict,
}

/// A fit needs so many different loads.
const LEAST_LOADS: usize = 3;
/// A load above the measured ceiling by more than this share was not carried, however short the stage.
const OVER_CEILING_RATIO: f64 = 1.02;

/// Concludes from `points`, of one or more runs or of a table.
///
/// # Errors
/// When the points are too few, or cannot answer what is asked.
pub fn model(mut points: Vec<Point>, request: &ModelRequest) -> Result<Model, ModelError> {
    let unit = unit_of(&points)?;
    let load = |point: &Point| load_of(point, unit);
    points
        .sort_by(|one, other| load(one).total_cmp(&load(other)).then_with(|| one.source.cmp(&other.source)));
    let levels = levels(points.iter().filter(|point| !point.draining).map(load));
    if levels < LEAST_LOADS {
        let from_table = points.iter().all(|point| point.windows.is_empty());
        return Err(ModelError::TooFewLoads { count: levels, needed: LEAST_LOADS, from_table });
    }
    mark_over_ceiling(&mut points);
    let measures = measures(&points, unit, request.objective.as_ref())?;
    let subjects = subjects(&points, &measures);
    let resources = resources(&points, request);
    let urns: Vec<Urn<'_>> = points
        .iter()
        .filter(|point| !point.draining)
        .map(|point| Urn::new(point, &subjects, &resources.names))
        .collect();
    let study = Study::new(&urns, unit, &subjects, &resources, request.objective.as_ref(), request.seed);
    let capacity = verdict::capacity(&study, request);
    let ceiling = study.concluded.ceiling.is_finite().then(|| {
        let interval = study.interval(0.95, |draw| draw.concluded.ceiling.min(4.0 * study.concluded.ceiling));
        Ceiling {
            rate: rate(study.concluded.ceiling),
            interval: Bounds {
                low: rate(interval.low.min(study.concluded.ceiling)),
                high: rate(interval.high.max(study.concluded.ceiling)),
            },
            measured: study.ceiling_measured,
        }
    });
    let predictions: Vec<Prediction> = request
        .at
        .iter()
        .filter_map(|load| match *load {
            Load::Plain(load) => Some(load),
            Load::Scale(scale) => request.rate_at_1x.map(|rate| rate.as_per_second() * scale),
        })
        .map(|load| predict(&study, load, request.force))
        .collect();
    let drawn: Vec<Vec<Line>> = study.draws.iter().map(|draw| draw.concluded.lines.clone()).collect();
    let laws =
        resource::laws(&resources.names, &resources.limits, &study.seen, &study.concluded.lines, &drawn);
    let serving: Vec<bool> = laws
        .iter()
        .map(|law| {
            resources.names.iter().position(|name| *name == law.name).is_some_and(|at| resources.serves[at])
        })
        .collect();
    let known_ceiling =
        study.concluded.ceiling.is_finite().then_some((study.concluded.ceiling, study.ceiling_measured));
    let bottleneck = bottleneck(&laws, &serving, known_ceiling);
    let warnings = warn::warnings(&study, &points, levels, &capacity, &predictions, request);
    Ok(Model {
        load_unit: unit,
        largest_load: study.largest_load,
        objective: request.objective.clone(),
        throughput_curve: curve::throughput(&study),
        carried_curve: curve::carried(&study),
        ceiling,
        knee: curve::knee(&study),
        latency: curve::latency(&study),
        capacity,
        rate_at_1x: request.rate_at_1x,
        held_back_ratio: request.held_back_ratio,
        predictions,
        resources: laws,
        bottleneck,
        backtest: study.backtest,
        warnings,
        families: study.fits.clone(),
        points,
        seed: request.seed,
    })
}

fn unit_of(points: &[Point]) -> Result<LoadUnit, ModelError> {
    let open = points.iter().filter(|point| point.offered.is_some()).count();
    match open {
        0 => Ok(LoadUnit::Concurrency),
        _ if open == points.len() => Ok(LoadUnit::Offered),
        _ => Err(ModelError::MixedLoads),
    }
}

fn load_of(point: &Point, unit: LoadUnit) -> f64 {
    match unit {
        LoadUnit::Concurrency => point.concurrency.unwrap_or(0.0),
        LoadUnit::Offered => point.offered.map_or(0.0, Rate::as_per_second),
    }
}

/// How many different loads there are among ascending `loads`.
fn levels(loads: impl Iterator<Item = f64>) -> usize {
    let mut count = 0;
    let mut last = f64::NAN;
    for load in loads {
        if !same_level(last, load) {
            count += 1;
            last = load;
        }
    }
    count
}

/// A short stage just above the ceiling may look carried; a longer one would show that it is not.
fn mark_over_ceiling(points: &mut [Point]) {
    let saturated = || points.iter().filter(|point| point.saturated && !point.draining);
    let Some(ceiling) = saturated().map(|point| point.throughput.as_per_second()).reduce(f64::max) else {
        return;
    };
    for point in points.iter_mut().filter(|point| !point.draining) {
        let offered = point.offered.map_or(0.0, Rate::as_per_second);
        let errors = 1.0 - point.error_ratio;
        if offered * errors > OVER_CEILING_RATIO * ceiling {
            point.saturated = true;
        }
    }
}

fn measures(
    points: &[Point],
    unit: LoadUnit,
    objective: Option<&Objective>,
) -> Result<Vec<LatencyMeasure>, ModelError> {
    let known = |measure: &LatencyMeasure| {
        points.iter().any(|point| match *measure {
            LatencyMeasure::Mean => point.mean_response.is_some(),
            LatencyMeasure::Quantile(quantile) => point.response_at(quantile).is_some(),
        })
    };
    if unit == LoadUnit::Concurrency {
        return if objective.is_some() { Err(ModelError::NoOfferedLoad) } else { Ok(Vec::new()) };
    }
    let mut measures = [0.5, 0.95, 0.99].map(LatencyMeasure::Quantile).to_vec();
    measures.push(LatencyMeasure::Mean);
    measures.retain(known);
    for (measure, _) in objective.iter().flat_map(|objective| objective.latency_limits()) {
        if !known(&measure) {
            return Err(ModelError::NoQuantile { column: measure.name() });
        }
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    Ok(measures)
}

/// All requests, then every route with responses.
fn subjects(points: &[Point], measures: &[LatencyMeasure]) -> Vec<Subject> {
    let overall = measures.iter().map(|&measure| Subject { route: None, measure });
    let mut routes: Vec<&str> = Vec::new();
    for route in points.iter().flat_map(|point| &point.routes).filter(|route| !route.response.is_empty()) {
        if !routes.contains(&route.route.as_str()) {
            routes.push(&route.route);
        }
    }
    let of_route = |name: &str| {
        measures.iter().map(|&measure| Subject { route: Some(name.to_owned()), measure }).collect()
    };
    overall.chain(routes.into_iter().flat_map(|name| -> Vec<Subject> { of_route(name) })).collect()
}

/// The most resources that are modeled: those with a limit first, then those that follow the load most closely.
const MOST_RESOURCES: usize = 24;

fn resources(points: &[Point], request: &ModelRequest) -> Resources {
    let mut names: Vec<&str> =
        points.iter().flat_map(|point| &point.resources).map(|resource| resource.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let limit = |name: &str| {
        let given =
            request.limits.iter().find(|(known, _)| name == known || name.ends_with(&format!("/{known}")));
        given.map(|(_, limit)| *limit).or_else(|| {
            points
                .iter()
                .flat_map(|point| &point.resources)
                .find(|each| each.name == name)
                .and_then(|each| each.limit)
        })
    };
    let mut ranked: Vec<(bool, f64, &str)> =
        names.into_iter().map(|name| (limit(name).is_none(), -follows(points, name), name)).collect();
    ranked.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(other.2)));
    ranked.truncate(MOST_RESOURCES);
    Resources {
        limits: ranked.iter().map(|each| limit(each.2)).collect(),
        serves: ranked.iter().map(|each| limit(each.2).is_some() && serves(each.2)).collect(),
        names: ranked.into_iter().map(|each| each.2.to_owned()).collect(),
    }
}

/// Whether requests wait when it is used up. Memory fills for reasons of its own, and a hit ratio is no use.
fn serves(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let stores = ["memory", "heap", "rss", "hit", "throttled", "error", "space", "cache"];
    !stores.iter().any(|word| name.contains(word))
}

/// How closely a resource follows the throughput: the square of their correlation.
fn follows(points: &[Point], name: &str) -> f64 {
    let pairs: Vec<(f64, f64)> = points
        .iter()
        .filter_map(|point| {
            let resource = point.resources.iter().find(|resource| resource.name == name)?;
            Some((point.throughput.as_per_second(), resource.used))
        })
        .collect();
    let count = pairs.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let xx = sum(&|pair| (pair.0 - x) * (pair.0 - x));
    let yy = sum(&|pair| (pair.1 - y) * (pair.1 - y));
    let xy = sum(&|pair| (pair.0 - x) * (pair.1 - y));
    if xx * yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 }
}
