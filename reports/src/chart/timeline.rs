//! A run second by second: panels over one axis of time, the stages marked.

use super::{Caption, EDGE, WIDTH, largest, room_for};
use crate::axis::Axis;
use crate::label::{Room, width_of};
use crate::plot::{EndLabel, Plot};
use crate::svg::{Align, Canvas, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// What is written over it.
    pub caption: Caption,
    /// The panels, from above.
    pub panels: Vec<Panel>,
    /// The stages, ascending.
    pub stages: Vec<StageSpan>,
    /// The length of the run in seconds.
    pub length: f64,
}

/// One panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What it shows, with its unit.
    pub name: String,
    /// Its lines, the most important last.
    pub lines: Vec<PanelLine>,
    /// Whether it holds milliseconds, on a logarithmic axis.
    pub milliseconds: bool,
    /// Whether what it shows is bad: drawn as filled columns in the colour of alarm.
    pub alarm: bool,
    /// A limit and how it reads.
    pub limit: Option<(f64, String)>,
}

/// One line of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PanelLine {
    /// What it is called at its end.
    pub name: String,
    /// Pairs of second and value.
    pub values: Vec<(f64, f64)>,
    /// Whether it is what was planned: drawn broken, behind.
    pub planned: bool,
}

/// A stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageSpan {
    /// Its first second.
    pub begin: f64,
    /// The second after its last.
    pub end: f64,
    /// What it is called: `4×`.
    pub label: String,
}

const STAGE_ROW: f64 = 24.0;
const GAP: f64 = 34.0;

impl Timeline {
    /// The same as a table.
    pub fn csv(&self) -> String {
        let mut text = String::from("panel,line,second,value\n");
        for panel in &self.panels {
            for line in &panel.lines {
                for (second, value) in &line.values {
                    let (panel, line) = (super::csv_cell(&panel.name), super::csv_cell(&line.name));
                    text.push_str(&format!("{panel},{line},{second},{value}\n"));
                }
            }
        }
        text
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let heights: Vec<f64> =
            self.panels.iter().map(|panel| if panel.alarm { 54.0 } else { 112.0 }).collect();
        let body: f64 = heights.iter().map(|height| height + GAP).sum();
        let head = self.caption.height();
        picture(&self.caption.frame(head + STAGE_ROW + 22.0 + body + 36.0), |canvas| {
            let head = self.caption.write(canvas);
            let limits = self.panels.iter().filter_map(|panel| panel.limit.as_ref()).map(|(_, text)| text);
            let names = self.panels.iter().flat_map(|panel| &panel.lines).map(|line| &line.name);
            let names = names.chain(limits).map(String::as_str);
            let right = room_for(names);
            let mut top = head + 18.0 + STAGE_ROW + 20.0;
            let whole =
                Room { left: EDGE + 48.0, top: head + 18.0, right: WIDTH - right, bottom: top + body - GAP };
            let across = Axis::elapsed(self.length, 8).between(whole.left, whole.right);
            self.paint_stages(canvas, whole, &across);
            for (at, (panel, height)) in self.panels.iter().zip(heights).enumerate() {
                let room = Room { top, bottom: top + height, ..whole };
                let plot = Plot::new(canvas, room, across.clone(), panel.axis());
                panel.paint(&plot, right);
                if at + 1 == self.panels.len() {
                    plot.floor("time since the start of the run, minutes:seconds");
                } else {
                    plot.baseline();
                }
                top += height + GAP;
            }
        })
    }

    fn paint_stages(&self, canvas: &Canvas<'_>, whole: Room, across: &Axis) {
        let foot = whole.top + STAGE_ROW - 8.0;
        for (at, stage) in self.stages.iter().enumerate() {
            let place = |second: f64| across.place(second).clamp(whole.left, whole.right);
            let (from, to) = (place(stage.begin), place(stage.end));
            if at % 2 == 0 {
                canvas.rectangle((from, whole.top), (to, whole.bottom), Ink::Shade, 1.0);
            }
            canvas.line(&[(from, whole.top), (from, whole.bottom)], Stroke::new(Ink::Faint, 1.0));
            if width_of(&stage.label, size::LABEL) < to - from - 4.0 {
                let letters = Letters::new(Ink::Text, size::LABEL).bold().aligned(Align::Middle);
                canvas.text((f64::midpoint(from, to), foot), &stage.label, letters);
            }
        }
    }
}

impl Panel {
    fn axis(&self) -> Axis {
        let values = || self.lines.iter().flat_map(|line| &line.values).map(|&(_, value)| value);
        let most = largest(values().chain(self.limit.iter().map(|&(at, _)| at)));
        if self.milliseconds {
            let least = values().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
            Axis::log_milliseconds(least / 1.3, most * 1.3).thinned(4)
        } else if self.alarm {
            Axis::from_zero(most.max(1.0), 2)
        } else {
            Axis::from_zero(most * 1.02, 3)
        }
    }

    fn paint(&self, plot: &Plot<'_, '_>, right: f64) {
        plot.grid();
        let mut labels = Vec::new();
        if let Some((limit, text)) = &self.limit {
            plot.level(*limit, Stroke::new(Ink::Alarm, 1.4).dashed());
            labels.push(EndLabel { at: *limit, text: text.clone(), ink: Ink::Alarm, bold: false });
        }
        for (at, line) in self.lines.iter().enumerate() {
            let ink = self.ink_of(at, line);
            if self.alarm {
                let columns: Vec<_> = line.values.iter().map(|&(x, value)| (x, 0.0, value)).collect();
                plot.band(&columns, ink, 0.35);
            }
            let stroke = Stroke::new(ink, if line.planned { 1.6 } else { 1.8 });
            plot.curve(&line.values, if line.planned { stroke.dashed() } else { stroke });
            if let Some(&(_, last)) = line.values.last() {
                labels.push(EndLabel { at: last, text: line.name.clone(), ink, bold: !line.planned });
            }
        }
        let letters = Letters::new(Ink::Text, size::LABEL).rimmed();
        plot.canvas.text((plot.room.left, plot.room.top - 7.0), &self.name, letters);
        plot.end_labels(&labels, right);
    }

    fn ink_of(&self, at: usize, line: &PanelLine) -> Ink {
        if self.alarm {
            Ink::Alarm
        } else if line.planned {
            Ink::Muted
        } else if at + 1 == self.lines.len() && self.lines.len() > 1 && self.milliseconds {
            Ink::Third
        } else {
            Ink::Main
        }
    }
}
