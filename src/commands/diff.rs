//! `highwater diff`: in what the answers of a replay differ from the recorded ones, by class, with an example of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use captures::{Outcome, Run};
use serde_json::{Value, json};

use crate::Globals;
use crate::commands::files;
use crate::complain::Complaint;

/// Lists in what the answers of a replay differ from the recorded ones: by route and status, with one example each
///
/// A run keeps the first thousand outcomes that failed or had another status than the recorded answer, and a sample
/// of the others: the counts here are of those. The exact share of answers with the recorded status is what the replay
/// itself says at its end.
///
/// Example: highwater diff shop.run
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
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

/// Runs the command.
pub(crate) fn run(args: &DiffArgs, _globals: &Globals) -> Result<(), Complaint> {
    let run = files::read_run(&args.run)?;
    let classes = classes(&run);
    let compared = run.samples.iter().filter(|outcome| outcome.recorded_status.is_some()).count();
    let shown = if args.json {
        format!("{}\n", as_json(&classes, compared))
    } else {
        as_text(&classes, compared, &args.run.display().to_string())
    };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))
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
