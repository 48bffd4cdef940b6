//! Where a history comes from: tables, captures, runs, access logs, or Prometheus; each found out by what is in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use captures::Run;
use captures::foreign::{self, LogFormat, Template};
use jiff::tz::TimeZone;
use modeler::{Counts, ForecastError, History, PeakFactor, Step, TableForm};

use super::prometheus;
use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// Where the history comes from and how it is read.
#[derive(Debug, clap::Args)]
pub(super) struct PastArgs {
    /// Requests over time: a table of 'ds,y' lines, captures, runs, access logs, or prometheus=URL with --query
    ///
    /// A table holds requests per step: weeks, days, hours or minutes. Captures, runs and access logs (of all
    /// servers that `highwater import` knows, or by --log-line) are counted by the minute, and continued by the day
    /// or hour where they are long enough. Files may be compressed (gz, zst, xz).
    #[arg(long, value_name = "FILE|prometheus=URL", required = true, num_args = 1..)]
    history: Vec<PathBuf>,
    /// The format of the lines of an access log, as `highwater import` takes it
    #[arg(long, value_name = "FORMAT", value_parser = Template::parse)]
    log_line: Option<Template>,
    /// The column of a table with the requests of a step; else the second
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// The column of a table with the moments; else the first
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// A column of a table with the requests per second in the busiest minute of each step
    #[arg(long, value_name = "NAME", conflicts_with = "peak_factor")]
    peak_column: Option<String>,
    /// The time zone of moments in a table that name none, like Europe/Berlin; else UTC
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// With prometheus=URL: an expression for requests per second, e.g. 'sum(rate(http_requests_total[5m]))'
    #[arg(long, value_name = "PROMQL")]
    query: Option<String>,
    /// With prometheus=URL: how far back, e.g. 90d
    #[arg(long, value_name = "LENGTH", default_value = "90d", requires = "query")]
    since: String,
    /// Continue in steps of this length: day, hour, or minutes like 5m; else as the history has them
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// The busiest minute of a step over the step's mean: capacity is bought for peaks
    #[arg(long, value_name = "FACTOR")]
    peak_factor: Option<f64>,
}

/// What was read.
pub(super) struct Past {
    pub(super) history: History,
    pub(super) peak_factor: PeakFactor,
    /// Whole sentences.
    pub(super) notes: Vec<String>,
    /// What the author of a table wrote over it, as a comment.
    pub(super) remark: Option<String>,
}

/// The largest multiple of a mean.
const MOST_TIMES: f64 = 10_000.0;
/// A table may be so large.
const MOST_BYTES: u64 = 1 << 30;
/// Steps that are continued one by one; a longer history goes on in longer steps.
const MOST_FINE: usize = 20_000;
/// What every capture and run begins with.
const OURS: &[u8] = b"\x89HWTR";

impl PastArgs {
    /// How the first history is named in a complaint.
    pub(super) fn place(&self) -> String {
        self.history.first().map_or_else(String::new, |path| path.display().to_string())
    }

    /// Reads it.
    pub(super) fn read(&self) -> Result<Past, Complaint> {
        let given = peak_factor_of(self.peak_factor)?;
        let wanted = self.step.as_deref().map(step_of).transpose()?;
        let form = self.form()?;
        let log = self.log_line.clone().map_or(LogFormat::Known, LogFormat::Template);
        let (mut histories, mut notes) = (Vec::new(), Vec::new());
        let mut counts: Option<Counts> = None;
        let mut measured = PeakFactor::MeanOnly;
        let (mut captures, mut remark) = (Vec::new(), None);
        for path in &self.history {
            if let Some(url) = path.to_str().and_then(|text| text.strip_prefix("prometheus=")) {
                let query = self.query.as_deref().ok_or_else(|| {
                    Complaint::new(
                        Exit::Usage,
                        format!("--history prometheus={}", files::plain(url)),
                        "has no --query",
                        "give e.g. --query 'sum(rate(http_requests_total[5m]))'",
                    )
                })?;
                histories.push(prometheus::history(url, query, &self.since, wanted)?);
                continue;
            }
            match kind_of(path, &log)? {
                Kind::Ours => captures.push(path.clone()),
                Kind::Log => count_log(path, &log, counts.get_or_insert_default(), &mut notes)?,
                Kind::Table => {
                    let text = text_of(path)?;
                    let read = form.read(&text).map_err(|error| complaint(path, &error))?;
                    let first = text.lines().next().filter(|line| line.starts_with('#'));
                    remark = remark.or(first.map(files::plain));
                    notes.extend(read.notes);
                    if read.peak_factor != PeakFactor::MeanOnly {
                        measured = read.peak_factor;
                    }
                    histories.push(read.history);
                }
            }
        }
        count_ours(&captures, &mut counts)?;
        let first = self.history.first().map_or(Path::new("history"), PathBuf::as_path);
        let mut counted = false;
        if let Some(counts) = counts {
            counted = true;
            histories.push(counts.history().map_err(|error| complaint(first, &error))?);
        }
        let history = History::joined(histories).map_err(|error| complaint(first, &error))?;
        let too_fine = matches!(history.step, Step::Minutes(_)) && history.observations.len() > MOST_FINE;
        let step =
            wanted.unwrap_or_else(|| if counted || too_fine { history.natural_step() } else { history.step });
        let (history, of_steps) = if step == history.step {
            (history, PeakFactor::MeanOnly)
        } else {
            if step.length() < history.step.length() {
                let typed = self.step.as_deref().unwrap_or_default();
                return Err(Complaint::new(
                    Exit::Usage,
                    format!("--step {typed}"),
                    format!("is shorter than the history's own steps of {}", history.step.one()),
                    "give a longer step, or a finer history",
                ));
            }
            let (coarse, peaks) = history.coarsened(step);
            let named = if history.step.is_a_minute() { "minute" } else { "short step" };
            if let PeakFactor::Measured { factor, .. } = peaks {
                notes.push(format!(
                    "Steps of {} were added up to one {} each; the busiest {named} has {factor:.2} times the mean.",
                    history.step.one(),
                    step.name()
                ));
            }
            (coarse, peaks)
        };
        let peak_factor = [given, measured, of_steps].into_iter().find(|it| *it != PeakFactor::MeanOnly);
        Ok(Past { history, peak_factor: peak_factor.unwrap_or(PeakFactor::MeanOnly), notes, remark })
    }

    fn form(&self) -> Result<TableForm, Complaint> {
        let zone = self.time_zone.as_deref().map(|name| {
            TimeZone::get(name).map_err(|_| {
                Complaint::new(
                    Exit::Usage,
                    format!("--time-zone {}", files::plain(name)),
                    "is no time zone that is known",
                    "give a name like Europe/Berlin or America/New_York",
                )
            })
        });
        Ok(TableForm {
            time: self.time_column.clone(),
            volume: self.column.clone(),
            peak: self.peak_column.clone(),
            zone: zone.transpose()?,
        })
    }
}

/// A complaint about a history.
pub(super) fn complaint(path: impl AsRef<Path>, error: &ForecastError) -> Complaint {
    Complaint::new(Exit::Input, path.as_ref().display(), error, error.mend())
}

enum Kind {
    Ours,
    Log,
    Table,
}

fn kind_of(path: &Path, format: &LogFormat) -> Result<Kind, Complaint> {
    if path.is_dir() {
        return Ok(Kind::Ours);
    }
    let mut head = Vec::new();
    let broken = |error: std::io::Error| Complaint::cannot_open(path, &error);
    opened(path)?.take(64 << 10).read_to_end(&mut head).map_err(broken)?;
    if head.starts_with(OURS) {
        return Ok(Kind::Ours);
    }
    // The last line may be cut, and a table may have a heading or a remark: half of the lines decide.
    let account = foreign::read_log_moments(&head[..], format, |_| ());
    let is_log = account.is_ok_and(|account| 2 * account.read >= account.entries);
    Ok(if is_log || matches!(format, LogFormat::Template(_)) { Kind::Log } else { Kind::Table })
}

/// What the file at `path` holds, without its compression.
fn opened(path: &Path) -> Result<Box<dyn BufRead + Send>, Complaint> {
    let file = File::open(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    captures::uncompressed(Box::new(file)).map_err(|error| Complaint::cannot_open(path, &error))
}

fn text_of(path: &Path) -> Result<String, Complaint> {
    let mut bytes = Vec::new();
    let read = opened(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| Complaint::cannot_open(path, &error))?;
    if length as u64 > MOST_BYTES {
        return Err(Complaint::new(
            Exit::Input,
            path.display(),
            format!("holds more than the {MOST_BYTES} bytes that a table may have"),
            "add it up to hours or days first",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Complaint::new(Exit::Input, path.display(), "is not text", "give lines like '2026-03-01,81234'")
    })
}

/// Captures by the arrival of their exchanges; runs by what was planned.
fn count_ours(paths: &[PathBuf], counts: &mut Option<Counts>) -> Result<(), Complaint> {
    let (mut captures, mut runs) = (Vec::new(), Vec::new());
    for path in paths {
        match File::open(path).map(BufReader::new).map(Run::read) {
            Ok(Ok(run)) => runs.push(run),
            _ => captures.push(path.clone()),
        }
    }
    if !paths.is_empty() {
        counts.get_or_insert_default();
    }
    let Some(counts) = counts else { return Ok(()) };
    for run in runs {
        let started = i64::try_from(run.header.started / 1_000_000_000).unwrap_or(0);
        for interval in &run.intervals {
            counts.add(started + i64::try_from(interval.second).unwrap_or(0), interval.planned as f64);
        }
    }
    if captures.is_empty() {
        return Ok(());
    }
    let mut reader = files::open_captures(&captures)?;
    let started = reader.header().started;
    for exchange in reader.by_ref() {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        let nanos = started + i128::from(exchange.arrived.as_nanos());
        counts.add(i64::try_from(nanos / 1_000_000_000).unwrap_or(0), 1.0);
    }
    Ok(())
}

/// Counts the lines of an access log by the minute they tell.
fn count_log(
    path: &Path,
    format: &LogFormat,
    counts: &mut Counts,
    notes: &mut Vec<String>,
) -> Result<(), Complaint> {
    let nanos = |at: captures::Offset| i64::try_from(at.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    let account = foreign::read_log_moments(opened(path)?, format, |at| counts.add(nanos(at), 1.0))
        .map_err(|error| Complaint::new(Exit::Input, path.display(), &error, error.mend()))?;
    let unread = account.entries - account.read;
    if account.read < unread {
        return Err(Complaint::new(
            Exit::Input,
            path.display(),
            format!("{unread} of {} lines hold no moment that is known", account.entries),
            "give the format of its lines by --log-line, or a table of 'ds,y' lines",
        ));
    }
    if unread > 0 {
        notes.push(format!(
            "{unread} of {} lines of the log hold no moment and were left out.",
            account.entries
        ));
    }
    if let Some(damage) = account.damage {
        notes.push(format!("The log could not be read to its end: {}.", files::plain(&damage)));
    }
    Ok(())
}

fn step_of(text: &str) -> Result<Step, Complaint> {
    let typed = text.trim();
    let minutes = || typed.strip_suffix("min").or_else(|| typed.strip_suffix('m'))?.parse::<u32>().ok();
    match typed {
        "day" | "1d" => Ok(Step::Day),
        "hour" | "1h" => Ok(Step::Hour),
        "week" | "1w" => Ok(Step::Week),
        "minute" => Ok(Step::Minutes(1)),
        _ => match minutes().filter(|minutes| [1, 5, 10, 15, 20, 30].contains(minutes)) {
            Some(minutes) => Ok(Step::Minutes(minutes)),
            None => Err(Complaint::new(
                Exit::Usage,
                format!("--step {}", files::plain(typed)),
                "is no step",
                "give week, day, hour, or minutes: 30m, 20m, 15m, 10m, 5m, 1m",
            )),
        },
    }
}

fn peak_factor_of(factor: Option<f64>) -> Result<PeakFactor, Complaint> {
    match factor {
        None => Ok(PeakFactor::MeanOnly),
        Some(factor) if (1.0..=MOST_TIMES).contains(&factor) => Ok(PeakFactor::Given(factor)),
        Some(factor) => Err(Complaint::new(
            Exit::Usage,
            format!("--peak-factor {factor}"),
            if factor < 1.0 { "is below 1, and no mean exceeds its peak" } else { "is above 10000" },
            "give the busiest minute over the mean of a step, e.g. 2.5",
        )),
    }
}
