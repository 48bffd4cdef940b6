//! Response against load by regression: where no law of queueing fits as well.
//!
//! `ln R = a + Σ bᵢ·fᵢ(ρ)` with the features ρ, ρ², ρ³ and −ln(1 − ρ): a polynomial, and the pole of a queue. Several
//! choices of features by ordinary least squares, and all of them under the elastic net (both linfa's), stand against
//! each other, by the loads left out and by AICc; those that fall anywhere are no candidates.
//!
//! Source: Hurvich and Tsai, "Regression and time series model selection in small samples" (1989).

use linfa::Dataset;
use linfa::traits::Fit;
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2};

use crate::latency::Response;
use crate::regression;

/// How many features there are.
const FEATURES: usize = 4;

/// The names of the features in machine-readable output, the intercept first.
pub(crate) const NAMES: [&str; FEATURES + 1] = ["intercept", "rho", "rho2", "rho3", "minus_log_rest"];

/// How the coefficients are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Recipe {
    /// Ordinary least squares on these features.
    Least(&'static [usize]),
    /// The elastic net on all of them.
    Net,
}

/// Few: with six levels the best of many is the luckiest. One feature alone cannot bend as responses do.
const RECIPES: [Recipe; 3] = [Recipe::Least(&[0, 1]), Recipe::Least(&[0, 3]), Recipe::Net];

/// The price of coefficients of standardised features, and the share of it that is on their absolute values.
const PENALTY: f64 = 1e-3;
const L1_RATIO: f64 = 0.5;

/// The logarithm of a response is believed to within this.
const LEAST_MISS: f64 = 0.01;
/// A regression has no law beyond what it saw: it must have seen responses up to this share of the ceiling.
const LEAST_SEEN_RATIO: f64 = 0.8;

/// A fitted regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Regressed {
    pub(crate) intercept: f64,
    pub(crate) slopes: [f64; FEATURES],
    pub(crate) recipe: Recipe,
}

impl Regressed {
    /// The logarithm of the response at `ratio` of the ceiling.
    pub(crate) fn log_at(&self, ratio: f64) -> f64 {
        self.intercept
            + self.slopes.iter().zip(features(ratio)).map(|(slope, each)| slope * each).sum::<f64>()
    }

    /// Whether it never falls below the ceiling.
    fn rises(&self) -> bool {
        let logs: Vec<f64> = (0..=99).map(|step| self.log_at(f64::from(step) / 100.0)).collect();
        logs.windows(2).all(|pair| pair[1] >= pair[0] - 1e-9)
    }

    /// The intercept and the coefficients by name; those that are zero are left out.
    pub(crate) fn named(&self) -> Vec<(&'static str, f64)> {
        let values = std::iter::once(self.intercept).chain(self.slopes);
        NAMES.into_iter().zip(values).filter(|(name, value)| *name == NAMES[0] || *value != 0.0).collect()
    }
}

fn features(ratio: f64) -> [f64; FEATURES] {
    let ratio = ratio.clamp(0.0, 1.0 - 1e-6);
    [ratio, ratio * ratio, ratio * ratio * ratio, -(1.0 - ratio).ln()]
}

/// The regressions that rise, each with its AICc; none with fewer than four responses, or when none of them is from
/// near the ceiling.
pub(crate) fn candidates(responses: &[Response], ceiling: f64) -> Vec<(Regressed, f64)> {
    let seen = responses.iter().map(|each| each.offered).fold(0.0, f64::max);
    if responses.len() < 4 || seen < LEAST_SEEN_RATIO * ceiling {
        return Vec::new();
    }
    let scored = |&recipe: &Recipe| {
        let found = fit(responses, ceiling, recipe)?;
        Some((found, criterion(&found, responses, ceiling)?))
    };
    RECIPES.iter().filter_map(scored).collect()
}

/// The regression by one recipe; `None` when it is not determined, or falls anywhere.
pub(crate) fn fit(responses: &[Response], ceiling: f64, recipe: Recipe) -> Option<Regressed> {
    if !ceiling.is_finite() || responses.len() < 2 {
        return None;
    }
    let weights: Vec<f64> = responses.iter().map(|each| each.weight(ceiling)).collect();
    let rows: Vec<[f64; FEATURES]> = responses.iter().map(|each| features(each.offered / ceiling)).collect();
    let logs: Vec<f64> = responses.iter().map(|each| each.seconds.ln()).collect();
    let found = match recipe {
        Recipe::Least(chosen) => {
            let roots: Vec<f64> = weights.iter().map(|weight| weight.sqrt()).collect();
            let mut columns = vec![roots.clone()];
            columns.extend(
                chosen.iter().map(|&at| roots.iter().zip(&rows).map(|(root, row)| root * row[at]).collect()),
            );
            let target: Vec<f64> = roots.iter().zip(&logs).map(|(root, log)| root * log).collect();
            let values = regression::linear(&columns, &target)?;
            let mut slopes = [0.0; FEATURES];
            for (&at, value) in chosen.iter().zip(&values[1..]) {
                slopes[at] = *value;
            }
            Regressed { intercept: values[0], slopes, recipe }
        }
        Recipe::Net => net(&rows, &logs, &weights)?,
    };
    found.rises().then_some(found)
}

/// The elastic net. linfa's knows no weights: centred and standardised rows are multiplied by their roots first.
///
/// Source: Zou and Hastie, "Regularization and variable selection via the elastic net" (2005).
fn net(rows: &[[f64; FEATURES]], logs: &[f64], weights: &[f64]) -> Option<Regressed> {
    let total: f64 = weights.iter().sum();
    let mean =
        |of: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(at, w)| w * of(at)).sum::<f64>() / total;
    let centres: [f64; FEATURES] = std::array::from_fn(|feature| mean(&|at| rows[at][feature]));
    let spreads: [f64; FEATURES] =
        std::array::from_fn(|feature| mean(&|at| (rows[at][feature] - centres[feature]).powi(2)).sqrt());
    if spreads.iter().any(|spread| spread.is_nan() || *spread <= 1e-12) {
        return None;
    }
    let middle = mean(&|at| logs[at]);
    let root = |at: usize| (weights[at] / total * rows.len() as f64).sqrt();
    let records = Array2::from_shape_fn((rows.len(), FEATURES), |(at, feature)| {
        root(at) * (rows[at][feature] - centres[feature]) / spreads[feature]
    });
    let target = Array1::from_shape_fn(rows.len(), |at| root(at) * (logs[at] - middle));
    let fitted = ElasticNet::<f64>::params()
        .penalty(PENALTY)
        .l1_ratio(L1_RATIO)
        .with_intercept(false)
        .fit(&Dataset::new(records, target))
        .ok()?;
    let slopes: [f64; FEATURES] =
        std::array::from_fn(|feature| fitted.hyperplane()[feature] / spreads[feature]);
    let intercept = middle - slopes.iter().zip(centres).map(|(slope, centre)| slope * centre).sum::<f64>();
    let found = Regressed { intercept, slopes, recipe: Recipe::Net };
    (intercept.is_finite() && slopes.iter().all(|slope| slope.is_finite())).then_some(found)
}

/// AICc; `None` when there are too few responses for so many parameters.
fn criterion(found: &Regressed, responses: &[Response], ceiling: f64) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for each in responses {
        let weight = each.weight(ceiling);
        sum += weight * (found.log_at(each.offered / ceiling) - each.seconds.ln()).powi(2);
        total += weight;
    }
    let count = responses.len() as f64;
    // The intercept, the variance, and every slope that is there.
    let parameters = 2.0 + found.slopes.iter().filter(|slope| **slope != 0.0).count() as f64;
    let rest = count - parameters - 1.0;
    // Responses are not known better than this: a closer fit is chance.
    let miss = (sum / total).max(LEAST_MISS * LEAST_MISS);
    (rest > 0.0).then(|| count * miss.ln() + 2.0 * parameters + 2.0 * parameters * (parameters + 1.0) / rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responses(of: impl Fn(f64) -> f64) -> Vec<Response> {
        (1..=9)
            .map(|step| {
                let offered = 10.0 * f64::from(step);
                Response { offered, seconds: of(offered / 100.0), length: 600.0 }
            })
            .collect()
    }

    fn best(responses: &[Response], ceiling: f64) -> Option<Regressed> {
        let all = candidates(responses, ceiling);
        all.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).map(|(found, _)| found)
    }

    #[test]
    fn the_features_that_made_a_curve_are_chosen() {
        let found = best(&responses(|ratio| 0.02 * (0.5 * ratio + 1.5 * ratio * ratio).exp()), 100.0);
        let found = found.expect("rises");
        assert_eq!(found.recipe, Recipe::Least(&[0, 1]));
        assert!((found.slopes[1] - 1.5).abs() < 1e-9 && (found.intercept - 0.02_f64.ln()).abs() < 1e-9);
        let found = best(&responses(|ratio| 0.02 / (1.0 - ratio)), 100.0).expect("rises");
        assert_eq!(found.recipe, Recipe::Least(&[0, 3]));
        assert!((found.slopes[3] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_falls_with_load_is_no_curve() {
        assert_eq!(best(&responses(|ratio| 0.02 - 0.01 * ratio), 100.0), None);
        assert_eq!(best(&responses(|_| 0.02)[..3], 100.0), None);
    }

    #[test]
    fn the_net_is_near_least_squares_where_features_tell_themselves_apart() {
        let curve = |ratio: f64| 0.02 * (0.5 * ratio - 0.7 * (1.0 - ratio).ln()).exp();
        let found = fit(&responses(curve), 100.0, Recipe::Net).expect("rises");
        for ratio in [0.1, 0.5, 0.8] {
            assert!((found.log_at(ratio) - curve(ratio).ln()).abs() < 0.05, "{ratio}: {found:?}");
        }
    }
}
