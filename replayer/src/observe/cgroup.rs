//! Looks at a control group: a container or a service, as the kernel accounts for it.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst; the files of version 1 are read where those are missing.

use std::io;
use std::path::Path;

use super::Reading;

/// `cpu` (the share of what it may use, or of the machine), `cpu_cores`, `cpu_throttled_ratio`,
/// `memory_bytes`, `memory` (the share of its limit).
pub(super) fn look(path: &Path) -> io::Result<Vec<Reading>> {
    let read = |name: &str| std::fs::read_to_string(path.join(name));
    let machine = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let mut readings = Vec::new();
    if let Ok(stat) = read("cpu.stat")
        && let Some(micros) = field(&stat, "usage_usec")
    {
        let allowed = read("cpu.max").ok().and_then(|text| quota(&text)).unwrap_or(machine);
        readings.push(Reading::counter("cpu", micros, 1e-6 / allowed));
        readings.push(Reading::counter("cpu_cores", micros, 1e-6));
        if let Some(micros) = field(&stat, "throttled_usec") {
            readings.push(Reading::counter("cpu_throttled_ratio", micros, 1e-6));
        }
    } else if let Ok(usage) = read("cpuacct.usage")
        && let Ok(nanos) = usage.trim().parse::<f64>()
    {
        readings.push(Reading::counter("cpu", nanos, 1e-9 / machine));
        readings.push(Reading::counter("cpu_cores", nanos, 1e-9));
    }
    let number = |name: &str| read(name).ok().and_then(|text| text.trim().parse::<f64>().ok());
    if let Some(memory) = number("memory.current").or_else(|| number("memory.usage_in_bytes")) {
        readings.push(Reading::gauge("memory_bytes", memory));
        if let Some(limit) = number("memory.max").filter(|&limit| limit > 0.0) {
            readings.push(Reading::gauge("memory", memory / limit));
        }
    }
    if readings.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no account of CPU or memory is there"));
    }
    Ok(readings)
}

fn field(stat: &str, name: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The cores that `cpu.max` allows; `None` without a limit.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_of_version_2_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(look(folder.path()).is_err());
        write("cpu.stat", "usage_usec 2000000\nuser_usec 1\nnr_periods 5\nthrottled_usec 30\n");
        write("cpu.max", "150000 100000\n");
        write("memory.current", "1048576\n");
        write("memory.max", "4194304\n");
        let readings = look(folder.path()).unwrap();
        let names: Vec<&str> = readings.iter().map(|reading| reading.name.as_str()).collect();
        assert_eq!(names, ["cpu", "cpu_cores", "cpu_throttled_ratio", "memory_bytes", "memory"]);
        // A million microseconds of CPU in a second are one core: two thirds of the core and a half it may use.
        assert!((readings[0].scale * 1e6 - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(readings[4].value, 0.25);
        assert_eq!(quota("max 100000\n"), None);
    }
}
