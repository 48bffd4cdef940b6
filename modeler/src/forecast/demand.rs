//! Demand against capacity, path by path: the one comparison that exhaustion, machines, scenarios and risks
//! are all made of.
//!
//! A path has its own draw of the capacity, so that the uncertainty of both meets where it belongs.

use jiff::civil::{Date, DateTime};

use super::history::Step;
use super::types::CapacityGiven;
use crate::resample::{generator, normal};

/// A 95 % interval is so many standard deviations wide.
const WIDTH_95: f64 = 2.0 * 1.959_964;

/// Simulated futures.
#[derive(Clone, Debug)]
pub(super) struct Futures {
    /// The length of a step.
    pub(super) step: Step,
    /// The moment of each step.
    pub(super) moments: Vec<DateTime>,
    /// By path and step: requests per second in the busiest minute.
    pub(super) peaks: Vec<Vec<f64>>,
    /// By step: the mean volume over all paths.
    pub(super) volumes: Vec<f64>,
    /// By step: whether an event lies on it.
    pub(super) is_event: Vec<bool>,
    /// By path: the capacity over the given one.
    pub(super) luck: Vec<f64>,
    /// The capacity, requests per second.
    pub(super) capacity: f64,
}

/// One way to look at the futures: each step's demand, and the capacity, multiplied.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) futures: &'a Futures,
    /// By step.
    pub(super) demand: Vec<f64>,
    /// Of the capacity.
    pub(super) capacity: f64,
    /// By path, of its capacity: what is not known of the factor above.
    pub(super) doubt: Vec<f64>,
}

/// The draws of `capacity` over it, one a path.
pub(super) fn luck(capacity: CapacityGiven, paths: usize, seed: u64) -> Vec<f64> {
    let mut chance = generator(seed, 4);
    let spread = capacity.interval.map_or(0.0, |interval| {
        let (low, high) = (interval.low.as_per_second(), interval.high.as_per_second());
        if low > 0.0 && high > low { ((high / low).ln() / WIDTH_95).min(1.0) } else { 0.0 }
    });
    (0..paths).map(|_| (spread * normal(&mut chance)).exp()).collect()
}

impl Futures {
    /// As they are expected.
    pub(super) fn as_expected(&self) -> View<'_> {
        View {
            futures: self,
            demand: vec![1.0; self.moments.len()],
            capacity: 1.0,
            doubt: vec![1.0; self.luck.len()],
        }
    }

    /// The steps of each month, in order.
    pub(super) fn months(&self) -> Vec<(Date, std::ops::Range<usize>)> {
        let mut months: Vec<(Date, std::ops::Range<usize>)> = Vec::new();
        for (index, at) in self.moments.iter().enumerate() {
            let month = at.date().first_of_month();
            match months.last_mut() {
                Some((known, steps)) if *known == month => steps.end = index + 1,
                _ => months.push((month, index..index + 1)),
            }
        }
        months
    }
}

impl View<'_> {
    /// The capacity of a path, requests per second.
    pub(super) fn capacity_of(&self, path: usize) -> f64 {
        self.futures.capacity * self.capacity * self.doubt[path] * self.futures.luck[path]
    }

    /// The demand of a path at a step over the capacity of that path.
    pub(super) fn load(&self, path: usize, step: usize) -> f64 {
        self.futures.peaks[path][step] * self.demand[step] / self.capacity_of(path)
    }

    /// The first step on which a path exceeds its capacity.
    pub(super) fn first_excess(&self, path: usize) -> Option<usize> {
        (0..self.futures.moments.len()).find(|&step| self.load(path, step) > 1.0)
    }

    /// By path: the highest load on `steps`.
    pub(super) fn highest(&self, steps: &std::ops::Range<usize>) -> Vec<f64> {
        (0..self.futures.peaks.len())
            .map(|path| steps.clone().map(|step| self.load(path, step)).fold(0.0, f64::max))
            .collect()
    }
}

/// The share of `loads` that exceed the capacity.
pub(super) fn share_short(loads: &[f64]) -> f64 {
    loads.iter().filter(|load| **load > 1.0).count() as f64 / loads.len().max(1) as f64
}
