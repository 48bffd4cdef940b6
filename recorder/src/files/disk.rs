//! A file that takes a failed write back, so that it never holds half a block in its middle, and that
//! notices when somebody deletes or cuts it.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

/// A file under a capture.
#[derive(Debug)]
pub(crate) struct Disk {
    file: Arc<File>,
    /// The bytes that were written whole.
    length: u64,
    /// Whether there may be more than those, because a write failed and could not be taken back.
    torn: bool,
    /// A pipe or a device has no length, and nothing can be taken back there.
    is_plain: bool,
}

impl Disk {
    /// Empties `file`, and leaves it to its owner alone.
    pub(crate) fn emptied(file: Arc<File>) -> io::Result<Self> {
        let is_plain = file.metadata()?.is_file();
        // A pipe or a device holds nothing to empty, and is not ours to close off.
        if is_plain {
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
            file.set_len(0)?;
        }
        Ok(Self { file, length: 0, torn: false, is_plain })
    }

    /// Makes sure that the file holds exactly what was written whole.
    fn ready(&mut self) -> io::Result<()> {
        if !self.is_plain {
            return Ok(());
        }
        let found = self.file.metadata()?;
        if found.nlink() == 0 {
            return Err(deleted());
        }
        if found.len() < self.length {
            return Err(io::Error::new(io::ErrorKind::NotFound, Gone::Cut));
        }
        if self.torn {
            self.file.set_len(self.length)?;
            (&*self.file).seek(SeekFrom::Start(self.length))?;
            self.torn = false;
        }
        Ok(())
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ready()?;
        if let Err(error) = (&*self.file).write_all(bytes) {
            self.torn = true;
            // Best effort, at once for the sake of those who read along: the next write tries again.
            let _ = self.ready();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What somebody else did to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Deleted,
    Cut,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "it was deleted",
            Self::Cut => "it was cut by somebody else",
        })
    }
}

impl std::error::Error for Gone {}

pub(crate) fn deleted() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, Gone::Deleted)
}

/// What is to be hoped for after a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// It was for want of room: the file goes on when there is room.
    Room,
    /// It is the medium, or the file: it may pass; else another file may do.
    Doubtful,
    /// The file was cut: it cannot go on.
    Cut,
    /// The file was deleted, and what was in it with it.
    Deleted,
}

/// What is to be hoped for after `error`.
pub(crate) fn outlook(error: &io::Error) -> Outlook {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Gone>()) {
        Some(Gone::Deleted) => return Outlook::Deleted,
        Some(Gone::Cut) => return Outlook::Cut,
        None => {}
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Outlook::Room
        }
        _ => Outlook::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_deleted_or_cut_takes_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let disk = || Disk::emptied(Arc::new(File::create(&path).unwrap())).unwrap();

        let mut deleted = disk();
        deleted.write_all(b"whole").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(outlook(&deleted.write_all(b"more").unwrap_err()), Outlook::Deleted);

        let mut cut = disk();
        cut.write_all(b"whole").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert_eq!(outlook(&cut.write_all(b"more").unwrap_err()), Outlook::Cut);
        assert_eq!(std::fs::read(&path).unwrap(), b"wh");
    }
}
