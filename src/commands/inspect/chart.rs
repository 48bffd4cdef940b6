//! Draws the rate of a capture over time.

use reports::chart::{Caption, Panel, PanelLine, Timeline};

use super::inspection::Inspection;

/// The curve has so many points at most.
const POINTS: u64 = 600;

/// Requests that arrived, per second, and how many of those went wrong.
pub(super) fn svg(inspection: &Inspection, named: &str) -> String {
    let arrived = points(&inspection.curve(POINTS), inspection);
    let wrong = points(&inspection.curve_of(&inspection.wrong_per_second, POINTS), inspection);
    let length = arrived.last().map_or(1.0, |(second, _)| second.max(1.0));
    let (count, span) = (inspection.exchanges, inspection.span().as_secs_f64());
    let line = |name: &str, values| vec![PanelLine { name: name.to_owned(), values, planned: false }];
    let panel = |name: &str, lines, alarm| Panel { name: name.to_owned(), lines, alarm, ..Panel::default() };
    Timeline {
        caption: Caption {
            name: "rate".to_owned(),
            title: format!("{count} requests in {span:.0} s, {} in the busiest second", inspection.peak()),
            subtitle: format!("{named}: arrivals, in at most {POINTS} equal parts of the span"),
        },
        panels: vec![
            panel("requests/s", line("arrived", arrived), false),
            panel("errors/s", line("5xx or no answer", wrong), true),
        ],
        stages: Vec::new(),
        length,
    }
    .svg()
}

/// Rates at the middle of each part.
fn points(counts: &[u64], inspection: &Inspection) -> Vec<(f64, f64)> {
    let width = inspection.seconds() as f64 / counts.len().max(1) as f64;
    let point = |(at, &count): (usize, &u64)| ((at as f64 + 0.5) * width, count as f64 / width);
    counts.iter().enumerate().map(point).collect()
}
