//! The titles of charts: each states what its chart shows.

use captures::Run;
use jiff::civil::Date;
use modeler::{
    Binding, Compared, Costs, Event, Exhaustion, Forecast, LatencyMeasure, Model, Objective, Plan, Trend,
};

use crate::account::{self, Account, Level};
use crate::evidence::Baseline;
use crate::finding::{binding, is_invalid, signed_percent};
use crate::words;

/// The title of the chart of throughput against offered load.
pub(crate) fn throughput(model: Option<&Model>) -> String {
    let Some(model) = model else { return "What was answered of what was offered".to_owned() };
    let capacity = words::rate(model.capacity.rate);
    match (&model.ceiling, &model.objective) {
        (Some(ceiling), Some(_)) if ceiling.measured => format!(
            "{capacity} requests per second hold the objective; the service stops at {}",
            words::rate(ceiling.rate)
        ),
        (Some(ceiling), Some(_)) => format!(
            "{capacity} requests per second hold the objective; the curves end at {}, which was not reached",
            words::rate(ceiling.rate)
        ),
        (Some(ceiling), None) if ceiling.measured => {
            format!("The service answers at most {} requests per second", words::rate(ceiling.rate))
        }
        (Some(ceiling), None) => {
            format!(
                "The curves end at {} requests per second, which was not reached",
                words::rate(ceiling.rate)
            )
        }
        (None, _) => {
            let most = words::number(model.largest_load);
            format!("What was offered was answered, up to {most} requests per second: no ceiling in sight")
        }
    }
}

/// The title of the chart of throughput against concurrency.
pub(crate) fn scalability(model: Option<&Model>) -> String {
    let Some(model) = model else { return "Throughput against requests in flight".to_owned() };
    let best = model.families.iter().max_by(|one, other| one.weight.total_cmp(&other.weight));
    let name = best.map_or("no family", |fit| family_name(fit.family));
    match &model.knee {
        Some(knee) => {
            let at = words::about(knee.concurrency);
            format!("Beyond about {at} requests in flight, more of them buy little ({name} fits best)")
        }
        None => format!("Throughput still grows with the requests in flight ({name} fits best)"),
    }
}

/// What people call a family.
pub(crate) fn family_name(family: modeler::Family) -> &'static str {
    match family {
        modeler::Family::Linear => "linear",
        modeler::Family::Amdahl => "Amdahl",
        modeler::Family::Usl => "USL",
        modeler::Family::Hinge => "hinge",
        modeler::Family::SmoothHinge => "smooth hinge",
        modeler::Family::UslCeiling => "USL under a ceiling",
    }
}

/// The title of the chart of response against load.
pub(crate) fn response(model: Option<&Model>) -> String {
    let Some(model) = model else { return "Response against offered load".to_owned() };
    let limit = model.objective.iter().flat_map(Objective::latency_limits).next();
    let rate = words::rate(model.capacity.rate);
    match (limit, model.capacity.binding) {
        (Some((measure, longest)), Binding::Latency(bound)) if bound == measure => {
            format!(
                "{} stays below {} up to {rate} requests per second",
                measure.name(),
                words::length(longest)
            )
        }
        (Some((measure, longest)), Binding::Nothing) => {
            format!("{} stayed below {} at every load that was tried", measure.name(), words::length(longest))
        }
        (Some((measure, longest)), _) => {
            format!(
                "{} stays below {} until {} binds",
                measure.name(),
                words::length(longest),
                binding(&model.capacity, model).0
            )
        }
        (None, _) => response_growth(model),
    }
}

fn response_growth(model: &Model) -> String {
    let steady = || model.points.iter().filter(|point| !point.saturated);
    let at = |point: &modeler::Point| point.response_at(0.95);
    match (steady().next().and_then(at), steady().next_back().and_then(at)) {
        (Some(first), Some(last)) => {
            let (first, last) = (words::length(first), words::length(last));
            format!("p95 goes from {first} to {last} before the service is saturated")
        }
        _ => "Response against offered load".to_owned(),
    }
}

/// The title of a run's timeline.
pub(crate) fn timeline(run: &Run) -> String {
    if is_invalid(run) {
        return "Not valid: the generator was the bottleneck of this run".to_owned();
    }
    let worst = run
        .header
        .stages
        .iter()
        .filter(|stage| stage.is_hold() && stage.from > 0.0 && account::is_done(run, stage))
        .map(|stage| (stage, Account::of(run, &(stage.begin.second()..stage.end.second()))))
        .filter(|(_, account)| account.planned > 0)
        .map(|(stage, account)| (stage.from, account.completed as f64 / account.planned as f64, account))
        .min_by(|one, other| one.1.total_cmp(&other.1));
    let whole = Account::whole(run);
    match worst {
        Some((scale, ratio, account)) if ratio < 0.97 => format!(
            "At {} the target fell behind: {} of {} requests per second were answered",
            words::times(scale),
            words::number(account.completed_per_second()),
            words::number(account.planned_per_second())
        ),
        _ if whole.error_ratio() > 0.01 => {
            format!("The target kept up, but {} of the requests failed", words::percent(whole.error_ratio()))
        }
        _ if account::is_interrupted(run) => format!(
            "The target kept up with {} requests until the run was interrupted",
            words::count(whole.planned)
        ),
        _ => {
            format!("The target kept up with all {} requests that were planned", words::count(whole.planned))
        }
    }
}

/// The title of a quantile plot.
pub(crate) fn quantiles(level: &Level, account: &Account) -> String {
    let response = &account.overall.response;
    let p99 = words::length(response.quantile(0.99));
    let mut place = level.name.chars();
    let place: String = place.next().into_iter().flat_map(char::to_uppercase).chain(place).collect();
    if response.len() >= 10_000 {
        let p999 = words::length(response.quantile(0.999));
        format!("{place}, one request in 100 took longer than {p99}, one in 1,000 longer than {p999}")
    } else {
        format!("{place}, one request in 100 took longer than {p99}")
    }
}

/// The title of the growth chart.
pub(crate) fn growth(forecast: &Forecast) -> String {
    let growth = signed_percent(forecast.growth_per_year_ratio);
    if let Some(since) = forecast.exceeded_since() {
        return format!("Capacity is exceeded since {} (traffic {growth} a year)", words::date(since.date()));
    }
    match &forecast.exhaustion {
        Some(Exhaustion { p50: Some(at), .. }) => match event_on(forecast, at.date()) {
            Some(event) => {
                format!("{} is likely to exceed the capacity on {}", event.name, words::date(at.date()))
            }
            None => format!("Capacity runs out around {} (traffic {growth} a year)", words::date(at.date())),
        },
        Some(Exhaustion { p50: None, beyond_ratio, .. }) => format!(
            "Capacity lasts beyond the horizon on {} of the paths (traffic {growth} a year)",
            words::percent(*beyond_ratio)
        ),
        None => format!("Traffic changes by {growth} a year"),
    }
}

/// The title of the chart of the date on which capacity runs out.
pub(crate) fn chances(exhaustion: &Exhaustion) -> String {
    let within = 1.0 - exhaustion.beyond_ratio;
    match (exhaustion.p10, exhaustion.p50) {
        (_, Some(at)) => format!("Capacity is as likely as not to run out by {}", words::date(at.date())),
        (Some(at), None) => format!(
            "One chance in ten that capacity runs out by {}; {} within the horizon",
            words::date(at.date()),
            words::percent(within)
        ),
        (None, None) => {
            format!("Capacity runs out within the horizon on {} of the paths", words::percent(within))
        }
    }
}

/// The title of the chart of forecasts that were tried.
pub(crate) fn backtest(forecast: &Forecast) -> String {
    match &forecast.score {
        Some(score) => format!(
            "On its own history this forecast missed a step by {} in the median",
            words::percent(score.typical_miss_ratio)
        ),
        None => "What was foretold earlier, and what came".to_owned(),
    }
}

/// The title of the chart of months in which capacity runs out.
pub(crate) fn months(exhaustion: &Exhaustion) -> String {
    let likeliest =
        exhaustion.by_month.iter().max_by(|one, other| one.probability.total_cmp(&other.probability));
    match likeliest.filter(|month| month.probability > 0.0) {
        Some(month) => format!(
            "{} {} is the month in which capacity most likely runs out ({})",
            words::month_name(month.month.month()),
            month.month.year(),
            words::percent(month.probability)
        ),
        None => "In no month of the horizon does capacity run out".to_owned(),
    }
}

/// The title of the chart of machines.
pub(crate) fn machines(plan: &Plan) -> String {
    let most = plan.months.iter().filter_map(|month| month.needed).max().unwrap_or(0);
    match plan.orders.first() {
        Some(order) => format!(
            "Order {} by {}: more than {} are needed from {} on, {most} at most",
            words::machines(order.instances),
            words::date(order.by),
            words::machines(plan.given.instances),
            words::date(order.needed)
        ),
        None => format!("The {} of today suffice within the horizon", words::machines(plan.given.instances)),
    }
}

/// The title of the map of a week; `busiest` counts its hours from Monday's first.
pub(crate) fn week(busiest: usize) -> String {
    const DAYS: [&str; 7] =
        ["Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"];
    let hour = busiest % 24;
    format!(
        "The busiest hour of a week: {} from {hour:02}:00 to {:02}:00 UTC",
        DAYS[busiest / 24 % 7],
        (hour + 1) % 24
    )
}

/// The costs that decide: those of what runs out first, else the first that are known.
pub(crate) fn deciding_costs(model: &Model) -> Option<&Costs> {
    let scarce = model.bottleneck.as_ref().and_then(|found| found.resource.as_ref());
    model.costs.iter().find(|costs| Some(&costs.resource) == scarce).or(model.costs.first())
}

/// The title of the chart of what routes cost.
pub(crate) fn costs(costs: &Costs) -> String {
    let by_request = costs.routes.iter().max_by(|one, other| one.cost.total_cmp(&other.cost));
    match (costs.routes.first(), by_request) {
        _ if costs.warning.is_some() => {
            "What each route costs cannot be told apart well: the sum is known, its split is not".to_owned()
        }
        (Some(most), Some(dearest)) if most.route != dearest.route => format!(
            "{} takes {} of what requests use; a request of {} is the dearest",
            most.route,
            words::percent(most.share_ratio),
            dearest.route
        ),
        (Some(most), _) => {
            format!("{} takes {} of what requests use", most.route, words::percent(most.share_ratio))
        }
        (None, _) => "What each route costs".to_owned(),
    }
}

/// The unit in which the cost of a request is drawn, with its name.
pub(crate) fn cost_unit(resource: &str) -> String {
    if resource.ends_with("cpu_cores") {
        "CPU-milliseconds a request".to_owned()
    } else {
        format!("{resource} × milliseconds a request")
    }
}

/// A cost of a request, resource × seconds.
pub(crate) fn cost(resource: &str, cost: f64) -> String {
    if resource.ends_with("cpu_cores") { words::milliseconds(1e3 * cost) } else { words::number(1e3 * cost) }
}

/// The title of the chart of how quantiles moved.
pub(crate) fn shift(baseline: &Baseline) -> String {
    let worse = baseline.comparison.regressions().count();
    let known = |wanted: f64| baseline.shift.iter().find(|step| step.compared == Compared::Quantile(wanted));
    let moved: Vec<String> = [(0.5, "the median"), (0.95, "p95"), (0.99, "p99")]
        .into_iter()
        .filter_map(|(quantile, name)| {
            let step = known(quantile)?;
            // An interval that holds no change tells none.
            let certain = step.interval.0 > 1.0 || step.interval.1 < 1.0;
            certain.then(|| format!("{name} {}", signed_percent(step.change - 1.0)))
        })
        .collect();
    let moved =
        if moved.is_empty() { "no quantile moved beyond chance".to_owned() } else { moved.join(", ") };
    match worse {
        0 => format!("No regression beside {}: {moved}", baseline.name),
        1 => format!("One regression beside {}: {moved}", baseline.name),
        _ => format!("{worse} regressions beside {}: {moved}", baseline.name),
    }
}

/// The title of the chart of what grows while the load does not; `worst` is the trend that is drawn first.
pub(crate) fn leaks(leaking: &[&str], worst: Option<&Trend>) -> String {
    match (leaking, worst) {
        ([name, ..], Some(trend)) => {
            let more = match leaking.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more with it"),
            };
            format!(
                "{name} grew by {} in {} under a load that did not{more}",
                words::percent(trend.growth_ratio()),
                words::seconds(trend.seconds)
            )
        }
        _ => "Nothing that was observed grows while the load is held: no sign of a leak".to_owned(),
    }
}

/// The event on `day`.
fn event_on(forecast: &Forecast, day: Date) -> Option<&Event> {
    forecast.events.iter().find(|event| event.first <= day && day <= event.last)
}

/// The name of the quantile that an objective judges first: `p95`.
pub(crate) fn judged(objective: Option<&Objective>) -> LatencyMeasure {
    let first = objective.and_then(|objective| objective.latency_limits().next());
    first.map_or(LatencyMeasure::Quantile(0.95), |(measure, _)| measure)
}
