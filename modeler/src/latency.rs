//! Response against offered load, one curve per quantile.
//!
//! Only steady points are fitted: past saturation the queue grows for as long as the stage lasts, so a
//! response measured there says more about the stage than about the service. Saturated points bound the
//! curve through the ceiling, which all curves share with the throughput.

use std::time::Duration;

use captures::Rate;

use crate::bounds::{Bounds, Verdict};
use crate::crowding::{Crowding, Shape};
use crate::fit::MOST_LEFT_OUT;
use crate::objective::trimmed;
use crate::queueing::{Track, queueing};
use crate::regressed::{self, Recipe, Regressed};

/// What of the response a curve is about.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum LatencyMeasure {
    /// The arithmetic mean.
    Mean,
    /// A quantile, in `0..=1`.
    Quantile(f64),
}

/// How a curve was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyShape {
    /// `R = s · (1 + g·ρ + k·z(ρ))` with `ρ` = offered rate over ceiling and `z` the law of waiting.
    Queueing {
        /// `s`: the response without load.
        service: Duration,
        /// `g`: by how much the work itself grows up to the ceiling; zero unless the responses ask for it.
        growth: f64,
        /// `k`: how much waiting weighs.
        waiting: f64,
        /// `z`: how late waiting sets in.
        law: Crowding,
    },
    /// `ln R` regressed on features of ρ, rising: where no queueing law fits as well.
    Polynomial,
    /// Straight lines on the logarithm between measured loads, made monotone by pooling; beyond the last in
    /// proportion to `1 / (1 − ρ)`.
    Monotone,
}

/// Response against offered load.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyCurve {
    /// What of the response.
    pub measure: LatencyMeasure,
    /// How it was made.
    pub shape: LatencyShape,
    /// The ceiling at which it grows without limit; `None` when none is in sight.
    pub ceiling: Option<Rate>,
    /// The median of |predicted − measured| / measured over the steady points.
    pub fit_error_ratio: f64,
    /// The root of the mean squared relative error at the loads left out, one at a time; `None` when there are
    /// too few.
    pub left_out_error_ratio: Option<f64>,
    /// The coefficients of a regression by feature of ρ; empty of other shapes.
    pub terms: Vec<(&'static str, f64)>,
    /// The curve for drawing: ascending loads, up to just below the ceiling.
    pub steps: Vec<LatencyStep>,
}

/// One step of a drawn curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyStep {
    /// The offered load.
    pub offered: Rate,
    /// The response there.
    pub response: Duration,
    /// The 95 % interval of the response.
    pub interval: Bounds<Duration>,
    /// Whether the load was measured.
    pub verdict: Verdict,
}

impl LatencyMeasure {
    /// The name in machine-readable output and in objectives: `mean`, `p50`, `p99.9`.
    pub fn name(self) -> String {
        match self {
            Self::Mean => "mean".to_owned(),
            Self::Quantile(quantile) => format!("p{}", trimmed(quantile * 100.0)),
        }
    }

    /// The waiting in heavy traffic by this measure, in units of its mean: it is nearly exponential.
    ///
    /// So `b` of `R = s + b·ρᵐ/(1 − ρ)` is near `tail / C`, times the burstiness of arrivals and services.
    /// Source: Kingman (1962).
    pub(crate) fn tail(self) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::Quantile(quantile) => -(1.0 - quantile).ln(),
        }
    }
}

/// A steady response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Response {
    /// The offered rate per second.
    pub(crate) offered: f64,
    /// The response in seconds.
    pub(crate) seconds: f64,
    /// For how many seconds it was measured.
    pub(crate) length: f64,
}

impl Response {
    /// How much it counts in a fit with a pole at `ceiling`.
    ///
    /// A queue forgets its beginning in about `1 / (C(1 − √ρ)²)` seconds: near the ceiling a short stage sees
    /// one swing of it, and says little about the steady response.
    ///
    /// Source: the relaxation time of M/M/1 and, by its total rate, of M/M/c (Cohen 1982).
    pub(crate) fn weight(&self, ceiling: f64) -> f64 {
        1.0 / (ORDINARY_SPREAD * ORDINARY_SPREAD + memory(self.offered, ceiling) / self.length)
    }

    /// What a longer window would have shown of `measure`.
    ///
    /// The pooled quantile of a window of few memories is too small more often than not, for the long busy
    /// periods that make it up are rare; the mean is not. The size of the correction is from simulations of
    /// M/M/c, in proportion to the tail, to memories per window
    /// and to the burstiness.
    pub(crate) fn lengthened(self, measure: LatencyMeasure, ceiling: f64, burstiness: f64) -> Self {
        if measure == LatencyMeasure::Mean || !ceiling.is_finite() {
            return self;
        }
        let missing =
            SHORT_WINDOW * burstiness.min(1.5) * measure.tail() * memory(self.offered, ceiling) / self.length;
        Self { seconds: self.seconds * (1.0 + missing.min(MOST_LENGTHENED)), ..self }
    }

    /// Whether the queue had time to become steady.
    fn is_long_enough(&self, ceiling: f64) -> bool {
        is_long_enough(self.offered, ceiling, self.length)
    }
}

/// Seconds in which a queue forgets its beginning.
fn memory(offered: f64, ceiling: f64) -> f64 {
    let rest = 1.0 - (offered / ceiling).min(1.0).sqrt();
    1.0 / (ceiling * rest * rest).max(1e-9)
}

/// Whether `seconds` at `offered` show the steady response of a queue with this ceiling: three of its memories.
pub(crate) fn is_long_enough(offered: f64, ceiling: f64, seconds: f64) -> bool {
    3.0 * memory(offered, ceiling) <= seconds
}

/// A fitted curve, for arithmetic.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) form: Form,
    /// Infinite when none is in sight.
    pub(crate) ceiling: f64,
    /// The weighted mean of the squared logarithmic residuals.
    pub(crate) score: f64,
    /// How little the responses and the burstiness are to be expected with this curve.
    pub(crate) surprise: f64,
    /// The highest load at which the response is known, and how many times the curve's growth it has beyond.
    pub(crate) beyond: (f64, f64),
    /// How likely other forms are: so many draws have them.
    pub(crate) forms: Forms,
}

/// How likely it is, in `0..=1`, that the curve has another form than plain queueing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forms {
    /// That the work itself grows with load.
    pub(crate) grown: f64,
    /// That a regression by this recipe describes it.
    pub(crate) regressed: f64,
    pub(crate) recipe: Option<Recipe>,
    /// By how much the form that was chosen misses loads left out (root mean square of the logarithm).
    pub(crate) missed: f64,
}

/// For how many seconds `offered` must be held; `None` at the ceiling and beyond.
pub(crate) fn long_enough(offered: f64, ceiling: f64) -> Option<f64> {
    (offered < ceiling).then(|| 3.0 * memory(offered, ceiling))
}

/// What a curve says of waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The mean wait near the ceiling, times the share of the ceiling that is left.
    pub(crate) seconds: f64,
    /// Its share of the response at the highest load that is known, in `0..=1`.
    pub(crate) share_ratio: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// `s + gρ + b·z(ρ)`: `g` is by how much the work itself grows (contention), usually nothing.
    Queueing {
        service: f64,
        growth: f64,
        slope: f64,
        shape: Shape,
    },
    Regressed(Regressed),
    Monotone {
        knots: Vec<(f64, f64)>,
    },
}

/// How far apart the logarithms of two measurements of one quantile lie when nothing queues.
const ORDINARY_SPREAD: f64 = 0.08;
/// By how much short windows make quantiles too small, by tail and memory; and the most that is corrected.
const SHORT_WINDOW: f64 = 0.65;
const MOST_LENGTHENED: f64 = 0.12;
/// A queueing curve that misses the points by more than this (root mean square of the logarithm) is not used.
const WORST_SCORE: f64 = 0.35;
/// With fewer steady loads than this, a third parameter is fitted to chance.
const ENOUGH_TO_CHOOSE: usize = 6;
/// A polynomial must miss the loads left out by so much less than a queueing law to be preferred.
const PREFERENCE: f64 = 0.7;
/// Regressions that miss them by no more than this, as a multiple of the least, do equally well.
const ALIKE: f64 = 1.05;
/// Work that grows must miss them by so much less: one parameter more, but of the same law.
const GROWTH_PREFERENCE: f64 = 0.9;

impl Forms {
    /// How far responses lie from a curve whose form is in doubt (on the logarithm); zero when it is not.
    ///
    /// What is missed at loads left out is chance and misfit; half of its square is taken for misfit, since the
    /// draws have the chance already.
    pub(crate) fn misfit(self) -> f64 {
        let in_doubt = self.grown + self.regressed > IN_DOUBT;
        if in_doubt { (0.5_f64.sqrt() * self.missed).min(MOST_MISFIT) } else { 0.0 }
    }
}

/// A form is in doubt when others together are at least so likely.
const IN_DOUBT: f64 = 0.2;
/// What is missed beyond this is chance: in short windows near the ceiling loads left out are missed by more than
/// any of the forms lies from another.
const MOST_MISFIT: f64 = 0.04;

impl Fitted {
    /// The response in seconds at `offered` per second; infinite at the ceiling and beyond.
    pub(crate) fn response_at(&self, offered: f64) -> f64 {
        let (known, times) = self.beyond;
        if offered > known && times != 1.0 && offered < self.ceiling {
            let there = self.curve_at(known);
            return there + (self.curve_at(offered) - there).max(0.0) * times;
        }
        self.curve_at(offered)
    }

    fn curve_at(&self, offered: f64) -> f64 {
        if offered >= self.ceiling {
            return f64::INFINITY;
        }
        match &self.form {
            Form::Queueing { service, growth, slope, shape } => {
                let ratio = offered / self.ceiling;
                service + growth * ratio + slope * shape.at(ratio)
            }
            Form::Regressed(regressed) => regressed.log_at(offered / self.ceiling).exp(),
            Form::Monotone { knots } => between(knots, offered, self.ceiling),
        }
    }

    /// How a regression found its coefficients; `None` of another curve.
    fn recipe(&self) -> Option<Recipe> {
        match self.form {
            Form::Regressed(regressed) => Some(regressed.recipe),
            Form::Queueing { .. } | Form::Monotone { .. } => None,
        }
    }

    /// Whether the work itself grows with load.
    fn grows(&self) -> bool {
        matches!(self.form, Form::Queueing { growth, .. } if growth > 0.0)
    }

    /// How much waiting weighs; `None` when none was seen.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        match &self.form {
            Form::Queueing { slope, shape, .. } => {
                let known = self.beyond.0;
                let waited = slope * shape.at(known / self.ceiling);
                let share_ratio = waited / self.curve_at(known);
                (share_ratio > 0.02).then_some(Waiting { seconds: *slope, share_ratio })
            }
            Form::Regressed(_) | Form::Monotone { .. } => None,
        }
    }

    /// The same with so many times the growth beyond the highest load that is known.
    pub(crate) fn crowded(mut self, times: f64) -> Self {
        self.beyond.1 = times;
        self
    }

    /// The same with all responses so many times as long.
    pub(crate) fn scaled(mut self, times: f64) -> Self {
        match &mut self.form {
            Form::Queueing { service, growth, slope, .. } => {
                *service *= times;
                *growth *= times;
                *slope *= times;
            }
            Form::Regressed(regressed) => regressed.intercept += times.ln(),
            Form::Monotone { .. } => {}
        }
        self
    }

    /// The highest offered rate with a response of at most `seconds`; infinite when it never gets there.
    pub(crate) fn offered_for(&self, seconds: f64) -> f64 {
        if self.response_at(0.0) > seconds {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, self.ceiling);
        if !high.is_finite() {
            let Form::Monotone { knots } = &self.form else {
                return f64::INFINITY;
            };
            high = knots.last().map_or(0.0, |knot| knot.0);
            if self.response_at(high) <= seconds {
                return f64::INFINITY;
            }
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.response_at(middle) <= seconds {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// On the logarithm between the knots; beyond the last in proportion to `1 / (1 − ρ)`.
fn between(knots: &[(f64, f64)], offered: f64, ceiling: f64) -> f64 {
    let (Some(first), Some(last)) = (knots.first(), knots.last()) else {
        return f64::INFINITY;
    };
    if offered <= first.0 {
        return first.1.exp();
    }
    if offered >= last.0 {
        let growth = if ceiling.is_finite() { (ceiling - last.0) / (ceiling - offered) } else { 1.0 };
        return last.1.exp() * growth;
    }
    let above = knots.partition_point(|knot| knot.0 < offered).max(1);
    let ((x0, y0), (x1, y1)) = (knots[above - 1], knots[above]);
    (y0 + (y1 - y0) * (offered - x0) / (x1 - x0)).exp()
}

/// The curve through the responses (ascending by load) with a pole at `ceiling`.
pub(crate) fn fit(track: Track<'_>, ceiling: f64) -> Option<Fitted> {
    if track.responses.is_empty() {
        return None;
    }
    let queueing = if track.responses.len() >= 3 && ceiling.is_finite() {
        queueing(track, ceiling, false)
    } else {
        None
    };
    let queueing = queueing.filter(|fit| fit.score.sqrt() < WORST_SCORE);
    Some(queueing.unwrap_or_else(|| monotone(track.responses, ceiling)))
}

/// The same, with work that grows, or a polynomial, where that predicts loads left out better; for the estimate.
pub(crate) fn chosen(track: Track<'_>, ceiling: f64) -> Option<Fitted> {
    let plain = fit(track, ceiling)?;
    if track.responses.iter().filter(|each| each.is_long_enough(ceiling)).count() < ENOUGH_TO_CHOOSE {
        return Some(plain);
    }
    let missed = |refit: &dyn Fn(&[Response]) -> Option<Fitted>| left_out(track.responses, ceiling, refit);
    let Some(least) = missed(&|rest| fit(Track { responses: rest, ..track }, ceiling)) else {
        return Some(plain);
    };
    let grown = queueing(track, ceiling, true).filter(Fitted::grows);
    let grown_missed = missed(&|rest| queueing(Track { responses: rest, ..track }, ceiling, true));
    let curved = best_regression(track.responses, ceiling);
    let curved_missed = curved.as_ref().map(|found| found.1);
    let curved = curved.map(|found| found.0);
    let recipe = curved.as_ref().and_then(Fitted::recipe);
    // Weights go with the inverse fourth power of the error, as those of the families do.
    let odds = |known: bool, missed: Option<f64>| {
        missed.filter(|_| known).map_or(0.0, |missed| (least / missed.max(1e-3)).powi(4))
    };
    let (grown_odds, curved_odds) =
        (odds(grown.is_some(), grown_missed), odds(curved.is_some(), curved_missed));
    let total = 1.0 + grown_odds + curved_odds;
    let others = [(GROWTH_PREFERENCE, grown, grown_missed), (PREFERENCE, curved, curved_missed)];
    let better = others
        .into_iter()
        .filter_map(|(preference, fit, missed)| Some((fit?, missed? / preference)))
        .filter(|(_, missed)| *missed < least)
        .min_by(|one, other| one.1.total_cmp(&other.1));
    let missed = better.as_ref().map_or(least, |found| found.1);
    let forms = Forms { grown: grown_odds / total, regressed: curved_odds / total, recipe, missed };
    let fitted = better.map_or(plain, |(fit, _)| fit);
    Some(Fitted { forms, ..fitted })
}

/// The regression that predicts loads left out best, and by how much it misses them; of those that do equally well
/// the one with the lowest AICc.
fn best_regression(responses: &[Response], ceiling: f64) -> Option<(Fitted, f64)> {
    let known: Vec<Response> =
        responses.iter().copied().filter(|each| each.is_long_enough(ceiling)).collect();
    let scored: Vec<(Fitted, f64, f64)> = regressed::candidates(&known, ceiling)
        .into_iter()
        .filter_map(|(found, criterion)| {
            let fit = regression_of(found, &known, ceiling);
            let missed = left_out(responses, ceiling, |rest| regressed(rest, ceiling, found.recipe))?;
            Some((fit, missed, criterion))
        })
        .collect();
    let least = scored.iter().map(|each| each.1).fold(f64::INFINITY, f64::min);
    let alike = scored.into_iter().filter(|each| each.1 <= ALIKE * least);
    alike.min_by(|one, other| one.2.total_cmp(&other.2)).map(|(fit, missed, _)| (fit, missed))
}

/// The curve of a draw, of a form that the estimate finds likely; `place` in `0..1` decides which.
pub(crate) fn alike(estimate: Option<&Fitted>, track: Track<'_>, ceiling: f64, place: f64) -> Option<Fitted> {
    let forms = estimate.map_or(Forms::default(), |estimate| estimate.forms);
    let other = if place < forms.regressed {
        forms.recipe.and_then(|recipe| regressed(track.responses, ceiling, recipe))
    } else if place < forms.regressed + forms.grown {
        queueing(track, ceiling, true)
    } else {
        None
    };
    other.or_else(|| fit(track, ceiling))
}

/// The curve of the same form as `estimate` through other responses.
pub(crate) fn same_form(estimate: &Fitted, track: Track<'_>, ceiling: f64) -> Option<Fitted> {
    match estimate.recipe() {
        Some(recipe) => regressed(track.responses, ceiling, recipe),
        None if estimate.grows() => queueing(track, ceiling, true).or_else(|| fit(track, ceiling)),
        None => fit(track, ceiling),
    }
}

/// The root of the mean squared logarithmic error at each load, predicted from all others (but its neighbours, where
/// there are more than [`MOST_LEFT_OUT`]); `None` with fewer than five.
pub(crate) fn left_out(
    responses: &[Response],
    ceiling: f64,
    refit: impl Fn(&[Response]) -> Option<Fitted>,
) -> Option<f64> {
    if responses.len() < 5 {
        return None;
    }
    let (mut sum, mut count) = (0.0, 0.0);
    let together = responses.len().div_ceil(MOST_LEFT_OUT);
    for begin in (0..responses.len()).step_by(together) {
        let end = (begin + together).min(responses.len());
        let left = &responses[begin..end];
        if !left.iter().any(|left| left.is_long_enough(ceiling)) {
            continue;
        }
        let found = refit(&[&responses[..begin], &responses[end..]].concat())?;
        for left in left.iter().filter(|left| left.is_long_enough(ceiling)) {
            let predicted = found.response_at(left.offered).min(3_600.0);
            sum += (predicted / left.seconds).ln().powi(2);
            count += 1.0;
        }
    }
    (count >= 4.0).then(|| (sum / count).sqrt())
}

/// The regression by `recipe`; `None` when it does not rise.
fn regressed(responses: &[Response], ceiling: f64, recipe: Recipe) -> Option<Fitted> {
    let known: Vec<Response> =
        responses.iter().copied().filter(|each| each.is_long_enough(ceiling)).collect();
    Some(regression_of(regressed::fit(&known, ceiling, recipe)?, &known, ceiling))
}

fn regression_of(found: Regressed, known: &[Response], ceiling: f64) -> Fitted {
    let beyond = (known_to(known, ceiling), 1.0);
    let form = Form::Regressed(found);
    let fit = Fitted { form, ceiling, score: 0.0, surprise: 0.0, beyond, forms: Forms::default() };
    Fitted { score: score(&fit, known).0, ..fit }
}

/// The highest load whose response was measured for long enough to be steady.
pub(crate) fn known_to(responses: &[Response], ceiling: f64) -> f64 {
    responses
        .iter()
        .filter(|each| !ceiling.is_finite() || each.is_long_enough(ceiling))
        .map(|each| each.offered)
        .fold(0.0, f64::max)
}

/// The weighted mean of the squared logarithmic misses, and the sum of the weights.
fn score(fit: &Fitted, responses: &[Response]) -> (f64, f64) {
    let weight = |each: &Response| if fit.ceiling.is_finite() { each.weight(fit.ceiling) } else { 1.0 };
    let miss = |each: &Response| weight(each) * (fit.response_at(each.offered) / each.seconds).ln().powi(2);
    let weights = responses.iter().map(weight).sum::<f64>();
    (responses.iter().map(miss).sum::<f64>() / weights, weights)
}

/// Pool adjacent violators on the logarithm. Source: Ayer et al. (1955).
fn monotone(responses: &[Response], ceiling: f64) -> Fitted {
    let logs: Vec<f64> = responses.iter().map(|each| each.seconds.max(1e-9).ln()).collect();
    let pooled = rising(&logs, &vec![1.0; logs.len()]);
    let mut knots: Vec<(f64, f64)> = Vec::new();
    for (each, log) in responses.iter().zip(pooled) {
        match knots.last_mut() {
            Some(last) if each.offered <= last.0 => last.1 = last.1.max(log),
            _ => knots.push((each.offered, log)),
        }
    }
    let highest = knots.last().map_or(0.0, |knot| knot.0);
    // A load that was carried lies below the ceiling, whatever chance says.
    let ceiling = ceiling.max(highest * 1.005);
    let beyond = (highest, 1.0);
    let mut fit = Fitted {
        form: Form::Monotone { knots },
        ceiling,
        score: 0.0,
        surprise: 0.0,
        beyond,
        forms: Forms::default(),
    };
    fit.score = score(&fit, responses).0;
    fit
}

/// The closest series to `values` that never falls, by weighted least squares.
pub(crate) fn rising(values: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&value, &weight) in values.iter().zip(weights) {
        let mut pool = (value, weight, 1);
        while let Some(&(before, mass, count)) = pools.last() {
            if before <= pool.0 {
                break;
            }
            pools.pop();
            pool = ((before * mass + pool.0 * pool.1) / (mass + pool.1), mass + pool.1, count + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

/// The shape of a fitted curve, for readers.
pub(crate) fn shape(fit: &Fitted) -> LatencyShape {
    match fit.form {
        Form::Queueing { service, growth, slope, ref shape } => LatencyShape::Queueing {
            service: length(service),
            growth: growth / service,
            waiting: slope / service,
            law: shape.law,
        },
        Form::Regressed(_) => LatencyShape::Polynomial,
        Form::Monotone { .. } => LatencyShape::Monotone,
    }
}

/// The coefficients of a regression; empty of other curves.
pub(crate) fn terms(fit: &Fitted) -> Vec<(&'static str, f64)> {
    match &fit.form {
        Form::Regressed(regressed) => regressed.named(),
        Form::Queueing { .. } | Form::Monotone { .. } => Vec::new(),
    }
}

/// Seconds as a length of time; an hour is the limit.
pub(crate) fn length(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 3_600.0)).unwrap_or(Duration::from_secs(3_600))
}

/// The median of |predicted − measured| / measured.
pub(crate) fn fit_error_ratio(fit: &Fitted, responses: &[Response]) -> f64 {
    let mut misses: Vec<f64> = responses
        .iter()
        .map(|each| (fit.response_at(each.offered) / each.seconds - 1.0).abs())
        .filter(|miss| miss.is_finite())
        .collect();
    misses.sort_by(f64::total_cmp);
    crate::resample::quantile_of(&misses, 0.5)
}

#[cfg(test)]
mod tests;
