//! Turns the HTTP/1.1 text of a request into a header block and a body.
//!
//! The text is what the plan made, or the same with values of this target in it; so the patch points of bindings
//! hold for either protocol. Fields are written as literals that nobody is to remember: the server then needs no
//! memory for them, and an encoder has nothing to keep. Fields that concern a connection are left out, as RFC
//! 9113, section 8.2.2 wants.

use memchr::memchr;

use crate::response::{head_end, line_end};

/// Numbers of fields in HPACK's static table (RFC 7541, Appendix A).
const AUTHORITY: u8 = 1;
const METHOD_GET: u8 = 2;
const METHOD_POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;

/// What is said of the connection, not of the request; `expect` would ask for a second round that streams need not.
const OF_CONNECTION: [&[u8]; 7] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
    b"expect",
];

/// Adds the header block of the request in `text`; its body. `None` when the text is no request.
pub(super) fn encode<'a>(text: &'a [u8], secure: bool, block: &mut Vec<u8>) -> Option<&'a [u8]> {
    let end = head_end(text)?;
    let (head, body) = (&text[..end + 2], &text[end + 4..]);
    let mut lines = Lines(head);
    let line = lines.next()?;
    let after_method = memchr(b' ', line)?;
    let (method, rest) = (&line[..after_method], &line[after_method + 1..]);
    let target = &rest[..memchr(b' ', rest)?];
    match method {
        b"GET" => block.push(0x80 | METHOD_GET),
        b"POST" => block.push(0x80 | METHOD_POST),
        other => {
            block.push(METHOD_GET);
            string(block, other);
        }
    }
    block.push(0x80 | if secure { SCHEME_HTTPS } else { SCHEME_HTTP });
    block.push(PATH);
    string(block, target);
    // The plan writes the host first; nothing that counts comes before a regular field.
    let fields = || Lines(lines.0).filter_map(|line| memchr(b':', line).map(|at| line.split_at(at)));
    if let Some((_, host)) = fields().find(|(name, _)| name.eq_ignore_ascii_case(b"host")) {
        block.push(AUTHORITY);
        string(block, host[1..].trim_ascii());
    }
    for (name, value) in fields() {
        let left_out = name.eq_ignore_ascii_case(b"host")
            || OF_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known));
        if left_out {
            continue;
        }
        block.push(0);
        string(block, name);
        let at = block.len() - name.len();
        block[at..].make_ascii_lowercase();
        string(block, value[1..].trim_ascii());
    }
    Some(body)
}

/// Adds a string without Huffman's code (RFC 7541, 5.2): shorter ones would not pay for the time.
fn string(block: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length < 0x7F {
        block.push(length as u8);
    } else {
        block.push(0x7F);
        let mut rest = length - 0x7F;
        while rest >= 0x80 {
            block.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

/// Lines that end in CRLF, without it.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = line_end(self.0)?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use captures::hpack::Decoder;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, secure: bool, expected: &[(&str, &str)], body: &str) {
        let mut block = Vec::new();
        assert_eq!(encode(text.as_bytes(), secure, &mut block), Some(body.as_bytes()), "{text}");
        let fields = Decoder::default().fields(&block, 1 << 20).unwrap();
        let fields: Vec<(String, String)> = fields
            .into_iter()
            .map(|field| (String::from_utf8(field.name).unwrap(), String::from_utf8(field.value).unwrap()))
            .collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_request_becomes_fields() {
        check(
            "GET /a?b=c HTTP/1.1\r\nHost: shop.test:81\r\nX-Odd:  v \r\nConnection: close\r\nHighwater-Replay: 1\r\n\r\n",
            false,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/a?b=c"),
                (":authority", "shop.test:81"),
                ("x-odd", "v"),
                ("highwater-replay", "1"),
            ],
            "",
        );
        check(
            "PUT / HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\na\r\n\r",
            true,
            &[
                (":method", "PUT"),
                (":scheme", "https"),
                (":path", "/"),
                (":authority", "s"),
                ("content-length", "4"),
            ],
            "a\r\n\r",
        );
        assert_eq!(encode(b"GET / HTTP/1.1\r\nHost: s\r\n", false, &mut Vec::new()), None);
        assert_eq!(encode(b"GET\r\n\r\n", false, &mut Vec::new()), None);
    }

    #[test]
    fn long_names_and_values_keep_their_length() {
        let name = "X".repeat(70);
        check(
            &format!("GET / HTTP/1.1\r\n{name}: v\r\n\r\n"),
            false,
            &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (&name.to_ascii_lowercase(), "v")],
            "",
        );
        for length in [126, 127, 128, 254, 255, 16_000, 40_000] {
            let value = "x".repeat(length);
            check(
                &format!("POST / HTTP/1.1\r\nHost: s\r\nCookie: {value}\r\n\r\n"),
                false,
                &[
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "s"),
                    ("cookie", &value),
                ],
                "",
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = [&text[..], b"\r\n\r\n"].concat();
            encode(&text, false, &mut Vec::new());
        }
    }
}
