//! Members for a series without seasons: smoothing with a damped trend, Theta, and autoregressions.

use super::slope;

/// Places of the grids on which smoothing parameters are chosen.
const LEVELS: [f64; 12] = [0.01, 0.03, 0.07, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95];
const TRENDS: [f64; 7] = [0.002, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3];
const DAMPINGS: [f64; 4] = [0.8, 0.9, 0.95, 0.98];
/// Steps at most from which smoothing parameters are chosen: older ones change nothing any more.
const MOST_SMOOTHED: usize = 4_000;

/// Where smoothing has arrived.
struct Smoothed {
    squares: f64,
    level: f64,
    trend: f64,
}

/// Exponential smoothing with a damped trend, or without one where Akaike's criterion finds it needless.
///
/// Source: Hyndman et al., *Forecasting with Exponential Smoothing* (2008), ETS(A,Ad,N) and ETS(A,N,N).
pub(super) fn damped(values: &[f64], steps: usize) -> Vec<f64> {
    let values = latest(values);
    let simple = simple(values);
    let mut best: Option<(f64, Smoothed)> = None;
    for level in LEVELS {
        for trend in TRENDS {
            for damping in DAMPINGS {
                let found = smooth(values, level, trend * level, damping);
                if best.as_ref().is_none_or(|(_, known)| found.squares < known.squares) {
                    best = Some((damping, found));
                }
            }
        }
    }
    let count = values.len() as f64;
    let criterion = |squares: f64, free: f64| {
        count * (squares / count).max(1e-300).ln()
            + 2.0 * free
            + 2.0 * free * (free + 1.0) / (count - free - 1.0).max(1.0)
    };
    let (damping, trended) = match best {
        Some(best) if criterion(best.1.squares, 6.0) < criterion(simple.squares, 3.0) => best,
        _ => return vec![simple.level; steps],
    };
    let (mut power, mut sum) = (1.0, 0.0);
    (0..steps)
        .map(|_| {
            power *= damping;
            sum += power;
            trended.level + sum * trended.trend
        })
        .collect()
}

/// Simple smoothing with half the drift. Source: Assimakopoulos and Nikolopoulos (2000), as read by Hyndman and
/// Billah (2003).
pub(super) fn theta(values: &[f64], steps: usize) -> Vec<f64> {
    let drift = 0.5 * slope(values);
    let level = simple(latest(values)).level;
    (1..=steps).map(|step| level + drift * step as f64).collect()
}

/// An autoregression around the mean: what is unusual fades.
pub(super) fn returning(values: &[f64], steps: usize, longest: usize) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let around: Vec<f64> = values.iter().map(|value| value - mean).collect();
    continued(&around, steps, longest).into_iter().map(|value| value + mean).collect()
}

/// An autoregression of the changes: a new level lasts.
pub(super) fn staying(values: &[f64], steps: usize, longest: usize) -> Vec<f64> {
    let changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut level = values.last().copied().unwrap_or(0.0);
    continued(&changes, steps, longest)
        .into_iter()
        .map(|change| {
            level += change;
            level
        })
        .collect()
}

fn latest(values: &[f64]) -> &[f64] {
    &values[values.len().saturating_sub(MOST_SMOOTHED)..]
}

/// Simple smoothing, its parameter chosen by the squares of its misses.
fn simple(values: &[f64]) -> Smoothed {
    (0..50)
        .map(|at| smooth(values, 0.01 + 0.02 * f64::from(at), 0.0, 0.0))
        .min_by(|one, other| one.squares.total_cmp(&other.squares))
        .unwrap_or(Smoothed { squares: 0.0, level: 0.0, trend: 0.0 })
}

fn smooth(values: &[f64], alpha: f64, beta: f64, damping: f64) -> Smoothed {
    let first = &values[..(values.len() / 2).clamp(1, 10).min(values.len())];
    let mut trend = if beta > 0.0 { slope(first) } else { 0.0 };
    let mean = first.iter().sum::<f64>() / first.len().max(1) as f64;
    let mut level = mean - slope(first) * (first.len() as f64 - 1.0) / 2.0 - trend;
    let mut squares = 0.0;
    for value in values {
        let expected = level + damping * trend;
        let miss = value - expected;
        squares += miss * miss;
        level = expected + alpha * miss;
        trend = damping * trend + beta * miss;
    }
    Smoothed { squares, level, trend }
}

/// Continues `values`, which vary around zero, by an autoregression whose order Akaike's criterion chooses.
///
/// Source: the Yule-Walker equations, solved by Levinson (1946) and Durbin (1960): always stationary.
fn continued(values: &[f64], steps: usize, longest: usize) -> Vec<f64> {
    let count = values.len();
    let longest = longest.min(count / 4);
    let correlation: Vec<f64> = (0..=longest)
        .map(|lag| {
            values[lag..].iter().zip(values).map(|(one, other)| one * other).sum::<f64>()
                / count.max(1) as f64
        })
        .collect();
    if correlation[0] <= 0.0 {
        return vec![0.0; steps];
    }
    let mut weights: Vec<f64> = Vec::new();
    let mut error = correlation[0];
    let mut best = (count as f64 * error.ln(), weights.clone());
    for order in 1..=longest {
        let known: f64 =
            weights.iter().enumerate().map(|(at, weight)| weight * correlation[order - 1 - at]).sum();
        let reflection = (correlation[order] - known) / error;
        let mirrored: Vec<f64> = weights.iter().rev().copied().collect();
        for (weight, other) in weights.iter_mut().zip(mirrored) {
            *weight -= reflection * other;
        }
        weights.push(reflection);
        error *= 1.0 - reflection * reflection;
        if error <= 0.0 || !error.is_finite() {
            break;
        }
        let criterion = count as f64 * error.ln() + 2.0 * order as f64;
        if criterion < best.0 {
            best = (criterion, weights.clone());
        }
    }
    let weights = best.1;
    let mut recent: Vec<f64> = values[count - weights.len()..].to_vec();
    for _ in 0..steps {
        let next = weights.iter().zip(recent.iter().rev()).map(|(weight, value)| weight * value).sum();
        recent.push(next);
    }
    recent.split_off(weights.len())
}
