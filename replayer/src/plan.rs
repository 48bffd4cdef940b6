//! Compiles a capture into requests that are ready to be sent.
//!
//! Each exchange becomes the bytes of one request, made once: hop-by-hop fields removed, Host and the
//! addresses of the recorded origin rewritten, framing set anew, the marker header added. Equal bytes are
//! kept once. What must not or cannot be sent again is held back and counted by reason, never silently.
//!
//! The plan says nothing of moments in the run: [`crate::schedule`] does.

mod arena;
mod chain;
mod error;
mod left_out;
mod numbers;
pub(crate) mod rewrite;
mod text;
mod window;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use captures::{Exchange, ExchangeId, Offset, Rate, RouteNames, Routes, Version, header_value};

use crate::correlate::bind::Binding;
use crate::correlate::links::{self, Links, NONE, RuleNote, groups};
use crate::correlate::render::Frame;
use crate::correlate::value::ByNumber;
use crate::correlate::{Binder, Found, Making, Missing, RuleSet};
use crate::select::Selection;
use arena::Arena;
use chain::{lasted, link};
pub use error::{PlanError, some_of};
use left_out::LeftOut;
use numbers::{numbered, renumbered};
use rewrite::Rewrites;
use text::{is_safe, request_text};
use window::Extent;

/// The header that marks replayed traffic; recorders leave such traffic out.
pub const MARKER: &str = "Highwater-Replay";

/// The most bytes of request texts that a plan holds, most of them on disk.
const MAX_TEXT: u64 = 1 << 40;

/// Below so many requests and bytes of their texts a plan is small: 45 MB, and 16.
const SMALL_REQUESTS: usize = 1 << 19;
const SMALL_TEXT: u64 = 16 << 20;

/// A buffer of more bytes is not kept for the next request.
const LARGE: usize = 1 << 20;

/// The most recorded authorities that are kept for the check against the origin.
const MAX_AUTHORITIES: usize = 10_000;

/// What the requests are rewritten for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// The authority of the target, for `Host`: `staging.test:8443`.
    pub authority: String,
    /// Put before every path; empty, or beginning with `/` and not ending with it.
    pub base_path: String,
    /// Whether the target is reached by TLS.
    pub secure: bool,
    /// Whether the target is spoken to by HTTP/2: requests that were recorded so may then overlap.
    pub http2: bool,
    /// Whether requests that may change something at the target are sent.
    pub allow_unsafe: bool,
    /// What else is changed.
    pub rewrites: Rewrites,
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
    text: Arena,
    sessions: u32,
    connections: u32,
    routes: Routes,
    span: Duration,
    share: Share,
    recorded_span: Duration,
    window_is_cut: bool,
    held_back: Vec<(HeldBack, u64)>,
    left_out: Vec<(String, HeldBack)>,
    authorities: Vec<String>,
    links: Links,
    /// For each connection, what it is bound to: requests of one group are one thread's work.
    groups: Vec<u32>,
    /// By route: how many times as often it is sent as it was recorded.
    pub(crate) factors: Vec<f64>,
    /// The mean number of recorded sessions that went on at a time.
    users: Option<f64>,
    /// Why whole sessions are no unit to take fractions in.
    coarse: Option<&'static str>,
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
    /// Whether it went beside others on its connection, or could have: recorded over HTTP/2, and sent so.
    pub(crate) overlaps: bool,
    /// How many microseconds it took when it was recorded, at least one.
    lasted: u32,
    /// The pause, in microseconds, between the recorded end of its predecessor on the connection and its arrival.
    pub(crate) think: u32,
    /// Where its bindings are; [`NONE`] in a session without.
    pub(crate) links: u32,
    text_at: u64,
    text_length: u32,
}

/// Why an exchange of the capture is not in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldBack {
    /// Its method may change something at the target, and that was not allowed.
    UnsafeMethod,
    /// Its body was not stored whole.
    BodyCut,
    /// It is a tunnel, or an upgrade to something else than a WebSocket; to that, too, where HTTP/2 is spoken.
    Upgrade,
    /// It is not valid HTTP, so that sending it would mean something else.
    Invalid,
    /// Its route was not to be replayed.
    Route,
}

impl HeldBack {
    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsafeMethod => "unsafe_method",
            Self::BodyCut => "body_cut",
            Self::Upgrade => "upgrade",
            Self::Invalid => "invalid",
            Self::Route => "route",
        }
    }
}

/// Collects exchanges, in any order, into a [`Plan`].
pub struct Planner {
    rewriting: Rewriting,
    selection: Selection,
    /// With the recorded end of each.
    requests: Vec<(PlannedRequest, u64)>,
    text: Arena,
    sessions: ByNumber<u32>,
    connections: ByNumber<u32>,
    routes: Routes,
    named: RouteNames,
    /// By the second in which they arrived.
    held_back: BTreeMap<(u64, HeldBack), u64>,
    left_out: LeftOut,
    extent: Extent,
    authorities: std::collections::BTreeSet<String>,
    /// The newest of them, as it was written.
    last_host: Vec<u8>,
    /// The request at hand, as it will be sent.
    made: Vec<u8>,
    too_large: bool,
    binder: Option<Binder>,
    rules: Vec<RuleNote>,
    making: Making,
    bindings: HashMap<ExchangeId, (Frame, Vec<Binding>)>,
    unwritten: Option<io::Error>,
}

impl Planner {
    /// With nothing planned yet.
    pub fn new(rewriting: Rewriting, selection: Selection) -> Self {
        Self {
            rewriting,
            selection,
            requests: Vec::new(),
            text: Arena::new(arena::IN_MEMORY),
            sessions: ByNumber::default(),
            connections: ByNumber::default(),
            routes: Routes::new(),
            named: RouteNames::default(),
            held_back: BTreeMap::new(),
            left_out: LeftOut::default(),
            extent: Extent::default(),
            authorities: std::collections::BTreeSet::new(),
            last_host: Vec::new(),
            made: Vec::new(),
            too_large: false,
            binder: None,
            rules: Vec::new(),
            making: Making::default(),
            bindings: HashMap::new(),
            unwritten: None,
        }
    }

    /// Binds requests to the answers that give their values, by `rules`. Exchanges must then be added in the order in
    /// which they ended; `found` is what was found in the same capture before.
    #[must_use]
    pub fn bound_by(mut self, rules: &RuleSet, found: Option<&Found>, mut making: Making) -> Self {
        making.templates = rules.sets.iter().map(|set| set.template.clone()).collect();
        self.making = making;
        // Growing by doubling would hold everything twice for a moment.
        let expected = found.map_or(0, |found| usize::try_from(found.exchanges).unwrap_or(0));
        self.requests.reserve_exact(expected.saturating_sub(self.requests.len()));
        self.rules = rules
            .rules
            .iter()
            .map(|rule| RuleNote { name: rule.name.clone(), missing: rule.missing })
            .chain(rules.sets.iter().map(|set| RuleNote { name: set.name(), missing: Missing::Recorded }))
            .collect();
        self.binder = (!(rules.rules.is_empty() && rules.sets.is_empty())).then(|| Binder::new(rules, found));
        self
    }

    /// Whether it takes little memory so far: it can be made beside something else, and thrown away.
    pub fn is_small(&self) -> bool {
        self.requests.len() < SMALL_REQUESTS && self.text.len() < SMALL_TEXT
    }

    /// Plans one exchange, or holds it back.
    pub fn add(&mut self, exchange: &Exchange) {
        if let Some(host) = header_value(&exchange.request.headers, "host")
            && (host.is_empty() || host != self.last_host)
            && self.authorities.len() < MAX_AUTHORITIES
        {
            self.authorities.insert(String::from_utf8_lossy(host).to_ascii_lowercase());
            self.last_host.clear();
            self.last_host.extend_from_slice(host);
        }
        self.extent.on(exchange.arrived.as_nanos());
        if !self.selection.covers(exchange.arrived) {
            return;
        }
        let route = self.named.of(&exchange.request.method, &exchange.request.target);
        let root = self.binder.as_ref().map_or(exchange.session.0, |binder| binder.session(exchange));
        let session = numbered(&mut self.sessions, root);
        let text = if self.selection.takes(&route.name) {
            request_text(exchange, &self.rewriting, session, &mut self.made)
        } else {
            Err(HeldBack::Route)
        };
        if let Some(binder) = &mut self.binder {
            let sent = text.as_ref().ok().map(|text| (*text, self.rewriting.base_path.len()));
            let bindings = binder.add(exchange, sent);
            if let (false, Ok(text)) = (bindings.is_empty(), &text) {
                self.bindings.insert(exchange.id, (Frame::of(text), bindings));
            }
        }
        let text = match text {
            Ok(text) => text,
            Err(reason) => {
                *self.held_back.entry((exchange.arrived.second(), reason)).or_default() += 1;
                self.left_out.on(&route.name, reason);
                return;
            }
        };
        let (Ok(text_length), true) = (u32::try_from(text.len()), self.text.len() < MAX_TEXT) else {
            self.too_large = true;
            return;
        };
        let text_at = match self.text.add(text) {
            Ok(at) => at,
            Err(error) => {
                self.unwritten.get_or_insert(error);
                return;
            }
        };
        if self.made.capacity() > LARGE {
            self.made = Vec::new();
        }
        let route = match route.number.and_then(|number| u16::try_from(number).ok()) {
            Some(number) => number,
            None => {
                let number = self.routes.number(&route.name);
                route.number = Some(number.into());
                number
            }
        };
        let planned = PlannedRequest {
            exchange: exchange.id,
            arrived: exchange.arrived.as_nanos(),
            session,
            connection: numbered(&mut self.connections, exchange.connection.0),
            route,
            recorded_status: exchange.response.as_ref().map_or(0, |response| response.status),
            is_head: exchange.request.method == b"HEAD",
            is_safe: is_safe(&exchange.request.method),
            is_last: false,
            overlaps: self.rewriting.http2 && exchange.request.version == Version::Http2,
            lasted: lasted(exchange),
            think: 0,
            links: NONE,
            text_at,
            text_length,
        };
        self.requests.push((planned, exchange.ended.as_nanos()));
    }

    /// The plan of all that was added, which was this `share` of production.
    ///
    /// # Errors
    /// When nothing is left to send, or the texts are above the limit.
    pub fn finish(mut self, share: Share) -> Result<Plan, PlanError> {
        if self.too_large {
            return Err(PlanError::TooLarge);
        }
        if let Some(error) = self.unwritten.take().or_else(|| self.text.finish().err()) {
            return Err(PlanError::Unwritten { why: error.to_string() });
        }
        self.requests.sort_unstable_by_key(|(request, _)| (request.arrived, request.exchange));
        // What only adding needs goes before the copies below are made.
        let numbers = (self.sessions.len(), self.connections.len());
        (self.sessions, self.connections) = (ByNumber::default(), ByNumber::default());
        let window = self.extent.window(&self.selection, &self.requests);
        if let Some(window) = window {
            self.requests.retain(|(request, _)| (window.begin..window.end).contains(&request.arrived));
            let second = |nanos| Offset::from_nanos(nanos).second();
            let seconds = second(window.begin)..=second(window.end);
            self.held_back.retain(|(second, _), _| seconds.contains(second));
        }
        let mut held_back: BTreeMap<HeldBack, u64> = BTreeMap::new();
        for ((_, reason), count) in self.held_back {
            *held_back.entry(reason).or_default() += count;
        }
        let held_back: Vec<(HeldBack, u64)> = held_back.into_iter().collect();
        let (Some(&(first, _)), Some(&(last, _))) = (self.requests.first(), self.requests.last()) else {
            let Extent { first, last, .. } = self.extent;
            let [first, last] = [first, last].map(Duration::from_nanos);
            return Err(match (held_back.is_empty(), self.extent.is_empty()) {
                (true, true) => PlanError::Empty,
                (true, false) => PlanError::Outside { first, last },
                _ => PlanError::AllHeldBack { held_back, routes: self.left_out.into_names() },
            });
        };
        let begin = window.map_or(first.arrived, |window| window.begin);
        // n requests mark off n − 1 gaps: one mean gap more makes n in a span the recorded rate.
        let between = u128::from(last.arrived - first.arrived);
        let count = self.requests.len() as u128;
        let recorded = if between == 0 { 1_000_000_000 } else { between * count / (count - 1) };
        let recorded = match window {
            Some(window) => u128::from(window.end - window.begin),
            None => recorded,
        };
        let speed = self.selection.speed;
        let faster = |nanos: u64| if speed == 1.0 { nanos } else { (nanos as f64 / speed) as u64 };
        let span = Duration::from_nanos(faster(u64::try_from(recorded).unwrap_or(u64::MAX)).max(1));
        link(&mut self.requests, numbers.1);
        let mut requests: Vec<PlannedRequest> =
            self.requests.into_iter().map(|(request, _)| request).collect();
        // The ends of the recording are needed no more.
        requests.shrink_to_fit();
        for request in &mut requests {
            request.arrived = faster(request.arrived - begin);
            request.think = u32::try_from(faster(u64::from(request.think))).unwrap_or(u32::MAX);
            request.lasted = u32::try_from(faster(u64::from(request.lasted))).unwrap_or(u32::MAX).max(1);
        }
        let sessions = renumbered(&mut requests, numbers.0, |request| &mut request.session);
        let connections = renumbered(&mut requests, numbers.1, |request| &mut request.connection);
        let factors = self.routes.names().iter().map(|route| self.selection.factor(route)).collect();
        let stretches = stretches(&requests, sessions);
        let links = links::compile(&mut requests, sessions, self.bindings, self.rules, self.making);
        let groups = groups(&requests, connections as usize);
        Ok(Plan {
            text: self.text,
            users: users(&stretches, span),
            coarse: coarse(&stretches, requests.len(), span),
            requests,
            sessions,
            connections,
            routes: self.routes,
            span,
            share,
            recorded_span: self.extent.length(),
            window_is_cut: window.is_some_and(|window| window.is_cut),
            held_back,
            left_out: self.left_out.finish(),
            authorities: self.authorities.into_iter().collect(),
            links,
            groups,
            factors,
        })
    }
}

/// What a session takes up: its first and last arrival, and its requests.
#[derive(Clone, Copy)]
struct Stretch {
    first: u64,
    last: u64,
    requests: u64,
}

fn stretches(requests: &[PlannedRequest], sessions: u32) -> Vec<Stretch> {
    let mut stretches = vec![Stretch { first: u64::MAX, last: 0, requests: 0 }; sessions as usize];
    for request in requests {
        let stretch = &mut stretches[request.session as usize];
        stretch.first = stretch.first.min(request.arrived);
        stretch.last = request.arrived;
        stretch.requests += 1;
    }
    stretches
}

/// The mean number of sessions at a time, by Little's law: their lengths added up, over the span. A session
/// lasts until one mean gap after its last request. `None` when no session has a second request.
fn users(stretches: &[Stretch], span: Duration) -> Option<f64> {
    let gaps: u64 = stretches.iter().map(|stretch| stretch.requests.saturating_sub(1)).sum();
    let length: u64 = stretches.iter().map(|stretch| stretch.last - stretch.first).sum();
    if gaps == 0 || length == 0 {
        return None;
    }
    let gap = length as f64 / gaps as f64;
    Some((length as f64 + gap * stretches.len() as f64) / 1e9 / span.as_secs_f64())
}

/// With fewer sessions than this, or one of more than this share of the requests, a fraction of the load cannot
/// be made of whole sessions.
const FEW_SESSIONS: usize = 20;
const LARGE_SESSION: f64 = 0.05;

fn coarse(stretches: &[Stretch], requests: usize, span: Duration) -> Option<&'static str> {
    let largest = stretches.iter().map(|stretch| stretch.requests).max().unwrap_or(0);
    // Weighted by their requests: what matters is how long the sessions are that most of the load comes from.
    let lasting: f64 =
        stretches.iter().map(|stretch| (stretch.last - stretch.first) as f64 * stretch.requests as f64).sum();
    if stretches.len() < FEW_SESSIONS {
        Some("the sessions are too few")
    } else if largest as f64 > LARGE_SESSION * requests as f64 {
        Some("one session makes more than a twentieth of the requests")
    } else if lasting / requests.max(1) as f64 / 1e9 > span.as_secs_f64() / 2.0 {
        Some("most sessions last longer than half of the capture")
    } else {
        None
    }
}

impl PlannedRequest {
    /// When it ended in the recording, like `arrived`; later than that.
    pub(crate) const fn ended(&self) -> u64 {
        self.arrived + self.lasted as u64 * 1_000
    }
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

    /// The length of the recording: from its first to its last planned request, and one mean gap more; of a stretch
    /// that was asked for, its own length, as far as the recording goes.
    pub const fn span(&self) -> Duration {
        self.span
    }

    /// The mean rate of production, as far as it is planned: what 1x means. Of a sample it is a multiple of
    /// what was recorded.
    pub fn rate(&self) -> Rate {
        let weight: f64 = if self.factors.iter().all(|&factor| factor == 1.0) {
            self.requests.len() as f64
        } else {
            self.requests.iter().map(|request| self.factor(request)).sum()
        };
        Rate::per_second(weight / self.span.as_secs_f64() * self.copies_at_1x()).unwrap_or_default()
    }

    /// The mean number of users at a time that 1x means; `None` when the sessions do not tell.
    pub fn users(&self) -> Option<f64> {
        self.users.map(|users| users * self.copies_at_1x())
    }

    /// Why fractions of the load cannot be made of whole sessions; `None` when they can.
    pub const fn coarse(&self) -> Option<&'static str> {
        self.coarse
    }

    /// Whether routes are sent more or less often than they were recorded.
    pub fn mix_is_changed(&self) -> bool {
        self.factors.iter().any(|&factor| factor != 1.0)
    }

    /// How many times as often as recorded a request is sent at 1x.
    pub(crate) fn factor(&self, request: &PlannedRequest) -> f64 {
        self.factors.get(usize::from(request.route)).copied().unwrap_or(1.0)
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

    pub(crate) const fn links(&self) -> &Links {
        &self.links
    }

    /// A number that is equal for connections which one thread must drive.
    pub(crate) fn group(&self, connection: u32) -> u32 {
        self.groups[connection as usize]
    }

    /// The bytes of a request; `None` when they are on disk and cannot be read.
    pub(crate) fn text(&self, request: &PlannedRequest) -> Option<Cow<'_, [u8]>> {
        self.text.get(request.text_at, request.text_length).ok()
    }

    /// Whether the bytes of requests are on disk, so that they must be fetched.
    pub(crate) const fn is_on_disk(&self) -> bool {
        self.text.is_on_disk()
    }
}

#[cfg(test)]
pub(crate) mod tests;
