//! The highest throughput there is.
//!
//! A load beyond what is carried measures it directly: whatever the queue does, answers come out at this
//! rate. Without such a load it is where the curves lead, and says so.

use captures::Rate;

use crate::bounds::Bounds;
use crate::fit::FamilyFit;
use crate::resample::Seen;

/// The highest throughput, whatever the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// The throughput.
    pub rate: Rate,
    /// Its 95 % interval.
    pub interval: Bounds<Rate>,
    /// Whether it was measured under more load than was carried; otherwise it is where the curves lead.
    pub measured: bool,
}

/// Saturated loads that carry less than this share of the best have collapsed, and do not measure the ceiling.
const COLLAPSE_RATIO: f64 = 0.93;

/// The ceiling that saturated loads measured; `None` without one.
///
/// A load that was carried whole and lies above their mean belongs to them: at the ceiling chance decides which
/// loads look carried, and the largest of several measurements would be too high.
pub(crate) fn measured(seen: &[Seen]) -> Option<f64> {
    let best = seen.iter().filter(|each| each.saturated).map(|each| each.throughput).reduce(f64::max)?;
    let mean = |least: f64| {
        let (sum, length) = seen
            .iter()
            .filter(|each| {
                if each.saturated {
                    each.throughput >= COLLAPSE_RATIO * best
                } else {
                    each.throughput > least
                }
            })
            .fold((0.0, 0.0), |(sum, length), each| {
                (sum + each.throughput * each.length, length + each.length)
            });
        sum / length
    };
    Some(mean(mean(f64::INFINITY)))
}

/// Where the families lead: the weighted mean of their limits; infinite when most of the weight has none.
pub(crate) fn foreseen(fits: &[FamilyFit], highest: f64) -> f64 {
    let limited: Vec<(f64, f64)> = fits
        .iter()
        .filter(|fit| fit.weight > 0.0)
        .filter_map(|fit| fit.family.limit(&fit.values).map(|limit| (fit.weight, limit)))
        .filter(|&(_, limit)| limit < 4.0 * highest)
        .collect();
    let weight: f64 = limited.iter().map(|(weight, _)| weight).sum();
    if weight < 0.5 {
        return f64::INFINITY;
    }
    limited.iter().map(|(weight, limit)| weight * limit).sum::<f64>() / weight
}
