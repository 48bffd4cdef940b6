//! Any bytes, read as HAR, as GoReplay's file and as an access log: no panic, no endless loop, and every entry is
//! read or counted.
//!
//! `cargo fuzz run read_foreign` in `captures/` (a nightly toolchain, or `RUSTC_BOOTSTRAP=1`).
#![no_main]

use captures::foreign::{Account, ForeignError, LogFormat, Template, read_gor, read_har, read_log};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, content)) = bytes.split_first() else { return };
    let account: Result<Account, ForeignError> = match kind % 4 {
        0 => read_har(content, |_| ()),
        1 => read_gor(content, |_| ()),
        2 => read_log(content, &LogFormat::Known, |_| ()),
        _ => {
            let end = content.iter().position(|&byte| byte == b'\n').unwrap_or(content.len());
            let Ok(typed) = std::str::from_utf8(&content[..end]) else { return };
            let Ok(template) = Template::parse(typed) else { return };
            read_log(&content[end..], &LogFormat::Template(template), |_| ())
        }
    };
    if let Ok(account) = account {
        assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    }
});
