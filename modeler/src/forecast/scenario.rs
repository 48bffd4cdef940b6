//! Other futures side by side, and what may go wrong in the expected one.

use jiff::civil::{Date, DateTime};

use super::demand::{Futures, View, share_short};
use super::exhaustion;
use super::fleet::{self, FleetGiven, Ladder, Order};
use super::history::History;
use super::types::{Event, Exhaustion, ForecastRequest};
use crate::resample::{generator, normal, quantile_of};

/// A future that differs from the expected one by factors; 1 leaves as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What people call it.
    pub name: String,
    /// Of the growth: 2 is twice as many percent a year, on the logarithm.
    pub growth: f64,
    /// Of all traffic, from the first day on.
    pub traffic: f64,
    /// Of the load on days of events.
    pub event: f64,
    /// Of what a request costs: 0.8 is code that is 20 % better, 1.3 a heavier mix. Capacity is divided by it.
    pub cost: f64,
    /// How uncertain that is: the standard deviation of its logarithm. It joins the doubt of the capacity.
    pub cost_spread: f64,
}

/// What a future comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioAnswer {
    /// What was assumed.
    pub scenario: Scenario,
    /// When capacity runs out: P10, P50, P90; `None`: beyond the horizon.
    pub runs_out: [Option<DateTime>; 3],
    /// The probability that it happens within the horizon, in `0..=1`.
    pub probability: f64,
    /// The highest peak over the capacity in the median path.
    pub highest_load: f64,
    /// The most machines of any month, but for the accepted risk; `None` without a fleet, or when no number
    /// suffices.
    pub instances: Option<u32>,
    /// The first order.
    pub order: Option<Order>,
    /// What all months cost.
    pub cost: Option<f64>,
}

/// Something that may go wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Risk {
    /// What it is, as a phrase.
    pub name: String,
    /// Its first day.
    pub from: Date,
    /// Its last day.
    pub to: Date,
    /// How likely the load exceeds the capacity then, in `0..=1`.
    pub probability: f64,
    /// By how much the peak exceeds the capacity when it does, as a share: the median of those paths.
    pub excess_ratio: f64,
    /// Machines with which it would not, but for the accepted risk; `None` without a fleet.
    pub instances: Option<u32>,
}

impl Scenario {
    /// The expected future.
    pub fn expected() -> Self {
        Self {
            name: "as expected".to_owned(),
            growth: 1.0,
            traffic: 1.0,
            event: 1.0,
            cost: 1.0,
            cost_spread: 0.0,
        }
    }
}

impl Risk {
    /// Probability times impact.
    pub fn weight(&self) -> f64 {
        self.probability * self.excess_ratio
    }
}

/// The futures as `scenario` has them; `growth` is the expected one per year, on the logarithm.
fn seen_as<'a>(futures: &'a Futures, scenario: &Scenario, growth: f64, seed: u64) -> View<'a> {
    let per_step = futures.step.length().as_secs_f64() / (365.25 * 86_400.0);
    let demand = (0..futures.moments.len())
        .map(|step| {
            let grown =
                ((scenario.growth - 1.0) * growth * per_step * (step as f64 + 1.0)).clamp(-20.0, 20.0);
            let event = if futures.is_event[step] { scenario.event } else { 1.0 };
            scenario.traffic * grown.exp() * event
        })
        .collect();
    let mut chance = generator(seed, 6);
    let doubt =
        |_: &f64| if scenario.cost_spread > 0.0 { scenario.cost_spread * normal(&mut chance) } else { 0.0 };
    let doubt = futures.luck.iter().map(doubt).map(f64::exp).collect();
    View { futures, demand, capacity: 1.0 / scenario.cost, doubt }
}

/// What each of `scenarios` comes to.
pub(super) fn answers(
    history: &History,
    futures: &Futures,
    scenarios: &[Scenario],
    request: &ForecastRequest,
    growth: f64,
    volume_per_rate: f64,
) -> Vec<ScenarioAnswer> {
    scenarios
        .iter()
        .map(|scenario| {
            let view = seen_as(futures, scenario, growth, request.seed);
            let exhaustion = exhaustion::of(history, &view, volume_per_rate);
            let mut highest = view.highest(&(0..futures.moments.len()));
            highest.sort_by(f64::total_cmp);
            let plan = request.fleet.as_ref().map(|fleet| fleet::plan(&view, fleet));
            let months = || plan.iter().flat_map(|plan| &plan.months);
            ScenarioAnswer {
                scenario: scenario.clone(),
                runs_out: [exhaustion.p10, exhaustion.p50, exhaustion.p90],
                probability: 1.0 - exhaustion.beyond_ratio,
                highest_load: quantile_of(&highest, 0.5),
                instances: if months().all(|month| month.needed.is_some()) {
                    months().filter_map(|month| month.needed).max()
                } else {
                    None
                },
                order: plan.as_ref().and_then(|plan| plan.orders.first().copied()),
                cost: months().map(|month| month.cost).sum::<Option<f64>>().filter(|_| plan.is_some()),
            }
        })
        .collect()
}

/// What may go wrong in the expected future, the gravest first.
pub(super) fn risks(
    futures: &Futures,
    events: &[Event],
    exhaustion: &Exhaustion,
    fleet: Option<&FleetGiven>,
) -> Vec<Risk> {
    let view = futures.as_expected();
    let ladder = fleet.map(Ladder::new);
    let risk = |name: String, steps: Vec<usize>| -> Option<Risk> {
        let (first, last) = (*steps.first()?, *steps.last()?);
        let mut loads: Vec<f64> = (0..futures.peaks.len())
            .map(|path| steps.iter().map(|&step| view.load(path, step)).fold(0.0, f64::max))
            .collect();
        loads.sort_by(f64::total_cmp);
        let short: Vec<f64> = loads.iter().copied().filter(|load| *load > 1.0).collect();
        let accepted = fleet.map_or(0.1, |fleet| fleet.risk_ratio);
        Some(Risk {
            name,
            from: futures.moments[first].date(),
            to: futures.moments[last].date(),
            probability: share_short(&loads),
            excess_ratio: if short.is_empty() { 0.0 } else { quantile_of(&short, 0.5) - 1.0 },
            instances: ladder.as_ref().and_then(|ladder| ladder.needed(quantile_of(&loads, 1.0 - accepted))),
        })
    };
    let on = |event: &Event| -> Vec<usize> {
        let lies = |step: &usize| {
            super::events::lies_on(event.first, event.last, futures.moments[*step], futures.step)
        };
        (0..futures.moments.len()).filter(lies).collect()
    };
    let mut risks: Vec<Risk> =
        events.iter().filter_map(|event| risk(event.name.clone(), on(event))).collect();
    let ordinary = |until: Option<DateTime>| -> Vec<usize> {
        (0..futures.moments.len())
            .filter(|&step| {
                !futures.is_event[step] && until.is_none_or(|until| futures.moments[step] <= until)
            })
            .collect()
    };
    if let (Some(fleet), Some(begin)) = (fleet, futures.moments.first()) {
        let arrival =
            begin.saturating_add(jiff::SignedDuration::from_hours(24 * i64::from(fleet.lead_time_days)));
        risks
            .extend(risk("growth, before what is ordered today arrives".to_owned(), ordinary(Some(arrival))));
    }
    risks.extend(risk("growth, within the horizon".to_owned(), ordinary(None)));
    // When it is exceeded already, growth is no risk but a fact.
    let passed = exhaustion.p50.zip(futures.moments.first()).is_some_and(|(at, begin)| at < *begin);
    if passed {
        risks.retain(|risk| !risk.name.starts_with("growth, before"));
    }
    risks.sort_by(|one, other| other.weight().total_cmp(&one.weight()));
    risks
}
