//! Reads packets from files, by libpcap: pcap and pcapng, any byte order, micro- and nanoseconds.
//!
//! One [`PacketReader`] takes the packets of all files in their order, so that a connection may go on from one
//! into the next.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use captures::{Exchange, Offset};
use pcap::{Capture, Offline, Precision};

use crate::config::Policy;
use crate::intake::body_policy;
use crate::keylog::KeyLog;
use crate::redact::MaskPolicy;
use crate::wire::{Dissection, Link, Packet, WireCounts};

/// Why a file of packets cannot be read, or no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError(String);

impl PacketError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        "give a file of tcpdump, Wireshark or dumpcap (pcap or pcapng); `editcap` mends some"
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for PacketError {}

/// A file of packets.
pub struct PacketFile {
    capture: Capture<Offline>,
    link: Link,
}

/// A packet of a file.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket<'a> {
    /// When it passed, in nanoseconds since 1970-01-01 UTC.
    pub wall: i128,
    /// The kind of its link.
    pub link: Link,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: usize,
}

impl PacketFile {
    /// Opens the file at `path`, or the pipe.
    ///
    /// # Errors
    /// When it is no file of packets.
    pub fn open(path: &Path) -> Result<Self, PacketError> {
        let capture =
            Capture::from_file_with_precision(path, Precision::Nano).map_err(|error| told(&error))?;
        let link = Link(capture.get_datalink().0);
        Ok(Self { capture, link })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read any further.
    pub fn next_packet(&mut self) -> Result<Option<RawPacket<'_>>, PacketError> {
        match self.capture.next_packet() {
            Ok(packet) => {
                let stamp = packet.header.ts;
                let wall = i128::from(stamp.tv_sec) * 1_000_000_000 + i128::from(stamp.tv_usec);
                let length = usize::try_from(packet.header.len).unwrap_or(usize::MAX).max(packet.data.len());
                Ok(Some(RawPacket { wall, link: self.link, bytes: packet.data, length }))
            }
            Err(pcap::Error::NoMorePackets) => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }
}

/// In libpcap's words, without a name of the file.
fn told(error: &pcap::Error) -> PacketError {
    let text = match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    };
    PacketError(text.replace(['\n', '\r'], " "))
}

/// Packets on their way to exchanges, which [`crate::Intake::admit_read`] then admits: by another thread, if need be.
pub struct PacketReader {
    dissection: Dissection,
    started: Option<i128>,
}

impl PacketReader {
    /// Keeps of bodies what the policy of a recording wants, of the connections of `ports` (of all, without any).
    pub fn new(policy: &Policy, masking: &MaskPolicy, ports: Vec<u16>) -> Self {
        Self { dissection: Dissection::new(body_policy(policy, masking), ports), started: None }
    }

    /// With these keys connections of TLS are read.
    pub fn know_keys(&mut self, keys: KeyLog) {
        self.dissection.know_keys(keys);
    }

    /// The next packet. Moments count from the first one.
    pub fn on_packet(&mut self, packet: RawPacket<'_>) {
        let started = *self.started.get_or_insert(packet.wall);
        let at = Offset::from_nanos(u64::try_from(packet.wall - started).unwrap_or(0));
        let RawPacket { link, bytes, length, .. } = packet;
        self.dissection.on_packet(Packet { at, link, bytes, length });
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        self.dissection.finish();
    }

    /// The next exchange that is done, and who asked.
    pub fn poll(&mut self) -> Option<(Exchange, IpAddr)> {
        let assembly = self.dissection.poll()?;
        let client = assembly.client;
        Some((assembly.into_exchange(), client))
    }

    /// The moment of offset zero, in nanoseconds since 1970-01-01 UTC, once there was a packet.
    pub const fn started(&self) -> Option<i128> {
        self.started
    }

    /// What became of everything that is no exchange.
    pub fn counts(&self) -> WireCounts {
        self.dissection.counts()
    }

    /// The servers so far, in the order in which exchanges number them.
    pub fn servers(&self) -> Vec<String> {
        self.dissection.servers().iter().map(ToString::to_string).collect()
    }
}
