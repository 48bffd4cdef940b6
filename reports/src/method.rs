//! How each number came about, in words: the method, its limits, and what a run was made with.

use captures::{Failure, Run};
use modeler::{Backtest, Forecast, LoadUnit, Model, PeakFactor, Verdict};
use serde::Serialize;

use crate::account::Account;
use crate::evidence::Check;
use crate::{finding, words};

/// What a run was made with.
#[derive(Serialize)]
pub(crate) struct Configuration {
    pub(crate) name: String,
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// What the words of the page mean.
pub(crate) const WORDS: [(&str, &str); 10] = [
    (
        "offered load",
        "requests that were due per second, by the plan; a slow target does not lower it (open loop)",
    ),
    ("answered", "requests answered without error per second, on the clock"),
    (
        "response",
        "done − ready: from the moment a request could leave until its last byte is in; objectives and models use it",
    ),
    ("latency", "done − due: includes the time its session was behind the plan"),
    ("service time", "done − sent: what the target and the network took"),
    ("in flight", "mean number of requests that were ready and not done"),
    ("error", "no answer, time-out, 5xx, a 4xx where the recording had a success, or a skipped request"),
    ("1×", "the recorded traffic's own curve; N× superimposes N shifted copies of every recorded session"),
    (
        "overload",
        "more was offered than was carried: the response then depends on how long it lasts, so it is not fitted",
    ),
    (
        "95 % interval",
        "from resampling the seconds of each window and fitting again; it covers chance, not a change of the service",
    ),
];

/// How the capacity came about.
pub(crate) fn capacity(model: &Model) -> Vec<String> {
    let capacity = &model.capacity;
    let mut lines = Vec::new();
    let points = model.points.len();
    let overload = model.points.iter().filter(|point| point.saturated).count();
    lines.push(format!(
        "{points} steady windows were measured, {overload} of them in overload; the largest load is {} {}. Every family \
         of the table below was fitted to them and weighted by how well it predicts a load that was left out.",
        words::number(model.largest_load),
        match model.load_unit {
            LoadUnit::Offered => "requests per second offered",
            LoadUnit::Concurrency => "requests in flight",
        }
    ));
    if let Some(objective) = &model.objective {
        lines.push(format!(
            "The capacity is the highest offered load at which the fitted curves keep {}: {} requests per second, 95 % \
             interval {}, 80 % interval {}.",
            words::objective(objective),
            words::rate(capacity.rate),
            words::rates(&capacity.interval),
            words::rates(&capacity.interval_80)
        ));
    }
    let pass =
        capacity.highest_pass.map(|rate| format!("the highest load that passed was {}", words::rate(rate)));
    let fail = capacity.lowest_fail.map(|rate| format!("the lowest that failed was {}", words::rate(rate)));
    let measured: Vec<String> = pass.into_iter().chain(fail).collect();
    if model.objective.is_some() && !measured.is_empty() {
        lines.push(format!("Of the measured loads, {} requests per second.", measured.join(" and ")));
    }
    lines.push(match capacity.verdict {
        Verdict::Measured => "The answer lies within what was measured.".to_owned(),
        Verdict::Extrapolated => {
            "The answer lies up to 1.5 times beyond the largest measured load: it is extrapolated.".to_owned()
        }
        Verdict::LowConfidence => {
            "The answer lies 1.5 to 2 times beyond the largest measured load: low confidence, its interval is widened."
                .to_owned()
        }
        Verdict::Refused => {
            "Where the capacity ends was not reached: only the lower bound that was measured is given."
                .to_owned()
        }
    });
    lines.push(format!(
        "The next load worth running: {} {} (it narrows the interval most). Seed {}.",
        words::about(capacity.next_load.as_per_second()),
        match model.load_unit {
            LoadUnit::Offered => "requests per second",
            LoadUnit::Concurrency => "requests in flight",
        },
        model.seed
    ));
    lines
}

/// The back-test in a sentence.
pub(crate) fn backtest(backtest: &Backtest) -> String {
    format!(
        "Fitted on the lowest {} loads alone, the model misses the throughput of the {} higher ones by {} on average and {} \
         at most.",
        backtest.fitted,
        backtest.predicted,
        words::percent(backtest.mean_error_ratio),
        words::percent(backtest.largest_error_ratio)
    )
}

/// What the check found, in a sentence.
pub(crate) fn check_lead(check: &Check) -> String {
    let predicted = words::rate(check.predicted);
    let interval =
        check.interval.map_or_else(String::new, |interval| format!(" ({})", words::rates(&interval)));
    match (check.deviation_ratio(), check.measured) {
        (Some(deviation), Some(measured)) => {
            let side = if deviation < 0.0 { "below" } else { "above" };
            format!(
                "The model predicted {predicted} req/s{interval}. Loads around it were then replayed against a fresh \
                 target: the limit lies at {} req/s. The prediction is {:.1} % {side} it.",
                words::rate(measured),
                deviation.abs() * 100.0
            )
        }
        (None, Some(measured)) => format!(
            "The model predicted {predicted} req/s{interval}. The loads that were replayed do not bracket the limit: it \
             lies beyond {} req/s.",
            words::rate(measured)
        ),
        (_, None) => format!("The model predicted {predicted} req/s{interval}. No trial could be believed."),
    }
}

/// What a run did, in sentences.
pub(crate) fn run_lead(run: &Run) -> String {
    let account = Account::whole(run);
    let failures: Vec<String> = Failure::ALL
        .into_iter()
        .filter_map(|failure| {
            let counts = &account.overall.failures;
            let count = counts.iter().find(|(known, _)| *known == failure).map(|&(_, count)| count)?;
            (count > 0).then(|| format!("{} {}", words::count(count), failure.as_str().replace('_', " ")))
        })
        .collect();
    let failures = if failures.is_empty() { String::new() } else { format!(" ({})", failures.join(", ")) };
    format!(
        "{} requests planned in {}, {} answered; {} errors{failures}; {} connections; generator: {} of a core at most, lag \
         p99 {}.",
        words::count(account.planned),
        words::seconds(account.seconds as f64),
        words::count(account.overall.answered()),
        words::count(account.overall.errors()),
        words::count(account.connections_opened),
        words::percent(account.generator_cpu_most),
        words::length(account.overall.lag.quantile(0.99))
    )
}

/// Changes of the trend that are told, the latest.
const MOST_CHANGES: usize = 3;

/// What stands below the growth chart.
pub(crate) fn growth_note(forecast: &Forecast) -> String {
    let events: Vec<String> = forecast
        .events
        .iter()
        .map(|event| {
            format!("{} ({}, {})", event.name, words::date(event.first), words::times(event.multiple))
        })
        .collect();
    let events = if events.is_empty() { "none given".to_owned() } else { events.join("; ") };
    let changes: Vec<String> =
        forecast.changes.iter().rev().take(MOST_CHANGES).rev().map(ToString::to_string).collect();
    let changes = if changes.is_empty() {
        "No change of the trend beyond chance".to_owned()
    } else {
        let told = changes.join("; ");
        format!("{}{}", told[..1].to_uppercase(), &told[1..])
    };
    format!(
        "Trend {} a year. {changes}. Events: {events}.",
        finding::signed_percent(forecast.growth_per_year_ratio)
    )
}

/// How the growth came about.
pub(crate) fn growth(forecast: &Forecast) -> Vec<String> {
    let missing = forecast.history.iter().filter(|observation| observation.volume.is_none()).count();
    let mut lines = vec![format!(
        "{} steps of history ({missing} missing) give a trend and seasons; {} future steps are simulated as seeded paths \
         (seed {}) that meet the events, the peak within a step and the uncertainty of the capacity.",
        forecast.history.len(),
        forecast.steps.len(),
        forecast.seed
    )];
    lines.push(match forecast.peak_factor {
        PeakFactor::Given(factor) | PeakFactor::Measured { factor, .. } => {
            format!(
                "The busiest minute of a step is taken as {} times its mean, as given.",
                words::number(factor)
            )
        }
        PeakFactor::MeanOnly => {
            "No peak factor is known: all rates are means, and peaks lie above them.".to_owned()
        }
    });
    if let Some(score) = &forecast.score {
        lines.push(format!(
            "Tried on the history from {} origins: MASE {} (1 is the seasonal naive forecast); the 80 % interval held {} of \
             the observations, the 95 % interval {}.",
            score.origins,
            words::number(score.mase),
            words::percent(score.coverage_80),
            words::percent(score.coverage_95)
        ));
    }
    lines
}

/// What each run was made with.
pub(crate) fn configurations(runs: &[Run]) -> Vec<Configuration> {
    runs.iter()
        .map(|run| {
            let header = &run.header;
            let digest: String = header.capture_digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let stages: Vec<String> = header
                .stages
                .iter()
                .map(|stage| {
                    let length = words::seconds(stage.end.since(stage.begin).as_secs_f64());
                    if stage.is_hold() {
                        format!("{} for {length}", words::times(stage.from))
                    } else {
                        format!("{} → {} in {length}", words::times(stage.from), words::times(stage.to))
                    }
                })
                .collect();
            Configuration {
                name: format!("{} against {}", words::file_name(&header.capture), header.target),
                facts: vec![
                    ("tool", header.tool.clone()),
                    ("started", words::moment(header.started)),
                    ("target", header.target.clone()),
                    ("capture", header.capture.clone()),
                    ("capture sha-256", digest),
                    ("capture length", words::seconds(header.capture_span.as_secs_f64())),
                    ("1× means", format!("{} req/s", words::rate(header.capture_rate))),
                    ("stages", stages.join(", ")),
                    ("held back", words::percent(header.held_back_ratio)),
                    ("seed", header.seed.to_string()),
                    ("configuration", header.configuration.clone()),
                ],
            }
        })
        .collect()
}
