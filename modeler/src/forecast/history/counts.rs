//! Requests counted by the minute: what captures, runs and access logs have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{History, Observation, Step};
use crate::forecast::error::ForecastError;

/// Requests by minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// By minute since 1970-01-01 UTC.
    minutes: BTreeMap<i64, f64>,
    /// The minute counted last, which is mostly the next one's.
    latest: (i64, f64),
}

/// A history may span so many minutes: ten years.
const MOST_MINUTES: i64 = 5_300_000;
/// Minutes in a row without a request that are an outage of whoever counted, when they are this many.
const OUTAGE_MINUTES: i64 = 360;
/// A history by the day spans so many of them at least, one by the hour so many hours.
const LEAST_DAYS: i64 = 21;
const LEAST_HOURS: i64 = 49;

impl Counts {
    /// Counts `requests` of the minute that holds `epoch_seconds`.
    pub fn add(&mut self, epoch_seconds: i64, requests: f64) {
        let minute = epoch_seconds.div_euclid(60);
        if self.latest.0 != minute {
            self.settle();
            self.latest = (minute, 0.0);
        }
        self.latest.1 += requests;
    }

    fn settle(&mut self) {
        if self.latest.1 > 0.0 {
            *self.minutes.entry(self.latest.0).or_default() += self.latest.1;
            self.latest.1 = 0.0;
        }
    }

    /// By the minute, without the first and the last one, which may not be whole. A minute without requests has
    /// none; hours without any are missing.
    ///
    /// # Errors
    /// When they span fewer than three minutes, or more than ten years.
    pub fn history(mut self) -> Result<History, ForecastError> {
        self.settle();
        let (Some((&first, _)), Some((&last, _))) =
            (self.minutes.first_key_value(), self.minutes.last_key_value())
        else {
            return Err(ForecastError::TooShort { count: 0, needed: 3 });
        };
        if last - first > MOST_MINUTES {
            return Err(ForecastError::Uneven { what: "spans more than ten years of minutes".to_owned() });
        }
        if last - first < 2 {
            return Err(ForecastError::TooShort { count: self.minutes.len(), needed: 3 });
        }
        let begin = Timestamp::from_second((first + 1) * 60)
            .map_err(|error| ForecastError::Uneven { what: error.to_string() })?
            .to_zoned(TimeZone::UTC)
            .datetime();
        let count = usize::try_from(last - first - 1).unwrap_or(0);
        let mut volumes = vec![Some(0.0); count];
        let mut before = first;
        for (&minute, &requests) in &self.minutes {
            if minute - before > OUTAGE_MINUTES {
                let missing = usize::try_from(before - first).unwrap_or(0)
                    ..usize::try_from(minute - first - 1).unwrap_or(0).min(count);
                volumes[missing].fill(None);
            }
            before = minute;
            if minute > first && minute < last {
                volumes[usize::try_from(minute - first - 1).unwrap_or(0)] = Some(requests);
            }
        }
        let step = Step::Minutes(1);
        let observations = volumes
            .into_iter()
            .enumerate()
            .map(|(index, volume)| Observation { at: step.moment_after(begin, index), volume })
            .collect();
        Ok(History { step, observations })
    }
}

impl History {
    /// The step in which a history by the minute is best continued: days where it spans three weeks, hours where
    /// it spans two days, else what it is.
    pub fn natural_step(&self) -> Step {
        let minutes = (self.step.length().as_secs() / 60) as i64 * self.observations.len() as i64;
        if minutes >= LEAST_DAYS * 1_440 {
            Step::Day
        } else if minutes >= LEAST_HOURS * 60 {
            Step::Hour
        } else {
            self.step
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::types::PeakFactor;

    #[test]
    fn peaks_of_minutes_are_kept_apart_from_the_mean_of_hours() {
        let mut counts = Counts::default();
        // Fifty hours of one request a minute, in the thirtieth minute of each hour four.
        for minute in 0..3_002_i64 {
            counts.add(minute * 60, if minute % 60 == 30 { 4.0 } else { 1.0 });
        }
        let history = counts.history().expect("is long enough");
        assert_eq!((history.step, history.natural_step()), (Step::Minutes(1), Step::Hour));
        let (hours, peaks) = history.coarsened(Step::Hour);
        // The first hour lacks its first minute.
        assert_eq!(hours.observations.len(), 49);
        assert!(hours.observations.iter().all(|each| each.volume == Some(63.0)));
        let PeakFactor::Measured { factor, spread } = peaks else { panic!("{peaks:?}") };
        assert!((factor - 4.0 / 1.05).abs() < 1e-9 && spread.abs() < 1e-9);
    }

    #[test]
    fn hours_without_any_request_are_missing_and_minutes_are_not() {
        let mut counts = Counts::default();
        for minute in [0, 1, 5, 6, 500, 501] {
            counts.add(minute * 60, 1.0);
        }
        let volumes: Vec<Option<f64>> =
            counts.history().expect("is long enough").observations.iter().map(|each| each.volume).collect();
        assert_eq!(volumes[..6], [Some(1.0), Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(1.0)]);
        assert!(volumes[6..499].iter().all(Option::is_none));
        assert_eq!(volumes[499], Some(1.0));
    }
}
