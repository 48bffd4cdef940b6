//! How long a sender sleeps, so that it is awake when something is due.
//!
//! A machine wakes a sleeper later than it was asked to, mostly by about the same. So the sleep ends that much
//! earlier, and the rest is waited out awake: 20 µs at most, and no more than three tenths of all the time. A
//! sender that is always awake has its processor taken away for milliseconds, and hides that it is at its limit.

use std::time::Duration;

use captures::Offset;

/// The longest wait without sleep.
const SPIN: Duration = Duration::from_micros(20);
/// By so much the running median moves at each sleep.
const STEP: Duration = Duration::from_nanos(250);
/// One part in so many of the time may be waited out awake.
const SPARING: u32 = 3;
/// The most of it that can be saved up.
const MOST_SAVED: Duration = Duration::from_micros(500);

/// Knows how late this machine wakes, and what is left of the time to be awake for nothing.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    late: Duration,
    saved: Duration,
    /// How long it was awake for nothing since this was last told.
    spun: Duration,
    /// When this was last asked, and whether it said to stay awake.
    asked: Offset,
    awake: bool,
}

impl Alarm {
    /// How long to sleep at `now` when there is nothing to do for as long as is `left`; zero to stay awake.
    pub(super) fn nap(&mut self, now: Offset, left: Duration) -> Duration {
        let passed = now.since(self.asked);
        self.asked = now;
        self.saved = if self.awake {
            self.saved.saturating_sub(passed)
        } else {
            (self.saved + passed / SPARING).min(MOST_SAVED)
        };
        let may_wait = self.saved >= SPIN;
        self.awake = may_wait && !left.is_zero() && left <= SPIN;
        match (self.awake, may_wait) {
            (true, _) => Duration::ZERO,
            (false, true) => left.saturating_sub(self.late.min(SPIN)),
            (false, false) => left,
        }
    }

    /// A sleep of `asked`, or a look without one, which nothing cut short, took `slept`.
    pub(super) fn woke(&mut self, asked: Duration, slept: Duration) {
        if self.awake {
            self.spun += slept;
        }
        if asked.is_zero() {
            return;
        }
        if slept > asked + self.late {
            self.late = (self.late + STEP).min(2 * SPIN);
        } else {
            self.late = self.late.saturating_sub(STEP);
        }
    }

    /// The CPU time since this was last asked that was no work.
    pub(super) fn take_spun(&mut self) -> Duration {
        std::mem::take(&mut self.spun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn it_sleeps_less_by_what_the_machine_oversleeps() {
        let mut alarm = Alarm::default();
        let mut now = Offset::ZERO;
        for _ in 0..1_000 {
            now = now.plus(micros(1_000));
            let nap = alarm.nap(now, micros(800));
            // Twelve microseconds late each time, and a millisecond now and then.
            alarm.woke(nap, nap + micros(if now.as_nanos().is_multiple_of(9_000_000) { 1_000 } else { 12 }));
        }
        let early = micros(800) - alarm.nap(now.plus(micros(1_000)), micros(800));
        assert!((micros(11)..=micros(13)).contains(&early), "{early:?}");
    }

    #[test]
    fn however_late_it_is_woken_it_waits_twenty_microseconds_at_most() {
        let mut alarm = Alarm::default();
        let mut now = Offset::ZERO;
        for _ in 0..1_000 {
            now = now.plus(micros(1_000));
            let nap = alarm.nap(now, micros(800));
            alarm.woke(nap, nap + micros(300));
        }
        assert_eq!(alarm.nap(now.plus(micros(1_000)), micros(800)), micros(780));
        assert_eq!(alarm.nap(now.plus(micros(2_000)), micros(20)), Duration::ZERO);
    }

    #[test]
    fn it_is_not_awake_for_more_than_a_third_of_the_time() {
        let mut alarm = Alarm::default();
        let (mut now, mut awake) = (Offset::ZERO, Duration::ZERO);
        for _ in 0..100_000 {
            let left = micros(15);
            let nap = alarm.nap(now, left);
            if nap.is_zero() {
                alarm.woke(nap, micros(1));
                awake += micros(1);
                now = now.plus(micros(1));
            } else {
                now = now.plus(left);
            }
        }
        let share = awake.as_secs_f64() / now.as_secs_f64();
        assert!((0.2..0.3).contains(&share), "{share}");
        assert_eq!((alarm.take_spun(), alarm.take_spun()), (awake, Duration::ZERO));
    }
}
