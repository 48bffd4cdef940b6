//! When growth exhausts capacity.
//!
//! The history gives a trend, a week and, by the hour, a day; their continuation is drawn as many seeded
//! paths. A path meets events, the peak within the step and the capacity's own uncertainty, and either runs
//! out on some date or does not. Dates come from those paths, never from crossing the bounds of an interval.

mod error;
mod exhaustion;
mod history;
mod members;
mod spread;
mod stored;
mod types;

use captures::Rate;
use jiff::civil::DateTime;

pub use error::ForecastError;
pub use history::{History, Observation, Step, moment_of};
pub use stored::{
    StoredCapacityGiven, StoredEvent, StoredExhaustion, StoredForecast, StoredForecastStep, StoredScore,
};
pub use types::{
    CapacityGiven, Event, Exhaustion, ExhaustionStep, Forecast, ForecastRequest, ForecastScore, ForecastStep,
    PeakFactor,
};

use crate::bounds::Bounds;
use crate::resample::{generator, normal, quantile_of};
use crate::window::rate;
use members::Series;
use spread::{Learnt, Spread};

/// A horizon may have so many steps.
const MOST_STEPS: usize = 100_000;
/// A forecast needs so many observations.
const LEAST_OBSERVATIONS: usize = 8;
/// How uncertain the multiple of an event is, on the logarithm: about ± 25 % in two of three cases.
const EVENT_SPREAD: f64 = 0.22;
/// Numbers that are held at once.
const MOST_NUMBERS: usize = 4_000_000;

/// Continues `history` and says when it meets the capacity.
///
/// # Errors
/// When the history is too short or the horizon too long.
pub fn forecast(history: &History, request: &ForecastRequest) -> Result<Forecast, ForecastError> {
    let history = request.until.map_or_else(|| history.clone(), |until| history.until(until));
    if request.steps == 0 || request.steps > MOST_STEPS {
        return Err(ForecastError::Horizon { steps: request.steps });
    }
    let volumes: Vec<Option<f64>> = history.observations.iter().map(|each| each.volume).collect();
    let needed = LEAST_OBSERVATIONS.max(if history.step == Step::Hour {
        48
    } else {
        2 * history.step.season().min(7)
    });
    let count = volumes.iter().flatten().count();
    if count < needed {
        return Err(ForecastError::TooShort { count, needed });
    }
    let series = Series::new(&volumes, history.step);
    let Learnt { spread, score } = Spread::learn(&series, request.steps, &mut generator(request.seed, 2));
    let expected = members::ahead(&series, request.steps);
    let begin = history.observations.last().map_or(DateTime::default(), |last| last.at);
    let moments: Vec<DateTime> =
        (0..request.steps).map(|step| history.step.moment_after(begin, step + 1)).collect();
    let multiples: Vec<f64> =
        moments.iter().map(|at| multiple_at(&request.events, *at, history.step)).collect();
    let paths = paths(&expected, &multiples, &moments, history.step, &spread, request);
    let peak = request.peak_factor.factor();
    let seconds = history.step.length().as_secs_f64();
    let raised: Vec<f64> = moments
        .iter()
        .zip(&multiples)
        .map(|(at, mean)| (busiest_day_at(&request.events, *at, history.step) / mean).clamp(1.0, 7.0))
        .collect();
    let steps = steps(&expected, &multiples, &raised, &moments, &paths, seconds, peak);
    let exhaustion = request.capacity.map(|capacity| {
        exhaustion::of(&history, &paths, &raised, &moments, capacity, seconds / peak, request.seed)
    });
    let warnings = warnings(&history, &series, request, score, exhaustion.as_ref(), &moments);
    Ok(Forecast {
        step: history.step,
        capacity: request.capacity,
        capacity_volume: request.capacity.map(|capacity| capacity.rate.as_per_second() * seconds / peak),
        events: request
            .events
            .iter()
            .filter(|event| moments.iter().any(|at| lies_on(event, *at, history.step)))
            .cloned()
            .collect(),
        peak_factor: request.peak_factor,
        growth_per_year_ratio: members::growth_per_year(&series),
        exhaustion,
        score,
        steps,
        warnings,
        history: history.observations,
        seed: request.seed,
    })
}

fn lies_on(event: &Event, at: DateTime, step: Step) -> bool {
    let last = step.moment_after(at, 1).saturating_sub(jiff::SignedDuration::from_secs(1)).date();
    at.date() <= event.last && last >= event.first
}

/// The product of the events on a step; a day within a longer step counts for its share.
fn multiple_at(events: &[Event], at: DateTime, step: Step) -> f64 {
    let days: Vec<f64> = multiples_by_day(events, at, step).collect();
    days.iter().sum::<f64>() / days.len() as f64
}

/// The highest multiple of one day of a step that is longer; else the multiple of the step. Capacity is
/// compared with this one: a week does not thin the load of its Black Friday.
fn busiest_day_at(events: &[Event], at: DateTime, step: Step) -> f64 {
    multiples_by_day(events, at, step).fold(0.0, f64::max)
}

fn multiples_by_day(events: &[Event], at: DateTime, step: Step) -> impl Iterator<Item = f64> {
    let days = if step == Step::Week { 7 } else { 1 };
    (0..days).map(move |day| {
        let day = Step::Day.moment_after(at, day);
        events
            .iter()
            .filter(|event| lies_on(event, day, step_within(step)))
            .map(|event| event.multiple)
            .product::<f64>()
    })
}

const fn step_within(step: Step) -> Step {
    match step {
        Step::Week | Step::Day => Step::Day,
        Step::Hour => Step::Hour,
        Step::Minutes(minutes) => Step::Minutes(minutes),
    }
}

/// Volumes by path and step.
fn paths(
    expected: &[f64],
    multiples: &[f64],
    moments: &[DateTime],
    step: Step,
    spread: &Spread,
    request: &ForecastRequest,
) -> Vec<Vec<f64>> {
    let count = (MOST_NUMBERS / expected.len().max(1)).clamp(200, 2_000);
    let mut chance = generator(request.seed, 3);
    let on: Vec<Vec<usize>> = moments
        .iter()
        .map(|at| {
            (0..request.events.len()).filter(|&index| lies_on(&request.events[index], *at, step)).collect()
        })
        .collect();
    (0..count)
        .map(|_| {
            let luck: Vec<f64> =
                request.events.iter().map(|_| (EVENT_SPREAD * normal(&mut chance)).exp()).collect();
            let misses = spread.path(expected.len(), &mut chance);
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
    moments: &[DateTime],
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
    let missing = series.known.iter().filter(|known| !**known).count();
    say(
        missing > 0,
        format!("{missing} of {} steps are missing, or outages, and were left out.", series.known.len()),
    );
    for event in &request.events {
        let met = moments.iter().any(|at| lies_on(event, *at, history.step));
        say(!met, format!("{} ({}) lies outside the forecast.", event.name, event.first));
        say(
            met,
            format!(
                "{}: {} times the ordinary load is taken as given, with ± 25 %.",
                event.name, event.multiple
            ),
        );
        say(
            met && history.step == Step::Week,
            format!(
                "{}: a step is a week, over which its day is averaged; the capacity is compared with the day itself, \
                 {} times the ordinary load.",
                event.name, event.multiple
            ),
        );
    }
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

/// The mean rate of an observation.
pub fn mean_rate(observation: &Observation, step: Step) -> Option<Rate> {
    observation.volume.map(|volume| rate(volume / step.length().as_secs_f64()))
}
