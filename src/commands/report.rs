//! `highwater report`: draws a page, its charts and its facts from runs and from the folders of other commands.
//!
//! Nothing that was concluded is taken over from a file: the model is fitted again from the runs, with the
//! objective and the seed that `model.json` names, so a report cannot outlive its data.

mod baseline;
mod growth;
mod trend;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{Rate, Run};
use modeler::{Bounds, Forecast, Model, ModelError, ModelRequest, Objective, Point, model, points};
use reports::{Check, Evidence, Trial};
use serde_json::Value;

use crate::Globals;
use crate::commands::{compare, files};
use crate::complain::{Complaint, Exit, say};

/// Draws a report from what the others wrote
///
/// Several runs are shown over time, too, what got worse marked. The folder gets index.html, report.md,
/// report.json with its schema, junit.xml, and each chart as SVG and as CSV.
///
/// Example: highwater report ten.run --baseline last-week.run --slo 'p95<200ms,errors<1%' --out ten-report
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Runs, or folders that `highwater model` or `highwater demo` wrote
    #[arg(required = true, value_name = "RUN|DIR")]
    inputs: Vec<PathBuf>,
    /// Runs are releases of one service, one after another: only the latest is modelled
    #[arg(long)]
    over_time: bool,
    /// An earlier run to be measured by: what became slower beyond noise is marked, as `highwater compare` does
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
    /// With --baseline: a quantile may grow by so much
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    max_regression: String,
    /// The folder for index.html, report.json and the charts
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the service has promised, e.g. 'p95<200ms,errors<1%'; else that of model.json
    #[arg(long, value_name = "SLO")]
    slo: Option<String>,
    /// What stands at the top of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs, globals: &Globals) -> Result<(), Complaint> {
    let allowed = compare::allowed(&args.max_regression)?;
    let mut found = Found::default();
    for path in &args.inputs {
        found.add(path)?;
    }
    if let Some(text) = &args.slo {
        found.objective = Some(objective(text, &format!("--slo {}", files::plain(text)), Exit::Usage)?);
    }
    if found.runs.is_empty() && found.forecast.is_none() {
        let place = args.inputs.first().map_or(Path::new("report"), PathBuf::as_path);
        let mend = "give a run, or a folder that `highwater model`, `forecast` or `demo` wrote";
        return Err(Complaint::new(Exit::Input, place.display(), "holds neither a run nor a forecast", mend));
    }
    let seed = found.seed.unwrap_or(globals.seed);
    let releases = trend::releases(&found.runs, found.objective.as_ref(), seed);
    let baseline = match (&args.baseline, found.latest()) {
        (Some(path), Some((name, run))) => Some(baseline::beside(path, (name, run), allowed, seed)?),
        (Some(path), None) => {
            let what = "has no run to be the baseline of";
            return Err(Complaint::new(Exit::Usage, path.display(), what, "give a run beside it"));
        }
        (None, _) => None,
    };
    if args.over_time
        && let Some(latest) = (0..found.runs.len()).max_by_key(|&at| found.runs[at].1.header.started)
    {
        found.runs = vec![found.runs.swap_remove(latest)];
    }
    let concluded = found.conclude(seed)?;
    let runs: Vec<Run> = found.runs.into_iter().map(|(_, run)| run).collect();
    let title = args.title.clone().unwrap_or_else(|| title_of(&runs));
    let evidence = Evidence {
        title: &title,
        runs: &runs,
        points: &concluded.points,
        model: concluded.model.as_ref(),
        forecast: found.forecast.as_ref(),
        check: found.check.as_ref(),
        releases: &releases,
        baseline: baseline.as_ref(),
    };
    write_report(&evidence, &args.out)?;
    if !globals.quiet {
        if let Some(why) = concluded.why_not {
            say!("highwater: no model: {why}");
        }
        say!("{}", args.out.join("index.html").display());
    }
    Ok(())
}

/// Writes `index.html`, `report.md`, `report.json` and its schema, `junit.xml`, and one SVG and one CSV for each
/// chart into `folder`, which is made when it is not there. The files that were written.
pub(crate) fn write_report(evidence: &Evidence<'_>, folder: &Path) -> Result<Vec<PathBuf>, Complaint> {
    fs::create_dir_all(folder).map_err(|error| Complaint::cannot_write(folder, &error))?;
    let mut contents = vec![
        ("index.html".to_owned(), reports::html(evidence)),
        ("report.md".to_owned(), reports::markdown(evidence)),
        ("report.json".to_owned(), reports::json(evidence)),
        ("report.schema.json".to_owned(), reports::SCHEMA.to_owned()),
        ("junit.xml".to_owned(), reports::junit(evidence)),
    ];
    for picture in reports::charts(evidence) {
        contents.push((format!("{}.svg", picture.name), picture.svg));
        contents.push((format!("{}.csv", picture.name), picture.csv));
    }
    let mut written = Vec::new();
    for (name, content) in contents {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| Complaint::cannot_write(&path, &error))?;
        written.push(path);
    }
    Ok(written)
}

/// What stands at the top of a page of `runs` when nobody said.
pub(crate) fn title_of(runs: &[Run]) -> String {
    match runs {
        [] => "Growth and capacity".to_owned(),
        [run] => {
            let capture = Path::new(&run.header.capture).file_name().unwrap_or_default().to_string_lossy();
            format!("{capture} replayed against {}", run.header.target)
        }
        [first, ..] => format!("{} runs against {}", runs.len(), first.header.target),
    }
}

/// What the inputs hold.
#[derive(Default)]
struct Found {
    /// Runs with their files' names.
    runs: Vec<(String, Run)>,
    objective: Option<Objective>,
    seed: Option<u64>,
    /// Today's peak, as it was given to the model.
    current: Option<Rate>,
    forecast: Option<Forecast>,
    check: Option<Check>,
}

/// What the runs say together.
#[derive(Default)]
struct Concluded {
    points: Vec<Point>,
    model: Option<Model>,
    why_not: Option<String>,
}

impl Found {
    /// The run that began last.
    fn latest(&self) -> Option<&(String, Run)> {
        self.runs.iter().max_by_key(|(_, run)| run.header.started)
    }

    fn add(&mut self, path: &Path) -> Result<(), Complaint> {
        if path.is_dir() { self.add_folder(path) } else { self.add_run(path) }
    }

    fn add_run(&mut self, path: &Path) -> Result<(), Complaint> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        self.runs.push((files::plain(&name), files::read_run(path)?));
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Complaint> {
        let check = folder.join("check.json");
        let checked = check.exists();
        if checked {
            self.check = Some(read_check(&check)?);
        }
        let entries = fs::read_dir(folder).map_err(|error| Complaint::cannot_open(folder, &error))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "run")) {
            // The trials of a check judge the model; it must not be fitted to them.
            let is_trial = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("check-"));
            if !(checked && is_trial) {
                self.add_run(path)?;
            }
        }
        self.forecast = growth::found_in(folder)?.or(self.forecast.take());
        let stored = folder.join("model.json");
        if stored.exists() {
            let facts = read_json(&stored)?;
            if let Some(text) = facts["objective"].as_str() {
                self.objective = Some(objective(text, &stored.display().to_string(), Exit::Input)?);
            }
            self.seed = facts["seed"].as_u64().or(self.seed);
            self.current = rate(&facts["answers"]["headroom"]["current"]).or(self.current);
        }
        Ok(())
    }

    fn conclude(&self, seed: u64) -> Result<Concluded, Complaint> {
        if self.runs.is_empty() {
            return Ok(Concluded::default());
        }
        let mut gathered = Vec::new();
        let mut nothing_measured = None;
        for (name, run) in &self.runs {
            match points(run, name) {
                Ok(points) => gathered.extend(points),
                // One run that was stopped early does not void the others.
                Err(error) if run.end.as_ref().is_some_and(|end| end.interrupted) => {
                    nothing_measured = Some(error.to_string());
                }
                Err(error) => {
                    return Ok(Concluded { why_not: Some(error.to_string()), ..Concluded::default() });
                }
            }
        }
        if gathered.is_empty() && nothing_measured.is_some() {
            return Ok(Concluded { why_not: nothing_measured, ..Concluded::default() });
        }
        let rates = || self.runs.iter().map(|(_, run)| run.header.capture_rate);
        let agreed = rates().next().filter(|&first| first > Rate::ZERO && rates().all(|rate| rate == first));
        let request = ModelRequest {
            objective: self.objective.clone(),
            rate_at_1x: agreed,
            held_back_ratio: self.runs.iter().map(|(_, run)| run.header.held_back_ratio).fold(0.0, f64::max),
            current: self.current,
            ..ModelRequest::plain(seed)
        };
        match model(gathered.clone(), &request) {
            Ok(model) => Ok(Concluded { points: gathered, model: Some(model), why_not: None }),
            Err(error @ ModelError::NoQuantile { .. }) => {
                Err(Complaint::new(Exit::Usage, "--slo", &error, error.mend()))
            }
            Err(error) => Ok(Concluded { points: gathered, model: None, why_not: Some(error.to_string()) }),
        }
    }
}

fn objective(text: &str, place: &str, exit: Exit) -> Result<Objective, Complaint> {
    Objective::parse(text).map_err(|error| Complaint::new(exit, place, &error, error.mend()))
}

fn read_json(path: &Path) -> Result<Value, Complaint> {
    let bytes = fs::read(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    serde_json::from_slice(&bytes).map_err(|_| not_ours(path))
}

fn not_ours(path: &Path) -> Complaint {
    Complaint::new(Exit::Input, path.display(), "is not what Highwater wrote", "remove it, or write it again")
}

/// Reads the `check.json` of a demo.
fn read_check(path: &Path) -> Result<Check, Complaint> {
    let facts = read_json(path)?;
    let slo = facts["slo"].as_str().ok_or_else(|| not_ours(path))?;
    let bound = |at: usize| rate(&facts["predicted_interval"][at]);
    let trials = facts["trials"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Check {
        objective: objective(slo, &path.display().to_string(), Exit::Input)?,
        predicted: rate(&facts["predicted_per_second"]).ok_or_else(|| not_ours(path))?,
        interval: bound(0).zip(bound(1)).map(|(low, high)| Bounds { low, high }),
        measured: rate(&facts["measured_per_second"]),
        bracketed: facts["bracketed"].as_bool().unwrap_or(false),
        trials: trials
            .iter()
            .map(|facts| trial(facts).ok_or_else(|| not_ours(path)))
            .collect::<Result<_, _>>()?,
    })
}

fn rate(fact: &Value) -> Option<Rate> {
    Rate::per_second(fact.as_f64()?)
}

fn trial(facts: &Value) -> Option<Trial> {
    Some(Trial {
        offered: rate(&facts["offered_per_second"])?,
        response: Duration::try_from_secs_f64(facts["response_ms"].as_f64()? / 1e3).ok()?,
        error_ratio: facts["error_ratio"].as_f64()?,
        met: facts["met"].as_bool()?,
    })
}
