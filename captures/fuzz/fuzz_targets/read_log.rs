//! Any bytes, read as an access log: no panic, no endless loop, and every line is read or counted.
//!
//! When the first line holds a `$`, it is a format in nginx's notation, and the rest is read by it.
#![no_main]

use captures::foreign::{LogFormat, Template, read_log};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let typed = std::str::from_utf8(&bytes[..end]).ok().filter(|line| line.contains('$'));
    let (format, lines) = match typed.and_then(|typed| Template::parse(typed).ok()) {
        Some(template) => (LogFormat::Template(template), &bytes[end..]),
        None => (LogFormat::Known, bytes),
    };
    let mut read = 0;
    if let Ok(account) = read_log(lines, &format, |_| read += 1) {
        assert_eq!(account.read, read);
        assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    }
});
