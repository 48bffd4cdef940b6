//! A recording against a disk in memory that fails in every way, by plan and by chance.

use std::cell::RefCell;
use std::rc::Rc;

use captures::{
    Body, CaptureReader, ConnectionId, DamageKind, Ending, ExchangeId, Masking, Passage, ReadError, Request,
    SessionId, SessionKey, Version,
};

use super::*;

/// Files in memory, and what is to go wrong with them.
#[derive(Default)]
pub(crate) struct Memory {
    files: Vec<Vec<u8>>,
    fault: Option<Fault>,
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No byte more.
    Full,
    /// Blocks do not fit, a few bytes do.
    Tight,
    /// A part of the write stays, and cannot be taken back.
    Torn,
    /// The file can be written no longer; others can.
    File(usize),
    /// Nothing can be made.
    NoFile,
    /// The file was deleted.
    Deleted(usize),
}

impl Fault {
    fn refuses(self, file: usize, length: usize) -> Option<io::Error> {
        match self {
            Self::Full => Some(io::ErrorKind::StorageFull.into()),
            Self::Tight => (length > 400).then(|| io::ErrorKind::StorageFull.into()),
            Self::Torn => Some(io::Error::other("input/output error")),
            Self::File(bad) => (file == bad).then(|| io::Error::other("input/output error")),
            Self::NoFile => None,
            Self::Deleted(gone) => (file == gone).then(crate::files::disk::deleted),
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Disks(Rc<RefCell<Memory>>);

pub(crate) struct Sink {
    disks: Disks,
    file: usize,
    /// What was written whole; the rest is taken back before the next write.
    length: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut memory = self.disks.0.borrow_mut();
        if let Some(fault) = memory.fault
            && let Some(error) = fault.refuses(self.file, bytes.len())
        {
            if fault == Fault::Torn {
                memory.files[self.file].truncate(self.length);
                memory.files[self.file].extend_from_slice(&bytes[..bytes.len() / 2]);
            }
            return Err(error);
        }
        memory.files[self.file].truncate(self.length);
        memory.files[self.file].extend_from_slice(bytes);
        self.length += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shelf for Disks {
    type Sink = Sink;

    fn begin(&mut self) -> io::Result<Sink> {
        self.open(0)
    }

    fn open(&mut self, _wall: i128) -> io::Result<Sink> {
        let mut memory = self.0.borrow_mut();
        if memory.fault == Some(Fault::NoFile) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        memory.files.push(Vec::new());
        let file = memory.files.len() - 1;
        drop(memory);
        Ok(Sink { disks: self.clone(), file, length: 0 })
    }

    fn forget(&mut self) {
        self.0.borrow_mut().files.pop();
    }

    fn settle(&mut self, _length: u64) {}

    fn current(&self) -> &Path {
        Path::new("current")
    }

    fn was_moved(&self) -> bool {
        false
    }

    fn make_room(&mut self, current: u64) -> Room {
        let memory = self.0.borrow();
        Room { removed: Vec::new(), is_full: memory.limit.is_some_and(|limit| current > limit) }
    }

    fn tend(&mut self, _now: Offset) -> Option<io::Error> {
        None
    }

    fn finish(self, _length: u64) -> (u64, Bytes, io::Result<()>) {
        (0, Bytes::new(0), Ok(()))
    }
}

impl Disks {
    pub(crate) fn set(&self, fault: impl Into<Option<Fault>>) {
        self.0.borrow_mut().fault = fault.into();
    }

    pub(crate) fn files(&self) -> Vec<Vec<u8>> {
        self.0.borrow().files.clone()
    }
}

fn at(second: u64) -> Moment {
    Moment { at: Offset::from_secs(second), wall: i128::from(second) * 1_000_000_000 }
}

pub(crate) fn header() -> CaptureHeader {
    CaptureHeader {
        tool: "test".to_owned(),
        started: 0,
        listen: Vec::new(),
        upstream: Vec::new(),
        masking: Masking::None,
        servers: Vec::new(),
        recording: [7; 16],
        segment: 0,
        session_keys: Vec::new(),
        filters: Vec::new(),
        sampling_ratio: 1.0,
        body_limit: 0,
    }
}

fn roll(disks: &Disks, size: Option<u64>) -> Roll<Disks> {
    let rotation = Rotation { size: size.map(Bytes::new), every: None };
    Roll::create(disks.clone(), header(), rotation, Compression::default(), at(0)).unwrap()
}

fn exchange(id: u64, length: usize) -> Exchange {
    let mut state = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(0),
        session: SessionId(0),
        session_key: SessionKey::Connection,
        arrived: Offset::from_micros(id),
        request_done: None,
        response_began: None,
        ended: Offset::from_micros(id),
        attempts: 1,
        request: Request {
            method: b"GET".to_vec(),
            target: (0..length / 8).flat_map(|_| noise()).collect(),
            version: Version::Http11,
            headers: Vec::new(),
            body: Body::default(),
            trailers: Vec::new(),
        },
        response: None,
        ending: Ending::Completed,
        passage: Passage::default(),
    }
}

fn push(roll: &mut Roll<Disks>, ids: std::ops::Range<u64>) {
    for id in ids {
        if !roll.refuses() {
            roll.push(&exchange(id, 24));
        }
    }
}

/// What is in a file: ids, last tally, events, and whether it was closed.
fn read(bytes: &[u8]) -> (Vec<u64>, Tally, Vec<EventKind>, bool) {
    let mut reader = CaptureReader::open(bytes).unwrap();
    let ids = reader.by_ref().map(|exchange| exchange.unwrap().id.0).collect();
    for damage in reader.damage() {
        assert!(matches!(damage.kind, DamageKind::Unclosed | DamageKind::Torn), "{damage}");
    }
    let tally = reader.tallies().last().cloned().unwrap_or_default();
    (ids, tally, reader.events().iter().map(|event| event.kind).collect(), reader.closed())
}

fn nothing() -> Tally {
    Tally::default()
}

#[test]
fn a_full_disk_costs_what_came_meanwhile_and_not_the_block_in_hand() {
    let disks = Disks::default();
    let mut roll = roll(&disks, None);

    push(&mut roll, 0..3);
    roll.flush(at(1), &nothing());
    disks.set(Fault::Full);
    push(&mut roll, 3..5);
    roll.flush(at(2), &nothing());
    assert!(matches!(roll.take_notices()[..], [Notice::WriteFailed(_)]));
    push(&mut roll, 5..9);
    roll.flush(at(3), &nothing());
    assert!(roll.take_notices().is_empty());
    disks.set(None);
    roll.flush(at(4), &nothing());
    assert!(matches!(roll.take_notices()[..], [Notice::WriteResumed { lost: 4 }]));
    push(&mut roll, 9..10);
    let written = roll.finish(at(5), &nothing());

    assert!(written.unclosed.is_none());
    let (ids, tally, events, closed) = read(&disks.files()[0]);
    assert_eq!(ids, [0, 1, 2, 3, 4, 9]);
    assert_eq!((tally.seen, tally.recorded, closed), (10, 6, true));
    assert_eq!(tally.dropped, [(DropReason::WriteFailed, 4)]);
    assert_eq!(events, [EventKind::WriteFailed, EventKind::WriteResumed]);
    assert_eq!(tally, written.tally);
}

#[test]
fn where_a_block_finds_no_room_the_accounts_may() {
    let disks = Disks::default();
    let mut roll = roll(&disks, None);
    disks.set(Fault::Tight);
    for id in 0..5 {
        if !roll.refuses() {
            roll.push(&exchange(id, 2_000));
        }
        roll.flush(at(id), &nothing());
    }

    let (ids, tally, ..) = read(&disks.files()[0]);
    assert!(ids.is_empty(), "{ids:?}");
    assert_eq!((tally.seen, tally.lost_for(DropReason::WriteFailed)), (4, 4));

    let written = roll.finish(at(9), &nothing());

    assert!(written.unclosed.is_none());
    let (ids, tally, _, closed) = read(&disks.files()[0]);
    assert_eq!((ids.len(), closed), (0, true));
    assert_eq!((tally.seen, tally.lost_for(DropReason::WriteFailed)), (5, 5));
}

#[test]
fn segments_are_whole_captures_whose_accounts_add_up() {
    let disks = Disks::default();
    let mut roll = roll(&disks, Some(1_000));
    for round in 0..50 {
        push(&mut roll, round * 10..(round + 1) * 10);
        roll.flush(at(round), &Tally { seen: round, filtered: round, ..nothing() });
    }
    let written = roll.finish(at(50), &Tally { seen: 60, filtered: 60, ..nothing() });

    let files = disks.files();
    let mut sum = nothing();
    let mut all = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let header = CaptureReader::open(&file[..]).unwrap().header().clone();
        assert_eq!((header.recording, header.segment as usize), ([7; 16], number));
        let (ids, tally, _, closed) = read(file);
        assert!(closed);
        assert_eq!(tally.recorded, ids.len() as u64);
        sum = sum.plus(&tally);
        all.extend(ids);
    }
    assert!(files.len() > 5, "{}", files.len());
    assert_eq!(all, (0..500).collect::<Vec<_>>());
    assert_eq!(sum, written.tally);
    assert_eq!((sum.seen, sum.filtered), (560, 60));
}

#[test]
fn a_segment_that_cannot_be_made_costs_nothing() {
    let disks = Disks::default();
    let mut roll = roll(&disks, Some(500));
    disks.set(Fault::NoFile);
    let mut notices = Vec::new();
    for second in 0..20 {
        push(&mut roll, second * 10..(second + 1) * 10);
        roll.flush(at(second), &nothing());
        notices.extend(roll.take_notices());
    }
    assert!(matches!(notices[..], [Notice::RotationFailed(_)]), "{notices:?}");
    disks.set(None);
    push(&mut roll, 200..210);
    roll.flush(at(30), &nothing());
    roll.finish(at(31), &nothing());

    let files = disks.files();
    assert_eq!(files.len(), 2);
    assert_eq!(read(&files[0]).0, (0..210).collect::<Vec<_>>());
}

#[test]
fn a_file_that_stays_broken_is_left_for_another_and_nothing_is_counted_twice() {
    let disks = Disks::default();
    let mut roll = roll(&disks, None);
    push(&mut roll, 0..3);
    roll.flush(at(1), &nothing());
    disks.set(Fault::File(0));
    for second in 2..6 {
        push(&mut roll, second * 10..second * 10 + 2);
        roll.flush(at(second), &nothing());
    }
    let notices = roll.take_notices();
    assert!(notices.iter().any(|notice| matches!(notice, Notice::WentOn { .. })), "{notices:?}");
    let written = roll.finish(at(7), &nothing());

    let files = disks.files();
    let (first, second) = (read(&files[0]), read(&files[1]));
    assert_eq!(first.0, [0, 1, 2]);
    // What was in hand when it broke, and what came after: two seconds were waited.
    assert_eq!(second.0, [20, 21, 50, 51]);
    assert_eq!(first.1.plus(&second.1), written.tally);
    assert_eq!((written.tally.seen, written.tally.recorded), (11, 7));
}

#[test]
fn what_was_in_a_file_that_somebody_deleted_is_counted_as_damaged() {
    let disks = Disks::default();
    let mut roll = roll(&disks, None);
    push(&mut roll, 0..3);
    roll.flush(at(1), &nothing());
    disks.set(Fault::Deleted(0));
    push(&mut roll, 3..5);
    roll.flush(at(2), &nothing());
    let written = roll.finish(at(3), &nothing());

    let (ids, tally, ..) = read(&disks.files()[1]);
    assert_eq!(ids, [3, 4]);
    assert_eq!(tally, written.tally);
    assert_eq!((tally.seen, tally.recorded), (5, 2));
    assert_eq!(tally.dropped, [(DropReason::Damaged, 3)]);
}

#[test]
fn above_the_quota_nothing_is_recorded_and_everything_counted() {
    let disks = Disks::default();
    let mut roll = roll(&disks, None);
    disks.0.borrow_mut().limit = Some(2_000);
    for second in 0..100 {
        push(&mut roll, second * 10..(second + 1) * 10);
        roll.flush(at(second), &nothing());
    }
    assert!(matches!(roll.take_notices()[..], [Notice::QuotaReached, Notice::QuotaReached]));
    let kept = read(&disks.files()[0]).0.len() as u64;
    disks.0.borrow_mut().limit = None;
    roll.flush(at(100), &nothing());
    push(&mut roll, 1_000..1_010);
    let written = roll.finish(at(101), &nothing());

    assert_eq!((written.tally.seen, written.tally.recorded), (1_010, kept + 10));
    assert_eq!(written.tally.dropped, [(DropReason::Quota, 1_000 - kept)]);
}

#[test]
fn an_idle_recorder_writes_nothing_and_begins_no_file() {
    let disks = Disks::default();
    let rotation = Rotation { size: None, every: Some(Duration::from_secs(1)) };
    let mut roll = Roll::create(disks.clone(), header(), rotation, Compression::default(), at(0)).unwrap();
    push(&mut roll, 0..1);
    roll.flush(at(2), &nothing());
    let before = disks.files();

    for second in 3..10 {
        roll.flush(at(second), &nothing());
    }

    assert_eq!(disks.files(), before);
    assert_eq!(before.len(), 2);
}

/// Whatever goes wrong, in whatever order: no record is lost uncounted, none appears twice, each file can be
/// read, and so can each of its beginnings.
#[test]
fn whatever_a_disk_does_the_accounts_hold() {
    for seed in 1..150_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut chance = |of: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % of
        };
        let disks = Disks::default();
        let mut roll = roll(&disks, (chance(2) == 0).then(|| 500 + chance(5_000)));
        let (mut id, mut elsewhere, mut deleted) = (0, 0, Vec::new());
        for step in 0..60 {
            let last = disks.files().len() - 1;
            disks.set(match chance(12) {
                0 => Some(Fault::Full),
                1 => Some(Fault::Tight),
                2 => Some(Fault::Torn),
                3 => Some(Fault::File(last)),
                4 => Some(Fault::NoFile),
                5 => Some(Fault::Deleted(last)),
                _ => None,
            });
            for _ in 0..chance(30) {
                if !roll.refuses() {
                    let length = if chance(20) == 0 { 200_000 } else { 50 };
                    roll.push(&exchange(id, usize::try_from(length).unwrap()));
                }
                id += 1;
            }
            elsewhere += chance(3);
            let before = disks.files().len();
            roll.flush(at(step), &Tally { seen: elsewhere, filtered: elsewhere, ..nothing() });
            if disks.0.borrow().fault == Some(Fault::Deleted(last)) && disks.files().len() > before {
                deleted.push(last);
            }
        }
        disks.set(None);
        let written = roll.finish(at(61), &Tally { seen: elsewhere, filtered: elsewhere, ..nothing() });

        let tally = &written.tally;
        assert_eq!(tally.seen, id + elsewhere, "seed {seed}");
        assert_eq!(tally.seen, tally.recorded + tally.filtered + tally.lost(), "seed {seed}");
        let mut read_back = Vec::new();
        let mut sum = nothing();
        for (number, file) in disks.files().iter().enumerate() {
            if deleted.contains(&number) {
                continue;
            }
            let (ids, last, ..) = read(file);
            // A file that broke down may hold records that it said nothing of: a reader counts them.
            let unsaid = (ids.len() as u64).saturating_sub(last.recorded);
            sum = sum.plus(&last).plus(&Tally { seen: unsaid, recorded: unsaid, ..nothing() });
            read_back.extend(ids);
        }
        assert_eq!(read_back.len() as u64, tally.recorded, "seed {seed}");
        assert_eq!((sum.seen, sum.recorded), (tally.seen, tally.recorded), "seed {seed}");
        assert_eq!(sum.dropped, tally.dropped, "seed {seed}");
        assert!(read_back.is_sorted(), "seed {seed}");
        if seed % 40 == 0 {
            every_beginning_can_be_read(&disks.files(), seed);
        }
    }
}

fn every_beginning_can_be_read(files: &[Vec<u8>], seed: u64) {
    for file in files {
        let whole = read(file).0;
        for cut in (0..file.len()).step_by(1 + file.len() / 200) {
            match CaptureReader::open(&file[..cut]) {
                Ok(reader) => {
                    let ids: Vec<u64> = reader.map(|exchange| exchange.unwrap().id.0).collect();
                    assert!(whole.starts_with(&ids), "seed {seed}, cut {cut}");
                }
                // There is nothing to read before the first header is there.
                Err(ReadError::Empty | ReadError::NoHeader) => assert!(cut < 1_000, "seed {seed}, cut {cut}"),
                Err(error) => panic!("seed {seed}, cut {cut}: {error}"),
            }
        }
    }
}
