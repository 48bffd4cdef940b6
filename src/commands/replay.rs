//! `highwater replay`: a capture, a target and a load in; a run out.

mod answers;
pub(super) mod args;
mod bindings;
mod gate;
pub(super) mod load;
mod planned;
pub(super) mod prepare;
mod targets;
mod telling;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use captures::{RunHeader, Stage};
use modeler::Watch;
use replayer::{Config, Finished, Plan, ReplayError, Unit};
use serde_json::{Value, json};

use crate::Globals;
use crate::admin::replaying::Scoreboard;
use crate::allocator;
use crate::commands::files;
use crate::commands::signals::stop_on_signals;
use crate::complain::{Complaint, Exit, say};
use answers::Told;
pub(crate) use args::ReplayArgs;
use args::{HttpArg, PacingArg};
use gate::Conclusions;
use prepare::{Prepared, ceiling, length, observer, prepare, wire};
use targets::Targets;

/// By this second everything that a replay needs has run once: what only its start needed goes back.
const STARTED: u64 = 2;

/// Runs the command.
pub(crate) fn run(args: &ReplayArgs, globals: &Globals) -> Result<(), Complaint> {
    let timeout = length("--timeout", &args.sending.timeout)?;
    let thresholds = gate::thresholds("--threshold", &args.threshold)?;
    let limits = gate::limits(args)?;
    let expected = args.expect.as_deref().map(bindings::Expected::parse).transpose()?;
    let ceiling = ceiling(&args.sending)?;
    let asking = (!args.dry_run).then_some(&args.sending);
    let Prepared { plan, targets, addresses, http2 } = prepare(&args.source, asking, globals.seed)?;
    let stages = load::stages(&args.load, &plan)?;
    gate::fit(args, &thresholds, &limits, &stages, plan.routes())?;
    let (unit, why_requests) = load::unit(args.sending.unit, &plan, &stages);
    if !globals.quiet {
        telling::introduce(&plan, &stages, &targets.named());
        if args.source.http == HttpArg::Auto {
            say!("by HTTP/{}", if http2 { "2, which the target picked" } else { version(http2) });
        }
        if let Some(why) = why_requests {
            say!("fractions of the load are made of single requests, not of whole sessions: {why}");
        }
    }
    let Some(out) = args.out.as_ref().filter(|_| !args.dry_run) else {
        return planned::show(args, globals, &plan, unit, &stages);
    };
    let threads = args.sending.threads.map_or_else(default_threads, usize::from);
    let run_header = RunHeader {
        tool: concat!("highwater ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: jiff::Timestamp::now().as_nanosecond(),
        target: targets.named(),
        capture: files::named(&args.source.captures),
        capture_digest: files::digest(&args.source.captures)?,
        capture_span: plan.span(),
        capture_rate: plan.rate(),
        seed: globals.seed,
        stages: stages.clone(),
        routes: plan.routes().to_vec(),
        held_back_ratio: plan.held_back_ratio(),
        configuration: configuration(args, &targets, &addresses, http2, threads, unit).to_string(),
    };
    let wire = wire(&args.sending, targets.first(), targets.reachable(&addresses)?, Some(http2))?;
    let observer = observer(&args.sending.observe)?;
    let asked = observer.asked();
    let board = args.metrics.map(|address| Scoreboard::serve(address, plan.routes())).transpose()?;
    let writer = files::create_run(out, &run_header)?;
    let (answers, keep) = answers::begin(args, out, &run_header)?.unzip();
    let config = Config {
        wire,
        ceiling,
        pool: args.sending.connections,
        http2,
        streams: args.source.http2_streams.filter(|_| http2),
        think: args.sending.pacing == PacingArg::Think,
        stages,
        unit,
        seed: globals.seed,
        threads,
        timeout,
        drain: timeout,
        max_connections: args.sending.max_connections.unwrap_or_else(replayer::allowed_connections),
        max_backlog: args.sending.max_backlog,
        observer,
        resolver: targets.resolver(),
        answers: keep,
    };
    let stop = stop_on_signals()?;
    // What planning needed is free by now, and its code is needed no more.
    allocator::give_back_all();
    let mut live = telling::Live::new(globals, &run_header.stages);
    let mut watch = Watch::new(limits, &run_header.stages, plan.routes().to_vec());
    let replayed = replayer::replay(&plan, config, writer, &stop, |progress, settled| {
        if let Some(progress) = progress {
            live.show(progress);
            // What a second with more load or more connections needed, the next may need no more.
            if progress.elapsed.as_secs() == STARTED {
                allocator::give_back_all();
            } else {
                allocator::give_back();
            }
        }
        if let Some(board) = &board {
            board.on_settled(progress, settled);
        }
        settled.iter().find_map(|interval| watch.on_interval(interval))
    });
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
    // A run is only read back when something is to be concluded from it.
    let judged =
        !thresholds.is_empty() || !args.sending.observe.is_empty() || plan_has_spike(&run_header.stages);
    let mut conclusions =
        if judged { gate::conclude(files::read_run(out)?, &thresholds) } else { Conclusions::default() };
    conclusions.unseen = gate::unseen(&asked, &finished);
    gate::write_for_ci(args, &plan, &finished, &conclusions)?;
    let told = answers.map(|answers| answers.finish(&finished, args)).transpose()?;
    conclude(args, globals, &plan, &finished, &conclusions, told.as_ref(), out)?;
    expected.map_or(Ok(()), |expected| expected.gate(&finished.totals, out))
}

fn plan_has_spike(stages: &[Stage]) -> bool {
    stages.iter().filter(|stage| stage.is_hold()).count() > 1
}

/// The generator shares the machine with nobody's service, but with the machine's own work.
pub(super) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn version(http2: bool) -> &'static str {
    if http2 { "2" } else { "1.1" }
}

fn configuration(
    args: &ReplayArgs,
    targets: &Targets,
    addresses: &[(usize, SocketAddr)],
    http2: bool,
    threads: usize,
    unit: Unit,
) -> Value {
    let ReplayArgs { source, sending, load, .. } = args;
    let mut configuration = json!({
        "capture": files::named(&source.captures),
        "target": targets.named(),
        "addresses": targets::texts(addresses),
        "scale": load.scale,
        "rate": load.rate,
        "users": load.users,
        "stages": load.stages,
        "profile": load.profile.map(|arg| arg.profile().as_str()),
        "duration": load.duration,
        "unit": if unit == Unit::Request { "request" } else { "session" },
        "from": source.from,
        "to": source.to,
        "busiest": source.busiest,
        "route": source.route,
        "exclude_route": source.exclude_route,
        "mix": source.mix,
        "speed": source.speed,
        "host": source.host,
        "header": source.header,
        "remove_header": source.remove_header,
        "rewrite_path": source.rewrite_path,
        "set_query": source.set_query,
        // The value itself is a secret.
        "auth": source.auth.is_some(),
        "allow_unsafe": source.allow_unsafe,
        "origin_is_safe": source.origin_is_safe,
        "binding": bindings::configuration(source),
        "threads": threads,
        "timeout": sending.timeout,
        "ceiling": sending.ceiling,
        "pacing": if sending.pacing == PacingArg::Think { "think" } else { "plan" },
        "connections": sending.connections,
        "source_ip": sending.source_ip.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "sni": sending.sni,
        "client_certificate": sending.client_cert.is_some(),
        "max_connections": sending.max_connections,
        "max_backlog": sending.max_backlog,
        "observe": sending.observe,
    });
    // Apart from the others, so that the table is not too long for its macro.
    configuration["captures"] = json!(source.captures);
    configuration["http"] = json!(version(http2));
    configuration["http2_streams"] = json!(source.http2_streams);
    configuration["answers"] = json!(args.answers);
    configuration["threshold"] = json!(args.threshold);
    configuration["abort_on"] = json!(args.abort_on);
    configuration["breaker"] = json!(args.breaker);
    configuration
}

/// Why no request was answered in all of a run, if none was.
fn unanswered(finished: &Finished) -> Option<String> {
    let Finished { totals, end, .. } = finished;
    if totals.planned == 0 || !totals.overall.statuses.is_empty() || end.interrupted {
        return None;
    }
    let failures = totals.overall.failures.iter().filter(|(_, count)| *count > 0);
    Some(
        failures
            .map(|(failure, count)| format!("{} {count}", failure.as_str()))
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// The summary, the verdict and the exit code.
fn conclude(
    args: &ReplayArgs,
    globals: &Globals,
    plan: &Plan,
    finished: &Finished,
    conclusions: &Conclusions,
    told: Option<&Told>,
    out: &Path,
) -> Result<(), Complaint> {
    let Finished { totals, end, elapsed, .. } = finished;
    if !globals.quiet {
        let of_answers = told.map(|told| told.text(out)).unwrap_or_default();
        let summary = telling::summary(plan, totals, *elapsed, end, told) + &of_answers + &conclusions.text();
        say!("{}", summary.trim_end());
        say!("wrote {}", out.display());
    }
    if args.json {
        let mut shown = telling::shown(plan, finished, told);
        if let (Value::Object(shown), Value::Object(more)) = (&mut shown, conclusions.json()) {
            shown.extend(more);
        }
        files::to_stdout(|out| writeln!(out, "{shown}"))?;
    }
    if let Some(reason) = &end.invalid_reason {
        return Err(Complaint::new(
            Exit::Invalid,
            out.display(),
            format!("run invalid, the generator was the bottleneck: {reason}"),
            "give the generator more CPU (--threads, another machine) or lower the load",
        ));
    }
    if let Some(why) = unanswered(finished) {
        return Err(Complaint::new(
            Exit::Unreachable,
            args.source.target.join(", "),
            format!("no request was answered: {why}"),
            "see that the target answers such requests; the run is written",
        ));
    }
    if let Some(why) = &end.stopped_by {
        return Err(Complaint::new(
            Exit::Gate,
            out.display(),
            format!("stopped: {why}"),
            "the run is written up to there; --breaker and --abort-on set what ends a run",
        ));
    }
    if let Some(missed) = conclusions.missed() {
        let why = missed.missed.as_deref().unwrap_or_default();
        return Err(Complaint::new(
            Exit::Gate,
            out.display(),
            format!("threshold missed: {}: {why}", missed.threshold),
            "the run is written; `highwater model` says which load meets it",
        ));
    }
    Ok(())
}
