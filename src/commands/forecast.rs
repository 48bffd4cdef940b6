//! `highwater forecast`: continues a history of requests and says when growth meets the capacity.

mod holidays;
mod means;
mod past;
mod prometheus;
mod summary;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::Rate;
use jiff::civil::{Date, DateTime};
use modeler::{
    Bounds, CapacityGiven, EventGiven, Forecast, ForecastError, ForecastRequest, History,
    STORED_MODEL_VERSION, Step, StoredForecast, StoredModel, forecast, moment_of,
};
use reports::Evidence;

use crate::Globals;
use crate::commands::files;
use crate::commands::report::{title_of, write_report};
use crate::complain::{Complaint, Exit, say};
use means::MeansArgs;
use past::{PastArgs, complaint};

/// Says when growth exhausts capacity, what to buy, and by when to order it
///
/// Example: highwater forecast --history requests.csv --capacity 840rps --horizon 26w
/// --event 'Black Friday=2025-11-28' --event 'Black Friday=2026-11-27' --peak-factor 2.5
/// --instances 4 --lead-time 21d --prices prices.toml --scenario 'viral=growth:2' --out growth
#[derive(Debug, clap::Args)]
pub(crate) struct ForecastArgs {
    #[command(flatten)]
    past: PastArgs,
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
    /// Days that differ from ordinary ones: 'Black Friday=2026-11-27:10x', 'Sale=2026-12-01..2026-12-05:3x'
    ///
    /// Days of the past are kept out of trend and seasons. Without a multiple a day to come has that of days of
    /// the same name in the past: --event 'Black Friday=2025-11-28' --event 'Black Friday=2026-11-27'.
    #[arg(long = "event", value_name = "NAME=DATE[..DATE][:Nx]")]
    events: Vec<String>,
    /// Public holidays: of a country (its ISO code, like DE), or from an iCalendar file or lines of 'date,name'
    ///
    /// What they were in the past tells what they will be. May be repeated.
    #[arg(long, value_name = "COUNTRY|FILE")]
    holidays: Vec<PathBuf>,
    #[command(flatten)]
    means: MeansArgs,
    /// The forecast as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// The folder for forecast.csv, forecast.json and the charts
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The largest capacity, in requests per second; beyond it arithmetic loses all meaning.
const MOST_RATE: f64 = 1e12;
/// The largest multiple of the ordinary load.
const MOST_TIMES: f64 = 10_000.0;

/// Runs the command.
pub(crate) fn run(args: &ForecastArgs, globals: &Globals) -> Result<(), Complaint> {
    let mut events = args.events.iter().map(|text| event_of(text)).collect::<Result<Vec<EventGiven>, _>>()?;
    believable_together(&events)?;
    for path in &args.holidays {
        events.extend(holidays::read(path)?);
    }
    let until = args.until.as_deref().map(until_of).transpose()?;
    let horizon = horizon_of(&args.horizon, "--horizon")?;
    let model = model_of(args)?;
    let capacity = capacity_of(args, model.as_ref())?;
    let (fleet, scenarios) = (args.means.fleet()?, args.means.scenarios(model.as_ref())?);
    if capacity.is_none() && (fleet.is_some() || !scenarios.is_empty()) {
        return Err(usage(
            if fleet.is_some() { "--instances" } else { "--scenario" }.to_owned(),
            "needs a capacity that growth can meet",
            "give --capacity 840rps, or --model DIR",
        ));
    }
    let past = args.past.read()?;
    within_reach(&mut events, &past.history, horizon);
    let request = ForecastRequest {
        steps: steps_of(horizon, past.history.step),
        until,
        capacity,
        events,
        peak_factor: past.peak_factor,
        fleet,
        scenarios,
        seed: globals.seed,
    };
    let mut made = forecast(&past.history, &request).map_err(|error| match error {
        ForecastError::Horizon { .. } => Complaint::new(
            Exit::Usage,
            format!("--horizon {}", args.horizon),
            match request.steps {
                0 => "is not one step of the history".to_owned(),
                steps => {
                    format!("is {steps} steps of {}, more than can be forecast", past.history.step.one())
                }
            },
            error.mend(),
        ),
        ForecastError::Event { .. } => Complaint::new(Exit::Usage, "--event", &error, error.mend()),
        _ => complaint(args.past.place(), &error),
    })?;
    made.warnings.extend(past.notes);
    let text = serde_json::to_string_pretty(&StoredForecast::from(&made))
        .map_err(|error| Complaint::new(Exit::Fault, "forecast.json", error, "report this as a bug"))?;
    std::fs::create_dir_all(&args.out).map_err(|error| Complaint::cannot_write(&args.out, &error))?;
    for (name, content) in [
        ("forecast.csv", table(&made)),
        ("forecast.json", format!("{text}\n")),
        ("history.csv", history_table(&made, past.remark.as_deref())),
    ] {
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
        releases: &[],
        baseline: None,
    };
    write_report(&evidence, &args.out)?;
    if !globals.quiet {
        say!("wrote {} and the files beside it", args.out.join("index.html").display());
    }
    let summary = summary::of(&made);
    let shown = if args.json { format!("{text}\n") } else { summary.clone() };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))?;
    if args.json && !globals.quiet {
        say!("{}", summary.trim_end());
    }
    Ok(())
}

/// Keeps of what may be left out only what lies in the history or within the horizon: calendars hold many years.
fn within_reach(events: &mut Vec<EventGiven>, history: &History, horizon: Duration) {
    let known = || history.observations.iter().map(|seen| seen.at);
    let (Some(first), Some(last)) = (known().next(), known().next_back()) else { return };
    let end = last.saturating_add(jiff::SignedDuration::try_from(horizon).unwrap_or_default());
    events.retain(|event| !event.optional || (first.date() <= event.last && event.first <= end.date()));
}

fn usage(place: String, what: &str, mend: &str) -> Complaint {
    Complaint::new(Exit::Usage, place, what, mend)
}

/// What `highwater model` wrote, when it is to be used.
fn model_of(args: &ForecastArgs) -> Result<Option<StoredModel>, Complaint> {
    let Some(folder) = &args.model else { return Ok(None) };
    let path = folder.join("model.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Complaint::cannot_open(&path, &error))?;
    let stored: StoredModel = serde_json::from_str(&text)
        .map_err(|error| not_a_model(&path, format!("is not a model: {error}")))?;
    if stored.version != STORED_MODEL_VERSION {
        let what = format!("is of version {}, this program reads {STORED_MODEL_VERSION}", stored.version);
        return Err(not_a_model(&path, what));
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
    Ok(Some(stored))
}

fn not_a_model(path: &Path, what: String) -> Complaint {
    Complaint::new(Exit::Input, path.display(), what, "write it anew with highwater model RUN… --out DIR")
}

fn capacity_of(args: &ForecastArgs, model: Option<&StoredModel>) -> Result<Option<CapacityGiven>, Complaint> {
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
    let Some((folder, stored)) = args.model.as_ref().zip(model) else { return Ok(None) };
    let rate = believable(stored.capacity.rate_per_second).ok_or_else(|| {
        not_a_model(
            &folder.join("model.json"),
            format!("holds no capacity above zero and up to {MOST_RATE:e}"),
        )
    })?;
    let [low, high] = stored.capacity.interval.map(Rate::per_second);
    let interval = low.zip(high).map(|(low, high)| Bounds { low, high });
    Ok(Some(CapacityGiven { rate, interval }))
}

/// A rate that some service may reach.
fn believable(per_second: f64) -> Option<Rate> {
    Rate::per_second(per_second).filter(|rate| *rate > Rate::ZERO && rate.as_per_second() <= MOST_RATE)
}

/// `26w`, `28d`, `168h`, `90m` or `30min`; `flag` says it.
fn horizon_of(text: &str, flag: &str) -> Result<Duration, Complaint> {
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
            format!("{flag} {}", files::plain(typed)),
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

/// `Black Friday=2026-11-27:10x`, with a last day `Sale=2026-12-01..2026-12-05:3x`, or without a multiple.
fn event_of(text: &str) -> Result<EventGiven, Complaint> {
    let wrong = |what: &str| {
        usage(format!("--event '{}'", files::plain(text)), what, "write e.g. 'Black Friday=2026-11-27:10x'")
    };
    let (name, rest) = text.rsplit_once('=').ok_or_else(|| wrong("has no ="))?;
    let (days, multiple) = match rest.rsplit_once(':') {
        Some((days, multiple)) => (days, Some(multiple.trim())),
        None => (rest, None),
    };
    let (first, last) = days.split_once("..").unwrap_or((days, days));
    let day = |text: &str| text.trim().parse::<Date>().map_err(|_| wrong("has no date like 2026-11-27"));
    let (first, last) = (day(first)?, day(last)?);
    if last < first {
        return Err(wrong("ends before it begins"));
    }
    let multiple = multiple
        .map(|multiple| {
            let multiple = multiple.strip_suffix('x').unwrap_or(multiple).parse::<f64>().ok();
            let multiple = multiple.filter(|multiple| *multiple > 0.0 && *multiple <= MOST_TIMES);
            multiple.ok_or_else(|| wrong("has no multiple above zero and up to 10000, like 10x"))
        })
        .transpose()?;
    if name.trim().is_empty() {
        return Err(wrong("has no name"));
    }
    Ok(EventGiven { name: name.trim().to_owned(), first, last, multiple, optional: false })
}

/// Events on one day multiply each other: together, too, they stay within bounds.
fn believable_together(events: &[EventGiven]) -> Result<(), Complaint> {
    // Where many overlap, they all do so on the first day of one of them.
    let too_much = events.iter().find(|one| {
        let together = events.iter().filter(|other| (other.first..=other.last).contains(&one.first));
        together.map(|other| other.multiple.unwrap_or(1.0).max(1.0)).product::<f64>() > MOST_TIMES
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

/// `history.csv`: what was known, as it was understood; `remark` is what its author wrote over it.
fn history_table(made: &Forecast, remark: Option<&str>) -> String {
    let mut text = remark.map_or_else(String::new, |remark| format!("{remark}\n"));
    text.push_str("ds,y\n");
    for seen in &made.history {
        let volume = seen.volume.map_or_else(String::new, |volume| volume.to_string());
        let _ = writeln!(text, "{},{volume}", written(seen.at, made.step));
    }
    text
}
