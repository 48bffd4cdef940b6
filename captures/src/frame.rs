//! Bytes ↔ checked blocks: the container that captures and runs share.
//!
//! ```text
//! file   = signature, header block, header block again, block…, index block, tail
//! block  = 48-byte head (sync mark, lengths, time range, two CRC-32C), stored bytes (zstd or LZ4)
//! ```
//!
//! Every byte lies under a checksum: the head checks itself, the payload is checked before it is
//! decompressed. A reader that meets damage says where and how much, looks for the next sync mark and goes
//! on; it never returns a byte that was not written. A file without index and tail was not closed (the
//! writer was killed, or is still writing): everything before the torn block is whole.
//!
//! Lengths are checked against [`MAX_BLOCK`] before anything is allocated, whatever the file says.
//! Reading needs no seeking and constant memory, so that a pipe will do.

mod head;
mod squeeze;

use std::io::{self, Read, Write};

use crate::error::{Damage, DamageKind, ReadError};
use crate::units::Offset;
use head::{HEAD_LENGTH, SYNC, parse_head, read_u32, read_u64};
use squeeze::{Squeezer, restore};

pub use squeeze::Compression;

/// The largest block, stored or decompressed: 64 MiB. Larger claims are damage.
pub const MAX_BLOCK: usize = 64 << 20;

/// Records are gathered to about this size before a block is written: large enough to compress well,
/// small enough to lose little.
pub(crate) const TARGET_BLOCK: usize = 256 << 10;

const MAGIC: [u8; 8] = *b"\x89HWTR\r\n\x1a";
const TAIL_MAGIC: [u8; 4] = *b"HWEN";
const SIGNATURE_LENGTH: usize = 16;
const TAIL_LENGTH: usize = 16;
const MAX_INDEX_ENTRIES: usize = 65_536;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Exchanges as they happened.
    Capture,
    /// Intervals as a replay produced them.
    Run,
}

impl FileKind {
    const fn code(self) -> u8 {
        match self {
            Self::Capture => 1,
            Self::Run => 2,
        }
    }

    /// The newest format version of this kind, which is the one that is written. Not the product version.
    ///
    /// Captures: 1. Runs: 2 since their records may be followed by further parts (see `codec::runs`).
    pub const fn version(self) -> u16 {
        match self {
            Self::Capture => 1,
            Self::Run => 2,
        }
    }

    /// The noun, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Run => "run",
        }
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Header,
    Exchanges,
    Tallies,
    Intervals,
    Samples,
    End,
    Index,
    Events,
}

impl BlockKind {
    const fn code(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Exchanges => 2,
            Self::Tallies => 3,
            Self::Intervals => 4,
            Self::Samples => 5,
            Self::End => 6,
            Self::Index => 7,
            Self::Events => 8,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        use BlockKind as Kind;
        let all = [
            Kind::Header,
            Kind::Exchanges,
            Kind::Tallies,
            Kind::Intervals,
            Kind::Samples,
            Kind::End,
            Kind::Index,
            Kind::Events,
        ];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// A block that passed its checks, decompressed.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) kind: BlockKind,
    /// Where its head begins in the file.
    pub(crate) offset: u64,
    /// The length of its head and its stored bytes.
    pub(crate) length: u64,
    pub(crate) records: u32,
    pub(crate) payload: Vec<u8>,
}

/// Writes blocks and keeps the index of what it wrote.
pub(crate) struct BlockWriter<W> {
    sink: W,
    squeezer: Squeezer,
    position: u64,
    sequence: u32,
    index: Vec<IndexEntry>,
    /// Every `stride`-th block is indexed; doubled whenever the index is full.
    stride: u32,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: u64,
    sequence: u32,
    records: u32,
    first: u64,
    last: u64,
}

/// The records of a block that is being gathered, with what its head will say of them.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) payload: Vec<u8>,
    records: u32,
    first: Offset,
    last: Offset,
}

impl Pending {
    pub(crate) const fn new() -> Self {
        Self { payload: Vec::new(), records: 0, first: Offset::MAX, last: Offset::ZERO }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.payload.len() >= TARGET_BLOCK
    }

    /// Whether `more` bytes fit into one block together with what is here.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.payload.len() + more + 4 <= MAX_BLOCK
    }

    /// Counts one record, appended to `payload` by the caller, that spans `first..=last`.
    pub(crate) fn count(&mut self, first: Offset, last: Offset) {
        self.records += 1;
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }

    /// The number of records gathered.
    pub(crate) const fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn clear(&mut self) {
        self.payload.clear();
        self.records = 0;
        self.first = Offset::MAX;
        self.last = Offset::ZERO;
    }
}

impl<W: Write> BlockWriter<W> {
    /// Begins a file of `kind`: writes its signature and, twice, `header`.
    pub(crate) fn create(
        sink: W,
        kind: FileKind,
        compression: Compression,
        header: &[u8],
    ) -> io::Result<Self> {
        let squeezer = Squeezer::new(compression)?;
        let mut writer = Self { sink, squeezer, position: 0, sequence: 0, index: Vec::new(), stride: 1 };
        let mut signature = [0_u8; SIGNATURE_LENGTH];
        signature[..8].copy_from_slice(&MAGIC);
        signature[8..10].copy_from_slice(&kind.version().to_le_bytes());
        signature[10] = kind.code();
        let check = crc32c::crc32c(&signature[..12]);
        signature[12..].copy_from_slice(&check.to_le_bytes());
        writer.sink.write_all(&signature)?;
        writer.position = SIGNATURE_LENGTH as u64;
        // Twice, so that damage to one copy does not cost the file its meaning.
        for _ in 0..2 {
            writer.write_block(BlockKind::Header, 1, Offset::ZERO, Offset::ZERO, header)?;
        }
        Ok(writer)
    }

    /// Writes what is pending as one block and empties it; nothing when there is nothing.
    pub(crate) fn write(&mut self, kind: BlockKind, pending: &mut Pending) -> io::Result<()> {
        if !pending.is_empty() {
            self.write_block(kind, pending.records, pending.first, pending.last, &pending.payload)?;
            pending.clear();
        }
        Ok(())
    }

    fn write_block(
        &mut self,
        kind: BlockKind,
        records: u32,
        first: Offset,
        last: Offset,
        payload: &[u8],
    ) -> io::Result<()> {
        let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "a block above 64 MiB");
        if payload.len() > MAX_BLOCK {
            return Err(too_large());
        }
        let stored = self.squeezer.squeeze(payload)?;
        let mut head = [0_u8; HEAD_LENGTH];
        head[..4].copy_from_slice(&SYNC);
        head[4] = kind.code();
        head[5] = self.squeezer.compression().code();
        head[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        head[12..16].copy_from_slice(&records.to_le_bytes());
        head[16..20].copy_from_slice(&u32::try_from(stored.len()).map_err(|_| too_large())?.to_le_bytes());
        head[20..24].copy_from_slice(&u32::try_from(payload.len()).map_err(|_| too_large())?.to_le_bytes());
        head[24..32].copy_from_slice(&first.as_nanos().to_le_bytes());
        head[32..40].copy_from_slice(&last.as_nanos().to_le_bytes());
        head[40..44].copy_from_slice(&crc32c::crc32c(&stored).to_le_bytes());
        let check = crc32c::crc32c(&head[..44]);
        head[44..].copy_from_slice(&check.to_le_bytes());

        // One write for both, so that a reader who follows the file seldom meets half a block. Nothing is
        // counted before it succeeded: a sink that takes a failed write back can be written to again.
        let mut bytes = Vec::with_capacity(HEAD_LENGTH + stored.len());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&stored);
        self.sink.write_all(&bytes)?;
        if self.sequence.is_multiple_of(self.stride) {
            self.index.push(IndexEntry {
                offset: self.position,
                sequence: self.sequence,
                records,
                first: first.as_nanos(),
                last: last.as_nanos(),
            });
            if self.index.len() >= MAX_INDEX_ENTRIES {
                self.stride *= 2;
                let stride = self.stride;
                self.index.retain(|entry| entry.sequence.is_multiple_of(stride));
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.position += (HEAD_LENGTH + stored.len()) as u64;
        Ok(())
    }

    /// Hands what was written to the sink's own flush.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// The number of bytes written so far.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Writes index and tail and gives the sink back: the file is closed.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let mut payload = Vec::with_capacity(self.index.len() * 32);
        for entry in &self.index {
            payload.extend_from_slice(&entry.offset.to_le_bytes());
            payload.extend_from_slice(&entry.sequence.to_le_bytes());
            payload.extend_from_slice(&entry.records.to_le_bytes());
            payload.extend_from_slice(&entry.first.to_le_bytes());
            payload.extend_from_slice(&entry.last.to_le_bytes());
        }
        let index_offset = self.position;
        let records = u32::try_from(self.index.len()).unwrap_or(u32::MAX);
        self.write_block(BlockKind::Index, records, Offset::ZERO, Offset::ZERO, &payload)?;
        let mut tail = [0_u8; TAIL_LENGTH];
        tail[..8].copy_from_slice(&index_offset.to_le_bytes());
        tail[8..12].copy_from_slice(&TAIL_MAGIC);
        let check = crc32c::crc32c(&tail[..12]);
        tail[12..].copy_from_slice(&check.to_le_bytes());
        self.sink.write_all(&tail)?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// Reads blocks one after another and steps over damage.
pub(crate) struct BlockReader<R> {
    source: R,
    /// Bytes read and not yet consumed; `start..` are live.
    buffer: Vec<u8>,
    start: usize,
    /// The file offset of `buffer[start]`.
    offset: u64,
    exhausted: bool,
    closed: bool,
    unclosed_noted: bool,
    damage: Vec<Damage>,
    damage_count: u64,
}

/// At most this many places of damage are kept; more are counted.
const MAX_DAMAGE: usize = 1_000;

impl<R: Read> BlockReader<R> {
    /// Reads the signature.
    ///
    /// # Errors
    /// When the source cannot be read, is not a Highwater file, is of the other kind or of a newer format.
    pub(crate) fn open(source: R, wanted: FileKind) -> Result<Self, ReadError> {
        let mut reader = Self {
            source,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            exhausted: false,
            closed: false,
            unclosed_noted: false,
            damage: Vec::new(),
            damage_count: 0,
        };
        let available = reader.ensure(SIGNATURE_LENGTH + HEAD_LENGTH)?;
        if available == 0 {
            return Err(ReadError::Empty);
        }
        let live = reader.live();
        let looks_ours = live.starts_with(&MAGIC);
        if live.len() < SIGNATURE_LENGTH {
            return Err(if MAGIC.starts_with(&live[..live.len().min(8)]) || looks_ours {
                ReadError::NoHeader
            } else {
                ReadError::Foreign
            });
        }
        let signature = &live[..SIGNATURE_LENGTH];
        let sound = read_u32(&signature[12..]) == crc32c::crc32c(&signature[..12]);
        if sound && looks_ours {
            let version = u16::from_le_bytes([signature[8], signature[9]]);
            if signature[10] != wanted.code() {
                return Err(ReadError::WrongKind { wanted });
            }
            if version > wanted.version() {
                return Err(ReadError::Newer { version, known: wanted.version() });
            }
        } else if parse_head(&live[SIGNATURE_LENGTH..]).is_some() {
            // A block follows where one should: the signature was ours and took the damage.
            reader.note(Damage {
                offset: 0,
                length: SIGNATURE_LENGTH as u64,
                records: None,
                kind: DamageKind::Checksum,
            });
        } else {
            return Err(ReadError::Foreign);
        }
        reader.consume(SIGNATURE_LENGTH);
        Ok(reader)
    }

    /// The next whole block; `None` at the end.
    ///
    /// # Errors
    /// Only when the source itself cannot be read; damage is noted and stepped over.
    pub(crate) fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        loop {
            let available = self.ensure(HEAD_LENGTH)?;
            if available == 0 {
                if !self.closed && !self.unclosed_noted {
                    self.unclosed_noted = true;
                    self.note(Damage {
                        offset: self.offset,
                        length: 0,
                        records: None,
                        kind: DamageKind::Unclosed,
                    });
                }
                return Ok(None);
            }
            if self.closed {
                // Index and tail are the end: what follows was never written by us.
                self.note_rest(DamageKind::Trailing)?;
                return Ok(None);
            }
            let Some(head) = parse_head(self.live()) else {
                if available < HEAD_LENGTH {
                    self.note_rest(DamageKind::Torn)?;
                    return Ok(None);
                }
                self.skip_to_next_head()?;
                continue;
            };
            let stored_length = head.stored_length as usize;
            let available = self.ensure(HEAD_LENGTH + stored_length)?;
            if available < HEAD_LENGTH + stored_length {
                let lost = Damage {
                    offset: self.offset,
                    length: available as u64,
                    records: head.kind_is_data().then_some(head.records),
                    kind: DamageKind::Torn,
                };
                self.note(lost);
                self.unclosed_noted = true;
                self.consume(available);
                return Ok(None);
            }
            let stored = &self.live()[HEAD_LENGTH..HEAD_LENGTH + stored_length];
            let payload = (crc32c::crc32c(stored) == head.payload_check)
                .then(|| restore(head.compression, stored, head.raw_length as usize))
                .flatten();
            let offset = self.offset;
            self.consume(HEAD_LENGTH + stored_length);
            let (Some(kind), Some(payload)) = (BlockKind::from_code(head.kind), payload) else {
                self.note(Damage {
                    offset,
                    length: (HEAD_LENGTH + stored_length) as u64,
                    records: head.kind_is_data().then_some(head.records),
                    kind: DamageKind::Checksum,
                });
                continue;
            };
            if kind == BlockKind::Index {
                self.read_tail(offset)?;
                continue;
            }
            let length = (HEAD_LENGTH + stored_length) as u64;
            return Ok(Some(Block { kind, offset, length, records: head.records, payload }));
        }
    }

    /// Whether index and tail were there: the writer closed the file.
    pub(crate) const fn closed(&self) -> bool {
        self.closed
    }

    /// The damage met so far (the first thousand places).
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The number of places of damage met so far.
    pub(crate) const fn damage_count(&self) -> u64 {
        self.damage_count
    }

    /// Notes damage found by whoever decodes the blocks.
    pub(crate) fn note(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damage.len() < MAX_DAMAGE {
            self.damage.push(damage);
        }
    }

    fn read_tail(&mut self, index_offset: u64) -> Result<(), ReadError> {
        let available = self.ensure(TAIL_LENGTH)?;
        let live = self.live();
        let sound = available >= TAIL_LENGTH
            && read_u64(live) == index_offset
            && live[8..12] == TAIL_MAGIC
            && read_u32(&live[12..]) == crc32c::crc32c(&live[..12]);
        if sound {
            self.consume(TAIL_LENGTH);
        } else if available < TAIL_LENGTH {
            return self.note_rest(DamageKind::Torn);
        } else {
            self.note(Damage {
                offset: self.offset,
                length: TAIL_LENGTH as u64,
                records: None,
                kind: DamageKind::Checksum,
            });
            self.consume(TAIL_LENGTH);
        }
        self.closed = true;
        Ok(())
    }

    /// Steps over bytes that are no block until a sound head begins or the file ends.
    fn skip_to_next_head(&mut self) -> Result<(), ReadError> {
        let from = self.offset;
        self.consume(1);
        loop {
            let available = self.ensure(HEAD_LENGTH)?;
            if available < HEAD_LENGTH {
                self.consume(available);
                break;
            }
            if parse_head(self.live()).is_some() {
                break;
            }
            // The next place at which a mark could begin, within what is buffered.
            let live = self.live();
            let step = live[1..].iter().position(|&byte| byte == SYNC[0]).map_or(live.len(), |at| at + 1);
            self.consume(step);
        }
        self.note(Damage {
            offset: from,
            length: self.offset - from,
            records: None,
            kind: DamageKind::Checksum,
        });
        Ok(())
    }

    fn note_rest(&mut self, kind: DamageKind) -> Result<(), ReadError> {
        let from = self.offset;
        loop {
            let available = self.ensure(1)?;
            if available == 0 {
                break;
            }
            self.consume(available);
        }
        if self.offset > from {
            // Where the file is torn it was not closed: one word for it is enough.
            self.unclosed_noted |= kind == DamageKind::Torn;
            self.note(Damage { offset: from, length: self.offset - from, records: None, kind });
        }
        Ok(())
    }

    fn live(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads until `wanted` bytes are buffered or the source ends; returns how many there are.
    fn ensure(&mut self, wanted: usize) -> Result<usize, ReadError> {
        if self.live().len() < wanted && !self.exhausted {
            self.buffer.drain(..self.start);
            self.start = 0;
            while self.buffer.len() < wanted && !self.exhausted {
                let filled = self.buffer.len();
                let step = (wanted - filled).clamp(TARGET_BLOCK, 8 * TARGET_BLOCK);
                self.buffer.resize(filled + step, 0);
                let read = loop {
                    match self.source.read(&mut self.buffer[filled..]) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => break other,
                    }
                };
                let read = read.inspect_err(|_| self.buffer.truncate(filled)).map_err(ReadError::Io)?;
                self.buffer.truncate(filled + read);
                self.exhausted = read == 0;
            }
        }
        Ok(self.live().len())
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }
}
