//! Files that were cut off or spoilt on the way: nothing may crash, whatever is left of them.
//!
//! This is a sample of what `scripts/mutants` does, which cuts behind every byte.

use std::path::{Path, PathBuf};

use super::{material, text};
use crate::support::{run, stderr};

/// Imports `files` together: what is readable of them is read, and that nothing is readable is said.
fn survives(files: &[PathBuf], out: &Path) {
    let _ = std::fs::remove_file(out);
    let mut args = vec!["import", "--quiet", "--out", text(out)];
    args.extend(files.iter().map(|file| text(file)));
    let output = run(&args);
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(3), "{files:?}: {code:?} {}", stderr(&output));
}

/// The smallest files of a folder.
fn smallest(folder: &Path, count: usize) -> Vec<PathBuf> {
    let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_none_or(|end| end != "tsv"))
        .map(|file| (std::fs::metadata(&file).unwrap().len(), file))
        .collect();
    files.sort();
    files.into_iter().take(count).map(|(_, file)| file).collect()
}

#[test]
fn real_files_that_end_anywhere_are_survived() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("out.capture");
    for (folder, count, step) in [("pcap", 60, 61), ("har", 4, 499), ("gor", 1, 97), ("accesslog", 3, 397)] {
        let Some(folder) = material(folder) else { return };
        for file in smallest(&folder, count) {
            let content = std::fs::read(&file).unwrap();
            let cut = |(at, end): (usize, usize)| {
                let copy = work.path().join(format!("{at}-{}", file.file_name().unwrap().display()));
                std::fs::write(&copy, &content[..end]).unwrap();
                copy
            };
            let copies: Vec<PathBuf> = (0..content.len()).step_by(step).enumerate().map(cut).collect();
            survives(&copies, &out);
            copies.iter().for_each(|copy| std::fs::remove_file(copy).unwrap());
        }
    }
}

#[test]
fn real_packets_with_spoilt_bytes_are_survived() {
    let Some(folder) = material("pcap") else { return };
    let work = tempfile::tempdir().unwrap();
    // Knuth's linear congruential generator: the same bytes every time.
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for file in smallest(&folder, 120) {
        let mut content = std::fs::read(&file).unwrap();
        // Two of a hundred, behind the head of the file.
        for _ in 0..content.len() / 50 {
            let place = 24 + next() % content.len().saturating_sub(24).max(1);
            if let Some(byte) = content.get_mut(place) {
                *byte = u8::try_from(next() % 256).unwrap();
            }
        }
        let copy = work.path().join("spoilt");
        std::fs::write(&copy, content).unwrap();
        survives(&[copy], &work.path().join("out.capture"));
    }
}
