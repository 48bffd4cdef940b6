//! Growth: what was, what is expected with its intervals, the events, and the capacity it will meet.

use super::throughput::Level;
use super::{Caption, WIDTH, largest, room_for, room_for_ticks};
use crate::axis::Axis;
use crate::label::Room;
use crate::plot::{EndLabel, Marker, Plot, marker_height};
use crate::svg::{Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart; moments in seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Growth {
    /// What is written over it.
    pub caption: Caption,
    /// The name and unit of the y axis.
    pub y_name: String,
    /// What was: moment and value; `None` where it is missing.
    pub history: Vec<(f64, Option<f64>)>,
    /// Where the history ends and the forecast begins; `None`: where the fan begins.
    pub today: Option<f64>,
    /// What is expected, ascending.
    pub fan: Vec<Fan>,
    /// The capacity.
    pub capacity: Option<Level>,
    /// What is announced.
    pub events: Vec<Happening>,
    /// When the capacity runs out.
    pub running_out: Option<RunningOut>,
}

/// One step of what is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fan {
    /// The moment.
    pub at: f64,
    /// The middle.
    pub middle: f64,
    /// The 80 % interval.
    pub inner: (f64, f64),
    /// The 95 % interval.
    pub outer: (f64, f64),
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happening {
    /// When it begins.
    pub at: f64,
    /// What it is called.
    pub label: String,
}

/// When capacity runs out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunningOut {
    /// The moment in the middle.
    pub at: f64,
    /// From an early to a late moment; the end of the horizon stands for "later".
    pub interval: Option<(f64, f64)>,
    /// How it reads.
    pub label: String,
}

const HEIGHT: f64 = 540.0;

impl Growth {
    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let y = Axis::from_zero(self.most() * 1.05, 5);
            let labels = self.end_labels(&y);
            let right = room_for(labels.iter().map(|label| label.text.as_str()));
            let (left, border) = (room_for_ticks(&y), WIDTH - right);
            let begin = self.history.first().map_or(f64::NAN, |&(at, _)| at);
            let begin = if begin.is_finite() { begin } else { self.fan.first().map_or(0.0, |step| step.at) };
            let end = self.fan.last().map(|step| step.at).or(self.history.last().map(|&(at, _)| at));
            // It may run out after the last step that is drawn.
            let out = self.running_out.as_ref().map_or(f64::NAN, |out| out.at);
            let x = Axis::dates(begin, end.unwrap_or(begin + 1.0).max(out), 8);
            let markers: Vec<Marker> =
                self.markers().into_iter().filter(|marker| x.holds(marker.at)).collect();
            let above = marker_height(&markers, &x, left, border);
            let room = Room { left, top: head + 44.0 + above, right: border, bottom: HEIGHT - 58.0 };
            let plot = Plot::new(canvas, room, x, y);
            self.paint(&plot, &markers);
            plot.end_labels(&labels, right);
            plot.y_name(&self.y_name, above);
        })
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let missing = f64::NAN;
        let past = self.history.iter().map(|&(at, value)| {
            vec![at, value.unwrap_or(missing), missing, missing, missing, missing, missing]
        });
        let future = self.fan.iter().map(|step| {
            vec![step.at, missing, step.middle, step.inner.0, step.inner.1, step.outer.0, step.outer.1]
        });
        super::csv("moment_epoch_seconds,recorded,expected,lo80,hi80,lo95,hi95", past.chain(future))
    }

    fn most(&self) -> f64 {
        let middle = largest(
            self.history
                .iter()
                .filter_map(|&(_, value)| value)
                .chain(self.fan.iter().flat_map(|step| [step.middle, step.inner.1]))
                .chain(self.capacity.iter().map(|capacity| capacity.at)),
        );
        // The outer interval may be cut when it alone would dwarf the rest.
        largest(self.fan.iter().map(|step| step.outer.1)).min(1.6 * middle).max(middle)
    }

    fn end_labels(&self, y: &Axis) -> Vec<EndLabel> {
        let mut labels = Vec::new();
        if let Some(capacity) = self.capacity.iter().find(|capacity| y.holds(capacity.at)) {
            labels.push(EndLabel {
                at: capacity.at,
                text: capacity.label.clone(),
                ink: Ink::Good,
                bold: true,
            });
        }
        if let Some(last) = self.fan.last() {
            let muted =
                |at: f64, text: &str| EndLabel { at, text: text.to_owned(), ink: Ink::Muted, bold: false };
            labels.push(EndLabel {
                at: last.middle,
                text: "expected".to_owned(),
                ink: Ink::Main,
                bold: true,
            });
            labels.push(muted(last.inner.1, "80 % interval"));
            labels.push(muted(last.outer.1, "95 % interval"));
        }
        labels
    }

    fn paint(&self, plot: &Plot<'_, '_>, markers: &[Marker]) {
        let today = self.today.or(self.fan.first().map(|step| step.at)).filter(|&at| plot.x.holds(at));
        if let Some(today) = today {
            plot.column(plot.x.low, today, Ink::Shade, 1.0);
        }
        plot.grid();
        if let Some(capacity) = &self.capacity {
            if let Some((low, high)) = capacity.interval {
                plot.row(low, high, Ink::Good, 0.14);
            }
            plot.level(capacity.at, Stroke::new(Ink::Good, 2.2));
        }
        let outer: Vec<_> = self.fan.iter().map(|step| (step.at, step.outer.0, step.outer.1)).collect();
        let inner: Vec<_> = self.fan.iter().map(|step| (step.at, step.inner.0, step.inner.1)).collect();
        plot.band(&outer, Ink::Main, 0.13);
        plot.band(&inner, Ink::Main, 0.20);
        self.paint_history(plot);
        let middle: Vec<_> = self.fan.iter().map(|step| (step.at, step.middle)).collect();
        plot.curve(&middle, Stroke::new(Ink::Main, if middle.len() > 120 { 1.5 } else { 2.2 }));
        plot.floor("date (UTC)");
        plot.markers(markers);
        if let Some(today) = today {
            let (x, y) = (plot.x.place(today), plot.room.bottom - 8.0);
            let letters = Letters::new(Ink::Muted, size::TICK).rimmed();
            plot.canvas.text((x - 7.0, y), "recorded", letters.aligned(crate::svg::Align::Right));
            plot.canvas.text((x + 7.0, y), "forecast", letters);
            plot.canvas
                .line(&[(x, plot.room.top), (x, plot.room.bottom)], Stroke::new(Ink::Muted, 1.0).dotted());
        }
        if let (Some(out), Some(capacity)) = (&self.running_out, &self.capacity) {
            plot.point((out.at, capacity.at), None, false, Ink::Alarm);
        }
    }

    fn paint_history(&self, plot: &Plot<'_, '_>) {
        for piece in self.history.split(|(_, value)| value.is_none()) {
            let values: Vec<_> = piece.iter().filter_map(|&(at, value)| Some((at, value?))).collect();
            plot.curve(&values, Stroke::new(Ink::Text, 1.2).faded(0.8));
        }
        let known = self.history.iter().filter(|(_, value)| value.is_some()).count();
        if known <= 120 {
            for (at, value) in self.history.iter().filter_map(|&(at, value)| Some((at, value?))) {
                if plot.x.holds(at) && plot.y.holds(value) {
                    plot.canvas.dot(plot.at(at, value), 1.8, Ink::Text);
                }
            }
        }
    }

    fn markers(&self) -> Vec<Marker> {
        let out = self.running_out.iter().map(|out| Marker {
            at: out.at,
            interval: out.interval,
            text: out.label.clone(),
            ink: Ink::Alarm,
            stroke: Stroke::new(Ink::Alarm, 2.0),
        });
        let events = self.events.iter().map(|event| Marker {
            at: event.at,
            interval: None,
            text: event.label.clone(),
            ink: Ink::Event,
            stroke: Stroke::new(Ink::Event, 1.2).dashed(),
        });
        out.chain(events).collect()
    }
}
