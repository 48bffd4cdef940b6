//! HAR 1.2, as Chrome imports it.
//!
//! A body stands there without its content coding; who exports takes it off first. What did not get an answer
//! has the status 0, as browsers write it.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Context, as_text, iso, lossy};
use crate::exchange::{Body, Exchange, Header, Version, header_value};

pub(super) fn begin(sink: &mut impl Write, tool: &str) -> io::Result<()> {
    let (name, version) = tool.split_once(' ').unwrap_or((tool, "0"));
    let creator = json!({ "name": name, "version": version });
    write!(sink, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"pages\":[],\"entries\":[")
}

pub(super) fn end(sink: &mut impl Write) -> io::Result<()> {
    writeln!(sink, "\n]}}}}")
}

pub(super) fn push(
    sink: &mut impl Write,
    context: &mut Context,
    exchange: &Exchange,
    is_first: bool,
) -> io::Result<bool> {
    context.lose_usual(exchange);
    let entry = entry(context, exchange);
    sink.write_all(if is_first { b"\n" } else { b",\n" })?;
    serde_json::to_writer(&mut *sink, &entry)?;
    Ok(true)
}

fn entry(context: &Context, exchange: &Exchange) -> Value {
    let (arrived, ended) = (exchange.arrived, exchange.ended);
    let sent = exchange.request_done.unwrap_or(arrived).max(arrived);
    let began = exchange.response_began.unwrap_or(ended).max(sent);
    let url = context.url(exchange);
    let mut entry = json!({
        "startedDateTime": iso(context.nanos(arrived)),
        "time": millis(ended.since(arrived)),
        "request": request(exchange, &url),
        "response": response(exchange),
        "cache": {},
        "timings": {
            "blocked": -1, "dns": -1, "connect": -1, "ssl": -1,
            "send": millis(sent.since(arrived)),
            "wait": millis(began.since(sent)),
            "receive": millis(ended.since(began)),
        },
        "connection": exchange.connection.0.to_string(),
    });
    let server = exchange.passage.server.and_then(|at| context.servers.get(usize::try_from(at).ok()?));
    // A server that is known by name alone has no place there.
    if let Some(address) = server.and_then(|server| address(server)) {
        entry["serverIPAddress"] = json!(address.to_string());
    }
    entry
}

/// The address in `server`, which is one, or one with a port, or a name.
fn address(server: &str) -> Option<IpAddr> {
    let with_port = server.parse().map(|socket: SocketAddr| socket.ip());
    with_port.or_else(|_| server.trim_matches(['[', ']']).parse()).ok()
}

fn request(exchange: &Exchange, url: &str) -> Value {
    let request = &exchange.request;
    let mut shown = json!({
        "method": lossy(&request.method),
        "url": url,
        "httpVersion": version(request.version),
        "cookies": [],
        "headers": headers(&request.headers),
        "queryString": query(url),
        "headersSize": -1,
        "bodySize": request.body.length,
    });
    if !request.body.stored.is_empty() {
        let (text, is_base64) = as_text(&request.body);
        shown["postData"] = json!({ "mimeType": told_kind(&request.headers), "text": text });
        if is_base64 {
            // Not in the standard, but read by many and by us.
            shown["postData"]["encoding"] = json!("base64");
        }
    }
    shown
}

fn response(exchange: &Exchange) -> Value {
    let Some(response) = &exchange.response else {
        return json!({
            "status": 0, "statusText": "", "httpVersion": "", "cookies": [], "headers": [],
            "content": { "size": 0, "mimeType": "x-unknown" }, "redirectURL": "",
            "headersSize": -1, "bodySize": -1, "_error": exchange.ending.as_str(),
        });
    };
    let location = header_value(&response.headers, "location").map(lossy).unwrap_or_default();
    json!({
        "status": response.status,
        "statusText": "",
        "httpVersion": version(response.version),
        "cookies": [],
        "headers": headers(&response.headers),
        "content": content(&response.body, kind(&response.headers)),
        "redirectURL": location,
        "headersSize": -1,
        "bodySize": response.body.length,
    })
}

fn content(body: &Body, kind: String) -> Value {
    if !body.is_whole() || body.stored.is_empty() {
        return json!({ "size": body.length, "mimeType": kind });
    }
    let (text, is_base64) = as_text(body);
    let mut content = json!({ "size": body.stored.len(), "mimeType": kind, "text": text });
    if is_base64 {
        content["encoding"] = json!("base64");
    }
    content
}

fn headers(headers: &[Header]) -> Vec<Value> {
    headers
        .iter()
        .map(|header| json!({ "name": lossy(&header.name), "value": lossy(&header.value) }))
        .collect()
}

/// Empty where the request told none: it has no place for nothing.
fn told_kind(headers: &[Header]) -> String {
    header_value(headers, "content-type").map(lossy).unwrap_or_default()
}

fn kind(headers: &[Header]) -> String {
    header_value(headers, "content-type").map_or_else(|| "application/octet-stream".to_owned(), lossy)
}

fn query(url: &str) -> Vec<Value> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        json!({ "name": name, "value": value })
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::Http2 => "h2",
        Version::Http3 => "h3",
        other => other.as_str(),
    }
}

fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1_000.0
}
