//! Judges the generator: were its own limits in the way?
//!
//! A run is invalid when the load did not leave as planned through the generator's own doing: when requests
//! that could leave left late (p99 of the lag above 2 ms and above a tenth of the median service time), when
//! a sending thread had no CPU left, or when requests were skipped for want of ports, descriptors or memory.
//! What the target did is no reason: a slow target is what is being measured.

use std::time::Duration;

use captures::{Failure, Interval, RouteInterval, Stage};

use crate::ledger::Totals;

const LAG_QUANTILE: f64 = 0.99;
const LAG_ALLOWED: Duration = Duration::from_millis(2);
const LAG_SHARE_OF_SERVICE: f64 = 0.1;
const CPU_ALLOWED: f64 = 0.9;
/// One of so many requests may be clipped by the plan's own ceiling.
const CLIPPED: u64 = 1_000;
/// A stage shorter of requests than this has no p99 worth a verdict.
const ENOUGH: u64 = 500;

/// Collects what the verdict needs while a run goes on.
#[derive(Debug)]
pub(crate) struct Judge {
    stages: Vec<Stage>,
    /// The ceiling of the rate is the plan's own: what it clips, we were late with.
    own_ceiling: bool,
    per_stage: Vec<RouteInterval>,
    seconds: u64,
    busy_seconds: u64,
}

impl Judge {
    pub(crate) fn new(stages: Vec<Stage>, own_ceiling: bool) -> Self {
        let per_stage = vec![RouteInterval::default(); stages.len()];
        Self { stages, own_ceiling, per_stage, seconds: 0, busy_seconds: 0 }
    }

    /// Takes a settled delta of one second.
    pub(crate) fn on_interval(&mut self, interval: &Interval) {
        if interval.generator_cpu > 0.0 {
            self.seconds += 1;
            self.busy_seconds += u64::from(interval.generator_cpu > CPU_ALLOWED);
        }
        let begin = captures::Offset::from_secs(interval.second);
        let at = self.stages.partition_point(|stage| stage.end <= begin);
        if let Some(of_stage) = self.per_stage.get_mut(at) {
            for route in &interval.routes {
                of_stage.service.merge(&route.service);
                of_stage.lag.merge(&route.lag);
            }
        }
    }

    /// Why the run must not be believed; `None` when it may be.
    pub(crate) fn verdict(&self, totals: &Totals) -> Option<String> {
        for (kind, what) in [
            (Failure::SkippedPorts, "free local ports"),
            (Failure::SkippedDescriptors, "descriptors or connections"),
        ] {
            let skipped = totals.failures(kind);
            if skipped > 0 {
                return Some(format!("{skipped} requests were skipped for want of {what}"));
            }
        }
        let clipped = totals.failures(Failure::SkippedCeiling);
        if self.own_ceiling && clipped * CLIPPED > totals.planned {
            return Some(format!(
                "{clipped} requests were so late that to send them would have passed the plan's own peak"
            ));
        }
        // One busy second may be a hiccup of the machine; two and more than a twentieth are a limit.
        if self.busy_seconds >= 2 && self.busy_seconds * 20 > self.seconds {
            return Some(format!(
                "a sending thread used more than {:.0} % of its core in {} of {} s",
                CPU_ALLOWED * 100.0,
                self.busy_seconds,
                self.seconds
            ));
        }
        if let Some((lag, allowed)) = too_late(&totals.overall, 1) {
            return Some(format!(
                "requests left late: lag p99 {} ms, allowed {} ms",
                millis(lag),
                millis(allowed)
            ));
        }
        self.stages.iter().zip(&self.per_stage).find_map(|(stage, of_stage)| {
            let (lag, allowed) = too_late(of_stage, ENOUGH)?;
            Some(format!(
                "requests left late at {:.4}x ({} to {}): lag p99 {} ms, allowed {} ms",
                stage.to,
                stage.begin,
                stage.end,
                millis(lag),
                millis(allowed)
            ))
        })
    }
}

/// The p99 of the lag and what is allowed, when it is above. One or two late requests prove nothing, however
/// few there were in all.
fn too_late(measured: &RouteInterval, enough: u64) -> Option<(Duration, Duration)> {
    let allowed = LAG_ALLOWED.max(measured.service.quantile(0.5).mul_f64(LAG_SHARE_OF_SERVICE));
    let lag = measured.lag.quantile(LAG_QUANTILE);
    let late = measured.lag.share_above(allowed) * measured.lag.len() as f64;
    (measured.lag.len() >= enough && lag > allowed && late > 2.5).then_some((lag, allowed))
}

fn millis(length: Duration) -> String {
    format!("{:.1}", length.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::parse_stages;

    fn check(lag_ms: u64, service_ms: u64, late: u64, cpu: f64, expected: Option<&str>) {
        let mut judge = Judge::new(parse_stages("=10s:1x").unwrap(), true);
        let mut totals = Totals::default();
        for second in 0..10 {
            let mut interval = Interval { second, generator_cpu: cpu, ..Interval::default() };
            let route = interval.route_mut(0);
            for at in 0..100 {
                route.lag.record(Duration::from_millis(if at < late { lag_ms } else { 0 }));
                route.service.record(Duration::from_millis(service_ms));
            }
            totals.overall.merge(route);
            judge.on_interval(&interval);
        }
        let verdict = judge.verdict(&totals);
        assert_eq!(verdict.is_some(), expected.is_some(), "{verdict:?}");
        if let (Some(verdict), Some(expected)) = (verdict, expected) {
            assert!(verdict.contains(expected), "{verdict}");
        }
    }

    /// Fifty requests, of which the given number left 30 ms late.
    fn check_few() {
        for (late, expected) in [(0, false), (2, false), (3, true)] {
            let mut totals = Totals::default();
            for at in 0..50 {
                totals.overall.lag.record(Duration::from_millis(if at < late { 30 } else { 0 }));
                totals.overall.service.record(Duration::from_millis(5));
            }
            let verdict = Judge::new(parse_stages("=1s:1x").unwrap(), true).verdict(&totals);
            assert_eq!(verdict.is_some(), expected, "{late} late: {verdict:?}");
        }
    }

    #[test]
    fn only_the_generators_own_limits_make_a_run_invalid() {
        check(0, 5, 0, 0.2, None);
        check(10, 5, 0, 0.2, None);
        check(10, 5, 2, 0.2, Some("lag p99 10.0 ms, allowed 2.0 ms"));
        check(10, 500, 2, 0.2, None);
        check_few();
        check(0, 5, 0, 0.95, Some("90 % of its core in 10 of 10 s"));
    }
}
