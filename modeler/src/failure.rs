//! Failures against offered load: `p = f + (1 − f) / (1 + (h/x)^s)`, a logistic curve on the logarithm of the load.
//!
//! A pool that refuses, a timeout, a full queue: failures are rare up to a load, then take over. Where only one load
//! shows them nothing tells how steeply, and a monotone line between the loads is all that is said.

use captures::Rate;

use crate::latency::rising;
use crate::regression::{self, Problem};

/// The share of failures as a function of offered load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureCurve {
    /// `f`: the share of requests that fails without load, in `0..=1`.
    pub floor_ratio: f64,
    /// `h`: where half of the others fail.
    pub half_at: Rate,
    /// `s`: how steeply.
    pub steepness: f64,
}

/// What one load showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Failing {
    pub(crate) offered: f64,
    pub(crate) ratio: f64,
    pub(crate) outcomes: f64,
}

/// `f`, `ln h` and `s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Curve {
    pub(crate) floor: f64,
    pub(crate) middle: f64,
    pub(crate) steepness: f64,
}

/// The fewest loads, and among them with failures beyond the floor, that tell three parameters.
const LEAST_LOADS: usize = 4;
const LEAST_FAILING: usize = 2;
/// Failures come in swarms: their share at one load varies by so much of itself beyond chance.
const SWARM_RATIO: f64 = 0.2;
/// A curve that misses the loads by more than this (mean square in standard deviations) is not used.
const WORST_MISS: f64 = 6.0;

impl Curve {
    pub(crate) fn ratio_at(&self, offered: f64) -> f64 {
        let rise = 1.0 / (1.0 + (self.steepness * (self.middle - offered.max(1e-12).ln())).exp());
        self.floor + (1.0 - self.floor) * rise
    }

    /// The load at which the share reaches `limit`; infinite when it never does, zero when it always has.
    pub(crate) fn offered_for(&self, limit: f64) -> f64 {
        if limit <= self.floor {
            return 0.0;
        }
        if limit >= 1.0 {
            return f64::INFINITY;
        }
        let rise = (limit - self.floor) / (1.0 - self.floor);
        (self.middle + (rise / (1.0 - rise)).ln() / self.steepness).exp()
    }
}

/// The curve through `seen` (ascending by load) by weighted least squares; `None` where it is not identified.
pub(crate) fn fit(seen: &[Failing]) -> Option<Curve> {
    let (first, last) = (seen.first()?, seen.last()?);
    let least = seen.iter().map(|each| each.ratio).fold(1.0, f64::min);
    let failing = seen.iter().filter(|each| beyond(each, least)).count();
    if seen.len() < LEAST_LOADS || failing < LEAST_FAILING || first.offered <= 0.0 {
        return None;
    }
    let loads: Vec<f64> = seen.iter().map(|each| each.offered).collect();
    let limits = [(0.0, 0.9), (first.offered.ln() - 1.0, last.offered.ln() + 3.0), (1.0, 60.0), (0.0, 1.0)];
    let of = |values: &[f64; 4]| Curve { floor: values[0], middle: values[1], steepness: values[2] };
    let predicted = |values: &[f64; 4], at: usize| of(values).ratio_at(loads[at]);
    let gradient = |values: &[f64; 4], at: usize| {
        let curve = of(values);
        let rise = (curve.ratio_at(loads[at]) - curve.floor) / (1.0 - curve.floor);
        let slope = (1.0 - curve.floor) * rise * (1.0 - rise);
        [1.0 - rise, -slope * curve.steepness, slope * (loads[at].ln() - curve.middle), 0.0]
    };
    // Where half of the limit's way is passed, by the monotone line.
    let start_at = seen.iter().find(|each| each.ratio >= 0.5).unwrap_or(last).offered.ln();
    let mut values = [least, start_at, 8.0, 0.0];
    let mut miss = f64::INFINITY;
    for _ in 0..3 {
        // The spread of a share is that of the curve, not of what chance made of it: weighed anew each round.
        let curve = of(&values);
        let observed: Vec<(f64, f64)> = seen
            .iter()
            .map(|each| {
                let fitted = if miss.is_finite() { curve.ratio_at(each.offered) } else { each.ratio };
                (each.ratio, 1.0 / deviation(fitted, each.outcomes))
            })
            .collect();
        let problem =
            Problem { count: 3, limits, observed: &observed, predicted: &predicted, gradient: &gradient };
        let solved = regression::bounded(&problem, values);
        values = solved.values;
        miss = solved.residual_sum / (seen.len() as f64 - 3.0).max(1.0);
    }
    (miss < WORST_MISS).then(|| of(&values))
}

/// The standard deviation of a share: chance, and that failures come in swarms.
fn deviation(ratio: f64, outcomes: f64) -> f64 {
    let outcomes = outcomes.max(1.0);
    // One failure more or less is always possible.
    let ratio = ratio.clamp(0.5 / outcomes, 1.0);
    (ratio * (1.0 - ratio).max(0.5 / outcomes) / outcomes).sqrt().hypot(SWARM_RATIO * ratio)
}

fn beyond(each: &Failing, least: f64) -> bool {
    each.ratio - least > 3.0 * deviation(least, each.outcomes)
}

/// The offered load at which the share of failures reaches `limit`: by the curve, else by monotone regression,
/// straight between loads.
pub(crate) fn offered_for(seen: &[Failing], limit: f64) -> f64 {
    if seen.iter().all(|each| each.ratio <= 0.0) {
        return f64::INFINITY;
    }
    if let Some(curve) = fit(seen) {
        return curve.offered_for(limit);
    }
    let ratios: Vec<f64> = seen.iter().map(|each| each.ratio).collect();
    let weights: Vec<f64> = seen.iter().map(|each| each.outcomes.max(1.0)).collect();
    let smooth = rising(&ratios, &weights);
    let Some(first) = smooth.iter().position(|ratio| *ratio >= limit) else {
        return f64::INFINITY;
    };
    if first == 0 {
        return 0.0;
    }
    let (below, above) = (seen[first - 1].offered, seen[first].offered);
    let share = (limit - smooth[first - 1]) / (smooth[first] - smooth[first - 1]).max(1e-12);
    below + (above - below) * share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(of: impl Fn(f64) -> f64) -> Vec<Failing> {
        let loads = [50.0, 100.0, 150.0, 200.0, 250.0, 300.0];
        loads.map(|offered| Failing { offered, ratio: of(offered), outcomes: 30.0 * offered }).to_vec()
    }

    /// A pool of eight places that refuses, served in 20 ms: Erlang's B, computed by its recursion.
    fn refused(offered: f64) -> f64 {
        let load = offered * 0.02;
        (1..=8).fold(1.0, |blocked, places| {
            let more = load * blocked;
            more / (f64::from(places) + more)
        })
    }

    #[test]
    fn a_pool_that_refuses_is_followed_between_and_beyond_the_loads() {
        // B(8, a) = 0.03 at a = 3.987: 199.3 a second. By Erlang's tables.
        let found = offered_for(&seen(refused), 0.03);
        assert!((found / 199.3 - 1.0).abs() < 0.04, "{found}");
        // From below: 0.01 is reached at 156.4 a second, the highest of these loads is 150.
        let lower: Vec<Failing> = [60.0, 80.0, 100.0, 120.0, 135.0, 150.0]
            .map(|offered| Failing { offered, ratio: refused(offered), outcomes: 60.0 * offered })
            .to_vec();
        let found = offered_for(&lower, 0.01);
        assert!((found / 156.4 - 1.0).abs() < 0.04, "{found}");
    }

    #[test]
    fn one_load_that_fails_tells_no_steepness() {
        let cliff = seen(|offered| if offered < 260.0 { 0.0 } else { 0.4 });
        assert_eq!(fit(&cliff), None);
        let found = offered_for(&cliff, 0.01);
        assert!((250.0..252.0).contains(&found), "{found}");
        assert_eq!(offered_for(&seen(|_| 0.0), 0.01), f64::INFINITY);
        assert_eq!(offered_for(&seen(|_| 0.02), 0.01), 0.0);
    }

    #[test]
    fn the_inverse_is_exact() {
        let curve = Curve { floor: 0.001, middle: 5.0, steepness: 7.0 };
        for limit in [0.002, 0.01, 0.5, 0.99] {
            assert!((curve.ratio_at(curve.offered_for(limit)) / limit - 1.0).abs() < 1e-9);
        }
        assert_eq!(curve.offered_for(0.0005), 0.0);
    }
}
