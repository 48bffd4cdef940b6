//! The charts of one run.

use captures::Run;
use modeler::Objective;

use super::{caption, limits, milliseconds};
use crate::account::{Account, Level, stretches};
use crate::chart::{Panel, PanelLine, QuantileLine, Quantiles, StageSpan, Timeline};
use crate::{title, words};

/// A timeline has at most this many places.
const MOST_SECONDS: u64 = 600;

/// The run, second by second.
pub(super) fn timeline(run: &Run, name: String, objective: Option<&Objective>) -> Timeline {
    let (length, sums) = stretches(run, MOST_SECONDS);
    let seconds = length as f64;
    let line = |name: &str, planned: bool, value: &dyn Fn(&captures::Interval) -> f64| PanelLine {
        name: name.to_owned(),
        values: sums.iter().map(|sum| (sum.second as f64, value(sum))).collect(),
        planned,
    };
    // What comes after the plan is only waiting for the last answers.
    let planned_end = run.header.stages.iter().map(|stage| stage.end.as_secs_f64()).fold(0.0, f64::max);
    let mut planned = line("planned", true, &|sum| sum.planned as f64 / seconds);
    planned.values.retain(|&(second, _)| second < planned_end);
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
            title::timeline(run),
            format!(
                "Replay of {} against {}; {every}; planned, response and errors by the second a request was due, \
                 the rest by the clock",
                words::file_name(&run.header.capture),
                run.header.target
            ),
        ),
        panels: vec![
            panel(
                "requests per second",
                vec![planned, line("completed", false, &|sum| sum.completed as f64 / seconds)],
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
        stages: stages(run),
        length: sums.last().map_or(0.0, |sum| sum.second as f64 + seconds),
    }
}

/// The stages of a run, as they are marked.
pub(super) fn stages(run: &Run) -> Vec<StageSpan> {
    run.header
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
        .collect()
}

/// How long the requests of `level` took.
pub(super) fn quantiles(run: &Run, level: &Level, name: String, objective: Option<&Objective>) -> Quantiles {
    let account = Account::of(run, &level.seconds);
    let line = |name: &str, histogram: &captures::Histogram| QuantileLine {
        name: name.to_owned(),
        values: ladder(histogram.len()).map(|it| (it, milliseconds(histogram.quantile(it)))).collect(),
    };
    let overall = &account.overall;
    Quantiles {
        caption: caption(
            &name,
            title::quantiles(level, &account),
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
