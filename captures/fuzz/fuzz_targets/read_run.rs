//! Any bytes, read as a run: no panic, no allocation beyond the limits, no endless loop.
#![no_main]

use captures::Run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(run) = Run::read(bytes) {
        std::hint::black_box(run.overall().errors());
    }
});
