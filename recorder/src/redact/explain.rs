//! Says what would be masked in a message, and by which rule.

use captures::{Body, Exchange, ExchangeId, Header, Response};

use super::{Found, MaskPolicy, Masks, Redaction};
use crate::assembly::Assembly;
use crate::head;

/// What a policy does to messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The secrets that were found, in the order in which they stand.
    pub found: Vec<Found>,
    /// The messages as they would be stored, each in the form of HTTP/1.
    pub stored: Vec<Vec<u8>>,
}

/// What `policy` does to `messages`: requests, or responses (those begin with `HTTP/`), as they are sent in
/// HTTP/1, with the transfer coding taken off their bodies.
pub fn explain(policy: MaskPolicy, messages: &[&[u8]]) -> Explanation {
    let mut redaction = Redaction::new(policy);
    if let Redaction(Some(Masks { masker, .. })) = &mut redaction {
        masker.found = Some(Vec::new());
    }
    let stored = messages.iter().map(|message| masked(&mut redaction, message)).collect();
    let found = match redaction {
        Redaction(Some(Masks { masker, .. })) => masker.found.unwrap_or_default(),
        Redaction(None) => Vec::new(),
    };
    Explanation { found, stored }
}

fn masked(redaction: &mut Redaction, message: &[u8]) -> Vec<u8> {
    let end = |sign: &[u8]| memchr::memmem::find(message, sign).map(|at| at + sign.len());
    let end = end(b"\r\n\r\n").or_else(|| end(b"\n\n")).unwrap_or(message.len());
    let (head, stored) = message.split_at(end);
    let body = Body { length: stored.len() as u64, stored: stored.to_vec(), ..Body::default() };
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();

    if first.starts_with(b"HTTP/") {
        let mut exchange = exchange(b"");
        let headers = head::fields(head.get(first.len() + 1..).unwrap_or_default());
        let response =
            Response { status: 0, version: captures::Version::Http11, headers, body, trailers: Vec::new() };
        exchange.response = Some(response);
        redaction.apply(&mut exchange);
        return exchange
            .response
            .map_or_else(Vec::new, |response| written(first, &response.headers, &response.body));
    }
    let mut exchange = exchange(head);
    exchange.request.body = body;
    redaction.apply(&mut exchange);
    let request = exchange.request;
    let first = [&request.method[..], &request.target, request.version.as_str().as_bytes()].join(&b' ');
    written(&first, &request.headers, &request.body)
}

fn exchange(head: &[u8]) -> Exchange {
    let nobody = captures::ConnectionId(0);
    Assembly::begin(ExchangeId(0), nobody, captures::Offset::ZERO, head.to_vec()).into_exchange()
}

fn written(first: &[u8], headers: &[Header], body: &Body) -> Vec<u8> {
    let mut message = first.trim_ascii_end().to_vec();
    message.extend_from_slice(b"\r\n");
    for header in headers {
        message.extend_from_slice(&[&header.name[..], b": ", &header.value, b"\r\n"].concat());
    }
    message.extend_from_slice(b"\r\n");
    if body.stored.is_empty() && body.cut {
        message.extend_from_slice(
            format!("(of the body, {} bytes, only a digest is stored)", body.length).as_bytes(),
        );
    } else {
        message.extend_from_slice(&body.stored);
    }
    message
}
