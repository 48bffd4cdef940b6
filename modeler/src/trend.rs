//! Whether something grows over a soak: memory, descriptors, connections.
//!
//! The slope is Theil's and Sen's median of pairwise slopes, the test Mann's and Kendall's: neither asks for a
//! distribution, and a few outliers move neither. Neighbouring seconds resemble each other, which would make the
//! test see trends everywhere; so it works on the medians of at most sixty stretches.

use std::collections::BTreeMap;

use captures::{ObservedKind, Run, Stage};
use statrs::distribution::{ContinuousCDF, Normal};

/// At most so many stretches are compared.
const STRETCHES: usize = 60;
/// Fewer say nothing.
const FEWEST: usize = 10;

/// Fewer seconds of observation say nothing of a leak.
const LEAST_SECONDS: usize = 60;

/// How an observed number goes while the load is held.
#[derive(Clone, Debug, PartialEq)]
pub struct SteadyTrend {
    /// The number, as it was observed.
    pub name: String,
    /// Pairs of second and value, ascending: those of the level that was held for longest, warmed up.
    pub series: Vec<(f64, f64)>,
    /// How it goes.
    pub trend: Trend,
}

/// The trends of the gauges that `run` observed for a minute or longer at the level that it held for longest, by
/// name.
pub fn steady_trends(run: &Run) -> Vec<SteadyTrend> {
    let mut names: Vec<&str> = run
        .intervals
        .iter()
        .flat_map(|interval| &interval.observed)
        .filter(|one| one.kind == ObservedKind::Gauge)
        .map(|one| one.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    // What answers to load grows with it: only one level is looked at, the one that was held for longest.
    let mut levels: BTreeMap<u64, (f64, Vec<&Stage>)> = BTreeMap::new();
    for stage in run.header.stages.iter().filter(|stage| stage.is_hold()) {
        let level = levels.entry(stage.from.to_bits()).or_default();
        level.0 += stage.end.since(stage.begin).as_secs_f64();
        level.1.push(stage);
    }
    let longest = levels.into_values().max_by(|one, other| one.0.total_cmp(&other.0));
    let holds = longest.map_or_else(Vec::new, |(_, stages)| stages);
    let steady = |second: u64| {
        holds.iter().any(|stage| {
            // The first tenth of a stage is warming up.
            let begin = stage.begin.plus(stage.end.since(stage.begin) / 10);
            (begin.second()..stage.end.second()).contains(&second)
        })
    };
    let of = |name: &str| -> Option<SteadyTrend> {
        let series: Vec<(f64, f64)> = run
            .intervals
            .iter()
            .filter(|interval| steady(interval.second))
            .filter_map(|interval| {
                let one = interval.observed.iter().find(|one| one.name == name)?;
                Some((interval.second as f64, one.value))
            })
            .collect();
        let trend = if series.len() >= LEAST_SECONDS { trend(&series) } else { None };
        Some(SteadyTrend { name: name.to_owned(), trend: trend?, series })
    };
    names.into_iter().filter_map(of).collect()
}

/// How a series of numbers goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The median of all pairwise slopes, in units of the series a second.
    ///
    /// Source: Theil (1950); Sen, *Estimates of the regression coefficient based on Kendall's tau* (1968).
    pub slope_per_second: f64,
    /// The probability of a sum of signs this far from zero, either way, when there is no trend.
    ///
    /// Source: Mann (1945), Kendall (1975), with the correction for ties and for continuity.
    pub p_value: f64,
    /// The median of the series.
    pub level: f64,
    /// From the first second to the last.
    pub seconds: f64,
}

impl Trend {
    /// By how much it grew over the series, as a share of its level.
    pub fn growth_ratio(&self) -> f64 {
        if self.level == 0.0 { 0.0 } else { self.slope_per_second * self.seconds / self.level.abs() }
    }

    /// Whether it grows, beyond chance (1 %) and by more than a twentieth of its level.
    pub fn is_leak(&self) -> bool {
        self.slope_per_second > 0.0 && self.p_value < 0.01 && self.growth_ratio() > 0.05
    }
}

/// The trend of pairs of second and value, ascending. `None` when they are fewer than ten.
pub fn trend(series: &[(f64, f64)]) -> Option<Trend> {
    if series.len() < FEWEST {
        return None;
    }
    let stretches = STRETCHES.min(series.len());
    let points: Vec<(f64, f64)> = (0..stretches)
        .map(|at| {
            let part = &series[at * series.len() / stretches..(at + 1) * series.len() / stretches];
            (median(part.iter().map(|pair| pair.0)), median(part.iter().map(|pair| pair.1)))
        })
        .collect();
    let (mut slopes, mut signs) = (Vec::new(), 0_i64);
    for (at, first) in points.iter().enumerate() {
        for second in &points[at + 1..] {
            if second.0 > first.0 {
                slopes.push((second.1 - first.1) / (second.0 - first.0));
            }
            signs += i64::from(second.1 > first.1) - i64::from(second.1 < first.1);
        }
    }
    Some(Trend {
        slope_per_second: median(slopes.into_iter()),
        p_value: p_value(signs, &points),
        level: median(series.iter().map(|pair| pair.1)),
        seconds: series[series.len() - 1].0 - series[0].0,
    })
}

fn p_value(signs: i64, points: &[(f64, f64)]) -> f64 {
    let weight = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|pair| pair.1).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|one, other| one == other).map(|tied| weight(tied.len() as f64)).sum();
    let variance = (weight(points.len() as f64) - ties) / 18.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = (signs.abs() - 1).max(0) as f64 / variance.sqrt();
    (2.0 * Normal::standard().sf(distance)).min(1.0)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_worked_example_of_the_literature_is_met() {
        // By hand: 10 ascending values: S = 45, var = 10·9·25/18 = 125, z = 44/√125 = 3.935, p = 8.3e-5.
        let series: Vec<(f64, f64)> = (0..10).map(|at| (f64::from(at), 2.0 * f64::from(at) + 1.0)).collect();
        let trend = trend(&series).unwrap();
        assert!((trend.slope_per_second - 2.0).abs() < 1e-12);
        assert!((trend.p_value / 8.3e-5 - 1.0).abs() < 0.02, "{}", trend.p_value);
        assert!(trend.is_leak());
        assert_eq!(super::trend(&series[..9]), None);
    }

    #[test]
    fn noise_without_growth_is_no_leak_and_slow_growth_is() {
        let mut leaks = [0, 0];
        for seed in 0..100 {
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            for (at, growth) in [0.0, 20.0].into_iter().enumerate() {
                // Ten minutes at 100 MB with a sawtooth of a collector and noise; 20 MB more at the end, or none.
                let series: Vec<(f64, f64)> = (0..600)
                    .map(|second| {
                        let second = f64::from(second);
                        let noise: f64 = draw.random_range(-3.0..3.0);
                        (second, 100.0 + growth * second / 600.0 + (second % 37.0) / 37.0 * 8.0 + noise)
                    })
                    .collect();
                leaks[at] += u32::from(trend(&series).unwrap().is_leak());
            }
        }
        assert!(leaks[0] <= 2 && leaks[1] >= 98, "{leaks:?}");
    }

    #[test]
    fn what_stands_still_has_no_trend() {
        let still: Vec<(f64, f64)> = (0..50).map(|at| (f64::from(at), 7.0)).collect();
        let trend = trend(&still).unwrap();
        assert_eq!((trend.slope_per_second, trend.p_value, trend.is_leak()), (0.0, 1.0, false));
    }
}
