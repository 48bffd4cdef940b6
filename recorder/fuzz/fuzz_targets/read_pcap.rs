//! Any bytes, read as a file of packets: by libpcap, then to exchanges, with the keys of TLS that stand in it.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use recorder::{KeyLog, PacketFile};
use recorder_fuzz::Watched;

/// libpcap reads files: one in memory, of this process alone.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/highwater-fuzz-{}.pcap", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    let mut keys = KeyLog::default();
    keys.read_within(bytes).unwrap();
    std::fs::write(&*FILE, bytes).unwrap();
    let Ok(mut file) = PacketFile::open(&FILE) else { return };
    let mut watched = Watched::default();
    watched.know_keys(keys);
    while let Ok(Some(packet)) = file.next_packet() {
        watched.on_packet(packet);
    }
    watched.finish();
});
