//! Reads moments as logs and HAR files write them.

use crate::units::Offset;

const SECOND: i128 = 1_000_000_000;
const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// A moment, and whether it is no finer than a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Offset,
    pub(super) is_coarse: bool,
}

/// `29/Sep/2021:12:37:05 +0000`, as Apache and nginx write it.
pub(super) fn common(text: &[u8]) -> Option<Moment> {
    let day = number(text.get(0..2)?)?;
    let month = text.get(3..6)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year = number(text.get(7..11)?)?;
    if text.get(2) != Some(&b'/') || text.get(6) != Some(&b'/') || text.get(11) != Some(&b':') {
        return None;
    }
    let clock = clock(text.get(12..20)?)?;
    let zone = text.get(20..).map(<[u8]>::trim_ascii).filter(|zone| !zone.is_empty());
    let zone = zone.map_or(Some(0), offset)?;
    at(i128::from(days(year, month, day)?) * 86_400 + clock - zone, 0, true)
}

/// `2021-09-29T12:37:05.123+02:00`, with a blank for the T or without a zone (UTC) as well.
pub(super) fn iso(text: &[u8]) -> Option<Moment> {
    let text = text.trim_ascii();
    let (year, month, day) = (number(text.get(0..4)?)?, number(text.get(5..7)?)?, number(text.get(8..10)?)?);
    if !matches!(text.get(4), Some(b'-' | b'/')) || !matches!(text.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let clock = clock(text.get(11..19)?)?;
    let mut rest = text.get(19..)?;
    let (mut nanos, mut is_coarse) = (0, true);
    if let Some(fraction) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        nanos = fraction_nanos(&fraction[..digits]);
        is_coarse = digits == 0;
        rest = &fraction[digits..];
    }
    let zone = match rest {
        [] | [b'Z' | b'z'] => 0,
        rest => offset(rest.trim_ascii())?,
    };
    at(i128::from(days(year, month, day)?) * 86_400 + clock - zone, nanos, is_coarse)
}

/// `1693840791.7564995`: seconds since 1970; milli-, micro- and nanoseconds are told by their size.
pub(super) fn epoch(text: &[u8]) -> Option<Moment> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if whole.is_empty() || whole.len() > 19 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = i128::from(number(whole)?);
    let (unit, is_coarse) = match whole {
        0..100_000_000_000 => (SECOND, fraction.is_empty()),
        100_000_000_000..100_000_000_000_000 => (1_000_000, false),
        100_000_000_000_000..100_000_000_000_000_000 => (1_000, false),
        _ => (1, false),
    };
    let nanos = whole * unit + fraction_nanos(fraction) * unit / SECOND;
    at(nanos / SECOND, nanos % SECOND, is_coarse)
}

fn at(seconds: i128, nanos: i128, is_coarse: bool) -> Option<Moment> {
    let nanos = u64::try_from(seconds * SECOND + nanos).ok()?;
    Some(Moment { at: Offset::from_nanos(nanos), is_coarse })
}

fn fraction_nanos(digits: &[u8]) -> i128 {
    let digits = &digits[..digits.len().min(9)];
    let scale = 10_i128.pow(9 - u32::try_from(digits.len()).unwrap_or(9));
    number(digits).map_or(0, i128::from) * scale
}

/// `12:37:05` in seconds.
fn clock(text: &[u8]) -> Option<i128> {
    let (hour, minute, second) =
        (number(text.get(0..2)?)?, number(text.get(3..5)?)?, number(text.get(6..8)?)?);
    let is_right =
        text.get(2) == Some(&b':') && text.get(5) == Some(&b':') && hour < 24 && minute < 60 && second <= 60;
    is_right.then_some(i128::from(hour * 3_600 + minute * 60 + second))
}

/// `+0200`, `+02:00` or `Z` in seconds.
fn offset(text: &[u8]) -> Option<i128> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        b'Z' | b'z' => return Some(0),
        _ => return None,
    };
    let digits: Vec<u8> = text[1..].iter().copied().filter(|&byte| byte != b':').collect();
    let minutes = if digits.len() >= 4 { number(&digits[2..4])? } else { 0 };
    Some(i128::from(sign * (number(digits.get(..2)?)? * 3_600 + minutes * 60)))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
///
/// Source: H. Hinnant, *chrono-Compatible Low-Level Date Algorithms* (2013), `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1900..=2500).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected seconds are those of `date -d … +%s`.
    #[test]
    fn moments_are_read_in_all_spellings() {
        let seconds =
            |moment: Option<Moment>| moment.map(|moment| (moment.at.as_nanos() / 1_000_000) as f64 / 1e3);
        assert_eq!(seconds(common(b"29/Sep/2021:12:37:05 +0000")), Some(1_632_919_025.0));
        assert_eq!(seconds(common(b"22/Dec/2016:16:30:52 +0300")), Some(1_482_413_452.0));
        assert_eq!(seconds(common(b"29/Feb/2024:00:00:00 -0130")), Some(1_709_170_200.0));
        assert_eq!(seconds(iso(b"2015-02-22T19:28:12.136-08:00")), Some(1_424_662_092.136));
        assert_eq!(seconds(iso(b"2015-02-23 03:28:12")), Some(1_424_662_092.0));
        assert_eq!(seconds(epoch(b"1693840791.75")), Some(1_693_840_791.75));
        assert_eq!(seconds(epoch(b"1693840791750")), Some(1_693_840_791.75));
        assert_eq!(common(b"29/Sep/2021:12:37:05 +0000").map(|moment| moment.is_coarse), Some(true));
        for wrong in ["", "29/Foo/2021:12:37:05 +0000", "99/Sep/2021:12:37:05", "2021-13-01T00:00:00Z", "x"] {
            assert_eq!((common(wrong.as_bytes()), iso(wrong.as_bytes())), (None, None), "{wrong}");
        }
    }
}
