//! The bytes of all requests of a plan: in memory while they are few, in a file without a name when they are many.
//!
//! So the memory of a plan grows with the number of its requests, not with their bodies. The file lies where the
//! system keeps temporary files, is this process's alone and is gone with it.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::correlate::value::{ByHash, Keyed};

/// So many bytes are kept in memory.
pub(super) const IN_MEMORY: usize = 64 << 20;
/// Texts up to this size are looked up, so that equal ones are kept once.
const MAX_SHARED: usize = 16 << 10;
/// So many are gathered for a write.
const GATHERED: usize = 1 << 20;

/// Bytes that are only added to.
#[derive(Debug)]
pub(super) struct Arena {
    /// All of them, or those that are not in the file yet.
    bytes: Vec<u8>,
    file: Option<Spilled>,
    in_memory: usize,
    /// By their hashes, where those lie that may come again. Their bytes are in the arena already.
    known: ByHash<(u64, u32)>,
    key: Keyed,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    written: u64,
}

impl Arena {
    /// With nothing in it; above `in_memory` bytes it goes to a file.
    pub(super) fn new(in_memory: usize) -> Self {
        Self { bytes: Vec::new(), file: None, in_memory, known: ByHash::default(), key: Keyed::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |spilled| spilled.written) + self.bytes.len() as u64
    }

    pub(super) const fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// Adds a text, unless it is known; where it lies.
    pub(super) fn add(&mut self, text: &[u8]) -> io::Result<u64> {
        if self.is_on_disk() {
            // Where there are too many for memory, there is none for looking them up either.
            self.known = ByHash::default();
            return self.push(text);
        }
        let (Ok(length), true) = (u32::try_from(text.len()), text.len() <= MAX_SHARED) else {
            return self.push(text);
        };
        let hash = self.key.hash(text);
        if let Some(&(at, known)) = self.known.get(&hash)
            && *self.get(at, known)? == *text
        {
            return Ok(at);
        }
        let at = self.push(text)?;
        self.known.insert(hash, (at, length));
        Ok(at)
    }

    /// Adds some; where they begin.
    fn push(&mut self, bytes: &[u8]) -> io::Result<u64> {
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
        self.known = ByHash::default();
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
            let places: Vec<u64> = pieces.iter().map(|piece| arena.add(piece).unwrap()).collect();
            arena.finish().unwrap();
            assert_eq!(arena.is_on_disk(), in_memory == 100);
            assert_eq!(arena.len(), pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
            for (piece, at) in pieces.iter().zip(places) {
                assert_eq!(&*arena.get(at, u32::try_from(piece.len()).unwrap()).unwrap(), piece);
            }
        }
    }

    #[test]
    fn equal_texts_lie_in_one_place_as_long_as_they_are_in_memory() {
        let mut arena = Arena::new(40);
        let places: Vec<u64> =
            ["GET /a", "GET /b", "GET /a", "GET /b"].map(|text| arena.add(text.as_bytes()).unwrap()).to_vec();
        assert_eq!(places, [0, 6, 0, 6]);
        let long = vec![b'x'; 41];
        assert_eq!((arena.add(&long).unwrap(), arena.is_on_disk()), (12, true));
        assert_eq!(arena.add(b"GET /a").unwrap(), 53);
        arena.finish().unwrap();
        assert_eq!(&*arena.get(53, 6).unwrap(), b"GET /a");
    }
}
