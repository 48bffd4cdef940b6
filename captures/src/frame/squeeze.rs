//! Compresses the payload of blocks, and takes that off again.

use std::io;

const ZSTD_LEVEL: i32 = 1;

/// How blocks are compressed. Readers see it by the block and need not be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1.
    #[default]
    Zstd,
    /// LZ4: about half the work, and files that are half as large again.
    Lz4,
}

impl Compression {
    /// What the head of a block says of it.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Zstd => 0,
            Self::Lz4 => 1,
        }
    }
}

/// Compresses one block after the other.
pub(super) enum Squeezer {
    /// Kept from block to block: its tables are large.
    Zstd(zstd::bulk::Compressor<'static>),
    Lz4,
}

impl Squeezer {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            Compression::Lz4 => Self::Lz4,
        })
    }

    pub(super) const fn compression(&self) -> Compression {
        match self {
            Self::Zstd(_) => Compression::Zstd,
            Self::Lz4 => Compression::Lz4,
        }
    }

    pub(super) fn squeeze(&mut self, payload: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(compressor) => compressor.compress(payload),
            Self::Lz4 => Ok(lz4_flex::block::compress(payload)),
        }
    }
}

/// The payload of `length` bytes that became `stored`; `None` when it is another one, or none at all.
pub(super) fn restore(code: u8, stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let payload = match code {
        0 => zstd::bulk::decompress(stored, length).ok()?,
        1 => lz4_flex::block::decompress(stored, length).ok()?,
        _ => return None,
    };
    (payload.len() == length).then_some(payload)
}
