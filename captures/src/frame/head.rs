//! Reads the head of a block: fixed fields, little endian, with a checksum of their own.

use super::{BlockKind, MAX_BLOCK};

pub(super) const SYNC: [u8; 4] = [0xB7, 0x48, 0x57, 0x42];
pub(super) const HEAD_LENGTH: usize = 48;

/// What the head of a block says of it.
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) compression: u8,
    pub(super) records: u32,
    pub(super) stored_length: u32,
    pub(super) raw_length: u32,
    pub(super) payload_check: u32,
}

impl Head {
    pub(super) fn kind_is_data(&self) -> bool {
        matches!(BlockKind::from_code(self.kind), Some(BlockKind::Exchanges | BlockKind::Intervals))
    }
}

/// The head at the beginning of `bytes`, when it is sound.
pub(super) fn parse_head(bytes: &[u8]) -> Option<Head> {
    let head = bytes.get(..HEAD_LENGTH)?;
    if head[..4] != SYNC || read_u32(&head[44..]) != crc32c::crc32c(&head[..44]) {
        return None;
    }
    let (stored_length, raw_length) = (read_u32(&head[16..]), read_u32(&head[20..]));
    (stored_length as usize <= MAX_BLOCK + HEAD_LENGTH && raw_length as usize <= MAX_BLOCK).then(|| Head {
        kind: head[4],
        compression: head[5],
        records: read_u32(&head[12..]),
        stored_length,
        raw_length,
        payload_check: read_u32(&head[40..]),
    })
}

pub(super) fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

pub(super) fn read_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
