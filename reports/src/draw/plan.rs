//! The charts of what growth asks for: when it is too much, what to buy, and how a week is spent.

use jiff::civil::{Date, DateTime};
use modeler::{Forecast, Step};

use super::caption;
use super::growth::epoch;
use crate::chart::{Backtest, ChanceDate, Chances, ColumnPanel, Columns, Week};
use crate::{title, words};

/// How likely the capacity has run out by a date.
pub(super) fn chances(forecast: &Forecast) -> Option<Chances> {
    let exhaustion = forecast.exhaustion.as_ref()?;
    if forecast.exceeded_since().is_some() || exhaustion.by_date.is_empty() {
        return None;
    }
    // Chances that fall on one day share a label.
    let mut dates: Vec<ChanceDate> = Vec::new();
    let chances = [("10 %", exhaustion.p10), ("50 %", exhaustion.p50), ("90 %", exhaustion.p90)];
    let known: Vec<(&str, DateTime)> =
        chances.into_iter().filter_map(|(name, at)| Some((name, at?))).collect();
    for same in known.chunk_by(|one, other| one.1.date() == other.1.date()) {
        let (Some(first), Some(last)) = (same.first(), same.last()) else { continue };
        let names = if same.len() > 1 { format!("{} to {}", first.0, last.0) } else { first.0.to_owned() };
        let label = format!("{names}: {}", words::date(first.1.date()));
        dates.push(ChanceDate { at: epoch(first.1), label, act: false });
    }
    if let Some(order) = forecast.plan.as_ref().and_then(|plan| plan.orders.first()) {
        dates.push(ChanceDate {
            at: epoch(order.by.at(0, 0, 0, 0)),
            label: format!("order by {}", words::date(order.by)),
            act: true,
        });
    }
    let most = exhaustion.by_date.len().div_ceil(400).max(1);
    let curve = exhaustion
        .by_date
        .iter()
        .enumerate()
        .filter(|(at, _)| at % most == 0 || at + 1 == exhaustion.by_date.len())
        .map(|(_, step)| (epoch(step.at), step.probability));
    Some(Chances {
        caption: caption(
            "exhaustion",
            title::chances(exhaustion),
            "Share of the simulated paths whose peak has exceeded their draw of the capacity by then; what is left of \
             100 % lasts beyond the horizon",
        ),
        curve: curve.collect(),
        dates,
    })
}

/// How likely it happens in each month.
pub(super) fn months(forecast: &Forecast) -> Option<Columns> {
    let exhaustion = forecast.exhaustion.as_ref()?;
    if exhaustion.by_month.is_empty() || forecast.exceeded_since().is_some() {
        return None;
    }
    let panel = |name: &str, of: fn(&modeler::ExhaustionMonth) -> f64| ColumnPanel {
        name: name.to_owned(),
        values: exhaustion.by_month.iter().map(|month| Some(100.0 * of(month))).collect(),
        labels: exhaustion.by_month.iter().map(|month| words::percent(of(month))).collect(),
        alarm: true,
        // A little above 100 %, for the labels of what is certain.
        end: Some(110.0),
        ..ColumnPanel::default()
    };
    Some(Columns {
        caption: caption(
            "exhaustion-months",
            title::months(exhaustion),
            "Above: paths that exceed the capacity for the first time; below: paths with any peak above it, as on a day of \
             an event, that month",
        ),
        names: exhaustion.by_month.iter().map(|month| name_of(month.month)).collect(),
        panels: vec![
            panel("runs out in this month, % of paths", |month| month.probability),
            panel("shortage at some time in this month, % of paths", |month| month.shortage),
        ],
    })
}

/// Machines and cost by month.
pub(super) fn machines(forecast: &Forecast) -> Option<Columns> {
    let plan = forecast.plan.as_ref()?;
    let given = &plan.given;
    let machines = ColumnPanel {
        name: format!("machines, but for a risk of {}", words::percent(given.risk_ratio)),
        values: plan.months.iter().map(|month| month.needed.map(f64::from)).collect(),
        labels: plan
            .months
            .iter()
            .map(|month| month.needed.map_or_else(|| "no number".to_owned(), |needed| needed.to_string()))
            .collect(),
        whiskers: plan
            .months
            .iter()
            .map(|month| Some((f64::from(month.needed_50?), f64::from(month.needed_99?))))
            .collect(),
        level: Some((f64::from(given.instances), format!("today {}", given.instances))),
        ..ColumnPanel::default()
    };
    let cost = given.prices.as_ref().map(|prices| ColumnPanel {
        name: format!("cost, {}", prices.currency),
        values: plan.months.iter().map(|month| month.cost).collect(),
        labels: plan.months.iter().map(|month| month.cost.map_or_else(String::new, words::number)).collect(),
        ..ColumnPanel::default()
    });
    Some(Columns {
        caption: caption(
            "machines",
            title::machines(plan),
            format!(
                "N+{} machines at up to {} of what each carries; whiskers: from the median path to 99 % of the paths. \
                 Months at the ends of the horizon count for the days they have in it",
                given.spare,
                words::percent(given.target_utilisation)
            ),
        ),
        names: plan.months.iter().map(|month| name_of(month.month)).collect(),
        panels: std::iter::once(machines).chain(cost).collect(),
    })
}

/// The hours of a usual week, of a history by the hour or finer that holds two of them.
pub(super) fn week(forecast: &Forecast) -> Option<Week> {
    if matches!(forecast.step, Step::Day | Step::Week) {
        return None;
    }
    let seconds = forecast.step.length().as_secs_f64();
    let mut cells: Vec<Vec<f64>> = vec![Vec::new(); 168];
    for seen in &forecast.history {
        let place = cell_of(seen.at);
        if let Some(volume) = seen.volume {
            cells[place].push(volume / seconds);
        }
    }
    if cells.iter().filter(|cell| cell.len() >= 2).count() < 160 {
        return None;
    }
    let medians: Vec<Option<f64>> = cells
        .into_iter()
        .map(|mut cell| {
            cell.sort_by(f64::total_cmp);
            cell.get(cell.len() / 2).copied()
        })
        .collect();
    let busiest = (0..168)
        .max_by(|&one, &other| medians[one].unwrap_or(0.0).total_cmp(&medians[other].unwrap_or(0.0)))?;
    let hours = medians.chunks(24).map(|day| std::array::from_fn(|hour| day[hour])).collect();
    Some(Week {
        caption: caption(
            "week",
            title::week(busiest),
            "Median requests per second of each hour of the week, UTC; pale squares are quiet, grey ones unknown",
        ),
        hours,
        unit: "requests per second".to_owned(),
    })
}

/// What was foretold at earlier moments, beside what came; `None` when nothing could be tried.
pub(super) fn backtest(forecast: &Forecast) -> Option<Backtest> {
    let first = forecast.tried.first()?.first()?.at;
    let seconds = forecast.step.length().as_secs_f64();
    let foretold: Vec<Vec<(f64, f64)>> = forecast
        .tried
        .iter()
        .map(|origin| origin.iter().map(|each| (epoch(each.at), each.volume / seconds)).collect())
        .collect();
    // As much before the first origin as a third of what follows.
    let at = forecast.history.partition_point(|seen| seen.at < first);
    let before = (forecast.history.len() - at) / 3;
    let observed = forecast.history[at.saturating_sub(before)..]
        .iter()
        .filter_map(|seen| Some((epoch(seen.at), seen.volume? / seconds)));
    Some(Backtest {
        caption: caption(
            "backtest",
            title::backtest(forecast),
            "What would have been foretold at earlier moments by what was known then, beside what came; mean rates of each \
             step",
        ),
        y_name: "requests per second, mean".to_owned(),
        observed: observed.collect(),
        foretold,
    })
}

fn cell_of(at: DateTime) -> usize {
    let day = usize::try_from(at.date().weekday().to_monday_zero_offset()).unwrap_or(0);
    day * 24 + usize::try_from(at.hour()).unwrap_or(0)
}

/// `Mar 2027`.
fn name_of(month: Date) -> String {
    format!("{} {}", words::month_name(month.month()), month.year())
}
