//! A connection of HTTP/2 with any frames: no panic, no endless loop, and every exchange comes out once.
//!
//! The bytes are pieces, each behind what it is (one byte) and its length (one byte). A piece is a segment's
//! content as it stands, or (64) a frame whose head is made: its first three bytes are kind, flags and stream. The
//! other bits are the flags of the segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use recorder_fuzz::Watched;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let mut watched = Watched::default();
    watched.on_segment(0, 0, PREFACE);
    let mut rest = bytes;
    while let [what, length, after @ ..] = rest {
        let (piece, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        // Holes and steps back seldom: they end a side.
        let flags = if what & 0x80 != 0 { what & 0x3B } else { what & 1 };
        match piece {
            [kind, flag, stream, payload @ ..] if what & 0x40 != 0 => {
                let head = [0, 0, payload.len() as u8, kind % 12, *flag, 0, 0, 0, *stream];
                watched.on_segment(1, flags, &[&head[..], payload].concat());
            }
            piece => watched.on_segment(1, flags, piece),
        }
    }
    watched.finish();
});
