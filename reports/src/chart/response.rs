//! Response quantiles against offered load, on a logarithmic axis, with the limit and the capacity.

use std::cmp::Ordering;

use super::throughput::capacity_marker;
use super::{Caption, Dot, EDGE, Limit, Mark, Step, largest, room_for_ticks, split_at};
use crate::axis::Axis;
use crate::label::{Placer, Room, width_of};
use crate::plot::{Marker, Plot, marker_height};
use crate::svg::{Align, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart; responses in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// What is written over it.
    pub caption: Caption,
    /// The name and unit of the x axis.
    pub x_name: String,
    /// One line for each quantile, lowest first.
    pub lines: Vec<ResponseLine>,
    /// The limits of the objective.
    pub limits: Vec<Limit>,
    /// The largest measured load.
    pub measured_to: f64,
    /// The load that still meets the objective.
    pub capacity: Option<Mark>,
}

/// One quantile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseLine {
    /// What it is called: `p95`.
    pub name: String,
    /// What was measured.
    pub points: Vec<Dot>,
    /// The fitted curve; may be empty.
    pub curve: Vec<Step>,
    /// Whether a limit is about it: drawn stronger, with its band.
    pub limited: bool,
}

const HEIGHT: f64 = 540.0;

impl Response {
    /// The same as a table: by line first the points, then the curve.
    pub fn csv(&self) -> String {
        let mut text = String::from("measure,load,measured_ms,fitted_ms,low_ms,high_ms\n");
        for line in &self.lines {
            let name = super::csv_cell(&line.name);
            for dot in &line.points {
                text.push_str(&format!("{name},{},{},,,\n", dot.x, dot.y));
            }
            for step in &line.curve {
                text.push_str(&format!("{name},{},,{},{},{}\n", step.x, step.y, step.low, step.high));
            }
        }
        text
    }

    /// The picture.
    pub fn svg(&self) -> String {
        picture(&self.caption.frame(HEIGHT), |canvas| {
            let head = self.caption.write(canvas);
            let (x, y) = self.axes();
            let (left, border) = (room_for_ticks(&y), super::WIDTH - EDGE);
            let markers: Vec<Marker> =
                self.capacity.iter().filter(|mark| x.holds(mark.at)).map(capacity_marker).collect();
            let above = marker_height(&markers, &x, left, border);
            let room = Room { left, top: head + 44.0 + above, right: border, bottom: HEIGHT - 58.0 };
            let plot = Plot::new(canvas, room, x, y);
            self.paint(&plot, &markers);
            if let Some(most) = self.lines.iter().map(|line| &line.points).max_by_key(|points| points.len()) {
                plot.say_thinned(plot.told_apart(most).len(), most.len(), above);
            }
            plot.y_name("response (answer complete − ready to send), logarithmic", above);
        })
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x_most = largest(
            points()
                .map(|point| point.x * 1.04)
                .chain(self.lines.iter().filter_map(|line| line.curve.last()).map(|step| step.x))
                .chain(
                    self.capacity
                        .iter()
                        .flat_map(|mark| [mark.at, mark.interval.map_or(0.0, |(_, high)| high * 1.02)]),
                ),
        );
        let x = Axis::to_edge(x_most.min(self.measured_to.max(1e-9) * 2.5), 8);
        let measured = largest(points().map(|point| point.y));
        let limited = largest(self.limits.iter().map(|limit| limit.at));
        // A curve grows without end towards the ceiling; the axis need not follow it.
        let fitted = largest(
            self.lines.iter().flat_map(|line| &line.curve).filter(|step| x.holds(step.x)).map(|step| step.y),
        )
        .min(4.0 * measured.max(limited));
        let least = points()
            .map(|point| point.y)
            .chain(self.lines.iter().filter_map(|line| line.curve.first()).map(|step| step.y))
            .filter(|&value| value > 0.0)
            .fold(f64::INFINITY, f64::min);
        let y = Axis::log_milliseconds(least / 1.8, measured.max(limited).max(fitted) * 1.35);
        (x, y)
    }

    /// The line that is limited is the subject; those below and above it have a colour each.
    fn ink_of(&self, line: usize) -> Ink {
        let subject = self.lines.iter().position(|line| line.limited).unwrap_or(self.lines.len() / 2);
        match line.cmp(&subject) {
            Ordering::Less => Ink::Second,
            Ordering::Equal => Ink::Main,
            Ordering::Greater => Ink::Third,
        }
    }

    fn paint(&self, plot: &Plot<'_, '_>, markers: &[Marker]) {
        let mut placer = Placer::new(plot.room);
        plot.column(0.0, self.measured_to, Ink::Shade, 1.0);
        plot.grid();
        for limit in &self.limits {
            plot.level(limit.at, Stroke::new(Ink::Alarm, 1.8).dashed());
        }
        plot.markers(markers);
        for (at, line) in self.lines.iter().enumerate() {
            let ink = self.ink_of(at);
            let band: Vec<_> = line.curve.iter().map(|step| (step.x, step.low, step.high)).collect();
            plot.band(&band, ink, if line.limited { 0.18 } else { 0.09 });
            let values: Vec<_> = line.curve.iter().map(|step| (step.x, step.y)).collect();
            let (inner, outer) = split_at(&values, self.measured_to);
            let width = if line.limited { 2.8 } else { 1.8 };
            placer.take_line(&plot.curve(&inner, Stroke::new(ink, width)));
            placer.take_line(&plot.curve(&outer, Stroke::new(ink, width).dashed()));
        }
        plot.floor(&self.x_name);
        for (at, line) in self.lines.iter().enumerate() {
            for point in plot.told_apart(&line.points) {
                plot.point((point.x, point.y), point.interval, point.saturated, self.ink_of(at));
                placer.take(plot.room_of(point));
            }
        }
        for limit in &self.limits {
            placer.take_line(&[plot.at(0.0, limit.at), plot.at(plot.x.high, limit.at)]);
        }
        self.paint_names(plot, &mut placer);
        self.paint_border(plot, &mut placer);
    }

    /// Where what was measured ends, and what hollow points are.
    fn paint_border(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        let letters = Letters::new(Ink::Muted, size::TICK).rimmed();
        if plot.x.high > self.measured_to * 1.08 {
            let (x, y) = (plot.x.place(self.measured_to), plot.room.bottom - 8.0);
            plot.canvas
                .line(&[(x, plot.room.top), (x, plot.room.bottom)], Stroke::new(Ink::Muted, 1.0).dotted());
            plot.canvas.text((x - 7.0, y), "measured", letters.aligned(Align::Right));
            if plot.room.right - x > 90.0 {
                plot.canvas.text((x + 7.0, y), "extrapolated", letters);
            }
        }
        self.take_capacity(plot, placer);
        self.paint_hollow(plot, placer);
    }

    /// The capacity with its interval, and the bands of the curves.
    fn take_capacity(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        let Room { top, bottom, .. } = plot.room;
        if let Some(mark) = &self.capacity {
            let (low, high) = mark.interval.unwrap_or((mark.at, mark.at));
            let (left, right) = (plot.x.place(low.min(mark.at)) - 3.0, plot.x.place(high.max(mark.at)) + 3.0);
            placer.take(Room { left, top, right, bottom });
        }
        for line in &self.lines {
            let cut = |y: f64| plot.y.place(y).clamp(top, bottom);
            let band = line.curve.iter().map(|step| (plot.x.place(step.x), cut(step.low), cut(step.high)));
            placer.take_band(&band.collect::<Vec<_>>());
        }
    }

    /// Says beside hollow points what they are.
    fn paint_hollow(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let mut hollow: Vec<_> = points
            .filter(|point| point.saturated && plot.holds(point))
            .map(|point| plot.at(point.x, point.y))
            .collect();
        // From below: what is lowest has most room around it.
        hollow.sort_by(|one, other| other.1.total_cmp(&one.1));
        let text = "hollow: in overload";
        let width = width_of(text, size::TICK);
        let candidates: Vec<Room> = hollow
            .iter()
            .take(12)
            .flat_map(|&(x, y)| {
                let room = |left: f64, top: f64| Room { left, top, right: left + width, bottom: top + 14.0 };
                [
                    room(x - width / 2.0, y + 10.0),
                    room(x - 6.0, y + 10.0),
                    room(x + 10.0, y - 7.0),
                    room(x - width + 6.0, y + 10.0),
                    room(x - width - 10.0, y - 7.0),
                    room(x - width / 2.0, y - 24.0),
                ]
            })
            .collect();
        if let Some(best) = placer.place(&candidates) {
            let letters = Letters::new(Ink::Muted, size::TICK).rimmed();
            plot.canvas.text((candidates[best].left, candidates[best].bottom - 4.0), text, letters);
        }
    }

    /// Names the lines and the limits near their beginning, where they are flat.
    fn paint_names(&self, plot: &Plot<'_, '_>, placer: &mut Placer) {
        for limit in self.limits.iter().filter(|limit| plot.y.holds(limit.at)) {
            let text = format!("SLO {}", limit.label);
            paint_name(plot, &[(0.0, limit.at), (plot.x.high, limit.at)], (&text, Ink::Alarm, true), placer);
        }
        for (at, line) in self.lines.iter().enumerate() {
            let curve: Vec<_> = line.curve.iter().map(|step| (step.x, step.y)).collect();
            let points: Vec<_> = line.points.iter().map(|point| (point.x, point.y)).collect();
            let values = if curve.len() > 1 { &curve } else { &points };
            paint_name(plot, values, (&line.name, self.ink_of(at), line.limited), placer);
        }
    }
}

/// Writes a name above or below a line, as far left as it is free.
fn paint_name(
    plot: &Plot<'_, '_>,
    line: &[(f64, f64)],
    (text, ink, bold): (&str, Ink, bool),
    placer: &mut Placer,
) {
    let width = width_of(text, size::LABEL * if bold { 1.06 } else { 1.0 });
    let mut candidates = Vec::new();
    for (up, down) in [(-20.0, -5.0), (5.0, 20.0)] {
        for share in [0.012, 0.05, 0.12, 0.2, 0.3, 0.4, 0.5] {
            let left = plot.room.left + share * (plot.room.right - plot.room.left);
            let along = line
                .iter()
                .map(|&(x, y)| plot.at(x, y))
                .min_by(|one, other| (one.0 - left).abs().total_cmp(&(other.0 - left).abs()));
            if let Some((_, y)) = along {
                candidates.push(Room { left, top: y + up, right: left + width, bottom: y + down });
            }
        }
    }
    if let Some(best) = placer.place(&candidates) {
        let mut letters = Letters::new(ink, size::LABEL).rimmed();
        letters.bold = bold;
        plot.canvas.text((candidates[best].left, candidates[best].bottom - 2.0), text, letters);
    }
}
