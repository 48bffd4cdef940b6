//! Machines: how many it takes month by month, when to order them, and what they cost.
//!
//! A fleet carries less than the sum of its machines: what they share (a database, a lock, a balancer) makes
//! each further one add less. So a law stands between the capacity that was measured and that of another
//! number of machines; it is linear only when somebody says so.

use captures::Rate;
use jiff::civil::Date;

use super::demand::View;
use crate::bounds::Bounds;
use crate::resample::quantile_of;
use crate::window::rate;

/// How the capacity of a fleet grows with its machines.
///
/// Source: Gunther, *Guerrilla Capacity Planning* (2007): `C(k) = k / (1 + σ(k − 1) + κk(k − 1))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleOut {
    /// σ: the share of the work that machines wait for one another.
    pub contention: f64,
    /// κ: what each pair of machines costs.
    pub coherency: f64,
    /// Whether it was assumed, rather than given or measured.
    pub assumed: bool,
}

/// What machines there are and how they are to be used.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetGiven {
    /// The machines of today: those that carry the given capacity together.
    pub instances: u32,
    /// Machines that may fail at once without a shortage: the k of N+k.
    pub spare: u32,
    /// The share of its capacity that a machine is to use at most, in `0..=1`.
    pub target_utilisation: f64,
    /// Days from an order until the machine serves.
    pub lead_time_days: u32,
    /// The probability of too few machines that is accepted, in `0..=1`.
    pub risk_ratio: f64,
    /// How capacity grows with machines.
    pub scale_out: ScaleOut,
    /// What they cost.
    pub prices: Option<Prices>,
}

/// Prices.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The currency, as people write it.
    pub currency: String,
    /// One machine for a month.
    pub instance_per_month: f64,
    /// What a month costs whatever happens.
    pub fixed_per_month: f64,
    /// A million requests (traffic, calls to others).
    pub per_million_requests: f64,
}

/// Machines, orders and cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it rests on.
    pub given: FleetGiven,
    /// What one machine alone carries.
    pub per_instance: Rate,
    /// Month by month.
    pub months: Vec<PlanMonth>,
    /// What to order, by date; none when the machines of today suffice.
    pub orders: Vec<Order>,
}

/// One month of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanMonth {
    /// Its first day.
    pub month: Date,
    /// The highest peak of the month in the median path.
    pub peak: Rate,
    /// Its 80 % interval.
    pub peak_80: Bounds<Rate>,
    /// Machines in the median path; `None` when no number of them carries it.
    pub needed_50: Option<u32>,
    /// Machines that suffice but for the accepted risk.
    pub needed: Option<u32>,
    /// Machines that suffice in 99 % of the paths.
    pub needed_99: Option<u32>,
    /// The expected number of requests.
    pub requests: f64,
    /// The share of the month that lies in the horizon, in `0..=1`.
    pub share: f64,
    /// What the needed machines, or those of today where they are more, cost.
    pub cost: Option<f64>,
    /// The same by a million requests.
    pub cost_per_million: Option<f64>,
}

/// Machines to order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The last day to order them.
    pub by: Date,
    /// When they are needed.
    pub needed: Date,
    /// How many further ones.
    pub instances: u32,
    /// How many there are then.
    pub total: u32,
}

/// More machines than these are not planned for.
const MOST_INSTANCES: u32 = 100_000;

impl ScaleOut {
    /// What is assumed when nothing is known: a hundredth of the work is shared.
    ///
    /// Two machines then carry 1.98 times what one does, ten 9.2 times, fifty 34 times.
    pub const ASSUMED: Self = Self { contention: 0.01, coherency: 0.0, assumed: true };

    /// What `instances` machines carry over what one does.
    pub fn capacity_of(self, instances: f64) -> f64 {
        let further = instances - 1.0;
        instances / (1.0 + self.contention * further + self.coherency * instances * further)
    }

    /// The law through measured fleets: pairs of machines and their capacity, three of them at least.
    ///
    /// Least squares of `k / C = c₀ + c₁(k − 1) + c₂k(k − 1)`, coefficients not below zero. `None` when they are
    /// too few or equal.
    pub fn measured(fleets: &[(f64, f64)]) -> Option<Self> {
        if fleets.len() < 3 || fleets.iter().any(|(machines, capacity)| *machines < 1.0 || *capacity <= 0.0) {
            return None;
        }
        let target: Vec<f64> = fleets.iter().map(|(machines, capacity)| machines / capacity).collect();
        let columns = |with_pairs: bool| {
            let mut columns = vec![
                vec![1.0; fleets.len()],
                fleets.iter().map(|(machines, _)| machines - 1.0).collect::<Vec<f64>>(),
            ];
            if with_pairs {
                columns.push(fleets.iter().map(|(machines, _)| machines * (machines - 1.0)).collect());
            }
            columns
        };
        let full = crate::regression::linear(&columns(true), &target).filter(|found| found[2] >= 0.0);
        let found = full.or_else(|| crate::regression::linear(&columns(false), &target))?;
        let one = found[0];
        (one > 0.0).then(|| Self {
            contention: (found[1] / one).clamp(0.0, 1.0),
            coherency: (found.get(2).copied().unwrap_or(0.0) / one).max(0.0),
            assumed: false,
        })
    }
}

/// The plan for the futures that `view` shows.
pub(super) fn plan(view: &View<'_>, given: &FleetGiven) -> Plan {
    let futures = view.futures;
    let ladder = Ladder::new(given);
    let cost_of = |instances: u32, requests: f64, share: f64| {
        given.prices.as_ref().map(|prices| {
            share * (f64::from(instances) * prices.instance_per_month + prices.fixed_per_month)
                + requests / 1e6 * prices.per_million_requests
        })
    };
    let months = futures
        .months()
        .into_iter()
        .map(|(month, steps)| {
            let mut loads = view.highest(&steps);
            loads.sort_by(f64::total_cmp);
            let peaks: Vec<f64> = {
                let mut peaks: Vec<f64> = futures
                    .peaks
                    .iter()
                    .map(|path| steps.clone().map(|step| path[step] * view.demand[step]).fold(0.0, f64::max))
                    .collect();
                peaks.sort_by(f64::total_cmp);
                peaks
            };
            let requests: f64 = steps.clone().map(|step| futures.volumes[step] * view.demand[step]).sum();
            let seconds = steps.len() as f64 * futures.step.length().as_secs_f64();
            let share = (seconds / (f64::from(month.days_in_month()) * 86_400.0)).min(1.0);
            let needed = ladder.needed(quantile_of(&loads, 1.0 - given.risk_ratio));
            let cost = needed.and_then(|needed| cost_of(needed.max(given.instances), requests, share));
            PlanMonth {
                month,
                peak: rate(quantile_of(&peaks, 0.5)),
                peak_80: Bounds { low: rate(quantile_of(&peaks, 0.1)), high: rate(quantile_of(&peaks, 0.9)) },
                needed_50: ladder.needed(quantile_of(&loads, 0.5)),
                needed,
                needed_99: ladder.needed(quantile_of(&loads, 0.99)),
                requests,
                share,
                cost,
                cost_per_million: cost.filter(|_| requests > 0.0).map(|cost| cost / (requests / 1e6)),
            }
        })
        .collect();
    let alone = given.scale_out.capacity_of(f64::from(given.instances));
    Plan {
        given: given.clone(),
        per_instance: rate(futures.capacity * view.capacity / alone),
        months,
        orders: orders(view, given, &ladder),
    }
}

/// When the machines of today, and those that were ordered before, no longer suffice but for the accepted risk.
fn orders(view: &View<'_>, given: &FleetGiven, ladder: &Ladder) -> Vec<Order> {
    let futures = view.futures;
    // What a path has needed so far: a shortage that passed was a shortage.
    let mut highest = vec![0.0_f64; futures.peaks.len()];
    let mut orders: Vec<Order> = Vec::new();
    let mut owned = given.instances;
    for (step, at) in futures.moments.iter().enumerate() {
        for (path, known) in highest.iter_mut().enumerate() {
            *known = known.max(view.load(path, step));
        }
        if share_above(&highest, ladder.reach(owned)) <= given.risk_ratio {
            continue;
        }
        let mut sorted = highest.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(needed) = ladder.needed(quantile_of(&sorted, 1.0 - given.risk_ratio)) else { break };
        if needed <= owned {
            continue;
        }
        let day = at.date();
        match orders.last_mut() {
            Some(last) if last.needed.first_of_month() == day.first_of_month() => {
                last.instances += needed - owned;
                last.total = needed;
            }
            _ => {
                let by = day.saturating_sub(jiff::Span::new().days(i64::from(given.lead_time_days)));
                orders.push(Order { by, needed: day, instances: needed - owned, total: needed });
            }
        }
        owned = needed;
    }
    orders
}

fn share_above(loads: &[f64], limit: f64) -> f64 {
    loads.iter().filter(|load| **load > limit).count() as f64 / loads.len().max(1) as f64
}

/// From loads, as shares of the capacity of today, to machines.
pub(super) struct Ladder {
    /// Of `1 + spare + index` machines: the load they carry within the target, ascending.
    reaches: Vec<f64>,
    spare: u32,
}

impl Ladder {
    pub(super) fn new(given: &FleetGiven) -> Self {
        let today = given.scale_out.capacity_of(f64::from(given.instances));
        let mut reaches: Vec<f64> = Vec::new();
        for serving in 1..=MOST_INSTANCES {
            let reach = given.scale_out.capacity_of(f64::from(serving)) / today * given.target_utilisation;
            // Beyond the peak of the law more machines carry less.
            if reaches.last().is_some_and(|last| reach <= *last) {
                break;
            }
            reaches.push(reach);
        }
        Self { reaches, spare: given.spare }
    }

    /// The least number of machines, spares included; `None` when no number carries it.
    pub(super) fn needed(&self, load: f64) -> Option<u32> {
        let at = self.reaches.partition_point(|reach| *reach < load);
        (at < self.reaches.len()).then(|| u32::try_from(at).unwrap_or(u32::MAX) + 1 + self.spare)
    }

    /// The load that `instances` carry.
    fn reach(&self, instances: u32) -> f64 {
        let serving = instances.saturating_sub(self.spare) as usize;
        serving.checked_sub(1).map_or(0.0, |at| self.reaches.get(at).copied().unwrap_or(f64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(instances: u32, spare: u32, scale_out: ScaleOut) -> FleetGiven {
        FleetGiven {
            instances,
            spare,
            target_utilisation: 0.8,
            lead_time_days: 14,
            risk_ratio: 0.1,
            scale_out,
            prices: None,
        }
    }

    #[test]
    fn machines_are_counted_with_spares_and_below_the_target() {
        let linear = ScaleOut { contention: 0.0, coherency: 0.0, assumed: false };
        let ladder = Ladder::new(&given(4, 1, linear));
        // Four carry 1; one serving carries 0.25 · 0.8 = 0.2.
        assert_eq!(ladder.needed(0.15), Some(2));
        assert_eq!(ladder.needed(0.2), Some(2));
        assert_eq!(ladder.needed(0.21), Some(3));
        assert_eq!(ladder.needed(1.0), Some(6));
        assert!((ladder.reach(6) - 1.0).abs() < 1e-12 && ladder.reach(1) == 0.0);
    }

    #[test]
    fn what_machines_share_makes_each_further_one_add_less() {
        // Hand calculation: 10 / (1 + 0.01 · 9) = 9.174.
        assert!((ScaleOut::ASSUMED.capacity_of(10.0) - 9.174_311_9).abs() < 1e-6);
        let law = ScaleOut { contention: 0.05, coherency: 0.01, assumed: false };
        let ladder = Ladder::new(&given(1, 0, law));
        // Its peak lies at √((1 − σ) / κ) = 9.75 machines: no number carries more than 10 do, 10 / 2.35.
        assert_eq!(ladder.needed(0.8 * 4.25), Some(10));
        assert_eq!(ladder.needed(0.8 * 4.3), None);
    }

    #[test]
    fn a_law_is_found_again_from_measured_fleets() {
        let law = ScaleOut { contention: 0.03, coherency: 0.001, assumed: false };
        let fleets: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0].map(|k| (k, 210.0 * law.capacity_of(k))).to_vec();
        let found = ScaleOut::measured(&fleets).expect("has three fleets");
        assert!((found.contention - 0.03).abs() < 1e-9 && (found.coherency - 0.001).abs() < 1e-9);
        assert_eq!(ScaleOut::measured(&fleets[..2]), None);
    }
}
