//! Points: one steady window each of concurrency, throughput, response and errors.

use std::time::Duration;

use captures::{Histogram, Rate};

use crate::resource::ResourceUse;

/// What one steady window of one level of load measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where it comes from: a run and its stage, or a line of a table.
    pub source: String,
    /// The multiple of the capture's own curve; `None` from a table.
    pub scale: Option<f64>,
    /// The length of the window, warm-up not counted; zero from a table.
    pub length: Duration,
    /// Requests that were due per second; `None` when only concurrency was set (a closed load).
    pub offered: Option<Rate>,
    /// Answers without error per second on the clock.
    pub throughput: Rate,
    /// The standard error of `throughput`; `None` when there are too few seconds to tell.
    pub throughput_error: Option<Rate>,
    /// The mean number of requests in flight; `None` from a table without it.
    pub concurrency: Option<f64>,
    /// The mean response.
    pub mean_response: Option<Duration>,
    /// Quantiles of the response, ascending; failures included.
    pub quantiles: Vec<QuantileAt>,
    /// All responses of the window; empty from a table.
    pub response: Histogram,
    /// Errors over outcomes, skips included, in `0..=1`.
    pub error_ratio: f64,
    /// |N − X·R| / N, Little's law; `None` when one of the three is unknown.
    pub little_gap_ratio: Option<f64>,
    /// Whether the load was more than was carried: then the response depends on the length of the stage.
    pub saturated: bool,
    /// Whether the backlog of an earlier stage was still being worked off: then it says nothing about its load,
    /// and no fit uses it.
    pub draining: bool,
    /// The seconds, in order: what resampling draws from. Empty from a table.
    pub windows: Vec<Window>,
    /// What the target used meanwhile, by name; ascending, no repeats.
    pub resources: Vec<ResourceUse>,
    /// The routes, busiest first; empty when nobody told them apart.
    pub routes: Vec<RoutePoint>,
}

/// What one route had of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePoint {
    /// The route.
    pub route: String,
    /// Its requests per second.
    pub offered: Rate,
    /// Errors over outcomes, skips included, in `0..=1`.
    pub error_ratio: f64,
    /// All its responses; empty from a table.
    pub response: Histogram,
    /// Its part of the seconds of the point, in their order. Empty from a table.
    pub windows: Vec<RouteWindow>,
}

/// What one route had of a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteWindow {
    /// Outcomes of the requests that were due in it.
    pub outcomes: u64,
    /// Pairs of microseconds and count, ascending.
    pub responses: Vec<(u64, u64)>,
}

/// A quantile and its response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileAt {
    /// The quantile, in `0..=1`.
    pub quantile: f64,
    /// So long or shorter was that share of the responses.
    pub response: Duration,
}

/// One second of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Which second of the run.
    pub second: u64,
    /// Requests that were due in it.
    pub planned: u64,
    /// Requests that were completed in it on the clock, answered or failed.
    pub completed: u64,
    /// The mean number in flight.
    pub in_flight: f64,
    /// Outcomes of the requests that were due in it.
    pub outcomes: u64,
    /// Errors among them.
    pub errors: u64,
    /// Skips among the errors.
    pub skipped: u64,
    /// The responses of the requests that were due in it.
    pub response: Histogram,
}

/// The quantiles that every point lists.
pub(crate) const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

impl Point {
    /// The response at `quantile`, from the histogram or, without one, from the listed quantiles.
    pub fn response_at(&self, quantile: f64) -> Option<Duration> {
        if !self.response.is_empty() {
            return Some(self.response.quantile(quantile));
        }
        self.quantiles
            .iter()
            .find(|listed| (listed.quantile - quantile).abs() < 1e-9)
            .map(|listed| listed.response)
    }
}

/// Whether two loads count as one level: the same but for chance.
pub(crate) fn same_level(one: f64, other: f64) -> bool {
    (one - other).abs() <= 0.02 * one.abs().max(other.abs())
}
