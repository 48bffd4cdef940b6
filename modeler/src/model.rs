//! The model of a service: everything that was concluded, as plain values.

use captures::Rate;

use crate::backtest::Backtest;
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
use crate::resample::Urn;
use crate::study::Study;
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
    let urns: Vec<Urn<'_>> =
        points.iter().filter(|point| !point.draining).map(|point| Urn::new(point, &measures)).collect();
    let study = Study::new(&urns, unit, &measures, request.objective.as_ref(), request.seed);
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
