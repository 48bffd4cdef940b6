//! Draws of what could have been measured: the unit of resampling is the second.
//!
//! Consecutive seconds hang together (a queue remembers), so they are drawn in blocks of two, from the
//! circle of a point's windows. Points of a table have no seconds: they are drawn with the noise that the
//! fits left.
//!
//! Source: Künsch (1989), the moving block bootstrap; Politis and Romano (1992), circular.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::latency::LatencyMeasure;
use crate::point::Point;

/// Seconds in a block.
const BLOCK: usize = 2;

/// How long the points of a table are taken to have been measured.
const TABLE_SECONDS: f64 = 60.0;

/// A point as it was, or as it could have been.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) offered: Option<f64>,
    pub(crate) throughput: f64,
    pub(crate) throughput_error: Option<f64>,
    pub(crate) concurrency: Option<f64>,
    pub(crate) error_ratio: f64,
    pub(crate) outcomes: f64,
    /// Seconds that were measured.
    pub(crate) length: f64,
    pub(crate) saturated: bool,
    /// Seconds, by the measures that were asked for; not-a-number when unknown.
    pub(crate) responses: Vec<f64>,
}

/// The noise of points without seconds, as a share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    pub(crate) throughput: f64,
    pub(crate) response: f64,
}

/// A point, made ready to be drawn from many times.
pub(crate) struct Urn<'a> {
    point: &'a Point,
    measures: &'a [LatencyMeasure],
    /// Ascending responses: microseconds, window, count.
    entries: Vec<(u64, usize, u64)>,
}

/// A generator for the purpose `stream`: further draws for one purpose do not change another's.
pub(crate) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// A standard normal number. Source: Box and Muller (1958).
pub(crate) fn normal(chance: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - chance.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.random::<f64>()).cos()
}

/// The share `quantile` of ascending `sorted`, between neighbours in proportion; zero when empty.
pub(crate) fn quantile_of(sorted: &[f64], quantile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = quantile.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let share = place - below as f64;
    if sorted[below] == sorted[above] {
        sorted[below]
    } else {
        sorted[below] * (1.0 - share) + sorted[above] * share
    }
}

impl<'a> Urn<'a> {
    pub(crate) fn new(point: &'a Point, measures: &'a [LatencyMeasure]) -> Self {
        let mut entries: Vec<(u64, usize, u64)> = Vec::new();
        for (index, window) in point.windows.iter().enumerate() {
            entries.extend(window.response.pairs().map(|(micros, count)| (micros, index, count)));
        }
        entries.sort_unstable();
        Self { point, measures, entries }
    }

    /// The point as it was measured.
    pub(crate) fn measured(&self) -> Seen {
        let point = self.point;
        let response = |measure: &LatencyMeasure| match *measure {
            LatencyMeasure::Mean => point.mean_response,
            LatencyMeasure::Quantile(quantile) => point.response_at(quantile),
        };
        Seen {
            offered: point.offered.map(captures::Rate::as_per_second),
            throughput: point.throughput.as_per_second(),
            throughput_error: point.throughput_error.map(captures::Rate::as_per_second),
            concurrency: point.concurrency,
            error_ratio: point.error_ratio,
            outcomes: point.windows.iter().map(|window| window.outcomes as f64).sum::<f64>().max(100.0),
            length: if point.windows.is_empty() { TABLE_SECONDS } else { point.length.as_secs_f64() },
            saturated: point.saturated,
            responses: self
                .measures
                .iter()
                .map(|measure| response(measure).map_or(f64::NAN, |length| length.as_secs_f64()))
                .collect(),
        }
    }

    /// The point as it could have been.
    pub(crate) fn draw(&self, noise: Noise, chance: &mut ChaCha8Rng) -> Seen {
        if self.point.windows.is_empty() { self.draw_noisy(noise, chance) } else { self.draw_blocks(chance) }
    }

    fn draw_noisy(&self, noise: Noise, chance: &mut ChaCha8Rng) -> Seen {
        let mut seen = self.measured();
        seen.throughput *= (noise.throughput * normal(chance)).exp();
        if !seen.saturated {
            seen.throughput = seen.offered.map_or(seen.throughput, |offered| seen.throughput.min(offered));
        }
        let factor = (noise.response * normal(chance)).exp();
        for response in &mut seen.responses {
            *response *= factor;
        }
        seen
    }

    fn draw_blocks(&self, chance: &mut ChaCha8Rng) -> Seen {
        let windows = &self.point.windows;
        let mut times = vec![0_u64; windows.len()];
        let mut drawn = 0;
        while drawn < windows.len() {
            let first = chance.random_range(0..windows.len());
            for step in 0..BLOCK.min(windows.len() - drawn) {
                times[(first + step) % windows.len()] += 1;
                drawn += 1;
            }
        }
        let sum =
            |of: &dyn Fn(usize) -> f64| times.iter().enumerate().map(|(i, &t)| of(i) * t as f64).sum::<f64>();
        let seconds = windows.len() as f64;
        let outcomes = sum(&|i| windows[i].outcomes as f64);
        let errors = sum(&|i| windows[i].errors as f64);
        let skipped = sum(&|i| windows[i].skipped as f64);
        let succeeded_ratio =
            if outcomes > skipped { (outcomes - errors) / (outcomes - skipped) } else { 0.0 };
        let measured = self.measured();
        Seen {
            offered: Some(sum(&|i| windows[i].planned as f64) / seconds),
            throughput: sum(&|i| windows[i].completed as f64) / seconds * succeeded_ratio,
            concurrency: Some(sum(&|i| windows[i].in_flight) / seconds),
            error_ratio: if outcomes > 0.0 { errors / outcomes } else { 0.0 },
            outcomes,
            responses: self.responses(&times),
            ..measured
        }
    }

    fn responses(&self, times: &[u64]) -> Vec<f64> {
        let total: u64 = self.entries.iter().map(|&(_, window, count)| count * times[window]).sum();
        let response = |measure: &LatencyMeasure| {
            if total == 0 {
                return f64::NAN;
            }
            match *measure {
                LatencyMeasure::Mean => {
                    let sum: f64 = self
                        .entries
                        .iter()
                        .map(|&(micros, w, count)| micros as f64 * (count * times[w]) as f64)
                        .sum();
                    sum / total as f64 / 1e6
                }
                LatencyMeasure::Quantile(quantile) => {
                    let rank = ((quantile * total as f64).ceil() as u64).max(1);
                    let mut passed = 0;
                    let reached = self.entries.iter().find(|&&(_, window, count)| {
                        passed += count * times[window];
                        passed >= rank
                    });
                    reached.map_or(f64::NAN, |&(micros, _, _)| micros as f64 / 1e6)
                }
            }
        };
        self.measures.iter().map(response).collect()
    }
}
