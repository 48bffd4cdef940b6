//! Is the candidate slower than the base, beyond noise?
//!
//! Of each route, quantiles of the response of two runs are compared as ratios. How far such a ratio strays by
//! chance is found by resampling stretches of seconds of each run (neighbours resemble each other, so they are
//! drawn together); with few stretches, by Student's distribution. Many comparisons find something by chance alone: their probabilities are corrected by
//! Holm's method, so that two runs of the same thing are called different in about one of fifty comparisons of
//! runs, however many routes there are.

mod shift;

use captures::{RouteInterval, Run};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

pub use shift::shift;

/// Quantiles that are compared, and how many responses each run must hold for it.
const QUANTILES: [(f64, u64); 3] = [(0.5, 100), (0.95, 400), (0.99, 2_000)];
/// Resamples of each run.
const RESAMPLES: usize = 200;
/// Runs are cut into about so many stretches that are drawn together.
const STRETCHES: usize = 20;
/// Fewer do not tell how far chance goes.
const FEWEST_STRETCHES: usize = 8;
/// The probability of calling equal runs different, in any of the comparisons.
const SIGNIFICANCE: f64 = 0.02;
/// A difference of error ratios below this is no regression, however certain.
const LEAST_ERRORS: f64 = 0.001;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compared {
    /// A quantile of the response, in `0..=1`.
    Quantile(f64),
    /// The share of errors.
    Errors,
}

/// One route, one number, two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The route.
    pub route: String,
    /// What of it.
    pub compared: Compared,
    /// The base: seconds, or a ratio of errors.
    pub base: f64,
    /// The candidate.
    pub candidate: f64,
    /// Candidate over base for quantiles; candidate − base for errors.
    pub change: f64,
    /// The interval of `change` that holds the true one in 95 of 100 cases, taken alone.
    pub interval: (f64, f64),
    /// The probability, corrected, of a change so far upwards when there is none.
    pub p_value: f64,
    /// Whether it is a regression: beyond chance and beyond what is allowed.
    pub regressed: bool,
    /// Whether it is an improvement by the same measure.
    pub improved: bool,
}

/// What comparing two runs came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Every comparison, in the order of the base's routes.
    pub differences: Vec<Difference>,
    /// Routes that could not be compared, and why.
    pub left_out: Vec<(String, String)>,
}

impl Comparison {
    /// The regressions.
    pub fn regressions(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.regressed)
    }
}

/// Compares `candidate` with `base`; a change for the worse by less than `allowed` (0.05: 5 %) is no regression.
pub fn compare(base: &Run, candidate: &Run, allowed: f64, seed: u64) -> Comparison {
    let mut comparison = Comparison::default();
    let mut raw = Vec::new();
    for (number, route) in base.header.routes.iter().enumerate() {
        let Some(other) = candidate.header.routes.iter().position(|name| name == route) else {
            comparison.left_out.push((route.clone(), "the candidate does not have it".to_owned()));
            continue;
        };
        let (Some(before), Some(after)) = (Series::of(base, number), Series::of(candidate, other)) else {
            comparison.left_out.push((route.clone(), "there are too few requests or seconds".to_owned()));
            continue;
        };
        let mut draw = ChaCha8Rng::seed_from_u64(seed ^ number as u64);
        raw.extend(quantiles(route, &before, &after, &mut draw));
        raw.push(errors(route, &before.sum, &after.sum));
    }
    for route in candidate.header.routes.iter().filter(|name| !base.header.routes.contains(name)) {
        comparison.left_out.push((route.clone(), "the base does not have it".to_owned()));
    }
    let upward = holm(&raw.iter().map(|one| one.upward).collect::<Vec<_>>());
    let downward = holm(&raw.iter().map(|one| one.downward).collect::<Vec<_>>());
    for ((one, upward), downward) in raw.into_iter().zip(upward).zip(downward) {
        let mut difference = one.difference;
        let (worse, better) = match difference.compared {
            Compared::Quantile(_) => {
                (difference.change > 1.0 + allowed, difference.change < 1.0 / (1.0 + allowed))
            }
            Compared::Errors => (difference.change > LEAST_ERRORS, difference.change < -LEAST_ERRORS),
        };
        difference.p_value = upward;
        difference.regressed = upward < SIGNIFICANCE && worse;
        difference.improved = downward < SIGNIFICANCE && better;
        comparison.differences.push(difference);
    }
    comparison
}

struct Raw {
    difference: Difference,
    /// One-sided probabilities of a change so far up, or down, when there is none.
    upward: f64,
    downward: f64,
}

/// One route of one run: all responses with the stretch each belongs to, ascending.
struct Series {
    sum: RouteInterval,
    stretches: usize,
    /// (microseconds, stretch, count)
    responses: Vec<(u64, usize, u64)>,
}

impl Series {
    fn of(run: &Run, route: usize) -> Option<Self> {
        let seconds: Vec<&RouteInterval> = run
            .intervals
            .iter()
            .filter_map(|interval| interval.routes.iter().find(|of| usize::from(of.route) == route))
            .filter(|of| of.total() > 0)
            .collect();
        Self::over(&seconds)
    }

    /// Of `seconds` that have outcomes, in order.
    fn over(seconds: &[&RouteInterval]) -> Option<Self> {
        let stretches = STRETCHES.min(seconds.len());
        if stretches < FEWEST_STRETCHES {
            return None;
        }
        let mut sum = RouteInterval::default();
        let mut responses = Vec::new();
        for (at, of) in seconds.iter().enumerate() {
            let stretch = at * stretches / seconds.len();
            responses.extend(of.response.pairs().map(|(micros, count)| (micros, stretch, count)));
            sum.merge(of);
        }
        responses.sort_unstable();
        (sum.response.len() >= QUANTILES[0].1).then_some(Self { sum, stretches, responses })
    }

    /// Quantiles, in microseconds, when each stretch counts so many times.
    fn quantiles(&self, times: &[u64], wanted: &[f64]) -> Vec<f64> {
        let total: u64 = self.responses.iter().map(|&(_, stretch, count)| count * times[stretch]).sum();
        let mut found = Vec::with_capacity(wanted.len());
        let mut seen = 0;
        for &(micros, stretch, count) in &self.responses {
            seen += count * times[stretch];
            while found.len() < wanted.len() && seen as f64 >= wanted[found.len()] * total as f64 && seen > 0
            {
                found.push(micros.max(1) as f64);
            }
        }
        found.resize(wanted.len(), 1.0);
        found
    }

    /// Logarithms of the quantiles of resamples: a list for each quantile.
    fn resampled(&self, wanted: &[f64], draw: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
        let mut lists = vec![Vec::with_capacity(RESAMPLES); wanted.len()];
        for _ in 0..RESAMPLES {
            let mut times = vec![0_u64; self.stretches];
            for _ in 0..self.stretches {
                times[draw.random_range(0..self.stretches)] += 1;
            }
            for (list, value) in lists.iter_mut().zip(self.quantiles(&times, wanted)) {
                list.push(value.ln());
            }
        }
        lists
    }
}

fn quantiles(route: &str, before: &Series, after: &Series, draw: &mut ChaCha8Rng) -> Vec<Raw> {
    let enough = before.sum.response.len().min(after.sum.response.len());
    let wanted: Vec<f64> =
        QUANTILES.iter().filter(|&&(_, least)| enough >= least).map(|&(quantile, _)| quantile).collect();
    quantiles_at(route, before, after, &wanted, draw)
}

fn quantiles_at(
    route: &str,
    before: &Series,
    after: &Series,
    wanted: &[f64],
    draw: &mut ChaCha8Rng,
) -> Vec<Raw> {
    let once = |series: &Series| series.quantiles(&vec![1; series.stretches], wanted);
    let (base, candidate) = (once(before), once(after));
    let (of_base, of_candidate) = (before.resampled(wanted, draw), after.resampled(wanted, draw));
    // What the resamples of a few stretches do not know of themselves.
    let freedom = (before.stretches.min(after.stretches) - 1) as f64;
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return Vec::new() };
    let widened = ((freedom + 1.0) / freedom).sqrt();
    let reach = student.inverse_cdf(0.975);
    wanted
        .iter()
        .enumerate()
        .map(|(at, &quantile)| {
            let change = (candidate[at] / base[at]).ln();
            // A quantile that no resample moves is still known to a hundredth at best.
            let error = (variance(&of_base[at]) + variance(&of_candidate[at])).sqrt().max(0.005) * widened;
            let difference = Difference {
                route: route.to_owned(),
                compared: Compared::Quantile(quantile),
                base: base[at] / 1e6,
                candidate: candidate[at] / 1e6,
                change: change.exp(),
                interval: ((change - reach * error).exp(), (change + reach * error).exp()),
                p_value: 1.0,
                regressed: false,
                improved: false,
            };
            Raw { difference, upward: student.sf(change / error), downward: student.cdf(change / error) }
        })
        .collect()
}

/// The difference of two proportions.
fn errors(route: &str, before: &RouteInterval, after: &RouteInterval) -> Raw {
    let ratio = |sum: &RouteInterval| sum.errors() as f64 / sum.total().max(1) as f64;
    let (base, candidate) = (ratio(before), ratio(after));
    let (n, m) = (before.total().max(1) as f64, after.total().max(1) as f64);
    let pooled = (before.errors() + after.errors()) as f64 / (n + m);
    let spread = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let change = candidate - base;
    let normal = Normal::standard();
    let (upward, downward) =
        if spread > 0.0 { (normal.sf(change / spread), normal.cdf(change / spread)) } else { (0.5, 0.5) };
    let difference = Difference {
        route: route.to_owned(),
        compared: Compared::Errors,
        base,
        candidate,
        change,
        interval: (change - 1.96 * spread, change + 1.96 * spread),
        p_value: 1.0,
        regressed: false,
        improved: false,
    };
    Raw { difference, upward, downward }
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len().max(2) - 1) as f64
}

/// Probabilities corrected for their number.
///
/// Source: Holm, *A simple sequentially rejective multiple test procedure* (1979).
fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&one, &other| probabilities[one].total_cmp(&probabilities[other]));
    let mut corrected = vec![1.0; probabilities.len()];
    let mut most = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        most = most.max(probabilities[at] * (probabilities.len() - rank) as f64).min(1.0);
        corrected[at] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use captures::Interval;

    use super::*;
    use crate::fixture;

    /// A minute of four routes, 40 requests a second each: log-normal responses around 20 ms, with a drift that
    /// neighbouring seconds share; the first route `slower` times as slow.
    fn run(seed: u64, slower: f64) -> Run {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = move || {
            let (radius, angle): (f64, f64) =
                (draw.random_range(f64::EPSILON..1.0), draw.random_range(0.0..1.0));
            (-2.0 * radius.ln()).sqrt() * (angle * std::f64::consts::TAU).cos()
        };
        let mut drift = [0.0; 4];
        let intervals = (0..60)
            .map(|second| {
                let mut interval = Interval { second, planned: 160, ..Interval::default() };
                for route in 0..4_u16 {
                    let of = &mut drift[usize::from(route)];
                    *of = 0.5 * *of + 0.02 * normal();
                    let level = *of;
                    let entry = interval.route_mut(route);
                    entry.statuses = vec![(200, 40)];
                    for _ in 0..40 {
                        let factor = if route == 0 { slower } else { 1.0 };
                        let ms = 20.0 * factor * (0.3 * normal() + level).exp();
                        entry.response.record(Duration::from_secs_f64(ms / 1e3));
                    }
                }
                interval
            })
            .collect();
        fixture::run(Vec::new(), (0..4).map(|route| format!("GET /{route}")).collect(), intervals)
    }

    #[test]
    fn equal_runs_are_called_equal_and_a_route_that_is_a_tenth_slower_is_found() {
        let (mut false_alarms, mut found, mut elsewhere) = (0, 0, 0);
        for seed in 0..100 {
            let base = run(3 * seed, 1.0);
            false_alarms +=
                u32::from(compare(&base, &run(3 * seed + 1, 1.0), 0.0, 1).regressions().next().is_some());
            let slower = compare(&base, &run(3 * seed + 2, 1.1), 0.03, 1);
            found += u32::from(slower.regressions().any(|difference| difference.route == "GET /0"));
            elsewhere += u32::from(slower.regressions().any(|difference| difference.route != "GET /0"));
        }
        eprintln!("A/A flagged {false_alarms}, a tenth flagged {found}, elsewhere {elsewhere} of 100");
        assert!(false_alarms <= 5, "{false_alarms} of 100 equal pairs were called different");
        assert!(found >= 95, "a tenth was found {found} times of 100");
        assert!(elsewhere <= 5, "{elsewhere}");
    }

    #[test]
    fn a_shift_says_by_how_much_each_part_of_the_distribution_moved() {
        let base = run(1, 1.0);
        let mut later = base.clone();
        // By construction every response takes 1.5 times as long.
        for entry in later.intervals.iter_mut().flat_map(|interval| &mut interval.routes) {
            let mut slower = captures::Histogram::new();
            entry.response.pairs().for_each(|(micros, count)| slower.record_micros(micros * 3 / 2, count));
            entry.response = slower;
        }
        let shifted = shift(&base, &later, 1);
        // 9 600 responses tell the 99.5 % quantile, not the 99.9 %.
        assert_eq!(shifted.last().map(|each| each.compared), Some(Compared::Quantile(0.995)));
        let held = shifted.iter().filter(|each| each.interval.0 <= 1.5 && 1.5 <= each.interval.1).count();
        assert!(held == shifted.len() && shifted.iter().all(|each| each.interval.0 > 1.2), "{shifted:?}");
        assert!(shift(&base, &Run { intervals: Vec::new(), ..run(1, 1.0) }, 1).is_empty());
    }

    #[test]
    fn errors_that_come_are_a_regression_and_those_that_go_an_improvement() {
        let base = run(1, 1.0);
        let mut worse = run(2, 1.0);
        for interval in &mut worse.intervals {
            interval.route_mut(2).statuses = vec![(200, 38), (500, 2)];
        }
        let there: Vec<Difference> = compare(&base, &worse, 0.1, 1).regressions().cloned().collect();
        assert_eq!(there.len(), 1);
        assert_eq!((there[0].route.as_str(), there[0].compared), ("GET /2", Compared::Errors));
        assert!((there[0].change - 0.05).abs() < 1e-9);
        let back = compare(&worse, &base, 0.1, 1);
        assert_eq!(back.regressions().count(), 0);
        assert!(back.differences.iter().any(|difference| difference.improved));
    }

    #[test]
    fn what_only_one_run_has_is_named_and_few_requests_are_not_judged() {
        let base = run(1, 1.0);
        let mut other = run(2, 1.0);
        other.header.routes[3] = "GET /new".to_owned();
        other.intervals.iter_mut().for_each(|interval| interval.routes.retain(|of| of.route != 2));
        let left_out = compare(&base, &other, 0.1, 1).left_out;
        let names: Vec<&str> = left_out.iter().map(|(route, _)| route.as_str()).collect();
        assert_eq!(names, ["GET /2", "GET /3", "GET /new"]);
    }

    #[test]
    fn probabilities_are_corrected_by_holms_steps() {
        // By hand: 0.01·4, 0.02·3, 0.03·2 is held up by the one before, 0.5·1.
        let corrected = holm(&[0.02, 0.5, 0.01, 0.03]);
        for (got, expected) in corrected.iter().zip([0.06, 0.5, 0.04, 0.06]) {
            assert!((got - expected).abs() < 1e-12, "{corrected:?}");
        }
    }
}
