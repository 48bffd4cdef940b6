//! Tables of what stands in the way: resources, what each route costs and where it breaks the objective; and of a
//! run beside an earlier one.

use modeler::{Compared, Growth, Model, Overload};

use super::{Table, dash, with};
use crate::evidence::Baseline;
use crate::{title, words};

/// Routes beyond this number are left to model.json.
const MOST_ROUTES: usize = 24;
/// Comparisons of runs that are shown when nothing changed.
const MOST_DIFFERENCES: usize = 60;

/// Where each route breaks the objective and what it costs; `None` when routes are not told apart.
pub(crate) fn routes(model: &Model) -> Option<Table> {
    if model.routes.is_empty() {
        return None;
    }
    let costs = title::deciding_costs(model);
    let unit = costs.map_or_else(String::new, |costs| title::cost_unit(&costs.resource));
    let bound = model.binding_route();
    let mut table = with(&[
        ":route",
        "share",
        "holds up to",
        "95 %",
        "errors, lowest load",
        "highest",
        &unit,
        "cost, 95 %",
        "of all that is used",
    ]);
    for route in model.routes.iter().take(MOST_ROUTES) {
        let cost = costs
            .and_then(|costs| costs.routes.iter().find(|known| known.route == route.route).zip(Some(costs)));
        let written =
            |seconds: f64| cost.map_or_else(dash, |(_, costs)| title::cost(&costs.resource, seconds));
        table.push(
            bound.as_ref().is_some_and(|bound| bound.route == route.route).then_some("chosen"),
            [
                route.route.clone(),
                words::percent(route.share_ratio),
                route.capacity.map_or_else(dash, words::rate),
                route.interval.as_ref().map_or_else(dash, words::rates),
                words::percent(route.error_ratios[0]),
                words::percent(route.error_ratios[1]),
                cost.map_or_else(dash, |(cost, _)| written(cost.cost)),
                cost.map_or_else(dash, |(cost, _)| {
                    format!("{} – {}", written(cost.interval.low), written(cost.interval.high))
                }),
                cost.map_or_else(dash, |(cost, _)| words::percent(cost.share_ratio)),
            ],
        );
    }
    let left = model.routes.len().saturating_sub(MOST_ROUTES);
    let left = if left > 0 { format!(" {left} further routes are in model.json.") } else { String::new() };
    let warning =
        costs.and_then(|costs| costs.warning.as_deref()).map_or_else(String::new, |it| format!(" {it}"));
    Some(table.without_empty_columns().noted(format!(
        "Holds up to: the requests per second of all routes up to which it keeps the limits of the response; a dash: it \
         breaks none up to twice the largest load. Bold: the route that binds.{warning}{left}"
    )))
}

/// The resources that were observed; `None` without any.
pub(crate) fn resources(model: &Model) -> Option<Table> {
    if model.resources.is_empty() {
        return None;
    }
    let scarce = model.bottleneck.as_ref().and_then(|found| found.resource.as_ref());
    let mut table = with(&[
        ":resource",
        ":answers to load",
        "used without load",
        "of a request each second",
        "most used",
        "there is",
        "runs out at, req/s",
        "95 %",
    ]);
    for law in &model.resources {
        let growth = match law.growth {
            Growth::Linear => "in proportion",
            Growth::Flat => "hardly",
            Growth::SuperLinear => "more than in proportion",
        };
        table.push(
            (scarce == Some(&law.name)).then_some("chosen"),
            [
                law.name.clone(),
                growth.to_owned(),
                words::number(law.idle),
                words::number(law.demand),
                words::number(law.used_most),
                law.limit.map_or_else(dash, words::number),
                law.bound.map_or_else(dash, words::rate),
                law.bound_interval.as_ref().map_or_else(dash, words::rates),
            ],
        );
    }
    Some(
        table
            .without_empty_columns()
            .noted("By the utilisation law; each in its own unit. Bold: what runs out first."),
    )
}

/// What stands in the way, in sentences.
pub(crate) fn in_the_way(model: &Model) -> Vec<String> {
    let sentence = |text: String| {
        let mut letters = text.chars();
        letters
            .next()
            .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
    };
    let mut lines = Vec::new();
    if let Some(found) = &model.bottleneck {
        lines.push(sentence(found.because.clone()));
    }
    if let Some(bound) = model.binding_route() {
        lines.push(format!(
            "{} binds: it passes its limit from {} requests per second of all routes on, and has {} of the responses that \
             are beyond it near the capacity.",
            bound.route,
            words::rate(bound.capacity),
            words::percent(bound.slow_ratio)
        ));
    }
    if let Some(beyond) = &model.beyond {
        let how = match beyond.overload {
            Overload::Graceful => "requests only wait",
            Overload::Errors => "what is above is answered with errors",
            Overload::Collapse => "it collapses",
        };
        lines.push(format!(
            "Beyond the capacity {how}: at {} requests per second offered it carried {} of its ceiling, with {} errors.",
            words::rate(beyond.offered),
            words::percent(beyond.throughput_ratio),
            words::percent(beyond.error_ratio)
        ));
    }
    for each in &model.recoveries {
        let how = each.seconds.map_or_else(
            || format!("it had not come back after {}", words::seconds(each.watched.as_secs_f64())),
            |length| format!("it took {} to come back", words::seconds(length.as_secs_f64())),
        );
        lines.push(format!(
            "After a backlog of {} ({}) {how}, at {} requests per second.",
            words::about(each.backlog),
            each.source,
            words::rate(each.offered)
        ));
    }
    if let Some(mix) = &model.mix {
        lines.push(format!(
            "With the mix that was asked for a request costs {} as much of {}: the capacity is {} requests per second ({}).",
            words::times(mix.cost_ratio),
            mix.resource,
            words::rate(mix.rate),
            words::rates(&mix.interval)
        ));
    }
    lines
}

/// A run beside an earlier one, what got worse first.
pub(crate) fn comparison(baseline: &Baseline) -> Table {
    let mut table =
        with(&[":route", ":what", &baseline.name, &baseline.candidate, "change", "95 %", "p", ":verdict"]);
    let mut all: Vec<&modeler::Difference> = baseline.comparison.differences.iter().collect();
    all.sort_by_key(|it| (!it.regressed, !it.improved));
    for it in all.iter().take(MOST_DIFFERENCES) {
        let (tone, verdict) = match (it.regressed, it.improved) {
            (true, _) => (Some("bad"), "worse"),
            (_, true) => (Some("good"), "better"),
            _ => (None, "same"),
        };
        let signed = crate::finding::signed_percent;
        let (value, change, interval): (fn(f64) -> String, _, _) = match it.compared {
            Compared::Quantile(_) => (
                |seconds| words::milliseconds(1e3 * seconds),
                signed(it.change - 1.0),
                format!("{} to {}", signed(it.interval.0 - 1.0), signed(it.interval.1 - 1.0)),
            ),
            Compared::Errors => (
                words::percent,
                signed(it.change),
                format!("{} to {}", signed(it.interval.0), signed(it.interval.1)),
            ),
        };
        table.push(
            tone,
            [
                it.route.clone(),
                words::measure(it.compared),
                value(it.base),
                value(it.candidate),
                change,
                interval,
                verdict.to_owned(),
            ],
        );
    }
    let mut note = format!(
        "Worse: beyond chance (p below 0.02, corrected for the number of comparisons) and by more than {}; errors: by more \
         than 0.1 percentage points.",
        words::percent(baseline.allowed_ratio)
    );
    for (route, why) in &baseline.comparison.left_out {
        note.push_str(&format!(" Not compared: {route} ({why})."));
    }
    for warning in &baseline.warnings {
        note.push_str(&format!(" {} {warning}.", baseline.candidate));
    }
    table.noted(note)
}
