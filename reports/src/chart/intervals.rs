//! Amounts with their intervals, one a row: what each route costs.

use super::{Caption, EDGE, WIDTH, csv_cell, largest};
use crate::axis::Axis;
use crate::label::{Room, cut_to, width_of};
use crate::plot::Plot;
use crate::svg::{Align, Letters, Stroke, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intervals {
    /// What is written over it.
    pub caption: Caption,
    /// The name and unit of the amounts.
    pub x_name: String,
    /// From above.
    pub rows: Vec<IntervalRow>,
}

/// One amount.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalRow {
    /// Whose it is.
    pub name: String,
    /// The amount.
    pub value: f64,
    /// Its interval.
    pub interval: (f64, f64),
    /// What is written behind it.
    pub label: String,
    /// Whether it is the one to look at.
    pub marked: bool,
}

const ROW: f64 = 34.0;

impl Intervals {
    /// The picture.
    pub fn svg(&self) -> String {
        let rows = self.rows.len().max(1) as f64;
        picture(&self.caption.frame(self.caption.height() + 24.0 + ROW * rows + 62.0), |canvas| {
            let head = self.caption.write(canvas);
            let widest = |texts: &mut dyn Iterator<Item = &String>| {
                texts.map(|text| width_of(text, size::LABEL) * 1.04).fold(0.0, f64::max)
            };
            let names = widest(&mut self.rows.iter().map(|row| &row.name)).min(300.0);
            let labels = widest(&mut self.rows.iter().map(|row| &row.label)).min(240.0);
            let most = largest(self.rows.iter().flat_map(|row| [row.value, row.interval.1]));
            let top = head + 24.0;
            let room = Room {
                left: EDGE + names + 16.0,
                top,
                right: WIDTH - labels - EDGE - 12.0,
                bottom: top + ROW * rows,
            };
            let plot = Plot::new(canvas, room, Axis::from_zero(most, 5), Axis::to_edge(rows, 1));
            for tick in &plot.x.ticks {
                let x = plot.x.place(tick.at);
                canvas.line(&[(x, plot.room.top), (x, plot.room.bottom)], Stroke::new(Ink::Faint, 1.0));
            }
            for (at, row) in self.rows.iter().enumerate() {
                paint(&plot, row, plot.room.top + ROW * (at as f64 + 0.5), names);
            }
            plot.floor(&self.x_name);
        })
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let mut text = String::from("name,value,low,high\n");
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        for row in &self.rows {
            let cells = [row.value, row.interval.0, row.interval.1].map(number).join(",");
            text.push_str(&format!("{},{cells}\n", csv_cell(&row.name)));
        }
        text
    }
}

fn paint(plot: &Plot<'_, '_>, row: &IntervalRow, y: f64, names: f64) {
    let Room { left, right, .. } = plot.room;
    let ink = if row.marked { Ink::Alarm } else { Ink::Main };
    let mut letters = Letters::new(Ink::Text, size::LABEL).aligned(Align::Right);
    letters.bold = row.marked;
    plot.canvas.text((left - 10.0, y + 4.5), &cut_to(&row.name, size::LABEL, names), letters);
    let place = |value: f64| plot.x.place(value).clamp(left, right);
    let (low, high) = (place(row.interval.0), place(row.interval.1));
    let stroke = Stroke::new(ink, 1.6);
    plot.canvas.line(&[(low, y), (high, y)], stroke);
    for end in [low, high] {
        plot.canvas.line(&[(end, y - 4.0), (end, y + 4.0)], stroke);
    }
    plot.canvas.dot((place(row.value), y), 5.0, ink);
    let letters = Letters::new(Ink::Text, size::LABEL);
    plot.canvas.text((right + 12.0, y + 4.5), &row.label, letters);
}
