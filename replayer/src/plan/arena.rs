//! The bytes of all requests of a plan: in memory while they are few, in a file without a name when they are many.
//!
//! So the memory of a plan grows with the number of its requests, not with their bodies. The file lies where the
//! system keeps temporary files, is this process's alone and is gone with it.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// So many bytes are kept in memory.
pub(super) const IN_MEMORY: usize = 64 << 20;
/// So many are gathered for a write.
const GATHERED: usize = 1 << 20;

/// Bytes that are only added to.
#[derive(Debug)]
pub(super) struct Arena {
    /// All of them, or those that are not in the file yet.
    bytes: Vec<u8>,
    file: Option<Spilled>,
    in_memory: usize,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    written: u64,
}

impl Arena {
    /// With nothing in it; above `in_memory` bytes it goes to a file.
    pub(super) const fn new(in_memory: usize) -> Self {
        Self { bytes: Vec::new(), file: None, in_memory }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |spilled| spilled.written) + self.bytes.len() as u64
    }

    pub(super) const fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// Adds some; where they begin.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.len();
        self.bytes.extend_from_slice(bytes);
        if self.file.is_none() && self.bytes.len() > self.in_memory {
            self.file = Some(Spilled { file: nameless()?, written: 0 });
        }
        if self.bytes.len() >= GATHERED && self.file.is_some() {
            self.write_out()?;
        }
        Ok(at)
    }

    /// Nothing will be added any more.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            self.write_out()?;
        }
        self.bytes.shrink_to_fit();
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        if let Some(spilled) = &mut self.file {
            spilled.file.write_all(&self.bytes)?;
            spilled.written += self.bytes.len() as u64;
            self.bytes = Vec::new();
        }
        Ok(())
    }

    /// `length` bytes from `at` on, which were added.
    pub(super) fn get(&self, at: u64, length: u32) -> io::Result<Cow<'_, [u8]>> {
        match &self.file {
            None => {
                let begin = usize::try_from(at).map_err(io::Error::other)?;
                let bytes = self.bytes.get(begin..begin + length as usize);
                bytes.map(Cow::Borrowed).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
            }
            Some(spilled) => {
                let mut bytes = vec![0; length as usize];
                spilled.file.read_exact_at(&mut bytes, at)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// A file that nobody else can open.
fn nameless() -> io::Result<File> {
    let folder = std::env::temp_dir();
    for number in 0_u32.. {
        let path = folder.join(format!("highwater-plan-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_memory_and_from_the_file() {
        for in_memory in [usize::MAX, 100] {
            let mut arena = Arena::new(in_memory);
            let pieces: Vec<Vec<u8>> = (0..50_u8).map(|at| vec![at; 60_000 + usize::from(at)]).collect();
            let places: Vec<u64> = pieces.iter().map(|piece| arena.push(piece).unwrap()).collect();
            arena.finish().unwrap();
            assert_eq!(arena.is_on_disk(), in_memory == 100);
            assert_eq!(arena.len(), pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
            for (piece, at) in pieces.iter().zip(places) {
                assert_eq!(&*arena.get(at, u32::try_from(piece.len()).unwrap()).unwrap(), piece);
            }
        }
    }
}
