//! Reads the clocks: the one place of the recorder that does.
//!
//! Offsets come from the clock of the machine's uptime, sleep included, so that a step of the wall clock
//! cannot reorder a capture and a machine that slept leaves a gap of the right length. The wall clock is read
//! to say when offset zero was, and to notice that somebody set it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use captures::{EventKind, Offset};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// How often the watch looks.
const LOOK: Duration = Duration::from_millis(250);
/// A process that wakes so much later than it wanted to was suspended, not just busy.
const LATE: i128 = 1_000_000_000;
/// A smaller difference between the clocks is drift, or the time between two readings.
const STEP: i128 = 20_000_000;
/// Readings of the clocks within this time count as readings of one moment; otherwise they are repeated.
const AT_ONCE: i128 = 1_000_000;
const TRIES: usize = 10;
/// At most this many oddities wait to be written.
const MOST: usize = 1_000;

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Nanoseconds of uptime at offset zero.
    origin: i128,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Offset,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(crate) wall: i128,
}

impl Clock {
    /// Starts a clock at offset zero, and says when that was in nanoseconds since 1970-01-01 UTC.
    pub(crate) fn start() -> (Self, i128) {
        let reading = Reading::take();
        (Self { origin: reading.uptime }, reading.wall)
    }

    /// This moment.
    pub(crate) fn now(&self) -> Offset {
        self.offset(nanos(ClockId::Boottime))
    }

    /// This moment, by the wall clock, too.
    pub(crate) fn moment(&self) -> Moment {
        Moment { at: self.now(), wall: wall() }
    }

    fn offset(&self, uptime: i128) -> Offset {
        Offset::from_nanos(u64::try_from(uptime - self.origin).unwrap_or(0))
    }
}

/// This moment by the wall clock, in nanoseconds since 1970-01-01 UTC.
///
/// By way of the C library, unlike the uptime: there a test can set it for one process.
#[expect(clippy::disallowed_methods, reason = "this is the recorder's clock")]
pub(crate) fn wall() -> i128 {
    let nanos = |length: Duration| i128::try_from(length.as_nanos()).unwrap_or(i128::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

fn nanos(clock: ClockId) -> i128 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
}

/// All clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Without the time that the machine slept.
    awake: i128,
    /// With it.
    uptime: i128,
    wall: i128,
}

impl Reading {
    fn take() -> Self {
        let mut before = nanos(ClockId::Boottime);
        for _ in 0..TRIES {
            let (awake, wall) = (nanos(ClockId::Monotonic), wall());
            let uptime = nanos(ClockId::Boottime);
            if uptime - before < AT_ONCE {
                return Self { awake, uptime, wall };
            }
            before = uptime;
        }
        Self { awake: nanos(ClockId::Monotonic), wall: wall(), uptime: before }
    }
}

/// Something odd about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    pub(crate) moment: Moment,
    pub(crate) kind: EventKind,
    /// By how many nanoseconds the wall clock was set, or for how many the process did not run; of other
    /// events, how much.
    pub(crate) nanos: i64,
}

/// A thread that notices steps of the wall clock and times at which the process did not run.
///
/// It is a thread of its own, because the others may rightly wait for a disk or for requests.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: Mutex<bool>,
    bell: Condvar,
    found: Mutex<Vec<Oddity>>,
}

impl Watch {
    /// Begins to watch; where the machine has no thread to spare, nothing is noticed.
    pub(crate) fn begin(clock: Clock) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("record-clock".to_owned());
        Self { shared, thread: thread.spawn(move || theirs.watch(clock)).ok() }
    }

    /// What was noticed since this was last asked.
    pub(crate) fn take(&self) -> Vec<Oddity> {
        std::mem::take(&mut self.shared.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn watch(&self, clock: Clock) {
        let mut last = Reading::take();
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            let waited = self.bell.wait_timeout(over, LOOK);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
            let now = Reading::take();
            let moment = Moment { at: clock.offset(now.uptime), wall: now.wall };
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            for (kind, nanos) in oddities(last, now) {
                if found.len() < MOST {
                    let nanos = i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX });
                    found.push(Oddity { moment, kind, nanos });
                }
            }
            last = now;
        }
    }
}

/// What was odd between two readings that were to be [`LOOK`] apart.
fn oddities(last: Reading, now: Reading) -> impl Iterator<Item = (EventKind, i128)> {
    let passed = now.uptime - last.uptime;
    let late = passed - i128::try_from(LOOK.as_nanos()).unwrap_or(0);
    let slept = passed - (now.awake - last.awake);
    let suspended = (late > LATE || slept > LATE).then_some((EventKind::Suspended, late));
    let set = (now.wall - last.wall) - passed;
    suspended.into_iter().chain((set.abs() > STEP).then_some((EventKind::ClockSet, set)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn a_clock_that_is_set_and_a_process_that_did_not_run_are_told_apart() {
        let check = |awake: i128, uptime: i128, wall: i128, expected: &[(EventKind, i128)]| {
            let last = Reading { awake: 0, uptime: 0, wall: 1_790_000_000 * SECOND };
            let now = Reading { awake, uptime, wall: last.wall + wall };
            assert_eq!(oddities(last, now).collect::<Vec<_>>(), expected);
        };
        let look = SECOND / 4;
        check(look, look, look, &[]);
        // A busy machine, and a clock that is slewed.
        check(SECOND, SECOND, SECOND + 500_000, &[]);
        check(look, look, look + 3_600 * SECOND, &[(EventKind::ClockSet, 3_600 * SECOND)]);
        check(look, look, look - SECOND / 10, &[(EventKind::ClockSet, -SECOND / 10)]);
        // Stopped by a signal, and asleep with the machine.
        check(10 * SECOND, 10 * SECOND, 10 * SECOND, &[(EventKind::Suspended, 10 * SECOND - look)]);
        check(look, 60 * SECOND, 60 * SECOND, &[(EventKind::Suspended, 60 * SECOND - look)]);
    }

    #[test]
    fn offsets_never_go_back() {
        let (clock, _) = Clock::start();
        let mut last = Offset::ZERO;
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
