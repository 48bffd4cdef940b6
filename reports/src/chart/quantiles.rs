//! The quantile plot: how long which share of the requests took, each further nine as wide as the one before.
//!
//! Source of the axis: the percentile plot of HdrHistogram (Tene).

use super::{Caption, EDGE, Limit, largest, room_for, room_for_ticks};
use crate::axis::Axis;
use crate::label::Room;
use crate::plot::{EndLabel, Plot};
use crate::svg::{Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart; lengths of time in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// What is written over it.
    pub caption: Caption,
    /// The lines, the most important first.
    pub lines: Vec<QuantileLine>,
    /// The limits of the objective.
    pub limits: Vec<Limit>,
}

/// One kind of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantileLine {
    /// What it is called.
    pub name: String,
    /// Pairs of quantile (in `0..1`, ascending) and milliseconds.
    pub values: Vec<(f64, f64)>,
}

const HEIGHT: f64 = 460.0;

impl Quantiles {
    /// The same as a table.
    pub fn csv(&self) -> String {
        let mut text = String::from("time,quantile,milliseconds\n");
        for line in &self.lines {
            for (quantile, length) in &line.values {
                text.push_str(&format!("{},{quantile},{length}\n", super::csv_cell(&line.name)));
            }
        }
        text
    }

    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let values = || self.lines.iter().flat_map(|line| &line.values);
            let highest = largest(values().map(|&(quantile, _)| quantile));
            let most = largest(values().map(|&(_, length)| length).chain(self.limits.iter().map(|it| it.at)));
            // The fastest few, often files, would stretch the axis away from what is felt.
            let least = values()
                .filter(|&&(quantile, length)| quantile >= 0.25 && length > 0.0)
                .map(|&(_, length)| length)
                .fold(f64::INFINITY, f64::min);
            let y = Axis::log_milliseconds(least.max(most / 1e4) / 1.8, most * 1.3);
            let labels = self.end_labels();
            let right = room_for(labels.iter().map(|label| label.text.as_str()));
            let room = Room {
                left: room_for_ticks(&y).max(EDGE + 40.0),
                top: head + 40.0,
                right: super::WIDTH - right,
                bottom: HEIGHT - 58.0,
            };
            let plot = Plot::new(canvas, room, Axis::nines(highest), y);
            plot.grid();
            for tick in plot.x.ticks.iter().skip(1) {
                let x = plot.x.place(tick.at);
                canvas.line(&[(x, plot.room.top), (x, plot.room.bottom)], Stroke::new(Ink::Faint, 1.0));
            }
            for (at, line) in self.lines.iter().enumerate().rev() {
                let stroke = Stroke::new(ink_of(at), if at == 0 { 2.8 } else { 1.8 });
                plot.curve(&line.values, stroke);
            }
            for limit in self.limits.iter().filter(|limit| plot.y.holds(limit.at)) {
                paint_limit(&plot, limit);
            }
            plot.floor("share of requests that took no longer");
            plot.y_name("time, logarithmic", 0.0);
            plot.end_labels(&labels, right);
        })
    }

    fn end_labels(&self) -> Vec<EndLabel> {
        let mut labels = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if let Some(&(_, last)) = line.values.last() {
                labels.push(EndLabel { at: last, text: line.name.clone(), ink: ink_of(at), bold: at == 0 });
            }
        }
        labels
    }
}

/// A corner: up to this quantile, no longer than this.
fn paint_limit(plot: &Plot<'_, '_>, limit: &Limit) {
    let end = limit.quantile.unwrap_or(plot.x.high);
    let (x, y) = plot.at(end, limit.at);
    let x = x.clamp(plot.room.left, plot.room.right);
    let stroke = Stroke::new(Ink::Alarm, 1.8).dashed();
    plot.canvas.line(&[(plot.room.left, y), (x, y), (x, plot.room.bottom)], stroke);
    let text = format!("SLO {}", limit.label);
    let letters = Letters::new(Ink::Alarm, size::LABEL).bold().rimmed();
    plot.canvas.text((plot.room.left + 10.0, y - 7.0), &text, letters);
}

fn ink_of(line: usize) -> Ink {
    [Ink::Main, Ink::Third, Ink::Second, Ink::Muted][line.min(3)]
}
