//! What the machine allows the generator.

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
