//! History: how many requests came, step by step.

mod counts;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

pub use counts::Counts;
pub use table::{TableForm, TableRead};

use super::error::ForecastError;
use super::types::PeakFactor;
use crate::resample::quantile_of;

/// The length of a step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Less than an hour: so many minutes.
    Minutes(u32),
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

/// How many requests came in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The step's first moment, UTC.
    pub at: DateTime,
    /// Requests; `None` when it is missing.
    pub volume: Option<f64>,
}

/// A history: equal steps, ascending, without gaps (missing ones have no volume).
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The length of a step.
    pub step: Step,
    /// The observations.
    pub observations: Vec<Observation>,
}

/// Where clocks are changed, a day is so many seconds longer or shorter.
const CLOCK_CHANGE: i64 = 3_600;
/// The most requests that a step is believed to have.
const MOST_VOLUME: f64 = 1e15;
/// A history may span so many steps.
const MOST_STEPS: i64 = 6_000_000;
/// Steps between two observations that agree, as seconds.
const STEPS: [(i64, Step); 9] = [
    (60, Step::Minutes(1)),
    (300, Step::Minutes(5)),
    (600, Step::Minutes(10)),
    (900, Step::Minutes(15)),
    (1_200, Step::Minutes(20)),
    (1_800, Step::Minutes(30)),
    (3_600, Step::Hour),
    (86_400, Step::Day),
    (604_800, Step::Week),
];

impl Step {
    /// Its length.
    pub const fn length(self) -> Duration {
        match self {
            Self::Minutes(minutes) => Duration::from_secs(minutes as u64 * 60),
            Self::Hour => Duration::from_secs(3_600),
            Self::Day => Duration::from_secs(86_400),
            Self::Week => Duration::from_secs(604_800),
        }
    }

    /// What people call it.
    pub fn name(self) -> String {
        match self {
            Self::Minutes(1) => "minute".to_owned(),
            Self::Minutes(minutes) => format!("{minutes} minutes"),
            Self::Hour => "hour".to_owned(),
            Self::Day => "day".to_owned(),
            Self::Week => "week".to_owned(),
        }
    }

    /// One of it, as people say it: an hour, a day, 5 minutes.
    pub fn one(self) -> String {
        match self {
            Self::Minutes(2..) => self.name(),
            Self::Hour => "an hour".to_owned(),
            Self::Minutes(_) | Self::Day | Self::Week => format!("a {}", self.name()),
        }
    }

    /// How many of it make a season: a week of days, a week of hours, a day of minutes, a year of weeks.
    pub(crate) const fn season(self) -> usize {
        match self {
            Self::Minutes(minutes) => (1_440 / minutes) as usize,
            Self::Hour => 168,
            Self::Day => 7,
            Self::Week => 52,
        }
    }

    /// Whether a step is finer than or equal to a minute: then its mean is its peak.
    pub const fn is_a_minute(self) -> bool {
        matches!(self, Self::Minutes(1))
    }

    /// The first moment of the step that holds `at`, where hours, days and weeks (from Monday) begin in UTC.
    pub(crate) fn begin_of(self, at: DateTime) -> DateTime {
        let day = at.date();
        match self {
            Self::Week => {
                let since = i64::from(day.weekday().to_monday_zero_offset());
                day.saturating_sub(jiff::Span::new().days(since)).at(0, 0, 0, 0)
            }
            Self::Day => day.at(0, 0, 0, 0),
            Self::Hour => day.at(at.hour(), 0, 0, 0),
            Self::Minutes(minutes) => {
                let minute = u32::from(at.hour().unsigned_abs()) * 60 + u32::from(at.minute().unsigned_abs());
                let minute = minute - minute % minutes.max(1);
                day.at(0, 0, 0, 0).saturating_add(SignedDuration::from_mins(i64::from(minute)))
            }
        }
    }

    pub(crate) fn moment_after(self, at: DateTime, steps: usize) -> DateTime {
        let seconds = self.length().as_secs().saturating_mul(steps as u64);
        at.saturating_add(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }
}

impl History {
    /// Reads `ds,y` lines (also `timestamp,requests` and the like), from one or more files put together.
    ///
    /// A moment is RFC 3339 or `YYYY-MM-DD[ HH:MM[:SS]]`, taken as UTC. The step is found from the moments; an
    /// absent line, or an empty volume, is a missing observation.
    ///
    /// # Errors
    /// [`ForecastError::Line`] names the first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, ForecastError> {
        Ok(TableForm::default().read(text)?.history)
    }

    /// Several histories of the same step as one; a moment that two of them have is taken from the first.
    ///
    /// # Errors
    /// When their steps differ, or do not fall together.
    pub fn joined(histories: Vec<Self>) -> Result<Self, ForecastError> {
        let mut histories = histories.into_iter();
        let Some(first) = histories.next() else {
            return Err(ForecastError::TooShort { count: 0, needed: 2 });
        };
        let mut known: BTreeMap<DateTime, Option<f64>> = BTreeMap::new();
        let mut add = |history: &Self| {
            let present = history.observations.iter().filter(|each| each.volume.is_some());
            known.extend(present.map(|each| (each.at, each.volume)));
        };
        let mut several = false;
        for other in histories {
            several = true;
            if other.step != first.step {
                let (one, other) = (first.step.name(), other.step.name());
                return Err(ForecastError::Uneven {
                    what: format!("one history is by the {one}, another by the {other}"),
                });
            }
            add(&other);
        }
        if !several {
            return Ok(first);
        }
        add(&first);
        Self::even(&known)
    }

    fn even(known: &BTreeMap<DateTime, Option<f64>>) -> Result<Self, ForecastError> {
        let (Some((&first, _)), Some((&last, _))) = (known.first_key_value(), known.last_key_value()) else {
            return Err(ForecastError::TooShort { count: 0, needed: 2 });
        };
        let seconds = |from: DateTime, to: DateTime| to.duration_since(from).as_secs();
        let moments: Vec<DateTime> = known.keys().copied().collect();
        let shortest = moments.windows(2).map(|pair| seconds(pair[0], pair[1])).min();
        let Some(shortest) = shortest else {
            return Err(ForecastError::TooShort { count: 1, needed: 2 });
        };
        // Where clocks are changed, a day has 23 or 25 hours.
        let fits = |length: i64, found: i64| {
            let slack = if length >= 86_400 { CLOCK_CHANGE } else { 0 };
            let over = found.rem_euclid(length);
            over <= slack || length - over <= slack
        };
        let Some(&(length, step)) = STEPS.iter().find(|(length, _)| {
            (shortest - length).abs() <= if *length >= 86_400 { CLOCK_CHANGE } else { 0 }
        }) else {
            return Err(ForecastError::Uneven {
                what: format!(
                    "two moments are {shortest} s apart, which is no step of minutes, an hour, a day or a week"
                ),
            });
        };
        if seconds(first, last) / length > MOST_STEPS {
            return Err(ForecastError::Uneven { what: format!("spans more than {MOST_STEPS} steps") });
        }
        if let Some(odd) = moments.iter().find(|moment| !fits(length, seconds(first, **moment))) {
            return Err(ForecastError::Uneven {
                what: format!("{odd} is not a whole {} after {first}", step.name()),
            });
        }
        let place = |at: DateTime| usize::try_from((seconds(first, at) + length / 2) / length).unwrap_or(0);
        let mut volumes = vec![None; place(last) + 1];
        for (at, volume) in known {
            volumes[place(*at)] = *volume;
        }
        let observations = volumes
            .into_iter()
            .enumerate()
            .map(|(index, volume)| Observation { at: step.moment_after(first, index), volume })
            .collect();
        Ok(Self { step, observations })
    }

    /// The same in longer steps, and the busiest short step of each over its mean.
    ///
    /// Long steps begin with whole hours, days or Mondays, UTC. One at either end that is not whole is left out;
    /// one of which less than half is known is missing, else what is missing is taken to be like what is known.
    pub fn coarsened(&self, to: Step) -> (Self, PeakFactor) {
        let (short, long) = (self.step.length().as_secs(), to.length().as_secs());
        if short >= long {
            return (self.clone(), PeakFactor::MeanOnly);
        }
        let each = (long / short) as usize;
        let mut groups: BTreeMap<DateTime, Vec<Option<f64>>> = BTreeMap::new();
        for seen in &self.observations {
            groups.entry(to.begin_of(seen.at)).or_default().push(seen.volume);
        }
        let whole = |parts: &Vec<Option<f64>>| parts.len() >= each;
        while groups.first_key_value().is_some_and(|(_, parts)| !whole(parts)) {
            groups.pop_first();
        }
        while groups.last_key_value().is_some_and(|(_, parts)| !whole(parts)) {
            groups.pop_last();
        }
        let mut ratios = Vec::new();
        let observations = groups
            .into_iter()
            .map(|(at, parts)| {
                let known: Vec<f64> = parts.iter().flatten().copied().collect();
                let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
                let enough = 2 * known.len() >= each;
                if enough && mean > 0.0 {
                    ratios.push(known.iter().copied().fold(0.0, f64::max) / mean);
                }
                Observation { at, volume: enough.then_some(mean * each as f64) }
            })
            .collect();
        (Self { step: to, observations }, PeakFactor::measured(ratios))
    }

    /// The last `count` steps.
    pub(crate) fn latest(self, count: usize) -> Self {
        let observations = self.observations;
        let begin = observations.len().saturating_sub(count);
        Self { step: self.step, observations: observations[begin..].to_vec() }
    }

    /// What there is up to `until`, inclusive.
    pub fn until(&self, until: DateTime) -> Self {
        let observations = self.observations.iter().copied().filter(|each| each.at <= until).collect();
        Self { step: self.step, observations }
    }
}

/// RFC 3339, or `YYYY-MM-DD[ HH:MM[:SS]]` in UTC.
pub fn moment_of(text: &str) -> Option<DateTime> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.to_zoned(TimeZone::UTC).datetime());
    }
    if let Ok(date) = text.parse::<Date>() {
        // A date-time parses as a date, too: only a bare date is one.
        if text.len() == 10 {
            return Some(date.at(0, 0, 0, 0));
        }
    }
    text.parse::<DateTime>().ok()
}

impl PeakFactor {
    /// From what was measured, step by step: the busiest part over the mean.
    pub(crate) fn measured(mut ratios: Vec<f64>) -> Self {
        if ratios.is_empty() {
            return Self::MeanOnly;
        }
        ratios.sort_by(f64::total_cmp);
        let factor = quantile_of(&ratios, 0.5).max(1.0);
        // Half the way between the tenth and the ninetieth percentile, as of a normal distribution.
        let width = quantile_of(&ratios, 0.9).max(1.0).ln() - quantile_of(&ratios, 0.1).max(1.0).ln();
        Self::Measured { factor, spread: width / 2.563 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_gaps_are_found() {
        let daily = History::parse("ds,y\n2026-01-01,10\n2026-01-02,11\n2026-01-04,13\n").expect("is whole");
        assert_eq!(daily.step, Step::Day);
        assert_eq!(
            daily.observations.iter().map(|each| each.volume).collect::<Vec<_>>(),
            [Some(10.0), Some(11.0), None, Some(13.0)]
        );
        let hourly = History::parse("timestamp,requests\n2026-01-01T00:00:00Z,1\n2026-01-01T01:00:00Z,2\n");
        assert_eq!(hourly.expect("is whole").step, Step::Hour);
        let minutes = History::parse("2026-01-01 00:00,1\n2026-01-01 00:05:00,2\n");
        assert_eq!(minutes.expect("is whole").step, Step::Minutes(5));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = |text: &str| History::parse(text).expect_err("is bad").to_string();
        assert_eq!(error("ds,y\n2026-01-01,1\nyesterday,2\n"), "line 3: 'yesterday' is not a moment");
        assert_eq!(error("ds,y\n2026-01-01,many\n"), "line 2: 'many' is not a number of zero or more");
        assert_eq!(
            error("ds,y\n2026-01-01,1\n2026-01-01,2\n"),
            "line 3: 2026-01-01T00:00:00 is there twice, with different numbers"
        );
        assert_eq!(
            error("ds,y\n2026-01-01,1\n2026-01-02,1e300\n"),
            "line 3: '1e300' is more than 1e15 requests in one step"
        );
        assert_eq!(error("2026-01-01\n"), "line 1: has no comma");
        assert_eq!(error("ds,y\n"), "0 observations, a forecast needs 2");
        assert!(error("2026-01-01,1\n2026-01-01 00:07,2\n").contains("420 s apart"));
    }
}
