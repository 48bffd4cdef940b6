//! History: how many requests came, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::error::ForecastError;

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

/// The most requests that a step is believed to have.
const MOST_VOLUME: f64 = 1e15;
/// A history may span so many steps.
const MOST_STEPS: i64 = 1_000_000;
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
        let mut known: BTreeMap<DateTime, Option<f64>> = BTreeMap::new();
        let mut seen_any = false;
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let wrong = |what: String| ForecastError::Line { line: at + 1, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((moment, rest)) = line.split_once(',') else {
                return Err(wrong("has no comma".to_owned()));
            };
            let first = !std::mem::replace(&mut seen_any, true);
            let Some(moment) = moment_of(moment.trim().trim_matches('"')) else {
                if first && rest.parse::<f64>().is_err() {
                    continue;
                }
                return Err(wrong(format!("'{}' is not a moment", moment.trim())));
            };
            let cell = rest.split(',').next().unwrap_or_default().trim().trim_matches('"');
            let volume = match cell {
                "" | "NA" | "NaN" | "null" => None,
                _ => Some(
                    cell.parse::<f64>()
                        .ok()
                        .filter(|volume| volume.is_finite() && *volume >= 0.0)
                        .ok_or_else(|| wrong(format!("'{cell}' is not a number of zero or more")))?,
                ),
            };
            if volume.is_some_and(|volume| volume > MOST_VOLUME) {
                let what = format!("'{cell}' is more than {MOST_VOLUME:e} requests in one step");
                return Err(ForecastError::TooLarge { line: at + 1, what });
            }
            if known.insert(moment, volume).is_some() {
                return Err(wrong(format!("{moment} is there twice")));
            }
        }
        Self::even(&known)
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
        let Some(&(length, step)) = STEPS.iter().find(|(length, _)| *length == shortest) else {
            return Err(ForecastError::Uneven {
                what: format!(
                    "two moments are {shortest} s apart, which is no step of minutes, an hour, a day or a week"
                ),
            });
        };
        if seconds(first, last) / length > MOST_STEPS {
            return Err(ForecastError::Uneven { what: format!("spans more than {MOST_STEPS} steps") });
        }
        if let Some(odd) = moments.iter().find(|moment| seconds(first, **moment) % length != 0) {
            return Err(ForecastError::Uneven {
                what: format!("{odd} is not a whole {} after {first}", step.name()),
            });
        }
        let count = usize::try_from(seconds(first, last) / length).unwrap_or(0) + 1;
        let observations = (0..count)
            .map(|index| {
                let at = step.moment_after(first, index);
                Observation { at, volume: known.get(&at).copied().flatten() }
            })
            .collect();
        Ok(Self { step, observations })
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
        assert_eq!(error("ds,y\n2026-01-01,1\n2026-01-01,1\n"), "line 3: 2026-01-01T00:00:00 is there twice");
        assert_eq!(
            error("ds,y\n2026-01-01,1\n2026-01-02,1e300\n"),
            "line 3: '1e300' is more than 1e15 requests in one step"
        );
        assert_eq!(error("2026-01-01\n"), "line 1: has no comma");
        assert_eq!(error("ds,y\n"), "0 observations, a forecast needs 2");
        assert!(error("2026-01-01,1\n2026-01-01 00:07,2\n").contains("420 s apart"));
    }
}
