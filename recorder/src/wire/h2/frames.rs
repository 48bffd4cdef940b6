//! Takes one side of an HTTP/2 connection apart into frames (RFC 9113, 4 and 6).
//!
//! Content passes as it comes; header blocks are gathered, from their first frame to their last, and decoded.
//! What cannot be understood, or is too large, ends the reading of this side for good: without every block before
//! it none can be decoded, and a frame begins only where another ended.

use captures::Header;

use crate::wire::message::{LONGEST_HEAD, PREFACE};
use captures::hpack::Decoder;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// What a frame's head takes.
const HEAD: usize = 9;

/// One side's frames, as far as they came.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// How much of the preface is still to come.
    preface: usize,
    head: Vec<u8>,
    frame: Option<Frame>,
    /// What came of a frame that is gathered.
    payload: Vec<u8>,
    block: Vec<u8>,
    /// The block that is open: no other frame may come before its end.
    open: Option<Opened>,
    decoder: Decoder,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// The bytes of its payload that are still to come.
    left: usize,
    /// How many of those, at its end, mean nothing; unknown until the first byte tells.
    padding: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    stream: u32,
    is_end: bool,
    is_promise: bool,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Nothing that tells anything of an exchange.
    Other,
    /// A head or trailers.
    Fields { stream: u32, fields: Vec<Header>, is_end: bool },
    /// The server announces an answer that nobody asked for.
    Promise,
    /// Content, which may be nothing but its end.
    Content { stream: u32, bytes: &'a [u8], is_end: bool },
    /// The stream is broken off.
    Reset { stream: u32, is_fault: bool },
    /// It cannot be read, and nothing after it can.
    Wrong,
}

impl Frames {
    /// A client's side, of whose preface `known` bytes are read.
    pub(super) fn behind_preface(known: usize) -> Self {
        Self { preface: PREFACE.len() - known, ..Self::default() }
    }

    /// Whether the preface, if there is one, was read whole.
    pub(super) const fn is_begun(&self) -> bool {
        self.preface == 0
    }

    /// Whether the next byte belongs to something that has begun.
    pub(super) fn is_within_frame(&self) -> bool {
        self.frame.is_some() || !self.head.is_empty() || self.open.is_some()
    }

    /// The bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.payload.len() + self.block.len() + self.decoder.held()
    }

    /// Reads on in `bytes`, which are not empty: what comes first there, and how many bytes it took.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> (Part<'a>, usize) {
        if self.preface > 0 {
            let expected = &PREFACE[PREFACE.len() - self.preface..];
            let count = expected.len().min(bytes.len());
            self.preface -= count;
            let part = if bytes[..count] == expected[..count] { Part::Other } else { Part::Wrong };
            return (part, count);
        }
        let Some(mut frame) = self.frame.take() else {
            let count = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..count]);
            if self.head.len() < HEAD {
                return (Part::Other, count);
            }
            let part = self.begin().unwrap_or(Part::Wrong);
            return (part, count);
        };
        match frame.kind {
            DATA => {
                let Some(padding) = frame.padding else {
                    let padding = usize::from(bytes[0]);
                    frame.left -= 1;
                    frame.padding = Some(padding);
                    if padding > frame.left {
                        return (Part::Wrong, 1);
                    }
                    return (self.go_on(frame, &[]), 1);
                };
                let content = (frame.left - padding).min(bytes.len());
                let count = if content > 0 { content } else { frame.left.min(bytes.len()) };
                frame.left -= count;
                frame.padding = Some(padding.min(frame.left));
                (self.go_on(frame, &bytes[..content]), count)
            }
            HEADERS | CONTINUATION | PUSH_PROMISE | RESET => {
                let count = frame.left.min(bytes.len());
                self.payload.extend_from_slice(&bytes[..count]);
                frame.left -= count;
                if frame.left > 0 {
                    self.frame = Some(frame);
                    return (Part::Other, count);
                }
                (self.gathered(frame).unwrap_or(Part::Wrong), count)
            }
            _ => {
                let count = frame.left.min(bytes.len());
                frame.left -= count;
                self.frame = (frame.left > 0).then_some(frame);
                (Part::Other, count)
            }
        }
    }

    /// A frame whose head is whole; `None` when none may begin so.
    fn begin(&mut self) -> Option<Part<'static>> {
        let head = std::mem::take(&mut self.head);
        let [a, b, c, kind, flags, stream @ ..] = *head.first_chunk::<HEAD>()?;
        let left = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        let stream = u32::from_be_bytes(stream) & 0x7FFF_FFFF;
        let is_continued = kind == CONTINUATION && self.open.is_some_and(|open| open.stream == stream);
        let is_possible = match kind {
            _ if self.open.is_some() => is_continued,
            DATA | PUSH_PROMISE => stream != 0,
            HEADERS => stream != 0,
            RESET => stream != 0 && left == 4,
            SETTINGS => stream == 0 && left % 6 == 0,
            CONTINUATION => false,
            _ => true,
        };
        let is_gathered = matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION);
        if !is_possible || (is_gathered && self.block.len() + left > LONGEST_HEAD) {
            return None;
        }
        let padding = if kind == DATA && flags & PADDED != 0 { None } else { Some(0) };
        let frame = Frame { kind, flags, stream, left, padding };
        if left > 0 {
            self.frame = Some(frame);
            return Some(Part::Other);
        }
        match kind {
            DATA if padding.is_none() => None,
            DATA => Some(self.go_on(frame, &[])),
            HEADERS | PUSH_PROMISE | CONTINUATION => self.gathered(frame),
            _ => Some(Part::Other),
        }
    }

    /// A frame of content of which `bytes` came.
    fn go_on<'a>(&mut self, frame: Frame, bytes: &'a [u8]) -> Part<'a> {
        let is_end = frame.left == 0 && frame.flags & END_STREAM != 0;
        self.frame = (frame.left > 0).then_some(frame);
        Part::Content { stream: frame.stream, bytes, is_end }
    }

    /// A frame whose payload is whole.
    fn gathered(&mut self, frame: Frame) -> Option<Part<'static>> {
        let payload = std::mem::take(&mut self.payload);
        let mut fragment = &payload[..];
        if frame.kind == RESET {
            let code = u32::from_be_bytes(*fragment.first_chunk()?);
            return Some(Part::Reset { stream: frame.stream, is_fault: code != 0 });
        }
        if frame.kind != CONTINUATION {
            if frame.flags & PADDED != 0 {
                let (&padding, rest) = fragment.split_first()?;
                fragment = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
            }
            // A priority, or the number of the promised stream.
            let before = match frame.kind {
                HEADERS if frame.flags & PRIORITY != 0 => 5,
                PUSH_PROMISE => 4,
                _ => 0,
            };
            fragment = fragment.get(before..)?;
            let is_promise = frame.kind == PUSH_PROMISE;
            let is_end = !is_promise && frame.flags & END_STREAM != 0;
            self.open = Some(Opened { stream: frame.stream, is_end, is_promise });
        }
        self.block.extend_from_slice(fragment);
        if frame.flags & END_HEADERS == 0 {
            return Some(Part::Other);
        }
        let Opened { stream, is_end, is_promise } = self.open.take()?;
        let block = std::mem::take(&mut self.block);
        let fields = self.decoder.fields(&block, LONGEST_HEAD)?;
        Some(if is_promise { Part::Promise } else { Part::Fields { stream, fields, is_end } })
    }

    /// Steps over `length` bytes that are missing. Whose content they were, how many of them, and whether it ends
    /// with them; `None` when it is not known how the frames go on.
    pub(super) fn skip(&mut self, length: u64) -> Option<Skipped> {
        let frame = self.frame.as_mut()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= frame.left)?;
        if matches!(frame.kind, HEADERS | CONTINUATION | PUSH_PROMISE | RESET) {
            return None;
        }
        let padding = frame.padding?;
        let content = if frame.kind == DATA { length.min(frame.left - padding) } else { 0 };
        frame.left -= length;
        frame.padding = Some(padding.min(frame.left));
        let is_end = frame.kind == DATA && frame.left == 0 && frame.flags & END_STREAM != 0;
        let stream = frame.stream;
        self.frame = Some(*frame).filter(|frame| frame.left > 0);
        Some(Skipped { stream, content: content as u64, is_end })
    }
}

/// What was missing and can be done without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) stream: u32,
    pub(super) content: u64,
    pub(super) is_end: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// What is read of these bytes, cut into pieces of `size`.
    fn read(bytes: &[u8], size: usize) -> Vec<String> {
        let (mut frames, mut shown) = (Frames::behind_preface(0), Vec::new());
        let mut content = Vec::new();
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                let (part, used) = frames.read(piece);
                piece = &piece[used..];
                match part {
                    Part::Other => {}
                    Part::Content { stream, bytes, is_end } => {
                        content.extend_from_slice(bytes);
                        if is_end {
                            shown.push(format!("{stream} {}", String::from_utf8_lossy(&content)));
                        }
                    }
                    Part::Fields { stream, fields, is_end } => {
                        shown.push(format!("{stream} {} fields, end: {is_end}", fields.len()));
                    }
                    Part::Wrong => {
                        shown.push("wrong".to_owned());
                        return shown;
                    }
                    other => shown.push(format!("{other:?}")),
                }
            }
        }
        shown
    }

    #[test]
    fn frames_are_read_however_they_are_cut_with_padding_priority_and_continuation() {
        let bytes = [
            PREFACE,
            &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
            // :method GET and half of the rest; a priority before it, two bytes of padding behind it.
            &frame(HEADERS, PADDED | PRIORITY, 1, &[2, 0, 0, 0, 0, 15, 0x82, 0, 0]),
            &frame(CONTINUATION, 0, 1, &[]),
            &frame(CONTINUATION, END_HEADERS, 1, &[0x86, 0x84]),
            &frame(DATA, PADDED, 1, b"\x03hel\0\0\0"),
            &frame(0xEE, 0xFF, 7, b"nobody knows"),
            &frame(DATA, 0, 1, b""),
            &frame(DATA, END_STREAM | PADDED, 1, b"\x01lo\0"),
            &frame(RESET, 0, 3, &[0, 0, 0, 8]),
        ]
        .concat();
        for size in 1..40 {
            assert_eq!(
                read(&bytes, size),
                ["1 3 fields, end: false", "1 hello", "Reset { stream: 3, is_fault: true }"],
                "{size}"
            );
        }
    }

    #[test]
    fn what_breaks_the_rules_ends_the_reading() {
        for wrong in [
            frame(HEADERS, END_HEADERS, 0, &[0x82]),
            frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x82]),
            frame(HEADERS, END_HEADERS, 1, &[0xFF]),
            frame(DATA, PADDED, 1, b"\x09abc"),
            frame(DATA, PADDED, 1, b""),
            frame(RESET, 0, 1, b"abc"),
            frame(SETTINGS, 0, 0, b"abc"),
            frame(CONTINUATION, END_HEADERS, 1, &[0x82]),
            [frame(HEADERS, 0, 1, &[0x82]), frame(DATA, 0, 1, b"x")].concat(),
            [frame(HEADERS, 0, 1, &[0x82]), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            // A block that never ends.
            (0..40)
                .flat_map(|at| frame(if at == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[0x82; 16_000]))
                .collect(),
        ] {
            assert_eq!(read(&[PREFACE, &wrong].concat(), 4_096).last().unwrap(), "wrong");
        }
    }

    #[test]
    fn what_is_missing_within_content_does_not_end_it() {
        let mut frames = Frames::default();
        let bytes = frame(DATA, END_STREAM, 1, b"hello world");
        frames.read(&bytes[..9]);
        frames.read(&bytes[9..12]);
        assert_eq!(frames.skip(5), Some(Skipped { stream: 1, content: 5, is_end: false }));
        assert_eq!(frames.skip(4), None);
        assert_eq!(frames.skip(3), Some(Skipped { stream: 1, content: 3, is_end: true }));
        assert_eq!(frames.skip(1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
            read(&[PREFACE, &bytes].concat(), size);
        }
    }
}
