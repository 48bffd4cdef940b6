//! GoReplay's file: a request, and its response where there is one, each with its length told.

use std::io::{self, Write};

use super::{Context, plain_fields};
use crate::exchange::{Body, Exchange, Header, Version, header_value};
use crate::foreign::gor::SEPARATOR;

pub(super) fn push(sink: &mut impl Write, context: &mut Context, exchange: &Exchange) -> io::Result<bool> {
    let request = &exchange.request;
    let holds_separator =
        |body: &Body| body.stored.windows(SEPARATOR.len()).any(|window| window == SEPARATOR);
    if holds_separator(&request.body)
        || exchange.response.as_ref().is_some_and(|answer| holds_separator(&answer.body))
    {
        context.lose("exchanges_with_the_separator_in_a_body");
        return Ok(false);
    }
    context.lose_usual(exchange);
    let arrived = context.nanos(exchange.arrived);
    // Twenty-four digits, as GoReplay makes them.
    let id = format!("{:016x}{:08x}", exchange.id.0, exchange.connection.0 & 0xFFFF_FFFF);
    writeln!(sink, "1 {id} {arrived} 0")?;
    sink.write_all(&request.method)?;
    sink.write_all(b" ")?;
    sink.write_all(&request.target)?;
    writeln!(sink, " {}\r", version(request.version))?;
    let has_body =
        !request.body.stored.is_empty() || header_value(&request.headers, "content-length").is_some();
    message(sink, &request.headers, &request.body, has_body)?;
    if let Some(response) = &exchange.response {
        let began = exchange.response_began.unwrap_or(exchange.ended);
        let latency = exchange.ended.since(exchange.arrived).as_nanos();
        writeln!(sink, "2 {id} {} {latency}", context.nanos(began))?;
        writeln!(sink, "{} {} \r", version(response.version), response.status)?;
        message(sink, &response.headers, &response.body, true)?;
    } else {
        context.lose("endings_without_a_response");
    }
    Ok(true)
}

fn message(sink: &mut impl Write, headers: &[Header], body: &Body, tells_length: bool) -> io::Result<()> {
    for header in plain_fields(headers) {
        // A body that was decoded has no coding any more.
        if body.decoded && header.is("content-encoding") {
            continue;
        }
        sink.write_all(&header.name)?;
        sink.write_all(b": ")?;
        sink.write_all(&header.value)?;
        sink.write_all(b"\r\n")?;
    }
    if tells_length {
        write!(sink, "Content-Length: {}\r\n", body.stored.len())?;
    }
    sink.write_all(b"\r\n")?;
    sink.write_all(&body.stored)?;
    sink.write_all(SEPARATOR)
}

/// It knows HTTP/1 alone.
const fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
