//! What can be wrong with a history, and how to mend it.

use std::fmt;

/// Why there is no forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForecastError {
    /// A line of the history cannot be understood.
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A volume that no service reaches.
    TooLarge {
        /// The line, counted from 1.
        line: usize,
        /// Which, and what is the most.
        what: String,
    },
    /// The moments have no common step.
    Uneven {
        /// What was seen.
        what: String,
    },
    /// Too few observations.
    TooShort {
        /// How many there are.
        count: usize,
        /// How many a forecast needs.
        needed: usize,
    },
    /// Nothing was ever requested.
    AllZero {
        /// How many observations say so.
        count: usize,
    },
    /// An event without a multiple, of which the history knows nothing.
    Event {
        /// What it is called.
        name: String,
    },
    /// A forecast of nothing, or of too much.
    Horizon {
        /// Steps that were asked for.
        steps: usize,
    },
}

impl ForecastError {
    /// How to mend it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Line { .. } => "give lines like '2026-03-01,81234' under the heading 'ds,y' (UTC)",
            Self::TooLarge { .. } => {
                "give the number of requests in each step, not a rate or an amount of bytes"
            }
            Self::Uneven { .. } => "give one line per week, per day, per hour, or per so many minutes",
            Self::TooShort { .. } => "give a longer history: two weeks by the day, or two days by the hour",
            Self::AllZero { .. } => "check the column that was read: --column names another",
            Self::Event { .. } => "give it a multiple like 10x, or a day of the same name within the history",
            Self::Horizon { .. } => "give a horizon of at least one step of the history and at most 100 000",
        }
    }
}

impl fmt::Display for ForecastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, what } | Self::TooLarge { line, what } => write!(f, "line {line}: {what}"),
            Self::Uneven { what } => f.write_str(what),
            Self::TooShort { count, needed } => write!(f, "{count} observations, a forecast needs {needed}"),
            Self::AllZero { count } => write!(f, "all {count} observations are zero"),
            Self::Event { name } => {
                write!(f, "event '{name}' has no multiple, and the history holds no day of that name")
            }
            Self::Horizon { steps } => write!(f, "the horizon is {steps} steps of the history"),
        }
    }
}

impl std::error::Error for ForecastError {}
