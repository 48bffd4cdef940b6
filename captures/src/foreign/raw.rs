//! Takes HTTP/1 messages apart that a source holds as they were on the wire.

use crate::exchange::{Header, Version, header_value};

/// The first line and the fields of a message, and what follows them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) line: &'a [u8],
    pub(super) headers: Vec<Header>,
    pub(super) rest: &'a [u8],
}

/// Takes a message apart; `None` without a first line.
pub(super) fn parts(message: &[u8]) -> Option<Parts<'_>> {
    let (line, mut rest) = next_line(message)?;
    let mut headers = Vec::new();
    while let Some((field, after)) = next_line(rest) {
        rest = after;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
        let value = field.get(colon + 1..).unwrap_or_default().trim_ascii();
        headers.push(Header { name: field[..colon].to_vec(), value: value.to_vec() });
    }
    Some(Parts { line, headers, rest })
}

/// The next line without its end, and what follows; `None` when nothing is left.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or_default()))
}

/// Method, target and version of a request line.
pub(super) fn request_line(line: &[u8]) -> Option<(&[u8], &[u8], Version)> {
    let first = line.iter().position(|&byte| byte == b' ')?;
    let last = line.iter().rposition(|&byte| byte == b' ')?;
    let is_method = |word: &[u8]| {
        !word.is_empty()
            && word.len() <= 32
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let (method, version) = (&line[..first], version(&line[last + 1..]));
    if !is_method(method) {
        return None;
    }
    match version {
        Some(version) if last > first => {
            let target = line[first + 1..last].trim_ascii();
            (!target.is_empty()).then_some((method, target, version))
        }
        _ => None,
    }
}

/// The version of HTTP that `word` is.
pub(super) fn version(word: &[u8]) -> Option<Version> {
    let number = word.get(..5).filter(|name| name.eq_ignore_ascii_case(b"HTTP/")).map(|_| &word[5..])?;
    Some(match number {
        b"1.1" => Version::Http11,
        b"1.0" => Version::Http10,
        b"2" | b"2.0" => Version::Http2,
        b"3" | b"3.0" => Version::Http3,
        [b'0'..=b'9', ..] => Version::Other,
        _ => return None,
    })
}

/// `body` without chunks, when that is what it is; of a body with a length no more than that.
pub(super) fn body(headers: &[Header], body: &[u8]) -> Vec<u8> {
    let is_chunked = header_value(headers, "transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
    if is_chunked && let Some(content) = unchunked(body) {
        return content;
    }
    let length = header_value(headers, "content-length")
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
        .unwrap_or(body.len());
    body[..length.min(body.len())].to_vec()
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let (line, after) = next_line(rest)?;
        let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?;
        rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_needs_three_words() {
        let read = |line: &'static [u8]| request_line(line).map(|(method, target, _)| (method, target));
        assert_eq!(read(b"GET /a b HTTP/1.1"), Some((&b"GET"[..], &b"/a b"[..])));
        assert_eq!(read(b"GET / HTTP/2.0"), Some((&b"GET"[..], &b"/"[..])));
        assert_eq!((read(b"-"), read(b"GET /"), read(b"\x16\x03 x HTTP/1.1")), (None, None, None));
    }

    #[test]
    fn chunks_are_taken_off_when_there_are_any() {
        let headers = [Header { name: b"Transfer-Encoding".to_vec(), value: b"chunked".to_vec() }];
        assert_eq!(body(&headers, b"3\r\nabc\r\n0\r\n\r\n"), b"abc");
        assert_eq!(body(&headers, b"plain"), b"plain");
    }
}
