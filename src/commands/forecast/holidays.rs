//! Public holidays: of a country by its code, or from a file, as countries and schools publish their calendars
//! (iCalendar), or lines of 'date,name'.
//!
//! A holiday recurs under its name, so what it was in the history tells what it will be.

mod country;

use std::path::Path;

use jiff::civil::Date;
use modeler::EventGiven;

use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// Days that a file may hold.
const MOST_DAYS: usize = 10_000;
/// A file may be so long.
const MOST_BYTES: u64 = 16 << 20;

/// The holidays of the country whose code `path` is, or those in the file there.
pub(super) fn read(path: &Path) -> Result<Vec<EventGiven>, Complaint> {
    if let Some(code) = path.to_str().filter(|text| is_code(text) && !path.exists()) {
        let days = country::of(&code.to_ascii_uppercase()).filter(|days| !days.is_empty());
        let days = days.ok_or_else(|| {
            Complaint::new(
                Exit::Usage,
                format!("--holidays {code}"),
                "is no country whose holidays are known",
                "give a code of ISO 3166 such as DE or US, or a calendar file",
            )
        })?;
        return Ok(days.into_iter().map(|(name, day)| holiday(&name, day, day)).collect());
    }
    let length = std::fs::metadata(path).map_err(|error| Complaint::cannot_open(path, &error))?.len();
    let wrong = |what: String| {
        Complaint::new(
            Exit::Input,
            path.display(),
            what,
            "give an iCalendar file (.ics), or lines like '2026-12-25,Christmas Day'",
        )
    };
    if length > MOST_BYTES {
        return Err(wrong(format!("is {length} bytes long, more than a calendar of holidays")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    let days = if text.contains("BEGIN:VCALENDAR") { of_calendar(&text) } else { of_lines(&text) };
    let days = days.map_err(wrong)?;
    if days.is_empty() {
        return Err(wrong("holds no holiday".to_owned()));
    }
    if days.len() > MOST_DAYS {
        return Err(wrong(format!("holds more than {MOST_DAYS} holidays")));
    }
    Ok(days)
}

fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn holiday(name: &str, first: Date, last: Date) -> EventGiven {
    EventGiven { name: files::plain(name.trim()), first, last, multiple: None, optional: true }
}

fn of_lines(text: &str) -> Result<Vec<EventGiven>, String> {
    let mut days = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (date, name) = line.split_once(',').ok_or_else(|| format!("line {}: has no comma", at + 1))?;
        match date.trim().parse::<Date>() {
            Ok(date) if !name.trim().is_empty() => days.push(holiday(name, date, date)),
            // The first line may be a heading.
            _ if days.is_empty() && at == 0 => {}
            _ => return Err(format!("line {}: is not a date and a name", at + 1)),
        }
    }
    Ok(days)
}

/// Events of whole days. Source: RFC 5545; a long line goes on in the next one after a space.
fn of_calendar(text: &str) -> Result<Vec<EventGiven>, String> {
    let unfolded = text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "");
    let mut days = Vec::new();
    let (mut first, mut end, mut name) = (None, None, String::new());
    for line in unfolded.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        // What stands behind the name of a property are its parameters.
        match key.split(';').next().unwrap_or_default() {
            "BEGIN" if value == "VEVENT" => (first, end, name) = (None, None, String::new()),
            "DTSTART" => first = day_of(value),
            "DTEND" => end = day_of(value),
            "SUMMARY" => name = value.replace("\\,", ",").replace("\\;", ";").replace("\\\\", "\\"),
            "END" if value == "VEVENT" => {
                let first = first.ok_or_else(|| format!("'{name}' begins on no day"))?;
                // The end is the day after.
                let last = end.and_then(|end: Date| end.yesterday().ok()).filter(|last| *last >= first);
                days.push(holiday(&name, first, last.unwrap_or(first)));
            }
            _ => {}
        }
    }
    Ok(days)
}

fn day_of(value: &str) -> Option<Date> {
    let digits = value.get(..8).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn calendars_and_lines_hold_the_same_days() {
        let calendar = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\n\
                        DTEND;VALUE=DATE:20261227\r\nSUMMARY:Christ\r\n mas\\, both days\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let days = of_calendar(calendar).expect("is a calendar");
        assert_eq!(
            (days[0].name.as_str(), days[0].first, days[0].last),
            ("Christmas, both days", date(2026, 12, 25), date(2026, 12, 26))
        );
        let days = of_lines("date,name\n2026-12-25,Christmas Day\n").expect("are lines");
        assert_eq!((days.len(), days[0].first, days[0].optional), (1, date(2026, 12, 25), true));
        assert!(of_lines("2026-12-25,Christmas\nsoon,Easter\n").is_err());
    }
}
