//! Brings exchanges into the order in which they ended, however many there are.
//!
//! What does not fit into memory is written, sorted, into captures beside --out, and merged at the end. Only
//! masked exchanges come here: what reaches the disk on the way is what may stay there.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use captures::{CaptureHeader, CaptureReader, Exchange, ExchangeId, Masking, Offset, Tally};

use super::sink::{Sink, size};
use crate::commands::files;
use crate::complain::Complaint;

/// So many bytes of exchanges are sorted in memory.
const IN_MEMORY: usize = 64 << 20;

/// Exchanges that are to be in order.
pub(super) struct Sorter<'a> {
    out: &'a Path,
    sink: Sink<'a>,
    waiting: Vec<Exchange>,
    held: usize,
    runs: Vec<Run>,
    earliest: Offset,
}

/// A sorted part on disk, removed when it is dropped.
struct Run(PathBuf);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl<'a> Sorter<'a> {
    /// For the capture at `out`, which must not exist yet.
    pub(super) fn new(out: &'a Path) -> Result<Self, Complaint> {
        let sink = Sink::new(out)?;
        Ok(Self { out, sink, waiting: Vec::new(), held: 0, runs: Vec::new(), earliest: Offset::MAX })
    }

    /// One more, its offsets from 1970-01-01 UTC.
    pub(super) fn push(&mut self, mut exchange: Exchange) -> Result<(), Complaint> {
        exchange.id = ExchangeId(self.waiting.len() as u64);
        self.earliest = self.earliest.min(exchange.arrived);
        self.held += size(&exchange);
        self.waiting.push(exchange);
        if self.held >= IN_MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), Complaint> {
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".sorting-{}", self.runs.len()));
        let path = self.out.with_file_name(name);
        let mut writer = files::create_capture(&path, &provisional())?;
        let run = Run(path);
        self.sort();
        let failed = |error: std::io::Error| Complaint::cannot_write(&run.0, &error);
        for exchange in std::mem::take(&mut self.waiting) {
            // One that is too large for a block is too large for the capture, too: it is counted there.
            match writer.push(&exchange) {
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => self.sink.too_large += 1,
                done => done.map_err(failed)?,
            }
        }
        self.held = 0;
        let mut sink: BufWriter<File> = writer.finish(&Tally::default()).map_err(failed)?;
        std::io::Write::flush(&mut sink).map_err(failed)?;
        self.runs.push(run);
        Ok(())
    }

    fn sort(&mut self) {
        self.waiting.sort_by_key(|exchange| (exchange.ended, exchange.arrived, exchange.id));
    }

    /// Writes the capture, whose `header` is known now that its start is.
    pub(super) fn finish(
        mut self,
        header: impl FnOnce(i128) -> CaptureHeader,
        tally: Tally,
    ) -> Result<Tally, Complaint> {
        let started = if self.earliest == Offset::MAX { Offset::ZERO } else { self.earliest };
        let header = header(i128::from(started.as_nanos()));
        if self.runs.is_empty() {
            // Numbers in the order of arrival, then the order of the file.
            self.waiting.sort_by_key(|exchange| (exchange.arrived, exchange.id));
            for (number, exchange) in (0..).zip(&mut self.waiting) {
                exchange.id = ExchangeId(number);
            }
            self.sort();
            for exchange in std::mem::take(&mut self.waiting) {
                self.sink.push(since(started, exchange), || header.clone())?;
            }
            return self.sink.finish(&header, tally);
        }
        self.spill()?;
        let mut sources = Vec::new();
        for run in &self.runs {
            let file = File::open(&run.0).map_err(|error| Complaint::cannot_open(&run.0, &error))?;
            let reader = CaptureReader::open(BufReader::new(file));
            let mut reader = reader.map_err(|error| Complaint::unreadable(&run.0, &error))?;
            sources.push((next(&mut reader, &run.0)?, reader, &run.0));
        }
        // Here numbers follow the order in which exchanges ended: arrival would take a second pass.
        let mut number = 0;
        while let Some(at) = earliest(&sources) {
            let (waiting, reader, path) = &mut sources[at];
            let following = next(reader, path)?;
            if let Some(mut exchange) = std::mem::replace(waiting, following) {
                exchange.id = ExchangeId(number);
                number += 1;
                self.sink.push(since(started, exchange), || header.clone())?;
            }
        }
        self.sink.finish(&header, tally)
    }
}

type Source<'r> = (Option<Exchange>, CaptureReader<BufReader<File>>, &'r PathBuf);

fn next(reader: &mut CaptureReader<BufReader<File>>, path: &Path) -> Result<Option<Exchange>, Complaint> {
    reader.next().transpose().map_err(|error| Complaint::unreadable(path, &error))
}

fn earliest(sources: &[Source<'_>]) -> Option<usize> {
    let waiting = sources.iter().enumerate();
    waiting.filter_map(|(at, (exchange, ..))| Some((exchange.as_ref()?.ended, at))).min().map(|(_, at)| at)
}

/// `exchange` with offsets that count from `started`.
fn since(started: Offset, mut exchange: Exchange) -> Exchange {
    let shift = |at: Offset| Offset::ZERO.plus(at.since(started));
    exchange.arrived = shift(exchange.arrived);
    exchange.request_done = exchange.request_done.map(shift);
    exchange.response_began = exchange.response_began.map(shift);
    exchange.ended = shift(exchange.ended);
    exchange
}

/// Nobody reads the header of a part.
fn provisional() -> CaptureHeader {
    CaptureHeader {
        tool: String::new(),
        started: 0,
        listen: Vec::new(),
        upstream: Vec::new(),
        servers: Vec::new(),
        recording: [0; 16],
        segment: 0,
        session_keys: Vec::new(),
        filters: Vec::new(),
        masking: Masking::None,
        sampling_ratio: 1.0,
        body_limit: 0,
    }
}
