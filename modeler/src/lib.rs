//! Finds, in what a replay measured, the load a service can carry; and in its history, when that runs out.
//!
//! Everything here is arithmetic on values: no file, clock or log. Chance comes from a seed, so the same runs
//! and seed give the same bytes. The way through:
//!
//! ```text
//! Run ──window──▶ Point ──fit──▶ FamilyFit ─┐
//!                   └──latency──▶ LatencyCurve ──capacity──▶ Model
//! History ──forecast──▶ paths × events × peak factor × capacity ──▶ Forecast
//! ```

mod advice;
mod backtest;
mod beyond;
mod binding;
mod bottleneck;
mod bounds;
mod capacity;
mod ceiling;
mod column;
mod compare;
mod cost;
mod crowding;
mod curve;
mod error;
mod failure;
mod family;
mod fit;
#[cfg(test)]
#[path = "../tests/fixtures/run.rs"]
mod fixture;
mod forecast;
mod kneedle;
mod latency;
mod mix;
mod model;
mod objective;
mod plateau;
mod point;
mod predict;
mod queue;
mod queueing;
mod recovery;
mod regressed;
mod regression;
mod resample;
mod resource;
mod search;
mod stored;
mod stored_answers;
mod study;
mod table;
mod threshold;
mod trend;
mod verdict;
mod warn;
mod window;

pub use backtest::Backtest;
pub use beyond::{BacklogRecovery, Beyond, Headroom, Overload, backlog_recoveries};
pub use binding::BindingRoute;
pub use bottleneck::Bottleneck;
pub use bounds::{Bounds, Verdict};
pub use capacity::{Binding, Capacity, LimitCapacity, LowerBound};
pub use ceiling::Ceiling;
pub use compare::{Compared, Comparison, Difference, compare, shift};
pub use cost::{Costs, MixAnswer, MixChange, RouteCost};
pub use crowding::Crowding;
pub use error::ModelError;
pub use failure::FailureCurve;
pub use family::{Family, Knee, KneeMethod, Parameters};
pub use fit::{FamilyFit, Parameter, fit_usl};
pub use forecast::{
    CapacityGiven, Counts, Event, EventGiven, Exhaustion, ExhaustionMonth, ExhaustionStep, FleetGiven,
    Forecast, ForecastError, ForecastRequest, ForecastScore, ForecastStep, Foretold, History, MixCost,
    MixError, Observation, Order, PeakFactor, Plan, PlanMonth, Prices, Risk, ScaleOut, Scenario,
    ScenarioAnswer, Step, StoredCapacityGiven, StoredEvent, StoredExhaustion, StoredExhaustionMonth,
    StoredForecast, StoredForecastStep, StoredOrder, StoredPlan, StoredPlanMonth, StoredPrices, StoredRisk,
    StoredScenario, StoredScenarioGiven, StoredScore, StoredTrendChange, TableForm, TableRead, TrendChange,
    forecast, mean_rate, mix_cost, moment_of,
};
pub use kneedle::{Bend, kneedle};
pub use latency::{LatencyCurve, LatencyMeasure, LatencyShape, LatencyStep};
pub use model::{CurveStep, Load, LoadUnit, Model, ModelRequest, RouteModel, model};
pub use objective::{Limit, Objective, ObjectiveError};
pub use point::{Point, QuantileAt, RoutePoint, RouteWindow, Window};
pub use predict::Prediction;
pub use queue::{ClosedLoad, Station, closed_network, erlang_c, mmc_mean_response, mmc_response_quantile};
pub use recovery::{Recovery, recoveries};
pub use resource::{Growth, ResourceLaw, ResourceUse};
pub use search::{Next, Search, SearchEnd, Tried};
pub use stored::{
    STORED_MODEL_VERSION, StoredBacktest, StoredBottleneck, StoredCapacity, StoredCeiling, StoredFamily,
    StoredKnee, StoredLatency, StoredLatencyStep, StoredLimit, StoredModel, StoredPoint, StoredPrediction,
    StoredResource, StoredStep,
};
pub use stored_answers::{
    StoredAnswers, StoredBeyond, StoredCosts, StoredFailures, StoredHeadroom, StoredMix, StoredRecovery,
    StoredRoute, StoredRouteCost,
};
pub use table::points_from_table;
pub use threshold::{Judgement, Threshold, Unfit, Watch};
pub use trend::{SteadyTrend, Trend, steady_trends, trend};
pub use window::{cut_from, interruption, points};
