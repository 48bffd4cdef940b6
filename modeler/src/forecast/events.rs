//! Events: which steps they lie on, and what those of the past say of those to come.
//!
//! A step of the past on which an event lay is no ordinary one: the forecast never sees it. Its multiple is
//! what was observed over what the same step of the weeks around had.

use jiff::civil::{Date, DateTime};

use super::error::ForecastError;
use super::history::{History, Step};
use super::members::Series;
use super::types::{Event, EventGiven};

/// How uncertain a multiple is that was given, or seen once: about ± 25 % in two of three cases.
const GIVEN_SPREAD: f64 = 0.22;
/// A holiday that moves the load by less than this, on the logarithm, is an ordinary day.
const LEAST_EFFECT: f64 = 0.05;
/// Nothing recurs more exactly than this.
const LEAST_SPREAD: f64 = 0.05;
/// A long event has a day of shoulder on either side for so many of its own, …
const DAYS_BY_SHOULDER: i32 = 3;
/// … a week at most.
const LONGEST_SHOULDER: i32 = 7;
/// So many seasons on either side tell what would have been ordinary.
const SEASONS_AROUND: usize = 3;

/// Whether days from `first` to `last` touch the step at `at`.
pub(super) fn lies_on(first: Date, last: Date, at: DateTime, step: Step) -> bool {
    let end = step.moment_after(at, 1).saturating_sub(jiff::SignedDuration::from_secs(1)).date();
    at.date() <= last && end >= first
}

/// The volumes of `history`, without those of events and of the days beside a long one.
pub(super) fn ordinary_volumes(history: &History, events: &[EventGiven]) -> Vec<Option<f64>> {
    let mut volumes: Vec<Option<f64>> = history.observations.iter().map(|each| each.volume).collect();
    for event in events {
        for index in touched(history, &with_shoulders(event)) {
            volumes[index] = None;
        }
    }
    volumes
}

/// `event` with the days before and after it that are hardly ordinary either: people leave early for long
/// holidays, and are not all back on the first day after them.
fn with_shoulders(event: &EventGiven) -> EventGiven {
    let days = event.last.since(event.first).map_or(0, |span| span.get_days()) + 1;
    let beside = jiff::Span::new().days((days / DAYS_BY_SHOULDER).min(LONGEST_SHOULDER));
    EventGiven {
        first: event.first.saturating_sub(beside),
        last: event.last.saturating_add(beside),
        ..event.clone()
    }
}

/// The steps of `history` that `event` touches.
fn touched(history: &History, event: &EventGiven) -> std::ops::Range<usize> {
    let on = |index: usize| lies_on(event.first, event.last, history.observations[index].at, history.step);
    // Steps ascend: those of the event are neighbours.
    let begin = history.observations.partition_point(|each| {
        let end = history.step.moment_after(each.at, 1).saturating_sub(jiff::SignedDuration::from_secs(1));
        end.date() < event.first
    });
    let end = (begin..history.observations.len()).find(|&index| !on(index));
    begin..end.unwrap_or(history.observations.len()).max(begin)
}

/// The events among `moments`, with their multiples; and sentences on those that are left out.
///
/// `series` is the ordinary course of `history`.
pub(super) fn to_come(
    given: &[EventGiven],
    history: &History,
    series: &Series,
    moments: &[DateTime],
) -> Result<(Vec<Event>, Vec<String>), ForecastError> {
    let (mut events, mut notes, mut ordinary) = (Vec::new(), Vec::new(), Vec::<String>::new());
    for event in given {
        let future = moments.iter().any(|at| lies_on(event.first, event.last, *at, history.step));
        if !future {
            let past = !touched(history, event).is_empty();
            if !past && !event.optional {
                notes.push(format!("{} ({}) lies outside the forecast.", event.name, event.first));
            }
            continue;
        }
        let seen: Vec<f64> = given
            .iter()
            .filter(|other| other.name == event.name && other.first < event.first)
            .filter_map(|other| observed(history, series, other))
            .collect();
        let known = fitted(&seen);
        if event.optional && known.is_some_and(|(multiple, _)| multiple.ln().abs() < LEAST_EFFECT) {
            if !ordinary.contains(&event.name) {
                ordinary.push(event.name.clone());
            }
            continue;
        }
        let (multiple, spread, fitted_from) = match (event.multiple, known) {
            (Some(multiple), _) => (multiple, GIVEN_SPREAD, 0),
            (None, Some((multiple, spread))) => (multiple, spread, seen.len()),
            (None, None) if event.optional => {
                notes.push(format!(
                    "{} ({}) is taken as an ordinary day: the history holds none.",
                    event.name, event.first
                ));
                continue;
            }
            (None, None) => return Err(ForecastError::Event { name: event.name.clone() }),
        };
        notes.push(if fitted_from == 0 {
            format!("{}: {multiple} times the ordinary load is taken as given, with ± 25 %.", event.name)
        } else {
            format!(
                "{}: {multiple:.2} times the ordinary load, as seen {}.",
                event.name,
                if fitted_from == 1 {
                    "once before".to_owned()
                } else {
                    format!("{fitted_from} times before")
                }
            )
        });
        let (first, last) = (event.first, event.last);
        events.push(Event { name: event.name.clone(), first, last, multiple, spread, fitted_from });
    }
    if !ordinary.is_empty() {
        notes.push(format!(
            "{} of the holidays were ordinary days in the history and are taken as such: {}.",
            ordinary.len(),
            ordinary.join(", ")
        ));
    }
    Ok((events, notes))
}

/// The multiple of an occurrence in the past, on the logarithm.
fn observed(history: &History, series: &Series, event: &EventGiven) -> Option<f64> {
    let season = series.season();
    let count = series.values.len();
    let ratios: Vec<f64> = touched(history, event)
        .filter_map(|index| {
            let volume = history.observations[index].volume?;
            let around: Vec<f64> = (1..=SEASONS_AROUND)
                .flat_map(|away| [index.checked_sub(away * season), Some(index + away * season)])
                .flatten()
                .filter(|&other| other < count && series.known[other])
                .map(|other| series.values[other])
                .collect();
            let ordinary = around.iter().sum::<f64>() / around.len() as f64;
            (!around.is_empty()).then(|| {
                let ratio = (volume.ln_1p() - ordinary).exp();
                day_of_step(ratio, event, history.observations[index].at, history.step).ln()
            })
        })
        .collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

/// The multiple of the event's own days in a step that may be longer than they.
fn day_of_step(ratio: f64, event: &EventGiven, at: DateTime, step: Step) -> f64 {
    if step != Step::Week {
        return ratio;
    }
    let days = (0..7)
        .filter(|&day| {
            let day = Step::Day.moment_after(at, day).date();
            (event.first..=event.last).contains(&day)
        })
        .count()
        .max(1) as f64;
    ((7.0 * ratio - (7.0 - days)) / days).max(0.01)
}

/// Multiple and spread from what was seen; `None` without any.
fn fitted(seen: &[f64]) -> Option<(f64, f64)> {
    let count = seen.len() as f64;
    let mean = (!seen.is_empty()).then(|| seen.iter().sum::<f64>() / count)?;
    let spread = if seen.len() < 2 {
        GIVEN_SPREAD
    } else {
        let variance = seen.iter().map(|each| (each - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (variance * (1.0 + 1.0 / count)).sqrt().max(LEAST_SPREAD)
    };
    Some((mean.exp(), spread))
}

/// The product of the events on a step; a day within a longer step counts for its share.
pub(super) fn multiple_at(events: &[Event], at: DateTime, step: Step) -> f64 {
    let days: Vec<f64> = multiples_by_day(events, at, step).collect();
    days.iter().sum::<f64>() / days.len() as f64
}

/// The highest multiple of one day of a step that is longer; else the multiple of the step. Capacity is
/// compared with this one: a week does not thin the load of its Black Friday.
pub(super) fn busiest_day_at(events: &[Event], at: DateTime, step: Step) -> f64 {
    multiples_by_day(events, at, step).fold(0.0, f64::max)
}

fn multiples_by_day(events: &[Event], at: DateTime, step: Step) -> impl Iterator<Item = f64> {
    let days = if step == Step::Week { 7 } else { 1 };
    (0..days).map(move |day| {
        let day = Step::Day.moment_after(at, day);
        events
            .iter()
            .filter(|event| lies_on(event.first, event.last, day, step_within(step)))
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
