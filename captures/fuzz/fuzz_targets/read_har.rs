//! Any bytes, read as HAR: no panic, no endless loop, and every entry is read or counted.
#![no_main]

use captures::foreign::read_har;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut read = 0;
    if let Ok(account) = read_har(bytes, |_| read += 1) {
        assert_eq!(account.read, read);
        assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    }
});
