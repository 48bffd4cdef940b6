//! What the targets share: an import of packets that keeps everything, and one connection whose heads are made.

use std::time::Duration;

use captures::Bytes;
use recorder::{
    BodyRules, Filters, Intake, Kept, KeyLog, KeyRule, Link, MaskPolicy, PacketReader, Policy, RawPacket, SamplingRatio,
    SessionPolicy,
};

/// An import, and how many exchanges came out of it.
pub struct Watched {
    reader: PacketReader,
    intake: Intake,
    found: u64,
    wall: i128,
    places: [u32; 2],
}

impl Default for Watched {
    fn default() -> Self {
        let reader = PacketReader::new(&policy(), &MaskPolicy::None, Vec::new());
        let intake = Intake::new(&policy(), &MaskPolicy::None, [0; 16]);
        Self { reader, intake, found: 0, wall: 1_600_000_000_000_000_000, places: [0; 2] }
    }
}

impl Watched {
    /// Opens TLS by these keys.
    pub fn know_keys(&mut self, keys: KeyLog) {
        self.reader.know_keys(keys);
    }

    /// A packet of a file.
    pub fn on_packet(&mut self, packet: RawPacket<'_>) {
        self.reader.on_packet(packet);
        self.drain();
    }

    /// A frame, so many steps of 50 ms after the one before.
    pub fn on_frame(&mut self, step: u8, link: Link, bytes: &[u8]) {
        self.wall += i128::from(step) * 50_000_000;
        self.on_packet(RawPacket { wall: self.wall, link, bytes, length: bytes.len() });
    }

    /// A segment of one connection. The flags choose who sends (1), the end (2), a step back (8, 16) and a hole
    /// (32 and above).
    pub fn on_segment(&mut self, step: u8, flags: u8, content: &[u8]) {
        let side = usize::from(flags & 1);
        let length = u16::try_from(40 + content.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 1 + side as u8, 10, 0, 0, 2 - side as u8]);
        let ports: [u16; 2] = if side == 0 { [40_000, 80] } else { [80, 40_000] };
        ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
        let place =
            self.places[side].wrapping_add(u32::from(flags >> 5)).wrapping_sub(u32::from(flags >> 3 & 3));
        bytes.extend(place.to_be_bytes());
        bytes.extend(self.places[1 - side].to_be_bytes());
        bytes.extend([0x50, 0x10 | (flags >> 1 & 1), 255, 255, 0, 0, 0, 0]);
        bytes.extend(content);
        self.places[side] = place.wrapping_add(content.len() as u32);
        self.on_frame(step, Link(12), &bytes);
    }

    /// Nothing more comes: every exchange that was seen came out once.
    pub fn finish(mut self) {
        self.reader.finish();
        self.drain();
        assert_eq!(self.found, self.intake.tally().seen);
    }

    fn drain(&mut self) {
        while let Some((exchange, client)) = self.reader.poll() {
            self.found += u64::from(self.intake.admit_read(exchange, client).is_some());
        }
    }
}

fn policy() -> Policy {
    let all = || BodyRules::new(&[], Kept::Whole(Bytes::new(1 << 20))).unwrap();
    Policy {
        sessions: SessionPolicy { keys: vec![KeyRule::Connection], idle: Duration::from_secs(60) },
        sampling: SamplingRatio::ALL,
        filters: Filters::default(),
        request_bodies: all(),
        response_bodies: all(),
        decode_bodies: false,
        record_replayed: true,
        typed: Vec::new(),
    }
}
