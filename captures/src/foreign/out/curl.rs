//! A shell script with a curl command for each request; `BASE_URL` in the environment says where to send them.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Context, lossy, plain_fields};
use crate::exchange::Exchange;

pub(super) fn begin(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(b"#!/bin/sh\n# Recorded requests, one after the other. BASE_URL=http://staging.example sends them elsewhere.\n")
}

pub(super) fn push(sink: &mut impl Write, context: &mut Context, exchange: &Exchange) -> io::Result<bool> {
    let request = &exchange.request;
    if !request.body.is_whole() {
        context.lose("requests_whose_body_is_cut");
        return Ok(false);
    }
    if exchange.response.is_some() {
        context.lose("responses");
    }
    context.lose("moments");
    let url = context.url(exchange);
    let (origin, target) = url.split_once("://").map_or((url.as_str(), ""), |(scheme, rest)| {
        let end = scheme.len() + 3 + rest.find('/').unwrap_or(rest.len());
        url.split_at(end)
    });
    let method = lossy(&request.method);
    let mut line = format!("o={}; ", quoted(origin));
    if !request.body.stored.is_empty() {
        line += &format!("printf %s {} | base64 -d | ", quoted(&STANDARD.encode(&request.body.stored)));
    }
    line += "curl -sS --path-as-is --globoff -o /dev/null -w '%{http_code}\\n'";
    line += &if method == "HEAD" { " -I".to_owned() } else { format!(" -X {}", quoted(&method)) };
    for header in plain_fields(&request.headers) {
        // An empty value needs a semicolon, or curl would take the field away.
        let field = if header.value.is_empty() {
            format!("{};", lossy(&header.name))
        } else {
            format!("{}: {}", lossy(&header.name), lossy(&header.value))
        };
        line += &format!(" -H {}", quoted(&field));
    }
    if !request.body.stored.is_empty() {
        line += " --data-binary @-";
    }
    writeln!(sink, "{line} \"${{BASE_URL:-$o}}\"{}", quoted(target))?;
    Ok(true)
}

/// In single quotes: nothing in them means anything to a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "'\\''"))
}
