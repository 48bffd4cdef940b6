//! Exact, mergeable quantiles of lengths of time.
//!
//! An HdrHistogram over whole microseconds with three significant digits: every quantile is within 0.1 %
//! of the true sample, and merging loses nothing. Stored as the pairs of value and count that occur; kept so in
//! memory, too, as long as they are few.

use std::time::Duration;

use hdrhistogram::Histogram as Hdr;

/// Lengths above this are recorded as this: one hour.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Up to so many different values are kept as a list, which is small; more as an HdrHistogram, which is quick.
const FEW: usize = 256;

/// Lengths of time, by count.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Counts,
}

/// Both forms hold the same values: those that HdrHistogram would.
#[derive(Clone, Debug)]
enum Counts {
    /// Pairs of (microseconds, count), ascending. A second of a quiet route has a handful of them, where
    /// HdrHistogram takes tens of kilobytes; and a run has many seconds.
    Few(Vec<(u64, u64)>),
    Many(Box<Hdr<u64>>),
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.pairs().eq(other.pairs())
    }
}

impl Histogram {
    /// With nothing in it.
    pub const fn new() -> Self {
        Self { counts: Counts::Few(Vec::new()) }
    }

    /// Counts `length` once.
    pub fn record(&mut self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(LONGEST_MICROS);
        self.record_micros(micros, 1);
    }

    /// Counts a length of `micros` microseconds `count` times; used by readers of stored pairs.
    pub fn record_micros(&mut self, micros: u64, count: u64) {
        let micros = micros.min(LONGEST_MICROS);
        match &mut self.counts {
            Counts::Many(counts) => {
                // Cannot fail: the histogram resizes itself and the value is bounded.
                let _ = counts.record_n(micros, count);
            }
            Counts::Few(pairs) => {
                let micros = highest_equivalent(micros);
                match pairs.binary_search_by_key(&micros, |&(known, _)| known) {
                    Ok(at) => pairs[at].1 = pairs[at].1.saturating_add(count),
                    Err(_) if count == 0 => {}
                    Err(at) if pairs.len() < FEW => pairs.insert(at, (micros, count)),
                    Err(_) => {
                        let mut counts = dense(pairs);
                        let _ = counts.record_n(micros, count);
                        self.counts = Counts::Many(counts);
                    }
                }
            }
        }
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        if let (Counts::Many(counts), Counts::Many(others)) = (&mut self.counts, &other.counts) {
            // Cannot fail: the histogram resizes itself.
            let _ = counts.add(&**others);
            return;
        }
        for (micros, count) in other.pairs() {
            self.record_micros(micros, count);
        }
    }

    /// How many lengths were counted.
    pub fn len(&self) -> u64 {
        match &self.counts {
            Counts::Few(pairs) => pairs.iter().fold(0, |sum: u64, &(_, count)| sum.saturating_add(count)),
            Counts::Many(counts) => counts.len(),
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The smallest length such that at least the share `quantile` (in `0..=1`) of all is not longer.
    ///
    /// Zero when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let quantile = quantile.clamp(0.0, 1.0);
        Duration::from_micros(match &self.counts {
            Counts::Many(counts) => counts.value_at_quantile(quantile),
            Counts::Few(pairs) => {
                let wanted = (quantile * self.len() as f64).ceil().max(1.0) as u64;
                let mut seen = 0_u64;
                let at = pairs.iter().find(|&&(_, count)| {
                    seen = seen.saturating_add(count);
                    seen >= wanted
                });
                let found = at.or(pairs.last()).map_or(0, |&(micros, _)| micros);
                // As HdrHistogram has it: the least of all may be as short as the values it stands for.
                if quantile == 0.0 { lowest_equivalent(found) } else { found }
            }
        })
    }

    /// The arithmetic mean; zero when nothing was counted.
    pub fn mean(&self) -> Duration {
        let mean = match &self.counts {
            Counts::Many(counts) => counts.mean(),
            Counts::Few(pairs) => {
                let middle = |micros: u64| f64::midpoint(micros as f64, lowest_equivalent(micros) as f64);
                let sum: f64 = pairs.iter().map(|&(micros, count)| middle(micros) * count as f64).sum();
                sum / self.len().max(1) as f64
            }
        };
        Duration::from_secs_f64(mean.max(0.0) / 1e6)
    }

    /// The longest length; zero when nothing was counted.
    pub fn max(&self) -> Duration {
        Duration::from_micros(match &self.counts {
            Counts::Few(pairs) => pairs.last().map_or(0, |&(micros, _)| micros),
            Counts::Many(counts) if counts.is_empty() => 0,
            Counts::Many(counts) => counts.max(),
        })
    }

    /// The share of lengths that are longer than `limit`, in `0..=1`; zero when nothing was counted.
    pub fn share_above(&self, limit: Duration) -> f64 {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(LONGEST_MICROS).min(LONGEST_MICROS);
        if self.is_empty() {
            return 0.0;
        }
        let within = match &self.counts {
            Counts::Many(counts) => counts.count_between(0, micros),
            Counts::Few(pairs) => {
                let within = pairs.partition_point(|&(known, _)| known <= highest_equivalent(micros));
                pairs[..within].iter().map(|&(_, count)| count).sum()
            }
        };
        1.0 - within as f64 / self.len() as f64
    }

    /// The pairs of (microseconds, count) that occur, in ascending order.
    pub fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (few, many) = match &self.counts {
            Counts::Few(pairs) => (Some(pairs.iter().copied()), None),
            Counts::Many(counts) => (
                None,
                Some(counts.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))),
            ),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}

/// The bits that three significant digits take: 2048 values are told apart before neighbours are thrown together.
const EXACT_BITS: u32 = 11;

/// How many neighbouring values HdrHistogram takes for one, as a power of two.
const fn shared_bits(micros: u64) -> u32 {
    (u64::BITS - micros.leading_zeros()).saturating_sub(EXACT_BITS)
}

/// The highest value that HdrHistogram takes for the same.
const fn highest_equivalent(micros: u64) -> u64 {
    let bits = shared_bits(micros);
    (((micros >> bits) + 1) << bits) - 1
}

const fn lowest_equivalent(micros: u64) -> u64 {
    let bits = shared_bits(micros);
    (micros >> bits) << bits
}

fn dense(pairs: &[(u64, u64)]) -> Box<Hdr<u64>> {
    let mut counts = Hdr::new(3).expect("three significant digits are within 0..=5");
    counts.auto(true);
    for &(micros, count) in pairs {
        // Cannot fail: the histogram resizes itself and the value is bounded.
        let _ = counts.record_n(micros.min(LONGEST_MICROS), count);
    }
    Box::new(counts)
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
    fn a_list_and_an_hdr_histogram_say_the_same() {
        let mut draw = 1_u64;
        for size in [1_usize, 2, 50, 250] {
            let mut few = Histogram::new();
            for _ in 0..size {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                few.record_micros((draw >> 33) >> (draw % 31), 1 + draw % 3);
            }
            let Counts::Few(pairs) = &few.counts else { panic!("{size} values are few") };
            let many = Histogram { counts: Counts::Many(dense(pairs)) };
            assert_eq!(few, many);
            assert_eq!((few.len(), few.max(), few.is_empty()), (many.len(), many.max(), many.is_empty()));
            for quantile in [0.0, 0.001, 0.5, 0.9, 0.99, 1.0] {
                assert_eq!(few.quantile(quantile), many.quantile(quantile), "{quantile} of {size}");
                let limit = many.quantile(quantile) + Duration::from_micros(1);
                assert!((few.share_above(limit) - many.share_above(limit)).abs() < 1e-12);
            }
            let (one, other) = (few.mean().as_secs_f64(), many.mean().as_secs_f64());
            assert!((one - other).abs() <= 1e-3 * other + 1e-6, "{one} {other}");
        }
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
