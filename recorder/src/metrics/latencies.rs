//! A histogram of times as Prometheus reads it: fixed bounds, so that recorders can be added up.

use std::time::Duration;

/// Upper bounds of the buckets; what is longer falls into one more.
const BOUNDS: [Duration; 15] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// How long something took, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BOUNDS.len() + 1],
    total: Duration,
}

impl Latencies {
    /// How many took at most so long, for each bound, ascending. Those that took longer are in none.
    pub fn at_most(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        BOUNDS.iter().zip(&self.counts).scan(0, |so_far, (&bound, count)| {
            *so_far += count;
            Some((bound, *so_far))
        })
    }

    /// How many there were.
    pub fn count_all(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    pub const fn total(&self) -> Duration {
        self.total
    }

    pub(super) fn count(&mut self, took: Duration) {
        self.counts[BOUNDS.partition_point(|&bound| bound < took)] += 1;
        self.total += took;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours += theirs;
        }
        self.total += other.total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut latencies = Latencies::default();
        for millis in [0, 1, 2, 60_000] {
            latencies.count(Duration::from_millis(millis));
        }

        let counts: Vec<u64> = latencies.at_most().map(|(_, count)| count).collect();

        assert_eq!(counts, [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!((latencies.count_all(), latencies.total()), (4, Duration::from_millis(60_003)));
    }
}
