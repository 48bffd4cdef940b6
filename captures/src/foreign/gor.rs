//! GoReplay's files: a line `TYPE ID TIMESTAMP [LATENCY]`, a raw HTTP/1 message, and a line of three monkeys.
//!
//! Types are 1 (request), 2 (its response) and 3 (the response of a replay), told to belong together by the id.
//! A replayed response is used where the original one is not in the file.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead};
use std::time::Duration;

use super::pools::Pools;
use super::{Account, Entry, ForeignError, Moments, exchange, raw, whole};
use crate::exchange::{Request, Response, header_value};
use crate::units::Offset;

/// What stands between records.
pub(super) const SEPARATOR: &[u8] = "\n🐵🙈🙉\n".as_bytes();

/// A record may be so long.
const LONGEST: usize = 64 << 20;
/// So many requests wait for their responses, with so many bytes.
const MOST_WAITING: usize = 10_000;
const MOST_HELD: usize = 64 << 20;

/// Reads `source`, record by record. `entries` counts records; responses are read into their requests.
///
/// # Errors
/// When it is no such file, or cannot be read before its first record.
pub fn read_gor(mut source: impl BufRead, mut take: impl FnMut(Entry)) -> Result<Account, ForeignError> {
    let mut reading = Reading::default();
    let mut record = Vec::new();
    loop {
        match next(&mut source, &mut record) {
            Ok(Next::End) => break,
            Ok(Next::Record) => reading.on_record(&record, &mut take),
            Ok(Next::TooLong) => {
                reading.account.entries += 1;
                reading.account.skip("too_long");
            }
            Err(error) if reading.account.entries > 0 => {
                reading.account.damage = Some(format!("after record {}: {error}", reading.account.entries));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    while reading.emit_oldest(&mut take) {}
    let account = reading.account;
    let nothing = account.read == 0 && account.skipped.get("no_record_line") == Some(&account.entries);
    if nothing {
        let what = "its first line is no `TYPE ID TIMESTAMP`".to_owned();
        return Err(ForeignError::Format { wanted: "file of GoReplay", what });
    }
    Ok(account)
}

enum Next {
    Record,
    TooLong,
    End,
}

/// The next record, without what ends it.
fn next(source: &mut impl BufRead, record: &mut Vec<u8>) -> io::Result<Next> {
    record.clear();
    let mut is_too_long = false;
    loop {
        let before = record.len();
        // The separator ends in a line end, and so does nothing but a line.
        let count = io::Read::take(&mut *source, LONGEST as u64 + 1).read_until(b'\n', record)?;
        if count == 0 {
            let is_empty = record.iter().all(u8::is_ascii_whitespace);
            return Ok(match (is_too_long, is_empty) {
                (true, _) => Next::TooLong,
                (false, true) => Next::End,
                (false, false) => Next::Record,
            });
        }
        if record[before..] == SEPARATOR[1..] {
            let end = before.saturating_sub(1);
            record.truncate(end);
            return Ok(if is_too_long { Next::TooLong } else { Next::Record });
        }
        if record.len() > LONGEST {
            is_too_long = true;
            record.clear();
        }
    }
}

#[derive(Default)]
struct Reading {
    account: Account,
    pools: Pools,
    waiting: HashMap<Vec<u8>, Waiting>,
    order: VecDeque<Vec<u8>>,
    held: usize,
}

struct Waiting {
    at: Offset,
    request: Request,
    original: Option<(Moments, Response)>,
    replayed: Option<(Moments, Response)>,
    size: usize,
}

impl Reading {
    fn on_record(&mut self, record: &[u8], take: &mut impl FnMut(Entry)) {
        self.account.entries += 1;
        let done = match Line::read(record) {
            None => Err("no_record_line"),
            Some(line) if line.kind == b'1' => self.on_request(&line, take),
            Some(line) => self.on_response(&line),
        };
        match done {
            Ok(()) => self.account.read += 1,
            Err(reason) => self.account.skip(reason),
        }
    }

    fn on_request(&mut self, line: &Line<'_>, take: &mut impl FnMut(Entry)) -> Result<(), &'static str> {
        let parts = raw::parts(line.message).ok_or("no_message")?;
        let (method, target, version) = raw::request_line(parts.line).ok_or("no_request_line")?;
        let request = Request {
            method: method.to_vec(),
            target: target.to_vec(),
            version,
            body: whole(raw::body(&parts.headers, parts.rest), false),
            headers: parts.headers,
            trailers: Vec::new(),
        };
        if self.waiting.contains_key(line.id) {
            return Err("id_used_twice");
        }
        while self.waiting.len() >= MOST_WAITING || self.held > MOST_HELD {
            self.emit_oldest(take);
        }
        let size = line.message.len();
        self.held += size;
        self.order.push_back(line.id.to_vec());
        let waiting = Waiting { at: line.at, request, original: None, replayed: None, size };
        self.waiting.insert(line.id.to_vec(), waiting);
        Ok(())
    }

    fn on_response(&mut self, line: &Line<'_>) -> Result<(), &'static str> {
        let waiting = self.waiting.get_mut(line.id).ok_or("response_without_request")?;
        let parts = raw::parts(line.message).ok_or("no_message")?;
        let mut words = parts.line.splitn(3, |&byte| byte == b' ');
        let version = words.next().and_then(raw::version).ok_or("no_status_line")?;
        let status = words.next().and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let status = status.filter(|status| (100..1_000).contains(status)).ok_or("no_status_line")?;
        let body = whole(raw::body(&parts.headers, parts.rest), false);
        let response = Response { status, version, headers: parts.headers, body, trailers: Vec::new() };
        // The timestamp is the response's own; a latency may stand behind it.
        let began = line.at.max(waiting.at);
        let ended = began.max(waiting.at.plus(line.latency));
        let moments = Moments {
            arrived: waiting.at,
            request_done: Some(waiting.at),
            response_began: Some(began),
            ended,
        };
        self.held += line.message.len();
        waiting.size += line.message.len();
        let place = if line.kind == b'2' { &mut waiting.original } else { &mut waiting.replayed };
        *place = Some((moments, response));
        Ok(())
    }

    fn emit_oldest(&mut self, take: &mut impl FnMut(Entry)) -> bool {
        let Some(id) = self.order.pop_front() else { return false };
        let Some(waiting) = self.waiting.remove(&id) else { return true };
        self.held -= waiting.size;
        if waiting.original.is_some() && waiting.replayed.is_some() {
            self.account.note("replayed_responses_unused");
        }
        let Waiting { at, request, original, replayed, .. } = waiting;
        let (moments, response) = match original.or(replayed) {
            Some((moments, response)) => (moments, Some(response)),
            None => (Moments { arrived: at, request_done: Some(at), response_began: None, ended: at }, None),
        };
        let agent = header_value(&request.headers, "user-agent").unwrap_or_default();
        let cookie = header_value(&request.headers, "cookie").unwrap_or_default();
        let client = [agent, b"\n", cookie].concat();
        let connection = self.pools.pick(&client, moments.arrived, moments.ended);
        let exchange = exchange(connection, moments, request, response);
        take(Entry { exchange, client: None, server: None });
        true
    }
}

/// A record taken apart.
struct Line<'a> {
    kind: u8,
    id: &'a [u8],
    at: Offset,
    latency: Duration,
    message: &'a [u8],
}

impl<'a> Line<'a> {
    fn read(record: &'a [u8]) -> Option<Self> {
        let start = record.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let record = &record[start..];
        let end = record.iter().position(|&byte| byte == b'\n')?;
        let (line, message) = (&record[..end], &record[end + 1..]);
        let mut words = line.trim_ascii().split(|&byte| byte == b' ');
        let kind = match words.next()? {
            [kind @ b'1'..=b'3'] => *kind,
            _ => return None,
        };
        let id = words.next().filter(|id| !id.is_empty())?;
        let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
        let at = Offset::from_nanos(number(words.next()?)?);
        // Negative where a clock went back.
        let latency = Duration::from_nanos(words.next().and_then(number).unwrap_or(0));
        Some(Self { kind, id, at, latency, message })
    }
}
