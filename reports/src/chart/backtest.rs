//! The forecast's own exam: what was foretold at earlier moments beside what came.

use super::{Caption, WIDTH, largest, room_for, room_for_ticks};
use crate::axis::Axis;
use crate::label::Room;
use crate::plot::{EndLabel, Plot};
use crate::svg::{Stroke, picture};
use crate::theme::Ink;

/// The data of the chart; moments in seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backtest {
    /// What is written over it.
    pub caption: Caption,
    /// The name and unit of the y axis.
    pub y_name: String,
    /// What came: moment and value.
    pub observed: Vec<(f64, f64)>,
    /// What was foretold, by origin.
    pub foretold: Vec<Vec<(f64, f64)>>,
}

const HEIGHT: f64 = 420.0;

impl Backtest {
    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let all = || self.observed.iter().chain(self.foretold.iter().flatten());
            let y = Axis::from_zero(largest(all().map(|&(_, value)| value)) * 1.05, 5);
            let last = |values: &[(f64, f64)]| values.last().map_or(0.0, |&(_, value)| value);
            let labels = [
                EndLabel {
                    at: last(&self.observed),
                    text: "observed".to_owned(),
                    ink: Ink::Text,
                    bold: false,
                },
                EndLabel {
                    at: self.foretold.last().map_or(0.0, |values| last(values)),
                    text: "foretold".to_owned(),
                    ink: Ink::Main,
                    bold: true,
                },
            ];
            let right = room_for(labels.iter().map(|label| label.text.as_str()));
            let (left, border) = (room_for_ticks(&y), WIDTH - right);
            let known = || all().map(|&(at, _)| at).filter(|at| at.is_finite());
            let begin = known().fold(f64::INFINITY, f64::min);
            let begin = if begin.is_finite() { begin } else { 0.0 };
            let x = Axis::dates(begin, known().fold(begin + 1.0, f64::max), 8);
            let room = Room { left, top: head + 44.0, right: border, bottom: HEIGHT - 58.0 };
            let plot = Plot::new(canvas, room, x, y);
            for values in self.foretold.iter().step_by(2) {
                if let (Some(first), Some(last)) = (values.first(), values.last()) {
                    plot.column(first.0, last.0, Ink::Shade, 1.0);
                }
            }
            plot.grid();
            plot.curve(&self.observed, Stroke::new(Ink::Text, 1.2).faded(0.8));
            if self.observed.len() <= 200 {
                for &(at, value) in &self.observed {
                    if plot.x.holds(at) && plot.y.holds(value) {
                        canvas.dot(plot.at(at, value), 1.6, Ink::Text);
                    }
                }
            }
            for values in &self.foretold {
                plot.curve(values, Stroke::new(Ink::Main, 2.2));
            }
            plot.floor("date (UTC); each ground is one origin, from which nothing later was known");
            plot.end_labels(&labels, right);
            plot.y_name(&self.y_name, 0.0);
        })
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let missing = f64::NAN;
        let observed = self.observed.iter().map(|&(at, value)| vec![at, value, missing, missing]);
        let foretold = self.foretold.iter().enumerate().flat_map(|(origin, values)| {
            values.iter().map(move |&(at, value)| vec![at, missing, origin as f64, value])
        });
        super::csv("moment_epoch_seconds,observed,origin,foretold", observed.chain(foretold))
    }
}
