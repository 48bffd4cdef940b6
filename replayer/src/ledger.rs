//! Keeps the accounts of a run: outcomes in, intervals and totals out.
//!
//! Planned requests and outcomes are booked to the second in which the request was due; what happened on
//! the clock (completions, in flight, bytes, CPU) to that second. An interval is given out once the clock
//! has left its second; what comes later is given out as a further delta of the same second.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::{
    Bytes, Failure, GeneratorLoad, Histogram, Interval, MAX_OBSERVED, Observed, Offset, Outcome,
    RouteInterval,
};

use crate::correlate::Applied;
use crate::schedule::mix;

/// At most this many failed outcomes, and about as many ordinary ones (never more than twice), are kept whole.
const MAX_SAMPLES: u64 = 1_000;

/// What the ledger is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// What a worker did.
    Batch(Batch),
    /// What was observed of the target during a second on the clock.
    Observed(u64, Vec<Observed>),
    /// The target's name leads to the recorded origin now: why the run must end.
    Refused(String),
}

/// What one worker did since it last told.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) worker: usize,
    /// Nothing of a second before this moment will be told of on the clock any more.
    pub(crate) until: Offset,
    /// Requests that became due, by second.
    pub(crate) planned: Vec<(u64, u64)>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) seconds: Vec<ClockSecond>,
    /// How long each connection that was opened took, with its second.
    pub(crate) connects: Vec<(u64, Duration)>,
    /// How long each TLS handshake took, with its second.
    pub(crate) handshakes: Vec<(u64, Duration)>,
    /// How often each rule was applied; empty when none was.
    pub(crate) applied: Vec<Applied>,
    /// The worker is done: nothing will follow.
    pub(crate) finished: bool,
}

/// What happened at one worker during one second on the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ClockSecond {
    pub(crate) second: u64,
    pub(crate) completed: u64,
    /// The time integral of the number in flight, in request-seconds.
    pub(crate) in_flight: f64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) connections_opened: u64,
    pub(crate) retried: u64,
    /// Requests that left on a connection that had carried an answer before.
    pub(crate) reused: u64,
    /// The longest turn of the loop.
    pub(crate) loop_delay: Duration,
    /// Open connections, and requests waiting for their turn, when this was told.
    pub(crate) connections: u64,
    pub(crate) waiting: u64,
    /// What the thread used, and what of that it only waited for a moment that was near.
    pub(crate) cpu: Duration,
    pub(crate) spun: Duration,
}

/// What the whole process used up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) at: Offset,
    /// CPU time of all its threads since it began.
    pub(crate) cpu: Duration,
    pub(crate) resident: Bytes,
}

/// The accounts of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    open: BTreeMap<u64, OpenSecond>,
    workers: Vec<Offset>,
    totals: Totals,
    failures_kept: u64,
    ordinary_kept: u64,
    sample_every: u64,
    seed: u64,
    samples: Vec<Outcome>,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
struct OpenSecond {
    delta: Interval,
    cpu: Vec<Duration>,
    /// Open connections and waiting requests of each worker, as it told them last.
    levels: Vec<(u64, u64)>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Requests that were due.
    pub planned: u64,
    /// All routes and seconds together.
    pub overall: RouteInterval,
    /// The same for each route, by its number.
    pub routes: Vec<RouteInterval>,
    /// How many answers had the status of the recorded one, for each route by its number.
    pub same_status: Vec<Sameness>,
    /// How often each rule was applied, in the order of [`crate::Plan::rules`].
    pub rules: Vec<Applied>,
    /// Connections opened.
    pub connections_opened: u64,
    /// Requests sent a second time, because a kept-alive connection was closed as they left.
    pub retried: u64,
    /// Bytes sent.
    pub bytes_out: Bytes,
    /// Bytes received.
    pub bytes_in: Bytes,
    /// CPU time of all threads that send.
    pub cpu: Duration,
    /// Requests that left on a connection that had carried an answer before.
    pub reused: u64,
    /// How long connections took to open.
    pub connect: Histogram,
    /// How long TLS handshakes took.
    pub tls: Histogram,
    /// The most resident memory.
    pub resident: Bytes,
    /// The longest turn of a sending loop.
    pub loop_delay: Duration,
    /// The most connections that were open at the end of a second.
    pub connections_most: u64,
    /// What was observed of the target, by name.
    pub observed: BTreeMap<String, Seen>,
    /// Observations that were left out, because a second held too many.
    pub unobserved: u64,
}

/// What one observed number was over the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// In how many seconds it was seen.
    pub count: u64,
    /// All of them added up.
    pub sum: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// The newest.
    pub last: f64,
}

impl Seen {
    /// The arithmetic mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    fn with(before: Option<&Self>, value: f64) -> Self {
        let none = Self { count: 0, sum: 0.0, least: value, most: value, last: value };
        let before = before.copied().unwrap_or(none);
        Self {
            count: before.count + 1,
            sum: before.sum + value,
            least: before.least.min(value),
            most: before.most.max(value),
            last: value,
        }
    }
}

/// How many answers did what the recorded ones did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sameness {
    /// Those that did.
    pub same: u64,
    /// All planned requests whose recording has an answer; one without an answer now is not the same.
    pub compared: u64,
}

impl Sameness {
    /// The share of those that did, in `0..=1`; 1 when there was nothing to compare.
    pub fn ratio(&self) -> f64 {
        if self.compared == 0 { 1.0 } else { self.same as f64 / self.compared as f64 }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self { same: self.same + more.same, compared: self.compared + more.compared }
    }
}

impl Totals {
    /// Over all routes.
    pub fn same_status_overall(&self) -> Sameness {
        self.same_status.iter().fold(Sameness::default(), |sum, of| sum.plus(*of))
    }

    fn compare(&mut self, outcome: &Outcome) {
        let Some(recorded) = outcome.recorded_status else { return };
        let route = usize::from(outcome.route);
        if self.same_status.len() <= route {
            self.same_status.resize(route + 1, Sameness::default());
        }
        let of = &mut self.same_status[route];
        of.compared += 1;
        of.same += u64::from(outcome.result == Ok(recorded));
    }

    fn add(&mut self, delta: &RouteInterval) {
        self.overall.merge(delta);
        let route = usize::from(delta.route);
        while self.routes.len() <= route {
            let number = u16::try_from(self.routes.len()).unwrap_or(u16::MAX);
            self.routes.push(RouteInterval { route: number, ..RouteInterval::default() });
        }
        self.routes[route].merge(delta);
    }

    /// Requests that left, answered or not.
    pub fn sent(&self) -> u64 {
        self.overall.service.len()
    }

    /// Answers that count as no error.
    pub fn ok(&self) -> u64 {
        self.overall.total() - self.overall.errors()
    }

    /// How many outcomes of this kind there were.
    pub fn failures(&self, kind: Failure) -> u64 {
        self.overall.failures.iter().filter(|(failure, _)| *failure == kind).map(|&(_, count)| count).sum()
    }
}

impl Ledger {
    /// For `workers` threads and a plan of about `expected` requests.
    pub(crate) fn new(workers: usize, expected: u64, seed: u64) -> Self {
        Self {
            open: BTreeMap::new(),
            workers: vec![Offset::ZERO; workers],
            totals: Totals::default(),
            failures_kept: 0,
            ordinary_kept: 0,
            sample_every: (expected / MAX_SAMPLES).max(1),
            seed,
            samples: Vec::new(),
            usage: None,
        }
    }

    /// Takes what was observed of the target during `second` on the clock.
    pub(crate) fn on_observed(&mut self, second: u64, observed: Vec<Observed>) {
        for one in observed {
            let totals = &mut self.totals.observed;
            if totals.len() < MAX_OBSERVED || totals.contains_key(&one.name) {
                let seen = Seen::with(totals.get(&one.name), one.value);
                totals.insert(one.name.clone(), seen);
            }
            self.observe(second, one);
        }
    }

    /// Takes what was observed once nothing was in flight any more: that is no part of what the run saw.
    pub(crate) fn on_rest(&mut self, second: u64, observed: Vec<Observed>) {
        observed.into_iter().for_each(|one| self.observe(second, one));
    }

    fn observe(&mut self, second: u64, one: Observed) {
        let kept = self.second(second).delta.observe(one);
        self.totals.unobserved += u64::from(!kept);
    }

    /// Takes what the process used; told about once a second.
    pub(crate) fn on_usage(&mut self, usage: Usage) {
        let before = self.usage.replace(usage);
        self.totals.resident = self.totals.resident.max(usage.resident);
        let Some(before) = before.filter(|before| before.at < usage.at) else { return };
        let length = usage.at.since(before.at).as_secs_f64();
        // It was used in the second before, for the most part.
        let load = self.second(before.at.second()).delta.generator.get_or_insert_default();
        load.cpu_cores = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / length;
        load.resident = usage.resident;
    }

    /// Books what a worker did.
    pub(crate) fn on_batch(&mut self, batch: Batch) {
        let workers = self.workers.len();
        self.workers[batch.worker] = if batch.finished { Offset::MAX } else { batch.until };
        for (second, count) in batch.planned {
            self.second(second).delta.planned += count;
            self.totals.planned += count;
        }
        for outcome in batch.outcomes {
            self.on_outcome(&outcome);
        }
        let rules = &mut self.totals.rules;
        rules.resize(rules.len().max(batch.applied.len()), Applied::default());
        for (total, more) in rules.iter_mut().zip(batch.applied) {
            total.bound += more.bound;
            total.missing += more.missing;
        }
        for of_clock in batch.seconds {
            let open = self.second(of_clock.second);
            open.delta.completed += of_clock.completed;
            open.delta.in_flight += of_clock.in_flight;
            open.delta.bytes_out = open.delta.bytes_out.plus(Bytes::new(of_clock.bytes_out));
            open.delta.bytes_in = open.delta.bytes_in.plus(Bytes::new(of_clock.bytes_in));
            open.delta.connections_opened += of_clock.connections_opened;
            open.delta.retried += of_clock.retried;
            open.delta.reused += of_clock.reused;
            open.levels.resize(workers, (0, 0));
            open.levels[batch.worker] = (of_clock.connections, of_clock.waiting);
            let levels = open.levels.iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            let load = open.delta.generator.get_or_insert_with(GeneratorLoad::default);
            load.loop_delay = load.loop_delay.max(of_clock.loop_delay);
            (load.connections, load.waiting) = levels;
            open.cpu.resize(workers, Duration::ZERO);
            open.cpu[batch.worker] += of_clock.cpu.saturating_sub(of_clock.spun);
            let totals = &mut self.totals;
            totals.connections_opened += of_clock.connections_opened;
            totals.retried += of_clock.retried;
            totals.bytes_out = totals.bytes_out.plus(Bytes::new(of_clock.bytes_out));
            totals.bytes_in = totals.bytes_in.plus(Bytes::new(of_clock.bytes_in));
            totals.cpu += of_clock.cpu;
            totals.reused += of_clock.reused;
            totals.loop_delay = totals.loop_delay.max(of_clock.loop_delay);
            totals.connections_most = totals.connections_most.max(levels.0);
        }
        for (second, length) in batch.connects {
            self.second(second).delta.connect.record(length);
            self.totals.connect.record(length);
        }
        for (second, length) in batch.handshakes {
            self.second(second).delta.tls.record(length);
            self.totals.tls.record(length);
        }
    }

    fn on_outcome(&mut self, outcome: &Outcome) {
        self.totals.compare(outcome);
        self.second(outcome.due.second()).delta.route_mut(outcome.route).count(outcome);
        let drawn = mix(self.seed ^ mix(outcome.due.as_nanos() ^ outcome.exchange.0))
            .is_multiple_of(self.sample_every);
        // An answer with another status than the recorded one, even a good one, is kept like a failure.
        let differs = outcome.recorded_status.is_some_and(|recorded| outcome.result != Ok(recorded));
        if (outcome.is_error() || differs) && self.failures_kept < MAX_SAMPLES {
            self.failures_kept += 1;
            self.samples.push(*outcome);
        } else if drawn && self.ordinary_kept < 2 * MAX_SAMPLES {
            self.ordinary_kept += 1;
            self.samples.push(*outcome);
        }
    }

    /// The deltas of all seconds that every worker has left, oldest first.
    pub(crate) fn settled(&mut self) -> Vec<Interval> {
        let left = self.workers.iter().min().map_or(0, |until| until.second());
        let later = self.open.split_off(&left);
        let settled = std::mem::replace(&mut self.open, later);
        let settled: Vec<Interval> = settled
            .into_values()
            .map(|open| {
                let busiest = open.cpu.iter().max().copied().unwrap_or_default();
                Interval { generator_cpu: busiest.as_secs_f64(), ..open.delta }
            })
            .collect();
        settled.iter().flat_map(|interval| &interval.routes).for_each(|route| self.totals.add(route));
        settled
    }

    /// The outcomes to be kept whole since this was last asked.
    pub(crate) fn take_samples(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.samples)
    }

    /// What all settled seconds came to.
    pub(crate) const fn totals(&self) -> &Totals {
        &self.totals
    }

    fn second(&mut self, second: u64) -> &mut OpenSecond {
        self.open.entry(second).or_insert_with(|| OpenSecond {
            delta: Interval { second, ..Interval::default() },
            ..OpenSecond::default()
        })
    }
}

/// Measures what one worker does, second by second on the clock.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    now: Offset,
    in_flight: u64,
    current: ClockSecond,
    done: Vec<ClockSecond>,
}

impl Meter {
    /// The number in flight changes by `change` at `at`.
    pub(crate) fn on_flight(&mut self, at: Offset, change: i64) {
        self.advance(at);
        self.in_flight = self.in_flight.saturating_add_signed(change);
    }

    /// The current second, for counting into, after moving to `at`.
    pub(crate) fn at(&mut self, at: Offset) -> &mut ClockSecond {
        self.advance(at);
        &mut self.current
    }

    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// All that was measured up to `at`, as deltas.
    pub(crate) fn take(&mut self, at: Offset) -> Vec<ClockSecond> {
        self.advance(at);
        let rest = self.begin_second(self.current.second);
        self.done.push(rest);
        std::mem::take(&mut self.done)
    }

    /// What was counted so far; counting begins anew, while levels stay what they are.
    fn begin_second(&mut self, second: u64) -> ClockSecond {
        let ClockSecond { connections, waiting, .. } = self.current;
        let fresh = ClockSecond { second, connections, waiting, ..ClockSecond::default() };
        std::mem::replace(&mut self.current, fresh)
    }

    fn advance(&mut self, at: Offset) {
        while self.now.second() < at.second() {
            let next = Offset::from_secs(self.now.second() + 1);
            self.integrate(next);
            let full = self.begin_second(self.current.second + 1);
            self.done.push(full);
        }
        self.integrate(at);
    }

    fn integrate(&mut self, at: Offset) {
        self.current.in_flight += at.since(self.now).as_secs_f64() * self.in_flight as f64;
        self.now = self.now.max(at);
    }
}

#[cfg(test)]
mod tests {
    use captures::ExchangeId;

    use super::*;

    fn outcome(due_ms: u64, done_ms: u64, result: Result<u16, Failure>) -> Outcome {
        Outcome {
            exchange: ExchangeId(due_ms),
            copy: 0,
            route: 1,
            recorded_status: Some(200),
            due: Offset::from_millis(due_ms),
            ready: Offset::from_millis(due_ms),
            sent: Some(Offset::from_millis(due_ms)),
            first_byte: result.is_ok().then(|| Offset::from_millis(done_ms)),
            connecting: Duration::ZERO,
            done: Offset::from_millis(done_ms),
            result,
            received: Bytes::new(0),
            reused: false,
            retried: false,
        }
    }

    fn batch(until_ms: u64, outcomes: Vec<Outcome>) -> Batch {
        let planned = outcomes.iter().map(|outcome| (outcome.due.second(), 1)).collect();
        Batch { until: Offset::from_millis(until_ms), planned, outcomes, ..Batch::default() }
    }

    #[test]
    fn an_outcome_belongs_to_the_second_in_which_it_was_due_however_late_it_comes() {
        let mut ledger = Ledger::new(1, 10, 1);
        ledger.on_batch(batch(1_500, vec![outcome(200, 300, Ok(200))]));
        let first = ledger.settled();
        assert_eq!((first.len(), first[0].second, first[0].planned), (1, 0, 1));
        ledger.on_batch(batch(9_500, vec![outcome(700, 9_000, Err(Failure::Reset))]));
        let late = ledger.settled();
        assert_eq!((late.len(), late[0].second, late[0].overall().failed()), (1, 0, 1));
        assert_eq!(ledger.totals().planned, 2);
        assert_eq!((ledger.totals().ok(), ledger.totals().sent()), (1, 2));
        assert_eq!(ledger.take_samples().len(), 2);
    }

    #[test]
    fn a_second_is_open_until_the_slowest_worker_has_left_it() {
        let mut ledger = Ledger::new(2, 10, 1);
        ledger.on_batch(batch(5_000, vec![outcome(200, 300, Ok(200))]));
        assert!(ledger.settled().is_empty());
        ledger.on_batch(Batch { worker: 1, finished: true, ..Batch::default() });
        assert_eq!(ledger.settled().len(), 1);
    }

    #[test]
    fn in_flight_is_the_time_integral() {
        let mut meter = Meter::default();
        meter.on_flight(Offset::from_millis(500), 1);
        meter.on_flight(Offset::from_millis(1_500), 1);
        meter.on_flight(Offset::from_millis(2_250), -2);
        meter.at(Offset::from_millis(2_250)).completed += 2;
        let seconds = meter.take(Offset::from_millis(4_000));
        let shown: Vec<(u64, f64, u64)> =
            seconds.iter().map(|second| (second.second, second.in_flight, second.completed)).collect();
        // 0.5 s of one; 0.5 s of one and 0.5 s of two; 0.25 s of two; nothing.
        assert_eq!(shown, [(0, 0.5, 0), (1, 1.5, 0), (2, 0.5, 2), (3, 0.0, 0), (4, 0.0, 0)]);
    }
}
