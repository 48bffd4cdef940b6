//! Recognises HTTP/1 messages and how their bodies end.
//!
//! Unlike the gate in front of the proxy this reader refuses nothing that two parties evidently understood:
//! it is told what went by, and says where it begins and ends. RFC 9112, 6.3 gives the order of the rules.

use captures::Version;

use crate::head;

/// A longer head is none.
pub(super) const LONGEST_HEAD: usize = 256 << 10;
const LONGEST_METHOD: usize = 24;

/// What the first bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    Request,
    Response,
    Tls,
    Nothing,
}

/// Methods that are known, for where any word could stand.
const METHODS: [&[u8]; 42] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"MERGE",
    b"CHECKOUT",
    b"CHECKIN",
    b"MKACTIVITY",
    b"MKWORKSPACE",
    b"VERSION-CONTROL",
    b"UPDATE",
    b"LABEL",
    b"ACL",
    b"BIND",
    b"UNBIND",
    b"REBIND",
    b"LINK",
    b"UNLINK",
    b"PURGE",
    b"BAN",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"NOTIFY",
    b"POLL",
    b"BCOPY",
    b"BMOVE",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
];

/// The start of what a client says in HTTP/2. It reads like a request, to those who know no better.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What `bytes` begin, as far as they say; of a party that is known it is known which it can be.
pub(super) fn looks(bytes: &[u8], is_client: Option<bool>) -> Looks {
    let may_be_response = is_client != Some(true);
    if may_be_response && begins(bytes, b"HTTP/") && bytes.get(5).is_none_or(u8::is_ascii_digit) {
        return Looks::Response;
    }
    if let [0x16, 3, 0..=4, _, _, 1 | 2, ..] = bytes {
        return Looks::Tls;
    }
    if is_client == Some(false) {
        return Looks::Nothing;
    }
    if begins(bytes, PREFACE) {
        return Looks::Request;
    }
    let space = bytes.iter().take(LONGEST_METHOD + 1).position(|&byte| byte == b' ');
    match space {
        Some(at) if METHODS.contains(&&bytes[..at]) => Looks::Request,
        // Another word must be followed by something that can only be a target.
        Some(at) if is_method(&bytes[..at]) && begins_target(&bytes[at + 1..]) => Looks::Request,
        None if !bytes.is_empty()
            && bytes.len() <= LONGEST_METHOD
            && METHODS.iter().any(|method| method.starts_with(bytes)) =>
        {
            Looks::Request
        }
        _ => Looks::Nothing,
    }
}

fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let shared = bytes.len().min(with.len());
    shared > 0 && bytes[..shared] == with[..shared]
}

fn is_method(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
}

fn begins_target(target: &[u8]) -> bool {
    target.starts_with(b"/") || target.starts_with(b"http://") || target.starts_with(b"https://")
}

/// Whether a first line, without its end, is that of a request.
pub(super) fn is_request_line(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let version = line.iter().rposition(|&byte| byte == b' ').map(|at| &line[at + 1..]);
    version.is_some_and(|version| version.starts_with(b"HTTP/"))
        && line.iter().filter(|&&byte| byte == b' ').count() >= 2
}

/// Whether a first line is that of a response.
pub(super) fn is_status_line(line: &[u8]) -> bool {
    status_of(line).is_some()
}

/// The status in a first line.
pub(super) fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let space = rest.iter().position(|&byte| byte == b' ')?;
    let digits = rest[space..].trim_ascii_start().get(..3)?;
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..1000).contains(&status).then_some(status)
}

/// The version in a first line that begins or ends with it.
pub(super) fn version_of(word: &[u8]) -> Version {
    match word.get(..8) {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        _ if word.starts_with(b"HTTP/2") => Version::Http2,
        _ => Version::Other,
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// How the body of a request with this head ends.
pub(super) fn request_framing(fields: &[u8]) -> Framing {
    if is_chunked(fields) {
        return Framing::Chunked;
    }
    Framing::Length(content_length(fields).unwrap_or(0))
}

/// How the body of a response with this head ends.
pub(super) fn response_framing(fields: &[u8], status: u16, answers_head: bool) -> Framing {
    if answers_head || status < 200 || matches!(status, 204 | 304) {
        return Framing::Length(0);
    }
    if is_chunked(fields) {
        return Framing::Chunked;
    }
    content_length(fields).map_or(Framing::UntilClose, Framing::Length)
}

/// Whether a switch of protocols (101) with these fields leads to HTTP/2 (RFC 7540, 3.2).
pub(super) fn upgrades_to_http2(fields: &[u8]) -> bool {
    head::first_value(fields, b"upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Whether one of the codings is `chunked`: it should be the last, and is understood wherever it stands, also on
/// a line that continues an empty one (RFC 9112, 5.2).
fn is_chunked(fields: &[u8]) -> bool {
    let folded;
    let mut value = head::first_value(fields, b"transfer-encoding").unwrap_or_default();
    if value.is_empty() && !fields.is_empty() && memchr::memmem::find(fields, b"\n ").is_some() {
        folded = head::fields(fields).into_iter().find(|field| field.is("transfer-encoding"));
        value = folded.as_ref().map_or(&[], |field| &field.value);
    }
    value.split(|&byte| byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The told length; of several the first, without what stands behind it. One that no body can have is none.
fn content_length(fields: &[u8]) -> Option<u64> {
    const LONGEST: u64 = 1 << 60;
    let value = head::first_value(fields, b"content-length")?;
    let first = value.split(|byte| matches!(byte, b',' | b' ' | b'\t')).next()?;
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(first).ok()?.parse().ok().filter(|length| *length < LONGEST)
}

/// What a head says whose end was not captured: its whole lines. Of a request they must hold method and target, of
/// a response the status; `None` when they do not.
pub(super) fn cut_head(mut head: Vec<u8>, is_request: bool) -> Option<Vec<u8>> {
    if let Some(end) = memchr::memrchr(b'\n', &head) {
        head.truncate(end + 1);
    } else {
        // A target is whole where a version begins behind it.
        let version = head.iter().rposition(|&byte| byte == b' ').map(|at| &head[at + 1..]);
        let is_whole = |version: &[u8]| begins(version, b"HTTP/");
        let blanks = head.iter().filter(|&&byte| byte == b' ').count();
        if !(if is_request { blanks >= 2 && version.is_some_and(is_whole) } else { is_status_line(&head) }) {
            return None;
        }
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

/// Where a head in `bytes` ends (behind its empty line), when the bytes before `scanned` hold no end.
pub(super) fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(3).min(bytes.len());
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|at| {
        let rest = &bytes[from + at + 1..];
        let empty = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        (empty > 0).then_some(from + at + 1 + empty)
    })
}

/// Where a chunked body stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    state: Chunk,
    has_begun: bool,
    line: Vec<u8>,
    /// The fields after the last chunk.
    pub(super) trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunk {
    #[default]
    Size,
    Content(u64),
    /// The line end behind a chunk.
    After,
    Trailers,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes were framing.
    Framing(usize),
    /// So many bytes are content.
    Content(usize),
    /// So many bytes were framing, and the body is over.
    End(usize),
    /// It is not chunked.
    Wrong,
}

impl Chunks {
    const LONGEST_LINE: usize = 16 << 10;

    /// Reads on in `bytes`, which are not empty.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Piece {
        if let Chunk::Content(left) = self.state {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let left = left - count as u64;
            self.state = if left == 0 { Chunk::After } else { Chunk::Content(left) };
            return Piece::Content(count);
        }
        let end = memchr::memchr(b'\n', bytes);
        let count = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + self.trailers.len() + count > Self::LONGEST_LINE {
            return Piece::Wrong;
        }
        self.line.extend_from_slice(&bytes[..count]);
        let is_size = self.state == Chunk::Size;
        if is_size && self.line.trim_ascii_start().first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Piece::Wrong;
        }
        if end.is_none() {
            return Piece::Framing(count);
        }
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii();
        match self.state {
            Chunk::Size => {
                let digits = text.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
                match std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())
                {
                    Some(0) => self.state = Chunk::Trailers,
                    Some(size) if !digits.starts_with(b"+") => self.state = Chunk::Content(size),
                    _ => {
                        self.line = line;
                        return Piece::Wrong;
                    }
                }
            }
            Chunk::After if text.is_empty() => self.state = Chunk::Size,
            Chunk::After => return Piece::Wrong,
            Chunk::Trailers if text.is_empty() => return Piece::End(count),
            Chunk::Trailers => self.trailers.extend_from_slice(&line),
            Chunk::Content(_) => {}
        }
        self.has_begun = true;
        Piece::Framing(count)
    }

    /// The bytes so far, when not even the first chunk could be read: the body is not chunked at all.
    pub(super) fn never_began(&mut self) -> Option<Vec<u8>> {
        (!self.has_begun).then(|| std::mem::take(&mut self.line))
    }

    /// Steps over `length` bytes that are missing; `false` when it is not known where the body goes on then.
    pub(super) fn skip(&mut self, length: u64) -> bool {
        match self.state {
            Chunk::Content(left) if left >= length => {
                self.state = if left == length { Chunk::After } else { Chunk::Content(left - length) };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_bytes_tell_a_message_from_other_protocols() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Looks::Request),
            (b"PO", Looks::Request),
            (b"VERSION-CONTROL /x", Looks::Request),
            (b"FROBNICATE /x HTTP/1.1", Looks::Request),
            (b"HTTP/1.1 200 OK", Looks::Response),
            (b"HT", Looks::Response),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Looks::Request),
            (b"PRI", Looks::Request),
            (b"\x16\x03\x01\x02\x00\x01\x00", Looks::Tls),
            (b"EHLO mail.test\r\n", Looks::Nothing),
            (b"SSH-2.0-OpenSSH", Looks::Nothing),
            (b"NICK someone\r\n", Looks::Nothing),
            (b"\x05\x01\x00", Looks::Nothing),
            (b"", Looks::Nothing),
        ] {
            assert_eq!(looks(bytes, None), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert!(is_request_line(b"GET / HTTP/1.1\r") && !is_request_line(b"MAIL FROM:<a@b>"));
        assert_eq!(status_of(b"HTTP/1.0 404 Not Found"), Some(404));
        assert_eq!(status_of(b"HTTP/1.0 abc"), None);
    }

    #[test]
    fn a_body_ends_by_the_rules_of_rfc_9112() {
        assert_eq!(request_framing(b"Content-Length: 5\r\n\r\n"), Framing::Length(5));
        assert_eq!(request_framing(b"\r\n"), Framing::Length(0));
        assert_eq!(
            request_framing(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Framing::Chunked
        );
        assert_eq!(request_framing(b"Transfer-Encoding:\r\n chunked\r\n\r\n"), Framing::Chunked);
        assert_eq!(response_framing(b"Content-Length: 5\r\n\r\n", 200, true), Framing::Length(0));
        assert_eq!(response_framing(b"Content-Length: 5\r\n\r\n", 304, false), Framing::Length(0));
        assert_eq!(response_framing(b"\r\n", 200, false), Framing::UntilClose);
        assert_eq!(
            response_framing(b"Transfer-Encoding: gzip, Chunked\r\n\r\n", 200, false),
            Framing::Chunked
        );
    }

    fn unchunked(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut chunks, mut content, mut over) = (Chunks::default(), Vec::new(), false);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !over {
                rest = match chunks.read(rest) {
                    Piece::Framing(count) => &rest[count..],
                    Piece::Content(count) => {
                        content.extend_from_slice(&rest[..count]);
                        &rest[count..]
                    }
                    Piece::End(count) => {
                        over = true;
                        &rest[count..]
                    }
                    Piece::Wrong => return (content, Vec::new(), false),
                };
            }
        }
        (content, chunks.trailers, over)
    }

    #[test]
    fn chunks_are_read_however_they_are_cut() {
        let body = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
        for cut in 0..body.len() {
            let (content, trailers, over) = unchunked(&[&body[..cut], &body[cut..]]);
            assert_eq!(
                (&content[..], &trailers[..], over),
                (&b"hello world"[..], &b"X-Sum: 1\r\n"[..], true)
            );
        }
        assert!(!unchunked(&[b"xyz\r\n"]).2);
    }

    #[test]
    fn the_end_of_a_head_is_found_in_any_spelling() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody", 0), Some(24));
        assert_eq!(head_end(b"GET / HTTP/1.1\nA: b\n\nbody", 0), Some(21));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nA: b\r\n\r", 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            looks(&bytes, None);
            unchunked(&[&bytes]);
            head_end(&bytes, 7);
            request_framing(&bytes);
            response_framing(&bytes, 200, false);
        }
    }
}
