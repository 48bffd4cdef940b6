//! Any bytes, read as GoReplay's file: no panic, no endless loop, and every entry is read or counted.
#![no_main]

use captures::foreign::read_gor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut read = 0;
    if let Ok(account) = read_gor(bytes, |_| read += 1) {
        assert_eq!(account.read, read);
        assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    }
});
