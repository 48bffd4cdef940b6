//! Takes values out of a live answer: its head, its transfer and content codings, its body.

use std::mem::MaybeUninit;

use captures::coding;
use httparse::ParserConfig;

use crate::correlate::answer::{Given, walk_body, walk_head};
use crate::correlate::links::Take;
use crate::correlate::pattern::pattern_hash;
use crate::response::{head_end, line_end};

/// The longest answer that is kept for its values.
pub(crate) const MAX_KEPT: usize = 8 << 20;
/// What a coded body may hold.
const DECODED_LIMIT: usize = 32 << 20;
const MAX_FIELDS: usize = 256;

/// Gives `found` the values of a complete answer, `raw` as it came, that go into slots: `takes`, and the cookies of
/// the `jar`.
pub(crate) fn take(raw: &[u8], takes: &[Take], jar: &[(u64, u32)], found: &mut impl FnMut(u32, &[u8])) {
    let Some((head, body)) = final_answer(raw) else { return };
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut fields);
    if read.is_err() {
        return;
    }
    let headers = || parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    let mut seen = vec![0_u32; takes.len()];
    let mut sink = |given: Given<'_>| {
        let pattern = pattern_hash(given.kind, given.name, &given.part);
        for (take, seen) in takes.iter().zip(&mut seen) {
            if take.pattern == pattern {
                if *seen == take.ordinal {
                    found(take.slot, given.value);
                }
                *seen += 1;
            }
        }
        for &(cookie, slot) in jar {
            if cookie == pattern && !given.value.is_empty() {
                found(slot, given.value);
            }
        }
    };
    walk_head(headers(), &mut sink);
    if takes.is_empty() || body.is_empty() {
        return;
    }
    let named = |name: &'static str| {
        headers()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    };
    let is_chunked = named("transfer-encoding").any(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
    let whole = if is_chunked { dechunked(body) } else { body.to_vec() };
    let codings = named("content-encoding").collect::<Vec<_>>().join(&b","[..]);
    let Some(codings) = coding::codings(&codings) else { return };
    let decoded = if codings.is_empty() {
        Some(whole)
    } else {
        coding::decode_start(&codings, &whole, DECODED_LIMIT).map(|decoded| decoded.content)
    };
    if let Some(content) = decoded {
        walk_body(named("content-type").next().unwrap_or_default(), &content, &mut sink);
    }
}

/// Head and body of the final answer: informational ones before it are passed over.
pub(crate) fn final_answer(mut raw: &[u8]) -> Option<(&[u8], &[u8])> {
    loop {
        let end = head_end(raw)? + 4;
        if !is_informational(raw) {
            return Some(raw.split_at(end));
        }
        raw = &raw[end..];
    }
}

/// Whether an answer follows the one that begins here: `HTTP/1.1 1xx`.
pub(crate) fn is_informational(head: &[u8]) -> bool {
    head.get(9) == Some(&b'1') && head.get(9..12) != Some(b"101")
}

/// A body without its chunks; of a malformed one, what came before that.
pub(crate) fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len());
    while let Some(line) = line_end(body) {
        let digits = body[..line].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size =
            std::str::from_utf8(&body[..digits]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|&size| size > 0) else { break };
        let chunk = &body[line + 2..];
        whole.extend_from_slice(&chunk[..size.min(chunk.len())]);
        body = chunk.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// Whether a head that came whole at the beginning of `bytes` sets a cookie.
pub(crate) fn sets_cookie(bytes: &[u8]) -> bool {
    let head = &bytes[..head_end(bytes).unwrap_or(bytes.len())];
    memchr::memchr2_iter(b's', b'S', head)
        .any(|at| head.get(at..at + 11).is_some_and(|name| name.eq_ignore_ascii_case(b"set-cookie:")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::correlate::pattern::Extractor;

    fn taken(raw: &[u8], wanted: &[(&str, u32)]) -> BTreeMap<u32, String> {
        let takes: Vec<Take> = wanted
            .iter()
            .enumerate()
            .map(|(slot, (place, ordinal))| Take {
                pattern: place.parse::<Extractor>().unwrap().hash(),
                ordinal: *ordinal,
                slot: u32::try_from(slot).unwrap(),
            })
            .collect();
        let mut found = BTreeMap::new();
        take(raw, &takes, &[], &mut |slot, value| {
            found.insert(slot, String::from_utf8_lossy(value).into_owned());
        });
        found
    }

    #[test]
    fn the_same_value_is_taken_however_the_body_came() {
        let body = br#"{"items":[{"id":1},{"id":22}],"token":"t1"}"#;
        let zipped = coding::encode(&coding::codings(b"gzip").unwrap(), body).unwrap();
        let chunks = |body: &[u8]| {
            let mut out = Vec::new();
            for part in body.chunks(7) {
                out.extend_from_slice(format!("{:x};x=y\r\n", part.len()).as_bytes());
                out.extend_from_slice(part);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
            out
        };
        let kind = "Content-Type: application/json\r\n";
        for (head, body) in [
            (format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n", body.len()), body.to_vec()),
            (format!("HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n"), chunks(body)),
            (
                format!(
                    "HTTP/1.1 200 OK\r\n{kind}Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
                ),
                chunks(&zipped),
            ),
            (
                format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n{kind}\r\n"),
                body.to_vec(),
            ),
        ] {
            let found = taken(
                &[head.as_bytes(), &body].concat(),
                &[("json /items/[]/id", 1), ("json /token", 0), ("json /no", 0)],
            );
            assert_eq!(found, BTreeMap::from([(0, "22".to_owned()), (1, "t1".to_owned())]), "{head}");
        }
    }

    #[test]
    fn cookies_are_seen_at_once() {
        assert!(sets_cookie(b"HTTP/1.1 200 OK\r\nset-Cookie: a=b\r\n\r\n"));
        assert!(!sets_cookie(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nSet-Cookie: a=b"));
    }
}
