//! The files of a recording: segments without a seam, moved, deleted and cut files, links and locks.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use captures::{CaptureReader, Tally};

use super::{GET, OK, Recorder, answering};
use crate::support::{highwater, json, run, stderr, until};

/// The captures in `folder` in the order of their names: how many exchanges each holds, and its last tally.
fn captures_in(folder: &Path) -> Vec<(PathBuf, u64, Tally)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "capture" || extension == "1"));
    paths.sort();
    let read = |path: PathBuf| {
        let mut reader = CaptureReader::open(std::fs::File::open(&path).unwrap()).unwrap();
        let count = reader.by_ref().map(Result::unwrap).count() as u64;
        let tally = reader.tallies().last().cloned().unwrap_or_default();
        (path, count, tally)
    };
    paths.into_iter().map(read).collect()
}

fn sum(captures: &[(PathBuf, u64, Tally)]) -> Tally {
    captures.iter().fold(Tally::default(), |sum, (_, _, tally)| sum.plus(tally))
}

#[test]
fn at_the_seams_of_rotated_files_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder =
        Recorder::start(folder.path(), answering(OK), &["--rotate-every", "1s", "--fsync", "50ms"]);
    let mut asked = 0;
    until("three files", || {
        assert!(recorder.ask(GET).ends_with("ok"));
        asked += 1;
        (captures_in(folder.path()).len() >= 3).then_some(())
    });
    recorder.signal("TERM");
    assert_eq!(recorder.ended().code(), Some(0));

    let captures = captures_in(folder.path());
    let exchanges: u64 = captures.iter().map(|(_, count, _)| count).sum();
    assert_eq!(exchanges, asked);
    assert_eq!((sum(&captures).seen, sum(&captures).recorded), (asked, asked));
    for (number, (path, ..)) in captures.iter().enumerate() {
        let mut reader = CaptureReader::open(std::fs::File::open(path).unwrap()).unwrap();
        assert_eq!(reader.header().segment as usize, number);
        reader.by_ref().for_each(drop);
        assert!(reader.closed() && reader.damage().is_empty());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(recorder.said().contains(&format!("seen {asked}, recorded {asked},")), "{}", recorder.said());
    // The folder is one capture to whoever reads it.
    let whole = json(&run(&["inspect", folder.path().to_str().unwrap(), "--json"]), 0);
    assert_eq!((&whole["exchanges"], &whole["seen"]), (&asked.into(), &asked.into()));
    assert_eq!(whole["files"].as_array().unwrap().len(), captures.len());
}

#[test]
fn a_file_that_was_moved_away_is_closed_and_begun_anew_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(folder.path(), answering(OK), &[]);
    recorder.ask(GET);
    recorder.signal("HUP");
    recorder.ask(GET);
    let (here, moved) = (folder.path().join("test.capture"), folder.path().join("test.capture.1"));
    std::fs::rename(&here, &moved).unwrap();
    recorder.ask(GET);
    recorder.signal("HUP");
    until("a new file", || here.exists().then_some(()));
    recorder.ask(GET);
    recorder.signal("TERM");
    assert_eq!(recorder.ended().code(), Some(0), "{}", recorder.said());

    let captures = captures_in(folder.path());
    assert_eq!(captures.len(), 2);
    assert_eq!((sum(&captures).seen, sum(&captures).recorded), (4, 4));
    assert_eq!(captures.iter().map(|(_, count, _)| count).sum::<u64>(), 4);
}

#[test]
fn a_file_that_was_deleted_or_cut_is_left_for_another() {
    for cut in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::start(folder.path(), answering(OK), &[]);
        let file = folder.path().join("test.capture");
        recorder.ask(GET);
        until("it to be written", || (recorder.reader().count() == 1).then_some(()));
        if cut {
            OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
        recorder.ask(GET);
        until("it to go on", || recorder.said().contains("recording goes on in").then_some(()));
        recorder.signal("TERM");
        assert_eq!(recorder.ended().code(), Some(0), "{}", recorder.said());

        if cut {
            std::fs::remove_file(&file).unwrap();
        }
        let captures = captures_in(folder.path());
        assert_eq!((captures.len(), captures[0].1), (1, 1));
        assert_eq!(sum(&captures).seen, if cut { 1 } else { 2 });
    }
}

#[test]
fn links_open_folders_and_other_recorders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let record = |out: &Path, more: &[&str]| {
        let args = ["record", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--out"];
        let output = run(&[&args[..], &[out.to_str().unwrap()], more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let (target, link) = (folder.path().join("target"), folder.path().join("link.capture"));
    std::fs::write(&target, b"precious").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(record(&link, &["--force"]).contains("symbolic link"));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");

    let pipe = folder.path().join("pipe.capture");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(record(&pipe, &["--force"]).contains("is a pipe"));

    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(record(&open.join("x.capture"), &[]).contains("everybody may write"));

    let recorder = Recorder::start(folder.path(), answering(OK), &["--rotate-size", "1MiB"]);
    let out = folder.path().join("test.capture");
    for more in [&["--rotate-size", "1MiB"][..], &["--force"]] {
        assert!(record(&out, more).contains("another process"));
    }
    drop(recorder);
}

#[test]
fn whatever_the_umask_a_capture_is_its_owners_alone() {
    for umask in ["000", "077", "777"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(highwater().get_program());
        let recorder = Recorder::start_as(command, folder.path(), answering(OK), &[]);
        let mode = folder.path().join("test.capture").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "umask {umask}");
        recorder.stop();
    }
}
