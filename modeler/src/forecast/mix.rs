//! What another mix of routes would cost, with how well that is known.

use crate::cost::MixChange;
use crate::stored::StoredModel;

/// What changes when routes come more or less often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixCost {
    /// All requests over those of before.
    pub traffic: f64,
    /// The cost of a mean request over that of before.
    pub cost: f64,
    /// How uncertain the cost of all requests is: the standard deviation of its logarithm.
    pub spread: f64,
}

/// Why another mix cannot be costed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MixError {
    /// The model knows no costs: nothing of the target was observed.
    NoCosts,
    /// A route that the model does not have, and those that it has.
    UnknownRoute {
        /// What was asked for.
        route: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Nothing would be requested any more.
    Nothing,
}

/// A 95 % interval is so many standard deviations wide.
const WIDTH_95: f64 = 2.0 * 1.959_964;

/// One route.
struct Row {
    share: f64,
    times: f64,
    cost: f64,
    /// The standard deviation of the cost.
    doubt: f64,
}

/// What the mix of `model`, changed by `changes`, would cost of the resource that runs out first.
///
/// With shares s, factors t and costs c by route, all requests cost f = Σstc / Σsc of before; the variance of ln f
/// is Σ(s(t/Σstc − 1/Σsc))²·var(c), by the delta method, the costs taken as independent.
///
/// # Errors
/// When no costs are known, or a route is not.
pub fn mix_cost(model: &StoredModel, changes: &[MixChange]) -> Result<MixCost, MixError> {
    let answers = &model.answers;
    let scarce = model.bottleneck.as_ref().and_then(|found| found.resource.as_ref());
    let costs = answers.costs.iter().find(|costs| Some(&costs.resource) == scarce);
    let costs = costs.or(answers.costs.first()).ok_or(MixError::NoCosts)?;
    for change in changes {
        if !answers.routes.iter().any(|route| route.route == change.route) {
            let known = answers.routes.iter().map(|route| route.route.clone()).collect();
            return Err(MixError::UnknownRoute { route: change.route.clone(), known });
        }
    }
    // What is too rare to be costed costs nothing here.
    let rows: Vec<Row> = answers
        .routes
        .iter()
        .map(|route| {
            let change = changes.iter().rfind(|change| change.route == route.route);
            let cost = costs.routes.iter().find(|cost| cost.route == route.route);
            let (cost, doubt) =
                cost.map_or((0.0, 0.0), |it| (it.cost, (it.interval[1] - it.interval[0]) / WIDTH_95));
            Row { share: route.share_ratio, times: change.map_or(1.0, |change| change.times), cost, doubt }
        })
        .collect();
    let sum = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let (before, after) = (sum(&|row| row.share * row.cost), sum(&|row| row.share * row.times * row.cost));
    let traffic = sum(&|row| row.share * row.times) / sum(&|row| row.share);
    if before <= 0.0 {
        return Err(MixError::NoCosts);
    }
    if !(traffic > 0.0 && after > 0.0) {
        return Err(MixError::Nothing);
    }
    let variance = sum(&|row| (row.share * (row.times / after - 1.0 / before) * row.doubt).powi(2));
    Ok(MixCost { traffic, cost: after / before / traffic, spread: variance.sqrt().min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelRequest, model, points_from_table};

    fn change(route: &str, times: f64) -> MixChange {
        MixChange { route: route.to_owned(), times }
    }

    /// Nine requests of ten cost 10 each, the tenth 100 ± 10 (one standard deviation).
    fn costed() -> StoredModel {
        let points = points_from_table("n,x\n1,95\n2,184\n4,345\n8,600\n16,860\n", "t").unwrap();
        let request = ModelRequest::plain(1);
        let mut stored = StoredModel::from(&model(points, &request).unwrap());
        let route = |route: &str, share_ratio| crate::StoredRoute {
            route: route.to_owned(),
            share_ratio,
            error_ratios: [0.0, 0.0],
            capacity: None,
            interval: None,
            latency: std::collections::BTreeMap::new(),
        };
        let cost = |route: &str, cost: f64, doubt: f64| crate::StoredRouteCost {
            route: route.to_owned(),
            cost,
            interval: [cost - 1.959_964 * doubt, cost + 1.959_964 * doubt],
            shrunk: cost,
            share_ratio: 0.5,
        };
        stored.answers.routes = vec![route("GET /", 0.9), route("POST /checkout", 0.1)];
        stored.answers.costs = vec![crate::StoredCosts {
            resource: "cpu_cores".to_owned(),
            idle: 0.0,
            routes: vec![cost("POST /checkout", 100.0, 10.0), cost("GET /", 10.0, 0.0)],
            miss_ratio: 0.0,
            warning: None,
        }];
        stored
    }

    #[test]
    fn another_mix_costs_what_its_routes_cost_with_their_doubt() {
        // By hand: before 0.9 · 10 + 0.1 · 100 = 19; with three times the checkouts 9 + 30 = 39, of 1.2 times the
        // requests: a mean request costs 39 / 19 / 1.2 = 1.7105. The doubt: 0.1 · (3/39 − 1/19) · 10 = 0.02429.
        let found = mix_cost(&costed(), &[change("POST /checkout", 3.0)]).unwrap();
        assert!((found.traffic - 1.2).abs() < 1e-12 && (found.cost - 1.710_526).abs() < 1e-6, "{found:?}");
        assert!((found.spread - 0.024_29).abs() < 1e-5, "{found:?}");
        let same = mix_cost(&costed(), &[]).unwrap();
        assert_eq!((same.traffic, same.cost, same.spread), (1.0, 1.0, 0.0));
    }

    #[test]
    fn what_cannot_be_costed_is_named() {
        let none = StoredModel { answers: crate::StoredAnswers::default(), ..costed() };
        assert_eq!(mix_cost(&none, &[]), Err(MixError::NoCosts));
        let known = vec!["GET /".to_owned(), "POST /checkout".to_owned()];
        assert_eq!(
            mix_cost(&costed(), &[change("GET /x", 2.0)]),
            Err(MixError::UnknownRoute { route: "GET /x".to_owned(), known })
        );
        let gone = [change("GET /", 0.0), change("POST /checkout", 0.0)];
        assert_eq!(mix_cost(&costed(), &gone), Err(MixError::Nothing));
    }
}
