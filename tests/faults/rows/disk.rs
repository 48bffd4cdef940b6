//! Disks that are full, broken, slow, or not ours alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::DropReason;

use crate::chaos::{Injection, Mount, capture_of};
use crate::scenario::{Effort, Fault, Run, Scene};

/// What a recorder says when it cannot write.
const CANNOT: &str = "cannot be written";

fn said_once(run: &Run, promise: usize) -> Vec<(usize, String)> {
    match run.said.iter().filter(|line| line.contains(CANNOT)).count() {
        0 => vec![(promise, format!("it never said that the file {CANNOT}"))],
        _ => Vec::new(),
    }
}

fn lost(run: &Run, reason: DropReason) -> u64 {
    let tally = &run.kept.as_ref().unwrap().tally;
    tally.dropped.iter().filter(|(known, _)| *known == reason).map(|(_, count)| count).sum()
}

/// R1: no room.
#[derive(Default)]
pub(crate) struct Full {
    mount: Option<Mount>,
}

impl Fault for Full {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        self.mount = None;
        let mount = self.mount.insert(Mount::of(folder, 24)?);
        Ok(mount.folder.clone())
    }

    fn begin(&mut self, _: &mut Scene) {
        self.mount.as_ref().unwrap().fill();
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn end(&mut self, _: &mut Scene) {
        self.mount.as_ref().unwrap().make_room();
    }

    fn metric(&self) -> Option<&'static str> {
        Some("highwater_write_failing")
    }

    fn stalls(&self) -> bool {
        true
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let mut problems = said_once(run, 5);
        if lost(run, DropReason::WriteFailed) == 0 {
            problems.push((2, "nothing was counted as lost to a full disk".to_owned()));
        }
        problems
    }
}

/// R3: every write fails.
#[derive(Default)]
pub(crate) struct Broken {
    injection: Option<Injection>,
}

impl Fault for Broken {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        Injection::possible()?;
        Ok(folder.to_owned())
    }

    fn begin(&mut self, scene: &mut Scene) {
        if capture_of(scene.subject.id()).is_some() {
            let what = ["write:error=EIO", "pwrite64:error=EIO", "fdatasync:error=EIO", "fsync:error=EIO"];
            self.injection = Some(Injection::begin(scene.subject.id(), &what));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn end(&mut self, _: &mut Scene) {
        if let Some(injection) = self.injection.take() {
            injection.end();
        }
    }

    fn metric(&self) -> Option<&'static str> {
        Some("highwater_write_failing")
    }

    fn stalls(&self) -> bool {
        true
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        said_once(run, 5)
    }
}

/// R4: fsync takes half a minute.
#[derive(Default)]
pub(crate) struct Stalled {
    injection: Option<Injection>,
    quick: bool,
}

impl Fault for Stalled {
    fn prepare(&mut self, folder: &Path, effort: Effort) -> Result<PathBuf, String> {
        Injection::possible()?;
        self.quick = effort.quick;
        Ok(folder.to_owned())
    }

    fn file_flags(&self) -> Vec<String> {
        ["--fsync", "500ms"].map(str::to_owned).to_vec()
    }

    fn begin(&mut self, scene: &mut Scene) {
        if capture_of(scene.subject.id()).is_some() {
            let delay = if self.quick { 2_000_000 } else { 30_000_000 };
            let what = [format!("fdatasync:delay_enter={delay}"), format!("fsync:delay_enter={delay}")];
            self.injection = Some(Injection::begin(scene.subject.id(), &[&what[0], &what[1]]));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 32 })
    }

    fn end(&mut self, _: &mut Scene) {
        if let Some(injection) = self.injection.take() {
            injection.end();
        }
    }
}

/// R5: a slow disk. R12 is the same with a queue that is soon full.
#[derive(Default)]
pub(crate) struct Slow {
    injection: Option<Injection>,
    small_queue: bool,
}

impl Slow {
    pub(crate) fn with_a_small_queue() -> Self {
        Self { small_queue: true, ..Self::default() }
    }
}

impl Fault for Slow {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        Injection::possible()?;
        Ok(folder.to_owned())
    }

    fn file_flags(&self) -> Vec<String> {
        if self.small_queue { vec!["--queue-bytes".to_owned(), "256KiB".to_owned()] } else { Vec::new() }
    }

    fn begin(&mut self, scene: &mut Scene) {
        if capture_of(scene.subject.id()).is_some() {
            // 50 ms for a block of the usual size are about 1 MB/s.
            let delay = if self.small_queue { 400_000 } else { 50_000 };
            let what = ["write", "pwrite64"].map(|call| format!("{call}:delay_enter={delay}"));
            self.injection = Some(Injection::begin(scene.subject.id(), &[&what[0], &what[1]]));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(6)
    }

    fn end(&mut self, _: &mut Scene) {
        if let Some(injection) = self.injection.take() {
            injection.end();
        }
    }

    fn metric(&self) -> Option<&'static str> {
        self.small_queue.then_some("highwater_exchanges_dropped_total{reason=\"queue_full\"")
    }

    fn stalls(&self) -> bool {
        self.small_queue
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let lost = lost(run, DropReason::QueueFull);
        if self.small_queue && lost == 0 {
            return vec![(2, "nothing was counted as lost to a full queue".to_owned())];
        }
        Vec::new()
    }
}
