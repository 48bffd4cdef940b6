//! `highwater capacity`: a capture, a target and an objective in; the highest load that meets it out.
//!
//! Each load is held for a while in a replay of its own, which is a run like any other. Which load comes next,
//! [`modeler::Search`] decides; what the loads together say, the modeler does.

use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{Rate, RouteInterval, Run, RunHeader};
use modeler::{Next, Objective, Search, SearchEnd, Threshold, Tried, Watch};
use replayer::{Config, Plan, ReplayError, Stop};
use serde_json::{Value, json};

use super::replay::args::{PacingArg, SendingArgs, SourceArgs};
use super::replay::default_threads;
use super::replay::load::unit;
use super::replay::prepare::{Prepared, ceiling, length, observer, prepare, wire};
use super::signals::stop_on_signals;
use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, Exit, reason, say};

/// Searches the highest load that still meets an objective, by itself
///
/// Loads are doubled until one fails, then the gap is narrowed; both ends are tried again. The search ends when
/// it is narrow enough, and by itself when the target falls over. Of a capture longer than a plateau its busiest
/// stretch is replayed, unless another is named. Every plateau is a run in a folder, and a model of them all is
/// made there.
///
/// Example: highwater capacity shop.capture --target http://staging --allow-unsafe --slo 'p95<500ms,errors<1%'
#[derive(Debug, clap::Args)]
pub(crate) struct CapacityArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    sending: SendingArgs,
    /// What the service has promised, e.g. 'p95<500ms,errors<1%'
    #[arg(long, value_name = "SLO")]
    slo: String,
    /// A folder that does not exist yet: for the plateaus' runs and the model [default: in the current folder, the
    /// capture's name with the ending .capacity, or -2.capacity and so on when that exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The load to begin with
    #[arg(long, value_name = "Nx", default_value = "1x")]
    start: String,
    /// The highest load to try
    #[arg(long, value_name = "Nx", default_value = "1000x")]
    most: String,
    /// How long each load is held; the first fifth of it is warming up and does not count
    #[arg(long, value_name = "TIME", default_value = "30s")]
    plateau: String,
    /// How near the loads that meet the objective and miss it must come
    #[arg(long, value_name = "PERCENT", default_value = "4%")]
    resolution: String,
    /// One JSON object on stdout at the end
    #[arg(long)]
    json: bool,
}

/// One load that was tried.
struct Plateau {
    scale: f64,
    offered: Rate,
    tried: Tried,
    why: Option<String>,
    run: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &CapacityArgs, globals: &Globals) -> Result<(), Complaint> {
    let objective = Objective::parse(&args.slo)
        .map_err(|error| Complaint::new(Exit::Usage, format!("--slo {}", args.slo), &error, error.mend()))?;
    let plateau = length("--plateau", &args.plateau)?;
    let prepared = prepared(args, plateau, globals.seed)?;
    let mut search = search(args, &prepared.plan)?;
    let out = folder(args)?;
    let out = out.as_path();
    if args.out.is_none() {
        say!("the runs and the model go to {}", out.display());
    }
    let digest = files::digest(&args.source.captures)?;
    let stop = stop_on_signals()?;
    let trial = Trial {
        args,
        out,
        globals,
        prepared: &prepared,
        objective: &objective,
        plateau,
        digest,
        stop: &stop,
    };
    let mut plateaus: Vec<Plateau> = Vec::new();
    let end = loop {
        let scale = match search.next() {
            Next::Try(scale) => scale,
            Next::Done(end) => break end,
        };
        // Only a target that is there is asked again.
        if !plateaus.is_empty() && prepared.targets.reachable(&prepared.addresses).is_err() {
            break SearchEnd::FellOver;
        }
        let tried = trial.run(scale, plateaus.len() + 1)?;
        if stop.is_asked() {
            return Err(Complaint::new(
                Exit::Gate,
                out.display(),
                format!("interrupted after {} loads; {}", plateaus.len(), found(&search, &prepared.plan)),
                "the runs are there; `highwater model` reads them",
            ));
        }
        if !globals.quiet {
            say!("{}", line(&tried));
        }
        search.on_tried(scale, tried.tried);
        plateaus.push(tried);
    };
    let shown = shown(&search, end, &prepared.plan, &plateaus, &objective);
    if !globals.quiet {
        say!("{}", said(&search, end, &prepared.plan, &objective));
    }
    hand_over(args, out, globals, &plateaus);
    files::to_stdout(|to| {
        if args.json { writeln!(to, "{shown}") } else { writeln!(to, "{}", found(&search, &prepared.plan)) }
    })?;
    match end {
        SearchEnd::NeverPassed => Err(Complaint::new(
            Exit::Gate,
            out.display(),
            format!("no load met {}", args.slo),
            "see why in the runs, or promise less",
        )),
        _ => Ok(()),
    }
}

/// Makes the folder of the runs, which must be new.
fn folder(args: &CapacityArgs) -> Result<PathBuf, Complaint> {
    /// So many names are tried when none is given.
    const MOST_NAMES: u32 = 1_000;
    let make = |path: &Path| match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Complaint::cannot_write(path, &error)),
    };
    let taken = |path: &Path| {
        Complaint::new(
            Exit::Usage,
            path.display(),
            "exists already",
            "give another --out, or remove it first",
        )
    };
    if let Some(out) = &args.out {
        return if make(out)? { Ok(out.clone()) } else { Err(taken(out)) };
    }
    let first = args.source.captures.first().and_then(|path| path.file_stem());
    let stem = first.map_or_else(|| "found".to_owned(), |stem| stem.to_string_lossy().into_owned());
    for number in 1..=MOST_NAMES {
        let more = if number == 1 { String::new() } else { format!("-{number}") };
        let path = PathBuf::from(format!("{stem}{more}.capacity"));
        if make(&path)? {
            return Ok(path);
        }
    }
    Err(taken(Path::new(&format!("{stem}.capacity"))))
}

/// The capture, its busiest stretch if it is longer than a plateau and none was named.
fn prepared(args: &CapacityArgs, plateau: Duration, seed: u64) -> Result<Prepared, Complaint> {
    let whole = prepare(&args.source, Some(&args.sending), seed)?;
    let named = args.source.from.is_some() || args.source.to.is_some() || args.source.busiest.is_some();
    if named || whole.plan.span() <= plateau.mul_f64(1.1) {
        return Ok(whole);
    }
    let busiest = SourceArgs { busiest: Some(args.plateau.clone()), ..args.source.clone() };
    let prepared = prepare(&busiest, Some(&args.sending), seed)?;
    say!(
        "of {:.0} s the busiest {} are replayed: 1x is {}",
        whole.plan.span().as_secs_f64(),
        args.plateau,
        prepared.plan.rate()
    );
    Ok(prepared)
}

fn search(args: &CapacityArgs, plan: &Plan) -> Result<Search, Complaint> {
    let levels = replayer::Levels { rate: plan.rate(), users: plan.users() };
    let level = |flag: &str, text: &str| {
        levels
            .scale(text)
            .map_err(|error| Complaint::new(Exit::Usage, format!("{flag} {text}"), &error, error.mend()))
    };
    let number = args.resolution.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let resolution = number.filter(|percent| (0.5..=50.0).contains(percent)).ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--resolution {}", args.resolution),
            "is no percentage from 0.5 % to 50 %",
            "write e.g. 4%",
        )
    })?;
    let (start, most) = (level("--start", &args.start)?, level("--most", &args.most)?);
    if start > most {
        return Err(Complaint::new(
            Exit::Usage,
            format!("--start {} --most {}", args.start, args.most),
            "the search would begin above the highest load that it may try",
            "lower --start or raise --most",
        ));
    }
    Ok(Search::new(start, most, resolution / 100.0))
}

/// What every plateau has in common.
struct Trial<'a> {
    args: &'a CapacityArgs,
    out: &'a Path,
    globals: &'a Globals,
    prepared: &'a Prepared,
    objective: &'a Objective,
    plateau: Duration,
    digest: [u8; 32],
    stop: &'a Stop,
}

/// A load whose run the generator spoiled is tried so many times.
const MOST_INVALID: u32 = 3;

impl Trial<'_> {
    /// Holds one load. A run that is invalid is made again.
    fn run(&self, scale: f64, number: usize) -> Result<Plateau, Complaint> {
        let mut last = None;
        for again in 0..MOST_INVALID {
            let name =
                if again == 0 { format!("{number:02}.run") } else { format!("{number:02}-{again}.run") };
            let path = self.out.join(name);
            self.replay(scale, &path)?;
            let run = files::read_run(&path)?;
            let end = run.end.clone().unwrap_or_default();
            let plateau = self.judge(&run, scale, &path);
            if end.invalid_reason.is_none() || plateau.tried == Tried::Collapsed || self.stop.is_asked() {
                return Ok(plateau);
            }
            // Out of the folder of runs that a model is made of.
            let aside = path.with_extension("invalid");
            std::fs::rename(&path, &aside).map_err(|error| Complaint::cannot_write(&aside, &error))?;
            last = end.invalid_reason;
        }
        Err(Complaint::new(
            Exit::Invalid,
            self.out.display(),
            format!("at {scale:.3}x the generator was the bottleneck: {}", last.unwrap_or_default()),
            "give the generator more CPU (--threads, another machine): the target was not at its limit yet",
        ))
    }

    fn replay(&self, scale: f64, path: &Path) -> Result<(), Complaint> {
        let Self { args, globals, prepared, plateau, .. } = self;
        let plan = &prepared.plan;
        let stages = replayer::hold(scale, *plateau);
        let (unit, _) = unit(args.sending.unit, plan, &stages);
        let header = RunHeader {
            tool: concat!("highwater ", env!("CARGO_PKG_VERSION")).to_owned(),
            started: jiff::Timestamp::now().as_nanosecond(),
            target: prepared.targets.named(),
            capture: files::named(&args.source.captures),
            capture_digest: self.digest,
            capture_span: plan.span(),
            capture_rate: plan.rate(),
            seed: globals.seed,
            stages: stages.clone(),
            routes: plan.routes().to_vec(),
            held_back_ratio: plan.held_back_ratio(),
            configuration: json!({ "search": args.slo, "scale": scale, "plateau": args.plateau }).to_string(),
        };
        let timeout = length("--timeout", &args.sending.timeout)?;
        let targets = &prepared.targets;
        let config = Config {
            wire: wire(
                &args.sending,
                targets.first(),
                targets.reachable(&prepared.addresses)?,
                Some(prepared.http2),
            )?,
            ceiling: ceiling(&args.sending)?,
            pool: args.sending.connections,
            http2: prepared.http2,
            streams: args.source.http2_streams.filter(|_| prepared.http2),
            think: args.sending.pacing == PacingArg::Think,
            stages,
            unit,
            seed: globals.seed,
            threads: args.sending.threads.map_or_else(default_threads, usize::from),
            timeout,
            drain: timeout,
            max_connections: args.sending.max_connections.unwrap_or_else(replayer::allowed_connections),
            max_backlog: args.sending.max_backlog,
            observer: observer(&args.sending.observe)?,
            resolver: targets.resolver(),
            answers: None,
        };
        let mut watch = Watch::new(self.collapse(), &header.stages, plan.routes().to_vec());
        let writer = files::create_run(path, &header)?;
        let replayed = replayer::replay(plan, config, writer, self.stop, |_, settled| {
            settled.iter().find_map(|interval| watch.on_interval(interval))
        });
        match replayed {
            Ok(_) => Ok(()),
            Err(ReplayError::Write { error, .. }) => Err(Complaint::cannot_write(path, &error)),
            Err(error @ ReplayError::Start(_)) => Err(Complaint::new(
                Exit::Fault,
                "capacity",
                &error,
                "raise the limits of threads and descriptors",
            )),
        }
    }

    /// What ends a plateau before its time: the target has given in.
    fn collapse(&self) -> Vec<Threshold> {
        let lasting = (self.plateau / 5).clamp(Duration::from_secs(2), Duration::from_secs(10));
        let parsed = Threshold::parse("errors<50%").unwrap_or_default();
        parsed.into_iter().map(|limit| limit.lasting_at_least(lasting)).collect()
    }

    fn judge(&self, run: &Run, scale: f64, path: &Path) -> Plateau {
        let warm = self.plateau.as_secs_f64() / 5.0;
        let end = self.plateau.as_secs_f64();
        let counted: Vec<_> = run
            .intervals
            .iter()
            .filter(|interval| interval.second as f64 >= warm.floor() && (interval.second as f64) < end)
            .collect();
        let mut sum = RouteInterval::default();
        counted.iter().flat_map(|interval| &interval.routes).for_each(|route| sum.merge(route));
        let length = Duration::from_secs(counted.len() as u64);
        let planned: u64 = counted.iter().map(|interval| interval.planned).sum();
        let error_ratio = sum.errors() as f64 / sum.total().max(1) as f64;
        let carried = Rate::of(sum.total() - sum.errors().min(sum.total()), length);
        let broken = self.objective.broken_by(&sum.response, error_ratio, carried);
        let stopped = run.end.as_ref().and_then(|end| end.stopped_by.clone());
        let (tried, why) = match (stopped, broken) {
            (Some(why), _) => (Tried::Collapsed, Some(why)),
            (None, Some(why)) => (Tried::Failed, Some(why)),
            (None, None) => (Tried::Passed, None),
        };
        Plateau { scale, offered: Rate::of(planned, length), tried, why, run: path.to_path_buf() }
    }
}

fn line(plateau: &Plateau) -> String {
    let Plateau { scale, offered, tried, why, .. } = plateau;
    let word = match tried {
        Tried::Passed => "passed",
        Tried::Failed => "failed",
        Tried::Collapsed => "FELL OVER",
    };
    format!(
        "{scale:>9.4}x  {offered:>14}  {word}{}",
        why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
    )
}

/// A model of all plateaus, by a process of its own: its words are not ours. The limit stands without it.
fn hand_over(args: &CapacityArgs, out: &Path, globals: &Globals, plateaus: &[Plateau]) {
    let model = out.join("model");
    let made = std::env::current_exe().and_then(|program| {
        std::process::Command::new(program)
            .args(["model", "--quiet", "--seed", &globals.seed.to_string(), "--slo", &args.slo, "--out"])
            .arg(&model)
            .args(plateaus.iter().map(|plateau| &plateau.run))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
    });
    match made {
        Ok(status) if status.success() => say!("wrote {}", model.join("index.html").display()),
        // It has said why itself.
        Ok(_) => {}
        Err(error) => say!("highwater: model: cannot be started: {}", reason(&error)),
    }
}

fn rate_of(scale: f64, plan: &Plan) -> f64 {
    scale * plan.rate().as_per_second()
}

/// The limit in a few words.
fn found(search: &Search, plan: &Plan) -> String {
    match (search.passed(), search.failed()) {
        (Some(passed), Some(failed)) => {
            let limit = (passed * failed).sqrt();
            format!(
                "{limit:.3}x = {:.1} req/s ({:.1} passed, {:.1} failed)",
                rate_of(limit, plan),
                rate_of(passed, plan),
                rate_of(failed, plan)
            )
        }
        (Some(passed), None) => format!("at least {passed:.3}x = {:.1} req/s", rate_of(passed, plan)),
        (None, Some(failed)) => format!("below {failed:.3}x = {:.1} req/s", rate_of(failed, plan)),
        (None, None) => "nothing".to_owned(),
    }
}

fn said(search: &Search, end: SearchEnd, plan: &Plan, objective: &Objective) -> String {
    let mut text = format!("the highest load that meets {objective}: {}", found(search, plan));
    let _ = match end {
        SearchEnd::Bracketed => Ok(()),
        SearchEnd::NeverFailed => write!(text, "; the highest load that may be tried passed (--most)"),
        SearchEnd::NeverPassed => write!(text, "; no load passed"),
        SearchEnd::FellOver => {
            write!(text, "; the target fell over and did not get up: the search ended there")
        }
        SearchEnd::GaveUp => write!(text, "; the verdicts wavered too much to come nearer"),
    };
    text
}

fn shown(search: &Search, end: SearchEnd, plan: &Plan, plateaus: &[Plateau], objective: &Objective) -> Value {
    let (passed, failed) = (search.passed(), search.failed());
    let limit = passed.zip(failed).map(|(passed, failed)| (passed * failed).sqrt());
    let rate = |scale: Option<f64>| scale.map(|scale| rate_of(scale, plan));
    json!({
        "slo": objective.to_string(),
        "limit_scale": limit.or(passed),
        "limit_rate_per_second": rate(limit.or(passed)),
        "passed_scale": passed,
        "passed_rate_per_second": rate(passed),
        "failed_scale": failed,
        "failed_rate_per_second": rate(failed),
        "bracketed": end == SearchEnd::Bracketed,
        "ended": match end {
            SearchEnd::Bracketed => "bracketed",
            SearchEnd::NeverFailed => "never_failed",
            SearchEnd::NeverPassed => "never_passed",
            SearchEnd::FellOver => "fell_over",
            SearchEnd::GaveUp => "gave_up",
        },
        "rate_at_1x_per_second": plan.rate().as_per_second(),
        "plateaus": plateaus.iter().map(|plateau| json!({
            "scale": plateau.scale,
            "offered_per_second": plateau.offered.as_per_second(),
            "verdict": match plateau.tried {
                Tried::Passed => "passed",
                Tried::Failed => "failed",
                Tried::Collapsed => "collapsed",
            },
            "why": plateau.why,
            "run": plateau.run.display().to_string(),
        })).collect::<Vec<_>>(),
    })
}
