//! Fits every family to the points and weighs them by how well each predicts a load it has not seen.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::bounds::Bounds;
use crate::family::{Family, Parameters};
use crate::point::same_level;
use crate::regression::{self, Problem, Solution};

/// One family, fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyFit {
    /// Which.
    pub family: Family,
    /// The fitted parameters, as used in arithmetic.
    pub values: Parameters,
    /// The same with names and uncertainty.
    pub parameters: Vec<Parameter>,
    /// Its share in the average, in `0..=1`.
    pub weight: f64,
    /// The root of the mean squared relative error at the loads left out, one at a time; `None` when there
    /// are too few.
    pub left_out_error_ratio: Option<f64>,
    /// The sum of squared (weighted) residuals.
    pub residual_sum: f64,
    /// Why it has no weight, when there is a reason beside its errors.
    pub excluded: Option<String>,
}

/// One fitted parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in machine-readable output.
    pub name: &'static str,
    /// The estimate.
    pub value: f64,
    /// From the Jacobian at the optimum; `None` without a degree of freedom.
    pub standard_error: Option<f64>,
    /// The two-sided 95 % interval by Student's t with n − p degrees of freedom, cut at the bounds.
    pub interval: Option<Bounds<f64>>,
    /// Whether the estimate lies on a bound; the interval is then one-sided.
    pub on_bound: bool,
}

/// An observation of throughput by concurrency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Observed {
    /// Requests in flight.
    pub(crate) n: f64,
    /// Throughput per second.
    pub(crate) x: f64,
    /// Its standard error per second; all or none have one.
    pub(crate) error: Option<f64>,
}

/// Without standard errors, so much lower than the best counts as a decline.
const DECLINE_RATIO: f64 = 0.03;
/// No throughput is believed to be known better than this share of itself.
const LEAST_ERROR_RATIO: f64 = 0.01;
/// What a parameter costs, as an error: among laws that predict equally well the simplest weighs most.
const PARAMETER_PRICE: f64 = 0.008;
/// How sharply weights follow the error at the loads left out.
const SHARPNESS: f64 = 2.0;

impl FamilyFit {
    /// The throughput per second at concurrency `n`.
    pub fn throughput_at(&self, n: f64) -> f64 {
        self.family.throughput_at(&self.values, n)
    }
}

/// The universal scalability law alone, through the concurrency and throughput of `points`; `None` with fewer
/// than three loads.
pub fn fit_usl(points: &[crate::Point]) -> Option<FamilyFit> {
    let mut observed: Vec<Observed> = points
        .iter()
        .filter_map(|point| {
            let (n, x) = (point.concurrency?, point.throughput.as_per_second());
            Some(Observed { n, x, error: None }).filter(|_| n > 0.0 && x > 0.0)
        })
        .collect();
    observed.sort_by(|one, other| one.n.total_cmp(&other.n));
    if levels(&observed).len() < 3 {
        return None;
    }
    let solution = solve(Family::Usl, &observed, None);
    Some(FamilyFit {
        family: Family::Usl,
        values: solution.values,
        parameters: parameters(Family::Usl, &solution, observed.len()),
        weight: 1.0,
        left_out_error_ratio: None,
        residual_sum: solution.residual_sum,
        excluded: None,
    })
}

/// Fits all families; weights add up to 1. `observed` is ascending by concurrency.
pub(crate) fn fit_all(observed: &[Observed]) -> Vec<FamilyFit> {
    let levels = levels(observed);
    let declines = has_decline(observed);
    let mut fits: Vec<FamilyFit> = Family::ALL
        .iter()
        .filter(|family| observed.len() >= family.names().len() && levels.len() >= family.names().len())
        .map(|&family| {
            let solution = solve(family, observed, None);
            let left_out = left_out_error(family, observed, &levels, &solution.values);
            let retrograde = family == Family::Usl && solution.values[1] > 0.0 && !declines;
            let excluded = if retrograde {
                Some("foretells a decline that was not measured".to_owned())
            } else if left_out.is_none() {
                Some("too few loads to leave one out".to_owned())
            } else {
                None
            };
            FamilyFit {
                family,
                values: solution.values,
                parameters: parameters(family, &solution, observed.len()),
                weight: 0.0,
                left_out_error_ratio: left_out,
                residual_sum: solution.residual_sum,
                excluded,
            }
        })
        .collect();
    weigh(&mut fits);
    fits
}

/// The weighted average of the families at concurrency `n`.
pub(crate) fn average_at(fits: &[FamilyFit], n: f64) -> f64 {
    fits.iter().filter(|fit| fit.weight > 0.0).map(|fit| fit.weight * fit.throughput_at(n)).sum()
}

/// Weights in proportion to the inverse square of the error at the loads left out.
fn weigh(fits: &mut [FamilyFit]) {
    let share = |fit: &FamilyFit| match (fit.left_out_error_ratio, &fit.excluded) {
        (Some(error), None) => {
            error.hypot(PARAMETER_PRICE * fit.family.names().len() as f64).powf(-2.0 * SHARPNESS)
        }
        _ => 0.0,
    };
    let total: f64 = fits.iter().map(share).sum();
    for fit in fits.iter_mut() {
        fit.weight = if total > 0.0 { share(fit) / total } else { 0.0 };
    }
    if total <= 0.0 {
        // Nothing could be left out: the simplest that bends, else the simplest.
        let pick = fits.iter().position(|fit| fit.family == Family::Hinge).unwrap_or(0);
        if let Some(fit) = fits.get_mut(pick) {
            fit.weight = 1.0;
            fit.excluded = None;
        }
    }
}

/// Observations of one level of load, by index.
fn levels(observed: &[Observed]) -> Vec<std::ops::Range<usize>> {
    let mut levels: Vec<std::ops::Range<usize>> = Vec::new();
    for index in 0..observed.len() {
        match levels.last_mut() {
            Some(level) if same_level(observed[level.start].n, observed[index].n) => level.end = index + 1,
            _ => levels.push(index..index + 1),
        }
    }
    levels
}

/// With more levels than this, neighbours are left out together: as many refits as levels, each over all of them,
/// would take the square of the time.
pub(crate) const MOST_LEFT_OUT: usize = 32;

/// The root of the mean squared logarithmic error at each level, predicted from all others.
fn left_out_error(
    family: Family,
    observed: &[Observed],
    levels: &[std::ops::Range<usize>],
    start: &Parameters,
) -> Option<f64> {
    if levels.len() <= family.names().len() {
        return None;
    }
    let (mut sum, mut total) = (0.0, 0.0);
    let together = levels.len().div_ceil(MOST_LEFT_OUT);
    let folds = levels.chunks(together).map(|levels| levels[0].start..levels[levels.len() - 1].end);
    for (at, level) in folds.enumerate() {
        let rest: Vec<Observed> = observed
            .iter()
            .enumerate()
            .filter(|(index, _)| !level.contains(index))
            .map(|(_, each)| *each)
            .collect();
        let solution = solve(family, &rest, Some(*start));
        let errors = level.clone().map(|index| {
            let predicted = family.throughput_at(&solution.values, observed[index].n);
            (predicted / observed[index].x.max(1e-12)).max(1e-12).ln().powi(2)
        });
        // What lies above is asked about: the higher a level, the more it counts.
        let weight = (at + 1) as f64;
        total += weight;
        sum += weight * errors.sum::<f64>() / level.len() as f64;
    }
    Some((sum / total).sqrt())
}

/// Whether a load beyond the best carried less by more than chance: only then is a falling curve believed.
pub(crate) fn has_decline(observed: &[Observed]) -> bool {
    let Some(best) = observed.iter().max_by(|one, other| one.x.total_cmp(&other.x)) else {
        return false;
    };
    observed.iter().filter(|each| each.n > best.n).any(|each| {
        let noise = match best.error.zip(each.error) {
            Some((one, other)) => 2.0 * one.hypot(other).max(LEAST_ERROR_RATIO * best.x),
            None => DECLINE_RATIO * best.x,
        };
        best.x - each.x > noise
    })
}

/// The best fit of one family, from several starts or from a given one.
pub(crate) fn solve(family: Family, observed: &[Observed], start: Option<Parameters>) -> Solution {
    let weighted: Vec<(f64, f64)> = observed
        .iter()
        .map(|each| {
            (each.x, each.error.map_or(1.0, |error| 1.0 / error.max(LEAST_ERROR_RATIO * each.x).max(1e-9)))
        })
        .collect();
    let predicted = |values: &Parameters, index: usize| family.throughput_at(values, observed[index].n);
    let gradient = |values: &Parameters, index: usize| family.gradient_at(values, observed[index].n);
    let mut limits = family.limits();
    if family == Family::UslCeiling && !has_decline(observed) {
        // Under a ceiling nothing else can tell coherency from chance.
        limits[1] = (0.0, 0.0);
    }
    let problem = Problem {
        count: family.names().len(),
        limits,
        observed: &weighted,
        predicted: &predicted,
        gradient: &gradient,
    };
    let starts = start.map_or_else(|| starts(family, observed), |start| vec![start]);
    let solutions = starts.into_iter().map(|start| regression::bounded(&problem, start));
    solutions
        .min_by(|one, other| one.residual_sum.total_cmp(&other.residual_sum))
        .expect("every family has at least one start")
}

/// Where to begin: the linearised laws by ordinary least squares, and what the points show at first sight.
fn starts(family: Family, observed: &[Observed]) -> Vec<Parameters> {
    let rate = observed.iter().map(|each| each.x / each.n).fold(1e-9, f64::max);
    let highest = observed.iter().map(|each| each.x).fold(1e-9, f64::max);
    match family {
        Family::Linear => vec![[rate, 0.0, 0.0, 0.0]],
        Family::Amdahl => {
            let mut starts = vec![[0.01, rate, 0.0, 0.0], [0.3, rate, 0.0, 0.0]];
            // N/X = 1/λ + (σ/λ)(N − 1)
            if let Some(line) = linearised(observed, 2).filter(|line| line[0] > 0.0) {
                starts.push([line[1] / line[0], 1.0 / line[0], 0.0, 0.0]);
            }
            starts
        }
        Family::Usl => {
            let mut starts = vec![[0.01, 1e-4, rate, 0.0], [0.2, 1e-6, rate, 0.0]];
            // N/X = 1/λ + (σ/λ)(N − 1) + (κ/λ)N(N − 1)
            if let Some(line) = linearised(observed, 3).filter(|line| line[0] > 0.0) {
                starts.push([line[1] / line[0], line[2] / line[0], 1.0 / line[0], 0.0]);
            }
            starts
        }
        Family::Hinge => corners(observed),
        Family::SmoothHinge => {
            let sharp = corners(observed).into_iter().flat_map(|[rate, ceiling, ..]| {
                [1.0, 3.0, 10.0].map(|sharpness| [rate, ceiling, sharpness, 0.0])
            });
            std::iter::once([rate, highest, 2.0, 0.0]).chain(sharp).collect()
        }
        Family::UslCeiling => {
            // The ceiling cuts the curve anywhere: at the highest, or where the flat half of a corner lies.
            let ceilings = corners(observed).into_iter().map(|[_, ceiling, ..]| ceiling);
            std::iter::once(highest)
                .chain(ceilings)
                .flat_map(|ceiling| [[0.02, 0.0, rate, ceiling], [0.15, 0.0, 1.1 * rate, ceiling]])
                .collect()
        }
    }
}

fn linearised(observed: &[Observed], terms: usize) -> Option<Vec<f64>> {
    let known: Vec<&Observed> = observed.iter().filter(|each| each.x > 0.0).collect();
    let column = |of: fn(f64) -> f64| known.iter().map(|each| of(each.n)).collect::<Vec<f64>>();
    let columns = [column(|_| 1.0), column(|n| n - 1.0), column(|n| n * (n - 1.0))];
    let target: Vec<f64> = known.iter().map(|each| each.n / each.x).collect();
    regression::linear(&columns[..terms], &target)
}

/// Every way to part the points into a rising and a flat half, best first; three are enough.
fn corners(observed: &[Observed]) -> Vec<Parameters> {
    let mut corners: Vec<(f64, Parameters)> = (1..=observed.len())
        .map(|rising| {
            let (low, high) = observed.split_at(rising);
            let rate = low.iter().map(|each| each.n * each.x).sum::<f64>()
                / low.iter().map(|each| each.n * each.n).sum::<f64>().max(1e-300);
            let highest = observed.iter().map(|each| each.x).fold(0.0, f64::max);
            let ceiling = if high.is_empty() {
                highest * 2.0
            } else {
                high.iter().map(|each| each.x).sum::<f64>() / high.len() as f64
            };
            let values = [rate, ceiling, 0.0, 0.0];
            let miss = |each: &Observed| (each.x - Family::Hinge.throughput_at(&values, each.n)).powi(2);
            (observed.iter().map(miss).sum(), values)
        })
        .collect();
    corners.sort_by(|one, other| one.0.total_cmp(&other.0));
    corners.into_iter().take(3).map(|(_, values)| values).collect()
}

/// Standard errors from (JᵀJ)⁻¹s² with s² = residuals / (n − p); intervals by t(n − p).
fn parameters(family: Family, solution: &Solution, count: usize) -> Vec<Parameter> {
    let names = family.names();
    let freedom = count.saturating_sub(names.len());
    let variance = solution.residual_sum / freedom.max(1) as f64;
    let diagonal =
        if freedom > 0 { regression::inverse_diagonal(&solution.normal, names.len()) } else { None };
    let t = StudentsT::new(0.0, 1.0, freedom.max(1) as f64).map_or(f64::NAN, |law| law.inverse_cdf(0.975));
    let limits = family.limits();
    names
        .iter()
        .enumerate()
        .map(|(index, &name)| {
            let value = solution.values[index];
            let standard_error = diagonal.map(|diagonal| (diagonal[index] * variance).sqrt());
            let interval = standard_error.map(|error| Bounds {
                low: (value - t * error).max(limits[index].0),
                high: (value + t * error).min(limits[index].1),
            });
            Parameter { name, value, standard_error, interval, on_bound: solution.on_bound[index] }
        })
        .collect()
}

#[cfg(test)]
mod tests;
