//! Axes: from values to places, and the ticks between.
//!
//! Ticks stand at round values (1, 2 or 5 times a power of ten; whole minutes; first days of months), so
//! that a reader can count them. A value outside the axis is placed outside; the plot clips. Whatever the
//! values, an axis has a width and its places are numbers.

use jiff::ToSpan;
use jiff::civil::{Date, date};

use crate::words;

/// A labelled place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
    /// The axis of an HDR plot: equal room for each further nine.
    Nines,
}

/// One axis of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<Tick>,
    from: f64,
    to: f64,
}

impl Axis {
    /// From zero to a round number at or above `largest`.
    pub(crate) fn from_zero(largest: f64, about: usize) -> Self {
        let largest = if largest > 0.0 { largest.clamp(1e-6, FARTHEST) } else { 1.0 };
        let step = round_step(largest / about as f64);
        let high = (largest / step - 1e-9).ceil().max(1.0) * step;
        Self::linear(0.0, high, about, words::tick)
    }

    /// From zero to exactly `high`.
    pub(crate) fn to_edge(high: f64, about: usize) -> Self {
        Self::linear(0.0, high, about, words::tick)
    }

    /// From a round number at or below `low` to one at or above `high`, zero between them.
    pub(crate) fn around_zero(low: f64, high: f64, about: usize) -> Self {
        let usable = |value: f64| if value.is_finite() { value.clamp(-FARTHEST, FARTHEST) } else { 0.0 };
        let (low, high) = (usable(low).min(0.0), usable(high).max(1e-6));
        let step = round_step((high - low) / about as f64);
        Self::linear((low / step).floor() * step, (high / step).ceil() * step, about, words::tick)
    }

    /// Exactly from `low` to `high`.
    fn linear(low: f64, high: f64, about: usize, label: fn(f64, f64) -> String) -> Self {
        let (low, high) = ordered(low, high);
        let step = round_step((high - low) / about as f64);
        let first = (low / step - 1e-9).ceil();
        let largest = low.abs().max(high.abs());
        let ticks = (0..1_000)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|&at| at <= high + step * 1e-6)
            .map(|at| Tick { at, label: label(at, largest) })
            .collect();
        Self::of(Scale::Linear, low, high, ticks)
    }

    /// Seconds since the start of a run, ticks at round minutes or seconds.
    pub(crate) fn elapsed(high: f64, about: usize) -> Self {
        const STEPS: [f64; 16] = [
            1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
            21_600.0, 86_400.0,
        ];
        let (_, high) = ordered(0.0, high);
        let wanted = high / about as f64;
        let step = STEPS.into_iter().find(|&step| step >= wanted).unwrap_or_else(|| round_step(wanted));
        let ticks = (0..1_000)
            .map(|at| f64::from(at) * step)
            .take_while(|&at| at <= high * (1.0 + 1e-9))
            .map(|at| Tick { at, label: clock(at) })
            .collect();
        Self::of(Scale::Linear, 0.0, high, ticks)
    }

    /// Milliseconds on a logarithmic axis that holds `low` and `high`.
    pub(crate) fn log_milliseconds(low: f64, high: f64) -> Self {
        let usable = |value: f64, other: f64| if value.is_finite() && value > 0.0 { value } else { other };
        let low = usable(low, 1.0).clamp(1e-3, FARTHEST / 2.0);
        let high = usable(high, 10.0).clamp(low * 2.0, FARTHEST);
        let mut ticks = Vec::new();
        let dense = (high / low).log10() < 2.2;
        let first = low.log10().floor() as i32;
        let last = high.log10().ceil() as i32;
        for decade in first..=last {
            for lead in [1.0, 2.0, 5.0] {
                let at = lead * 10_f64.powi(decade);
                if (dense || lead == 1.0) && at >= low * 0.999 && at <= high * 1.001 {
                    ticks.push(Tick { at, label: words::milliseconds(at) });
                }
            }
        }
        Self::of(Scale::Log, low, high, ticks).thinned(14)
    }

    /// Counts on a logarithmic axis that holds `low` and `high`.
    pub(crate) fn log_counts(low: f64, high: f64) -> Self {
        let mut axis = Self::log_milliseconds(low, high);
        for tick in &mut axis.ticks {
            tick.label = words::number(tick.at);
        }
        axis
    }

    /// Quantiles from none to `highest` (in `0..1`), each further nine as wide as the one before.
    pub(crate) fn nines(highest: f64) -> Self {
        let highest = if highest.is_finite() { highest.clamp(0.9, 0.999_999_9) } else { 0.99 };
        let ticks = [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.999_9, "99.99 %"),
            (0.999_99, "99.999 %"),
            (0.999_999, "99.9999 %"),
        ]
        .into_iter()
        .filter(|&(at, _)| at <= highest)
        .map(|(at, label)| Tick { at, label: label.to_owned() })
        .collect();
        Self::of(Scale::Nines, 0.0, highest, ticks)
    }

    /// Moments in seconds since 1970-01-01 UTC, ticks at days, weeks, months, quarters or years.
    pub(crate) fn dates(low: f64, high: f64, about: usize) -> Self {
        let (low, high) = ordered(low, high);
        let ticks = date_ticks(low, high, about);
        Self::of(Scale::Linear, low, high, ticks)
    }

    fn of(scale: Scale, low: f64, high: f64, ticks: Vec<Tick>) -> Self {
        Self { scale, low, high, ticks, from: 0.0, to: 1.0 }
    }

    /// This axis laid between two places of the picture.
    pub(crate) fn between(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    /// This axis with every second tick left out until at most `most` are left.
    pub(crate) fn thinned(mut self, most: usize) -> Self {
        while self.ticks.len() > most.max(1) {
            let mut at = 0;
            self.ticks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self
    }

    /// The place of `value`; that of the lower end for what is no number.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let (low, high) = (self.stretched(self.low), self.stretched(self.high));
        let share = (self.stretched(value) - low) / (high - low);
        let share = if share.is_nan() { 0.0 } else { share.clamp(-20.0, 20.0) };
        self.from + share * (self.to - self.from)
    }

    /// Whether `value` lies on the axis.
    pub(crate) fn holds(&self, value: f64) -> bool {
        let slack = (self.high - self.low) * 1e-9;
        value >= self.low - slack && value <= self.high + slack
    }

    fn stretched(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low * 1e-6).log10(),
            Scale::Nines => -(1.0 - value.min(self.high)).max(1e-9).log10(),
        }
    }
}

/// The largest number on an axis: the width of an axis is a number too.
const FARTHEST: f64 = 1e300;

/// Two finite ends, the lower first, far enough apart that values between them differ.
fn ordered(low: f64, high: f64) -> (f64, f64) {
    let low = if low.is_finite() { low.clamp(-FARTHEST, FARTHEST) } else { 0.0 };
    let high = if high.is_finite() { high.clamp(-FARTHEST, FARTHEST) } else { low };
    let least = 1e-9 * low.abs().max(high.abs()).max(1.0);
    if high - low >= least { (low, high) } else { (low, low + (low.abs() * 1e-6).max(1.0)) }
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    let least = if least.is_finite() && least > 0.0 { least } else { 1.0 };
    let power = 10_f64.powf(least.log10().floor());
    let lead = least / power;
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|&step| lead <= step + 1e-9).unwrap_or(10.0);
    step * power
}

/// `0:45`, `12:00`, `2:05:00`.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours >= 10_000 {
        return format!("{} h", words::number(hours as f64));
    }
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn date_ticks(low: f64, high: f64, about: usize) -> Vec<Tick> {
    const DAY: f64 = 86_400.0;
    let wanted = (high - low) / DAY / about as f64;
    let Some(begin) = words::date_of(low) else { return Vec::new() };
    let mut ticks = Vec::new();
    let mut push = |day: Date, label: String| {
        let at = words::epoch_of(day).unwrap_or(f64::INFINITY);
        if at >= low && at <= high {
            ticks.push(Tick { at, label });
        }
        at <= high
    };
    if wanted <= 20.0 {
        let step: i64 = [1, 2, 7, 14].into_iter().find(|&step| wanted <= step as f64).unwrap_or(14);
        let mut day = begin;
        if step >= 7 {
            // Weeks begin on Mondays.
            day = day.saturating_add((7 - i64::from(day.weekday().to_monday_zero_offset())).days());
        }
        let mut year = None;
        for _ in 0..200 {
            let shown = if year == Some(day.year()) { String::new() } else { format!(" {}", day.year()) };
            year = Some(day.year());
            if !push(day, format!("{} {}{shown}", day.day(), words::month_name(day.month()))) {
                break;
            }
            day = day.saturating_add(step.days());
        }
    } else {
        let months: i8 =
            [1, 2, 3, 6, 12].into_iter().find(|&step| wanted <= f64::from(step) * 30.5).unwrap_or(12);
        let mut day = date(begin.year(), 1, 1);
        for _ in 0..600 {
            let month = words::month_name(day.month());
            let label = if months == 12 {
                day.year().to_string()
            } else if day.month() == 1 {
                format!("{month} {}", day.year())
            } else {
                month.to_owned()
            };
            if !push(day, label) {
                break;
            }
            day = day.saturating_add(i64::from(months).months());
        }
        if let Some(first) = ticks.first_mut()
            && months < 12
            && !first.label.contains(' ')
        {
            let year = words::date_of(first.at).map_or(0, Date::year);
            first.label = format!("{} {year}", first.label);
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_from_zero_are_round_and_reach_the_largest_value() {
        assert_eq!(labels(&Axis::from_zero(870.0, 5)), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(labels(&Axis::from_zero(11_800.0, 4)), ["0", "5k", "10k", "15k"]);
        assert_eq!(labels(&Axis::from_zero(0.0, 4)), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(labels(&Axis::from_zero(f64::NAN, 2)), ["0", "0.5", "1"]);
        assert_eq!(labels(&Axis::from_zero(9e9, 3)), ["0", "5G", "10G"]);
        assert_eq!(labels(&Axis::from_zero(1e100, 2)), ["0", "5e99", "1e100"]);
    }

    #[test]
    fn a_narrow_logarithmic_axis_has_ticks_within_its_decades() {
        let axis = Axis::log_milliseconds(4.0, 300.0);
        assert_eq!(labels(&axis), ["5 ms", "10 ms", "20 ms", "50 ms", "100 ms", "200 ms"]);
        let axis = Axis::log_milliseconds(0.5, 20_000.0);
        assert_eq!(labels(&axis), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
    }

    #[test]
    fn each_further_nine_is_as_wide_as_the_one_before() {
        let axis = Axis::nines(0.9999).between(0.0, 400.0);
        for (quantile, place) in [(0.0, 0.0), (0.9, 100.0), (0.99, 200.0), (0.9999, 400.0)] {
            assert!((axis.place(quantile) - place).abs() < 1e-6);
        }
    }

    #[test]
    fn dates_are_marked_at_first_days_of_months_and_on_mondays() {
        let at = |year, month, day| words::epoch_of(date(year, month, day)).unwrap();
        let months = Axis::dates(at(2026, 2, 10), at(2027, 3, 10), 6);
        assert_eq!(labels(&months), ["Apr 2026", "Jul", "Oct", "Jan 2027"]);
        let weeks = Axis::dates(at(2026, 11, 1), at(2026, 12, 1), 6);
        assert_eq!(labels(&weeks), ["2 Nov 2026", "9 Nov", "16 Nov", "23 Nov", "30 Nov"]);
    }

    #[test]
    fn elapsed_time_is_marked_at_round_minutes() {
        assert_eq!(
            labels(&Axis::elapsed(180.0, 6)),
            ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30", "3:00"]
        );
    }

    #[test]
    fn an_axis_survives_values_that_are_no_numbers() {
        let axis = Axis::dates(f64::NAN, f64::INFINITY, 6).between(0.0, 100.0);
        assert!(axis.place(5.0).is_finite());
        assert!(Axis::log_milliseconds(f64::NAN, 0.0).between(0.0, 1.0).place(-1.0).is_finite());
    }
}
