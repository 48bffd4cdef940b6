//! What is asked of a model beside the capacity: today's peak, another mix of routes, limits of resources.

use std::collections::BTreeMap;
use std::path::Path;

use captures::{Rate, route_of};
use modeler::{Growth, MixChange, Model, Overload, Point};

use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// The rates that are believed.
const MOST_RATE: f64 = 1e12;

/// `840rps`, `840`, or the busiest ten seconds of a capture.
pub(crate) fn current(text: &str) -> Result<Rate, Complaint> {
    let digits = text.trim().strip_suffix("rps").unwrap_or(text.trim());
    let number = digits.trim().parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= MOST_RATE);
    if let Some(rate) = number.and_then(Rate::per_second) {
        return Ok(rate);
    }
    let path = Path::new(text);
    if !path.exists() {
        return Err(Complaint::new(
            Exit::Usage,
            format!("--current {}", files::plain(text)),
            "is neither a rate above zero nor a capture",
            "write e.g. --current 840rps, or name a capture",
        ));
    }
    let mut seconds: BTreeMap<u64, f64> = BTreeMap::new();
    each_exchange(path, |exchange| *seconds.entry(exchange.arrived.second() / 10).or_default() += 0.1)?;
    // The last stretch may be short, which makes it look idle and never busy.
    let busiest = seconds.values().copied().fold(0.0, f64::max);
    Rate::per_second(busiest).filter(|rate| *rate > Rate::ZERO).ok_or_else(|| {
        Complaint::new(Exit::Input, path.display(), "has no exchange", "name a capture with traffic")
    })
}

/// `POST /checkout=3x`.
pub(crate) fn mix(text: &str) -> Result<MixChange, Complaint> {
    let wrong = || {
        Complaint::new(
            Exit::Usage,
            format!("--mix {}", files::plain(text)),
            "is not a route and how many times its rate",
            "write e.g. --mix 'POST /checkout=3x'; inspect names the routes",
        )
    };
    let (route, times) = text.rsplit_once('=').ok_or_else(wrong)?;
    let times = times.trim().trim_end_matches('x').parse::<f64>().ok();
    let times = times.filter(|times| (0.0..=1e6).contains(times)).ok_or_else(wrong)?;
    Ok(MixChange { route: route.trim().to_owned(), times })
}

/// `pool_busy=40`.
pub(crate) fn limit(text: &str) -> Result<(String, f64), Complaint> {
    let parsed = text.rsplit_once('=').and_then(|(name, amount)| {
        let amount =
            amount.trim().parse::<f64>().ok().filter(|amount| *amount > 0.0 && amount.is_finite())?;
        Some((name.trim().to_owned(), amount))
    });
    parsed.ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--limit {}", files::plain(text)),
            "is not a name and an amount above zero",
            "write e.g. --limit pool_busy=40",
        )
    })
}

/// The mix of the capture at `path`, as changes to that of `points`.
pub(crate) fn mix_of(path: &Path, points: &[Point]) -> Result<Vec<MixChange>, Complaint> {
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    each_exchange(path, |exchange| {
        *counts.entry(route_of(&exchange.request.method, &exchange.request.target)).or_default() += 1.0;
    })?;
    let total: f64 = counts.values().sum();
    let mut known: BTreeMap<&str, f64> = BTreeMap::new();
    for route in points.iter().flat_map(|point| &point.routes) {
        *known.entry(&route.route).or_default() += route.offered.as_per_second();
    }
    let all: f64 = known.values().sum();
    let share = |route: &str| counts.get(route).copied().unwrap_or(0.0) / total.max(1.0);
    let changed = known.iter().map(|(&route, rate)| MixChange {
        route: route.to_owned(),
        times: if *rate > 0.0 { share(route) / (rate / all) } else { 0.0 },
    });
    let new = counts.keys().filter(|route| !known.contains_key(route.as_str()));
    Ok(changed.chain(new.map(|route| MixChange { route: route.clone(), times: 1.0 })).collect())
}

/// What was concluded beside the capacity, in lines.
pub(crate) fn summary(model: &Model) -> String {
    let mut text = String::new();
    for law in &model.resources {
        let bound = law
            .bound
            .map_or(String::new(), |bound| format!(", runs out at {:.0} req/s", bound.as_per_second()));
        let how = match law.growth {
            Growth::Linear => format!("{:.4e} a request", law.demand),
            Growth::SuperLinear => format!("{:.4e} a request and growing", law.demand),
            Growth::Flat => "does not answer to load".to_owned(),
        };
        text += &format!("  {}: {how}{bound}\n", law.name);
    }
    if let Some(found) = &model.bottleneck {
        text += &format!("  bottleneck: {}\n", found.because);
    }
    for costs in model.costs.iter().take(1) {
        for route in costs.routes.iter().take(5) {
            text += &format!(
                "  cost of {}: {:.4e} [{:.4e}, {:.4e}] of {}, {:.0} %\n",
                route.route,
                route.cost,
                route.interval.low,
                route.interval.high,
                costs.resource,
                route.share_ratio * 100.0
            );
        }
        if let Some(warning) = &costs.warning {
            text += &format!("  note: {warning}\n");
        }
    }
    if let Some(mix) = &model.mix {
        text += &format!(
            "  under the other mix: {:.0} req/s [{:.0}, {:.0}], a request costs {:.2} times as much of {}\n",
            mix.rate.as_per_second(),
            mix.interval.low.as_per_second(),
            mix.interval.high.as_per_second(),
            mix.cost_ratio,
            mix.resource
        );
        for route in &mix.unknown {
            text += &format!(
                "  note: the cost of {} is unknown: the runs did not have it\n",
                files::plain(route)
            );
        }
    }
    if let Some(headroom) = &model.headroom {
        text += &format!(
            "  headroom: {:.2} times today's {:.0} req/s [{:.2}, {:.2}]\n",
            headroom.ratio,
            headroom.current.as_per_second(),
            headroom.interval.low,
            headroom.interval.high
        );
    }
    if let Some(beyond) = &model.beyond {
        let how = match beyond.overload {
            Overload::Graceful => "requests wait, throughput holds".to_owned(),
            Overload::Errors => format!("{:.1} % errors, throughput holds", beyond.error_ratio * 100.0),
            Overload::Collapse => {
                format!("throughput falls to {:.0} % of the ceiling", beyond.throughput_ratio * 100.0)
            }
        };
        text += &format!("  beyond it, at {:.0} req/s: {how}\n", beyond.offered.as_per_second());
    }
    for recovery in &model.recoveries {
        let when = recovery.seconds.map_or_else(
            || format!("not within the {:.0} s that were watched", recovery.watched.as_secs_f64()),
            |seconds| format!("after {:.0} s", seconds.as_secs_f64()),
        );
        text += &format!("  recovery from {:.0} in flight ({}): {when}\n", recovery.backlog, recovery.source);
    }
    text
}

/// Every exchange of the capture at `path`; what is damaged is left out.
fn each_exchange(path: &Path, mut of: impl FnMut(&captures::Exchange)) -> Result<(), Complaint> {
    let set = files::open_captures(&[path.to_owned()])?;
    for exchange in set {
        of(&exchange.map_err(|error| files::not_a_set(&error))?);
    }
    Ok(())
}
