//! Thresholds: what a run must meet, as a whole, on one route, in one stage, or of what was observed beside it.
//!
//! `p95<500ms`, `route:POST /checkout:p99<1s`, `stage:3:p95<800ms`, `observe:cpu<85% for 2m`. With `for`, a
//! threshold is missed when it is broken in every second, that has anything to say, of a stretch of that length.
//!
//! What could not be judged was not met: nothing was measured of it, or for less time than it must be broken.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use captures::{Histogram, Interval, Rate, RouteInterval, RoutePattern, Run, Stage};

use crate::objective::{Limit, Objective, ObjectiveError, trimmed};

mod fit;

pub use fit::Unfit;

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
    /// All routes that fit, taken together.
    Route(RoutePattern),
    /// Counted from zero.
    Stage(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    /// A limit, and how it was typed.
    Request(Limit, String),
    /// A number by the end of its name, and what it must be below (or above).
    Observed {
        name: String,
        below: bool,
        bound: f64,
        /// How it was typed, and whether in percent.
        typed: String,
        percent: bool,
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
            (Scope::Route(RoutePattern::new(route)), limit)
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
        let (before, after) = text.split_at(text.find(rest).unwrap_or(0));
        let after = after.strip_prefix(rest).unwrap_or_default();
        Ok(several
            .into_iter()
            .zip(rest.split(',').map(str::trim))
            .map(|(limit, typed)| Self {
                text: format!("{before}{typed}{after}"),
                ..one(scope.clone(), Condition::Request(limit, typed.to_owned()))
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
        let missed = match self.seconds(&run.header.stages) {
            Err(unfit) => Some(unfit.to_string()),
            Ok(within) => {
                // At rest after the last answer nothing is judged.
                let over = run.end.as_ref().map_or(u64::MAX, |end| end.ended.second());
                let seconds =
                    || run.intervals.iter().filter(|one| one.second <= over && within.contains(&one.second));
                match self.lasting {
                    Some(lasting) => self
                        .unjudged(seconds(), run, lasting)
                        .or_else(|| self.broken_for(seconds(), &run.header.routes, 1)),
                    None => self.broken_in(seconds(), &run.header.routes),
                }
            }
        };
        Judgement { threshold: self.text.clone(), missed }
    }

    /// The seconds it is about.
    fn seconds(&self, stages: &[Stage]) -> Result<std::ops::Range<u64>, Unfit> {
        let Scope::Stage(number) = self.scope else { return Ok(0..u64::MAX) };
        let stage = stages.get(number).ok_or(Unfit::Stage { number: number + 1, of: stages.len() })?;
        Ok(stage.begin.second()..stage.end.as_secs_f64().ceil() as u64)
    }

    /// Why it cannot be told whether it was broken for `lasting`.
    fn unjudged<'a>(
        &self,
        seconds: impl Iterator<Item = &'a Interval>,
        run: &Run,
        lasting: Duration,
    ) -> Option<String> {
        let mut seen = seconds.filter(|interval| self.is_seen_in(interval, &run.header.routes));
        let Some(first) = seen.next() else { return Some(self.unseen()) };
        let last = seen.last().unwrap_or(first);
        let (what, planned) = self.planned(&run.header.stages);
        let took = match &run.end {
            Some(end) if end.interrupted => planned.min(end.ended.since(captures::Offset::ZERO)),
            _ => planned,
        };
        let too_short = format!("less than {}", length(lasting));
        if took < lasting {
            return Some(format!("not judged: the {what} took {}, {too_short}", length(took)));
        }
        let span = Duration::from_secs(last.second + 1 - first.second);
        let wanted = Duration::from_secs(lasting.as_secs_f64().ceil() as u64);
        (span < wanted).then(|| {
            format!("not judged: there is something to say about {} only, {too_short}", length(span))
        })
    }

    fn is_seen_in(&self, interval: &Interval, routes: &[String]) -> bool {
        match &self.condition {
            Condition::Request(..) => {
                let mut sum = RouteInterval::default();
                self.add(&mut sum, interval, routes);
                sum.total() > 0
            }
            Condition::Observed { name, .. } => observed_in(interval, name).is_some(),
        }
    }

    fn unseen(&self) -> String {
        match &self.condition {
            Condition::Request(..) => "no request says anything about it".to_owned(),
            Condition::Observed { name, .. } => format!("nothing called {name} was observed"),
        }
    }

    fn broken_in<'a>(
        &self,
        seconds: impl Iterator<Item = &'a Interval>,
        routes: &[String],
    ) -> Option<String> {
        match &self.condition {
            Condition::Request(limit, typed) => {
                let (mut sum, mut count) = (RouteInterval::default(), 0);
                for interval in seconds {
                    self.add(&mut sum, interval, routes);
                    count += u64::from(interval.planned > 0);
                }
                if sum.total() == 0 {
                    return Some(self.unseen());
                }
                broken(*limit, typed, &sum, count)
            }
            Condition::Observed { name, .. } => {
                let values: Vec<f64> = seconds.filter_map(|interval| observed_in(interval, name)).collect();
                if values.is_empty() {
                    return Some(self.unseen());
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
                Condition::Request(limit, typed) => {
                    let mut sum = RouteInterval::default();
                    self.add(&mut sum, interval, routes);
                    if sum.total() == 0 {
                        continue;
                    }
                    (broken(*limit, typed, &sum, 1), sum.total())
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
                Scope::Route(pattern) => {
                    routes.get(usize::from(route.route)).is_some_and(|name| pattern.matches(name))
                }
                Scope::Whole | Scope::Stage(_) => true,
            };
            if named {
                sum.merge(route);
            }
        }
    }

    fn passed(&self, value: f64, when: &str) -> Option<String> {
        let Condition::Observed { below, bound, typed, percent, .. } = &self.condition else { return None };
        let broken = if *below { value >= *bound } else { value <= *bound };
        let shown = if *percent { format!("{}%", figure(value * 100.0)) } else { figure(value) };
        broken.then(|| format!("{typed}, but it was {shown} {when}"))
    }
}

fn broken(limit: Limit, typed: &str, sum: &RouteInterval, seconds: u64) -> Option<String> {
    let error_ratio = sum.errors() as f64 / sum.total().max(1) as f64;
    let ok = Rate::of(sum.total() - sum.errors().min(sum.total()), Duration::from_secs(seconds));
    Some(format!("{typed}, but {}", limit.broken_by(&sum.response, error_ratio, ok)?))
}

/// A number that is never shown as zero when it is not.
fn figure(number: f64) -> String {
    if number == 0.0 || number.abs() >= 1e-3 { trimmed(number) } else { format!("{number:.2e}") }
}

/// `10 s`, `2 min`, `1 h`.
fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds if length.subsec_nanos() > 0 => {
            format!("{} s", trimmed(seconds as f64 + f64::from(length.subsec_millis()) / 1e3))
        }
        seconds if seconds > 0 && seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// The observation whose name ends so; the largest, when there are several.
fn observed_in(interval: &Interval, name: &str) -> Option<f64> {
    let fits = |known: &str| {
        // Labels may hold slashes, too.
        let metric = known.split('{').next().unwrap_or(known);
        let begin = metric.rfind('/').map_or(0, |at| at + 1);
        known == name || &known[begin..] == name || &metric[begin..] == name
    };
    interval.observed.iter().filter(|one| fits(&one.name)).map(|one| one.value).reduce(f64::max)
}

fn observed(text: &str) -> Option<Condition> {
    let at = text.find(['<', '>'])?;
    let (name, rest) = text.split_at(at);
    let below = rest.starts_with('<');
    let value = rest[1..].strip_prefix('=');
    let inclusive = value.is_some();
    let value = value.unwrap_or(&rest[1..]).trim();
    let percent = value.strip_suffix('%');
    let divisor = if percent.is_some() { 100.0 } else { 1.0 };
    let number = percent.unwrap_or(value).trim().parse::<f64>().ok().filter(|number| number.is_finite())?;
    let bound = match (number / divisor, inclusive) {
        (bound, false) => bound,
        (bound, true) if below => bound.next_up(),
        (bound, true) => bound.next_down(),
    };
    let name = name.trim().to_owned();
    let typed = text.trim().to_owned();
    let percent = percent.is_some();
    (!name.is_empty()).then_some(Condition::Observed { name, below, bound, typed, percent })
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
    /// Each with the seconds that it is about.
    thresholds: Vec<(Threshold, std::ops::Range<u64>)>,
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
    /// For thresholds that must all say how long they must be broken, and the stages and routes of the run. What
    /// is about a stage that is not there is left out.
    pub fn new(thresholds: Vec<Threshold>, stages: &[Stage], routes: Vec<String>) -> Self {
        let longest = thresholds.iter().filter_map(Threshold::lasting).map(|length| length.as_secs()).max();
        let times = thresholds
            .iter()
            .any(|threshold| matches!(&threshold.condition, Condition::Request(Limit::Latency(..), _)));
        let thresholds = thresholds
            .into_iter()
            .filter_map(|threshold| threshold.seconds(stages).ok().map(|within| (threshold, within)))
            .collect();
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
        self.thresholds.iter().find_map(|(threshold, within)| {
            let seconds = self.recent.values().filter(|interval| within.contains(&interval.second));
            threshold.broken_for(seconds, &self.routes, ENOUGH)
        })
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
mod tests;
