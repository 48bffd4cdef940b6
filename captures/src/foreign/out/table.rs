//! One exchange a line: JSON objects with everything, or a table of numbers.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Context, as_text, lossy};
use crate::exchange::{Body, Exchange, Header, header_value};
use crate::route::route_of;

/// The columns of the table.
const COLUMNS: [&str; 16] = [
    "arrived",
    "method",
    "host",
    "target",
    "route",
    "version",
    "status",
    "request_body_bytes",
    "response_body_bytes",
    "first_byte_ms",
    "duration_ms",
    "connection",
    "session",
    "server",
    "secure",
    "ending",
];

pub(super) fn begin(sink: &mut impl Write) -> io::Result<()> {
    writeln!(sink, "{}\r", COLUMNS.join(","))
}

/// A row, quoted as RFC 4180 says.
pub(super) fn push_row(
    sink: &mut impl Write,
    context: &mut Context,
    exchange: &Exchange,
) -> io::Result<bool> {
    let (request, answer) = (&exchange.request, exchange.response.as_ref());
    let began = exchange.response_began.map(|began| millis(began.since(exchange.arrived)));
    let server = exchange.passage.server.and_then(|at| context.servers.get(usize::try_from(at).ok()?));
    let values = [
        seconds(context.nanos(exchange.arrived)),
        lossy(&request.method),
        header_value(&request.headers, "host").map(lossy).unwrap_or_default(),
        lossy(&request.target),
        route_of(&request.method, &request.target),
        request.version.as_str().to_owned(),
        answer.map(|answer| answer.status.to_string()).unwrap_or_default(),
        request.body.length.to_string(),
        answer.map(|answer| answer.body.length.to_string()).unwrap_or_default(),
        began.unwrap_or_default(),
        millis(exchange.ended.since(exchange.arrived)),
        exchange.connection.0.to_string(),
        exchange.session.0.to_string(),
        server.cloned().unwrap_or_default(),
        exchange.passage.secure.to_string(),
        exchange.ending.as_str().to_owned(),
    ];
    let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    writeln!(sink, "{}\r", quoted.join(","))?;
    Ok(true)
}

fn quoted(value: &str) -> String {
    if value.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

/// An object with headers and bodies.
pub(super) fn push_object(
    sink: &mut impl Write,
    context: &mut Context,
    exchange: &Exchange,
) -> io::Result<bool> {
    if exchange.attempts > 1 {
        context.lose("retries");
    }
    let at = |moment| serde_json::from_str::<Value>(&seconds(context.nanos(moment))).unwrap_or_default();
    let (request, answer) = (&exchange.request, exchange.response.as_ref());
    let server = exchange.passage.server.and_then(|at| context.servers.get(usize::try_from(at).ok()?));
    let shown = json!({
        "id": exchange.id.0,
        "arrived": at(exchange.arrived),
        "request_done": exchange.request_done.map(at),
        "response_began": exchange.response_began.map(at),
        "ended": at(exchange.ended),
        "connection": exchange.connection.0,
        "session": exchange.session.0,
        "ending": exchange.ending.as_str(),
        "server": server,
        "secure": exchange.passage.secure,
        "request": {
            "method": lossy(&request.method),
            "target": lossy(&request.target),
            "version": request.version.as_str(),
            "headers": fields(&request.headers),
            "body": body(&request.body),
            "trailers": fields(&request.trailers),
        },
        "response": answer.map(|answer| json!({
            "status": answer.status,
            "version": answer.version.as_str(),
            "headers": fields(&answer.headers),
            "body": body(&answer.body),
            "trailers": fields(&answer.trailers),
        })),
    });
    serde_json::to_writer(&mut *sink, &shown)?;
    sink.write_all(b"\n")?;
    Ok(true)
}

fn fields(headers: &[Header]) -> Vec<[String; 2]> {
    headers.iter().map(|header| [lossy(&header.name), lossy(&header.value)]).collect()
}

fn body(body: &Body) -> Value {
    let (text, is_base64) = as_text(body);
    let name = if is_base64 { "base64" } else { "text" };
    json!({ "bytes": body.length, "whole": body.is_whole(), "decoded": body.decoded, name: text })
}

/// Epoch seconds with all their digits.
fn seconds(nanos: i128) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

fn millis(length: std::time::Duration) -> String {
    format!("{:.6}", length.as_secs_f64() * 1_000.0)
}
