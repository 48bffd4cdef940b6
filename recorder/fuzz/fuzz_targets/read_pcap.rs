//! Any bytes, read as a file of packets: by libpcap, then to exchanges.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use recorder::PacketFile;
use recorder_fuzz::Watched;

/// libpcap reads files: one in memory, of this process alone.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/highwater-fuzz-{}.pcap", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).unwrap();
    let Ok(mut file) = PacketFile::open(&FILE) else { return };
    let mut watched = Watched::default();
    while let Ok(Some(packet)) = file.next_packet() {
        watched.on_packet(packet);
    }
    watched.finish();
});
