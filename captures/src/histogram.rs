//! Exact, mergeable quantiles of lengths of time.
//!
//! An HdrHistogram over whole microseconds with three significant digits: every quantile is within 0.1 %
//! of the true sample, and merging loses nothing. Stored as the pairs of value and count that occur.

use std::time::Duration;

use hdrhistogram::Histogram as Hdr;

/// Lengths above this are recorded as this: one hour.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Lengths of time, by count.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Hdr<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts
    }
}

impl Histogram {
    /// With nothing in it.
    pub fn new() -> Self {
        let mut counts = Hdr::new(3).expect("three significant digits are within 0..=5");
        counts.auto(true);
        Self { counts }
    }

    /// Counts `length` once.
    pub fn record(&mut self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(LONGEST_MICROS);
        self.record_micros(micros, 1);
    }

    /// Counts a length of `micros` microseconds `count` times; used by readers of stored pairs.
    pub fn record_micros(&mut self, micros: u64, count: u64) {
        // Cannot fail: the histogram resizes itself and the value is bounded.
        let _ = self.counts.record_n(micros.min(LONGEST_MICROS), count);
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        // Cannot fail: the histogram resizes itself.
        let _ = self.counts.add(&other.counts);
    }

    /// How many lengths were counted.
    pub fn len(&self) -> u64 {
        self.counts.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The smallest length such that at least the share `quantile` (in `0..=1`) of all is not longer.
    ///
    /// Zero when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.counts.value_at_quantile(quantile.clamp(0.0, 1.0)))
    }

    /// The arithmetic mean; zero when nothing was counted.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.counts.mean().max(0.0) / 1e6)
    }

    /// The longest length; zero when nothing was counted.
    pub fn max(&self) -> Duration {
        Duration::from_micros(if self.is_empty() { 0 } else { self.counts.max() })
    }

    /// The share of lengths that are longer than `limit`, in `0..=1`; zero when nothing was counted.
    pub fn share_above(&self, limit: Duration) -> f64 {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(LONGEST_MICROS);
        if self.is_empty() {
            return 0.0;
        }
        let within = self.counts.count_between(0, micros.min(LONGEST_MICROS));
        1.0 - within as f64 / self.counts.len() as f64
    }

    /// The pairs of (microseconds, count) that occur, in ascending order.
    pub fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth_of_the_sample() {
        let mut histogram = Histogram::new();
        for micros in 1..=100_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let p99 = histogram.quantile(0.99).as_micros() as f64;
        assert!((p99 / 99_000.0 - 1.0).abs() < 1e-3, "{p99}");
        assert_eq!(histogram.len(), 100_000);
        assert!((histogram.share_above(Duration::from_millis(90)) - 0.1).abs() < 1e-3);
    }

    #[test]
    fn stored_pairs_restore_the_histogram_exactly() {
        let mut histogram = Histogram::new();
        for value in [0_u64, 1, 7, 1_023, 1_024, 50_000, 50_000, 9_999_999, u64::MAX] {
            histogram.record_micros(value, 1);
        }
        let mut restored = Histogram::new();
        for (micros, count) in histogram.pairs() {
            restored.record_micros(micros, count);
        }
        assert_eq!(histogram, restored);
    }

    #[test]
    fn merging_is_the_same_as_recording_into_one() {
        let (mut one, mut other, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for micros in 0..1_000_u64 {
            let length = Duration::from_micros(micros * micros);
            if micros % 2 == 0 {
                one.record(length)
            } else {
                other.record(length)
            }
            both.record(length);
        }
        one.merge(&other);
        assert_eq!(one, both);
    }
}
