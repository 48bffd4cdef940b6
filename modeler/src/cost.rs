//! What each route costs of each resource, and what another mix of routes would carry.
//!
//! Every two seconds of a run are a row: what was used = idle + Σ cost × requests of the route, by non-negative
//! least squares (`mix`). Rows are drawn anew for the intervals. Routes whose requests always rise and fall
//! together cannot be told apart, whatever the method; that is said, not hidden.
//!
//! Where a cache was observed its misses are a column of their own, as if they were a route, when they explain what
//! the routes do not: by AICc, clearly, since misses that follow the requests would only take costs from routes.

use captures::Rate;
use rand::RngExt;

use crate::bounds::Bounds;
use crate::mix::{Normal, elastic};
use crate::point::Point;
use crate::resample::{generator, quantile_of};
use crate::study::Study;
use crate::window::{OTHER_ROUTES, rate};

/// The costs of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// The resource, as it was observed.
    pub resource: String,
    /// What is used without requests, in its own unit.
    pub idle: f64,
    /// By route, the dearest in sum first.
    pub routes: Vec<RouteCost>,
    /// The mean of |predicted − used| / used over the rows.
    pub miss_ratio: f64,
    /// Which routes cannot be told apart, in one sentence.
    pub warning: Option<String>,
}

/// The cost of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCost {
    /// The route.
    pub route: String,
    /// Resource × seconds a request; for cores: CPU-seconds.
    pub cost: f64,
    /// Its 95 % interval.
    pub interval: Bounds<f64>,
    /// The same by the positive elastic net.
    pub shrunk: f64,
    /// Its share of what all requests use, in `0..=1`.
    pub share_ratio: f64,
}

/// How often a route comes in another mix.
#[derive(Clone, Debug, PartialEq)]
pub struct MixChange {
    /// The route.
    pub route: String,
    /// Its rate, as a multiple of what it was in the runs.
    pub times: f64,
}

/// The capacity under another mix.
#[derive(Clone, Debug, PartialEq)]
pub struct MixAnswer {
    /// The resource whose costs decide.
    pub resource: String,
    /// Requests per second of the new mix, all routes together.
    pub rate: Rate,
    /// The 95 % interval.
    pub interval: Bounds<Rate>,
    /// The cost of a mean request in the new mix, over that in the runs.
    pub cost_ratio: f64,
    /// Routes of the new mix that the runs did not have: their cost is unknown, not zero.
    pub unknown: Vec<String>,
}

/// Seconds of a row: long enough that what was due in them is what was worked on, short enough to keep the sway
/// of the mix that tells routes apart.
const ROW_SECONDS: usize = 2;
const DRAWS: usize = 300;
/// Resources whose costs are computed, at most.
const MOST_COSTED: usize = 4;
/// An interval wider than this share of the cost says that the split is unsure.
const UNSURE_RATIO: f64 = 0.6;
/// Routes with less than this share of the sum are not worth a warning.
const WORTH_RATIO: f64 = 0.05;

struct Rows {
    routes: Vec<String>,
    /// Seconds, then requests by route.
    columns: Vec<Vec<f64>>,
    used: Vec<f64>,
    /// Misses of the cache; empty when none was observed, or not in every row.
    misses: Vec<f64>,
}

/// How the misses of a cache are called among the routes.
const MISSES: &str = "(cache misses)";
/// By so much less AICc the misses must explain what was used: the odds are then 150 to 1.
const DECISIVE: f64 = 10.0;

impl Rows {
    /// With the misses as a route of their own, where they explain what the routes do not.
    fn with_misses_that_count(mut self) -> Self {
        let count = self.used.len() as f64;
        if self.misses.len() != self.used.len() || self.misses.iter().all(|misses| *misses <= 0.0) {
            return self;
        }
        let weights = self.weights();
        let criterion = |columns: &[Vec<f64>]| {
            let of =
                |values: &[f64]| -> Vec<f64> { values.iter().zip(&weights).map(|(v, w)| v * w).collect() };
            let weighted: Vec<Vec<f64>> = columns.iter().map(|column| of(column)).collect();
            let target = of(&self.used);
            let found = elastic(&Normal::new(&weighted, &target), 0.0, 0.0);
            let left = |row: usize| {
                target[row]
                    - weighted.iter().zip(&found).map(|(column, cost)| column[row] * cost).sum::<f64>()
            };
            let sum: f64 = (0..target.len()).map(|row| left(row).powi(2)).sum();
            let parameters = 1.0 + found.iter().filter(|cost| **cost > 0.0).count() as f64;
            let rest = (count - parameters - 1.0).max(1.0);
            count * (sum / count).max(1e-300).ln()
                + 2.0 * parameters
                + 2.0 * parameters * (parameters + 1.0) / rest
        };
        let mut more = self.columns.clone();
        more.push(self.misses.clone());
        if criterion(&more) + DECISIVE < criterion(&self.columns) {
            self.columns = more;
            self.routes.push(MISSES.to_owned());
        }
        self
    }

    /// Errors grow with the level: relative ones count.
    fn weights(&self) -> Vec<f64> {
        let most = self.used.iter().copied().fold(0.0, f64::max);
        self.used.iter().map(|used| 1.0 / used.max(0.05 * most).max(1e-300)).collect()
    }
}

/// Misses of a cache in these seconds of a point: a counter of them, or what a hit ratio leaves of the requests.
fn misses(point: &Point, row: &std::ops::Range<usize>, requests: f64) -> Option<f64> {
    point.resources.iter().find_map(|resource| {
        let name = resource.name.rsplit('/').next().unwrap_or(&resource.name).to_ascii_lowercase();
        let values = resource.by_second.get(row.clone())?;
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

/// The costs of the `resources` that answer to load, and their draws.
pub(crate) fn costs(points: &[Point], resources: &[String], seed: u64) -> Vec<(Costs, Vec<Vec<f64>>)> {
    resources.iter().take(MOST_COSTED).filter_map(|name| costs_of(points, name, seed)).collect()
}

fn costs_of(points: &[Point], resource: &str, seed: u64) -> Option<(Costs, Vec<Vec<f64>>)> {
    let rows = rows(points, resource)?.with_misses_that_count();
    let count = rows.used.len();
    if count < rows.columns.len() + 2 {
        return None;
    }
    let most = rows.used.iter().copied().fold(0.0, f64::max);
    let weights = rows.weights();
    let weighted = |values: &[f64]| -> Vec<f64> { values.iter().zip(&weights).map(|(v, w)| v * w).collect() };
    let columns: Vec<Vec<f64>> = rows.columns.iter().map(|column| weighted(column)).collect();
    let target = weighted(&rows.used);
    let normal = Normal::new(&columns, &target);
    let found = elastic(&normal, 0.0, 0.0);
    let shrunk = elastic(&normal, 1e-4, 1e-3);
    let mut chance = generator(seed, 7);
    let draws: Vec<Vec<f64>> = (0..DRAWS)
        .map(|_| {
            let picked: Vec<usize> = (0..count).map(|_| chance.random_range(0..count)).collect();
            let of = |values: &Vec<f64>| -> Vec<f64> { picked.iter().map(|&at| values[at]).collect() };
            elastic(&Normal::new(&columns.iter().map(of).collect::<Vec<_>>(), &of(&target)), 0.0, 0.0)
        })
        .collect();
    let total: f64 =
        rows.columns[1..].iter().zip(&found[1..]).map(|(c, cost)| c.iter().sum::<f64>() * cost).sum();
    let mut routes: Vec<RouteCost> = rows
        .routes
        .iter()
        .enumerate()
        .map(|(at, route)| {
            let mut values: Vec<f64> = draws.iter().map(|draw| draw[at + 1]).collect();
            values.sort_by(f64::total_cmp);
            let (cost, shrunk) = (found[at + 1], shrunk[at + 1]);
            let requests = rows.columns[at + 1].iter().sum::<f64>();
            // Where the two methods part, chance in the rows is the smaller doubt.
            let doubt = requests * (cost - shrunk).abs() > WORTH_RATIO * total;
            let (least, most) = if doubt { (cost.min(shrunk), cost.max(shrunk)) } else { (cost, cost) };
            RouteCost {
                route: route.clone(),
                cost,
                interval: Bounds {
                    low: quantile_of(&values, 0.025).min(least),
                    high: quantile_of(&values, 0.975).max(most),
                },
                shrunk,
                share_ratio: if total > 0.0 { requests * cost / total } else { 0.0 },
            }
        })
        .collect();
    let misses = (0..count).map(|row| {
        let predicted: f64 = rows.columns.iter().zip(&found).map(|(column, cost)| column[row] * cost).sum();
        (predicted - rows.used[row]).abs() / rows.used[row].max(0.05 * most).max(1e-300)
    });
    let miss_ratio = misses.sum::<f64>() / count as f64;
    let unsure: Vec<String> = routes
        .iter()
        .filter(|each| {
            let at = rows.routes.iter().position(|route| *route == each.route).map_or(0, |at| at + 1);
            let width = each.interval.high - each.interval.low;
            rows.columns[at].iter().sum::<f64>() * width > WORTH_RATIO * total
                && width > UNSURE_RATIO * each.cost
        })
        .map(|each| each.route.clone())
        .collect();
    let warning = (unsure.len() > 1).then(|| {
        format!(
            "{} come in nearly the same proportion at all times: the sum of their costs is known, the split is not; replay them in another mix.",
            unsure.join(" and ")
        )
    });
    routes.sort_by(|one, other| {
        other.share_ratio.total_cmp(&one.share_ratio).then(one.route.cmp(&other.route))
    });
    // The draws in the order of the routes of the points.
    Some((Costs { resource: resource.to_owned(), idle: found[0], routes, miss_ratio, warning }, draws))
}

/// The routes of all points, in the order of the first that has them.
fn route_names(points: &[Point]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for route in points.iter().flat_map(|point| &point.routes) {
        if !names.contains(&route.route) {
            names.push(route.route.clone());
        }
    }
    names
}

fn rows(points: &[Point], resource: &str) -> Option<Rows> {
    let routes = route_names(points);
    if routes.is_empty() {
        return None;
    }
    let columns = vec![Vec::new(); routes.len() + 1];
    let mut rows = Rows { columns, routes, used: Vec::new(), misses: Vec::new() };
    for point in points.iter().filter(|point| !point.draining) {
        let Some(used) = point.resources.iter().find(|each| each.name == resource) else { continue };
        let of = |name: &String| point.routes.iter().find(|route| route.route == *name);
        if point.windows.is_empty() {
            rows.used.push(used.used);
            rows.columns[0].push(1.0);
            for (at, name) in rows.routes.iter().enumerate() {
                rows.columns[at + 1].push(of(name).map_or(0.0, |route| route.offered.as_per_second()));
            }
            continue;
        }
        for begin in (0..point.windows.len()).step_by(ROW_SECONDS) {
            let row = begin..(begin + ROW_SECONDS).min(point.windows.len());
            let known: Vec<f64> = used
                .by_second
                .get(row.clone())
                .unwrap_or_default()
                .iter()
                .copied()
                .filter(|u| u.is_finite())
                .collect();
            if row.len() < 2 || known.len() < row.len() {
                continue;
            }
            rows.used.push(known.iter().sum());
            rows.columns[0].push(row.len() as f64);
            // What was carried, not what was due: a saturated target works on what it answers.
            let windows = &point.windows[row.clone()];
            let due: f64 = windows.iter().map(|window| window.outcomes as f64).sum();
            let done: f64 = windows.iter().map(|window| window.completed as f64).sum();
            let carried = if due > 0.0 { done / due } else { 0.0 };
            rows.misses.extend(misses(point, &row, done));
            for (at, name) in rows.routes.iter().enumerate() {
                let requests = of(name).map_or(0, |route| {
                    route
                        .windows
                        .get(row.clone())
                        .unwrap_or_default()
                        .iter()
                        .map(|window| window.outcomes)
                        .sum()
                });
                rows.columns[at + 1].push(requests as f64 * carried);
            }
        }
    }
    Some(rows)
}

/// The capacity under `changes` of the mix, by the `costs` of the resource that binds and their draws.
pub(crate) fn under_mix(
    study: &Study<'_>,
    points: &[Point],
    (costs, draws): &(Costs, Vec<Vec<f64>>),
    capacity: f64,
    changes: &[MixChange],
) -> MixAnswer {
    let names = route_names(points);
    let rates: Vec<f64> = names
        .iter()
        .map(|name| {
            points
                .iter()
                .flat_map(|point| &point.routes)
                .filter(|route| route.route == *name)
                .map(|route| route.offered.as_per_second())
                .sum()
        })
        .collect();
    let times: Vec<f64> = names
        .iter()
        .map(|name| changes.iter().find(|change| change.route == *name).map_or(1.0, |change| change.times))
        .collect();
    let mean = |costs: &dyn Fn(usize) -> f64, times: &dyn Fn(usize) -> f64| {
        let (sum, count) = rates.iter().enumerate().fold((0.0, 0.0), |(sum, count), (at, rate)| {
            (sum + rate * times(at) * costs(at), count + rate * times(at))
        });
        if count > 0.0 { sum / count } else { 0.0 }
    };
    let ratio_of = |costs: &dyn Fn(usize) -> f64| {
        let (then, now) = (mean(costs, &|at| times[at]), mean(costs, &|_| 1.0));
        if now > 0.0 && then > 0.0 { then / now } else { 1.0 }
    };
    let cost =
        |at: usize| costs.routes.iter().find(|each| each.route == names[at]).map_or(0.0, |each| each.cost);
    let cost_ratio = ratio_of(&cost);
    let mut drawn: Vec<f64> = draws
        .iter()
        .zip(study.draws.iter().cycle())
        .map(|(costs, draw)| {
            draw.concluded.answer.rate.min(1e3 * study.largest_load) / ratio_of(&|at| costs[at + 1])
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let answer = capacity / cost_ratio;
    MixAnswer {
        resource: costs.resource.clone(),
        rate: rate(answer),
        interval: Bounds {
            low: rate(quantile_of(&drawn, 0.025).min(answer)),
            high: rate(quantile_of(&drawn, 0.975).max(answer)),
        },
        cost_ratio,
        unknown: changes
            .iter()
            .filter(|change| change.route != OTHER_ROUTES && !names.contains(&change.route))
            .map(|change| change.route.clone())
            .collect(),
    }
}
