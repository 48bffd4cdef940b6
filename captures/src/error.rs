//! What can be wrong with a file, and how to mend it.
//!
//! Damage in one place is a value that the reader reports beside what it could read; only what makes a
//! whole file unreadable is an error.

use std::fmt;
use std::io;

use crate::frame::FileKind;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum ReadError {
    /// The source cannot be read.
    Io(io::Error),
    /// The file has no bytes.
    Empty,
    /// The file is something else.
    Foreign,
    /// The file is a capture where a run was wanted, or the other way round.
    WrongKind {
        /// What was wanted.
        wanted: FileKind,
    },
    /// The file was written by a newer Highwater.
    Newer {
        /// Its format version.
        version: u16,
        /// The newest that this Highwater reads.
        known: u16,
    },
    /// Neither copy of the header can be read, so that nothing in the file can be understood.
    NoHeader,
}

impl ReadError {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Io(_) => "check the path and its permissions",
            Self::Empty => "the writer was stopped before its first byte; record again",
            Self::Foreign => "give a file that `highwater record` or `highwater replay` wrote",
            Self::WrongKind { wanted: FileKind::Capture } => {
                "give a capture (`highwater record --out`); this is a run"
            }
            Self::WrongKind { wanted: FileKind::Run } => {
                "give a run (`highwater replay --out`); this is a capture"
            }
            Self::Newer { .. } => "read it with the Highwater that wrote it, or a newer one",
            Self::NoHeader => "nothing of it can be saved; record again",
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => write!(f, "is empty"),
            Self::Foreign => write!(f, "is not a Highwater file"),
            Self::WrongKind { wanted } => write!(f, "is not a {}", wanted.as_str()),
            Self::Newer { version, known } => {
                write!(f, "has format version {version}; this Highwater reads up to {known}")
            }
            Self::NoHeader => write!(f, "is cut or damaged in its header"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A place of a file that could not be read; what lies around it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first damaged byte.
    pub offset: u64,
    /// The number of bytes stepped over.
    pub length: u64,
    /// The number of records lost, where it is known.
    pub records: Option<u32>,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// What is wrong with a damaged place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The bytes are not those that were written.
    Checksum,
    /// The file ends in the middle of a block: the writer was killed, or the file was cut.
    Torn,
    /// The file ends after a whole block without having been closed: the writer was killed, or is still
    /// writing. What it had not yet written is lost.
    Unclosed,
    /// A block is sound but its records cannot be understood.
    Undecodable,
    /// Bytes after the end.
    Trailing,
}

impl DamageKind {
    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Torn => "torn",
            Self::Unclosed => "unclosed",
            Self::Undecodable => "undecodable",
            Self::Trailing => "trailing",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == DamageKind::Unclosed {
            return write!(
                f,
                "byte {}: the file was not closed, its last moment may be missing",
                self.offset
            );
        }
        let what = match self.kind {
            DamageKind::Unclosed => "not closed",
            DamageKind::Checksum => "checksum mismatch",
            DamageKind::Torn => "the file ends in the middle of a block",
            DamageKind::Undecodable => "records that cannot be understood",
            DamageKind::Trailing => "bytes after the end",
        };
        write!(f, "byte {}, {} bytes: {what}", self.offset, self.length)?;
        match self.records {
            Some(records) => write!(f, " ({records} records lost)"),
            None => Ok(()),
        }
    }
}
