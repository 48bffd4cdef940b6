//! Masks bodies: takes content codings off, looks for secrets in what they hold, and codes them again.
//!
//! A body in which nothing is masked is stored as it came, bit for bit. Of a coded body that was cut, or is
//! damaged at its end, the part that can be decoded is stored without its coding. What nobody can look into (an
//! unknown coding or character set, a damaged start, a bomb) is not stored, but for its length and digest.
//!
//! What begins as gzip does is gzip, whether it is declared or not.
//!
//! In bodies that are no text (images, protobuf, gRPC) tokens and card numbers are looked for as ASCII; their
//! fields have no names that could be known, and a compressed gRPC message is not decompressed.

use captures::{Body, Header, header_value};
use hmac::Mac;
use memchr::memchr;

use super::escape::Escape;
use super::masker::Masker;
use super::pseudonym::keyed;
use super::text::{Look, Shown};
use captures::coding::{self, Coding};

/// A body may hold so many times more than it is long, and no more than [`LONGEST`].
const RATIO: usize = 100;
const SHORTEST_LIMIT: usize = 64 << 10;
const LONGEST: usize = 4 << 20;

/// Character sets in which the letters of ASCII are not themselves, and of which nothing is known here.
const FOREIGN: [&[u8]; 5] = [b"utf-7", b"utf-32", b"ucs-4", b"ebcdic", b"ibm0"];

/// Masks the body of a message with these header fields. `key` is that of digests.
pub(super) fn mask(masker: &mut Masker, key: &[u8; 32], headers: &[Header], body: &mut Body) {
    if body.stored.is_empty() {
        return;
    }
    let declared = header_value(headers, "content-type").unwrap_or_default();
    let codings = if body.decoded { Some(Vec::new()) } else { coding::codings_of(headers) };
    let Some(mut codings) = codings else { return leave_out(key, body) };
    if codings.is_empty() && is_gzip(&body.stored) {
        codings.push(Coding::Gzip);
    }
    if codings.is_empty() {
        let mut stored = std::mem::take(&mut body.stored);
        let known = mask_content(masker, declared, &mut stored, body.cut);
        body.stored = stored;
        if known.is_none() {
            leave_out(key, body);
        }
        return;
    }
    let limit = (body.stored.len().saturating_mul(RATIO)).clamp(SHORTEST_LIMIT, LONGEST);
    let Some(mut decoded) = coding::decode_start(&codings, &body.stored, limit) else {
        return leave_out(key, body);
    };
    if decoded.is_whole && !body.decoded && is_gzip(&decoded.content) {
        // A file that was gzip before it was coded for its way.
        codings.insert(0, Coding::Gzip);
        let Some(found) = coding::decode_start(&codings, &body.stored, limit) else {
            return leave_out(key, body);
        };
        decoded = found;
    }
    if decoded.is_whole {
        match mask_content(masker, declared, &mut decoded.content, false) {
            Some(false) => {}
            Some(true) => match coding::encode(&decoded.codings, &decoded.content) {
                Ok(coded) => body.stored = coded,
                Err(_) => leave_out(key, body),
            },
            None => leave_out(key, body),
        }
        return;
    }
    // As much of the content as there would have been of the body.
    decoded.content.truncate(body.stored.len());
    if mask_content(masker, declared, &mut decoded.content, true).is_none() {
        return leave_out(key, body);
    }
    digest(key, body);
    body.stored = decoded.content;
    body.decoded = true;
    body.cut = true;
}

/// Whether it begins as gzip does (RFC 1952, with the one method that there is).
fn is_gzip(content: &[u8]) -> bool {
    content.starts_with(&[0x1F, 0x8B, 8])
}

/// Masks a part of a body that cannot change its length: one that is gzip, and holds a secret or may hold one,
/// is masked as a whole. `None` when it is no gzip.
pub(super) fn mask_gzip_part(masker: &mut Masker, declared: &[u8], part: &mut [u8]) -> Option<bool> {
    if !is_gzip(part) {
        return None;
    }
    let limit = part.len().saturating_mul(RATIO).min(LONGEST);
    let decoded = coding::decode_start(&[Coding::Gzip], part, limit);
    let is_public = decoded.filter(|decoded| decoded.is_whole).is_some_and(|mut decoded| {
        !is_gzip(&decoded.content)
            && mask_content(masker, declared, &mut decoded.content, false) == Some(false)
    });
    Some(!is_public && masker.replace(masker.wrapped, part))
}

/// Masks what a body holds; whether that changed anything. `None` when nobody can know what it says.
fn mask_content(masker: &mut Masker, declared: &[u8], content: &mut [u8], is_cut: bool) -> Option<bool> {
    let shown = Shown { is_cut, ..Shown::ALL };
    // A character set stands behind a sign; most bodies declare none.
    let charset =
        memchr(b'=', declared).map(|sign| declared[sign..].to_ascii_lowercase()).unwrap_or_default();
    let names = |name: &[u8]| charset.windows(name.len()).any(|window| window == name);
    if FOREIGN.iter().any(|name| names(name))
        || content.starts_with(b"\xFF\xFE\0\0")
        || content.starts_with(b"\0\0\xFE\xFF")
    {
        return None;
    }
    if let Some(wide) = utf16(content, names(b"utf-16be"), names(b"utf-16")) {
        return Some(wide.within(content, |meant| {
            let look = Look::declared(declared, meant);
            masker.text(meant, look, shown)
        }));
    }
    let look = Look::declared(declared, content);
    Some(masker.text(content, look, shown))
}

/// In which order of bytes a text in UTF-16 is written, if it is one.
fn utf16(content: &[u8], declares_big: bool, declares: bool) -> Option<Escape> {
    let odd = |at: usize| content.get(at) == Some(&0) && content.get(at ^ 1).is_some_and(|byte| *byte != 0);
    match content {
        [0xFF, 0xFE, ..] => Some(Escape::Utf16Le),
        [0xFE, 0xFF, ..] => Some(Escape::Utf16Be),
        _ if declares_big => Some(Escape::Utf16Be),
        _ if odd(1) && odd(3) && odd(5) => Some(Escape::Utf16Le),
        _ if odd(0) && odd(2) && odd(4) => Some(Escape::Utf16Be),
        _ if declares => Some(Escape::Utf16Le),
        _ => None,
    }
}

/// Stores nothing of `body` but its length and its digest.
fn leave_out(key: &[u8; 32], body: &mut Body) {
    digest(key, body);
    body.stored = Vec::new();
    body.cut = true;
    body.decoded = false;
}

/// A body that was cut has its digest already.
fn digest(key: &[u8; 32], body: &mut Body) {
    if !body.cut && body.digest.is_none() {
        body.digest = Some(keyed(key).chain_update(&body.stored).finalize().into_bytes().into());
    }
}
