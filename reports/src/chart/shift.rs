//! The shift function: by how much each quantile of the responses moved from one run to another.

use super::{Caption, EDGE, WIDTH, room_for_ticks};
use crate::axis::Axis;
use crate::label::Room;
use crate::plot::Plot;
use crate::svg::{Align, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shift {
    /// What is written over it.
    pub caption: Caption,
    /// By ascending quantile.
    pub steps: Vec<ShiftStep>,
    /// A change that is allowed, in percent.
    pub allowed: Option<f64>,
}

/// One quantile; changes in percent, above zero for longer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShiftStep {
    /// In `0..1`.
    pub quantile: f64,
    /// The change.
    pub change: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

const HEIGHT: f64 = 430.0;
/// However far an interval goes, the axis ends here: in percent.
const FARTHEST: f64 = 2_000.0;

impl Shift {
    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let known = || self.steps.iter().flat_map(|step| [step.change, step.low, step.high]);
            let values = || known().chain(self.allowed).filter(|value| value.is_finite());
            let most = values().fold(2.0, f64::max).min(FARTHEST);
            let least = values().fold(-2.0, f64::min).max(-100.0);
            let y = Axis::around_zero(least * 1.1, most * 1.1, 6);
            let highest = self.steps.iter().map(|step| step.quantile).fold(0.9, f64::max);
            let room = Room {
                left: room_for_ticks(&y).max(EDGE + 40.0),
                top: head + 44.0,
                right: WIDTH - EDGE - 60.0,
                bottom: HEIGHT - 58.0,
            };
            let plot = Plot::new(canvas, room, Axis::nines(highest), y);
            plot.grid();
            let band: Vec<_> = self.steps.iter().map(|step| (step.quantile, step.low, step.high)).collect();
            plot.band(&band, Ink::Main, 0.14);
            plot.level(0.0, Stroke::new(Ink::Text, 1.4));
            if let Some(allowed) = self.allowed {
                plot.level(allowed, Stroke::new(Ink::Alarm, 1.4).dashed());
                let y = plot.y.place(allowed).clamp(plot.room.top, plot.room.bottom);
                let letters = Letters::new(Ink::Alarm, size::LABEL).aligned(Align::Left).rimmed();
                plot.canvas.text((plot.room.left + 10.0, y - 6.0), "allowed", letters);
            }
            let line: Vec<_> = self.steps.iter().map(|step| (step.quantile, step.change)).collect();
            plot.curve(&line, Stroke::new(Ink::Main, 2.2));
            for step in &self.steps {
                plot.point((step.quantile, step.change), Some((step.low, step.high)), false, Ink::Main);
            }
            let letters = Letters::new(Ink::Muted, size::TICK).aligned(Align::Right);
            plot.canvas.text((plot.room.right - 8.0, plot.room.top + 14.0), "slower", letters);
            plot.canvas.text((plot.room.right - 8.0, plot.room.bottom - 8.0), "faster", letters);
            plot.floor("quantile of all responses");
            plot.y_name("change of the response, %", 0.0);
        })
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let rows = self.steps.iter().map(|step| vec![step.quantile, step.change, step.low, step.high]);
        super::csv("quantile,change_percent,low_percent,high_percent", rows)
    }
}
