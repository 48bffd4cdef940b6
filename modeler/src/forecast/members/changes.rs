//! Where the trend changed: its level, its slope, or both.
//!
//! The series without its seasons is cut into straight pieces; each further piece must pay for itself. What a
//! piece must bring depends on how the series wanders by itself: where neighbours resemble each other, a slow
//! wave is no change of the trend. It is cut by exact search, which is cheap on blocks of a season.
//!
//! Source: Jackson et al., *An algorithm for optimal partitioning of data on an interval* (2005); the price of a
//! piece by Schwarz's criterion with the long-run variance, as Bai and Perron (1998) have it.

use super::Series;
use crate::resample::quantile_of;

/// A trend is searched in so many blocks at most.
const MOST_BLOCKS: usize = 400;
/// A piece has so many blocks at least.
const LEAST_BLOCKS: usize = 6;
/// Numbers that a piece has: level, slope, and where it begins.
const NUMBERS: f64 = 3.0;
/// No traffic is known better than to a thousandth.
const LEAST_VARIANCE: f64 = 1e-6;
/// How much neighbours may resemble each other before everything looks like a change.
const MOST_CORRELATION: f64 = 0.85;
/// A change moves the trend by so much at least within a quarter, on the logarithm: less is nobody's business.
const LEAST_MOVE: f64 = 0.05;

/// A straight piece of the trend, on the logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Its first step.
    pub(crate) from: usize,
    /// Where it begins.
    pub(crate) level: f64,
    /// By step.
    pub(crate) slope: f64,
    /// The standard error of the slope.
    pub(crate) slope_error: f64,
}

impl Piece {
    /// The trend at a step.
    pub(crate) fn at(&self, step: f64) -> f64 {
        self.level + self.slope * (step - self.from as f64)
    }
}

/// The pieces of `adjusted`, the values of `series` without their seasons: one when the trend never changed.
pub(super) fn pieces(series: &Series, adjusted: &[f64]) -> Vec<Piece> {
    let length = block_length(series);
    let blocks: Vec<f64> = adjusted
        .chunks_exact(length)
        .map(|block| {
            let mut values = block.to_vec();
            values.sort_by(f64::total_cmp);
            quantile_of(&values, 0.5)
        })
        .collect();
    if blocks.len() < 2 * LEAST_BLOCKS {
        return Vec::new();
    }
    let sums = Sums::of(&blocks);
    let variance = long_run_variance(&blocks);
    let price = NUMBERS * (blocks.len() as f64).ln() * variance;
    let cuts = partition(&sums, blocks.len(), price);
    let places = || cuts.iter().copied().zip(cuts.iter().copied().skip(1).chain([blocks.len()]));
    let mut pieces: Vec<Piece> = Vec::new();
    for (from, to) in places() {
        let line = sums.line(from, to);
        let middle = 0.5 * (length as f64 - 1.0);
        let slope = line.slope / length as f64;
        let count = (to - from) as f64;
        // Σ(t − t̄)² of equally spaced blocks.
        let spread = count * (count * count - 1.0) / 12.0;
        let piece = Piece {
            from: from * length,
            level: line.level - slope * middle,
            slope,
            slope_error: (variance / spread.max(1e-9)).sqrt() / length as f64,
        };
        // The same in words: pieces that nobody would tell apart are one.
        let tells = pieces.last().is_none_or(|before| moves(before, &piece, series) >= LEAST_MOVE);
        if tells {
            pieces.push(piece);
        }
    }
    pieces
}

/// By how much the trend of `after` leaves that of `before` within a quarter, on the logarithm.
fn moves(before: &Piece, after: &Piece, series: &Series) -> f64 {
    let quarter = series.steps_per_year() / 4.0;
    let at = after.from as f64;
    let apart = |step: f64| (after.at(step) - before.at(step)).abs();
    apart(at).max(apart(at + quarter))
}

/// Steps of a block: whole seasons, so that what is left of them evens out.
fn block_length(series: &Series) -> usize {
    let season = series.season().max(1);
    let seasons = series.values.len().div_ceil(season * MOST_BLOCKS).max(1);
    season * seasons
}

/// A line by least squares: its value at the first block and its slope by block.
struct Straight {
    level: f64,
    slope: f64,
    squares: f64,
}

/// Sums from the first block on, for lines through any stretch of them.
struct Sums {
    y: Vec<f64>,
    yy: Vec<f64>,
    xy: Vec<f64>,
}

impl Sums {
    fn of(values: &[f64]) -> Self {
        // Around the mean, so that little is lost in differences of sums.
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut sums = Self { y: vec![0.0], yy: vec![0.0], xy: vec![0.0] };
        let (mut y, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (at, value) in values.iter().enumerate() {
            let value = value - mean;
            y += value;
            yy += value * value;
            xy += at as f64 * value;
            sums.y.push(y);
            sums.yy.push(yy);
            sums.xy.push(xy);
        }
        sums.y.push(mean);
        sums
    }

    fn mean(&self) -> f64 {
        self.y.last().copied().unwrap_or(0.0)
    }

    /// The line through the blocks `from..to`, two of them at least.
    fn line(&self, from: usize, to: usize) -> Straight {
        let count = (to - from) as f64;
        let of = |sums: &[f64]| sums[to] - sums[from];
        let (y, yy) = (of(&self.y), of(&self.yy));
        let xy = of(&self.xy) - from as f64 * y;
        let x = 0.5 * count * (count - 1.0);
        let spread = count * (count * count - 1.0) / 12.0;
        let cross = xy - x * y / count;
        let slope = if spread > 0.0 { cross / spread } else { 0.0 };
        let squares = (yy - y * y / count - slope * cross).max(0.0);
        Straight { level: self.mean() + y / count - slope * 0.5 * (count - 1.0), slope, squares }
    }
}

/// The first blocks of the pieces that cost least, each piece paying `price`.
fn partition(sums: &Sums, count: usize, price: f64) -> Vec<usize> {
    let mut best = vec![f64::INFINITY; count + 1];
    let mut cut = vec![0; count + 1];
    best[0] = -price;
    for end in LEAST_BLOCKS..=count {
        for from in 0..=end - LEAST_BLOCKS {
            let cost = best[from] + sums.line(from, end).squares + price;
            if cost < best[end] {
                (best[end], cut[end]) = (cost, from);
            }
        }
    }
    let mut cuts = Vec::new();
    let mut end = count;
    while end > 0 {
        end = cut[end];
        cuts.push(end);
    }
    cuts.reverse();
    cuts
}

/// The variance of a mean of `values` times their number, whatever their trend does.
///
/// Differences of neighbours do not know the trend. For noise that remembers a share ρ of itself, their own
/// correlation is −(1 − ρ)/2 and their variance 2s²(1 − ρ), and the long-run variance is s²(1 + ρ)/(1 − ρ).
fn long_run_variance(values: &[f64]) -> f64 {
    let mut steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let middle = quantile_of(&sorted, 0.5);
    let mut away: Vec<f64> = sorted.iter().map(|step| (step - middle).abs()).collect();
    away.sort_by(f64::total_cmp);
    let spread = 1.4826 * quantile_of(&away, 0.5);
    // A step change is one difference among many, and must not count as noise.
    for step in &mut steps {
        *step = (*step - middle).clamp(-3.0 * spread, 3.0 * spread);
    }
    let variance = steps.iter().map(|step| step * step).sum::<f64>() / steps.len().max(1) as f64;
    let product = steps.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / steps.len().max(2) as f64;
    let correlation = if variance > 0.0 { product / variance } else { -0.5 };
    let kept = (1.0 + 2.0 * correlation).clamp(0.0, MOST_CORRELATION);
    (variance * (1.0 + kept) / (2.0 * (1.0 - kept).powi(2))).max(LEAST_VARIANCE)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::forecast::history::Step;
    use crate::resample::normal;

    /// Two years of days around `trend`, with noise that remembers 0.9 of itself a day.
    fn days(seed: u64, trend: impl Fn(f64) -> f64) -> (Series, Vec<f64>) {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut wave = 0.0;
        let values: Vec<f64> = (0..730)
            .map(|day| {
                wave = 0.9 * wave + 0.008 * normal(&mut chance);
                10.0 + trend(f64::from(day)) + wave + 0.03 * normal(&mut chance)
            })
            .collect();
        let volumes: Vec<Option<f64>> = values.iter().map(|value| Some(value.exp_m1())).collect();
        (Series::new(&volumes, Step::Day), values)
    }

    #[test]
    fn a_change_of_growth_or_of_level_is_found_where_it_was_and_none_where_none_was() {
        let yearly = |growth: f64| growth.ln() / 365.25;
        let (mut found, mut jumps, mut invented) = (0, 0, 0);
        for seed in 0..100 {
            // From day 450 on the traffic grows by 80 % a year, before by a tenth.
            let bent = |day: f64| {
                yearly(1.1) * day + if day > 450.0 { yearly(1.8 / 1.1) * (day - 450.0) } else { 0.0 }
            };
            let (series, values) = days(seed, bent);
            let pieces = pieces(&series, &values);
            found += u32::from(pieces.len() == 2 && pieces[1].from.abs_diff(450) <= 42);
            // A third more from one day to the next.
            let (series, values) = days(seed, |day| if day >= 301.0 { 0.3 } else { 0.0 });
            let stepped = super::pieces(&series, &values);
            jumps += u32::from(stepped.iter().any(|piece| piece.from.abs_diff(301) <= 14));
            let (series, values) = days(seed, |day| yearly(1.5) * day);
            invented += u32::from(super::pieces(&series, &values).len() > 1);
        }
        eprintln!("bends {found}, steps {jumps}, invented {invented} of 100");
        assert!(found >= 80 && jumps >= 95 && invented <= 10, "{found} {jumps} {invented}");
    }
}
