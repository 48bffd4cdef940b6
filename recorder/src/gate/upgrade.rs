//! Keeps the engine from tearing down an upgrade whose 101 is there at once.
//!
//! The engine sends the head upstream and then waits for two things in no order: that the request's (empty)
//! body is done, and that the answer comes. Is the 101 read first, the end of the body is taken for the end
//! of the tunnel (its issue 946). Here, the upstream's answer is not ready the first few times the engine
//! asks for it, each of which gives the end of the body its turn.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::{H1UpgradePolicy, HttpPeer};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::gate::head;

/// The turns: one in which both sides are asked, whoever comes first, and two more because the runtime makes
/// a task that was busy pass over one.
const TURNS: u8 = 3;

/// Makes `peer` fit to be asked for an upgrade to `protocol`. Its connections are used once.
///
/// An upgrade to HTTP/2 in clear text is no tunnel of two parties but ends at each hop: the engine leaves
/// that wish out, as it does lists of wishes, and the request goes on without.
pub(crate) fn prepare(peer: &mut HttpPeer, protocol: &[u8]) {
    if head::is(protocol, b"h2c") || !protocol.iter().all(|byte| *byte == b'/' || head::is_token(byte)) {
        return;
    }
    if !head::is(protocol, b"websocket") {
        peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Preserve;
    }
    peer.options.custom_l4 = Some(Arc::new(Patiently));
    peer.options.idle_timeout = Some(Duration::ZERO);
    // Never one of the pooled connections, which are not patient.
    peer.group_key ^= 1 << 63;
}

#[derive(Debug)]
struct Patiently;

#[async_trait]
impl Connect for Patiently {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "only TCP is spoken here");
        };
        let stream = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ErrorType::ConnectNoRoute
                }
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting for an upgrade", error)
        })?;
        Ok(VirtualSocketStream::new(Box::new(Patient { stream, turns: 0 })).into())
    }
}

/// A connection that is not ready to be read right after it was written to.
#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    turns: u8,
}

impl VirtualSocket for Patient {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        piece: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turns > 0 {
            self.turns -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, piece)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, piece))?;
        self.turns = TURNS;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
