//! The proxy engine's hooks: each tells the request's [`Assembly`] what went by, and lets it pass.
//!
//! Nothing here reads a body or waits for anything. A request whose context is dropped without its last hook
//! (the proxy stopped, or a bug unwound it) is recorded as ended by the proxy, so that the accounts hold.
//!
//! What never reaches a hook (the gate or the engine refused it) is recorded by its [`Visit`]. A client that
//! closes its sending side after the request counts as gone: one that is gone looks the same.

mod blame;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use captures::{Ending, ExchangeId, Frames, Offset, Version};
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use memchr::memchr2;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use self::blame::{broke, ending_of, is_want_of_ours};
use crate::assembly::{Assembly, BodyPolicy, ResponseHead};
use crate::clock::Clock;
use crate::config::Upstreams;
use crate::connection::Connection;
use crate::forwarded::{self, Forwarding, Network, Origin};
use crate::gate::{FrameCounter, Visit, prepare_upgrade};
use crate::metrics::{Meter, Passed};
use crate::peer::Peers;
use crate::spool::Queue;
use crate::upstream::{
    Asked, Held, Servers, in_received_order, refusal, session_key, status_for, what_happened, without_chunks,
    without_hop_by_hop,
};

/// The header by which a replay marks its requests.
pub(crate) const REPLAY_MARKER: &str = "highwater-replay";

/// What all workers record with.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) clock: Clock,
    pub(crate) queue: Arc<Queue>,
    pub(crate) bodies: BodyPolicy,
    /// Whether anything is recorded at all.
    pub(crate) recording: bool,
    pub(crate) record_replayed: bool,
    pub(crate) next_id: AtomicU64,
    /// Whether a newer process has taken over: clients are asked to connect again.
    pub(crate) leaving: AtomicBool,
}

impl Tap {
    /// The number of an exchange that begins.
    pub(crate) fn next_id(&self) -> ExchangeId {
        ExchangeId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}

/// One worker's proxy.
pub(crate) struct Proxy {
    tap: Arc<Tap>,
    servers: Arc<Servers>,
    /// In the order of the servers' addresses.
    meter: Arc<Meter>,
    peers: Vec<Peers>,
    trusted: Vec<Network>,
    forwarding: Forwarding,
    host_header: Option<HeaderValue>,
}

impl Proxy {
    /// A proxy to `servers`, which were made of `upstreams`.
    pub(crate) fn new(
        tap: Arc<Tap>,
        meter: Arc<Meter>,
        servers: Arc<Servers>,
        upstreams: &Upstreams,
    ) -> Self {
        Self {
            tap,
            meter,
            servers,
            peers: upstreams.peers(),
            trusted: upstreams.trusted_proxies.clone(),
            forwarding: upstreams.forwarding,
            host_header: upstreams.host_header.as_ref().map(|host| host.0.clone()),
        }
    }

    fn asked<'a>(&self, session: &Session, context: &'a Context) -> Asked<'a> {
        let repeatable = session.req_header().method.is_idempotent();
        Asked { tried: &context.tried, repeatable, now: self.tap.clock.now() }
    }

    fn origin(&self, session: &Session, context: &Context) -> Origin {
        let Connection { peer, secure, .. } = *context.connection;
        let client = forwarded::client(&self.trusted, peer.ip(), &session.req_header().headers);
        Origin { peer: peer.ip(), client, trusted: forwarded::is_trusted(&self.trusted, peer.ip()), secure }
    }
}

/// One request's state.
pub(crate) struct Context {
    tap: Arc<Tap>,
    meter: Arc<Meter>,
    times: Times,
    connection: Arc<Connection>,
    /// Where the request came in; for HTTP/1 also where the gate stands.
    visit: Option<Arc<Visit>>,
    /// The two directions of a WebSocket, from the client and from the upstream.
    frames: Option<Box<[FrameCounter; 2]>>,
    /// The addresses that took no connection for this request.
    tried: Vec<usize>,
    /// The address where the request is.
    held: Option<Held>,
    stage: Stage,
}

/// What the metrics tell of a request, whether or not it is recorded.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// None when the request was not seen yet, or is over.
    began: Option<Offset>,
    sendable: Option<Offset>,
    answered: Option<Offset>,
}

impl Times {
    /// What passed when it ended at `end`.
    fn until(&self, end: Offset) -> Passed<'static> {
        Passed {
            took: end.since(self.began.unwrap_or(end)),
            first_byte: self.sendable.zip(self.answered).map(|(sent, answered)| answered.since(sent)),
            upstream: self.sendable.map(|sent| end.since(sent)),
            ..Passed::default()
        }
    }
}

enum Stage {
    /// Not seen yet, or over.
    None,
    /// Proxied and not recorded.
    Passing,
    /// Proxied while recording is paused.
    Paused,
    Recording(Box<Assembly>),
}

impl Context {
    fn assembly(&mut self) -> Option<&mut Assembly> {
        match &mut self.stage {
            Stage::Recording(assembly) => Some(assembly),
            Stage::None | Stage::Passing | Stage::Paused => None,
        }
    }

    fn end(&mut self, at: Offset, ending: Ending) {
        match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::None => {}
            Stage::Passing => self.tap.queue.pass_over(),
            Stage::Paused => self.tap.queue.pass_paused(),
            Stage::Recording(mut assembly) => {
                assembly.end(at, ending);
                self.tap.queue.offer(assembly);
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let now = self.tap.clock.now();
        if !matches!(self.stage, Stage::None) {
            self.end(now, Ending::ProxyFailed);
        }
        if self.times.began.is_some() {
            self.meter.on_ended(&self.times.until(now));
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            tap: Arc::clone(&self.tap),
            meter: Arc::clone(&self.meter),
            times: Times::default(),
            connection: Connection::unknown(),
            visit: None,
            frames: None,
            tried: Vec::new(),
            held: None,
            stage: Stage::None,
        }
    }

    fn on_connection_reuse(
        &self,
        _: &mut Session,
        context: &mut Context,
        connection: Box<dyn Any + Send + Sync>,
    ) {
        if let Ok(visit) = connection.downcast::<Arc<Visit>>() {
            context.connection = Arc::clone(&visit.connection);
            context.visit = Some(*visit);
        }
    }

    async fn early_request_filter(&self, session: &mut Session, context: &mut Context) -> Result<()> {
        // That of an HTTP/2 request comes with its head.
        if let Some(visit) = session.req_header().extensions.get::<Arc<Visit>>() {
            context.connection = Arc::clone(&visit.connection);
            context.visit = Some(Arc::clone(visit));
        }
        let now = self.tap.clock.now();
        context.times.began = Some(now);
        self.meter.on_began();
        let replayed = || session.req_header().headers.contains_key(REPLAY_MARKER);
        let head = context.visit.as_ref().and_then(|visit| visit.take());
        context.stage = if !self.tap.recording || (!self.tap.record_replayed && replayed()) {
            Stage::Passing
        } else if self.tap.queue.is_paused() {
            Stage::Paused
        } else {
            let (arrived, head) = match head {
                Some(head) => (head.arrived, head.bytes),
                None => (now, session.to_h1_raw().into()),
            };
            // A fragment is nothing that a server is asked for: the engine leaves it out.
            let has_fragment = memchr2(b'#', b'\n', &head).is_some_and(|at| head[at] == b'#');
            let connection = context.connection.id;
            let mut assembly = Box::new(Assembly::begin(self.tap.next_id(), connection, arrived, head));
            assembly.passage.altered = has_fragment;
            assembly.passage.secure = context.connection.secure;
            let origin = self.origin(session, context);
            assembly.client = origin.client;
            assembly.shared_connection = origin.trusted;
            Stage::Recording(assembly)
        };
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let head = session.req_header();
        let key = || session_key(&head.headers, self.origin(session, context).client);
        let at = self.servers.choose(self.asked(session, context), key);
        context.held = Some(self.servers.hold(at));
        let mut peer = Box::new(self.peers[at].for_request(head).clone());
        if session.is_upgrade_req()
            && let Some(protocol) = head.headers.get(http::header::UPGRADE)
        {
            prepare_upgrade(&mut peer, protocol.as_bytes());
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let is_ours = is_want_of_ours(&error);
        if let Some(at) = context.held.take().map(|held| held.at()) {
            context.tried.push(at);
            if !is_ours {
                self.servers.on_refused(at, self.tap.clock.now());
            }
        }
        error.set_retry(self.servers.has_more(self.asked(session, context)));
        if is_ours {
            // The engine will blame the upstream; the type is all that can tell.
            error.etype = ErrorType::InternalError;
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        let at = context.held.as_ref().map(Held::at);
        if let Some(at) = at.filter(|_| !reused) {
            self.servers.on_connected(at);
        }
        if let (Some(at), Some(assembly)) = (at, context.assembly()) {
            assembly.passage.server = u32::try_from(at).ok();
        }
        Ok(())
    }

    /// A request that broke before its answer is sent again if it may be: by its method, and because its body
    /// is still at hand. When the connection came from the pool, its server may have closed it before; when it
    /// was new, another server must do.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        if *error.esource() == ErrorSource::Upstream
            && let Some(held) = &context.held
        {
            self.servers.on_failure(held.at());
        }
        let asked = self.asked(session, context);
        if !asked.repeatable || session.as_ref().retry_buffer_truncated() {
            error.set_retry(false);
        } else if !reused && broke(&error) && session.response_written().is_none() {
            context.tried.extend(context.held.as_ref().map(Held::at));
            error.set_retry(self.servers.has_more(self.asked(session, context)));
        } else {
            error.retry.decide_reuse(reused);
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        // The engine speaks HTTP/1.1 to the upstream, which must refuse such a request without a Host.
        if session.req_header().version == http::Version::HTTP_10 && !request.headers.contains_key(HOST) {
            request.set_version(http::Version::HTTP_10);
        }
        if self.forwarding != Forwarding::Off {
            let origin = self.origin(session, context);
            forwarded::rewrite(self.forwarding, origin, session.req_header(), request)?;
        }
        let mut altered = false;
        if let Some(host) = &self.host_header {
            altered = request.headers.get(HOST) != Some(host);
            request.insert_header(HOST, host.clone())?;
        }
        in_received_order(session.req_header(), request)?;
        context.times.sendable = Some(self.tap.clock.now());
        if let Some(assembly) = context.assembly() {
            assembly.on_attempt();
            assembly.passage.altered |= altered;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        last: bool,
        context: &mut Context,
    ) -> Result<()> {
        let tap = &self.tap;
        if let (Some([client, _]), Some(piece)) = (context.frames.as_deref_mut(), &piece) {
            client.on_bytes(piece);
        }
        if let Some(assembly) = context.assembly() {
            if let Some(piece) = piece {
                assembly.on_request_body(piece, &tap.bodies);
            }
            // On HTTP/2, what stands behind a body that has ended are trailers, which the engine leaves there.
            let leaves_trailers =
                piece.is_none() && session.is_http2() && !session.as_downstream_mut().is_body_done();
            assembly.passage.altered |= leaves_trailers;
            if last || leaves_trailers {
                assembly.on_request_done(tap.clock.now());
            }
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let switched = head.status.as_u16() == 101;
        if head.status.is_informational() && !switched {
            return Ok(());
        }
        if switched {
            // What passes now need not be a conversation: the client may listen for hours.
            session.as_downstream_mut().set_read_timeout(None);
            let protocol = session.req_header().headers.get(http::header::UPGRADE);
            if protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
                context.frames = Some(Box::default());
            }
        }
        let now = self.tap.clock.now();
        context.times.answered = Some(now);
        if let Some(assembly) = context.assembly() {
            assembly.on_response_head(as_received(head, now));
        }
        without_hop_by_hop(head)?;
        if let Some(visit) = &context.visit
            && let Some((name, value)) =
                head.case_header_iter().find(|(name, _)| name.as_slice().eq_ignore_ascii_case(b"date"))
        {
            visit.keep_date(name.as_slice(), value.as_bytes());
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        _: &mut Context,
    ) -> Result<()> {
        let is_answer = !head.status.is_informational();
        if is_answer && session.req_header().version == http::Version::HTTP_10 && without_chunks(head)? {
            session.as_downstream_mut().set_keepalive(None);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        piece: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        if let (Some([_, upstream]), Some(piece)) = (context.frames.as_deref_mut(), &piece) {
            upstream.on_bytes(piece);
        }
        if let (Some(assembly), Some(piece)) = (context.assembly(), piece) {
            assembly.on_response_body(piece, &self.tap.bodies);
        }
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let is_bad = context.visit.as_ref().is_some_and(|visit| visit.bad_body().is_some());
        let status = match status_for(error) {
            _ if is_bad && !matches!(error.etype(), ErrorType::HTTPStatus(_)) => 400,
            status => status,
        };
        if let Some(visit) = &context.visit {
            visit.forget_date();
        }
        if status > 0
            && let Ok(head) = refusal(status)
        {
            // A client that is gone is told nothing.
            let _ = session.write_error_response(head, Bytes::new()).await;
        }
        if is_bad {
            // The client may still send, and would lose the answer if the connection were dropped.
            session.as_downstream_mut().shutdown().await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(assembly) = context.assembly() {
            assembly.on_response_trailers(trailers);
        }
        Ok(())
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        let now = self.tap.clock.now();
        let mut ending = error.map_or(Ending::Completed, ending_of);
        if let Some(visit) = context.visit.take() {
            if let Some(refusal) = visit.bad_body() {
                ending = Ending::RequestInvalid;
                if let Some(assembly) = context.assembly() {
                    refusal.reason.clone_into(&mut assembly.passage.detail);
                }
            }
            let trailers = visit.take_trailers();
            if let Some(assembly) = context.assembly()
                && !trailers.is_empty()
            {
                assembly.on_request_trailers(trailers);
            }
        }
        let frames = context.frames.take();
        if let (Some(frames), Some(assembly)) = (frames, context.assembly()) {
            let [client, upstream] = frames.map(|direction| direction.frames());
            assembly.passage.frames = Some(Frames { client, upstream });
        }
        let sent = session.upstream_body_bytes_sent();
        if let (Some(error), Some(assembly)) = (error, context.assembly()) {
            assembly.on_failure(sent);
            if assembly.passage.detail.is_empty() {
                assembly.passage.detail = what_happened(error, assembly.has_response());
            }
        }
        if let Some(assembly) = context.assembly()
            && !assembly.has_response()
            && let Some(head) = session.response_written().filter(|head| !head.status.is_informational())
        {
            // The proxy's own answer, e.g. 502.
            assembly.on_response_head(as_received(head, now));
        }
        context.end(now, ending);
        let head = session.req_header();
        let passed = Passed {
            request: Some((head.method.as_str(), head.raw_path())),
            status: session.response_written().map(|head| head.status.as_u16()),
            received: session.body_bytes_read() as u64,
            sent: session.body_bytes_sent() as u64,
            ..context.times.until(now)
        };
        if std::mem::take(&mut context.times).began.is_some() {
            self.meter.on_ended(&passed);
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // Every failed request is in the capture and in the metrics; the engine would print its target.
        true
    }
}

fn as_received(head: &ResponseHeader, began: Offset) -> ResponseHead {
    let mut fields = Vec::with_capacity(512);
    head.header_to_h1_wire(&mut fields);
    ResponseHead { began, status: head.status.as_u16(), version: version_of(head.version), fields }
}

fn version_of(version: http::Version) -> Version {
    match version {
        http::Version::HTTP_10 => Version::Http10,
        http::Version::HTTP_11 => Version::Http11,
        http::Version::HTTP_2 => Version::Http2,
        http::Version::HTTP_3 => Version::Http3,
        _ => Version::Other,
    }
}
