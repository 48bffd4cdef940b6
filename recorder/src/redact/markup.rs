//! Masks secrets that HTML and XML set apart by their own means: `<input name="token" value="…">`,
//! `<meta name="csrf-token" content="…">`, `<password>…</password>`.

use std::ops::Range;

use memchr::memchr;

use super::masker::{Done, Masker};
use super::names::Verdict;

/// Masks such secrets in `text`.
pub(super) fn mask(masker: &mut Masker, text: &mut [u8], done: &mut Done) {
    let mut at = 0;
    while let Some(found) = memchr(b'<', &text[at..]) {
        let start = at + found + 1;
        at = start;
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        let length = text[start..].iter().position(|byte| !in_name(byte)).unwrap_or(text.len() - start);
        if length == 0 {
            continue;
        }
        let element = start..start + length;
        let end = mask_attributes(masker, text, element.end, done);
        let verdict = masker.fields.verdict(&text[element]);
        at = end;
        if verdict != Verdict::Public && text.get(end) == Some(&b'>') && text[end - 1] != b'/' {
            let length = memchr(b'<', &text[end..]).unwrap_or(text.len() - end);
            mask_place(masker, text, end + 1..(end + length).max(end + 1), verdict, done);
        }
    }
}

/// Masks `value` or `content` of a tag whose `name` (or `id`, or `property`) is a secret's. Gives the place of
/// the `>` that closes it, or the end of the text.
fn mask_attributes(masker: &mut Masker, text: &mut [u8], mut at: usize, done: &mut Done) -> usize {
    let (mut verdict, mut value) = (Verdict::Public, None);
    loop {
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'/').count();
        let Some(&first) = text.get(at) else { break };
        if first == b'>' {
            break;
        }
        let stops = |byte: &u8| byte.is_ascii_whitespace() || b"=>/".contains(byte);
        let length = text[at..].iter().position(stops).unwrap_or(text.len() - at).max(1);
        let name = at..at + length;
        at = name.end;
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if text.get(at) != Some(&b'=') {
            continue;
        }
        at += 1;
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let place = attribute_value(text, at);
        at = place.end + usize::from(matches!(text.get(place.end), Some(b'"' | b'\'')));
        let name = text[name].to_ascii_lowercase();
        match name.as_slice() {
            b"name" | b"id" | b"property" | b"key" => {
                let named = masker.fields.verdict(&text[place]);
                if named != Verdict::Public {
                    verdict = named;
                }
            }
            b"value" | b"content" => value = Some(place),
            _ => {}
        }
    }
    if let Some(place) = value {
        mask_place(masker, text, place, verdict, done);
    }
    at.min(text.len())
}

fn attribute_value(text: &[u8], at: usize) -> Range<usize> {
    match text.get(at) {
        Some(&quote @ (b'"' | b'\'')) => {
            let length = memchr(quote, &text[at + 1..]).unwrap_or(text.len() - at - 1);
            at + 1..at + 1 + length
        }
        _ => {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
            let length = text[at..].iter().position(ends).unwrap_or(text.len() - at);
            at..at + length
        }
    }
}

fn mask_place(masker: &mut Masker, text: &mut [u8], place: Range<usize>, verdict: Verdict, done: &mut Done) {
    if let Some(rule) = verdict.of(&text[place.clone()])
        && done.is_free(&place)
        && masker.replace(rule, &mut text[place.clone()])
    {
        done.push(place);
    }
}
