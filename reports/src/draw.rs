//! Evidence → charts: picks what is drawn, in plain data, and words it.

use captures::{Rate, Run};
use jiff::civil::DateTime;
use modeler::{Forecast, LatencyMeasure, LoadUnit, Model, Objective, Point};

use crate::account::{self, Account, Level, stretches};
use crate::chart::{
    Caption, Dot, Family, Fan, Growth, Happening, Level as Line, Limit, Mark, Panel, PanelLine, QuantileLine,
    Quantiles, Response, ResponseLine, RunningOut, StageSpan, Step, Throughput, Timeline,
};
use crate::evidence::Evidence;
use crate::{finding, words};

/// A chart of a report.
pub(crate) struct Drawn {
    /// A file's stem, unique in the report.
    pub(crate) name: String,
    /// The part of the page it belongs to.
    pub(crate) part: Part,
    pub(crate) svg: String,
}

/// The parts of a page that hold charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Throughput,
    Response,
    Scalability,
    Growth,
    /// Of the run with this number.
    Run(usize),
}

/// Runs beyond this number get no charts of their own.
pub(crate) const MOST_RUNS: usize = 8;
/// A timeline has at most this many places.
const MOST_SECONDS: u64 = 600;
/// A growth chart has at most this many places of history and of future together.
const MOST_STEPS: usize = 320;

/// Every chart that `evidence` has data for.
pub(crate) fn charts(evidence: &Evidence<'_>) -> Vec<Drawn> {
    let mut drawn = Vec::new();
    let mut push =
        |name: &str, part: Part, svg: String| drawn.push(Drawn { name: name.to_owned(), part, svg });
    let points = evidence.points();
    if points.iter().any(|point| point.offered.is_some()) {
        push("throughput", Part::Throughput, throughput(evidence).svg());
        if points.iter().any(|point| point.response_at(0.95).is_some()) {
            push("response", Part::Response, response(evidence).svg());
        }
    }
    if let Some(model) = evidence.model.filter(|model| !model.throughput_curve.is_empty()) {
        push("scalability", Part::Scalability, scalability(model).svg());
    }
    if let Some(forecast) = evidence.forecast {
        push("growth", Part::Growth, growth(forecast).svg());
    }
    let alone = evidence.runs.len() == 1;
    for (at, run) in
        evidence.runs.iter().take(MOST_RUNS).enumerate().filter(|(_, run)| !run.intervals.is_empty())
    {
        let name = |kind: &str| if alone { kind.to_owned() } else { format!("run-{}-{kind}", at + 1) };
        let objective = evidence.objective();
        push(&name("timeline"), Part::Run(at), timeline(run, name("timeline"), objective).svg());
        let level = account::telling_level(run, objective);
        push(&name("quantiles"), Part::Run(at), quantiles(run, &level, name("quantiles"), objective).svg());
    }
    drawn
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
            finding::throughput_title(evidence.model),
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

fn ceiling(model: &Model) -> Option<Line> {
    let ceiling = model.ceiling.as_ref()?;
    Some(Line {
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
            name: format!("{} {:.0} %", finding::family_name(fit.family), fit.weight * 100.0),
            values: loads().map(|load| (load, fit.throughput_at(load))).collect(),
        })
        .collect();
    let dots: Vec<Dot> =
        model.points.iter().filter_map(|point| Some(throughput_dot(point, point.concurrency?))).collect();
    let measured_to = dots.iter().map(|dot| dot.x).fold(0.0, f64::max);
    Throughput {
        caption: caption(
            "scalability",
            finding::scalability_title(Some(model)),
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
            finding::response_title(evidence.model),
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

fn timeline(run: &Run, name: String, objective: Option<&Objective>) -> Timeline {
    let (length, sums) = stretches(run, MOST_SECONDS);
    let seconds = length as f64;
    let line = |name: &str, planned: bool, value: &dyn Fn(&captures::Interval) -> f64| PanelLine {
        name: name.to_owned(),
        values: sums.iter().map(|sum| (sum.second as f64, value(sum))).collect(),
        planned,
    };
    let quantile = |name: &str, quantile: f64| {
        let values = sums.iter().filter_map(|sum| {
            let response = sum.overall().response;
            (!response.is_empty()).then(|| (sum.second as f64, milliseconds(response.quantile(quantile))))
        });
        PanelLine { name: name.to_owned(), values: values.collect(), planned: false }
    };
    let limit = objective.into_iter().flat_map(Objective::latency_limits).next().map(|(measure, longest)| {
        (milliseconds(longest), format!("{} < {}", measure.name(), words::length(longest)))
    });
    let panel =
        |name: &str, lines: Vec<PanelLine>| Panel { name: name.to_owned(), lines, ..Panel::default() };
    let every = if length == 1 {
        "one value a second".to_owned()
    } else {
        format!("one value each {length} seconds")
    };
    Timeline {
        caption: caption(
            &name,
            finding::timeline_title(run),
            format!(
                "Replay of {} against {}; {every}; planned, response and errors by the second a request was due, \
                 the rest by the clock",
                run.header.capture, run.header.target
            ),
        ),
        panels: vec![
            panel(
                "requests per second",
                vec![
                    line("planned", true, &|sum| sum.planned as f64 / seconds),
                    line("completed", false, &|sum| sum.completed as f64 / seconds),
                ],
            ),
            panel(
                "requests in flight (mean)",
                vec![line("in flight", false, &|sum| sum.in_flight / seconds)],
            ),
            Panel {
                milliseconds: true,
                limit,
                ..panel("response, logarithmic", vec![quantile("p50", 0.5), quantile("p99", 0.99)])
            },
            Panel {
                alarm: true,
                ..panel(
                    "errors per second",
                    vec![line("errors", false, &|sum| sum.overall().errors() as f64 / seconds)],
                )
            },
        ],
        stages: run
            .header
            .stages
            .iter()
            .map(|stage| StageSpan {
                begin: stage.begin.as_secs_f64(),
                end: stage.end.as_secs_f64(),
                label: if stage.is_hold() {
                    words::times(stage.from)
                } else {
                    format!("{} → {}", words::times(stage.from), words::times(stage.to))
                },
            })
            .collect(),
        length: sums.last().map_or(0.0, |sum| sum.second as f64 + seconds),
    }
}

fn quantiles(run: &Run, level: &Level, name: String, objective: Option<&Objective>) -> Quantiles {
    let account = Account::of(run, &level.seconds);
    let line = |name: &str, histogram: &captures::Histogram| QuantileLine {
        name: name.to_owned(),
        values: ladder(histogram.len()).map(|it| (it, milliseconds(histogram.quantile(it)))).collect(),
    };
    let overall = &account.overall;
    Quantiles {
        caption: caption(
            &name,
            finding::quantiles_title(level, &account),
            format!(
                "{} outcomes {}, failures included; response = done − ready, latency = done − due, service = done − sent",
                words::count(overall.response.len()),
                level.name
            ),
        ),
        lines: vec![
            line("response", &overall.response),
            line("latency", &overall.latency),
            line("service", &overall.service),
        ],
        limits: limits(objective),
    }
}

/// Quantiles for drawing, sixteen to each nine, as far as `count` samples carry.
fn ladder(count: u64) -> impl Iterator<Item = f64> {
    let nines = (count.max(10) as f64).log10().min(7.0);
    (0..=112).map(|at| f64::from(at) / 16.0).filter(move |&at| at <= nines).map(|at| 1.0 - 10_f64.powf(-at))
}

fn growth(forecast: &Forecast) -> Growth {
    let step = forecast.step.length().as_secs_f64();
    let factor = forecast.peak_factor.factor() / step;
    let bucket = (forecast.history.len() + forecast.steps.len()).div_ceil(MOST_STEPS).max(1);
    // Whole weeks, so that each place holds each day once.
    let bucket =
        if bucket > 1 && step > 80_000.0 && step < 90_000.0 { bucket.div_ceil(7) * 7 } else { bucket };
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max) * factor;
    // What is left over at either end would look like a fall.
    let whole = |length: usize| length == bucket || bucket == 1;
    let history = forecast.history.rchunks(bucket).rev().filter(|chunk| whole(chunk.len())).map(|chunk| {
        let known = chunk.iter().any(|observation| observation.volume.is_some());
        let value = most(&mut chunk.iter().filter_map(|observation| observation.volume));
        (chunk.first().map_or(0.0, |first| epoch(first.at)), known.then_some(value))
    });
    let fan = forecast.steps.chunks(bucket).filter(|chunk| whole(chunk.len())).map(|chunk| Fan {
        at: chunk.first().map_or(0.0, |first| epoch(first.at)),
        middle: most(&mut chunk.iter().map(|step| step.volume)),
        inner: (
            most(&mut chunk.iter().map(|step| step.interval_80.low)),
            most(&mut chunk.iter().map(|step| step.interval_80.high)),
        ),
        outer: (
            most(&mut chunk.iter().map(|step| step.interval_95.low)),
            most(&mut chunk.iter().map(|step| step.interval_95.high)),
        ),
    });
    let each = match forecast.step {
        modeler::Step::Minutes(minutes) => format!("{bucket} steps of {minutes} minutes"),
        modeler::Step::Hour => format!("{bucket} hours"),
        modeler::Step::Day => format!("{bucket} days"),
        modeler::Step::Week => format!("{bucket} weeks"),
    };
    let place = if bucket > 1 { format!("Each point is the busiest of {each}; ") } else { String::new() };
    let peak = match forecast.peak_factor {
        modeler::PeakFactor::Given(factor) => format!("busiest minute = mean × {}", words::number(factor)),
        modeler::PeakFactor::MeanOnly => "means only: no peak factor is known".to_owned(),
    };
    Growth {
        caption: caption(
            "growth",
            finding::growth_title(forecast),
            format!(
                "{place}{peak}; trend and seasons continued as simulated paths, shaded: 80 % and 95 % of them; the date \
                 comes from the paths, not from the border of the shade"
            ),
        ),
        y_name: match forecast.peak_factor {
            modeler::PeakFactor::Given(_) => "requests per second in the busiest minute".to_owned(),
            modeler::PeakFactor::MeanOnly => "requests per second, mean".to_owned(),
        },
        history: history.collect(),
        fan: fan.collect(),
        capacity: forecast.capacity.map(|capacity| Line {
            at: capacity.rate.as_per_second(),
            interval: capacity.interval.map(|it| (it.low.as_per_second(), it.high.as_per_second())),
            label: format!("capacity {}", words::rate(capacity.rate)),
        }),
        events: forecast
            .events
            .iter()
            .map(|event| Happening {
                at: epoch(event.first.at(0, 0, 0, 0)),
                label: format!("{} {}", event.name, words::times(event.multiple)),
            })
            .collect(),
        running_out: running_out(forecast),
    }
}

fn running_out(forecast: &Forecast) -> Option<RunningOut> {
    let exhaustion = forecast.exhaustion.as_ref()?;
    let middle = exhaustion.p50?;
    let horizon = forecast.steps.last().map(|step| epoch(step.at));
    let late = exhaustion.p90.map(epoch).or(horizon);
    let day = |at: DateTime| words::date(at.date());
    let until = exhaustion.p90.map_or_else(|| "beyond the horizon".to_owned(), day);
    Some(RunningOut {
        at: epoch(middle),
        interval: exhaustion.p10.map(epoch).zip(late),
        label: match exhaustion.p10 {
            Some(early) => format!("runs out {} (80 %: {} – {until})", day(middle), day(early)),
            None => format!("runs out {}", day(middle)),
        },
    })
}

/// Seconds since 1970-01-01 UTC.
fn epoch(at: DateTime) -> f64 {
    words::epoch_of(at.date()).unwrap_or(0.0)
        + f64::from(at.hour()) * 3_600.0
        + f64::from(at.minute()) * 60.0
        + f64::from(at.second())
}
