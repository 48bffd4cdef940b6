//! What the model predicted, and how it compares with what the check measured.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::check::{Measured, Objective, Trial};
use super::visit::Visited;
use crate::complain::{Complaint, Exit};

/// The capacity that the model predicts.
pub(crate) struct Prediction {
    /// Requests per second.
    pub(crate) rate_per_second: f64,
    /// Its 95 % interval, where the model gives one.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Prediction {
    /// Reads it from a `model.json`.
    ///
    /// # Errors
    /// When the file cannot be read or names no capacity.
    pub(crate) fn read(path: &Path) -> Result<Self, Complaint> {
        let text = fs::read(path).map_err(|error| Complaint::cannot_open(path, &error))?;
        let model: Value = serde_json::from_slice(&text).unwrap_or_default();
        let capacity = &model["capacity"];
        let bound = |index: usize| capacity["interval"][index].as_f64();
        let rate_per_second =
            capacity["rate_per_second"].as_f64().filter(|rate| *rate > 0.0).ok_or_else(|| {
                Complaint::new(
                    Exit::Fault,
                    path.display(),
                    "names no capacity for the demo's objective",
                    "try again on an idle machine",
                )
            })?;
        Ok(Self { rate_per_second, interval: bound(0).zip(bound(1)) })
    }

    /// How far it lies above what was measured, as a share of that.
    pub(crate) fn deviation_ratio(&self, measured: Measured) -> f64 {
        self.rate_per_second / measured.rate_per_second - 1.0
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} req/s", self.rate_per_second)?;
        match self.interval {
            Some((low, high)) => write!(f, " ({low:.0} to {high:.0})"),
            None => Ok(()),
        }
    }
}

/// The check as JSON: what `check.json` holds and what `--json` prints.
pub(crate) fn found(
    objective: &Objective,
    capture_rate: f64,
    visited: &Visited,
    predicted: &Prediction,
    trials: &[Trial],
    measured: Option<Measured>,
) -> Value {
    json!({
        "slo": objective.spelled(),
        "recorded_per_second": capture_rate,
        "recorded_requests": visited.answered + visited.failed,
        "predicted_per_second": predicted.rate_per_second,
        "predicted_interval": predicted.interval.map(|(low, high)| [low, high]),
        "measured_per_second": measured.map(|measured| measured.rate_per_second),
        "bracketed": measured.is_some_and(|measured| measured.bracketed),
        "deviation_ratio": measured
            .filter(|measured| measured.bracketed)
            .map(|measured| predicted.deviation_ratio(measured)),
        "trials": trials
            .iter()
            .map(|trial| json!({
                "share_of_prediction": trial.share_of(predicted.rate_per_second),
                "share_asked": trial.share_asked,
                "offered_per_second": trial.offered_per_second,
                "response_ms": trial.response_ms,
                "error_ratio": trial.error_ratio,
                "met": trial.met,
            }))
            .collect::<Vec<_>>(),
    })
}

/// When a `forecast.json` says that growth meets the capacity, in words.
pub(crate) fn exhaustion(path: &Path) -> String {
    let facts: Value =
        fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    match facts["exhaustion"]["p50"].as_str().and_then(|moment| moment.get(..10)) {
        Some(day) => format!("meets the capacity on {day}, as likely as not before"),
        None => "does not meet the capacity within the horizon, more likely than not".to_owned(),
    }
}
