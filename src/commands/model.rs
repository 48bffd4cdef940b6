//! `highwater model`: fits curves to runs, or to a table of points, and finds the highest load that meets an
//! objective.

mod asides;

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use captures::{Rate, Run};
use modeler::{
    Load, Model, ModelError, ModelRequest, Objective, Point, StoredModel, backlog_recoveries, interruption,
    model, points, points_from_table,
};
use reports::Evidence;

use crate::Globals;
use crate::commands::files;
use crate::commands::report::{title_of, write_report};
use crate::complain::{Complaint, Exit, say};

/// Fits capacity curves to runs and finds the highest load that meets an objective
///
/// Example: highwater model ten.run --slo 'p95<200ms,errors<1%' --out shop-model
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Runs, as `highwater replay` writes them; only stages that hold their level give points
    #[arg(value_name = "RUN", required_unless_present = "points")]
    runs: Vec<PathBuf>,
    /// Points from a table: columns n,x (in flight, answers/s) or rate,p95,… (offered/s, milliseconds)
    #[arg(long, value_name = "FILE.csv", conflicts_with = "runs")]
    points: Option<PathBuf>,
    /// What the service has promised, e.g. 'p95<200ms,errors<1%'
    #[arg(long, value_name = "SLO")]
    slo: Option<String>,
    /// Loads whose throughput to predict, e.g. 128,256 (in flight for n,x; else requests/s), 500rps, 12x
    #[arg(long, value_name = "LOADS", value_delimiter = ',')]
    at: Vec<String>,
    /// Today's peak, e.g. 840rps, or a capture of it: says how far it is from the capacity
    #[arg(long, value_name = "RATE|CAPTURE")]
    current: Option<String>,
    /// Another mix of routes: what the runs had, changed, e.g. 'POST /checkout=3x'
    #[arg(long, value_name = "ROUTE=TIMES")]
    mix: Vec<String>,
    /// Another mix of routes: that of a capture
    #[arg(long, value_name = "CAPTURE", conflicts_with = "mix")]
    mix_from: Option<PathBuf>,
    /// How much there is of an observed resource, e.g. pool_busy=40
    #[arg(long, value_name = "NAME=AMOUNT")]
    limit: Vec<String>,
    /// Answer beyond twice the largest measured load, and where no law is identified
    #[arg(long)]
    force: bool,
    /// The model as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// The folder for model.json and the charts
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &ModelArgs, globals: &Globals) -> Result<(), Complaint> {
    let objective = args.slo.as_deref().map(objective_of).transpose()?;
    let at = args.at.iter().map(|text| load_of(text)).collect::<Result<Vec<Load>, _>>()?;
    let runs = args.runs.iter().map(|path| files::read_run(path)).collect::<Result<Vec<Run>, _>>()?;
    let rate_at_1x = rate_at_1x(&runs);
    if rate_at_1x.is_none() && at.iter().any(|load| matches!(load, Load::Scale(_))) {
        return Err(Complaint::new(
            Exit::Usage,
            "--at",
            "there is no 1x to multiply",
            "give loads as numbers, e.g. --at 128",
        ));
    }
    for (path, run) in args.runs.iter().zip(&runs) {
        if !run.damage.is_empty() && !globals.quiet {
            say!("highwater: {}: {} damaged places were left out", path.display(), run.damage.len());
        }
    }
    let points = gather(args, &runs)?;
    let current = args.current.as_deref().map(asides::current).transpose()?;
    let limits = args.limit.iter().map(|text| asides::limit(text)).collect::<Result<_, _>>()?;
    let mix = match &args.mix_from {
        Some(path) => asides::mix_of(path, &points)?,
        None => args.mix.iter().map(|text| asides::mix(text)).collect::<Result<_, _>>()?,
    };
    let request = ModelRequest {
        objective,
        at,
        rate_at_1x,
        held_back_ratio: runs.iter().map(|run| run.header.held_back_ratio).fold(0.0, f64::max),
        limits,
        current,
        mix,
        force: args.force,
        seed: globals.seed,
    };
    let mut concluded = model(points, &request).map_err(|error| complaint(place_of(&error, args), &error))?;
    let interrupted =
        args.runs.iter().zip(&runs).filter_map(|(path, run)| interruption(run, &file_name(path)));
    concluded.warnings.extend(interrupted);
    concluded.recoveries = args
        .runs
        .iter()
        .zip(&runs)
        .flat_map(|(path, run)| backlog_recoveries(run, &file_name(path)))
        .collect();
    let text = serde_json::to_string_pretty(&StoredModel::from(&concluded))
        .map_err(|error| Complaint::new(Exit::Fault, "model.json", error, "report this as a bug"))?;
    std::fs::create_dir_all(&args.out).map_err(|error| Complaint::cannot_write(&args.out, &error))?;
    let file = args.out.join("model.json");
    std::fs::write(&file, format!("{text}\n")).map_err(|error| Complaint::cannot_write(&file, &error))?;
    let evidence = Evidence {
        title: &title_of(&runs),
        runs: &runs,
        points: &[],
        model: Some(&concluded),
        forecast: None,
        check: None,
        releases: &[],
        baseline: None,
    };
    write_report(&evidence, &args.out)?;
    if !globals.quiet {
        say!("wrote {} and the files beside it", args.out.join("index.html").display());
    }
    let shown = if args.json { format!("{text}\n") } else { summary(&concluded) };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))?;
    if args.json && !globals.quiet {
        say!("{}", summary(&concluded).trim_end());
    }
    Ok(())
}

fn objective_of(text: &str) -> Result<Objective, Complaint> {
    Objective::parse(text).map_err(|error| {
        Complaint::new(Exit::Usage, format!("--slo {}", files::plain(text)), error.clone(), error.mend())
    })
}

/// The loads that are asked about; outside of them arithmetic loses all meaning.
const LOADS: RangeInclusive<f64> = 1e-9..=1e12;
/// The multiples of the capture's own rate that are asked about.
const SCALES: RangeInclusive<f64> = 1e-6..=1e6;

/// `128`, `500rps` or `12x`.
fn load_of(text: &str) -> Result<Load, Complaint> {
    let typed = text.trim();
    let number = |digits: &str, bounds: &RangeInclusive<f64>| {
        digits.trim().parse::<f64>().ok().filter(|load| bounds.contains(load))
    };
    let (load, bounds) = match typed.strip_suffix('x') {
        Some(digits) => (number(digits, &SCALES).map(Load::Scale), SCALES),
        None => (number(typed.strip_suffix("rps").unwrap_or(typed), &LOADS).map(Load::Plain), LOADS),
    };
    load.ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--at {}", files::plain(typed)),
            format!("is not a load between {:e} and {:e}", bounds.start(), bounds.end()),
            "write e.g. --at 128,256 or --at 12x",
        )
    })
}

/// What `1x` means; nothing when the runs disagree.
fn rate_at_1x(runs: &[Run]) -> Option<Rate> {
    let first = runs.first()?.header.capture_rate;
    let agreed = runs.iter().all(|run| run.header.capture_rate == first);
    (agreed && first > Rate::ZERO).then_some(first)
}

fn gather(args: &ModelArgs, runs: &[Run]) -> Result<Vec<Point>, Complaint> {
    if let Some(path) = &args.points {
        let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
        return points_from_table(&text, &file_name(path)).map_err(|error| complaint(path, &error));
    }
    let mut gathered = Vec::new();
    for (path, run) in args.runs.iter().zip(runs) {
        gathered.extend(points(run, &file_name(path)).map_err(|error| complaint(path, &error))?);
    }
    Ok(gathered)
}

fn file_name(path: &Path) -> String {
    files::plain(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// The file that the error is about; the first where it is about all of them.
fn place_of<'a>(error: &ModelError, args: &'a ModelArgs) -> &'a Path {
    let files = || args.points.iter().chain(&args.runs);
    let named = match error {
        ModelError::AllFailed { source } => files().find(|path| in_file(source, path).is_some()),
        _ => None,
    };
    named.or(files().next()).map_or(Path::new("model"), PathBuf::as_path)
}

/// What follows the name of a file in `said`, when it begins with that.
fn in_file<'a>(said: &'a str, path: &Path) -> Option<&'a str> {
    said.strip_prefix(&file_name(path))?.strip_prefix(", ")
}

fn complaint(path: &Path, error: &ModelError) -> Complaint {
    let exit = match error {
        ModelError::InvalidRun { .. } => Exit::Invalid,
        ModelError::NoOfferedLoad | ModelError::NoQuantile { .. } | ModelError::MixedLoads => Exit::Usage,
        ModelError::Unfinished
        | ModelError::Refusals { .. }
        | ModelError::NoHolds
        | ModelError::TooFewLoads { .. }
        | ModelError::Interrupted { .. }
        | ModelError::OutOfReach { .. }
        | ModelError::TooManyRows { .. }
        | ModelError::Repeated { .. }
        | ModelError::Flat
        | ModelError::Falling
        | ModelError::AllFailed { .. }
        | ModelError::Table { .. } => Exit::Input,
    };
    let said = error.to_string();
    Complaint::new(exit, path.display(), in_file(&said, path).unwrap_or(&said), error.mend())
}

/// The answer in a few lines, the verdict first.
fn summary(model: &Model) -> String {
    let capacity = &model.capacity;
    let rps = |rate: Rate| format!("{:.0}", rate.as_per_second());
    let least = if capacity.lower_bound.is_some() { "lower bound only: at least " } else { "" };
    let scale = capacity.scale.map(|scale| format!(" ({scale:.1}x)")).unwrap_or_default();
    let promise = model.objective.as_ref().map(|objective| format!(" with {objective}")).unwrap_or_default();
    let mut text = format!(
        "capacity {least}{} req/s{scale}{promise}: 95 % interval {} to {}, binding: {}, {}, {}\n",
        rps(capacity.rate),
        rps(capacity.interval.low),
        rps(capacity.interval.high),
        capacity.binding.name(),
        if capacity.bracketed { "bracketed by measurement" } else { "not bracketed by measurement" },
        capacity.verdict.as_str().replace('_', " "),
    );
    let bound = |name: &str, rate: Option<Rate>| {
        rate.map(|rate| format!("  {name} {} req/s\n", rps(rate))).unwrap_or_default()
    };
    if model.objective.is_some() {
        text += &bound("highest measured pass:", capacity.highest_pass);
        text += &bound("lowest measured fail: ", capacity.lowest_fail);
    }
    for each in capacity.by_limit.iter().filter(|_| capacity.by_limit.len() > 1) {
        text += &each.rate.zip(each.interval).map_or_else(
            || format!("  by {} alone: not reached\n", each.limit),
            |(rate, interval)| {
                let (rate, low, high) = (rps(rate), rps(interval.low), rps(interval.high));
                format!(
                    "  by {} alone: {rate} req/s [{low}, {high}], binding: {}\n",
                    each.limit,
                    each.binding.name()
                )
            },
        );
    }
    if let Some(ceiling) = model.ceiling {
        let how = if ceiling.measured { "measured" } else { "where the curves lead" };
        text += &format!("  ceiling {} req/s ({how})\n", rps(ceiling.rate));
    }
    for fit in model.families.iter().filter(|fit| fit.weight >= 0.01) {
        let named: Vec<String> = fit
            .parameters
            .iter()
            .map(|parameter| format!("{} {:.4e}", parameter.name, parameter.value))
            .collect();
        text += &format!("  {:>3.0} % {}: {}\n", fit.weight * 100.0, fit.family.name(), named.join(", "));
    }
    for each in &model.predictions {
        let throughput = each.throughput.map_or("refused".to_owned(), rps);
        text += &format!(
            "  at {}: {throughput} [{}, {}] {}\n",
            each.load,
            rps(each.interval.low),
            rps(each.interval.high),
            each.verdict.as_str()
        );
    }
    if let Some(test) = model.backtest {
        text += &format!(
            "  back-test: fitting the lower {} loads predicts the upper {} within {:.1} % in the mean\n",
            test.fitted,
            test.predicted,
            test.mean_error_ratio * 100.0
        );
    }
    text += &asides::summary(model);
    text += &format!("  next load worth running: {:.0}\n", capacity.next_load.as_per_second());
    for warning in &model.warnings {
        text += &format!("  note: {warning}\n");
    }
    for (at, sentence) in model.advice.iter().enumerate() {
        text += &format!("  advice {}: {sentence}\n", at + 1);
    }
    for sentence in &model.firmer {
        text += &format!("  firmer: {sentence}\n");
    }
    text
}
