//! Turns what the workers saw into records of the capture, and keeps the accounts.
//!
//! `recorded + filtered + sampled out + dropped = seen`, at every tally and at the end. A record counts as recorded when it
//! was handed to the sink; when that fails, it and those pending with it count as dropped, further ones are
//! dropped unencoded, and every flush tries again.

use std::io::{self, Write};
use std::net::SocketAddr;

use captures::{Bytes, CaptureHeader, CaptureWriter, DropReason, Offset, Tally};

use crate::assembly::Assembly;
use crate::policy::{Screen, Verdict};
use crate::redact::Redaction;
use crate::session::Origin;
use crate::spool;

/// A capture that is being written.
pub(crate) struct Outlet<W> {
    writer: CaptureWriter<W>,
    redaction: Redaction,
    screen: Screen,
    recorded: u64,
    filtered: u64,
    sampled_out: u64,
    write_failed: u64,
    too_large: u64,
    state: State,
    notice: Option<Notice>,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What was written last could be written.
    Writing,
    /// It could not; records are dropped until a tally can be written.
    Failing,
    /// A tally could; whether records can, too, is to be seen.
    Trying,
}

/// What the last tally in the file said, so that an idle recorder writes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    recorded: u64,
    filtered: u64,
    sampled_out: u64,
    write_failed: u64,
    too_large: u64,
    elsewhere: Elsewhere,
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

/// What somebody should hear of.
#[derive(Debug)]
pub enum Notice {
    /// A server's address takes no connections, or fails its checks.
    UpstreamDown {
        /// The server, as typed.
        server: String,
        /// The address.
        address: SocketAddr,
    },
    /// It is well again.
    UpstreamUp {
        /// The server, as typed.
        server: String,
        /// The address.
        address: SocketAddr,
    },
    /// The capture cannot be written any longer: exchanges pass unrecorded.
    WriteFailed(io::Error),
    /// The capture can be written again.
    WriteResumed {
        /// The exchanges lost to failed writes since the start.
        lost: u64,
    },
}

impl<W: Write> Outlet<W> {
    /// Begins a capture in `sink`.
    pub(crate) fn create(
        sink: W,
        header: &CaptureHeader,
        screen: Screen,
        redaction: Redaction,
    ) -> io::Result<Self> {
        Ok(Self {
            writer: CaptureWriter::create(sink, header)?,
            redaction,
            screen,
            recorded: 0,
            filtered: 0,
            sampled_out: 0,
            write_failed: 0,
            too_large: 0,
            state: State::Writing,
            notice: None,
            told: Told::default(),
        })
    }

    /// Records what a worker assembled, or counts why not.
    pub(crate) fn record(&mut self, assembly: Assembly) {
        let origin = Origin { client: assembly.client, shared_connection: assembly.shared_connection };
        let mut exchange = assembly.into_exchange();
        match self.screen.judge(&mut exchange, origin) {
            Verdict::Record if self.state == State::Failing => {
                self.write_failed += 1;
                return;
            }
            Verdict::Record => {}
            Verdict::Filtered => {
                self.filtered += 1;
                return;
            }
            Verdict::SampledOut => {
                self.sampled_out += 1;
                return;
            }
        }
        self.redaction.apply(&mut exchange);
        let pending = u64::from(self.writer.pending());
        match self.writer.push(&exchange) {
            Ok(()) => {
                self.recorded += 1;
                if u64::from(self.writer.pending()) <= pending {
                    self.succeed(State::Writing);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.too_large += 1,
            Err(error) => {
                self.recorded -= pending;
                self.write_failed += pending + 1;
                self.fail(error);
            }
        }
    }

    /// Writes out what is pending, and a tally when there is anything new to tell.
    pub(crate) fn flush(&mut self, now: Offset, elsewhere: Elsewhere) {
        let told = self.told(elsewhere);
        if told == self.told && self.state == State::Writing {
            return;
        }
        let pending = u64::from(self.writer.pending());
        match self.writer.flush(&self.tally(now, elsewhere)) {
            Ok(()) => {
                self.told = told;
                self.succeed(if pending > 0 { State::Writing } else { State::Trying });
            }
            Err(error) => {
                // When only the tally failed, the records had gone out before it.
                if self.writer.pending() > 0 {
                    self.recorded -= pending;
                    self.write_failed += pending;
                }
                self.fail(error);
            }
        }
    }

    /// What has become of the exchanges so far.
    pub(crate) fn told_at(&self, now: Offset, elsewhere: Elsewhere) -> spool::Told {
        spool::Told {
            accounts: self.tally(now, elsewhere),
            file: Bytes::new(self.writer.position()),
            failing: self.state != State::Writing,
        }
    }

    /// What happened since this was last asked.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// Closes the capture; gives the last tally, and the sink when it could be closed.
    pub(crate) fn finish(mut self, now: Offset, elsewhere: Elsewhere) -> (Tally, io::Result<W>) {
        self.flush(now, elsewhere);
        let tally = self.tally(now, elsewhere);
        let closed = self.writer.finish(&tally);
        (tally, closed)
    }

    fn succeed(&mut self, reached: State) {
        if self.state != State::Writing {
            self.state = reached;
            if reached == State::Writing {
                self.notice = Some(Notice::WriteResumed { lost: self.write_failed });
            }
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.writer.discard();
        if self.state == State::Writing {
            self.notice = Some(Notice::WriteFailed(error));
        }
        self.state = State::Failing;
    }

    fn told(&self, elsewhere: Elsewhere) -> Told {
        Told {
            recorded: self.recorded,
            filtered: self.filtered,
            sampled_out: self.sampled_out,
            write_failed: self.write_failed,
            too_large: self.too_large,
            elsewhere,
        }
    }

    fn tally(&self, at: Offset, elsewhere: Elsewhere) -> Tally {
        let dropped: Vec<(DropReason, u64)> = [
            (DropReason::QueueFull, elsewhere.queue_full),
            (DropReason::WriteFailed, self.write_failed),
            (DropReason::TooLarge, self.too_large),
            (DropReason::Paused, elsewhere.paused),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
        let lost: u64 = dropped.iter().map(|(_, count)| count).sum();
        let filtered = self.filtered + elsewhere.filtered;
        Tally {
            at,
            seen: self.recorded + filtered + self.sampled_out + lost,
            recorded: self.recorded,
            filtered,
            sampled_out: self.sampled_out,
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use captures::{CaptureReader, ConnectionId, ExchangeId, Masking};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Policy;
    use crate::policy::tests::{everything, half_of_it};
    use crate::redact::MaskPolicy;

    /// A disk that fails while it is told to, and keeps nothing of a write that failed.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        full: std::rc::Rc<std::cell::Cell<bool>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full.get() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn outlet(disk: Disk) -> Outlet<Disk> {
        outlet_by(&everything(), disk)
    }

    fn outlet_by(policy: &Policy, disk: Disk) -> Outlet<Disk> {
        let header = CaptureHeader {
            tool: "test".to_owned(),
            started: 0,
            listen: Vec::new(),
            upstream: Vec::new(),
            masking: Masking::None,
            servers: Vec::new(),
            recording: [0; 16],
            segment: 0,
            session_keys: Vec::new(),
            filters: Vec::new(),
            sampling_ratio: 1.0,
            body_limit: 0,
        };
        let screen = Screen::new(policy, &[], [0; 16]);
        Outlet::create(disk, &header, screen, Redaction::new(MaskPolicy::None)).unwrap()
    }

    fn push(outlet: &mut Outlet<Disk>, ids: std::ops::Range<u64>) {
        for id in ids {
            let head = b"GET / HTTP/1.1\r\n\r\n";
            outlet.record(Assembly::begin(ExchangeId(id), ConnectionId(0), Offset::ZERO, head));
        }
    }

    /// The ids in a closed capture, and its last tally.
    fn read(disk: &Disk) -> (Vec<u64>, Tally) {
        let mut reader = CaptureReader::open(disk.bytes.as_slice()).unwrap();
        let ids = reader.by_ref().map(|exchange| exchange.unwrap().id.0).collect();
        assert_eq!(reader.damage(), []);
        assert!(reader.closed());
        (ids, reader.tallies().last().unwrap().clone())
    }

    #[test]
    fn a_full_disk_costs_records_not_the_file() {
        let disk = Disk::default();
        let full = disk.full.clone();
        let mut outlet = outlet(disk);
        let here = Elsewhere::default();

        push(&mut outlet, 0..3);
        outlet.flush(Offset::from_secs(1), here);
        full.set(true);
        push(&mut outlet, 3..5);
        outlet.flush(Offset::from_secs(2), here);
        assert!(matches!(outlet.take_notice(), Some(Notice::WriteFailed(_))));
        push(&mut outlet, 5..6);
        outlet.flush(Offset::from_secs(3), here);
        assert!(outlet.take_notice().is_none());
        full.set(false);
        push(&mut outlet, 6..7);
        outlet.flush(Offset::from_secs(4), here);
        assert!(outlet.take_notice().is_none());
        push(&mut outlet, 7..9);
        outlet.flush(Offset::from_secs(5), here);
        assert!(matches!(outlet.take_notice(), Some(Notice::WriteResumed { lost: 4 })));
        let (_, closed) = outlet.finish(Offset::from_secs(5), here);

        let (ids, tally) = read(&closed.unwrap());
        assert_eq!(ids, [0, 1, 2, 7, 8]);
        assert_eq!((tally.seen, tally.recorded), (9, 5));
        assert_eq!(tally.dropped, [(DropReason::WriteFailed, 4)]);
    }

    #[test]
    fn a_disk_with_room_for_tallies_alone_is_complained_of_once() {
        let disk = Disk::default();
        let full = disk.full.clone();
        let mut outlet = outlet(disk);
        let mut notices = 0;
        for second in 0..10 {
            full.set(true);
            push(&mut outlet, 0..1);
            outlet.flush(Offset::from_secs(second), Elsewhere::default());
            notices += usize::from(outlet.take_notice().is_some());
            full.set(false);
            outlet.flush(Offset::from_secs(second), Elsewhere::default());
            notices += usize::from(outlet.take_notice().is_some());
        }

        assert_eq!(notices, 1);
    }

    #[test]
    fn a_disk_that_fills_within_a_block_loses_that_block_alone() {
        let disk = Disk::default();
        let full = disk.full.clone();
        let mut outlet = outlet(disk);
        full.set(true);
        push(&mut outlet, 0..50_000);
        full.set(false);
        outlet.flush(Offset::from_secs(1), Elsewhere::default());
        push(&mut outlet, 50_000..50_001);

        let (tally, closed) = outlet.finish(Offset::from_secs(2), Elsewhere::default());

        assert_eq!(read(&closed.unwrap()).0, [50_000]);
        assert_eq!((tally.seen, tally.recorded), (50_001, 1));
    }

    #[test]
    fn every_exchange_is_accounted_for() {
        let mut outlet = outlet(Disk::default());
        push(&mut outlet, 0..5);

        let (tally, closed) =
            outlet.finish(Offset::ZERO, Elsewhere { filtered: 2, queue_full: 3, paused: 0 });

        assert_eq!((tally.seen, tally.recorded, tally.filtered), (10, 5, 2));
        assert_eq!(tally.dropped, [(DropReason::QueueFull, 3)]);
        assert_eq!(read(&closed.unwrap()).1, tally);
    }

    #[test]
    fn an_idle_recorder_writes_nothing() {
        let mut outlet = outlet(Disk::default());
        push(&mut outlet, 0..1);
        outlet.flush(Offset::from_secs(1), Elsewhere::default());
        let written = outlet.writer.position();

        outlet.flush(Offset::from_secs(2), Elsewhere::default());

        assert_eq!(outlet.writer.position(), written);
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
            let disk = Disk::default();
            let full = disk.full.clone();
            let mut outlet = outlet_by(&half_of_it(), disk);
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
                    Step::Flush => outlet.flush(Offset::from_secs(at), elsewhere),
                    Step::Disk { full: is } => full.set(is),
                }
                seen += u64::from(!matches!(step, Step::Flush | Step::Disk { .. }));
            }
            full.set(false);
            let (last, closed) = outlet.finish(Offset::from_secs(1_000), elsewhere);
            prop_assert_eq!(last.seen, seen);

            let disk = closed.unwrap();
            let mut reader = CaptureReader::open(disk.bytes.as_slice()).unwrap();
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
