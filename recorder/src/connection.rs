//! What is known of a client connection, for every request that comes on it.

use std::net::SocketAddr;
use std::sync::Arc;

use captures::ConnectionId;

/// A client connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Its number in the recording.
    pub(crate) id: ConnectionId,
    /// Who connected: the client, or the last proxy before us.
    pub(crate) peer: SocketAddr,
    /// Whether TLS is spoken on it.
    pub(crate) secure: bool,
}

impl Connection {
    /// A connection of nobody, for a request that comes without one.
    pub(crate) fn unknown() -> Arc<Self> {
        Arc::new(Self { id: ConnectionId(0), peer: SocketAddr::from(([0, 0, 0, 0], 0)), secure: false })
    }
}
