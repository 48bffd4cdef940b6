//! How long a service takes to be itself again after a spike.

use captures::{RouteInterval, Run};

/// A return from a higher load to a lower.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// The scale of the load before it came down.
    pub from: f64,
    /// The scale that it came down to.
    pub to: f64,
    /// The second from which on the load was low again.
    pub second: u64,
    /// Seconds until responses and errors were normal again, and stayed so; `None` when that was not seen.
    pub seconds: Option<u64>,
}

/// A second is normal when its p95 is at most so many times the normal p95 …
const SLOWER: f64 = 1.5;
/// … and its errors at most so much more, as a ratio.
const MORE_ERRORS: f64 = 0.01;
/// So many normal seconds in a row are a recovery.
const IN_A_ROW: u64 = 3;
/// A lower load counts as a return when it is at most this share of the higher.
const LOWER: f64 = 0.7;

/// Every return of the run. Normal is what was measured at a load of that height, or lower, before the spike:
/// without such a stretch there is nothing to compare with, and no recovery is given.
pub fn recoveries(run: &Run) -> Vec<Recovery> {
    let stages = &run.header.stages;
    let mut found = Vec::new();
    for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.is_hold()) {
        let Some(spike) =
            stages[..at].iter().rposition(|earlier| earlier.to.max(earlier.from) * LOWER >= stage.to)
        else {
            continue;
        };
        // The ramp down ends where this hold begins; nothing high may lie between.
        let between = &stages[spike + 1..at];
        let came_down = between.iter().all(|other| !other.is_hold());
        let calm = stages[..spike]
            .iter()
            .rfind(|earlier| earlier.is_hold() && earlier.to > 0.0 && earlier.to * LOWER < stages[spike].to);
        let Some(calm) = calm.filter(|_| came_down && stage.to > 0.0) else { continue };
        let normal = sum(run, calm.begin.second(), calm.end.second());
        if normal.total() == 0 {
            continue;
        }
        let begin = stage.begin.second();
        found.push(Recovery {
            from: stages[spike].to.max(stages[spike].from),
            to: stage.to,
            second: begin,
            seconds: back_to_normal(run, &normal, begin, stage.end.second()).map(|second| second - begin),
        });
    }
    found
}

fn back_to_normal(run: &Run, normal: &RouteInterval, begin: u64, end: u64) -> Option<u64> {
    let most = normal.response.quantile(0.95).mul_f64(SLOWER);
    let errors = ratio(normal) + MORE_ERRORS;
    let mut since = None;
    for second in begin..end {
        let now = sum(run, second, second + 1);
        if now.total() == 0 {
            continue;
        }
        if now.response.quantile(0.95) > most || ratio(&now) > errors {
            since = None;
        } else if second + 1 - *since.get_or_insert(second) >= IN_A_ROW {
            return since;
        }
    }
    None
}

fn sum(run: &Run, from: u64, to: u64) -> RouteInterval {
    let begin = run.intervals.partition_point(|interval| interval.second < from);
    let within = run.intervals[begin..].iter().take_while(|interval| interval.second < to);
    within.flat_map(|interval| &interval.routes).fold(RouteInterval::default(), |mut sum, route| {
        sum.merge(route);
        sum
    })
}

fn ratio(sum: &RouteInterval) -> f64 {
    sum.errors() as f64 / sum.total().max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use captures::Interval;

    use super::*;
    use crate::fixture;

    /// 10 s at 1x, 5 s at 10x, 20 s at 1x; responses of 10 ms, but 900 ms in the spike and in `slow` seconds
    /// after it.
    fn spike(slow: u64) -> Run {
        let intervals = (0..35)
            .map(|second| {
                let mut interval = Interval { second, planned: 20, ..Interval::default() };
                let ms = if (10..15 + slow).contains(&second) { 900 } else { 10 };
                let route = interval.route_mut(0);
                route.statuses = vec![(200, 20)];
                (0..20).for_each(|_| route.response.record(Duration::from_millis(ms)));
                interval
            })
            .collect();
        fixture::run(
            vec![fixture::hold(0, 10, 1.0), fixture::hold(10, 15, 10.0), fixture::hold(15, 35, 1.0)],
            vec!["GET /".to_owned()],
            intervals,
        )
    }

    #[test]
    fn the_time_back_to_normal_is_counted_from_the_end_of_the_spike() {
        for (slow, expected) in [(0, Some(0)), (7, Some(7)), (18, None), (20, None)] {
            let found = recoveries(&spike(slow));
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].from, found[0].to, found[0].second), (10.0, 1.0, 15));
            assert_eq!(found[0].seconds, expected, "slow for {slow} s");
        }
    }

    #[test]
    fn without_a_calm_stretch_before_it_nothing_is_said() {
        let mut run = spike(0);
        run.header.stages.remove(0);
        assert_eq!(recoveries(&run), []);
    }
}
