//! Runs over time: the capacity of each, how long its routes took at a load that all have, and what got worse.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::{Interval, Rate, Run, Stage};
use modeler::{Bounds, ModelRequest, Objective, model, points};
use reports::{Release, RouteTime};

/// Runs beyond this many are left out, the oldest first.
const MOST_RUNS: usize = 24;
/// Routes of a run that are compared.
const MOST_ROUTES: usize = 12;
/// A level may leave this share unanswered and still count as carried.
const CARRIED_RATIO: f64 = 0.97;
/// A p95 is worse when it is this many times as long, …
const WORSE_TIMES: f64 = 1.1;
/// … by this at least, …
const WORSE_BY: Duration = Duration::from_millis(2);
/// … of so many requests.
const LEAST_REQUESTS: u64 = 100;

/// The `runs`, which have names, as releases; none when fewer than two of them share a level of load.
pub(super) fn releases(runs: &[(String, Run)], objective: Option<&Objective>, seed: u64) -> Vec<Release> {
    let mut usable: Vec<&(String, Run)> = runs
        .iter()
        .filter(|(_, run)| {
            run.end.as_ref().is_some_and(|end| end.invalid_reason.is_none() && !end.interrupted)
        })
        .collect();
    usable.sort_by_key(|(name, run)| (run.header.started, name.clone()));
    let usable = &usable[usable.len().saturating_sub(MOST_RUNS)..];
    let Some(scale) = common_scale(usable) else { return Vec::new() };
    let mut releases: Vec<Release> = Vec::new();
    for (name, run) in usable {
        let (capacity, interval) = capacity_of(name, run, objective, seed);
        let mut release = Release {
            name: name.clone(),
            started: run.header.started,
            level: format!("at {scale}×"),
            capacity,
            interval,
            routes: routes_at(run, scale),
            regressions: Vec::new(),
        };
        if let Some(before) = releases.last() {
            release.regressions = regressions(before, &release);
        }
        releases.push(release);
    }
    releases
}

/// The highest scale that all runs held and carried, else the lowest that all held.
fn common_scale(runs: &[&(String, Run)]) -> Option<f64> {
    if runs.len() < 2 {
        return None;
    }
    let held = |run: &Run| -> Vec<f64> { holds(run).map(|stage| stage.from).collect() };
    let mut common = held(&runs.first()?.1);
    for (_, run) in &runs[1..] {
        let others = held(run);
        common.retain(|scale| others.contains(scale));
    }
    common.sort_by(f64::total_cmp);
    let carried = common.iter().rev().find(|scale| {
        runs.iter().all(|(_, run)| {
            let sum = sum_at(run, **scale);
            sum.completed as f64 >= CARRIED_RATIO * sum.planned as f64
        })
    });
    carried.or(common.first()).copied()
}

fn holds(run: &Run) -> impl Iterator<Item = &Stage> {
    run.header.stages.iter().filter(|stage| stage.is_hold() && stage.from > 0.0)
}

fn sum_at(run: &Run, scale: f64) -> Interval {
    let mut sum = Interval::default();
    for stage in holds(run).filter(|stage| stage.from == scale) {
        let seconds = stage.begin.as_nanos().div_ceil(1_000_000_000)..stage.end.second();
        for interval in run.intervals.iter().filter(|interval| seconds.contains(&interval.second)) {
            sum.merge(interval);
        }
    }
    sum
}

fn routes_at(run: &Run, scale: f64) -> Vec<RouteTime> {
    let sum = sum_at(run, scale);
    let mut routes: Vec<RouteTime> = sum
        .routes
        .iter()
        .map(|entry| RouteTime {
            name: run
                .header
                .routes
                .get(usize::from(entry.route))
                .cloned()
                .unwrap_or_else(|| "unnamed".to_owned()),
            p95: entry.response.quantile(0.95),
            requests: entry.total(),
        })
        .collect();
    routes.sort_by(|one, other| other.requests.cmp(&one.requests).then(one.name.cmp(&other.name)));
    routes.truncate(MOST_ROUTES);
    routes
}

/// The capacity that this run alone tells.
fn capacity_of(
    name: &str,
    run: &Run,
    objective: Option<&Objective>,
    seed: u64,
) -> (Option<Rate>, Option<Bounds<Rate>>) {
    let request = ModelRequest {
        objective: objective.cloned(),
        rate_at_1x: Some(run.header.capture_rate).filter(|rate| *rate > Rate::ZERO),
        held_back_ratio: run.header.held_back_ratio,
        ..ModelRequest::plain(seed)
    };
    let fitted = points(run, name).ok().and_then(|points| model(points, &request).ok());
    fitted.map_or((None, None), |model| (Some(model.capacity.rate), Some(model.capacity.interval)))
}

/// In what `now` is worse than `before`.
fn regressions(before: &Release, now: &Release) -> Vec<String> {
    let mut worse = Vec::new();
    if let (Some(low), Some(high), Some(was), Some(is)) = (
        before.interval.map(|interval| interval.low),
        now.interval.map(|interval| interval.high),
        before.capacity,
        now.capacity,
    ) && high < low
    {
        worse.push(format!("capacity went from {was} to {is}"));
    }
    let known: BTreeMap<&str, &RouteTime> =
        before.routes.iter().map(|route| (route.name.as_str(), route)).collect();
    for route in now.routes.iter().filter(|route| route.requests >= LEAST_REQUESTS) {
        let Some(was) = known.get(route.name.as_str()).filter(|was| was.requests >= LEAST_REQUESTS) else {
            continue;
        };
        if route.p95 > was.p95.mul_f64(WORSE_TIMES) && route.p95 > was.p95 + WORSE_BY {
            let ms = |length: Duration| format!("{:.1} ms", length.as_secs_f64() * 1e3);
            worse.push(format!("p95 of {} went from {} to {}", route.name, ms(was.p95), ms(route.p95)));
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(capacity: [f64; 3], p95_ms: u64, requests: u64) -> Release {
        let rate = |value| Rate::per_second(value).expect("is a rate");
        Release {
            name: "any.run".to_owned(),
            started: 0,
            level: "at 4×".to_owned(),
            capacity: Some(rate(capacity[1])),
            interval: Some(Bounds { low: rate(capacity[0]), high: rate(capacity[2]) }),
            routes: vec![RouteTime {
                name: "GET /".to_owned(),
                p95: Duration::from_millis(p95_ms),
                requests,
            }],
            regressions: Vec::new(),
        }
    }

    #[test]
    fn worse_is_beyond_the_interval_and_by_more_than_a_tenth() {
        let before = release([880.0, 900.0, 920.0], 50, 1_000);
        let worse = |now: Release| regressions(&before, &now);

        assert_eq!(worse(release([860.0, 880.0, 900.0], 54, 1_000)), Vec::<String>::new());
        assert_eq!(worse(release([800.0, 820.0, 840.0], 50, 1_000)).len(), 1);
        assert_eq!(
            worse(release([880.0, 900.0, 920.0], 60, 1_000)),
            ["p95 of GET / went from 50.0 ms to 60.0 ms"]
        );
        // Fifty requests tell nothing of a p95.
        assert_eq!(worse(release([880.0, 900.0, 920.0], 90, 50)), Vec::<String>::new());
    }
}
