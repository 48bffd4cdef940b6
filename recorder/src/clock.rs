//! Reads the clock: the one place of the recorder that does.
//!
//! Offsets come from the monotonic clock, so that a step of the wall clock cannot reorder a capture; the
//! wall clock is read once, to say when offset zero was.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use captures::Offset;

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock at offset zero, and says when that was in nanoseconds since 1970-01-01 UTC.
    #[expect(clippy::disallowed_methods, reason = "this is the recorder's clock")]
    pub(crate) fn start() -> (Self, i128) {
        let wall = SystemTime::now();
        let nanos = |length: std::time::Duration| i128::try_from(length.as_nanos()).unwrap_or(i128::MAX);
        let started = match wall.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        };
        (Self { origin: Instant::now() }, started)
    }

    /// This moment.
    pub(crate) fn now(&self) -> Offset {
        Offset::ZERO.plus(self.origin.elapsed())
    }
}
