//! Finds what a request is hashed by, so that the requests of one session go to one server.

use std::net::IpAddr;

use http::{HeaderMap, header};

use super::balance::hash;
use crate::session;

/// A hash of the first of: the session cookie, the `Authorization`, the client's address.
pub(crate) fn session_key(headers: &HeaderMap, client: IpAddr) -> u64 {
    let cookies = headers.get_all(header::COOKIE).iter().map(|value| value.as_bytes());
    if let Some((name, value)) = session::best_cookie(cookies) {
        return hash(&[b"cookie", name, value]);
    }
    if let Some(credential) = headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty()) {
        return hash(&[b"authorization", credential.as_bytes()]);
    }
    match client {
        IpAddr::V4(address) => hash(&[&address.octets()]),
        IpAddr::V6(address) => hash(&[&address.octets()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_goes_before_the_credential_and_that_before_the_address() {
        let key = |fields: &[(header::HeaderName, &'static str)], client: &str| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            session_key(&fields.collect(), client.parse().unwrap())
        };
        let cookie = (header::COOKIE, "theme=dark; sid=1");
        let credential = (header::AUTHORIZATION, "Bearer x");
        let (here, there) = ("192.0.2.1", "192.0.2.2");

        let with_cookie = key(&[cookie.clone(), credential.clone()], here);
        assert_eq!(with_cookie, key(&[(header::COOKIE, "sid=1; theme=light")], there));
        assert_ne!(with_cookie, key(&[(header::COOKIE, "sid=2")], here));
        let credential = [credential];
        assert_eq!(key(&credential, here), key(&credential, there));
        assert_ne!(key(&credential, here), with_cookie);
        assert_ne!(key(&[], here), key(&[], there));
        assert_eq!(key(&[], here), key(&[(header::COOKIE, "theme=dark")], here));
    }
}
