//! The plan of a dry run: as text, as JSON, as a chart.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use captures::{Histogram, Stage};
use replayer::{Likeness, Plan, Preview, Shape, Unit};
use reports::chart::{Caption, Panel, PanelLine, StageSpan, Timeline};
use serde_json::{Map, Value, json};

use super::args::ReplayArgs;
use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, say};

/// Larger plans are shown by their stages alone: to lay them out would take too long.
const MOST_LAID_OUT: u64 = 20_000_000;
/// A chart has at most about so many places.
const MOST_PLACES: usize = 600;

/// Shows what would be sent, and writes it where `--out` says.
pub(super) fn show(
    args: &ReplayArgs,
    globals: &Globals,
    plan: &Plan,
    unit: Unit,
    stages: &[Stage],
) -> Result<(), Complaint> {
    let preview = replayer::preview(plan, unit, stages, globals.seed, MOST_LAID_OUT);
    if preview.is_none() {
        say!("the plan holds more than {MOST_LAID_OUT} requests: it is shown by its stages alone");
    }
    let shown = shown(plan, unit, stages, preview.as_ref());
    if let Some(out) = &args.out {
        write(out, &format!("{shown:#}\n"))?;
        if let Some(preview) = &preview {
            let chart = out.with_extension("svg");
            write(&chart, &chart_of(plan, stages, preview).svg())?;
            say!("wrote {} and {}", out.display(), chart.display());
        }
    }
    let text = if args.json { format!("{shown}\n") } else { as_text(plan, stages, preview.as_ref()) };
    files::to_stdout(|out| out.write_all(text.as_bytes()))
}

fn write(path: &Path, text: &str) -> Result<(), Complaint> {
    std::fs::write(path, text).map_err(|error| Complaint::cannot_write(path, &error))
}

fn shown(plan: &Plan, unit: Unit, stages: &[Stage], preview: Option<&Preview>) -> Value {
    let rate = plan.rate().as_per_second();
    json!({
        "requests": plan.len(),
        "sessions": plan.sessions(),
        "connections": plan.connections(),
        "span_seconds": plan.span().as_secs_f64(),
        "rate_per_second": rate,
        "users_at_1x": plan.users(),
        "copies_at_1x": plan.copies_at_1x(),
        "unit": if unit == Unit::Request { "request" } else { "session" },
        "held_back_ratio": plan.held_back_ratio(),
        "held_back": plan.held_back().iter().map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect::<Map<_, _>>(),
        "stages": stages.iter().map(|stage| json!({
            "begin_seconds": stage.begin.as_secs_f64(), "end_seconds": stage.end.as_secs_f64(),
            "from": stage.from, "to": stage.to,
            "from_rate_per_second": stage.from * rate, "to_rate_per_second": stage.to * rate,
        })).collect::<Vec<_>>(),
        "routes": plan.routes(),
        "planned": preview.map(Preview::total),
        "planned_connections": preview.map(|preview| preview.connections.iter().sum::<u64>()),
        "peak_per_second": preview.map(|preview| preview.peak_per_second),
        "curve_step_seconds": preview.map(|preview| preview.step.as_secs()),
        "peak_per_100_ms": preview.map(|preview| preview.peak_per_100_ms),
        "beside_the_capture": preview.map(|preview| likeness(&preview.likeness)),
        "mix": preview.map(|preview| plan.routes().iter().zip(&preview.routes).map(|(route, count)| json!({
            "route": route,
            "requests": count,
            "share": *count as f64 / preview.total().max(1) as f64,
        })).collect::<Vec<_>>()),
        "curve": preview.map(|preview| preview.steps.iter().zip(&preview.connections).enumerate().map(|(at, (planned, opened))| json!({
            "second": at as u64 * preview.step.as_secs(),
            "planned": planned,
            "connections": opened,
        })).collect::<Vec<_>>()),
    })
}

/// How the plan looks beside the capture.
fn likeness(likeness: &Likeness) -> Value {
    let seconds = |histogram: &Histogram, quantile: f64| histogram.quantile(quantile).as_secs_f64();
    let shape = |shape: &Shape| {
        json!({
            "allan_factor_1s": shape.burstiness,
            "whole_sessions": shape.sessions,
            "session_requests_mean": shape.session_requests.mean().as_secs_f64() * 1e6,
            "session_seconds_p50": seconds(&shape.session_length, 0.5),
            "session_seconds_p90": seconds(&shape.session_length, 0.9),
            "pause_seconds_p50": seconds(&shape.pauses, 0.5),
            "pause_seconds_p90": seconds(&shape.pauses, 0.9),
        })
    };
    json!({
        "capture": shape(&likeness.recorded),
        "plan": shape(&likeness.planned),
        "mix_distance": likeness.mix_distance(),
        "session_requests_ks": likeness.session_requests_distance(),
        "session_length_ks": likeness.session_length_distance(),
        "pause_ks": likeness.pause_distance(),
    })
}

/// The same as text, the capture in brackets.
fn likeness_text(likeness: &Likeness) -> String {
    let Likeness { recorded, planned } = likeness;
    let factor =
        |shape: &Shape| shape.burstiness.map_or("unknown".to_owned(), |factor| format!("{factor:.2}"));
    let requests = |shape: &Shape| shape.session_requests.mean().as_secs_f64() * 1e6;
    let pause = |shape: &Shape| shape.pauses.quantile(0.5).as_secs_f64();
    format!(
        "beside the capture: {:.1} % of the requests on other routes; bursts (Allan factor of seconds) {} ({});\n\
         sessions of {:.1} requests ({:.1}), pauses p50 {:.3} s ({:.3} s), KS distance {:.3}\n",
        100.0 * likeness.mix_distance(),
        factor(planned),
        factor(recorded),
        requests(planned),
        requests(recorded),
        pause(planned),
        pause(recorded),
        likeness.pause_distance(),
    )
}

fn as_text(plan: &Plan, stages: &[Stage], preview: Option<&Preview>) -> String {
    let rate = plan.rate().as_per_second();
    let mut text = String::new();
    for stage in stages {
        let _ = writeln!(
            text,
            "{:>9.1} s to {:>9.1} s  {:>8.4}x to {:>8.4}x  {:>9.1} to {:>9.1} req/s",
            stage.begin.as_secs_f64(),
            stage.end.as_secs_f64(),
            stage.from,
            stage.to,
            stage.from * rate,
            stage.to * rate
        );
    }
    let Some(preview) = preview else { return text };
    let _ = writeln!(
        text,
        "{} requests on {} connections, at most {} in a second and {} in 100 ms",
        preview.total(),
        preview.connections.iter().sum::<u64>(),
        preview.peak_per_second,
        preview.peak_per_100_ms
    );
    if preview.step.as_secs() > 1 {
        let _ = writeln!(
            text,
            "the curve is by {} s: a plan is shown in 100 000 steps at most",
            preview.step.as_secs()
        );
    }
    text.push_str(&likeness_text(&preview.likeness));
    let mut mix: Vec<(&String, &u64)> = plan.routes().iter().zip(&preview.routes).collect();
    mix.sort_by_key(|&(route, count)| (std::cmp::Reverse(*count), route));
    for (route, count) in mix {
        let share = 100.0 * *count as f64 / preview.total().max(1) as f64;
        let _ = writeln!(text, "{count:>12} {share:>7.2} %  {}", files::plain(route));
    }
    text
}

fn chart_of(plan: &Plan, stages: &[Stage], preview: &Preview) -> Timeline {
    let step = preview.steps.len().div_ceil(MOST_PLACES).max(1);
    let length = preview.step.as_secs_f64();
    let line = |name: &str, counts: &[u64]| PanelLine {
        name: name.to_owned(),
        values: counts
            .chunks(step)
            .enumerate()
            .map(|(at, part)| {
                ((at * step) as f64 * length, part.iter().sum::<u64>() as f64 / (part.len() as f64 * length))
            })
            .collect(),
        planned: false,
    };
    let panel =
        |name: &str, line: PanelLine| Panel { name: name.to_owned(), lines: vec![line], ..Panel::default() };
    let most = preview.peak_per_second;
    Timeline {
        caption: Caption {
            name: "plan".to_owned(),
            title: format!("The plan reaches {most} requests in a second"),
            subtitle: format!(
                "{} requests on {} connections; 1× is {}",
                preview.total(),
                preview.connections.iter().sum::<u64>(),
                plan.rate()
            ),
        },
        panels: vec![
            panel("requests per second", line("planned", &preview.steps)),
            panel("connections begun per second", line("begun", &preview.connections)),
        ],
        stages: stages
            .iter()
            .map(|stage| StageSpan {
                begin: stage.begin.as_secs_f64(),
                end: stage.end.as_secs_f64(),
                label: format!("{}×", (stage.to * 100.0).round() / 100.0),
            })
            .collect(),
        length: stages.last().map_or(0.0, |stage| stage.end.as_secs_f64()),
    }
}
