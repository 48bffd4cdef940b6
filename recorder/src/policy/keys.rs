//! What visitors are told apart by.

use std::fmt;
use std::time::Duration;

/// How sessions are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// The first of these that a request carries decides. A request that carries none is a session by itself.
    pub keys: Vec<KeyRule>,
    /// So much silence ends a session.
    pub idle: Duration,
}

/// One thing that a visitor can be recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// Any cookie that is named like a session cookie.
    SessionCookie,
    /// The cookie of this name, case and all.
    Cookie(String),
    /// The header of this name, in any case.
    Header(String),
    /// The parameter of this name in the query.
    Query(String),
    /// The client's address, together with its user agent.
    AddressAgent,
    /// The client connection.
    Connection,
}

impl KeyRule {
    /// Reads one rule.
    ///
    /// # Errors
    /// When it is none; says what to write.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let typed = typed.trim();
        Ok(match typed.split_once(':') {
            None if typed == "cookie" => Self::SessionCookie,
            None if typed == "ip+ua" => Self::AddressAgent,
            None if typed == "connection" => Self::Connection,
            Some(("cookie", name)) if !name.is_empty() => Self::Cookie(name.to_owned()),
            Some(("header", name)) if !name.is_empty() => Self::Header(name.to_ascii_lowercase()),
            Some(("query", name)) if !name.is_empty() => Self::Query(name.to_owned()),
            _ => {
                return Err(format!(
                    "{typed:?} is no key; give cookie, cookie:NAME, header:NAME, query:NAME, ip+ua or connection"
                ));
            }
        })
    }
}

impl fmt::Display for KeyRule {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionCookie => write!(f, "cookie"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::AddressAgent => write!(f, "ip+ua"),
            Self::Connection => write!(f, "connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_they_show() {
        for typed in ["cookie", "cookie:sid", "header:x-user", "query:sid", "ip+ua", "connection"] {
            assert_eq!(KeyRule::parse(typed).map(|rule| rule.to_string()), Ok(typed.to_owned()));
        }
        assert_eq!(KeyRule::parse(" header:X-User"), Ok(KeyRule::Header("x-user".to_owned())));
        for wrong in ["", "cookie:", "header", "query:", "ip", "Connection:", "sid"] {
            assert!(KeyRule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
