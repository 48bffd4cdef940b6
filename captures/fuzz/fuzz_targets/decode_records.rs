//! Any bytes, as the records of a block whose checksums are right: what a hostile file would hold.
//!
//! The first byte chooses what the block says it is; the rest is its payload.
#![no_main]

use captures::{CaptureHeader, CaptureReader, CaptureWriter, Masking, Run, RunHeader, RunWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let block = block(kind % 8, payload);
    let mut capture = Vec::new();
    drop(CaptureWriter::create(&mut capture, &capture_header()));
    capture.extend_from_slice(&block);
    if let Ok(mut reader) = CaptureReader::open(&capture[..]) {
        std::hint::black_box(reader.by_ref().take_while(Result::is_ok).count());
    }
    let mut run = Vec::new();
    drop(RunWriter::create(&mut run, &run_header()));
    run.extend_from_slice(&block);
    if let Ok(run) = Run::read(&run[..]) {
        std::hint::black_box(run.overall().errors());
    }
});

/// A block as the format describes it, with the checksums of what it holds.
fn block(kind: u8, payload: &[u8]) -> Vec<u8> {
    let stored = zstd::bulk::compress(payload, 1).unwrap();
    let mut head = vec![0_u8; 48];
    head[..4].copy_from_slice(&[0xB7, 0x48, 0x57, 0x42]);
    head[4] = kind;
    head[12..16].copy_from_slice(&1_u32.to_le_bytes());
    head[16..20].copy_from_slice(&u32::try_from(stored.len()).unwrap().to_le_bytes());
    head[20..24].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    head[40..44].copy_from_slice(&crc32c::crc32c(&stored).to_le_bytes());
    let check = crc32c::crc32c(&head[..44]);
    head[44..].copy_from_slice(&check.to_le_bytes());
    head.extend_from_slice(&stored);
    head
}

fn capture_header() -> CaptureHeader {
    CaptureHeader {
        tool: String::new(),
        started: 0,
        listen: Vec::new(),
        upstream: Vec::new(),
        masking: Masking::None,
        servers: Vec::new(), recording: [0; 16], segment: 0, session_keys: Vec::new(), filters: Vec::new(), sampling_ratio: 1.0,
        body_limit: 0,
    }
}

fn run_header() -> RunHeader {
    RunHeader {
        tool: String::new(),
        started: 0,
        target: String::new(),
        capture: String::new(),
        capture_digest: [0; 32],
        capture_span: std::time::Duration::ZERO,
        capture_rate: captures::Rate::ZERO,
        seed: 0,
        stages: Vec::new(),
        routes: Vec::new(),
        held_back_ratio: 0.0,
        configuration: String::new(),
    }
}
