//! The charts of what routes cost, of two runs beside each other, and of what grows while the load does not.

use captures::Run;
use modeler::{Compared, Model, Trend};

use super::caption;
use crate::chart::{IntervalRow, Intervals, Panel, PanelLine, Shift, ShiftStep, StageSpan, Timeline};
use crate::evidence::Baseline;
use crate::{title, words};

/// Routes of a chart.
const MOST_ROUTES: usize = 16;
/// Numbers that are looked at for a leak.
const MOST_PANELS: usize = 6;
/// Places of a line.
const MOST_PLACES: usize = 600;

/// What each route costs of the resource that decides; `None` when no costs are known.
pub(super) fn costs(model: &Model) -> Option<Intervals> {
    let costs = title::deciding_costs(model)?;
    let dearest = costs.routes.first().filter(|route| route.share_ratio > 0.0)?;
    let rows = costs.routes.iter().take(MOST_ROUTES).map(|route| IntervalRow {
        name: route.route.clone(),
        value: 1e3 * route.cost,
        interval: (1e3 * route.interval.low, 1e3 * route.interval.high),
        label: format!(
            "{} · {} of all",
            title::cost(&costs.resource, route.cost),
            words::percent(route.share_ratio)
        ),
        marked: route.route == dearest.route,
    });
    let left = costs.routes.len().saturating_sub(MOST_ROUTES);
    let left = if left > 0 { format!("; {left} further routes are in the table") } else { String::new() };
    Some(Intervals {
        caption: caption(
            "cost",
            title::costs(costs),
            format!(
                "Non-negative least squares over the windows of all levels, with 95 % intervals; prediction misses what was \
                 used by {} in the mean{left}",
                words::percent(costs.miss_ratio)
            ),
        ),
        x_name: title::cost_unit(&costs.resource),
        rows: rows.collect(),
    })
}

/// By how much each quantile moved; `None` when the runs do not tell.
pub(super) fn shift(baseline: &Baseline) -> Option<Shift> {
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    let steps: Vec<ShiftStep> = baseline
        .shift
        .iter()
        .filter_map(|step| match step.compared {
            Compared::Quantile(quantile) => Some(ShiftStep {
                quantile,
                change: percent(step.change),
                low: percent(step.interval.0),
                high: percent(step.interval.1),
            }),
            Compared::Errors => None,
        })
        .collect();
    (!steps.is_empty()).then(|| Shift {
        caption: caption(
            "shift",
            title::shift(baseline),
            format!(
                "Each quantile of all responses of {} over that of {}, with 95 % intervals from resampled stretches of seconds",
                baseline.candidate, baseline.name
            ),
        ),
        steps,
        allowed: Some(100.0 * baseline.allowed_ratio),
    })
}

/// What the target used while one level of load was held, with its trend; `None` when that was too short.
pub(super) fn leaks(run: &Run, name: &str, stages: Vec<StageSpan>) -> Option<Timeline> {
    let mut trends = modeler::steady_trends(run);
    // What grows comes first.
    trends.sort_by(|one, other| {
        other.trend.is_leak().cmp(&one.trend.is_leak()).then(one.name.cmp(&other.name))
    });
    let leaking: Vec<&str> =
        trends.iter().filter(|each| each.trend.is_leak()).map(|each| each.name.as_str()).collect();
    let title = title::leaks(&leaking, trends.first().map(|each| &each.trend));
    let panels: Vec<Panel> = trends
        .iter()
        .take(MOST_PANELS)
        .map(|each| {
            let every = each.series.len().div_ceil(MOST_PLACES).max(1);
            let (first, last) = (each.series.first().copied(), each.series.last().copied());
            let middle = first.zip(last).map_or(0.0, |(first, last)| f64::midpoint(first.0, last.0));
            let on_line =
                |second: f64| (second, each.trend.level + each.trend.slope_per_second * (second - middle));
            let word = if each.trend.is_leak() { "grows" } else { "no leak" };
            Panel {
                name: format!("{} ({word}, p {})", each.name, words::number(each.trend.p_value.max(1e-4))),
                lines: vec![
                    PanelLine {
                        name: per_hour(&each.trend),
                        values: [first, last]
                            .into_iter()
                            .flatten()
                            .map(|(second, _)| on_line(second))
                            .collect(),
                        planned: true,
                    },
                    PanelLine {
                        name: String::new(),
                        values: each.series.iter().step_by(every).copied().collect(),
                        planned: false,
                    },
                ],
                ..Panel::default()
            }
        })
        .collect();
    (!panels.is_empty()).then(|| Timeline {
        caption: caption(
            name,
            title,
            "At the level of load that was held for longest, its first tenth left out; broken: the median of all pairwise \
             slopes (Theil, Sen); p by Mann and Kendall",
        ),
        panels,
        stages,
        length: run.intervals.last().map_or(0.0, |interval| interval.second as f64 + 1.0),
    })
}

fn per_hour(trend: &Trend) -> String {
    if trend.level == 0.0 {
        return "level".to_owned();
    }
    let ratio = 3_600.0 * trend.slope_per_second / trend.level.abs();
    format!("{} an hour", crate::finding::signed_percent(ratio))
}
