//! Replaces secrets by keyed pseudonyms, so that nothing sensitive reaches the disk and sessions and tokens
//! can still be followed from answer to request.
//!
//! The same secret gets the same pseudonym wherever it stands (in a `Set-Cookie`, later in a `Cookie`, in a
//! header of another name); a pseudonym has the length and, byte by byte, the kind of characters of the
//! secret. What is not secret keeps its place: cookie names and attributes, a known scheme of `Authorization`.
//! Without the key a pseudonym can be neither inverted nor guessed; the key never leaves the process.
//!
//! A secret is recognised by the name of its header and by nothing else. Not masked, therefore: targets with
//! their queries, bodies, and the addresses in `Location` and `Referer`.

use std::collections::HashMap;

use captures::{Exchange, Header, Masking};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::config::MaskPolicy;

/// The headers that are masked unless something else is said, as [`MaskPolicy::Pseudonyms`] lists them.
pub const DEFAULT_MASKED: [&str; 29] = [
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
    "x-auth*",
    "*-auth",
    "*-authorization",
    "*api-key*",
    "*apikey*",
    "*api_key*",
    "*subscription-key*",
    "*token*",
    "*secret*",
    "*password*",
    "*credential*",
    "*jwt*",
    // `true` or nothing; browsers ask for it by name.
    "!access-control-allow-credentials",
];

/// Schemes of `Authorization` that stay readable, in lower case. Of any other first word nobody knows that
/// it is no secret.
const SCHEMES: [&str; 28] = [
    "basic",
    "bearer",
    "digest",
    "negotiate",
    "ntlm",
    "kerberos",
    "oauth",
    "mac",
    "hawk",
    "hmac",
    "hmac-sha256",
    "hoba",
    "mutual",
    "dpop",
    "gnap",
    "vapid",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "apikey",
    "api-key",
    "token",
    "jwt",
    "aws",
    "aws4-hmac-sha256",
    "aws4-ecdsa-p256-sha256",
    "sharedkey",
    "signature",
];

/// So many names of headers are remembered, of at most so many bytes.
const REMEMBERED: usize = 1_024;
const REMEMBERED_LENGTH: usize = 64;

/// Masks exchanges by one policy.
pub(crate) struct Redaction {
    policy: MaskPolicy,
    /// Whether headers of these names, spelled as they came, are secrets: traffic has few names, and the
    /// list is long.
    decided: HashMap<Vec<u8>, bool>,
}

impl Redaction {
    /// Masks by `policy`.
    pub(crate) fn new(policy: MaskPolicy) -> Self {
        Self { policy, decided: HashMap::new() }
    }

    /// What the capture's header says of it.
    pub(crate) fn masking(&self) -> Masking {
        match &self.policy {
            MaskPolicy::None => Masking::None,
            MaskPolicy::Pseudonyms { key, headers } => {
                let id = mac(key, b"highwater: the name of this key");
                Masking::Pseudonyms { key_id: std::array::from_fn(|at| id[at]), rules: headers.clone() }
            }
        }
    }

    /// Masks the headers of `exchange`.
    pub(crate) fn apply(&mut self, exchange: &mut Exchange) {
        let Self { policy: MaskPolicy::Pseudonyms { key, headers }, decided } = self else { return };
        let response = exchange.response.iter_mut().flat_map(|response| &mut response.headers);
        for header in exchange.request.headers.iter_mut().chain(response) {
            let secret = decided.get(&header.name).copied().unwrap_or_else(|| {
                let secret = is_secret(headers, &header.name);
                if decided.len() < REMEMBERED && header.name.len() <= REMEMBERED_LENGTH {
                    decided.insert(header.name.clone(), secret);
                }
                secret
            });
            if secret {
                mask_header(key, header);
            }
        }
    }
}

/// What the last entry of `list` that fits `name` says; no secret when none does.
fn is_secret(list: &[String], name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let name = String::from_utf8_lossy(&name);
    let last = list.iter().rev().find(|entry| fits(entry.strip_prefix('!').unwrap_or(entry), &name));
    last.is_some_and(|entry| !entry.starts_with('!'))
}

/// Whether `name` is `pattern`, in which a `*` at either end stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), Some(_)) => name.contains(end.strip_suffix('*').unwrap_or(end)),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
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
        let word = header.value.split(|&byte| byte == b' ').next().unwrap_or_default();
        let known = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()));
        // A lone word is all there is, whatever it spells.
        let secret = if known && word.len() < header.value.len() { word.len() } else { 0 };
        mask(key, &mut header.value[secret..]);
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
        for scheme in ["Basic", "digest", "NTLM", "ApiKey", "AWS4-HMAC-SHA256", "SCRAM-SHA-256"] {
            let value = masked("Proxy-Authorization", &format!("{scheme} abc.DEF-123"));
            assert_eq!(value, format!("{scheme} {}", pseudonym("abc.DEF-123")));
        }
    }

    #[test]
    fn a_word_that_is_no_known_scheme_is_masked_with_the_rest() {
        for value in ["abc.DEF-123", "s3cret-of-mine rest", "Bearer", "Bearerabc def"] {
            assert_eq!(masked("Authorization", value), pseudonym(value));
        }
    }

    #[test]
    fn secrets_are_recognised_by_their_header_and_what_is_public_stays() {
        let mut list: Vec<String> = DEFAULT_MASKED.iter().map(|&name| name.to_owned()).collect();
        list.extend(["x-mine".to_owned(), "y-*".to_owned()]);
        let check = |name: &str, expected| assert_eq!(is_secret(&list, name.as_bytes()), expected, "{name}");

        for secret in [
            "Authorization",
            "X-Forwarded-Authorization",
            "Cookie",
            "X-API-Key",
            "x-goog-api-key",
            "X-Functions-ApiKey",
            "my_api_key",
            "Ocp-Apim-Subscription-Key",
            "X-CSRF-Token",
            "X-Amz-Security-Token",
            "client-secret",
            "X-Client-Secret-Id",
            "X-Password",
            "X-Credential-Id",
            "X-Auth",
            "X-Authenticated-User",
            "Service-Auth",
            "X-Goog-IAP-JWT-Assertion",
            "X-Mine",
            "Y-Anything",
        ] {
            check(secret, true);
        }
        for public in [
            "ETag",
            "Content-Type",
            "Host",
            "WWW-Authenticate",
            "Sec-WebSocket-Key",
            "Access-Control-Allow-Credentials",
            "Idempotency-Key",
            "Authority",
            "Location",
            "Referer",
            "X-Mine-Not",
            "",
        ] {
            check(public, false);
        }
    }

    #[test]
    fn the_last_entry_that_fits_decides() {
        let list = ["*token*", "!x-token-count", "x-*"].map(str::to_owned);

        assert!(is_secret(&list, b"X-Token-Count"));
        assert!(!is_secret(&list[..2], b"X-Token-Count"));
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
