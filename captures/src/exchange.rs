//! The vocabulary of a capture: one request, its response, and how it ended.
//!
//! What is stored is what was *received*: header names keep their case, order and repeats; bodies have
//! the transfer coding removed and the content coding kept. Text that looks like text is not assumed to
//! be UTF-8: names, values and targets are bytes.

use crate::units::Offset;

/// The number of an exchange, unique within one capture, in the order in which requests arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// The number of a client connection, unique within one capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The number of a session (one visitor's requests), unique within one capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What a session was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// A session cookie the client sent, or one that an earlier answer had set.
    Cookie,
    /// A credential in a header.
    Header,
    /// The client's address and user agent.
    AddressAgent,
    /// Nothing but the client connection.
    Connection,
}

/// One request, its response, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its number in the capture.
    pub id: ExchangeId,
    /// The client connection it came on.
    pub connection: ConnectionId,
    /// Whose it was.
    pub session: SessionId,
    /// By what the session was recognised.
    pub session_key: SessionKey,
    /// The moment of its first request byte (of the complete head, where the proxy cannot see the first byte).
    pub arrived: Offset,
    /// The moment of the last request byte; `None` when the request never became complete.
    pub request_done: Option<Offset>,
    /// The moment of the first byte of the final response; `None` without a response.
    pub response_began: Option<Offset>,
    /// The moment at which nothing more could happen to it.
    pub ended: Offset,
    /// How often it was sent upstream: 0 when it never left, 2 or more when it was retried.
    pub attempts: u32,
    /// What the client asked.
    pub request: Request,
    /// What it was answered; `None` when no response head came.
    pub response: Option<Response>,
    /// How it ended.
    pub ending: Ending,
    /// How it passed the recorder.
    pub passage: Passage,
}

/// How an exchange passed the recorder, beyond what was said in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Which of the capture's servers it went to last, an index into [`CaptureHeader::servers`]; `None` when
    /// it went to none.
    ///
    /// [`CaptureHeader::servers`]: crate::CaptureHeader::servers
    pub server: Option<u32>,
    /// Whether the client spoke TLS.
    pub secure: bool,
    /// Whether what went upstream differed in meaning from what was received: fields that are made anew for
    /// each hop do not count, trailers that were left out do.
    pub altered: bool,
    /// Whether the upstream saw only a part of the request.
    pub unfinished: bool,
    /// After an upgrade: the frames that passed.
    pub frames: Option<Frames>,
    /// Why it ended so, in a few words, when the ending alone does not say.
    pub detail: String,
}

/// The frames of an upgraded connection, e.g. WebSocket's; the bytes are the lengths of the bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// From the client.
    pub client: u64,
    /// From the upstream.
    pub upstream: u64,
}

/// The version of HTTP a message was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/0.9 or one that is not known.
    Other,
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Version {
    /// As on the request line, e.g. `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "HTTP/?",
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, as sent.
    pub method: Vec<u8>,
    /// The request target, as sent: usually path and query.
    pub target: Vec<u8>,
    /// The protocol version.
    pub version: Version,
    /// The header fields in order, with their case and repeats.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// The fields after the body.
    pub trailers: Vec<Header>,
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The protocol version.
    pub version: Version,
    /// The header fields in order, with their case and repeats.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body,
    /// The fields after the body.
    pub trailers: Vec<Header>,
}

/// One header field, as received (after masking).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, with its case.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Header {
    /// Whether this field has `name`, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The value of the first field called `name`, whatever the case.
pub fn header_value<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.is(name)).map(|header| header.value.as_slice())
}

/// A message body: whole, or a prefix with its true length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The number of bytes that went by, transfer coding removed.
    pub length: u64,
    /// The first of those bytes, up to the recorder's limit.
    pub stored: Vec<u8>,
    /// For a body that was cut: a digest of all bytes that went by. HMAC-SHA-256 under the mask key, so
    /// that short secrets cannot be guessed; plain SHA-256 when the capture masks nothing.
    pub digest: Option<[u8; 32]>,
    /// Whether `stored` is without the content coding that the headers name.
    pub decoded: bool,
    /// Whether less was stored than went by. (The lengths need not agree otherwise: a coded body that holds
    /// secrets is decoded, masked and coded again.)
    pub cut: bool,
}

impl Body {
    /// Whether everything that went by was stored.
    pub const fn is_whole(&self) -> bool {
        !self.cut
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Request and response went through whole.
    Completed,
    /// The client went away before the response was complete.
    ClientAborted,
    /// The client took or gave nothing for too long.
    ClientTimedOut,
    /// No connection to the upstream could be made.
    UpstreamRefused,
    /// The upstream closed or reset before its response was complete.
    UpstreamReset,
    /// The upstream did not answer in time.
    UpstreamTimedOut,
    /// The upstream sent something that is not HTTP.
    UpstreamInvalid,
    /// The client sent something that is not HTTP.
    RequestInvalid,
    /// The proxy itself failed.
    ProxyFailed,
}

impl Ending {
    /// All endings, in the order in which reports list them.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::ClientAborted,
        Self::ClientTimedOut,
        Self::UpstreamRefused,
        Self::UpstreamReset,
        Self::UpstreamTimedOut,
        Self::UpstreamInvalid,
        Self::RequestInvalid,
        Self::ProxyFailed,
    ];

    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientAborted => "client_aborted",
            Self::ClientTimedOut => "client_timed_out",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamTimedOut => "upstream_timed_out",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::RequestInvalid => "request_invalid",
            Self::ProxyFailed => "proxy_failed",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! An exchange for the tests of other modules.

    use super::*;

    /// An exchange that ended at `millis`, on server 0.
    pub(crate) fn exchange(millis: u64) -> Exchange {
        let at = Offset::from_millis(millis);
        Exchange {
            id: ExchangeId(millis),
            connection: ConnectionId(millis),
            session: SessionId(millis),
            session_key: SessionKey::Cookie,
            arrived: at,
            request_done: Some(at),
            response_began: None,
            ended: at,
            attempts: 1,
            request: Request {
                method: b"GET".to_vec(),
                target: b"/".to_vec(),
                version: Version::Http11,
                headers: Vec::new(),
                body: Body::default(),
                trailers: Vec::new(),
            },
            response: None,
            ending: Ending::Completed,
            passage: Passage { server: Some(0), ..Passage::default() },
        }
    }
}
