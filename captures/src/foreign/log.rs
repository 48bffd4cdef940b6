//! Access logs: a line for each request, in the formats of many servers.
//!
//! A log has no bodies and few headers; it has rate, mix, statuses, sizes and whose request it was. Where its
//! moments are no finer than a second, the lines of one second are spread evenly over it, in their order: that is
//! counted as a note, since it is a guess.
//!
//! Whether a moment is that of the request or that of its end differs by server; where a duration is told, both
//! are known.

mod moments;

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::time::Duration;

use super::moment::{self, Moment};
use super::pools::Pools;
use super::template::Template;
use super::w3c::Fields;
use super::{Account, Entry, ForeignError, Moments, exchange, jsonlog, length_only, raw, whole};
use crate::exchange::{Header, Request, Response, Version};
use crate::units::Offset;

pub use moments::read_log_moments;

/// A line may be so long.
const LONGEST_LINE: usize = 1 << 20;
/// So many lines of one second are spread; a second with more is spread in parts.
const MOST_OF_A_SECOND: usize = 100_000;
/// After so many lines of which none could be read, it is no log.
const PATIENCE: u64 = 1_000;

/// Formats that are known by themselves, the ones that tell most first.
///
/// Envoy's and the load balancers' are their documented defaults; nginx proxy manager's is its own; `rest` of
/// the common ones may hold a duration.
const KNOWN: [&str; 11] = [
    "[$start_iso] \"$request\" $status $response_flags $bytes_received $body_bytes_sent $duration_ms $upstream_ms \"$http_x_forwarded_for\" \"$http_user_agent\" \"$request_id\" \"$host\" \"$upstream_host\"",
    "$alb_type $end_iso $elb $client_port $upstream_addr $seconds_1 $seconds_2 $seconds_3 $status $upstream_status $bytes_received $body_bytes_sent \"$request\" \"$http_user_agent\" $ssl_cipher $ssl_protocol $target_group \"$trace\" ",
    "$end_iso $elb $client_port $upstream_addr $seconds_1 $seconds_2 $seconds_3 $status $upstream_status $bytes_received $body_bytes_sent \"$request\" \"$http_user_agent\" ",
    "[$time_local] - $status $upstream_status - $request_method $scheme $host \"$request_uri\" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] \"$http_user_agent\" \"$http_referer\"",
    "[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host \"$request_uri\" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] \"$http_user_agent\" \"$http_referer\"",
    "$host $remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"",
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"",
    "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"",
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent",
    "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent",
    "$host $remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent",
];

/// How the lines of a log are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Each line by the first known format that fits.
    Known,
    /// By this format alone.
    Template(Template),
}

/// Reads `source`, line by line.
///
/// # Errors
/// When none of the first thousand lines, or of all, is a line of a log.
pub fn read_log(
    source: impl BufRead,
    format: &LogFormat,
    mut take: impl FnMut(Entry),
) -> Result<Account, ForeignError> {
    let mut reading = Reading::new(format)?;
    reading.each_line(source, |reading, line| reading.on_line(line, &mut take))?;
    reading.spread(&mut take);
    reading.close()
}

impl Reading {
    /// Hands every line of `source` that is not too long to `on_line`, until it is clear that it is no log.
    fn each_line(
        &mut self,
        mut source: impl BufRead,
        mut on_line: impl FnMut(&mut Self, &[u8]),
    ) -> Result<(), ForeignError> {
        let mut line = Vec::new();
        loop {
            match next_line(&mut source, &mut line) {
                Ok(Line::End) => return Ok(()),
                Ok(Line::Whole) => on_line(self, &line),
                Ok(Line::TooLong) => {
                    self.account.entries += 1;
                    self.account.skip("too_long");
                }
                Err(error) if self.account.entries > 0 => {
                    self.account.damage = Some(format!("after line {}: {error}", self.account.entries));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            if self.account.read == 0 && self.account.entries >= PATIENCE {
                return Ok(());
            }
        }
    }

    /// The account, when any line was one of a log.
    fn close(self) -> Result<Account, ForeignError> {
        let account = self.account;
        if account.read == 0 {
            let what = format!("none of its first {} lines is one", account.entries);
            return Err(ForeignError::Format { wanted: "access log that is known", what });
        }
        Ok(account)
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// The next line without its end; an empty one counts as none and is stepped over.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    loop {
        line.clear();
        let count = Read::take(&mut *source, LONGEST_LINE as u64).read_until(b'\n', line)?;
        if count == 0 {
            return Ok(Line::End);
        }
        if line.last() != Some(&b'\n') && count >= LONGEST_LINE {
            skip_line(source)?;
            return Ok(Line::TooLong);
        }
        line.truncate(line.trim_ascii_end().len());
        if !line.is_empty() {
            return Ok(Line::Whole);
        }
    }
}

fn skip_line(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        let is_over = end.is_some() || bytes.is_empty();
        source.consume(used);
        if is_over {
            return Ok(());
        }
    }
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) at: Option<Moment>,
    /// Whether `at` is when the request came, not when it was done.
    pub(super) at_start: bool,
    pub(super) duration: Option<Duration>,
    pub(super) request_line: Option<Vec<u8>>,
    pub(super) method: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) query: Option<Vec<u8>>,
    pub(super) version: Option<Version>,
    pub(super) status: Option<u16>,
    pub(super) sent: Option<u64>,
    pub(super) received: Option<u64>,
    pub(super) client: Option<IpAddr>,
    pub(super) host: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
    pub(super) connection: Option<Vec<u8>>,
    pub(super) server: Option<Vec<u8>>,
    pub(super) is_secure: bool,
}

struct Reading {
    templates: Vec<Template>,
    /// The one that fitted last is tried first.
    last: usize,
    fields: Option<Fields>,
    account: Account,
    pools: Pools,
    /// Entries of one second that are to be spread over it.
    second: Vec<Entry>,
}

impl Reading {
    fn new(format: &LogFormat) -> Result<Self, ForeignError> {
        let templates = match format {
            LogFormat::Template(template) => vec![template.clone()],
            LogFormat::Known => {
                let known = KNOWN.iter().map(|typed| Template::parse(typed)).collect::<Result<Vec<_>, _>>();
                known.map_err(|what| ForeignError::Format { wanted: "format", what })?
            }
        };
        Ok(Self {
            templates,
            last: 0,
            fields: None,
            account: Account::default(),
            pools: Pools::default(),
            second: Vec::new(),
        })
    }

    fn on_line(&mut self, line: &[u8], take: &mut impl FnMut(Entry)) {
        if line.starts_with(b"#") {
            // A directive is no entry.
            if let Some(fields) = Fields::read(line) {
                self.fields = Some(fields);
            }
            return;
        }
        self.account.entries += 1;
        let Some(said) = self.said(line) else { return self.account.skip("unknown_format") };
        match self.entry(said) {
            Ok((entry, is_coarse)) => {
                self.account.read += 1;
                if is_coarse {
                    self.on_coarse(entry, take);
                } else {
                    take(entry);
                }
            }
            Err(reason) => self.account.skip(reason),
        }
    }

    fn said(&mut self, line: &[u8]) -> Option<Said> {
        if let Some(fields) = &self.fields {
            return fields.said(line);
        }
        if line.starts_with(b"{") {
            return jsonlog::said(line);
        }
        // Some exports put a whole line in quotes.
        let line = match line {
            [b'"', inner @ .., b'"'] if !inner.starts_with(b"\"") => inner,
            line => line,
        };
        let order = std::iter::once(self.last).chain((0..self.templates.len()).filter(|at| *at != self.last));
        for at in order.collect::<Vec<_>>() {
            if let Some(said) = said_by(&self.templates[at], line) {
                self.last = at;
                return Some(said);
            }
        }
        None
    }

    fn entry(&mut self, said: Said) -> Result<(Entry, bool), &'static str> {
        let Moment { at, is_coarse } = said.at.ok_or("no_time")?;
        let (method, target, version) = asked(&said)?;
        let duration = said.duration.unwrap_or_default();
        let (arrived, ended) = if said.at_start { (at, at.plus(duration)) } else { (at.minus(duration), at) };
        let mut headers = Vec::new();
        if let Some(host) = &said.host {
            headers.push(Header { name: b"Host".to_vec(), value: host.clone() });
        }
        headers.extend(said.headers.iter().cloned());
        let agent = crate::exchange::header_value(&headers, "user-agent").unwrap_or_default();
        let who = [said.client.map(|client| client.to_string()).unwrap_or_default().as_bytes(), b" ", agent]
            .concat();
        let connection = match &said.connection {
            Some(name) => self.pools.named(name),
            None => self.pools.pick(&who, arrived, ended),
        };
        let received = said.received.unwrap_or(0);
        // What was received counts the head too, in most logs: a body is known to be there by its method.
        let has_body = matches!(method.as_slice(), b"POST" | b"PUT" | b"PATCH");
        let body = if has_body && received > 0 { length_only(received) } else { whole(Vec::new(), false) };
        let request = Request { method, target, version, headers, body, trailers: Vec::new() };
        let response = said.status.map(|status| Response {
            status,
            version,
            headers: Vec::new(),
            body: length_only(said.sent.unwrap_or(0)),
            trailers: Vec::new(),
        });
        let began = response.is_some().then_some(ended);
        let moments = Moments { arrived, request_done: Some(arrived), response_began: began, ended };
        let mut exchange = exchange(connection, moments, request, response);
        exchange.passage.secure = said.is_secure;
        let server = said.server.as_deref().map(|server| String::from_utf8_lossy(server).into_owned());
        Ok((Entry { exchange, client: said.client, server }, is_coarse))
    }

    fn on_coarse(&mut self, entry: Entry, take: &mut impl FnMut(Entry)) {
        let ended = |entry: &Entry| entry.exchange.ended.second();
        if self.second.first().is_some_and(|first| ended(first) != ended(&entry))
            || self.second.len() >= MOST_OF_A_SECOND
        {
            self.spread(take);
        }
        self.second.push(entry);
    }

    /// Gives the entries of one second out, evenly.
    fn spread(&mut self, take: &mut impl FnMut(Entry)) {
        let count = self.second.len().max(1) as u64;
        for (at, mut entry) in (0..).zip(std::mem::take(&mut self.second)) {
            let shift = Duration::from_nanos(1_000_000_000 * at / count);
            if at > 0 {
                self.account.note("spread_within_a_second");
            }
            let exchange = &mut entry.exchange;
            exchange.arrived = exchange.arrived.plus(shift);
            exchange.request_done = exchange.request_done.map(|moment| moment.plus(shift));
            exchange.response_began = exchange.response_began.map(|moment| moment.plus(shift));
            exchange.ended = exchange.ended.plus(shift);
            take(entry);
        }
    }
}

/// Method, target and version, however they are told.
fn asked(said: &Said) -> Result<(Vec<u8>, Vec<u8>, Version), &'static str> {
    if let Some(line) = &said.request_line {
        let line = unescaped(line);
        return match raw::request_line(&line) {
            Some((method, target, version)) => Ok((method.to_vec(), path_of(target), version)),
            // Behind a proxy the target may have no version, and a connection that said nothing has a dash.
            None => Err("no_request_line"),
        };
    }
    let method =
        said.method.clone().filter(|method| !method.is_empty() && method.iter().all(u8::is_ascii_alphabetic));
    let mut target = said.target.clone().filter(|target| !target.is_empty()).ok_or("no_target")?;
    if let Some(query) = said.query.as_ref().filter(|query| !query.is_empty() && *query != b"-") {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    Ok((method.ok_or("no_method")?, path_of(&target), said.version.unwrap_or(Version::Http11)))
}

/// Load balancers log the whole address; what was sent was its path.
fn path_of(target: &[u8]) -> Vec<u8> {
    let authority = [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| target.strip_prefix(scheme));
    match authority.and_then(|rest| Some(&rest[rest.iter().position(|&byte| byte == b'/')?..])) {
        Some(path) => path.to_vec(),
        None => target.to_vec(),
    }
}

/// `\xHH` and `\"` as servers write what they cannot show.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (byte, after.first()) {
            (b'\\', Some(b'x')) if let (Some(high), Some(low)) = (digit(1), digit(2)) => {
                plain.push(u8::try_from(high << 4 | low).unwrap_or(b'?'));
                rest = &after[3..];
            }
            (b'\\', Some(&quoted @ (b'"' | b'\\'))) => {
                plain.push(quoted);
                rest = &after[1..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

fn said_by(template: &Template, line: &[u8]) -> Option<Said> {
    // A moment that does not read, or a status that is none, says that the format is another one.
    let mut said = Said { at_start: starts(template), ..Said::default() };
    let mut is_wrong = false;
    let fits = template.read(line, |name, value| is_wrong |= !said.take(name, value));
    (fits && !is_wrong && said.at.is_some() && said.status.is_some()).then_some(said)
}

/// Whether the moment of a line in this format is that of the request's arrival: so for all but nginx, which
/// is known by its durations, and load balancers, which write when they are done.
fn starts(template: &Template) -> bool {
    let ends = ["request_time", "upstream_response_time", "msec", "end_iso", "time_iso8601"];
    !ends.iter().any(|name| template.has(name))
}

impl Said {
    /// Takes the value of a variable; `false` when it cannot be one.
    pub(super) fn take(&mut self, name: &str, value: &[u8]) -> bool {
        if value.is_empty() || value == b"-" {
            return !matches!(
                name,
                "time_local" | "time_iso8601" | "msec" | "status" | "start_iso" | "end_iso"
            );
        }
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
        let length = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let seconds = |unit: f64| {
            let length = number().filter(|length| *length >= 0.0).map(|length| length * unit)?;
            Duration::try_from_secs_f64(length.min(1e9)).ok()
        };
        match name {
            "time_local" => return set(&mut self.at, moment::common(value)),
            "time_iso8601" | "start_iso" | "end_iso" => return set(&mut self.at, moment::iso(value)),
            "msec" => return set(&mut self.at, moment::epoch(value)),
            "request" => self.request_line = Some(value.to_vec()),
            "request_method" => self.method = Some(value.to_vec()),
            "request_uri" => self.target = Some(value.to_vec()),
            "uri" | "document_uri" => {
                self.target.get_or_insert_with(|| value.to_vec());
            }
            "args" | "query_string" => self.query = Some(value.to_vec()),
            "server_protocol" => self.version = raw::version(value),
            "status" => return set(&mut self.status, length().and_then(status)),
            "body_bytes_sent" => self.sent = length(),
            "bytes_sent" => self.sent = self.sent.or_else(length),
            "bytes_received" | "content_length" | "request_length" => self.received = length(),
            "request_time" => self.duration = seconds(1.0),
            "duration_ms" => self.duration = seconds(1e-3),
            "duration_us" => self.duration = seconds(1e-6),
            "seconds_1" | "seconds_2" | "seconds_3" => {
                // -1 where the target did not answer.
                let more = seconds(1.0).unwrap_or_default();
                self.duration = Some(self.duration.unwrap_or_default() + more);
            }
            "upstream_response_time" => self.duration = self.duration.or_else(|| seconds(1.0)),
            "remote_addr" | "client_port" | "realip_remote_addr" => {
                self.client = address(value);
                return self.client.is_some() || name != "client_port";
            }
            "host" | "http_host" | "server_name" => self.host = Some(value.to_vec()),
            "scheme" => self.is_secure = value == b"https",
            "https" => self.is_secure = value == b"on",
            "connection" => self.connection = Some(value.to_vec()),
            "upstream_addr" | "upstream_host" => self.server = Some(value.to_vec()),
            "rest" => self.rest(value),
            _ => self.header(name, value),
        }
        true
    }

    /// What stands behind a common line: a duration where it is told with its unit, or with a fraction.
    fn rest(&mut self, rest: &[u8]) {
        let words = rest.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        for word in words {
            let text = std::str::from_utf8(word).unwrap_or_default().trim_matches('"');
            let told = match text.strip_suffix("ms") {
                Some(millis) => millis.parse::<f64>().ok().map(|millis| millis / 1e3),
                None if text.contains('.') => text.parse::<f64>().ok(),
                None => None,
            };
            if let Some(length) = told.filter(|length| (0.0..1e6).contains(length)) {
                self.duration = self.duration.or_else(|| Duration::try_from_secs_f64(length).ok());
                // nginx writes a line when it is done, with seconds; Traefik's moment is the start.
                self.at_start = text.ends_with("ms");
                return;
            }
        }
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        if let Some(name) = name.strip_prefix("http_") {
            let name = name.replace('_', "-").into_bytes();
            let name = if name == b"user-agent" { b"User-Agent".to_vec() } else { name };
            self.headers.push(Header { name, value: unescaped(value).into_owned() });
        } else if let Some(cookie) = name.strip_prefix("cookie_") {
            let value = [cookie.as_bytes(), b"=", value].concat();
            self.headers.push(Header { name: b"Cookie".to_vec(), value });
        }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let is_right = value.is_some();
    *place = value;
    is_right
}

/// A status, or none where a server writes zero.
pub(super) fn status(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|status| (100..1_000).contains(status))
}

/// The address in `1.2.3.4`, `1.2.3.4:567`, `[::1]:567` or `::1`.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let first = text.split(',').next()?.trim();
    first.parse().ok().or_else(|| first.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

/// Coarse moments count from the start of their second.
pub(super) const fn coarse(at: Offset) -> Moment {
    Moment { at, is_coarse: true }
}
