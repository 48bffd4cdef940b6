//! The seconds of runs as rows: what was used, and how many requests of each route were there to use it.

use std::ops::Range;

use super::route_names;
use crate::point::Point;

/// One second of a point, or the whole of a point whose seconds are not known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its length in seconds.
    pub(super) seconds: f64,
    /// What was used, times the length.
    pub(super) used: f64,
    /// Requests by route that were due in it.
    pub(super) due: Vec<f64>,
    /// The same of the second before; of a whole point what `due` holds.
    pub(super) before: Vec<f64>,
    /// The load of its point over the largest, in `0..=1`.
    pub(super) load_ratio: f64,
    /// Misses of the cache; `None` when none was observed.
    pub(super) misses: Option<f64>,
    /// Whether the row before it is the second before it.
    pub(super) follows: bool,
}

impl Row {
    /// Requests of a route that were worked on in it, when the work is seen so many seconds after they were due.
    pub(super) fn worked_on(&self, route: usize, delay: f64) -> f64 {
        (1.0 - delay) * self.due[route] + delay * self.before[route]
    }
}

/// The rows of all `points` of which the use of `resource` is known.
pub(super) fn rows(points: &[Point], resource: &str) -> Vec<Row> {
    let routes = route_names(points);
    let mut rows = Vec::new();
    let load = |point: &Point| point.throughput.as_per_second();
    let largest = points.iter().map(load).fold(0.0, f64::max);
    for point in points.iter().filter(|point| !point.draining) {
        let load_ratio = if largest > 0.0 { load(point) / largest } else { 1.0 };
        let Some(used) = point.resources.iter().find(|each| each.name == resource) else { continue };
        let of = |name: &String| point.routes.iter().find(|route| route.route == *name);
        if point.windows.is_empty() {
            let due: Vec<f64> = routes
                .iter()
                .map(|name| of(name).map_or(0.0, |route| route.offered.as_per_second()))
                .collect();
            let before = due.clone();
            rows.push(Row {
                seconds: 1.0,
                used: used.used,
                due,
                before,
                load_ratio,
                misses: None,
                follows: false,
            });
            continue;
        }
        let known = |at: usize| used.by_second.get(at).is_some_and(|used| used.is_finite());
        let due = |within: Range<usize>, times: f64| -> Vec<f64> {
            let counted = |name| {
                let windows =
                    of(name).and_then(|route| route.windows.get(within.clone())).unwrap_or_default();
                times * windows.iter().map(|window| window.outcomes as f64).sum::<f64>()
            };
            routes.iter().map(counted).collect()
        };
        let windows = &point.windows;
        if point.saturated {
            // What a queue holds back is worked on whenever: only the whole of it says what requests cost. It
            // is what was carried, not what was due: a saturated target works on what it answers.
            let asked: f64 = windows.iter().map(|window| window.outcomes as f64).sum();
            let done: f64 = windows.iter().map(|window| window.completed as f64).sum();
            let carried = if asked > 0.0 { done / asked } else { 0.0 };
            let seen: Vec<f64> =
                (0..windows.len()).filter(|at| known(*at)).map(|at| used.by_second[at]).collect();
            if !seen.is_empty() {
                let seconds = windows.len() as f64;
                let due = due(0..windows.len(), carried);
                rows.push(Row {
                    seconds,
                    used: seen.iter().sum::<f64>() / seen.len() as f64 * seconds,
                    before: due.clone(),
                    due,
                    load_ratio,
                    misses: misses(point, 0..windows.len(), done),
                    follows: false,
                });
            }
            continue;
        }
        let mut last = None;
        for at in 1..windows.len() {
            if !known(at) || windows[at].second != windows[at - 1].second + 1 {
                continue;
            }
            rows.push(Row {
                seconds: 1.0,
                used: used.by_second[at],
                due: due(at..at + 1, 1.0),
                before: due(at - 1..at, 1.0),
                load_ratio,
                misses: misses(point, at..at + 1, windows[at].completed as f64),
                follows: last.replace(at).is_some_and(|last| last + 1 == at),
            });
        }
    }
    rows
}

/// What is used of `resource` each second without any request, where a run watched that; the least of several runs.
pub(super) fn at_rest(points: &[Point], resource: &str) -> Option<f64> {
    let uses = points.iter().flat_map(|point| &point.resources).filter(|each| each.name == resource);
    uses.filter_map(|each| each.at_rest).reduce(f64::min)
}

/// Misses of a cache in these seconds of a point: a counter of them, or what a hit ratio leaves of the requests.
fn misses(point: &Point, seconds: Range<usize>, requests: f64) -> Option<f64> {
    point.resources.iter().find_map(|resource| {
        let name = resource.name.rsplit('/').next().unwrap_or(&resource.name).to_ascii_lowercase();
        let values = resource.by_second.get(seconds.clone())?;
        let known = !values.is_empty() && values.iter().all(|value| value.is_finite());
        let sum = values.iter().sum::<f64>();
        if !known {
            None
        } else if name.contains("miss") && name.ends_with("_total") {
            Some(sum)
        } else if name.contains("hit") && name.ends_with("ratio") {
            Some((1.0 - sum / values.len() as f64).clamp(0.0, 1.0) * requests)
        } else {
            None
        }
    })
}
