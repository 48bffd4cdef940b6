//! Why there is no model: what is wrong, and how to mend it.

use std::fmt;

use captures::Offset;

/// Why there is no model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelError {
    /// The generator was the bottleneck of a run.
    InvalidRun {
        /// Why, in the run's own words.
        reason: String,
    },
    /// A run was never closed.
    Unfinished,
    /// Too many answers were a 4xx where the recording had a success: fast refusals look like capacity.
    Refusals {
        /// Their share of all outcomes, in `0..=1`.
        ratio: f64,
    },
    /// No stage holds its level for long enough.
    NoHolds,
    /// Too few different loads for a fit.
    TooFewLoads {
        /// How many there are.
        count: usize,
        /// How many a fit needs.
        needed: usize,
        /// Whether the points are from a table.
        from_table: bool,
    },
    /// A line of a table of points cannot be understood.
    Table {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A table has a number that no service reaches.
    OutOfReach {
        /// The line, counted from 1.
        line: usize,
        /// Which number, and what is the most.
        what: String,
    },
    /// A line of a table says again what an earlier one said.
    Repeated {
        /// The line, counted from 1.
        line: usize,
        /// Of which line.
        what: String,
    },
    /// All loads have the same throughput: nothing tells what more or less would carry.
    Flat,
    /// The throughput falls from the smallest load on.
    Falling,
    /// A level at which no request was answered without error.
    AllFailed {
        /// Which point.
        source: String,
    },
    /// A table is too long.
    TooManyRows {
        /// The first line that is too many, counted from 1.
        line: usize,
        /// How many there may be.
        most: usize,
    },
    /// A run was interrupted before one of its levels was measured.
    Interrupted {
        /// When.
        at: Offset,
    },
    /// Points of open and of closed loads cannot be put together.
    MixedLoads,
    /// An objective needs points with offered load and responses.
    NoOfferedLoad,
    /// An objective names a quantile that a table does not have.
    NoQuantile {
        /// The column it would be in.
        column: String,
    },
}

impl ModelError {
    /// How to mend it.
    pub fn mend(&self) -> String {
        match self {
            Self::InvalidRun { .. } => "replay from a faster or idler machine, or at lower stages".to_owned(),
            Self::Unfinished => "replay again and let it finish; SIGINT also closes a run".to_owned(),
            Self::Refusals { .. } => {
                "give the target what the requests need (credentials, data), then replay again".to_owned()
            }
            Self::NoHolds => {
                "replay with stages that hold, e.g. --stages '=10s:1x,=10s:2x,=10s:4x'".to_owned()
            }
            Self::TooFewLoads { from_table: true, .. } => "add rows with other loads".to_owned(),
            Self::TooFewLoads { .. } => {
                "replay more stages, e.g. --stages '=10s:1x,=10s:2x,=10s:4x,=10s:8x', or give more runs"
                    .to_owned()
            }
            Self::Table { .. } => {
                "the first line names the columns: n,x (in flight, answers/s) or rate,p95,… (offered/s, ms)"
                    .to_owned()
            }
            Self::OutOfReach { .. } => {
                "give loads and rates per second, and responses in milliseconds".to_owned()
            }
            Self::Repeated { .. } => "remove the line, or measure the load again".to_owned(),
            Self::Flat => {
                "measure smaller loads, below what is carried; --force answers all the same".to_owned()
            }
            Self::Falling => {
                "measure smaller loads, down to where throughput still rises; --force answers all the same"
                    .to_owned()
            }
            Self::AllFailed { .. } => {
                "see why its requests failed, and measure it again or leave it out".to_owned()
            }
            Self::TooManyRows { .. } => "keep fewer rows, e.g. one for each level of load".to_owned(),
            Self::Interrupted { .. } => "replay again and let it finish".to_owned(),
            Self::MixedLoads => "model runs and tables of concurrency apart".to_owned(),
            Self::NoOfferedLoad => "give runs, or a table with the columns rate and p95".to_owned(),
            Self::NoQuantile { column } => format!("add the column {column}, or ask for another quantile"),
        }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRun { reason } => write!(f, "the run is not valid: {reason}"),
            Self::Unfinished => write!(f, "the run has no end: the replay was killed"),
            Self::Refusals { ratio } => {
                write!(f, "{:.1} % of the answers are a 4xx where the recording had a success", ratio * 100.0)
            }
            Self::NoHolds => write!(f, "no stage holds one level of load for two whole seconds"),
            Self::TooFewLoads { count, needed, .. } => {
                let plural = if *count == 1 { "" } else { "s" };
                write!(f, "{count} load level{plural}, a fit needs {needed}")
            }
            Self::Interrupted { at } => {
                write!(f, "the run was interrupted at {at}, before one level of load was measured")
            }
            Self::TooManyRows { line, most } => write!(f, "line {line}: more than {most} rows"),
            Self::Table { line, what } | Self::OutOfReach { line, what } => write!(f, "line {line}: {what}"),
            Self::Repeated { line, what } => write!(f, "line {line}: {what}"),
            Self::Flat => write!(f, "the throughput is the same at all loads, so no law can be fitted"),
            Self::Falling => {
                write!(f, "the throughput falls from the smallest load on, so no law can be fitted")
            }
            Self::AllFailed { source } => {
                write!(f, "{source}: every request failed, so it says nothing of the load")
            }
            Self::MixedLoads => write!(f, "some points have an offered rate and some do not"),
            Self::NoOfferedLoad => write!(f, "an objective needs points with offered rate and responses"),
            Self::NoQuantile { column } => write!(f, "the points have no {column}"),
        }
    }
}

impl std::error::Error for ModelError {}
