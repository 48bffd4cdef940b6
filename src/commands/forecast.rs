//! `highwater forecast`: continues a history of requests and says when growth meets the capacity.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::Rate;
use jiff::civil::{Date, DateTime};
use modeler::{
    Bounds, CapacityGiven, Event, Forecast, ForecastError, ForecastRequest, History, PeakFactor,
    STORED_MODEL_VERSION, Step, StoredForecast, StoredModel, forecast, moment_of,
};
use reports::Evidence;

use crate::Globals;
use crate::commands::files;
use crate::commands::report::{title_of, write_report};
use crate::complain::{Complaint, Exit, say};

/// Says when growth exhausts capacity
///
/// Example: highwater forecast --history requests.csv --capacity 840rps --horizon 26w
/// --event 'Black Friday=2026-11-27:10x' --peak-factor 2.5 --out growth
#[derive(Debug, clap::Args)]
pub(crate) struct ForecastArgs {
    /// Requests per step: lines of 'ds,y' (also timestamp,requests); weeks, days, hours or minutes, UTC
    #[arg(long, value_name = "FILE.csv", required = true, num_args = 1..)]
    history: Vec<PathBuf>,
    /// The load that can be carried, e.g. 840rps
    #[arg(long, value_name = "RATE", conflicts_with = "model")]
    capacity: Option<String>,
    /// The capacity from what `highwater model` wrote there, with its interval
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Accept a model of a partial mix (requests were held back from its replay)
    #[arg(long, requires = "model")]
    accept_partial_mix: bool,
    /// How far ahead: 26w, 28d, 168h
    #[arg(long, value_name = "LENGTH", default_value = "26w")]
    horizon: String,
    /// Use the history only up to this moment, inclusive
    #[arg(long, value_name = "TIMESTAMP")]
    until: Option<String>,
    /// Days with a multiple of the ordinary load: 'Black Friday=2026-11-27:10x', 'Sale=2026-12-01..2026-12-05:3x'
    #[arg(long = "event", value_name = "NAME=DATE[..DATE]:Nx")]
    events: Vec<String>,
    /// The busiest minute of a step over the step's mean: capacity is bought for peaks
    #[arg(long, value_name = "FACTOR")]
    peak_factor: Option<f64>,
    /// The forecast as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// The folder for forecast.csv, forecast.json and the charts
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The largest capacity, in requests per second; beyond it arithmetic loses all meaning.
const MOST_RATE: f64 = 1e12;
/// The largest multiple of the mean, or of the ordinary load.
const MOST_TIMES: f64 = 10_000.0;

/// Runs the command.
pub(crate) fn run(args: &ForecastArgs, globals: &Globals) -> Result<(), Complaint> {
    let events = args.events.iter().map(|text| event_of(text)).collect::<Result<Vec<Event>, _>>()?;
    believable_together(&events)?;
    let until = args.until.as_deref().map(until_of).transpose()?;
    let horizon = horizon_of(&args.horizon)?;
    let peak_factor = peak_factor_of(args.peak_factor)?;
    let capacity = capacity_of(args)?;
    let history = read_history(&args.history)?;
    let request = ForecastRequest {
        steps: steps_of(horizon, history.step),
        until,
        capacity,
        events,
        peak_factor,
        seed: globals.seed,
    };
    let made = forecast(&history, &request).map_err(|error| match error {
        ForecastError::Horizon { .. } => Complaint::new(
            Exit::Usage,
            format!("--horizon {}", args.horizon),
            match request.steps {
                0 => "is not one step of the history".to_owned(),
                steps => format!("is {steps} steps of {}, more than can be forecast", history.step.one()),
            },
            error.mend(),
        ),
        _ => complaint(&args.history[0], &error),
    })?;
    let text = serde_json::to_string_pretty(&StoredForecast::from(&made))
        .map_err(|error| Complaint::new(Exit::Fault, "forecast.json", error, "report this as a bug"))?;
    std::fs::create_dir_all(&args.out).map_err(|error| Complaint::cannot_write(&args.out, &error))?;
    for (name, content) in [("forecast.csv", table(&made)), ("forecast.json", format!("{text}\n"))] {
        let file = args.out.join(name);
        std::fs::write(&file, content).map_err(|error| Complaint::cannot_write(&file, &error))?;
    }
    let evidence = Evidence {
        title: &title_of(&[]),
        runs: &[],
        points: &[],
        model: None,
        forecast: Some(&made),
        check: None,
    };
    write_report(&evidence, &args.out)?;
    if !globals.quiet {
        say!("wrote {} and the files beside it", args.out.join("index.html").display());
    }
    let summary = summary(&made);
    let shown = if args.json {
        format!(
            "{text}
"
        )
    } else {
        summary.clone()
    };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))?;
    if args.json && !globals.quiet {
        say!("{}", summary.trim_end());
    }
    Ok(())
}

fn usage(place: String, what: &str, mend: &str) -> Complaint {
    Complaint::new(Exit::Usage, place, what, mend)
}

fn read_history(paths: &[PathBuf]) -> Result<History, Complaint> {
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error));
    let parsed = |path: &PathBuf| History::parse(&read(path)?).map_err(|error| complaint(path, &error));
    let mut histories = Vec::new();
    for path in paths {
        histories.push(parsed(path)?);
    }
    History::joined(histories).map_err(|error| complaint(&paths[0], &error))
}

fn complaint(path: &Path, error: &ForecastError) -> Complaint {
    Complaint::new(Exit::Input, path.display(), error, error.mend())
}

fn capacity_of(args: &ForecastArgs) -> Result<Option<CapacityGiven>, Complaint> {
    if let Some(text) = &args.capacity {
        let typed = text.trim();
        let number = typed.strip_suffix("rps").or_else(|| typed.strip_suffix("/s")).unwrap_or(typed);
        let rate = number.trim().parse().ok().and_then(believable);
        let rate = rate.ok_or_else(|| {
            Complaint::new(
                Exit::Usage,
                format!("--capacity {}", files::plain(typed)),
                format!("is not a rate above zero and up to {MOST_RATE:e} requests per second"),
                "write e.g. --capacity 840rps",
            )
        })?;
        return Ok(Some(CapacityGiven { rate, interval: None }));
    }
    let Some(folder) = &args.model else { return Ok(None) };
    let path = folder.join("model.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Complaint::cannot_open(&path, &error))?;
    let wrong = |what: String| {
        Complaint::new(Exit::Input, path.display(), what, "write it anew with highwater model RUN… --out DIR")
    };
    let stored: StoredModel =
        serde_json::from_str(&text).map_err(|error| wrong(format!("is not a model: {error}")))?;
    if stored.version != STORED_MODEL_VERSION {
        return Err(wrong(format!(
            "is of version {}, this program reads {STORED_MODEL_VERSION}",
            stored.version
        )));
    }
    if stored.held_back_ratio > 0.0 && !args.accept_partial_mix {
        return Err(Complaint::new(
            Exit::Usage,
            path.display(),
            format!(
                "is of a partial mix: {:.1} % of the requests were held back",
                stored.held_back_ratio * 100.0
            ),
            "replay all of them, or give --accept-partial-mix",
        ));
    }
    let rate = believable(stored.capacity.rate_per_second)
        .ok_or_else(|| wrong(format!("holds no capacity above zero and up to {MOST_RATE:e}")))?;
    let [low, high] = stored.capacity.interval.map(Rate::per_second);
    let interval = low.zip(high).map(|(low, high)| Bounds { low, high });
    Ok(Some(CapacityGiven { rate, interval }))
}

/// A rate that some service may reach.
fn believable(per_second: f64) -> Option<Rate> {
    Rate::per_second(per_second).filter(|rate| *rate > Rate::ZERO && rate.as_per_second() <= MOST_RATE)
}

/// `26w`, `28d`, `168h`, `90m` or `30min`.
fn horizon_of(text: &str) -> Result<Duration, Complaint> {
    let typed = text.trim();
    let split = typed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(typed.len());
    let (digits, unit) = typed.split_at(split);
    let seconds: Option<u64> = match unit {
        "w" => Some(604_800),
        "d" => Some(86_400),
        "h" => Some(3_600),
        "m" | "min" => Some(60),
        _ => None,
    };
    let length =
        digits.parse::<u64>().ok().zip(seconds).and_then(|(count, seconds)| count.checked_mul(seconds));
    length.filter(|length| *length > 0).map(Duration::from_secs).ok_or_else(|| {
        usage(
            format!("--horizon {typed}"),
            "is not a length of time above zero",
            "write e.g. 26w, 28d or 168h",
        )
    })
}

/// The horizon in steps of the history, rounded up.
fn steps_of(horizon: Duration, step: Step) -> usize {
    usize::try_from(horizon.as_secs().div_ceil(step.length().as_secs())).unwrap_or(usize::MAX)
}

fn until_of(text: &str) -> Result<DateTime, Complaint> {
    moment_of(text.trim()).ok_or_else(|| {
        usage(format!("--until {text}"), "is not a moment", "write e.g. 2026-03-01 or 2026-03-01T12:00:00Z")
    })
}

fn peak_factor_of(factor: Option<f64>) -> Result<PeakFactor, Complaint> {
    match factor {
        None => Ok(PeakFactor::MeanOnly),
        Some(factor) if (1.0..=MOST_TIMES).contains(&factor) => Ok(PeakFactor::Given(factor)),
        Some(factor) => Err(usage(
            format!("--peak-factor {factor}"),
            if factor < 1.0 { "is below 1, and no mean exceeds its peak" } else { "is above 10000" },
            "give the busiest minute over the mean of a step, e.g. 2.5",
        )),
    }
}

/// `Black Friday=2026-11-27:10x`, or with a last day `Sale=2026-12-01..2026-12-05:3x`.
fn event_of(text: &str) -> Result<Event, Complaint> {
    let wrong = |what: &str| {
        usage(format!("--event '{}'", files::plain(text)), what, "write e.g. 'Black Friday=2026-11-27:10x'")
    };
    let (name, rest) = text.rsplit_once('=').ok_or_else(|| wrong("has no ="))?;
    let (days, multiple) = rest.rsplit_once(':').ok_or_else(|| wrong("has no multiple"))?;
    let (first, last) = days.split_once("..").unwrap_or((days, days));
    let day = |text: &str| text.trim().parse::<Date>().map_err(|_| wrong("has no date like 2026-11-27"));
    let (first, last) = (day(first)?, day(last)?);
    if last < first {
        return Err(wrong("ends before it begins"));
    }
    let multiple = multiple.trim();
    let multiple = multiple.strip_suffix('x').unwrap_or(multiple).parse::<f64>().ok();
    let multiple = multiple.filter(|multiple| *multiple > 0.0 && *multiple <= MOST_TIMES);
    let multiple = multiple.ok_or_else(|| wrong("has no multiple above zero and up to 10000, like 10x"))?;
    if name.trim().is_empty() {
        return Err(wrong("has no name"));
    }
    Ok(Event { name: name.trim().to_owned(), first, last, multiple })
}

/// Events on one day multiply each other: together, too, they stay within bounds.
fn believable_together(events: &[Event]) -> Result<(), Complaint> {
    // Where many overlap, they all do so on the first day of one of them.
    let too_much = events.iter().find(|one| {
        let together = events.iter().filter(|other| (other.first..=other.last).contains(&one.first));
        together.map(|other| other.multiple.max(1.0)).product::<f64>() > MOST_TIMES
    });
    too_much.map_or(Ok(()), |event| {
        Err(usage(
            format!("--event '{}'", files::plain(&event.name)),
            &format!(
                "together with the other events on {} is more than 10000 times the ordinary load",
                event.first
            ),
            "events on one day multiply each other: give their multiple once",
        ))
    })
}

/// `forecast.csv`: one row per step.
fn table(made: &Forecast) -> String {
    let mut text = "ds,yhat,lo80,hi80,lo95,hi95\n".to_owned();
    for step in &made.steps {
        let at = written(step.at, made.step);
        let (near, far) = (step.interval_80, step.interval_95);
        let _ = writeln!(
            text,
            "{at},{:.4},{:.4},{:.4},{:.4},{:.4}",
            step.volume, near.low, near.high, far.low, far.high
        );
    }
    text
}

fn written(at: DateTime, step: Step) -> String {
    match step {
        Step::Day | Step::Week => at.date().to_string(),
        Step::Hour | Step::Minutes(_) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

/// The answer in a few lines, the verdict first.
fn summary(made: &Forecast) -> String {
    let mut text = String::new();
    let date = |at: Option<DateTime>| at.map_or("beyond the horizon".to_owned(), |at| written(at, made.step));
    if let (Some(since), Some(capacity)) = (made.exceeded_since(), made.capacity) {
        let _ = writeln!(
            text,
            "capacity {}: exceeded already since {}",
            capacity.rate,
            written(since, made.step)
        );
    } else if let (Some(exhaustion), Some(capacity)) = (&made.exhaustion, made.capacity) {
        let _ = writeln!(
            text,
            "capacity {} runs out: {} (50 %), as early as {} (10 %), as late as {} (90 %)",
            capacity.rate,
            date(exhaustion.p50),
            date(exhaustion.p10),
            date(exhaustion.p90)
        );
        let _ = writeln!(
            text,
            "  it lasts beyond the horizon in {:.0} % of the paths",
            exhaustion.beyond_ratio * 100.0
        );
    }
    if let Some(last) = made.steps.last() {
        let busiest = match made.peak_factor {
            PeakFactor::Given(_) => format!(", busiest minute {}", last.peak_rate),
            PeakFactor::MeanOnly => String::new(),
        };
        let _ = writeln!(
            text,
            "  {} steps to {}: {:.0} requests per {}, mean {}{busiest}",
            made.steps.len(),
            written(last.at, made.step),
            last.volume,
            made.step.name(),
            last.mean_rate
        );
    }
    let _ = writeln!(text, "  growth {:+.0} % a year", made.growth_per_year_ratio * 100.0);
    if let Some(score) = made.score {
        let _ = writeln!(
            text,
            "  back-test over {} origins: MASE {:.2}, {:.0} % inside the 80 % interval, {:.0} % inside the 95 %",
            score.origins,
            score.mase,
            score.coverage_80 * 100.0,
            score.coverage_95 * 100.0
        );
    }
    for warning in &made.warnings {
        let _ = writeln!(text, "  note: {warning}");
    }
    text
}
