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
//! are fewer of those: a request costs so much more the further the load of its point is below the largest. What
//! they save with load looks much like use without requests, and would be missing in theirs: a split with the one, a
//! split with the other and a split with both weigh by how likely they make the rows.
//!
//! Where the target was watched at rest, what it uses without requests is known, and no line has to tell it. What a
//! line through the loads still has left at none is then not idle use: it is not there when no requests are. They
//! pay for it by their coming, whatever they ask for: it is shared out among them, each the same.
//!
//! Source: Hamilton, *Time Series Analysis* (1994), ch. 5 (the exact likelihood of a moving average) and ch. 8
//! (generalised least squares); Burnham and Anderson, *Model Selection and Multimodel Inference* (2002), for the
//! weights; the errors' variance grows with the level, as that of the requests at work does.

use rand::RngExt;

use super::rows::Row;
use crate::mix::{Normal, elastic};

/// What a split came to: the likeliest splits, by their weights.
pub(super) struct Split {
    /// Used without requests, a second; then by route; then by a miss of the cache, where misses count.
    pub(super) costs: Vec<f64>,
    /// The same by the positive elastic net.
    pub(super) shrunk: Vec<f64>,
    /// Requests by route, then misses: as many as were worked on in all rows.
    pub(super) requests: Vec<f64>,
    /// What the costs foretell of each row.
    pub(super) predicted: Vec<f64>,
    parts: Vec<(f64, Part)>,
}

/// One way to split.
struct Part {
    what: What,
    costs: Vec<f64>,
    requests: Vec<f64>,
    predicted: Vec<f64>,
    /// AICc.
    criterion: f64,
    /// The columns of the costs, of waking last where it counts, and the target; each row cleared of its neighbour's
    /// error and brought to one spread.
    columns: Vec<Vec<f64>>,
    target: Vec<f64>,
    shared: Shared,
}

/// What costs, beside requests by route.
#[derive(Clone, Copy)]
struct What {
    routes: usize,
    idle: bool,
    waking: bool,
    misses: bool,
    /// What is used without requests, where it was seen.
    rest: Option<f64>,
}

/// What a mean request of all rows has a share in.
#[derive(Clone, Copy)]
struct Shared {
    /// Of waking.
    waking_ratio: f64,
    /// Seconds for each request.
    seconds: f64,
}

impl Split {
    /// The costs in as many sets of the rows, each drawn anew from them: cleared of their neighbours' errors, rows
    /// are independent. Each way to split has its share of the draws.
    pub(super) fn drawn(&self, draws: usize, chance: &mut impl RngExt) -> Vec<Vec<f64>> {
        let draw = |number: usize| {
            let place = (number as f64 + 0.5) / draws as f64;
            let mut passed = 0.0;
            let hit = self.parts.iter().find(|(weight, _)| {
                passed += weight;
                place < passed
            });
            hit.or(self.parts.last()).map_or(Vec::new(), |(_, part)| part.drawn(chance))
        };
        (0..draws).map(draw).collect()
    }
}

impl Part {
    fn drawn(&self, chance: &mut impl RngExt) -> Vec<f64> {
        let count = self.target.len();
        let picked: Vec<usize> = (0..count).map(|_| chance.random_range(0..count)).collect();
        let of = |values: &Vec<f64>| -> Vec<f64> { picked.iter().map(|&at| values[at]).collect() };
        let columns: Vec<Vec<f64>> = self.columns.iter().map(of).collect();
        self.what.costs(elastic(&Normal::new(&columns, &of(&self.target)), 0.0, 0.0), self.shared)
    }

    fn shrunk(&self) -> Vec<f64> {
        let found = elastic(&Normal::new(&self.columns, &self.target), 1e-4, 1e-3);
        self.what.costs(found, self.shared)
    }
}

impl What {
    /// What was found, with what a mean request pays for its coming in the cost of each route.
    fn costs(self, mut found: Vec<f64>, shared: Shared) -> Vec<f64> {
        let mut coming = 0.0;
        if self.waking {
            coming += found.pop().unwrap_or(0.0) * shared.waking_ratio;
        }
        if let Some(rest) = self.rest {
            coming += std::mem::replace(&mut found[0], rest) * shared.seconds;
        }
        found[1..=self.routes].iter_mut().for_each(|cost| *cost += coming);
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
/// By so much less AICc misses must explain what was used: the odds are then 150 to 1. Misses that follow the
/// requests would only take costs from routes.
const DECISIVE: f64 = 10.0;
/// Fewer pairs of neighbours do not tell how they correlate.
const LEAST_PAIRS: usize = 10;

/// The likeliest splits of `rows` among `routes`; with the misses of a cache where they explain clearly more. `rest`
/// is what is used a second without requests; `None` where nobody looked.
pub(super) fn split(rows: &[Row], routes: usize, rest: Option<f64>) -> Split {
    let idle = What { routes, idle: true, waking: false, misses: false, rest };
    let delay = delay(rows, idle);
    let ways = |misses| {
        [(true, false), (false, true), (true, true)]
            .map(|(idle, waking)| at_delay(rows, What { routes, idle, waking, misses, rest }, delay))
    };
    let least = |ways: &[Part]| ways.iter().map(|part| part.criterion).fold(f64::INFINITY, f64::min);
    let mut parts = ways(false);
    if rows.iter().all(|row| row.misses.is_some()) && rows.iter().any(|row| row.misses > Some(0.0)) {
        let with_misses = ways(true);
        if least(&with_misses) + DECISIVE < least(&parts) {
            parts = with_misses;
        }
    }
    let best = least(&parts);
    let likelihoods = parts.each_ref().map(|part| (0.5 * (best - part.criterion)).exp());
    let all: f64 = likelihoods.iter().sum();
    let parts: Vec<(f64, Part)> = likelihoods.into_iter().map(|each| each / all).zip(parts).collect();
    let mean = |of: &dyn Fn(&Part) -> Vec<f64>| {
        let mut sum: Vec<f64> = Vec::new();
        for (weight, part) in &parts {
            let values = of(part);
            sum.resize(values.len(), 0.0);
            sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += weight * value);
        }
        sum
    };
    Split {
        costs: mean(&|part| part.costs.clone()),
        shrunk: mean(&Part::shrunk),
        requests: mean(&|part| part.requests.clone()),
        predicted: mean(&|part| part.predicted.clone()),
        parts,
    }
}

/// How many seconds after they were due requests are seen at work, most likely.
fn delay(rows: &[Row], what: What) -> f64 {
    // Without pairs of seconds there is none to see.
    if rows.iter().all(|row| row.due == row.before) {
        return 0.0;
    }
    let mut best = (f64::INFINITY, 0.0);
    let mut consider = |delay: f64| {
        let criterion = at_delay(rows, what, delay).criterion;
        if criterion < best.0 {
            best = (criterion, delay);
        }
        best.1
    };
    let likeliest = DELAYS.iter().fold(0.0, |_, delay| consider(*delay));
    let near = NEARER.map(|step| likeliest + step).into_iter().filter(|delay| (0.0..=1.0).contains(delay));
    near.fold(likeliest, |_, delay| consider(delay))
}

fn at_delay(rows: &[Row], what: What, delay: f64) -> Part {
    let columns = columns(rows, what, delay);
    let resting: Vec<f64> = rows.iter().map(|row| what.rest.unwrap_or(0.0) * row.seconds).collect();
    let whole = |beyond: Vec<f64>| -> Vec<f64> {
        beyond.iter().zip(&resting).map(|(beyond, rest)| beyond + rest).collect()
    };
    // By requests, one way or another.
    let used: Vec<f64> = rows.iter().zip(&resting).map(|(row, rest)| row.used - rest).collect();
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    let level = rows.iter().map(|row| row.used).sum::<f64>() / seconds;
    let mut predicted: Vec<f64> = rows.iter().map(|row| level * row.seconds).collect();
    let mut cleared = clear(rows, &spreads(rows, &predicted), 0.0);
    let mut clean = Vec::new();
    let mut target = Vec::new();
    let mut found = Vec::new();
    for round in 1..=ROUNDS {
        clean = columns.iter().map(|column| cleared.apply(column)).collect::<Vec<_>>();
        target = cleared.apply(&used);
        found = elastic(&Normal::new(&clean, &target), 0.0, 0.0);
        predicted = whole(foretold(&columns, &found));
        if round < ROUNDS {
            let spreads = spreads(rows, &predicted);
            cleared = clear(rows, &spreads, correlation_of(rows, &predicted, &spreads));
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
    let each = |sum: f64| if all > 0.0 { sum / all } else { 0.0 };
    let shared = Shared { waking_ratio: each(waking), seconds: each(seconds) };
    let costs = what.costs(found, shared);
    Part { what, costs, requests, predicted, criterion, columns: clean, target, shared }
}

fn foretold(columns: &[Vec<f64>], costs: &[f64]) -> Vec<f64> {
    let rows = columns.first().map_or(0, Vec::len);
    let of = |at: usize| columns.iter().zip(costs).map(|(column, cost)| column[at] * cost).sum();
    (0..rows).map(of).collect()
}

/// Seconds, requests by route, misses, wakings.
fn columns(rows: &[Row], what: What, delay: f64) -> Vec<Vec<f64>> {
    let second = |row: &Row| if what.idle { row.seconds } else { 0.0 };
    let mut columns = vec![rows.iter().map(second).collect::<Vec<f64>>()];
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
fn correlation_of(rows: &[Row], predicted: &[f64], spreads: &[f64]) -> f64 {
    let left: Vec<f64> = (0..rows.len()).map(|at| (rows[at].used - predicted[at]) / spreads[at]).collect();
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
