//! What the target used while it served: which resource runs out first, by the utilisation law.
//!
//! `used = idle + D·X`: a request costs its demand `D` of a resource, whatever the load. So a resource of limit
//! `L` carries at most `(L − idle) / D` requests a second, and the lowest of these bounds is the bottleneck, seen
//! long before anything saturates. Held resources (places in a pool, threads) are held for longer under load:
//! they grow faster than the law, which is said, and their demand is taken from where it is still straight.
//!
//! Source: Denning and Buzen, "The operational analysis of queueing network models" (1978).

use captures::Rate;

use crate::bounds::Bounds;
use crate::mix::non_negative;
use crate::resample::{Seen, quantile_of};
use crate::window::rate;

/// What one point used of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceUse {
    /// As it was observed: `pid:4711/cpu`, or the column of a table.
    pub name: String,
    /// The mean over the point, in its own unit.
    pub used: f64,
    /// How much there is of it; `None` when nobody knows.
    pub limit: Option<f64>,
    /// The same by the seconds of the point; not-a-number where nobody looked. Empty from a table.
    pub by_second: Vec<f64>,
    /// What is used without any request, as it was seen once the run had ended; in the last point of a run only, and
    /// `None` where nobody looked then.
    pub at_rest: Option<f64>,
}

/// How a resource answers to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// In proportion to the throughput: the utilisation law holds.
    Linear,
    /// Faster than the throughput: its bound is optimistic.
    SuperLinear,
    /// Not at all: it says nothing of the capacity.
    Flat,
}

/// The law of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceLaw {
    /// As it was observed.
    pub name: String,
    /// How it answers to load.
    pub growth: Growth,
    /// What is used without load, in its own unit.
    pub idle: f64,
    /// What a request of each second costs: its unit × seconds (for cores: CPU-seconds a request).
    pub demand: f64,
    /// The 95 % interval of the demand.
    pub demand_interval: Bounds<f64>,
    /// How much there is.
    pub limit: Option<f64>,
    /// The most that was used in a point.
    pub used_most: f64,
    /// The throughput at which it runs out; `None` without limit or demand.
    pub bound: Option<Rate>,
    /// The 95 % interval of the bound.
    pub bound_interval: Option<Bounds<Rate>>,
    /// Whether it was seen at its limit.
    pub exhausted: bool,
}

/// A share of its limit from which on a resource counts as used up.
const EXHAUSTED_RATIO: f64 = 0.93;
/// Held resources are fitted up to this share of their limit, where waiting inside is still rare.
const STRAIGHT_RATIO: f64 = 0.7;
/// A slope below so many of its standard errors is none.
const LEAST_SIGNIFICANCE: f64 = 3.0;
/// A law that misses the upper loads by this share of what is used bends.
const BEND_RATIO: f64 = 0.15;

/// Idle use and demand in one set of points, by resource; `None` where nothing can be said.
pub(crate) type Line = Option<(f64, f64)>;

/// The lines of all resources in `seen`.
pub(crate) fn lines(seen: &[Seen], limits: &[Option<f64>]) -> Vec<Line> {
    limits.iter().enumerate().map(|(at, limit)| line(seen, at, *limit)).collect()
}

fn line(seen: &[Seen], at: usize, limit: Option<f64>) -> Line {
    let known: Vec<(f64, f64)> = seen
        .iter()
        .filter_map(|each| each.used.get(at).map(|used| (each.completed, *used)))
        .filter(|(x, used)| *x > 0.0 && used.is_finite())
        .collect();
    let straight: Vec<(f64, f64)> = known
        .iter()
        .copied()
        .filter(|(_, used)| limit.is_none_or(|limit| *used <= STRAIGHT_RATIO * limit))
        .collect();
    let rows = if straight.len() >= 3 { straight } else { known };
    if rows.len() < 2 {
        return None;
    }
    // Errors grow with the level: rows weigh by its inverse, as relative errors do; never by more than tenfold.
    let most = rows.iter().map(|row| row.1.abs()).fold(0.0, f64::max);
    let weight = |used: f64| 1.0 / used.abs().max(0.1 * most).max(1e-300);
    let columns = [
        rows.iter().map(|row| weight(row.1)).collect::<Vec<f64>>(),
        rows.iter().map(|row| weight(row.1) * row.0).collect(),
    ];
    let target: Vec<f64> = rows.iter().map(|row| weight(row.1) * row.1).collect();
    let found = non_negative(&columns, &target);
    Some((found[0], found[1]))
}

/// The throughput at which `line` reaches `limit`; infinite when it never does.
pub(crate) fn bound_of(line: Line, limit: Option<f64>) -> f64 {
    match (line, limit) {
        (Some((idle, demand)), Some(limit)) if demand > 0.0 => ((limit - idle) / demand).max(0.0),
        _ => f64::INFINITY,
    }
}

/// The laws of all resources, from the estimate and from the draws of their lines.
pub(crate) fn laws(
    names: &[String],
    limits: &[Option<f64>],
    seen: &[Seen],
    estimate: &[Line],
    drawn: &[Vec<Line>],
) -> Vec<ResourceLaw> {
    let law = |(at, name): (usize, &String)| {
        let (idle, demand) = estimate[at]?;
        let of = |pick: fn((f64, f64)) -> f64| -> Vec<f64> {
            let mut values: Vec<f64> = drawn.iter().filter_map(|lines| lines[at].map(pick)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let demands = of(|(_, demand)| demand);
        let spread = 0.5 * (quantile_of(&demands, 0.84) - quantile_of(&demands, 0.16));
        let limit = limits[at];
        let used_most = seen
            .iter()
            .filter_map(|each| each.used.get(at))
            .copied()
            .filter(|u| u.is_finite())
            .fold(0.0, f64::max);
        let span = demand * seen.iter().map(|each| each.completed).fold(0.0, f64::max);
        let flat = demand <= 0.0 || demand < LEAST_SIGNIFICANCE * spread || span < 0.02 * used_most;
        let growth = match (flat, bend(seen, at, (idle, demand))) {
            (true, _) => Growth::Flat,
            (false, bend) if bend > BEND_RATIO => Growth::SuperLinear,
            _ => Growth::Linear,
        };
        let bound =
            Some(bound_of(estimate[at], limit)).filter(|bound| bound.is_finite() && growth != Growth::Flat);
        let mut bounds: Vec<f64> =
            drawn.iter().map(|lines| bound_of(lines[at], limit)).filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        let within = |sorted: &[f64], value: f64| Bounds {
            low: quantile_of(sorted, 0.025).min(value),
            high: quantile_of(sorted, 0.975).max(value),
        };
        Some(ResourceLaw {
            name: name.clone(),
            growth,
            idle,
            demand,
            demand_interval: within(&demands, demand),
            limit,
            used_most,
            bound: bound.map(rate),
            bound_interval: bound.map(|bound| within(&bounds, bound).map(rate)),
            exhausted: limit.is_some_and(|limit| used_most >= EXHAUSTED_RATIO * limit),
        })
    };
    names.iter().enumerate().filter_map(law).collect()
}

/// By what share of the use the upper third of the loads lies above the line.
fn bend(seen: &[Seen], at: usize, (idle, demand): (f64, f64)) -> f64 {
    let mut known: Vec<(f64, f64)> = seen
        .iter()
        .filter_map(|each| each.used.get(at).map(|used| (each.completed, *used)))
        .filter(|row| row.1.is_finite())
        .collect();
    known.sort_by(|one, other| one.0.total_cmp(&other.0));
    let upper = &known[known.len() - known.len().div_ceil(3)..];
    let above = upper.iter().map(|(x, used)| (used - idle - demand * x) / used.max(1e-300));
    above.sum::<f64>() / upper.len().max(1) as f64
}

/// Which resource runs out first: the lowest bound among those that grow.
pub(crate) fn first(laws: &[ResourceLaw]) -> Option<&ResourceLaw> {
    laws.iter().filter(|law| law.bound.is_some()).min_by(|one, other| bound(one).total_cmp(&bound(other)))
}

fn bound(law: &ResourceLaw) -> f64 {
    law.bound.map_or(f64::INFINITY, Rate::as_per_second)
}

/// What the observations `names` are limited by, from their names and their own values `levels`.
///
/// A name that ends in `cpu`, `memory` or `_ratio` is a share. A level in use (`…_active`, `…_in_use`, `…_busy`)
/// is limited by its companion (`…_max`, `…_limit`, `…_size`, `…_total`, `…_capacity`) of the same beginning and
/// end (`fpm_active_processes`, `fpm_total_processes`). Of a counter of the seconds in use (`…_busy_seconds_total`,
/// `…_usage_seconds_sum`) the growth in a second is the level.
pub(crate) fn limit_of(name: &str, levels: &[(String, f64)]) -> Option<f64> {
    const USES: [&str; 7] = ["active", "in_use", "inuse", "busy", "used", "usage", "current"];
    const LIMITS: [&str; 6] = ["max", "limit", "size", "capacity", "total", "max_size"];
    let (bare, labels) = name.split_at(name.find('{').unwrap_or(name.len()));
    let last = bare.rsplit('/').next().unwrap_or(bare);
    if last == "cpu"
        || last == "memory"
        || last.ends_with("_cpu")
        || last.ends_with("_memory")
        || last.ends_with("_ratio")
    {
        return Some(1.0);
    }
    let counted = ["_seconds_total", "_seconds_sum"].iter().find_map(|suffix| bare.strip_suffix(suffix));
    let bare = counted.unwrap_or(bare);
    let (stem, rest) = USES.iter().find_map(|used| {
        // A whole word: at the end, or before another.
        let at = bare.rfind(used)?;
        let (stem, rest) = (&bare[..at], &bare[at + used.len()..]);
        let is_word = stem.ends_with('_') && (rest.is_empty() || rest.starts_with('_'));
        is_word.then_some((stem, rest))
    })?;
    LIMITS.iter().find_map(|limit| {
        let companion = format!("{stem}{limit}{rest}{labels}");
        levels.iter().find(|(other, value)| *other == companion && *value > 0.0).map(|(_, value)| *value)
    })
}

/// Whether one unit of it serves one request at a time: a core, a place in a pool. Not so of a share, whose unit
/// is the whole.
pub(crate) fn counts_places(name: &str, limit: Option<f64>) -> bool {
    name.ends_with("cpu_cores") || limit.is_some_and(|limit| limit >= 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_understood_from_names() {
        let levels: Vec<(String, f64)> = [
            ("app/pool_connections_max", 10.0),
            ("pool_size{db=\"a\"}", 4.0),
            ("h:1/phpfpm_total_processes", 6.0),
            ("h:1/hikaricp_connections_max", 8.0),
            ("h:1/workers_max", 4.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        for (name, limit) in [
            ("pid:1/cpu", Some(1.0)),
            ("pid:1/cpu_cores", None),
            ("cgroup:x/memory", Some(1.0)),
            ("prometheus:h:1/cache_hit_ratio", Some(1.0)),
            ("app/pool_connections_active", Some(10.0)),
            ("pool_in_use{db=\"a\"}", Some(4.0)),
            ("pool_in_use{db=\"b\"}", None),
            ("h:1/phpfpm_active_processes", Some(6.0)),
            ("h:1/hikaricp_connections_usage_seconds_sum", Some(8.0)),
            ("h:1/workers_busy_seconds_total", Some(4.0)),
            ("h:1/inactive_processes", None),
        ] {
            assert_eq!(limit_of(name, &levels), limit, "{name}");
        }
    }
}
