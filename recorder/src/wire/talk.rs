//! What two parties say over one connection: which bytes are requests, which responses, and which answer which.
//!
//! A message is looked for where a segment begins, until the first is found, and again behind a gap. In order,
//! the next response answers the oldest request that has none. Behind a gap the order proves nothing: then a
//! response belongs to the last request that its sender had received, which TCP's acknowledgements tell.
//!
//! An upgrade or a tunnel ends the reading: what passes then is not understood, unless it is HTTP/2. Within TLS
//! there is another conversation of the same kind, which is read when its keys are known.

mod gaps;
mod parts;

use std::collections::VecDeque;

use bytes::Bytes;
use captures::{ConnectionId, Ending, ExchangeId, Offset};

pub(super) use self::parts::{Answer, Kind, Pending};
use self::parts::{Reader, State};
use super::h2::{self, Http2};
use super::message::{self, Chunks, Framing, Looks, Piece};
use super::scene::Scene;
use super::secure::{Closed, Secure};
use crate::assembly::{Assembly, ResponseHead};

/// Requests of one connection that may wait for their answers.
const DEEPEST_PIPELINE: usize = 256;
/// A first line that has not ended after so many bytes is none.
const LONGEST_LINE: usize = 64 << 10;

/// One of the two parties, by the order of their addresses.
pub(super) type Side = usize;

/// A stretch of the stream that one party sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    pub(super) at: Offset,
    /// The place of its first byte in its stream.
    pub(super) place: u64,
    /// How much of the other party's stream its sender had received, where that is known.
    pub(super) heard: Option<u64>,
    pub(super) bytes: &'a [u8],
}

/// What is being said over one connection.
#[derive(Debug, Default)]
pub(super) struct Talk {
    readers: [Reader; 2],
    client: Option<Side>,
    /// Whether a message was found, so that it is certain who the client is.
    is_http: bool,
    mode: Mode,
    connection: Option<ConnectionId>,
    exchanges: VecDeque<Pending>,
}

#[derive(Debug, Default)]
enum Mode {
    #[default]
    Messages,
    Http2(Box<Http2>),
    /// TLS, of which the keys may be known.
    Secure(Box<Secure>),
    /// What passes is nobody's business.
    Tunnel,
    Tls,
}

impl Talk {
    /// Who opened the connection, unless what is said proves otherwise.
    pub(super) fn on_opened_by(&mut self, side: Side) {
        if !self.is_http {
            self.client = Some(side);
        }
    }

    /// Who asks, as far as it is known.
    pub(super) const fn client(&self) -> Option<Side> {
        self.client
    }

    /// Whether HTTP/1 was spoken.
    pub(super) fn is_http(&self) -> bool {
        self.is_http || matches!(&self.mode, Mode::Secure(secure) if secure.talk.is_http())
    }

    /// Whether HTTP/2 was spoken.
    pub(super) fn is_http2(&self) -> bool {
        match &self.mode {
            Mode::Http2(http2) => http2.is_certain(),
            Mode::Secure(secure) => secure.talk.is_http2(),
            Mode::Messages | Mode::Tunnel | Mode::Tls => false,
        }
    }

    /// The bytes of memory that what is being read takes, beside the exchanges.
    pub(super) fn held(&self) -> usize {
        let heads = self.readers[0].head.len() + self.readers[1].head.len();
        match &self.mode {
            Mode::Http2(http2) => heads + http2.held(),
            Mode::Secure(secure) => heads + secure.held(),
            Mode::Messages | Mode::Tunnel | Mode::Tls => heads,
        }
    }

    /// Whether what is said is not read any more.
    pub(super) fn is_closed_to_us(&self) -> bool {
        matches!(self.mode, Mode::Tls | Mode::Tunnel)
    }

    /// The next bytes of one party.
    pub(super) fn on_bytes(&mut self, scene: &mut Scene<'_>, side: Side, stretch: Stretch<'_>) {
        let mut rest = stretch;
        let mut at_start = true;
        while !rest.bytes.is_empty() {
            match &mut self.mode {
                Mode::Messages => {}
                Mode::Http2(http2) => return http2.on_bytes(scene, side, rest),
                Mode::Secure(secure) => {
                    return if let Err(Closed) = secure.on_bytes(scene, side, rest) {
                        self.on_closed(scene, rest.at);
                    };
                }
                Mode::Tunnel | Mode::Tls => return,
            }
            let used = match self.readers[side].state {
                State::Seeking if !at_start => return scene.counts.unread_bytes += rest.bytes.len() as u64,
                State::Seeking | State::Between => self.on_start(scene, side, rest),
                State::Head => self.on_head_bytes(scene, side, rest),
                State::Body(framing) => self.on_body(scene, side, framing, rest),
                State::Over => return,
            };
            let Some(used) = used else {
                // It is no message after all.
                let reader = &mut self.readers[side];
                if self.is_http {
                    scene.counts.unreadable_messages += 1;
                    reader.is_lost = true;
                }
                reader.state = State::Seeking;
                scene.counts.unread_bytes += rest.bytes.len() as u64;
                return;
            };
            at_start = false;
            rest.bytes = &rest.bytes[used..];
            rest.place += used as u64;
        }
    }

    /// Bytes where a message may begin; how many were used, or `None` when none begins.
    fn on_start(&mut self, scene: &mut Scene<'_>, side: Side, stretch: Stretch<'_>) -> Option<usize> {
        let blank = stretch.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let bytes = &stretch.bytes[blank..];
        if bytes.is_empty() {
            return Some(blank);
        }
        let expected = self.is_http.then_some(self.client == Some(side));
        let looks = message::looks(bytes, expected);
        let was_seeking = self.readers[side].state == State::Seeking;
        match looks {
            Looks::Request => self.client = Some(side),
            Looks::Response => self.client = Some(1 - side),
            Looks::Tls if was_seeking => {
                scene.counts.tls_connections += 1;
                if !scene.opens_tls() || !begins_hello(bytes) {
                    self.mode = Mode::Tls;
                    return Some(stretch.bytes.len());
                }
                self.client = Some(side);
                self.mode = Mode::Secure(Box::new(Secure::new(side)));
                return Some(blank);
            }
            Looks::Tls | Looks::Nothing => {
                if was_seeking && self.client == Some(1 - side) && h2::begins_with_settings(bytes) {
                    // A server of HTTP/2 need not wait for its client.
                    self.mode = Mode::Http2(Box::new(Http2::new(1 - side, 0, None)));
                    return Some(0);
                }
                if was_seeking && !self.is_http {
                    // Another protocol, or its preamble: a message may yet begin with a later segment.
                    scene.counts.unread_bytes += stretch.bytes.len() as u64;
                    return Some(stretch.bytes.len());
                }
                return None;
            }
        }
        let reader = &mut self.readers[side];
        reader.state = State::Head;
        reader.head.clear();
        (reader.scanned, reader.line_is_read) = (0, false);
        reader.began = stretch.at;
        reader.place = stretch.place + blank as u64;
        reader.heard = stretch.heard;
        Some(blank)
    }

    fn on_head_bytes(&mut self, scene: &mut Scene<'_>, side: Side, stretch: Stretch<'_>) -> Option<usize> {
        let reader = &mut self.readers[side];
        let before = reader.head.len();
        let room = message::LONGEST_HEAD.saturating_sub(before).min(stretch.bytes.len());
        reader.head.extend_from_slice(&stretch.bytes[..room]);
        reader.heard = reader.heard.max(stretch.heard);
        if !reader.line_is_read {
            let line = memchr::memchr(b'\n', &reader.head).map(|end| &reader.head[..end]);
            let is_client = self.client == Some(side);
            let is_first_line = |line| {
                if is_client { message::is_request_line(line) } else { message::is_status_line(line) }
            };
            match line {
                Some(line) if is_first_line(line) => reader.line_is_read = true,
                None if reader.head.len() <= LONGEST_LINE => {}
                _ => return None,
            }
        }
        let Some(end) = message::head_end(&reader.head, reader.scanned) else {
            reader.scanned = reader.head.len();
            return (reader.head.len() < message::LONGEST_HEAD).then_some(room);
        };
        reader.head.truncate(end);
        let head = std::mem::take(&mut reader.head);
        if self.client == Some(side) && message::PREFACE.starts_with(&head) {
            let http2 = Http2::new(side, head.len(), self.connection);
            self.mode = Mode::Http2(Box::new(http2));
            return Some(end - before);
        }
        self.is_http = true;
        if self.client == Some(side) {
            self.on_request_head(scene, stretch.at, head);
        } else {
            self.on_response_head(scene, stretch.at, head);
        }
        Some(end - before)
    }

    fn on_request_head(&mut self, scene: &mut Scene<'_>, at: Offset, head: Vec<u8>) {
        let Some(side) = self.client else { return };
        if !scene.server_is_heard {
            // Nothing will answer the older ones.
            self.give_up_before(scene, at, self.exchanges.len());
        } else if scene.has_too_many() || self.exchanges.len() >= DEEPEST_PIPELINE {
            self.give_up_before(scene, at, self.exchanges.len().min(1));
        }
        let reader = &mut self.readers[side];
        let (_, fields) = split_line(&head);
        let framing = message::request_framing(fields);
        let method = head.split(|&byte| byte == b' ').next().unwrap_or_default();
        let kind = match method {
            b"HEAD" => Kind::Head,
            b"CONNECT" => Kind::Connect,
            _ => Kind::Ordinary,
        };
        let connection = *self.connection.get_or_insert_with(|| scene.new_connection());
        let id = scene.new_exchange(head.len());
        let mut assembly = Box::new(Assembly::begin(ExchangeId(id), connection, reader.began, head));
        assembly.on_attempt();
        scene.place(&mut assembly, side);
        let place = reader.place;
        let is_cut = std::mem::take(&mut reader.is_cut);
        self.exchanges.push_back(Pending { is_cut, ..Pending::new(assembly, place, kind) });
        reader.begin_body(framing);
        if framing == Framing::Length(0) {
            self.on_request_end(scene, at);
        }
    }

    fn on_response_head(&mut self, scene: &mut Scene<'_>, at: Offset, head: Vec<u8>) {
        let Some(side) = self.client.map(|client| 1 - client) else { return };
        let (line, fields) = split_line(&head);
        let status = message::status_of(line).unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            scene.counts.interim_responses += 1;
            self.readers[side].is_cut = false;
            self.readers[side].state = State::Between;
            return;
        }
        let answered = self.answered_by(scene, at, side);
        let reader = &mut self.readers[side];
        let kind = answered.map_or(Kind::Ordinary, |index| self.exchanges[index].kind);
        let framing = message::response_framing(fields, status, kind == Kind::Head);
        reader.is_orphan = answered.is_none();
        let is_cut = std::mem::take(&mut reader.is_cut);
        let version = message::version_of(line);
        let is_http2 = status == 101 && message::upgrades_to_http2(fields);
        let Some(index) = answered else {
            scene.counts.responses_without_request += 1;
            if status == 101 {
                self.mode = if is_http2 {
                    Mode::Http2(Box::new(Http2::new(1 - side, 0, self.connection)))
                } else {
                    Mode::Tunnel
                };
                scene.counts.upgraded_connections += 1;
            }
            reader.begin_body(framing);
            if framing == Framing::Length(0) {
                self.on_response_end(scene, at);
            }
            return;
        };
        let pending = &mut self.exchanges[index];
        pending.answer = Answer::Begun;
        pending.is_cut |= is_cut;
        let fields = fields.to_vec();
        let head = ResponseHead { began: reader.began, status, version, fields };
        scene.respond(&mut pending.assembly, head);
        if status == 101 {
            pending.assembly.on_request_done(at);
            pending.is_sent = true;
            scene.counts.upgraded_connections += 1;
            if is_http2 {
                let mut http2 = Http2::new(1 - side, 0, self.connection);
                http2.on_upgraded(self.exchanges.remove(index));
                self.mode = Mode::Http2(Box::new(http2));
                return;
            }
            self.mode = Mode::Tunnel;
            pending.is_tunnel = true;
            self.on_response_end(scene, at);
        } else if kind == Kind::Connect && (200..300).contains(&status) {
            self.mode = Mode::Tunnel;
            scene.counts.tunnels += 1;
            (pending.is_sent, pending.is_tunnel) = (true, true);
            pending.assembly.on_request_done(at);
            self.on_response_end(scene, at);
        } else {
            reader.begin_body(framing);
            if framing == Framing::Length(0) {
                self.on_response_end(scene, at);
            }
        }
    }

    /// Which request the response that begins answers.
    fn answered_by(&mut self, scene: &mut Scene<'_>, at: Offset, side: Side) -> Option<usize> {
        let (heard, is_lost) =
            (self.readers[side].heard, self.readers[side].is_lost || self.readers[1 - side].is_lost);
        let first = self.exchanges.iter().position(|pending| pending.answer == Answer::Awaited)?;
        if heard.is_some_and(|heard| self.exchanges[first].place >= heard) {
            return None;
        }
        if is_lost && let Some(heard) = heard {
            let sent = self.exchanges.iter().rposition(|pending| pending.place < heard);
            self.give_up_before(scene, at, sent.unwrap_or(0));
            self.readers.iter_mut().for_each(|reader| reader.is_lost = false);
        }
        self.exchanges.iter().position(|pending| pending.answer == Answer::Awaited)
    }

    /// Ends the `count` oldest exchanges: their answers were not captured.
    fn give_up_before(&mut self, scene: &mut Scene<'_>, at: Offset, count: usize) {
        for pending in self.exchanges.drain(..count) {
            scene.counts.requests_without_response += u64::from(pending.answer == Answer::Awaited);
            scene.end(pending.assembly, at, Ending::ProxyFailed, "its response was not captured".to_owned());
        }
    }

    fn on_body(
        &mut self,
        scene: &mut Scene<'_>,
        side: Side,
        framing: Framing,
        stretch: Stretch<'_>,
    ) -> Option<usize> {
        let bytes = stretch.bytes;
        let (content, used, is_end) = match framing {
            Framing::Length(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - count as u64;
                self.readers[side].state = State::Body(Framing::Length(left));
                (count, count, left == 0)
            }
            Framing::UntilClose => (bytes.len(), bytes.len(), false),
            Framing::Chunked => match self.readers[side].chunks.read(bytes) {
                Piece::Framing(used) => (0, used, false),
                Piece::Content(used) => (used, used, false),
                Piece::End(used) => (0, used, true),
                Piece::Wrong if self.client != Some(side) && self.goes_until_close(scene, side) => {
                    (0, memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1), false)
                }
                Piece::Wrong => {
                    self.on_broken(scene, side, stretch.at);
                    return None;
                }
            },
        };
        if content > 0 {
            self.on_content(scene, side, &bytes[..content]);
        }
        if is_end {
            self.on_message_end(scene, side, stretch.at);
        }
        Some(used)
    }

    /// A response that is called chunked and is not, from its first byte on, is read as browsers do: to the end.
    ///
    /// What was read of the bytes in hand is among the content then.
    fn goes_until_close(&mut self, scene: &Scene<'_>, side: Side) -> bool {
        let Some(first) = self.readers[side].chunks.never_began() else { return false };
        self.readers[side].state = State::Body(Framing::UntilClose);
        self.on_content(scene, side, &first);
        true
    }

    fn on_content(&mut self, scene: &Scene<'_>, side: Side, content: &[u8]) {
        let is_client = self.client == Some(side);
        if is_client && let Some(pending) = self.exchanges.back_mut() {
            pending.assembly.on_request_body(&Bytes::copy_from_slice(content), scene.policy);
        } else if !is_client && let Some(pending) = self.being_answered(side) {
            pending.assembly.on_response_body(&Bytes::copy_from_slice(content), scene.policy);
        }
    }

    /// The exchange whose response is being read.
    fn being_answered(&mut self, side: Side) -> Option<&mut Pending> {
        if self.readers[side].is_orphan {
            return None;
        }
        self.exchanges.iter_mut().find(|pending| pending.answer == Answer::Begun)
    }

    fn on_message_end(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        let trailers = std::mem::take(&mut self.readers[side].chunks.trailers);
        if self.client == Some(side) {
            if let Some(pending) = self.exchanges.back_mut().filter(|_| !trailers.is_empty()) {
                pending.assembly.on_request_trailers_passed(trailers);
            }
            self.on_request_end(scene, at);
        } else {
            if let Some(pending) = self.being_answered(side).filter(|_| !trailers.is_empty()) {
                pending.assembly.on_response_trailers_passed(&trailers);
            }
            self.on_response_end(scene, at);
        }
    }

    fn on_request_end(&mut self, scene: &mut Scene<'_>, at: Offset) {
        let Some(side) = self.client else { return };
        self.readers[side].state = State::Between;
        let Some(pending) = self.exchanges.back_mut() else { return };
        pending.is_sent = true;
        pending.assembly.on_request_done(at);
        if pending.answer == Answer::Complete {
            self.end_of(scene, self.exchanges.len() - 1, at);
        }
    }

    fn on_response_end(&mut self, scene: &mut Scene<'_>, at: Offset) {
        let Some(side) = self.client.map(|client| 1 - client) else { return };
        self.readers[side].state = State::Between;
        if std::mem::take(&mut self.readers[side].is_orphan) {
            return;
        }
        let Some(index) = self.exchanges.iter().position(|pending| pending.answer == Answer::Begun) else {
            return;
        };
        self.exchanges[index].answer = Answer::Complete;
        if self.exchanges[index].is_sent {
            self.end_of(scene, index, at);
        }
    }

    /// An exchange is complete.
    fn end_of(&mut self, scene: &mut Scene<'_>, index: usize, at: Offset) {
        if let Some(pending) = self.exchanges.remove(index) {
            pending.complete(scene, at);
        }
    }

    /// A body that cannot be read to its end.
    fn on_broken(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        let detail = || "its chunks cannot be read".to_owned();
        let index = if self.client == Some(side) {
            self.exchanges.len().checked_sub(1)
        } else if self.readers[side].is_orphan {
            None
        } else {
            self.exchanges.iter().position(|pending| pending.answer == Answer::Begun)
        };
        let ending = if self.client == Some(side) { Ending::RequestInvalid } else { Ending::UpstreamInvalid };
        self.readers[side].chunks = Chunks::default();
        self.readers[side].is_orphan = false;
        if let Some(pending) = index.and_then(|index| self.exchanges.remove(index)) {
            scene.end(pending.assembly, at, ending, detail());
        }
    }

    /// One party says that it will say no more.
    pub(super) fn on_end(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        let was = std::mem::replace(&mut self.readers[side].state, State::Over);
        match &mut self.mode {
            Mode::Messages => {}
            Mode::Http2(http2) => return http2.on_end(scene, side, at),
            Mode::Secure(secure) => return secure.talk.on_end(scene.secured(), side, at),
            Mode::Tunnel | Mode::Tls => return,
        }
        if self.client == Some(side) {
            let is_torn = matches!(was, State::Body(_))
                && self.exchanges.back().is_some_and(|pending| !pending.is_sent);
            if is_torn && let Some(pending) = self.exchanges.pop_back() {
                let ending = if pending.answer == Answer::Complete {
                    Ending::Completed
                } else {
                    Ending::ClientAborted
                };
                scene.end(pending.assembly, at, ending, String::new());
            }
            return;
        }
        if was == State::Body(Framing::UntilClose) {
            self.on_response_end(scene, at);
            self.readers[side].state = State::Over;
        }
        for pending in std::mem::take(&mut self.exchanges) {
            let ending =
                if pending.answer == Answer::Complete { Ending::Completed } else { Ending::UpstreamReset };
            scene.end(pending.assembly, at, ending, String::new());
        }
    }

    /// The connection is over, or is not followed any more.
    pub(super) fn on_finish(&mut self, scene: &mut Scene<'_>, at: Offset, reset_by: Option<Side>) {
        for pending in std::mem::take(&mut self.exchanges) {
            pending.finish(scene, at, reset_by.map(|side| self.client == Some(side)));
        }
        match &mut self.mode {
            Mode::Http2(http2) => http2.on_finish(scene, at, reset_by),
            Mode::Secure(secure) => {
                scene.counts.tls_connections_read += u64::from(secure.is_read());
                secure.talk.on_finish(scene.secured(), at, reset_by);
                if !secure.is_read() {
                    self.mode = Mode::Tls;
                }
            }
            Mode::Messages | Mode::Tunnel | Mode::Tls => {}
        }
    }

    /// Nothing more can be read within TLS.
    fn on_closed(&mut self, scene: &mut Scene<'_>, at: Offset) {
        if let Mode::Secure(mut secure) = std::mem::replace(&mut self.mode, Mode::Tls)
            && secure.is_read()
        {
            scene.counts.tls_connections_read += 1;
            scene.counts.tls_connections_lost += 1;
            scene.counts.http_connections += u64::from(secure.talk.is_http());
            secure.talk.on_finish(scene.secured(), at, None);
        }
    }
}

/// Whether a record of TLS begins the hello of a client.
fn begins_hello(bytes: &[u8]) -> bool {
    bytes.get(5) == Some(&1)
}

/// The first line without its end, and what follows it.
fn split_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).unwrap_or(head.len());
    let line = &head[..end];
    (line.strip_suffix(b"\r").unwrap_or(line), head.get(end + 1..).unwrap_or_default())
}
