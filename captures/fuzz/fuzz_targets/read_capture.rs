//! Any bytes, read as a capture: no panic, no allocation beyond the limits, no endless loop.
//!
//! `cargo fuzz run read_capture` in `captures/` (a nightly toolchain, or `RUSTC_BOOTSTRAP=1`).
#![no_main]

use captures::CaptureReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut reader) = CaptureReader::open(bytes) {
        let read = reader.by_ref().take_while(Result::is_ok).count();
        std::hint::black_box((read, reader.damage_count(), reader.closed()));
    }
});
