//! What was meant: the recorder's resolved configuration.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use captures::{Bytes, Compression};
use pingora::upstreams::peer::PeerOptions;

use crate::error::RecordError;
use crate::forwarded::{Forwarding, Network};
use crate::gate::Limits;
use crate::peer::{Peers, Protocol, Trust};
use crate::policy::{BodyRules, Filters, SamplingRatio, SessionPolicy};
use crate::redact::MaskPolicy;
use crate::tls::Certificates;
use crate::upstream::{Balance, HealthChecks, HostHeader};

/// Everything a recording depends on, but for the socket and the file.
#[derive(Clone, Debug)]
pub struct Config {
    /// How clients are served.
    pub downstream: Downstream,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// What is recorded.
    pub policy: Policy,
    /// What is done to secrets.
    pub masking: MaskPolicy,
    /// How it is written.
    pub files: Files,
    /// The number of worker threads.
    pub threads: usize,
}

/// How clients are served.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// How long requests in flight may go on after a stop.
    pub grace: Duration,
    /// How long a client may stay silent within an exchange.
    pub patience: Duration,
    /// How long the head of an HTTP/1 request may take from its first byte to its last.
    pub head_time: Duration,
    /// The most bytes of such a head.
    pub head_size: Bytes,
    /// How long a connection may lie idle between two requests.
    pub keepalive: Duration,
    /// What clients that speak TLS are shown.
    pub certificates: Option<Arc<Certificates>>,
}

impl Downstream {
    /// What the gate holds clients to.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            head: self.head_time,
            head_bytes: usize::try_from(self.head_size.as_u64()).unwrap_or(usize::MAX),
            idle: self.keepalive,
            patience: self.patience,
        }
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// The servers; at least one.
    pub servers: Vec<Upstream>,
    /// Which of them gets the next request.
    pub balance: Balance,
    /// How they are checked, when they are.
    pub health: Option<HealthChecks>,
    /// How long a connection, with TLS where it is spoken, may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may stay silent within an exchange.
    pub read_timeout: Duration,
    /// How long a server may take nothing of a request.
    pub write_timeout: Duration,
    /// The most idle connections that a worker keeps to all servers.
    pub pool: usize,
    /// How long it keeps one.
    pub pool_idle: Duration,
    /// The Host that the servers are told; the client's without one.
    pub host_header: Option<HostHeader>,
    /// What they are told of the client.
    pub forwarding: Forwarding,
    /// The proxies before us whose word on the client's address counts.
    pub trusted_proxies: Vec<Network>,
}

/// What is recorded.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whose requests are whose.
    pub sessions: SessionPolicy,
    /// The share of the sessions that is recorded.
    pub sampling: SamplingRatio,
    /// What is left out.
    pub filters: Filters,
    /// What is kept of requests' bodies.
    pub request_bodies: BodyRules,
    /// What is kept of responses' bodies.
    pub response_bodies: BodyRules,
    /// Whether the content coding is taken off bodies that are stored whole, where that can be done.
    pub decode_bodies: bool,
    /// Whether traffic that a replay marked as its own is recorded, too.
    pub record_replayed: bool,
    /// All that makes the capture hold less than what passed, as it was typed.
    pub typed: Vec<String>,
}

/// How it is written.
#[derive(Clone, Debug)]
pub struct Files {
    /// The most bytes that may wait for the writer.
    pub queue: Bytes,
    /// When a file ends and the next begins.
    pub rotation: Rotation,
    /// How much all files may take.
    pub quota: Option<Quota>,
    /// How captures are compressed.
    pub compression: Compression,
    /// When what was written is brought onto the medium.
    pub syncing: Syncing,
}

/// When a file ends and the next begins; with neither there is one file.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At about this size.
    pub size: Option<Bytes>,
    /// After this time, when there is anything in it.
    pub every: Option<Duration>,
}

impl Rotation {
    /// Whether there may be more files than one.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.size.is_some() || self.every.is_some()
    }
}

/// How much all files of one name may take.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Together.
    pub limit: Bytes,
    /// What to do then.
    pub when_full: WhenFull,
}

/// What to do when the quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Remove the oldest file that was closed.
    RemoveOldest,
    /// Record no more until there is room; what passes is counted.
    Stop,
}

/// When what was written is brought onto the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncing {
    /// When the machine likes.
    Never,
    /// When a file is closed.
    Close,
    /// That, and so often.
    Every(Duration),
}

/// One server that requests go to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `HOST:PORT` as typed, without a scheme.
    pub typed: String,
    /// What it resolved to, in the resolver's order; at least one.
    pub addresses: Vec<SocketAddr>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its share of the requests, relative to the others'; above zero.
    pub weight: u32,
}

impl Upstream {
    /// Looks `typed` (`HOST:PORT`) up, once: later changes of the name are not followed.
    ///
    /// # Errors
    /// When the name has no address.
    pub fn resolve(typed: &str, protocol: Protocol) -> Result<Self, RecordError> {
        let unresolved = |reason: String| RecordError::Unresolved {
            upstream: typed.to_owned(),
            reason: reason.to_lowercase(),
        };
        let found = typed.to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unresolved("the name exists but has no address".to_owned()));
        }
        Ok(Self { typed: typed.to_owned(), addresses, protocol, weight: 1 })
    }
}

impl Upstreams {
    /// Every address of every server, in order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.servers.iter().flat_map(|server| server.addresses.iter().copied())
    }

    /// What a check of each address names as its host, in order.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let of = |server: &Upstream| {
            let told = self.host_header.as_ref().and_then(|host| host.0.to_str().ok());
            vec![told.unwrap_or(&server.typed).to_owned(); server.addresses.len()]
        };
        self.servers.iter().flat_map(of).collect()
    }

    /// A peer for each address, in order.
    pub(crate) fn peers(&self) -> Vec<Peers> {
        let settle = |options: &mut PeerOptions| {
            options.connection_timeout = Some(self.connect_timeout);
            options.total_connection_timeout = Some(self.connect_timeout);
            options.read_timeout = Some(self.read_timeout);
            options.write_timeout = Some(self.write_timeout);
            options.idle_timeout = Some(self.pool_idle);
        };
        let of = |server: &Upstream| {
            let protocol = server.protocol.clone();
            let addresses = server.addresses.clone().into_iter();
            addresses.map(move |address| Peers::new(address, &protocol, settle)).collect::<Vec<_>>()
        };
        self.servers.iter().flat_map(of).collect()
    }

    /// Whether the certificates of the machine's authorities are wanted.
    pub(crate) fn trust_the_machine(&self) -> bool {
        self.servers
            .iter()
            .filter_map(|server| server.protocol.tls.as_ref())
            .any(|tls| matches!(tls.trust, Trust::Machine))
    }
}
