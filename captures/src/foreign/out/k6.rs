//! A script for k6: each virtual user plays one recorded session, request by request at its recorded moment.
//!
//! The script holds everything, so that it is one file. `BASE_URL` in the environment says where to send it.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Context, lossy, plain_fields};
use crate::exchange::{Exchange, header_value};

pub(super) fn begin(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(
        b"// Recorded requests, played by k6: BASE_URL=http://staging.example k6 run FILE
// Each virtual user is one recorded session; `at` counts seconds from the start of the recording.
import http from 'k6/http';
import exec from 'k6/execution';
import encoding from 'k6/encoding';
import { sleep } from 'k6';

const requests = [",
    )
}

pub(super) fn push(
    sink: &mut impl Write,
    context: &mut Context,
    exchange: &Exchange,
    is_first: bool,
) -> io::Result<bool> {
    let request = &exchange.request;
    if !request.body.is_whole() {
        context.lose("requests_whose_body_is_cut");
        return Ok(false);
    }
    if exchange.response.is_some() {
        context.lose("responses");
    }
    let mut headers = Map::new();
    for header in plain_fields(&request.headers).filter(|header| !header.is("host")) {
        let value = Value::String(lossy(&header.value));
        if headers.insert(lossy(&header.name), value).is_some() {
            context.lose("repeated_header_fields");
        }
    }
    let shown = json!({
        "at": exchange.arrived.as_secs_f64(),
        "session": exchange.session.0,
        "method": lossy(&request.method),
        "host": header_value(&request.headers, "host").map(lossy),
        "target": lossy(&request.target),
        "headers": headers,
        "body": (!request.body.stored.is_empty()).then(|| STANDARD.encode(&request.body.stored)),
    });
    sink.write_all(if is_first { b"\n" } else { b",\n" })?;
    serde_json::to_writer(&mut *sink, &shown)?;
    Ok(true)
}

pub(super) fn end(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(
        b"
];

const sessions = {};
for (const request of requests) {
  (sessions[request.session] = sessions[request.session] || []).push(request);
}
const order = Object.keys(sessions);
const last = requests.reduce((latest, request) => Math.max(latest, request.at), 0);

export const options = {
  scenarios: {
    recorded: {
      executor: 'per-vu-iterations',
      vus: Math.max(order.length, 1),
      iterations: 1,
      maxDuration: `${Math.ceil(last) + 60}s`,
    },
  },
};

export default function () {
  const mine = sessions[order[(exec.vu.idInTest - 1) % order.length]] || [];
  for (const request of mine) {
    const late = (Date.now() - exec.scenario.startTime) / 1000 - request.at;
    if (late < 0) sleep(-late);
    const base = __ENV.BASE_URL || `http://${request.host}`;
    const body = request.body === null ? null : encoding.b64decode(request.body);
    http.request(request.method, base + request.target, body, {
      headers: request.headers,
      redirects: 0,
      tags: { name: request.method + ' ' + request.target.split('?')[0] },
    });
  }
}
",
    )
}
