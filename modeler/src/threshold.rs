//! Thresholds: what a run must meet, as a whole, on one route, in one stage, or of what was observed beside it.
//!
//! `p95<500ms`, `route:POST /checkout:p99<1s`, `stage:3:p95<800ms`, `observe:cpu<85% for 2m`. With `for`, a
//! threshold is missed when it is broken in every second, that has anything to say, of a stretch of that length.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use captures::{Histogram, Interval, Rate, RouteInterval, Run, Stage};

use crate::objective::{Limit, Objective, ObjectiveError, trimmed};

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    scope: Scope,
    condition: Condition,
    lasting: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Whole,
    Route(String),
    /// Counted from zero.
    Stage(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Request(Limit),
    /// A number by the end of its name, and what it must be below (or above).
    Observed {
        name: String,
        below: bool,
        bound: f64,
    },
}

/// What became of a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The threshold, as it was given.
    pub threshold: String,
    /// Why it was missed, or could not be judged; `None` when it was met.
    pub missed: Option<String>,
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Threshold {
    /// Understands one threshold, or, without a scope, several that are separated by commas.
    ///
    /// # Errors
    /// Which condition cannot be understood, and why.
    pub fn parse(text: &str) -> Result<Vec<Self>, ObjectiveError> {
        let text = text.trim();
        let (condition, lasting) = match text.rsplit_once(" for ") {
            Some((condition, length)) => {
                let length = length_of(length.trim())
                    .ok_or_else(|| wrong(text, "the time after `for` is not like 10s, 2m or 1h"))?;
                (condition.trim(), Some(length))
            }
            None => (text, None),
        };
        let one = |scope, condition| Self { text: text.to_owned(), scope, condition, lasting };
        if let Some(rest) = condition.strip_prefix("observe:") {
            return Ok(vec![one(
                Scope::Whole,
                observed(rest)
                    .ok_or_else(|| wrong(text, "is not like observe:cpu<85% or observe:memory_bytes<2e9"))?,
            )]);
        }
        let (scope, rest) = if let Some(rest) = condition.strip_prefix("route:") {
            let (route, limit) = rest
                .rsplit_once(':')
                .ok_or_else(|| wrong(text, "is not like route:POST /checkout:p99<1s"))?;
            (Scope::Route(route.trim().to_owned()), limit)
        } else if let Some(rest) = condition.strip_prefix("stage:") {
            let (stage, limit) = rest
                .split_once(':')
                .and_then(|(number, limit)| {
                    Some((number.trim().parse::<usize>().ok()?.checked_sub(1)?, limit))
                })
                .ok_or_else(|| wrong(text, "is not like stage:3:p95<800ms; the first stage is 1"))?;
            (Scope::Stage(stage), limit)
        } else {
            (Scope::Whole, condition)
        };
        let several = Objective::parse(rest)?.limits;
        let alone = several.len() == 1;
        Ok(several
            .into_iter()
            .map(|limit| Self {
                text: if alone { text.to_owned() } else { limit.to_string() },
                ..one(scope.clone(), Condition::Request(limit))
            })
            .collect())
    }

    /// The same, broken only when it is broken for `length`, unless it says for how long already.
    pub fn lasting_at_least(self, length: Duration) -> Self {
        Self { lasting: self.lasting.or(Some(length)), ..self }
    }

    /// For how long it must be broken.
    pub const fn lasting(&self) -> Option<Duration> {
        self.lasting
    }

    /// Whether the run met it.
    pub fn judge(&self, run: &Run) -> Judgement {
        let stages = &run.header.stages;
        let missed = match self.seconds(stages) {
            Err(why) => Some(why),
            Ok(within) => {
                let seconds = run.intervals.iter().filter(|interval| within.contains(&interval.second));
                match self.lasting {
                    Some(_) => self.broken_for(seconds, &run.header.routes, 1),
                    None => self.broken_in(seconds, &run.header.routes),
                }
            }
        };
        Judgement { threshold: self.text.clone(), missed }
    }

    /// The seconds it is about.
    fn seconds(&self, stages: &[Stage]) -> Result<std::ops::Range<u64>, String> {
        let Scope::Stage(number) = self.scope else { return Ok(0..u64::MAX) };
        let stage = stages
            .get(number)
            .ok_or_else(|| format!("there is no stage {}: the run has {}", number + 1, stages.len()))?;
        Ok(stage.begin.second()..stage.end.as_secs_f64().ceil() as u64)
    }

    fn broken_in<'a>(
        &self,
        seconds: impl Iterator<Item = &'a Interval>,
        routes: &[String],
    ) -> Option<String> {
        match &self.condition {
            Condition::Request(limit) => {
                let (mut sum, mut count) = (RouteInterval::default(), 0);
                for interval in seconds {
                    self.add(&mut sum, interval, routes);
                    count += u64::from(interval.planned > 0);
                }
                if sum.total() == 0 {
                    return Some("no request says anything about it".to_owned());
                }
                broken(*limit, &sum, count)
            }
            Condition::Observed { name, .. } => {
                let values: Vec<f64> = seconds.filter_map(|interval| observed_in(interval, name)).collect();
                if values.is_empty() {
                    return Some(format!("nothing called {name} was observed"));
                }
                self.passed(values.iter().sum::<f64>() / values.len() as f64, "on average")
            }
        }
    }

    /// Why the condition is missed for as long as it takes, in a stretch with `least` outcomes or more.
    fn broken_for<'a>(
        &self,
        seconds: impl Iterator<Item = &'a Interval>,
        routes: &[String],
        least: u64,
    ) -> Option<String> {
        let wanted = self.lasting.unwrap_or_default().as_secs_f64().ceil() as u64;
        let (mut begin, mut outcomes): (Option<u64>, u64) = (None, 0);
        for interval in seconds {
            let (why, count) = match &self.condition {
                Condition::Request(limit) => {
                    let mut sum = RouteInterval::default();
                    self.add(&mut sum, interval, routes);
                    if sum.total() == 0 {
                        continue;
                    }
                    (broken(*limit, &sum, 1), sum.total())
                }
                Condition::Observed { name, .. } => {
                    let Some(value) = observed_in(interval, name) else { continue };
                    (self.passed(value, "at its end"), least)
                }
            };
            let Some(why) = why else {
                (begin, outcomes) = (None, 0);
                continue;
            };
            let first = *begin.get_or_insert(interval.second);
            outcomes += count;
            if interval.second + 1 - first >= wanted.max(1) && outcomes >= least {
                return Some(format!("{why}, for {} s from second {first} on", interval.second + 1 - first));
            }
        }
        None
    }

    fn add(&self, sum: &mut RouteInterval, interval: &Interval, routes: &[String]) {
        for route in &interval.routes {
            let named = match &self.scope {
                Scope::Route(name) => routes.get(usize::from(route.route)) == Some(name),
                Scope::Whole | Scope::Stage(_) => true,
            };
            if named {
                sum.merge(route);
            }
        }
    }

    fn passed(&self, value: f64, when: &str) -> Option<String> {
        let Condition::Observed { name, below, bound } = &self.condition else { return None };
        let broken = if *below { value >= *bound } else { value <= *bound };
        let sign = if *below { '<' } else { '>' };
        broken.then(|| format!("{name}{sign}{}, but it was {} {when}", trimmed(*bound), trimmed(value)))
    }
}

fn broken(limit: Limit, sum: &RouteInterval, seconds: u64) -> Option<String> {
    let error_ratio = sum.errors() as f64 / sum.total().max(1) as f64;
    let ok = Rate::of(sum.total() - sum.errors().min(sum.total()), Duration::from_secs(seconds));
    Objective { limits: vec![limit] }.broken_by(&sum.response, error_ratio, ok)
}

/// The observation whose name ends so; the largest, when there are several.
fn observed_in(interval: &Interval, name: &str) -> Option<f64> {
    let fits = |known: &str| {
        let last = known.rsplit('/').next().unwrap_or(known);
        known == name || last == name || last.split('{').next() == Some(name)
    };
    interval.observed.iter().filter(|one| fits(&one.name)).map(|one| one.value).reduce(f64::max)
}

fn observed(text: &str) -> Option<Condition> {
    let at = text.find(['<', '>'])?;
    let (name, rest) = text.split_at(at);
    let value = rest[1..].trim_start_matches('=').trim();
    let (number, divisor) = match value.strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (value, 1.0),
    };
    let bound = number.parse::<f64>().ok().filter(|number| number.is_finite())? / divisor;
    let name = name.trim();
    (!name.is_empty()).then(|| Condition::Observed {
        name: name.to_owned(),
        below: rest.starts_with('<'),
        bound,
    })
}

fn length_of(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let seconds = match &text[at..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let number: u64 = text[..at].parse().ok()?;
    (1..=86_400).contains(&(number * seconds)).then(|| Duration::from_secs(number * seconds))
}

fn wrong(condition: &str, what: &str) -> ObjectiveError {
    ObjectiveError { condition: condition.to_owned(), what: what.to_owned() }
}

/// Watches a run while it goes on for thresholds that end it.
///
/// Of each of the last seconds it keeps what the thresholds ask for and nothing else: whole seconds hold five
/// histograms for each route, a minute of them more than all the rest of a replay.
#[derive(Clone, Debug)]
pub struct Watch {
    thresholds: Vec<Threshold>,
    routes: Vec<String>,
    recent: BTreeMap<u64, Interval>,
    kept: u64,
    /// Whether any threshold is about response times.
    times: bool,
}

/// Fewer outcomes than this end no run.
const ENOUGH: u64 = 20;
/// How long outcomes may come after their second and still be seen here.
const LATE: u64 = 60;

impl Watch {
    /// For thresholds that must all say how long they must be broken, and the routes of the run.
    pub fn new(thresholds: Vec<Threshold>, routes: Vec<String>) -> Self {
        let longest = thresholds.iter().filter_map(Threshold::lasting).map(|length| length.as_secs()).max();
        let times = thresholds
            .iter()
            .any(|threshold| matches!(&threshold.condition, Condition::Request(Limit::Latency(..))));
        Self { thresholds, routes, recent: BTreeMap::new(), kept: longest.unwrap_or(0) + LATE, times }
    }

    /// Takes a delta of one second; why the run must end, if it must.
    pub fn on_interval(&mut self, delta: &Interval) -> Option<String> {
        if self.thresholds.is_empty() {
            return None;
        }
        let second = delta.second;
        let known = self.recent.entry(second).or_insert_with(|| Interval { second, ..Interval::default() });
        for route in &delta.routes {
            known.route_mut(route.route).merge(&asked_for(route, self.times));
        }
        for observed in &delta.observed {
            known.observe(observed.clone());
        }
        let newest = self.recent.last_key_value().map_or(0, |(&second, _)| second);
        self.recent = self.recent.split_off(&newest.saturating_sub(self.kept));
        self.thresholds
            .iter()
            .find_map(|threshold| threshold.broken_for(self.recent.values(), &self.routes, ENOUGH))
    }
}

/// What thresholds may be about: how outcomes ended, and response times where they are asked for.
fn asked_for(route: &RouteInterval, times: bool) -> RouteInterval {
    RouteInterval {
        route: route.route,
        statuses: route.statuses.clone(),
        failures: route.failures.clone(),
        unexpected: route.unexpected,
        response: if times { route.response.clone() } else { Histogram::new() },
        ..RouteInterval::default()
    }
}

#[cfg(test)]
mod tests {
    use captures::{Failure, Observed, ObservedKind};

    use super::*;
    use crate::fixture;

    /// A second in which `count` requests took `ms` each, `errors` of them failed, and CPU stood at `cpu`.
    fn second(second: u64, count: u64, ms: u64, errors: u64, cpu: f64) -> Interval {
        let mut interval = Interval { second, planned: count, ..Interval::default() };
        interval.observe(Observed { name: "pid:1/cpu".to_owned(), kind: ObservedKind::Rate, value: cpu });
        let route = interval.route_mut(u16::from(second % 2 == 1));
        route.statuses = vec![(200, count - errors)];
        route.failures = vec![(Failure::Reset, errors)];
        for _ in 0..count {
            route.response.record(Duration::from_millis(ms));
        }
        interval
    }

    fn run(intervals: Vec<Interval>) -> Run {
        fixture::run(
            vec![fixture::hold(0, 5, 1.0), fixture::hold(5, 10, 2.0)],
            vec!["GET /".to_owned(), "POST /checkout".to_owned()],
            intervals,
        )
    }

    /// Ten seconds of 10 requests: 20 ms each and CPU at 0.5 in the first stage, 80 ms and 0.9 in the second.
    fn two_stages() -> Run {
        run((0..10)
            .map(|at| {
                second(
                    at,
                    10,
                    if at < 5 { 20 } else { 80 },
                    u64::from(at == 9),
                    if at < 5 { 0.5 } else { 0.9 },
                )
            })
            .collect())
    }

    #[test]
    fn a_threshold_is_about_the_run_a_route_a_stage_or_an_observation() {
        let run = two_stages();
        for (text, missed) in [
            ("p95<100ms", None),
            ("p95<50ms", Some("p95<50ms, but it was 80")),
            ("stage:1:p95<50ms", None),
            ("stage:2:p95<50ms", Some("but it was 80")),
            ("stage:3:p95<50ms", Some("the run has 2")),
            ("errors<2%", None),
            ("errors<1%", Some("1.000 %")),
            ("route:POST /checkout:errors<1%", Some("2.000 %")),
            ("route:GET /:errors<1%", None),
            ("route:GET /none:errors<1%", Some("no request")),
            ("throughput>9rps", None),
            ("observe:cpu<75%", None),
            ("observe:cpu<60%", Some("cpu<0.6, but it was 0.7 on average")),
            ("observe:cpu<85% for 4s", Some("for 4 s from second 5 on")),
            ("observe:cpu<85% for 6s", None),
            ("observe:memory<1", Some("nothing called memory")),
            ("p95<50ms for 6s", None),
            ("p95<50ms for 3s", Some("for 3 s from second 5 on")),
        ] {
            let judged = Threshold::parse(text).unwrap()[0].judge(&run);
            assert_eq!(judged.threshold, text);
            match (missed, judged.missed) {
                (None, None) => {}
                (Some(expected), Some(why)) if why.contains(expected) => {}
                (expected, why) => panic!("{text}: {why:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_threshold_is_named() {
        assert_eq!(Threshold::parse("p95<1s,errors<1%").unwrap().len(), 2);
        for text in [
            "fast",
            "stage:0:p95<1s",
            "route:p95",
            "observe:cpu",
            "observe:<1",
            "p95<1s for ever",
            "p95<1s for 0s",
        ] {
            assert!(Threshold::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_run_is_ended_when_a_limit_is_broken_for_long_enough_and_by_enough() {
        let breaker = || -> Vec<Threshold> {
            Threshold::parse("errors<50%")
                .unwrap()
                .into_iter()
                .map(|one| one.lasting_at_least(Duration::from_secs(3)))
                .collect()
        };
        let ended = |errors: &[u64], count: u64| {
            let mut watch = Watch::new(breaker(), vec!["a".to_owned(), "b".to_owned()]);
            errors.iter().enumerate().find_map(|(at, &errors)| {
                watch.on_interval(&second(at as u64, count, 1, errors, 0.0)).map(|_| at)
            })
        };
        assert_eq!(ended(&[0, 6, 6, 6, 6], 10), Some(3));
        assert_eq!(ended(&[0, 6, 6, 0, 6, 6], 10), None);
        assert_eq!(ended(&[4; 9], 10), None);
        // One request a second: it takes twenty of them.
        assert_eq!(ended(&[1; 30], 1), Some(19));
    }

    #[test]
    fn a_watch_keeps_times_only_where_a_threshold_asks_for_them() {
        for (text, ends, kept) in [("errors<50% for 3s", None, 0), ("p95<50ms for 3s", Some(7), 80)] {
            let mut watch = Watch::new(Threshold::parse(text).unwrap(), vec!["a".to_owned(), "b".to_owned()]);
            let ended = two_stages().intervals.iter().position(|second| watch.on_interval(second).is_some());
            assert_eq!(ended, ends, "{text}");
            let times: u64 = watch.recent.values().map(|second| second.overall().response.len()).sum();
            assert_eq!(times, kept, "{text}");
        }
    }
}
