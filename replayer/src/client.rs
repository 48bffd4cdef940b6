//! Non-blocking sockets: open one, send some, receive some.
//!
//! The thin layer over the system calls; every decision is made above it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use captures::Failure;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

/// What an attempt to send or receive led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// This many bytes; a receive of none is the end of the stream.
    Bytes(usize),
    /// Nothing now.
    Blocked,
    /// The connection is gone.
    Broken,
    /// The target ended TLS with an alert: it does not accept what it was shown.
    Alert,
}

/// Begins a connection to `address`, from `source` if that is given, and registers it under `token`,
/// edge-triggered, once and for all.
pub(crate) fn connect(
    epoll: &OwnedFd,
    address: SocketAddr,
    source: Option<IpAddr>,
    token: u64,
) -> Result<OwnedFd, Failure> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(failure_of)?;
    sockopt::set_tcp_nodelay(&socket, true).map_err(failure_of)?;
    if let Some(source) = source {
        rustix::net::bind(&socket, &SocketAddr::new(source, 0)).map_err(failure_of)?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(failure_of(error)),
    }
    epoll::add(epoll, &socket, epoll::EventData::new_u64(token), interest()).map_err(failure_of)?;
    Ok(socket)
}

/// Has the events of a connection come under another token; whether that went well.
pub(crate) fn retoken(epoll: &OwnedFd, socket: &OwnedFd, token: u64) -> bool {
    epoll::modify(epoll, socket, epoll::EventData::new_u64(token), interest()).is_ok()
}

const fn interest() -> epoll::EventFlags {
    epoll::EventFlags::IN
        .union(epoll::EventFlags::OUT)
        .union(epoll::EventFlags::RDHUP)
        .union(epoll::EventFlags::ET)
}

/// How a connection that was begun came out.
pub(crate) fn connected(socket: &OwnedFd) -> Result<(), Failure> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(failure_of(error)),
    }
}

pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> Moved {
    moved(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))
}

pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Moved {
    moved(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()).map(|(received, _)| received))
}

fn moved(mut attempt: impl FnMut() -> Result<usize, Errno>) -> Moved {
    loop {
        match attempt() {
            Ok(count) => return Moved::Bytes(count),
            Err(Errno::AGAIN) => return Moved::Blocked,
            // A signal: edge-triggered, nobody would say again that there is something to do.
            Err(Errno::INTR) => {}
            Err(_) => return Moved::Broken,
        }
    }
}

fn failure_of(error: Errno) -> Failure {
    match error {
        Errno::CONNREFUSED => Failure::Refused,
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Failure::SkippedPorts,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC => {
            Failure::SkippedDescriptors
        }
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Failure::Reset,
        _ => Failure::Unreachable,
    }
}
