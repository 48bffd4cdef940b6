//! What is changed in every request on its way into the plan, because the user said so.

use std::borrow::Cow;
use std::fmt;

use captures::Header;

/// The `Host` field that is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostField {
    /// The target's own.
    #[default]
    Target,
    /// As it was recorded.
    Recorded,
    /// This one.
    Named(String),
}

/// Changes; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites {
    /// The `Host` field.
    pub host: HostField,
    /// Fields that replace recorded ones of the same name.
    pub set: Vec<(String, String)>,
    /// Names of fields that are left out.
    pub remove: Vec<String>,
    /// Beginnings of paths and what stands there instead; the first that fits counts.
    pub paths: Vec<(String, String)>,
    /// Parameters of the query that are set, in place of recorded ones of the same name.
    pub query: Vec<(String, String)>,
    /// Values of the `Authorization` field: each recorded session takes one, in turn. Empty: as recorded.
    pub authorization: Vec<String>,
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteError {
    /// It is not written as a name and a value.
    Form,
    /// The name or the value cannot stand in a request.
    Characters,
    /// The field says where requests end or how connections go on, which the replay itself decides.
    Framing,
    /// The field is `Host`.
    Host,
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "is no name and value"),
            Self::Characters => write!(f, "holds characters that cannot stand there"),
            Self::Framing => write!(f, "is set for each request by the replay itself"),
            Self::Host => write!(f, "is a field of which a request has one, and one only"),
        }
    }
}

impl RewriteError {
    /// What to write instead.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Form => "write 'Name: value' for a field, /old=/new for a path, name=value for a parameter",
            Self::Characters => {
                "leave out control characters, line breaks and, outside values of fields, spaces"
            }
            Self::Framing => "leave it out",
            Self::Host => "write --host NAME instead",
        }
    }
}

impl std::error::Error for RewriteError {}

/// Reads `Name: value`.
///
/// # Errors
/// When it is no field, or one that the replay sets itself.
pub fn parse_field(text: &str) -> Result<(String, String), RewriteError> {
    let (name, value) = text.split_once(':').ok_or(RewriteError::Form)?;
    if name.is_empty() || !name.bytes().all(super::text::is_token) {
        return Err(RewriteError::Characters);
    }
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("host") {
        return Err(RewriteError::Host);
    }
    // Credentials of a proxy are dropped as those of the recorded one; another may want its own.
    if !is("proxy-authorization") && super::text::DROPPED.into_iter().any(is) {
        return Err(RewriteError::Framing);
    }
    Ok((name.to_owned(), field_value(value)?))
}

/// The value of a field, without the space around it.
///
/// # Errors
/// When it holds control characters.
pub fn field_value(text: &str) -> Result<String, RewriteError> {
    let value = text.trim();
    let plain = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7F));
    if plain { Ok(value.to_owned()) } else { Err(RewriteError::Characters) }
}

/// Reads `/old=/new` or `name=value`, neither with spaces.
///
/// # Errors
/// When it is no pair, or holds what cannot stand in a request target.
pub fn parse_pair(text: &str) -> Result<(String, String), RewriteError> {
    let (name, value) = text.split_once('=').ok_or(RewriteError::Form)?;
    let plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte < 0x7F && byte != b'#');
    if name.is_empty() {
        return Err(RewriteError::Form);
    }
    if !plain(name) || !plain(value) {
        Err(RewriteError::Characters)
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

impl Rewrites {
    /// Whether a recorded field is left out or replaced.
    pub(super) fn drops(&self, header: &Header) -> bool {
        self.remove.iter().any(|name| header.is(name))
            || self.set.iter().any(|(name, _)| header.is(name))
            || (!self.authorization.is_empty() && header.is("authorization"))
    }

    /// The fields that are added for a recorded session.
    pub(super) fn fields_for(&self, session: u32) -> impl Iterator<Item = (&str, &str)> {
        let turn = (!self.authorization.is_empty()).then(|| session as usize % self.authorization.len());
        let authorization = turn.map(|turn| ("Authorization", self.authorization[turn].as_str()));
        self.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(authorization)
    }

    /// The path and query that are sent for recorded ones.
    pub(super) fn target<'a>(&self, recorded: &'a [u8]) -> Cow<'a, [u8]> {
        let moved = self.paths.iter().find_map(|(old, new)| {
            let rest = recorded.strip_prefix(old.as_bytes())?;
            Some([new.as_bytes(), rest].concat())
        });
        // A path that lost its beginning must still begin somewhere.
        let moved = moved.map(|path| if path.starts_with(b"/") { path } else { [b"/", &path[..]].concat() });
        let target = moved.map_or(Cow::Borrowed(recorded), Cow::Owned);
        if self.query.is_empty() {
            return target;
        }
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (&target[..], &[][..]),
        };
        let is_set = |part: &[u8]| {
            let name = part.split(|&byte| byte == b'=').next().unwrap_or_default();
            self.query.iter().any(|(set, _)| set.as_bytes() == name)
        };
        let kept = query.split(|&byte| byte == b'&').filter(|part| !part.is_empty() && !is_set(part));
        let set: Vec<Vec<u8>> =
            self.query.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        let parts: Vec<&[u8]> = kept.chain(set.iter().map(Vec::as_slice)).collect();
        Cow::Owned([path, b"?", &parts.join(&b'&')].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_rewritten() {
        let rewrites = Rewrites {
            paths: vec![("/v1/".to_owned(), "/v2/".to_owned()), ("/old".to_owned(), String::new())],
            query: vec![("key".to_owned(), "new".to_owned())],
            ..Rewrites::default()
        };
        for (recorded, expected) in [
            ("/v1/a?x=1&key=old", "/v2/a?x=1&key=new"),
            ("/old", "/?key=new"),
            ("/old/a", "/a?key=new"),
            ("/other?keys=1", "/other?keys=1&key=new"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&rewrites.target(recorded.as_bytes())),
                expected,
                "{recorded}"
            );
        }
        assert_eq!(&*Rewrites::default().target(b"/a?b"), b"/a?b");
    }

    #[test]
    fn sessions_take_turns_at_credentials() {
        let rewrites =
            Rewrites { authorization: vec!["a".to_owned(), "b".to_owned()], ..Rewrites::default() };
        let of = |session| rewrites.fields_for(session).map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!((of(0), of(1), of(2)), (vec!["a"], vec!["b"], vec!["a"]));
        assert!(rewrites.drops(&Header { name: b"authorization".to_vec(), value: Vec::new() }));
    }

    #[test]
    fn nothing_that_is_typed_can_break_out_of_its_place() {
        assert_eq!(parse_field("X-A: b c "), Ok(("X-A".to_owned(), "b c".to_owned())));
        for wrong in ["X-A", "X A: b", ": b", "X-A: b\r\nEvil: c", "X-A: \0"] {
            assert!(parse_field(wrong).is_err(), "{wrong:?}");
        }
        for framing in
            ["Content-Length: 3", "transfer-encoding: chunked", "Expect: 100-continue", "TE: trailers"]
        {
            assert_eq!(parse_field(framing), Err(RewriteError::Framing), "{framing}");
        }
        for framing in
            ["Connection: close", "KEEP-ALIVE: 5", "Upgrade: h2c", "Trailer: X", "Highwater-Replay: 0"]
        {
            assert_eq!(parse_field(framing), Err(RewriteError::Framing), "{framing}");
        }
        assert_eq!(parse_field("hOST: foo"), Err(RewriteError::Host));
        for wrong in ["/a", "=b", "a=b c", "a=b\r\n", "a=b#c"] {
            assert!(parse_pair(wrong).is_err(), "{wrong:?}");
        }
    }
}
