//! What the machine says of a process: CPU, memory, descriptors, threads.

use std::path::PathBuf;

/// The CPU seconds that a process has used so far; `None` when it has ended.
pub(crate) fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}

/// The resident memory of a process in KiB; `None` when it has ended.
pub(crate) fn resident_kib(process: u32) -> Option<u64> {
    in_status(process, "VmRSS:")
}

/// The most that it was so far.
pub(crate) fn peak_kib(process: u32) -> Option<u64> {
    in_status(process, "VmHWM:")
}

/// Of what is resident now, what no file stands behind.
pub(crate) fn anonymous_kib(process: u32) -> Option<u64> {
    in_status(process, "RssAnon:")
}

/// The number of its threads.
pub(crate) fn threads(process: u32) -> Option<u64> {
    in_status(process, "Threads:")
}

/// The number of its open descriptors.
pub(crate) fn descriptors(process: u32) -> Option<u64> {
    Some(std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64)
}

/// The ids and names of its threads.
pub(crate) fn thread_names(process: u32) -> Vec<(u32, String)> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| {
            let path: PathBuf = task.ok()?.path();
            let id = path.file_name()?.to_str()?.parse().ok()?;
            Some((id, std::fs::read_to_string(path.join("comm")).ok()?.trim().to_owned()))
        })
        .collect()
}

/// Its children, by what the machine lists.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    listed.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// The mean number of threads that wanted a processor in the last minute.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The number after `field` in the status of a process.
fn in_status(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}
