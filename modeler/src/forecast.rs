//! When growth exhausts capacity.
//!
//! The history gives a trend, a week and, by the hour, a day; their continuation is drawn as many seeded
//! paths. A path meets events, the peak within the step and the capacity's own uncertainty, and either runs
//! out on some date or does not. Dates come from those paths, never from crossing the bounds of an interval.

mod error;
mod history;
mod types;

pub use error::ForecastError;
pub use history::{History, Observation, Step, moment_of};
pub use types::{
    CapacityGiven, Event, Exhaustion, ExhaustionStep, Forecast, ForecastRequest, ForecastScore, ForecastStep,
    PeakFactor,
};
