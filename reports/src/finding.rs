//! What was found, as sentences: the verdict of a report and the titles of its charts.
//!
//! A sentence says no more than the evidence does: an answer that was not bracketed by measurement, or that
//! lies beyond what was measured, says so itself.

use captures::{Rate, Run};
use modeler::{Binding, Capacity, Exhaustion, Forecast, LoadUnit, Model, Objective, Verdict};

use crate::account::{self, Account};
use crate::evidence::{Check, Evidence};
use crate::{title, words};

/// How good the news is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Plain,
}

impl Tone {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// A fact beside the verdict, with the part of the page that proves it.
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) note: String,
    pub(crate) anchor: &'static str,
}

/// The answer in one look.
pub(crate) struct Finding {
    pub(crate) tone: Tone,
    /// What must be known before anything else; each a whole sentence.
    pub(crate) alarms: Vec<String>,
    /// The sentence.
    pub(crate) headline: String,
    pub(crate) facts: Vec<Fact>,
}

/// The verdict on `evidence`.
pub(crate) fn finding(evidence: &Evidence<'_>) -> Finding {
    let alarms = alarms(evidence.runs);
    let invalid = evidence.runs.iter().any(is_invalid);
    let (tone, headline) = headline(evidence);
    let mut facts = Vec::new();
    if let Some(model) = evidence.model {
        capacity_facts(model, present_peak(evidence), &mut facts);
    } else {
        run_facts(evidence.runs, &mut facts);
    }
    if let Some(check) = evidence.check {
        facts.push(check_fact(check));
    }
    if let Some(forecast) = evidence.forecast {
        growth_facts(forecast, &mut facts);
    }
    let tone = match tone {
        _ if invalid => Tone::Bad,
        Tone::Good if !alarms.is_empty() => Tone::Warning,
        tone => tone,
    };
    Finding { tone, alarms, headline, facts }
}

/// Whether the generator was the bottleneck of `run`.
pub(crate) fn is_invalid(run: &Run) -> bool {
    run.end.as_ref().is_some_and(|end| end.invalid_reason.is_some())
}

fn alarms(runs: &[Run]) -> Vec<String> {
    let mut alarms = Vec::new();
    for reason in runs.iter().filter_map(|run| run.end.as_ref()?.invalid_reason.as_ref()) {
        alarms.push(format!(
            "The generator was the bottleneck, so these numbers say nothing about the target: {reason}."
        ));
    }
    for run in runs.iter().filter(|run| account::is_interrupted(run)) {
        let planned = run.header.stages.last().map_or(0.0, |stage| stage.end.as_secs_f64());
        let ended = run.end.as_ref().map_or(0.0, |end| end.ended.as_secs_f64());
        alarms.push(format!(
            "{} was interrupted after {} of {}: the level it stopped in, and those after it, were not measured.",
            if runs.len() == 1 { "The run" } else { "A run" },
            words::seconds(ended.min(planned).floor()),
            words::seconds(planned)
        ));
    }
    let held_back = runs.iter().map(|run| run.header.held_back_ratio).fold(0.0, f64::max);
    if held_back > 0.0 {
        let share = words::percent(held_back);
        alarms.push(format!("Partial mix: {share} of the recorded requests were held back from the replay."));
    }
    if runs.iter().any(|run| run.end.is_none()) {
        alarms.push("A run was never closed: its last second may be missing.".to_owned());
    }
    if runs.iter().any(|run| !run.damage.is_empty()) {
        alarms.push("A run file is damaged: what could be read is shown.".to_owned());
    }
    alarms
}

fn headline(evidence: &Evidence<'_>) -> (Tone, String) {
    if !evidence.runs.is_empty() && evidence.runs.iter().all(is_invalid) {
        return (Tone::Bad, "Nothing can be concluded about the target.".to_owned());
    }
    if let Some(model) = evidence.model {
        return model_headline(model, present_peak(evidence));
    }
    if let Some(forecast) = evidence.forecast {
        return growth_headline(forecast);
    }
    let Some(run) = evidence.runs.first() else { return (Tone::Plain, "Nothing was measured.".to_owned()) };
    let account = Account::whole(run);
    if account::is_interrupted(run) && account.overall.total() == 0 {
        return (Tone::Warning, "Interrupted before anything was measured.".to_owned());
    }
    let answered = 1.0 - account.error_ratio();
    let p95 = words::length(account.overall.response.quantile(0.95));
    let rate = words::number(account.completed_per_second());
    let until = if account::is_interrupted(run) { "Until it was interrupted, answered" } else { "Answered" };
    let text = format!(
        "{until} {} of the requests, {rate} a second; 95 % of them within {p95}.",
        words::percent(answered)
    );
    (if answered >= 0.99 { Tone::Good } else { Tone::Warning }, text)
}

fn model_headline(model: &Model, peak: Option<Rate>) -> (Tone, String) {
    let capacity = &model.capacity;
    let rate = words::rate(capacity.rate);
    let Some(objective) = model.objective.as_ref().filter(|_| model.load_unit == LoadUnit::Offered) else {
        return match &model.ceiling {
            Some(ceiling) if ceiling.measured => {
                (Tone::Plain, format!("Carries at most {} requests per second.", words::rate(ceiling.rate)))
            }
            Some(ceiling) => (
                Tone::Plain,
                format!(
                    "Would carry at most {} requests per second, if its curve goes on.",
                    words::rate(ceiling.rate)
                ),
            ),
            None => {
                (Tone::Plain, format!("Carries {rate} requests per second; its ceiling was not reached."))
            }
        };
    };
    let objective = words::objective(objective);
    if capacity.rate == Rate::ZERO || (capacity.highest_pass.is_none() && capacity.lowest_fail.is_some()) {
        let fail = capacity
            .lowest_fail
            .map_or_else(String::new, |fail| format!(" ({} requests per second)", words::rate(fail)));
        return (
            Tone::Bad,
            format!("Does not keep {objective}, not even at the lowest load that was tried{fail}."),
        );
    }
    let holds = held(model, peak);
    let (tone, text) = match capacity.verdict {
        Verdict::Measured => (Tone::Good, format!("Holds {holds} with {objective}.")),
        Verdict::Extrapolated => {
            (Tone::Good, format!("Should hold {holds} with {objective}: more than was tried."))
        }
        Verdict::LowConfidence => {
            (Tone::Warning, format!("May hold {holds} with {objective}: far more than was tried, so run it."))
        }
        Verdict::Refused => (
            Tone::Warning,
            format!(
                "Holds at least {rate} requests per second with {objective}: where that ends was not reached."
            ),
        ),
    };
    let tone = if model.warnings.is_empty() { tone } else { tone_at_most_warning(tone, model) };
    // What holds less than comes already is no good news.
    let short = peak.is_some_and(|peak| capacity.rate < peak);
    (if short { Tone::Bad } else { tone }, text)
}

/// Today's peak: what somebody said, else the busiest minute of the history's last week.
fn present_peak(evidence: &Evidence<'_>) -> Option<Rate> {
    let said = evidence.model.and_then(|model| model.headroom).map(|headroom| headroom.current);
    said.or_else(|| evidence.forecast.and_then(Forecast::present_peak)).filter(|peak| *peak > Rate::ZERO)
}

/// The capacity as a multiple of today's peak where that is known, else as a rate.
fn held(model: &Model, peak: Option<Rate>) -> String {
    let capacity = &model.capacity;
    match peak {
        Some(peak) => {
            let over = |rate: Rate| rate.as_per_second() / peak.as_per_second();
            let (times, low, high) =
                (over(capacity.rate), over(capacity.interval_90.low), over(capacity.interval_90.high));
            // As many digits as tell the ends of the interval from its middle.
            let digits = if high - low < 0.2 { 2 } else { usize::from(times < 100.0) };
            format!("{times:.digits$}× today's peak (90 %: {low:.digits$}–{high:.digits$})")
        }
        None => format!("{} requests per second", words::rate(capacity.rate)),
    }
}

/// Warnings about a model colour its verdict only when it is not bracketed by measurement.
fn tone_at_most_warning(tone: Tone, model: &Model) -> Tone {
    if tone == Tone::Good && !model.capacity.bracketed { Tone::Warning } else { tone }
}

fn capacity_facts(model: &Model, peak: Option<Rate>, facts: &mut Vec<Fact>) {
    let capacity = &model.capacity;
    let interval = match (&model.objective, &model.ceiling) {
        (None, Some(ceiling)) => &ceiling.interval,
        _ => &capacity.interval,
    };
    let note = match (&model.objective, capacity.bracketed) {
        (Some(_), true) => "between a load that passed and one that failed",
        (Some(_), false) => "not bracketed by measurement",
        (None, true) => "the curve was seen to flatten",
        (None, false) => "the curve was not seen to flatten",
    };
    if let Some(peak) = peak {
        facts.push(Fact {
            name: "capacity",
            value: format!("{} req/s", words::rate(capacity.rate)),
            note: format!("today's peak is {} req/s", words::rate(peak)),
            anchor: "how-capacity",
        });
    }
    facts.push(Fact {
        name: "95 % interval",
        value: format!("{} req/s", words::rates(interval)),
        note: note.to_owned(),
        anchor: "how-capacity",
    });
    if let Some(scale) = capacity.scale {
        let recorded = model.rate_at_1x.map_or_else(String::new, |one| {
            format!("of the recorded traffic, {} req/s on average", words::rate(one))
        });
        facts.push(Fact {
            name: "headroom",
            value: format!("{} recorded", words::times(scale)),
            note: recorded,
            anchor: "levels",
        });
    }
    let (value, note) = match model.binding_route() {
        Some(bound) => (
            bound.route.clone(),
            format!(
                "past the limit from {} req/s of all routes on; {} of the responses beyond it",
                words::rate(bound.capacity),
                words::percent(bound.slow_ratio)
            ),
        ),
        None => binding(capacity, model),
    };
    let anchor = if model.binding_route().is_some() { "bottlenecks" } else { "response" };
    facts.push(Fact { name: "what binds", value, note, anchor });
    if let Some(ceiling) = &model.ceiling {
        let note =
            if ceiling.measured { "measured in overload" } else { "where the curves lead; not reached" };
        facts.push(Fact {
            name: "ceiling",
            value: format!("{} req/s", words::rate(ceiling.rate)),
            note: note.to_owned(),
            anchor: "throughput",
        });
    }
}

/// What binds, and how.
pub(crate) fn binding(capacity: &Capacity, model: &Model) -> (String, String) {
    match capacity.binding {
        Binding::Latency(measure) => {
            let limit = model
                .objective
                .iter()
                .flat_map(Objective::latency_limits)
                .find(|(known, _)| *known == measure);
            let limit =
                limit.map_or_else(String::new, |(_, longest)| format!("reaches {}", words::length(longest)));
            (format!("{} response", measure.name()), limit)
        }
        Binding::Errors => ("errors".to_owned(), "their share reaches its limit".to_owned()),
        Binding::Throughput => ("throughput".to_owned(), "more load only waits".to_owned()),
        Binding::Nothing => ("nothing so far".to_owned(), "every load that was tried passed".to_owned()),
    }
}

fn run_facts(runs: &[Run], facts: &mut Vec<Fact>) {
    let Some(run) = runs.first() else { return };
    let account = Account::whole(run);
    let response = &account.overall.response;
    let fact = |name, value, note: &str| Fact { name, value, note: note.to_owned(), anchor: "runs" };
    facts.push(fact("requests", words::count(account.planned), "planned"));
    facts.push(fact("p50 response", words::length(response.quantile(0.5)), "half took no longer"));
    facts.push(fact("p99 response", words::length(response.quantile(0.99)), "one in a hundred took longer"));
    facts.push(fact("errors", words::percent(account.error_ratio()), "failures, skips, 5xx, unexpected 4xx"));
}

fn check_fact(check: &Check) -> Fact {
    let (value, note) = match (check.deviation_ratio(), check.measured) {
        (Some(deviation), Some(measured)) => (
            format!("{:+.1} %", deviation * 100.0).replace('-', "−"),
            format!(
                "predicted {}, then measured {} req/s",
                words::rate(check.predicted),
                words::rate(measured)
            ),
        ),
        (None, Some(measured)) => (
            "no answer".to_owned(),
            format!("the limit lies beyond {} req/s, the nearest load tried", words::rate(measured)),
        ),
        (_, None) => ("no answer".to_owned(), "no trial could be believed".to_owned()),
    };
    Fact { name: "prediction, checked", value, note, anchor: "check" }
}

fn growth_facts(forecast: &Forecast, facts: &mut Vec<Fact>) {
    if let Some(exhaustion) = &forecast.exhaustion {
        let (value, note) = exhaustion_words(exhaustion);
        let name = if forecast.exceeded_since().is_some() { "exceeded since" } else { "runs out" };
        facts.push(Fact { name, value, note, anchor: "growth" });
    }
    facts.push(Fact {
        name: "growth",
        value: format!("{} a year", signed_percent(forecast.growth_per_year_ratio)),
        note: "of the trend at the end of the history".to_owned(),
        anchor: "growth",
    });
}

fn growth_headline(forecast: &Forecast) -> (Tone, String) {
    let title = title::growth(forecast);
    let tone = match &forecast.exhaustion {
        Some(exhaustion) if exhaustion.p50.is_some() => Tone::Bad,
        Some(exhaustion) if exhaustion.p10.is_some() => Tone::Warning,
        Some(_) => Tone::Good,
        None => Tone::Plain,
    };
    (tone, format!("{title}."))
}

/// When it runs out, and how sure that is.
fn exhaustion_words(exhaustion: &Exhaustion) -> (String, String) {
    let value = match exhaustion.p50 {
        Some(at) => words::date(at.date()),
        None => "not within the horizon".to_owned(),
    };
    let share = words::percent(1.0 - exhaustion.beyond_ratio);
    let early = exhaustion
        .p10
        .map_or_else(String::new, |at| format!("; on one in ten by {}", words::date(at.date())));
    (value, format!("on {share} of the simulated paths within the horizon{early}"))
}

/// A growth as percent with its sign.
pub(crate) fn signed_percent(ratio: f64) -> String {
    let sign = if ratio < 0.0 { "−" } else { "+" };
    let size = ratio.abs();
    if size < 0.1 {
        format!("{sign}{}", words::percent(size))
    } else {
        format!("{sign}{:.0} %", size * 100.0)
    }
}
