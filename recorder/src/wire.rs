//! Reads HTTP exchanges out of captured packets: what `sniff` and the import of pcap files share.
//!
//! ```text
//! frame ─▶ link ─▶ ip, fragments, tunnels ─▶ flows (TCP, sctp) ─▶ talk (secure: TLS; HTTP/1, h2) ─▶ exchanges
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
mod sctp;
mod secure;
mod talk;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use captures::Offset;

use self::flows::{Carrier, Close, Flows, Ordered, Parties, parties};
use self::fragments::Fragments;
pub use self::link::Link;
use self::scene::Stage;
pub use self::scene::WireCounts;
use self::sctp::{Event, Sctp};
use crate::assembly::{Assembly, BodyPolicy};
use crate::keylog::KeyLog;

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
    sctp: Sctp,
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
            sctp: Sctp::default(),
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
        let Some(exported) = exported::exported(record) else {
            self.stage.counts.not_tcp += 1;
            return;
        };
        let (parties, side) = parties([exported.source, exported.target]);
        if self.is_wanted(&parties) {
            let exported::Exported { is_secure, content, .. } = exported;
            let carrier = Carrier::Tcp;
            let ordered = Ordered { at, parties, carrier, side, is_secure, content };
            self.flows.on_ordered(&mut self.stage, ordered);
        }
    }

    /// A packet of SCTP; `false` when it is none.
    fn on_sctp(&mut self, at: Offset, addresses: [IpAddr; 2], packet: &[u8]) -> bool {
        let Some((parties, side)) = Sctp::between(addresses, packet) else { return false };
        if self.is_wanted(&parties) {
            let (stage, flows) = (&mut self.stage, &mut self.flows);
            self.sctp.on_packet(at, parties, side, packet, &mut |parties, event| {
                tell(stage, flows, parties, &event);
            });
        }
        true
    }

    /// Whether one of the ports was asked for; counted when not.
    fn is_wanted(&mut self, parties: &Parties) -> bool {
        let is = self.ports.is_empty() || parties.iter().any(|party| self.ports.contains(&party.port()));
        self.stage.counts.other_ports += u64::from(!is);
        is
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
            132 => self.on_sctp(at, [datagram.source, datagram.destination], payload),
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
        let (stage, flows) = (&mut self.stage, &mut self.flows);
        self.sctp.finish(&mut |parties, event| tell(stage, flows, parties, &event));
        self.flows.finish(&mut self.stage);
    }

    /// With these keys connections of TLS are read.
    pub(crate) fn know_keys(&mut self, keys: KeyLog) {
        self.stage.keys = keys;
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

/// What happens on an association of SCTP, in the words of connections.
fn tell(stage: &mut Stage, flows: &mut Flows, parties: Parties, event: &Event<'_>) {
    let carrier = Carrier::Sctp;
    let close = match *event {
        Event::Said { at, side, content } => {
            let ordered = Ordered { at, parties, carrier, side, is_secure: false, content };
            return flows.on_ordered(stage, ordered);
        }
        Event::Unread(bytes) => return stage.counts.unread_bytes += bytes as u64,
        Event::Repeated { differs } => {
            stage.counts.repeated_segments += 1;
            return stage.counts.differing_segments += u64::from(differs);
        }
        Event::Refused(bytes) => return stage.counts.refused_bytes += bytes as u64,
        Event::Lost => {
            stage.counts.gaps += 1;
            Close::Lost
        }
        Event::Broken(side) => Close::Broken(side),
        Event::Over => Close::Agreed,
    };
    flows.on_close(stage, parties, carrier, close);
}
