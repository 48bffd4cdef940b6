//! Shows what a capture came to, as text.

use std::io::{self, Write};
use std::path::PathBuf;

use captures::{Bytes, CaptureSet, Masking, Rate, Tally};

use super::inspection::Inspection;
use super::millis;
use crate::commands::files;

/// So many routes, events and places of damage are shown.
const ROUTES: usize = 25;
const EVENTS: usize = 20;
const DAMAGES: usize = 10;
const HOSTS: usize = 8;
const WORST: usize = 12;
const RULES: usize = 8;
/// The rate is drawn in so many parts.
const PARTS: u64 = 60;

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
    writeln!(out, "  {}", masked(&header.masking))?;
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
    write_visitors(out, inspection)?;
    write_curve(out, inspection)?;
    write_routes(out, inspection)?;
    write_trouble(out, inspection)?;
    for event in reader.events().iter().take(EVENTS) {
        writeln!(out, "  {}  {} ({})", files::utc(event.wall), event.kind.as_str(), event.amount)?;
    }
    for (path, damage) in reader.damage().iter().take(DAMAGES) {
        writeln!(out, "  damage in {} at {damage}", path.display())?;
    }
    Ok(())
}

/// What was masked, and by what it was recognised.
fn masked(masking: &Masking) -> String {
    match masking {
        Masking::None => "nothing is masked: the capture holds secrets as they were sent".to_owned(),
        Masking::Pseudonyms { rules, .. } => {
            let more = rules.len().saturating_sub(RULES);
            let shown: Vec<&str> = rules.iter().take(RULES).map(String::as_str).collect();
            let more =
                if more > 0 { format!(", and {more} rules more (--json has all)") } else { String::new() };
            format!("masked by pseudonyms: {}{more}", files::plain(&shown.join(", ")))
        }
    }
}

/// Who came, from where to where, and how they went about it.
fn write_visitors(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let (requests, lasted) = inspection.session_length();
    let think = |quantile| inspection.think.quantile(quantile).as_secs_f64();
    writeln!(
        out,
        "  a session {requests:.1} requests, half of them last {:.1} s or less; think time p50 {:.3} s, p90 {:.3} s",
        lasted.as_secs_f64(),
        think(0.5),
        think(0.9),
    )?;
    let hosts = inspection.busiest_hosts();
    let more = hosts.len().saturating_sub(HOSTS);
    let named = hosts.iter().take(HOSTS).map(|(host, count)| format!("{}: {count}", files::plain(host)));
    let more = (more > 0).then(|| format!("and {more} more"));
    write_list(out, "hosts", named.chain(more))?;
    let secure = (inspection.secure > 0).then(|| format!("by TLS: {}", inspection.secure));
    let protocols = inspection.protocols.iter().map(|(name, count)| format!("{name}: {count}"));
    write_list(out, "protocols", protocols.chain(secure))
}

/// The rate as a row of bars.
fn write_curve(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let counts = inspection.curve(PARTS);
    let most = counts.iter().copied().max().unwrap_or(0);
    if counts.len() < 2 {
        return Ok(());
    }
    let bar = |&count: &u64| {
        if count == 0 {
            ' '
        } else {
            BARS[usize::try_from((count * 8 - 1) / most.max(1)).unwrap_or(7).min(7)]
        }
    };
    let bars: String = counts.iter().map(bar).collect();
    let seconds = (inspection.span().as_secs_f64() + 1.0) / counts.len() as f64;
    writeln!(out, "  rate  {bars}  (each {seconds:.1} s; the highest {:.1} req/s)", most as f64 / seconds)
}

/// What took longest and what went wrong.
fn write_trouble(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let worst = inspection.worst();
    if !worst.is_empty() {
        writeln!(out, "\n  {:>9} {:>16}  went wrong at", "exchanges", "how")?;
        for (route, kind, count) in worst.into_iter().take(WORST) {
            writeln!(out, "  {count:>9} {kind:>16}  {}", files::plain(route))?;
        }
    }
    if !inspection.slowest.is_empty() {
        writeln!(out, "\n  {:>12} {:>8} {:>7}  slowest (see one with --show ID)", "took", "id", "status")?;
        for slow in &inspection.slowest {
            let status = slow.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let what: String = files::plain(&slow.what).chars().take(100).collect();
            writeln!(out, "  {:>9.1} ms {:>8} {status:>7}  {what}", millis(slow.took), slow.id)?;
        }
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
