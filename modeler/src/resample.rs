//! Draws of what could have been measured: the unit of resampling is the second.
//!
//! Consecutive seconds hang together (a queue remembers), so they are drawn in blocks of two, from the
//! circle of a point's windows. Where a queue remembers for longer than a block, as one of few servers near
//! its limit does, blocks would say that more is known than is: fewer are drawn. Points of a table have no
//! seconds: they are drawn with the noise that the fits left.
//!
//! A quantile of a draw is read where the share of the drawn responses above the estimate says (Woodruff 1952):
//! that needs one count per second, where sorting every draw anew would need all responses.
//!
//! Source: Künsch (1989), the moving block bootstrap; Politis and Romano (1992), circular.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use captures::Histogram;

use crate::latency::LatencyMeasure;
use crate::point::{Point, Window};
use crate::resource::ResourceUse;

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
    /// Requests that were completed per second, errors included.
    pub(crate) completed: f64,
    /// Seconds, by the subjects that were asked for; not-a-number when unknown.
    pub(crate) responses: Vec<f64>,
    /// What was used of each resource; not-a-number when unknown.
    pub(crate) used: Vec<f64>,
}

/// Whose responses, and what of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subject {
    /// The name of a route; `None` of all requests.
    pub(crate) route: Option<String>,
    pub(crate) measure: LatencyMeasure,
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
    measured: Seen,
    counted: Vec<Counted>,
    resources: Vec<Option<&'a [f64]>>,
    /// Seconds in a draw.
    wanted: usize,
}

/// The responses of one subject, by second.
struct Counted {
    measure: LatencyMeasure,
    outcomes: Vec<f64>,
    /// Responses above the estimate; of a mean, the sum of the responses in seconds.
    above: Vec<f64>,
    above_ratio: f64,
    /// Responses in seconds at [`Counted::SHARES`] equal steps of the logarithm of the share above them.
    upper: Vec<f64>,
    upper_log: (f64, f64),
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
    pub(crate) fn new(point: &'a Point, subjects: &[Subject], resources: &[String]) -> Self {
        let counted = if point.windows.is_empty() {
            Vec::new()
        } else {
            subjects.iter().map(|subject| Counted::new(point, subject)).collect()
        };
        let found: Vec<Option<&ResourceUse>> = resources
            .iter()
            .map(|name| point.resources.iter().find(|resource| resource.name == *name))
            .collect();
        Self {
            point,
            measured: measured(point, subjects, &found),
            wanted: wanted(&point.windows),
            counted,
            resources: found.iter().map(|resource| resource.map(|each| each.by_second.as_slice())).collect(),
        }
    }

    /// The point as it was measured.
    pub(crate) fn measured(&self) -> Seen {
        self.measured.clone()
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
        for used in &mut seen.used {
            *used *= (USE_NOISE * normal(chance)).exp();
        }
        seen
    }

    fn draw_blocks(&self, chance: &mut ChaCha8Rng) -> Seen {
        let windows = &self.point.windows;
        let mut times = vec![0.0_f64; windows.len()];
        let mut drawn = 0;
        let wanted = self.wanted;
        while drawn < wanted {
            let first = chance.random_range(0..windows.len());
            for step in 0..BLOCK.min(wanted - drawn) {
                times[(first + step) % windows.len()] += 1.0;
                drawn += 1;
            }
        }
        let sum = |of: fn(&Window) -> f64| {
            windows.iter().zip(&times).map(|(window, times)| of(window) * times).sum::<f64>()
        };
        let seconds = wanted as f64;
        let outcomes = sum(|w| w.outcomes as f64);
        let (errors, skipped) = (sum(|w| w.errors as f64), sum(|w| w.skipped as f64));
        let succeeded_ratio =
            if outcomes > skipped { (outcomes - errors) / (outcomes - skipped) } else { 0.0 };
        let completed = sum(|w| w.completed as f64) / seconds;
        Seen {
            offered: Some(sum(|w| w.planned as f64) / seconds),
            throughput: completed * succeeded_ratio,
            completed,
            concurrency: Some(sum(|w| w.in_flight) / seconds),
            error_ratio: if outcomes > 0.0 { errors / outcomes } else { 0.0 },
            outcomes,
            responses: self.counted.iter().map(|counted| counted.drawn(&times)).collect(),
            used: self
                .resources
                .iter()
                .map(|series| series.map_or(f64::NAN, |s| weighted(s, &times)))
                .collect(),
            throughput_error: self.measured.throughput_error,
            length: self.measured.length,
            saturated: self.measured.saturated,
        }
    }
}

/// A few blocks show less than they vary: fewer seconds are drawn than there are, which makes up for it.
const DRAWN_RATIO: f64 = 0.9;
/// Seconds that are too few to tell how long a queue remembers.
const FEW_SECONDS: usize = 10;
/// What is thought to be remembered from one second to the next, at most: so few seconds do not tell more.
const MOST_REMEMBERED: f64 = 0.8;

/// Seconds in a draw from `windows`.
///
/// Were the seconds a chain of the first order that remembers the share `r` of what was in flight, their mean would
/// vary `(1 + r) / (1 − r)` times as much as that of independent ones, and blocks of two show `1 + r` of it. The
/// rest is made up for by as many fewer seconds.
///
/// Source: Priestley, *Spectral Analysis and Time Series* (1981), §5.3.2 (the variance of the mean), and Kendall,
/// "Note on bias in the estimation of autocorrelation" (1954).
fn wanted(windows: &[Window]) -> usize {
    let count = windows.len() as f64;
    let mean = windows.iter().map(|window| window.in_flight).sum::<f64>() / count;
    let apart = |window: &Window| window.in_flight - mean;
    let squares: f64 = windows.iter().map(|window| apart(window).powi(2)).sum();
    let products: f64 = windows.windows(2).map(|pair| apart(&pair[0]) * apart(&pair[1])).sum();
    let remembered = if windows.len() >= FEW_SECONDS && squares > 0.0 {
        let seen = products / squares;
        (seen + (1.0 + 4.0 * seen) / count).min(MOST_REMEMBERED)
    } else {
        0.0
    };
    let wanted = (count * DRAWN_RATIO.min(1.0 - remembered)).ceil();
    (wanted as usize).max(1)
}

/// The noise of what a table says was used.
const USE_NOISE: f64 = 0.01;

fn weighted(series: &[f64], times: &[f64]) -> f64 {
    let known = series.iter().zip(times).filter(|(value, _)| value.is_finite());
    let (sum, count) =
        known.fold((0.0, 0.0), |(sum, count), (value, times)| (sum + value * times, count + times));
    if count > 0.0 { sum / count } else { f64::NAN }
}

fn measured(point: &Point, subjects: &[Subject], resources: &[Option<&ResourceUse>]) -> Seen {
    let response = |subject: &Subject| {
        let length = match (&subject.route, subject.measure) {
            (None, LatencyMeasure::Mean) => point.mean_response,
            (None, LatencyMeasure::Quantile(quantile)) => point.response_at(quantile),
            (Some(name), measure) => {
                let route = point.routes.iter().find(|route| route.route == *name)?;
                (!route.response.is_empty()).then(|| match measure {
                    LatencyMeasure::Mean => route.response.mean(),
                    LatencyMeasure::Quantile(quantile) => route.response.quantile(quantile),
                })
            }
        };
        length.map(|length| length.as_secs_f64())
    };
    let throughput = point.throughput.as_per_second();
    let seconds = point.windows.len().max(1) as f64;
    Seen {
        offered: point.offered.map(captures::Rate::as_per_second),
        throughput,
        throughput_error: point.throughput_error.map(captures::Rate::as_per_second),
        concurrency: point.concurrency,
        error_ratio: point.error_ratio,
        outcomes: point.windows.iter().map(|window| window.outcomes as f64).sum::<f64>().max(100.0),
        length: if point.windows.is_empty() { TABLE_SECONDS } else { point.length.as_secs_f64() },
        saturated: point.saturated,
        completed: if point.windows.is_empty() {
            throughput
        } else {
            point.windows.iter().map(|window| window.completed as f64).sum::<f64>() / seconds
        },
        responses: subjects.iter().map(|subject| response(subject).unwrap_or(f64::NAN)).collect(),
        used: resources.iter().map(|resource| resource.map_or(f64::NAN, |each| each.used)).collect(),
    }
}

impl Counted {
    /// Steps of the share above, from an eighth to eight times that of the quantile.
    const SHARES: usize = 48;

    fn new(point: &Point, subject: &Subject) -> Self {
        let nothing = Histogram::new();
        let mut by_second: Vec<Vec<(u64, u64)>> = Vec::with_capacity(point.windows.len());
        let all = match &subject.route {
            None => {
                by_second.extend(point.windows.iter().map(|window| window.response.pairs().collect()));
                &point.response
            }
            Some(name) => match point.routes.iter().find(|route| route.route == *name) {
                Some(route) => {
                    by_second.extend(route.windows.iter().map(|window| window.responses.clone()));
                    &route.response
                }
                None => &nothing,
            },
        };
        by_second.resize(point.windows.len(), Vec::new());
        let count = |pairs: &[(u64, u64)], above: u64| {
            pairs.iter().filter(|pair| pair.0 > above).map(|pair| pair.1 as f64).sum::<f64>()
        };
        let total = |pairs: &[(u64, u64)]| pairs.iter().map(|pair| pair.1 as f64).sum::<f64>();
        let outcomes: Vec<f64> = by_second.iter().map(|pairs| total(pairs)).collect();
        let LatencyMeasure::Quantile(quantile) = subject.measure else {
            let sums = |pairs: &Vec<(u64, u64)>| {
                pairs.iter().map(|&(micros, count)| micros as f64 * count as f64 / 1e6).sum::<f64>()
            };
            return Self {
                measure: subject.measure,
                above: by_second.iter().map(sums).collect(),
                outcomes,
                above_ratio: 0.0,
                upper: Vec::new(),
                upper_log: (0.0, 0.0),
            };
        };
        let estimate = u64::try_from(all.quantile(quantile).as_micros()).unwrap_or(u64::MAX);
        let above: Vec<f64> = by_second.iter().map(|pairs| count(pairs, estimate)).collect();
        let share = 1.0 - quantile;
        let upper_log = ((share / 8.0).ln(), (share * 8.0).min(1.0).ln());
        let upper = (0..=Self::SHARES)
            .map(|step| {
                let log = upper_log.0 + (upper_log.1 - upper_log.0) * step as f64 / Self::SHARES as f64;
                all.quantile(1.0 - log.exp()).as_secs_f64()
            })
            .collect();
        let whole: f64 = outcomes.iter().sum();
        let above_ratio = if whole > 0.0 { above.iter().sum::<f64>() / whole } else { 0.0 };
        Self { measure: subject.measure, outcomes, above, above_ratio, upper, upper_log }
    }

    fn drawn(&self, times: &[f64]) -> f64 {
        let dot = |values: &[f64]| values.iter().zip(times).map(|(value, times)| value * times).sum::<f64>();
        let total = dot(&self.outcomes);
        if total <= 0.0 {
            return f64::NAN;
        }
        let LatencyMeasure::Quantile(quantile) = self.measure else {
            return dot(&self.above) / total;
        };
        // So many more above the estimate than in the whole: the quantile lies where so many fewer are.
        let more = dot(&self.above) / total - self.above_ratio;
        let share = (1.0 - quantile - more).max(1e-9).ln();
        let place = (share - self.upper_log.0) / (self.upper_log.1 - self.upper_log.0) * Self::SHARES as f64;
        let place = place.clamp(0.0, Self::SHARES as f64);
        let below = (place as usize).min(Self::SHARES - 1);
        let rest = place - below as f64;
        self.upper[below] * (1.0 - rest) + self.upper[below + 1] * rest
    }
}
