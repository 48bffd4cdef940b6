//! Makes the bytes of a request from what was recorded of it.
//!
//! Hop-by-hop fields go, Host and the addresses of the recorded origin are rewritten, framing is set anew, the
//! marker is added. What would not mean the same again is held back.

use captures::{Exchange, Header, header_value};

use super::rewrite::HostField;
use super::{HeldBack, MARKER, Rewriting};

pub(super) fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
}

/// Fields that concern one connection only, or that are set anew.
pub(super) const DROPPED: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "host",
    MARKER,
];

/// Fields that tell of the recorded route to the origin: they would be lies at the target.
const FORWARDING: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The bytes of the request that repeats `exchange`, put into `text`; or why there is none.
pub(super) fn request_text<'a>(
    exchange: &Exchange,
    rewriting: &Rewriting,
    session: u32,
    text: &'a mut Vec<u8>,
) -> Result<&'a [u8], HeldBack> {
    let request = &exchange.request;
    // HTTP/2 has no such upgrade.
    let websocket = !rewriting.http2 && is_websocket(exchange);
    if request.method == b"CONNECT"
        || (!websocket
            && (header_value(&request.headers, "upgrade").is_some()
                || exchange.response.as_ref().is_some_and(|response| response.status == 101)))
    {
        return Err(HeldBack::Upgrade);
    }
    if request.method.is_empty() || !request.method.iter().all(|&byte| is_token(byte)) {
        return Err(HeldBack::Invalid);
    }
    if !rewriting.allow_unsafe && !is_safe(&request.method) {
        return Err(HeldBack::UnsafeMethod);
    }
    if !request.body.is_whole() {
        return Err(HeldBack::BodyCut);
    }
    let target = origin_form(&request.target).ok_or(HeldBack::Invalid)?;
    let rewrites = &rewriting.rewrites;
    text.clear();
    text.reserve(256 + request.body.stored.len());
    text.extend_from_slice(&request.method);
    text.push(b' ');
    if target == b"*" {
        text.push(b'*');
    } else {
        text.extend_from_slice(rewriting.base_path.as_bytes());
        text.extend_from_slice(&rewrites.target(target));
    }
    let recorded_host = header_value(&request.headers, "host");
    text.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match &rewrites.host {
        HostField::Target => text.extend_from_slice(rewriting.authority.as_bytes()),
        HostField::Recorded => {
            text.extend_from_slice(recorded_host.unwrap_or(rewriting.authority.as_bytes()));
        }
        HostField::Named(name) => text.extend_from_slice(name.as_bytes()),
    }
    text.extend_from_slice(b"\r\n");
    let framed =
        request.headers.iter().any(|header| header.is("content-length") || header.is("transfer-encoding"));
    for header in &request.headers {
        // What gRPC asks for, and all that HTTP/2 knows of it.
        let keeps_te = rewriting.http2 && header.is("te") && header.value == b"trailers";
        if (DROPPED.iter().chain(&FORWARDING).any(|name| header.is(name)) && !keeps_te)
            || (request.body.decoded && header.is("content-encoding"))
            || rewrites.drops(header)
        {
            continue;
        }
        if header.name.is_empty()
            || !header.name.iter().all(|&byte| is_token(byte))
            || header.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return Err(HeldBack::Invalid);
        }
        text.extend_from_slice(&header.name);
        text.extend_from_slice(b": ");
        append_value(text, header, recorded_host, rewriting);
        text.extend_from_slice(b"\r\n");
    }
    if websocket {
        text.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    for (name, value) in rewrites.fields_for(session) {
        text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if framed || !request.body.stored.is_empty() {
        text.extend_from_slice(format!("Content-Length: {}\r\n", request.body.stored.len()).as_bytes());
    }
    let asks = header_value(&request.headers, "expect")
        .is_some_and(|wish| wish.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
    if asks && !request.body.stored.is_empty() {
        text.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    text.extend_from_slice(MARKER.as_bytes());
    text.extend_from_slice(b": 1\r\n\r\n");
    text.extend_from_slice(&request.body.stored);
    Ok(text)
}

/// Whether it is the handshake of a WebSocket (RFC 6455, section 4.1). It is sent as such; when it is answered,
/// the connection is closed: what was said after it is not repeated.
fn is_websocket(exchange: &Exchange) -> bool {
    let request = &exchange.request;
    request.method == b"GET"
        && request.body.length == 0
        && header_value(&request.headers, "sec-websocket-key").is_some()
        && header_value(&request.headers, "upgrade").is_some_and(|protocols| {
            protocols
                .split(|&byte| byte == b',')
                .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
}

/// A field's value; `Origin` and `Referer` that name the recorded host name the target instead.
fn append_value(text: &mut Vec<u8>, header: &Header, recorded_host: Option<&[u8]>, rewriting: &Rewriting) {
    if (header.is("origin") || header.is("referer"))
        && let Some(host) = recorded_host
        && let Some(rest) =
            [&b"http://"[..], b"https://"].iter().find_map(|scheme| header.value.strip_prefix(*scheme))
        && let Some(after) = rest.strip_prefix(host)
        && (after.is_empty() || after.starts_with(b"/"))
    {
        text.extend_from_slice(if rewriting.secure { &b"https://"[..] } else { b"http://" });
        text.extend_from_slice(rewriting.authority.as_bytes());
        text.extend_from_slice(after);
    } else {
        text.extend_from_slice(&header.value);
    }
}

/// The path and query of a request target; `None` when it cannot stand on a request line.
fn origin_form(target: &[u8]) -> Option<&[u8]> {
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7F) {
        return None;
    }
    if target == b"*" || target.starts_with(b"/") {
        return Some(target);
    }
    let after_scheme =
        [&b"http://"[..], b"https://"].iter().find_map(|scheme| target.strip_prefix(*scheme))?;
    let path = after_scheme.iter().position(|&byte| matches!(byte, b'/' | b'?'))?;
    after_scheme[path..].starts_with(b"/").then_some(&after_scheme[path..])
}

pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || b"!#$%&'*+.^_`|~".contains(&byte)
}
