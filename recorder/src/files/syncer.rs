//! Brings what was written onto the medium, on a thread of its own: a disk that takes half a minute for it
//! makes nobody wait.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Closed files that may wait for a slow medium; more are left to the machine, and said to be.
const WAITING: usize = 64;

/// The thread, and what it is told to do.
#[derive(Debug)]
pub(crate) struct Syncer {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether an open file is being synced: it is not asked for twice.
    busy: AtomicBool,
    failed: Mutex<Option<io::Error>>,
}

#[derive(Debug)]
enum Job {
    /// What a file that is being written holds so far.
    Open(Arc<File>),
    /// A whole file, and its entry in the folder.
    Closed(Arc<File>),
    /// The names in a folder.
    Folder(Arc<File>),
}

impl Syncer {
    /// Starts the thread.
    pub(crate) fn begin() -> io::Result<Self> {
        let (jobs, given) = sync_channel(WAITING);
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let work = move || {
            while let Ok(job) = given.recv() {
                let done = match &job {
                    Job::Open(file) => file.sync_data(),
                    Job::Closed(file) | Job::Folder(file) => file.sync_all(),
                };
                if matches!(job, Job::Open(_)) {
                    theirs.busy.store(false, Ordering::Release);
                }
                if let Err(error) = done {
                    theirs.fail(error);
                }
            }
        };
        let thread = std::thread::Builder::new().name("record-sync".to_owned()).spawn(work)?;
        Ok(Self { jobs, shared, thread })
    }

    /// Asks for what is in `file` by now; when that is still being done, not again.
    pub(crate) fn sync_open(&self, file: &Arc<File>) {
        if !self.shared.busy.swap(true, Ordering::Acquire) && !self.ask(Job::Open(Arc::clone(file))) {
            self.shared.busy.store(false, Ordering::Release);
        }
    }

    /// Asks for a file that was closed.
    pub(crate) fn sync_closed(&self, file: Arc<File>) {
        self.ask(Job::Closed(file));
    }

    /// Asks for the names in `folder`.
    pub(crate) fn sync_folder(&self, folder: &Path) {
        if let Ok(folder) = File::open(folder) {
            self.ask(Job::Folder(Arc::new(folder)));
        }
    }

    /// What failed since this was last asked.
    pub(crate) fn failed(&self) -> Option<io::Error> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until everything was done.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.jobs);
        let _ = self.thread.join();
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), Err)
    }

    fn ask(&self, job: Job) -> bool {
        let asked = self.jobs.try_send(job).is_ok();
        if !asked {
            self.shared.fail(io::Error::new(io::ErrorKind::TimedOut, "the medium is too slow"));
        }
        asked
    }
}

impl Shared {
    fn fail(&self, error: io::Error) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
