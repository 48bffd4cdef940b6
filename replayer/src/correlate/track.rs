//! Follows sessions through a capture: what each was given, and which of it it sends back.
//!
//! Exchanges come in the order in which they ended. An answer gives its values from the moment on at which it
//! began; a value that the session sent before any answer gave it was the client's own, and an answer that repeats
//! it gives nothing.
//!
//! A session that begins with a token which one other session was given *is* that session: a recorder that does not
//! look into bodies takes the login and what follows it for two visitors.
//!
//! *Created* is a value that the answer to a request that changes something gave, or an answer soon after it about
//! the same path, when it had not been given before. Identifiers (17) are followed only when they were.

use std::collections::VecDeque;

use captures::{Exchange, Offset, coding, header_value};

use crate::correlate::answer::{Given, path_and_query, walk_body, walk_head};
use crate::correlate::asked::{self, Field, Inside};
use crate::correlate::evidence::is_id_name;
use crate::correlate::memory::{Change, Memory, Source};
use crate::correlate::pattern::{GivenKind, PartRef, PlaceKind, pattern_hash};
use crate::correlate::value::{ByHash, Hashes, Strength, hash, strength};

/// The most values that are told apart by the session they were given to.
const MAX_OWNED: usize = 1 << 20;
/// The most bytes that the memories of all sessions take together.
const MAX_REMEMBERED: usize = 64 << 20;
/// The most sessions that are followed at a time.
const MAX_SESSIONS: usize = 100_000;
/// What a coded body may hold.
const DECODED_LIMIT: usize = 32 << 20;

/// Given to more than one session.
pub(crate) const SHARED: u64 = u64::MAX;
const SEED: u64 = 0x6C69_6E6B;

/// A value that a request sends back.
pub(crate) struct Match<'a> {
    pub(crate) field: &'a Field<'a>,
    pub(crate) inside: Inside,
    pub(crate) value: u64,
    pub(crate) length: usize,
    pub(crate) strength: Strength,
    /// The answers that gave it, oldest first.
    pub(crate) sources: &'a [Source],
}

/// What a tracker tells of one exchange.
pub(crate) trait Visitor {
    /// The request has a field.
    fn on_field(&mut self, _session: u64, _field: &Field<'_>, _at: Offset) {}
    /// The answer has a body, here without its content coding.
    fn on_body(&mut self, _session: u64, _is_safe: bool, _content_type: &[u8], _body: &[u8]) {}
    /// The request sends a value that an answer gave.
    fn on_match(&mut self, session: u64, found: &Match<'_>);
    /// The answer gives a value; `describe` names its place.
    fn on_given(&mut self, session: u64, source: &Source, value: u64, given: &Given<'_>);
}

/// One value of the answer at hand.
struct Item {
    source: Source,
    value: u64,
    strength: Strength,
    number: Option<u64>,
    is_id_place: bool,
    kind: GivenKind,
    /// The name's last part, for telling an echo.
    name: u64,
}

/// Follows sessions.
#[derive(Default)]
pub(crate) struct Tracker {
    /// Each in a box of its own: it is taken out for each exchange, and put back.
    sessions: ByHash<Box<Memory>>,
    /// Sessions, each with the number of an exchange of its own, oldest first; once more for each later exchange.
    order: VecDeque<(u64, u64)>,
    exchanges: u64,
    /// Bytes.
    remembered: usize,
    /// Sessions that turned out to be others.
    joined: ByHash<u64>,
    /// Which session a token was given to.
    owners: ByHash<u64>,
    pub(crate) overflow: u64,
    ordinals: ByHash<u32>,
    items: Vec<Item>,
    own: Vec<(u64, u64)>,
    /// Extractors whose every value is followed, whatever it looks like.
    always: Hashes,
}

impl Tracker {
    /// Which session `session` really is.
    pub(crate) fn root(&self, session: u64) -> u64 {
        let mut root = session;
        while let Some(&other) = self.joined.get(&root) {
            root = other;
        }
        root
    }

    /// Sessions that turned out to be others, for a second look at the same capture.
    pub(crate) const fn joined(&self) -> &ByHash<u64> {
        &self.joined
    }

    /// For a second look: with sessions that turned out to be others, and extractors of which every value counts.
    pub(crate) fn again(joined: ByHash<u64>, always: Hashes) -> Self {
        Self { joined, always, ..Self::default() }
    }

    /// Whether a token was given to more than one session.
    pub(crate) fn is_shared(&self, value: u64) -> bool {
        self.owners.get(&value) == Some(&SHARED)
    }

    /// Takes in one exchange. `text` is its request as it is sent, with `skip` bytes of base path; `route` numbers
    /// its route.
    pub(crate) fn observe(
        &mut self,
        exchange: &Exchange,
        text: &[u8],
        skip: usize,
        route: u32,
        visitor: &mut impl Visitor,
    ) {
        let session = self.session_of(exchange, text, skip);
        let mut memory = self.sessions.remove(&session).unwrap_or_default();
        self.remembered -= memory.held().min(self.remembered);
        self.own.clear();
        let (own, owners) = (&mut self.own, &mut self.owners);
        let looks_at_all = !self.always.is_empty();
        asked::walk(text, skip, &mut |field| {
            visitor.on_field(session, field, exchange.arrived);
            let name = name_hash(last_word(&field.name));
            asked::values(field, &mut |value, inside| {
                let strength = strength(value);
                if strength == Strength::Plain && (!looks_at_all || value.is_empty()) {
                    return;
                }
                let number = hash(SEED, value);
                let sources = memory.sources(number, exchange.arrived);
                if sources.is_empty() {
                    if strength == Strength::Token {
                        memory.send(number);
                        own_token(owners, number, session, false);
                    }
                } else {
                    let length = value.len();
                    visitor.on_match(
                        session,
                        &Match { field, inside, value: number, length, strength, sources },
                    );
                }
                if strength == Strength::Id || field.kind == PlaceKind::Segment {
                    own.push((number, name));
                }
            });
        });
        self.take_answer(exchange, session, route, &mut memory, visitor);
        memory.last = exchange.ended;
        self.remembered += memory.held();
        self.exchanges += 1;
        memory.newest = self.exchanges;
        self.order.push_back((session, self.exchanges));
        self.sessions.insert(session, memory);
        self.forget();
    }

    /// The session of an exchange; a new one that begins with the token of another is that one.
    fn session_of(&mut self, exchange: &Exchange, text: &[u8], skip: usize) -> u64 {
        let session = self.root(exchange.session.0);
        if self.owners.is_empty()
            || self.sessions.get(&session).is_some_and(|memory| !memory.changes.is_empty())
        {
            return session;
        }
        let (owners, sessions) = (&self.owners, &self.sessions);
        let mut other = None;
        asked::walk(text, skip, &mut |field| {
            if other.is_some()
                || !matches!(field.kind, PlaceKind::Header | PlaceKind::Cookie | PlaceKind::Query)
            {
                return;
            }
            asked::values(field, &mut |value, _| {
                if strength(value) != Strength::Token {
                    return;
                }
                let value = hash(SEED, value);
                let owner = owners.get(&value).copied().filter(|&owner| owner != SHARED && owner != session);
                other = other.or(owner.filter(|owner| {
                    sessions
                        .get(owner)
                        .is_some_and(|memory| !memory.sources(value, exchange.arrived).is_empty())
                }));
            });
        });
        let Some(other) = other else { return session };
        if self.joined.len() >= MAX_SESSIONS {
            self.overflow += 1;
            return session;
        }
        self.joined.insert(session, other);
        if let Some(mine) = self.sessions.remove(&session)
            && let Some(memory) = self.sessions.get_mut(&other)
        {
            self.remembered -= (mine.held() + memory.held()).min(self.remembered);
            memory.join(*mine);
            self.remembered += memory.held();
        }
        other
    }

    fn take_answer(
        &mut self,
        exchange: &Exchange,
        session: u64,
        route: u32,
        memory: &mut Memory,
        visitor: &mut impl Visitor,
    ) {
        let Some(response) = &exchange.response else { return };
        let is_safe = matches!(exchange.request.method.as_slice(), b"GET" | b"HEAD" | b"OPTIONS");
        let (path, _) = path_and_query(&exchange.request.target);
        let follows = is_safe && follows_a_change(path, &memory.changes);
        self.ordinals.clear();
        self.items.clear();
        let (ordinals, items, always) = (&mut self.ordinals, &mut self.items, &self.always);
        let from = exchange.response_began.unwrap_or(exchange.ended);
        let mut take = |given: Given<'_>| {
            let pattern = pattern_hash(given.kind, given.name, &given.part);
            let ordinal = ordinals.entry(pattern).or_default();
            let this = *ordinal;
            *ordinal += 1;
            let strength = strength(given.value);
            let is_wanted = always.contains(&pattern) && !given.value.is_empty();
            if (strength == Strength::Plain || (is_etag(&given) && is_safe)) && !is_wanted {
                return;
            }
            let before = if given.before.is_empty() { 0 } else { hash(SEED, given.before) };
            let source = Source {
                pattern,
                ordinal: this,
                route,
                exchange: exchange.id.0,
                from,
                before,
                is_created: false,
            };
            let value = hash(SEED, given.value);
            items.push(Item {
                source,
                value,
                strength,
                number: std::str::from_utf8(given.value).ok().and_then(|text| text.parse().ok()),
                is_id_place: is_id_place(&given),
                kind: given.kind,
                name: name_hash(last_word(given.name)),
            });
            visitor.on_given(session, &source, value, &given);
        };
        walk_head(
            response.headers.iter().map(|header| (header.name.as_slice(), header.value.as_slice())),
            &mut take,
        );
        if let Some(body) = content(response) {
            let kind = header_value(&response.headers, "content-type").unwrap_or_default();
            walk_body(kind, &body, &mut take);
            visitor.on_body(session, is_safe, kind, &body);
        }
        self.register(session, is_safe, follows, memory);
        if !is_safe {
            let location =
                header_value(&response.headers, "location").map_or(&b""[..], |at| path_and_query(at).0);
            memory.change(Change { path: path.to_vec(), location: location.to_vec() });
        }
    }

    /// Puts the values of the answer at hand into the session's memory, as far as they may be tokens.
    fn register(&mut self, session: u64, is_safe: bool, follows: bool, memory: &mut Memory) {
        // Of several numbers under one pattern, the largest is the newest.
        let mut largest: ByHash<u64> = ByHash::default();
        for item in &self.items {
            if let Some(number) = item.number.filter(|_| item.strength == Strength::Id) {
                let known = largest.entry(item.source.pattern).or_default();
                *known = number.max(*known);
            }
        }
        for item in &self.items {
            let is_wanted = self.always.contains(&item.source.pattern);
            if item.strength == Strength::Token || (is_wanted && item.strength == Strength::Plain) {
                if memory.has_sent(item.value) && !is_wanted {
                    continue;
                }
                let is_created = !is_safe || (follows && !memory.was_given(item.value));
                memory.give(item.value, Source { is_created, ..item.source });
                own_token(&mut self.owners, item.value, session, true);
                continue;
            }
            // An identifier that the request named itself is an echo.
            let is_echo = self.own.iter().any(|&(value, name)| {
                value == item.value && (name == item.name || item.kind != GivenKind::Location)
            });
            let is_newest =
                item.number.is_none_or(|number| largest.get(&item.source.pattern) == Some(&number));
            let is_created = if is_safe {
                follows && is_newest && memory.is_news(item.source.pattern, item.value, item.number)
            } else {
                item.is_id_place
            };
            let is_created = is_created && item.is_id_place && !is_echo;
            if is_created || is_wanted {
                memory.give(item.value, Source { is_created, ..item.source });
            }
        }
        for item in self.items.iter().filter(|item| item.strength == Strength::Id) {
            memory.note_id(item.source.pattern, item.value, item.number);
        }
    }

    /// Lets the sessions go that have been silent longest, when too much is remembered.
    fn forget(&mut self) {
        // A session that was heard of since stands in the order once more.
        let is_last = |sessions: &ByHash<Box<Memory>>, (session, exchange): (u64, u64)| {
            sessions.get(&session).is_some_and(|memory| memory.newest == exchange)
        };
        if self.order.len() > 2 * self.sessions.len() + 1_024 {
            self.order.retain(|&place| is_last(&self.sessions, place));
        }
        while self.remembered > MAX_REMEMBERED || self.sessions.len() > MAX_SESSIONS {
            let Some(place) = self.order.pop_front() else { return };
            if !is_last(&self.sessions, place) {
                continue;
            }
            if let Some(memory) = self.sessions.remove(&place.0) {
                self.remembered -= memory.held().min(self.remembered);
                self.overflow += memory.overflow + memory.len() as u64;
            }
        }
    }

    /// Values that were forgotten for want of room.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow + self.sessions.values().map(|memory| memory.overflow).sum::<u64>()
    }
}

/// Notes whose a token is. One that two sessions send or were given is nobody's.
fn own_token(owners: &mut ByHash<u64>, value: u64, session: u64, was_given: bool) {
    if let Some(owner) = owners.get_mut(&value) {
        if *owner != session {
            *owner = SHARED;
        }
    } else if was_given && owners.len() < MAX_OWNED {
        owners.insert(value, session);
    }
}

/// Whether a path has to do with what the session changed before: it is where the answer pointed to, or lies above or
/// below the changed path.
fn follows_a_change(path: &[u8], changes: &VecDeque<Change>) -> bool {
    let is_below = |path: &[u8], other: &[u8]| {
        let other = other.strip_suffix(b"/").unwrap_or(other);
        !other.is_empty() && path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    changes
        .iter()
        .any(|change| path == change.location || is_below(path, &change.path) || is_below(&change.path, path))
}

/// Whether an identifier may stand there: in an address, in a field with such a name, or in a form.
fn is_id_place(given: &Given<'_>) -> bool {
    match given.part {
        PartRef::Segment(_) => true,
        PartRef::Query(name) => is_id_name(&String::from_utf8_lossy(name)),
        PartRef::Whole | PartRef::Decoded | PartRef::AfterSpace => {
            given.kind == GivenKind::Input || is_id_name(&String::from_utf8_lossy(given.name))
        }
    }
}

fn is_etag(given: &Given<'_>) -> bool {
    given.kind == GivenKind::Header && given.name == b"etag"
}

fn last_word(name: &[u8]) -> &[u8] {
    let last = memchr::memrchr(b'/', name).map_or(name, |slash| &name[slash + 1..]);
    if last.is_empty() { name } else { last }
}

fn name_hash(name: &[u8]) -> u64 {
    let mut plain = [0_u8; 32];
    let mut length = 0;
    for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()).take(32) {
        plain[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    hash(SEED, &plain[..length])
}

/// What the body of an answer holds, its content coding taken off; `None` when that cannot be known.
pub(crate) fn content(response: &captures::Response) -> Option<std::borrow::Cow<'_, [u8]>> {
    let body = &response.body;
    if body.stored.is_empty() {
        return None;
    }
    let codings = if body.decoded { Vec::new() } else { coding::codings_of(&response.headers)? };
    if codings.is_empty() {
        return Some(std::borrow::Cow::Borrowed(&body.stored));
    }
    coding::decode_start(&codings, &body.stored, DECODED_LIMIT)
        .map(|found| std::borrow::Cow::Owned(found.content))
}

/// The request of an exchange as it was received, for looking into it.
pub(crate) fn received(exchange: &Exchange, text: &mut Vec<u8>) {
    let request = &exchange.request;
    text.clear();
    text.extend_from_slice(&request.method);
    text.push(b' ');
    text.extend_from_slice(&request.target);
    text.extend_from_slice(b" HTTP/1.1\r\n");
    for header in &request.headers {
        if request.body.decoded && header.is("content-encoding") {
            continue;
        }
        text.extend_from_slice(&header.name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(&header.value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&request.body.stored);
}
