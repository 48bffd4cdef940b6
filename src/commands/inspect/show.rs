//! Shows one exchange whole, as people read it.

use std::io::{self, Write};

use captures::foreign::{Export, ExportFormat};
use captures::{Body, CaptureHeader, Exchange, Header};

use super::millis;
use crate::commands::files;
use crate::complain::Complaint;

/// Text of a body is shown up to so many bytes.
const SHOWN: usize = 16 << 10;

/// Writes `exchange` to stdout: how it went, then both messages.
pub(super) fn whole(started: i128, exchange: &Exchange) -> Result<(), Complaint> {
    files::to_stdout(|out| {
        let wall = started + i128::from(exchange.arrived.as_nanos());
        writeln!(
            out,
            "exchange {} of session {} on connection {}, arrived {}, took {:.3} ms, {}{}{}",
            exchange.id.0,
            exchange.session.0,
            exchange.connection.0,
            files::utc(wall),
            millis(exchange.ended.since(exchange.arrived)),
            exchange.ending.as_str(),
            if exchange.passage.detail.is_empty() { "" } else { ": " },
            files::plain(&exchange.passage.detail),
        )?;
        let request = &exchange.request;
        let (method, target) =
            (String::from_utf8_lossy(&request.method), String::from_utf8_lossy(&request.target));
        writeln!(out, "\n{} {} {}", files::plain(&method), files::plain(&target), request.version.as_str())?;
        message(out, &request.headers, &request.body, &request.trailers)?;
        let Some(response) = &exchange.response else { return writeln!(out, "\nno response\n") };
        writeln!(out, "\n{} {}", response.version.as_str(), response.status)?;
        message(out, &response.headers, &response.body, &response.trailers)?;
        writeln!(out)
    })
}

/// Writes `exchange` to stdout as a line of JSON, as `export --format jsonl` does.
pub(super) fn object(header: &CaptureHeader, exchange: &Exchange) -> Result<(), Complaint> {
    files::to_stdout(|out| {
        let mut export = Export::begin(out, ExportFormat::Jsonl, header)?;
        export.push(exchange)?;
        export.finish().map(|_| ())
    })
}

fn message(out: &mut impl Write, headers: &[Header], body: &Body, trailers: &[Header]) -> io::Result<()> {
    fields(out, headers)?;
    writeln!(out)?;
    let start = &body.stored[..body.stored.len().min(SHOWN)];
    match std::str::from_utf8(start)
        .or_else(|error| std::str::from_utf8(&start[..error.valid_up_to().max(1).min(start.len())]))
    {
        _ if start.is_empty() => {}
        Ok(text) if start.len() - text.len() < 4 => {
            for line in text.lines() {
                writeln!(out, "{}", files::plain(line))?;
            }
        }
        _ => writeln!(out, "({} bytes that are no text)", body.stored.len())?,
    }
    if !body.is_whole() || body.stored.len() > SHOWN {
        writeln!(out, "({} bytes went by, {} are stored)", body.length, body.stored.len())?;
    }
    fields(out, trailers)
}

fn fields(out: &mut impl Write, headers: &[Header]) -> io::Result<()> {
    for header in headers {
        let (name, value) = (String::from_utf8_lossy(&header.name), String::from_utf8_lossy(&header.value));
        writeln!(out, "{}: {}", files::plain(&name), files::plain(&value))?;
    }
    Ok(())
}
