//! Frames of HTTP/2: their nine bytes of head, and those that a client sends (RFC 9113, sections 4 and 6).

/// The length of a frame's head.
pub(super) const HEAD: usize = 9;
/// The longest payload that is taken, and that is sent: what every party must be able to take.
pub(super) const LARGEST: usize = 16_384;
/// The largest window.
pub(super) const LARGEST_WINDOW: i64 = 0x7FFF_FFFF;

/// What a connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    /// Reads the first nine bytes; `None` when there are fewer.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        Some(Self {
            length: usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]),
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7FFF_FFFF,
        })
    }

    /// Whether a flag is set.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of a frame of content or fields, without padding and priority; `None` when it is shorter
    /// than it says.
    pub(super) fn content<'a>(&self, mut payload: &'a [u8]) -> Option<&'a [u8]> {
        if self.has(PADDED) {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            payload = payload.get(5..)?;
        }
        Some(payload)
    }
}

/// Adds a frame of at most [`LARGEST`] bytes.
pub(super) fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Adds settings.
pub(super) fn push_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    push(out, SETTINGS, 0, 0, &payload);
}

/// Adds a header block, cut into as many frames as it takes.
pub(super) fn push_block(out: &mut Vec<u8>, stream: u32, block: &[u8], ends: bool) {
    let (first, rest) = block.split_at(block.len().min(LARGEST));
    let ends = if ends { END_STREAM } else { 0 };
    push(out, HEADERS, ends | if rest.is_empty() { END_HEADERS } else { 0 }, stream, first);
    let mut pieces = rest.chunks(LARGEST).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        push(out, CONTINUATION, flags, stream, piece);
    }
}

/// The settings in a payload; `None` when it is cut.
pub(super) fn settings(payload: &[u8]) -> Option<impl Iterator<Item = (u16, u32)>> {
    let whole = payload.len().is_multiple_of(6);
    whole.then(|| {
        payload.chunks_exact(6).map(|one| {
            (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
        })
    })
}

/// Four bytes as a number, at `at`.
pub(super) fn number(payload: &[u8], at: usize) -> Option<u32> {
    payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let mut out = Vec::new();
        push(&mut out, DATA, END_STREAM, 5, b"abc");
        // RFC 9113, 4.1: length (24), type (8), flags (8), reserved bit and stream (32).
        assert_eq!(out, b"\0\0\x03\0\x01\0\0\0\x05abc");
        out[5] |= 0x80;
        let head = FrameHead::read(&out).unwrap();
        assert_eq!(head, FrameHead { length: 3, kind: DATA, flags: END_STREAM, stream: 5 });
        assert_eq!(FrameHead::read(&out[..8]), None);
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let head = |kind, flags| FrameHead { length: 0, kind, flags, stream: 1 };
        assert_eq!(head(DATA, PADDED).content(b"\x02ab\0\0"), Some(&b"ab"[..]));
        assert_eq!(head(HEADERS, PADDED | PRIORITY).content(b"\x01\0\0\0\0\x10ab\0"), Some(&b"ab"[..]));
        assert_eq!(head(DATA, PADDED).content(b"\x03ab"), None);
        assert_eq!(head(DATA, PADDED).content(b""), None);
        assert_eq!(head(HEADERS, PRIORITY).content(b"\0\0"), None);
        // Content has no priority: the bit means nothing there.
        assert_eq!(head(DATA, PRIORITY).content(b"ab"), Some(&b"ab"[..]));
    }

    #[test]
    fn a_long_block_goes_on_in_further_frames() {
        let mut out = Vec::new();
        push_block(&mut out, 1, &[7; 2 * LARGEST + 1], true);
        let (mut at, mut frames) = (0, Vec::new());
        while let Some(head) = FrameHead::read(&out[at..]) {
            frames.push((head.kind, head.flags, head.length));
            at += HEAD + head.length;
        }
        assert_eq!(
            frames,
            [(HEADERS, END_STREAM, LARGEST), (CONTINUATION, 0, LARGEST), (CONTINUATION, END_HEADERS, 1)]
        );
    }
}
