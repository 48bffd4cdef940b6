//! Turns what the workers saw into records of the capture, and keeps the accounts.
//!
//! `recorded + filtered + sampled out + dropped = seen`, at every tally and at the end. What becomes of a
//! record that cannot be written is decided by [`Roll`].

use std::io;

use captures::{CaptureHeader, Compression, DropReason, Event, Tally};

use crate::assembly::Assembly;
use crate::clock::{Moment, Oddity};
use crate::config::Rotation;
use crate::files::{Roll, Shelf, Written};
use crate::notice::Notice;
use crate::policy::{Screen, Verdict};
use crate::redact::Redaction;
use crate::session::Origin;
use crate::spool;

/// A capture that is being written.
pub(crate) struct Outlet<S: Shelf> {
    roll: Roll<S>,
    redaction: Redaction,
    screen: Screen,
    filtered: u64,
    sampled_out: u64,
}

/// What happened to exchanges before they came here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Left out as replayed traffic.
    pub(crate) filtered: u64,
    /// Dropped because the queue was full.
    pub(crate) queue_full: u64,
    /// Dropped because recording was paused.
    pub(crate) paused: u64,
}

impl<S: Shelf> Outlet<S> {
    /// Begins a capture on `shelf`.
    pub(crate) fn create(
        shelf: S,
        header: CaptureHeader,
        rotation: Rotation,
        compression: Compression,
        screen: Screen,
        redaction: Redaction,
        now: Moment,
    ) -> io::Result<Self> {
        let roll = Roll::create(shelf, header, rotation, compression, now)?;
        Ok(Self { roll, redaction, screen, filtered: 0, sampled_out: 0 })
    }

    /// Records what a worker assembled, or counts why not.
    pub(crate) fn record(&mut self, assembly: Assembly) {
        let origin = Origin { client: assembly.client, shared_connection: assembly.shared_connection };
        let mut exchange = assembly.into_exchange();
        match self.screen.judge(&mut exchange, origin) {
            Verdict::Filtered => self.filtered += 1,
            Verdict::SampledOut => self.sampled_out += 1,
            Verdict::Record if self.roll.refuses() => {}
            Verdict::Record => {
                self.redaction.apply(&mut exchange);
                self.roll.push(&exchange);
            }
        }
    }

    /// Notes something odd about time.
    pub(crate) fn note(&mut self, oddity: Oddity) {
        let Oddity { moment: Moment { at, wall }, kind, nanos } = oddity;
        self.roll.note(&Event { at, wall, kind, amount: nanos });
    }

    /// Whether a flush is due before its time.
    pub(crate) fn is_over(&self) -> bool {
        self.roll.is_over()
    }

    /// Writes out what is pending, and a tally when there is anything new to tell.
    pub(crate) fn flush(&mut self, now: Moment, elsewhere: Elsewhere) {
        let others = self.others(elsewhere);
        self.roll.flush(now, &others);
    }

    /// Goes on in a new file, where somebody moved the old one away or files rotate anyway.
    pub(crate) fn reopen(&mut self, now: Moment, elsewhere: Elsewhere) {
        let others = self.others(elsewhere);
        self.roll.reopen(now, &others);
    }

    /// What has become of the exchanges so far.
    pub(crate) fn told(&self, elsewhere: Elsewhere) -> spool::Told {
        spool::Told {
            accounts: self.roll.accounts(&self.others(elsewhere)),
            file: self.roll.size(),
            failing: self.roll.is_failing(),
            segment: self.roll.segment(),
        }
    }

    /// What happened since this was last asked.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        self.roll.take_notices()
    }

    /// Closes the capture; gives the accounts, and what came of the file.
    pub(crate) fn finish(self, now: Moment, elsewhere: Elsewhere) -> Written {
        let others = self.others(elsewhere);
        self.roll.finish(now, &others)
    }

    /// The accounts of exchanges that were not to be recorded, or could not reach the file.
    fn others(&self, elsewhere: Elsewhere) -> Tally {
        let filtered = self.filtered + elsewhere.filtered;
        Tally {
            seen: filtered + self.sampled_out + elsewhere.queue_full + elsewhere.paused,
            filtered,
            sampled_out: self.sampled_out,
            dropped: vec![
                (DropReason::QueueFull, elsewhere.queue_full),
                (DropReason::Paused, elsewhere.paused),
            ],
            ..Tally::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use captures::{CaptureReader, ConnectionId, ExchangeId, Offset};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Policy;
    use crate::files::memory::{Disks, Fault, header};
    use crate::policy::tests::{everything, half_of_it};
    use crate::redact::MaskPolicy;

    fn outlet(policy: &Policy, disk: &Disks) -> Outlet<Disks> {
        let screen = Screen::new(policy, &[], [0; 16]);
        let redaction = Redaction::new(MaskPolicy::None);
        let rotation = Rotation { size: None, every: None };
        let compression = Compression::default();
        Outlet::create(disk.clone(), header(), rotation, compression, screen, redaction, moment(0)).unwrap()
    }

    fn moment(second: u64) -> Moment {
        Moment { at: Offset::from_secs(second), wall: 0 }
    }

    #[test]
    fn every_exchange_is_accounted_for() {
        let disk = Disks::default();
        let mut outlet = outlet(&everything(), &disk);
        for id in 0..5 {
            let head = b"GET / HTTP/1.1\r\n\r\n";
            outlet.record(Assembly::begin(ExchangeId(id), ConnectionId(0), Offset::ZERO, head));
        }

        let written = outlet.finish(moment(1), Elsewhere { filtered: 2, queue_full: 3, paused: 4 });

        let tally = written.tally;
        assert_eq!((tally.seen, tally.recorded, tally.filtered), (14, 5, 2));
        assert_eq!(tally.dropped, [(DropReason::QueueFull, 3), (DropReason::Paused, 4)]);
        let files = disk.files();
        let mut reader = CaptureReader::open(files[0].as_slice()).unwrap();
        assert_eq!(reader.by_ref().count(), 5);
        assert_eq!(reader.tallies().last(), Some(&tally));
    }

    /// What may happen to a recorder, some of it often.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Exchange(u64),
        Replayed,
        QueueFull,
        Paused,
        Flush,
        Disk { full: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..40_u64).prop_map(Step::Exchange),
            1 => Just(Step::Replayed),
            1 => Just(Step::QueueFull),
            1 => Just(Step::Paused),
            2 => Just(Step::Flush),
            1 => any::<bool>().prop_map(|full| Step::Disk { full }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_every_tally_adds_up(steps in proptest::collection::vec(step(), 0..200)) {
            let disk = Disks::default();
            let mut outlet = outlet(&half_of_it(), &disk);
            let (mut elsewhere, mut seen) = (Elsewhere::default(), 0);
            for (at, step) in (0..).zip(steps) {
                match step {
                    Step::Exchange(visitor) => {
                        let path = if visitor % 4 == 0 { "/health" } else { "/" };
                        let head = format!("GET {path} HTTP/1.1\r\nCookie: sid={visitor}\r\n\r\n");
                        let (id, connection) = (ExchangeId(at), ConnectionId(0));
                        outlet.record(Assembly::begin(id, connection, Offset::ZERO, head.as_bytes()));
                    }
                    Step::Replayed => elsewhere.filtered += 1,
                    Step::QueueFull => elsewhere.queue_full += 1,
                    Step::Paused => elsewhere.paused += 1,
                    Step::Flush => outlet.flush(moment(at), elsewhere),
                    Step::Disk { full } => disk.set(full.then_some(Fault::Full)),
                }
                seen += u64::from(!matches!(step, Step::Flush | Step::Disk { .. }));
            }
            disk.set(None);
            let last = outlet.finish(moment(1_000), elsewhere).tally;
            prop_assert_eq!(last.seen, seen);

            let files = disk.files();
            let mut reader = CaptureReader::open(files[0].as_slice()).unwrap();
            let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
            prop_assert_eq!(read.len() as u64, last.recorded);
            prop_assert!(read.iter().all(|exchange| exchange.request.target == b"/"));
            prop_assert_eq!(reader.damage(), []);
            prop_assert_eq!(reader.tallies().last(), Some(&last));
            for tally in reader.tallies() {
                let dropped: u64 = tally.dropped.iter().map(|(_, count)| count).sum();
                prop_assert_eq!(tally.seen, tally.recorded + tally.filtered + tally.sampled_out + dropped);
            }
        }
    }
}
