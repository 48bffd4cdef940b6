//! The work behind a model: what was measured, the fits to it, and the same for every draw of it.

use crate::backtest::{Backtest, backtest};
use crate::bounds::Bounds;
use crate::capacity::{Answer, answer};
use crate::ceiling;
use crate::family::{Family, Parameters};
use crate::fit::{self, FamilyFit, Observed};
use crate::latency::{self, EXPONENTS, Fitted, LatencyMeasure, Response};
use crate::model::LoadUnit;
use crate::objective::Objective;
use crate::resample::{Noise, Seen, Urn, generator, normal, quantile_of};

/// How many sets of points are drawn.
const DRAWS: usize = 400;
/// Points of a table without noise of their own are believed to within this share.
const LEAST_NOISE: f64 = 0.01;
/// Chance that resampling few seconds does not see: host, neighbours, the order of things.
const HIDDEN_NOISE: f64 = 0.01;
/// How far the waiting near the ceiling may lie from the curve's (on the logarithm): shapes are approximations.
const SHAPE_SPREAD: f64 = 0.4;
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
    pub(crate) measures: &'a [LatencyMeasure],
    pub(crate) concluded: Concluded,
    pub(crate) ceiling_measured: bool,
    pub(crate) backtest: Option<Backtest>,
    pub(crate) draws: Vec<Draw>,
}

/// What follows from one set of points.
#[derive(Clone, Debug)]
pub(crate) struct Concluded {
    /// Infinite when none is in sight.
    pub(crate) ceiling: f64,
    /// In the order of the measures.
    pub(crate) curves: Vec<Option<Fitted>>,
    pub(crate) answer: Answer,
}

/// What the points leave open: where in its distribution a ceiling is that was not measured, and how many
/// times the waiting of the curve there is.
#[derive(Clone, Copy)]
struct Chance {
    place: f64,
    crowding: f64,
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
        measures: &'a [LatencyMeasure],
        objective: Option<&Objective>,
        seed: u64,
    ) -> Self {
        let seen: Vec<Seen> = urns.iter().map(Urn::measured).collect();
        let observed = observed(&seen);
        let fits = if observed.is_empty() { Vec::new() } else { fit::fit_all(&observed) };
        let ceiling_measured = ceiling::measured(&seen).is_some();
        let foreseen = ceiling::foreseen(&fits, highest(&observed));
        let concluded =
            conclude(&seen, measures, objective, foreseen, &EXPONENTS, Chance { place: 0.5, crowding: 1.0 });
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
            measures,
            concluded,
            ceiling_measured,
            draws: Vec::new(),
        };
        study.draws = study.drawn(urns, objective, seed);
        study
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
        let mut values: Vec<f64> = self.draws.iter().map(of).filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - coverage);
        Bounds { low: quantile_of(&values, tail), high: quantile_of(&values, 1.0 - tail) }
    }

    /// The noise of one measurement at `load`, as a share: what the fits leave, and beyond the measured loads
    /// what the back-test missed by.
    pub(crate) fn noise_at(&self, load: f64) -> f64 {
        let beyond = (load / self.largest_load - 1.0).clamp(0.0, 1.0);
        let missed = self.backtest.map_or(0.1, |test| test.mean_error_ratio.max(0.04));
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
        let known = self.concluded.curves.iter().flatten().map(|curve| curve.score.sqrt());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), miss| (sum + miss, count + 1.0));
        let response: f64 = if count > 0.0 { sum / count } else { 0.0 };
        Noise {
            throughput: throughput.clamp(LEAST_NOISE, 0.3),
            response: response.clamp(2.0 * LEAST_NOISE, 0.3),
        }
    }

    fn drawn(&self, urns: &[Urn<'_>], objective: Option<&Objective>, seed: u64) -> Vec<Draw> {
        let noise = self.noise();
        let exponents = self.near_exponents();
        let mut chance = generator(seed, 1);
        (0..DRAWS)
            .map(|_| {
                let luck = normal(&mut chance);
                let crowding = (SHAPE_SPREAD * normal(&mut chance)).exp();
                let place = rand::RngExt::random::<f64>(&mut chance);
                let unsure = Chance { place, crowding };
                let hidden = rand::RngExt::random::<f64>(&mut chance);
                let pick = rand::RngExt::random::<f64>(&mut chance);
                let shift = (HIDDEN_NOISE * normal(&mut chance)).exp();
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
                let concluded = conclude(&seen, self.measures, objective, foreseen, &exponents, unsure);
                Draw { family, concluded, luck, hidden }
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

    /// The exponents that draws may choose from: all, as measured noise moves them freely, but thinned.
    fn near_exponents(&self) -> Vec<f64> {
        let used: Vec<f64> = self
            .concluded
            .curves
            .iter()
            .flatten()
            .filter_map(|curve| match curve.form {
                latency::Form::Queueing { exponent, .. } => Some(exponent),
                latency::Form::Monotone { .. } => None,
            })
            .collect();
        let near = |index: usize, wanted: f64| EXPONENTS[index] == wanted;
        let kept: Vec<f64> = (0..EXPONENTS.len())
            .filter(|&index| {
                used.iter().any(|&wanted| {
                    near(index, wanted)
                        || (index > 0 && near(index - 1, wanted))
                        || (index + 1 < EXPONENTS.len() && near(index + 1, wanted))
                })
            })
            .map(|index| EXPONENTS[index])
            .collect();
        if kept.is_empty() { EXPONENTS.to_vec() } else { kept }
    }
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

/// What follows from `seen`, ascending by load.
fn conclude(
    seen: &[Seen],
    measures: &[LatencyMeasure],
    objective: Option<&Objective>,
    foreseen: f64,
    exponents: &[f64],
    chance: Chance,
) -> Concluded {
    let steady: Vec<(f64, Vec<Response>)> =
        measures.iter().enumerate().map(|(at, measure)| (measure.tail(), steady(seen, at))).collect();
    let measured = ceiling::measured(seen);
    let open = seen.iter().all(|each| each.offered.is_some());
    let ceiling = match measured {
        Some(ceiling) => ceiling,
        None if open && steady.iter().any(|(_, responses)| responses.len() >= 3) => {
            latency::shared_ceiling(&steady, exponents, chance.place)
        }
        None => foreseen,
    };
    let curves: Vec<Option<Fitted>> = steady
        .iter()
        .map(|(tail, responses)| {
            latency::fit(responses, *tail, ceiling, exponents).map(|fit| fit.crowded(chance.crowding))
        })
        .collect();
    // A pole that was not measured is only as good as the waiting it was seen from.
    let flat = measured.is_none() && open && !curves.iter().flatten().any(waits);
    let ceiling = if flat { foreseen } else { ceiling };
    let named: Vec<(LatencyMeasure, Option<&Fitted>)> =
        measures.iter().copied().zip(curves.iter().map(Option::as_ref)).collect();
    let answer = answer(seen, objective, &named, ceiling);
    Concluded { ceiling, curves, answer }
}

fn waits(curve: &Fitted) -> bool {
    match curve.form {
        latency::Form::Queueing { service, slope, .. } => slope > 0.01 * service,
        latency::Form::Monotone { .. } => false,
    }
}

/// The responses of one measure at the loads that were carried.
fn steady(seen: &[Seen], measure: usize) -> Vec<Response> {
    seen.iter()
        .filter(|each| !each.saturated)
        .filter_map(|each| {
            let seconds = each.responses[measure];
            each.offered.filter(|_| seconds > 0.0).map(|offered| Response {
                offered,
                seconds,
                length: each.length,
            })
        })
        .collect()
}
