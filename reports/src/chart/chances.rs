//! How likely something has happened by a date: a curve that never falls, with the dates that matter.

use super::{Caption, WIDTH, room_for, room_for_ticks};
use crate::axis::Axis;
use crate::label::Room;
use crate::plot::{EndLabel, Marker, Plot, marker_height};
use crate::svg::{Stroke, picture};
use crate::theme::Ink;

/// The data of the chart; moments in seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chances {
    /// What is written over it.
    pub caption: Caption,
    /// Moments, ascending, and shares in `0..=1`.
    pub curve: Vec<(f64, f64)>,
    /// Dates that matter.
    pub dates: Vec<Happening>,
}

/// A date with a label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happening {
    /// The moment.
    pub at: f64,
    /// What it is called.
    pub label: String,
    /// Whether it is one to act by, which is drawn as an alarm.
    pub act: bool,
}

const HEIGHT: f64 = 400.0;

impl Chances {
    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let percent: Vec<(f64, f64)> =
                self.curve.iter().map(|&(at, share)| (at, 100.0 * share)).collect();
            let y = Axis::to_edge(100.0, 5);
            let label = percent.last().map(|&(_, last)| EndLabel {
                at: last,
                text: format!("{last:.0} % by the end"),
                ink: Ink::Alarm,
                bold: true,
            });
            let right = room_for(label.iter().map(|label| label.text.as_str()));
            let (left, border) = (room_for_ticks(&y), WIDTH - right);
            let begin = percent.first().map_or(0.0, |&(at, _)| at);
            let begin =
                self.dates.iter().map(|date| date.at).filter(|at| at.is_finite()).fold(begin, f64::min);
            let end = percent.last().map_or(begin + 1.0, |&(at, _)| at);
            let x = Axis::dates(begin, end, 8);
            let markers: Vec<Marker> = self
                .dates
                .iter()
                .filter(|date| x.holds(date.at))
                .map(|date| {
                    let ink = if date.act { Ink::Event } else { Ink::Main };
                    let stroke = Stroke::new(ink, 1.4);
                    Marker {
                        at: date.at,
                        interval: None,
                        text: date.label.clone(),
                        ink,
                        stroke: if date.act { stroke } else { stroke.dashed() },
                    }
                })
                .collect();
            let above = marker_height(&markers, &x, left, border);
            let room = Room { left, top: head + 44.0 + above, right: border, bottom: HEIGHT - 58.0 };
            let plot = Plot::new(canvas, room, x, y);
            plot.grid();
            let band: Vec<_> = percent.iter().map(|&(at, share)| (at, 0.0, share)).collect();
            plot.band(&band, Ink::Alarm, 0.12);
            plot.curve(&percent, Stroke::new(Ink::Alarm, 2.4));
            plot.floor("date (UTC)");
            plot.markers(&markers);
            plot.end_labels(label.as_slice(), right);
            plot.y_name("probability, %", above);
        })
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        super::csv("moment_epoch_seconds,probability", self.curve.iter().map(|&(at, share)| vec![at, share]))
    }
}
