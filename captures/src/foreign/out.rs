//! The way out: a capture's exchanges in the formats of other tools.
//!
//! Exchanges come in the order of their arrival. What a format cannot hold is counted by reason in what
//! [`Export::finish`] gives: a round trip loses that, and nothing else.

mod curl;
mod gor;
mod har;
mod k6;
mod parquet;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write};

use self::parquet::Parquet;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::capture::CaptureHeader;
use crate::exchange::{Body, Exchange, Header, header_value};
use crate::units::Offset;

/// A format that captures can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// HAR 1.2.
    Har,
    /// GoReplay's file.
    Gor,
    /// One JSON object a line, with headers and bodies.
    Jsonl,
    /// A table without headers and bodies.
    Csv,
    /// The same table as Apache Parquet.
    Parquet,
    /// A script for k6.
    K6,
    /// A shell script of curl commands.
    Curl,
}

/// Writes exchanges in one format.
pub struct Export<W> {
    sink: W,
    format: ExportFormat,
    context: Context,
    written: u64,
    parquet: Option<Parquet>,
}

/// What every format goes by.
struct Context {
    /// The moment of offset zero, in nanoseconds since 1970-01-01 UTC.
    started: i128,
    servers: Vec<String>,
    lost: BTreeMap<&'static str, u64>,
}

impl<W: Write> Export<W> {
    /// Begins in `sink`, with exchanges of captures with this header.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn begin(mut sink: W, format: ExportFormat, header: &CaptureHeader) -> io::Result<Self> {
        match format {
            ExportFormat::Har => har::begin(&mut sink, &header.tool)?,
            ExportFormat::Csv => table::begin(&mut sink)?,
            ExportFormat::K6 => k6::begin(&mut sink)?,
            ExportFormat::Curl => curl::begin(&mut sink)?,
            ExportFormat::Gor | ExportFormat::Jsonl | ExportFormat::Parquet => {}
        }
        let parquet = if format == ExportFormat::Parquet { Some(Parquet::begin(&mut sink)?) } else { None };
        let context =
            Context { started: header.started, servers: header.servers.clone(), lost: BTreeMap::new() };
        Ok(Self { sink, format, context, written: 0, parquet })
    }

    /// The next exchange.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn push(&mut self, exchange: &Exchange) -> io::Result<()> {
        let (sink, context) = (&mut self.sink, &mut self.context);
        let is_first = self.written == 0;
        let is_written = match self.format {
            ExportFormat::Har => har::push(sink, context, exchange, is_first)?,
            ExportFormat::Gor => gor::push(sink, context, exchange)?,
            ExportFormat::Jsonl => table::push_object(sink, context, exchange)?,
            ExportFormat::Csv => table::push_row(sink, context, exchange)?,
            ExportFormat::Parquet => match &mut self.parquet {
                Some(parquet) => parquet.push(sink, context, exchange)?,
                None => false,
            },
            ExportFormat::K6 => k6::push(sink, context, exchange, is_first)?,
            ExportFormat::Curl => curl::push(sink, context, exchange)?,
        };
        self.written += u64::from(is_written);
        Ok(())
    }

    /// Ends the file. Gives how many exchanges are in it, and what of them is not, by reason.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn finish(mut self) -> io::Result<(u64, BTreeMap<&'static str, u64>)> {
        match self.format {
            ExportFormat::Har => har::end(&mut self.sink)?,
            ExportFormat::K6 => k6::end(&mut self.sink)?,
            ExportFormat::Gor
            | ExportFormat::Jsonl
            | ExportFormat::Csv
            | ExportFormat::Parquet
            | ExportFormat::Curl => {}
        }
        if let Some(parquet) = self.parquet.take() {
            parquet.end(&mut self.sink)?;
        }
        self.sink.flush()?;
        Ok((self.written, self.context.lost))
    }
}

impl Context {
    fn lose(&mut self, what: &'static str) {
        *self.lost.entry(what).or_default() += 1;
    }

    fn nanos(&self, at: Offset) -> i128 {
        self.started + i128::from(at.as_nanos())
    }

    /// Counts what of `exchange` no format but a capture holds.
    fn lose_usual(&mut self, exchange: &Exchange) {
        let answer = exchange.response.as_ref();
        if !exchange.request.body.is_whole() || answer.is_some_and(|answer| !answer.body.is_whole()) {
            self.lose("bodies_that_are_cut");
        }
        if !exchange.request.trailers.is_empty() || answer.is_some_and(|answer| !answer.trailers.is_empty()) {
            self.lose("trailers");
        }
        if exchange.attempts > 1 {
            self.lose("retries");
        }
    }

    /// The address that `exchange` asked for.
    fn url(&self, exchange: &Exchange) -> String {
        let target = String::from_utf8_lossy(&exchange.request.target);
        if target.contains("://") {
            return target.into_owned();
        }
        let scheme = if exchange.passage.secure { "https" } else { "http" };
        let host = header_value(&exchange.request.headers, "host").map(String::from_utf8_lossy);
        let server = exchange.passage.server.and_then(|at| self.servers.get(usize::try_from(at).ok()?));
        let host = host.unwrap_or_else(|| server.map_or("unknown.invalid", String::as_str).into());
        let slash = if target.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{host}{slash}{target}")
    }
}

/// The fields that still hold when the body stands there whole, without transfer coding.
fn plain_fields(headers: &[Header]) -> impl Iterator<Item = &Header> {
    headers.iter().filter(|header| {
        ![
            "transfer-encoding",
            "content-length",
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
        ]
        .iter()
        .any(|name| header.is(name))
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The stored bytes as text, or in base64 where they are none.
fn as_text(body: &Body) -> (String, bool) {
    match std::str::from_utf8(&body.stored) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(&body.stored), true),
    }
}

/// `2021-09-29T12:37:05.123456Z`.
///
/// Source: H. Hinnant, *chrono-Compatible Low-Level Date Algorithms* (2013), `civil_from_days`.
fn iso(nanos: i128) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let micros = nanos.rem_euclid(1_000_000_000) / 1_000;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 { month_of_year + 3 } else { month_of_year - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests;
