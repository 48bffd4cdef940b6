//! What the kernel says of this process.

use std::fs;

/// The kernel counts processor time for programs in hundredths of a second, whatever its own tick.
const TICKS_A_SECOND: f64 = 100.0;

/// What this process takes; none of what the kernel does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<usize>,
    pub(super) most_descriptors: Option<u64>,
    /// Since 1970-01-01 UTC.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    /// As it is now.
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status, limits, machine) = (
            read("/proc/self/stat"),
            read("/proc/self/status"),
            read("/proc/self/limits"),
            read("/proc/stat"),
        );
        // The name of the program may hold anything; what follows it does not.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let booted = line(&machine, "btime").and_then(|booted| booted.trim().parse::<f64>().ok());
        Self {
            cpu_seconds: ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS_A_SECOND),
            resident_bytes: line(&status, "VmRSS:")
                .and_then(|size| size.trim().trim_end_matches(" kB").parse::<u64>().ok())
                .map(|kib| kib << 10),
            open_descriptors: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            most_descriptors: line(&limits, "Max open files")
                .and_then(|limit| limit.split_whitespace().next()?.parse().ok()),
            start_seconds: booted.zip(ticks(19)).map(|(booted, since)| booted + since / TICKS_A_SECOND),
        }
    }
}

fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_descriptors.is_some_and(|open| open >= 3));
        assert!(process.cpu_seconds.is_some() && process.most_descriptors.is_some());
        assert!(process.start_seconds.is_some_and(|start| start > 1.6e9));
    }
}
