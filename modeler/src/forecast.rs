//! When growth exhausts capacity.
//!
//! The history gives a trend, a week and, by the hour, a day; their continuation is drawn as many seeded
//! paths. A path meets events, the peak within the step and the capacity's own uncertainty, and either runs
//! out on some date or does not. Dates come from those paths, never from crossing the bounds of an interval.

mod chosen;
mod demand;
mod error;
mod events;
mod exhaustion;
mod fleet;
mod history;
mod members;
mod mix;
mod scenario;
mod spread;
mod stored;
mod types;

use captures::Rate;
use jiff::civil::DateTime;

pub use error::ForecastError;
pub use fleet::{FleetGiven, Order, Plan, PlanMonth, Prices, ScaleOut};
pub use history::{Counts, History, Observation, Step, TableForm, TableRead, moment_of};
pub use mix::{MixCost, MixError, mix_cost};
pub use scenario::{Risk, Scenario, ScenarioAnswer};
pub use stored::{
    StoredCapacityGiven, StoredEvent, StoredExhaustion, StoredExhaustionMonth, StoredForecast,
    StoredForecastStep, StoredOrder, StoredPlan, StoredPlanMonth, StoredPrices, StoredRisk, StoredScenario,
    StoredScenarioGiven, StoredScore, StoredTrendChange,
};
pub use types::{
    CapacityGiven, Event, EventGiven, Exhaustion, ExhaustionMonth, ExhaustionStep, Forecast, ForecastRequest,
    ForecastScore, ForecastStep, Foretold, PeakFactor, TrendChange,
};

use crate::bounds::Bounds;
use crate::resample::{generator, normal, quantile_of};
use crate::window::rate;
use demand::Futures;
use events::{busiest_day_at, lies_on, multiple_at};
use members::{Candidate, Piece, Series};
use spread::{Learnt, Spread, Width};

/// A horizon may have so many steps.
const MOST_STEPS: usize = 100_000;
/// A forecast needs so many observations.
const LEAST_OBSERVATIONS: usize = 8;
/// A forecast looks back through so many steps; beyond them nothing is learnt that is not known already.
pub(crate) const MOST_FITTED: usize = 20_000;
/// Numbers that are held at once.
const MOST_NUMBERS: usize = 4_000_000;

/// Continues `history` and says when it meets the capacity.
///
/// # Errors
/// When the history is too short, the horizon too long, or nothing is known of an event.
pub fn forecast(history: &History, request: &ForecastRequest) -> Result<Forecast, ForecastError> {
    let history = request.until.map_or_else(|| history.clone(), |until| history.until(until));
    let history = history.latest(MOST_FITTED);
    if request.steps == 0 || request.steps > MOST_STEPS {
        return Err(ForecastError::Horizon { steps: request.steps });
    }
    let volumes = events::ordinary_volumes(&history, &request.events);
    let needed = LEAST_OBSERVATIONS.max(if history.step == Step::Hour {
        48
    } else {
        2 * history.step.season().min(7)
    });
    let count = volumes.iter().flatten().count();
    if count < needed {
        return Err(ForecastError::TooShort { count, needed });
    }
    if volumes.iter().flatten().all(|volume| *volume == 0.0) {
        return Err(ForecastError::AllZero { count });
    }
    let series = Series::new(&volumes, history.step);
    let Learnt { spread, score, choice, tried } =
        Spread::learn(&series, request.steps, &mut generator(request.seed, 2));
    let expected =
        choice.of(&members::ahead(&series, request.steps), &members::candidates(&series, request.steps));
    let changes = changes(&history, &series);
    let begin = history.observations.last().map_or(DateTime::default(), |last| last.at);
    let moments: Vec<DateTime> =
        (0..request.steps).map(|step| history.step.moment_after(begin, step + 1)).collect();
    let (events, event_notes) = events::to_come(&request.events, &history, &series, &moments)?;
    let multiples: Vec<f64> = moments.iter().map(|at| multiple_at(&events, *at, history.step)).collect();
    let drawn = |width| {
        let course =
            Course { expected: &expected, multiples: &multiples, events: &events, moments: &moments };
        paths(&course, history.step, (&spread, width), request)
    };
    let seconds = history.step.length().as_secs_f64();
    let raised: Vec<f64> = moments
        .iter()
        .zip(&multiples)
        .map(|(at, mean)| (busiest_day_at(&events, *at, history.step) / mean).clamp(1.0, 7.0))
        .collect();
    let peak = request.peak_factor.factor();
    let steps = steps(&expected, &multiples, &raised, &moments, &drawn(Width::Cautious), seconds, peak);
    let growth_per_year_ratio = members::growth_per_year(&series);
    let volume_per_rate = seconds / peak;
    let futures = request.capacity.map(|capacity| {
        futures(&history, drawn(Width::Fair), moments.clone(), &multiples, &raised, capacity, request)
    });
    let exhaustion =
        futures.as_ref().map(|futures| exhaustion::of(&history, &futures.as_expected(), volume_per_rate));
    let plan = futures
        .as_ref()
        .zip(request.fleet.as_ref())
        .map(|(futures, fleet)| fleet::plan(&futures.as_expected(), fleet));
    let scenarios = futures.as_ref().map_or_else(Vec::new, |futures| {
        let all: Vec<Scenario> =
            std::iter::once(Scenario::expected()).chain(request.scenarios.iter().cloned()).collect();
        let growth = (1.0 + growth_per_year_ratio).max(1e-6).ln();
        scenario::answers(&history, futures, &all, request, growth, volume_per_rate)
    });
    let risks = futures.as_ref().zip(exhaustion.as_ref()).map_or_else(Vec::new, |(futures, exhaustion)| {
        scenario::risks(futures, &events, exhaustion, request.fleet.as_ref())
    });
    let mut warnings = warnings(&history, &series, request, score, exhaustion.as_ref());
    warnings.extend(choice.candidate().map(|candidate| {
        let how = match candidate {
            Candidate::SinceChange => "as it went since it changed last",
            Candidate::Saturating => "towards a level that it nears",
        };
        format!(
            "The trend goes on {how}: tried on this history, that missed {:.0} % less than the average of the models.",
            (1.0 - choice.miss_ratio) * 100.0
        )
    }));
    warnings.extend(event_notes);
    warnings.extend(plan_warnings(&history, &events, plan.as_ref()));
    Ok(Forecast {
        step: history.step,
        capacity: request.capacity,
        capacity_volume: request.capacity.map(|capacity| capacity.rate.as_per_second() * seconds / peak),
        events,
        peak_factor: request.peak_factor,
        growth_per_year_ratio,
        changes,
        exhaustion,
        plan,
        scenarios,
        risks,
        score,
        tried: tried
            .into_iter()
            .map(|origin| {
                let foretold = |(index, value): (usize, f64)| Foretold {
                    at: history.observations[index].at,
                    volume: value.exp_m1().max(0.0),
                };
                origin.into_iter().map(foretold).collect()
            })
            .collect(),
        steps,
        warnings,
        history: history.observations,
        seed: request.seed,
    })
}

/// Where the trend changed, the latest last.
fn changes(history: &History, series: &Series) -> Vec<TrendChange> {
    let year = series.steps_per_year();
    let growth = |piece: &Piece| (piece.slope * year).clamp(-10.0, 10.0).exp_m1();
    members::trend_pieces(series)
        .windows(2)
        .filter_map(|pair| {
            let after = &pair[1];
            let at = history.observations.get(after.from)?.at;
            Some(TrendChange {
                at,
                growth_before_ratio: growth(&pair[0]),
                growth_after_ratio: growth(after),
                level_ratio: (after.at(after.from as f64) - pair[0].at(after.from as f64)).exp_m1(),
            })
        })
        .collect()
}

/// The paths as requests per second in the busiest minute, against draws of the capacity.
fn futures(
    history: &History,
    mut paths: Vec<Vec<f64>>,
    moments: Vec<DateTime>,
    multiples: &[f64],
    raised: &[f64],
    capacity: CapacityGiven,
    request: &ForecastRequest,
) -> Futures {
    let count = paths.len() as f64;
    let volumes =
        (0..moments.len()).map(|step| paths.iter().map(|path| path[step]).sum::<f64>() / count).collect();
    let seconds = history.step.length().as_secs_f64();
    let (factor, spread) = (request.peak_factor.factor() / seconds, request.peak_factor.spread());
    let mut chance = generator(request.seed, 5);
    for path in &mut paths {
        for (volume, raised) in path.iter_mut().zip(raised) {
            let luck = if spread > 0.0 { (spread * normal(&mut chance)).exp() } else { 1.0 };
            *volume *= factor * raised * luck;
        }
    }
    Futures {
        step: history.step,
        is_event: multiples.iter().zip(raised).map(|(mean, raised)| *mean != 1.0 || *raised != 1.0).collect(),
        volumes,
        luck: demand::luck(capacity, paths.len(), request.seed),
        capacity: capacity.rate.as_per_second(),
        peaks: paths,
        moments,
    }
}

/// What is expected, before chance has its say.
struct Course<'a> {
    /// On the logarithm, by step.
    expected: &'a [f64],
    /// Of events, by step.
    multiples: &'a [f64],
    events: &'a [Event],
    moments: &'a [DateTime],
}

/// Volumes by path and step.
fn paths(
    course: &Course<'_>,
    step: Step,
    (spread, width): (&Spread, Width),
    request: &ForecastRequest,
) -> Vec<Vec<f64>> {
    let Course { expected, multiples, events, moments } = *course;
    let count = (MOST_NUMBERS / expected.len().max(1)).clamp(200, 2_000);
    let mut chance = generator(request.seed, 3);
    let on: Vec<Vec<usize>> = moments
        .iter()
        .map(|at| {
            let on = |index: &usize| lies_on(events[*index].first, events[*index].last, *at, step);
            (0..events.len()).filter(on).collect()
        })
        .collect();
    (0..count)
        .map(|_| {
            let luck: Vec<f64> =
                events.iter().map(|event| (event.spread * normal(&mut chance)).exp()).collect();
            let misses = spread.path(expected.len(), width, &mut chance);
            (0..expected.len())
                .map(|at| {
                    let event: f64 = on[at].iter().map(|&index| luck[index]).product();
                    (expected[at] + misses[at]).min(700.0).exp_m1().max(0.0) * multiples[at] * event
                })
                .collect()
        })
        .collect()
}

fn steps(
    expected: &[f64],
    multiples: &[f64],
    raised: &[f64],
    moments: &[DateTime],
    paths: &[Vec<f64>],
    seconds: f64,
    peak: f64,
) -> Vec<ForecastStep> {
    (0..expected.len())
        .map(|step| {
            let volume = expected[step].exp_m1().max(0.0) * multiples[step];
            let mut drawn: Vec<f64> = paths.iter().map(|path| path[step]).collect();
            drawn.sort_by(f64::total_cmp);
            let interval = |coverage: f64| {
                let tail = 0.5 * (1.0 - coverage);
                Bounds {
                    low: quantile_of(&drawn, tail).min(volume),
                    high: quantile_of(&drawn, 1.0 - tail).max(volume),
                }
            };
            ForecastStep {
                at: moments[step],
                volume,
                interval_80: interval(0.8),
                interval_95: interval(0.95),
                mean_rate: rate(volume / seconds),
                peak_rate: rate(volume / seconds * peak * raised[step]),
                event_multiple: multiples[step],
            }
        })
        .collect()
}

fn warnings(
    history: &History,
    series: &Series,
    request: &ForecastRequest,
    score: Option<ForecastScore>,
    exhaustion: Option<&Exhaustion>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut say = |applies: bool, sentence: String| {
        if applies {
            warnings.push(sentence);
        }
    };
    let step = history.step.one();
    say(
        request.peak_factor == PeakFactor::MeanOnly && !history.step.is_a_minute(),
        format!(
            "Mean only: a history in steps of {step} gives mean rates, and capacity is bought for peaks; \
             give --peak-factor (busiest minute over mean)."
        ),
    );
    say(
        2 * request.steps > series.values.len(),
        format!(
            "The horizon is {} steps, more than half of the history's {}: the far end is a guess.",
            request.steps,
            series.values.len()
        ),
    );
    say(
        score.is_none(),
        "The history is too short to try the forecast on it: intervals are rough.".to_owned(),
    );
    let missing = history.observations.iter().zip(&series.known).filter(|(each, known)| {
        !**known
            && !request
                .events
                .iter()
                .any(|event| each.volume.is_some() && lies_on(event.first, event.last, each.at, history.step))
    });
    let missing = missing.count();
    say(
        missing > 0,
        format!("{missing} of {} steps are missing, or outages, and were left out.", series.known.len()),
    );
    let gap = longest_gap(&series.known);
    say(
        gap > history.step.season().min(28) && 2 * gap > history.step.season(),
        format!("The longest gap is {gap} steps: what happened in it is not known."),
    );
    if let (Some(exhaustion), Some(last)) = (exhaustion, history.observations.last()) {
        say(
            exhaustion.p50.is_some_and(|at| at <= last.at),
            "The observed load already exceeds the capacity: the date is of the past.".to_owned(),
        );
        say(
            exhaustion.beyond_ratio > 0.0 && exhaustion.p50.is_none(),
            format!(
                "In {:.0} % of the paths capacity lasts beyond the horizon.",
                exhaustion.beyond_ratio * 100.0
            ),
        );
    }
    warnings
}

/// The most steps in a row that are not known.
fn longest_gap(known: &[bool]) -> usize {
    known.split(|known| *known).map(<[bool]>::len).max().unwrap_or(0)
}

fn plan_warnings(history: &History, events: &[Event], plan: Option<&Plan>) -> Vec<String> {
    let mut warnings = Vec::new();
    if history.step == Step::Week {
        warnings.extend(events.iter().map(|event| {
            format!(
                "{}: a step is a week, over which its day is averaged; the capacity is compared with the day \
                 itself, {} times the ordinary load.",
                event.name, event.multiple
            )
        }));
    }
    let Some(plan) = plan else { return warnings };
    if plan.given.scale_out.assumed {
        warnings.push(format!(
            "Machines: that {} % of the work is shared by all of them is assumed, not measured; give --scale-out \
             with measured fleets, or with a law.",
            plan.given.scale_out.contention * 100.0
        ));
    }
    let most = plan.months.iter().filter_map(|month| month.needed).max().unwrap_or(0);
    if most > 2 * plan.given.instances {
        warnings.push(format!(
            "Machines: {most} are more than twice the {} that were measured; what a fleet of that size carries \
             is a guess.",
            plan.given.instances
        ));
    }
    if plan.months.iter().any(|month| month.needed.is_none()) {
        warnings.push(
            "Machines: in some months no number of them carries the load: what they share is exhausted first."
                .to_owned(),
        );
    }
    warnings
}

/// The mean rate of an observation.
pub fn mean_rate(observation: &Observation, step: Step) -> Option<Rate> {
    observation.volume.map(|volume| rate(volume / step.length().as_secs_f64()))
}
