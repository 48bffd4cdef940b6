//! What joins a lane to the target.

use std::os::fd::OwnedFd;

use captures::Offset;
use rustls::ClientConnection;

use crate::lane::Lane;

/// A lane and its connection. `generation` tells the events of this connection from those of its forerunners.
pub(super) struct Slot {
    pub(super) lane: Option<Lane>,
    pub(super) link: Link,
    pub(super) generation: u32,
}

pub(super) enum Link {
    Closed,
    Connecting {
        socket: OwnedFd,
        since: Offset,
    },
    /// TCP is there, TLS shakes hands since that moment.
    Shaking {
        socket: OwnedFd,
        tls: Box<ClientConnection>,
        since: Offset,
    },
    /// `used`: it has carried an answer already.
    Open {
        socket: OwnedFd,
        tls: Option<Box<ClientConnection>>,
        used: bool,
    },
    /// A stream of a connection that carries several.
    Stream {
        hub: u32,
        id: u32,
    },
}
