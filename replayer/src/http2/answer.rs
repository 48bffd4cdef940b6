//! Heads of answers: what they say, and how HTTP/1.1 would write them.

use captures::Header;

/// The most fields in a head: as with HTTP/1.1.
const MAX_FIELDS: usize = 256;

/// Status and length of an answer; `None` when its head is malformed (RFC 9113, section 8).
pub(super) fn head_of(fields: &[Header]) -> Option<(u16, Option<u64>)> {
    let (mut status, mut length) = (None, None);
    for (at, Header { name, value }) in fields.iter().enumerate() {
        if name.starts_with(b":") {
            // One of these, and first.
            if at > 0 || name != b":status" || value.len() != 3 || !value.iter().all(u8::is_ascii_digit) {
                return None;
            }
            status = std::str::from_utf8(value).ok()?.parse().ok();
        } else if name == b"content-length" {
            let text =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
            let value: u64 = text.parse().ok()?;
            if length.is_some_and(|known| known != value) {
                return None;
            }
            length = Some(value);
        } else if name.is_empty()
            || name.iter().any(|byte| *byte <= b' ' || byte.is_ascii_uppercase() || *byte == b':')
        {
            return None;
        }
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return None;
        }
    }
    status
        .filter(|status| (100..600).contains(status) && fields.len() <= MAX_FIELDS)
        .map(|status| (status, length))
}

/// The head as HTTP/1.1 would write it, for those who read values out of answers.
pub(super) fn as_text(status: u16, fields: &[Header]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} \r\n").into_bytes();
    let regular =
        fields.iter().filter(|field| !field.name.starts_with(b":") && field.name != b"transfer-encoding");
    for Header { name, value } in regular {
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}
