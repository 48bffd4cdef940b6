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

/// TLS that shakes hands, since that moment.
pub(super) struct Handshake {
    pub(super) tls: Box<ClientConnection>,
    pub(super) since: Offset,
}

pub(super) enum Link {
    Closed,
    Connecting {
        socket: OwnedFd,
        since: Offset,
    },
    /// TCP is there.
    Shaking {
        socket: OwnedFd,
        /// Apart, as most connections do so for a moment only.
        handshake: Box<Handshake>,
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
