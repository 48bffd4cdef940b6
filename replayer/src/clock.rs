//! The one place of this crate that reads a clock.
//!
//! Moments are nanoseconds of the monotonic clock since a start that all threads of a run share, so that a
//! jump of the wall clock moves nothing.

use std::time::{Duration, Instant};

use captures::Offset;
use rustix::time::{ClockId, clock_gettime};

/// A run's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that stands at zero until `lead` has passed, and then runs.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn starting_in(lead: Duration) -> Self {
        Self { start: Instant::now() + lead }
    }

    /// The moment now; zero before the start.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Offset {
        let elapsed = Instant::now().saturating_duration_since(self.start);
        Offset::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long it is until the start; zero afterwards.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn until_start(&self) -> Duration {
        self.start.saturating_duration_since(Instant::now())
    }
}

/// The CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

/// The CPU time that all threads of this process have used.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
