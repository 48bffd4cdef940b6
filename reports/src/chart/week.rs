//! The hours of a week as a map: how busy each usually is, the busiest told.

use super::{Caption, EDGE, WIDTH, largest};
use crate::svg::{Align, Letters, picture};
use crate::theme::{Ink, size};

/// The data of the chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Week {
    /// What is written over it.
    pub caption: Caption,
    /// By day from Monday, then by hour: the usual value; `None` when unknown.
    pub hours: Vec<[Option<f64>; 24]>,
    /// The unit of the values.
    pub unit: String,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const CELL: f64 = 34.0;
const HEAD: f64 = 34.0;

impl Week {
    /// The picture.
    pub fn svg(&self) -> String {
        let height = self.caption.height() + HEAD + 7.0 * CELL + 76.0;
        picture(&self.caption.frame(height), |canvas| {
            let top = self.caption.write(canvas) + HEAD;
            let left = EDGE + 44.0;
            let wide = (WIDTH - EDGE - left) / 24.0;
            let most = largest(self.hours.iter().flatten().flatten().copied());
            let muted = Letters::new(Ink::Muted, size::TICK);
            for (day, hours) in self.hours.iter().enumerate().take(7) {
                let y = top + day as f64 * CELL;
                canvas.text((left - 10.0, y + CELL / 2.0 + 4.0), DAYS[day], muted.aligned(Align::Right));
                for (hour, value) in hours.iter().enumerate() {
                    let x = left + hour as f64 * wide;
                    let corners = ((x + 1.0, y + 1.0), (x + wide - 1.0, y + CELL - 1.0));
                    let Some(value) = value.filter(|value| value.is_finite() && most > 0.0) else {
                        canvas.rectangle(corners.0, corners.1, Ink::Faint, 0.5);
                        continue;
                    };
                    let share = (value / most).clamp(0.0, 1.0);
                    canvas.rectangle(corners.0, corners.1, Ink::Main, 0.06 + 0.94 * share);
                    if value >= most {
                        let text = crate::words::number(value);
                        let letters =
                            Letters::new(Ink::Text, size::TICK).bold().rimmed().aligned(Align::Middle);
                        canvas.text((x + wide / 2.0, y + CELL / 2.0 + 4.0), &text, letters);
                    }
                }
            }
            let foot = top + 7.0 * CELL;
            for hour in (0..24).step_by(3) {
                let x = left + hour as f64 * wide;
                canvas.text((x, foot + 18.0), &format!("{hour:02}:00"), muted);
            }
            self.paint_scale(canvas, foot + 34.0, left, most);
        })
    }

    /// What the colours mean.
    fn paint_scale(&self, canvas: &crate::svg::Canvas<'_>, top: f64, left: f64, most: f64) {
        let letters = Letters::new(Ink::Muted, size::TICK);
        for step in 0..10 {
            let x = left + f64::from(step) * 22.0;
            canvas.rectangle(
                (x, top),
                (x + 21.0, top + 12.0),
                Ink::Main,
                0.06 + 0.94 * f64::from(step) / 9.0,
            );
        }
        let text = format!("0 to {} {}", crate::words::number(most), self.unit);
        canvas.text((left + 232.0, top + 11.0), &text, letters);
    }

    /// The same as a table.
    pub fn csv(&self) -> String {
        let mut text = String::from("weekday,hour,value\n");
        for (day, hours) in self.hours.iter().enumerate().take(7) {
            for (hour, value) in hours.iter().enumerate() {
                let value = value.filter(|it| it.is_finite()).map_or_else(String::new, |it| it.to_string());
                text.push_str(&format!("{},{hour},{value}\n", DAYS[day]));
            }
        }
        text
    }
}
