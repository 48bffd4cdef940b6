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

/// The share that only no error at all is below: one in more requests than any run holds.
const NO_ERRORS: f64 = 1e-12;

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
    /// (`us`, `ms`, `s`), `errors` with a percentage or a ratio below 1, or `throughput>…rps`. `<=` and `>=` let
    /// the limit itself pass; `errors=0` and `errors<=0%` ask for no error at all. A bare `errors<1` is refused: it
    /// would let everything pass where 1 % was meant.
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
        self.limits.iter().find_map(|limit| {
            Some(format!("{limit}, but {}", limit.broken_by(response, error_ratio, throughput)?))
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

impl Limit {
    /// What was measured instead, as "it was 80.0 ms"; `None` when the limit was met.
    pub(crate) fn broken_by(
        &self,
        response: &Histogram,
        error_ratio: f64,
        throughput: Rate,
    ) -> Option<String> {
        match *self {
            Self::Latency(measure, length) => {
                let measured = match measure {
                    LatencyMeasure::Mean => response.mean(),
                    LatencyMeasure::Quantile(quantile) => response.quantile(quantile),
                };
                let millis = measured.as_secs_f64() * 1_000.0;
                (measured >= length).then(|| format!("it was {millis:.1} ms"))
            }
            Self::Errors(most) => {
                (error_ratio >= most).then(|| format!("they were {:.3} %", error_ratio * 100.0))
            }
            Self::Throughput(least) => (throughput <= least).then(|| format!("it was {throughput}")),
        }
    }
}

fn parse_limit(condition: &str) -> Result<Limit, ObjectiveError> {
    let condition = condition.trim();
    let wrong = |what: &str| ObjectiveError { condition: condition.to_owned(), what: what.to_owned() };
    let at = condition.find(['<', '>', '=']).ok_or_else(|| wrong("has no < or >"))?;
    let (name, rest) = condition.split_at(at);
    let (below, equals) = (rest.starts_with('<'), rest.starts_with('='));
    let value = rest[1..].strip_prefix('=').unwrap_or(&rest[1..]);
    // Of what may pass: the limit itself, too.
    let inclusive = value.len() + 1 < rest.len() || equals;
    let value = value.trim();
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "errors" if equals || (below && inclusive) => parse_most_errors(value, equals).map_err(wrong),
        _ if equals => Err(wrong("only errors=0 is an equation; write <, <=, > or >=")),
        "throughput" if below => Err(wrong("a throughput is limited from below: throughput>100rps")),
        "throughput" => {
            let number = value.strip_suffix("rps").or_else(|| value.strip_suffix("/s")).unwrap_or(value);
            let rate = number.trim().parse().ok().filter(|number| *number <= MOST_THROUGHPUT);
            let rate = rate.map(|rate: f64| if inclusive { rate.next_down().max(0.0) } else { rate });
            rate.and_then(Rate::per_second)
                .map(Limit::Throughput)
                .ok_or_else(|| wrong("the throughput is not a number from 0 to 1e12, e.g. throughput>100rps"))
        }
        "rate" | "rps" if !below => {
            Err(wrong("the rate that is answered is called throughput: throughput>10rps"))
        }
        _ if !below => Err(wrong("only a throughput is limited from below (throughput>10rps); write <")),
        "errors" => match parse_ratio(value).map_err(wrong)? {
            0.0 => Err(wrong("nothing is below no error at all; write errors<=0%")),
            ratio => Ok(Limit::Errors(ratio)),
        },
        _ => {
            let measure = parse_measure(&name)
                .ok_or_else(|| wrong("is none of mean, p50, p90, p95, p99, p99.9, errors, throughput"))?;
            let length = parse_length(value).ok_or_else(|| {
                wrong("the limit is not a length of time above zero, e.g. 200ms, 1.5s, 800us")
            })?;
            let more = Duration::from_nanos(u64::from(inclusive));
            Ok(Limit::Latency(measure, length.saturating_add(more)))
        }
    }
}

/// `errors<=1%`, `errors<=0%`, `errors=0`: that share itself may be.
fn parse_most_errors(value: &str, equals: bool) -> Result<Limit, &'static str> {
    match parse_ratio(value)? {
        0.0 => Ok(Limit::Errors(NO_ERRORS)),
        _ if equals => Err("only no error at all is an equation, errors=0; write errors<1%"),
        ratio => Ok(Limit::Errors(ratio.next_up())),
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

fn parse_ratio(text: &str) -> Result<f64, &'static str> {
    let percent = text.strip_suffix('%');
    let number = percent.unwrap_or(text).trim();
    let number = plain_number(number).ok_or("the share of errors is like errors<1% or errors<0.01")?;
    match percent {
        Some(_) if number <= 100.0 => Ok(number / 100.0),
        Some(_) => Err("the share of errors is at most 100 %, e.g. errors<1%"),
        None if number < 1.0 => Ok(number),
        None => Err("a number without % is a share below 1; write errors<1% or errors<0.01"),
    }
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
            Self::Errors(ratio) if *ratio <= NO_ERRORS => write!(f, "errors<=0%"),
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
            ("errors=0, errors<=0%, errors <= 0", "errors<=0%,errors<=0%,errors<=0%"),
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
            // What is measured is the limit itself: the 0.5 % and the 80 a second of below.
            ("errors<0.5%", Some("errors<0.5%, but they were 0.500 %")),
            ("errors<=0.5%,throughput>=80rps", None),
            ("throughput>80rps", Some("throughput>80rps, but it was 80.0 req/s")),
            ("errors=0", Some("errors<=0%, but they were 0.500 %")),
        ] {
            let objective = Objective::parse(objective).unwrap();
            let found = objective.broken_by(&response, 0.005, Rate::per_second(80.0).unwrap());
            assert_eq!(found.as_deref(), broken);
        }
        let flawless = |text| {
            let objective = Objective::parse(text).unwrap();
            objective.broken_by(&response, 0.0, Rate::per_second(80.0).unwrap())
        };
        assert_eq!((flawless("errors=0"), flawless("errors<=0%")), (None, None));
    }

    #[test]
    fn what_was_meant_is_shown_where_something_else_was_typed() {
        for (typed, mend) in [
            ("errors<1", "errors<1% or errors<0.01"),
            ("errors<=5", "errors<1% or errors<0.01"),
            ("errors=1%", "errors=0; write errors<1%"),
            ("errors<0%", "errors<=0%"),
            ("rate>10rps", "throughput>10rps"),
            ("rps>=10", "throughput>10rps"),
        ] {
            let error = Objective::parse(typed).unwrap_err();
            assert!(error.what.contains(mend), "{typed}: {error}");
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
            "errors<1",
            "errors=1%",
            "p95=1s",
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
