//! Decides whose request it was.
//!
//! A session is one visitor's requests. It is recognised by the first of: a cookie with the name of a session
//! cookie, the `Authorization` header, the client connection. A response that sets a session cookie gives its
//! request's session one more key, so that a login which rotates the cookie goes on as the same visitor. A
//! session ends after 30 idle minutes.
//!
//! A connection stands for a session only until an answer gives that session a cookie: on a connection that
//! several visitors share, the next one without a cookie is somebody new.
//!
//! Keys are kept as hashes in a bounded memory that forgets the longest unused ones first; a forgotten
//! visitor who comes back is a new session.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use captures::{ConnectionId, Exchange, Offset, SessionId, SessionKey, header_value};
use sha2::{Digest, Sha256};

const IDLE_END: Duration = Duration::from_secs(30 * 60);

/// Keys that are remembered: about 20 MB.
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
    next: u64,
    by_key: Recent<Key, SessionId>,
    last_seen: Recent<SessionId, Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Cookie([u8; 16]),
    Credential([u8; 16]),
    Connection(ConnectionId),
}

impl Sessions {
    /// No session yet.
    pub(crate) fn new() -> Self {
        Self { next: 0, by_key: Recent::new(REMEMBERED), last_seen: Recent::new(REMEMBERED) }
    }

    /// Whose `exchange` was, by its unmasked headers. Exchanges come in the order in which they ended.
    pub(crate) fn of(&mut self, exchange: &Exchange) -> (SessionId, SessionKey) {
        let (key, kind) = key_of(exchange);
        let known = self.by_key.get(&key).filter(|session| self.is_alive(*session, exchange.arrived));
        let session = known.unwrap_or_else(|| {
            let session = SessionId(self.next);
            self.next += 1;
            self.by_key.insert(key, session);
            session
        });
        self.last_seen.insert(session, exchange.ended);
        let answered = exchange.response.iter().flat_map(|response| &response.headers);
        for header in answered.filter(|header| header.is("set-cookie")) {
            if let Some(cookie) = cookie_that_is_set(&header.value) {
                self.by_key.insert(cookie.key(), session);
                self.by_key.remove(&Key::Connection(exchange.connection));
            }
        }
        (session, kind)
    }

    fn is_alive(&mut self, session: SessionId, now: Offset) -> bool {
        self.last_seen.get(&session).is_some_and(|last| now.since(last) < IDLE_END)
    }
}

/// The best key that a request carries.
fn key_of(exchange: &Exchange) -> (Key, SessionKey) {
    let headers = &exchange.request.headers;
    let cookies = headers.iter().filter(|header| header.is("cookie"));
    let best = cookies
        .flat_map(|header| header.value.split(|&byte| byte == b';'))
        .filter_map(session_cookie)
        .min_by_key(|cookie| cookie.rank);
    if let Some(cookie) = best {
        return (cookie.key(), SessionKey::Cookie);
    }
    if let Some(credential) = header_value(headers, "authorization").filter(|value| !value.is_empty()) {
        return (Key::Credential(fingerprint(&[credential])), SessionKey::Header);
    }
    (Key::Connection(exchange.connection), SessionKey::Connection)
}

/// A cookie that means a session; the lower the rank, the surer.
struct SessionCookie<'a> {
    rank: usize,
    name: &'a [u8],
    value: &'a [u8],
}

impl SessionCookie<'_> {
    fn key(&self) -> Key {
        Key::Cookie(fingerprint(&[self.name, self.value]))
    }
}

/// The session cookie in `name=value`; `None` when it is another one, or empty.
fn session_cookie(pair: &[u8]) -> Option<SessionCookie<'_>> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
    let known = SESSION_COOKIES.iter().position(|known| name.eq_ignore_ascii_case(known));
    let looks_like_one = || {
        let lower = name.to_ascii_lowercase();
        let has_suffix = [".sid", "_sid", "-sid"].iter().any(|suffix| lower.ends_with(suffix.as_bytes()));
        has_suffix || lower.windows(4).any(|part| part == b"sess")
    };
    let rank = known.or_else(|| looks_like_one().then_some(SESSION_COOKIES.len()))?;
    (!value.is_empty()).then_some(SessionCookie { rank, name, value })
}

/// The session cookie that a `Set-Cookie` sets; `None` when it deletes it.
fn cookie_that_is_set(value: &[u8]) -> Option<SessionCookie<'_>> {
    let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let cookie = session_cookie(parts.next()?)?;
    let deleted = parts.any(|attribute| attribute.eq_ignore_ascii_case(b"max-age=0"));
    (!deleted && cookie.value != b"deleted").then_some(cookie)
}

/// Enough of a hash to tell keys apart.
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
