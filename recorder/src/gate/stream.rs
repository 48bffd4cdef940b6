//! The client's stream as the engine sees it: nothing but what the gate let through.
//!
//! While an answer is pending, the client's side is read on, so that one that goes away is seen at once;
//! what it sends meanwhile is the next request and waits here. After a switch of protocols (a 101 went out)
//! everything passes as it is.
//!
//! The head of an answer waits for the first piece of the body, and both leave in one packet.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use captures::{Ending, Offset};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gate::framing::Body;
use crate::gate::head::{self, HeadLimits, HeadReader, Refusal};
use crate::gate::visit::{Refused, RequestHead, Visit, status_of};

/// How much is read at once while no engine asks.
const READ: usize = 8 << 10;
/// A client that was answered before it was done may send on for so long, and so much.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// A client's stream.
pub(crate) struct Gate<S> {
    stream: S,
    socket: Arc<SocketDigest>,
    descriptor: UniqueIDType,
    visit: Arc<Visit>,
    limits: HeadLimits,
    stage: Stage,
    /// What was read and not let through yet.
    inbox: BytesMut,
    /// When the first byte in there came.
    arrived: Offset,
    /// The head of an answer that waits for its body.
    outbox: Vec<u8>,
    /// Whether the head of the final answer is still to come.
    unanswered: bool,
    /// Whether the request asks for another protocol.
    upgrade: bool,
    /// Who waits for more while the next request lies here.
    waiting: Option<Waker>,
}

#[derive(Debug)]
enum Stage {
    /// Between requests, or within a head.
    Head(HeadReader),
    Body(Body),
    /// The request is let through to its end.
    Done,
    /// Another protocol is spoken.
    Tunnel,
    /// What came is not let through.
    Refused,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    pub(crate) fn new(
        stream: S,
        descriptor: UniqueIDType,
        socket: Arc<SocketDigest>,
        visit: Arc<Visit>,
        limits: HeadLimits,
    ) -> Self {
        Self {
            stream,
            socket,
            descriptor,
            arrived: visit.now(),
            visit,
            limits,
            stage: Stage::Head(HeadReader::new(limits)),
            inbox: BytesMut::new(),
            outbox: Vec::new(),
            unanswered: false,
            upgrade: false,
            waiting: None,
        }
    }

    /// The exchange is over: the next request may begin.
    pub(crate) fn rearm(&mut self) {
        self.stage = Stage::Head(HeadReader::new(self.limits));
        self.waiting = None;
    }

    /// Whether no byte of a request is here.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_empty()
    }

    /// A head that is whole and sound, with as much of its body as is here; `None` while more must come.
    pub(crate) fn next_request(&mut self) -> Result<Option<BytesMut>, Refusal> {
        let Stage::Head(reader) = &mut self.stage else { return Ok(None) };
        if reader.is_new() {
            let Some(empty) = head::empty_lines(&self.inbox) else { return Ok(None) };
            self.inbox.advance(empty);
        }
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
            return Ok(None);
        }
        let Some(mut head) = reader.on_bytes(&self.inbox)? else { return Ok(None) };
        let body = head.body.on_bytes(&self.inbox[head.length..])?;
        let bytes = self.inbox[..head.length].to_vec();
        let passing = if head.length + body == self.inbox.len() {
            std::mem::take(&mut self.inbox)
        } else {
            self.inbox.split_to(head.length + body)
        };
        self.visit.begin(RequestHead { arrived: self.arrived, bytes });
        self.unanswered = true;
        self.upgrade = head.upgrade;
        self.stage = Stage::Body(head.body);
        self.settle_body();
        Ok(Some(passing))
    }

    /// Reads what the client sends, whatever it is; nothing when it is gone.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ];
        let mut piece = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
        let read = piece.filled();
        if self.inbox.is_empty() {
            self.arrived = self.visit.now();
        }
        self.inbox.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Ends the answer. A client that still sends is heard out for a while: a connection that is closed on
    /// unread bytes is reset, and what was answered is lost on the way.
    async fn say_goodbye(&mut self) {
        if self.shutdown_answers().await.is_err() || !matches!(self.stage, Stage::Body(_) | Stage::Refused) {
            return;
        }
        let mut heard = 0;
        let hear_out = async {
            while let Ok(read @ 1..) = self.fill().await {
                self.inbox = BytesMut::new();
                heard += read;
                if heard > LINGER_BYTES {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, hear_out).await;
    }

    async fn shutdown_answers(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| {
            ready!(self.poll_empty(context))?;
            Pin::new(&mut self.stream).poll_shutdown(context)
        })
        .await
    }

    fn settle_body(&mut self) {
        if let Stage::Body(body) = &mut self.stage
            && body.is_done()
        {
            let trailers = body.take_trailers();
            if !trailers.is_empty() {
                self.visit.on_trailers(trailers);
            }
            self.stage = Stage::Done;
        }
    }

    /// Lets through as much of what `piece` got beyond `before` as belongs to the body.
    fn follow(&mut self, piece: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Stage::Body(body) = &mut self.stage else { return Ok(()) };
        let read = &piece.filled()[before..];
        match body.on_bytes(read) {
            Ok(taken) => {
                if taken < read.len() {
                    self.arrived = self.visit.now();
                    self.inbox.extend_from_slice(&read[taken..]);
                }
                piece.set_filled(before + taken);
                self.settle_body();
                Ok(())
            }
            Err(refusal) => {
                piece.set_filled(before);
                self.visit.on_bad_body(refusal);
                self.stage = Stage::Refused;
                Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason))
            }
        }
    }

    /// Waits for the client to go away; keeps what it sends instead.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() && ready!(self.poll_fill(context))? == 0 {
            return Poll::Ready(Ok(()));
        }
        self.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    fn on_write(&mut self, piece: &[u8]) -> bool {
        if !self.unanswered {
            return false;
        }
        let Some(status) = status_of(piece) else { return false };
        // A 101 that nobody asked for switches nothing: what follows is the next request.
        if status == 101 && self.upgrade {
            self.stage = Stage::Tunnel;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
        let last = status == 101 || status >= 200;
        if last {
            self.unanswered = false;
            self.visit.on_answer(piece);
        }
        last && status != 101
    }

    /// Writes the outbox and then `pieces`; says how much of `pieces` went.
    fn poll_out(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while !self.outbox.is_empty() {
            let mut both = [IoSlice::new(&[]); 8];
            both[0] = IoSlice::new(&self.outbox);
            for (slot, piece) in both[1..].iter_mut().zip(pieces) {
                *slot = IoSlice::new(piece);
            }
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(context, &both[..=pieces.len().min(7)]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written < self.outbox.len() {
                self.outbox.drain(..written);
                continue;
            }
            let beyond = written - self.outbox.len();
            self.outbox = Vec::new();
            if beyond > 0 {
                return Poll::Ready(Ok(beyond));
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.drain(..written);
        }
        self.outbox = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        piece: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        match gate.stage {
            Stage::Head(_) | Stage::Done => gate.poll_gone(context),
            Stage::Body(_) => {
                let before = piece.filled().len();
                ready!(Pin::new(&mut gate.stream).poll_read(context, piece))?;
                Poll::Ready(gate.follow(piece, before))
            }
            Stage::Tunnel if gate.inbox.is_empty() => Pin::new(&mut gate.stream).poll_read(context, piece),
            Stage::Tunnel => {
                let length = gate.inbox.len().min(piece.remaining());
                piece.put_slice(&gate.inbox.split_to(length));
                if gate.inbox.is_empty() {
                    gate.inbox = BytesMut::new();
                }
                Poll::Ready(Ok(()))
            }
            Stage::Refused => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        if gate.on_write(piece) && gate.outbox.is_empty() {
            gate.outbox = piece.to_vec();
            gate.visit.restore_date(&mut gate.outbox);
            return Poll::Ready(Ok(piece.len()));
        }
        gate.poll_out(context, &[IoSlice::new(piece)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_out(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_empty(context))?;
        Pin::new(&mut gate.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_empty(context))?;
        Pin::new(&mut gate.stream).poll_shutdown(context)
    }
}

impl<S> Gate<S> {
    /// What came of a head that will not come whole, or is refused: as much of it as is sound.
    pub(crate) fn take_partial(&mut self) -> Option<RequestHead> {
        if !matches!(self.stage, Stage::Head(_)) || self.inbox.iter().all(|byte| b"\r\n".contains(byte)) {
            return None;
        }
        self.stage = Stage::Refused;
        let inbox = std::mem::take(&mut self.inbox);
        Some(RequestHead { arrived: self.arrived, bytes: head::sound_part(&inbox).to_vec() })
    }
}

impl<S> Drop for Gate<S> {
    /// A head that was coming when the proxy stopped is seen, too.
    fn drop(&mut self) {
        if let Some(head) = self.take_partial() {
            let detail = "the proxy stopped before the head was whole";
            self.visit.record(Refused { head, ending: Ending::ProxyFailed, detail, answer: &[] });
        }
    }
}

impl<S> fmt::Debug for Gate<S> {
    /// Without what clients sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for Gate<S> {
    async fn shutdown(&mut self) {
        self.say_goodbye().await;
    }
}

impl<S> UniqueID for Gate<S> {
    fn id(&self) -> UniqueIDType {
        self.descriptor
    }
}

impl<S> Ssl for Gate<S> {}

impl<S> Peek for Gate<S> {}

impl<S> GetTimingDigest for Gate<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Gate<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Gate<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}
