//! The charts: plain data in, a picture out.
//!
//! A chart knows nothing of runs or models. Its title states what was found, its subtitle how; both are
//! given. Every chart shows the data points beside what was concluded from them, and sets what was measured
//! apart from what lies beyond.

mod backtest;
mod chances;
mod columns;
mod dot_label;
mod growth;
mod intervals;
mod quantiles;
mod response;
mod shift;
mod throughput;
mod timeline;
mod week;

pub use backtest::Backtest;
pub use chances::{Chances, Happening as ChanceDate};
pub use columns::{ColumnPanel, Columns};
pub use growth::{Fan, Growth, Happening, RunningOut};
pub use intervals::{IntervalRow, Intervals};
pub use quantiles::{QuantileLine, Quantiles};
pub use response::{Response, ResponseLine};
pub use shift::{Shift, ShiftStep};
pub use throughput::{Family, Level, Throughput};
pub use timeline::{Panel, PanelLine, StageSpan, Timeline};
pub use week::Week;

use crate::label::{self, balanced_lines, lines_of};
use crate::svg::{Canvas, Frame, Letters};
use crate::theme::{Ink, size};

/// What is written over a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caption {
    /// The chart's name: a file's stem, unique in a page; letters, digits and hyphens.
    pub name: String,
    /// What was found, as a sentence.
    pub title: String,
    /// Units and method.
    pub subtitle: String,
}

/// A measured point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dot {
    /// On the x axis.
    pub x: f64,
    /// On the y axis.
    pub y: f64,
    /// The interval of `y`.
    pub interval: Option<(f64, f64)>,
    /// Whether it was measured in overload: drawn hollow.
    pub saturated: bool,
    /// What it is called; may be empty.
    pub label: String,
}

/// One step of a fitted curve with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// On the x axis.
    pub x: f64,
    /// The curve.
    pub y: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// An uncertain place on the x axis: a capacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// Where.
    pub at: f64,
    /// The interval it stands in.
    pub interval: Option<(f64, f64)>,
    /// What it is called.
    pub label: String,
}

/// A limit of the objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limit {
    /// In milliseconds.
    pub at: f64,
    /// The quantile it is about, in `0..=1`; `None` for a mean.
    pub quantile: Option<f64>,
    /// How it reads: `p95 < 200 ms`.
    pub label: String,
}

/// Pairs on the x and the y axis.
pub(crate) type Values = Vec<(f64, f64)>;

/// The width of every chart, in picture units.
pub(crate) const WIDTH: f64 = 960.0;

/// Left and right of a chart's text.
pub(crate) const EDGE: f64 = 24.0;

impl Caption {
    /// The frame of a picture of `height`.
    pub(crate) fn frame(&self, height: f64) -> Frame<'_> {
        Frame { name: &self.name, title: &self.title, description: &self.subtitle, width: WIDTH, height }
    }

    /// How far down title and subtitle reach.
    pub(crate) fn height(&self) -> f64 {
        16.0 + 25.0 * self.title_lines().len() as f64 + 18.0 * self.subtitle_lines().len() as f64
    }

    fn subtitle_lines(&self) -> Vec<String> {
        lines_of(&self.subtitle, size::LABEL, WIDTH - 2.0 * EDGE, 2)
    }

    fn title_lines(&self) -> Vec<String> {
        // Bold letters are wider.
        balanced_lines(&self.title, size::TITLE * 1.06, WIDTH - 2.0 * EDGE, 2)
    }

    /// Writes title and subtitle at the top of `canvas`; how far down they reach.
    pub(crate) fn write(&self, canvas: &Canvas<'_>) -> f64 {
        let mut y = 12.0;
        for line in self.title_lines() {
            y += 25.0;
            canvas.text((EDGE, y), &line, Letters::new(Ink::Text, size::TITLE).bold());
        }
        y += 4.0;
        for line in self.subtitle_lines() {
            y += 18.0;
            canvas.text((EDGE, y), &line, Letters::new(Ink::Muted, size::LABEL));
        }
        self.height()
    }
}

/// The room right of a plot that labels at line ends need.
pub(crate) fn room_for<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    let widest = texts.map(|text| label::width_of(text, size::LABEL) * 1.04).fold(0.0, f64::max);
    (widest + 26.0).clamp(40.0, 240.0)
}

/// The room left of a plot that its ticks need.
pub(crate) fn room_for_ticks(axis: &crate::axis::Axis) -> f64 {
    let widest = axis.ticks.iter().map(|tick| label::width_of(&tick.label, size::TICK)).fold(0.0, f64::max);
    EDGE + widest.min(120.0) + 10.0
}

/// The part of `values` up to `border` and the part from there on, meeting at the border.
pub(crate) fn split_at(values: &[(f64, f64)], border: f64) -> (Values, Values) {
    let mut inner: Vec<(f64, f64)> = Vec::new();
    let mut outer: Vec<(f64, f64)> = Vec::new();
    for (at, &(x, y)) in values.iter().enumerate() {
        if x <= border {
            inner.push((x, y));
            continue;
        }
        if outer.is_empty() && at > 0 {
            let (x0, y0) = values[at - 1];
            let share = if x > x0 { (border - x0) / (x - x0) } else { 0.0 };
            let meeting = (border, y0 + (y - y0) * share);
            inner.push(meeting);
            outer.push(meeting);
        }
        outer.push((x, y));
    }
    (inner, outer)
}

/// The largest finite of `values`, at least zero.
pub(crate) fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// Lines of comma-separated numbers under a heading; what is no number is empty.
pub(crate) fn csv(heading: &str, rows: impl Iterator<Item = Vec<f64>>) -> String {
    let mut text = format!("{heading}\n");
    for row in rows {
        let cells: Vec<String> = row
            .into_iter()
            .map(|value| if value.is_finite() { value.to_string() } else { String::new() })
            .collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A cell of a table of comma-separated values.
pub(crate) fn csv_cell(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    // A spreadsheet takes what begins like a formula for one.
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod any_numbers;
#[cfg(test)]
mod tests;
