//! Reads and writes moments in the notations that requests have: seconds or milliseconds since 1970, a date, a date
//! with a time.

/// A moment in the notation of the recorded value: seconds or milliseconds since 1970, a date, or a date with a time.
pub(super) fn moment(recorded: &[u8], at_ms: i64) -> String {
    let (days, of_day) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    if recorded.iter().all(u8::is_ascii_digit) && !recorded.is_empty() {
        return if recorded.len() >= 13 { at_ms.to_string() } else { (at_ms / 1_000).to_string() };
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if recorded.len() == 10 {
        return date;
    }
    let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    let between = if recorded.get(10) == Some(&b' ') { ' ' } else { 'T' };
    let mut text = format!("{date}{between}{hours:02}:{minutes:02}");
    let has = |at: usize, byte: u8| recorded.get(at) == Some(&byte);
    if recorded.is_empty() || has(16, b':') {
        text.push_str(&format!(":{seconds:02}"));
    }
    if has(19, b'.') {
        text.push_str(&format!(".{:03}", of_day % 1_000));
    }
    if recorded.is_empty() || recorded.ends_with(b"Z") || recorded[10.min(recorded.len())..].contains(&b'+') {
        text.push('Z');
    }
    text
}

/// Year, month and day of a number of days after 1970-01-01 in the Gregorian calendar.
///
/// Source: Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The moment that a recorded value says, in milliseconds since 1970-01-01 UTC; `None` when it says none. A time zone
/// other than UTC is passed over: shifted by whole amounts, the value keeps its own.
pub(super) fn said(recorded: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(recorded).ok()?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return match text.len() {
            9..=10 => Some(number * 1_000),
            13 => Some(number),
            _ => None,
        };
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    if text.get(4..5)? != "-" || text.get(7..8)? != "-" {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let of_day = if text.len() >= 16 {
        let seconds = if text.get(16..17) == Some(":") { number(17, 19)? } else { 0 };
        number(11, 13)? * 3_600_000 + number(14, 16)? * 60_000 + seconds * 1_000
    } else {
        0
    };
    Some(days(year, month, day) * 86_400_000 + of_day)
}

/// The number of days after 1970-01-01 of a date in the Gregorian calendar.
///
/// Source: Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        // By `date -u -d @… +%FT%T`.
        for (text, millis) in [
            ("1795696496", 1_795_696_496_000),
            ("1795696496789", 1_795_696_496_789),
            ("2026-11-26T12:34:56Z", 1_795_696_496_000),
            ("2026-11-26 12:34", 1_795_696_440_000),
            ("2026-11-26", 1_795_651_200_000),
            ("1999-12-31", 946_598_400_000),
        ] {
            assert_eq!(said(text.as_bytes()), Some(millis), "{text}");
            assert_eq!(moment(text.as_bytes(), millis), text);
        }
        for text in ["", "17", "2026-13-01", "2026-11", "about noon", "20261126"] {
            assert_eq!(said(text.as_bytes()), None, "{text}");
        }
    }
}
