//! Writes live values into the text of a request: the text may grow or shrink, its framing follows.
//!
//! Whatever an answer says, the request that carries it has one head, and as many fields as it had: a value is
//! written the way its place demands, and what no header field can hold is not put into one.

use std::io::Write as _;

use crate::correlate::asked::Written;
use crate::correlate::links::Patch;
use crate::response::head_end;

/// Where the parts of a request lie that move when values change, in bytes of its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    /// The length of the head, its empty line included.
    head: u32,
    /// Where the digits of `Content-Length` stand; equal when it has none.
    length: (u32, u32),
}

impl Frame {
    /// Of this text. Requests of a plan have `Content-Length` spelt so, at the end of the head.
    pub(crate) fn of(text: &[u8]) -> Self {
        const FIELD: &[u8] = b"\r\nContent-Length: ";
        // Texts of a plan are shorter than 4 GiB.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let head = head_end(text).map_or(text.len(), |end| end + 4);
        let length =
            memchr::memmem::rfind(&text[..head], FIELD).map(|at| at + FIELD.len()).and_then(|start| {
                let digits = memchr::memchr(b'\r', &text[start..head])?;
                Some((place(start), place(start + digits)))
            });
        Self { head: place(head), length: length.unwrap_or_default() }
    }
}

/// `text`, laid out by `frame`, with `patches` (in order of their places) applied; `value` knows the slots. A patch
/// whose value is missing, or cannot stand in its place, leaves its bytes as they are. `body` is room to work in.
pub(crate) fn render<'v>(
    text: &[u8],
    frame: Frame,
    patches: &[Patch],
    value: impl Fn(u32) -> Option<&'v [u8]>,
    out: &mut Vec<u8>,
    body: &mut Vec<u8>,
) {
    out.clear();
    let head = frame.head as usize;
    let in_body = patches.iter().take_while(|patch| patch.start < head).count();
    let (of_head, of_body) = patches.split_at(in_body);
    let (start, end) = (frame.length.0 as usize, frame.length.1 as usize);
    if of_body.is_empty() || start == end {
        splice(text, 0..text.len(), patches, &value, out);
        return;
    }
    body.clear();
    splice(text, head..text.len(), of_body, &value, body);
    // The head in two pieces, around the length.
    let split = of_head.iter().take_while(|patch| patch.start < start).count();
    splice(text, 0..start, &of_head[..split], &value, out);
    let _ = write!(out, "{}", body.len());
    splice(text, end..head, &of_head[split..], &value, out);
    out.extend_from_slice(body);
}

fn splice<'v>(
    text: &[u8],
    range: std::ops::Range<usize>,
    patches: &[Patch],
    value: &impl Fn(u32) -> Option<&'v [u8]>,
    out: &mut Vec<u8>,
) {
    let mut at = range.start;
    for patch in patches {
        if let Some(live) = value(patch.slot)
            && patch.start >= at
            && patch.end <= range.end
        {
            out.extend_from_slice(&text[at..patch.start]);
            let before = out.len();
            if !write(patch, live, &text[patch.start..patch.end], out) {
                out.truncate(before);
                out.extend_from_slice(&text[patch.start..patch.end]);
            }
            at = patch.end;
        }
    }
    out.extend_from_slice(&text[at..range.end]);
}

/// Writes a value the way its place demands; `false` when it cannot stand there.
fn write(patch: &Patch, live: &[u8], recorded: &[u8], out: &mut Vec<u8>) -> bool {
    let joined;
    let said: &[u8] = if patch.before.is_empty() && patch.after.is_empty() && patch.base64.is_none() {
        live
    } else {
        let plain = [&patch.before, live, &patch.after].concat();
        joined = match patch.base64 {
            Some(base64) => base64.encode(&plain).into_bytes(),
            None => plain,
        };
        &joined
    };
    match patch.written {
        Written::AsIs => {
            if memchr::memchr3(b'\r', b'\n', 0, said).is_some() {
                return false;
            }
            out.extend_from_slice(said);
        }
        Written::Percent => escape(said, out, |byte| {
            // Left alone where the recording left it alone: servers may compare what is encoded.
            is_unreserved(byte)
                || (is_sub_delimiter(byte) && !recorded.contains(&b'%'))
                || matches!(byte, b':' | b'@')
        }),
        Written::Form => escape(said, out, |byte| {
            is_unreserved(byte)
                || (recorded.contains(&byte) && matches!(byte, b'/' | b':' | b'@' | b',' | b'*' | b'='))
        }),
        Written::JsonString => escape_json(said, out),
        Written::JsonNumber => {
            let is_number = !said.is_empty()
                && said
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'e' | b'E' | b'+'));
            if is_number {
                out.extend_from_slice(said);
            } else {
                out.push(b'"');
                escape_json(said, out);
                out.push(b'"');
            }
        }
        Written::Xml => {
            for &byte in said {
                match byte {
                    b'&' => out.extend_from_slice(b"&amp;"),
                    b'<' => out.extend_from_slice(b"&lt;"),
                    b'>' => out.extend_from_slice(b"&gt;"),
                    b'"' => out.extend_from_slice(b"&quot;"),
                    b'\'' => out.extend_from_slice(b"&#39;"),
                    byte => out.push(byte),
                }
            }
        }
    }
    true
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn is_sub_delimiter(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

fn escape(text: &[u8], out: &mut Vec<u8>, is_free: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| !is_free(byte)) {
        let byte = rest[at];
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::correlate::asked::{self, Base64};
    use crate::correlate::pattern::PlaceKind;

    fn patch_of(text: &str, part: &str, written: Written) -> Patch {
        let start = text.find(part).unwrap();
        Patch {
            start,
            end: start + part.len(),
            slot: 0,
            written,
            base64: None,
            before: Vec::new(),
            after: Vec::new(),
            rule: 0,
        }
    }

    fn rendered(text: &str, patches: &[Patch], live: &str) -> String {
        let mut out = Vec::new();
        let (text, live) = (text.as_bytes(), live.as_bytes());
        render(text, Frame::of(text), patches, |_| Some(live), &mut out, &mut Vec::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_longer_value_in_head_and_body_moves_the_length_along() {
        let text = "POST /orders/OLD1 HTTP/1.1\r\nCookie: sid=OLD2\r\nContent-Length: 11\r\nX-T: OLD3\r\n\r\ncsrf=OLD4&a";
        let patches = [
            patch_of(text, "OLD1", Written::Percent),
            patch_of(text, "OLD2", Written::AsIs),
            patch_of(text, "OLD3", Written::AsIs),
            patch_of(text, "OLD4", Written::Form),
        ];
        assert_eq!(
            rendered(text, &patches, "new value/="),
            "POST /orders/new%20value%2F= HTTP/1.1\r\nCookie: sid=new value/=\r\nContent-Length: 24\r\n\
             X-T: new value/=\r\n\r\ncsrf=new%20value%2F%3D&a"
        );
    }

    #[test]
    fn every_place_has_its_own_writing() {
        let json = r#"{"id":17,"t":"OLD"}"#;
        assert_eq!(
            rendered(json, &[patch_of(json, "17", Written::JsonNumber)], "18"),
            r#"{"id":18,"t":"OLD"}"#
        );
        assert_eq!(
            rendered(json, &[patch_of(json, "17", Written::JsonNumber)], "a-b"),
            r#"{"id":"a-b","t":"OLD"}"#
        );
        assert_eq!(
            rendered(json, &[patch_of(json, "OLD", Written::JsonString)], "a\"\\\n"),
            r#"{"id":17,"t":"a\"\\\u000a"}"#
        );
        assert_eq!(
            rendered("<a>OLD</a>", &[patch_of("<a>OLD</a>", "OLD", Written::Xml)], "<&>"),
            "<a>&lt;&amp;&gt;</a>"
        );
        let basic = "GET / HTTP/1.1\r\nAuthorization: Basic T0xE\r\n\r\n";
        let patch = Patch {
            base64: Some(Base64::Standard),
            before: b"u:".to_vec(),
            ..patch_of(basic, "T0xE", Written::AsIs)
        };
        // `printf 'u:new' | base64`
        assert_eq!(
            rendered(basic, &[patch], "new"),
            "GET / HTTP/1.1\r\nAuthorization: Basic dTpuZXc=\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_cannot_write_a_header_of_its_own() {
        let text = "GET / HTTP/1.1\r\nCookie: sid=OLD\r\n\r\n";
        assert_eq!(rendered(text, &[patch_of(text, "OLD", Written::AsIs)], "x\r\nEvil: 1"), text);
    }

    proptest! {
        /// Whatever value goes into a field, the field says just that afterwards, and the others what they said.
        #[test]
        fn a_field_says_what_was_put_into_it(live in "[ -~]{1,40}", which in 0_usize..4) {
            let text = "POST /a/SEGMENT/b?q=QUERY&r=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                        Content-Length: 22\r\nX-T: HEADER\r\n\r\n{\"k\":\"JSON\",\"l\":\"rest\"}";
            let (part, written, kind) = [
                ("SEGMENT", Written::Percent, PlaceKind::Segment),
                ("QUERY", Written::Form, PlaceKind::Query),
                ("HEADER", Written::AsIs, PlaceKind::Header),
                ("JSON", Written::JsonString, PlaceKind::Json),
            ][which];
            let live = if kind == PlaceKind::Header { live.trim().to_owned() } else { live };
            let fields = |text: &str| {
                let mut all = Vec::new();
                asked::walk(text.as_bytes(), 0, &mut |field| {
                    all.push((field.kind, String::from_utf8_lossy(&field.value).into_owned()));
                });
                all
            };
            let out = rendered(text, &[patch_of(text, part, written)], &live);
            let wanted: Vec<_> =
                fields(text).into_iter().map(|(of, said)| if said == part { (of, live.clone()) } else { (of, said) }).collect();
            prop_assert_eq!(fields(&out), wanted);
            let (head, body) = out.split_once("\r\n\r\n").unwrap();
            if kind == PlaceKind::Json {
                let length = format!("Content-Length: {}", body.len());
                prop_assert!(head.contains(&length));
            }
        }
    }
}
