//! A history as a table: which columns, which time zone, and what was mended on the way.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{History, MOST_VOLUME, moment_of};
use crate::forecast::error::ForecastError;
use crate::forecast::types::PeakFactor;

/// How to read a table of comma-separated lines.
#[derive(Clone, Debug, Default)]
pub struct TableForm {
    /// The heading of the column of moments; `None`: the first column.
    pub time: Option<String>,
    /// The heading of the column of requests per step; `None`: the column after that.
    pub volume: Option<String>,
    /// The heading of a column with requests per second in the busiest minute.
    pub peak: Option<String>,
    /// The time zone of moments that do not name one; `None`: UTC.
    pub zone: Option<TimeZone>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRead {
    /// The history.
    pub history: History,
    /// The busiest minute over the mean, where a column tells it.
    pub peak_factor: PeakFactor,
    /// What was mended: whole sentences.
    pub notes: Vec<String>,
}

/// The columns of a table by their place.
struct Columns {
    time: usize,
    volume: usize,
    peak: Option<usize>,
}

impl TableForm {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`ForecastError::Line`] names the first line that cannot be understood.
    pub fn read(&self, text: &str) -> Result<TableRead, ForecastError> {
        let mut known: BTreeMap<DateTime, Option<f64>> = BTreeMap::new();
        let mut peaks: Vec<(DateTime, f64)> = Vec::new();
        let mut columns = Columns { time: 0, volume: 1, peak: None };
        let (mut seen_any, mut twice, mut unsorted, mut last) = (false, 0_usize, 0_usize, None);
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let wrong = |what: String| ForecastError::Line { line: at + 1, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let separator = if line.contains(',') { ',' } else { ';' };
            let cells: Vec<&str> =
                line.split(separator).map(|cell| cell.trim().trim_matches('"').trim()).collect();
            if cells.len() < 2 {
                return Err(wrong("has no comma".to_owned()));
            }
            let first = !std::mem::replace(&mut seen_any, true);
            let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
            if first && (self.names_columns() || self.moment(cell(0)).is_none()) {
                columns = self.columns(&cells).map_err(wrong)?;
                // A first line that holds neither names nor a moment is wrong like any other.
                if self.names_columns() || cell(columns.volume).parse::<f64>().is_err() {
                    continue;
                }
            }
            let Some(mut moment) = self.moment(cell(columns.time)) else {
                return Err(wrong(format!("'{}' is not a moment", cell(columns.time))));
            };
            let volume = volume_of(cell(columns.volume)).map_err(wrong)?;
            if volume.is_some_and(|volume| volume > MOST_VOLUME) {
                let what =
                    format!("'{}' is more than {MOST_VOLUME:e} requests in one step", cell(columns.volume));
                return Err(ForecastError::TooLarge { line: at + 1, what });
            }
            unsorted += usize::from(last.is_some_and(|last| moment < last));
            last = Some(moment);
            if known.contains_key(&moment) {
                // Where clocks go back, an hour comes twice.
                match self.second_of_a_doubled_hour(cell(columns.time)) {
                    Some(later) if !known.contains_key(&later) => moment = later,
                    _ if known[&moment] == volume => {
                        twice += 1;
                        continue;
                    }
                    _ => return Err(wrong(format!("{moment} is there twice, with different numbers"))),
                }
            }
            known.insert(moment, volume);
            if let Some(column) = columns.peak
                && let Some(peak) = volume_of(cell(column)).map_err(wrong)?
            {
                peaks.push((moment, peak));
            }
        }
        let history = History::even(&known)?;
        let mut notes = Vec::new();
        if twice > 0 {
            notes.push(format!("{twice} lines of the history were there twice and count once."));
        }
        if unsorted > 0 {
            notes.push(format!("The history was not in order: {unsorted} lines were put in their place."));
        }
        let peak_factor = peak_factor(&history, &peaks);
        Ok(TableRead { history, peak_factor, notes })
    }

    fn names_columns(&self) -> bool {
        self.time.is_some() || self.volume.is_some() || self.peak.is_some()
    }

    fn columns(&self, heading: &[&str]) -> Result<Columns, String> {
        let place = |name: &String| {
            heading
                .iter()
                .position(|cell| cell.eq_ignore_ascii_case(name))
                .ok_or_else(|| format!("has no column '{name}', but {}", heading.join(", ")))
        };
        let time = self.time.as_ref().map(place).transpose()?.unwrap_or(0);
        let volume = match &self.volume {
            Some(name) => place(name)?,
            None => usize::from(time == 0),
        };
        Ok(Columns { time, volume, peak: self.peak.as_ref().map(place).transpose()? })
    }

    fn moment(&self, text: &str) -> Option<DateTime> {
        let moment = moment_of(text)?;
        match &self.zone {
            // A bare date is a day of that zone, whatever its hours.
            Some(zone) if text.len() > 10 && text.parse::<jiff::Timestamp>().is_err() => Some(
                zone.to_ambiguous_zoned(moment).compatible().ok()?.with_time_zone(TimeZone::UTC).datetime(),
            ),
            _ => Some(moment),
        }
    }

    fn second_of_a_doubled_hour(&self, text: &str) -> Option<DateTime> {
        let zone = self.zone.as_ref().filter(|_| text.parse::<jiff::Timestamp>().is_err())?;
        let ambiguous = zone.to_ambiguous_zoned(moment_of(text)?);
        let later = ambiguous.is_ambiguous().then(|| ambiguous.later().ok())??;
        Some(later.with_time_zone(TimeZone::UTC).datetime())
    }
}

fn volume_of(cell: &str) -> Result<Option<f64>, String> {
    match cell {
        "" | "NA" | "NaN" | "null" => Ok(None),
        _ => cell
            .parse::<f64>()
            .ok()
            .filter(|volume| volume.is_finite() && *volume >= 0.0)
            .map(Some)
            .ok_or_else(|| format!("'{cell}' is not a number of zero or more")),
    }
}

fn peak_factor(history: &History, peaks: &[(DateTime, f64)]) -> PeakFactor {
    let seconds = history.step.length().as_secs_f64();
    let means: BTreeMap<DateTime, f64> = history
        .observations
        .iter()
        .filter_map(|each| Some((each.at, each.volume? / seconds)))
        .filter(|(_, mean)| *mean > 0.0)
        .collect();
    PeakFactor::measured(peaks.iter().filter_map(|(at, peak)| Some(peak / means.get(at)?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let form = TableForm {
            time: Some("day".to_owned()),
            volume: Some("requests".to_owned()),
            peak: Some("busiest".to_owned()),
            zone: None,
        };
        let read = form
            .read("region,requests,day,busiest\neu,86400,2026-01-01,2.5\neu,172800,2026-01-02,5\n")
            .expect("is whole");
        assert_eq!(read.history.observations[1].volume, Some(172_800.0));
        assert_eq!(read.peak_factor, PeakFactor::Measured { factor: 2.5, spread: 0.0 });
        let error = form.read("ds,y\n2026-01-01,1\n").expect_err("lacks the column").to_string();
        assert_eq!(error, "line 1: has no column 'day', but ds, y");
    }

    #[test]
    fn clocks_that_are_changed_make_no_gap_and_no_double() {
        let form = TableForm {
            zone: Some(TimeZone::get("Europe/Berlin").expect("is known")),
            ..TableForm::default()
        };
        // On 2026-10-25 the hour from 2 to 3 comes twice, on 2026-03-29 it is left out.
        let autumn = form
            .read("t,n\n2026-10-25 01:00,1\n2026-10-25 02:00,2\n2026-10-25 02:00,3\n2026-10-25 03:00,4\n")
            .expect("is whole");
        let volumes: Vec<Option<f64>> = autumn.history.observations.iter().map(|each| each.volume).collect();
        assert_eq!(volumes, [Some(1.0), Some(2.0), Some(3.0), Some(4.0)]);
        let spring = form.read("t,n\n2026-03-29 01:00,1\n2026-03-29 03:00,2\n2026-03-29 04:00,3\n");
        assert_eq!(spring.expect("is whole").history.observations.len(), 3);
        // Days that begin at local midnight, written in UTC.
        let days = History::parse("2026-03-28T23:00:00Z,1\n2026-03-29T22:00:00Z,2\n2026-03-30T22:00:00Z,3\n");
        assert_eq!(days.expect("is whole").observations.len(), 3);
    }

    #[test]
    fn what_is_mended_is_said() {
        let read = TableForm::default()
            .read("ds,y\n2026-01-03,3\n2026-01-01,1\n2026-01-02,2\n2026-01-02,2\n")
            .expect("is whole");
        assert_eq!(read.history.observations.len(), 3);
        assert_eq!(read.notes.len(), 2, "{:?}", read.notes);
    }
}
