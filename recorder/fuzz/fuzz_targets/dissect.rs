//! Any frames, read as packets of HTTP: no panic, no endless loop, and every exchange comes out once.
//!
//! The bytes are a kind of link, then frames, each behind its length (two bytes) and a time step (one byte). A
//! frame of the kind 255 is a segment of one connection whose head is made here, so that the fuzzer reaches HTTP.
//!
//! `cargo fuzz run dissect` in `recorder/` (a nightly toolchain, or `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::time::Duration;

use captures::Bytes;
use libfuzzer_sys::fuzz_target;
use recorder::{
    BodyRules, Filters, Kept, KeyRule, Link, MaskPolicy, PacketImport, Policy, RawPacket, SamplingRatio,
    SessionPolicy,
};

const LINKS: [i32; 12] = [0, 1, 7, 9, 12, 51, 104, 108, 113, 129, 239, 276];

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

fn segment(flags: u8, content: &[u8], places: &mut [u32; 2]) -> Vec<u8> {
    let side = usize::from(flags & 1);
    let length = u16::try_from(40 + content.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    bytes.extend([10, 0, 0, 1 + side as u8, 10, 0, 0, 2 - side as u8]);
    let ports: [u16; 2] = if side == 0 { [40_000, 80] } else { [80, 40_000] };
    ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
    // Now and then a step back, a hole, or an end.
    let place = places[side].wrapping_add(u32::from(flags >> 5)).wrapping_sub(u32::from(flags >> 3 & 3));
    bytes.extend(place.to_be_bytes());
    bytes.extend(places[1 - side].to_be_bytes());
    bytes.extend([0x50, 0x10 | (flags >> 1 & 1), 255, 255, 0, 0, 0, 0]);
    bytes.extend(content);
    places[side] = place.wrapping_add(content.len() as u32);
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, mut rest)) = bytes.split_first() else { return };
    let mut import = PacketImport::new(&policy(), &MaskPolicy::None, [0; 16], Vec::new());
    let (mut wall, mut places) = (1_600_000_000_000_000_000_i128, [0_u32, 0]);
    let mut found = 0_u64;
    while let [high, low, step, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high & 0x0F, *low])).min(after.len());
        let (frame, next) = after.split_at(length);
        rest = next;
        wall += i128::from(*step) * 50_000_000;
        let made;
        let (link, frame) = match frame.split_first() {
            Some((&flags, content)) if high & 0x80 != 0 => {
                made = segment(flags, content, &mut places);
                (Link(12), &made[..])
            }
            _ => (Link(LINKS[usize::from(kind) % LINKS.len()]), frame),
        };
        import.on_packet(RawPacket { wall, link, bytes: frame, length: frame.len() });
        while import.poll().is_some() {
            found += 1;
        }
    }
    import.finish();
    while import.poll().is_some() {
        found += 1;
    }
    assert_eq!(found, import.intake().tally().seen);
});
