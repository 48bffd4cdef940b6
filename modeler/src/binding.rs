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
    /// Its share of all responses beyond the limit, at the highest measured load that was carried and had some, in
    /// `0..=1`.
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
        if self.routes.len() < 2 {
            return None;
        }
        let slow =
            |point: &Point| -> f64 { point.routes.iter().map(|route| beyond(&route.response, limit)).sum() };
        let point = self.near_capacity().into_iter().find(|point| slow(point) >= LEAST_SLOW)?;
        let all = slow(point);
        let breaks = |name: &str| {
            let capacity = self.routes.iter().find(|route| route.route == name)?.capacity?;
            let most = (1.0 + NEAR_RATIO) * self.capacity.rate.as_per_second();
            (capacity.as_per_second() <= most).then_some(capacity)
        };
        let (count, route, capacity) = point
            .routes
            .iter()
            .map(|route| (beyond(&route.response, limit), route.route.as_str()))
            .filter_map(|(count, route)| Some((count, route, breaks(route)?)))
            .max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(one.1)))?;
        (count > 0.0).then(|| BindingRoute { route: route.to_owned(), capacity, slow_ratio: count / all })
    }

    /// The points by how much they tell of the capacity: those below it from the nearest on, then those above. In
    /// overload all routes are slow, and the busiest has most of what is.
    fn near_capacity(&self) -> Vec<&Point> {
        let capacity = (1.0 + NEAR_RATIO) * self.capacity.rate.as_per_second();
        let offered = |point: &Point| point.offered.map_or(f64::INFINITY, Rate::as_per_second);
        let open = self.load_unit == LoadUnit::Offered;
        let usable = self.points.iter().filter(|point| open && !point.draining && !point.routes.is_empty());
        let (mut below, mut above): (Vec<&Point>, Vec<&Point>) =
            usable.partition(|point| offered(point) <= capacity && !point.saturated);
        below.sort_by(|one, other| offered(other).total_cmp(&offered(one)));
        above.sort_by(|one, other| offered(one).total_cmp(&offered(other)));
        below.extend(above);
        below
    }
}

/// How many responses took longer than `limit`.
fn beyond(responses: &captures::Histogram, limit: Duration) -> f64 {
    responses.share_above(limit) * responses.len() as f64
}
