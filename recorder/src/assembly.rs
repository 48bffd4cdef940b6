//! Gathers what happens to one proxied request until it is one exchange.
//!
//! The worker threads only tell it what went by; it keeps raw heads and what the policy wants of bodies. Heads
//! are parsed when the writer thread asks for the [`Exchange`].
//!
//! Invariant: memory is bounded by the two heads and the limits of the two bodies, however long one streams.

mod tap;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use captures::{
    ConnectionId, Ending, Exchange, ExchangeId, Header, Offset, Passage, Request, Response, SessionId,
    SessionKey, Version,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::head;

use self::tap::Tap;
pub(crate) use self::tap::{BodyPolicy, Room, kept_of};

/// One exchange while it happens.
#[derive(Debug)]
pub(crate) struct Assembly {
    id: ExchangeId,
    connection: ConnectionId,
    arrived: Offset,
    request_head: Vec<u8>,
    request_body: Tap,
    /// The fields after the body, in wire format.
    request_trailers: Vec<u8>,
    request_done: Option<Offset>,
    response: Option<ResponseHead>,
    response_body: Tap,
    response_trailers: Vec<Header>,
    attempts: u32,
    upgraded: bool,
    ended: Offset,
    ending: Ending,
    /// Whose request it was: who connected, or whom a trusted proxy names.
    pub(crate) client: IpAddr,
    /// Whether the connection is a trusted proxy's: several clients share it, it is nobody's session.
    pub(crate) shared_connection: bool,
    /// What the hooks learn of how it passed.
    pub(crate) passage: Passage,
}

/// The head of a response, as it came.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) began: Offset,
    pub(crate) status: u16,
    pub(crate) version: Version,
    /// The header fields in wire format.
    pub(crate) fields: Vec<u8>,
}

impl Assembly {
    /// Begins with a complete request head.
    pub(crate) fn begin(
        id: ExchangeId,
        connection: ConnectionId,
        arrived: Offset,
        head: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            id,
            connection,
            arrived,
            request_head: head.into(),
            request_body: Tap::default(),
            request_trailers: Vec::new(),
            request_done: None,
            response: None,
            response_body: Tap::default(),
            response_trailers: Vec::new(),
            attempts: 0,
            upgraded: false,
            ended: arrived,
            ending: Ending::ProxyFailed,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            shared_connection: false,
            passage: Passage::default(),
        }
    }

    /// The request is sent upstream, for the first time or again: its body comes by from the start.
    pub(crate) fn on_attempt(&mut self) {
        self.attempts += 1;
        self.request_body = Tap::default();
        self.response = None;
        self.response_body = Tap::default();
        self.response_trailers = Vec::new();
    }

    /// A piece of the request's body, transfer coding removed.
    pub(crate) fn on_request_body(&mut self, piece: &Bytes, policy: &BodyPolicy) {
        let Self { request_head, request_body, .. } = self;
        if self.upgraded {
            request_body.count(piece);
        } else {
            request_body.push(piece, policy, || policy.request.of(request_head));
        }
    }

    /// The request is complete. On a retry the first time counts: the client was done then.
    pub(crate) fn on_request_done(&mut self, at: Offset) {
        self.request_done.get_or_insert(at);
    }

    /// The fields after the request's body, in wire format. They go no further.
    pub(crate) fn on_request_trailers(&mut self, fields: Vec<u8>) {
        self.request_trailers = fields;
        self.passage.altered = true;
    }

    /// The head of the final response. After a switch of protocols (101) bodies are only counted: what
    /// passes then is another protocol and may pass for days.
    pub(crate) fn on_response_head(&mut self, head: ResponseHead) {
        self.upgraded = head.status == 101;
        self.response = Some(head);
    }

    /// A piece of the response's body, transfer coding removed.
    pub(crate) fn on_response_body(&mut self, piece: &Bytes, policy: &BodyPolicy) {
        let Self { response, response_body, .. } = self;
        if self.upgraded {
            response_body.count(piece);
        } else {
            let fields = response.as_ref().map_or(&[][..], |head| &head.fields);
            response_body.push(piece, policy, || policy.response.of(fields));
        }
    }

    /// The exchange failed after `sent` bytes of the request's body went upstream, where that is counted.
    pub(crate) fn on_failure(&mut self, sent: Option<usize>) {
        let short = sent.is_some_and(|sent| (sent as u64) < self.request_body.length());
        self.passage.unfinished = self.attempts > 0 && !self.upgraded && short;
    }

    /// The fields behind the response's body.
    pub(crate) fn on_response_trailers(&mut self, trailers: &HeaderMap) {
        let field = |(name, value): (&HeaderName, &HeaderValue)| Header {
            name: name.as_str().as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        self.response_trailers = trailers.iter().map(field).collect();
    }

    /// The fields behind the body of a request that went on as it came, in wire format.
    pub(crate) fn on_request_trailers_passed(&mut self, fields: Vec<u8>) {
        self.request_trailers = fields;
    }

    /// The same of a response.
    pub(crate) fn on_response_trailers_passed(&mut self, fields: &[u8]) {
        self.response_trailers = head::fields(fields);
    }

    /// `length` bytes of a body went by unseen, or an unknown number when that is zero: what was kept before them stays, nothing after them is.
    pub(crate) fn on_missing(&mut self, of_request: bool, length: u64) {
        let body = if of_request { &mut self.request_body } else { &mut self.response_body };
        body.skip(length);
    }

    /// Whether a final response was seen.
    pub(crate) const fn has_response(&self) -> bool {
        self.response.is_some()
    }

    /// Nothing more can happen. An assembly that is dropped without this ended with the proxy.
    pub(crate) fn end(&mut self, at: Offset, ending: Ending) {
        self.ended = at;
        self.ending = ending;
        self.passage.unfinished |= self.attempts > 0 && self.request_done.is_none();
    }

    /// The bytes of the two heads.
    pub(crate) fn heads(&self) -> usize {
        self.request_head.len() + self.response.as_ref().map_or(0, |response| response.fields.len())
    }

    /// The bytes of memory it holds, rounded up.
    pub(crate) fn size(&self) -> u64 {
        let trailers: usize =
            self.response_trailers.iter().map(|field| field.name.len() + field.value.len()).sum();
        let heads = self.heads() + self.request_trailers.len() + trailers;
        let held = heads + self.request_body.held() + self.response_body.held();
        (held + size_of::<Self>()) as u64
    }

    /// The exchange, of nobody's session yet and with its secrets still in it.
    pub(crate) fn into_exchange(self) -> Exchange {
        let request = head::request_head(&self.request_head);
        let (response_began, response) = match self.response {
            None => (None, None),
            Some(head) => (
                Some(head.began),
                Some(Response {
                    status: head.status,
                    version: head.version,
                    headers: head::fields(&head.fields),
                    body: self.response_body.into_body(),
                    trailers: self.response_trailers,
                }),
            ),
        };
        Exchange {
            id: self.id,
            connection: self.connection,
            session: SessionId(0),
            session_key: SessionKey::Connection,
            arrived: self.arrived,
            request_done: self.request_done,
            response_began,
            ended: self.ended,
            attempts: self.attempts,
            request: Request {
                method: request.method,
                target: request.target,
                version: request.version,
                headers: request.headers,
                body: self.request_body.into_body(),
                trailers: head::fields(&self.request_trailers),
            },
            response,
            ending: self.ending,
            passage: self.passage,
        }
    }
}

#[cfg(test)]
mod tests;
