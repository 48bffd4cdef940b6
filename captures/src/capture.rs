//! A capture: exchanges as they happened, streamed in and out.
//!
//! A capture holds one [`CaptureHeader`], then exchanges in the order in which they *ended*, and at
//! least once a second a [`Tally`] of what the recorder saw and kept. Ids are in order of arrival.

use std::io::{self, Read, Write};

use crate::codec;
use crate::error::{Damage, ReadError};
use crate::exchange::Exchange;
use crate::frame::{Block, BlockKind, BlockReader, BlockWriter, Compression, FileKind, Pending};
use crate::units::Offset;

/// What a capture is: who recorded what, where, and by which policy.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureHeader {
    /// Name and version of the program.
    pub tool: String,
    /// The moment of offset zero, in nanoseconds since 1970-01-01 UTC.
    pub started: i128,
    /// Where the recorder listened, as socket addresses.
    pub listen: Vec<String>,
    /// Where it forwarded to: as typed, then every address it resolved to. Replays refuse these.
    pub upstream: Vec<String>,
    /// The servers behind it, in the order in which [`Passage::server`](crate::Passage::server) counts them.
    pub servers: Vec<String>,
    /// Tells the segments of one recording, also across an upgrade, from those of others.
    pub recording: [u8; 16],
    /// The number of this segment within the recording, from 0.
    pub segment: u32,
    /// How sessions were recognised, the surest key first.
    pub session_keys: Vec<String>,
    /// What was left out on purpose, as the recorder was told, e.g. `--exclude /health*`.
    pub filters: Vec<String>,
    /// What was masked.
    pub masking: Masking,
    /// The share of sessions that was recorded, in `0..=1`.
    pub sampling_ratio: f64,
    /// The most bytes of a body that were stored.
    pub body_limit: u64,
}

/// How secrets were treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masking {
    /// Nothing is masked: the file holds secrets.
    None,
    /// Secrets are keyed pseudonyms.
    Pseudonyms {
        /// Tells captures that share a key from those that do not; not the key.
        key_id: [u8; 8],
        /// By what secrets were recognised, a rule a line, e.g. `header *token*`.
        rules: Vec<String>,
    },
}

/// What the recorder had seen and kept up to a moment. Cumulative, so that a lost one costs nothing:
/// `seen = recorded + filtered + sampled_out + all of dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The moment.
    pub at: Offset,
    /// Exchanges that ended at the proxy.
    pub seen: u64,
    /// Exchanges written to the file.
    pub recorded: u64,
    /// Exchanges left out by a filter.
    pub filtered: u64,
    /// Exchanges left out by sampling.
    pub sampled_out: u64,
    /// Exchanges lost, by reason; ascending, no repeats.
    pub dropped: Vec<(DropReason, u64)>,
}

impl Tally {
    /// The accounts of both together, at the later moment.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, self.at.max(other.at), u64::saturating_add)
    }

    /// What was added since `earlier`, an older tally of the same recorder.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, self.at, u64::saturating_sub)
    }

    /// The exchanges lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.dropped.iter().map(|&(_, count)| count).sum()
    }

    /// The exchanges lost for `reason`.
    pub fn lost_for(&self, reason: DropReason) -> u64 {
        self.dropped.iter().filter(|(known, _)| *known == reason).map(|&(_, count)| count).sum()
    }

    fn with(&self, other: &Self, at: Offset, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            at,
            seen: combine(self.seen, other.seen),
            recorded: combine(self.recorded, other.recorded),
            filtered: combine(self.filtered, other.filtered),
            sampled_out: combine(self.sampled_out, other.sampled_out),
            dropped: DropReason::ALL
                .into_iter()
                .map(|reason| (reason, combine(self.lost_for(reason), other.lost_for(reason))))
                .filter(|&(_, count)| count > 0)
                .collect(),
        }
    }
}

/// Why an exchange was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The queue to the writer was full.
    QueueFull,
    /// The file could not be written.
    WriteFailed,
    /// The record was above the limit of a block.
    TooLarge,
    /// The file was damaged after it had been recorded.
    Damaged,
    /// Recording was paused by the operator.
    Paused,
    /// The quota of the files was used up, and recording was to stop then.
    Quota,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::QueueFull, Self::WriteFailed, Self::TooLarge, Self::Damaged, Self::Paused, Self::Quota];

    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::WriteFailed => "write_failed",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::Paused => "paused",
            Self::Quota => "quota",
        }
    }
}

/// Something that happened to the recorder, and that explains what a capture holds or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The moment.
    pub at: Offset,
    /// The same by the wall clock, in nanoseconds since 1970-01-01 UTC.
    pub wall: i128,
    /// What happened.
    pub kind: EventKind,
    /// How much; each kind says of what.
    pub amount: i64,
}

/// What happened to the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The operator paused recording.
    Paused,
    /// Recording goes on; the amount is the number of exchanges that passed unrecorded.
    Resumed,
    /// The file could not be written any longer.
    WriteFailed,
    /// It can be again; the amount is the number of exchanges lost to failed writes since the start.
    WriteResumed,
    /// The wall clock was set; the amount is by how many nanoseconds. Offsets are not affected.
    ClockSet,
    /// The process did not run; the amount is for how many nanoseconds.
    Suspended,
    /// This segment goes on where another process of the same recording left off.
    TakenOver,
    /// An older segment was removed to keep the quota; the amount is its size in bytes.
    SegmentRemoved,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Paused,
        Self::Resumed,
        Self::WriteFailed,
        Self::WriteResumed,
        Self::ClockSet,
        Self::Suspended,
        Self::TakenOver,
        Self::SegmentRemoved,
    ];

    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::WriteFailed => "write_failed",
            Self::WriteResumed => "write_resumed",
            Self::ClockSet => "clock_set",
            Self::Suspended => "suspended",
            Self::TakenOver => "taken_over",
            Self::SegmentRemoved => "segment_removed",
        }
    }
}

/// Writes a capture.
pub struct CaptureWriter<W> {
    blocks: BlockWriter<W>,
    pending: Pending,
    record: Vec<u8>,
    events: Pending,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture in `sink`.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn create(sink: W, header: &CaptureHeader) -> io::Result<Self> {
        Self::compressed(sink, header, Compression::default())
    }

    /// The same, with blocks that are compressed in this way.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn compressed(sink: W, header: &CaptureHeader, compression: Compression) -> io::Result<Self> {
        let header = codec::encode_capture_header(header)?;
        let blocks = BlockWriter::create(sink, FileKind::Capture, compression, &header)?;
        Ok(Self { blocks, pending: Pending::new(), record: Vec::new(), events: Pending::new() })
    }

    /// Adds an event; it reaches the sink at the next [`Self::flush`].
    ///
    /// # Errors
    /// Never in practice: an event can always be encoded.
    pub fn note(&mut self, event: &Event) -> io::Result<()> {
        codec::append_event(&mut self.events.payload, event)?;
        self.events.count(event.at, event.at);
        Ok(())
    }

    /// Adds an exchange; it reaches the sink with its block, at the latest at the next [`Self::flush`].
    ///
    /// # Errors
    /// `InvalidInput` when the exchange is above the limit of a block (nothing is written, the writer stays
    /// usable); otherwise when the sink cannot be written. Then [`Self::pending`] tells by whether it grew
    /// whether the exchange was taken in all the same: what is pending stays, and the next flush tries again.
    pub fn push(&mut self, exchange: &Exchange) -> io::Result<()> {
        self.record.clear();
        codec::append_exchange(&mut self.record, exchange)?;
        if !self.pending.has_room_for(self.record.len()) {
            self.blocks.write(BlockKind::Exchanges, &mut self.pending)?;
            if !self.pending.has_room_for(self.record.len()) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "an exchange above 64 MiB"));
            }
        }
        self.pending.payload.extend_from_slice(&self.record);
        self.pending.count(exchange.arrived, exchange.ended);
        if self.pending.is_full() {
            self.blocks.write(BlockKind::Exchanges, &mut self.pending)
        } else {
            Ok(())
        }
    }

    /// Writes out what is pending, events among it, then `tally`.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn flush(&mut self, tally: &Tally) -> io::Result<()> {
        self.blocks.write(BlockKind::Exchanges, &mut self.pending)?;
        self.tell(tally)
    }

    /// Writes out `tally`, and events before it, while what is pending stays so: for a sink that has no room
    /// for a block, but may have some for a few bytes.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn tell(&mut self, tally: &Tally) -> io::Result<()> {
        self.blocks.write(BlockKind::Events, &mut self.events)?;
        let mut tallies = Pending::new();
        tallies.payload = codec::encode_tally(tally)?;
        tallies.count(tally.at, tally.at);
        self.blocks.write(BlockKind::Tallies, &mut tallies)?;
        self.blocks.flush()
    }

    /// Takes over what is pending at `other`, so that it reaches this file instead of that.
    pub fn inherit(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.pending, &mut other.pending);
        std::mem::swap(&mut self.events, &mut other.events);
    }

    /// Whether events wait for the next [`Self::flush`].
    pub const fn has_news(&self) -> bool {
        !self.events.is_empty()
    }

    /// The number of exchanges that are pending: pushed, but not yet handed to the sink.
    pub const fn pending(&self) -> u32 {
        self.pending.records()
    }

    /// Forgets what is pending, after a sink failed. When the sink has taken the failed write back, the
    /// capture goes on whole, without the forgotten exchanges.
    pub fn discard(&mut self) {
        self.pending.clear();
    }

    /// The number of bytes handed to the sink so far.
    pub const fn position(&self) -> u64 {
        self.blocks.position()
    }

    /// Closes the capture with a last tally and gives the sink back.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn finish(mut self, tally: &Tally) -> io::Result<W> {
        self.flush(tally)?;
        self.blocks.finish()
    }
}

/// Reads a capture: an iterator over its exchanges, in the order of the file.
///
/// Damage is stepped over and reported by [`Self::damage`]; an `Err` item means that the source itself
/// could not be read any further.
pub struct CaptureReader<R> {
    blocks: BlockReader<R>,
    header: CaptureHeader,
    /// The block whose exchanges are being given out, how much of it has been, and how many are left.
    block: Option<Block>,
    taken: usize,
    left: u32,
    tallies: Vec<Tally>,
    events: Vec<Event>,
    failed: bool,
}

/// At most this many tallies are kept while reading: about half a day's worth. The newest is always kept.
const MAX_TALLIES: usize = 86_400;
/// At most this many events are kept while reading, the oldest.
const MAX_EVENTS: usize = 10_000;

impl<R: Read> CaptureReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the source cannot be read or is no capture.
    pub fn open(source: R) -> Result<Self, ReadError> {
        let mut blocks = BlockReader::open(source, FileKind::Capture)?;
        // The header stands there twice; either copy will do.
        for _ in 0..2 {
            let Some(block) = blocks.next_block()? else { break };
            if block.kind == BlockKind::Header
                && let Some(header) = codec::decode_capture_header(&block.payload)
            {
                return Ok(Self {
                    blocks,
                    header,
                    block: None,
                    taken: 0,
                    left: 0,
                    tallies: Vec::new(),
                    events: Vec::new(),
                    failed: false,
                });
            }
            blocks.note(codec::undecodable(&block));
        }
        Err(ReadError::NoHeader)
    }

    /// What the capture is.
    pub const fn header(&self) -> &CaptureHeader {
        &self.header
    }

    /// The recorder's accounts read so far, oldest first.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// What happened to the recorder, read so far, oldest first (the first ten thousand).
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What could not be read so far (the first thousand places).
    pub fn damage(&self) -> &[Damage] {
        self.blocks.damage()
    }

    /// The number of places that could not be read so far.
    pub const fn damage_count(&self) -> u64 {
        self.blocks.damage_count()
    }

    /// Whether the recorder closed the file; known once the last exchange was read.
    pub const fn closed(&self) -> bool {
        self.blocks.closed()
    }

    fn take_block(&mut self, block: Block) {
        match block.kind {
            BlockKind::Exchanges => {
                (self.taken, self.left) = (0, block.records);
                self.block = Some(block);
            }
            BlockKind::Tallies => match codec::decode_tally(&block.payload) {
                Some(tally) => {
                    if self.tallies.len() >= MAX_TALLIES {
                        self.tallies.pop();
                    }
                    self.tallies.push(tally);
                }
                None => self.blocks.note(codec::undecodable(&block)),
            },
            BlockKind::Events => {
                let (events, room) = (&mut self.events, MAX_EVENTS);
                let read = codec::each_event(&block.payload, |event| {
                    if events.len() < room {
                        events.push(event);
                    }
                });
                if read.is_none() {
                    self.blocks.note(codec::undecodable(&block));
                }
            }
            // The second copy of the header.
            BlockKind::Header => {}
            BlockKind::Intervals | BlockKind::Samples | BlockKind::End | BlockKind::Index => {
                self.blocks.note(codec::undecodable(&block));
            }
        }
    }

    /// The next exchange of the block in hand, decoded as it is asked for: memory is that of one exchange.
    fn next_of_block(&mut self) -> Option<Exchange> {
        let block = self.block.as_ref()?;
        let rest = &block.payload[self.taken..];
        if self.left > 0
            && let Some((exchange, length)) = codec::first_exchange(rest)
        {
            self.taken += length;
            self.left -= 1;
            return Some(exchange);
        }
        if self.left > 0 || !rest.is_empty() {
            self.blocks.note(Damage { records: Some(self.left), ..codec::undecodable(block) });
        }
        self.block = None;
        None
    }
}

impl<R: Read> Iterator for CaptureReader<R> {
    type Item = Result<Exchange, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(exchange) = self.next_of_block() {
                return Some(Ok(exchange));
            }
            if self.failed {
                return None;
            }
            match self.blocks.next_block() {
                Ok(Some(block)) => self.take_block(block),
                Ok(None) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
