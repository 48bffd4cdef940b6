//! Looks at a control group: a container or a service, as the kernel accounts for it.
//!
//! Version 2 keeps all accounts in one folder, version 1 each controller's in a hierarchy of its own; a machine may
//! have both. A group is looked for in every hierarchy that is mounted, those of version 1 first: where they account
//! for something, version 2 does not, or for a larger group.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/, proc(5) on mountinfo and cgroup.

use std::io;
use std::path::{Path, PathBuf};

use super::Reading;

/// A limit of memory in version 1 that is none: the largest number of whole pages.
const NO_LIMIT: f64 = (1_u64 << 62) as f64;

/// Where the kernel accounts for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    usage: Option<PathBuf>,
    quota: Option<PathBuf>,
    memory: Option<PathBuf>,
}

impl Account {
    /// Of the group whose folder in any hierarchy is `path`, or whose path below their roots it is.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mounts = mounts(&std::fs::read_to_string("/proc/self/mountinfo")?);
        Self::among(&folders(path, &mounts))
    }

    /// Of the group that a process of this machine is in.
    pub(super) fn of_process(id: u32) -> io::Result<Self> {
        let mounts = mounts(&std::fs::read_to_string("/proc/self/mountinfo")?);
        Self::among(&folders_of(&std::fs::read_to_string(format!("/proc/{id}/cgroup"))?, &mounts))
    }

    /// Takes each account from the first folder that has it.
    fn among(folders: &[PathBuf]) -> io::Result<Self> {
        let first = |files: &[&str]| {
            folders.iter().find(|folder| files.iter().any(|file| folder.join(file).exists())).cloned()
        };
        let usage = folders.iter().find(|folder| usage(folder).is_some()).cloned();
        let account = Self {
            usage,
            quota: first(&["cpu.max", "cpu.cfs_quota_us"]),
            memory: first(&["memory.current", "memory.usage_in_bytes"]),
        };
        if account.usage.is_none() && account.memory.is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no account of CPU or memory is there"));
        }
        Ok(account)
    }

    /// `cpu` (the share of what it may use, or of the machine), `cpu_cores`, `cpu_throttled_ratio`,
    /// `memory_bytes`, `memory` (the share of its limit).
    pub(super) fn look(&self) -> io::Result<Vec<Reading>> {
        let machine = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let mut readings = Vec::new();
        if let Some(seconds) = self.usage.as_deref().and_then(usage) {
            let allowed = self.quota.as_deref().and_then(cores_allowed).unwrap_or(machine);
            readings.push(Reading::counter("cpu", seconds, 1.0 / allowed));
            readings.push(Reading::counter("cpu_cores", seconds, 1.0));
        }
        if let Some(stat) = self.quota.as_deref().and_then(|folder| read(folder, "cpu.stat")) {
            let nanos = || field(&stat, "throttled_time").map(|nanos| nanos * 1e-9);
            if let Some(seconds) = field(&stat, "throttled_usec").map(|micros| micros * 1e-6).or_else(nanos) {
                readings.push(Reading::counter("cpu_throttled_ratio", seconds, 1.0));
            }
        }
        if let Some(folder) = &self.memory {
            let number = |name: &str| read(folder, name).and_then(|text| text.trim().parse::<f64>().ok());
            if let Some(memory) = number("memory.current").or_else(|| number("memory.usage_in_bytes")) {
                readings.push(Reading::gauge("memory_bytes", memory));
                let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"));
                if let Some(limit) = limit.filter(|&limit| limit > 0.0 && limit < NO_LIMIT) {
                    readings.push(Reading::gauge("memory", memory / limit));
                }
            }
        }
        if readings.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no account of CPU or memory is there"));
        }
        Ok(readings)
    }
}

/// Where a hierarchy is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The group that is seen there.
    root: PathBuf,
    point: PathBuf,
    /// Empty for version 2.
    controllers: Vec<String>,
}

/// The hierarchies of `/proc/self/mountinfo`, those of version 1 first.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(3);
            let (root, point) = (before.next()?, before.next()?);
            let mut after = after.split(' ');
            let controllers = match after.next()? {
                "cgroup2" => Vec::new(),
                "cgroup" => after.nth(1)?.split(',').map(str::to_owned).collect(),
                _ => return None,
            };
            Some(Mount { root: PathBuf::from(root), point: PathBuf::from(point), controllers })
        })
        .collect();
    mounts.sort_by_key(|mount| mount.controllers.is_empty());
    mounts
}

/// The folders of one group: the one that is named, and those of the same path in all hierarchies.
fn folders(path: &Path, mounts: &[Mount]) -> Vec<PathBuf> {
    let named = path.is_absolute() && path.exists();
    let below = if named {
        mounts
            .iter()
            .filter_map(|mount| path.strip_prefix(&mount.point).ok())
            .min_by_key(|path| path.as_os_str().len())
    } else {
        Some(path.strip_prefix("/").unwrap_or(path))
    };
    let others = mounts.iter().filter_map(|mount| Some(mount.point.join(below?)));
    named.then(|| path.to_owned()).into_iter().chain(others).collect()
}

/// The folders of the groups in `/proc/PID/cgroup`. A process at the root of a hierarchy has no group there: what is
/// accounted for at the root is the whole machine's.
fn folders_of(groups: &str, mounts: &[Mount]) -> Vec<PathBuf> {
    let group_of = |mount: &Mount| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let fits = if mount.controllers.is_empty() {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|one| mount.controllers.iter().any(|known| known == one))
            };
            (fits && path != "/").then_some(path)
        })
    };
    let folder =
        |mount: &Mount| Some(mount.point.join(Path::new(group_of(mount)?).strip_prefix(&mount.root).ok()?));
    mounts.iter().filter_map(folder).collect()
}

fn read(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

/// The seconds of CPU that were used.
fn usage(folder: &Path) -> Option<f64> {
    let newer = || field(&read(folder, "cpu.stat")?, "usage_usec").map(|micros| micros * 1e-6);
    let older = || Some(read(folder, "cpuacct.usage")?.trim().parse::<f64>().ok()? * 1e-9);
    newer().or_else(older)
}

/// The cores that a group may use; `None` without a limit.
fn cores_allowed(folder: &Path) -> Option<f64> {
    let older = || {
        Some(format!("{} {}", read(folder, "cpu.cfs_quota_us")?.trim(), read(folder, "cpu.cfs_period_us")?))
    };
    quota(&read(folder, "cpu.max").or_else(older)?)
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
        assert!(Account::of(folder.path()).is_err());
        write("cpu.stat", "usage_usec 2000000\nuser_usec 1\nnr_periods 5\nthrottled_usec 30\n");
        write("cpu.max", "150000 100000\n");
        write("memory.current", "1048576\n");
        write("memory.max", "4194304\n");
        let readings = Account::of(folder.path()).unwrap().look().unwrap();
        let names: Vec<&str> = readings.iter().map(|reading| reading.name.as_str()).collect();
        assert_eq!(names, ["cpu", "cpu_cores", "cpu_throttled_ratio", "memory_bytes", "memory"]);
        // A second of CPU in a second is one core: two thirds of the core and a half it may use.
        assert!((readings[0].value - 2.0).abs() < 1e-9 && (readings[0].scale - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(readings[4].value, 0.25);
        assert_eq!(quota("max 100000\n"), None);
    }

    /// Version 1 beside version 2, as systemd mounts them together: each account from the hierarchy that keeps it.
    #[test]
    fn control_groups_of_version_1_are_found_in_each_of_their_hierarchies() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let line =
            |point: &str, rest: &str| format!("1 2 0:3 / {}/{point} rw shared:9 - {rest}\n", root.display());
        let mountinfo = [
            line("unified", "cgroup2 cgroup2 rw"),
            line("cpuacct", "cgroup cgroup rw,cpuacct"),
            line("cpu", "cgroup cgroup rw,cpu"),
            line("memory", "cgroup cgroup rw,memory"),
            line("tmp", "tmpfs tmpfs rw"),
        ]
        .concat();
        let mounts = mounts(&mountinfo);
        assert_eq!(mounts.len(), 4);
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), text).unwrap();
        };
        // The whole machine, which must not be taken for the group.
        write("unified/cpu.stat", "usage_usec 900000000\n");
        write("cpuacct/docker/c1/cpuacct.usage", "3000000000\n");
        write("cpu/docker/c1/cpu.stat", "nr_periods 1\nthrottled_time 500000000\n");
        write("cpu/docker/c1/cpu.cfs_quota_us", "50000\n");
        write("cpu/docker/c1/cpu.cfs_period_us", "100000\n");
        write("memory/docker/c1/memory.usage_in_bytes", "1048576\n");
        write("memory/docker/c1/memory.limit_in_bytes", "4194304\n");
        let by_process =
            folders_of("3:memory:/docker/c1\n2:cpu:/docker/c1\n1:cpuacct:/docker/c1\n0::/\n", &mounts);
        let whole = Path::new("docker/c1");
        for folders in [by_process, folders(whole, &mounts), folders(&root.join("memory/docker/c1"), &mounts)]
        {
            let readings = Account::among(&folders).unwrap().look().unwrap();
            let seen: Vec<(&str, f64, f64)> =
                readings.iter().map(|one| (one.name.as_str(), one.value, one.scale)).collect();
            // Half a core may be used: a second of CPU is twice of that.
            assert_eq!(
                seen,
                [
                    ("cpu", 3.0, 2.0),
                    ("cpu_cores", 3.0, 1.0),
                    ("cpu_throttled_ratio", 0.5, 1.0),
                    ("memory_bytes", 1_048_576.0, 1.0),
                    ("memory", 0.25, 1.0)
                ],
                "{folders:?}"
            );
        }
        assert_eq!(folders_of("3:memory:/\n0::/\n", &mounts), Vec::<PathBuf>::new());
    }
}
