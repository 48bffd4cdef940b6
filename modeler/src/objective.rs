//! Objectives: `p95<200ms,errors<1%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use captures::{Histogram, Rate};

use crate::latency::LatencyMeasure;

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The response must be below.
    Latency(LatencyMeasure, Duration),
    /// The share of errors, in `0..=1`, must be below.
    Errors(f64),
    /// The throughput must be above.
    Throughput(Rate),
}

/// The highest throughput that is believed, in requests per second.
const MOST_THROUGHPUT: f64 = 1e12;

/// What a service has promised: all limits must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The limits, as they were given.
    pub limits: Vec<Limit>,
}

/// What cannot be understood of an objective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectiveError {
    /// The condition.
    pub condition: String,
    /// What is wrong with it.
    pub what: String,
}

impl Objective {
    /// Understands `p95<200ms,errors<1%`.
    ///
    /// A condition is `p50`, `p90`, `p95`, `p99`, `p99.9` (any quantile) or `mean` with a length of time
    /// (`us`, `ms`, `s`), `errors` with a percentage or a ratio, or `throughput>…rps`. `<` and `<=` mean the
    /// same: a measured quantile equals its limit with probability zero.
    ///
    /// # Errors
    /// Which condition cannot be understood, and why.
    pub fn parse(text: &str) -> Result<Self, ObjectiveError> {
        let limits = text.split(',').map(parse_limit).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { limits })
    }

    /// The first limit that a measurement broke, as "limit, but measured"; `None` when it met them all.
    ///
    /// `error_ratio` is in `0..=1`.
    pub fn broken_by(&self, response: &Histogram, error_ratio: f64, throughput: Rate) -> Option<String> {
        self.limits.iter().find_map(|limit| match *limit {
            Limit::Latency(measure, length) => {
                let measured = match measure {
                    LatencyMeasure::Mean => response.mean(),
                    LatencyMeasure::Quantile(quantile) => response.quantile(quantile),
                };
                let millis = measured.as_secs_f64() * 1_000.0;
                (measured >= length).then(|| format!("{limit}, but it was {millis:.1} ms"))
            }
            Limit::Errors(most) => {
                (error_ratio >= most).then(|| format!("{limit}, but they were {:.3} %", error_ratio * 100.0))
            }
            Limit::Throughput(least) => {
                (throughput <= least).then(|| format!("{limit}, but it was {throughput}"))
            }
        })
    }

    /// The limits on the response.
    pub fn latency_limits(&self) -> impl Iterator<Item = (LatencyMeasure, Duration)> + '_ {
        self.limits.iter().filter_map(|limit| match limit {
            Limit::Latency(measure, length) => Some((*measure, *length)),
            Limit::Errors(_) | Limit::Throughput(_) => None,
        })
    }

    /// The strictest limit on errors.
    pub fn errors_limit(&self) -> Option<f64> {
        self.limits
            .iter()
            .filter_map(|limit| match limit {
                Limit::Errors(ratio) => Some(*ratio),
                Limit::Latency(..) | Limit::Throughput(_) => None,
            })
            .reduce(f64::min)
    }
}

fn parse_limit(condition: &str) -> Result<Limit, ObjectiveError> {
    let condition = condition.trim();
    let wrong = |what: &str| ObjectiveError { condition: condition.to_owned(), what: what.to_owned() };
    let at = condition.find(['<', '>']).ok_or_else(|| wrong("has no < or >"))?;
    let (name, rest) = condition.split_at(at);
    let below = rest.starts_with('<');
    let value = rest[1..].strip_prefix('=').unwrap_or(&rest[1..]).trim();
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "throughput" if below => Err(wrong("a throughput is limited from below: throughput>100rps")),
        "throughput" => {
            let number = value.strip_suffix("rps").or_else(|| value.strip_suffix("/s")).unwrap_or(value);
            let rate = number.trim().parse().ok().filter(|number| *number <= MOST_THROUGHPUT);
            rate.and_then(Rate::per_second)
                .map(Limit::Throughput)
                .ok_or_else(|| wrong("the throughput is not a number from 0 to 1e12, e.g. throughput>100rps"))
        }
        _ if !below => Err(wrong("only a throughput is limited from below; write <")),
        "errors" => parse_ratio(value).map(Limit::Errors).ok_or_else(|| {
            wrong("the share of errors is a percentage above 0 % and at most 100 %, e.g. errors<1%")
        }),
        _ => {
            let measure = parse_measure(&name)
                .ok_or_else(|| wrong("is none of mean, p50, p90, p95, p99, p99.9, errors, throughput"))?;
            let length = parse_length(value).ok_or_else(|| {
                wrong("the limit is not a length of time above zero, e.g. 200ms, 1.5s, 800us")
            })?;
            Ok(Limit::Latency(measure, length))
        }
    }
}

fn parse_measure(name: &str) -> Option<LatencyMeasure> {
    if matches!(name, "mean" | "avg") {
        return Some(LatencyMeasure::Mean);
    }
    if matches!(name, "median" | "med") {
        return Some(LatencyMeasure::Quantile(0.5));
    }
    let percent: f64 = name
        .strip_prefix('p')
        .filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))?
        .parse()
        .ok()?;
    // The nearest double to percent / 100 that prints as it was typed.
    (percent > 0.0 && percent < 100.0).then(|| LatencyMeasure::Quantile((percent * 1e7).round() / 1e9))
}

fn parse_ratio(text: &str) -> Option<f64> {
    let (number, divisor) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let ratio = plain_number(number.trim())? / divisor;
    (ratio > 0.0 && ratio <= 1.0).then_some(ratio)
}

fn parse_length(text: &str) -> Option<Duration> {
    let (number, unit) = [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)]
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, unit)))?;
    let seconds = plain_number(number.trim())? * unit;
    let length = Duration::try_from_secs_f64(seconds).ok()?;
    (length > Duration::ZERO).then_some(length)
}

/// A decimal number without sign, exponent, infinity or not-a-number.
fn plain_number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

/// A number without trailing zeros.
pub(crate) fn trimmed(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(measure, length) => {
                let seconds = length.as_secs_f64();
                let (number, unit) = match seconds {
                    _ if seconds < 1e-3 => (seconds * 1e6, "us"),
                    _ if seconds < 1.0 => (seconds * 1e3, "ms"),
                    _ => (seconds, "s"),
                };
                write!(f, "{}<{}{unit}", measure.name(), trimmed(number))
            }
            Self::Errors(ratio) => write!(f, "errors<{}%", trimmed(ratio * 100.0)),
            Self::Throughput(rate) => write!(f, "throughput>{}rps", trimmed(rate.as_per_second())),
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in self.limits.iter().enumerate() {
            write!(f, "{}{limit}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl ObjectiveError {
    /// How to mend it.
    pub fn mend(&self) -> &'static str {
        "write e.g. 'p95<200ms,errors<1%'"
    }
}

impl fmt::Display for ObjectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.condition, self.what)
    }
}

impl std::error::Error for ObjectiveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_says_back_what_it_understood() {
        for (typed, understood) in [
            ("p95<200ms,errors<1%", "p95<200ms,errors<1%"),
            ("p99.9 <= 1.5s", "p99.9<1.5s"),
            ("P50<800us, mean<0.02s", "p50<800us,mean<20ms"),
            ("errors<0.005,throughput>100rps", "errors<0.5%,throughput>100rps"),
        ] {
            assert_eq!(
                Objective::parse(typed).map(|objective| objective.to_string()).as_deref(),
                Ok(understood)
            );
        }
    }

    #[test]
    fn a_measurement_meets_an_objective_or_breaks_a_limit_of_it() {
        let mut response = Histogram::new();
        (1..=100).for_each(|millis| response.record(Duration::from_millis(millis)));
        for (objective, broken) in [
            ("p95<200ms,errors<1%", None),
            ("p95<90ms,errors<1%", Some("p95<90ms, but it was 95.0 ms")),
            ("mean<51ms,errors<0.1%", Some("errors<0.1%, but they were 0.500 %")),
            ("throughput>100rps", Some("throughput>100rps, but it was 80.0 req/s")),
        ] {
            let objective = Objective::parse(objective).unwrap();
            let found = objective.broken_by(&response, 0.005, Rate::per_second(80.0).unwrap());
            assert_eq!(found.as_deref(), broken);
        }
    }

    #[test]
    fn nonsense_is_named() {
        for typed in [
            "",
            "p95",
            "p95<",
            "p95<200",
            "p95>200ms",
            "p0<1s",
            "p100<1s",
            "p<1s",
            "p95<-1ms",
            "p95<0ms",
            "errors<0%",
            "errors<101%",
            "errors<NaN",
            "p95<infs",
            "speed<3ms",
            "throughput<3rps",
            "throughput>x",
            "p95<1e3ms",
            "p95<99999999999999999999s",
            "p95<1ms,,",
            "pinf<1s",
            "pnan<1s",
            "p+5<1s",
        ] {
            assert!(Objective::parse(typed).is_err(), "{typed}");
        }
    }
}
