//! Access logs with a JSON object a line: Caddy's, Traefik's, Envoy's, nginx's and others that use their names.

use std::time::Duration;

use serde_json::{Map, Value};

use super::log::{Said, address, status};
use super::moment::{self, Moment};
use super::raw;
use crate::exchange::Header;

const TIMES: [&str; 12] = [
    "StartUTC",
    "start_time",
    "ts",
    "time_iso8601",
    "@timestamp",
    "timestamp",
    "time",
    "time_local",
    "msec",
    "datetime",
    "date",
    "StartLocal",
];
const METHODS: [&str; 5] = ["method", "request_method", "RequestMethod", "http_method", "verb"];
const TARGETS: [&str; 8] =
    ["uri", "request_uri", "RequestPath", "path", "url", "x_envoy_original_path", "target", "request_path"];
pub(super) const STATUSES: [&str; 5] = ["status", "response_code", "DownstreamStatus", "status_code", "code"];
const SENT: [&str; 7] = [
    "size",
    "body_bytes_sent",
    "bytes_sent",
    "DownstreamContentSize",
    "bytes",
    "response_size",
    "response_length",
];
const RECEIVED: [&str; 4] = ["bytes_read", "bytes_received", "request_length", "RequestContentSize"];
const CLIENTS: [&str; 8] = [
    "client_ip",
    "remote_ip",
    "remote_addr",
    "ClientHost",
    "ClientAddr",
    "downstream_remote_address",
    "client",
    "remoteIp",
];
const HOSTS: [&str; 6] = ["host", "http_host", "RequestHost", "authority", "RequestAddr", "server_name"];
const AGENTS: [&str; 5] = ["user_agent", "http_user_agent", "request_User-Agent", "agent", "userAgent"];
const REFERERS: [&str; 3] = ["http_referer", "referer", "request_Referer"];
const VERSIONS: [&str; 4] = ["proto", "server_protocol", "RequestProtocol", "protocol"];

/// What a line says; `None` when it is no object that tells of a request.
pub(super) fn said(line: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let outer = value.as_object()?;
    // Caddy keeps the request in an object of its own; others all in one.
    let inner = outer.get("request").and_then(Value::as_object);
    let look = |names: &[&str]| -> Option<&Value> {
        names.iter().find_map(|name| inner.and_then(|inner| inner.get(*name)).or_else(|| outer.get(*name)))
    };
    let text = |names: &[&str]| look(names).and_then(text_of);
    let length = |names: &[&str]| text(names).and_then(|text| text.parse::<u64>().ok());
    let (at, from) = TIMES.iter().find_map(|name| Some((moment_of(outer.get(*name)?)?, *name)))?;
    let duration = duration(outer);
    let mut said = Said {
        at: Some(at),
        at_start: matches!(from, "StartUTC" | "StartLocal" | "start_time") || duration.is_none(),
        duration,
        request_line: outer.get("request").and_then(Value::as_str).map(|line| line.as_bytes().to_vec()),
        method: text(&METHODS).map(String::into_bytes),
        target: text(&TARGETS).map(String::into_bytes),
        version: text(&VERSIONS).and_then(|version| raw::version(version.as_bytes())),
        status: length(&STATUSES).and_then(status),
        sent: length(&SENT),
        received: length(&RECEIVED),
        client: CLIENTS.iter().find_map(|name| address(look(&[name])?.as_str()?.as_bytes())),
        host: text(&HOSTS).filter(|host| !host.is_empty() && host != "-").map(String::into_bytes),
        is_secure: inner.is_some_and(|inner| inner.contains_key("tls"))
            || text(&["scheme"]).as_deref() == Some("https"),
        ..Said::default()
    };
    // Without a request and without an answer it tells of something else.
    if said.status.is_none() || (said.request_line.is_none() && said.target.is_none()) {
        return None;
    }
    if let Some(headers) = inner.and_then(|inner| inner.get("headers")).and_then(Value::as_object) {
        said.headers = listed(headers);
    }
    for (name, names) in [("User-Agent", &AGENTS[..]), ("Referer", &REFERERS[..])] {
        let is_missing = crate::exchange::header_value(&said.headers, name).is_none();
        if let Some(value) = text(names).filter(|value| is_missing && !value.is_empty() && value != "-") {
            said.headers.push(Header { name: name.as_bytes().to_vec(), value: value.into_bytes() });
        }
    }
    Some(said)
}

fn listed(headers: &Map<String, Value>) -> Vec<Header> {
    let mut found = Vec::new();
    for (name, values) in headers {
        let values = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
        for value in values.iter().filter_map(Value::as_str) {
            // Caddy blots secrets out by itself.
            if value != "REDACTED" && !name.eq_ignore_ascii_case("host") {
                found.push(Header { name: name.clone().into_bytes(), value: value.as_bytes().to_vec() });
            }
        }
    }
    found
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn moment_of(value: &Value) -> Option<Moment> {
    let text = text_of(value)?;
    let text = text.as_bytes();
    moment::epoch(text).or_else(|| moment::iso(text)).or_else(|| moment::common(text))
}

/// Seconds in Caddy's `duration` and nginx's `request_time`, nanoseconds in Traefik's, milliseconds where the
/// name says so, or where the value does (`12ms`).
fn duration(object: &Map<String, Value>) -> Option<Duration> {
    let units = [
        ("duration", 1.0),
        ("request_time", 1.0),
        ("Duration", 1e-9),
        ("duration_ms", 1e-3),
        ("elapsed_ms", 1e-3),
        ("latency_ms", 1e-3),
        ("response_time_ms", 1e-3),
        ("response_time", 1.0),
    ];
    let (text, unit) = units.iter().find_map(|(name, unit)| Some((text_of(object.get(*name)?)?, *unit)))?;
    // Envoy's `duration` are milliseconds; its `response_flags` tell it from Caddy.
    let unit = if object.contains_key("response_flags") { 1e-3 } else { unit };
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(&text), unit),
    };
    let seconds = digits.trim().parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|length| length.as_secs() < 1_000_000_000)
}
