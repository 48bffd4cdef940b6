//! Walks the leaves of a JSON text: strings and numbers, each under its path.
//!
//! A place in a list is `[]` in the path: which one it was, the count among equal paths says. The walk takes what it
//! can of a text that is cut or malformed. It recurses nowhere.

use std::borrow::Cow;

use crate::correlate::answer::{Given, is_address, walk_address, walk_text};
use crate::correlate::pattern::{GivenKind, PartRef};

/// Deeper levels are passed over.
const DEEPEST: usize = 64;

/// A leaf, with where its value stands in the text (for a string, between its quotes).
pub(crate) struct Leaf<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) is_string: bool,
}

/// Gives out the values of the leaves until `sink` says that it has enough.
pub(super) fn walk(text: &[u8], sink: &mut impl FnMut(Given<'_>) -> bool) {
    leaves(text, &mut |leaf| {
        let raw = &text[leaf.start..leaf.end];
        let mut goes_on = true;
        let mut pass = |given: Given<'_>| goes_on = sink(given) && goes_on;
        if !leaf.is_string {
            pass(Given {
                kind: GivenKind::Json,
                name: leaf.path,
                part: PartRef::Whole,
                value: raw,
                before: b"",
            });
            return goes_on;
        }
        let value = unescaped(raw);
        if is_address(&value) {
            walk_address(GivenKind::Json, leaf.path, &value, false, &mut pass);
        } else if value.len() <= 16 || !value.contains(&b' ') {
            walk_text(GivenKind::Json, leaf.path, &value, &mut pass);
        }
        goes_on
    });
}

/// Where the path was before a level, and whether the level is a list.
struct Level {
    path: usize,
    is_list: bool,
}

/// Calls `leaf` for each string and number that stands as a value, until it says that it has enough.
pub(crate) fn leaves(text: &[u8], leaf: &mut impl FnMut(&Leaf<'_>) -> bool) {
    let mut path: Vec<u8> = Vec::with_capacity(64);
    let mut levels: Vec<Level> = Vec::with_capacity(16);
    let mut too_deep = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' | b'[' if levels.len() >= DEEPEST => too_deep += 1,
            byte @ (b'{' | b'[') => {
                let is_list = byte == b'[';
                levels.push(Level { path: path.len(), is_list });
                if is_list {
                    path.extend_from_slice(b"/[]");
                }
            }
            b'}' | b']' if too_deep > 0 => too_deep -= 1,
            b'}' | b']' => {
                if let Some(level) = levels.pop() {
                    path.truncate(level.path);
                    leave_member(&mut path, &levels);
                }
            }
            b',' => leave_member(&mut path, &levels),
            b'"' => {
                let start = at + 1;
                let Some(end) = string_end(text, start) else { return };
                at = end;
                let is_key =
                    levels.last().is_some_and(|level| !level.is_list) && is_before_colon(text, end + 1);
                if too_deep > 0 {
                } else if is_key {
                    leave_member(&mut path, &levels);
                    path.push(b'/');
                    path.extend_from_slice(&unescaped(&text[start..end]));
                } else if !leaf(&Leaf { path: &path, start, end, is_string: true }) {
                    return;
                }
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < text.len() && matches!(text[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    at += 1;
                }
                if too_deep == 0 && !leaf(&Leaf { path: &path, start, end: at, is_string: false }) {
                    return;
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Takes the name of the last member off the path.
fn leave_member(path: &mut Vec<u8>, levels: &[Level]) {
    match levels.last() {
        Some(level) if level.is_list => path.truncate(level.path + 3),
        Some(level) => path.truncate(level.path),
        None => path.clear(),
    }
}

/// The index of the quote that ends a string which began at `from`.
pub(crate) fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn is_before_colon(text: &[u8], from: usize) -> bool {
    text[from.min(text.len())..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// A string without its escapes. Half of a pair of surrogates, and what is no escape, stays as it is.
pub(crate) fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            out.push(raw[at]);
            at += 1;
            continue;
        }
        let escape = raw.get(at + 1).copied().unwrap_or(b'\\');
        at += 2;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let (letter, used) = code_point(&raw[at.min(raw.len())..]);
                at += used;
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// What the digits after `\u` stand for, and how many bytes they are.
fn code_point(digits: &[u8]) -> (char, usize) {
    let four = |from: usize| {
        let text = std::str::from_utf8(digits.get(from..from + 4)?).ok()?;
        u32::from_str_radix(text, 16).ok()
    };
    let Some(first) = four(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if (0xD800..0xDC00).contains(&first)
        && digits.get(4..6) == Some(b"\\u")
        && let Some(second) = four(6).filter(|second| (0xDC00..0xE000).contains(second))
    {
        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::answer::tests::values_of;

    #[test]
    fn leaves_have_their_path() {
        let text = r#"{"id": 17, "a":{"b":["x",{"c":"y"},[2]]}, "u":"/orders/18?t=k9", "e":"a\u00e9\n\"", "n":null,
            "t":true, "tok":"Bearer q1", "d": -1.5}"#;
        assert_eq!(
            values_of("application/json", text),
            [
                "json /id = 17",
                "json /a/b/[] = x",
                "json /a/b/[]/c = y",
                "json /a/b/[]/[] = 2",
                "json /u segment 2 = 18",
                "json /u query t = k9",
                "json /e = aé\n\"",
                "json /tok = Bearer q1",
                "json /tok after-space = q1",
                "json /d = -1.5",
            ]
        );
        assert_eq!(values_of("text/plain", r#"[{"id":1},{"id":2}]"#), ["json /[]/id = 1", "json /[]/id = 2"]);
        assert_eq!(values_of("application/vnd.api+json", "\"only\""), ["json = only"]);
        assert_eq!(unescaped(br"\ud83d\ude00\/"), "😀/".as_bytes());
    }

    #[test]
    fn of_a_cut_text_its_beginning_is_walked() {
        assert_eq!(values_of("application/json", r#"{"a":"b","c":"d"#), ["json /a = b"]);
        let deep = "[".repeat(500) + "1" + &"]".repeat(500) + ",2";
        assert_eq!(values_of("application/json", &deep), ["json = 2"]);
    }
}
