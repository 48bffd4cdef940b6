//! A forecast in a few lines: the verdict first, then what to buy, the other futures, and the risks.

use std::fmt::Write as _;

use jiff::civil::DateTime;
use modeler::{Forecast, PeakFactor};

use super::written;

/// Changes of the trend that are told, the latest.
const MOST_CHANGES: usize = 3;

/// The answer in a few lines, the verdict first.
pub(super) fn of(made: &Forecast) -> String {
    let mut text = String::new();
    let date = |at: Option<DateTime>| at.map_or("beyond the horizon".to_owned(), |at| written(at, made.step));
    if let (Some(since), Some(capacity)) = (made.exceeded_since(), made.capacity) {
        let _ = writeln!(
            text,
            "capacity {}: exceeded already since {}",
            capacity.rate,
            written(since, made.step)
        );
    } else if let (Some(exhaustion), Some(capacity)) = (&made.exhaustion, made.capacity) {
        let _ = writeln!(
            text,
            "capacity {} runs out: {} (50 %), as early as {} (10 %), as late as {} (90 %)",
            capacity.rate,
            date(exhaustion.p50),
            date(exhaustion.p10),
            date(exhaustion.p90)
        );
        let _ = writeln!(
            text,
            "  it lasts beyond the horizon in {:.0} % of the paths",
            exhaustion.beyond_ratio * 100.0
        );
    }
    if let Some(last) = made.steps.last() {
        let busiest = match made.peak_factor {
            PeakFactor::Given(_) | PeakFactor::Measured { .. } => {
                format!(", busiest minute {}", last.peak_rate)
            }
            PeakFactor::MeanOnly => String::new(),
        };
        let _ = writeln!(
            text,
            "  {} steps to {}: {:.0} requests per {}, mean {}{busiest}",
            made.steps.len(),
            written(last.at, made.step),
            last.volume,
            made.step.name(),
            last.mean_rate
        );
    }
    let _ = writeln!(text, "  growth {:+.0} % a year", made.growth_per_year_ratio * 100.0);
    for change in made.changes.iter().rev().take(MOST_CHANGES).rev() {
        let _ = writeln!(text, "  {change}");
    }
    if let Some(score) = made.score {
        let _ = writeln!(
            text,
            "  on your own history this forecast missed a step by {:.1} % in the median; over {} origins: MASE {:.2}, {:.0} % inside the 80 % interval, {:.0} % inside the 95 %",
            score.typical_miss_ratio * 100.0,
            score.origins,
            score.mase,
            score.coverage_80 * 100.0,
            score.coverage_95 * 100.0
        );
    }
    plan(&mut text, made);
    for warning in &made.warnings {
        let _ = writeln!(text, "  note: {warning}");
    }
    text
}

fn plan(text: &mut String, made: &Forecast) {
    if let Some(plan) = &made.plan {
        let given = &plan.given;
        let order = plan.orders.first().map_or_else(
            || format!("  order nothing: {} machines suffice", given.instances),
            |order| {
                format!(
                    "  order {} machines by {}: the first of them is needed on {}, {} in all",
                    order.instances, order.by, order.needed, order.total
                )
            },
        );
        let _ = writeln!(
            text,
            "{order} (N+{}, {:.0} % utilisation, {:.0} % risk)",
            given.spare,
            given.target_utilisation * 100.0,
            given.risk_ratio * 100.0
        );
        for month in &plan.months {
            let needed = month.needed.map_or("no number".to_owned(), |needed| needed.to_string());
            let cost = match (&given.prices, month.cost) {
                (Some(prices), Some(cost)) => format!(
                    ", {cost:.0} {}{}",
                    prices.currency,
                    month
                        .cost_per_million
                        .map_or_else(String::new, |each| format!(" ({each:.2} per million)"))
                ),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "    {}  peak {:.0}/s  machines {needed}{cost}",
                month.month.strftime("%Y-%m"),
                month.peak.as_per_second()
            );
        }
    }
    if made.scenarios.len() > 1 {
        for answer in &made.scenarios {
            let date =
                answer.runs_out[1].map_or("not within the horizon".to_owned(), |at| written(at, made.step));
            let machines = answer.instances.map_or_else(String::new, |count| format!(", {count} machines"));
            let _ = writeln!(
                text,
                "  {}: runs out {date} ({:.0} % within the horizon){machines}",
                answer.scenario.name,
                answer.probability * 100.0
            );
        }
    }
    for risk in made.risks.iter().filter(|risk| risk.probability >= 0.005) {
        let _ = writeln!(
            text,
            "  risk: {} {:.0} %, then {:.0} % above the capacity",
            risk.name,
            risk.probability * 100.0,
            risk.excess_ratio * 100.0
        );
    }
}
