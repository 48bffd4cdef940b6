//! A run: what a replay measured, second by second.
//!
//! A run holds one [`RunHeader`], then [`Interval`]s, a bounded number of whole [`Outcome`]s for
//! forensics, and a [`RunEnd`] when it was closed. Planned requests, outcomes and their times belong to
//! the second in which the request was *due*; completions, mean in flight and the generator's CPU to the
//! second on the clock. A late outcome is appended as a further interval of the same second: intervals are
//! deltas, and [`Run::read`] adds them up.

mod interval;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::codec;
use crate::error::{Damage, ReadError};
use crate::frame::{BlockKind, BlockReader, BlockWriter, Compression, FileKind, Pending};
use crate::outcome::Outcome;
use crate::units::{Offset, Rate};
pub use interval::{GeneratorLoad, Interval, MAX_OBSERVED, Observed, ObservedKind, RouteInterval};

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

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunEnd {
    /// The moment at which nothing was in flight any more.
    pub ended: Offset,
    /// Whether it was ended from outside before its plan was done.
    pub interrupted: bool,
    /// Why its numbers must not be believed: the generator was the bottleneck. `None` when they may be.
    pub invalid_reason: Option<String>,
    /// What ended it before its plan was done, in words, when that was no signal: a limit that was passed.
    pub stopped_by: Option<String>,
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
        let blocks =
            BlockWriter::create(sink, FileKind::Run, Compression::Zstd, &codec::encode_run_header(header)?)?;
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
        codec::append_run_end(&mut closing.payload, end)?;
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
