//! What the machine allows the generator.

use captures::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept for files and pipes.
const RESERVED: u64 = 64;

/// Raises the limit of open descriptors as far as it may be raised; how many connections that leaves.
pub fn allowed_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let connections = descriptors.unwrap_or(1 << 20).saturating_sub(RESERVED).max(1);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Whether memory may come in huge pages from here on.
///
/// The allocator asks for them, and each is resident whole as soon as one byte of it is used: half of what a generator
/// with thousands of connections held was never touched. Where the system allows no change, all stays as it is.
pub fn use_huge_pages(allowed: bool) {
    let _ = rustix::thread::disable_transparent_huge_pages(!allowed);
}

/// The memory of this process that is resident; zero where the system does not say.
pub(crate) fn resident() -> Bytes {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    Bytes::new(pages * rustix::param::page_size() as u64)
}
