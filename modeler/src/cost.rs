//! What each route costs of each resource, and what another mix of routes would carry.
//!
//! Every second of a run is a row (`rows`): what was used = idle + Σ cost × requests of the route, by non-negative
//! least squares that knows how neighbouring rows part (`split`). Rows are drawn anew for the intervals. Routes
//! whose requests always rise and fall together cannot be told apart, whatever the method; that is said, not hidden.
//!
//! Where a cache was observed its misses are a column of their own, as if they were a route, when they explain what
//! the routes do not: by AICc, clearly, since misses that follow the requests would only take costs from routes.

mod rows;
mod split;

use captures::Rate;

use crate::bounds::Bounds;
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

const DRAWS: usize = 300;
/// Resources whose costs are computed, at most.
const MOST_COSTED: usize = 4;
/// An interval wider than this share of the cost says that the split is unsure.
const UNSURE_RATIO: f64 = 0.6;
/// Routes with less than this share of the sum are not worth a warning.
const WORTH_RATIO: f64 = 0.05;

/// How the misses of a cache are called among the routes.
const MISSES: &str = "(cache misses)";

/// The costs of the `resources` that answer to load, and their draws.
pub(crate) fn costs(points: &[Point], resources: &[String], seed: u64) -> Vec<(Costs, Vec<Vec<f64>>)> {
    resources.iter().take(MOST_COSTED).filter_map(|name| costs_of(points, name, seed)).collect()
}

fn costs_of(points: &[Point], resource: &str, seed: u64) -> Option<(Costs, Vec<Vec<f64>>)> {
    let mut names = route_names(points);
    let rows = rows::rows(points, resource);
    let count = rows.len();
    if names.is_empty() || count < names.len() + 3 {
        return None;
    }
    let split = split::split(&rows, names.len(), rows::at_rest(points, resource));
    let found = &split.costs;
    if found.len() > names.len() + 1 {
        names.push(MISSES.to_owned());
    }
    let draws = split.drawn(DRAWS, &mut generator(seed, 7));
    let requests = &split.requests;
    let total: f64 = requests.iter().zip(&found[1..]).map(|(requests, cost)| requests * cost).sum();
    let mut routes: Vec<RouteCost> = names
        .iter()
        .enumerate()
        .map(|(at, route)| {
            let mut values: Vec<f64> = draws.iter().map(|draw| draw[at + 1]).collect();
            values.sort_by(f64::total_cmp);
            let (cost, shrunk) = (found[at + 1], split.shrunk[at + 1]);
            let requests = requests[at];
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
    let most = rows.iter().map(|row| row.used / row.seconds).fold(0.0, f64::max);
    let misses = rows.iter().zip(&split.predicted).map(|(row, predicted)| {
        (predicted - row.used).abs() / row.used.max(0.05 * most * row.seconds).max(1e-300)
    });
    let miss_ratio = misses.sum::<f64>() / count as f64;
    let unsure: Vec<String> = routes
        .iter()
        .zip(requests)
        .filter(|(each, requests)| {
            let width = each.interval.high - each.interval.low;
            *requests * width > WORTH_RATIO * total && width > UNSURE_RATIO * each.cost
        })
        .map(|(each, _)| each.route.clone())
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
