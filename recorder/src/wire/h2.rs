//! What two parties say over one connection of HTTP/2, by prior knowledge or after an upgrade (RFC 9113).
//!
//! The two sides are read apart from each other, each as far as it can be: a side that lost bytes which are not
//! content can never be read again, since its compression is lost with them. The other side goes on: requests
//! whose answers cannot be read are exchanges without a response, and counted.
//!
//! A head becomes what the recorder keeps of a proxied one: a first line, `host` from `:authority`, and the fields
//! as they came. What a server promises and nobody asked for is counted, and read no further.

mod frames;

use std::collections::BTreeMap;

use bytes::Bytes;
use captures::{ConnectionId, Ending, ExchangeId, Header, Offset, Version};

use self::frames::{Frames, Part, SETTINGS};
use super::scene::Scene;
use super::talk::{Answer, Kind, Pending, Side, Stretch};
use crate::assembly::{Assembly, ResponseHead};

/// Streams of one connection that may be open.
const MOST_STREAMS: usize = 1_024;

/// What is being said over one connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Http2 {
    client: Side,
    sides: [Frames; 2],
    is_lost: [bool; 2],
    is_counted: bool,
    connection: Option<ConnectionId>,
    streams: BTreeMap<u32, Pending>,
    /// When the frame began that is being read, by side.
    began: [Option<Offset>; 2],
}

impl Http2 {
    /// A connection of which `known` bytes of the client's preface are read.
    pub(super) fn new(client: Side, known: usize, connection: Option<ConnectionId>) -> Self {
        let mut sides = [Frames::default(), Frames::default()];
        sides[client] = Frames::behind_preface(known);
        Self {
            client,
            sides,
            is_lost: [false; 2],
            is_counted: false,
            connection,
            streams: BTreeMap::new(),
            began: [None; 2],
        }
    }

    /// The request that asked for the upgrade: its answer comes on the first stream (RFC 7540, 3.2).
    pub(super) fn on_upgraded(&mut self, pending: Option<Pending>) {
        self.streams.extend(pending.map(|pending| (1, Pending { answer: Answer::Awaited, ..pending })));
    }

    /// Whether it is certain that HTTP/2 is spoken.
    pub(super) const fn is_certain(&self) -> bool {
        self.is_counted
    }

    /// The bytes of memory that it holds, beside its exchanges.
    pub(super) fn held(&self) -> usize {
        self.sides[0].held() + self.sides[1].held()
    }

    /// The next bytes of one party.
    pub(super) fn on_bytes(&mut self, scene: &mut Scene<'_>, side: Side, stretch: Stretch<'_>) {
        let mut rest = stretch.bytes;
        while !rest.is_empty() && !self.is_lost[side] {
            let began = *self.began[side].get_or_insert(stretch.at);
            let (part, used) = self.sides[side].read(rest);
            rest = &rest[used..];
            match part {
                Part::Other => {}
                Part::Fields { stream, fields, is_end } if side == self.client => {
                    self.on_request_fields(scene, stretch, began, stream, &fields);
                    if is_end {
                        self.on_request_end(scene, stretch.at, stream);
                    }
                }
                Part::Fields { stream, fields, is_end } => {
                    self.on_response_fields(scene, stretch.at, began, stream, &fields);
                    if is_end {
                        self.on_response_end(scene, stretch.at, stream);
                    }
                }
                Part::Promise => scene.counts.promised_responses += 1,
                Part::Content { stream, bytes, is_end } => {
                    self.on_content(scene, side, stream, bytes);
                    self.on_content_end(scene, side, stretch.at, stream, is_end);
                }
                Part::Reset { stream, is_fault } => self.on_reset(scene, side, stretch.at, stream, is_fault),
                Part::Wrong => {
                    scene.counts.unreadable_messages += 1;
                    self.lose(scene, side, stretch.at);
                }
            }
            if !self.sides[side].is_within_frame() {
                self.began[side] = None;
            }
            if !self.is_counted && self.sides[self.client].is_begun() {
                self.is_counted = true;
                scene.counts.http2_connections += 1;
            }
        }
        scene.counts.unread_bytes += rest.len() as u64;
    }

    fn on_request_fields(
        &mut self,
        scene: &mut Scene<'_>,
        stretch: Stretch<'_>,
        began: Offset,
        stream: u32,
        fields: &[Header],
    ) {
        if let Some(pending) = self.streams.get_mut(&stream) {
            if !pending.is_sent {
                pending.assembly.on_request_trailers_passed(raw_fields(fields).unwrap_or_default());
            }
            return;
        }
        let Some((kind, head)) = request_head(fields) else {
            scene.counts.unreadable_messages += 1;
            return;
        };
        if scene.has_too_many() || self.streams.len() >= MOST_STREAMS {
            let oldest = self.streams.first_key_value().map(|(stream, _)| *stream);
            self.give_up(scene, stretch.at, oldest);
        }
        let connection = *self.connection.get_or_insert_with(|| scene.new_connection());
        let id = ExchangeId(scene.new_exchange(head.len()));
        let mut assembly = Box::new(Assembly::begin(id, connection, began, head));
        assembly.on_attempt();
        scene.place(&mut assembly, self.client);
        self.streams.insert(stream, Pending::new(assembly, stretch.place, kind));
    }

    fn on_response_fields(
        &mut self,
        scene: &mut Scene<'_>,
        at: Offset,
        began: Offset,
        stream: u32,
        fields: &[Header],
    ) {
        let status = fields.iter().find(|field| field.name == b":status").map(|field| &field.value);
        let Some(status) = status else {
            let pending = self.streams.get_mut(&stream).filter(|pending| pending.answer == Answer::Begun);
            if let Some(pending) = pending {
                let trailers = raw_fields(fields).unwrap_or_default();
                pending.assembly.on_response_trailers_passed(&trailers);
            }
            return;
        };
        let status = std::str::from_utf8(status).ok().filter(|status| status.len() == 3);
        let status = status.and_then(|status| status.parse().ok()).filter(|status| *status >= 100_u16);
        let (Some(status), Some(fields)) = (status, raw_fields(fields)) else {
            scene.counts.unreadable_messages += 1;
            return;
        };
        if status < 200 {
            scene.counts.interim_responses += 1;
            return;
        }
        let Some(pending) = self.streams.get_mut(&stream) else {
            scene.counts.responses_without_request += u64::from(stream % 2 == 1);
            return;
        };
        if pending.answer != Answer::Awaited {
            scene.counts.unreadable_messages += 1;
            return;
        }
        pending.answer = Answer::Begun;
        let head = ResponseHead { began, status, version: Version::Http2, fields };
        scene.respond(&mut pending.assembly, head);
        if pending.kind == Kind::Connect && status < 300 {
            scene.counts.tunnels += 1;
            pending.assembly.on_request_done(at);
            (pending.is_sent, pending.is_tunnel) = (true, true);
            self.on_response_end(scene, at, stream);
        }
    }

    fn on_content(&mut self, scene: &Scene<'_>, side: Side, stream: u32, content: &[u8]) {
        let Some(pending) = self.streams.get_mut(&stream).filter(|_| !content.is_empty()) else { return };
        let content = Bytes::copy_from_slice(content);
        if side == self.client && !pending.is_sent {
            pending.assembly.on_request_body(&content, scene.policy);
        } else if side != self.client && pending.answer == Answer::Begun {
            pending.assembly.on_response_body(&content, scene.policy);
        }
    }

    fn on_content_end(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset, stream: u32, is_end: bool) {
        if is_end && side == self.client {
            self.on_request_end(scene, at, stream);
        } else if is_end {
            self.on_response_end(scene, at, stream);
        }
    }

    fn on_request_end(&mut self, scene: &mut Scene<'_>, at: Offset, stream: u32) {
        let Some(pending) = self.streams.get_mut(&stream) else { return };
        pending.is_sent = true;
        pending.assembly.on_request_done(at);
        if pending.answer == Answer::Complete {
            self.complete(scene, at, stream);
        } else if self.is_lost[1 - self.client] {
            self.give_up(scene, at, Some(stream));
        }
    }

    fn on_response_end(&mut self, scene: &mut Scene<'_>, at: Offset, stream: u32) {
        let pending = self.streams.get_mut(&stream).filter(|pending| pending.answer == Answer::Begun);
        let Some(pending) = pending else { return };
        pending.answer = Answer::Complete;
        // The end of a request on a side that is lost will never be seen.
        if pending.is_sent || self.is_lost[self.client] {
            self.complete(scene, at, stream);
        }
    }

    fn complete(&mut self, scene: &mut Scene<'_>, at: Offset, stream: u32) {
        if let Some(pending) = self.streams.remove(&stream) {
            pending.complete(scene, at);
        }
    }

    fn on_reset(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset, stream: u32, is_fault: bool) {
        let Some(pending) = self.streams.remove(&stream) else { return };
        if pending.answer == Answer::Complete {
            pending.complete(scene, at);
        } else if side == self.client {
            scene.end(pending.assembly, at, Ending::ClientAborted, String::new());
        } else {
            // A server may break off with its word that nothing is wrong, and nothing is answered all the same.
            let detail = if is_fault { "" } else { "its stream was closed without fault" };
            scene.end(pending.assembly, at, Ending::UpstreamReset, detail.to_owned());
        }
    }

    fn give_up(&mut self, scene: &mut Scene<'_>, at: Offset, stream: Option<u32>) {
        if let Some(pending) = stream.and_then(|stream| self.streams.remove(&stream)) {
            pending.finish(scene, at, None);
        }
    }

    /// `length` bytes of one party are missing.
    pub(super) fn on_gap(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset, length: u64) {
        if self.is_lost[side] {
            return;
        }
        let Some(skipped) = self.sides[side].skip(length) else { return self.lose(scene, side, at) };
        if let Some(pending) = self.streams.get_mut(&skipped.stream).filter(|_| skipped.content > 0) {
            pending.missing += skipped.content;
            pending.assembly.on_missing(side == self.client, skipped.content);
        }
        self.on_content_end(scene, side, at, skipped.stream, skipped.is_end);
    }

    /// Nothing more of what one party says can be read.
    fn lose(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        self.is_lost[side] = true;
        self.sides[side] = Frames::default();
        scene.counts.http2_sides_lost += 1;
        let is_client = side == self.client;
        let over =
            |pending: &Pending| if is_client { pending.answer == Answer::Complete } else { pending.is_sent };
        let over: Vec<u32> =
            self.streams.iter().filter(|(_, pending)| over(pending)).map(|(stream, _)| *stream).collect();
        for stream in over {
            self.give_up(scene, at, Some(stream));
        }
    }

    /// One party says that it will say no more.
    pub(super) fn on_end(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        let is_client = side == self.client;
        for (stream, pending) in std::mem::take(&mut self.streams) {
            if is_client && pending.is_sent {
                self.streams.insert(stream, pending);
            } else {
                pending.finish(scene, at, Some(is_client));
            }
        }
    }

    /// The connection is over, or is not followed any more.
    pub(super) fn on_finish(&mut self, scene: &mut Scene<'_>, at: Offset, reset_by: Option<Side>) {
        for pending in std::mem::take(&mut self.streams).into_values() {
            pending.finish(scene, at, reset_by.map(|side| side == self.client));
        }
    }
}

/// Whether a server's connection of HTTP/2 may begin so: by settings (RFC 9113, 3.4).
pub(super) fn begins_with_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, length, SETTINGS, 0, 0, 0, 0, 0, ..] if length % 6 == 0)
}

/// A request's head as a proxied one is kept, and what kind of request it is; `None` when it is malformed.
fn request_head(fields: &[Header]) -> Option<(Kind, Vec<u8>)> {
    let pseudo = |name: &[u8]| fields.iter().find(|field| field.name == name).map(|field| &field.value[..]);
    let method = pseudo(b":method")?;
    let kind = match method {
        b"HEAD" => Kind::Head,
        b"CONNECT" => Kind::Connect,
        _ => Kind::Ordinary,
    };
    let authority = pseudo(b":authority");
    let target = pseudo(b":path").or(authority.filter(|_| kind == Kind::Connect))?;
    let is_line =
        |word: &[u8]| !word.is_empty() && !word.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if !is_line(method) || method.contains(&b' ') || !is_line(target) {
        return None;
    }
    let mut head = [method, b" ", target, b" HTTP/2\r\n"].concat();
    let mut rest = fields.to_vec();
    if let Some(authority) = authority {
        // Where both are, `host` means nothing (RFC 9113, 8.3.1).
        rest.retain(|field| field.name != b"host");
        rest.insert(0, Header { name: b"host".to_vec(), value: authority.to_vec() });
    }
    head.extend(raw_fields(&rest)?);
    Some((kind, head))
}

/// Fields as HTTP/1 writes them, without those that HTTP/2 writes for the first line; `None` when one could not be
/// told from several then (RFC 9113, 8.2.1).
fn raw_fields(fields: &[Header]) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    for Header { name, value } in fields.iter().filter(|field| !field.name.starts_with(b":")) {
        let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':');
        if !is_name || value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return None;
        }
        raw.extend_from_slice(name);
        raw.extend_from_slice(b": ");
        raw.extend_from_slice(value);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"\r\n");
    Some(raw)
}
