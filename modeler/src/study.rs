//! The work behind a model: what was measured, the fits to it, and the same for every draw of it.

use statrs::distribution::{ContinuousCDF, Normal};

use crate::backtest::{Backtest, backtest};
use crate::bounds::Bounds;
use crate::capacity::{Answer, answer};
use crate::ceiling;
use crate::crowding::{Shape, shapes};
use crate::family::{Family, Parameters};
use crate::fit::{self, FamilyFit, Observed};
use crate::latency::{self, Fitted, LatencyMeasure, Response};
use crate::model::LoadUnit;
use crate::objective::Objective;
use crate::queueing::{self, Track};
use crate::resample::{Noise, Seen, Subject, Urn, generator, normal, quantile_of};
use crate::resource::{self, Line};

/// How many sets of points are drawn, from no more points than [`ORDINARY_POINTS`]; from more of them fewer, since
/// each set takes as much longer, but no less than [`LEAST_DRAWS`].
const DRAWS: usize = 1_000;
const ORDINARY_POINTS: usize = 100;
const LEAST_DRAWS: usize = 200;
/// How many shapes of waiting a draw may choose from, the likeliest of each curve.
const NEAR_SHAPES: usize = 6;
/// Points of a table without noise of their own are believed to within this share.
const LEAST_NOISE: f64 = 0.01;
/// Chance that resampling few seconds does not see: host, neighbours, the order of things.
const HIDDEN_NOISE: f64 = 0.01;
/// The same of a ceiling that was measured.
const CEILING_NOISE: f64 = 0.007;
/// How far the waiting near the ceiling may lie from the curve's (on the logarithm): shapes are approximations.
const SHAPE_SPREAD: f64 = 0.4;
/// An interval is moved by no more than twice as many standard deviations: what moves more is no bias.
const MOST_SHIFT: f64 = 0.5;
/// How often a ceiling is met that nothing foretold, at 1.5 times the measured load and beyond.
const HIDDEN_CEILING_RATIO: f64 = 0.15;

/// Everything that is computed once.
pub(crate) struct Study<'a> {
    pub(crate) unit: LoadUnit,
    pub(crate) largest_load: f64,
    pub(crate) seen: Vec<Seen>,
    pub(crate) observed: Vec<Observed>,
    pub(crate) declines: bool,
    pub(crate) fits: Vec<FamilyFit>,
    /// Whose responses, all requests first.
    pub(crate) subjects: &'a [Subject],
    /// What is known of the resources: names and limits.
    pub(crate) resources: &'a Resources,
    pub(crate) concluded: Concluded,
    pub(crate) ceiling_measured: bool,
    pub(crate) backtest: Option<Backtest>,
    pub(crate) draws: Vec<Draw>,
}

/// The resources that were observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub(crate) names: Vec<String>,
    pub(crate) limits: Vec<Option<f64>>,
    /// Whether running out of it stops the service (a core, a place in a pool), unlike memory.
    pub(crate) serves: Vec<bool>,
    /// Whether one unit of it serves one request at a time.
    pub(crate) places: Vec<bool>,
}

/// A resource that explains less than this share of the response is not what requests wait for, as far as is known.
pub(crate) const LEAST_EXPLAINED_RATIO: f64 = 0.5;

/// What follows from one set of points.
#[derive(Clone, Debug)]
pub(crate) struct Concluded {
    /// Infinite when none is in sight.
    pub(crate) ceiling: f64,
    /// In the order of the subjects.
    pub(crate) curves: Vec<Option<Fitted>>,
    /// Idle use and demand, in the order of the resources.
    pub(crate) lines: Vec<Line>,
    /// Whether the ceiling is where a resource runs out.
    pub(crate) by_resource: bool,
    /// The largest share of a response without load that an observed resource explains, in `0..=1`; `None` when
    /// that cannot be told.
    pub(crate) explained_ratio: Option<f64>,
    pub(crate) answer: Answer,
}

/// What the points leave open: where in its distribution a ceiling is that was not measured, and how many
/// times the waiting of the curve there is.
#[derive(Clone, Copy)]
struct Chance {
    place: f64,
    crowding: f64,
    /// Which form the curves have.
    form: f64,
    /// By how many spreads longer or shorter responses are where the form is in doubt.
    length: f64,
}

/// What follows from one draw: one family, chosen by weight, so that their disagreement shows in the band.
pub(crate) struct Draw {
    pub(crate) family: Option<(Family, Parameters)>,
    pub(crate) concluded: Concluded,
    /// A standard normal number, for the noise of a single measurement.
    pub(crate) luck: f64,
    /// A number in `0..1`: whether, and where, a ceiling waits beyond the measured loads.
    pub(crate) hidden: f64,
}

impl<'a> Study<'a> {
    /// Studies what `urns` hold, ascending by load.
    pub(crate) fn new(
        urns: &[Urn<'_>],
        unit: LoadUnit,
        subjects: &'a [Subject],
        resources: &'a Resources,
        objective: Option<&Objective>,
        seed: u64,
    ) -> Self {
        let seen: Vec<Seen> = urns.iter().map(Urn::measured).collect();
        let observed = observed(&seen);
        let fits = if observed.is_empty() { Vec::new() } else { fit::fit_all(&observed) };
        let ceiling_measured = ceiling::measured(&seen).is_some();
        let foreseen = ceiling::foreseen(&fits, highest(&observed));
        let all: Vec<Vec<Shape>> = shapes_of(subjects);
        let scene = Scene { subjects, shapes: &all, resources, objective, like: None };
        let concluded =
            conclude(&seen, &scene, foreseen, Chance { place: 0.5, crowding: 1.0, form: 0.5, length: 0.0 });
        let load = |each: &Seen| match unit {
            LoadUnit::Offered => each.offered.unwrap_or(0.0),
            LoadUnit::Concurrency => each.concurrency.unwrap_or(0.0),
        };
        let mut study = Self {
            unit,
            largest_load: seen.iter().map(load).fold(0.0, f64::max),
            declines: fit::has_decline(&observed),
            backtest: backtest(&observed),
            seen,
            observed,
            fits,
            subjects,
            resources,
            concluded,
            ceiling_measured,
            draws: Vec::new(),
        };
        study.draws = study.drawn(urns, &all, objective, seed);
        study
    }

    /// The measures of all requests, with the place of each among the subjects.
    pub(crate) fn measures(&self) -> impl Iterator<Item = (usize, LatencyMeasure)> + '_ {
        self.subjects
            .iter()
            .enumerate()
            .filter(|(_, subject)| subject.route.is_none())
            .map(|(at, subject)| (at, subject.measure))
    }

    /// The throughput per second at `load`, in the study's unit.
    pub(crate) fn throughput_at(&self, load: f64) -> f64 {
        match self.unit {
            LoadUnit::Concurrency => fit::average_at(&self.fits, load),
            LoadUnit::Offered => load.min(self.concluded.ceiling),
        }
    }

    /// The central interval of `coverage` of what would be measured at `load`.
    ///
    /// Beyond the measured loads a ceiling may wait that nothing foretold (a core count, a pool, a lock): some
    /// draws meet one, anywhere between what was measured and what the curve says.
    pub(crate) fn measured_interval_at(&self, load: f64, coverage: f64) -> Bounds<f64> {
        let noise = self.noise_at(load);
        let highest = self.seen.iter().map(|seen| seen.throughput).fold(0.0, f64::max);
        let centre = self.throughput_at(load);
        let hidden_ratio = HIDDEN_CEILING_RATIO * (2.0 * (load / self.largest_load - 1.0)).clamp(0.0, 1.0);
        self.interval(coverage, |draw| {
            let throughput = self.drawn_at(draw, load, centre) * (noise * draw.luck).exp();
            let met =
                self.unit == LoadUnit::Concurrency && draw.hidden < hidden_ratio && throughput > highest;
            if met { highest + (throughput - highest) * draw.hidden / hidden_ratio } else { throughput }
        })
    }

    /// The central interval of `coverage` of the throughput at `load`: of the curve itself.
    pub(crate) fn interval_at(&self, load: f64, coverage: f64) -> Bounds<f64> {
        let centre = self.throughput_at(load);
        self.interval(coverage, |draw| self.drawn_at(draw, load, centre))
    }

    fn drawn_at(&self, draw: &Draw, load: f64, centre: f64) -> f64 {
        match (self.unit, &draw.family) {
            (LoadUnit::Concurrency, Some((family, values))) => family.throughput_at(values, load),
            (LoadUnit::Concurrency, None) => centre,
            (LoadUnit::Offered, _) => load.min(draw.concluded.ceiling),
        }
    }

    /// The central interval of `coverage` of anything that a draw says.
    pub(crate) fn interval(&self, coverage: f64, of: impl Fn(&Draw) -> f64) -> Bounds<f64> {
        let tail = 0.5 * (1.0 - coverage);
        let values = self.ascending(of);
        Bounds { low: quantile_of(&values, tail), high: quantile_of(&values, 1.0 - tail) }
    }

    /// The same of what is `found` in the points themselves. Where draws lie on one side of it, more often than not,
    /// so does what was found of the truth: the interval is moved to the other side by as much.
    ///
    /// Source: Efron, "Nonparametric standard errors and confidence intervals" (1981), the bias-corrected percentiles.
    pub(crate) fn corrected_interval(
        &self,
        coverage: f64,
        found: f64,
        of: impl Fn(&Draw) -> f64,
    ) -> Bounds<f64> {
        let values = self.ascending(of);
        let below = values.partition_point(|value| *value < found);
        let at_most = values.partition_point(|value| *value <= found);
        let share = 0.5 * (below + at_most) as f64 / values.len().max(1) as f64;
        let (Ok(standard), true) = (Normal::new(0.0, 1.0), share > 0.0 && share < 1.0) else {
            let tail = 0.5 * (1.0 - coverage);
            return Bounds { low: quantile_of(&values, tail), high: quantile_of(&values, 1.0 - tail) };
        };
        let shift = 2.0 * standard.inverse_cdf(share).clamp(-MOST_SHIFT, MOST_SHIFT);
        let tail = standard.inverse_cdf(0.5 * (1.0 - coverage));
        let at = |place: f64| quantile_of(&values, standard.cdf(shift + place));
        Bounds { low: at(tail), high: at(-tail) }
    }

    fn ascending(&self, of: impl Fn(&Draw) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.draws.iter().map(of).filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The noise of one measurement at `load`, as a share: what the fits leave, and beyond the measured loads
    /// what the back-test missed by.
    pub(crate) fn noise_at(&self, load: f64) -> f64 {
        let beyond = (load / self.largest_load - 1.0).clamp(0.0, 1.0);
        // A miss by the whole says that nothing is known; more would only overflow.
        let missed = self.backtest.map_or(0.1, |test| test.mean_error_ratio.clamp(0.04, 1.0));
        let ordinary = self.noise().throughput.max(HIDDEN_NOISE);
        ordinary.hypot(1.4 * missed * beyond.sqrt())
    }

    /// The share by which points miss the curves.
    fn noise(&self) -> Noise {
        let weighted = self.fits.iter().filter(|fit| fit.weight > 0.0);
        let throughput: f64 = weighted
            .map(|fit| {
                fit.weight
                    * residual_ratio(fit, &self.observed).max(0.5 * fit.left_out_error_ratio.unwrap_or(0.02))
            })
            .sum();
        let known = self
            .measures()
            .filter_map(|(at, _)| self.concluded.curves[at].as_ref())
            .map(|curve| curve.score.sqrt());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), miss| (sum + miss, count + 1.0));
        let response: f64 = if count > 0.0 { sum / count } else { 0.0 };
        Noise {
            throughput: throughput.clamp(LEAST_NOISE, 0.3),
            response: response.clamp(2.0 * LEAST_NOISE, 0.3),
        }
    }

    fn drawn(
        &self,
        urns: &[Urn<'_>],
        all: &[Vec<Shape>],
        objective: Option<&Objective>,
        seed: u64,
    ) -> Vec<Draw> {
        let noise = self.noise();
        let near = self.near_shapes(all);
        let scene = Scene {
            subjects: self.subjects,
            shapes: &near,
            resources: self.resources,
            objective,
            like: Some(&self.concluded.curves),
        };
        let mut chance = generator(seed, 1);
        let draws = (DRAWS * ORDINARY_POINTS / urns.len().max(1)).clamp(LEAST_DRAWS, DRAWS);
        (0..draws)
            .map(|_| {
                let luck = normal(&mut chance);
                let crowding = (SHAPE_SPREAD * normal(&mut chance)).exp();
                let place = rand::RngExt::random::<f64>(&mut chance);
                let form = rand::RngExt::random::<f64>(&mut chance);
                let length = normal(&mut chance);
                let unsure = Chance { place, crowding, form, length };
                let hidden = rand::RngExt::random::<f64>(&mut chance);
                let pick = rand::RngExt::random::<f64>(&mut chance);
                let shift = (CEILING_NOISE * normal(&mut chance)).exp();
                let mut seen: Vec<Seen> = urns.iter().map(|urn| urn.draw(noise, &mut chance)).collect();
                for each in seen.iter_mut().filter(|each| each.saturated) {
                    each.throughput *= shift;
                }
                seen.sort_by(|one, other| load_of(one).total_cmp(&load_of(other)));
                let family = self.pick(pick).map(|fit| {
                    let drawn = observed(&seen);
                    (fit.family, fit::solve(fit.family, &drawn, Some(fit.values)).values)
                });
                let foreseen = match &family {
                    Some((family, values)) => family
                        .limit(values)
                        .filter(|limit| *limit < 4.0 * highest(&self.observed))
                        .unwrap_or(f64::INFINITY),
                    None => f64::INFINITY,
                };
                let concluded = conclude(&seen, &scene, foreseen, unsure);
                Draw { family, concluded, luck, hidden }
            })
            .collect()
    }

    /// The responses of one subject at the loads that were carried.
    pub(crate) fn steady(&self, subject: usize) -> Vec<Response> {
        steady(&self.seen, subject)
    }

    /// By how much the curve of one subject misses loads left out; `None` when there are too few.
    pub(crate) fn left_out(&self, subject: usize) -> Option<f64> {
        let fitted = self.concluded.curves[subject].as_ref()?;
        let shapes = shapes(self.subjects[subject].measure);
        let responses = self.steady(subject);
        let measure = self.subjects[subject].measure;
        latency::left_out(&responses, fitted.ceiling, |rest| {
            let work = work(&self.seen);
            let track = Track { measure, shapes: &shapes, responses: rest, work, waiting: None };
            latency::same_form(fitted, track, fitted.ceiling)
        })
    }

    /// The shapes that draws may choose from: the likeliest of each curve.
    fn near_shapes(&self, all: &[Vec<Shape>]) -> Vec<Vec<Shape>> {
        let ceiling = self.concluded.curves.iter().flatten().map(|curve| curve.ceiling).next();
        let Some(ceiling) = ceiling.filter(|ceiling| ceiling.is_finite()) else { return all.to_vec() };
        all.iter()
            .enumerate()
            .map(|(at, shapes)| {
                let responses = steady(&self.seen, at);
                let (measure, work) = (self.subjects[at].measure, work(&self.seen));
                let track = Track { measure, shapes, responses: &responses, work, waiting: None };
                queueing::likely(track, ceiling, NEAR_SHAPES)
            })
            .collect()
    }

    /// The family whose share of the weights holds `place`, in `0..1`.
    fn pick(&self, place: f64) -> Option<&FamilyFit> {
        let mut passed = 0.0;
        let hit = self.fits.iter().filter(|fit| fit.weight > 0.0).find(|fit| {
            passed += fit.weight;
            place < passed
        });
        hit.or_else(|| self.fits.iter().rfind(|fit| fit.weight > 0.0))
    }
}

/// The shapes of every subject; a measure's are made once.
fn shapes_of(subjects: &[Subject]) -> Vec<Vec<Shape>> {
    let mut made: Vec<(LatencyMeasure, Vec<Shape>)> = Vec::new();
    for subject in subjects {
        if !made.iter().any(|(measure, _)| *measure == subject.measure) {
            made.push((subject.measure, shapes(subject.measure)));
        }
    }
    let of = |measure: LatencyMeasure| made.iter().find(|(known, _)| *known == measure);
    subjects
        .iter()
        .map(|subject| of(subject.measure).map_or(Vec::new(), |(_, shapes)| shapes.clone()))
        .collect()
}

fn load_of(seen: &Seen) -> f64 {
    seen.offered.or(seen.concurrency).unwrap_or(0.0)
}

fn highest(observed: &[Observed]) -> f64 {
    observed.iter().map(|each| each.x).fold(0.0, f64::max)
}

fn residual_ratio(fit: &FamilyFit, observed: &[Observed]) -> f64 {
    let freedom = observed.len().saturating_sub(fit.family.names().len()).max(1) as f64;
    let squares: f64 = observed
        .iter()
        .map(|each| (fit.throughput_at(each.n) / each.x.max(1e-12)).max(1e-12).ln().powi(2))
        .sum();
    (squares / freedom).sqrt()
}

/// Throughput by concurrency, ascending; empty unless every point knows its concurrency.
fn observed(seen: &[Seen]) -> Vec<Observed> {
    let errors = seen.iter().all(|each| each.throughput_error.is_some());
    let mut observed = Vec::with_capacity(seen.len());
    for each in seen {
        match each.concurrency {
            Some(n) if n > 0.0 && each.throughput > 0.0 => observed.push(Observed {
                n,
                x: each.throughput,
                error: each.throughput_error.filter(|_| errors),
            }),
            Some(_) => {}
            None => return Vec::new(),
        }
    }
    observed.sort_by(|one, other| one.n.total_cmp(&other.n));
    observed
}

/// What is the same for all draws.
struct Scene<'a> {
    subjects: &'a [Subject],
    shapes: &'a [Vec<Shape>],
    resources: &'a Resources,
    objective: Option<&'a Objective>,
    /// The curves of the estimate, whose form the draws keep; `None` for the estimate itself.
    like: Option<&'a [Option<Fitted>]>,
}

impl Scene<'_> {
    fn fitted(&self, at: usize, track: Track<'_>, ceiling: f64, form: f64) -> Option<Fitted> {
        match self.like {
            None => latency::chosen(track, ceiling),
            Some(like) => latency::alike(like[at].as_ref(), track, ceiling, form),
        }
    }
}

/// What follows from `seen`, ascending by load.
fn conclude(seen: &[Seen], scene: &Scene<'_>, foreseen: f64, chance: Chance) -> Concluded {
    let steady: Vec<Vec<Response>> = (0..scene.subjects.len()).map(|at| steady(seen, at)).collect();
    let work = work(seen);
    let tracks: Vec<Track<'_>> = scene
        .subjects
        .iter()
        .enumerate()
        .map(|(at, subject)| Track {
            measure: subject.measure,
            shapes: &scene.shapes[at],
            responses: &steady[at],
            work,
            waiting: None,
        })
        .collect();
    let overall = scene.subjects.iter().filter(|subject| subject.route.is_none()).count();
    let lines = resource::lines(seen, &scene.resources.limits);
    let bound = lines
        .iter()
        .enumerate()
        .filter(|(at, _)| scene.resources.serves[*at])
        .map(|(at, line)| resource::bound_of(*line, scene.resources.limits[at]))
        .fold(f64::INFINITY, f64::min);
    let explained_ratio = explained(&lines, scene.resources, work);
    let covered = explained_ratio.is_none_or(|ratio| ratio >= LEAST_EXPLAINED_RATIO);
    let measured = ceiling::measured(seen);
    let open = seen.iter().all(|each| each.offered.is_some());
    let waiting = open && tracks[..overall].iter().any(|track| track.responses.len() >= 3);
    let carried = seen.iter().map(|each| each.throughput).fold(0.0, f64::max);
    // Where a resource runs out is known better than where waiting seems to lead, unless that is clearly sooner.
    let by_resource = measured.is_none()
        && covered
        && bound.is_finite()
        && bound > carried
        && !(waiting && queueing::shared_ceiling(&tracks[..overall], 0.95) < bound);
    let ceiling = match measured {
        Some(ceiling) => ceiling,
        None if by_resource => bound,
        // What was observed is no more than part of it: something else may end sooner, but nothing later.
        None if waiting => queueing::shared_ceiling(&tracks[..overall], chance.place).min(bound.max(carried)),
        None => foreseen,
    };
    // The mean of a short window is without bias, a high quantile is too small more often than not: how much
    // waiting weighs is learnt from the mean.
    let mean = tracks[..overall].iter().enumerate().find(|(_, track)| track.measure == LatencyMeasure::Mean);
    let waiting = mean
        .and_then(|(at, track)| scene.fitted(at, *track, ceiling, chance.form))
        .and_then(|fit| fit.waiting());
    let burstiness = waiting.map_or(0.0, |waiting| waiting.seconds * ceiling);
    let lengthened: Vec<Vec<Response>> = tracks
        .iter()
        .map(|track| {
            track.responses.iter().map(|each| each.lengthened(track.measure, ceiling, burstiness)).collect()
        })
        .collect();
    let curves: Vec<Option<Fitted>> = tracks
        .iter()
        .enumerate()
        .map(|(at, track)| {
            let track = Track {
                responses: &lengthened[at],
                waiting: waiting.filter(|_| track.measure != LatencyMeasure::Mean),
                ..*track
            };
            {
                let forms = scene.like.and_then(|like| like[at].as_ref()).map(|fit| fit.forms);
                let times = (forms.map_or(0.0, latency::Forms::misfit) * chance.length).exp();
                scene
                    .fitted(at, track, ceiling, chance.form)
                    .map(|fit| fit.crowded(chance.crowding).scaled(times))
            }
        })
        .collect();
    // A pole that was not measured is only as good as the waiting it was seen from.
    let flat = measured.is_none() && !by_resource && open && !curves[..overall].iter().flatten().any(waits);
    let ceiling = if flat { foreseen } else { ceiling };
    let named: Vec<(LatencyMeasure, Option<&Fitted>)> = scene.subjects[..overall]
        .iter()
        .zip(&curves)
        .map(|(subject, curve)| (subject.measure, curve.as_ref()))
        .collect();
    let answer = answer(seen, scene.objective, &named, ceiling);
    Concluded { ceiling, curves, answer, lines, by_resource, explained_ratio }
}

/// By the law of Little a request holds so many places (or cores) for so long as it stays: the largest demand in
/// places × seconds over the response without load, which is `work`.
fn explained(lines: &[Line], resources: &Resources, work: f64) -> Option<f64> {
    let known = lines.iter().enumerate().filter(|(at, _)| resources.places[*at]);
    let demands = known.filter_map(|(_, line)| line.map(|(_, demand)| demand / work));
    demands.reduce(f64::max).filter(|ratio| ratio.is_finite()).map(|ratio| ratio.min(1.0))
}

/// Seconds of a request without waiting: in flight by throughput at the lowest load that was carried.
fn work(seen: &[Seen]) -> f64 {
    seen.iter()
        .filter(|each| !each.saturated && each.throughput > 0.0)
        .filter_map(|each| each.concurrency.map(|n| n / each.throughput))
        .fold(f64::INFINITY, f64::min)
}

fn waits(curve: &Fitted) -> bool {
    match curve.form {
        latency::Form::Queueing { service, slope, .. } => slope > 0.01 * service,
        latency::Form::Regressed(_) => true,
        latency::Form::Monotone { .. } => false,
    }
}

/// The responses of one subject at the loads that were carried.
fn steady(seen: &[Seen], subject: usize) -> Vec<Response> {
    seen.iter()
        .filter(|each| !each.saturated)
        .filter_map(|each| {
            let seconds = each.responses[subject];
            each.offered.filter(|_| seconds > 0.0).map(|offered| Response {
                offered,
                seconds,
                length: each.length,
            })
        })
        .collect()
}
