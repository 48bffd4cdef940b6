//! Carries exchanges from the workers to the one thread that writes them, without ever making a worker wait.
//!
//! The queue is bounded in bytes: above the bound a record is dropped and counted, the request goes on. In
//! the steady state a worker pays one uncontended lock and no wake-up: the writer looks by itself twenty
//! times a second, and is woken only when much has gathered. What is in the file is at most about half a
//! second old; a killed process loses no more than that.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use captures::{Bytes, DropReason, EventKind, Offset, Tally};

use crate::assembly::Assembly;
use crate::clock::{Clock, Moment, Oddity, Watch};
use crate::files::{Segments, Written};
use crate::notice::Notice;
use crate::outlet::{Elsewhere, Outlet};

const LOOK: Duration = Duration::from_millis(50);
const FLUSH: Duration = Duration::from_millis(400);
/// So many bytes in the queue wake the writer before its time.
const WAKE: u64 = 256 << 10;
/// After so many records the writer looks at the clock again.
const STRIDE: usize = 64;
/// After so many records the writer lets those run who wait for its processor: what a worker then waits for is one
/// piece of work of the writer's, not a slice of the scheduler's (3 ms).
const BREATH: usize = 2;
/// A queue that is fuller than one part in so many is no longer shared so kindly: who yields gets little of a
/// processor that is never idle, and records would be dropped.
const SHALLOW: u64 = 8;
/// So many things to note may wait for the writer.
const MOST_NEWS: usize = 1_000;

/// What a recording came to.
#[derive(Debug)]
pub struct Totals {
    /// Exchanges that ended at the proxy.
    pub seen: u64,
    /// Exchanges in the file.
    pub recorded: u64,
    /// Exchanges left out by a filter, as replayed traffic, or because nothing was to be recorded.
    pub filtered: u64,
    /// Exchanges left out by sampling.
    pub sampled_out: u64,
    /// Exchanges lost, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// The number of files it was written to.
    pub files: u64,
    /// Their size together, when they were left.
    pub size: Bytes,
    /// TLS handshakes of clients that came to nothing; what such a client wanted is not known.
    pub failed_handshakes: u64,
    /// Why the file could not be closed, when it could not. What was recorded can be read nevertheless.
    pub unclosed: Option<io::Error>,
}

/// What the writer has made of it so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) accounts: Tally,
    pub(crate) file: Bytes,
    pub(crate) failing: bool,
    /// The number of the segment that is being written.
    pub(crate) segment: u32,
}

/// Where the workers put what they saw.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: u64,
    /// Bytes that wait or are being written.
    held: AtomicU64,
    seen: AtomicU64,
    filtered: AtomicU64,
    full: AtomicU64,
    paused: AtomicU64,
    pausing: AtomicBool,
    told: Mutex<Option<Told>>,
    reopen: AtomicBool,
    inbox: Mutex<Inbox>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    #[expect(clippy::vec_box, reason = "they come boxed, and only pointers move while the lock is held")]
    assemblies: Vec<Box<Assembly>>,
    /// What is to be noted in the capture.
    news: Vec<Oddity>,
    /// The exchanges that had passed unrecorded when recording was paused.
    passed_before: u64,
    closed: bool,
}

impl Queue {
    /// An empty queue for at most `limit` bytes.
    pub(crate) fn new(limit: Bytes) -> Self {
        Self {
            limit: limit.as_u64(),
            held: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            full: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            pausing: AtomicBool::new(false),
            told: Mutex::default(),
            reopen: AtomicBool::new(false),
            inbox: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Takes an exchange that ended, or drops it and counts the drop.
    pub(crate) fn offer(&self, assembly: Box<Assembly>) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let size = assembly.size();
        let before = self.held.fetch_add(size, Ordering::Relaxed);
        if before + size > self.limit {
            self.held.fetch_sub(size, Ordering::Relaxed);
            self.full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inbox().assemblies.push(assembly);
        if before < WAKE && before + size >= WAKE {
            self.bell.notify_one();
        }
    }

    /// Counts an exchange that is not to be recorded.
    pub(crate) fn pass_over(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.filtered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an exchange that passed while recording was paused.
    pub(crate) fn pass_paused(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.paused.fetch_add(1, Ordering::Relaxed);
    }

    /// Pauses recording, or lets it go on; either is noted in the capture when it changes anything.
    pub(crate) fn pause(&self, paused: bool, moment: Moment) {
        let mut inbox = self.inbox();
        if self.pausing.swap(paused, Ordering::Relaxed) == paused {
            return;
        }
        let passed = self.paused.load(Ordering::Relaxed);
        let kind = if paused { EventKind::Paused } else { EventKind::Resumed };
        let amount = if paused { 0 } else { passed - inbox.passed_before };
        inbox.passed_before = passed;
        if inbox.news.len() < MOST_NEWS {
            let nanos = i64::try_from(amount).unwrap_or(i64::MAX);
            inbox.news.push(Oddity { moment, kind, nanos });
        }
    }

    /// Has `news` noted in the capture.
    pub(crate) fn note(&self, news: Oddity) {
        self.inbox().news.push(news);
    }

    /// Whether recording is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.pausing.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the writer, and the most that may.
    pub(crate) fn depth(&self) -> (Bytes, Bytes) {
        (Bytes::new(self.held.load(Ordering::Relaxed)), Bytes::new(self.limit))
    }

    /// What became of the exchanges, by the writer's latest word.
    pub(crate) fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut told = told.unwrap_or_else(|| {
            let filtered = self.elsewhere().filtered;
            Told { accounts: Tally { filtered, ..Tally::default() }, ..Told::default() }
        });
        // Counted where exchanges end, not summed up: at rest the two agree.
        told.accounts.seen = self.seen.load(Ordering::Relaxed);
        told
    }

    fn tell(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// Asks the writer to go on in a new file, where somebody moved the old one away or files rotate anyway.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
        let _inbox = self.inbox();
        self.bell.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.inbox().closed = true;
        self.bell.notify_one();
    }

    /// The accounts of a proxy that records nothing.
    pub(crate) fn totals_without_file(&self) -> Totals {
        let tally = Tally { filtered: self.elsewhere().filtered, ..Tally::default() };
        self.totals(Written { tally, files: 0, size: Bytes::new(0), unclosed: None })
    }

    fn totals(&self, written: Written) -> Totals {
        let Written { tally, files, size, unclosed } = written;
        Totals {
            // Counted where exchanges end, not summed up: the two must agree.
            seen: self.seen.load(Ordering::Relaxed),
            recorded: tally.recorded,
            filtered: tally.filtered,
            sampled_out: tally.sampled_out,
            dropped: tally.dropped,
            files,
            size,
            failed_handshakes: 0,
            unclosed,
        }
    }

    /// What has gathered, after at most [`LOOK`], and whether that was all.
    fn take(&self) -> Inbox {
        let mut inbox = self.inbox();
        if inbox.assemblies.is_empty() && !inbox.closed {
            let waited = self.bell.wait_timeout(inbox, LOOK);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let room = inbox.assemblies.len();
        let assemblies = std::mem::replace(&mut inbox.assemblies, Vec::with_capacity(room));
        let news = std::mem::take(&mut inbox.news);
        Inbox { assemblies, news, passed_before: 0, closed: inbox.closed }
    }

    fn elsewhere(&self) -> Elsewhere {
        Elsewhere {
            filtered: self.filtered.load(Ordering::Relaxed),
            queue_full: self.full.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what comes through `queue` until it is closed and empty.
pub(crate) fn write_all(
    queue: &Arc<Queue>,
    mut outlet: Outlet<Segments>,
    clock: Clock,
    mut notice: impl FnMut(Notice),
) -> Totals {
    let watch = Watch::begin(clock);
    let mut due = clock.now().plus(FLUSH);
    loop {
        let Inbox { assemblies, news, closed, .. } = queue.take();
        for (index, assembly) in assemblies.into_iter().enumerate() {
            let size = assembly.size();
            outlet.record(*assembly);
            let held = queue.held.fetch_sub(size, Ordering::Relaxed);
            if index % BREATH == 0 && held < queue.limit / SHALLOW {
                std::thread::yield_now();
            }
            if index % STRIDE == STRIDE - 1 {
                due = flush_when_due(queue, &mut outlet, clock, due, &mut notice);
            }
        }
        for oddity in news.into_iter().chain(watch.take()) {
            outlet.note(oddity);
        }
        due = flush_when_due(queue, &mut outlet, clock, due, &mut notice);
        if queue.reopen.swap(false, Ordering::Relaxed) {
            outlet.reopen(clock.moment(), queue.elsewhere());
        }
        if closed {
            break;
        }
    }
    queue.totals(outlet.finish(clock.moment(), queue.elsewhere()))
}

fn flush_when_due(
    queue: &Queue,
    outlet: &mut Outlet<Segments>,
    clock: Clock,
    due: Offset,
    notice: &mut impl FnMut(Notice),
) -> Offset {
    if clock.now() < due && !outlet.is_over() {
        return due;
    }
    let now = clock.moment();
    outlet.flush(now, queue.elsewhere());
    queue.tell(outlet.told(queue.elsewhere()));
    outlet.take_notices().into_iter().for_each(notice);
    now.at.plus(FLUSH)
}

#[cfg(test)]
mod tests {
    use captures::{ConnectionId, ExchangeId};

    use super::*;

    fn assembly(id: u64) -> Box<Assembly> {
        let head = vec![b'x'; 1_000];
        Box::new(Assembly::begin(ExchangeId(id), ConnectionId(0), Offset::ZERO, head))
    }

    #[test]
    fn above_its_limit_the_queue_drops_the_newest_and_counts_it() {
        let queue = Queue::new(Bytes::new(3 * assembly(0).size()));
        for id in 0..5 {
            queue.offer(assembly(id));
        }
        queue.close();

        let inbox = queue.take();

        assert_eq!(inbox.assemblies.len(), 3);
        assert!(inbox.closed);
        assert_eq!(queue.elsewhere(), Elsewhere { filtered: 0, queue_full: 2, paused: 0 });
        assert_eq!(queue.seen.load(Ordering::Relaxed), 5);
    }
}
