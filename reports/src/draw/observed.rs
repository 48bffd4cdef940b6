//! What was observed of the target while it was replayed against: over time, and against load.

use std::collections::BTreeMap;

use captures::{ObservedKind, Run};

use super::caption;
use crate::account;
use crate::chart::{Dot, Family, Level, Panel, PanelLine, StageSpan, Throughput, Timeline};
use crate::words;

/// So many observed numbers are drawn over time.
const MOST_PANELS: usize = 6;
/// So many resources are drawn against load.
const MOST_RESOURCES: usize = 6;
/// Places of a line.
const MOST_PLACES: usize = 600;

/// Whether a number of that name is a share of a resource, in `0..=1`.
fn is_share(name: &str) -> bool {
    name.ends_with("cpu") || name.ends_with("memory") || name.ends_with("_ratio")
}

/// What a number is, and pairs of second and number.
type Line = (ObservedKind, Vec<(f64, f64)>);

/// By name.
fn lines(run: &Run) -> BTreeMap<&str, Line> {
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    for interval in &run.intervals {
        for seen in &interval.observed {
            let line = lines.entry(seen.name.as_str()).or_insert_with(|| (seen.kind, Vec::new()));
            line.1.push((interval.second as f64, seen.value));
        }
    }
    lines
}

/// The observed numbers second by second, shares first; `None` when nothing was observed.
pub(super) fn over_time(run: &Run, name: &str, stages: Vec<StageSpan>) -> Option<Timeline> {
    let lines = lines(run);
    let mut names: Vec<&str> = lines.keys().copied().collect();
    names.sort_by_key(|name| !is_share(name));
    let panels: Vec<Panel> = names
        .iter()
        .take(MOST_PANELS)
        .filter_map(|name| {
            let (kind, values) = lines.get(name)?;
            let (times, unit) = match (is_share(name), kind) {
                (true, _) => (100.0, ", %"),
                (false, ObservedKind::Rate) => (1.0, ", per second"),
                (false, ObservedKind::Gauge) => (1.0, ""),
            };
            let every = values.len().div_ceil(MOST_PLACES).max(1);
            let values = values.iter().step_by(every).map(|&(at, value)| (at, times * value)).collect();
            Some(Panel {
                name: format!("{name}{unit}"),
                lines: vec![PanelLine { name: short(name).to_owned(), values, planned: false }],
                ..Panel::default()
            })
        })
        .collect();
    let left = names.len().saturating_sub(MOST_PANELS);
    let left = if left > 0 { format!("; {left} further numbers are in the run") } else { String::new() };
    (!panels.is_empty()).then(|| Timeline {
        caption: caption(
            name,
            format!("What the target used while {} was replayed", words::file_name(&run.header.capture)),
            format!("As the target itself told, second by second{left}"),
        ),
        panels,
        stages,
        length: run.intervals.last().map_or(0.0, |interval| interval.second as f64 + 1.0),
    })
}

/// How full each resource was at each level of load; `None` when no share was observed at two levels.
pub(super) fn utilisation(run: &Run, name: &str) -> Option<Throughput> {
    let mut resources: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for (name, (_, values)) in lines(run).into_iter().filter(|(name, _)| is_share(name)) {
        let mut levels = Vec::new();
        for stage in run.header.stages.iter().filter(|stage| stage.is_hold() && account::is_done(run, stage))
        {
            let seconds = stage.begin.as_nanos().div_ceil(1_000_000_000)..stage.end.second();
            let account = account::Account::of(run, &seconds);
            let within: Vec<f64> = values
                .iter()
                .filter(|(at, _)| (seconds.start as f64..seconds.end as f64).contains(at))
                .map(|&(_, value)| value)
                .collect();
            if !within.is_empty() && account.planned > 0 {
                let mean = within.iter().sum::<f64>() / within.len() as f64;
                levels.push((account.planned_per_second(), 100.0 * mean));
            }
        }
        levels.sort_by(|one, other| one.0.total_cmp(&other.0));
        if levels.len() >= 2 {
            resources.push((name, levels));
        }
    }
    let highest = |levels: &[(f64, f64)]| levels.iter().map(|&(_, share)| share).fold(0.0, f64::max);
    resources.sort_by(|one, other| highest(&other.1).total_cmp(&highest(&one.1)));
    resources.truncate(MOST_RESOURCES);
    let (fullest, levels) = resources.first()?;
    let &(load, share) = levels.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(Throughput {
        caption: caption(
            name,
            format!(
                "{fullest} is the fullest resource: {} at {} requests per second",
                words::percent(share / 100.0),
                words::number(load)
            ),
            "Mean share in use at each held level of load, as the target itself told; dots: the fullest",
        ),
        x_name: "offered load, requests per second".to_owned(),
        y_name: "in use, %".to_owned(),
        points: levels.iter().map(|&(x, y)| Dot { x, y, ..Dot::default() }).collect(),
        families: resources
            .iter()
            .map(|(name, values)| Family { name: short(name).to_owned(), values: values.clone() })
            .collect(),
        ceiling: Some(Level { at: 100.0, interval: None, label: "all of it".to_owned() }),
        measured_to: levels.iter().map(|&(x, _)| x).fold(0.0, f64::max),
        ..Throughput::default()
    })
}

/// The last part of a name.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
