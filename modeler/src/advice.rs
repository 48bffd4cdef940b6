//! What to do, in words, from the evidence and only from it; and what would make the answer firmer.

use crate::beyond::{Beyond, Overload};
use crate::bottleneck::Bottleneck;
use crate::bounds::Verdict;
use crate::capacity::{Binding, Capacity};
use crate::cost::Costs;
use crate::model::{LoadUnit, RouteModel};
use crate::plateau::trend;
use crate::point::Point;
use crate::study::Study;

/// A route with at least this share of the bottleneck is worth naming.
const DEAR_RATIO: f64 = 0.25;
/// A level's memory that grows by this share is worth naming.
const LEAK_RATIO: f64 = 0.05;
/// Fewer different loads than this leave an answer indicative.
const ENOUGH_LOADS: usize = 6;

/// What recommendations are made from.
pub(crate) struct Evidence<'a> {
    pub(crate) study: &'a Study<'a>,
    pub(crate) points: &'a [Point],
    pub(crate) capacity: &'a Capacity,
    pub(crate) bottleneck: Option<&'a Bottleneck>,
    pub(crate) costs: &'a [Costs],
    pub(crate) routes: &'a [RouteModel],
    pub(crate) beyond: Option<&'a Beyond>,
}

/// Recommendations, the most telling first.
pub(crate) fn advice(evidence: &Evidence<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(found) = evidence.bottleneck {
        let at = found
            .bound
            .map(|bound| format!(", at about {:.0} req/s", bound.as_per_second()))
            .unwrap_or_default();
        match &found.resource {
            Some(resource) => advice.push(format!("More of {resource} first: {}{at}.", found.because)),
            None => advice.push(format!("Look for what is not observed: {}.", found.because)),
        }
        let dear = evidence
            .costs
            .iter()
            .filter(|costs| found.resource.as_deref() == Some(costs.resource.as_str()))
            .flat_map(|costs| costs.routes.first())
            .find(|route| route.share_ratio >= DEAR_RATIO);
        if let Some(route) = dear {
            advice.push(format!(
                "{} takes {:.0} % of it: halving its cost would carry about {:.0} % more.",
                route.route,
                route.share_ratio * 100.0,
                (1.0 / (1.0 - 0.5 * route.share_ratio) - 1.0) * 100.0
            ));
        }
    }
    if let Some(beyond) = evidence.beyond {
        match beyond.overload {
            Overload::Collapse => advice.push(format!(
                "Refuse early: at {:.0} req/s the service carried only {:.0} % of its ceiling; a limit on what is let in would hold it.",
                beyond.offered.as_per_second(),
                beyond.throughput_ratio * 100.0
            )),
            Overload::Errors => advice.push(format!(
                "Beyond the ceiling {:.1} % of the answers are errors ({}): see which, before users do.",
                beyond.error_ratio * 100.0,
                beyond.source
            )),
            Overload::Graceful => {}
        }
    }
    let first = evidence
        .routes
        .iter()
        .filter_map(|route| Some((route.capacity?.as_per_second(), &route.route)))
        .min_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((rate, route)) = first
        && rate < 0.9 * evidence.capacity.rate.as_per_second()
    {
        advice.push(format!(
            "{route} breaks the objective first, at about {rate:.0} req/s of all: it is diluted in the quantile of all requests."
        ));
    }
    for (name, growth) in growing(evidence.points) {
        advice.push(format!(
            "{name} grew by {:.0} % while the load was held: look for a leak.",
            growth * 100.0
        ));
    }
    if let Binding::Errors = evidence.capacity.binding {
        advice.push(
            "Errors bind before responses do: more machines help only if they come from load.".to_owned(),
        );
    }
    advice
}

/// Memory that grew within at least two levels.
fn growing(points: &[Point]) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64, u32)> = Vec::new();
    for resource in points.iter().flat_map(|point| &point.resources) {
        let name = resource.name.to_ascii_lowercase();
        if !(name.contains("memory") || name.contains("heap") || name.contains("rss")) {
            continue;
        }
        let known: Vec<f64> = resource.by_second.iter().copied().filter(|value| value.is_finite()).collect();
        let growth = trend(&known);
        if growth > LEAK_RATIO {
            match found.iter_mut().find(|each| each.0 == resource.name) {
                Some(each) => (each.1, each.2) = (each.1.max(growth), each.2 + 1),
                None => found.push((resource.name.clone(), growth, 1)),
            }
        }
    }
    found.into_iter().filter(|each| each.2 >= 2).map(|each| (each.0, each.1)).collect()
}

/// What would make the answer firmer, what helps most first.
pub(crate) fn firmer(evidence: &Evidence<'_>, levels: usize, rate_at_1x: Option<f64>) -> Vec<String> {
    let (study, capacity) = (evidence.study, evidence.capacity);
    let mut wishes = Vec::new();
    let load = |load: f64| match (study.unit, rate_at_1x.filter(|one| *one > 0.0)) {
        (LoadUnit::Concurrency, _) => format!("{load:.0} in flight"),
        (LoadUnit::Offered, Some(one)) => format!("{load:.0} req/s ({:.1}x)", load / one),
        (LoadUnit::Offered, None) => format!("{load:.0} req/s"),
    };
    let next = capacity.next_load.as_per_second();
    if capacity.verdict > Verdict::Measured || !capacity.bracketed {
        wishes.push(format!("One more level at {}: nothing above the answer was measured.", load(next)));
    } else {
        let width = (capacity.interval.high.as_per_second() - capacity.interval.low.as_per_second())
            / capacity.rate.as_per_second().max(1e-9);
        if width > 0.1 {
            wishes.push(format!("One more level at {}, in the middle of what is still open.", load(next)));
        }
    }
    let ceiling = study.concluded.ceiling;
    let short = study.seen.iter().filter(|seen| !seen.saturated && ceiling.is_finite()).filter_map(|seen| {
        let offered = seen.offered?;
        let longer = crate::latency::long_enough(offered, ceiling)?;
        (longer > seen.length && offered < ceiling).then_some((offered, longer))
    });
    if let Some((offered, longer)) = short.min_by(|one, other| one.0.total_cmp(&other.0))
        && longer < 3_600.0
    {
        wishes.push(format!(
            "Hold {} for {:.0} s or more: so near the ceiling a queue takes that long to become steady.",
            load(offered),
            longer.ceil()
        ));
    }
    if levels < ENOUGH_LOADS {
        wishes.push(format!(
            "{} levels in place of {levels}: then a law can be left-one-out and tested.",
            ENOUGH_LOADS
        ));
    }
    if study.resources.names.is_empty() && study.unit == LoadUnit::Offered {
        wishes.push(
            "Observe the target (replay --observe …): its use of CPU and pools bounds the ceiling long before it is reached."
                .to_owned(),
        );
    } else if !study.resources.serves.iter().any(|serves| *serves) && study.unit == LoadUnit::Offered {
        wishes.push("Say how much there is of what was observed (--limit NAME=AMOUNT).".to_owned());
    }
    for costs in evidence.costs.iter().filter(|costs| costs.warning.is_some()).take(1) {
        wishes.push(format!(
            "A second mix of routes: the costs of {} cannot be split by this one.",
            costs.resource
        ));
    }
    wishes
}
