//! A plot: two axes, a grid, and the marks every chart is made of.
//!
//! Marks are given in values and clipped to the plot. What lies at the border of a plot (names, ticks,
//! labels at the ends of lines, markers above) is drawn here, so that all charts look alike.
//!
//! Invariant: the room of a plot has a width and a height, whatever lies around it.

use std::collections::BTreeSet;

use crate::axis::Axis;
use crate::chart::{Dot, WIDTH};
use crate::label::{self, Room, width_of};
use crate::svg::{Align, Canvas, Letters, Px, Stroke};
use crate::theme::{Ink, size};
use crate::words;

/// Two axes on a canvas.
pub(crate) struct Plot<'c, 'a> {
    pub(crate) canvas: &'c Canvas<'a>,
    pub(crate) room: Room,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
}

/// A label right of the plot, at the end of a line.
pub(crate) struct EndLabel {
    /// The value on the y axis.
    pub(crate) at: f64,
    pub(crate) text: String,
    pub(crate) ink: Ink,
    pub(crate) bold: bool,
}

/// A vertical line with a label above the plot, and the interval it stands in.
pub(crate) struct Marker {
    pub(crate) at: f64,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) text: String,
    pub(crate) ink: Ink,
    pub(crate) stroke: Stroke,
}

/// One step of a band: a place on the x axis, the lower and the upper value.
pub(crate) type BandAt = (f64, f64, f64);

/// The height of one row of marker labels above a plot.
pub(crate) const MARKER_ROW: f64 = 18.0;

/// More rows of labels than this would eat the plot. What has no row is a line without a label.
const MOST_ROWS: usize = 8;

/// A series with more dots than this is thinned.
const MOST_DOTS: usize = 400;

/// The side of a square in which a thinned series has one dot of a kind.
const CELL: f64 = 6.0;

/// The least width and height of a plot.
const LEAST_SIDE: f64 = 20.0;

impl<'c, 'a> Plot<'c, 'a> {
    pub(crate) fn new(canvas: &'c Canvas<'a>, room: Room, x: Axis, y: Axis) -> Self {
        let room = Room {
            right: room.right.max(room.left + LEAST_SIDE),
            bottom: room.bottom.max(room.top + LEAST_SIDE),
            ..room
        };
        let (x, y) = (x.between(room.left, room.right), y.between(room.bottom, room.top));
        Self { canvas, room, x, y }
    }

    /// The place of a value.
    pub(crate) fn at(&self, x: f64, y: f64) -> Px {
        (self.x.place(x), self.y.place(y))
    }

    /// Whether `point` lies in the plot.
    pub(crate) fn holds(&self, point: &Dot) -> bool {
        self.x.holds(point.x) && self.y.holds(point.y)
    }

    /// The room that the dot of `point` takes.
    pub(crate) fn room_of(&self, point: &Dot) -> Room {
        let (x, y) = self.at(point.x, point.y);
        Room { left: x - 6.0, top: y - 6.0, right: x + 6.0, bottom: y + 6.0 }
    }

    /// Those of `points` that are drawn: all in the plot, or of very many as many as an eye tells apart.
    ///
    /// Where dots crowd, one stands for its neighbours of the same kind.
    pub(crate) fn told_apart<'d>(&self, points: &'d [Dot]) -> Vec<&'d Dot> {
        let inside: Vec<&Dot> = points.iter().filter(|point| self.holds(point)).collect();
        if inside.len() <= MOST_DOTS {
            return inside;
        }
        let mut seen = BTreeSet::new();
        let cell = |point: &Dot| {
            let (x, y) = self.at(point.x, point.y);
            ((x / CELL).floor() as i32, (y / CELL).floor() as i32, point.saturated)
        };
        let apart: Vec<&Dot> = inside.into_iter().filter(|point| seen.insert(cell(point))).collect();
        let every = apart.len().div_ceil(MOST_DOTS).max(1);
        apart.into_iter().step_by(every).collect()
    }

    /// Says above the plot, `above` the labels of markers, that only `drawn` of `all` dots are there.
    pub(crate) fn say_thinned(&self, drawn: usize, all: usize, above: f64) {
        if drawn < all && all > MOST_DOTS {
            let text = format!("{} of {} dots drawn", words::count(drawn as u64), words::count(all as u64));
            let letters = Letters::new(Ink::Muted, size::TICK).aligned(Align::Right);
            self.canvas.text((self.room.right, self.room.top - 13.0 - above), &text, letters);
        }
    }

    /// Horizontal lines with their values on the left.
    pub(crate) fn grid(&self) {
        let Room { left, right, .. } = self.room;
        for tick in &self.y.ticks {
            let y = self.y.place(tick.at);
            self.canvas.line(&[(left, y), (right, y)], Stroke::new(Ink::Faint, 1.0));
            let letters = Letters::new(Ink::Muted, size::TICK).aligned(Align::Right);
            self.canvas.text((left - 8.0, y + 4.0), &tick.label, letters);
        }
    }

    /// The axis at the bottom with its values and its name.
    pub(crate) fn floor(&self, name: &str) {
        self.baseline();
        let Room { left, right, bottom, .. } = self.room;
        let letters = Letters::new(Ink::Muted, size::TICK).aligned(Align::Middle);
        let mut free_from = f64::NEG_INFINITY;
        for tick in &self.x.ticks {
            let x = self.x.place(tick.at);
            self.canvas.line(&[(x, bottom), (x, bottom + 5.0)], Stroke::new(Ink::Muted, 1.0));
            let half = width_of(&tick.label, size::TICK) / 2.0;
            if x - half > free_from {
                self.canvas.text((x, bottom + 19.0), &tick.label, letters);
                free_from = x + half + 6.0;
            }
        }
        let middle = f64::midpoint(left, right);
        let letters = Letters::new(Ink::Text, size::LABEL).aligned(Align::Middle);
        self.canvas.text((middle, bottom + 40.0), name, letters);
    }

    /// The line at the bottom alone.
    pub(crate) fn baseline(&self) {
        let Room { left, right, bottom, .. } = self.room;
        self.canvas.line(&[(left, bottom), (right, bottom)], Stroke::new(Ink::Muted, 1.2));
    }

    /// The name of the y axis, upright, `above` the labels of markers.
    pub(crate) fn y_name(&self, name: &str, above: f64) {
        let widest = self.y.ticks.iter().map(|tick| width_of(&tick.label, size::TICK)).fold(0.0, f64::max);
        let left = self.room.left - 8.0 - widest;
        self.canvas.text((left, self.room.top - 13.0 - above), name, Letters::new(Ink::Text, size::LABEL));
    }

    /// A line through values, clipped to the plot; the places it goes through.
    pub(crate) fn curve(&self, values: &[(f64, f64)], stroke: Stroke) -> Vec<Px> {
        let places: Vec<Px> = values
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|&(x, y)| self.at(x, y))
            .collect();
        let mut drawn = Vec::new();
        for piece in clipped(&places, &self.room) {
            self.canvas.line(&piece, stroke);
            drawn.extend(piece);
        }
        drawn
    }

    /// A filled band, cut off at the border of the plot.
    pub(crate) fn band(&self, steps: &[BandAt], ink: Ink, opacity: f64) {
        let inside: Vec<&BandAt> = steps
            .iter()
            .filter(|(x, low, high)| self.x.holds(*x) && low.is_finite() && !high.is_nan())
            .collect();
        let cut = |value: f64| self.y.place(value).clamp(self.room.top, self.room.bottom);
        let upper = inside.iter().map(|(x, _, high)| (self.x.place(*x), cut(*high)));
        let lower = inside.iter().rev().map(|(x, low, _)| (self.x.place(*x), cut(*low)));
        let outline: Vec<Px> = upper.chain(lower).collect();
        self.canvas.polygon(&outline, ink, opacity);
    }

    /// The whole height between two values of the x axis.
    pub(crate) fn column(&self, from: f64, to: f64, ink: Ink, opacity: f64) {
        let Room { left, top, right, bottom } = self.room;
        let (from, to) = (self.x.place(from).clamp(left, right), self.x.place(to).clamp(left, right));
        if to - from > 0.05 {
            self.canvas.rectangle((from, top), (to, bottom), ink, opacity);
        }
    }

    /// The whole width between two values of the y axis.
    pub(crate) fn row(&self, low: f64, high: f64, ink: Ink, opacity: f64) {
        let Room { left, top, right, bottom } = self.room;
        let (low, high) = (self.y.place(low).clamp(top, bottom), self.y.place(high).clamp(top, bottom));
        if low - high > 0.05 {
            self.canvas.rectangle((left, high), (right, low), ink, opacity);
        }
    }

    /// A horizontal line across the plot; none when it lies outside.
    pub(crate) fn level(&self, value: f64, stroke: Stroke) {
        if self.y.holds(value) {
            let y = self.y.place(value);
            self.canvas.line(&[(self.room.left, y), (self.room.right, y)], stroke);
        }
    }

    /// A dot with its error bar; a ring when it is `hollow`.
    pub(crate) fn point(&self, (x, y): (f64, f64), error: Option<(f64, f64)>, hollow: bool, ink: Ink) {
        const RADIUS: f64 = 4.2;
        if !self.x.holds(x) || !self.y.holds(y) {
            return;
        }
        let at = self.at(x, y);
        if let Some((low, high)) = error {
            let cut = |value: f64| self.y.place(value).clamp(self.room.top, self.room.bottom);
            let (low, high) = (cut(low), cut(high));
            if low - high > 2.0 {
                let stroke = Stroke::new(ink, 1.2);
                self.canvas.line(&[(at.0, low), (at.0, high)], stroke);
                for end in [low, high] {
                    self.canvas.line(&[(at.0 - 3.5, end), (at.0 + 3.5, end)], stroke);
                }
            }
        }
        if hollow {
            self.canvas.ring(at, RADIUS, ink);
        } else {
            self.canvas.dot(at, RADIUS + 1.4, Ink::Paper);
            self.canvas.dot(at, RADIUS, ink);
        }
    }

    /// Labels right of the plot, moved apart where they would touch.
    pub(crate) fn end_labels(&self, labels: &[EndLabel], room: f64) {
        const GAP: f64 = 17.0;
        let Room { top, right, bottom, .. } = self.room;
        let wanted: Vec<f64> = labels.iter().map(|label| self.y.place(label.at).clamp(top, bottom)).collect();
        let places = label::spread(&wanted, GAP, top - 2.0, bottom);
        for ((label, &from), &to) in labels.iter().zip(&wanted).zip(&places) {
            if (to - from).abs() > 3.0 {
                let stroke = Stroke::new(label.ink, 0.8).faded(0.6);
                self.canvas.line(&[(right + 1.0, from), (right + 8.0, to)], stroke);
            }
            let mut letters = Letters::new(label.ink, size::LABEL);
            letters.bold = label.bold;
            let text = label::cut_to(&label.text, size::LABEL, room - 12.0);
            self.canvas.text((right + 11.0, to + 4.5), &text, letters);
        }
    }

    /// Vertical lines with labels in rows above the plot.
    pub(crate) fn markers(&self, markers: &[Marker]) {
        let Room { left, top, right, bottom } = self.room;
        let rows = marker_rows(markers, &self.x, left, right);
        for (marker, place) in markers.iter().zip(&rows) {
            let x = self.x.place(marker.at);
            if let Some((low, high)) = marker.interval {
                self.column(low, high, marker.ink, 0.13);
            }
            let Some((row, begin)) = *place else {
                self.canvas.line(&[(x, bottom), (x, top)], marker.stroke);
                continue;
            };
            let base = top - 8.0 - row as f64 * MARKER_ROW;
            // Below the descenders of its own label.
            self.canvas.line(&[(x, bottom), (x, base + 5.0)], marker.stroke);
            let letters = Letters::new(marker.ink, size::LABEL).bold().rimmed();
            let text = label::cut_to(&marker.text, size::LABEL * 1.05, label_end(right) - left);
            self.canvas.text((begin, base), &text, letters);
        }
    }
}

/// The height above a plot that labels of `markers` take, when the plot reaches from `left` to `right`.
pub(crate) fn marker_height(markers: &[Marker], x: &Axis, left: f64, right: f64) -> f64 {
    let x = x.clone().between(left, right);
    let rows = marker_rows(markers, &x, left, right).into_iter().flatten().map(|(row, _)| row + 1).max();
    rows.unwrap_or(0) as f64 * MARKER_ROW
}

/// How far right the label of a marker may reach, when the plot ends at `right`.
fn label_end(right: f64) -> f64 {
    (right + 60.0).min(WIDTH - 8.0)
}

/// For each marker its row, counted from the plot upwards, and where its label begins; `None` when all rows
/// are full.
///
/// Short labels lie low: a line ends below its own label, so it crosses only labels in lower rows, and those
/// are kept clear of it.
fn marker_rows(markers: &[Marker], x: &Axis, left: f64, right: f64) -> Vec<Option<(usize, f64)>> {
    const BESIDE: f64 = 7.0;
    let end = label_end(right);
    let width = |marker: &Marker| width_of(&marker.text, size::LABEL * 1.05).min(end - left);
    let widths: Vec<f64> = markers.iter().map(width).collect();
    let mut order: Vec<usize> = (0..markers.len()).collect();
    order.sort_by(|&one, &other| widths[one].total_cmp(&widths[other]));
    let mut rows: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut places = vec![None; markers.len()];
    for (rank, &at) in order.iter().enumerate() {
        let (place, width) = (x.place(markers[at].at), widths[at]);
        let within = |begin: f64| begin.min(end - width).max(left);
        let crossed = |begin: f64| {
            order[rank + 1..].iter().any(|&other| {
                let line = x.place(markers[other].at);
                line > begin - BESIDE + 1.0 && line < begin + width + BESIDE - 1.0
            })
        };
        let free = |row: &[(f64, f64)], begin: f64| {
            row.iter().all(|&(from, to)| begin > to + 10.0 || begin + width < from - 10.0)
        };
        let centred = within(place - width / 2.0);
        let candidates = [centred, within(place + BESIDE), within(place - width - BESIDE)];
        let found = (0..=rows.len()).take(MOST_ROWS).find_map(|row| {
            let taken = rows.get(row).map_or(&[][..], Vec::as_slice);
            let begin = candidates.into_iter().find(|&begin| free(taken, begin) && !crossed(begin))?;
            Some((row, begin))
        });
        let above = (rows.len() < MOST_ROWS).then_some((rows.len(), centred));
        let Some((row, begin)) = found.or(above) else { continue };
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push((begin, begin + width));
        places[at] = Some((row, begin));
    }
    places
}

/// The pieces of a line that lie in `room`. Source: Liang and Barsky, *A New Concept and Method for Line
/// Clipping* (1984).
fn clipped(line: &[Px], room: &Room) -> Vec<Vec<Px>> {
    let mut pieces: Vec<Vec<Px>> = Vec::new();
    for pair in line.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        let mut outside = false;
        for (towards, distance) in [
            (-across, from.0 - room.left),
            (across, room.right - from.0),
            (-down, from.1 - room.top),
            (down, room.bottom - from.1),
        ] {
            if towards == 0.0 {
                outside |= distance < 0.0;
            } else if towards < 0.0 {
                enter = enter.max(distance / towards);
            } else {
                leave = leave.min(distance / towards);
            }
        }
        if outside || enter > leave {
            continue;
        }
        let at = |share: f64| (from.0 + across * share, from.1 + down * share);
        let (begin, end) = (at(enter), at(leave));
        match pieces.last_mut() {
            Some(piece) if enter == 0.0 && piece.last() == Some(&begin) => piece.push(end),
            _ => pieces.push(vec![begin, end]),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(at: f64, text: &str) -> Marker {
        let stroke = Stroke::new(Ink::Good, 1.0);
        Marker { at, interval: None, text: text.to_owned(), ink: Ink::Good, stroke }
    }

    #[test]
    fn no_line_of_a_marker_crosses_the_label_of_another() {
        let x = Axis::to_edge(1_000.0, 5).between(0.0, 1_000.0);
        let long = "a label that is so long that it reaches the other marker";
        // At one place: side by side. Near each other: the long one above.
        assert!(matches!(
            marker_rows(&[marker(500.0, "short"), marker(500.0, long)], &x, 0.0, 1_000.0)[..],
            [Some((0, short)), Some((0, beside))] if short > 500.0 && beside < 500.0
        ));
        assert!(matches!(
            marker_rows(&[marker(900.0, long), marker(800.0, "short")], &x, 0.0, 1_000.0)[..],
            [Some((1, _)), Some((0, _))]
        ));
    }

    #[test]
    fn labels_of_many_markers_leave_room_for_the_plot() {
        let x = Axis::to_edge(1_000.0, 5);
        let many: Vec<Marker> = (0..200).map(|at| marker(500.0 + f64::from(at), "an event")).collect();

        assert_eq!(marker_height(&many, &x, 0.0, 900.0), MOST_ROWS as f64 * MARKER_ROW);
    }

    #[test]
    fn a_line_is_cut_where_it_leaves_and_begins_again_where_it_returns() {
        let room = Room { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
        let line = [(-5.0, 5.0), (5.0, 5.0), (5.0, 20.0), (8.0, 20.0), (8.0, 5.0)];

        assert_eq!(
            clipped(&line, &room),
            [vec![(0.0, 5.0), (5.0, 5.0), (5.0, 10.0)], vec![(8.0, 10.0), (8.0, 5.0)]]
        );
        assert!(clipped(&[(-5.0, -5.0), (-1.0, 20.0)], &room).is_empty());
    }
}
