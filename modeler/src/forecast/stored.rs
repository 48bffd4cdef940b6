//! The stored form of a forecast, `forecast.json`: documented API, so it has structs of its own.
//!
//! Fields may be added; those that are there keep their name and meaning. Volumes are requests per step, rates
//! per second, moments RFC 3339 in UTC.

use captures::Rate;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::types::{Forecast, PeakFactor};

mod plan;

pub use plan::{
    StoredOrder, StoredPlan, StoredPlanMonth, StoredPrices, StoredRisk, StoredScenario, StoredScenarioGiven,
};

/// `forecast.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredForecast {
    /// The version of this form: 1.
    pub version: u32,
    /// When capacity runs out.
    pub exhaustion: Option<StoredExhaustion>,
    /// The capacity that was given.
    pub capacity: Option<StoredCapacityGiven>,
    /// Whole sentences.
    pub warnings: Vec<String>,
    /// Seconds of a step.
    pub step_seconds: u64,
    /// Steps of the history.
    pub history_steps: usize,
    /// The history's first moment.
    pub history_first: Option<String>,
    /// The history's last moment.
    pub history_last: Option<String>,
    /// The busiest minute of a step over its mean; nothing when unknown.
    pub peak_factor: Option<f64>,
    /// Growth per year at the end of the history, as a ratio.
    pub growth_per_year_ratio: f64,
    /// Where the trend changed, the latest last.
    #[serde(default)]
    pub changes: Vec<StoredTrendChange>,
    /// The forecast's own exam.
    pub backtest: Option<StoredScore>,
    /// What would have been foretold at earlier moments, by origin: pairs of moment and volume.
    #[serde(default)]
    pub tried: Vec<Vec<(String, f64)>>,
    /// The events within the horizon.
    pub events: Vec<StoredEvent>,
    /// Machines, orders and cost.
    #[serde(default)]
    pub plan: Option<StoredPlan>,
    /// The expected future and others beside it.
    #[serde(default)]
    pub scenarios: Vec<StoredScenario>,
    /// What may go wrong, the gravest first.
    #[serde(default)]
    pub risks: Vec<StoredRisk>,
    /// The future.
    pub steps: Vec<StoredForecastStep>,
    /// The seed of every draw.
    pub seed: u64,
}

/// When capacity runs out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredExhaustion {
    /// Whether the observed load exceeds the capacity already; then `p50` is when that began.
    #[serde(default)]
    pub exceeded_already: bool,
    /// With a probability of 10 %; nothing: beyond the horizon.
    pub p10: Option<String>,
    /// With a probability of 50 %.
    pub p50: Option<String>,
    /// With a probability of 90 %.
    pub p90: Option<String>,
    /// The share of paths that do not run out within the horizon.
    pub beyond_horizon_ratio: f64,
    /// By step: the probability that it has happened.
    pub probability: Vec<f64>,
    /// By month of the horizon.
    #[serde(default)]
    pub by_month: Vec<StoredExhaustionMonth>,
}

/// The probability that capacity runs out within a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredExhaustionMonth {
    /// The month's first day.
    pub month: String,
    /// That it happens in this month; that of the first month holds what happened before.
    pub probability: f64,
    /// That some peak of this month exceeds the capacity, whatever happened before.
    pub shortage: f64,
}

/// The capacity that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCapacityGiven {
    /// Requests per second.
    pub rate_per_second: f64,
    /// 95 %.
    pub interval: Option<[f64; 2]>,
    /// The mean volume of a step that it carries, the peak factor taken off.
    pub volume_per_step: Option<f64>,
}

/// A change of the trend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTrendChange {
    /// The first moment after it, to about a season.
    pub ds: String,
    /// Growth per year before it, as a ratio.
    pub growth_before_ratio: f64,
    /// Growth per year after it.
    pub growth_after_ratio: f64,
    /// By how much the level moved at once, as a ratio.
    pub level_ratio: f64,
}

/// The forecast's own exam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredScore {
    /// Origins that were tried.
    pub origins: usize,
    /// Mean absolute error over that of the seasonal naive forecast.
    pub mase: f64,
    /// The share inside the 80 % interval, each origin held against an interval learnt from the others.
    pub coverage_80: f64,
    /// The share inside the 95 % interval, likewise.
    pub coverage_95: f64,
    /// The median of |forecast − observed| / observed.
    #[serde(default)]
    pub typical_miss_ratio: f64,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// What people call it.
    pub name: String,
    /// Its first day.
    pub first: String,
    /// Its last day.
    pub last: String,
    /// The multiple of the ordinary load.
    pub multiple: f64,
    /// The standard deviation of its logarithm.
    #[serde(default = "given_spread")]
    pub spread: f64,
    /// From so many occurrences in the history it was fitted; 0: it was given.
    #[serde(default)]
    pub fitted_from: usize,
}

/// What was stored without a spread had this one.
fn given_spread() -> f64 {
    0.22
}

/// One step of the future.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredForecastStep {
    /// Its first moment.
    pub ds: String,
    /// The expected volume.
    pub yhat: f64,
    /// 80 %.
    pub interval_80: [f64; 2],
    /// 95 %.
    pub interval_95: [f64; 2],
    /// The expected mean rate.
    pub mean_rate: f64,
    /// The expected rate of the busiest minute, of a week's busiest event day; without a peak factor a mean rate.
    pub peak_rate: f64,
    /// The multiple of the events on it.
    pub event_multiple: f64,
}

impl From<&Forecast> for StoredForecast {
    fn from(made: &Forecast) -> Self {
        Self {
            version: 1,
            exhaustion: made.exhaustion.as_ref().map(|exhaustion| StoredExhaustion {
                exceeded_already: made.exceeded_since().is_some(),
                p10: exhaustion.p10.map(written),
                p50: exhaustion.p50.map(written),
                p90: exhaustion.p90.map(written),
                beyond_horizon_ratio: exhaustion.beyond_ratio,
                probability: exhaustion.by_date.iter().map(|step| step.probability).collect(),
                by_month: exhaustion
                    .by_month
                    .iter()
                    .map(|month| StoredExhaustionMonth {
                        month: month.month.to_string(),
                        probability: month.probability,
                        shortage: month.shortage,
                    })
                    .collect(),
            }),
            capacity: made.capacity.map(|capacity| StoredCapacityGiven {
                rate_per_second: capacity.rate.as_per_second(),
                interval: capacity
                    .interval
                    .map(|interval| [interval.low, interval.high].map(Rate::as_per_second)),
                volume_per_step: made.capacity_volume,
            }),
            warnings: made.warnings.clone(),
            step_seconds: made.step.length().as_secs(),
            history_steps: made.history.len(),
            history_first: made.history.first().map(|each| written(each.at)),
            history_last: made.history.last().map(|each| written(each.at)),
            peak_factor: match made.peak_factor {
                PeakFactor::Given(factor) | PeakFactor::Measured { factor, .. } => Some(factor),
                PeakFactor::MeanOnly => None,
            },
            growth_per_year_ratio: made.growth_per_year_ratio,
            changes: made
                .changes
                .iter()
                .map(|change| StoredTrendChange {
                    ds: written(change.at),
                    growth_before_ratio: change.growth_before_ratio,
                    growth_after_ratio: change.growth_after_ratio,
                    level_ratio: change.level_ratio,
                })
                .collect(),
            backtest: made.score.map(|score| StoredScore {
                origins: score.origins,
                mase: score.mase,
                coverage_80: score.coverage_80,
                coverage_95: score.coverage_95,
                typical_miss_ratio: score.typical_miss_ratio,
            }),
            tried: made
                .tried
                .iter()
                .map(|origin| origin.iter().map(|each| (written(each.at), each.volume)).collect())
                .collect(),
            events: made
                .events
                .iter()
                .map(|event| StoredEvent {
                    name: event.name.clone(),
                    first: event.first.to_string(),
                    last: event.last.to_string(),
                    multiple: event.multiple,
                    spread: event.spread,
                    fitted_from: event.fitted_from,
                })
                .collect(),
            plan: made.plan.as_ref().map(StoredPlan::from),
            scenarios: made.scenarios.iter().map(StoredScenario::from).collect(),
            risks: made.risks.iter().map(StoredRisk::from).collect(),
            steps: made
                .steps
                .iter()
                .map(|step| StoredForecastStep {
                    ds: written(step.at),
                    yhat: step.volume,
                    interval_80: [step.interval_80.low, step.interval_80.high],
                    interval_95: [step.interval_95.low, step.interval_95.high],
                    mean_rate: step.mean_rate.as_per_second(),
                    peak_rate: step.peak_rate.as_per_second(),
                    event_multiple: step.event_multiple,
                })
                .collect(),
            seed: made.seed,
        }
    }
}

fn written(at: DateTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
