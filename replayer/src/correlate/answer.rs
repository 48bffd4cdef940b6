//! Takes an answer apart into the values it gives, each with the name of its place.
//!
//! The same walk serves the search for bindings in a capture and the live answers of a replay: what was found under
//! a name is found again under it, by its name and its count among equals. The walk copies nothing but what has to
//! be decoded, and follows no body further than [`MAX_ITEMS`] values.

pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markup;

use std::borrow::Cow;

use crate::correlate::pattern::{GivenKind, PartRef};
use crate::correlate::value::{contains, is_variable, scheme_end};

/// The most values that are taken out of one answer.
pub(crate) const MAX_ITEMS: usize = 100_000;
/// A text longer than this is a text, not a value.
const LONGEST_TEXT: usize = 4_096;

/// One value of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given<'a> {
    pub(crate) kind: GivenKind,
    pub(crate) name: &'a [u8],
    pub(crate) part: PartRef<'a>,
    pub(crate) value: &'a [u8],
    /// Of a segment of an address: the path before it.
    pub(crate) before: &'a [u8],
}

/// Fields of an answer that describe it, its way or the resource, and are nobody's token.
const DESCRIBING: [&[u8]; 22] = [
    b"date",
    b"server",
    b"age",
    b"vary",
    b"via",
    b"expires",
    b"last-modified",
    b"cache-control",
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"content-language",
    b"content-disposition",
    b"accept-ranges",
    b"alt-svc",
    b"strict-transport-security",
    b"content-security-policy",
    b"x-powered-by",
    b"x-runtime",
];

/// Gives out what the header fields hold.
pub(crate) fn walk_head<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    sink: &mut impl FnMut(Given<'_>),
) {
    let mut lower = Vec::new();
    for (name, value) in fields {
        lower.clear();
        lower.extend(name.iter().map(u8::to_ascii_lowercase));
        match lower.as_slice() {
            b"set-cookie" => walk_cookie(value, sink),
            b"location" => walk_address(GivenKind::Location, b"", value, true, sink),
            name if DESCRIBING.contains(&name) => {}
            name => walk_text(GivenKind::Header, name, value, sink),
        }
    }
}

/// Gives out what a body holds, of which the content coding was taken off.
pub(crate) fn walk_body(content_type: &[u8], body: &[u8], sink: &mut impl FnMut(Given<'_>)) {
    let mut count = 0;
    let mut bounded = |given: Given<'_>| {
        count += 1;
        sink(given);
        count < MAX_ITEMS
    };
    match Language::of(content_type, body) {
        Language::Json => json::walk(body, &mut bounded),
        Language::Html => html::walk(body, &mut bounded),
        Language::Xml => markup::walk(body, &mut bounded),
        Language::Form => {
            for (name, value) in pairs(body) {
                let given = Given {
                    kind: GivenKind::Form,
                    name: &form_decoded(name),
                    part: PartRef::Whole,
                    value: &form_decoded(value),
                    before: b"",
                };
                if !bounded(given) {
                    return;
                }
            }
        }
        Language::Text => {
            let text = body.trim_ascii();
            if !text.is_empty() && text.len() <= LONGEST_TEXT {
                walk_text(GivenKind::Text, b"", text, &mut |given| {
                    bounded(given);
                });
            }
        }
        Language::Unknown => {}
    }
}

/// In what a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Json,
    Html,
    Xml,
    Form,
    Text,
    Unknown,
}

impl Language {
    pub(crate) fn of(content_type: &[u8], body: &[u8]) -> Self {
        let media = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let media = media.to_ascii_lowercase();
        if contains(&media, b"json") {
            Self::Json
        } else if contains(&media, b"html") {
            Self::Html
        } else if media == b"application/x-www-form-urlencoded" {
            Self::Form
        } else if contains(&media, b"xml") && !media.starts_with(b"image/") {
            Self::Xml
        } else if media == b"text/plain" || media.is_empty() {
            match body.trim_ascii_start().first() {
                Some(b'{' | b'[') => Self::Json,
                Some(b'<') => Self::Html,
                Some(_) => Self::Text,
                None => Self::Unknown,
            }
        } else {
            Self::Unknown
        }
    }
}

fn walk_cookie(value: &[u8], sink: &mut impl FnMut(Given<'_>)) {
    let pair = value.split(|&byte| byte == b';').next().unwrap_or_default();
    let Some(equals) = memchr::memchr(b'=', pair) else { return };
    let (name, value) = (pair[..equals].trim_ascii(), unquoted(pair[equals + 1..].trim_ascii()));
    sink(Given { kind: GivenKind::Cookie, name, part: PartRef::Whole, value, before: b"" });
    if let Cow::Owned(decoded) = percent_decoded(value) {
        sink(Given { kind: GivenKind::Cookie, name, part: PartRef::Decoded, value: &decoded, before: b"" });
    }
}

pub(crate) fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// A text that may be an address, or a value behind a word.
fn walk_text(kind: GivenKind, name: &[u8], value: &[u8], sink: &mut impl FnMut(Given<'_>)) {
    if is_address(value) {
        walk_address(kind, name, value, false, sink);
        return;
    }
    sink(Given { kind, name, part: PartRef::Whole, value, before: b"" });
    if let Some(space) = memchr::memchr(b' ', &value[..value.len().min(16)])
        && !value[space + 1..].contains(&b' ')
    {
        sink(Given { kind, name, part: PartRef::AfterSpace, value: &value[space + 1..], before: b"" });
    }
}

pub(crate) fn is_address(value: &[u8]) -> bool {
    value.len() > 1
        && value.len() <= 8_192
        && !value.contains(&b' ')
        && (value.starts_with(b"/") || value.starts_with(b"http://") || value.starts_with(b"https://"))
}

/// The parts of an address that vary; `all`: every segment of its path.
fn walk_address(kind: GivenKind, name: &[u8], address: &[u8], all: bool, sink: &mut impl FnMut(Given<'_>)) {
    let (path, query) = path_and_query(address);
    for segment in segments(path) {
        if all || is_variable(segment.text) {
            let (part, value) = (PartRef::Segment(segment.number), percent_decoded(segment.text));
            sink(Given { kind, name, part, value: &value, before: segment.before });
        }
    }
    for (parameter, value) in pairs(query) {
        let (parameter, value) = (form_decoded(parameter), form_decoded(value));
        if all || is_variable(&value) {
            let part = PartRef::Query(&parameter);
            sink(Given { kind, name, part, value: &value, before: b"" });
        }
    }
}

/// Path and query of an address, without scheme, authority and fragment.
pub(crate) fn path_and_query(address: &[u8]) -> (&[u8], &[u8]) {
    // Most addresses are short: a search that is made for long texts would cost more than the look.
    let end = address.iter().position(|&byte| byte == b'#').unwrap_or(address.len());
    let address = &address[..end];
    let local = match scheme_end(&address[..address.len().min(12)]) {
        Some(at) => {
            let rest = &address[at + 3..];
            &rest[memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())..]
        }
        None => address,
    };
    match local.iter().position(|&byte| byte == b'?') {
        Some(at) => (&local[..at], &local[at + 1..]),
        None => (local, b""),
    }
}

/// A segment of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    /// Counted from 1.
    pub(crate) number: u8,
    pub(crate) text: &'a [u8],
    /// The path before it, with its slash.
    pub(crate) before: &'a [u8],
    /// Where it begins in the path.
    pub(crate) at: usize,
}

/// How the number of a segment is written.
pub(crate) fn segment_name(number: u8) -> &'static [u8] {
    const DIGITS: [[u8; 2]; 65] = {
        let mut digits = [[b'0'; 2]; 65];
        let mut number = 0_u8;
        while number < 65 {
            digits[number as usize] = [b'0' + number / 10, b'0' + number % 10];
            number += 1;
        }
        digits
    };
    let digits: &[u8] = &DIGITS[usize::from(number.min(64))];
    if number < 10 { &digits[1..] } else { digits }
}

/// The segments of a path that are not empty.
pub(crate) fn segments(path: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut at = 0;
    path.split(|&byte| byte == b'/').enumerate().filter_map(move |(number, text)| {
        let begin = at;
        at += text.len() + 1;
        let number = u8::try_from(number).ok().filter(|number| (1..=64).contains(number))?;
        (!text.is_empty()).then(|| Segment { number, text, before: &path[..begin], at: begin })
    })
}

/// Names and values of a query or a form, still encoded.
pub(crate) fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (&pair[..equals], pair.get(equals + 1..).unwrap_or_default())
    })
}

pub(crate) fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    decoded(text, false)
}

pub(crate) fn form_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    decoded(text, true)
}

fn decoded(text: &[u8], plus: bool) -> Cow<'_, [u8]> {
    if !text.iter().any(|&byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = |index: usize| text.get(index).and_then(|&byte| char::from(byte).to_digit(16));
        match text[at] {
            b'%' if hex(at + 1).is_some() && hex(at + 2).is_some() => {
                let byte = hex(at + 1).unwrap_or(0) * 16 + hex(at + 2).unwrap_or(0);
                out.push(u8::try_from(byte).unwrap_or(0));
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::correlate::pattern::Extractor;

    /// The values of a body, as `place = value`.
    pub(crate) fn values_of(content_type: &str, body: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk_body(content_type.as_bytes(), body.as_bytes(), &mut |given| found.push(shown(&given)));
        found
    }

    fn shown(given: &Given<'_>) -> String {
        let name = String::from_utf8_lossy(given.name).into_owned();
        let extractor = Extractor { kind: given.kind, name, part: given.part.owned() };
        format!("{extractor} = {}", String::from_utf8_lossy(given.value))
    }

    #[test]
    fn the_head_gives_cookies_the_location_and_fields_of_its_own() {
        let fields: [(&[u8], &[u8]); 5] = [
            (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (b"Set-Cookie", b"XSRF-TOKEN=abc%3D; Path=/; HttpOnly"),
            (b"Location", b"https://shop.test/orders/17?state=ok#top"),
            (b"X-CSRF-Token", b"t1"),
            (b"Authorization", b"Bearer xyz"),
        ];
        let mut found = Vec::new();
        walk_head(fields.into_iter(), &mut |given| found.push(shown(&given)));
        assert_eq!(
            found,
            [
                "cookie XSRF-TOKEN = abc%3D",
                "cookie XSRF-TOKEN decoded = abc=",
                "location segment 1 = orders",
                "location segment 2 = 17",
                "location query state = ok",
                "header x-csrf-token = t1",
                "header authorization = Bearer xyz",
                "header authorization after-space = xyz",
            ]
        );
    }

    #[test]
    fn forms_and_texts_give_their_fields() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(values_of(form, "oauth_token=a%2Bb&x=1"), ["form oauth_token = a+b", "form x = 1"]);
        assert_eq!(values_of("text/plain", " s3cr3t\n"), ["text = s3cr3t"]);
        assert!(values_of("image/png", "s3cr3t").is_empty());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_usize..5) {
            let kinds = ["application/json", "text/html", "text/xml", "application/x-www-form-urlencoded", ""];
            walk_body(kinds[kind].as_bytes(), &body, &mut |_| {});
        }

        #[test]
        fn nor_does_what_looks_like_one(body in "[<>/a-c=\"' {}\\[\\]:,\\\\0-9!\\-&;]{0,200}", kind in 0_usize..3) {
            let kinds = ["application/json", "text/html", "text/xml"];
            walk_body(kinds[kind].as_bytes(), body.as_bytes(), &mut |_| {});
        }
    }
}
