//! Any frames, read as packets of HTTP: no panic, no endless loop, and every exchange comes out once.
//!
//! The bytes are a kind of link, then frames, each behind its length (two bytes) and a time step (one byte). A
//! frame with the highest bit of its length set is a segment of one connection whose head is made, so that the
//! fuzzer reaches HTTP; its first byte is the segment's flags.
#![no_main]

use libfuzzer_sys::fuzz_target;
use recorder::Link;
use recorder_fuzz::Watched;

const LINKS: [i32; 12] = [0, 1, 7, 9, 12, 51, 104, 108, 113, 129, 239, 276];

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, mut rest)) = bytes.split_first() else { return };
    let mut watched = Watched::default();
    while let [high, low, step, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high & 0x0F, *low])).min(after.len());
        let (frame, next) = after.split_at(length);
        rest = next;
        match frame.split_first() {
            Some((&flags, content)) if high & 0x80 != 0 => watched.on_segment(*step, flags, content),
            _ => watched.on_frame(*step, Link(LINKS[usize::from(kind) % LINKS.len()]), frame),
        }
    }
    watched.finish();
});
