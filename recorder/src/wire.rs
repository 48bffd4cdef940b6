//! Reads HTTP exchanges out of captured packets: what `sniff` and the import of pcap files share.
//!
//! ```text
//! frame ─▶ link ─▶ ip, fragments, tunnels ─▶ flows (TCP) ─▶ talk (HTTP/1, h2) ─▶ exchanges
//! ```
//!
//! All of it is hostile input and none of it is trusted: memory is bounded whatever comes, nothing takes longer
//! than its length warrants, and what cannot be read is counted by reason in [`WireCounts`]. No socket, no file
//! and no clock: the caller brings packets with their time, and takes the exchanges that are done.

mod exported;
mod flows;
mod fragments;
mod h2;
mod half;
mod ip;
mod link;
mod message;
mod scene;
mod talk;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use captures::Offset;

use self::flows::Flows;
use self::fragments::Fragments;
pub use self::link::Link;
use self::scene::Stage;
pub use self::scene::WireCounts;
use crate::assembly::{Assembly, BodyPolicy};

/// Tunnels within tunnels.
const DEEPEST: usize = 4;

/// One captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it passed.
    pub at: Offset,
    /// What kind of link it was on.
    pub link: Link,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: usize,
}

/// Packets on their way to exchanges.
pub(crate) struct Dissection {
    stage: Stage,
    flows: Flows,
    fragments: Fragments,
    ports: Vec<u16>,
    latest: Offset,
}

impl Dissection {
    /// Of the connections of `ports`, or of all without any.
    pub(crate) fn new(policy: BodyPolicy, ports: Vec<u16>) -> Self {
        Self {
            stage: Stage::new(policy),
            flows: Flows::default(),
            fragments: Fragments::default(),
            ports,
            latest: Offset::ZERO,
        }
    }

    /// The same, when the numbers of the servers are settled.
    pub(crate) fn with_servers(policy: BodyPolicy, ports: Vec<u16>, servers: Vec<SocketAddr>) -> Self {
        let mut made = Self::new(policy, ports);
        made.stage.know(servers);
        made
    }

    /// No packet came until `now`.
    pub(crate) fn on_time(&mut self, now: Offset) {
        self.flows.on_time(&mut self.stage, now);
    }

    /// The next packet.
    pub(crate) fn on_packet(&mut self, packet: Packet<'_>) {
        let counts = &mut self.stage.counts;
        counts.packets += 1;
        counts.bytes += packet.length as u64;
        counts.cut_packets += u64::from(packet.bytes.len() < packet.length);
        counts.earlier_packets += u64::from(packet.at < self.latest);
        self.latest = self.latest.max(packet.at);
        if !packet.link.is_known() {
            counts.unknown_link += 1;
            return;
        }
        if packet.link == Link::EXPORTED {
            return self.on_exported(packet.at, packet.bytes);
        }
        match packet.link.network(packet.bytes) {
            Some(network) => self.on_network(packet.at, network, 0),
            None => self.stage.counts.not_ip += 1,
        }
    }

    fn on_exported(&mut self, at: Offset, record: &[u8]) {
        match exported::exported(record) {
            Some(exported) => self.flows.on_exported(&mut self.stage, at, &exported, &self.ports),
            None => self.stage.counts.not_tcp += 1,
        }
    }

    fn on_network(&mut self, at: Offset, packet: &[u8], depth: usize) {
        let Some(datagram) = ip::datagram(packet) else {
            self.stage.counts.not_ip += 1;
            return;
        };
        let assembled;
        let payload = match datagram.fragment {
            None => datagram.payload,
            Some(place) => {
                let lost = self.fragments.lost;
                let whole = self.fragments.on_fragment(at, &datagram, place);
                self.stage.counts.fragments_lost += self.fragments.lost - lost;
                let Some(whole) = whole else { return };
                assembled = whole;
                &assembled[..]
            }
        };
        let is_read = match datagram.protocol {
            6 => {
                let addresses = [datagram.source, datagram.destination];
                self.flows.on_packet(&mut self.stage, at, addresses, payload, &self.ports)
            }
            protocol if depth < DEEPEST => match ip::tunnelled(protocol, payload) {
                Some(inner) => {
                    self.on_network(at, inner, depth + 1);
                    true
                }
                None => false,
            },
            _ => false,
        };
        self.stage.counts.not_tcp += u64::from(!is_read);
    }

    /// The next exchange that is done.
    pub(crate) fn poll(&mut self) -> Option<Box<Assembly>> {
        self.stage.done.pop_front()
    }

    /// Nothing more comes: everything that is open ends.
    pub(crate) fn finish(&mut self) {
        self.flows.finish(&mut self.stage);
    }

    /// What became of everything else.
    pub(crate) fn counts(&self) -> WireCounts {
        self.stage.counts
    }

    /// The servers so far, in the order of their numbers.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.stage.servers
    }
}
