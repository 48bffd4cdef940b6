//! The model of a service: everything that was concluded, as plain values.

use captures::Rate;

use crate::advice;
use crate::backtest::Backtest;
use crate::beyond::{self, BacklogRecovery, Beyond, Headroom};
use crate::bottleneck::{Bottleneck, bottleneck};
use crate::bounds::{Bounds, Verdict};
use crate::capacity::{Capacity, failing};
use crate::ceiling::Ceiling;
use crate::cost::{self, Costs, MixAnswer, MixChange};
use crate::curve;
use crate::error::ModelError;
use crate::failure::{self, FailureCurve};
use crate::family::Knee;
use crate::fit::FamilyFit;
use crate::latency::{Fitted, LatencyCurve, LatencyMeasure};
use crate::objective::Objective;
use crate::point::{Point, same_level};
use crate::predict::{Prediction, predict};
use crate::resample::{Subject, Urn};
use crate::resource::{self, Growth, Line, ResourceLaw, counts_places};
use crate::study::{LEAST_EXPLAINED_RATIO, Resources, Study};
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
    /// The peak of today, for the headroom.
    pub current: Option<Rate>,
    /// Another mix of routes to answer for.
    pub mix: Vec<MixChange>,
    /// Whether to answer beyond twice the largest measured load.
    pub force: bool,
    /// The seed of every draw.
    pub seed: u64,
}

impl ModelRequest {
    /// Asks for what the points say of themselves: no objective, no other load, no other mix. For what is
    /// asked beyond that, `ModelRequest { …, ..ModelRequest::plain(seed) }`.
    pub const fn plain(seed: u64) -> Self {
        Self {
            objective: None,
            at: Vec::new(),
            rate_at_1x: None,
            held_back_ratio: 0.0,
            limits: Vec::new(),
            current: None,
            mix: Vec::new(),
            force: false,
            seed,
        }
    }
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
    /// Where more concurrency starts to buy clearly less than it bought at first.
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
    /// Failures against offered load; `None` when they are too rare, or too sudden, for a curve.
    pub failures: Option<FailureCurve>,
    /// What each route costs of the resources that answer to load.
    pub costs: Vec<Costs>,
    /// The routes, busiest first: their curves and where each breaks the objective.
    pub routes: Vec<RouteModel>,
    /// The capacity under the mix that was asked for; `None` without one, or when no costs are known.
    pub mix: Option<MixAnswer>,
    /// How far today's peak is from the capacity; `None` when nobody said it.
    pub headroom: Option<Headroom>,
    /// What more load than is carried does; `None` when none was measured.
    pub beyond: Option<Beyond>,
    /// How the runs came back after too much load. Runs know it, points do not: whoever has them adds it.
    pub recoveries: Vec<BacklogRecovery>,
    /// What to do: whole sentences, the most telling first.
    pub advice: Vec<String>,
    /// What would make the answer firmer: whole sentences, what helps most first.
    pub firmer: Vec<String>,
    /// How well the lower loads predict the upper ones.
    pub backtest: Option<Backtest>,
    /// What a reader must know before believing it: whole sentences.
    pub warnings: Vec<String>,
    /// The seed of every draw.
    pub seed: u64,
}

/// What was concluded of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteModel {
    /// The route.
    pub route: String,
    /// Its share of all requests, in `0..=1`.
    pub share_ratio: f64,
    /// Its share of errors at the lowest and at the highest load, in `0..=1`.
    pub error_ratios: [f64; 2],
    /// The load of *all* routes at which it breaks the latency limits of the objective; `None` without such a
    /// limit, or when it breaks none.
    pub capacity: Option<Rate>,
    /// The 95 % interval of that load.
    pub interval: Option<Bounds<Rate>>,
    /// Its responses against the load of all routes.
    pub latency: Vec<LatencyCurve>,
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
/// A saturated load carries at least this share of what higher ones carry.
const CARRIED_MORE_RATIO: f64 = 0.85;
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
    refuse_unidentified(&points, unit, request.force)?;
    unmark_under_ceiling(&mut points);
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
    let unexplained = study.concluded.explained_ratio.filter(|ratio| *ratio < LEAST_EXPLAINED_RATIO);
    let bottleneck = bottleneck(&laws, &serving, known_ceiling, unexplained.map(|ratio| 1.0 - ratio));
    let routes = routes(&study, &points, request.objective.as_ref());
    let costed = cost::costs(&points, &costed_resources(&laws, bottleneck.as_ref()), request.seed);
    let deciding = costed.iter().find(|(costs, _)| {
        bottleneck
            .as_ref()
            .and_then(|found| found.resource.as_ref())
            .is_none_or(|name| *name == costs.resource)
    });
    let mix = deciding.filter(|_| !request.mix.is_empty()).map(|deciding| {
        cost::under_mix(&study, &points, deciding, capacity.rate.as_per_second(), &request.mix)
    });
    let costs: Vec<Costs> = costed.into_iter().map(|(costs, _)| costs).collect();
    let beyond = beyond::beyond(&points, ceiling);
    let evidence = advice::Evidence {
        study: &study,
        points: &points,
        capacity: &capacity,
        bottleneck: bottleneck.as_ref(),
        costs: &costs,
        routes: &routes,
        beyond: beyond.as_ref(),
    };
    let firmer = advice::firmer(&evidence, levels, request.rate_at_1x.map(Rate::as_per_second));
    let advice = advice::advice(&evidence);
    let headroom = request.current.map(|current| beyond::headroom(&capacity, current));
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
        headroom,
        failures: failure::fit(&failing(&study.seen)).map(|curve| FailureCurve {
            floor_ratio: curve.floor,
            half_at: rate(curve.middle.exp()),
            steepness: curve.steepness,
        }),
        costs,
        routes,
        mix,
        beyond,
        recoveries: Vec::new(),
        advice,
        firmer,
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

/// Throughputs within this share of one another are the same.
const FLAT_RATIO: f64 = 0.005;
/// A throughput that falls by less than this share may have been flat.
const FALL_RATIO: f64 = 0.03;

/// Refuses points through which any law would pass.
fn refuse_unidentified(points: &[Point], unit: LoadUnit, force: bool) -> Result<(), ModelError> {
    let failed = |point: &&Point| point.error_ratio >= 1.0 || point.throughput <= Rate::ZERO;
    if let Some(point) = points.iter().find(failed) {
        return Err(ModelError::AllFailed { source: point.source.clone() });
    }
    let used: Vec<f64> =
        points.iter().filter(|point| !point.draining).map(|point| point.throughput.as_per_second()).collect();
    let most = used.iter().copied().fold(0.0, f64::max);
    let least = used.iter().copied().fold(f64::INFINITY, f64::min);
    let (Some(first), Some(last)) = (used.first(), used.last()) else { return Ok(()) };
    let saturated = unit == LoadUnit::Concurrency || points.iter().all(|point| point.saturated);
    if force || !saturated {
        Ok(())
    } else if most - least <= FLAT_RATIO * most {
        Err(ModelError::Flat)
    } else if used.windows(2).all(|pair| pair[1] < pair[0]) && *last < (1.0 - FALL_RATIO) * first {
        Err(ModelError::Falling)
    } else {
        Ok(())
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

/// A load is not the most that is carried when a higher one was seen to carry more: in a short stage chance alone
/// may leave that many requests behind.
fn unmark_under_ceiling(points: &mut [Point]) {
    let mut most = Rate::ZERO;
    for point in points.iter_mut().rev().filter(|point| !point.draining) {
        if point.throughput.as_per_second() < CARRIED_MORE_RATIO * most.as_per_second() {
            point.saturated = false;
        }
        if point.throughput > most {
            most = point.throughput;
        }
    }
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

/// Steps of a route's curve: there are many of them.
const ROUTE_STEPS: u32 = 24;

/// What was concluded of every route.
fn routes(study: &Study<'_>, points: &[Point], objective: Option<&Objective>) -> Vec<RouteModel> {
    let mut names: Vec<&String> = Vec::new();
    for route in points.iter().flat_map(|point| &point.routes) {
        if !names.contains(&&route.route) {
            names.push(&route.route);
        }
    }
    let rates = |name: Option<&String>| -> f64 {
        let routes = points.iter().flat_map(|point| &point.routes);
        routes
            .filter(|route| name.is_none_or(|name| route.route == *name))
            .map(|r| r.offered.as_per_second())
            .sum()
    };
    let all = rates(None);
    let model = |name: &String| {
        let places: Vec<usize> =
            (0..study.subjects.len()).filter(|&at| study.subjects[at].route.as_ref() == Some(name)).collect();
        let limits: Vec<(usize, f64)> = objective
            .iter()
            .flat_map(|objective| objective.latency_limits())
            .filter_map(|(measure, length)| {
                let at = places.iter().copied().find(|&at| study.subjects[at].measure == measure)?;
                Some((at, length.as_secs_f64()))
            })
            .collect();
        let breaks = |curves: &[Option<Fitted>]| {
            let of = |&(at, seconds): &(usize, f64)| {
                curves[at].as_ref().map_or(f64::INFINITY, |curve| curve.offered_for(seconds))
            };
            limits.iter().map(of).fold(f64::INFINITY, f64::min)
        };
        let capacity = breaks(&study.concluded.curves);
        let known = capacity.is_finite() && capacity <= 2.0 * study.largest_load;
        let interval = || {
            let drawn =
                study.interval(0.95, |draw| breaks(&draw.concluded.curves).min(1e3 * study.largest_load));
            Bounds { low: rate(drawn.low.min(capacity)), high: rate(drawn.high.max(capacity)) }
        };
        let errors: Vec<f64> = points
            .iter()
            .filter_map(|point| point.routes.iter().find(|route| route.route == *name))
            .map(|route| route.error_ratio)
            .collect();
        RouteModel {
            route: name.clone(),
            share_ratio: if all > 0.0 { rates(Some(name)) / all } else { 0.0 },
            error_ratios: [errors.first().copied().unwrap_or(0.0), errors.last().copied().unwrap_or(0.0)],
            capacity: known.then(|| rate(capacity)),
            interval: known.then(interval),
            latency: places.iter().filter_map(|&at| curve::latency_of(study, at, ROUTE_STEPS)).collect(),
        }
    };
    let mut routes: Vec<RouteModel> = names.into_iter().map(model).collect();
    routes.sort_by(|one, other| {
        other.share_ratio.total_cmp(&one.share_ratio).then(one.route.cmp(&other.route))
    });
    routes
}

/// The resources whose costs are worth knowing: the bottleneck, CPU in cores, then what grows with load.
fn costed_resources(laws: &[ResourceLaw], bottleneck: Option<&Bottleneck>) -> Vec<String> {
    let bottleneck = bottleneck.and_then(|found| found.resource.clone());
    let is_cores = |law: &&ResourceLaw| law.name.ends_with("cpu_cores");
    let grows = |law: &&ResourceLaw| law.growth != Growth::Flat;
    let mut names: Vec<String> = bottleneck.into_iter().collect();
    names.extend(laws.iter().filter(is_cores).chain(laws.iter().filter(grows)).map(|law| law.name.clone()));
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
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
        places: ranked.iter().map(|each| serves(each.2) && counts_places(each.2, limit(each.2))).collect(),
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
