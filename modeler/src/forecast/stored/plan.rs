//! The stored form of a plan, of scenarios and of risks: parts of `forecast.json`.

use captures::Rate;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;
use crate::forecast::fleet::{FleetGiven, Order, Plan, PlanMonth, Prices, ScaleOut};
use crate::forecast::history::moment_of;
use crate::forecast::scenario::{Risk, Scenario, ScenarioAnswer};

/// Machines, orders and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// The machines of today.
    pub instances: u32,
    /// Machines that may fail at once.
    pub spare: u32,
    /// The share of its capacity that a machine is to use at most.
    pub target_utilisation: f64,
    /// Days from an order until the machine serves.
    pub lead_time_days: u32,
    /// The accepted probability of too few machines.
    pub risk_ratio: f64,
    /// The contention and the coherency of the law by which capacity grows with machines.
    pub scale_out: [f64; 2],
    /// Whether that law was assumed.
    pub scale_out_assumed: bool,
    /// What one machine alone carries, requests per second.
    pub per_instance_per_second: f64,
    /// What they cost.
    pub prices: Option<StoredPrices>,
    /// Month by month.
    pub months: Vec<StoredPlanMonth>,
    /// What to order, by date.
    pub orders: Vec<StoredOrder>,
}

/// Prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPrices {
    /// The currency.
    pub currency: String,
    /// One machine for a month.
    pub instance_per_month: f64,
    /// What a month costs whatever happens.
    pub fixed_per_month: f64,
    /// A million requests.
    pub per_million_requests: f64,
}

/// One month of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlanMonth {
    /// Its first day.
    pub month: String,
    /// The highest peak in the median path, requests per second.
    pub peak_per_second: f64,
    /// Its 80 % interval.
    pub peak_interval_80: [f64; 2],
    /// Machines in the median path; nothing when no number carries it.
    pub needed_50: Option<u32>,
    /// Machines that suffice but for the accepted risk.
    pub needed: Option<u32>,
    /// Machines that suffice in 99 % of the paths.
    pub needed_99: Option<u32>,
    /// The expected number of requests.
    pub requests: f64,
    /// The share of the month that lies in the horizon.
    pub share: f64,
    /// What it costs.
    pub cost: Option<f64>,
    /// The same by a million requests.
    pub cost_per_million: Option<f64>,
}

/// Machines to order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredOrder {
    /// The last day to order them.
    pub by: String,
    /// When they are needed.
    pub needed: String,
    /// How many further ones.
    pub instances: u32,
    /// How many there are then.
    pub total: u32,
}

/// A future.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredScenario {
    /// What was assumed.
    pub assumed: StoredScenarioGiven,
    /// When capacity runs out: P10, P50, P90; nothing: beyond the horizon.
    pub runs_out: [Option<String>; 3],
    /// The probability that it happens within the horizon.
    pub probability: f64,
    /// The highest peak over the capacity in the median path.
    pub highest_load: f64,
    /// The most machines of any month.
    pub instances: Option<u32>,
    /// The first order.
    pub order: Option<StoredOrder>,
    /// What all months cost.
    pub cost: Option<f64>,
}

/// What a future assumes: factors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredScenarioGiven {
    /// What people call it.
    pub name: String,
    /// Of the growth.
    pub growth: f64,
    /// Of all traffic.
    pub traffic: f64,
    /// Of the load on days of events.
    pub event: f64,
    /// Of what a request costs.
    pub cost: f64,
    /// The standard deviation of its logarithm.
    #[serde(default)]
    pub cost_spread: f64,
}

/// Something that may go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRisk {
    /// What it is.
    pub name: String,
    /// Its first day.
    pub from: String,
    /// Its last day.
    pub to: String,
    /// How likely the load exceeds the capacity then.
    pub probability: f64,
    /// By how much, when it does: the median, as a share of the capacity.
    pub excess_ratio: f64,
    /// Machines with which it would not.
    pub instances: Option<u32>,
}

impl From<&Plan> for StoredPlan {
    fn from(plan: &Plan) -> Self {
        let given = &plan.given;
        Self {
            instances: given.instances,
            spare: given.spare,
            target_utilisation: given.target_utilisation,
            lead_time_days: given.lead_time_days,
            risk_ratio: given.risk_ratio,
            scale_out: [given.scale_out.contention, given.scale_out.coherency],
            scale_out_assumed: given.scale_out.assumed,
            per_instance_per_second: plan.per_instance.as_per_second(),
            prices: given.prices.as_ref().map(|prices| StoredPrices {
                currency: prices.currency.clone(),
                instance_per_month: prices.instance_per_month,
                fixed_per_month: prices.fixed_per_month,
                per_million_requests: prices.per_million_requests,
            }),
            months: plan
                .months
                .iter()
                .map(|month| StoredPlanMonth {
                    month: month.month.to_string(),
                    peak_per_second: month.peak.as_per_second(),
                    peak_interval_80: [month.peak_80.low, month.peak_80.high].map(Rate::as_per_second),
                    needed_50: month.needed_50,
                    needed: month.needed,
                    needed_99: month.needed_99,
                    requests: month.requests,
                    share: month.share,
                    cost: month.cost,
                    cost_per_million: month.cost_per_million,
                })
                .collect(),
            orders: plan.orders.iter().map(StoredOrder::from).collect(),
        }
    }
}

impl From<&Order> for StoredOrder {
    fn from(order: &Order) -> Self {
        Self {
            by: order.by.to_string(),
            needed: order.needed.to_string(),
            instances: order.instances,
            total: order.total,
        }
    }
}

impl From<&ScenarioAnswer> for StoredScenario {
    fn from(answer: &ScenarioAnswer) -> Self {
        let scenario = &answer.scenario;
        Self {
            assumed: StoredScenarioGiven {
                name: scenario.name.clone(),
                growth: scenario.growth,
                traffic: scenario.traffic,
                event: scenario.event,
                cost: scenario.cost,
                cost_spread: scenario.cost_spread,
            },
            runs_out: answer.runs_out.map(|at| at.map(super::written)),
            probability: answer.probability,
            highest_load: answer.highest_load,
            instances: answer.instances,
            order: answer.order.as_ref().map(StoredOrder::from),
            cost: answer.cost,
        }
    }
}

impl From<&Risk> for StoredRisk {
    fn from(risk: &Risk) -> Self {
        Self {
            name: risk.name.clone(),
            from: risk.from.to_string(),
            to: risk.to.to_string(),
            probability: risk.probability,
            excess_ratio: risk.excess_ratio,
            instances: risk.instances,
        }
    }
}

impl StoredPlan {
    /// The plan that was stored; `None` when it holds what is no date or no rate.
    pub fn plan(&self) -> Option<Plan> {
        let rate = |per_second: f64| Rate::per_second(per_second);
        let month = |stored: &StoredPlanMonth| {
            Some(PlanMonth {
                month: stored.month.parse().ok()?,
                peak: rate(stored.peak_per_second)?,
                peak_80: Bounds {
                    low: rate(stored.peak_interval_80[0])?,
                    high: rate(stored.peak_interval_80[1])?,
                },
                needed_50: stored.needed_50,
                needed: stored.needed,
                needed_99: stored.needed_99,
                requests: stored.requests,
                share: stored.share,
                cost: stored.cost,
                cost_per_million: stored.cost_per_million,
            })
        };
        Some(Plan {
            given: FleetGiven {
                instances: self.instances,
                spare: self.spare,
                target_utilisation: self.target_utilisation,
                lead_time_days: self.lead_time_days,
                risk_ratio: self.risk_ratio,
                scale_out: ScaleOut {
                    contention: self.scale_out[0],
                    coherency: self.scale_out[1],
                    assumed: self.scale_out_assumed,
                },
                prices: self.prices.as_ref().map(|prices| Prices {
                    currency: prices.currency.clone(),
                    instance_per_month: prices.instance_per_month,
                    fixed_per_month: prices.fixed_per_month,
                    per_million_requests: prices.per_million_requests,
                }),
            },
            per_instance: rate(self.per_instance_per_second)?,
            months: self.months.iter().map(month).collect::<Option<_>>()?,
            orders: self.orders.iter().map(StoredOrder::order).collect::<Option<_>>()?,
        })
    }
}

impl StoredOrder {
    fn order(&self) -> Option<Order> {
        Some(Order {
            by: self.by.parse().ok()?,
            needed: self.needed.parse().ok()?,
            instances: self.instances,
            total: self.total,
        })
    }
}

impl StoredScenario {
    /// The answer that was stored; `None` when it holds what is no date.
    pub fn answer(&self) -> Option<ScenarioAnswer> {
        let date = |text: &Option<String>| -> Option<Option<DateTime>> {
            text.as_deref().map_or(Some(None), |text| moment_of(text).map(Some))
        };
        let assumed = &self.assumed;
        Some(ScenarioAnswer {
            scenario: Scenario {
                name: assumed.name.clone(),
                growth: assumed.growth,
                traffic: assumed.traffic,
                event: assumed.event,
                cost: assumed.cost,
                cost_spread: assumed.cost_spread,
            },
            runs_out: [date(&self.runs_out[0])?, date(&self.runs_out[1])?, date(&self.runs_out[2])?],
            probability: self.probability,
            highest_load: self.highest_load,
            instances: self.instances,
            order: match &self.order {
                Some(order) => Some(order.order()?),
                None => None,
            },
            cost: self.cost,
        })
    }
}

impl StoredRisk {
    /// The risk that was stored; `None` when it holds what is no date.
    pub fn risk(&self) -> Option<Risk> {
        Some(Risk {
            name: self.name.clone(),
            from: self.from.parse().ok()?,
            to: self.to.parse().ok()?,
            probability: self.probability,
            excess_ratio: self.excess_ratio,
            instances: self.instances,
        })
    }
}
