//! A run: what a replay measured, second by second.
//!
//! A run holds one [`RunHeader`], then [`Interval`]s, a bounded number of whole [`Outcome`]s for
//! forensics, and a [`RunEnd`] when it was closed. Planned requests, outcomes and their times belong to
//! the second in which the request was *due*; completions, mean in flight and the generator's CPU to the
//! second on the clock. A late outcome is appended as a further interval of the same second: intervals are
//! deltas, and [`Run::read`] adds them up.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::codec;
use crate::error::{Damage, ReadError};
use crate::frame::{BlockKind, BlockReader, BlockWriter, FileKind, Pending};
use crate::histogram::Histogram;
use crate::outcome::{Failure, Outcome};
use crate::units::{Bytes, Offset, Rate};

/// What a run was made with: everything a number in it can be traced to.
#[derive(Clone, Debug, PartialEq)]
pub struct RunHeader {
    /// Name and version of the program.
    pub tool: String,
    /// When it began, in nanoseconds since 1970-01-01 UTC.
    pub started: i128,
    /// Where the requests were sent.
    pub target: String,
    /// The name of the capture file.
    pub capture: String,
    /// SHA-256 of the capture file.
    pub capture_digest: [u8; 32],
    /// The length of the capture.
    pub capture_span: Duration,
    /// The mean request rate of the capture (of what is replayed of it): what `1x` means.
    pub capture_rate: Rate,
    /// The seed of every chance in the run.
    pub seed: u64,
    /// The load over time.
    pub stages: Vec<Stage>,
    /// The routes; outcomes and intervals refer to them by index.
    pub routes: Vec<String>,
    /// The share of the capture's requests that was held back (unsafe methods, filters), in `0..=1`.
    pub held_back_ratio: f64,
    /// The whole resolved configuration, as a JSON object.
    pub configuration: String,
}

/// A stretch of the run with one level of load, or a straight ramp between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Its first moment.
    pub begin: Offset,
    /// The moment after its last.
    pub end: Offset,
    /// The scale at its beginning: a multiple of the capture's own curve.
    pub from: f64,
    /// The scale at its end.
    pub to: f64,
}

impl Stage {
    /// Whether the level is constant. Only such stages give points for a model.
    pub fn is_hold(&self) -> bool {
        self.from == self.to
    }
}

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
    /// CPU time of the busiest thread of the generator in this second, as a share of one core.
    pub generator_cpu: f64,
    /// What became of the requests that were due in this second, by route; ascending, no repeats.
    pub routes: Vec<RouteInterval>,
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

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// The moment at which nothing was in flight any more.
    pub ended: Offset,
    /// Whether it was ended from outside before its plan was done.
    pub interrupted: bool,
    /// Why its numbers must not be believed: the generator was the bottleneck. `None` when they may be.
    pub invalid_reason: Option<String>,
}

/// Writes a run.
pub struct RunWriter<W> {
    blocks: BlockWriter<W>,
    intervals: Pending,
    samples: Pending,
}

impl<W: Write> RunWriter<W> {
    /// Begins a run in `sink`.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn create(sink: W, header: &RunHeader) -> io::Result<Self> {
        let blocks = BlockWriter::create(sink, FileKind::Run, &codec::encode_run_header(header)?)?;
        Ok(Self { blocks, intervals: Pending::new(), samples: Pending::new() })
    }

    /// Adds a delta to one second.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn push(&mut self, interval: &Interval) -> io::Result<()> {
        codec::append_interval(&mut self.intervals.payload, interval)?;
        let begin = Offset::from_secs(interval.second);
        self.intervals.count(begin, begin.plus(Duration::from_secs(1)));
        if self.intervals.is_full() {
            self.blocks.write(BlockKind::Intervals, &mut self.intervals)
        } else {
            Ok(())
        }
    }

    /// Keeps one outcome whole.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn push_sample(&mut self, outcome: &Outcome) -> io::Result<()> {
        codec::append_outcome(&mut self.samples.payload, outcome)?;
        self.samples.count(outcome.due, outcome.done);
        if self.samples.is_full() { self.blocks.write(BlockKind::Samples, &mut self.samples) } else { Ok(()) }
    }

    /// Writes out what is pending, so that a killed process loses nothing older.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocks.write(BlockKind::Intervals, &mut self.intervals)?;
        self.blocks.write(BlockKind::Samples, &mut self.samples)?;
        self.blocks.flush()
    }

    /// Closes the run and gives the sink back.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn finish(mut self, end: &RunEnd) -> io::Result<W> {
        self.flush()?;
        let mut closing = Pending::new();
        closing.payload = codec::encode_run_end(end)?;
        closing.count(end.ended, end.ended);
        self.blocks.write(BlockKind::End, &mut closing)?;
        self.blocks.finish()
    }
}

/// A run, read whole: its seconds added up.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it was made with.
    pub header: RunHeader,
    /// Its seconds, ascending, no repeats.
    pub intervals: Vec<Interval>,
    /// The outcomes that were kept whole.
    pub samples: Vec<Outcome>,
    /// How it ended; `None` when it was not closed.
    pub end: Option<RunEnd>,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// When the source cannot be read or is no run. Damage inside is reported in [`Run::damage`].
    pub fn read(source: impl Read) -> Result<Self, ReadError> {
        let mut blocks = BlockReader::open(source, FileKind::Run)?;
        let mut header = None;
        let mut seconds: BTreeMap<u64, Interval> = BTreeMap::new();
        let mut samples = Vec::new();
        let mut end = None;
        while let Some(block) = blocks.next_block()? {
            let understood = match block.kind {
                BlockKind::Header => codec::decode_run_header(&block.payload).map(|read| header = Some(read)),
                BlockKind::Intervals => codec::each_interval(&block.payload, |interval| {
                    seconds
                        .entry(interval.second)
                        .or_insert_with(|| Interval { second: interval.second, ..Interval::default() })
                        .merge(&interval);
                }),
                BlockKind::Samples => codec::each_outcome(&block.payload, |outcome| samples.push(outcome)),
                BlockKind::End => codec::decode_run_end(&block.payload).map(|read| end = Some(read)),
                BlockKind::Exchanges | BlockKind::Tallies | BlockKind::Events | BlockKind::Index => None,
            };
            if understood.is_none() {
                blocks.note(codec::undecodable(&block));
            }
        }
        let header = header.ok_or(ReadError::NoHeader)?;
        Ok(Self {
            header,
            intervals: seconds.into_values().collect(),
            samples,
            end,
            damage: blocks.damage().to_vec(),
        })
    }

    /// All seconds and routes together.
    pub fn overall(&self) -> RouteInterval {
        let mut sum = RouteInterval::default();
        for interval in &self.intervals {
            for route in &interval.routes {
                sum.merge(route);
            }
        }
        sum
    }
}
