//! Serves one HTTP/1 client connection, request after request.
//!
//! The engine is called when a request is there, not before: a connection that waits costs no more than its
//! socket. Who lets a head drip in has one deadline for the whole of it.

use std::any::Any;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use captures::Ending;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Shutdown, SocketDigest};
use pingora::proxy::HttpProxy;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::gate::head::{HeadLimits, Refusal};
use crate::gate::stream::Gate;
use crate::gate::visit::{Refused, Visit};
use crate::proxy::Proxy;

/// The most fields of a head; the engine's own limit.
const FIELDS: usize = 256;
/// What a client may take its time for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The time for a whole head, from its first byte.
    pub(crate) head: Duration,
    /// The bytes of a head.
    pub(crate) head_bytes: usize,
    /// The time between two requests.
    pub(crate) idle: Duration,
    /// The time without a byte within an exchange.
    pub(crate) patience: Duration,
}

/// Serves `stream` until one side is done with it.
pub(crate) async fn serve<S>(
    engine: Arc<HttpProxy<Proxy>>,
    visit: Arc<Visit>,
    stream: S,
    limits: Limits,
    mut announced: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + Sync + 'static,
{
    let descriptor = stream.as_raw_fd();
    let socket = Arc::new(SocketDigest::from_raw_fd(descriptor));
    let head = HeadLimits { bytes: limits.head_bytes, fields: FIELDS };
    let mut gate = Box::new(Gate::new(stream, descriptor, socket, Arc::clone(&visit), head));
    // What the engine is told when a newer process has taken over: the answer says that it is the last.
    let (_, last) = watch::channel(true);
    loop {
        let request = match next_request(&mut gate, limits, &mut announced).await {
            Next::Request(request) => request,
            Next::Refused(ending, refusal) => {
                return refuse(&mut gate, &visit, (ending, refusal), limits, &mut announced).await;
            }
            Next::Gone => {
                if let Some(head) = gate.take_partial() {
                    let detail = "the client went away before the head was whole";
                    visit.record(Refused { head, ending: Ending::ClientAborted, detail, answer: &[] });
                }
                return;
            }
        };
        let mut session = ServerSession::new_http1(gate);
        session.set_pipelined_prefix(request);
        session.set_read_timeout(Some(limits.patience));
        session.set_write_timeout(Some(limits.patience));
        // The engine hands this to the request's context, on the first request as on later ones.
        let context: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&visit));
        session.set_connection_user_context(Some(context));
        let stopping = if visit.is_last() { &last } else { &announced };
        let reusable = engine.process_new_http(session, stopping).await;
        visit.settle();
        let Some(reusable) = reusable else { return };
        let Ok(same) = reusable.consume().0.into_any().downcast::<Gate<S>>() else { return };
        gate = same;
        gate.rearm();
    }
}

enum Next {
    Request(BytesMut),
    Refused(Ending, Refusal),
    Gone,
}

async fn next_request<S>(gate: &mut Gate<S>, limits: Limits, announced: &mut watch::Receiver<bool>) -> Next
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match gate.next_request() {
            Ok(Some(request)) => return Next::Request(request),
            Err(refusal) => return Next::Refused(Ending::RequestInvalid, refusal),
            Ok(None) if !gate.is_idle() => break,
            Ok(None) => {}
        }
        let read = tokio::select! {
            biased;
            read = gate.fill() => read,
            _ = announced.wait_for(|stopping| *stopping) => return Next::Gone,
            () = sleep(limits.idle) => return Next::Gone,
        };
        if !matches!(read, Ok(1..)) {
            return Next::Gone;
        }
    }
    let rest = async {
        while let Ok(1..) = gate.fill().await {
            match gate.next_request() {
                Ok(Some(request)) => return Next::Request(request),
                Err(refusal) => return Next::Refused(Ending::RequestInvalid, refusal),
                Ok(None) => {}
            }
        }
        Next::Gone
    };
    let slow = Refusal { status: 408, reason: "the head was not whole in time" };
    timeout(limits.head, rest).await.unwrap_or(Next::Refused(Ending::ClientTimedOut, slow))
}

/// Answers a request that is not let through, and records it.
async fn refuse<S>(
    gate: &mut Gate<S>,
    visit: &Visit,
    (ending, refusal): (Ending, Refusal),
    limits: Limits,
    announced: &mut watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(head) = gate.take_partial() else { return };
    let answer = answer(refusal.status);
    visit.record(Refused { head, ending, detail: refusal.reason, answer: answer.as_bytes() });
    let goodbye = async {
        if gate.write_all(answer.as_bytes()).await.is_ok() {
            Shutdown::shutdown(gate).await;
        }
    };
    tokio::select! {
        () = goodbye => {}
        () = sleep(limits.patience) => {}
        _ = announced.wait_for(|stopping| *stopping) => {}
    }
}

fn answer(status: u16) -> String {
    let reason = match status {
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    };
    format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
