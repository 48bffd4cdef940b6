//! Compiles a capture into requests that are ready to be sent.
//!
//! Each exchange becomes the bytes of one request, made once: hop-by-hop fields removed, Host and the
//! addresses of the recorded origin rewritten, framing set anew, the marker header added. Equal bytes are
//! kept once. What must not or cannot be sent again is held back and counted by reason, never silently.
//!
//! The plan says nothing of moments in the run: [`crate::schedule`] does.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use captures::{Exchange, ExchangeId, Header, Rate, Routes, header_value, route_of};

/// The header that marks replayed traffic; recorders leave such traffic out.
pub const MARKER: &str = "Highwater-Replay";

/// The most bytes of request texts that a plan holds.
const MAX_TEXT: usize = 4 << 30;

/// The most recorded authorities that are kept for the check against the origin.
const MAX_AUTHORITIES: usize = 10_000;

/// What the requests are rewritten for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// The authority of the target, for `Host`: `staging.test:8443`.
    pub authority: String,
    /// Put before every path; empty, or beginning with `/` and not ending with it.
    pub base_path: String,
    /// Whether requests that may change something at the target are sent.
    pub allow_unsafe: bool,
}

/// What a capture holds of the production it was recorded in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The share of the sessions that was recorded, above 0 and up to 1.
    pub sampling_ratio: f64,
    /// Exchanges that a filter left out of those sessions.
    pub filtered: u64,
}

impl Share {
    /// All of it.
    pub const ALL: Self = Self { sampling_ratio: 1.0, filtered: 0 };
}

/// A capture, compiled.
#[derive(Debug)]
pub struct Plan {
    /// The requests, in order of arrival.
    pub(crate) requests: Vec<PlannedRequest>,
    text: Vec<u8>,
    sessions: u32,
    connections: u32,
    routes: Routes,
    span: Duration,
    share: Share,
    held_back: Vec<(HeldBack, u64)>,
    authorities: Vec<String>,
}

/// One request of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedRequest {
    pub(crate) exchange: ExchangeId,
    /// Nanoseconds after the first request of the plan.
    pub(crate) arrived: u64,
    pub(crate) session: u32,
    pub(crate) connection: u32,
    pub(crate) route: u16,
    /// Zero: the recording has no response.
    pub(crate) recorded_status: u16,
    /// Whether the answer has no body because of the method.
    pub(crate) is_head: bool,
    /// Whether it may be sent a second time.
    pub(crate) is_safe: bool,
    /// Whether no later request of the plan uses its connection.
    pub(crate) is_last: bool,
    text_at: usize,
    text_length: usize,
}

/// Why an exchange of the capture is not in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBack {
    /// Its method may change something at the target, and that was not allowed.
    UnsafeMethod,
    /// Its body was not stored whole.
    BodyCut,
    /// It is a tunnel or an upgrade.
    Upgrade,
    /// It is not valid HTTP, so that sending it would mean something else.
    Invalid,
}

impl HeldBack {
    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsafeMethod => "unsafe_method",
            Self::BodyCut => "body_cut",
            Self::Upgrade => "upgrade",
            Self::Invalid => "invalid",
        }
    }
}

/// Why a capture cannot become a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// There is no exchange in it.
    Empty,
    /// Every exchange was held back.
    AllHeldBack {
        /// How many, by reason.
        held_back: Vec<(HeldBack, u64)>,
    },
    /// The request texts are above the limit.
    TooLarge,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "holds no exchange"),
            Self::AllHeldBack { held_back } => {
                write!(f, "nothing is left to send (")?;
                for (at, (reason, count)) in held_back.iter().enumerate() {
                    write!(f, "{}{count} {}", if at > 0 { ", " } else { "" }, reason.as_str())?;
                }
                write!(f, ")")
            }
            Self::TooLarge => write!(f, "holds more than {} GiB of distinct requests", MAX_TEXT >> 30),
        }
    }
}

impl PlanError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Empty => "record some traffic first",
            Self::AllHeldBack { .. } => {
                "--allow-unsafe also sends methods that may change something at the target"
            }
            Self::TooLarge => "record a shorter capture",
        }
    }
}

impl std::error::Error for PlanError {}

/// Collects exchanges, in any order, into a [`Plan`].
#[derive(Debug)]
pub struct Planner {
    rewriting: Rewriting,
    requests: Vec<PlannedRequest>,
    text: Vec<u8>,
    known_texts: HashMap<Vec<u8>, usize>,
    sessions: HashMap<u64, u32>,
    connections: HashMap<u64, u32>,
    routes: Routes,
    held_back: std::collections::BTreeMap<HeldBack, u64>,
    authorities: std::collections::BTreeSet<String>,
    too_large: bool,
}

/// Texts up to this size are looked up, so that equal ones are kept once.
const MAX_SHARED_TEXT: usize = 16 << 10;

impl Planner {
    /// With nothing planned yet.
    pub fn new(rewriting: Rewriting) -> Self {
        Self {
            rewriting,
            requests: Vec::new(),
            text: Vec::new(),
            known_texts: HashMap::new(),
            sessions: HashMap::new(),
            connections: HashMap::new(),
            routes: Routes::new(),
            held_back: std::collections::BTreeMap::new(),
            authorities: std::collections::BTreeSet::new(),
            too_large: false,
        }
    }

    /// Plans one exchange, or holds it back.
    pub fn add(&mut self, exchange: &Exchange) {
        if let Some(host) = header_value(&exchange.request.headers, "host")
            && self.authorities.len() < MAX_AUTHORITIES
        {
            self.authorities.insert(String::from_utf8_lossy(host).to_ascii_lowercase());
        }
        let text = match request_text(exchange, &self.rewriting) {
            Ok(text) => text,
            Err(reason) => {
                *self.held_back.entry(reason).or_default() += 1;
                return;
            }
        };
        let text_length = text.len();
        if self.text.len() + text_length > MAX_TEXT {
            self.too_large = true;
            return;
        }
        let text_at = if text_length <= MAX_SHARED_TEXT {
            if let Some(&at) = self.known_texts.get(&text) {
                at
            } else {
                let at = self.text.len();
                self.text.extend_from_slice(&text);
                self.known_texts.insert(text, at);
                at
            }
        } else {
            let at = self.text.len();
            self.text.extend_from_slice(&text);
            at
        };
        let route = self.routes.number(&route_of(&exchange.request.method, &exchange.request.target));
        self.requests.push(PlannedRequest {
            exchange: exchange.id,
            arrived: exchange.arrived.as_nanos(),
            session: numbered(&mut self.sessions, exchange.session.0),
            connection: numbered(&mut self.connections, exchange.connection.0),
            route,
            recorded_status: exchange.response.as_ref().map_or(0, |response| response.status),
            is_head: exchange.request.method == b"HEAD",
            is_safe: is_safe(&exchange.request.method),
            is_last: false,
            text_at,
            text_length,
        });
    }

    /// The plan of all that was added, which was this `share` of production.
    ///
    /// # Errors
    /// When nothing is left to send, or the texts are above the limit.
    pub fn finish(self, share: Share) -> Result<Plan, PlanError> {
        let held_back: Vec<(HeldBack, u64)> = self.held_back.into_iter().collect();
        if self.too_large {
            return Err(PlanError::TooLarge);
        }
        let mut requests = self.requests;
        requests.sort_by_key(|request| (request.arrived, request.exchange));
        let (Some(first), Some(last)) = (requests.first().copied(), requests.last().copied()) else {
            return Err(if held_back.is_empty() {
                PlanError::Empty
            } else {
                PlanError::AllHeldBack { held_back }
            });
        };
        // n requests mark off n − 1 gaps: one mean gap more makes n in a span the recorded rate.
        let between = u128::from(last.arrived - first.arrived);
        let count = requests.len() as u128;
        let span = if between == 0 { 1_000_000_000 } else { between * count / (count - 1) };
        let mut seen = vec![false; self.connections.len()];
        for request in requests.iter_mut().rev() {
            request.arrived -= first.arrived;
            let later = &mut seen[request.connection as usize];
            request.is_last = !*later;
            *later = true;
        }
        Ok(Plan {
            requests,
            text: self.text,
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            connections: u32::try_from(self.connections.len()).unwrap_or(u32::MAX),
            routes: self.routes,
            span: Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX)),
            share,
            held_back,
            authorities: self.authorities.into_iter().collect(),
        })
    }
}

fn numbered(numbers: &mut HashMap<u64, u32>, key: u64) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    *numbers.entry(key).or_insert(next)
}

impl Plan {
    /// How many requests a replay at 1x sends in one span.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to send. Never so for a plan that a [`Planner`] gave out.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many recorded sessions there are.
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// How many recorded client connections there are.
    pub const fn connections(&self) -> u32 {
        self.connections
    }

    /// The routes; requests refer to them by index.
    pub fn routes(&self) -> &[String] {
        self.routes.names()
    }

    /// The length of the recording: from its first to its last planned request, and one mean gap more.
    pub const fn span(&self) -> Duration {
        self.span
    }

    /// The mean rate of production, as far as it is planned: what 1x means. Of a sample it is a multiple of
    /// what was recorded.
    pub fn rate(&self) -> Rate {
        let recorded = Rate::of(self.requests.len() as u64, self.span);
        Rate::per_second(recorded.as_per_second() * self.copies_at_1x()).unwrap_or(recorded)
    }

    /// How many copies of each recorded session make up production: 20 of a sample of 5 %.
    pub fn copies_at_1x(&self) -> f64 {
        1.0 / self.share.sampling_ratio
    }

    /// The exchanges that filters had left out of the capture.
    pub const fn filtered(&self) -> u64 {
        self.share.filtered
    }

    /// The exchanges that are not planned, by reason.
    pub fn held_back(&self) -> &[(HeldBack, u64)] {
        &self.held_back
    }

    /// The share of the traffic that is not planned, in `0..=1`: held back here, or left out of the capture
    /// by filters. Those count all of production's exchanges, the others only the sample's.
    pub fn held_back_ratio(&self) -> f64 {
        let held: u64 = self.held_back.iter().map(|&(_, count)| count).sum();
        let held = held as f64 + self.share.filtered as f64 * self.share.sampling_ratio;
        held / (held + self.requests.len() as f64)
    }

    /// The authorities that recorded requests were addressed to, in lower case.
    pub fn authorities(&self) -> &[String] {
        &self.authorities
    }

    /// The bytes of a request.
    pub(crate) fn text(&self, request: &PlannedRequest) -> &[u8] {
        &self.text[request.text_at..request.text_at + request.text_length]
    }
}

fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
}

/// Fields that concern one connection only, or that are set anew.
const DROPPED: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "host",
    MARKER,
];

/// Fields that tell of the recorded route to the origin: they would be lies at the target.
const FORWARDING: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The bytes of the request that repeats `exchange`, or why there is none.
fn request_text(exchange: &Exchange, rewriting: &Rewriting) -> Result<Vec<u8>, HeldBack> {
    let request = &exchange.request;
    if request.method == b"CONNECT"
        || header_value(&request.headers, "upgrade").is_some()
        || exchange.response.as_ref().is_some_and(|response| response.status == 101)
    {
        return Err(HeldBack::Upgrade);
    }
    if request.method.is_empty() || !request.method.iter().all(|&byte| is_token(byte)) {
        return Err(HeldBack::Invalid);
    }
    if !rewriting.allow_unsafe && !is_safe(&request.method) {
        return Err(HeldBack::UnsafeMethod);
    }
    if !request.body.is_whole() {
        return Err(HeldBack::BodyCut);
    }
    let target = origin_form(&request.target).ok_or(HeldBack::Invalid)?;
    let mut text = Vec::with_capacity(256 + request.body.stored.len());
    text.extend_from_slice(&request.method);
    text.push(b' ');
    if target != b"*" {
        text.extend_from_slice(rewriting.base_path.as_bytes());
    }
    text.extend_from_slice(target);
    text.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    text.extend_from_slice(rewriting.authority.as_bytes());
    text.extend_from_slice(b"\r\n");
    let recorded_host = header_value(&request.headers, "host");
    let framed =
        request.headers.iter().any(|header| header.is("content-length") || header.is("transfer-encoding"));
    for header in &request.headers {
        if DROPPED.iter().chain(&FORWARDING).any(|name| header.is(name))
            || (request.body.decoded && header.is("content-encoding"))
        {
            continue;
        }
        if header.name.is_empty()
            || !header.name.iter().all(|&byte| is_token(byte))
            || header.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return Err(HeldBack::Invalid);
        }
        text.extend_from_slice(&header.name);
        text.extend_from_slice(b": ");
        append_value(&mut text, header, recorded_host, rewriting);
        text.extend_from_slice(b"\r\n");
    }
    if framed || !request.body.stored.is_empty() {
        text.extend_from_slice(format!("Content-Length: {}\r\n", request.body.stored.len()).as_bytes());
    }
    text.extend_from_slice(format!("{MARKER}: 1\r\n\r\n").as_bytes());
    text.extend_from_slice(&request.body.stored);
    Ok(text)
}

/// A field's value; `Origin` and `Referer` that name the recorded host name the target instead.
fn append_value(text: &mut Vec<u8>, header: &Header, recorded_host: Option<&[u8]>, rewriting: &Rewriting) {
    if (header.is("origin") || header.is("referer"))
        && let Some(host) = recorded_host
        && let Some(rest) =
            [&b"http://"[..], b"https://"].iter().find_map(|scheme| header.value.strip_prefix(*scheme))
        && let Some(after) = rest.strip_prefix(host)
        && (after.is_empty() || after.starts_with(b"/"))
    {
        text.extend_from_slice(b"http://");
        text.extend_from_slice(rewriting.authority.as_bytes());
        text.extend_from_slice(after);
    } else {
        text.extend_from_slice(&header.value);
    }
}

/// The path and query of a request target; `None` when it cannot stand on a request line.
fn origin_form(target: &[u8]) -> Option<&[u8]> {
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7F) {
        return None;
    }
    if target == b"*" || target.starts_with(b"/") {
        return Some(target);
    }
    let after_scheme =
        [&b"http://"[..], b"https://"].iter().find_map(|scheme| target.strip_prefix(*scheme))?;
    let path = after_scheme.iter().position(|&byte| matches!(byte, b'/' | b'?'))?;
    after_scheme[path..].starts_with(b"/").then_some(&after_scheme[path..])
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
pub(crate) mod tests;
