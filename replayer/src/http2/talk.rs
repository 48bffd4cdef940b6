//! The state of one connection.
//!
//! Requests begin with [`Talk::begin`]; what is to be sent is taken from [`Talk::unsent`]; received bytes go into
//! [`Talk::on_bytes`], which says what became of which request. A request that has ended, or was given up, is
//! forgotten: what still comes of it is passed over.

use std::collections::BTreeMap;

use captures::hpack::Decoder;

use super::answer::{as_text, head_of};
use super::frame::{self, FrameHead, LARGEST, LARGEST_WINDOW};
use super::request;

/// Which turn a request belongs to: the number of its lane, and of the turn.
pub(crate) type Tag = (u32, u64);

/// How much a server may send of one answer, and on all streams together, before it hears of us again.
const STREAM_WINDOW: i64 = 8 << 20;
const CONNECTION_WINDOW: i64 = 1 << 30;
/// The longest header block, as it comes and as it unfolds, and the most informational ones: as with HTTP/1.1.
const MAX_BLOCK: usize = 64 << 10;
const MAX_INFORMATIONAL: u32 = 100;
/// So many frames in a row may lead to nothing.
const MAX_IDLE: u32 = 10_000;
/// Bodies are added while less than this is unsent; answers to the server's own frames may add up to the second.
const FILLED: usize = 256 << 10;
const MAX_UNSENT: usize = 4 << 20;
/// Codes of errors (RFC 9113, section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) tag: Tag,
    /// How many received bytes it took.
    pub(crate) bytes: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A head came: the text of it as in HTTP/1.1, if that is wanted.
    Head(Vec<u8>),
    /// Content came: the content itself, if it is wanted.
    Content(Vec<u8>),
    /// The answer, of this status, is complete.
    Ended(u16),
    /// The server has not looked at the request, and will not: it can be sent again.
    Refused,
    /// The server gave the answer up.
    Reset,
    /// What came is no answer.
    Invalid,
}

/// The server broke the protocol: the code that it is told. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(u32);

/// One connection.
#[derive(Debug)]
pub(crate) struct Talk {
    out: Vec<u8>,
    written: usize,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    decoder: Decoder,
    streams: BTreeMap<u32, Stream>,
    next: u32,
    secure: bool,
    most: usize,
    server: Server,
    send_window: i64,
    receive_window: i64,
    /// A header block that goes on.
    block: Option<Block>,
    /// No request may begin here any more.
    is_ending: bool,
    idle: u32,
    /// Streams that have something left to send.
    unfinished: usize,
}

/// What the server has said of itself.
#[derive(Debug)]
struct Server {
    has_spoken: bool,
    streams: usize,
    window: i64,
}

#[derive(Debug)]
struct Stream {
    tag: Tag,
    is_head: bool,
    wanted: bool,
    /// 0 before the final head.
    status: u16,
    informational: u32,
    /// What the head says of the content, and what came of it.
    length: Option<u64>,
    came: u64,
    send_window: i64,
    receive_window: i64,
    /// What is left to send, from `sent` on.
    body: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
    frames: u64,
}

impl Talk {
    /// A connection that has just opened, for at most `most` requests at a time.
    pub(crate) fn new(secure: bool, most: usize) -> Self {
        let mut out = frame::PREFACE.to_vec();
        frame::push_settings(
            &mut out,
            &[
                (frame::HEADER_TABLE_SIZE, 0),
                (frame::ENABLE_PUSH, 0),
                (frame::INITIAL_WINDOW_SIZE, STREAM_WINDOW as u32),
                (frame::MAX_HEADER_LIST_SIZE, MAX_BLOCK as u32),
            ],
        );
        let more = (CONNECTION_WINDOW - 65_535) as u32;
        frame::push(&mut out, frame::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        Self {
            out,
            written: 0,
            partial: Vec::new(),
            decoder: Decoder::default(),
            streams: BTreeMap::new(),
            next: 1,
            secure,
            most,
            server: Server { has_spoken: false, streams: usize::MAX, window: 65_535 },
            send_window: 65_535,
            receive_window: CONNECTION_WINDOW,
            block: None,
            is_ending: false,
            idle: 0,
            unfinished: 0,
        }
    }

    /// Whether another request may begin now. Before the server has said how many it takes, one may: any takes one.
    pub(crate) fn has_room(&self) -> bool {
        let most = if self.server.has_spoken { self.most.min(self.server.streams) } else { 1 };
        !self.is_ending && self.streams.len() < most && self.unsent().len() < FILLED
    }

    /// Whether the server has said what it takes.
    pub(crate) const fn is_known(&self) -> bool {
        self.server.has_spoken
    }

    /// Whether no request may begin here any more.
    pub(crate) const fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Whether no request is going on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.streams.is_empty()
    }

    /// Begins the request of this HTTP/1.1 text; the number of its stream, or `None` when the text is no request.
    /// `wanted`: the answer itself, not only its end.
    pub(crate) fn begin(&mut self, text: &[u8], is_head: bool, wanted: bool, tag: Tag) -> Option<u32> {
        let mut block = Vec::with_capacity(256);
        let body = request::encode(text, self.secure, &mut block)?;
        let id = self.next;
        self.next += 2;
        // The last number was given out.
        self.is_ending |= self.next > 0x7FFF_FFFF;
        self.idle = 0;
        frame::push_block(&mut self.out, id, &block, body.is_empty());
        self.unfinished += usize::from(!body.is_empty());
        let stream = Stream {
            tag,
            is_head,
            wanted,
            status: 0,
            informational: 0,
            length: None,
            came: 0,
            send_window: self.server.window,
            receive_window: STREAM_WINDOW,
            body: body.to_vec(),
            sent: 0,
        };
        self.streams.insert(id, stream);
        self.fill();
        Some(id)
    }

    /// Gives a request up; the server is told.
    pub(crate) fn cancel(&mut self, id: u32) {
        if self.forget(id).is_some() {
            self.push_reset(id, CANCEL);
        }
    }

    /// Ends all requests, because the connection is gone: whose they were, in the order in which they began.
    pub(crate) fn give_up(&mut self) -> Vec<Tag> {
        self.is_ending = true;
        self.unfinished = 0;
        std::mem::take(&mut self.streams).into_values().map(|stream| stream.tag).collect()
    }

    /// What is to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// So much of it was sent.
    pub(crate) fn on_sent(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > FILLED {
            self.out.drain(..self.written);
            self.written = 0;
        }
        self.fill();
    }

    /// Takes received bytes; what became of requests goes into `events`.
    ///
    /// # Errors
    /// When the server breaks the protocol. What it is told of that is then the last that is to be sent.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        let taken = self.take(bytes, events).and_then(|()| {
            self.fill();
            if self.idle > MAX_IDLE || self.unsent().len() > MAX_UNSENT {
                return Err(Fault(ENHANCE_YOUR_CALM));
            }
            Ok(())
        });
        if let Err(Fault(code)) = taken {
            self.is_ending = true;
            // No stream of the server's was ever looked at: it may not begin any.
            let payload = [[0; 4], code.to_be_bytes()].concat();
            frame::push(&mut self.out, frame::GOAWAY, 0, 0, &payload);
        }
        taken
    }

    fn take(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.partial.is_empty()
                && let Some(whole) = length_of(bytes)?.filter(|whole| *whole <= bytes.len())
            {
                let (one, rest) = bytes.split_at(whole);
                self.on_frame(one, events)?;
                bytes = rest;
                continue;
            }
            // First its head, then its payload, and no byte of the next one.
            let wanted = length_of(&self.partial)?.unwrap_or(frame::HEAD);
            let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(more);
            bytes = rest;
            if length_of(&self.partial)?.is_some_and(|whole| whole == self.partial.len()) {
                let one = std::mem::take(&mut self.partial);
                self.on_frame(&one, events)?;
            }
        }
        Ok(())
    }

    fn on_frame(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        let wrong = Fault(PROTOCOL_ERROR);
        let head = FrameHead::read(bytes).ok_or(wrong)?;
        let payload = &bytes[frame::HEAD..];
        let is_settings = head.kind == frame::SETTINGS && !head.has(frame::ACK);
        if !self.server.has_spoken && !is_settings {
            return Err(wrong);
        }
        let goes_on = self.block.as_ref().map(|block| block.stream);
        if goes_on.is_some_and(|stream| head.kind != frame::CONTINUATION || head.stream != stream) {
            return Err(wrong);
        }
        self.idle += 1;
        let of_connection = matches!(head.kind, frame::SETTINGS | frame::PING | frame::GOAWAY);
        if of_connection && head.stream != 0 {
            return Err(wrong);
        }
        match head.kind {
            frame::DATA => self.on_content(head, payload, events),
            frame::HEADERS => {
                self.began(head.stream)?;
                let content = head.content(payload).ok_or(wrong)?;
                let (stream, ends) = (head.stream, head.has(frame::END_STREAM));
                self.block =
                    Some(Block { stream, ends, bytes: content.to_vec(), frames: bytes.len() as u64 });
                if head.has(frame::END_HEADERS) { self.on_block(events) } else { Ok(()) }
            }
            frame::CONTINUATION => {
                let block = self.block.as_mut().ok_or(wrong)?;
                block.bytes.extend_from_slice(payload);
                block.frames += bytes.len() as u64;
                if block.bytes.len() > MAX_BLOCK {
                    return Err(Fault(ENHANCE_YOUR_CALM));
                }
                if head.has(frame::END_HEADERS) { self.on_block(events) } else { Ok(()) }
            }
            frame::RST_STREAM => {
                self.began(head.stream)?;
                let code = whole_number(payload)?;
                if let Some(stream) = self.forget(head.stream) {
                    let what = if code == REFUSED_STREAM { What::Refused } else { What::Reset };
                    events.push(Event { tag: stream.tag, bytes: bytes.len() as u64, what });
                }
                Ok(())
            }
            frame::SETTINGS => self.on_settings(head, payload),
            frame::PUSH_PROMISE => Err(wrong),
            frame::PING => {
                if payload.len() != 8 {
                    return Err(Fault(FRAME_SIZE_ERROR));
                }
                if !head.has(frame::ACK) {
                    frame::push(&mut self.out, frame::PING, frame::ACK, 0, payload);
                }
                Ok(())
            }
            frame::GOAWAY => {
                let last = frame::number(payload, 0).ok_or(Fault(FRAME_SIZE_ERROR))? & 0x7FFF_FFFF;
                self.is_ending = true;
                for id in self.streams.range(last.saturating_add(1)..).map(|(&id, _)| id).collect::<Vec<_>>()
                {
                    if let Some(stream) = self.forget(id) {
                        events.push(Event { tag: stream.tag, bytes: 0, what: What::Refused });
                    }
                }
                Ok(())
            }
            frame::WINDOW_UPDATE => self.on_window(head.stream, whole_number(payload)?, events),
            // Priorities, and what is not known.
            _ => Ok(()),
        }
    }

    /// A stream of ours, begun by us; what comes of any other is against the protocol.
    const fn began(&self, stream: u32) -> Result<(), Fault> {
        if stream % 2 == 1 && stream < self.next { Ok(()) } else { Err(Fault(PROTOCOL_ERROR)) }
    }

    fn on_content(&mut self, head: FrameHead, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        self.began(head.stream)?;
        let content = head.content(payload).ok_or(Fault(PROTOCOL_ERROR))?;
        // Padding counts as well (RFC 9113, 6.9.1).
        let counted = payload.len() as i64;
        self.receive_window -= counted;
        if self.receive_window < 0 {
            return Err(Fault(FLOW_CONTROL_ERROR));
        }
        if self.receive_window < CONNECTION_WINDOW / 2 {
            let more = (CONNECTION_WINDOW - self.receive_window) as u32;
            self.receive_window = CONNECTION_WINDOW;
            frame::push(&mut self.out, frame::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        let ends = head.has(frame::END_STREAM);
        let Some(stream) = self.streams.get_mut(&head.stream) else { return Ok(()) };
        stream.receive_window -= counted;
        if stream.receive_window < 0 {
            return Err(Fault(FLOW_CONTROL_ERROR));
        }
        if stream.receive_window < STREAM_WINDOW / 2 && !ends {
            let more = (STREAM_WINDOW - stream.receive_window) as u32;
            stream.receive_window = STREAM_WINDOW;
            frame::push(&mut self.out, frame::WINDOW_UPDATE, 0, head.stream, &more.to_be_bytes());
        }
        if !content.is_empty() {
            self.idle = 0;
        }
        stream.came += content.len() as u64;
        let (tag, bytes) = (stream.tag, (frame::HEAD + payload.len()) as u64);
        let wanted = if stream.wanted { content.to_vec() } else { Vec::new() };
        // Content before a head, or of an answer that has none.
        if stream.status == 0 || (stream.is_head && !content.is_empty()) {
            return self.on_invalid(head.stream, bytes, events);
        }
        events.push(Event { tag, bytes, what: What::Content(wanted) });
        if ends { self.on_end(head.stream, events) } else { Ok(()) }
    }

    fn on_block(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let Some(Block { stream: id, ends, bytes, frames }) = self.block.take() else { return Ok(()) };
        // Of a stream that is forgotten, too: the decoder learns from every block.
        let fields = self.decoder.fields(&bytes, MAX_BLOCK).ok_or(Fault(COMPRESSION_ERROR))?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.status != 0 {
            // Trailers: nothing that is measured is in them.
            let is_trailer = ends && fields.iter().all(|field| !field.name.starts_with(b":"));
            if !is_trailer {
                return self.on_invalid(id, frames, events);
            }
            events.push(Event { tag: stream.tag, bytes: frames, what: What::Content(Vec::new()) });
            return self.on_end(id, events);
        }
        let Some((status, length)) = head_of(&fields) else {
            return self.on_invalid(id, frames, events);
        };
        let is_final = status >= 200;
        stream.informational += u32::from(!is_final);
        if status == 101 || stream.informational > MAX_INFORMATIONAL || (ends && !is_final) {
            return self.on_invalid(id, frames, events);
        }
        if is_final {
            (stream.status, stream.length) = (status, length);
            self.idle = 0;
        }
        let text = if stream.wanted { as_text(status, &fields) } else { Vec::new() };
        events.push(Event { tag: stream.tag, bytes: frames, what: What::Head(text) });
        if ends { self.on_end(id, events) } else { Ok(()) }
    }

    /// The server has said all of an answer.
    fn on_end(&mut self, id: u32, events: &mut Vec<Event>) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        let is_bodiless = stream.is_head || stream.status == 304;
        if !is_bodiless && stream.length.is_some_and(|length| length != stream.came) {
            return self.on_invalid(id, 0, events);
        }
        let is_unfinished = stream.sent < stream.body.len();
        if let Some(stream) = self.forget(id) {
            events.push(Event { tag: stream.tag, bytes: 0, what: What::Ended(stream.status) });
        }
        if is_unfinished {
            // It does not want the rest of the body.
            self.push_reset(id, CANCEL);
        }
        Ok(())
    }

    /// What came on a stream is no answer; the others go on.
    fn on_invalid(&mut self, id: u32, bytes: u64, events: &mut Vec<Event>) -> Result<(), Fault> {
        if let Some(stream) = self.forget(id) {
            events.push(Event { tag: stream.tag, bytes, what: What::Invalid });
            self.push_reset(id, PROTOCOL_ERROR);
        }
        Ok(())
    }

    fn on_settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.has(frame::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(Fault(FRAME_SIZE_ERROR)) };
        }
        self.server.has_spoken = true;
        for (name, value) in frame::settings(payload).ok_or(Fault(FRAME_SIZE_ERROR))? {
            match name {
                frame::MAX_CONCURRENT_STREAMS => {
                    self.server.streams = usize::try_from(value).unwrap_or(usize::MAX);
                }
                frame::INITIAL_WINDOW_SIZE => {
                    let window = i64::from(value);
                    if window > LARGEST_WINDOW {
                        return Err(Fault(FLOW_CONTROL_ERROR));
                    }
                    let change = window - self.server.window;
                    self.server.window = window;
                    self.streams.values_mut().for_each(|stream| stream.send_window += change);
                    if self.streams.values().any(|stream| stream.send_window > LARGEST_WINDOW) {
                        return Err(Fault(FLOW_CONTROL_ERROR));
                    }
                }
                // Larger frames would gain nothing: none is sent.
                frame::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(Fault(PROTOCOL_ERROR));
                }
                frame::ENABLE_PUSH if value > 0 => return Err(Fault(PROTOCOL_ERROR)),
                _ => {}
            }
        }
        frame::push(&mut self.out, frame::SETTINGS, frame::ACK, 0, &[]);
        Ok(())
    }

    fn on_window(&mut self, id: u32, more: u32, events: &mut Vec<Event>) -> Result<(), Fault> {
        let more = i64::from(more & 0x7FFF_FFFF);
        if id == 0 {
            self.send_window += more;
            if more == 0 {
                return Err(Fault(PROTOCOL_ERROR));
            }
            return if self.send_window > LARGEST_WINDOW { Err(Fault(FLOW_CONTROL_ERROR)) } else { Ok(()) };
        }
        self.began(id)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.send_window += more;
        if more == 0 || stream.send_window > LARGEST_WINDOW {
            return self.on_invalid(id, 0, events);
        }
        Ok(())
    }

    /// Adds as much of the bodies as the windows let, the oldest first.
    fn fill(&mut self) {
        if self.unfinished == 0 {
            return;
        }
        for (&id, stream) in &mut self.streams {
            while stream.sent < stream.body.len() {
                let window = self.send_window.min(stream.send_window);
                let left = &stream.body[stream.sent..];
                let count = left.len().min(LARGEST).min(usize::try_from(window).unwrap_or(0));
                if count == 0 || self.out.len() - self.written >= FILLED {
                    break;
                }
                let flags = if count == left.len() { frame::END_STREAM } else { 0 };
                frame::push(&mut self.out, frame::DATA, flags, id, &left[..count]);
                self.idle = 0;
                stream.sent += count;
                stream.send_window -= count as i64;
                self.send_window -= count as i64;
                self.unfinished -= usize::from(stream.sent == stream.body.len());
            }
        }
    }

    fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.unfinished -= usize::from(stream.sent < stream.body.len());
        Some(stream)
    }

    fn push_reset(&mut self, id: u32, code: u32) {
        frame::push(&mut self.out, frame::RST_STREAM, 0, id, &code.to_be_bytes());
    }
}

/// How long the frame is whose beginning this is; `None` while its head is not whole.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    match FrameHead::read(bytes) {
        Some(head) if head.length > LARGEST => Err(Fault(FRAME_SIZE_ERROR)),
        head => Ok(head.map(|head| frame::HEAD + head.length)),
    }
}

/// The one number that is a payload.
fn whole_number(payload: &[u8]) -> Result<u32, Fault> {
    frame::number(payload, 0).filter(|_| payload.len() == 4).ok_or(Fault(FRAME_SIZE_ERROR))
}

#[cfg(test)]
mod tests;
