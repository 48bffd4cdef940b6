//! Throughput against load: points, the fitted curve with its band, the families, the ceiling, the ideal.

use super::{Caption, Dot, Mark, Step, dot_label, largest, room_for, room_for_ticks, split_at};
use crate::axis::Axis;
use crate::label::{Placer, Room, width_of};
use crate::plot::{EndLabel, Marker, Plot, marker_height};
use crate::svg::{Align, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throughput {
    /// What is written over it.
    pub caption: Caption,
    /// The name and unit of the x axis.
    pub x_name: String,
    /// Whether the x axis is logarithmic: for concurrency, which spans decades.
    pub x_logarithmic: bool,
    /// The name and unit of the y axis.
    pub y_name: String,
    /// What was measured.
    pub points: Vec<Dot>,
    /// The fitted curve; may be empty.
    pub curve: Vec<Step>,
    /// What the curve is called at its end.
    pub curve_name: String,
    /// Other curves, drawn thin.
    pub families: Vec<Family>,
    /// The slope of the line on which nothing is lost; `None` draws none.
    pub ideal_slope: Option<f64>,
    /// The highest throughput there is.
    pub ceiling: Option<Level>,
    /// The largest measured load.
    pub measured_to: f64,
    /// The load that still meets the objective.
    pub capacity: Option<Mark>,
}

/// A thin curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// What it is called.
    pub name: String,
    /// Its values.
    pub values: Vec<(f64, f64)>,
}

/// A horizontal line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    /// Its value.
    pub at: f64,
    /// The interval it lies in.
    pub interval: Option<(f64, f64)>,
    /// What it is called.
    pub label: String,
}

const HEIGHT: f64 = 540.0;

impl Throughput {
    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let labels = self.end_labels();
            let right = room_for(labels.iter().map(|label| label.text.as_str()));
            let (x, y) = self.axes();
            let (left, border) = (room_for_ticks(&y), super::WIDTH - right);
            let markers: Vec<Marker> =
                self.capacity.iter().filter(|mark| x.holds(mark.at)).map(capacity_marker).collect();
            let above = marker_height(&markers, &x, left, border);
            let room = Room { left, top: head + 44.0 + above, right: border, bottom: HEIGHT - 58.0 };
            let plot = Plot::new(canvas, room, x, y);
            self.paint(&plot, &markers);
            plot.say_thinned(plot.told_apart(&self.points).len(), self.points.len(), above);
            plot.end_labels(&labels, right);
            plot.y_name(&self.y_name, above);
        })
    }

    fn axes(&self) -> (Axis, Axis) {
        let x_most = largest(
            self.points.iter().map(|point| point.x * 1.04).chain(self.curve.last().map(|step| step.x)).chain(
                self.capacity
                    .iter()
                    .flat_map(|mark| [mark.at, mark.interval.map_or(0.0, |(_, high)| high * 1.02)]),
            ),
        );
        let x_most = x_most.min(self.measured_to.max(1e-9) * 2.5);
        let x = if self.x_logarithmic {
            let least =
                self.points.iter().map(|point| point.x).filter(|&x| x > 0.0).fold(f64::INFINITY, f64::min);
            Axis::log_counts(least / 1.5, x_most)
        } else {
            Axis::to_edge(x_most, 8)
        };
        let y_most = largest(
            self.points
                .iter()
                .flat_map(|point| [point.y, point.interval.map_or(0.0, |(_, high)| high)])
                .chain(self.curve.iter().filter(|step| x.holds(step.x)).map(|step| step.y))
                .chain(self.ceiling.iter().map(|ceiling| ceiling.at)),
        );
        (x, Axis::from_zero(y_most * 1.1, 5))
    }

    fn end_labels(&self) -> Vec<EndLabel> {
        let mut labels = Vec::new();
        if let Some(ceiling) = &self.ceiling {
            labels.push(EndLabel {
                at: ceiling.at,
                text: ceiling.label.clone(),
                ink: Ink::Alarm,
                bold: false,
            });
        }
        if let Some(last) = self.curve.last() {
            labels.push(EndLabel { at: last.y, text: self.curve_name.clone(), ink: Ink::Main, bold: true });
        }
        for family in &self.families {
            if let Some(&(_, y)) = family.values.last() {
                labels.push(EndLabel { at: y, text: family.name.clone(), ink: Ink::Muted, bold: false });
            }
        }
        labels
    }

    /// The same as a table: first the points, then the curve.
    pub fn csv(&self) -> String {
        let missing = f64::NAN;
        let points = self.points.iter().map(|dot| {
            let (low, high) = dot.interval.unwrap_or((missing, missing));
            vec![dot.x, dot.y, low, high, f64::from(u8::from(dot.saturated)), missing, missing, missing]
        });
        let curve = self
            .curve
            .iter()
            .map(|step| vec![step.x, missing, missing, missing, missing, step.y, step.low, step.high]);
        super::csv("load,measured,low,high,saturated,fitted,fitted_low,fitted_high", points.chain(curve))
    }

    fn paint(&self, plot: &Plot<'_, '_>, markers: &[Marker]) {
        let mut placer = Placer::new(plot.room);
        plot.column(0.0, self.measured_to, Ink::Shade, 1.0);
        plot.grid();
        if let Some(ceiling) = &self.ceiling {
            if let Some((low, high)) = ceiling.interval {
                plot.row(low, high, Ink::Alarm, 0.10);
            }
            plot.level(ceiling.at, Stroke::new(Ink::Alarm, 1.4).dotted());
        }
        let mut ideal = Vec::new();
        if let Some(slope) = self.ideal_slope {
            let far = plot.x.high;
            ideal = plot.curve(&[(0.0, 0.0), (far, far * slope)], Stroke::new(Ink::Muted, 1.2).dashed());
        }
        for family in &self.families {
            plot.curve(&family.values, Stroke::new(Ink::Muted, 1.0).faded(0.75));
        }
        let band: Vec<_> = self.curve.iter().map(|step| (step.x, step.low, step.high)).collect();
        plot.band(&band, Ink::Main, 0.16);
        let line: Vec<_> = self.curve.iter().map(|step| (step.x, step.y)).collect();
        let (inner, outer) = split_at(&line, self.measured_to);
        placer.take_line(&plot.curve(&inner, Stroke::new(Ink::Main, 2.6)));
        placer.take_line(&plot.curve(&outer, Stroke::new(Ink::Main, 2.2).dashed()));
        plot.floor(&self.x_name);
        plot.markers(markers);
        self.paint_border(plot, &mut placer);
        if let Some(ceiling) = &self.ceiling {
            let y = plot.y.place(ceiling.at);
            placer.take_line(&[(plot.room.left, y), (plot.room.right, y)]);
        }
        if let Some(mark) = &self.capacity {
            let x = plot.x.place(mark.at);
            placer.take_line(&[(x, plot.room.top), (x, plot.room.bottom)]);
        }
        placer.take_line(&ideal);
        self.paint_points(plot, &mut placer);
        paint_ideal_name(plot, &ideal, &mut placer);
    }

    /// Where what was measured ends.
    fn paint_border(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        if plot.x.high <= self.measured_to * 1.08 {
            return;
        }
        let (x, y) = (plot.x.place(self.measured_to), plot.room.bottom - 8.0);
        placer.take_line(&[(x, plot.room.top), (x, plot.room.bottom)]);
        plot.canvas.line(&[(x, plot.room.top), (x, plot.room.bottom)], Stroke::new(Ink::Muted, 1.0).dotted());
        let letters = Letters::new(Ink::Muted, size::TICK).rimmed();
        plot.canvas.text((x - 7.0, y), "measured", letters.aligned(Align::Right));
        if plot.room.right - x > 90.0 {
            plot.canvas.text((x + 7.0, y), "extrapolated", letters);
        }
    }

    fn paint_points(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        let points = plot.told_apart(&self.points);
        for point in &points {
            plot.point((point.x, point.y), point.interval, point.saturated, Ink::Main);
            placer.take(plot.room_of(point));
            if let Some((low, high)) = point.interval {
                let (x, cut) = (plot.x.place(point.x), |y: f64| plot.y.place(y));
                placer.take(Room { left: x - 4.0, top: cut(high), right: x + 4.0, bottom: cut(low) });
            }
        }
        dot_label::paint(plot, &points, placer);
    }
}

/// Names the ideal line along its way, where nothing is in the way.
fn paint_ideal_name(plot: &Plot<'_, '_>, line: &[(f64, f64)], placer: &mut Placer) {
    let (Some(&from), Some(&to)) = (line.first(), line.last()) else { return };
    let text = "nothing lost";
    let width = width_of(text, size::TICK);
    // Far up, where the line stands apart from the curve.
    let candidates: Vec<Room> = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5]
        .iter()
        .flat_map(|share| {
            let (x, y) = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            let above = Room { left: x - width - 10.0, top: y - 12.0, right: x - 10.0, bottom: y + 2.0 };
            [above, Room { left: x + 10.0, top: y, right: x + width + 10.0, bottom: y + 14.0 }]
        })
        .collect();
    if let Some(best) = placer.place(&candidates) {
        let letters = Letters::new(Ink::Muted, size::TICK).rimmed();
        plot.canvas.text((candidates[best].left, candidates[best].bottom - 3.0), text, letters);
    }
}

/// The marker of a capacity, the same in every chart.
pub(crate) fn capacity_marker(mark: &Mark) -> Marker {
    Marker {
        at: mark.at,
        interval: mark.interval,
        text: mark.label.clone(),
        ink: Ink::Good,
        stroke: Stroke::new(Ink::Good, 2.0),
    }
}
