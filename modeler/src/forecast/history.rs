//! History: how many requests came, step by step.

use std::time::Duration;

use jiff::civil::DateTime;

/// The length of a step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Less than an hour: so many minutes.
    Minutes(u32),
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

/// How many requests came in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The step's first moment, UTC.
    pub at: DateTime,
    /// Requests; `None` when it is missing.
    pub volume: Option<f64>,
}

/// A history: equal steps, ascending, without gaps (missing ones have no volume).
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The length of a step.
    pub step: Step,
    /// The observations.
    pub observations: Vec<Observation>,
}

impl Step {
    /// Its length.
    pub const fn length(self) -> Duration {
        match self {
            Self::Minutes(minutes) => Duration::from_secs(minutes as u64 * 60),
            Self::Hour => Duration::from_secs(3_600),
            Self::Day => Duration::from_secs(86_400),
            Self::Week => Duration::from_secs(604_800),
        }
    }
}
