//! Shows what a capture came to, as text.

use std::io::{self, Write};
use std::path::PathBuf;

use captures::{Bytes, CaptureSet, Rate, Tally};

use super::inspection::Inspection;
use super::millis;
use crate::commands::files;

/// So many routes, events and places of damage are shown.
const ROUTES: usize = 25;
const EVENTS: usize = 20;
const DAMAGES: usize = 10;

pub(super) fn write(
    out: &mut impl Write,
    paths: &[PathBuf],
    inspection: &Inspection,
    reader: &CaptureSet,
    accounts: &Tally,
) -> io::Result<()> {
    let header = reader.header();
    let (tool, began) = (files::plain(&header.tool), files::utc(header.started));
    writeln!(out, "{}  recorded by {tool} on {began}", files::named(paths))?;
    if reader.files().len() > 1 {
        writeln!(out, "  {} files read as one", reader.files().len())?;
    }
    if reader.mixed_keys() {
        writeln!(out, "  masked with different keys: a visitor of two recordings counts as two")?;
    }
    let (listen, upstream) = (header.listen.join(", "), header.upstream.join(", "));
    writeln!(out, "  from {} to {}", files::plain(&listen), files::plain(&upstream))?;
    if header.sampling_ratio < 1.0 {
        writeln!(out, "  a sample: {} % of the sessions", header.sampling_ratio * 100.0)?;
    }
    if !header.filters.is_empty() {
        writeln!(out, "  recorded with {}", files::plain(&header.filters.join(" ")))?;
    }
    writeln!(
        out,
        "  {} exchanges in {} sessions on {} connections, over {:.1} s: mean {}, busiest second {} requests",
        inspection.exchanges,
        inspection.sessions.len(),
        inspection.connections.len(),
        inspection.span().as_secs_f64(),
        Rate::of(inspection.exchanges, inspection.span()),
        inspection.peak(),
    )?;
    writeln!(out, "  sessions by {}", files::plain(&header.session_keys.join(", ")))?;
    writeln!(
        out,
        "  bodies {} up, {} down ({} cut, at most {} of each kept)",
        Bytes::new(inspection.request_bytes),
        Bytes::new(inspection.response_bytes),
        inspection.cut_bodies,
        Bytes::new(header.body_limit)
    )?;
    write_accounts(out, inspection, accounts)?;
    write_list(
        out,
        "status",
        inspection.statuses.iter().map(|(status, count)| format!("{status}: {count}")),
    )?;
    write_list(
        out,
        "ended",
        inspection.endings.iter().map(|(ending, count)| format!("{}: {count}", ending.as_str())),
    )?;
    write_routes(out, inspection)?;
    for event in reader.events().iter().take(EVENTS) {
        writeln!(out, "  {}  {} ({})", files::utc(event.wall), event.kind.as_str(), event.amount)?;
    }
    for (path, damage) in reader.damage().iter().take(DAMAGES) {
        writeln!(out, "  damage in {} at {damage}", path.display())?;
    }
    Ok(())
}

/// The line that says what became of every exchange; its sum is exact.
fn write_accounts(out: &mut impl Write, inspection: &Inspection, accounts: &Tally) -> io::Result<()> {
    let lost: u64 = accounts.dropped.iter().map(|&(_, count)| count).sum();
    let partial: u64 = inspection.partial().map(|(_, count)| count).sum();
    writeln!(
        out,
        "  seen {} = complete {} + partial {partial} + filtered {} + sampled out {} + dropped {lost}",
        accounts.seen,
        inspection.complete(),
        accounts.filtered,
        accounts.sampled_out
    )?;
    let reasons = accounts.dropped.iter().filter(|(_, count)| *count > 0);
    let reasons: Vec<String> =
        reasons.map(|(reason, count)| format!("{}: {count}", reason.as_str())).collect();
    if reasons.is_empty() { Ok(()) } else { write_list(out, "dropped", reasons.into_iter()) }
}

fn write_list(out: &mut impl Write, what: &str, counts: impl Iterator<Item = String>) -> io::Result<()> {
    writeln!(out, "  {what} {}", counts.collect::<Vec<_>>().join(", "))
}

fn write_routes(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    writeln!(out, "\n  {:>9} {:>7} {:>9} {:>9}  route", "exchanges", "share", "p50", "p99")?;
    for (name, route) in inspection.ranked().into_iter().take(ROUTES) {
        writeln!(
            out,
            "  {:>9} {:>6.1}% {:>6.1} ms {:>6.1} ms  {}",
            route.count,
            100.0 * route.count as f64 / inspection.exchanges.max(1) as f64,
            millis(route.service.quantile(0.5)),
            millis(route.service.quantile(0.99)),
            files::plain(name),
        )?;
    }
    Ok(())
}
