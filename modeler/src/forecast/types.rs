//! What is asked of a forecast and what it answers, as plain values.

use std::fmt;

use captures::Rate;
use jiff::civil::{Date, DateTime};

use crate::bounds::Bounds;

use super::fleet::{FleetGiven, Plan};
use super::history::{Observation, Step};
use super::scenario::{Risk, Scenario, ScenarioAnswer};

/// The capacity that growth will meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityGiven {
    /// The highest load that meets the objective.
    pub rate: Rate,
    /// Its 95 % interval; `None` takes the rate as exact.
    pub interval: Option<Bounds<Rate>>,
}

/// A day, or some days, that differ from ordinary ones: in the past, in the future, or both.
///
/// Days of the past are left out of the forecast, and tell by how much those of the same name to come will differ.
#[derive(Clone, Debug, PartialEq)]
pub struct EventGiven {
    /// What people call it; it recurs under the same name.
    pub name: String,
    /// Its first day.
    pub first: Date,
    /// Its last day.
    pub last: Date,
    /// The multiple of the ordinary load; `None`: as it was in the past.
    pub multiple: Option<f64>,
    /// Whether it may be left out when nothing is known of its past, like a public holiday.
    pub optional: bool,
}

/// A day, or some days to come, with a multiple of the ordinary load.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What people call it.
    pub name: String,
    /// Its first day.
    pub first: Date,
    /// Its last day.
    pub last: Date,
    /// The multiple.
    pub multiple: f64,
    /// How uncertain it is: the standard deviation of its logarithm.
    pub spread: f64,
    /// From so many occurrences in the history it was fitted; 0: it was given.
    pub fitted_from: usize,
}

/// The busiest minute of a step over the step's mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PeakFactor {
    /// Given.
    Given(f64),
    /// Measured in a finer history: its median, and the standard deviation of its logarithm from step to step.
    Measured {
        /// The median.
        factor: f64,
        /// The standard deviation of the logarithm.
        spread: f64,
    },
    /// Unknown: the forecast speaks of means only.
    MeanOnly,
}

impl PeakFactor {
    /// The factor to multiply means with.
    pub fn factor(self) -> f64 {
        match self {
            Self::Given(factor) | Self::Measured { factor, .. } => factor,
            Self::MeanOnly => 1.0,
        }
    }

    /// How it varies from step to step: the standard deviation of its logarithm.
    pub fn spread(self) -> f64 {
        match self {
            Self::Measured { spread, .. } => spread,
            Self::Given(_) | Self::MeanOnly => 0.0,
        }
    }
}

/// What to forecast, beside the history.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastRequest {
    /// How many steps of the history's own length.
    pub steps: usize,
    /// Only observations up to this moment are used; `None` uses all.
    pub until: Option<DateTime>,
    /// The capacity, when the date of exhaustion is asked for.
    pub capacity: Option<CapacityGiven>,
    /// The events, of the past and to come.
    pub events: Vec<EventGiven>,
    /// The busiest minute of a step over its mean.
    pub peak_factor: PeakFactor,
    /// What machines there are and what they cost; `None` asks for no plan.
    pub fleet: Option<FleetGiven>,
    /// Other futures, beside the expected one.
    pub scenarios: Vec<Scenario>,
    /// The seed of every draw.
    pub seed: u64,
}

/// A forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The length of a step.
    pub step: Step,
    /// What it rests on, ascending, without gaps; missing observations have no volume.
    pub history: Vec<Observation>,
    /// The future, step by step.
    pub steps: Vec<ForecastStep>,
    /// The capacity that was given.
    pub capacity: Option<CapacityGiven>,
    /// The capacity as mean volume per step, the peak factor taken off: comparable with `steps`.
    pub capacity_volume: Option<f64>,
    /// The events that lie in the future.
    pub events: Vec<Event>,
    /// The busiest minute of a step over its mean.
    pub peak_factor: PeakFactor,
    /// When capacity runs out; `None` without a capacity.
    pub exhaustion: Option<Exhaustion>,
    /// Machines, orders and cost; `None` unless a fleet and a capacity were given.
    pub plan: Option<Plan>,
    /// The expected future first, then the others that were asked for; none without a capacity.
    pub scenarios: Vec<ScenarioAnswer>,
    /// What may go wrong, the gravest first; none without a capacity.
    pub risks: Vec<Risk>,
    /// Growth per year of the continued trend at the end of the history, as a ratio: 0.2 is 20 % a year.
    pub growth_per_year_ratio: f64,
    /// Where the trend changed, the latest last; none when it did not beyond chance.
    pub changes: Vec<TrendChange>,
    /// The forecast's own exam on the history; `None` when that holds fewer than two origins.
    pub score: Option<ForecastScore>,
    /// What it would have foretold at earlier moments, by origin; these do not overlap.
    pub tried: Vec<Vec<Foretold>>,
    /// What a reader must know before believing it: whole sentences.
    pub warnings: Vec<String>,
    /// The seed of every draw.
    pub seed: u64,
}

impl Forecast {
    /// The busiest minute of the last week of the history, in requests per second.
    ///
    /// `None` when nothing was observed in it, or when only means are known: a mean is no peak.
    pub fn present_peak(&self) -> Option<Rate> {
        if self.peak_factor == PeakFactor::MeanOnly && !self.step.is_a_minute() {
            return None;
        }
        let seconds = self.step.length().as_secs_f64();
        let week = (7.0 * 86_400.0 / seconds).ceil() as usize;
        let known = self.history.iter().rev().take(week).filter_map(|seen| seen.volume);
        let most = known.reduce(f64::max)?;
        Rate::per_second(most / seconds * self.peak_factor.factor())
    }

    /// Since when the observed load has exceeded the capacity; `None` when it did not, or without a capacity.
    ///
    /// The median path ran out at this moment: with an uncertain capacity it is as likely as not.
    pub fn exceeded_since(&self) -> Option<DateTime> {
        let first = self.steps.first()?.at;
        self.exhaustion.as_ref()?.p50.filter(|at| *at < first)
    }
}

/// A level that moves by less is not told.
const TOLD_LEVEL_RATIO: f64 = 0.05;

/// A change of the trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendChange {
    /// The first moment after it, UTC, to about a season.
    pub at: DateTime,
    /// Growth per year before it, as a ratio.
    pub growth_before_ratio: f64,
    /// Growth per year after it.
    pub growth_after_ratio: f64,
    /// By how much the level moved at once, as a ratio: 0.3 is 30 % more from then on.
    pub level_ratio: f64,
}

impl fmt::Display for TrendChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: f64| format!("{:+.0} %", ratio * 100.0);
        write!(
            f,
            "growth changed on {}: from {} to {} a year",
            self.at.date(),
            percent(self.growth_before_ratio),
            percent(self.growth_after_ratio)
        )?;
        if self.level_ratio.abs() >= TOLD_LEVEL_RATIO {
            write!(f, ", and the level moved by {} at once", percent(self.level_ratio))?;
        }
        Ok(())
    }
}

/// What was foretold for a step of the history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foretold {
    /// The step's first moment, UTC.
    pub at: DateTime,
    /// The expected volume.
    pub volume: f64,
}

/// One step of the future.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastStep {
    /// Its first moment, UTC.
    pub at: DateTime,
    /// The expected volume of the step: requests.
    pub volume: f64,
    /// The 80 % interval.
    pub interval_80: Bounds<f64>,
    /// The 95 % interval.
    pub interval_95: Bounds<f64>,
    /// The expected mean rate of the step.
    pub mean_rate: Rate,
    /// The expected rate of the busiest minute, of a week's busiest event day; a mean rate when no peak factor
    /// is known.
    pub peak_rate: Rate,
    /// Which of [`Forecast::events`] lie on it: the multiple it contains.
    pub event_multiple: f64,
}

/// When capacity runs out.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhaustion {
    /// With a probability of 10 % it has happened by then; `None`: beyond the horizon. A moment of the history:
    /// the observed load exceeds the capacity already.
    pub p10: Option<DateTime>,
    /// With a probability of 50 %.
    pub p50: Option<DateTime>,
    /// With a probability of 90 %.
    pub p90: Option<DateTime>,
    /// The share of paths that do not run out within the horizon, in `0..=1`.
    pub beyond_ratio: f64,
    /// The probability by date.
    pub by_date: Vec<ExhaustionStep>,
    /// The probability that it happens within each month of the horizon.
    pub by_month: Vec<ExhaustionMonth>,
}

/// The probability that capacity runs out within a month.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExhaustionMonth {
    /// The month's first day.
    pub month: Date,
    /// In `0..=1`: that it happens in this month; that of the first holds what happened before.
    pub probability: f64,
    /// In `0..=1`: that some peak of this month exceeds the capacity, whatever happened before.
    pub shortage: f64,
}

/// The probability that capacity has run out by the end of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExhaustionStep {
    /// The step's first moment, UTC.
    pub at: DateTime,
    /// In `0..=1`; never falls.
    pub probability: f64,
}

/// How the forecast would have done on the history: rolling origin.
///
/// The interval of each origin is learnt from all other origins, never from its own misses. Neighbouring
/// origins look at some of the same observations, so coverage on what is yet to come may be a little lower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastScore {
    /// How many origins.
    pub origins: usize,
    /// Mean absolute error over that of the seasonal naive forecast in sample.
    pub mase: f64,
    /// The share of observations inside the 80 % interval (leave-one-origin-out), in `0..=1`.
    pub coverage_80: f64,
    /// The share inside the 95 % interval, likewise.
    pub coverage_95: f64,
    /// The median of |forecast − observed| / observed: by how much a step was typically missed, as a ratio.
    pub typical_miss_ratio: f64,
}
