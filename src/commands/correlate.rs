//! `highwater correlate`: says which values of answers later requests send back, and writes them down as rules.

pub(crate) mod data;
pub(crate) mod file;

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use captures::{CaptureSet, Exchange};
use replayer::correlate::{ANY_ROUTE, Finder, Found, Naming, Rule};
use serde_json::{Value, json};

use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, say};

/// Finds the session cookies, form tokens, bearer tokens and created ids that requests carry from earlier answers
///
/// A replay does the same by itself. Here it is shown with its evidence, and written as a file of rules that can be
/// edited, extended by hand and given to `replay --rules`.
///
/// Example: highwater correlate shop.capture --out shop.rules.toml
#[derive(Debug, clap::Args)]
pub(crate) struct CorrelateArgs {
    /// Captures, or folders with files that end in .capture; read as one
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<PathBuf>,
    /// Write the rules, as TOML
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &CorrelateArgs, globals: &Globals) -> Result<(), Complaint> {
    let found = find(&args.captures, true)?;
    if let Some(path) = &args.out {
        let text = file::written(&found.rules, &files::named(&args.captures));
        std::fs::write(path, text).map_err(|error| Complaint::cannot_write(path, &error))?;
        if !globals.quiet {
            say!("wrote {}", path.display());
        }
    }
    let shown = if args.json { format!("{}\n", as_json(&found)) } else { as_text(&found, args) };
    files::to_stdout(|out| out.write_all(shown.as_bytes()))
}

/// Looks for bindings in captures. `tells` of damage: a replay that reads the captures again says it then.
pub(crate) fn find(captures: &[PathBuf], tells: bool) -> Result<Found, Complaint> {
    find_in(&mut files::open_captures(captures)?, captures, tells, |_, _| {})
}

/// The same, in captures that are open; `each` is given every exchange, and the finder that has taken it in.
pub(crate) fn find_in(
    reader: &mut CaptureSet,
    captures: &[PathBuf],
    tells: bool,
    mut each: impl FnMut(&Exchange, &Finder),
) -> Result<Found, Complaint> {
    let mut finder = Finder::new();
    for exchange in reader.by_ref() {
        let exchange: Exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        finder.add(&exchange);
        each(&exchange, &finder);
    }
    if let Some((path, first)) = reader.damage().first().filter(|_| tells) {
        say!("highwater: {}: {first}; the rest is looked into", path.display());
    }
    let found = finder.finish();
    if found.overflow.values + found.overflow.places > 0 {
        say!(
            "highwater: {}: too much to remember at once: {} values and {} places were left out; bindings to them are not found",
            files::named(captures),
            found.overflow.values,
            found.overflow.places
        );
    }
    if found.cut > 0 {
        say!(
            "highwater: {}: {} pages and other texts were not stored whole: what they gave further on cannot be bound; record with a larger --body-limit",
            files::named(captures),
            found.cut
        );
    }
    Ok(found)
}

fn as_text(found: &Found, args: &CorrelateArgs) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {} exchanges, {} values sent back, {} rules",
        files::named(&args.captures),
        found.exchanges,
        found.matches,
        found.rules.rules.len()
    );
    for rule in &found.rules.rules {
        let confidence = rule.evidence.as_ref().map_or(1.0, |evidence| evidence.confidence);
        let _ = writeln!(text, "\n  {confidence:.2}  {}", files::plain(&rule.name));
        for into in &rule.into {
            let _ = writeln!(
                text,
                "        → {} of {}",
                files::plain(&into.place.to_string()),
                route(&into.route)
            );
        }
        let _ = writeln!(text, "        {}", reasons(rule));
    }
    for set in &found.rules.sets {
        let _ = writeln!(text, "\n  made  {}", files::plain(&set.name()));
        if let Some(naming) = &set.naming {
            let _ = writeln!(text, "        {}", why_chosen(naming));
        }
    }
    text
}

fn route(route: &str) -> String {
    if route == ANY_ROUTE { "every request".to_owned() } else { files::plain(route) }
}

fn reasons(rule: &Rule) -> String {
    let Some(evidence) = &rule.evidence else { return "given by hand".to_owned() };
    let mut reasons = vec![format!(
        "{} sent back in {} session{}, {} different",
        evidence.bindings,
        evidence.sessions,
        if evidence.sessions == 1 { "" } else { "s" },
        evidence.values
    )];
    if evidence.sessions > 1 {
        reasons.push(format!("{:.0} % of them in other sessions too", evidence.shared_ratio * 100.0));
    }
    if evidence.changed + evidence.unchanged > 0 {
        let asked = evidence.changed + evidence.unchanged;
        reasons.push(format!("another one in {} of {asked} answers to a repeated request", evidence.changed));
    }
    if evidence.created_ratio > 0.0 {
        reasons.push(format!("{:.0} % created by a request of the session", evidence.created_ratio * 100.0));
    }
    let (from, to) = evidence.example;
    reasons.push(format!("e.g. exchange {from} gave {} bytes, {to} sent them", evidence.example_length));
    reasons.join("; ")
}

fn why_chosen(naming: &Naming) -> String {
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let mut proofs = Vec::new();
    for (count, how) in [
        (naming.turned, "its address answered 404 before and 200 after"),
        (naming.created, "the answer was 201"),
        (naming.written, "a text was written into an empty area and the answer led there"),
    ] {
        if count > 0 {
            proofs.push(format!("{count} time{} {how}", plural(count)));
        }
    }
    format!(
        "{} name{} of {} session{} that no answer gave, and of which a thing was made: {}; e.g. exchange {}",
        naming.names,
        plural(naming.names),
        naming.sessions,
        plural(naming.sessions),
        proofs.join(", "),
        naming.example
    )
}

fn as_json(found: &Found) -> Value {
    json!({
        "exchanges": found.exchanges,
        "matches": found.matches,
        "rejected": found.rejected,
        "sets": found.rules.sets.iter().map(|set| json!({
            "request": set.route,
            "put": set.place.to_string(),
            "value": set.text,
            "chosen": set.chosen,
            "names": set.naming.map(|naming| naming.names),
            "sessions": set.naming.map(|naming| naming.sessions),
            "turned": set.naming.map(|naming| naming.turned),
            "created": set.naming.map(|naming| naming.created),
            "written": set.naming.map(|naming| naming.written),
            "example_exchange": set.naming.map(|naming| naming.example),
        })).collect::<Vec<_>>(),
        "forgotten_values": found.overflow.values,
        "forgotten_places": found.overflow.places,
        "rules": found.rules.rules.iter().map(|rule| json!({
            "name": rule.name,
            "answer": rule.route,
            "take": rule.extractor.to_string(),
            "into": rule.into.iter().map(|into| json!({
                "request": into.route,
                "put": into.place.to_string(),
            })).collect::<Vec<_>>(),
            "missing": rule.missing.as_str(),
            "confidence": rule.evidence.as_ref().map(|it| it.confidence),
            "bindings": rule.evidence.as_ref().map(|it| it.bindings),
            "sessions": rule.evidence.as_ref().map(|it| it.sessions),
            "values": rule.evidence.as_ref().map(|it| it.values),
            "shared_ratio": rule.evidence.as_ref().map(|it| it.shared_ratio),
            "changed": rule.evidence.as_ref().map(|it| it.changed),
            "unchanged": rule.evidence.as_ref().map(|it| it.unchanged),
            "created_ratio": rule.evidence.as_ref().map(|it| it.created_ratio),
            "example_exchanges": rule.evidence.as_ref().map(|it| [it.example.0, it.example.1]),
        })).collect::<Vec<_>>(),
    })
}
