//! Replaces secrets by keyed pseudonyms, so that nothing sensitive reaches the disk and sessions and tokens
//! can still be followed from answer to request.
//!
//! The same secret gets the same pseudonym wherever it stands (in a `Set-Cookie`, later in a `Cookie`, in a
//! header of another name); a pseudonym has the length and, byte by byte, the kind of characters of the
//! secret. What is not secret keeps its place: cookie names and attributes, the scheme of `Authorization`.
//! Without the key a pseudonym can be neither inverted nor guessed; the key never leaves the process.
//!
//! Not masked here: query parameters and bodies.

use captures::{Exchange, Header, Masking};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::config::MaskPolicy;

/// The headers that are masked unless something else is said, in lower case.
pub const DEFAULT_MASKED: [&str; 16] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-key",
    "x-auth-token",
    "x-access-token",
    "x-session-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-amz-security-token",
    "x-vault-token",
    "private-token",
];

/// Masks exchanges by one policy.
pub(crate) struct Redaction {
    policy: MaskPolicy,
}

impl Redaction {
    /// Masks by `policy`.
    pub(crate) fn new(policy: MaskPolicy) -> Self {
        Self { policy }
    }

    /// What the capture's header says of it.
    pub(crate) fn masking(&self) -> Masking {
        match &self.policy {
            MaskPolicy::None => Masking::None,
            MaskPolicy::Pseudonyms { key, headers } => {
                let id = mac(key, b"highwater: the name of this key");
                Masking::Pseudonyms { key_id: std::array::from_fn(|at| id[at]), headers: headers.clone() }
            }
        }
    }

    /// Masks the headers of `exchange`.
    pub(crate) fn apply(&self, exchange: &mut Exchange) {
        let MaskPolicy::Pseudonyms { key, headers } = &self.policy else { return };
        let response = exchange.response.iter_mut().flat_map(|response| &mut response.headers);
        for header in exchange.request.headers.iter_mut().chain(response) {
            if headers.iter().any(|name| header.is(name)) {
                mask_header(key, header);
            }
        }
    }
}

fn mask_header(key: &[u8; 32], header: &mut Header) {
    if header.is("cookie") {
        for cookie in header.value.split_mut(|&byte| byte == b';') {
            mask_pair(key, cookie);
        }
    } else if header.is("set-cookie") {
        // The first part is the cookie, the others are its attributes.
        if let Some(cookie) = header.value.split_mut(|&byte| byte == b';').next() {
            mask_pair(key, cookie);
        }
    } else if header.is("authorization") || header.is("proxy-authorization") {
        let scheme = header.value.iter().position(|&byte| byte == b' ').map_or(0, |space| space + 1);
        mask(key, &mut header.value[scheme..]);
    } else {
        mask(key, &mut header.value);
    }
}

/// Masks what stands after the `=` of `name=value`; all of it without one.
fn mask_pair(key: &[u8; 32], pair: &mut [u8]) {
    let start = match pair.iter().position(|&byte| byte == b'=') {
        Some(equals) => equals + 1,
        None => 0,
    };
    mask(key, &mut pair[start..]);
}

/// Puts the pseudonym of `secret` in its place. Blanks and quotes around it are not part of it.
fn mask(key: &[u8; 32], secret: &mut [u8]) {
    let around = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'"';
    let Some(start) = secret.iter().position(|byte| !around(byte)) else { return };
    let end = secret.iter().rposition(|byte| !around(byte)).map_or(start, |last| last + 1);
    let secret = &mut secret[start..end];

    // All letters being a…f, it is a number in hexadecimal and stays one.
    let hexadecimal = secret.iter().filter(|byte| byte.is_ascii_alphabetic()).all(u8::is_ascii_hexdigit);
    let letters = if hexadecimal { 6 } else { 26 };
    let seed = mac(key, secret);
    for (counter, chunk) in (0_u32..).zip(secret.chunks_mut(32)) {
        let noise = Sha256::new().chain_update(seed).chain_update(counter.to_le_bytes()).finalize();
        for (byte, noise) in chunk.iter_mut().zip(noise) {
            *byte = match *byte {
                b'0'..=b'9' => b'0' + noise % 10,
                b'A'..=b'Z' => b'A' + noise % letters,
                b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%' | b':' | b',' | b' ' => *byte,
                b'a'..=b'z' | 0x80.. => b'a' + noise % letters,
                _ => b"!#$&*?@^"[usize::from(noise % 8)],
            };
        }
    }
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(bytes).finalize().into_bytes().into()
}

/// HMAC-SHA-256 under `key`, before its first byte.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn masked(name: &str, value: &str) -> String {
        let mut header = Header { name: name.into(), value: value.into() };
        mask_header(&KEY, &mut header);
        String::from_utf8(header.value).unwrap()
    }

    fn pseudonym(secret: &str) -> String {
        masked("x-api-key", secret)
    }

    #[test]
    fn a_session_gets_one_pseudonym_in_set_cookie_and_cookie() {
        let set = masked("Set-Cookie", "sid=8f3Kq0ZmT1; Path=/; Max-Age=3600; HttpOnly");
        let sent = masked("Cookie", "theme=dark; sid=8f3Kq0ZmT1; n=1");

        let name = pseudonym("8f3Kq0ZmT1");
        assert_ne!(name, "8f3Kq0ZmT1");
        assert_eq!(set, format!("sid={name}; Path=/; Max-Age=3600; HttpOnly"));
        assert_eq!(sent, format!("theme={}; sid={name}; n={}", pseudonym("dark"), pseudonym("1")));
    }

    #[test]
    fn authorization_keeps_its_scheme() {
        let value = masked("Authorization", "Bearer abc.DEF-123");

        assert_eq!(value, format!("Bearer {}", pseudonym("abc.DEF-123")));
        assert_eq!(masked("Authorization", "abc.DEF-123"), pseudonym("abc.DEF-123"));
    }

    #[test]
    fn hexadecimal_stays_hexadecimal_and_quotes_stay_outside() {
        let name = pseudonym("0f9e8d7c6b5a43210f9e8d7c6b5a4321");

        assert!(name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), "{name}");
        assert_eq!(masked("Cookie", "a=\"xyz\""), format!("a=\"{}\"", pseudonym("xyz")));
    }

    #[test]
    fn another_key_gives_another_pseudonym() {
        let mut secret = b"correct horse battery staple".to_vec();
        mask(&[8; 32], &mut secret);

        assert_ne!(secret, pseudonym("correct horse battery staple").into_bytes());
    }

    #[test]
    fn only_the_named_headers_of_both_messages_change() {
        let policy = MaskPolicy::Pseudonyms { key: KEY, headers: vec!["x-api-key".to_owned()] };
        let header = |name: &str| Header { name: name.into(), value: b"s3cret".to_vec() };
        let mut headers = vec![header("X-API-Key"), header("Accept")];
        let mut exchange = crate::session::tests::exchange(&[]);
        exchange.request.headers.append(&mut headers);

        Redaction::new(policy).apply(&mut exchange);

        assert_eq!(exchange.request.headers[0].value, pseudonym("s3cret").into_bytes());
        assert_eq!(exchange.request.headers[1].value, b"s3cret");
    }

    proptest! {
        #[test]
        fn a_pseudonym_has_the_length_and_the_classes_of_its_secret(secret in "[ -~]{0,100}") {
            let mut name = secret.clone().into_bytes();
            mask(&KEY, &mut name);

            prop_assert_eq!(name.len(), secret.len());
            for (new, old) in name.iter().zip(secret.bytes()) {
                prop_assert_eq!(new.is_ascii_digit(), old.is_ascii_digit());
                prop_assert_eq!(new.is_ascii_lowercase(), old.is_ascii_lowercase());
                prop_assert_eq!(new.is_ascii_uppercase(), old.is_ascii_uppercase());
            }
        }
    }
}
