//! Shows each exchange of a capture, as one JSON object a line, in order of arrival.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use captures::{Body, CaptureHeader, Exchange, Offset};
use serde::Serialize;

use super::{epoch_seconds, millis, session_key, write_line};
use crate::commands::files::{self, hex};
use crate::complain::Complaint;

/// Brings exchanges from the order in which they ended into that in which they arrived, in bounded memory.
///
/// An exchange that lasted longer than the window comes late.
pub(super) struct InOrder {
    header: CaptureHeader,
    waiting: BTreeMap<(Offset, u64), ShownExchange>,
    newest: Offset,
    closed: bool,
    as_json: bool,
}

impl InOrder {
    const WINDOW: Duration = Duration::from_secs(60);
    const MOST: usize = 100_000;

    pub(super) fn new(header: &CaptureHeader, as_json: bool) -> Self {
        let (waiting, newest) = (BTreeMap::new(), Offset::ZERO);
        Self { header: header.clone(), waiting, newest, closed: false, as_json }
    }

    pub(super) fn take(&mut self, exchange: Exchange) -> Result<(), Complaint> {
        self.newest = self.newest.max(exchange.ended);
        let shown = ShownExchange::of(&exchange, &self.header);
        self.waiting.insert((exchange.arrived, exchange.id.0), shown);
        let settled = self.newest.minus(Self::WINDOW);
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 >= settled && self.waiting.len() <= Self::MOST {
                break;
            }
            if let Some((_, shown)) = self.waiting.pop_first() {
                self.write(&shown)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, shown: &ShownExchange) -> Result<(), Complaint> {
        if self.closed {
            return Ok(());
        }
        files::to_stdout(|out| {
            if self.as_json { write_line(out, shown) } else { writeln!(out, "{}", shown.line()) }
                .inspect_err(|error| self.closed = error.kind() == io::ErrorKind::BrokenPipe)
        })
    }

    pub(super) fn finish(mut self) -> Result<(), Complaint> {
        while let Some((_, shown)) = self.waiting.pop_first() {
            self.write(&shown)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ShownExchange {
    id: u64,
    arrived: serde_json::Number,
    method: String,
    host: Option<String>,
    target: String,
    version: &'static str,
    status: Option<u16>,
    request_body_bytes: u64,
    response_body_bytes: u64,
    /// Of what is stored.
    request_body_sha256: String,
    response_body_sha256: Option<String>,
    request_body_whole: bool,
    response_body_whole: Option<bool>,
    /// Of all that went by, when not all of it is stored: an HMAC, or plain SHA-256 when nothing is masked.
    request_body_digest: Option<String>,
    response_body_digest: Option<String>,
    /// Whether what is stored is without the content coding that the headers name.
    request_body_decoded: bool,
    response_body_decoded: Option<bool>,
    connection: u64,
    session: u64,
    session_key: &'static str,
    attempts: u32,
    /// The address of the server it went to last.
    server: Option<String>,
    secure: bool,
    altered: bool,
    unfinished: bool,
    frames: Option<ShownFrames>,
    ending: &'static str,
    detail: Option<String>,
    duration_ms: f64,
}

#[derive(Serialize)]
struct ShownFrames {
    client: u64,
    upstream: u64,
}

impl ShownExchange {
    /// One line for people.
    fn line(&self) -> String {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let host = self.host.as_deref().unwrap_or("-");
        let line = format!(
            "{:>8} {} {status:>3} {:>10.3} ms {:>9} B  s{} c{}  {} {host} {}  {}",
            self.id,
            self.arrived,
            self.duration_ms,
            self.response_body_bytes,
            self.session,
            self.connection,
            self.method,
            self.target,
            self.ending,
        );
        files::plain(&line)
    }

    fn of(exchange: &Exchange, header: &CaptureHeader) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stored = |body: &Body| hex(&captures::sha256(&body.stored));
        let passed = |body: &Body| body.digest.map(|digest| hex(&digest));
        let (request, passage) = (&exchange.request, &exchange.passage);
        let response = exchange.response.as_ref();
        let answer = response.map(|response| &response.body);
        let server = passage.server.and_then(|at| header.servers.get(usize::try_from(at).ok()?));
        Self {
            id: exchange.id.0,
            arrived: epoch_seconds(header.started, exchange.arrived),
            method: text(&request.method),
            host: captures::header_value(&request.headers, "host").map(text),
            target: text(&request.target),
            version: request.version.as_str(),
            status: response.map(|response| response.status),
            request_body_bytes: request.body.length,
            response_body_bytes: answer.map_or(0, |body| body.length),
            request_body_sha256: stored(&request.body),
            response_body_sha256: answer.map(stored),
            request_body_whole: request.body.is_whole(),
            response_body_whole: answer.map(Body::is_whole),
            request_body_digest: passed(&request.body),
            response_body_digest: answer.and_then(passed),
            request_body_decoded: request.body.decoded,
            response_body_decoded: answer.map(|body| body.decoded),
            connection: exchange.connection.0,
            session: exchange.session.0,
            session_key: session_key(exchange.session_key),
            attempts: exchange.attempts,
            server: server.cloned(),
            secure: passage.secure,
            altered: passage.altered,
            unfinished: passage.unfinished,
            frames: passage
                .frames
                .map(|frames| ShownFrames { client: frames.client, upstream: frames.upstream }),
            ending: exchange.ending.as_str(),
            detail: (!passage.detail.is_empty()).then(|| passage.detail.clone()),
            duration_ms: millis(exchange.ended.since(exchange.arrived)),
        }
    }
}
