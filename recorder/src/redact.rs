//! Replaces secrets by keyed pseudonyms, so that nothing sensitive reaches the disk and sessions and tokens
//! can still be followed from answer to request.
//!
//! The same secret gets the same pseudonym wherever it stands and however it is written there (in a
//! `Set-Cookie`, later in a `Cookie`, in a form with percent signs, in JSON with backslashes); a pseudonym has
//! the length and, byte by byte, the kind of characters of the secret. What is not secret keeps its place:
//! cookie names and attributes, a known scheme of `Authorization`, the structure of JSON. Without the key a
//! pseudonym can be neither inverted nor guessed; the key never leaves the process.
//!
//! A secret is recognised by its name (of a header, cookie, parameter, field), or by its shape (card numbers,
//! tokens). Not masked, therefore: secrets without either, such as a word in the path of an address.

mod body;
mod cards;
mod csv;
mod escape;
mod explain;
mod form;
mod json;
mod markup;
mod masker;
mod memory;
mod multipart;
mod names;
mod path;
mod policy;
mod pseudonym;
mod text;
mod tokens;

use captures::{Exchange, Header, Masking};

use escape::Escape;
use masker::Masker;
use memory::Known;
use names::{Rule, Verdict};
use text::{Look, Shown};

pub use explain::{Explanation, explain};
pub use masker::Found;
pub use policy::{MaskPolicy, MaskRules};
pub(crate) use pseudonym::keyed;

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

/// Headers whose value is an address.
const ADDRESSES: [&str; 9] = [
    "location",
    "content-location",
    "referer",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-forwarded-url",
    "sourcemap",
];

/// Masks exchanges by one policy.
pub(crate) struct Redaction(Option<Masks>);

struct Masks {
    key: [u8; 32],
    masker: Masker,
}

impl Redaction {
    /// Masks by `policy`.
    pub(crate) fn new(policy: MaskPolicy) -> Self {
        Self(match policy {
            MaskPolicy::None => None,
            MaskPolicy::Pseudonyms { key, rules } => Some(Masks { key, masker: Masker::new(&key, &rules) }),
        })
    }

    /// What the capture's header says of it.
    pub(crate) fn masking(&self) -> Masking {
        self.0.as_ref().map_or(Masking::None, |masks| masks.masker.masking())
    }

    /// Masks what `exchange` holds.
    pub(crate) fn apply(&mut self, exchange: &mut Exchange) {
        let Some(Masks { key, masker }) = &mut self.0 else { return };
        let request = &mut exchange.request;
        masker.at("request target", |masker| {
            form::mask_address(masker, &mut request.target);
        });
        mask_headers(masker, "request header", &mut request.headers);
        masker.at("request body", |masker| body::mask(masker, key, &request.headers, &mut request.body));
        mask_headers(masker, "request trailer", &mut request.trailers);
        if let Some(response) = &mut exchange.response {
            mask_headers(masker, "response header", &mut response.headers);
            masker
                .at("response body", |masker| body::mask(masker, key, &response.headers, &mut response.body));
            mask_headers(masker, "response trailer", &mut response.trailers);
        }
    }
}

fn mask_headers(masker: &mut Masker, place: &str, headers: &mut [Header]) {
    for header in headers {
        // Whoever wants to know what was found has each field looked at.
        if masker.found.is_none() {
            mask_known_header(masker, header);
            continue;
        }
        let before = masker.found_so_far();
        mask_header(masker, header);
        masker.name_place(before, || {
            format!("{place} {}", String::from_utf8_lossy(&header.name).to_lowercase())
        });
    }
}

/// Masks a field as it was masked before, or looks at it and remembers what became of it.
fn mask_known_header(masker: &mut Masker, header: &mut Header) {
    match masker.memory.recall(header) {
        Known::Masked => {}
        Known::TooLong => mask_header(masker, header),
        Known::New(place) => {
            let before = header.value.clone();
            mask_header(masker, header);
            masker.memory.remember(place, &header.name, &before, &header.value);
        }
    }
}

fn mask_header(masker: &mut Masker, header: &mut Header) {
    let Verdict::Secret(rule) = masker.headers.verdict(&header.name) else {
        return mask_public_header(masker, header);
    };
    if header.is("cookie") {
        for cookie in header.value.split_mut(|&byte| byte == b';') {
            mask_cookie(masker, cookie);
        }
    } else if header.is("set-cookie") {
        // The first part is the cookie, the others are its attributes.
        if let Some(cookie) = header.value.split_mut(|&byte| byte == b';').next() {
            mask_cookie(masker, cookie);
        }
    } else if header.is("authorization") || header.is("proxy-authorization") {
        let word = header.value.split(|&byte| byte == b' ').next().unwrap_or_default();
        let known = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()));
        // A lone word is all there is, whatever it spells.
        let secret = if known && word.len() < header.value.len() { word.len() } else { 0 };
        mask_value(masker, rule, &mut header.value[secret..]);
    } else {
        mask_value(masker, rule, &mut header.value);
    }
}

/// A header that is no secret as a whole may hold one.
fn mask_public_header(masker: &mut Masker, header: &mut Header) {
    if ADDRESSES.iter().any(|name| header.is(name)) {
        form::mask_address(masker, &mut header.value);
    } else if header.value.len() > 5 {
        masker.text(&mut header.value, Look::Plain, Shown::ALL);
    }
}

/// Masks what stands after the `=` of `name=value`; all of it without one. A cookie that stays readable may
/// hold secrets that are known by their shape.
fn mask_cookie(masker: &mut Masker, pair: &mut [u8]) {
    let equals = pair.iter().position(|&byte| byte == b'=');
    let (name, value) = pair.split_at_mut(equals.map_or(0, |equals| equals + 1));
    let name = name.strip_suffix(b"=").unwrap_or(name).trim_ascii();
    match masker.cookies.verdict(name).of(value) {
        Some(rule) => mask_value(masker, rule, value),
        None => {
            Escape::Percent.within(value, |meant| masker.text(meant, Look::of(meant), Shown::ALL));
        }
    }
}

fn mask_value(masker: &mut Masker, rule: Rule, value: &mut [u8]) {
    Escape::Percent.within(value, |meant| masker.replace(rule, meant));
}

#[cfg(test)]
mod tests;
