//! All that a page is drawn from.

use std::time::Duration;

use captures::{Rate, Run};
use modeler::{Bounds, Comparison, Difference, Forecast, Model, Objective, Point};

/// What is known, as far as it is known. A report is drawn of whatever there is.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// What the report is about.
    pub title: &'a str,
    /// What replays measured.
    pub runs: &'a [Run],
    /// The points of the runs, when there is no model of them.
    pub points: &'a [Point],
    /// What was concluded of the capacity.
    pub model: Option<&'a Model>,
    /// What was concluded of the growth.
    pub forecast: Option<&'a Forecast>,
    /// How the prediction fared when it was tried.
    pub check: Option<&'a Check>,
    /// The runs as releases over time, the oldest first.
    pub releases: &'a [Release],
    /// The run beside an earlier one that it is measured by.
    pub baseline: Option<&'a Baseline>,
}

/// A run beside an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// What the earlier one is called.
    pub name: String,
    /// What the later one is called.
    pub candidate: String,
    /// Route by route.
    pub comparison: Comparison,
    /// All responses together, by ascending quantile.
    pub shift: Vec<Difference>,
    /// A quantile may grow by this share before it is called a regression.
    pub allowed_ratio: f64,
    /// What makes the two less alike than they should be: phrases about the later one.
    pub warnings: Vec<String>,
}

/// A run as one of many over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// What it is called.
    pub name: String,
    /// When it began, in nanoseconds since 1970-01-01 UTC.
    pub started: i128,
    /// The load at which routes are compared: `at 4×`.
    pub level: String,
    /// The capacity of this run alone; `None` when it tells none.
    pub capacity: Option<Rate>,
    /// Its 95 % interval.
    pub interval: Option<Bounds<Rate>>,
    /// The routes at that load, the busiest first.
    pub routes: Vec<RouteTime>,
    /// In what it is worse than the run before: phrases.
    pub regressions: Vec<String>,
}

/// How long a route took.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTime {
    /// The route.
    pub name: String,
    /// 95 % of its responses took no longer.
    pub p95: Duration,
    /// How many there were.
    pub requests: u64,
}

/// A predicted capacity, tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was to be met.
    pub objective: Objective,
    /// The predicted capacity.
    pub predicted: Rate,
    /// Its 95 % interval.
    pub interval: Option<Bounds<Rate>>,
    /// The capacity that was found by trying; `None` when the trials gave no answer.
    pub measured: Option<Rate>,
    /// Whether trials lie on both sides of it; if not, it is only the nearest load that was tried.
    pub bracketed: bool,
    /// The loads that were tried.
    pub trials: Vec<Trial>,
}

/// One load that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The load that was offered.
    pub offered: Rate,
    /// The response, at the first quantile of the objective.
    pub response: Duration,
    /// The share of errors, in `0..=1`.
    pub error_ratio: f64,
    /// Whether the objective was met.
    pub met: bool,
}

impl<'a> Evidence<'a> {
    /// The points, of the model where there is one.
    pub(crate) fn points(&self) -> &'a [Point] {
        self.model.map_or(self.points, |model| model.points.as_slice())
    }

    /// The objective, of the model or of the check.
    pub(crate) fn objective(&self) -> Option<&'a Objective> {
        self.model.and_then(|model| model.objective.as_ref()).or(self.check.map(|check| &check.objective))
    }
}

impl Check {
    /// How far the prediction lies above what was measured, as a share of that; `None` without an answer.
    pub fn deviation_ratio(&self) -> Option<f64> {
        let measured = self.measured.filter(|rate| self.bracketed && rate.as_per_second() > 0.0)?;
        Some(self.predicted.as_per_second() / measured.as_per_second() - 1.0)
    }
}
