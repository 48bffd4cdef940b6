//! A run → points: each stage that holds its level gives one.
//!
//! The seconds of the warm-up are cut. Moments follow DESIGN.md §8: planned requests, outcomes and their
//! times belong to the second in which a request was due; completions and in-flight to the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::{Failure, Interval, Offset, Rate, Run, Stage};

use crate::error::ModelError;
use crate::plateau::warm_up;
use crate::point::{Point, QUANTILES, QuantileAt, RoutePoint, RouteWindow, Window};
use crate::resource::{ResourceUse, limit_of};

/// A model refuses runs with a larger share of unexpected 4xx.
const MOST_REFUSALS: f64 = 0.05;
/// Below this share of the offered load, and beyond chance, a load counts as not carried.
const ACHIEVED_RATIO: f64 = 0.99;
/// Stages shorter than this lose a fixed share of their beginning; longer ones are cut by MSER.
const SHORT_STAGE_SECONDS: usize = 20;

/// The points of `run`, which is called `name`.
///
/// # Errors
/// When the run cannot be believed, or has no stage that gives a point.
pub fn points(run: &Run, name: &str) -> Result<Vec<Point>, ModelError> {
    let end = run.end.as_ref().ok_or(ModelError::Unfinished)?;
    if let Some(reason) = &end.invalid_reason {
        return Err(ModelError::InvalidRun { reason: reason.clone() });
    }
    let overall = run.overall();
    let refusals = overall.unexpected as f64 / overall.total().max(1) as f64;
    if refusals > MOST_REFUSALS {
        return Err(ModelError::Refusals { ratio: refusals });
    }
    let believed = believed(run);
    let seconds: BTreeMap<u64, &Interval> = run
        .intervals
        .iter()
        .filter(|each| believed.is_none_or(|believed| each.second < believed.until))
        .map(|each| (each.second, each))
        .collect();
    let busiest = busiest(run);
    let mut points: Vec<Point> = run
        .header
        .stages
        .iter()
        .enumerate()
        .filter(|(_, stage)| stage.is_hold() && stage.from > 0.0)
        .filter(|(_, stage)| believed.is_none_or(|believed| believed.holds(stage)))
        .filter_map(|(index, stage)| {
            let windows = steady(windows_of(stage, &seconds));
            (windows.len() >= 2).then(|| {
                let kept: Vec<&Interval> =
                    windows.iter().filter_map(|window| seconds.get(&window.second).copied()).collect();
                let (routes, resources) =
                    (route_points(&run.header.routes, &busiest, &kept), resources(&kept));
                let point = point(format!("{name}, stage {}", index + 1), stage.from, windows);
                Point { routes, resources, ..point }
            })
        })
        .filter(|point| point.offered.is_some_and(|offered| offered > Rate::ZERO))
        .collect();
    if let Some(last) = points.last_mut() {
        last.resources.iter_mut().for_each(|resource| resource.at_rest = at_rest(run, &resource.name));
    }
    match (points.is_empty(), believed) {
        (false, _) => Ok(points),
        (true, Some(_)) => Err(ModelError::Interrupted { at: end.ended }),
        (true, None) => Err(ModelError::NoHolds),
    }
}

/// What a reader must know of a run that was interrupted, which is called `name`; `None` of any other.
pub fn interruption(run: &Run, name: &str) -> Option<String> {
    let ended = run.end.as_ref().filter(|end| end.interrupted)?.ended;
    Some(format!("{name}: the run was interrupted at {ended}; later levels are left out."))
}

/// The first second of an interrupted run that says more of its end than of the target; `None` of any other.
pub fn cut_from(run: &Run) -> Option<u64> {
    believed(run).map(|believed| believed.until)
}

/// What an interrupted run measured of the target, and not of its own end.
#[derive(Clone, Copy, Debug)]
struct Believed {
    /// The first second that is not believed.
    until: u64,
    /// Whether requests still waited for their turn then. Nobody knows whether their level was carried, so it
    /// gives no point at all: neither the half that looks good nor the half that was cut.
    waited: bool,
}

impl Believed {
    fn holds(self, stage: &Stage) -> bool {
        !self.waited || stage.end <= Offset::from_secs(self.until)
    }
}

/// `None` when all of `run` is believed. A plan that was carried out, up to its drain limit, is: requests that
/// never had their turn are then the target's doing.
fn believed(run: &Run) -> Option<Believed> {
    let end = run.end.as_ref().filter(|end| end.interrupted)?;
    let cut_short = |interval: &Interval, by: Failure| {
        let failures = interval.routes.iter().flat_map(|route| &route.failures);
        failures.into_iter().any(|&(failure, count)| failure == by && count > 0)
    };
    // The last second that was planned is planned in part.
    let last = run.intervals.iter().rfind(|each| each.planned > 0).map_or(0, |each| each.second);
    let mut until = last.min(end.ended.second());
    for interval in run.intervals.iter().rev().filter(|each| each.second <= last) {
        let near = interval.second + 1 >= until;
        if near && cut_short(interval, Failure::CutOff) {
            until = until.min(interval.second);
        }
    }
    let skipped = run.intervals.iter().find(|each| cut_short(each, Failure::SkippedEnded));
    Some(match skipped {
        Some(interval) => Believed { until: until.min(interval.second), waited: true },
        None => Believed { until, waited: false },
    })
}

/// The whole seconds of a stage that the run has.
fn windows_of(stage: &Stage, seconds: &BTreeMap<u64, &Interval>) -> Vec<Window> {
    let first = stage.begin.as_nanos().div_ceil(1_000_000_000);
    let last = stage.end.second();
    if first >= last {
        return Vec::new();
    }
    seconds.range(first..last).map(|(_, interval)| window(interval)).collect()
}

fn window(interval: &Interval) -> Window {
    let overall = interval.overall();
    Window {
        second: interval.second,
        planned: interval.planned,
        completed: interval.completed,
        in_flight: interval.in_flight,
        outcomes: overall.total(),
        errors: overall.errors(),
        skipped: overall.skipped(),
        response: overall.response,
    }
}

/// What is left when the warm-up is cut.
///
/// MSER (White 1997): the cut that minimises the standard error of the mean of what is left, looked for in
/// the first half, in batches of five seconds when there are ten of them. A stage under 20 s is too short to
/// let it choose: it loses a fifth, at least one second.
fn steady(mut windows: Vec<Window>) -> Vec<Window> {
    let count = windows.len();
    let cut = if count < SHORT_STAGE_SECONDS {
        count.div_ceil(5)
    } else {
        let load: Vec<f64> = windows.iter().map(|window| window.in_flight).collect();
        warm_up(&load).max(2)
    };
    windows.drain(..cut.min(count));
    windows
}

/// The most routes that are modeled one by one.
const MOST_ROUTES: usize = 40;
/// How the others are called together.
pub(crate) const OTHER_ROUTES: &str = "(other routes)";

/// The indices of the busiest routes, busiest first.
fn busiest(run: &Run) -> Vec<u16> {
    let mut totals: BTreeMap<u16, u64> = BTreeMap::new();
    for route in run.intervals.iter().flat_map(|interval| &interval.routes) {
        let total = totals.entry(route.route).or_default();
        *total = total.saturating_add(route.total());
    }
    let mut ranked: Vec<(u16, u64)> = totals.into_iter().collect();
    ranked.sort_by_key(|&(route, total)| (std::cmp::Reverse(total), route));
    ranked.into_iter().take(MOST_ROUTES).map(|(route, _)| route).collect()
}

/// Each of the `busiest` routes, and all others together when there are any; nothing when there is but one.
fn route_points(names: &[String], busiest: &[u16], kept: &[&Interval]) -> Vec<RoutePoint> {
    if busiest.len() < 2 || kept.is_empty() {
        return Vec::new();
    }
    let named = busiest.iter().map(|&route| {
        let name = names.get(usize::from(route)).cloned().unwrap_or_else(|| format!("route {route}"));
        route_point(name, kept, |other| other == route)
    });
    let others = route_point(OTHER_ROUTES.to_owned(), kept, |other| !busiest.contains(&other));
    named.chain(std::iter::once(others)).filter(|route| route.offered > Rate::ZERO).collect()
}

fn route_point(route: String, kept: &[&Interval], is_mine: impl Fn(u16) -> bool) -> RoutePoint {
    let (mut outcomes, mut errors) = (0_u64, 0_u64);
    let mut response = captures::Histogram::new();
    let windows = kept
        .iter()
        .map(|interval| {
            let mut window = RouteWindow::default();
            for mine in interval.routes.iter().filter(|entry| is_mine(entry.route)) {
                window.outcomes = window.outcomes.saturating_add(mine.total());
                errors = errors.saturating_add(mine.errors());
                window.responses.extend(mine.response.pairs());
                response.merge(&mine.response);
            }
            outcomes = outcomes.saturating_add(window.outcomes);
            window
        })
        .collect();
    RoutePoint {
        route,
        offered: rate(outcomes as f64 / kept.len() as f64),
        error_ratio: if outcomes > 0 { errors as f64 / outcomes as f64 } else { 0.0 },
        response,
        windows,
    }
}

/// What was observed of the target, second by second.
fn resources(kept: &[&Interval]) -> Vec<ResourceUse> {
    let mut series: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (at, interval) in kept.iter().enumerate() {
        for observed in &interval.observed {
            series.entry(&observed.name).or_insert_with(|| vec![f64::NAN; kept.len()])[at] = observed.value;
        }
    }
    let mean = |values: &[f64]| {
        let known = values.iter().filter(|value| value.is_finite());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        if count > 0.0 { sum / count } else { f64::NAN }
    };
    let levels: Vec<(String, f64)> =
        series.iter().map(|(name, values)| ((*name).to_owned(), mean(values))).collect();
    series
        .into_iter()
        .map(|(name, by_second)| ResourceUse {
            name: name.to_owned(),
            used: mean(&by_second),
            limit: limit_of(name, &levels),
            by_second,
            at_rest: None,
        })
        .filter(|resource| resource.used.is_finite())
        .collect()
}

/// What was used of a resource when the requests of the run had ended.
///
/// The least of the seconds: what a target still puts in order after its last answer is no use at rest, and it only
/// ever adds to it.
fn at_rest(run: &Run, resource: &str) -> Option<f64> {
    let ended = run.end.as_ref()?.ended.second();
    let resting = run.intervals.iter().rev().take_while(|interval| interval.second > ended);
    let of = |interval: &Interval| {
        interval.observed.iter().find(|each| each.name == resource).map(|each| each.value)
    };
    resting.filter_map(of).filter(|used| used.is_finite()).reduce(f64::min)
}

/// The point of `windows`, of which there are at least two.
pub(crate) fn point(source: String, scale: f64, windows: Vec<Window>) -> Point {
    let seconds = windows.len() as f64;
    let sum = |of: fn(&Window) -> u64| windows.iter().map(of).sum::<u64>() as f64;
    let (planned, completed) = (sum(|w| w.planned), sum(|w| w.completed));
    let (outcomes, errors, skipped) = (sum(|w| w.outcomes), sum(|w| w.errors), sum(|w| w.skipped));
    // Of what was completed, so much was answered without error.
    let succeeded_ratio = if outcomes > skipped { (outcomes - errors) / (outcomes - skipped) } else { 0.0 };
    let concurrency = windows.iter().map(|window| window.in_flight).sum::<f64>() / seconds;
    let mut response = captures::Histogram::new();
    for window in &windows {
        response.merge(&window.response);
    }
    let mean_response = (!response.is_empty()).then(|| response.mean());
    let change = drift(&windows);
    let deficit = planned - skipped - completed;
    let chance = 2.0 + 3.0 * concurrency.sqrt();
    let beyond = |difference: f64| difference > (1.0 - ACHIEVED_RATIO) * planned && difference > chance;
    Point {
        source,
        scale: Some(scale),
        length: Duration::from_secs(windows.len() as u64),
        offered: Rate::per_second(planned / seconds),
        throughput: rate(completed / seconds * succeeded_ratio),
        throughput_error: Rate::per_second(standard_error(&windows) * succeeded_ratio),
        concurrency: Some(concurrency),
        little_gap_ratio: mean_response
            .filter(|_| concurrency > 0.0)
            .map(|response| (concurrency - completed / seconds * response.as_secs_f64()).abs() / concurrency),
        mean_response,
        quantiles: QUANTILES
            .iter()
            .map(|&quantile| QuantileAt { quantile, response: response.quantile(quantile) })
            .collect(),
        response,
        error_ratio: if outcomes > 0.0 { errors / outcomes } else { 0.0 },
        saturated: beyond(deficit) && change > 0.0,
        draining: beyond(-deficit) && change < 0.0,
        windows,
        resources: Vec::new(),
        routes: Vec::new(),
    }
}

/// How much the number in flight grew: the mean of the last third less that of the first.
fn drift(windows: &[Window]) -> f64 {
    let third = windows.len().div_ceil(3);
    let mean = |part: &[Window]| part.iter().map(|window| window.in_flight).sum::<f64>() / part.len() as f64;
    mean(&windows[windows.len() - third..]) - mean(&windows[..third])
}

/// The standard error of the mean of the completions per second.
fn standard_error(windows: &[Window]) -> f64 {
    let count = windows.len() as f64;
    let mean = windows.iter().map(|window| window.completed as f64).sum::<f64>() / count;
    let squares: f64 = windows.iter().map(|window| (window.completed as f64 - mean).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt()
}

pub(crate) fn rate(per_second: f64) -> Rate {
    Rate::per_second(per_second.max(0.0)).unwrap_or(Rate::ZERO)
}
