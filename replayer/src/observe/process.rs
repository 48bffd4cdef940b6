//! Looks at a process and all that descend from it, through `/proc`.

use std::collections::BTreeSet;
use std::io;

use super::Reading;

/// The most processes of one family that are looked at.
const MAX_FAMILY: usize = 4_096;

/// CPU (`cpu`: the share of the machine's cores; `cpu_cores`), resident memory, threads, open files, sockets.
pub(super) fn look(id: u32) -> io::Result<Vec<Reading>> {
    let own = Stat::of(&std::fs::read_to_string(format!("/proc/{id}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its state cannot be understood"))?;
    let mut sum = own;
    let (mut files, mut sockets) = descriptors(id);
    for child in descendants(id) {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
        let Some(stat) = stat.and_then(|text| Stat::of(&text)) else { continue };
        sum = sum.plus(stat);
        let of_child = descriptors(child);
        (files, sockets) = (files + of_child.0, sockets + of_child.1);
    }
    let second = 1.0 / rustix::param::clock_ticks_per_second() as f64;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let memory = sum.resident_pages as f64 * rustix::param::page_size() as f64;
    Ok(vec![
        Reading::counter("cpu", sum.ticks as f64, second / cores),
        Reading::counter("cpu_cores", sum.ticks as f64, second),
        Reading::gauge("memory_bytes", memory),
        Reading::gauge("threads", sum.threads as f64),
        Reading::gauge("files", files as f64),
        Reading::gauge("sockets", sockets as f64),
    ])
}

/// What `/proc/PID/stat` says of a process. CPU of its ended children is in it, so that none is lost when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// Source: proc(5). The name in parentheses may hold anything.
    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        // Fields 14 to 17 (utime, stime, cutime, cstime), 20 and 24 of the page, where the state is 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
        Some(Self { ticks, threads: number(20)?, resident_pages: number(24)? })
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            ticks: self.ticks.saturating_add(other.ticks),
            threads: self.threads.saturating_add(other.threads),
            resident_pages: self.resident_pages.saturating_add(other.resident_pages),
        }
    }
}

fn descendants(id: u32) -> BTreeSet<u32> {
    let mut family = BTreeSet::new();
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                if family.len() < MAX_FAMILY && family.insert(child) {
                    parents.push(child);
                }
            }
        }
    }
    family
}

/// Open files, and how many of them are sockets; none when they may not be read.
fn descriptors(id: u32) -> (u64, u64) {
    let Ok(open) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return (0, 0) };
    open.flatten().fold((0, 0), |(files, sockets), entry| {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        (files + 1, sockets + u64::from(is_socket))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_read_whatever_it_is_called() {
        // proc(5): utime 11, stime 22, cutime 3, cstime 4, 7 threads, 1234 pages.
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 7 0 5000 99999 1234 18446744073709551615";
        assert_eq!(Stat::of(text), Some(Stat { ticks: 40, threads: 7, resident_pages: 1_234 }));
        assert_eq!(Stat::of("42 (short) S 1"), None);
        assert_eq!(Stat::of(""), None);
    }
}
