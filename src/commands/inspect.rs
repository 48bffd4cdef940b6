//! `highwater inspect`: reads captures and says what is in them.

mod chart;
mod exchanges;
mod inspection;
mod show;
mod text;
mod totals;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{Damage, Exchange, Offset, RouteFinder, RouteTemplate, SessionKey};
use recorder::Rule;
use serde::Serialize;

use crate::Globals;
use crate::commands::files;
use crate::commands::inspect::exchanges::InOrder;
use crate::commands::inspect::inspection::Inspection;
use crate::commands::inspect::totals::Totals;
use crate::complain::{Complaint, Exit};

/// Says what is in a capture: totals, span, routes, sessions, statuses, losses, damage
///
/// Several captures, or a folder of them, are read as one: the segments of a recording in their order,
/// different recordings merged in time.
///
/// Example: highwater inspect shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Captures, or folders with files that end in .capture
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    /// A line for each exchange, in order of arrival; with --json a JSON object
    #[arg(long)]
    exchanges: bool,
    /// Only exchanges that fit RULE (one of them, if repeated), as `record --include` reads it
    #[arg(long = "where", value_name = "RULE", value_parser = Rule::parse)]
    rules: Vec<Rule>,
    /// Show the exchange with this number whole: heads and bodies; with --json as an object a line; may be repeated
    #[arg(long, value_name = "ID", conflicts_with_all = ["exchanges", "out"])]
    show: Vec<u64>,
    /// Teach a route: a path in which {name} is any one segment, with methods in front or for all; may be repeated
    ///
    /// Without, numbers, UUIDs, long tokens and places where more than 32 different words stand are found.
    #[arg(long, value_name = "TEMPLATE", value_parser = RouteTemplate::parse)]
    route: Vec<RouteTemplate>,
    /// Draw the rate over time into FILE, as SVG
    #[arg(long, value_name = "FILE.svg", conflicts_with_all = ["exchanges", "show"])]
    chart: Option<PathBuf>,
    /// Accept a capture with damage: say what is lost and exit 0 (without it, damage exits 3)
    #[arg(long)]
    salvage: bool,
    /// With --salvage: write everything that is whole to a new capture
    #[arg(long, value_name = "FILE", requires = "salvage")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs, _globals: &Globals) -> Result<(), Complaint> {
    let mut reader = files::open_captures(&args.captures)?;
    let mut salvaged = match &args.out {
        Some(path) => Some((path, files::create_capture(path, reader.header())?)),
        None => None,
    };
    let started = reader.header().started;
    let mut inspection = Inspection { finder: learnt(args)?, ..Inspection::default() };
    let mut lines = args.exchanges.then(|| InOrder::new(reader.header(), args.json));
    while let Some(exchange) = reader.next() {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        if !fits(args, &exchange) {
            continue;
        }
        if args.show.contains(&exchange.id.0) {
            if args.json {
                show::object(reader.header(), &exchange)?;
            } else {
                show::whole(started, &exchange)?;
            }
        }
        inspection.count(&exchange);
        if let Some((path, writer)) = &mut salvaged {
            writer.push(&exchange).map_err(|error| Complaint::cannot_write(path, &error))?;
        }
        if let Some(lines) = &mut lines {
            lines.take(exchange)?;
        }
    }
    let accounts = reader.accounts().clone();
    if let Some((path, mut writer)) = salvaged {
        reader
            .events()
            .iter()
            .try_for_each(|event| writer.note(event))
            .and_then(|()| writer.finish(&accounts))
            .and_then(|mut sink| sink.flush())
            .map_err(|error| Complaint::cannot_write(path, &error))?;
    }
    if let Some(path) = &args.chart {
        let drawn = chart::svg(&inspection, &files::named(&args.captures));
        std::fs::write(path, drawn).map_err(|error| Complaint::cannot_write(path, &error))?;
    }
    match lines {
        _ if !args.show.is_empty() => {}
        Some(lines) => lines.finish()?,
        None if args.json => {
            files::to_stdout(|out| write_line(out, &Totals::of(&inspection, &reader, &accounts)))?;
        }
        None => files::to_stdout(|out| text::write(out, &args.captures, &inspection, &reader, &accounts))?,
    }
    match reader.damage().first() {
        Some((path, first)) if !args.salvage => Err(damaged(path, reader.damage_count() - 1, first)),
        _ => Ok(()),
    }
}

fn fits(args: &InspectArgs, exchange: &Exchange) -> bool {
    args.rules.is_empty() || args.rules.iter().any(|rule| rule.fits(exchange))
}

/// The routes, found in a reading of their own.
fn learnt(args: &InspectArgs) -> Result<RouteFinder, Complaint> {
    let mut finder = RouteFinder::new(args.route.clone());
    if args.exchanges || !args.show.is_empty() {
        return Ok(finder);
    }
    for exchange in files::open_captures(&args.captures)? {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        if fits(args, &exchange) {
            finder.learn(&exchange.request.method, &exchange.request.target);
        }
    }
    finder.settle();
    Ok(finder)
}

fn damaged(path: &Path, more: u64, first: &Damage) -> Complaint {
    let what = if more > 0 { format!("{first}, and {more} places more") } else { first.to_string() };
    Complaint::new(
        Exit::Input,
        path.display(),
        what,
        "everything else was read; `highwater inspect --salvage` accepts that",
    )
}

fn write_line(out: &mut impl Write, shown: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, shown)?;
    out.write_all(b"\n")
}

fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1_000.0
}

/// Epoch seconds with nanoseconds, exactly: a float would lose the last digits.
fn epoch_seconds(started: i128, at: Offset) -> serde_json::Number {
    let nanos = started + i128::from(at.as_nanos());
    let text = format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    serde_json::from_str(&text).unwrap_or_else(|_| 0.into())
}

/// The name of what a session was recognised by, in machine-readable output.
const fn session_key(key: SessionKey) -> &'static str {
    match key {
        SessionKey::Cookie => "cookie",
        SessionKey::Header => "header",
        SessionKey::AddressAgent => "address_agent",
        SessionKey::Connection => "connection",
    }
}
