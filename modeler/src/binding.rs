//! Which route it is that breaks the objective of all routes together.
//!
//! Where no route breaks a limit alone, all together do not either; so where the response of all reaches its
//! limit, some route is past it. Of those, the one that has most of the responses beyond the limit binds: a rare
//! route that is always slow moves no quantile of all.

use std::time::Duration;

use captures::Rate;

use crate::capacity::Binding;
use crate::model::{LoadUnit, Model};
use crate::objective::Objective;
use crate::point::Point;

/// The route that binds, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingRoute {
    /// The route.
    pub route: String,
    /// The load of *all* routes at which it breaks the limit alone.
    pub capacity: Rate,
    /// Its share of all responses beyond the limit, at the measured load nearest to the capacity, in `0..=1`.
    pub slow_ratio: f64,
}

/// A route whose own limit lies beyond the capacity by more than this share does not bind.
const NEAR_RATIO: f64 = 0.02;
/// Fewer responses beyond the limit do not tell whose they are.
const LEAST_SLOW: f64 = 20.0;

impl Model {
    /// The route that binds; `None` when no limit of the response does, or routes are not told apart.
    pub fn binding_route(&self) -> Option<BindingRoute> {
        let Binding::Latency(measure) = self.capacity.binding else { return None };
        let limits = self.objective.iter().flat_map(Objective::latency_limits);
        let (_, limit) = limits.into_iter().find(|(known, _)| *known == measure)?;
        let point = self.nearest_to_capacity()?;
        let slow: Vec<(f64, &str)> =
            point.routes.iter().map(|route| (beyond(&route.response, limit), route.route.as_str())).collect();
        let all: f64 = slow.iter().map(|(count, _)| count).sum();
        if self.routes.len() < 2 || all < LEAST_SLOW {
            return None;
        }
        let breaks = |name: &str| {
            let capacity = self.routes.iter().find(|route| route.route == name)?.capacity?;
            let most = (1.0 + NEAR_RATIO) * self.capacity.rate.as_per_second();
            (capacity.as_per_second() <= most).then_some(capacity)
        };
        let (count, route, capacity) = slow
            .iter()
            .filter_map(|&(count, route)| Some((count, route, breaks(route)?)))
            .max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(one.1)))?;
        (count > 0.0).then(|| BindingRoute { route: route.to_owned(), capacity, slow_ratio: count / all })
    }

    fn nearest_to_capacity(&self) -> Option<&Point> {
        let capacity = self.capacity.rate.as_per_second();
        let away = |point: &Point| {
            point.offered.map_or(f64::INFINITY, |rate| (rate.as_per_second() / capacity.max(1e-9)).ln().abs())
        };
        let open = self.load_unit == LoadUnit::Offered;
        let usable = self.points.iter().filter(|point| open && !point.draining && !point.routes.is_empty());
        usable.min_by(|one, other| away(one).total_cmp(&away(other)))
    }
}

/// How many responses took longer than `limit`.
fn beyond(responses: &captures::Histogram, limit: Duration) -> f64 {
    responses.share_above(limit) * responses.len() as f64
}
