//! Finds out what a client speaks on a new connection, and serves it that.
//!
//! With TLS the handshake settles it (ALPN). In clear, HTTP/2 begins with a preface that no HTTP/1 request
//! can begin with; it is looked at, not taken, and the first byte that differs decides, so that a short
//! request never waits for more bytes. `Upgrade: h2c` is not offered: such a request is served in HTTP/1.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::tls::{ServerTlsStream, TlsAcceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::gate::{self, Limits, Visit};
use crate::metrics::{Meter, Meters};
use crate::proxy::{Proxy, Tap};
use crate::serve::http2;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// When a preface comes in pieces, how often it is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(10);
/// At a stop, what a client has sent already is here within this.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// What serves connections; each worker has its own.
pub(super) struct Host {
    pub(super) engine: Arc<HttpProxy<Proxy>>,
    pub(super) tap: Arc<Tap>,
    /// What counts for this worker, and for all.
    pub(super) meter: Arc<Meter>,
    pub(super) meters: Arc<Meters>,
    /// What speaks TLS, where anything does.
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) limits: Limits,
}

impl Host {
    /// Where a request comes in.
    pub(super) fn visit(&self, connection: Arc<Connection>) -> Arc<Visit> {
        Arc::new(Visit::new(Arc::clone(&self.tap), Arc::clone(&self.meter), connection))
    }
}

/// Serves `stream` until one side is done with it.
pub(super) async fn serve(
    host: Arc<Host>,
    connection: Arc<Connection>,
    stream: StdStream,
    mut announced: watch::Receiver<bool>,
) {
    let _open = host.meter.connection();
    let Ok(stream) = ours(stream) else { return };
    let (mut byte, mut late) = ([0], [0]);
    let first = tokio::select! {
        first = stream.peek(&mut byte) => first,
        () = sleep(host.limits.idle) => return,
        () = stop(&mut announced) => {
            timeout(LAST_LOOK, stream.peek(&mut late)).await.unwrap_or(Ok(0))
        }
    };
    // Who only knocks, e.g. a load balancer that checks the port, has asked for nothing.
    if !matches!(first, Ok(1..)) {
        return;
    }
    match &host.acceptor {
        Some(acceptor) if connection.secure => {
            let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                return host.meters.on_handshake_failed();
            };
            if speaks_http2(&stream) {
                http2::serve(host, connection, stream, announced).await;
            } else {
                http1(&host, connection, stream, announced).await;
            }
        }
        _ => match timeout(host.limits.head, begins_with_preface(&stream)).await {
            Ok(Ok(true)) => http2::serve(host, connection, stream, announced).await,
            Ok(Ok(false)) => http1(&host, connection, stream, announced).await,
            Ok(Err(_)) | Err(_) => {}
        },
    }
}

async fn http1<S>(host: &Host, connection: Arc<Connection>, stream: S, announced: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + Sync + 'static,
{
    let visit = host.visit(connection);
    gate::serve(Arc::clone(&host.engine), visit, stream, host.limits, announced).await;
}

/// Waits for a stop.
pub(super) async fn stop(announced: &mut watch::Receiver<bool>) {
    let _ = announced.wait_for(|stopping| *stopping).await;
}

fn ours(stream: StdStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

fn speaks_http2(stream: &ServerTlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Whether HTTP/2 is spoken; what is looked at stays to be read.
async fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 || first[..seen] != PREFACE[..seen] {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // A client that goes away now leaves its bytes to be looked at for ever: the deadline ends that.
        sleep(SECOND_LOOK).await;
    }
}
