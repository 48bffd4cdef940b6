//! Adds up the seconds of runs, so that tables and charts show the same sums.
//!
//! Nothing is estimated here: histograms are merged, which loses nothing.

use std::ops::Range;

use captures::{Interval, RouteInterval, Run, Stage};
use modeler::{LatencyMeasure, Limit, Objective, Point, cut_from};

/// A level of load may leave this share unanswered and still count as carried.
const CARRIED_RATIO: f64 = 0.97;

/// A stretch of a run, added up.
pub(crate) struct Account {
    pub(crate) planned: u64,
    pub(crate) completed: u64,
    pub(crate) in_flight_most: f64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) connections_opened: u64,
    pub(crate) retried: u64,
    pub(crate) generator_cpu_most: f64,
    /// Seconds that were added up.
    pub(crate) seconds: u64,
    /// All routes together.
    pub(crate) overall: RouteInterval,
    /// By route: its number and its sums, the busiest first.
    pub(crate) routes: Vec<(u16, RouteInterval)>,
}

impl Account {
    /// The sums of the seconds in `range`.
    pub(crate) fn of(run: &Run, range: &Range<u64>) -> Self {
        let mut sum = Interval::default();
        let mut account = Self {
            planned: 0,
            completed: 0,
            in_flight_most: 0.0,
            bytes_out: 0,
            bytes_in: 0,
            connections_opened: 0,
            retried: 0,
            generator_cpu_most: 0.0,
            seconds: range.end.saturating_sub(range.start),
            overall: RouteInterval::default(),
            routes: Vec::new(),
        };
        for interval in run.intervals.iter().filter(|interval| range.contains(&interval.second)) {
            account.in_flight_most = account.in_flight_most.max(interval.in_flight);
            sum.merge(interval);
        }
        account.planned = sum.planned;
        account.completed = sum.completed;
        account.bytes_out = sum.bytes_out.as_u64();
        account.bytes_in = sum.bytes_in.as_u64();
        account.connections_opened = sum.connections_opened;
        account.retried = sum.retried;
        account.generator_cpu_most = sum.generator_cpu;
        account.overall = sum.overall();
        account.routes = sum.routes.into_iter().map(|entry| (entry.route, entry)).collect();
        account.routes.sort_by(|one, other| other.1.total().cmp(&one.1.total()).then(one.0.cmp(&other.0)));
        account
    }

    /// The sums of the whole run.
    pub(crate) fn whole(run: &Run) -> Self {
        Self::of(run, &whole_range(run))
    }

    /// Errors over outcomes, in `0..=1`.
    pub(crate) fn error_ratio(&self) -> f64 {
        error_ratio(&self.overall)
    }

    /// Completions per second.
    pub(crate) fn completed_per_second(&self) -> f64 {
        self.completed as f64 / self.seconds.max(1) as f64
    }

    /// Planned requests per second.
    pub(crate) fn planned_per_second(&self) -> f64 {
        self.planned as f64 / self.seconds.max(1) as f64
    }

    fn is_carried(&self) -> bool {
        self.completed as f64 >= CARRIED_RATIO * self.planned as f64 && self.error_ratio() < 0.01
    }

    fn meets(&self, objective: &Objective) -> bool {
        objective.limits.iter().all(|limit| match *limit {
            Limit::Latency(LatencyMeasure::Mean, limit) => self.overall.response.mean() < limit,
            Limit::Latency(LatencyMeasure::Quantile(quantile), limit) => {
                self.overall.response.quantile(quantile) < limit
            }
            Limit::Errors(ratio) => self.error_ratio() < ratio,
            Limit::Throughput(rate) => self.completed_per_second() > rate.as_per_second(),
        })
    }
}

/// Errors over outcomes, in `0..=1`.
pub(crate) fn error_ratio(outcomes: &RouteInterval) -> f64 {
    outcomes.errors() as f64 / outcomes.total().max(1) as f64
}

/// Whether `run` was interrupted before its plan was done.
pub(crate) fn is_interrupted(run: &Run) -> bool {
    run.end.as_ref().is_some_and(|end| end.interrupted)
}

/// Whether `stage` was carried out to its end.
pub(crate) fn is_done(run: &Run, stage: &Stage) -> bool {
    cut_from(run).is_none_or(|cut| stage.end.second() <= cut)
}

/// All seconds that were planned, without the draining after them and without what an interruption cut.
pub(crate) fn whole_range(run: &Run) -> Range<u64> {
    let planned = run.header.stages.iter().map(|stage| stage.end.as_nanos().div_ceil(1_000_000_000)).max();
    let seen = run.intervals.last().map_or(0, |interval| interval.second + 1);
    0..planned.unwrap_or(seen).min(seen.max(1)).min(cut_from(run).unwrap_or(u64::MAX))
}

/// The stretch of a run that tells most about ordinary service: the highest level that was still carried.
pub(crate) struct Level {
    pub(crate) seconds: Range<u64>,
    /// How it reads: `at 8×`, `over the whole run`.
    pub(crate) name: String,
}

/// The highest level of `run` that met `objective`, or, without one, that was carried.
///
/// The whole run when it has a single level, or none that was carried.
pub(crate) fn telling_level(run: &Run, objective: Option<&Objective>) -> Level {
    let stages = run.header.stages.iter().filter(|stage| is_done(run, stage));
    let holds = stages.filter(|stage| stage.is_hold() && stage.from > 0.0);
    let mut best: Option<(&Stage, Range<u64>)> = None;
    for stage in holds {
        let seconds = stage.begin.as_nanos().div_ceil(1_000_000_000)..stage.end.second();
        let account = Account::of(run, &seconds);
        let good = objective.map_or_else(|| account.is_carried(), |objective| account.meets(objective));
        if good && account.planned > 0 && best.as_ref().is_none_or(|(known, _)| stage.from > known.from) {
            best = Some((stage, seconds));
        }
    }
    match best {
        Some((stage, seconds)) if run.header.stages.len() > 1 => {
            Level { seconds, name: format!("at {}", crate::words::times(stage.from)) }
        }
        _ if is_interrupted(run) => {
            Level { seconds: whole_range(run), name: "until the interruption".to_owned() }
        }
        _ => Level { seconds: whole_range(run), name: "over the whole run".to_owned() },
    }
}

/// Whether `point` met `objective`; `None` when that cannot be told.
pub(crate) fn point_meets(point: &Point, objective: &Objective) -> Option<bool> {
    let mut met = true;
    for limit in &objective.limits {
        met &= match *limit {
            Limit::Latency(LatencyMeasure::Mean, limit) => point.mean_response? < limit,
            Limit::Latency(LatencyMeasure::Quantile(quantile), limit) => point.response_at(quantile)? < limit,
            Limit::Errors(ratio) => point.error_ratio < ratio,
            Limit::Throughput(rate) => point.throughput > rate,
        };
    }
    Some(met)
}

/// The seconds of `run` in at most `most` equal stretches, each added up, with the length of a stretch.
pub(crate) fn stretches(run: &Run, most: u64) -> (u64, Vec<Interval>) {
    let count = run.intervals.last().map_or(0, |interval| interval.second + 1);
    let length = count.div_ceil(most.max(1)).max(1);
    let mut sums: Vec<Interval> = (0..count.div_ceil(length))
        .map(|at| Interval { second: at * length, ..Interval::default() })
        .collect();
    for interval in &run.intervals {
        let at = usize::try_from(interval.second / length).unwrap_or(usize::MAX);
        if let Some(sum) = sums.get_mut(at) {
            sum.merge(interval);
        }
    }
    (length, sums)
}
