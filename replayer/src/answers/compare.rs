//! In what two answers to the same request differ: status, the header fields that matter, body.

use captures::{Exchange, Header, Response, coding, header_value};

use crate::answers::difference::{Difference, What};
use crate::answers::words::{self, Sides};
use crate::answers::{json, page};
use crate::correlate::{Language, path_and_query};

/// What a coded body may hold; a longer one is compared by its beginning.
const DECODED_LIMIT: usize = 4 << 20;

/// The header fields that are compared, beside cookies and the address an answer points to. Others tell of the server,
/// the way or the moment.
const COMPARED: [&str; 12] = [
    "content-type",
    "content-disposition",
    "content-language",
    "cache-control",
    "www-authenticate",
    "allow",
    "retry-after",
    "link",
    "x-frame-options",
    "x-content-type-options",
    "content-security-policy",
    "access-control-allow-origin",
];

/// In what the answer `now` differs from the answer `before`. Nothing when there was no answer before.
pub(crate) fn differences(before: &Exchange, now: &Exchange, sides: Sides<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let Some(old) = &before.response else { return found };
    let Some(new) = &now.response else {
        let why = if now.passage.detail.is_empty() { now.ending.as_str() } else { &now.passage.detail };
        found.push(Difference::new(What::Status, "status", &old.status.to_string(), why));
        return found;
    };
    if old.status != new.status {
        // What another status says is another matter.
        let (old, new) = (old.status.to_string(), new.status.to_string());
        found.push(Difference::new(What::Status, "status", &old, &new));
        return found;
    }
    headers(&old.headers, &new.headers, sides, &mut found);
    body(old, new, sides, &mut found);
    found.truncate(json::MAX_DIFFERENCES);
    found
}

fn headers(old: &[Header], new: &[Header], sides: Sides<'_>, found: &mut Vec<Difference>) {
    for name in COMPARED {
        let place = format!("header {name}");
        let (old, new) = (joined(old, name), joined(new, name));
        match (old, new) {
            (Some(old), Some(new)) if name == "content-type" => {
                let plain = |value: &str| value.to_ascii_lowercase().replace(' ', "");
                if plain(&old) != plain(&new) {
                    found.push(Difference::new(What::Header, place, &old, &new));
                }
            }
            (Some(old), Some(new)) => words::compare(&place, &old, &new, sides, found),
            (Some(old), None) => found.push(Difference::new(What::Gone, place, &old, "")),
            (None, Some(new)) => found.push(Difference::new(What::New, place, "", &new)),
            (None, None) => {}
        }
    }
    location(old, new, sides, found);
    cookies(old, new, found);
}

fn joined(headers: &[Header], name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .iter()
        .filter(|header| header.is(name))
        .map(|header| String::from_utf8_lossy(&header.value).into_owned())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Where an answer points to, without the server's own address.
fn location(old: &[Header], new: &[Header], sides: Sides<'_>, found: &mut Vec<Difference>) {
    let local = |headers: &[Header]| {
        header_value(headers, "location").map(|value| {
            let (path, query) = path_and_query(value);
            let path = String::from_utf8_lossy(path).into_owned();
            if query.is_empty() { path } else { format!("{path}?{}", String::from_utf8_lossy(query)) }
        })
    };
    match (local(old), local(new)) {
        (Some(old), Some(new)) => words::compare("header location", &old, &new, sides, found),
        (Some(old), None) => found.push(Difference::new(What::Gone, "header location", &old, "")),
        (None, Some(new)) => found.push(Difference::new(What::New, "header location", "", &new)),
        (None, None) => {}
    }
}

/// Cookies by name, and what is said of them but for their value and end.
fn cookies(old: &[Header], new: &[Header], found: &mut Vec<Difference>) {
    let set = |headers: &[Header]| -> Vec<(String, String)> {
        let mut all: Vec<_> = headers
            .iter()
            .filter(|header| header.is("set-cookie"))
            .map(|header| {
                let text = String::from_utf8_lossy(&header.value).into_owned();
                let mut parts = text.split(';').map(str::trim);
                let pair = parts.next().unwrap_or_default();
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let mut said: Vec<String> = parts
                    .map(str::to_ascii_lowercase)
                    .filter(|part| !part.starts_with("expires=") && !part.starts_with("max-age="))
                    .collect();
                said.sort();
                let what = if value.is_empty() { "removed" } else { "set" };
                (name.to_owned(), format!("{what}; {}", said.join("; ")))
            })
            .collect();
        all.sort();
        all.dedup_by(|one, other| one.0 == other.0);
        all
    };
    let (old, new) = (set(old), set(new));
    for (name, said) in &old {
        let place = format!("header set-cookie {name}");
        match new.iter().find(|(known, _)| known == name) {
            Some((_, now)) if now != said => found.push(Difference::new(What::Header, place, said, now)),
            Some(_) => {}
            None => found.push(Difference::new(What::Gone, place, said, "")),
        }
    }
    for (name, said) in new.iter().filter(|(name, _)| !old.iter().any(|(known, _)| known == name)) {
        found.push(Difference::new(What::New, format!("header set-cookie {name}"), "", said));
    }
}

fn body(old: &Response, new: &Response, sides: Sides<'_>, found: &mut Vec<Difference>) {
    let (Some(before), Some(now)) = (content(old), content(new)) else {
        let size = |response: &Response| format!("{} bytes in an unknown coding", response.body.length);
        if old.body.stored != new.body.stored {
            found.push(Difference::new(What::Body, "body", &size(old), &size(new)));
        }
        return;
    };
    // Of a body that was not kept whole nothing is said: where it was cut is no difference.
    if before == now || !old.body.is_whole() || !new.body.is_whole() {
        return;
    }
    let media = header_value(&new.headers, "content-type").unwrap_or_default();
    if before.is_empty() || now.is_empty() {
        let size = |body: &[u8]| format!("{} bytes", body.len());
        found.push(Difference::new(What::Body, "body", &size(&before), &size(&now)));
        return;
    }
    match Language::of(media, &now) {
        Language::Json if json::compare(&before, &now, sides, found) => {}
        Language::Html => page::compare(&before, &now, false, sides, found),
        Language::Xml => page::compare(&before, &now, true, sides, found),
        Language::Json | Language::Form | Language::Text => page::compare_lines(&before, &now, sides, found),
        Language::Unknown if is_text(media) => page::compare_lines(&before, &now, sides, found),
        Language::Unknown => {
            let size = |body: &[u8]| format!("{} bytes", body.len());
            found.push(Difference::new(What::Body, "body", &size(&before), &size(&now)));
        }
    }
}

fn is_text(media: &[u8]) -> bool {
    let media = media.to_ascii_lowercase();
    media.starts_with(b"text/") || memchr::memmem::find(&media, b"javascript").is_some()
}

/// What a body says, its content coding taken off.
fn content(response: &Response) -> Option<Vec<u8>> {
    let codings = if response.body.decoded { Vec::new() } else { coding::codings_of(&response.headers)? };
    if codings.is_empty() || response.body.stored.is_empty() {
        return Some(response.body.stored.clone());
    }
    coding::decode_start(&codings, &response.body.stored, DECODED_LIMIT).map(|decoded| decoded.content)
}
