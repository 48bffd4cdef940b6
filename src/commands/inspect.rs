//! `highwater inspect`: reads captures and says what is in them.

mod exchanges;
mod inspection;
mod text;
mod totals;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{Damage, Offset, SessionKey};
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
    /// With --json: one JSON object a line for each exchange, in order of arrival
    #[arg(long, requires = "json")]
    exchanges: bool,
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
    let mut inspection = Inspection::default();
    let mut lines = args.exchanges.then(|| InOrder::new(reader.header()));
    for exchange in reader.by_ref() {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
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
    match lines {
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
