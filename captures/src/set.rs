//! Many captures as one: the segments of a recording, the recordings of several machines.
//!
//! ```text
//! recording A:  segment 0 ─▶ 1 ─▶ 2 ─┐
//! recording B:  segment 0 ─▶ 1 ──────┴─▶ one stream in the order in which exchanges ended
//! ```
//!
//! Of each recording one segment is open at a time, so that memory does not grow with the number of files.
//! Offsets count from the earliest recording's start. The numbers of exchanges, connections and sessions are
//! made different between recordings; within one they are as recorded.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::{CaptureHeader, CaptureReader, DropReason, Event, Masking, Tally};
use crate::error::{Damage, ReadError};
use crate::exchange::{ConnectionId, Exchange, ExchangeId, SessionId};
use crate::units::Offset;

/// The most recordings that one stream can be made of; their number stands in the highest bits of ids.
const MOST_RECORDINGS: usize = 256;
const RECORDING_SHIFT: u32 = 56;
/// What a capture in a folder is called at the end.
const SUFFIX: &str = "capture";

/// Why captures cannot be read as one.
#[derive(Debug)]
pub enum SetError {
    /// One of them cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// A folder holds none.
    NoCapture {
        /// Which.
        path: PathBuf,
    },
    /// Two files hold the same segment.
    Twice {
        /// One.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Two recordings hold different shares of their traffic.
    Sampling {
        /// The file of the second.
        path: PathBuf,
        /// Its share, and that of the first.
        ratios: (f64, f64),
    },
    /// More recordings than can be told apart.
    TooMany,
}

impl SetError {
    /// The file or folder it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::NoCapture { path }
            | Self::Twice { path, .. }
            | Self::Sampling { path, .. } => Some(path),
            Self::TooMany => None,
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Unreadable { error, .. } => error.mend(),
            Self::NoCapture { .. } => {
                "give a folder with files that end in .capture, or the files themselves"
            }
            Self::Twice { .. } => "name each capture once",
            Self::Sampling { .. } => "read recordings of different samples one by one",
            Self::TooMany => "read fewer recordings at once",
        }
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { error, .. } => write!(f, "{error}"),
            Self::NoCapture { .. } => write!(f, "holds no capture"),
            Self::Twice { other, .. } => write!(f, "holds the same as {}", other.display()),
            Self::Sampling { ratios: (this, first), .. } => {
                write!(f, "holds {} % of the sessions, the others {} %", this * 100.0, first * 100.0)
            }
            Self::TooMany => write!(f, "more than {MOST_RECORDINGS} recordings"),
        }
    }
}

impl std::error::Error for SetError {}

/// Reads captures as one stream: an iterator over their exchanges, in the order in which they ended.
pub struct CaptureSet {
    header: CaptureHeader,
    files: Vec<PathBuf>,
    recordings: Vec<Recording>,
    mixed_keys: bool,
    accounts: Tally,
    events: Vec<Event>,
    damage: Vec<(PathBuf, Damage)>,
    damage_count: u64,
    closed: bool,
    failed: bool,
}

/// The segments of one recording.
struct Recording {
    /// The segments that were not opened yet.
    ahead: VecDeque<PathBuf>,
    open: Option<Segment>,
    next: Option<Exchange>,
    /// What its offsets lack to count from the set's start.
    shift: Duration,
    /// What its numbers lack to be its own.
    numbers: u64,
    /// Where its servers begin in the set's list.
    servers: u32,
}

struct Segment {
    path: PathBuf,
    reader: CaptureReader<BufReader<File>>,
    read: u64,
}

impl CaptureSet {
    /// Opens the captures at `paths`; of a folder, all files in it that end in `.capture`.
    ///
    /// # Errors
    /// When one of them is no capture, or they do not belong into one stream.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SetError> {
        let mut heads: Vec<(CaptureHeader, PathBuf)> = Vec::new();
        for path in expanded(paths)? {
            heads.push((open(&path)?.header().clone(), path));
        }
        // By recording in the order in which they began, then by segment.
        heads.sort_by(|(a, _), (b, _)| {
            (a.started, a.recording, a.segment).cmp(&(b.started, b.recording, b.segment))
        });
        if let Some(pair) = heads.windows(2).find(|pair| same_segment(&pair[0].0, &pair[1].0)) {
            return Err(SetError::Twice { path: pair[1].1.clone(), other: pair[0].1.clone() });
        }
        let Some((mut header, _)) = heads.first().cloned() else {
            return Err(SetError::NoCapture { path: PathBuf::from(".") });
        };
        let files = heads.iter().map(|(_, path)| path.clone()).collect();
        let mut set = Self {
            header: header.clone(),
            files,
            recordings: Vec::new(),
            mixed_keys: false,
            accounts: Tally::default(),
            events: Vec::new(),
            damage: Vec::new(),
            damage_count: 0,
            closed: true,
            failed: false,
        };
        let mut last: Option<[u8; 16]> = None;
        for (head, path) in heads {
            if head.sampling_ratio.to_bits() != header.sampling_ratio.to_bits() {
                let ratios = (head.sampling_ratio, header.sampling_ratio);
                return Err(SetError::Sampling { path, ratios });
            }
            set.mixed_keys |= !same_key(&head.masking, &header.masking);
            if last != Some(head.recording) {
                last = Some(head.recording);
                set.begin_recording(&mut header, &head)?;
            }
            union(&mut header.listen, &head.listen);
            union(&mut header.upstream, &head.upstream);
            union(&mut header.filters, &head.filters);
            header.body_limit = header.body_limit.max(head.body_limit);
            if let Some(recording) = set.recordings.last_mut() {
                recording.ahead.push_back(path);
            }
        }
        set.header = header;
        for at in 0..set.recordings.len() {
            set.advance(at)?;
        }
        Ok(set)
    }

    fn begin_recording(&mut self, header: &mut CaptureHeader, head: &CaptureHeader) -> Result<(), SetError> {
        let number = self.recordings.len();
        if number == MOST_RECORDINGS {
            return Err(SetError::TooMany);
        }
        // Servers of different recordings are different, even where they share an address.
        let servers = if number == 0 { 0 } else { header.servers.len() };
        if number > 0 {
            header.servers.extend(head.servers.iter().cloned());
        }
        let later = u64::try_from(head.started - header.started).unwrap_or(u64::MAX);
        self.recordings.push(Recording {
            ahead: VecDeque::new(),
            open: None,
            next: None,
            shift: Duration::from_nanos(later),
            numbers: (number as u64) << RECORDING_SHIFT,
            servers: u32::try_from(servers).unwrap_or(u32::MAX),
        });
        Ok(())
    }

    /// What they are together: of different values the first capture's, of lists all.
    pub const fn header(&self) -> &CaptureHeader {
        &self.header
    }

    /// The files, in the order of their recordings and segments.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether pseudonyms of some were made with another key, so that equal secrets look different.
    pub const fn mixed_keys(&self) -> bool {
        self.mixed_keys
    }

    /// The recorders' accounts of the files read so far, made to agree with what was read: a killed recorder
    /// had not booked its last exchanges, and damage took some that were booked.
    pub const fn accounts(&self) -> &Tally {
        &self.accounts
    }

    /// What happened to the recorders, of the files read so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What could not be read, and in which file (the first thousand places of each).
    pub fn damage(&self) -> &[(PathBuf, Damage)] {
        &self.damage
    }

    /// The number of places that could not be read.
    pub const fn damage_count(&self) -> u64 {
        self.damage_count
    }

    /// Whether the recorders closed all files read so far.
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// Puts the next exchange of a recording in its place, from the next segment where one is over.
    fn advance(&mut self, at: usize) -> Result<(), SetError> {
        loop {
            let recording = &mut self.recordings[at];
            if recording.open.is_none() {
                let Some(path) = recording.ahead.pop_front() else { return Ok(()) };
                recording.open = Some(Segment { reader: open(&path)?, path, read: 0 });
            }
            let Some(segment) = &mut recording.open else { return Ok(()) };
            match segment.reader.next() {
                Some(Ok(mut exchange)) => {
                    segment.read += 1;
                    recording.adopt(&mut exchange);
                    recording.next = Some(exchange);
                    return Ok(());
                }
                Some(Err(error)) => {
                    return Err(SetError::Unreadable { path: segment.path.clone(), error });
                }
                None => self.close(at),
            }
        }
    }

    /// Takes what is to be known of a segment that was read.
    fn close(&mut self, at: usize) {
        let recording = &mut self.recordings[at];
        let Some(Segment { path, reader, read }) = recording.open.take() else { return };
        self.accounts = self.accounts.plus(&reconciled(reader.tallies().last(), read));
        self.events.extend(
            reader.events().iter().map(|event| Event { at: event.at.plus(recording.shift), ..*event }),
        );
        self.damage_count += reader.damage_count();
        self.damage.extend(reader.damage().iter().map(|damage| (path.clone(), damage.clone())));
        self.closed &= reader.closed();
    }
}

impl Recording {
    /// Makes an exchange the set's.
    fn adopt(&self, exchange: &mut Exchange) {
        let shift = |at: Offset| at.plus(self.shift);
        exchange.arrived = shift(exchange.arrived);
        exchange.request_done = exchange.request_done.map(shift);
        exchange.response_began = exchange.response_began.map(shift);
        exchange.ended = shift(exchange.ended);
        exchange.id = ExchangeId(exchange.id.0.wrapping_add(self.numbers));
        exchange.connection = ConnectionId(exchange.connection.0.wrapping_add(self.numbers));
        exchange.session = SessionId(exchange.session.0.wrapping_add(self.numbers));
        exchange.passage.server = exchange.passage.server.map(|server| server.saturating_add(self.servers));
    }
}

impl Iterator for CaptureSet {
    type Item = Result<Exchange, SetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let waiting = self.recordings.iter().enumerate();
        let earliest = waiting
            .filter_map(|(at, recording)| Some((recording.next.as_ref()?.ended, at)))
            .min()
            .map(|(_, at)| at)?;
        let exchange = self.recordings[earliest].next.take()?;
        if let Err(error) = self.advance(earliest) {
            self.failed = true;
            return Some(Err(error));
        }
        Some(Ok(exchange))
    }
}

fn open(path: &Path) -> Result<CaptureReader<BufReader<File>>, SetError> {
    let unreadable = |error| SetError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| unreadable(ReadError::Io(error)))?;
    CaptureReader::open(BufReader::new(file)).map_err(unreadable)
}

/// The files that `paths` mean.
fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SetError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let unreadable =
            |error: io::Error| SetError::Unreadable { path: path.clone(), error: ReadError::Io(error) };
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && file.extension().is_some_and(|end| end == SUFFIX) && file.is_file() {
                files.push(file);
            }
        }
        if files.len() == before {
            return Err(SetError::NoCapture { path: path.clone() });
        }
    }
    Ok(files)
}

fn same_segment(a: &CaptureHeader, b: &CaptureHeader) -> bool {
    a.recording == b.recording && a.segment == b.segment && a.started == b.started
}

fn same_key(a: &Masking, b: &Masking) -> bool {
    match (a, b) {
        (Masking::None, Masking::None) => true,
        (Masking::Pseudonyms { key_id: a, .. }, Masking::Pseudonyms { key_id: b, .. }) => a == b,
        _ => false,
    }
}

fn union(all: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

/// A recorder's last account of a file of which `read` exchanges could be read.
fn reconciled(last: Option<&Tally>, read: u64) -> Tally {
    let mut accounts = last.cloned().unwrap_or_default();
    accounts.seen += read.saturating_sub(accounts.recorded);
    let damaged = accounts.recorded.saturating_sub(read);
    accounts.recorded = read;
    if damaged == 0 {
        return accounts;
    }
    accounts.plus(&Tally { dropped: vec![(DropReason::Damaged, damaged)], ..Tally::default() })
}

#[cfg(test)]
mod tests;
