//! The ceiling of the rate: no 100 ms may see more requests leave than this, whatever was missed before.
//!
//! After a stall everything that became due meanwhile would leave at once: a load that nobody planned. What is
//! above the ceiling waits; what waits too long is skipped and counted. The ceiling is the plan's own peak, as
//! far as the plan is made (always some seconds ahead), and a tenth more, because a request that is late by a
//! millisecond is not to be skipped for it; or what the user set.

use std::sync::Mutex;
use std::time::Duration;

use captures::Offset;

/// Time is counted in slots of 5 ms: all that a stretch of 100 ms touches are at most 21.
const SLOT_NANOS: u64 = 5_000_000;
const SLOTS: usize = 21;

/// What is over the ceiling may wait for so long from when it could have left.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// Counts what leaves, for all threads together.
#[derive(Debug)]
pub(crate) struct Ceiling {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    limit: u64,
    is_set: bool,
    slot: u64,
    slots: [u64; SLOTS],
    sum: u64,
}

impl Ceiling {
    /// Of so many in 100 ms; `None`: what the plan will say.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        let counts = Counts {
            limit: limit.unwrap_or(0).max(1),
            is_set: limit.is_some(),
            slot: 0,
            slots: [0; SLOTS],
            sum: 0,
        };
        Self { counts: Mutex::new(counts) }
    }

    /// The plan has so many in some 100 ms.
    pub(crate) fn on_peak(&self, peak: u64) {
        let mut counts = self.counts();
        if !counts.is_set {
            counts.limit = counts.limit.max(peak + peak / 10 + 8);
        }
    }

    /// Whether one more may leave now; counts it if so.
    pub(crate) fn admits(&self, now: Offset) -> bool {
        let mut counts = self.counts();
        let slot = now.as_nanos() / SLOT_NANOS;
        // Another thread's clock may be a moment behind: what it sends counts for the newer slot.
        let passed = slot.saturating_sub(counts.slot).min(SLOTS as u64);
        for step in 1..=passed {
            let at = usize::try_from((counts.slot + step) % SLOTS as u64).unwrap_or(0);
            counts.sum -= std::mem::take(&mut counts.slots[at]);
        }
        if passed == SLOTS as u64 {
            counts.slots = [0; SLOTS];
            counts.sum = 0;
        }
        counts.slot = counts.slot.max(slot);
        if counts.sum >= counts.limit {
            return false;
        }
        let at = usize::try_from(counts.slot % SLOTS as u64).unwrap_or(0);
        counts.slots[at] += 1;
        counts.sum += 1;
        true
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Nothing is left half done under the lock.
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_hundred_milliseconds_see_more_than_the_ceiling(
            limit in 1_u64..40,
            gaps in proptest::collection::vec(0_u64..12_000, 1..400),
        ) {
            let ceiling = Ceiling::new(Some(limit));
            let (mut at, mut left) = (Offset::ZERO, Vec::new());
            for gap in gaps {
                at = at.plus(Duration::from_micros(gap));
                if ceiling.admits(at) {
                    left.push(at);
                }
            }
            for (first, from) in left.iter().enumerate() {
                let within = left[first..].iter().take_while(|to| to.since(*from) < Duration::from_millis(100));
                prop_assert!(within.count() as u64 <= limit);
            }
        }
    }

    #[test]
    fn what_the_plan_holds_passes_and_a_burst_after_a_stall_does_not() {
        // A thousand a second: a hundred in 100 ms.
        let ceiling = Ceiling::new(None);
        ceiling.on_peak(100);
        let admitted =
            |from: u64, to: u64| (from..to).filter(|&ms| ceiling.admits(Offset::from_millis(ms))).count();
        assert_eq!(admitted(0, 2_000), 2_000);
        let burst = (0..2_000).filter(|_| ceiling.admits(Offset::from_millis(4_000))).count();
        assert_eq!(burst, 118);
        // Much later all is forgotten.
        assert_eq!(admitted(9_000, 9_100), 100);
    }
}
