//! What happens beyond the capacity: how the service behaves under more load than it carries, how long it takes
//! to recover, and how far the present load is from it.

use std::time::Duration;

use captures::{Interval, Offset, Rate, Run};

use crate::bounds::Bounds;
use crate::capacity::Capacity;
use crate::ceiling::Ceiling;
use crate::point::Point;

/// How a service behaves under more load than it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// The throughput stays at the ceiling and errors stay rare: requests only wait.
    Graceful,
    /// The throughput stays at the ceiling, and what is above is answered with errors.
    Errors,
    /// The throughput falls below the ceiling.
    Collapse,
}

/// What was measured beyond the capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Beyond {
    /// How the service behaves.
    pub overload: Overload,
    /// The largest load that was measured.
    pub offered: Rate,
    /// What it carried there, as a share of the ceiling.
    pub throughput_ratio: f64,
    /// The share of errors there, in `0..=1`.
    pub error_ratio: f64,
    /// The point it is read from.
    pub source: String,
}

/// How far the present load is from the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// The present peak.
    pub current: Rate,
    /// The capacity over it: 2 means that twice as much would still be carried.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: Bounds<f64>,
}

/// How a service came back after more load than it carried.
#[derive(Clone, Debug, PartialEq)]
pub struct BacklogRecovery {
    /// The run and the stage that was too much.
    pub source: String,
    /// The backlog at its end: requests in flight.
    pub backlog: f64,
    /// The load that followed.
    pub offered: Rate,
    /// How long it took until no more was in flight than that load needs; `None` when the run ended before.
    pub seconds: Option<Duration>,
    /// How long it was watched.
    pub watched: Duration,
}

/// Less than this share of the ceiling is a collapse.
const COLLAPSE_RATIO: f64 = 0.9;
/// More errors than this are its way to refuse.
const ERRORS_RATIO: f64 = 0.02;

/// The behaviour at the largest load; `None` when nothing beyond the ceiling was measured.
pub(crate) fn beyond(points: &[Point], ceiling: Option<Ceiling>) -> Option<Beyond> {
    let ceiling = ceiling.filter(|ceiling| ceiling.measured)?.rate.as_per_second();
    let offered = |point: &Point| point.offered.map_or(0.0, Rate::as_per_second);
    let most = points
        .iter()
        .filter(|point| !point.draining && offered(point) > 1.02 * ceiling)
        .max_by(|one, other| offered(one).total_cmp(&offered(other)))?;
    let throughput_ratio = most.throughput.as_per_second() / ceiling;
    let overload = if throughput_ratio < COLLAPSE_RATIO {
        Overload::Collapse
    } else if most.error_ratio > ERRORS_RATIO {
        Overload::Errors
    } else {
        Overload::Graceful
    };
    Some(Beyond {
        overload,
        offered: most.offered?,
        throughput_ratio,
        error_ratio: most.error_ratio,
        source: most.source.clone(),
    })
}

/// The capacity over `current`.
pub(crate) fn headroom(capacity: &Capacity, current: Rate) -> Headroom {
    let over = |rate: Rate| rate.as_per_second() / current.as_per_second().max(1e-9);
    Headroom { current, ratio: over(capacity.rate), interval: capacity.interval.map(over) }
}

/// How `run`, which is called `name`, came back after each stage that left a backlog.
pub fn backlog_recoveries(run: &Run, name: &str) -> Vec<BacklogRecovery> {
    let stages = run.header.stages.windows(2).enumerate();
    stages
        .filter(|(_, pair)| pair[1].to < pair[0].to && pair[1].is_hold() && pair[1].to > 0.0)
        .filter_map(|(index, pair)| {
            let inside = |interval: &&Interval| {
                let at = Offset::from_secs(interval.second);
                pair[1].begin <= at && at < pair[1].end
            };
            let after: Vec<&Interval> = run.intervals.iter().filter(inside).collect();
            let backlog = after.first()?.in_flight;
            let (settled, calm) = settled(&after)?;
            // No more than it needs, and as much as chance adds.
            (backlog > 2.0 * calm + 3.0 * calm.sqrt() + 2.0).then(|| BacklogRecovery {
                source: format!("{name}, stage {}", index + 1),
                backlog,
                offered: Rate::per_second(
                    after.iter().map(|interval| interval.planned as f64).sum::<f64>() / after.len() as f64,
                )
                .unwrap_or(Rate::ZERO),
                seconds: settled.map(|seconds| Duration::from_secs(seconds as u64)),
                watched: Duration::from_secs(after.len() as u64),
            })
        })
        .collect()
}

/// After how many seconds no more is in flight than at the end, and how much that is.
fn settled(after: &[&Interval]) -> Option<(Option<usize>, f64)> {
    if after.len() < 4 {
        return None;
    }
    let mut end: Vec<f64> = after[after.len() * 3 / 4..].iter().map(|interval| interval.in_flight).collect();
    end.sort_by(f64::total_cmp);
    let calm = crate::resample::quantile_of(&end, 0.5);
    let limit = 1.5 * calm + 3.0 * calm.sqrt() + 1.0;
    let first =
        (0..after.len()).find(|&at| after[at..].iter().take(3).all(|interval| interval.in_flight <= limit));
    // A backlog that is still falling at the end has no calm to come back to.
    let falling =
        after[after.len() - 1].in_flight < 0.8 * after[after.len() * 3 / 4].in_flight && calm > 10.0;
    Some((first.filter(|_| !falling), if falling { 0.0 } else { calm }))
}
