//! Evidence → charts: picks what is drawn, in plain data, and words it.

mod compared;
mod growth;
mod observed;
mod plan;
mod run;

use captures::Rate;
use modeler::{LatencyMeasure, LoadUnit, Model, Objective, Point};

use crate::account;
use crate::chart::{
    Caption, ColumnPanel, Columns, Dot, Family, Level, Limit, Mark, Response, ResponseLine, Step, Throughput,
};
use crate::evidence::Evidence;
use crate::{title, words};

/// A chart of a report.
pub(crate) struct Drawn {
    /// A file's stem, unique in the report.
    pub(crate) name: String,
    /// The part of the page it belongs to.
    pub(crate) part: Part,
    pub(crate) svg: String,
    /// The same as a table of comma-separated values.
    pub(crate) csv: String,
}

/// The parts of a page that hold charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Throughput,
    Response,
    Scalability,
    Growth,
    Exhaustion,
    Machines,
    Week,
    Backtest,
    Trend,
    Cost,
    Shift,
    /// Of the run with this number.
    Run(usize),
}

/// Runs beyond this number get no charts of their own.
pub(crate) const MOST_RUNS: usize = 8;

/// Every chart that `evidence` has data for.
pub(crate) fn charts(evidence: &Evidence<'_>) -> Vec<Drawn> {
    let mut drawn = Vec::new();
    let mut push = |name: &str, part: Part, svg: String, csv: String| {
        drawn.push(Drawn { name: name.to_owned(), part, svg, csv });
    };
    let points = evidence.points();
    if points.iter().any(|point| point.offered.is_some()) {
        let chart = throughput(evidence);
        push("throughput", Part::Throughput, chart.svg(), chart.csv());
        if points.iter().any(|point| point.response_at(0.95).is_some()) {
            let chart = response(evidence);
            push("response", Part::Response, chart.svg(), chart.csv());
        }
    }
    if let Some(model) = evidence.model.filter(|model| !model.throughput_curve.is_empty()) {
        let chart = scalability(model);
        push("scalability", Part::Scalability, chart.svg(), chart.csv());
    }
    if let Some(chart) = evidence.model.and_then(compared::costs) {
        push("cost", Part::Cost, chart.svg(), chart.csv());
    }
    if let Some(chart) = evidence.baseline.and_then(compared::shift) {
        push("shift", Part::Shift, chart.svg(), chart.csv());
    }
    if let Some(forecast) = evidence.forecast {
        let chart = growth::growth(forecast);
        push("growth", Part::Growth, chart.svg(), chart.csv());
        if let Some(chart) = plan::chances(forecast) {
            push("exhaustion", Part::Exhaustion, chart.svg(), chart.csv());
        }
        if let Some(chart) = plan::months(forecast) {
            push("exhaustion-months", Part::Exhaustion, chart.svg(), chart.csv());
        }
        if let Some(chart) = plan::machines(forecast) {
            push("machines", Part::Machines, chart.svg(), chart.csv());
        }
        if let Some(chart) = plan::backtest(forecast) {
            push("backtest", Part::Backtest, chart.svg(), chart.csv());
        }
        if let Some(chart) = plan::week(forecast) {
            push("week", Part::Week, chart.svg(), chart.csv());
        }
    }
    if let Some(chart) = trend(evidence) {
        push("trend", Part::Trend, chart.svg(), chart.csv());
    }
    let alone = evidence.runs.len() == 1;
    for (at, run) in
        evidence.runs.iter().take(MOST_RUNS).enumerate().filter(|(_, run)| !run.intervals.is_empty())
    {
        let name = |kind: &str| if alone { kind.to_owned() } else { format!("run-{}-{kind}", at + 1) };
        let objective = evidence.objective();
        let chart = run::timeline(run, name("timeline"), objective);
        push(&name("timeline"), Part::Run(at), chart.svg(), chart.csv());
        if let Some(chart) = observed::utilisation(run, &name("utilisation")) {
            push(&name("utilisation"), Part::Run(at), chart.svg(), chart.csv());
        }
        if let Some(chart) = observed::over_time(run, &name("observed"), run::stages(run)) {
            push(&name("observed"), Part::Run(at), chart.svg(), chart.csv());
        }
        if let Some(chart) = compared::leaks(run, &name("leaks"), run::stages(run)) {
            push(&name("leaks"), Part::Run(at), chart.svg(), chart.csv());
        }
        let level = account::telling_level(run, objective);
        let chart = run::quantiles(run, &level, name("quantiles"), objective);
        push(&name("quantiles"), Part::Run(at), chart.svg(), chart.csv());
    }
    drawn
}

/// Capacity and the p95 of the busiest route over runs; `None` with fewer than two.
fn trend(evidence: &Evidence<'_>) -> Option<Columns> {
    let releases = evidence.releases;
    let last = releases.last().filter(|_| releases.len() > 1)?;
    let mut panels = Vec::new();
    if releases.iter().any(|release| release.capacity.is_some()) {
        panels.push(ColumnPanel {
            name: "capacity, requests per second".to_owned(),
            values: releases.iter().map(|it| it.capacity.map(Rate::as_per_second)).collect(),
            labels: releases.iter().map(|it| it.capacity.map_or_else(String::new, words::rate)).collect(),
            whiskers: releases
                .iter()
                .map(|it| it.interval.map(|it| (it.low.as_per_second(), it.high.as_per_second())))
                .collect(),
            ..ColumnPanel::default()
        });
    }
    for busiest in last.routes.iter().take(3) {
        let of = |release: &crate::evidence::Release| {
            release.routes.iter().find(|route| route.name == busiest.name).map(|route| route.p95)
        };
        panels.push(ColumnPanel {
            name: format!("p95 of {}, ms", busiest.name),
            values: releases.iter().map(|it| of(it).map(milliseconds)).collect(),
            labels: releases.iter().map(|it| of(it).map_or_else(String::new, words::length)).collect(),
            alarm: releases.iter().any(|it| it.regressions.iter().any(|what| what.contains(&busiest.name))),
            ..ColumnPanel::default()
        });
    }
    let worse = releases.iter().filter(|release| !release.regressions.is_empty()).count();
    Some(Columns {
        caption: caption(
            "trend",
            match (last.regressions.first(), worse) {
                (Some(what), _) => format!("The latest run is worse than the one before: {what}"),
                (None, 0) => format!("None of {} runs is worse than the one before it", releases.len()),
                (None, _) => format!(
                    "{worse} of {} runs are worse than the one before it, not the latest",
                    releases.len()
                ),
            },
            format!(
                "Each run's own capacity with its 95 % interval, and p95 {} of the busiest routes",
                last.level
            ),
        ),
        names: releases.iter().map(|release| release.name.clone()).collect(),
        panels,
    })
}

fn caption(name: &str, title: String, subtitle: impl Into<String>) -> Caption {
    Caption { name: name.to_owned(), title, subtitle: subtitle.into() }
}

fn milliseconds(length: std::time::Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

fn scale_label(point: &Point) -> String {
    point.scale.map(words::times).unwrap_or_default()
}

fn throughput_dot(point: &Point, x: f64) -> Dot {
    let y = point.throughput.as_per_second();
    let error = point.throughput_error.map(|error| 1.96 * error.as_per_second());
    let interval = error.map(|error| (y - error, y + error));
    Dot { x, y, interval, saturated: point.saturated, label: scale_label(point) }
}

fn step_of(step: &modeler::CurveStep) -> Step {
    Step {
        x: step.load,
        y: step.throughput.as_per_second(),
        low: step.interval.low.as_per_second(),
        high: step.interval.high.as_per_second(),
    }
}

fn throughput(evidence: &Evidence<'_>) -> Throughput {
    let points = evidence.points();
    let offered = |point: &Point| point.offered.map(Rate::as_per_second);
    let measured_to = points.iter().filter_map(offered).fold(0.0, f64::max);
    let levels = points.len();
    Throughput {
        caption: caption(
            "throughput",
            title::throughput(evidence.model),
            format!(
                "Requests answered without error per second, against requests offered; {levels} steady windows as dots \
                 (hollow: in overload) with 95 % error bars; line and band: fitted families and their 95 % interval"
            ),
        ),
        x_name: "offered load, requests per second".to_owned(),
        x_logarithmic: false,
        y_name: "answered requests per second".to_owned(),
        points: points.iter().filter_map(|point| Some(throughput_dot(point, offered(point)?))).collect(),
        curve: evidence
            .model
            .map_or_else(Vec::new, |model| model.carried_curve.iter().map(step_of).collect()),
        curve_name: "fitted".to_owned(),
        families: Vec::new(),
        ideal_slope: Some(1.0),
        ceiling: evidence.model.and_then(ceiling),
        measured_to,
        capacity: evidence.model.and_then(capacity),
    }
}

fn ceiling(model: &Model) -> Option<Level> {
    let ceiling = model.ceiling.as_ref()?;
    Some(Level {
        at: ceiling.rate.as_per_second(),
        interval: Some((ceiling.interval.low.as_per_second(), ceiling.interval.high.as_per_second())),
        label: format!("ceiling {}", words::rate(ceiling.rate)),
    })
}

/// The capacity on an axis of offered load; without an objective it is the ceiling, which has its own line.
fn capacity(model: &Model) -> Option<Mark> {
    let capacity = &model.capacity;
    if model.load_unit != LoadUnit::Offered || model.objective.is_none() || capacity.rate == Rate::ZERO {
        return None;
    }
    let name = if capacity.verdict == modeler::Verdict::Refused { "at least" } else { "capacity" };
    Some(Mark {
        at: capacity.rate.as_per_second(),
        interval: Some((capacity.interval.low.as_per_second(), capacity.interval.high.as_per_second())),
        label: format!("{name} {} req/s ({})", words::rate(capacity.rate), words::rates(&capacity.interval)),
    })
}

fn scalability(model: &Model) -> Throughput {
    let loads = || model.throughput_curve.iter().map(|step| step.load).filter(|&load| load > 0.0);
    let families = model
        .families
        .iter()
        .filter(|fit| fit.weight >= 0.005)
        .map(|fit| Family {
            name: format!("{} {:.0} %", title::family_name(fit.family), fit.weight * 100.0),
            values: loads().map(|load| (load, fit.throughput_at(load))).collect(),
        })
        .collect();
    let dots: Vec<Dot> =
        model.points.iter().filter_map(|point| Some(throughput_dot(point, point.concurrency?))).collect();
    let measured_to = dots.iter().map(|dot| dot.x).fold(0.0, f64::max);
    Throughput {
        caption: caption(
            "scalability",
            title::scalability(Some(model)),
            "Requests answered without error per second, against the mean number in flight; thick: weighted average with \
             its 95 % interval; thin: the families, named with their weight",
        ),
        x_name: format!("requests in flight (mean{})", if is_wide(&dots) { ", logarithmic" } else { "" }),
        y_name: "answered requests per second".to_owned(),
        x_logarithmic: is_wide(&dots),
        points: dots,
        curve: model.throughput_curve.iter().map(step_of).collect(),
        curve_name: "average".to_owned(),
        families,
        ideal_slope: None,
        ceiling: ceiling(model),
        measured_to,
        capacity: None,
    }
}

/// Whether concurrency spans so much that only a logarithmic axis shows both ends: overload fills a queue to
/// no end.
fn is_wide(dots: &[Dot]) -> bool {
    let known = || dots.iter().map(|dot| dot.x).filter(|&x| x > 0.0);
    known().fold(0.0, f64::max) > 30.0 * known().fold(f64::INFINITY, f64::min)
}

/// The limits on responses, as they are drawn.
fn limits(objective: Option<&Objective>) -> Vec<Limit> {
    let limits = objective.into_iter().flat_map(Objective::latency_limits);
    limits
        .map(|(measure, longest)| Limit {
            at: milliseconds(longest),
            quantile: match measure {
                LatencyMeasure::Quantile(quantile) => Some(quantile),
                LatencyMeasure::Mean => None,
            },
            label: format!("{} < {}", measure.name(), words::length(longest)),
        })
        .collect()
}

fn response(evidence: &Evidence<'_>) -> Response {
    let points = evidence.points();
    let limited: Vec<LatencyMeasure> = evidence
        .objective()
        .into_iter()
        .flat_map(Objective::latency_limits)
        .map(|(measure, _)| measure)
        .collect();
    let mut measures = [0.5, 0.95, 0.99].map(LatencyMeasure::Quantile).to_vec();
    measures
        .extend(limited.iter().filter(|measure| !measures.contains(measure)).copied().collect::<Vec<_>>());
    measures.sort_by(|one, other| order_of(*one).total_cmp(&order_of(*other)));
    let lines = measures
        .into_iter()
        .map(|measure| response_line(evidence, measure, limited.contains(&measure)))
        .filter(|line| !line.points.is_empty())
        .collect();
    Response {
        caption: caption(
            "response",
            title::response(evidence.model),
            "Response quantiles of steady windows against offered load (hollow: in overload, not fitted); lines and bands: \
             queueing curves that share the ceiling of the throughput, with 95 % intervals",
        ),
        x_name: "offered load, requests per second".to_owned(),
        lines,
        limits: limits(evidence.objective()),
        measured_to: points
            .iter()
            .filter_map(|point| point.offered)
            .map(Rate::as_per_second)
            .fold(0.0, f64::max),
        capacity: evidence.model.and_then(capacity),
    }
}

fn order_of(measure: LatencyMeasure) -> f64 {
    match measure {
        LatencyMeasure::Quantile(quantile) => quantile,
        LatencyMeasure::Mean => 0.6,
    }
}

fn response_line(evidence: &Evidence<'_>, measure: LatencyMeasure, limited: bool) -> ResponseLine {
    let dot = |point: &Point| {
        let response = match measure {
            LatencyMeasure::Mean => point.mean_response?,
            LatencyMeasure::Quantile(quantile) => point.response_at(quantile)?,
        };
        let (x, y) = (point.offered?.as_per_second(), milliseconds(response));
        Some(Dot { x, y, interval: None, saturated: point.saturated, label: String::new() })
    };
    let curve = evidence.model.iter().flat_map(|model| &model.latency).find(|curve| curve.measure == measure);
    let steps = curve.into_iter().flat_map(|curve| &curve.steps).map(|step| Step {
        x: step.offered.as_per_second(),
        y: milliseconds(step.response),
        low: milliseconds(step.interval.low),
        high: milliseconds(step.interval.high),
    });
    ResponseLine {
        name: measure.name(),
        points: evidence.points().iter().filter_map(dot).collect(),
        curve: steps.collect(),
        limited,
    }
}
