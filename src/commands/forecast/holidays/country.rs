//! The public holidays of a country, from a library's calendars.
//!
//! The library knows days and no names. But a holiday tells what it will be by what it was, so each day is named
//! by the rule that it keeps over the years: a date, a weekday of a month, a distance from Easter. What keeps none
//! (lunar feasts, days in lieu) shares one name: it is another holiday.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use opening_hours::localization::Country;

/// A rule holds when a day keeps it in this share of the years.
const KEPT_RATIO: f64 = 0.6;

/// The national public holidays of the country of this ISO 3166 code, ascending; `None` for no country that is
/// known.
pub(super) fn of(code: &str) -> Option<Vec<(String, Date)>> {
    let country: Country = code.parse().ok()?;
    let calendar = country.holidays();
    // Both libraries write days as ISO 8601 has them.
    let days: Vec<Date> =
        calendar.get_public().iter().filter_map(|day| day.to_string().parse().ok()).collect();
    Some(named(code, &days))
}

/// The days with their names.
fn named(code: &str, days: &[Date]) -> Vec<(String, Date)> {
    let mut kept: BTreeMap<Rule, f64> = BTreeMap::new();
    for rule in days.iter().flat_map(|day| rules(*day)) {
        *kept.entry(rule).or_default() += 1.0;
    }
    let mut years: Vec<i16> = days.iter().map(|day| day.year()).collect();
    years.dedup();
    let most = KEPT_RATIO * years.len() as f64;
    days.iter()
        .map(|&day| {
            let rule = rules(day).into_iter().find(|rule| kept[rule] >= most);
            let name = rule.map_or_else(|| "another holiday".to_owned(), Rule::name);
            (format!("{code}: {name}"), day)
        })
        .collect()
}

/// What a day may keep, year by year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Month and day.
    Date(i8, i8),
    /// Days after Easter Sunday of the western churches.
    Easter(i32),
    /// The same of the eastern churches.
    EasternEaster(i32),
    /// Month, which one in it, and the weekday from Monday.
    Weekday(i8, i8, i8),
    /// Month and weekday: the last one in it.
    LastWeekday(i8, i8),
}

fn rules(day: Date) -> Vec<Rule> {
    let weekday = day.weekday().to_monday_zero_offset();
    let away = |easter: Date| day.since(easter).map_or(i32::MAX, |span| span.get_days());
    let mut rules = vec![
        Rule::Date(day.month(), day.day()),
        Rule::Easter(away(easter(day.year()))),
        Rule::EasternEaster(away(eastern_easter(day.year()))),
        Rule::Weekday(day.month(), (day.day() - 1) / 7 + 1, weekday),
    ];
    if day.day() + 7 > day.days_in_month() {
        rules.push(Rule::LastWeekday(day.month(), weekday));
    }
    rules
}

impl Rule {
    fn name(self) -> String {
        const WEEKDAYS: [&str; 7] =
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let weekday = |at: i8| WEEKDAYS[usize::try_from(at).unwrap_or(0) % 7];
        let month = |at: i8| date(2000, at.clamp(1, 12), 1).strftime("%B").to_string();
        match self {
            Self::Date(at, day) => format!("{day} {}", month(at)),
            Self::Easter(0) => "Easter Sunday".to_owned(),
            Self::Easter(-2) => "Good Friday".to_owned(),
            Self::Easter(1) => "Easter Monday".to_owned(),
            Self::Easter(39) => "Ascension Day".to_owned(),
            Self::Easter(50) => "Whit Monday".to_owned(),
            Self::Easter(60) => "Corpus Christi".to_owned(),
            Self::Easter(away) => format!("Easter {away:+} days"),
            Self::EasternEaster(away) => format!("Orthodox Easter {away:+} days"),
            Self::Weekday(at, which, day) => format!("{} {which} of {}", weekday(day), month(at)),
            Self::LastWeekday(at, day) => format!("last {} of {}", weekday(day), month(at)),
        }
    }
}

/// Easter Sunday of the western churches.
///
/// Source: the anonymous Gregorian algorithm (*Nature*, 1876), as Meeus prints it in *Astronomical Algorithms*.
fn easter(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (b - (b + 8) / 25 + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let month_day = h + l - 7 * m + 114;
    day_of(year, month_day / 31, month_day % 31 + 1)
}

/// Easter Sunday of the eastern churches, in the Gregorian calendar; right from 1900 to 2099.
///
/// Source: Meeus's Julian algorithm, and thirteen days between the calendars.
fn eastern_easter(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 4, y % 7, y % 19);
    let d = (19 * c + 15) % 30;
    let e = (2 * a + 4 * b - d + 34) % 7;
    let month_day = d + e + 114;
    let julian = day_of(year, month_day / 31, month_day % 31 + 1);
    julian.checked_add(13.days()).unwrap_or(julian)
}

fn day_of(year: i16, month: i32, day: i32) -> Date {
    let part = |number: i32| i8::try_from(number).unwrap_or(1);
    Date::new(year, part(month), part(day)).unwrap_or(date(year, 4, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holidays_are_known_by_the_rule_they_keep() {
        // As the laws of the countries have them.
        for (code, day, name) in [
            ("DE", date(2026, 12, 25), "DE: 25 December"),
            ("DE", date(2026, 4, 6), "DE: Easter Monday"),
            ("DE", date(2026, 5, 14), "DE: Ascension Day"),
            ("US", date(2026, 11, 26), "US: Thursday 4 of November"),
            ("US", date(2026, 5, 25), "US: last Monday of May"),
            ("GR", date(2026, 4, 13), "GR: Orthodox Easter +1 days"),
        ] {
            let days = of(code).unwrap();
            let found: Vec<&str> =
                days.iter().filter(|known| known.1 == day).map(|known| known.0.as_str()).collect();
            assert_eq!(found, [name], "{day}");
        }
        assert_eq!(of("XX"), None);
        assert!(!of("DE").unwrap().iter().any(|(_, day)| *day == date(2026, 3, 17)));
    }
}
