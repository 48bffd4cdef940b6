//! Months as columns, in panels over one another: how many, how much, how likely.

use super::{Caption, EDGE, WIDTH, largest, room_for};
use crate::axis::Axis;
use crate::label::{Room, width_of};
use crate::plot::Plot;
use crate::svg::{Align, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// What is written over it.
    pub caption: Caption,
    /// The names of the columns, from left to right.
    pub names: Vec<String>,
    /// From above.
    pub panels: Vec<ColumnPanel>,
}

/// One row of columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnPanel {
    /// What it shows, with its unit.
    pub name: String,
    /// The heights; `None` where there is none.
    pub values: Vec<Option<f64>>,
    /// How each height reads, written above it where there is room.
    pub labels: Vec<String>,
    /// Whiskers: from a low to a high value.
    pub whiskers: Vec<Option<(f64, f64)>>,
    /// A level to compare with, and its name.
    pub level: Option<(f64, String)>,
    /// Whether what is high is bad.
    pub alarm: bool,
    /// Where the axis ends, when that is known: at 100 %.
    pub end: Option<f64>,
}

const PANEL: f64 = 210.0;
const GAP: f64 = 44.0;

impl Columns {
    /// The picture.
    pub fn svg(&self) -> String {
        let count = self.panels.len().max(1) as f64;
        let height = self.caption.height() + count * PANEL + (count - 1.0) * GAP + 96.0;
        picture(&self.caption.frame(height), |canvas| {
            let head = self.caption.write(canvas);
            let right =
                room_for(self.panels.iter().filter_map(|it| it.level.as_ref()).map(|it| it.1.as_str()));
            let mut top = head + 44.0;
            for (at, panel) in self.panels.iter().enumerate() {
                let most = largest(
                    panel
                        .values
                        .iter()
                        .flatten()
                        .copied()
                        .chain(panel.whiskers.iter().flatten().map(|&(_, high)| high))
                        .chain(panel.level.iter().map(|&(level, _)| level)),
                );
                let y =
                    panel.end.map_or_else(|| Axis::from_zero(most * 1.08, 4), |end| Axis::to_edge(end, 4));
                let left = EDGE + 62.0;
                let x = Axis::to_edge(self.names.len().max(1) as f64, 1);
                let room = Room { left, top, right: WIDTH - right, bottom: top + PANEL };
                let plot = Plot::new(canvas, room, x, y);
                self.paint(&plot, panel);
                plot.y_name(&panel.name, 0.0);
                if at + 1 == self.panels.len() {
                    self.paint_names(&plot);
                }
                top += PANEL + GAP;
            }
        })
    }

    fn paint(&self, plot: &Plot<'_, '_>, panel: &ColumnPanel) {
        plot.grid();
        let ink = if panel.alarm { Ink::Alarm } else { Ink::Main };
        let base = plot.room.bottom;
        let each = (plot.room.right - plot.room.left) / self.names.len().max(1) as f64;
        for (at, value) in panel.values.iter().enumerate().take(self.names.len()) {
            let Some(value) = value.filter(|value| value.is_finite() && *value >= 0.0) else { continue };
            let middle = plot.x.place(at as f64 + 0.5);
            let y = plot.y.place(value).clamp(plot.room.top, base);
            let half = (each * 0.34).min(34.0);
            plot.canvas.rectangle((middle - half, y), (middle + half, base), ink, 0.8);
            if let Some((low, high)) = panel.whiskers.get(at).copied().flatten() {
                let place = |value: f64| plot.y.place(value).clamp(plot.room.top, base);
                let stroke = Stroke::new(Ink::Text, 1.2);
                plot.canvas.line(&[(middle, place(low)), (middle, place(high))], stroke);
                for end in [low, high] {
                    plot.canvas.line(&[(middle - 4.0, place(end)), (middle + 4.0, place(end))], stroke);
                }
            }
            let text = panel.labels.get(at).map_or("", String::as_str);
            if width_of(text, size::TICK) < each - 4.0 {
                let top =
                    panel.whiskers.get(at).copied().flatten().map_or(value, |(_, high)| high.max(value));
                let above = (plot.y.place(top) - 6.0).max(plot.room.top + 10.0);
                let letters = Letters::new(Ink::Text, size::TICK).aligned(Align::Middle).rimmed();
                plot.canvas.text((middle, above), text, letters);
            }
        }
        if let Some((level, name)) = &panel.level {
            plot.level(*level, Stroke::new(Ink::Good, 1.8).dashed());
            let y = plot.y.place(*level).clamp(plot.room.top, base);
            plot.canvas.text(
                (plot.room.right + 10.0, y + 4.5),
                name,
                Letters::new(Ink::Good, size::LABEL).bold(),
            );
        }
        plot.baseline();
    }

    /// The names of the columns, as many as have room.
    fn paint_names(&self, plot: &Plot<'_, '_>) {
        let widest = self.names.iter().map(|name| width_of(name, size::TICK)).fold(1.0, f64::max);
        let each = (plot.room.right - plot.room.left) / self.names.len().max(1) as f64;
        let every = ((widest + 8.0) / each).ceil().max(1.0) as usize;
        for (at, name) in self.names.iter().enumerate().step_by(every) {
            let letters = Letters::new(Ink::Muted, size::TICK).aligned(Align::Middle);
            plot.canvas.text((plot.x.place(at as f64 + 0.5), plot.room.bottom + 20.0), name, letters);
        }
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let mut text = String::from("name");
        for panel in &self.panels {
            text.push(',');
            text.push_str(&super::csv_cell(&panel.name));
            if !panel.whiskers.is_empty() {
                text.push_str(",low,high");
            }
        }
        text.push('\n');
        for (at, name) in self.names.iter().enumerate() {
            text.push_str(&super::csv_cell(name));
            for panel in &self.panels {
                let number = |value: Option<f64>| {
                    value.filter(|it| it.is_finite()).map_or_else(String::new, |it| it.to_string())
                };
                text.push(',');
                text.push_str(&number(panel.values.get(at).copied().flatten()));
                if !panel.whiskers.is_empty() {
                    let ends = panel.whiskers.get(at).copied().flatten();
                    text.push_str(&format!(
                        ",{},{}",
                        number(ends.map(|it| it.0)),
                        number(ends.map(|it| it.1))
                    ));
                }
            }
            text.push('\n');
        }
        text
    }
}
