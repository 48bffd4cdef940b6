//! One second of a run: what was planned, what became of it, and how target and generator were meanwhile.
//!
//! Intervals are deltas: every field says how it is added up when a second comes in several parts.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::outcome::{Failure, Outcome};
use crate::units::Bytes;

/// The most observations that one second keeps; whoever observes counts what is above.
pub const MAX_OBSERVED: usize = 256;

/// A delta to one second of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Which second, counted from the start of the run.
    pub second: u64,
    /// Requests that were due in this second.
    pub planned: u64,
    /// Requests that were completed (answered or failed) during this second on the clock.
    pub completed: u64,
    /// The mean number of requests in flight (ready and not done) during this second on the clock.
    pub in_flight: f64,
    /// Bytes sent during this second.
    pub bytes_out: Bytes,
    /// Bytes received during this second.
    pub bytes_in: Bytes,
    /// Connections opened during this second.
    pub connections_opened: u64,
    /// Requests sent a second time, because a kept-alive connection was closed as they left.
    pub retried: u64,
    /// CPU time of the busiest thread of the generator in this second, as a share of one core; waiting awake for a moment
    /// that is near is not part of it.
    pub generator_cpu: f64,
    /// What became of the requests that were due in this second, by route; ascending, no repeats.
    pub routes: Vec<RouteInterval>,
    /// Requests that left, during this second on the clock, on a connection that had carried an answer before.
    pub reused: u64,
    /// How long the connections that were opened during this second took, from the first packet to the last of
    /// TCP's handshake.
    pub connect: Histogram,
    /// How long the TLS handshakes that ended during this second took.
    pub tls: Histogram,
    /// What the generator itself was like; `None` when nobody looked.
    pub generator: Option<GeneratorLoad>,
    /// What was observed of the target, by name; ascending, no repeats, at most [`MAX_OBSERVED`].
    pub observed: Vec<Observed>,
}

/// What the generator was like during one second on the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GeneratorLoad {
    /// CPU time of the whole process, in cores (seconds a second).
    pub cpu_cores: f64,
    /// Resident memory at the end of the second; the largest of several parts.
    pub resident: Bytes,
    /// The longest turn of a sending loop: how late it may have noticed anything. The largest of several parts.
    pub loop_delay: Duration,
    /// Open connections at the end of the second; the largest of several parts.
    pub connections: u64,
    /// Due requests that waited for their turn at the end of the second; the largest of several parts.
    pub waiting: u64,
}

/// One number that was observed of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Where and what: `pid:4711/cpu`, `prometheus:127.0.0.1:9100/node_load1`. What is a share ends in `cpu`,
    /// `memory` or `_ratio` and lies in `0..=1`; other units stand in the name, as Prometheus does it.
    pub name: String,
    /// What the number is.
    pub kind: ObservedKind,
    /// The number.
    pub value: f64,
}

/// What an observed number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedKind {
    /// The level at the moment of looking.
    Gauge,
    /// By how much a counter grew, a second, since it was looked at before.
    Rate,
}

impl ObservedKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gauge, Self::Rate];
}

/// What became of one route's requests of one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteInterval {
    /// The index into [`RunHeader::routes`].
    pub route: u16,
    /// Answers by status; ascending, no repeats.
    pub statuses: Vec<(u16, u64)>,
    /// Failures and skips by kind; ascending, no repeats.
    pub failures: Vec<(Failure, u64)>,
    /// Answers with a 4xx where the recording had a 2xx or 3xx (they are in `statuses` too).
    pub unexpected: u64,
    /// done − ready of every outcome that is not a skip, failures included.
    pub response: Histogram,
    /// done − due of the same.
    pub latency: Histogram,
    /// done − sent of those that were sent.
    pub service: Histogram,
    /// sent − ready − connecting of those that were sent.
    pub lag: Histogram,
    /// First byte in − sent of those whose answer began: the time to the first byte.
    pub first_byte: Histogram,
}

impl RouteInterval {
    /// Counts `outcome`, which must be of this route.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome.result {
            Ok(status) => {
                bump(&mut self.statuses, status, 1);
                self.unexpected += u64::from(outcome.is_unexpected_4xx(status));
            }
            Err(failure) => bump(&mut self.failures, failure, 1),
        }
        if outcome.result.is_err_and(Failure::is_skip) {
            return;
        }
        self.response.record(outcome.response());
        self.latency.record(outcome.latency());
        if let Some(service) = outcome.service() {
            self.service.record(service);
        }
        if let Some(lag) = outcome.lag() {
            self.lag.record(lag);
        }
        if let Some(first_byte) = outcome.time_to_first_byte() {
            self.first_byte.record(first_byte);
        }
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        for &(status, count) in &other.statuses {
            bump(&mut self.statuses, status, count);
        }
        for &(failure, count) in &other.failures {
            bump(&mut self.failures, failure, count);
        }
        self.unexpected = self.unexpected.saturating_add(other.unexpected);
        self.response.merge(&other.response);
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        self.first_byte.merge(&other.first_byte);
    }

    /// Outcomes that are answers, whatever their status.
    pub fn answered(&self) -> u64 {
        sum(&self.statuses, |_| true)
    }

    /// Requests that were never sent, by our own decision.
    pub fn skipped(&self) -> u64 {
        sum(&self.failures, |failure| failure.is_skip())
    }

    /// Requests that were sent and have no answer.
    pub fn failed(&self) -> u64 {
        sum(&self.failures, |failure| !failure.is_skip())
    }

    /// Errors: failures, skips, 5xx, and 4xx where the recording had a 2xx or 3xx.
    pub fn errors(&self) -> u64 {
        [sum(&self.statuses, |status| status >= 500), self.unexpected, self.failed(), self.skipped()]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// All outcomes.
    pub fn total(&self) -> u64 {
        self.answered().saturating_add(self.failed()).saturating_add(self.skipped())
    }
}

/// The counts of the keys that are `wanted`. A file may claim anything: sums saturate.
fn sum<K: Copy>(counts: &[(K, u64)], wanted: impl Fn(K) -> bool) -> u64 {
    counts.iter().filter(|(key, _)| wanted(*key)).fold(0, |sum, &(_, count)| sum.saturating_add(count))
}

fn bump<K: Ord + Copy>(counts: &mut Vec<(K, u64)>, key: K, by: u64) {
    match counts.binary_search_by_key(&key, |&(known, _)| known) {
        Ok(at) => counts[at].1 = counts[at].1.saturating_add(by),
        Err(at) => counts.insert(at, (key, by)),
    }
}

impl Interval {
    /// The entry of `route`, made when it is not there yet.
    pub fn route_mut(&mut self, route: u16) -> &mut RouteInterval {
        let at = match self.routes.binary_search_by_key(&route, |entry| entry.route) {
            Ok(at) => at,
            Err(at) => {
                self.routes.insert(at, RouteInterval { route, ..RouteInterval::default() });
                at
            }
        };
        &mut self.routes[at]
    }

    /// Adds a further delta to the same second.
    pub fn merge(&mut self, other: &Self) {
        self.planned = self.planned.saturating_add(other.planned);
        self.completed = self.completed.saturating_add(other.completed);
        self.in_flight += other.in_flight;
        self.bytes_out = self.bytes_out.plus(other.bytes_out);
        self.bytes_in = self.bytes_in.plus(other.bytes_in);
        self.connections_opened = self.connections_opened.saturating_add(other.connections_opened);
        self.retried = self.retried.saturating_add(other.retried);
        self.generator_cpu = self.generator_cpu.max(other.generator_cpu);
        for route in &other.routes {
            self.route_mut(route.route).merge(route);
        }
        self.reused = self.reused.saturating_add(other.reused);
        self.connect.merge(&other.connect);
        self.tls.merge(&other.tls);
        if let Some(load) = &other.generator {
            self.generator.get_or_insert_default().merge(load);
        }
        for observed in &other.observed {
            self.observe(observed.clone());
        }
    }

    /// Takes an observation; a later one of the same name replaces it. `false` when there are too many already.
    pub fn observe(&mut self, observed: Observed) -> bool {
        match self.observed.binary_search_by(|known| known.name.cmp(&observed.name)) {
            Ok(at) => self.observed[at] = observed,
            Err(_) if self.observed.len() >= MAX_OBSERVED => return false,
            Err(at) => self.observed.insert(at, observed),
        }
        true
    }

    /// All routes of this second together.
    pub fn overall(&self) -> RouteInterval {
        let mut sum = RouteInterval::default();
        for route in &self.routes {
            sum.merge(route);
        }
        sum
    }
}

impl GeneratorLoad {
    fn merge(&mut self, other: &Self) {
        self.cpu_cores += other.cpu_cores;
        self.resident = self.resident.max(other.resident);
        self.loop_delay = self.loop_delay.max(other.loop_delay);
        self.connections = self.connections.max(other.connections);
        self.waiting = self.waiting.max(other.waiting);
    }
}
