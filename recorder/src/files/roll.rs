//! Writes exchanges into segment after segment, and says what became of each.
//!
//! Every segment is a capture of its own with accounts of its own: those of all segments together are the
//! recording's. A segment's file is made and has its header before the last one is closed, so that one which
//! cannot be made costs nothing: the old one goes on.
//!
//! When a block cannot be written it is kept and tried again at every flush; what comes meanwhile is dropped
//! unencoded and counted. After two seconds of anything but a want of room, and at once when the file was
//! deleted or cut, recording goes on in a new file.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use captures::{
    Bytes, CaptureHeader, CaptureWriter, Compression, DropReason, Event, EventKind, Exchange, Offset, Tally,
};

use crate::clock::Moment;
use crate::config::Rotation;
use crate::files::notices::Notices;
use crate::files::{Outlook, outlook};
use crate::notice::Notice;

/// How long a medium may fail before another file is tried, and again how long until the next.
const DOUBT: Duration = Duration::from_secs(2);
/// How long the old segment goes on when the next cannot be made, before it is tried again.
const SEAM_AGAIN: Duration = Duration::from_secs(5);

/// Where segments come from and go to.
pub(crate) trait Shelf {
    /// What a segment is written into.
    type Sink: Write;

    /// The first segment's file, emptied.
    fn begin(&mut self) -> io::Result<Self::Sink>;

    /// A new file, made at `wall` nanoseconds since 1970-01-01 UTC.
    fn open(&mut self, wall: i128) -> io::Result<Self::Sink>;

    /// The file opened last could not be begun.
    fn forget(&mut self);

    /// The file opened last takes the place of the current one, which has `length` bytes.
    fn settle(&mut self, length: u64);

    /// The current file.
    fn current(&self) -> &Path;

    /// Whether the current file is no longer where it was made.
    fn was_moved(&self) -> bool;

    /// Keeps the quota while the current file has `current` bytes.
    fn make_room(&mut self, current: u64) -> Room;

    /// Does what is due beside writing, and tells what failed of it.
    fn tend(&mut self, now: Offset) -> Option<io::Error>;

    /// The current file was left with `length` bytes: sees everything onto the medium. Gives the number of
    /// files and their bytes.
    fn finish(self, length: u64) -> (u64, Bytes, io::Result<()>);
}

/// What the quota asked for.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// The sizes of the files that were removed.
    pub(crate) removed: Vec<u64>,
    /// Whether nothing more may be written.
    pub(crate) is_full: bool,
}

/// A recording that is being written.
pub(crate) struct Roll<S: Shelf> {
    shelf: S,
    header: CaptureHeader,
    rotation: Rotation,
    compression: Compression,
    writer: CaptureWriter<S::Sink>,
    /// When the current segment began, and its size then.
    began: (Offset, u64),
    now: Moment,
    counts: Counts,
    /// What earlier segments account for.
    base: Tally,
    /// What the current one said last.
    told: Tally,
    trouble: Option<Trouble>,
    is_full: bool,
    next_seam: Offset,
    notices: Notices,
}

/// What became of the exchanges that came here.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Written or pending.
    recorded: u64,
    /// Written to a file that somebody deleted.
    damaged: u64,
    write_failed: u64,
    too_large: u64,
    quota: u64,
}

/// The file cannot be written.
#[derive(Debug)]
struct Trouble {
    error: io::Error,
    outlook: Outlook,
    /// When another file is to be tried; `None` when that would not help.
    elsewhere_at: Option<Offset>,
}

/// What a recording came to on disk.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) tally: Tally,
    pub(crate) files: u64,
    pub(crate) size: Bytes,
    /// Why the last file could not be closed or synced.
    pub(crate) unclosed: Option<io::Error>,
}

impl<S: Shelf> Roll<S> {
    /// Begins the first segment.
    pub(crate) fn create(
        mut shelf: S,
        header: CaptureHeader,
        rotation: Rotation,
        compression: Compression,
        now: Moment,
    ) -> io::Result<Self> {
        let writer = CaptureWriter::compressed(shelf.begin()?, &header, compression)?;
        let began = (now.at, writer.position());
        Ok(Self {
            shelf,
            header,
            rotation,
            compression,
            writer,
            began,
            now,
            counts: Counts::default(),
            base: Tally::default(),
            told: Tally::default(),
            trouble: None,
            is_full: false,
            next_seam: Offset::ZERO,
            notices: Notices::default(),
        })
    }

    /// Whether an exchange that came would be lost; then it is counted as such, and needs not be offered.
    pub(crate) fn refuses(&mut self) -> bool {
        if self.is_full {
            self.counts.quota += 1;
        } else if self.trouble.is_some() {
            self.counts.write_failed += 1;
        }
        self.is_full || self.trouble.is_some()
    }

    /// Takes an exchange in.
    pub(crate) fn push(&mut self, exchange: &Exchange) {
        let before = self.writer.pending();
        match self.writer.push(exchange) {
            Ok(()) => self.counts.recorded += 1,
            Err(error) if is_too_large(&error) => self.counts.too_large += 1,
            Err(error) => {
                if self.writer.pending() > before {
                    self.counts.recorded += 1;
                } else {
                    self.counts.write_failed += 1;
                }
                self.fail(error);
            }
        }
    }

    /// Notes something that happened to the recorder.
    pub(crate) fn note(&mut self, event: &Event) {
        let noted = self.writer.note(event);
        debug_assert!(noted.is_ok(), "an event can be encoded");
    }

    /// The number of the current segment.
    pub(crate) const fn segment(&self) -> u32 {
        self.header.segment
    }

    /// Whether the current segment is as large as it may be, so that a flush is due.
    pub(crate) fn is_over(&self) -> bool {
        self.rotation.size.is_some_and(|size| self.writer.position() >= size.as_u64())
    }

    /// Writes out what is pending, and the accounts when there is anything new to tell; mends and begins
    /// what is due. `elsewhere` is what happened to exchanges that did not come here, since the start.
    pub(crate) fn flush(&mut self, now: Moment, elsewhere: &Tally) {
        self.now = now;
        self.speak();
        self.keep_quota();
        self.write_out(elsewhere);
        self.mend(elsewhere);
        let age = now.at.since(self.began.0);
        if self.is_over() || self.rotation.every.is_some_and(|every| age >= every) {
            self.seam(elsewhere);
        }
        if let Some(error) = self.shelf.tend(now.at) {
            self.notices.give(now.at, Notice::SyncFailed(error));
        }
        self.speak();
    }

    /// Goes on in a new file when somebody moved the old one away, or when files rotate anyway.
    pub(crate) fn reopen(&mut self, now: Moment, elsewhere: &Tally) {
        self.flush(now, elsewhere);
        if self.rotation.is_wanted() || self.shelf.was_moved() {
            self.next_seam = Offset::ZERO;
            self.seam(elsewhere);
        }
    }

    /// What has become of the exchanges so far, in all segments.
    pub(crate) fn accounts(&self, elsewhere: &Tally) -> Tally {
        self.written(elsewhere)
    }

    /// The size of the current segment.
    pub(crate) fn size(&self) -> Bytes {
        Bytes::new(self.writer.position())
    }

    /// Whether exchanges are lost because they cannot be written.
    pub(crate) const fn is_failing(&self) -> bool {
        self.trouble.is_some()
    }

    /// What happened since this was last asked.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.take()
    }

    /// Closes the last segment.
    pub(crate) fn finish(mut self, now: Moment, elsewhere: &Tally) -> Written {
        self.now = now;
        self.write_out(elsewhere);
        if let Some(trouble) = &mut self.trouble {
            trouble.elsewhere_at = trouble.elsewhere_at.map(|_| now.at);
            self.mend(elsewhere);
        }
        let stuck = u64::from(self.writer.pending());
        self.counts.recorded -= stuck;
        self.counts.write_failed += stuck;
        self.writer.discard();
        self.write_out(elsewhere);
        let tally = self.total(elsewhere);
        let length = self.writer.position();
        let closed = self.writer.finish(&tally.since(&self.base));
        let (files, size, synced) = self.shelf.finish(length);
        Written { tally, files, size, unclosed: closed.and(synced).err() }
    }

    fn write_out(&mut self, elsewhere: &Tally) {
        let tally = self.total(elsewhere).since(&self.base);
        let nothing_waits = self.writer.pending() == 0 && !self.writer.has_news();
        if nothing_waits && self.trouble.is_none() && says_the_same(&tally, &self.told) {
            return;
        }
        let failed = match self.writer.flush(&tally) {
            Ok(()) => {
                self.told = tally;
                self.recover();
                return;
            }
            Err(error) => error,
        };
        self.fail(failed);
        // Where there is no room for a block, there may be some for the accounts.
        let tally = self.written(elsewhere).since(&self.base);
        if self.writer.pending() > 0 && !says_the_same(&tally, &self.told) && self.writer.tell(&tally).is_ok()
        {
            self.told = tally;
        }
    }

    fn fail(&mut self, error: io::Error) {
        let outlook = outlook(&error);
        let at = match outlook {
            Outlook::Room => None,
            Outlook::Doubtful => Some(self.now.at.plus(DOUBT)),
            Outlook::Cut | Outlook::Deleted => Some(self.now.at),
        };
        let elsewhere_at = match &self.trouble {
            Some(trouble) if trouble.outlook == outlook => trouble.elsewhere_at,
            _ => at,
        };
        if self.trouble.is_none() {
            self.note_now(EventKind::WriteFailed, 0);
        }
        self.trouble = Some(Trouble { error, outlook, elsewhere_at });
    }

    fn recover(&mut self) {
        if self.trouble.take().is_some() {
            self.note_now(EventKind::WriteResumed, self.counts.write_failed);
        }
    }

    /// Goes on in another file when it is time to.
    fn mend(&mut self, elsewhere: &Tally) {
        let Some(trouble) = &mut self.trouble else { return };
        if trouble.elsewhere_at.is_none_or(|at| at > self.now.at) {
            return;
        }
        trouble.elsewhere_at = Some(self.now.at.plus(DOUBT));
        let is_deleted = trouble.outlook == Outlook::Deleted;
        let Ok(old) = self.go_on() else { return };
        self.leave(is_deleted);
        self.shelf.settle(old.position());
        self.notices.give(self.now.at, Notice::WentOn { file: self.shelf.current().to_owned() });
        self.write_out(elsewhere);
    }

    /// Ends the segment, when it holds anything, and goes on in the next.
    fn seam(&mut self, elsewhere: &Tally) {
        if self.trouble.is_some() || self.now.at < self.next_seam || self.writer.position() == self.began.1 {
            return;
        }
        let old = match self.go_on() {
            Ok(old) => old,
            Err(error) => {
                self.next_seam = self.now.at.plus(SEAM_AGAIN);
                self.notices.give(self.now.at, Notice::RotationFailed(error));
                return;
            }
        };
        // A flush went before: nothing is pending, and everything was told.
        let length = old.position();
        let is_deleted = match old.finish(&self.told) {
            Ok(_) => false,
            Err(error) => {
                let is_deleted = outlook(&error) == Outlook::Deleted;
                self.notices.give(self.now.at, Notice::RotationFailed(error));
                is_deleted
            }
        };
        self.leave(is_deleted);
        self.shelf.settle(length);
        self.write_out(elsewhere);
    }

    /// Settles what the file that was left accounts for.
    fn leave(&mut self, is_deleted: bool) {
        let recorded = self.counts.recorded - u64::from(self.writer.pending()) - self.base.recorded;
        let mut told = std::mem::take(&mut self.told);
        if is_deleted {
            // Its accounts are gone with it: those of the next file begin where its own did.
            self.counts.recorded -= recorded;
            self.counts.damaged += recorded;
        } else {
            // What it said last stands in it, and records that it said nothing of yet.
            told.seen += recorded - told.recorded;
            told.recorded = recorded;
            self.base = self.base.plus(&told);
        }
    }

    /// Begins the next file and gives the writer of the old one, with nothing pending.
    fn go_on(&mut self) -> io::Result<CaptureWriter<S::Sink>> {
        let header = CaptureHeader { segment: self.header.segment + 1, ..self.header.clone() };
        let sink = self.shelf.open(self.now.wall)?;
        let next = CaptureWriter::compressed(sink, &header, self.compression)
            .inspect_err(|_| self.shelf.forget())?;
        self.header = header;
        let mut old = std::mem::replace(&mut self.writer, next);
        self.writer.inherit(&mut old);
        self.began = (self.now.at, self.writer.position());
        Ok(old)
    }

    fn keep_quota(&mut self) {
        let Room { removed, is_full } = self.shelf.make_room(self.writer.position());
        for size in removed {
            self.note_now(EventKind::SegmentRemoved, size);
        }
        self.is_full = is_full;
        if is_full {
            self.notices.give(self.now.at, Notice::QuotaReached);
        }
    }

    fn note_now(&mut self, kind: EventKind, amount: u64) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        self.note(&Event { at: self.now.at, wall: self.now.wall, kind, amount });
    }

    fn speak(&mut self) {
        let error = self.trouble.as_ref().map(|trouble| &trouble.error);
        self.notices.writing(self.now.at, error, self.counts.write_failed);
    }

    /// The accounts as they are once what is pending is written.
    fn total(&self, elsewhere: &Tally) -> Tally {
        let Counts { recorded, damaged, write_failed, too_large, quota } = self.counts;
        let dropped = vec![
            (DropReason::WriteFailed, write_failed),
            (DropReason::TooLarge, too_large),
            (DropReason::Damaged, damaged),
            (DropReason::Quota, quota),
        ];
        let seen = recorded + write_failed + too_large + damaged + quota;
        let here = Tally { at: self.now.at, seen, recorded, dropped, ..Tally::default() };
        here.plus(&Tally { at: self.now.at, ..elsewhere.clone() })
    }

    /// The accounts without what is pending.
    fn written(&self, elsewhere: &Tally) -> Tally {
        let mut total = self.total(elsewhere);
        total.seen -= u64::from(self.writer.pending());
        total.recorded -= u64::from(self.writer.pending());
        total
    }
}

/// Whether two accounts differ in their moment alone.
fn says_the_same(one: &Tally, other: &Tally) -> bool {
    *one == Tally { at: one.at, ..other.clone() }
}

/// Whether the exchange was above the limit of a block; a disk can say `InvalidInput`, too.
fn is_too_large(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none()
}

#[cfg(test)]
pub(crate) mod tests;
