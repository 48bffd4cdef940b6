//! Decides whether an address takes requests, from what became of connections and checks.
//!
//! Passive: an address that took no connection is passed over for [`SKIP`] where there are others; then one
//! request, which must be one that may be repeated, tries it again while the rest still pass over it. Active,
//! when asked for: checks at an interval, `fall` failures in a row mark it down and `rise` successes up again.
//!
//! All workers share this. A mark only orders the candidates: when every address is marked, they are tried all
//! the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use captures::Offset;

/// How long an address that took no connection is passed over.
const SKIP: Duration = Duration::from_secs(10);

/// The health of one address.
#[derive(Debug)]
pub(crate) struct Health {
    /// What the checks say; up without any.
    checked_up: AtomicBool,
    /// Until when it is passed over, in nanoseconds of the recording's clock; zero when its last connection
    /// came about.
    skipped_until: AtomicU64,
}

impl Health {
    /// Up, until something says otherwise.
    pub(crate) const fn new() -> Self {
        Self { checked_up: AtomicBool::new(true), skipped_until: AtomicU64::new(0) }
    }

    /// Whether all that is known says that it takes requests.
    pub(crate) fn is_up(&self) -> bool {
        self.checked_up.load(Ordering::Relaxed) && self.skipped_until.load(Ordering::Relaxed) == 0
    }

    /// Whether a request may go there; `probing` ones also when it is time to try it again.
    pub(crate) fn is_usable(&self, now: Offset, probing: bool) -> bool {
        let skipped = self.skipped_until.load(Ordering::Relaxed);
        self.checked_up.load(Ordering::Relaxed) && (skipped == 0 || (probing && skipped <= nanos(now)))
    }

    /// Takes the right to go there: of all that would try it again at a time, one gets it.
    pub(crate) fn claim(&self, now: Offset) -> bool {
        let skipped = self.skipped_until.load(Ordering::Relaxed);
        let until = nanos(now.plus(SKIP));
        skipped == 0
            || self
                .skipped_until
                .compare_exchange(skipped, until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// It took no connection.
    pub(crate) fn on_refused(&self, now: Offset) {
        self.skipped_until.store(nanos(now.plus(SKIP)), Ordering::Relaxed);
    }

    /// It took a connection.
    pub(crate) fn on_connected(&self) {
        if self.skipped_until.load(Ordering::Relaxed) != 0 {
            self.skipped_until.store(0, Ordering::Relaxed);
        }
    }

    /// A check passed or failed, and the checks say in all that it is up or down.
    pub(crate) fn on_checked(&self, up: bool, passed: bool) {
        self.checked_up.store(up, Ordering::Relaxed);
        if passed {
            self.on_connected();
        }
    }
}

/// What checks in a row say.
#[derive(Debug)]
pub(crate) struct Streak {
    rise: u32,
    fall: u32,
    up: bool,
    /// How many checks in a row said the opposite of `up`.
    against: u32,
}

impl Streak {
    /// Up before the first check: a recorder that starts before its upstream must not wait for checks.
    pub(crate) const fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, up: true, against: 0 }
    }

    /// Whether it is up after one more check.
    pub(crate) fn on_check(&mut self, passed: bool) -> bool {
        if passed == self.up {
            self.against = 0;
            return self.up;
        }
        self.against += 1;
        if self.against >= if self.up { self.fall } else { self.rise } {
            self.up = passed;
            self.against = 0;
        }
        self.up
    }
}

fn nanos(at: Offset) -> u64 {
    at.as_nanos().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refused_is_passed_over_and_then_tried_by_one() {
        let at = |seconds| Offset::ZERO.plus(Duration::from_secs(seconds));
        let health = Health::new();
        assert!(health.is_up() && health.is_usable(at(0), false) && health.claim(at(0)));

        health.on_refused(at(5));
        assert!(!health.is_up());
        assert!(!health.is_usable(at(14), true));
        assert!(!health.is_usable(at(15), false));
        assert!(health.is_usable(at(15), true));

        assert!(health.claim(at(15)));
        assert!(!health.is_usable(at(15), true) && !health.is_usable(at(24), true));
        assert!(health.is_usable(at(25), true));

        health.on_connected();
        assert!(health.is_up() && health.is_usable(at(25), false));
    }

    #[test]
    fn a_check_that_passes_ends_the_passing_over() {
        let health = Health::new();
        health.on_refused(Offset::ZERO);
        health.on_checked(false, false);
        health.on_connected();
        assert!(!health.is_up());

        health.on_refused(Offset::ZERO);
        health.on_checked(true, true);
        assert!(health.is_up());
    }

    #[test]
    fn it_takes_fall_failures_in_a_row_to_be_down_and_rise_successes_to_be_up() {
        let mut streak = Streak::new(2, 3);
        let after = |streak: &mut Streak, checks: &str| {
            checks
                .bytes()
                .map(|check| if streak.on_check(check == b'+') { 'u' } else { 'd' })
                .collect::<String>()
        };
        assert_eq!(after(&mut streak, "+--+--"), "uuuuuu");
        assert_eq!(after(&mut streak, "-"), "d");
        assert_eq!(after(&mut streak, "+-+-"), "dddd");
        assert_eq!(after(&mut streak, "++"), "du");
    }
}
