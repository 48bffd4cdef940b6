//! Decides whether a predicted capacity was right: which loads to try, and what they say.
//!
//! The search begins just below and just above the prediction, widens when both met the objective or both
//! missed it, and then halves the gap. What was measured is the load at which the quantile crosses the
//! objective, read off between the highest load that met it and the lowest that did not.
//!
//! Loads are those that were really offered, not those that were asked for: a few seconds of a capture are
//! never exactly as busy as the whole of it.

use std::time::Duration;

use captures::Run;

/// Loads to begin with, as shares of the prediction.
const FIRST: [f64; 2] = [0.9, 1.15];
/// How far to widen when the bracket is missed.
const WIDER: f64 = 1.25;
/// The first second of a trial is left out: it begins with an idle shop.
const WARM_UP_SECONDS: u64 = 1;

/// What a service must keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objective {
    /// The quantile of the response time.
    pub(crate) quantile: f64,
    /// What it must stay below.
    pub(crate) response: Duration,
    /// What the share of errors must stay below.
    pub(crate) error_ratio: f64,
}

/// One load that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    /// The load that was asked for, as a share of the prediction.
    pub(crate) share_asked: f64,
    /// The load that was really offered, in requests per second.
    pub(crate) offered_per_second: f64,
    /// The objective's quantile of the response time.
    pub(crate) response_ms: f64,
    /// The share of errors.
    pub(crate) error_ratio: f64,
    /// Whether the objective was met.
    pub(crate) met: bool,
}

/// What the trials say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The capacity, in requests per second.
    pub(crate) rate_per_second: f64,
    /// Whether it lies between a load that met the objective and one that did not. If not, it is only the
    /// nearest load that was tried.
    pub(crate) bracketed: bool,
}

impl Objective {
    /// As the command line spells it.
    pub(crate) fn spelled(&self) -> String {
        format!(
            "p{:.0}<{}ms,errors<{:.0}%",
            self.quantile * 100.0,
            self.response.as_millis(),
            self.error_ratio * 100.0
        )
    }

    /// Reads a trial off its run, of which the first `seconds` seconds count.
    pub(crate) fn judge(&self, share_asked: f64, run: &Run, seconds: u64) -> Trial {
        let counted = run.intervals.iter().filter(|it| (WARM_UP_SECONDS..seconds).contains(&it.second));
        let (mut planned, mut outcomes) = (0, captures::RouteInterval::default());
        for interval in counted {
            planned += interval.planned;
            outcomes.merge(&interval.overall());
        }
        let response = outcomes.response.quantile(self.quantile);
        let error_ratio = outcomes.errors() as f64 / outcomes.total().max(1) as f64;
        Trial {
            share_asked,
            offered_per_second: planned as f64 / seconds.saturating_sub(WARM_UP_SECONDS).max(1) as f64,
            response_ms: response.as_secs_f64() * 1_000.0,
            error_ratio,
            met: response < self.response && error_ratio < self.error_ratio,
        }
    }
}

impl Trial {
    /// The load that was really offered, as a share of `predicted_per_second`.
    pub(crate) fn share_of(&self, predicted_per_second: f64) -> f64 {
        self.offered_per_second / predicted_per_second
    }
}

/// The share of the prediction to try next.
pub(crate) fn next_share(trials: &[Trial]) -> f64 {
    if let Some(share) = FIRST.get(trials.len()) {
        return *share;
    }
    match bracket(trials) {
        (Some(met), Some(missed)) => f64::midpoint(met.share_asked, missed.share_asked),
        (Some(met), None) => met.share_asked * WIDER,
        (None, Some(missed)) => missed.share_asked / WIDER,
        (None, None) => 1.0,
    }
}

/// What the trials say about the capacity; `None` without a trial.
pub(crate) fn measured(trials: &[Trial], objective: &Objective) -> Option<Measured> {
    let (rate_per_second, bracketed) = match bracket(trials) {
        (Some(met), Some(missed)) => (crossing(met, missed, objective), true),
        (Some(nearest), None) | (None, Some(nearest)) => (nearest.offered_per_second, false),
        (None, None) => return None,
    };
    Some(Measured { rate_per_second, bracketed })
}

/// The highest load below every miss that met the objective, and the lowest that missed it.
fn bracket(trials: &[Trial]) -> (Option<&Trial>, Option<&Trial>) {
    let by_load = |a: &&Trial, b: &&Trial| a.offered_per_second.total_cmp(&b.offered_per_second);
    let missed = trials.iter().filter(|trial| !trial.met).min_by(by_load);
    let met = trials
        .iter()
        .filter(|trial| trial.met)
        .filter(|trial| missed.is_none_or(|missed| trial.offered_per_second < missed.offered_per_second))
        .max_by(by_load);
    (met, missed)
}

/// Where the response time crosses the objective, taken as exponential in the load between the two: near
/// saturation it rises by factors.
fn crossing(met: &Trial, missed: &Trial, objective: &Objective) -> f64 {
    let limit = objective.response.as_secs_f64() * 1_000.0;
    let (low, high) = (met.response_ms.max(1e-3).ln(), missed.response_ms.max(1e-3).ln());
    // A load that missed by its errors alone says nothing about where between the two they began.
    let share =
        if high > low && missed.response_ms >= limit { (limit.ln() - low) / (high - low) } else { 0.5 };
    met.offered_per_second + share * (missed.offered_per_second - met.offered_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective =
        Objective { quantile: 0.95, response: Duration::from_millis(100), error_ratio: 0.01 };

    fn trial(share_asked: f64, response_ms: f64) -> Trial {
        Trial {
            share_asked,
            offered_per_second: share_asked * 400.0,
            response_ms,
            error_ratio: 0.0,
            met: response_ms < 100.0,
        }
    }

    #[test]
    fn the_objective_is_spelled_as_the_command_line_reads_it() {
        assert_eq!(OBJECTIVE.spelled(), "p95<100ms,errors<1%");
    }

    #[test]
    fn the_search_brackets_the_prediction_and_then_halves_the_gap() {
        let mut trials = vec![];
        assert_eq!(next_share(&trials), 0.9);
        trials.push(trial(0.9, 20.0));
        assert_eq!(next_share(&trials), 1.15);
        trials.push(trial(1.15, 900.0));
        assert_eq!(next_share(&trials), 1.025);
    }

    #[test]
    fn the_share_that_is_told_is_the_one_really_offered() {
        let trial = Trial { offered_per_second: 380.0, ..trial(0.9, 20.0) };

        assert_eq!(trial.share_of(400.0), 0.95);
        // The search goes on from what was asked for.
        assert_eq!(next_share(&[trial, Trial { share_asked: 1.15, ..trial }]), 1.15 * WIDER);
    }

    #[test]
    fn a_missed_bracket_is_widened() {
        assert_eq!(next_share(&[trial(0.9, 200.0), trial(1.15, 900.0)]), 0.9 / 1.25);
        assert_eq!(next_share(&[trial(0.9, 20.0), trial(1.15, 30.0)]), 1.15 * 1.25);
    }

    #[test]
    fn the_crossing_lies_where_the_logarithm_says() {
        // From 10 ms to 1000 ms the logarithm passes 100 ms half way.
        let found = measured(&[trial(0.9, 10.0), trial(1.1, 1000.0)], &OBJECTIVE).unwrap();

        assert!((found.rate_per_second - 400.0).abs() < 1e-9 && found.bracketed, "{found:?}");
    }

    #[test]
    fn without_a_miss_the_highest_load_is_only_a_lower_bound() {
        let found = measured(&[trial(0.9, 10.0), trial(1.15, 20.0)], &OBJECTIVE).unwrap();

        assert!((found.rate_per_second - 460.0).abs() < 1e-9 && !found.bracketed, "{found:?}");
    }

    #[test]
    fn a_lucky_pass_above_a_miss_does_not_count() {
        let trials = [trial(0.9, 10.0), trial(1.0, 1000.0), trial(1.1, 50.0)];

        let found = measured(&trials, &OBJECTIVE).unwrap();

        assert!((found.rate_per_second - 380.0).abs() < 1e-9, "{found:?}");
    }
}
