//! Splits what was used second by second among the routes.
//!
//! What a second is short of the next one has too much of: requests that are still at work when the second ends are
//! asked for in the one and paid in the other, and a counter is read a little early or late. So neighbouring rows
//! part in opposite directions. Taking longer rows would hide that and lose the sway of the mix, by which routes are
//! told apart; here the errors are taken for what they are, moving averages of two, and each row is cleared of what
//! its neighbour tells of it. What is seen `delay` seconds after it was due (responses take their time, a page of
//! metrics is made now and then) would give a dear route's costs to a cheap one: the likeliest delay is taken out.
//!
//! A request that finds its server asleep also pays for waking it, for caches that went cold: with more load there
//! are fewer of those. Where that explains clearly more, requests cost so much more the further the load of their
//! point is below the largest; else what they save would be taken for use without requests, and be missing in theirs.
//!
//! Source: Hamilton, *Time Series Analysis* (1994), ch. 5 (the exact likelihood of a moving average) and ch. 8
//! (generalised least squares); the errors' variance grows with the level, as that of the requests at work does.

use rand::RngExt;

use super::rows::Row;
use crate::mix::{Normal, elastic};

/// What a split came to.
pub(super) struct Split {
    /// Used without requests, a second; then by route; then by a miss of the cache, where misses were asked for.
    pub(super) costs: Vec<f64>,
    /// Requests by route, then misses: as many as were worked on in all rows.
    pub(super) requests: Vec<f64>,
    /// What the costs foretell of each row.
    pub(super) predicted: Vec<f64>,
    /// AICc.
    pub(super) criterion: f64,
    /// The columns of the costs, of waking last where it counts, and the target; each row cleared of its neighbour's
    /// error and brought to one spread.
    columns: Vec<Vec<f64>>,
    target: Vec<f64>,
    what: What,
    /// What a mean request of all rows pays of waking.
    waking_ratio: f64,
}

/// What the columns are, beside seconds and requests by route.
#[derive(Clone, Copy)]
pub(super) struct What {
    pub(super) routes: usize,
    pub(super) misses: bool,
    pub(super) waking: bool,
}

impl Split {
    /// The costs in as many sets of the rows, each drawn anew from them: cleared of their neighbours' errors, rows
    /// are independent.
    pub(super) fn drawn(&self, draws: usize, chance: &mut impl RngExt) -> Vec<Vec<f64>> {
        let count = self.target.len();
        let draw = |_| {
            let picked: Vec<usize> = (0..count).map(|_| chance.random_range(0..count)).collect();
            let of = |values: &Vec<f64>| -> Vec<f64> { picked.iter().map(|&at| values[at]).collect() };
            let columns: Vec<Vec<f64>> = self.columns.iter().map(of).collect();
            self.what.costs(elastic(&Normal::new(&columns, &of(&self.target)), 0.0, 0.0), self.waking_ratio)
        };
        (0..draws).map(draw).collect()
    }

    /// The costs by the positive elastic net.
    pub(super) fn shrunk(&self) -> Vec<f64> {
        let found = elastic(&Normal::new(&self.columns, &self.target), 1e-4, 1e-3);
        self.what.costs(found, self.waking_ratio)
    }
}

impl What {
    /// What was found, with the waking that a mean request pays in the cost of each route.
    fn costs(self, mut found: Vec<f64>, waking_ratio: f64) -> Vec<f64> {
        if self.waking {
            let waking = found.pop().unwrap_or(0.0) * waking_ratio;
            found[1..=self.routes].iter_mut().for_each(|cost| *cost += waking);
        }
        found
    }
}

/// Delays of up to a second, first far apart, then near the likeliest.
const DELAYS: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
const NEARER: [f64; 4] = [-0.1, -0.05, 0.05, 0.1];
/// How often the variance and the correlation follow from the costs, and these from those.
const ROUNDS: usize = 3;
/// The variance at no load, as a share of that at the largest.
const LEAST_VARIANCE: f64 = 0.05;
/// The correlation of neighbours in a moving average of two lies below a half.
const MOST_CORRELATION: f64 = 0.49;
/// By so much less AICc misses or wakings must explain what was used: the odds are then 150 to 1. Misses that follow
/// the requests would only take costs from routes.
const DECISIVE: f64 = 10.0;
/// Fewer pairs of neighbours do not tell how they correlate.
const LEAST_PAIRS: usize = 10;

/// The likeliest split of `rows`. The last of `whats` that explains clearly more than those before it counts.
pub(super) fn split(rows: &[Row], whats: &[What]) -> Split {
    let mut best = at_delay(rows, whats[0], 0.0);
    let mut delay = 0.0;
    let mut consider = |wanted: f64, best: &mut Split| {
        let found = at_delay(rows, whats[0], wanted);
        if found.criterion < best.criterion {
            (*best, delay) = (found, wanted);
        }
        delay
    };
    // Without pairs of seconds there is no delay to see.
    if rows.iter().any(|row| row.due != row.before) {
        let likeliest = DELAYS[1..].iter().fold(0.0, |_, wanted| consider(*wanted, &mut best));
        for wanted in NEARER.map(|step| likeliest + step) {
            if (0.0..=1.0).contains(&wanted) {
                consider(wanted, &mut best);
            }
        }
    }
    for what in &whats[1..] {
        let found = at_delay(rows, *what, delay);
        if found.criterion + DECISIVE < best.criterion {
            best = found;
        }
    }
    best
}

fn at_delay(rows: &[Row], what: What, delay: f64) -> Split {
    let columns = columns(rows, what, delay);
    let used: Vec<f64> = rows.iter().map(|row| row.used).collect();
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    let level = used.iter().sum::<f64>() / seconds;
    let mut predicted: Vec<f64> = rows.iter().map(|row| level * row.seconds).collect();
    let mut cleared = clear(rows, &spreads(rows, &predicted), 0.0);
    let mut clean = Vec::new();
    let mut target = Vec::new();
    let mut found = Vec::new();
    for round in 1..=ROUNDS {
        clean = columns.iter().map(|column| cleared.apply(column)).collect::<Vec<_>>();
        target = cleared.apply(&used);
        found = elastic(&Normal::new(&clean, &target), 0.0, 0.0);
        predicted = foretold(&columns, &found);
        if round < ROUNDS {
            let spreads = spreads(rows, &predicted);
            cleared = clear(rows, &spreads, correlation_of(rows, &used, &predicted, &spreads));
        }
    }
    let count = rows.len() as f64;
    let squares: f64 =
        foretold(&clean, &found).iter().zip(&target).map(|(found, target)| (target - found).powi(2)).sum();
    // The costs above zero, the variance, the correlation and the delay.
    let parameters = 3.0 + found.iter().filter(|cost| **cost > 0.0).count() as f64;
    let criterion = count * (squares / count).max(1e-300).ln()
        + 2.0 * cleared.log_scale
        + 2.0 * parameters
        + 2.0 * parameters * (parameters + 1.0) / (count - parameters - 1.0).max(1.0);
    let of_requests = 1..columns.len() - usize::from(what.waking);
    let requests: Vec<f64> = columns[of_requests].iter().map(|column| column.iter().sum()).collect();
    let all: f64 = requests[..what.routes].iter().sum();
    let waking: f64 = if what.waking { columns[columns.len() - 1].iter().sum() } else { 0.0 };
    let waking_ratio = if all > 0.0 { waking / all } else { 0.0 };
    let costs = what.costs(found, waking_ratio);
    Split { costs, requests, predicted, criterion, columns: clean, target, what, waking_ratio }
}

fn foretold(columns: &[Vec<f64>], costs: &[f64]) -> Vec<f64> {
    let rows = columns.first().map_or(0, Vec::len);
    let of = |at: usize| columns.iter().zip(costs).map(|(column, cost)| column[at] * cost).sum();
    (0..rows).map(of).collect()
}

/// Seconds, requests by route, misses, wakings.
fn columns(rows: &[Row], what: What, delay: f64) -> Vec<Vec<f64>> {
    let mut columns = vec![rows.iter().map(|row| row.seconds).collect::<Vec<f64>>()];
    columns
        .extend((0..what.routes).map(|route| rows.iter().map(|row| row.worked_on(route, delay)).collect()));
    if what.misses {
        // Misses are seen when their work is.
        columns.push(rows.iter().map(|row| row.misses.unwrap_or(0.0)).collect());
    }
    if what.waking {
        let all = |at: usize| columns[1..=what.routes].iter().map(|column| column[at]).sum::<f64>();
        columns.push(rows.iter().enumerate().map(|(at, row)| all(at) * (1.0 - row.load_ratio)).collect());
    }
    columns
}

/// The spread of each row's error, up to a factor that all share.
fn spreads(rows: &[Row], predicted: &[f64]) -> Vec<f64> {
    let levels = rows.iter().zip(predicted).map(|(row, predicted)| predicted / row.seconds);
    let least = (LEAST_VARIANCE * levels.fold(0.0, f64::max)).max(1e-300);
    let spread = |(row, predicted): (&Row, &f64)| predicted.max(least * row.seconds).sqrt();
    rows.iter().zip(predicted).map(spread).collect()
}

/// The correlation of the errors of neighbouring rows.
fn correlation_of(rows: &[Row], used: &[f64], predicted: &[f64], spreads: &[f64]) -> f64 {
    let left: Vec<f64> = (0..rows.len()).map(|at| (used[at] - predicted[at]) / spreads[at]).collect();
    let pairs: Vec<f64> =
        (1..rows.len()).filter(|&at| rows[at].follows).map(|at| left[at] * left[at - 1]).collect();
    let variance = left.iter().map(|left| left * left).sum::<f64>() / left.len().max(1) as f64;
    if pairs.len() < LEAST_PAIRS || variance <= 0.0 {
        return 0.0;
    }
    let correlation = pairs.iter().sum::<f64>() / pairs.len() as f64 / variance;
    correlation.clamp(-MOST_CORRELATION, MOST_CORRELATION)
}

/// How rows are cleared of their neighbours' errors.
struct Cleared {
    /// By row: what of the cleared row before it is taken away, and what the rest is divided by.
    steps: Vec<(f64, f64)>,
    /// The sum of the logarithms of the divisors.
    log_scale: f64,
}

/// The rows of the Cholesky factor of the errors' covariance.
fn clear(rows: &[Row], spreads: &[f64], correlation: f64) -> Cleared {
    let mut diagonal = 1.0_f64;
    let mut log_scale = 0.0;
    let mut steps = Vec::with_capacity(rows.len());
    for (row, spread) in rows.iter().zip(spreads) {
        let below = if row.follows { correlation / diagonal } else { 0.0 };
        diagonal = (1.0 - below * below).sqrt();
        log_scale += (spread * diagonal).ln();
        steps.push((below * spread, spread * diagonal));
    }
    Cleared { steps, log_scale }
}

impl Cleared {
    fn apply(&self, values: &[f64]) -> Vec<f64> {
        let mut before = 0.0;
        let mut clean = Vec::with_capacity(values.len());
        for (value, (taken, divisor)) in values.iter().zip(&self.steps) {
            before = (value - taken * before) / divisor;
            clean.push(before);
        }
        clean
    }
}

#[cfg(test)]
mod tests;
