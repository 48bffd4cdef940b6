//! Finds the end of an HTTP/1.1 answer in a stream of bytes, without keeping the bytes.
//!
//! Heads are parsed by `httparse`; bodies are counted and thrown away. Informational answers are stepped
//! over. Nothing is allocated unless a head arrives in pieces.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The longest head that is read.
const MAX_HEAD: usize = 64 << 10;
/// The most fields in a head.
const MAX_FIELDS: usize = 256;
/// The most informational answers before the final one.
const MAX_INFORMATIONAL: u32 = 100;
/// The longest line of a chunk's size, or of a trailer.
const MAX_LINE: u32 = 16 << 10;

/// Made once: to make a searcher costs more than to search a head.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

static LINE_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n"));

/// Where the first line of `bytes` ends.
pub(crate) fn line_end(bytes: &[u8]) -> Option<usize> {
    LINE_END.find(bytes)
}

/// Where the empty line begins that ends the head of a message.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    HEAD_END.find(bytes)
}

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    state: State,
    is_head: bool,
    status: u16,
    keep_alive: bool,
    informational: u32,
    may_go_on: bool,
    began: bool,
    /// A head that arrived in pieces.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize { size: u64, digits: u32, in_extension: bool, length: u32 },
    ChunkBytes(u64),
    ChunkEnd { seen_cr: bool },
    Trailer { line: u32 },
    UntilClose,
}

/// What some bytes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The answer goes on.
    More,
    /// The answer is complete; this many of the bytes belonged to it.
    Complete(usize),
    /// The bytes are not HTTP.
    Invalid,
}

impl ResponseReader {
    /// For the answer to a request; `is_head` when that was a HEAD request.
    pub(crate) const fn new(is_head: bool) -> Self {
        Self {
            state: State::Head,
            is_head,
            status: 0,
            keep_alive: true,
            informational: 0,
            may_go_on: false,
            began: false,
            partial: Vec::new(),
        }
    }

    /// The status of the final answer; 0 before its head was read.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection can take another request after this answer.
    pub(crate) const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the target said that it wants the body (100 Continue).
    pub(crate) const fn may_go_on(&self) -> bool {
        self.may_go_on
    }

    /// Whether any byte came.
    pub(crate) const fn began(&self) -> bool {
        self.began
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Step {
        self.began |= !bytes.is_empty();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Head => match self.feed_head(rest) {
                    Ok(None) => return Step::More,
                    Ok(Some(used)) => {
                        at += used;
                        if self.status != 0 && self.state == State::Length(0) {
                            return Step::Complete(at);
                        }
                    }
                    Err(()) => return Step::Invalid,
                },
                State::Length(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    at += used;
                    let left = left - used as u64;
                    self.state = State::Length(left);
                    if left == 0 {
                        return Step::Complete(at);
                    }
                }
                State::ChunkBytes(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    at += used;
                    let left = left - used as u64;
                    self.state =
                        if left == 0 { State::ChunkEnd { seen_cr: false } } else { State::ChunkBytes(left) };
                }
                State::ChunkSize { .. } | State::ChunkEnd { .. } | State::Trailer { .. } => {
                    at += 1;
                    match self.feed_framing(rest[0]) {
                        Ok(true) => return Step::Complete(at),
                        Ok(false) => {}
                        Err(()) => return Step::Invalid,
                    }
                }
                State::UntilClose => return Step::More,
            }
        }
        Step::More
    }

    /// The connection ended: whether that was the answer's own end.
    pub(crate) fn ends_at_close(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Takes bytes of a head; how many of them it took when it is complete.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let before = self.partial.len();
        if before == 0 {
            if let Some(end) = head_end(bytes) {
                self.take_head(&bytes[..end + 4])?;
                return Ok(Some(end + 4));
            }
            self.partial.extend_from_slice(bytes);
        } else {
            self.partial.extend_from_slice(bytes);
            // The end may lie across the seam.
            let from = before.saturating_sub(3);
            if let Some(end) = head_end(&self.partial[from..]) {
                let length = from + end + 4;
                let head = std::mem::take(&mut self.partial);
                self.take_head(&head[..length])?;
                return Ok(Some(length - before));
            }
        }
        if self.partial.len() > MAX_HEAD { Err(()) } else { Ok(None) }
    }

    fn take_head(&mut self, head: &[u8]) -> Result<(), ()> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let complete = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, head, &mut fields)
            .map_err(|_| ())?;
        if complete.is_partial() {
            return Err(());
        }
        let status = parsed.code.ok_or(())?;
        if status < 200 && status != 101 {
            self.informational += 1;
            self.may_go_on |= status == 100;
            return if self.informational > MAX_INFORMATIONAL { Err(()) } else { Ok(()) };
        }
        self.status = status;
        self.keep_alive = parsed.version == Some(1);
        let (mut length, mut chunked) = (None, None);
        for field in parsed.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = parse_length(field.value).ok_or(())?;
                if length.is_some_and(|known| known != value) {
                    return Err(());
                }
                length = Some(value);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = Some(ends_with_chunked(field.value));
            } else if field.name.eq_ignore_ascii_case("connection") {
                for option in field.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") && parsed.version == Some(0) {
                        self.keep_alive = true;
                    }
                }
            }
        }
        // RFC 9112, section 6.3, in its order.
        self.state = if self.is_head || matches!(status, 204 | 304) {
            State::Length(0)
        } else if status == 101 {
            self.keep_alive = false;
            State::Length(0)
        } else {
            match (chunked, length) {
                (Some(true), _) => FIRST_CHUNK,
                (None, Some(length)) => State::Length(length),
                (Some(false), _) | (None, None) => {
                    self.keep_alive = false;
                    State::UntilClose
                }
            }
        };
        Ok(())
    }

    /// Takes one byte of a chunked body's framing; whether the answer is complete.
    fn feed_framing(&mut self, byte: u8) -> Result<bool, ()> {
        match &mut self.state {
            State::ChunkSize { size, digits, in_extension, length } => {
                *length += 1;
                if *length > MAX_LINE {
                    return Err(());
                }
                match byte {
                    b'\n' if *digits > 0 => {
                        let size = *size;
                        self.state =
                            if size == 0 { State::Trailer { line: 0 } } else { State::ChunkBytes(size) };
                    }
                    b'\n' => return Err(()),
                    b'\r' => *in_extension = true,
                    _ if *in_extension => {}
                    b';' | b' ' | b'\t' if *digits > 0 => *in_extension = true,
                    _ => {
                        let digit = (byte as char).to_digit(16).ok_or(())?;
                        *digits += 1;
                        if *digits > 15 {
                            return Err(());
                        }
                        *size = *size * 16 + u64::from(digit);
                    }
                }
            }
            State::ChunkEnd { seen_cr } => match byte {
                b'\r' if !*seen_cr => *seen_cr = true,
                b'\n' => self.state = FIRST_CHUNK,
                _ => return Err(()),
            },
            State::Trailer { line } => match byte {
                b'\n' if *line == 0 => return Ok(true),
                b'\n' => *line = 0,
                b'\r' => {}
                _ => {
                    *line += 1;
                    if *line > MAX_LINE {
                        return Err(());
                    }
                }
            },
            State::Head | State::Length(_) | State::ChunkBytes(_) | State::UntilClose => return Err(()),
        }
        Ok(false)
    }
}

const FIRST_CHUNK: State = State::ChunkSize { size: 0, digits: 0, in_extension: false, length: 0 };

fn parse_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn ends_with_chunked(value: &[u8]) -> bool {
    value
        .rsplit(|&byte| byte == b',')
        .next()
        .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the answer leads to, whole and cut at every place.
    fn check(answer: &str, is_head: bool, expected: Step, status: u16, keep_alive: bool) {
        for cut in 0..=answer.len() {
            let mut reader = ResponseReader::new(is_head);
            let (first, second) = answer.as_bytes().split_at(cut);
            let step = match reader.feed(first) {
                Step::More => match reader.feed(second) {
                    Step::Complete(used) => Step::Complete(cut + used),
                    other => other,
                },
                other => other,
            };
            assert_eq!(step, expected, "{answer:?} cut at {cut}");
            if expected != Step::Invalid {
                assert_eq!(
                    (reader.status(), reader.keep_alive()),
                    (status, keep_alive),
                    "{answer:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn answers_end_where_rfc_9112_says() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        check(length, false, Step::Complete(length.len()), 200, true);
        check(&format!("{length}HTTP/1.1"), false, Step::Complete(length.len()), 200, true);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        check(head, true, Step::Complete(head.len()), 200, true);
        check(head, false, Step::More, 200, true);
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        check(empty, false, Step::Complete(empty.len()), 204, true);
        let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n";
        check(not_modified, false, Step::Complete(not_modified.len()), 304, true);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0A\r\n0123456789\r\n0\r\nT: v\r\n\r\n";
        check(chunked, false, Step::Complete(chunked.len()), 200, true);
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        check(early, false, Step::Complete(early.len()), 200, true);
        // What follows is another protocol's.
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        check(&format!("{switched}\x01\0"), false, Step::Complete(switched.len()), 101, false);
        let close = "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx";
        check(close, false, Step::Complete(close.len()), 200, false);
        let old = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx";
        check(old, false, Step::Complete(old.len()), 200, false);
    }

    #[test]
    fn an_answer_without_a_length_ends_with_the_connection() {
        let mut reader = ResponseReader::new(false);
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n\r\nsome bytes"), Step::More);
        assert!(reader.ends_at_close());
        assert!(!reader.keep_alive());
    }

    #[test]
    fn what_is_not_http_is_called_so() {
        for answer in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ] {
            check(answer, false, Step::Invalid, 0, false);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let mut reader = ResponseReader::new(false);
            for piece in &pieces {
                if reader.feed(piece) != Step::More {
                    break;
                }
            }
        }

        #[test]
        fn a_chunked_body_ends_at_its_end_however_it_is_cut(
            sizes in proptest::collection::vec(1_usize..5_000, 0..6),
            piece in 1_usize..700,
        ) {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for size in &sizes {
                answer.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                answer.resize(answer.len() + size, b'\n');
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\n\r\n");
            let mut reader = ResponseReader::new(false);
            let mut used = 0;
            for part in answer.chunks(piece) {
                match reader.feed(part) {
                    Step::More => used += part.len(),
                    Step::Complete(of_part) => used += of_part,
                    Step::Invalid => prop_assert!(false, "invalid"),
                }
            }
            prop_assert_eq!(used, answer.len());
        }
    }
}
