//! The shape of the workspace: who may depend on whom, and what every file owes its reader.

use std::path::{Path, PathBuf};

const ARROWS: [(&str, &[&str]); 7] = [
    ("captures", &[]),
    ("timeslice", &[]),
    ("recorder", &["captures", "timeslice"]),
    ("replayer", &["captures", "timeslice"]),
    ("modeler", &["captures"]),
    ("reports", &["captures", "modeler"]),
    (".", &["captures", "modeler", "recorder", "replayer", "reports"]),
];

/// Outside packages that one crate alone may name.
const OWNERS: &[(&str, &str)] = &[
    ("bincode", "captures"),
    ("crc32c", "captures"),
    ("lz4_flex", "captures"),
    ("libc", "timeslice"),
    ("hdrhistogram", "captures"),
    ("pingora", "recorder"),
    ("rustls-pki-types", "recorder"),
    ("pcap", "recorder"),
    ("ring", "recorder"),
    ("aho-corasick", "recorder"),
    ("flate2", "captures"),
    ("brotli", "captures"),
    ("liblzma", "captures"),
    ("httparse", "replayer"),
    ("hashbrown", "replayer"),
    ("rustls", "replayer"),
    ("rustls-native-certs", "replayer"),
    ("linfa", "modeler"),
    ("linfa-linear", "modeler"),
    ("linfa-elasticnet", "modeler"),
    ("statrs", "modeler"),
    ("stlrs", "modeler"),
    ("plotters", "reports"),
    ("clap", "."),
    ("ureq", "."),
    ("opening-hours", "."),
];

const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The packages in the `[dependencies]` of a crate.
fn dependencies(of: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join(of).join("Cargo.toml")).unwrap();
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| {
            line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty() && !name.starts_with('#'))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_arrow_between_crates_is_a_wanted_one() {
    for (name, allowed) in ARROWS {
        let mut ours: Vec<String> = dependencies(name)
            .into_iter()
            .filter(|other| ARROWS.iter().any(|(known, _)| known == other))
            .collect();
        ours.sort();
        assert_eq!(ours, allowed, "{name} depends on others of ours than the map says");
    }
}

#[test]
fn every_outside_package_has_one_owner() {
    for (package, owner) in OWNERS.iter().copied() {
        let users: Vec<&str> = ARROWS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| dependencies(name).iter().any(|dependency| dependency == package))
            .collect();
        assert_eq!(users, [owner], "{package}");
    }
}

#[test]
fn every_file_opens_with_what_it_is_for_and_tells_one_story() {
    let mut files = Vec::new();
    for (name, _) in ARROWS {
        collect(&root().join(name).join("src"), &mut files);
    }
    collect(&root().join("tests"), &mut files);
    assert!(files.len() > 30);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is for", file.display());
        assert!(
            text.lines().count() <= LONGEST_FILE,
            "{} is longer than {LONGEST_FILE} lines",
            file.display()
        );
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn unsafe_code_is_where_no_package_offers_a_call_safely_and_nowhere_else() {
    let mut files = Vec::new();
    for (name, _) in ARROWS {
        collect(&root().join(name).join("src"), &mut files);
    }
    let expected = format!("expect(unsafe{}code", '_');
    let with: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().contains(&expected))
        .map(|file| file.strip_prefix(root()).unwrap().to_owned())
        .collect();
    let mut with: Vec<&str> = with.iter().filter_map(|file| file.to_str()).collect();
    with.sort_unstable();
    assert_eq!(
        with,
        ["src/allocator.rs", "src/allocator/large.rs", "src/allocator/mapped.rs", "timeslice/src/lib.rs"]
    );
}
