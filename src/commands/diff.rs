//! `highwater diff`: in what the answers of a replay differ from the recorded ones, by class, with an example of each.

pub(crate) mod answers;
mod telling;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use captures::{Outcome, Run};
use replayer::answers::Tolerance;
use serde_json::{Value, json};

use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// Lists in what the answers of a replay differ from the recorded ones: by route and place, with one example each
///
/// A replay with --answers keeps the answers of a sample of its sessions. Status, header fields and bodies are compared
/// (JSON by structure, pages element by element); values that the replay put into requests in place of recorded ones
/// are no difference. What differs between two answers of the same target is noise: in two copies of a session, or in
/// the same copy of the further runs. Of a run without answers the statuses are compared, of the first thousand
/// outcomes that failed or had another status, and of a sample of the others.
///
/// Example: highwater diff shop.run again.run
///
/// Example: highwater diff candidate.run --base main.run --gate
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The run that is judged, and others against the same target, from which noise is learned
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Compare with the answers of this run, of another version, instead of the recorded ones
    #[arg(long, value_name = "RUN")]
    base: Option<PathBuf>,
    /// The capture that was replayed, where it is no longer in its place
    #[arg(long, value_name = "CAPTURE")]
    capture: Vec<PathBuf>,
    /// Times and tokens are differences, too, where no second answer shows them to be noise
    #[arg(long)]
    strict: bool,
    /// Exit with 99 when something differs
    #[arg(long)]
    gate: bool,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &DiffArgs, _globals: &Globals) -> Result<(), Complaint> {
    let judged = &args.runs[0];
    let run = files::read_run(judged)?;
    let (shown, differ) = if args.base.is_none() && args.runs.len() == 1 && !answers::path(judged).exists() {
        let classes = classes(&run);
        let compared = run.samples.iter().filter(|outcome| outcome.recorded_status.is_some()).count();
        let shown = if args.json {
            format!("{}\n", as_json(&classes, compared))
        } else {
            as_text(&classes, compared, &judged.display().to_string())
        };
        (shown, !classes.is_empty())
    } else {
        let captures = answers::captures_of(&run.header, judged, &args.capture)?;
        for other in args.runs[1..].iter().chain(&args.base) {
            let header = files::read_run(other)?.header;
            if header.capture_digest != run.header.capture_digest {
                return Err(Complaint::new(
                    Exit::Input,
                    other.display(),
                    format!("repeats another capture than {}", judged.display()),
                    "compare runs of one capture",
                ));
            }
        }
        let compared = answers::compare(&answers::Wanted {
            runs: &args.runs,
            base: args.base.as_deref(),
            captures: &captures,
            tolerance: if args.strict { Tolerance::Strict } else { Tolerance::Presume },
        })?;
        let against = args
            .base
            .as_ref()
            .map_or_else(|| "the recorded ones".to_owned(), |base| format!("those of {}", base.display()));
        let shown = if args.json {
            format!("{}\n", telling::as_json(&compared))
        } else {
            telling::as_text(&compared, &against)
        };
        (shown, !compared.classes.is_empty())
    };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))?;
    if args.gate && differ {
        return Err(Complaint::new(
            Exit::Gate,
            judged.display(),
            "its answers differ",
            "the classes above say in what",
        ));
    }
    Ok(())
}

/// Answers that differ in one way.
#[derive(Debug)]
struct Class {
    route: String,
    recorded: u16,
    now: String,
    count: u64,
    example: Outcome,
}

/// The most frequent first.
fn classes(run: &Run) -> Vec<Class> {
    let mut classes: BTreeMap<(u16, u16, String), Class> = BTreeMap::new();
    for outcome in &run.samples {
        let Some(recorded) = outcome.recorded_status.filter(|&recorded| outcome.result != Ok(recorded))
        else {
            continue;
        };
        let now = match outcome.result {
            Ok(status) => status.to_string(),
            Err(failure) => failure.as_str().to_owned(),
        };
        let route = run.header.routes.get(usize::from(outcome.route)).cloned().unwrap_or_default();
        classes
            .entry((outcome.route, recorded, now.clone()))
            .or_insert_with(|| Class { route, recorded, now, count: 0, example: *outcome })
            .count += 1;
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.count));
    classes
}

fn as_text(classes: &[Class], compared: usize, name: &str) -> String {
    let differ: u64 = classes.iter().map(|class| class.count).sum();
    let mut text =
        format!("{name}: {differ} of {compared} answers that were kept differ from the recorded ones\n");
    for class in classes {
        let Outcome { exchange, copy, due, .. } = class.example;
        let _ = writeln!(
            text,
            "  {:>6}  {} → {}  {}  (e.g. exchange {} in copy {copy}, due at {due})",
            class.count,
            class.recorded,
            class.now,
            files::plain(&class.route),
            exchange.0,
        );
    }
    text.push_str("only statuses are compared: replay with --answers to compare header fields and bodies\n");
    text
}

fn as_json(classes: &[Class], compared: usize) -> Value {
    json!({
        "compared": compared,
        "classes": classes.iter().map(|class| json!({
            "route": class.route,
            "recorded_status": class.recorded,
            "now": class.now,
            "count": class.count,
            "example": {
                "exchange": class.example.exchange.0,
                "copy": class.example.copy,
                "due_seconds": class.example.due.as_secs_f64(),
            },
        })).collect::<Vec<_>>(),
    })
}
