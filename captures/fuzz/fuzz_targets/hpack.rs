//! Any header blocks of one connection (HPACK): no panic, no endless loop, nothing beyond the limits; and what was
//! read, written out without compression, reads as the same.
//!
//! The bytes are blocks, each behind its length (one byte). A length of 255 stands for all that is left.
#![no_main]

use captures::Header;
use captures::hpack::Decoder;
use libfuzzer_sys::fuzz_target;

/// What a block may unfold to, and the largest table, with the room for the field that is being learned.
const LIMIT: usize = 16 << 10;
const TABLE: usize = 64 << 10;

fuzz_target!(|bytes: &[u8]| {
    let (mut decoder, mut plain) = (Decoder::default(), Decoder::default());
    let mut rest = bytes;
    while let [length, after @ ..] = rest {
        let length = if *length == 255 { after.len() } else { usize::from(*length).min(after.len()) };
        let (block, next) = after.split_at(length);
        rest = next;
        // A fault makes the rest of a connection unreadable.
        let Some(fields) = decoder.fields(block, LIMIT) else { return };
        let size: usize = fields.iter().map(|field| field.name.len() + field.value.len() + 32).sum();
        assert!(size <= LIMIT && decoder.held() <= TABLE);
        let written: Vec<u8> = fields.iter().flat_map(literal).collect();
        assert_eq!(plain.fields(&written, LIMIT), Some(fields));
        assert_eq!(plain.held(), 0);
    }
});

/// A field that nobody is to remember, as RFC 7541 writes it (6.2.2), without Huffman's code.
fn literal(field: &Header) -> Vec<u8> {
    let mut written = vec![0];
    for text in [&field.name, &field.value] {
        let mut left = text.len();
        if left < 127 {
            written.push(left as u8);
        } else {
            written.push(127);
            left -= 127;
            while left >= 128 {
                written.push(left as u8 | 0x80);
                left >>= 7;
            }
            written.push(left as u8);
        }
        written.extend_from_slice(text);
    }
    written
}
