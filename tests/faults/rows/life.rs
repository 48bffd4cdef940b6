//! Files in the course of their life: quotas, kills, power cuts, rot, rotation, another recorder, other formats.

use std::fs::File;
use std::io::{BufReader, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use captures::{CaptureReader, Exchange};

use crate::accounts::Kept;
use crate::chaos::{capture_of, sh};
use crate::drive::{Drive, Outcome};
use crate::origin::Origin;
use crate::scenario::{Effort, Fault, Run, Scene};
use crate::subject::{Subject, captures_in};
use crate::support::{highwater, now, pause, run, until};

fn flags(typed: &[&str]) -> Vec<String> {
    typed.iter().map(|&flag| flag.to_owned()).collect()
}

/// R2: the files reach their quota.
#[derive(Default)]
pub(crate) struct Quota;

impl Fault for Quota {
    fn file_flags(&self) -> Vec<String> {
        flags(&["--rotate-size", "128KiB", "--quota", "512KiB"])
    }

    fn removes(&self) -> bool {
        true
    }

    fn disk_limit(&self) -> Option<u64> {
        // One more segment, and the block that goes over its end.
        Some((512 + 128 + 256) << 10)
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let removed = kept.events.iter().any(|event| event.kind == captures::EventKind::SegmentRemoved);
        let mut problems = Vec::new();
        if !removed {
            problems.push((2, "the files do not say that older ones were removed".to_owned()));
        }
        if kept.files.len() < 3 {
            problems.push((2, format!("{} files are left", kept.files.len())));
        }
        problems
    }
}

/// R6: killed at random moments.
pub(crate) struct Kills;

impl Fault for Kills {
    fn lasts(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn begin(&mut self, scene: &mut Scene) {
        if capture_of(scene.subject.id()).is_none() {
            return;
        }
        let (mut problems, mut worst) = (Vec::new(), Duration::ZERO);
        let mut chance = 0x2545_F491_4F6C_DD1D_u64;
        for kill in 0..scene.effort.kills {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let (problem, took) = one_kill(Duration::from_micros(chance % 1_700_000));
            problems.extend(problem.map(|problem| format!("kill {kill}: {problem}")));
            worst = worst.max(took);
        }
        scene.noticed.extend(problems.into_iter().map(|problem| (3, problem)));
        if worst > Duration::from_secs(5) {
            scene.noticed.push((5, format!("the next recorder was ready after {worst:?}")));
        }
    }
}

/// Kills a recorder some time after its first requests; what is wrong with what is left, and how long the
/// next one took to begin beside it.
fn one_kill(after: Duration) -> (Option<String>, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start();
    let out = folder.path().join("kill.capture");
    let mut subject = Subject::start(highwater(), origin.address, Some(&out), &[]).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let drive = Drive::start(subject.address, 4, 500.0, &next);
    until("traffic", || (drive.sent() > 20).then_some(()));
    pause(after);
    subject.signal("KILL");
    let killed = now();
    subject.ended();
    let sent = drive.stop();
    let kept = Kept::read(folder.path());
    let settled = killed - Duration::from_secs(1);
    let old = sent.iter().filter(|one| one.outcome == Outcome::Right && one.done < settled);
    let missing = old.filter(|one| !kept.exchanges.contains_key(&one.id)).count();
    let mut problems = kept.wrong(&sent, &origin.seen());
    problems.extend(kept.unreadable.iter().cloned());
    if missing > 0 {
        problems.push(format!("{missing} exchanges older than a second are gone"));
    }
    if kept.damage.len() > 1 + kept.files.len() {
        problems.push(format!("{} places are damaged", kept.damage.len()));
    }
    let began = now();
    let again = folder.path().join("again.capture");
    if let Err(said) = Subject::start(highwater(), origin.address, Some(&again), &[]) {
        problems.push(said);
    }
    (problems.into_iter().next(), began.elapsed())
}

/// A finished capture of 64 numbered exchanges, made by the recorder itself.
fn capture_of_64() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start();
    let out = folder.path().join("small.capture");
    let mut subject = Subject::start(highwater(), origin.address, Some(&out), &[]).unwrap();
    let (mut connection, to) = (None, subject.address);
    for id in 0..64 {
        // Small ones, so that every byte can be tried; over two seconds, so that there are several blocks.
        crate::drive::send(&mut connection, to, id, crate::mix::Kind::Get(20 + id as usize));
        pause(Duration::from_millis(30));
    }
    subject.signal("TERM");
    subject.ended();
    std::fs::read(&captures_in(folder.path())[0]).unwrap()
}

fn read(bytes: &[u8]) -> Option<(Vec<Exchange>, usize)> {
    let mut reader = CaptureReader::open(Cursor::new(bytes)).ok()?;
    let exchanges: Vec<Exchange> = reader.by_ref().map_while(Result::ok).collect();
    Some((exchanges, reader.damage().len()))
}

/// What becomes of a file that is changed after the fact, as far as it can be tried on the file alone.
pub(crate) struct Rot {
    pub(crate) how: Damage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// R7: pages that were not synced are not there, whichever.
    PowerCut,
    /// R8: a byte flips.
    Flip,
    /// R9: the end is missing.
    Cut,
}

impl Fault for Rot {
    /// The file that is being written suffers: traffic must not.
    fn begin(&mut self, scene: &mut Scene) {
        let Some(out) = capture_of(scene.subject.id()) else { return };
        let length = std::fs::metadata(&out).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&out).unwrap();
        match self.how {
            Damage::Cut => file.set_len(length / 2).unwrap(),
            Damage::Flip | Damage::PowerCut => {
                let mut file = file;
                file.seek(SeekFrom::Start(length / 2)).unwrap();
                file.write_all(if self.how == Damage::Flip { &[0xA5; 3] } else { &[0; 4_096] }).unwrap();
            }
        }
        let original = capture_of_64();
        let (whole, damage) = read(&original).unwrap();
        assert_eq!((whole.len(), damage), (64, 0), "the capture to be damaged is whole");
        let problems = match self.how {
            Damage::Flip => flip_every_byte(&original, &whole),
            Damage::Cut => cut_at_every_byte(&original, &whole),
            Damage::PowerCut => lose_pages(&original, &whole),
        };
        scene.noticed.extend(problems.into_iter().map(|problem| (3, problem)));
        scene.noticed.extend(self.says_so(&original));
    }

    fn lasts(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn damages(&self) -> bool {
        true
    }
}

impl Rot {
    /// `inspect` tells of the damage, and its memory stays small.
    fn says_so(&self, original: &[u8]) -> Vec<(usize, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.capture");
        let mut bytes = original.to_vec();
        let middle = bytes.len() / 2;
        match self.how {
            Damage::Flip => bytes[middle] ^= 0x10,
            Damage::Cut => bytes.truncate(middle),
            Damage::PowerCut => bytes[middle..].fill(0),
        }
        std::fs::write(&path, bytes).unwrap();
        let shown = path.to_str().unwrap();
        let (refused, salvaged) = (run(&["inspect", shown]), run(&["inspect", shown, "--salvage"]));
        let mut problems = Vec::new();
        if refused.status.code() != Some(3) || salvaged.status.code() != Some(0) {
            problems.push((
                5,
                format!("inspect ended with {:?}, salvaging with {:?}", refused.status, salvaged.status),
            ));
        }
        problems
    }
}

fn flip_every_byte(original: &[u8], whole: &[Exchange]) -> Vec<String> {
    let (mut unnoticed, mut problems) = (0, Vec::new());
    for at in 0..original.len() {
        let mut bytes = original.to_vec();
        bytes[at] ^= 1 << (at % 8);
        match read(&bytes) {
            None => problems.push(format!("byte {at} flipped: the file cannot be opened")),
            Some((exchanges, damage)) => {
                problems.extend(
                    strange(&exchanges, whole).map(|problem| format!("byte {at} flipped: {problem}")),
                );
                unnoticed += usize::from(damage == 0 && exchanges.len() < whole.len());
            }
        }
    }
    if unnoticed > original.len() / 10_000 {
        problems.push(format!("{unnoticed} of {} flips cost records and went unnoticed", original.len()));
    }
    problems
}

fn cut_at_every_byte(original: &[u8], whole: &[Exchange]) -> Vec<String> {
    let (mut problems, mut most) = (Vec::new(), 0);
    for length in 0..original.len() {
        let Some((exchanges, _)) = read(&original[..length]) else { continue };
        problems.extend(strange(&exchanges, whole).map(|problem| format!("cut at {length}: {problem}")));
        if exchanges.len() < most {
            problems.push(format!("cut at {length}: {} records, a shorter file had {most}", exchanges.len()));
        }
        most = most.max(exchanges.len());
    }
    if most < whole.len() {
        problems.push(format!("the longest cut gave {most} of {} records", whole.len()));
    }
    problems
}

/// Every prefix with any one of its later pages lost: what was written without a sync may come in any order.
fn lose_pages(original: &[u8], whole: &[Exchange]) -> Vec<String> {
    const PAGE: usize = 512;
    let mut problems = Vec::new();
    for length in (PAGE..original.len() + PAGE).step_by(PAGE) {
        let prefix = &original[..length.min(original.len())];
        let complete = read(prefix).map_or(0, |(exchanges, _)| exchanges.len());
        for lost in (PAGE..prefix.len()).step_by(PAGE) {
            let mut bytes = prefix.to_vec();
            let end = (lost + PAGE).min(bytes.len());
            bytes[lost..end].fill(0);
            match read(&bytes) {
                None => problems.push(format!("page at {lost} of {length} lost: the file cannot be opened")),
                Some((exchanges, _)) => {
                    problems.extend(
                        strange(&exchanges, whole)
                            .map(|problem| format!("page at {lost} of {length} lost: {problem}")),
                    );
                    if exchanges.len() > complete {
                        problems.push(format!("page at {lost} of {length} lost: more records than before"));
                    }
                }
            }
        }
    }
    problems
}

/// A record that is not one of `whole`.
fn strange(exchanges: &[Exchange], whole: &[Exchange]) -> Option<String> {
    let foreign = exchanges.iter().find(|exchange| !whole.contains(exchange))?;
    Some(format!("a wrong record, {:?}", foreign.id))
}

/// R28: a new file each second.
#[derive(Default)]
pub(crate) struct Rotation {
    /// What was moved away.
    moved: u32,
}

impl Fault for Rotation {
    fn file_flags(&self) -> Vec<String> {
        flags(&["--rotate-every", "1s"])
    }

    /// Twice, the file that is being written is moved away, as logrotate does, and the recorder told of it.
    fn begin(&mut self, scene: &mut Scene) {
        for _ in 0..2 {
            pause(Duration::from_millis(1_300));
            let Some(path) = capture_of(scene.subject.id()) else { return };
            self.moved += 1;
            let aside = path.with_file_name(format!("moved-{}.capture", self.moved));
            std::fs::rename(&path, aside).unwrap();
            scene.subject.signal("HUP");
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(6)
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let files = kept.files.len();
        let mut problems = Vec::new();
        if files < 4 {
            problems.push((2, format!("there are {files} files after 6 s and more")));
        }
        if kept.unclosed > 0 {
            problems.push((3, format!("{} of {files} files are not closed", kept.unclosed)));
        }
        problems
    }
}

/// R29: a second recorder wants the same file.
#[derive(Default)]
pub(crate) struct Second;

impl Fault for Second {
    fn begin(&mut self, scene: &mut Scene) {
        let Some(out) = capture_of(scene.subject.id()) else { return };
        for force in [false, true] {
            let more = if force { flags(&["--force"]) } else { Vec::new() };
            let second = Subject::start(highwater(), scene.origin.address, Some(&out), &more);
            match second {
                Ok(_) => {
                    scene.noticed.push((3, format!("a second recorder took the file (--force {force})")))
                }
                Err(said) if said.starts_with("highwater: ") => {}
                Err(said) => scene.noticed.push((5, format!("a second recorder said {said:?}"))),
            }
        }
    }
}

/// R30: files of other versions of the format.
#[derive(Default)]
pub(crate) struct Formats;

impl Fault for Formats {
    fn begin(&mut self, scene: &mut Scene) {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/samples");
        let folder = tempfile::tempdir().unwrap();
        let mut read_whole = 0;
        for version in std::fs::read_dir(samples).unwrap().map_while(Result::ok) {
            let path = version.path().join("small.capture");
            let Ok(file) = File::open(&path) else { continue };
            let mut reader = CaptureReader::open(BufReader::new(file)).unwrap();
            let count = reader.by_ref().filter(Result::is_ok).count();
            if count == 0 || !reader.damage().is_empty() {
                scene.noticed.push((3, format!("{} is not read whole", path.display())));
            }
            read_whole += 1;
            // One from the future: the version stands after the magic bytes of the file.
            let mut bytes = std::fs::read(&path).unwrap();
            for at in 4..12 {
                let newer = folder.path().join("newer.capture");
                let before = bytes[at];
                bytes[at] = 0x7F;
                std::fs::write(&newer, &bytes).unwrap();
                bytes[at] = before;
                let output = run(&["inspect", newer.to_str().unwrap()]);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() && at < 8 {
                    scene.noticed.push((5, format!("a file with byte {at} changed was read in silence")));
                }
                if said.lines().count() > 1 || said.contains("panicked") {
                    scene.noticed.push((5, said));
                }
            }
        }
        if read_whole == 0 {
            scene.noticed.push((3, "there are no samples of older formats".to_owned()));
        }
    }

    fn file_flags(&self) -> Vec<String> {
        flags(&["--force"])
    }

    /// What is replaced is a file of another format.
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/samples/v1/small.capture");
        std::fs::copy(sample, folder.join("fault.capture")).unwrap();
        sh(&format!("chmod 600 {}", folder.join("fault.capture").display()))?;
        Ok(folder.to_owned())
    }

    fn lasts(&self) -> Duration {
        Duration::from_millis(100)
    }
}
