//! Takes the text of a request apart into its fields, each with where it stands and how it is written there.
//!
//! It walks the bytes that are sent, so that a field's place in the text is where a patch goes. A value may also be a
//! part of a field (`Bearer x`), or stand in Base64 in it.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::correlate::answer::json::{leaves, unescaped};
use crate::correlate::answer::markup::pieces;
use crate::correlate::answer::{
    Language, form_decoded, pairs, path_and_query, percent_decoded, segment_name, segments, unquoted,
};
use crate::correlate::pattern::PlaceKind;
use crate::correlate::value::{Strength, contains, strength};
use crate::response::{head_end, line_end};

/// The most fields that are taken out of one request.
const MAX_FIELDS: usize = 20_000;
/// A part of a field is looked at only in fields up to this length.
const LONGEST_COMPOSED: usize = 8_192;

/// How a value is written where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    AsIs,
    Percent,
    Form,
    JsonString,
    JsonNumber,
    Xml,
}

/// One field of a request.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) kind: PlaceKind,
    pub(crate) name: Cow<'a, [u8]>,
    /// Where it stands in the text.
    pub(crate) range: Range<usize>,
    pub(crate) written: Written,
    /// What it says, without that writing.
    pub(crate) value: Cow<'a, [u8]>,
    /// Of a segment of an address: the path before it.
    pub(crate) before: &'a [u8],
}

/// Where in a field a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The field is Base64 of a text in which it is.
    pub(crate) base64: Option<Base64>,
}

/// A way to write Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base64 {
    Standard,
    StandardNoPad,
    UrlSafe,
    UrlSafeNoPad,
}

impl Base64 {
    const ALL: [Self; 4] = [Self::Standard, Self::StandardNoPad, Self::UrlSafe, Self::UrlSafeNoPad];

    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Standard => STANDARD.decode(text),
            Self::StandardNoPad => STANDARD_NO_PAD.decode(text),
            Self::UrlSafe => URL_SAFE.decode(text),
            Self::UrlSafeNoPad => URL_SAFE_NO_PAD.decode(text),
        }
        .ok()
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Standard => STANDARD.encode(bytes),
            Self::StandardNoPad => STANDARD_NO_PAD.encode(bytes),
            Self::UrlSafe => URL_SAFE.encode(bytes),
            Self::UrlSafeNoPad => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

/// Fields that say what the client is and wants, not who.
const DESCRIBING: [&[u8]; 24] = [
    b"host",
    b"user-agent",
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"accept-charset",
    b"connection",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"cache-control",
    b"pragma",
    b"origin",
    b"range",
    b"if-none-match",
    b"if-modified-since",
    b"upgrade-insecure-requests",
    b"transfer-encoding",
    b"te",
    b"priority",
    b"dnt",
    b"sec-gpc",
    b"save-data",
    // Our own mark: its 1 is nobody's number.
    b"highwater-replay",
];

/// Calls `sink` for each field of `text`, a request as it is sent; the first `skip` bytes of its path are the base
/// path of a target, and no segments of its own.
pub(crate) fn walk<'a>(text: &'a [u8], skip: usize, sink: &mut impl FnMut(&Field<'a>)) {
    let mut left = MAX_FIELDS;
    let mut sink = |field: &Field<'a>| {
        if left > 0 {
            left -= 1;
            sink(field);
        }
    };
    let Some(head) = head_end(text) else { return };
    let line_end = memchr::memchr(b'\r', text).unwrap_or(head);
    let Some(target_at) = memchr::memchr(b' ', &text[..line_end]).map(|space| space + 1) else { return };
    let target_end = memchr::memrchr(b' ', &text[..line_end]).unwrap_or(line_end).max(target_at);
    let at = (target_at + skip).min(target_end);
    walk_address(text, at..target_end, PlaceKind::Segment, PlaceKind::Query, &mut sink);
    let (mut content_type, mut coded): (&[u8], bool) = (b"", false);
    for (name, range) in header_lines(text, head) {
        let value = &text[range.clone()];
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.first().map(u8::to_ascii_lowercase) {
            Some(b'c') if is(b"cookie") => walk_cookies(text, range, &mut sink),
            Some(b'r') if is(b"referer") => {
                walk_address(text, range, PlaceKind::Referer, PlaceKind::Referer, &mut sink);
            }
            Some(b'c') if is(b"content-type") => content_type = value,
            Some(b'c') if is(b"content-encoding") => coded |= !value.eq_ignore_ascii_case(b"identity"),
            _ if DESCRIBING.iter().any(|known| is(known)) => {}
            _ => sink(&Field {
                kind: PlaceKind::Header,
                name: Cow::Owned(name.to_ascii_lowercase()),
                value: Cow::Borrowed(value),
                range,
                written: Written::AsIs,
                before: b"",
            }),
        }
    }
    if !coded && head + 4 < text.len() {
        walk_body(text, head + 4, content_type, &mut sink);
    }
}

/// Names in lower case, and where the values stand, of the head that ends at `head`.
pub(crate) fn header_fields(text: &[u8], head: usize) -> impl Iterator<Item = (Vec<u8>, Range<usize>)> {
    header_lines(text, head).map(|(name, range)| (name.to_ascii_lowercase(), range))
}

/// The same, with the names as they are written.
fn header_lines(text: &[u8], head: usize) -> impl Iterator<Item = (&[u8], Range<usize>)> {
    let mut at = line_end(&text[..head]).map_or(head, |end| end + 2);
    std::iter::from_fn(move || {
        while at < head {
            let end = line_end(&text[at..head]).map_or(head, |end| at + end);
            let (start, line) = (at, &text[at..end]);
            at = end + 2;
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let raw = &line[colon + 1..];
            let from = start + colon + 1 + (raw.len() - raw.trim_ascii_start().len());
            return Some((&line[..colon], from..from + raw.trim_ascii().len()));
        }
        None
    })
}

fn walk_address<'a>(
    text: &'a [u8],
    range: Range<usize>,
    of_path: PlaceKind,
    of_query: PlaceKind,
    sink: &mut impl FnMut(&Field<'a>),
) {
    let address = &text[range.clone()];
    let (path, query) = path_and_query(address);
    let path_at = range.start + offset_in(address, path);
    for segment in segments(path) {
        let start = path_at + segment.at;
        sink(&Field {
            kind: of_path,
            name: Cow::Borrowed(segment_name(segment.number)),
            range: start..start + segment.text.len(),
            written: Written::Percent,
            value: percent_decoded(segment.text),
            before: segment.before,
        });
    }
    walk_pairs(range.start + offset_in(address, query), query, of_query, sink);
}

fn walk_pairs<'a>(from: usize, text: &'a [u8], kind: PlaceKind, sink: &mut impl FnMut(&Field<'a>)) {
    for (name, value) in pairs(text) {
        let start = from + offset_in(text, name) + name.len() + 1;
        sink(&Field {
            kind,
            name: form_decoded(name),
            range: start..start + value.len(),
            written: Written::Form,
            value: form_decoded(value),
            before: b"",
        });
    }
}

fn walk_cookies<'a>(text: &'a [u8], range: Range<usize>, sink: &mut impl FnMut(&Field<'a>)) {
    let all = &text[range.clone()];
    for pair in all.split(|&byte| byte == b';') {
        let Some(equals) = memchr::memchr(b'=', pair) else { continue };
        let value = unquoted(pair[equals + 1..].trim_ascii());
        let start = range.start + offset_in(all, value);
        sink(&Field {
            kind: PlaceKind::Cookie,
            name: Cow::Borrowed(pair[..equals].trim_ascii()),
            range: start..start + value.len(),
            written: Written::AsIs,
            value: Cow::Borrowed(value),
            before: b"",
        });
    }
}

fn walk_body<'a>(text: &'a [u8], from: usize, content_type: &[u8], sink: &mut impl FnMut(&Field<'a>)) {
    let body = &text[from..];
    if content_type.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case(b"multipart/")) {
        walk_multipart(from, body, content_type, sink);
        return;
    }
    match Language::of(content_type, body) {
        Language::Form => walk_pairs(from, body, PlaceKind::Form, sink),
        Language::Json => leaves(body, &mut |leaf| {
            let raw = &body[leaf.start..leaf.end];
            sink(&Field {
                kind: PlaceKind::Json,
                name: Cow::Owned(leaf.path.to_vec()),
                range: from + leaf.start..from + leaf.end,
                written: if leaf.is_string { Written::JsonString } else { Written::JsonNumber },
                value: if leaf.is_string { unescaped(raw) } else { Cow::Borrowed(raw) },
                before: b"",
            });
            true
        }),
        Language::Xml => pieces(body, &mut |piece| {
            sink(&Field {
                kind: PlaceKind::Xml,
                name: Cow::Owned(piece.path.to_vec()),
                range: from + piece.start..from + piece.end,
                written: Written::Xml,
                value: Cow::Borrowed(&body[piece.start..piece.end]),
                before: b"",
            });
            true
        }),
        Language::Text => sink(&Field {
            kind: PlaceKind::Text,
            name: Cow::Borrowed(b""),
            range: from..text.len(),
            written: Written::AsIs,
            value: Cow::Borrowed(body),
            before: b"",
        }),
        Language::Html | Language::Unknown => {}
    }
}

/// The parts of a multipart body that are no files (RFC 7578).
fn walk_multipart<'a>(from: usize, body: &'a [u8], content_type: &[u8], sink: &mut impl FnMut(&Field<'a>)) {
    let Some(boundary) = parameter(content_type, b"boundary=") else { return };
    let delimiter = [b"--", boundary].concat();
    let mut at = 0;
    while let Some(offset) = memchr::memmem::find(&body[at..], &delimiter) {
        let part_at = at + offset + delimiter.len();
        let part = &body[part_at..];
        at = part_at;
        let Some(head) = head_end(part) else { return };
        let Some(length) = memchr::memmem::find(&part[head + 4..], &delimiter) else { return };
        let fields = part[..head].to_ascii_lowercase();
        let value = part[head + 4..head + 4 + length].strip_suffix(b"\r\n").unwrap_or_default();
        let name = parameter(&part[..head], b"name=").filter(|_| !contains(&fields, b"filename"));
        if let Some(name) = name {
            let start = from + part_at + head + 4;
            sink(&Field {
                kind: PlaceKind::Multipart,
                name: Cow::Borrowed(name),
                range: start..start + value.len(),
                written: Written::AsIs,
                value: Cow::Borrowed(value),
                before: b"",
            });
        }
    }
}

/// The value of a parameter of a header field.
fn parameter<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let lower = text.to_ascii_lowercase();
    let at = memchr::memmem::find_iter(&lower, name)
        .find(|&at| at == 0 || matches!(lower[at - 1], b' ' | b';' | b'\t'))?;
    let value = &text[at + name.len()..];
    if let Some(quoted) = value.strip_prefix(b"\"") {
        return memchr::memchr(b'"', quoted).map(|end| &quoted[..end]);
    }
    let end = value.iter().position(|byte| matches!(byte, b';' | b'\r') || byte.is_ascii_whitespace());
    Some(&value[..end.unwrap_or(value.len())]).filter(|value| !value.is_empty())
}

/// Where `part`, a slice of `whole`, begins in it. For an empty one from elsewhere, its end.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    if offset <= whole.len() { offset } else { whole.len() }
}

/// Calls `sink` with each value that may be bound in `field`: all of it, and its parts that are tokens.
pub(crate) fn values(field: &Field<'_>, sink: &mut impl FnMut(&[u8], Inside)) {
    let whole = field.value.as_ref();
    sink(whole, Inside { start: 0, end: whole.len(), base64: None });
    if whole.len() > LONGEST_COMPOSED || whole.len() < 8 {
        return;
    }
    parts(whole, &mut |start, end| sink(&whole[start..end], Inside { start, end, base64: None }));
    let (from, coded) = match whole.get(..6) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"basic ") => (6, &whole[6..]),
        _ => (0, whole),
    };
    if from == 0 && strength(coded) != Strength::Token {
        return;
    }
    for base64 in Base64::ALL {
        let Some(text) = base64.decode(coded).filter(|text| !text.is_empty() && text.iter().all(is_text))
        else {
            continue;
        };
        parts(&text, &mut |start, end| sink(&text[start..end], Inside { start, end, base64: Some(base64) }));
        return;
    }
}

const fn is_text(byte: &u8) -> bool {
    byte.is_ascii_graphic() || *byte == b' '
}

/// The parts of a composed value that are tokens.
fn parts(text: &[u8], sink: &mut impl FnMut(usize, usize)) {
    let divides = |byte: &u8| {
        matches!(
            byte,
            b' ' | b','
                | b';'
                | b'|'
                | b':'
                | b'&'
                | b'='
                | b'"'
                | b'\''
                | b'('
                | b')'
                | b'/'
                | b'{'
                | b'}'
                | b'['
                | b']'
                | b'#'
                | b'?'
        )
    };
    let mut at = 0;
    for part in text.split(divides) {
        let start = at;
        at += part.len() + 1;
        if part.len() >= 8 && part.len() < text.len() && strength(part) == Strength::Token {
            sink(start, start + part.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::correlate::pattern::Place;

    fn shown(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(text.as_bytes(), 0, &mut |field| {
            let name = String::from_utf8_lossy(&field.name).into_owned();
            let place = Place { kind: field.kind, name };
            found.push(format!("{place} = {}", String::from_utf8_lossy(&field.value)));
            if field.written == Written::AsIs {
                assert_eq!(&text.as_bytes()[field.range.clone()], field.value.as_ref());
            }
        });
        found
    }

    #[test]
    fn every_field_of_a_request_has_its_place() {
        let text = "POST /orders/1%207/pay?q=a+b&x=&t=%41 HTTP/1.1\r\nHost: shop.test\r\nCookie: sid=\"s1\"; theme=dark\r\n\
            X-CSRF-Token: c1\r\nDNT: 1\r\nHighwater-Replay: 1\r\nReferer: http://shop.test/orders/17?y=z\r\n\
            Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrf=c%2B1&id=17";
        assert_eq!(
            shown(text),
            [
                "segment 1 = orders",
                "segment 2 = 1 7",
                "segment 3 = pay",
                "query q = a b",
                "query x = ",
                "query t = A",
                "cookie sid = s1",
                "cookie theme = dark",
                "header x-csrf-token = c1",
                "referer 1 = orders",
                "referer 2 = 17",
                "referer y = z",
                "form csrf = c+1",
                "form id = 17",
            ]
        );
    }

    #[test]
    fn bodies_of_all_kinds_are_taken_apart() {
        let with =
            |kind: &str, body: &str| shown(&format!("POST / HTTP/1.1\r\nContent-Type: {kind}\r\n\r\n{body}"));
        assert_eq!(
            with("application/json", r#"{"a":{"id":17,"t":"x\"y"}}"#),
            ["json /a/id = 17", "json /a/t = x\"y"]
        );
        assert_eq!(
            with(
                "multipart/form-data; boundary=XX",
                "--XX\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nt1\r\n--XX\r\nContent-Disposition: \
                 form-data; name=f; filename=a\r\n\r\nbytes\r\n--XX--\r\n"
            ),
            ["multipart csrf = t1"]
        );
        assert_eq!(with("text/xml", "<a><b>t1</b></a>"), ["xml /a/b = t1"]);
        assert_eq!(with("text/plain", "t1"), ["text = t1"]);
        assert!(with("application/octet-stream", "t1").is_empty());
    }

    #[test]
    fn tokens_are_found_in_longer_values_and_in_base64() {
        let found = |value: &str| {
            let field = Field {
                kind: PlaceKind::Header,
                name: Cow::Borrowed(b"authorization"),
                range: 0..value.len(),
                written: Written::AsIs,
                value: Cow::Borrowed(value.as_bytes()),
                before: b"",
            };
            let mut found = Vec::new();
            values(&field, &mut |value, inside| {
                found.push((String::from_utf8_lossy(value).into_owned(), inside.base64));
            });
            found.remove(0);
            found
        };
        let token = "kJ8sQ2mNv0ZpL4xT".to_owned();
        assert_eq!(found("Bearer kJ8sQ2mNv0ZpL4xT"), [(token.clone(), None)]);
        // `printf 'ann:kJ8sQ2mNv0ZpL4xT' | base64`
        let basic = found("Basic YW5uOmtKOHNRMm1OdjBacEw0eFQ=");
        assert_eq!(basic.last(), Some(&(token, Some(Base64::Standard))));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let head = b"POST /a?b=c HTTP/1.1\r\nCookie: a=b\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n";
            for text in [text.clone(), [&head[..], &text].concat()] {
                walk(&text, 0, &mut |field| {
                    assert!(field.range.end <= text.len() && field.range.start <= field.range.end);
                    values(field, &mut |_, _| {});
                });
            }
        }
    }
}
