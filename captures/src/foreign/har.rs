//! HAR 1.1 and 1.2, as browsers, proxies and test tools write them: entry by entry, whatever is missing.
//!
//! What HAR keeps of a body is its text after the content coding was taken off: such a body is marked so.
//! `startedDateTime` is when a browser put the request into its queue; what it waited there, and what it took to
//! connect, comes before the first byte that a server saw.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::moment::{self, Moment};
use super::pools::Pools;
use super::{Account, Entry, ForeignError, Moments, exchange, length_only, raw, whole};
use crate::exchange::{Body, Header, Request, Response, Version, header_value};
use crate::units::Offset;

/// One entry may be so long, or what lies between two.
const LONGEST_ENTRY: u64 = 96 << 20;

/// Reads `source`, entry by entry.
///
/// # Errors
/// When it is no HAR, or cannot be read before its first entry; what comes later is damage.
pub fn read_har(source: impl Read, mut take: impl FnMut(Entry)) -> Result<Account, ForeignError> {
    let since = Rc::new(Cell::new(0));
    let source = Metered { source, since: Rc::clone(&since) };
    let mut reading = Reading {
        account: Account::default(),
        pools: Pools::default(),
        last: Offset::ZERO,
        is_har: false,
        since,
        take: &mut take,
    };
    let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(256 << 10, source));
    let done = Outer(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    let mut account = reading.account;
    let is_har = reading.is_har;
    match done {
        Ok(()) if is_har => Ok(account),
        Ok(()) => Err(not("it has no log.entries")),
        Err(error) if is_har && account.entries > 0 => {
            account.damage = Some(format!("after entry {}: {error}", account.entries));
            Ok(account)
        }
        Err(error) => Err(not(&error.to_string())),
    }
}

fn not(what: &str) -> ForeignError {
    ForeignError::Format { wanted: "HAR", what: what.to_owned() }
}

/// A source that fails when one entry is too long, so that nothing grows without a limit.
struct Metered<R> {
    source: R,
    since: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > LONGEST_ENTRY {
            return Err(io::Error::other("an entry above 96 MiB"));
        }
        let count = self.source.read(buffer)?;
        self.since.set(self.since.get() + count as u64);
        Ok(count)
    }
}

struct Reading<'a> {
    account: Account,
    pools: Pools,
    /// The newest moment so far, for entries that have none.
    last: Offset,
    is_har: bool,
    since: Rc<Cell<u64>>,
    take: &'a mut dyn FnMut(Entry),
}

/// The object around `log`.
struct Outer<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Outer<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Outer<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an object with `log`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "log" {
                map.next_value_seed(Log(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The object `log`.
struct Log<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Log<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Log<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an object with `entries`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "entries" {
                self.0.is_har = true;
                map.next_value_seed(Entries(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The array `entries`.
struct Entries<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Value>()? {
            self.0.since.set(0);
            self.0.on_entry(&entry);
        }
        Ok(())
    }
}

impl Reading<'_> {
    fn on_entry(&mut self, entry: &Value) {
        self.account.entries += 1;
        match self.entry(entry) {
            Ok(entry) => {
                self.account.read += 1;
                (self.take)(entry);
            }
            Err(reason) => self.account.skip(reason),
        }
    }

    fn entry(&mut self, entry: &Value) -> Result<Entry, &'static str> {
        let asked = entry.get("request").ok_or("no_request")?;
        let url = asked.get("url").and_then(Value::as_str).filter(|url| !url.is_empty()).ok_or("no_url")?;
        let url = Url::read(url).ok_or("not_http")?;
        let method = asked.get("method").and_then(Value::as_str).filter(|method| !method.is_empty());
        let method = method.ok_or("no_method")?;
        let moments = self.moments(entry);
        let secure = url.scheme.eq_ignore_ascii_case("https");
        let client = format!("{}://{}", url.scheme, url.authority);
        let connection = match entry.get("connection").and_then(text_of).filter(|name| !name.is_empty()) {
            Some(name) => self.pools.named(format!("{client} {name}").as_bytes()),
            None => self.pools.pick(client.as_bytes(), moments.arrived, moments.ended),
        };
        let request = request(method, &url, asked);
        let response = entry.get("response").and_then(response);
        let mut exchange = exchange(connection, moments, request, response);
        exchange.passage.secure = secure;
        let address =
            entry.get("serverIPAddress").and_then(Value::as_str).filter(|address| !address.is_empty());
        let server = address.map_or_else(|| url.with_port(), |address| url.at(address));
        Ok(Entry { exchange, client: None, server: Some(server) })
    }

    fn moments(&mut self, entry: &Value) -> Moments {
        let told = entry.get("startedDateTime").and_then(|value| match value {
            Value::String(text) => moment::iso(text.as_bytes()).or_else(|| moment::epoch(text.as_bytes())),
            Value::Number(number) => moment::epoch(number.to_string().as_bytes()),
            _ => None,
        });
        let started = match told {
            Some(Moment { at, .. }) => at,
            None => {
                self.account.note("without_time");
                self.last
            }
        };
        self.last = self.last.max(started);
        let timing = |name: &str| {
            let value = entry.get("timings").and_then(|timings| timings.get(name));
            milliseconds(value)
        };
        // `ssl` is part of `connect`.
        let arrived = started.plus(timing("blocked")).plus(timing("dns")).plus(timing("connect"));
        let request_done = arrived.plus(timing("send"));
        let response_began = request_done.plus(timing("wait"));
        let done = response_began.plus(timing("receive"));
        let ended = started.plus(milliseconds(entry.get("time"))).max(done);
        Moments { arrived, request_done: Some(request_done), response_began: Some(response_began), ended }
    }
}

/// A length of time, of which -1 says that it does not apply.
fn milliseconds(value: Option<&Value>) -> Duration {
    let millis =
        value.and_then(number_of).filter(|millis| millis.is_finite() && *millis > 0.0).unwrap_or(0.0);
    Duration::try_from_secs_f64(millis.min(1e9) / 1_000.0).unwrap_or_default()
}

fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn length_of(value: Option<&Value>) -> Option<u64> {
    let length = value.and_then(number_of).filter(|length| *length >= 0.0 && *length < 1e15)?;
    Some(length as u64)
}

/// The parts of an address that matter here.
struct Url<'a> {
    scheme: &'a str,
    authority: &'a str,
    target: String,
}

impl<'a> Url<'a> {
    fn read(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        (!authority.is_empty()).then_some(Self { scheme, authority, target })
    }

    fn port(&self) -> &str {
        let told = self
            .authority
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        match told {
            Some((_, port)) if !port.is_empty() => port,
            _ if self.scheme.ends_with('s') => "443",
            _ => "80",
        }
    }

    fn with_port(&self) -> String {
        let suffix = format!(":{}", self.port());
        if self.authority.ends_with(&suffix) {
            self.authority.to_owned()
        } else {
            format!("{}{suffix}", self.authority)
        }
    }

    fn at(&self, address: &str) -> String {
        let address = address.trim_matches(['[', ']']);
        if address.contains(':') {
            format!("[{address}]:{}", self.port())
        } else {
            format!("{address}:{}", self.port())
        }
    }
}

fn request(method: &str, url: &Url<'_>, asked: &Value) -> Request {
    let mut headers = headers(asked);
    if header_value(&headers, "host").is_none() {
        headers.insert(0, Header { name: b"Host".to_vec(), value: url.authority.as_bytes().to_vec() });
    }
    let body = posted(asked.get("postData"), &mut headers);
    let body = body.unwrap_or_else(|| length_only(length_of(asked.get("bodySize")).unwrap_or(0)));
    Request {
        method: method.as_bytes().to_vec(),
        target: url.target.clone().into_bytes(),
        version: version(asked),
        headers,
        body,
        trailers: Vec::new(),
    }
}

fn response(answered: &Value) -> Option<Response> {
    let status = length_of(answered.get("status")).and_then(|status| u16::try_from(status).ok())?;
    // Zero stands for a request that was never answered.
    if !(100..1_000).contains(&status) {
        return None;
    }
    let headers = headers(answered);
    let content = answered.get("content");
    let is_coded = header_value(&headers, "content-encoding").is_some_and(|coding| !coding.is_empty());
    let body = match content.and_then(|content| Some((content, content.get("text")?.as_str()?))) {
        Some((content, text)) if !text.is_empty() => {
            let body = whole(bytes_of(content, text), is_coded);
            // What went by was shorter than what it was decoded to.
            let passed = length_of(answered.get("bodySize")).filter(|size| is_coded && *size > 0);
            Body { length: passed.unwrap_or(body.length), ..body }
        }
        _ => {
            let size = length_of(content.and_then(|content| content.get("size")));
            length_only(size.or_else(|| length_of(answered.get("bodySize"))).unwrap_or(0))
        }
    };
    Some(Response { status, version: version(answered), headers, body, trailers: Vec::new() })
}

/// Text as it was, or what stands in it in base64.
fn bytes_of(holder: &Value, text: &str) -> Vec<u8> {
    let is_base64 = holder
        .get("encoding")
        .and_then(Value::as_str)
        .is_some_and(|name| name.eq_ignore_ascii_case("base64"));
    let decoded = is_base64.then(|| {
        let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(compact).ok()
    });
    decoded.flatten().unwrap_or_else(|| text.as_bytes().to_vec())
}

fn posted(post: Option<&Value>, headers: &mut Vec<Header>) -> Option<Body> {
    let post = post.filter(|post| post.is_object())?;
    let text = post.get("text").and_then(Value::as_str).filter(|text| !text.is_empty());
    let bytes = match text {
        Some(text) => bytes_of(post, text),
        None => form(post.get("params")?.as_array()?)?,
    };
    let kind = post.get("mimeType").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    if let Some(kind) = kind.filter(|_| header_value(headers, "content-type").is_none()) {
        headers.push(Header { name: b"Content-Type".to_vec(), value: kind.as_bytes().to_vec() });
    }
    Some(whole(bytes, false))
}

/// Parameters as a form; they stand there as people read them, or coded already.
fn form(parameters: &[Value]) -> Option<Vec<u8>> {
    let pair = |parameter: &Value| {
        let name = parameter.get("name")?.as_str()?;
        let value = parameter.get("value").and_then(Value::as_str).unwrap_or_default();
        Some(format!("{}={}", percent(name), percent(value)))
    };
    let pairs: Vec<String> = parameters.iter().filter_map(pair).collect();
    (!pairs.is_empty()).then(|| pairs.join("&").into_bytes())
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' | b'%' | b'+' => {
                char::from(byte).to_string()
            }
            b' ' => "+".to_owned(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The fields, without those that HTTP/2 keeps its request line in.
fn headers(message: &Value) -> Vec<Header> {
    let listed = message.get("headers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let field = |field: &Value| {
        let name = field.get("name")?.as_str()?;
        let value = field.get("value").and_then(text_of).unwrap_or_default();
        let header = Header { name: name.as_bytes().to_vec(), value: value.into_bytes() };
        (!name.is_empty() && !name.starts_with(':')).then_some(header)
    };
    listed.iter().filter_map(field).collect()
}

fn version(message: &Value) -> Version {
    let told = message.get("httpVersion").and_then(Value::as_str).unwrap_or_default();
    match told.to_ascii_lowercase().as_str() {
        "h2" | "h2c" => Version::Http2,
        "h3" | "h3-29" | "http/2.0+quic/46" | "quic" => Version::Http3,
        other => raw::version(other.as_bytes()).unwrap_or(Version::Other),
    }
}
