//! Decides whose request it was.
//!
//! A session is one visitor's requests. It is recognised by the first key of the policy's list that a request
//! carries: a cookie, a header, a parameter of the query, the client's address and agent, the client
//! connection. A response that sets a key cookie gives its request's session one more key, so that a login
//! which rotates the cookie goes on as the same visitor. Silence ends a session.
//!
//! A connection stands for a session only until an answer gives that session a cookie: on a connection that
//! several visitors share, the next one without a cookie is somebody new. A trusted proxy's connection never
//! does: there, address and agent stand for it, and when the proxy names no client either, every request is a
//! session of its own.
//!
//! Exchanges come in the order in which they ended, so a page may come after what it made its visitor ask
//! for: who gets a cookie that is known already is the one who has it.
//!
//! Keys are kept as hashes in a bounded memory that forgets the longest unused ones first; a forgotten
//! visitor who comes back is a new session.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use captures::{ConnectionId, Exchange, Offset, SessionId, SessionKey, header_value};
use sha2::{Digest, Sha256};

use crate::forwarded::{Network, is_trusted};
use crate::policy::{KeyRule, SessionPolicy};

/// Keys that are remembered: about 30 MB.
const REMEMBERED: usize = 1 << 18;

/// Names that mean a session wherever they occur, in lower case.
const SESSION_COOKIES: [&[u8]; 10] = [
    b"sid",
    b"session",
    b"sessionid",
    b"session_id",
    b"session-id",
    b"phpsessid",
    b"jsessionid",
    b"asp.net_sessionid",
    b"connect.sid",
    b"__session",
];

/// The sessions seen so far.
pub(crate) struct Sessions {
    policy: SessionPolicy,
    trusted: Vec<Network>,
    salt: [u8; 16],
    next: u64,
    by_key: Recent<Key, SessionId>,
    visits: Recent<SessionId, Visit>,
}

/// By whose connection a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The client, as far as it is known.
    pub(crate) client: IpAddr,
    /// Whether the connection is a trusted proxy's, and so several clients'.
    pub(crate) shared_connection: bool,
}

/// Whose an exchange was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) session: SessionId,
    pub(crate) key: SessionKey,
    /// A number for the whole session, uniform among sessions, made of its first key: another recorder that
    /// meets the same cookie, header or address draws the same.
    pub(crate) draw: u64,
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    last: Offset,
    draw: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Carried([u8; 16]),
    Connection(ConnectionId),
}

/// A key with its place in the order of keys: the lower, the surer.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    rank: usize,
    kind: SessionKey,
    key: Key,
}

impl Sessions {
    /// No session yet. `salt` is the recording's own: connections of different recordings draw differently.
    pub(crate) fn new(policy: SessionPolicy, trusted: Vec<Network>, salt: [u8; 16]) -> Self {
        let (by_key, visits) = (Recent::new(REMEMBERED), Recent::new(REMEMBERED));
        Self { policy, trusted, salt, next: 0, by_key, visits }
    }

    /// The next session gets the number `first`.
    pub(crate) fn count_from(&mut self, first: u64) {
        self.next = first;
    }

    /// Whose `exchange` was, by its unmasked headers.
    pub(crate) fn of(&mut self, exchange: &Exchange, origin: Origin) -> Whose {
        let carried = self.carried(exchange, origin);
        let given = self.given(exchange);
        let surer = given.iter().find(|given| carried.is_none_or(|carried| given.rank < carried.rank));
        let known = carried.and_then(|carried| self.alive(&carried.key, exchange.arrived));
        let known = known.or_else(|| self.alive(&surer?.key, exchange.arrived));
        let (session, draw) = known.unwrap_or_else(|| {
            let session = SessionId(self.next);
            self.next += 1;
            (session, self.draw(surer.or(carried.as_ref()), exchange))
        });
        if let Some(carried) = carried {
            self.by_key.insert(carried.key, session);
        }
        for cookie in &given {
            self.by_key.insert(cookie.key, session);
            self.by_key.remove(&Key::Connection(exchange.connection));
        }
        self.visits.insert(session, Visit { last: exchange.ended, draw });
        Whose { session, key: carried.map_or(SessionKey::Connection, |carried| carried.kind), draw }
    }

    fn alive(&mut self, key: &Key, now: Offset) -> Option<(SessionId, u64)> {
        let session = self.by_key.get(key)?;
        let visit = self.visits.get(&session).filter(|visit| now.since(visit.last) < self.policy.idle)?;
        Some((session, visit.draw))
    }

    fn draw(&self, first: Option<&Ranked>, exchange: &Exchange) -> u64 {
        let drawn = match first.map(|ranked| ranked.key) {
            Some(Key::Carried(hash)) => hash,
            Some(Key::Connection(connection)) => {
                fingerprint(&[b"connection", &self.salt, &connection.0.to_le_bytes()])
            }
            None => fingerprint(&[b"exchange", &self.salt, &exchange.id.0.to_le_bytes()]),
        };
        drawn.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }

    /// The surest key that a request carries.
    fn carried(&self, exchange: &Exchange, origin: Origin) -> Option<Ranked> {
        let rules = self.policy.keys.iter().enumerate();
        rules.filter_map(|(rank, rule)| self.carried_for(rule, rank, exchange, origin)).next()
    }

    fn carried_for(
        &self,
        rule: &KeyRule,
        rank: usize,
        exchange: &Exchange,
        origin: Origin,
    ) -> Option<Ranked> {
        let headers = &exchange.request.headers;
        let (kind, key) = match rule {
            KeyRule::SessionCookie | KeyRule::Cookie(_) => {
                let cookies = headers.iter().filter(|header| header.is("cookie"));
                let pairs = cookies.flat_map(|header| header.value.split(|&byte| byte == b';'));
                let fitting = pairs.filter_map(Pair::read).filter_map(|pair| Some((pair.fits(rule)?, pair)));
                (SessionKey::Cookie, fitting.min_by_key(|(sureness, _)| *sureness)?.1.key(b"cookie"))
            }
            KeyRule::Header(name) => {
                let value = header_value(headers, name).filter(|value| !value.is_empty())?;
                (SessionKey::Header, Pair { name: name.as_bytes(), value }.key(b"header"))
            }
            KeyRule::Query(name) => {
                let query = exchange.request.target.splitn(2, |&byte| byte == b'?').nth(1)?;
                let mut pairs = query.split(|&byte| byte == b'&').filter_map(Pair::read);
                (SessionKey::Header, pairs.find(|pair| pair.name == name.as_bytes())?.key(b"query"))
            }
            KeyRule::Connection if !origin.shared_connection => {
                (SessionKey::Connection, Key::Connection(exchange.connection))
            }
            KeyRule::AddressAgent | KeyRule::Connection => {
                if is_trusted(&self.trusted, origin.client) {
                    return None;
                }
                let agent = header_value(headers, "user-agent").unwrap_or_default();
                let address = origin.client.to_string();
                (SessionKey::AddressAgent, Pair { name: address.as_bytes(), value: agent }.key(b"ip+ua"))
            }
        };
        Some(Ranked { rank, kind, key })
    }

    /// The key cookies that the response sets, the surest first.
    fn given(&self, exchange: &Exchange) -> Vec<Ranked> {
        let headers = exchange.response.iter().flat_map(|response| &response.headers);
        let cookies =
            headers.filter(|header| header.is("set-cookie")).filter_map(|header| set_by(&header.value));
        let ranked = cookies.filter_map(|cookie| {
            let mut rules = self.policy.keys.iter().enumerate();
            let (rank, sureness) = rules.find_map(|(rank, rule)| Some((rank, cookie.fits(rule)?)))?;
            Some((sureness, Ranked { rank, kind: SessionKey::Cookie, key: cookie.key(b"cookie") }))
        });
        let mut ranked: Vec<(usize, Ranked)> = ranked.collect();
        ranked.sort_by_key(|(sureness, ranked)| (ranked.rank, *sureness));
        ranked.into_iter().map(|(_, ranked)| ranked).collect()
    }
}

/// The name and value of the surest session cookie in the values of some `Cookie` fields.
pub(crate) fn best_cookie<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<(&'a [u8], &'a [u8])> {
    let pairs = fields.flat_map(|value| value.split(|&byte| byte == b';')).filter_map(Pair::read);
    let fitting = pairs.filter_map(|pair| Some((pair.fits(&KeyRule::SessionCookie)?, pair)));
    fitting.min_by_key(|(sureness, _)| *sureness).map(|(_, pair)| (pair.name, pair.value))
}

/// `name=value`, with a value.
#[derive(Clone, Copy)]
struct Pair<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Pair<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let equals = text.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (text[..equals].trim_ascii(), text[equals + 1..].trim_ascii());
        (!value.is_empty()).then_some(Self { name, value })
    }

    /// How sure it is that this cookie is the one that `rule` means; the lower, the surer.
    fn fits(&self, rule: &KeyRule) -> Option<usize> {
        match rule {
            KeyRule::Cookie(name) => (self.name == name.as_bytes()).then_some(0),
            KeyRule::SessionCookie => {
                let known = SESSION_COOKIES.iter().position(|known| self.name.eq_ignore_ascii_case(known));
                known.or_else(|| self.looks_like_a_session().then_some(SESSION_COOKIES.len()))
            }
            _ => None,
        }
    }

    fn looks_like_a_session(&self) -> bool {
        let lower = self.name.to_ascii_lowercase();
        let has_suffix = [".sid", "_sid", "-sid"].iter().any(|suffix| lower.ends_with(suffix.as_bytes()));
        has_suffix || lower.windows(4).any(|part| part == b"sess")
    }

    fn key(&self, kind: &[u8]) -> Key {
        Key::Carried(fingerprint(&[kind, self.name, self.value]))
    }
}

/// The cookie that a `Set-Cookie` sets; `None` when it deletes it.
fn set_by(value: &[u8]) -> Option<Pair<'_>> {
    let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let cookie = Pair::read(parts.next()?)?;
    let deleted = parts.any(|attribute| attribute.eq_ignore_ascii_case(b"max-age=0"));
    (!deleted && cookie.value != b"deleted").then_some(cookie)
}

/// Enough of a hash to tell keys apart, and the same everywhere: nothing of it reaches the file.
fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    std::array::from_fn(|at| digest[at])
}

/// A map that remembers at most `limit` entries, and forgets those first that were not asked for longest:
/// when the young half is full, it becomes the old half and what was old is gone.
struct Recent<K, V> {
    limit: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V: Copy> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self { limit, young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value);
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
pub(crate) mod tests;
