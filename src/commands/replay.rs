//! `highwater replay`: a capture, a target and a load in; a run out.

mod telling;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use captures::{CaptureHeader, Rate, RunHeader, Stage};
use modeler::Objective;
use replayer::{
    Config, Finished, ObserveSource, Observer, Plan, Planner, ReplayError, Rewriting, Share, StagesError,
    Target,
};
use serde_json::{Value, json};

use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, Exit, reason, say};

/// Re-issues a capture against a target at scale, open loop, and writes down what happened
///
/// A scale of 10x is ten phase-shifted copies of every session of production: more users, not faster ones. Of
/// a capture that holds a sample of the sessions, 1x takes as many copies as make up all of production again.
/// Only GET, HEAD and OPTIONS are sent until --allow-unsafe is given, and never to where the capture was
/// recorded.
///
/// Example: highwater replay shop.capture --target http://127.0.0.1:9001 --stages '=10s:1x,=10s:4x' --out shop.run
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Captures, or folders with files that end in .capture; read as one
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<PathBuf>,
    /// Where to send, as http://HOST:PORT
    #[arg(long, value_name = "URL")]
    target: String,
    /// The run to write
    #[arg(long, value_name = "RUN", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// The load, as a multiple of the recorded curve
    #[arg(long, value_name = "Nx", default_value = "1x", conflicts_with = "stages")]
    scale: String,
    /// The load over time: '=10s:4x' holds a level, '10s:4x' ramps to it
    #[arg(long, value_name = "STAGES")]
    stages: Option<String>,
    /// How long to replay at --scale; the capture repeats when this is longer [default: the capture's span]
    #[arg(long, value_name = "TIME", conflicts_with = "stages")]
    duration: Option<String>,
    /// Also send methods that may change something at the target (POST, PUT, DELETE …)
    #[arg(long)]
    allow_unsafe: bool,
    /// Replay against the recorded origin all the same; names it, so that no typing error can
    #[arg(long, value_name = "HOST:PORT")]
    origin_is_safe: Option<String>,
    /// The most one request may take
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: String,
    /// Sending threads [default: half of the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The most connections at a time [default: what the descriptor limit allows]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// The most requests that may wait for their turn; more are skipped and counted
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_backlog: usize,
    /// What the whole run must meet, e.g. 'p95<500ms,errors<1%'; exits 99 when it does not
    #[arg(long, value_name = "SLO")]
    threshold: Option<String>,
    /// Watch the target once a second: pid=N, cgroup=PATH or prometheus=URL[,name…]; may be repeated
    #[arg(long, value_name = "SOURCE")]
    observe: Vec<String>,
    /// Show the plan and send nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object on stdout at the end
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ReplayArgs, globals: &Globals) -> Result<(), Complaint> {
    let target = Target::parse(&args.target).map_err(|error| {
        Complaint::new(Exit::Usage, format!("--target {}", args.target), &error, error.mend())
    })?;
    let timeout = length("--timeout", &args.timeout)?;
    let threshold = args.threshold.as_deref().map(threshold_of).transpose()?;
    let (header, plan) = load(args, &target)?;
    let stages = stages(args, &plan)?;
    refuse_absurd(&stages, &plan)?;
    let addresses = target.resolve().map_err(|error| {
        Complaint::new(
            Exit::Unreachable,
            &target,
            format!("no address: {}", reason(&error)),
            "check the name",
        )
    })?;
    refuse_origin(args, &header, &plan, &target, &addresses)?;
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let run_header = RunHeader {
        tool: concat!("highwater ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: jiff::Timestamp::now().as_nanosecond(),
        target: target.to_string(),
        capture: files::named(&args.captures),
        capture_digest: files::digest(&args.captures)?,
        capture_span: plan.span(),
        capture_rate: plan.rate(),
        seed: globals.seed,
        stages: stages.clone(),
        routes: plan.routes().to_vec(),
        held_back_ratio: plan.held_back_ratio(),
        configuration: configuration(args, &target, &addresses, threads, timeout).to_string(),
    };
    if !globals.quiet {
        telling::introduce(&plan, &stages, &target);
    }
    let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) else {
        return telling::show_plan(args.json, &plan, &stages);
    };
    let address = reachable(&target, &addresses)?;
    let observer = observer(&args.observe)?;
    let writer = files::create_run(out, &run_header)?;
    let config = Config {
        address,
        stages,
        seed: globals.seed,
        threads,
        timeout,
        drain: timeout,
        max_connections: args.max_connections.unwrap_or_else(replayer::allowed_connections),
        max_backlog: args.max_backlog,
        observer,
    };
    let stop = stop_on_signals()?;
    let mut live = telling::Live::new(globals);
    let replayed = replayer::replay(&plan, config, writer, &stop, |progress| live.show(progress));
    live.end();
    let finished = match replayed {
        Ok(finished) => finished,
        Err(ReplayError::Write { error, totals }) => {
            say!(
                "highwater: {} requests planned, {} sent, {} errors",
                totals.planned,
                totals.sent(),
                totals.overall.errors()
            );
            return Err(Complaint::cannot_write(out, &error));
        }
        Err(error @ ReplayError::Start(_)) => {
            return Err(Complaint::new(
                Exit::Fault,
                "replay",
                &error,
                "raise the limits of threads and descriptors",
            ));
        }
    };
    conclude(args, globals, &plan, &finished, out)?;
    threshold.map_or(Ok(()), |objective| gate(&objective, &finished, out))
}

/// What is to be watched, looked at once.
fn observer(sources: &[String]) -> Result<Observer, Complaint> {
    let parsed: Vec<ObserveSource> = sources
        .iter()
        .map(|text| {
            ObserveSource::parse(text).map_err(|error| {
                Complaint::new(Exit::Usage, format!("--observe {text}"), &error, error.mend())
            })
        })
        .collect::<Result<_, _>>()?;
    Observer::new(&parsed).map_err(|(source, error)| {
        Complaint::new(Exit::Unreachable, format!("--observe {source}"), &error, error.mend())
    })
}

fn threshold_of(text: &str) -> Result<Objective, Complaint> {
    Objective::parse(text)
        .map_err(|error| Complaint::new(Exit::Usage, format!("--threshold {text}"), &error, error.mend()))
}

/// Whether the whole run met the threshold.
fn gate(objective: &Objective, finished: &Finished, out: &Path) -> Result<(), Complaint> {
    let overall = &finished.totals.overall;
    let error_ratio = overall.errors() as f64 / overall.total().max(1) as f64;
    let throughput = Rate::of(finished.totals.ok(), finished.elapsed);
    match objective.broken_by(&overall.response, error_ratio, throughput) {
        Some(broken) => Err(Complaint::new(
            Exit::Gate,
            out.display(),
            format!("threshold missed: {broken}"),
            "the run is written; `highwater model` says which load meets it",
        )),
        None => Ok(()),
    }
}

fn length(flag: &str, text: &str) -> Result<Duration, Complaint> {
    replayer::parse_length(text)
        .map_err(|error| Complaint::new(Exit::Usage, format!("{flag} {text}"), &error, error.mend()))
}

/// Reads the capture into a plan. Damage is stepped over, and said.
fn load(args: &ReplayArgs, target: &Target) -> Result<(CaptureHeader, Plan), Complaint> {
    let mut reader = files::open_captures(&args.captures)?;
    let mut planner = Planner::new(Rewriting {
        authority: target.authority(),
        base_path: target.base_path.clone(),
        allow_unsafe: args.allow_unsafe,
    });
    for exchange in reader.by_ref() {
        planner.add(&exchange.map_err(|error| files::not_a_set(&error))?);
    }
    if let Some((path, first)) = reader.damage().first() {
        say!("highwater: {}: {first}; the rest is replayed", path.display());
    }
    if reader.mixed_keys() {
        say!(
            "highwater: {}: masked with different keys; secrets that were equal may differ",
            files::named(&args.captures)
        );
    }
    let lost = reader.accounts().lost();
    if lost > 0 {
        say!(
            "highwater: {}: {lost} exchanges were lost as it was recorded; the load is lighter than it was",
            files::named(&args.captures)
        );
    }
    let header = reader.header().clone();
    let filters =
        header.filters.iter().any(|typed| typed.starts_with("--include") || typed.starts_with("--exclude"));
    let share = Share {
        sampling_ratio: header.sampling_ratio,
        // Without a filter, what was left out is replayed traffic: none of production's.
        filtered: if filters { reader.accounts().filtered } else { 0 },
    };
    if !(share.sampling_ratio > 0.0 && share.sampling_ratio <= 1.0) {
        let what = format!("claims to hold a share of {} of the sessions", share.sampling_ratio);
        return Err(Complaint::new(Exit::Input, files::named(&args.captures), what, "record again"));
    }
    let plan = planner
        .finish(share)
        .map_err(|error| Complaint::new(Exit::Input, files::named(&args.captures), &error, error.mend()))?;
    Ok((header, plan))
}

fn stages(args: &ReplayArgs, plan: &Plan) -> Result<Vec<Stage>, Complaint> {
    let wrong = |flag: &str, text: &str, error: &StagesError| {
        Complaint::new(Exit::Usage, format!("{flag} {text}"), error, error.mend())
    };
    if let Some(text) = &args.stages {
        return replayer::parse_stages(text).map_err(|error| wrong("--stages", text, &error));
    }
    let scale = replayer::parse_scale(&args.scale).map_err(|error| wrong("--scale", &args.scale, &error))?;
    let duration = match &args.duration {
        Some(text) => length("--duration", text)?,
        None => plan.span(),
    };
    Ok(replayer::hold(scale, duration))
}

/// A plan that no machine could send, and that would only fill this one's memory.
fn refuse_absurd(stages: &[Stage], plan: &Plan) -> Result<(), Complaint> {
    const MOST_AT_ONCE: f64 = 20e6;
    let seconds: f64 = stages.iter().map(|stage| stage.end.since(stage.begin).as_secs_f64()).sum();
    let highest = stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
    let rate = highest * plan.rate().as_per_second();
    if rate * seconds.min(1.0) <= MOST_AT_ONCE {
        return Ok(());
    }
    Err(Complaint::new(
        Exit::Usage,
        format!("{highest}x"),
        format!("is {rate:.0} requests a second, more than any machine sends"),
        format!("1x of this capture is {}; lower the scale", plan.rate()),
    ))
}

fn refuse_origin(
    args: &ReplayArgs,
    header: &CaptureHeader,
    plan: &Plan,
    target: &Target,
    addresses: &[SocketAddr],
) -> Result<(), Complaint> {
    let Some(conflict) = replayer::origin_conflict(header, plan.authorities(), target, addresses) else {
        return Ok(());
    };
    let named = args.origin_is_safe.as_deref().and_then(|text| Target::parse(&format!("http://{text}")).ok());
    if named.is_some_and(|named| (named.host, named.port) == (target.host.clone(), target.port)) {
        return Ok(());
    }
    Err(Complaint::new(
        Exit::Usage,
        target,
        format!("refused, it is the recorded origin ({conflict})"),
        format!(
            "give a staging target, or --origin-is-safe {}:{} if nobody else uses it",
            target.host, target.port
        ),
    ))
}

/// The first address that takes a connection.
fn reachable(target: &Target, addresses: &[SocketAddr]) -> Result<SocketAddr, Complaint> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, Duration::from_secs(5)) {
            Ok(_) => return Ok(*address),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "no address".to_owned(), |error| reason(&error));
    Err(Complaint::new(
        Exit::Unreachable,
        target,
        format!("cannot be reached: {why}"),
        "start the target, or check host and port",
    ))
}

/// The generator shares the machine with nobody's service, but with the machine's own work.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn stop_on_signals() -> Result<Arc<AtomicBool>, Complaint> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| {
                Complaint::new(Exit::Fault, "signals", reason(&error), "run it from an ordinary shell")
            })?;
    }
    Ok(stop)
}

fn configuration(
    args: &ReplayArgs,
    target: &Target,
    addresses: &[SocketAddr],
    threads: usize,
    timeout: Duration,
) -> Value {
    json!({
        "capture": files::named(&args.captures),
        "target": target.to_string(),
        "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "scale": args.stages.is_none().then_some(&args.scale),
        "stages": args.stages,
        "allow_unsafe": args.allow_unsafe,
        "origin_is_safe": args.origin_is_safe,
        "threads": threads,
        "timeout_ms": timeout.as_secs_f64() * 1e3,
        "max_backlog": args.max_backlog,
        "observe": args.observe,
    })
}

/// The summary, the verdict and the exit code.
fn conclude(
    args: &ReplayArgs,
    globals: &Globals,
    plan: &Plan,
    finished: &Finished,
    out: &Path,
) -> Result<(), Complaint> {
    let Finished { totals, end, elapsed } = finished;
    if !globals.quiet {
        say!("{}", telling::summary(plan, totals, *elapsed, end.interrupted).trim_end());
        say!("wrote {}", out.display());
    }
    if args.json {
        files::to_stdout(|out| writeln!(out, "{}", telling::shown(plan, finished)))?;
    }
    match &end.invalid_reason {
        Some(reason) => Err(Complaint::new(
            Exit::Invalid,
            out.display(),
            format!("run invalid, the generator was the bottleneck: {reason}"),
            "give the generator more CPU (--threads, another machine) or lower the load",
        )),
        None => Ok(()),
    }
}
