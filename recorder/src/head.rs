//! Reads the raw head of a message into its parts, as received: order, case and repeats kept.
//!
//! The proxy engine has parsed and accepted the head before; this parser only takes it apart and therefore
//! refuses nothing. Whatever the bytes are, it answers.

use captures::{Header, Version};

/// The parts of a request head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) version: Version,
    pub(crate) headers: Vec<Header>,
}

/// Takes a request head apart.
pub(crate) fn request_head(raw: &[u8]) -> RequestHead {
    // Empty lines before the request line are allowed and mean nothing.
    let start = raw.iter().position(|&byte| byte != b'\r' && byte != b'\n').unwrap_or(raw.len());
    let (line, rest) = next_line(&raw[start..]);
    // Blanks around the words mean nothing (RFC 9112, 3).
    let line = trim(line);
    let (method, after) = split_at(line, line.iter().position(|&byte| byte == b' '));
    let (target, version) = split_at(after, after.iter().rposition(|&byte| byte == b' '));
    RequestHead {
        method: method.to_vec(),
        target: trim(target).to_vec(),
        version: match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/2" | b"HTTP/2.0" => Version::Http2,
            _ => Version::Other,
        },
        headers: fields(rest),
    }
}

/// The header fields of a head without its first line.
pub(crate) fn fields(mut raw: &[u8]) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    while !raw.is_empty() {
        let (line, rest) = next_line(raw);
        raw = rest;
        if line.is_empty() {
            break;
        }
        // An obsolete folded line continues the value before it.
        if (line[0] == b' ' || line[0] == b'\t')
            && let Some(last) = headers.last_mut()
        {
            last.value.extend_from_slice(b"\r\n");
            last.value.extend_from_slice(line.trim_ascii_end());
            continue;
        }
        let (name, value) = split_at(line, line.iter().position(|&byte| byte == b':'));
        headers.push(Header { name: name.to_vec(), value: trim(value).to_vec() });
    }
    headers
}

/// The value of the first field called `name`, which is in lower case, without taking the head apart.
pub(crate) fn first_value<'a>(mut raw: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    while !raw.is_empty() {
        let (line, rest) = next_line(raw);
        raw = rest;
        if let Some((found, value)) = line.split_at_checked(name.len())
            && let Some(value) = value.strip_prefix(b":")
            && found.eq_ignore_ascii_case(name)
        {
            return Some(trim(value));
        }
    }
    None
}

/// The bytes up to the end of the line, and those after it.
fn next_line(raw: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = split_at(raw, raw.iter().position(|&byte| byte == b'\n'));
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// What lies before and after the byte `at`; everything and nothing without one.
fn split_at(bytes: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}

/// Without the optional whitespace around it: spaces and tabs, nothing else.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    #[test]
    fn order_case_and_repeats_are_kept() {
        let raw = b"GET /a?b=c HTTP/1.1\r\nhost: x\r\nX-b:  1 \r\nx-A: 2\r\nX-B:3\r\n\r\n";

        let head = request_head(raw);

        assert_eq!(head.method, b"GET");
        assert_eq!(head.target, b"/a?b=c");
        assert_eq!(head.version, Version::Http11);
        assert_eq!(
            head.headers,
            [header("host", "x"), header("X-b", "1"), header("x-A", "2"), header("X-B", "3")]
        );
    }

    #[test]
    fn bare_line_feeds_and_leading_empty_lines_are_read() {
        let head = request_head(b"\r\n\nPOST / HTTP/1.0\nA: b\n\n");

        assert_eq!(head.method, b"POST");
        assert_eq!(head.version, Version::Http10);
        assert_eq!(head.headers, [header("A", "b")]);
    }

    #[test]
    fn blanks_around_the_words_of_a_request_line_mean_nothing() {
        let head = request_head(b"POST  /a b  HTTP/1.0 \r\nA: b\r\n\r\n");

        assert_eq!((&head.method[..], &head.target[..]), (&b"POST"[..], &b"/a b"[..]));
        assert_eq!(head.version, Version::Http10);
    }

    #[test]
    fn a_folded_line_belongs_to_the_value_before_it() {
        assert_eq!(fields(b"A: b\r\n c\r\nD: e\r\n\r\n"), [header("A", "b\r\n c"), header("D", "e")]);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            request_head(&raw);
            fields(&raw);
        }
    }
}
