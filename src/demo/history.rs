//! An invented history of traffic, so that the demo can show a forecast: a shop has no year behind it
//! after twenty seconds.
//!
//! One year by the day, seeded: growth, a week with a quiet weekend, some good and some bad days. It is
//! scaled so that its last busy hours stand well below the capacity that was found; everything printed
//! about it says that it is synthetic.

use std::fmt::Write as _;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many days there are.
const DAYS: i32 = 365;
/// The first of them.
const FIRST_DAY: Date = date(2025, 9, 1);
/// How much the traffic grows in the year.
const GROWTH: f64 = 1.8;
/// How the days of a week differ, from Monday on.
const WEEK: [f64; 7] = [1.06, 1.08, 1.05, 1.03, 1.00, 0.86, 0.92];
/// The busiest minute over the mean of its day.
pub(crate) const PEAK_FACTOR: f64 = 2.5;
/// Where the peaks stand at the end of the year, as a share of the capacity.
const LAST_PEAK_RATIO: f64 = 0.6;

/// A year of requests by the day, as CSV.
pub(crate) fn invent(seed: u64, capacity_per_second: f64) -> String {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0x0008_1570);
    let last_mean = capacity_per_second * LAST_PEAK_RATIO / PEAK_FACTOR * 86_400.0;
    let mut table = String::from("# Synthetic: invented by `highwater demo`, not measured.\nds,y\n");
    for day in 0..DAYS {
        let moment = FIRST_DAY.saturating_add(day.days());
        let left_of_year = f64::from(DAYS - day) / f64::from(DAYS);
        let weekday = usize::try_from(moment.weekday().to_monday_zero_offset()).unwrap_or(0);
        let luck = 1.0 + 0.04 * (0..4).map(|_| chance.random::<f64>() - 0.5).sum::<f64>() / 0.577;
        let requests = last_mean * GROWTH.powf(-left_of_year) * WEEK[weekday % 7] * luck;
        let _ = writeln!(table, "{moment},{requests:.0}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_grows_and_ends_below_capacity() {
        let table = invent(1, 400.0);
        let days: Vec<f64> =
            table.lines().skip(2).filter_map(|line| line.split_once(',')?.1.parse().ok()).collect();
        let month = |from: usize| days[from..from + 28].iter().sum::<f64>() / 28.0;

        assert_eq!(days.len(), 365);
        assert!(table.starts_with("# Synthetic") && table.contains("\nds,y\n2025-09-01,"));
        assert!((1.5..2.0).contains(&(month(337) / month(0))));
        assert!(days.iter().all(|day| day / 86_400.0 * PEAK_FACTOR < 400.0 * 0.75));
    }
}
