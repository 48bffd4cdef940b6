//! What all connections share: the numbers, the accounts, the policy, and where finished exchanges go.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use captures::{ConnectionId, Ending, Offset};

use super::talk::Side;
use crate::assembly::{Assembly, BodyPolicy, ResponseHead};
use crate::keylog::KeyLog;

/// Servers that are told apart.
const MOST_SERVERS: usize = 1_024;
/// Exchanges that may be open at once, on all connections.
const MOST_OPEN: usize = 32_768;
/// The bytes that their heads may take.
const MOST_HEADS: usize = 32 << 20;

/// What became of everything that was captured, beyond the exchanges. Nothing is left out in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Packets that were read.
    pub packets: u64,
    /// Their bytes, as they were on the wire.
    pub bytes: u64,
    /// Packets of a kind of link that is not understood.
    pub unknown_link: u64,
    /// Packets that hold nothing of IPv4 or IPv6, or are broken.
    pub not_ip: u64,
    /// Packets of IP that are neither TCP, SCTP nor a known tunnel.
    pub not_tcp: u64,
    /// Packets of other ports than those that were asked for.
    pub other_ports: u64,
    /// Packets whose end was not captured (a short snapshot length).
    pub cut_packets: u64,
    /// Fragmented packets that never became whole.
    pub fragments_lost: u64,
    /// Packets out of their order in time.
    pub earlier_packets: u64,
    /// Connections of TCP, and associations of SCTP on which something was said (once more behind each gap).
    pub connections: u64,
    /// Connections on which HTTP/1 was spoken.
    pub http_connections: u64,
    /// Connections that speak TLS. Without their keys they are not read.
    pub tls_connections: u64,
    /// Of those the ones in which something was read.
    pub tls_connections_read: u64,
    /// Of those the ones that could not be read to their end.
    pub tls_connections_lost: u64,
    /// Connections that speak HTTP/2.
    pub http2_connections: u64,
    /// Sides of those that could not be read to their end.
    pub http2_sides_lost: u64,
    /// Connections on which something else was spoken.
    pub other_connections: u64,
    /// Connections that became something else by an upgrade.
    pub upgraded_connections: u64,
    /// Connections that became tunnels by `CONNECT`.
    pub tunnels: u64,
    /// Connections that were given up, because there were too many.
    pub evicted_connections: u64,
    /// Segments that brought nothing new.
    pub repeated_segments: u64,
    /// Of those, the ones that held other bytes than the first copy.
    pub differing_segments: u64,
    /// Places where something was not captured.
    pub gaps: u64,
    /// The bytes that are missing there.
    pub gap_bytes: u64,
    /// Bytes that found no room to wait in.
    pub refused_bytes: u64,
    /// Bytes that are no part of a message.
    pub unread_bytes: u64,
    /// Messages that began and could not be read.
    pub unreadable_messages: u64,
    /// Messages whose heads were not captured whole, and which are read as far as they were.
    pub cut_heads: u64,
    /// Responses to requests that were not captured.
    pub responses_without_request: u64,
    /// Requests whose responses were not captured.
    pub requests_without_response: u64,
    /// Interim responses (100 Continue and the like), which are not recorded.
    pub interim_responses: u64,
    /// Responses that servers promised unasked (HTTP/2), which are not recorded.
    pub promised_responses: u64,
}

impl WireCounts {
    /// Every count with its name.
    pub fn rows(&self) -> [(&'static str, u64); 32] {
        [
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("unknown_link", self.unknown_link),
            ("not_ip", self.not_ip),
            ("not_tcp", self.not_tcp),
            ("other_ports", self.other_ports),
            ("cut_packets", self.cut_packets),
            ("fragments_lost", self.fragments_lost),
            ("earlier_packets", self.earlier_packets),
            ("connections", self.connections),
            ("http_connections", self.http_connections),
            ("tls_connections", self.tls_connections),
            ("tls_connections_read", self.tls_connections_read),
            ("tls_connections_lost", self.tls_connections_lost),
            ("http2_connections", self.http2_connections),
            ("http2_sides_lost", self.http2_sides_lost),
            ("other_connections", self.other_connections),
            ("upgraded_connections", self.upgraded_connections),
            ("tunnels", self.tunnels),
            ("evicted_connections", self.evicted_connections),
            ("repeated_segments", self.repeated_segments),
            ("differing_segments", self.differing_segments),
            ("gaps", self.gaps),
            ("gap_bytes", self.gap_bytes),
            ("refused_bytes", self.refused_bytes),
            ("unread_bytes", self.unread_bytes),
            ("unreadable_messages", self.unreadable_messages),
            ("cut_heads", self.cut_heads),
            ("responses_without_request", self.responses_without_request),
            ("requests_without_response", self.requests_without_response),
            ("interim_responses", self.interim_responses),
            ("promised_responses", self.promised_responses),
        ]
    }
}

/// What is the same for every connection.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) counts: WireCounts,
    pub(super) policy: BodyPolicy,
    pub(super) keys: KeyLog,
    pub(super) done: VecDeque<Box<Assembly>>,
    pub(super) servers: Vec<SocketAddr>,
    /// Whether the list of servers is written down already.
    pub(super) servers_are_known: bool,
    numbers: HashMap<SocketAddr, u32>,
    connections: u64,
    exchanges: u64,
    open: usize,
    heads: usize,
}

/// The stage as one connection sees it.
pub(super) struct Scene<'a> {
    pub(super) counts: &'a mut WireCounts,
    pub(super) policy: &'a BodyPolicy,
    /// Those of connections within TLS.
    pub(super) keys: &'a KeyLog,
    /// Whether anything of the server was ever captured.
    pub(super) server_is_heard: bool,
    /// Whether the connection is within TLS.
    is_secure: bool,
    parties: [SocketAddr; 2],
    done: &'a mut VecDeque<Box<Assembly>>,
    servers: &'a mut Vec<SocketAddr>,
    servers_are_known: bool,
    numbers: &'a mut HashMap<SocketAddr, u32>,
    connections: &'a mut u64,
    exchanges: &'a mut u64,
    open: &'a mut usize,
    heads: &'a mut usize,
}

impl Stage {
    pub(super) fn new(policy: BodyPolicy) -> Self {
        Self {
            counts: WireCounts::default(),
            policy,
            keys: KeyLog::default(),
            done: VecDeque::new(),
            servers: Vec::new(),
            servers_are_known: false,
            numbers: HashMap::new(),
            connections: 0,
            exchanges: 0,
            open: 0,
            heads: 0,
        }
    }

    /// These servers and no others have numbers.
    pub(super) fn know(&mut self, servers: Vec<SocketAddr>) {
        self.numbers = servers.iter().copied().zip(0..).collect();
        self.servers = servers;
        self.servers_are_known = true;
    }

    /// Whether the heads of open exchanges take too much memory.
    pub(super) const fn is_full(&self) -> bool {
        self.heads > MOST_HEADS
    }

    pub(super) fn scene(
        &mut self,
        parties: [SocketAddr; 2],
        is_secure: bool,
        server_is_heard: bool,
    ) -> Scene<'_> {
        Scene {
            counts: &mut self.counts,
            policy: &self.policy,
            keys: &self.keys,
            server_is_heard,
            is_secure,
            parties,
            done: &mut self.done,
            servers: &mut self.servers,
            servers_are_known: self.servers_are_known,
            numbers: &mut self.numbers,
            connections: &mut self.connections,
            exchanges: &mut self.exchanges,
            open: &mut self.open,
            heads: &mut self.heads,
        }
    }
}

impl Scene<'_> {
    /// The same, of what is said within TLS.
    pub(super) const fn secured(&mut self) -> &mut Self {
        self.is_secure = true;
        self
    }

    pub(super) fn new_connection(&mut self) -> ConnectionId {
        *self.connections += 1;
        ConnectionId(*self.connections - 1)
    }

    /// Whether TLS may be opened: with keys, and once. Within TLS it stays closed, however deep it goes.
    pub(super) fn opens_tls(&self) -> bool {
        !self.is_secure && self.keys.connections() > 0
    }

    /// The number of an exchange that begins with a head of `head` bytes.
    pub(super) fn new_exchange(&mut self, head: usize) -> u64 {
        *self.open += 1;
        *self.heads += head;
        *self.exchanges += 1;
        *self.exchanges - 1
    }

    /// Whether no more exchanges can be open.
    pub(super) fn has_too_many(&self) -> bool {
        *self.open >= MOST_OPEN
    }

    /// Says of an exchange between whom it was.
    pub(super) fn place(&mut self, assembly: &mut Assembly, client: Side) {
        let server = self.parties[1 - client];
        assembly.client = self.parties[client].ip();
        assembly.passage.secure = self.is_secure;
        let known = self.numbers.get(&server).copied();
        assembly.passage.server = known.or_else(|| {
            let number = u32::try_from(self.servers.len())
                .ok()
                .filter(|_| !self.servers_are_known && self.servers.len() < MOST_SERVERS)?;
            self.servers.push(server);
            self.numbers.insert(server, number);
            Some(number)
        });
    }

    /// An exchange is answered.
    pub(super) fn respond(&mut self, assembly: &mut Assembly, head: ResponseHead) {
        let before = assembly.heads();
        assembly.on_response_head(head);
        *self.heads = self.heads.saturating_sub(before) + assembly.heads();
    }

    /// An exchange is over.
    pub(super) fn end(&mut self, mut assembly: Box<Assembly>, at: Offset, ending: Ending, detail: String) {
        assembly.end(at, ending);
        assembly.passage.detail = detail;
        *self.open = self.open.saturating_sub(1);
        *self.heads = self.heads.saturating_sub(assembly.heads());
        self.done.push_back(assembly);
    }
}
