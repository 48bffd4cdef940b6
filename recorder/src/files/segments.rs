//! The files of one recording: made for their owner alone, kept from other recorders, numbered, removed when
//! they are too many.
//!
//! Without rotation there is one file, `--out` itself. Should it become impossible to go on in it, or should
//! somebody have moved it away and asked for a new one, the next is `--out` again when that name is free, else
//! one with a number. With rotation all have numbers.
//!
//! No link is followed and nothing is made in a folder where everybody may rename things.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use captures::{Bytes, Offset};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::clock;
use crate::config::{Files, Quota, Syncing, WhenFull};
use crate::files::disk::Disk;
use crate::files::names::Naming;
use crate::files::roll::{Room, Shelf};
use crate::files::syncer::Syncer;
use crate::upgrade::Upgrade;

/// So many names are tried when others take them at the same time.
const TRIES: u32 = 1_000;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;

/// The files of one recording.
#[derive(Debug)]
pub struct Segments {
    out: PathBuf,
    naming: Naming,
    rotates: bool,
    /// A pipe or a device is the only file there is.
    is_plain: bool,
    quota: Option<Quota>,
    syncing: Syncing,
    current: Segment,
    /// The one that is being begun.
    next: Option<Segment>,
    /// Others with numbers, the oldest first, as far as known.
    others: VecDeque<(PathBuf, u64)>,
    next_number: u32,
    /// The files that were begun.
    count: u64,
    /// The bytes of those that were left.
    left: u64,
    syncer: Option<Syncer>,
    synced: Offset,
    has_begun: bool,
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    /// Whether there was nothing before.
    is_new: bool,
}

impl Segments {
    /// Makes the first file, or opens the one that is to be replaced with all that is in it: it is emptied
    /// when the recording starts. Keeps other recorders of the same name out, but for the one that is taken
    /// over: beside its file the first one here has a number.
    ///
    /// # Errors
    /// When the file exists and `force` was not given, is another recorder's, is a link, or cannot be made.
    pub fn open(
        out: &Path,
        force: bool,
        files: &Files,
        upgrade: Option<&mut Upgrade>,
    ) -> Result<Self, OutError> {
        let naming = Naming::of(out);
        let is_plain =
            std::fs::symlink_metadata(out).map_or(true, |found| found.is_file() || found.is_symlink());
        let inherited =
            upgrade.and_then(Upgrade::take_lock).and_then(|lock| Lock::inherit(&naming.lock(), lock));
        let is_heir = inherited.is_some() && out.exists();
        let lock = if is_plain {
            refuse_open_folder(naming.folder())?;
            match inherited {
                Some(lock) => Some(lock),
                None => Lock::take(&naming.lock())?,
            }
        } else {
            None
        };
        let rotates = is_plain && files.rotation.is_wanted();
        let mut next_number = 1;
        let others = scan(&naming, &mut next_number);
        let current = if rotates || is_heir {
            numbered(&naming, &mut next_number, clock::wall())?
        } else {
            first(out, force)?
        };
        let others = others.into();
        Ok(Self {
            out: out.to_owned(),
            naming,
            rotates,
            is_plain,
            quota: files.quota.filter(|_| is_plain),
            syncing: files.syncing,
            current,
            next: None,
            others,
            next_number,
            count: 0,
            left: 0,
            syncer: None,
            synced: Offset::ZERO,
            has_begun: false,
            lock,
        })
    }

    /// What to call the files in messages.
    pub fn shown(&self) -> PathBuf {
        if self.rotates { self.naming.pattern() } else { self.current.path.clone() }
    }

    /// What keeps others out, for a process that goes on with the recording.
    pub(crate) fn shared_lock(&self) -> Option<SharedLock> {
        let lock = self.lock.as_ref()?;
        let file = lock.file.try_clone().ok()?;
        Some(SharedLock { file: file.into(), is_given: Arc::clone(&lock.is_given) })
    }

    /// The sum of what is not the current file; looks at the folder again.
    fn others_size(&mut self) -> u64 {
        let current = self.current.path.file_name();
        let all = scan(&self.naming, &mut self.next_number);
        self.others = all.into_iter().filter(|(path, _)| path.file_name() != current).collect();
        self.others.iter().map(|(_, size)| size).sum()
    }
}

impl Shelf for Segments {
    type Sink = Disk;

    fn begin(&mut self) -> io::Result<Disk> {
        let disk = Disk::emptied(Arc::clone(&self.current.file))?;
        if self.syncing != Syncing::Never {
            let syncer = Syncer::begin()?;
            syncer.sync_folder(self.naming.folder());
            self.syncer = Some(syncer);
        }
        self.has_begun = true;
        self.count = 1;
        Ok(disk)
    }

    fn open(&mut self, wall: i128) -> io::Result<Disk> {
        if !self.is_plain {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let again = if self.rotates { None } else { made(&self.out) };
        let segment = match again {
            Some(made) => made?,
            None => numbered(&self.naming, &mut self.next_number, wall)?,
        };
        let disk = Disk::emptied(Arc::clone(&segment.file));
        self.next = Some(segment);
        disk.inspect_err(|_| self.forget())
    }

    fn forget(&mut self) {
        if let Some(next) = self.next.take() {
            let _ = std::fs::remove_file(next.path);
        }
    }

    fn settle(&mut self, length: u64) {
        let Some(next) = self.next.take() else { return };
        let old = std::mem::replace(&mut self.current, next);
        if self.naming.number_of(old.path.file_name().unwrap_or_default()).is_some() {
            self.others.push_back((old.path, length));
        }
        self.left += length;
        self.count += 1;
        if let Some(syncer) = &self.syncer {
            syncer.sync_closed(old.file);
            syncer.sync_folder(self.naming.folder());
        }
    }

    fn current(&self) -> &Path {
        &self.current.path
    }

    fn was_moved(&self) -> bool {
        let ours = self.current.file.metadata().map(|ours| (ours.dev(), ours.ino()));
        let there = std::fs::symlink_metadata(&self.current.path).map(|there| (there.dev(), there.ino()));
        match (ours, there) {
            _ if !self.is_plain => false,
            (Ok(ours), Ok(there)) => ours != there,
            (_, there) => there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
        }
    }

    fn make_room(&mut self, current: u64) -> Room {
        let Some(Quota { limit, when_full }) = self.quota else { return Room::default() };
        let fits = |others: u64| others + current <= limit.as_u64();
        if fits(self.others.iter().map(|(_, size)| size).sum()) {
            return Room::default();
        }
        let mut others = self.others_size();
        let mut removed = Vec::new();
        if when_full == WhenFull::RemoveOldest {
            while !fits(others)
                && let Some((path, size)) = self.others.front()
                && std::fs::remove_file(path).is_ok()
            {
                removed.push(*size);
                others -= *size;
                self.others.pop_front();
            }
        }
        // The current file alone is made room for by the next seam.
        let is_full = !fits(others) && (when_full == WhenFull::Stop || !self.others.is_empty());
        Room { removed, is_full }
    }

    fn tend(&mut self, now: Offset) -> Option<io::Error> {
        let syncer = self.syncer.as_ref()?;
        if let Syncing::Every(length) = self.syncing
            && now.since(self.synced) >= length
        {
            self.synced = now;
            syncer.sync_open(&self.current.file);
        }
        syncer.failed()
    }

    fn finish(mut self, length: u64) -> (u64, Bytes, io::Result<()>) {
        let synced = match self.syncer.take() {
            // A pipe or a device cannot be synced, and needs not be.
            Some(syncer) if self.is_plain => {
                syncer.sync_closed(Arc::clone(&self.current.file));
                syncer.finish()
            }
            _ => Ok(()),
        };
        (self.count, Bytes::new(self.left + length), synced)
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        // A recording that could not start leaves nothing behind.
        if !self.has_begun && self.current.is_new {
            let _ = std::fs::remove_file(&self.current.path);
        }
    }
}

/// The numbered segments in the folder, the oldest first; raises `next_number` above them.
fn scan(naming: &Naming, next_number: &mut u32) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(naming.folder()).into_iter().flatten().flatten() {
        if let Some(number) = naming.number_of(&entry.file_name())
            && let Ok(about) = entry.metadata()
            && about.is_file()
        {
            found.push((number, entry.path(), about.len()));
            *next_number = (*next_number).max(number.saturating_add(1));
        }
    }
    found.sort();
    found.into_iter().map(|(_, path, size)| (path, size)).collect()
}

/// The file `--out` itself.
fn first(out: &Path, force: bool) -> Result<Segment, OutError> {
    let segment = match made(out) {
        Some(made) => made.map_err(OutError::of)?,
        None if force => Segment { path: out.to_owned(), file: Arc::new(existing(out)?), is_new: false },
        None => return Err(OutError::Exists),
    };
    match segment.file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OutError::InUse),
        // Not every file system has locks; recording does not depend on them.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(segment),
    }
}

/// A new file with the next number that is free.
fn numbered(naming: &Naming, next_number: &mut u32, wall: i128) -> io::Result<Segment> {
    for _ in 0..TRIES {
        let path = naming.segment(*next_number, wall);
        *next_number = next_number.saturating_add(1);
        if let Some(made) = made(&path) {
            let segment = made?;
            let _ = segment.file.try_lock();
            return Ok(segment);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A new file; `None` when there is one already.
fn made(path: &Path) -> Option<io::Result<Segment>> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
        opened => {
            Some(opened.map(|file| Segment { path: path.to_owned(), file: Arc::new(file), is_new: true }))
        }
    }
}

/// The file that is to be replaced: nobody's but ours, under no other name.
fn existing(path: &Path) -> Result<File, OutError> {
    let mut options = OpenOptions::new();
    // Of a pipe the end that nobody reads would not open before somebody does.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.write(true).custom_flags(flags).open(path).map_err(OutError::of)?;
    let found = file.metadata().map_err(OutError::of)?;
    if found.file_type().is_fifo() {
        return Err(OutError::Pipe);
    }
    let is_ours = found.uid() == rustix::process::geteuid().as_raw() && found.nlink() <= 1;
    if found.is_file() && !is_ours { Err(OutError::Foreign) } else { Ok(file) }
}

fn refuse_open_folder(folder: &Path) -> Result<(), OutError> {
    let mode = std::fs::metadata(folder).map_err(OutError::of)?.mode();
    if mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0 { Err(OutError::OpenFolder) } else { Ok(()) }
}

/// A file by which recorders of one name keep one another out; it is gone when the recording is over.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
    /// Whether another process holds it, too, and looks after it.
    is_given: Arc<AtomicBool>,
}

/// A lock that is held by two processes for a while.
#[derive(Debug)]
pub(crate) struct SharedLock {
    pub(crate) file: OwnedFd,
    /// Set while the other one looks after it.
    pub(crate) is_given: Arc<AtomicBool>,
}

impl Lock {
    /// Takes it; `None` where there can be none, for recording does not depend on it.
    fn take(path: &Path) -> Result<Option<Self>, OutError> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
            let Ok(file) = options.open(path) else { return Ok(None) };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(OutError::InUse),
                Err(TryLockError::Error(_)) => return Ok(None),
                Ok(()) => {}
            }
            let ours = file.metadata().map(|ours| (ours.dev(), ours.ino())).ok();
            let there = std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino())).ok();
            // Otherwise its last holder removed it in between.
            if ours == there {
                return Ok(Some(Self { path: path.to_owned(), file, is_given: Arc::default() }));
            }
        }
        Ok(None)
    }
}

impl Lock {
    /// That of the process that is taken over; `None` when it is of another name.
    fn inherit(path: &Path, lock: OwnedFd) -> Option<Self> {
        let file = File::from(lock);
        let (ours, there) = (file.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
        let is_same = (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        // Until this one has taken over, the old one looks after it.
        let is_given = Arc::new(AtomicBool::new(true));
        is_same.then(|| Self { path: path.to_owned(), file, is_given })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_given.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why a recording cannot be written there.
#[derive(Debug)]
pub enum OutError {
    /// There is a file already.
    Exists,
    /// Another recorder writes there.
    InUse,
    /// It is a symbolic link.
    Link,
    /// The file belongs to somebody else, or has a second name.
    Foreign,
    /// It is a pipe.
    Pipe,
    /// Everybody may rename and remove files in that folder.
    OpenFolder,
    /// It cannot be made.
    Io(io::Error),
}

impl OutError {
    fn of(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => Self::Link,
            Some(Errno::NXIO) => Self::Pipe,
            _ => Self::Io(error),
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Exists => "give another --out, or --force to replace it",
            Self::InUse => "give another --out",
            Self::Link => "give --out the file itself",
            Self::Pipe => "give --out a file: what was recorded is read and mended where it lies",
            Self::Foreign => "give another --out, or remove the file first",
            Self::OpenFolder => "give --out a folder of your own, or chmod o-w this one",
            Self::Io(_) => "give --out a path in a folder that exists and may be written",
        }
    }
}

impl From<io::Error> for OutError {
    fn from(error: io::Error) -> Self {
        Self::of(error)
    }
}

impl fmt::Display for OutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => write!(f, "exists already"),
            Self::InUse => write!(f, "is being written by another process"),
            Self::Link => write!(f, "is a symbolic link, which is not followed"),
            Self::Foreign => write!(f, "belongs to somebody else or has another name"),
            Self::Pipe => write!(f, "is a pipe"),
            Self::OpenFolder => write!(f, "is in a folder that everybody may write"),
            Self::Io(error) => write!(f, "cannot be written: {error}"),
        }
    }
}

impl std::error::Error for OutError {}
