//! Segments and recordings, read as one.

use super::*;
use crate::capture::CaptureWriter;
use crate::exchange::tests_support::exchange;

fn header(recording: u8, segment: u32, started: i128) -> CaptureHeader {
    CaptureHeader {
        tool: String::new(),
        started,
        listen: vec!["127.0.0.1:1".to_owned()],
        upstream: vec![format!("10.0.0.{recording}:80")],
        servers: vec![format!("10.0.0.{recording}:80")],
        recording: [recording; 16],
        segment,
        session_keys: Vec::new(),
        filters: Vec::new(),
        masking: Masking::None,
        sampling_ratio: 1.0,
        body_limit: 0,
    }
}

/// Writes a capture with exchanges that end at these milliseconds.
fn write(path: &Path, header: &CaptureHeader, ended: &[u64]) {
    let mut writer = CaptureWriter::create(File::create(path).unwrap(), header).unwrap();
    for &at in ended {
        writer.push(&exchange(at)).unwrap();
    }
    let count = ended.len() as u64;
    writer.finish(&Tally { seen: count + 1, recorded: count, filtered: 1, ..Tally::default() }).unwrap();
}

fn ended(set: &mut CaptureSet) -> Vec<u64> {
    set.map(|exchange| exchange.unwrap().ended.as_nanos() / 1_000_000).collect()
}

#[test]
fn segments_follow_each_other_and_recordings_are_merged_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The second recording began 100 ms after the first.
    write(&at("b.capture"), &header(1, 1, 0), &[300, 400]);
    write(&at("a.capture"), &header(1, 0, 0), &[100, 200]);
    write(&at("other.capture"), &header(2, 0, 100_000_000), &[50, 250]);
    std::fs::write(at(".b.capture.lock"), "").unwrap();
    std::fs::write(at("notes.txt"), "").unwrap();

    let mut set = CaptureSet::open(&[folder.path().to_owned()]).unwrap();

    assert_eq!(ended(&mut set), [100, 150, 200, 300, 350, 400]);
    assert_eq!(set.files(), [at("a.capture"), at("b.capture"), at("other.capture")]);
    assert_eq!((set.accounts().seen, set.accounts().recorded, set.accounts().filtered), (9, 6, 3));
    assert_eq!(set.header().upstream, ["10.0.0.1:80", "10.0.0.2:80"]);
    assert!(set.closed() && set.damage().is_empty() && !set.mixed_keys());
}

#[test]
fn numbers_and_servers_of_different_recordings_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("a.capture"), &header(1, 0, 0), &[1]);
    write(&at("b.capture"), &header(2, 0, 0), &[1]);

    let set = CaptureSet::open(&[at("a.capture"), at("b.capture")]).unwrap();
    let servers = set.header().servers.clone();
    let read: Vec<Exchange> = set.map(Result::unwrap).collect();

    assert_ne!(read[0].id, read[1].id);
    assert_ne!(read[0].connection, read[1].connection);
    assert_ne!(read[0].session, read[1].session);
    let server = |exchange: &Exchange| servers[exchange.passage.server.unwrap() as usize].clone();
    assert_eq!((server(&read[0]), server(&read[1])), ("10.0.0.1:80".to_owned(), "10.0.0.2:80".to_owned()));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |paths: &[PathBuf]| CaptureSet::open(paths).err().map(|error| error.to_string());
    assert_eq!(refused(&[folder.path().to_owned()]).as_deref(), Some("holds no capture"));
    write(&at("a.capture"), &header(1, 0, 0), &[1]);
    write(&at("half.capture"), &CaptureHeader { sampling_ratio: 0.5, ..header(2, 0, 0) }, &[1]);

    assert!(refused(&[at("a.capture"), at("a.capture")]).unwrap().starts_with("holds the same as"));
    assert_eq!(
        refused(&[at("a.capture"), at("half.capture")]).as_deref(),
        Some("holds 50 % of the sessions, the others 100 %")
    );
    assert_eq!(
        refused(&[at("a.capture"), at("gone.capture")]).unwrap().split(':').next(),
        Some("cannot be read")
    );
}

#[test]
fn damage_is_named_with_its_file_and_counted_against_its_own_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("a.capture"), &header(1, 0, 0), &[1, 2, 3]);
    write(&at("b.capture"), &header(1, 1, 0), &[4]);
    // The exchanges' block of the first file loses a byte.
    let mut bytes = std::fs::read(at("a.capture")).unwrap();
    let clean = CaptureSet::open(&[at("a.capture")]).unwrap().count();
    assert_eq!(clean, 3);
    let middle = bytes.len() / 2;
    let spoilt = (middle..bytes.len()).find(|&place| {
        bytes[place] ^= 0xff;
        std::fs::write(at("a.capture"), &bytes).unwrap();
        let lost = CaptureSet::open(&[at("a.capture")]).is_ok_and(|set| set.count() == 0);
        if !lost {
            bytes[place] ^= 0xff;
        }
        lost
    });
    assert!(spoilt.is_some());

    let mut set = CaptureSet::open(&[at("a.capture"), at("b.capture")]).unwrap();

    assert_eq!(ended(&mut set), [4]);
    assert_eq!(set.damage().first().map(|(path, _)| path), Some(&at("a.capture")));
    assert_eq!((set.accounts().recorded, set.accounts().lost_for(DropReason::Damaged)), (1, 3));
    assert_eq!(set.accounts().seen, 6);
}
