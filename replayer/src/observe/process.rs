//! Looks at a process and all that descend from it, through `/proc`.

use std::collections::BTreeSet;
use std::io;

use super::Reading;

/// The most processes of one family that are looked at.
const MAX_FAMILY: usize = 4_096;
/// Of a process with more threads the time is known to the tick only.
const MAX_THREADS: u64 = 256;
/// Time by threads and time by ticks, user's and system's cut off each, part by no more when both know all of it.
const MOST_TICKS_APART: f64 = 3.0;

/// CPU (`cpu`: the share of the machine's cores; `cpu_cores`), resident memory, threads, open files, sockets.
pub(super) fn look(id: u32) -> io::Result<Vec<Reading>> {
    let own = Stat::of(&std::fs::read_to_string(format!("/proc/{id}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its state cannot be understood"))?;
    let second = 1.0 / rustix::param::clock_ticks_per_second() as f64;
    let mut sum = own;
    let mut used = seconds_of(id, own, second);
    let (mut files, mut sockets) = descriptors(id);
    for child in descendants(id) {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
        let Some(stat) = stat.and_then(|text| Stat::of(&text)) else { continue };
        sum = sum.plus(stat);
        used += seconds_of(child, stat, second);
        let of_child = descriptors(child);
        (files, sockets) = (files + of_child.0, sockets + of_child.1);
    }
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let memory = sum.resident_pages as f64 * rustix::param::page_size() as f64;
    Ok(vec![
        Reading::counter("cpu", used, 1.0 / cores),
        Reading::counter("cpu_cores", used, 1.0),
        Reading::gauge("memory_bytes", memory),
        Reading::gauge("threads", sum.threads as f64),
        Reading::gauge("files", files as f64),
        Reading::gauge("sockets", sockets as f64),
    ])
}

/// CPU-seconds of a process and of its ended children.
fn seconds_of(id: u32, stat: Stat, tick: f64) -> f64 {
    let exact = if stat.threads <= MAX_THREADS { by_threads(id) } else { None };
    whole(exact, stat.own_ticks as f64 * tick, tick) + stat.child_ticks as f64 * tick
}

/// The better account of the same time.
///
/// A tick is 10 ms, which is as much as many a request costs; the scheduler knows each living thread's time in
/// nanoseconds. Where threads have ended, and took their time with them, the ticks are the account.
fn whole(by_threads: Option<f64>, by_ticks: f64, tick: f64) -> f64 {
    by_threads.filter(|exact| (exact - by_ticks).abs() <= MOST_TICKS_APART * tick).unwrap_or(by_ticks)
}

/// CPU-seconds of the living threads; `None` where the kernel does not tell.
///
/// Source: Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`, the first field.
fn by_threads(id: u32) -> Option<f64> {
    let mut nanos = 0_u64;
    for thread in std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten() {
        // One that ends meanwhile.
        let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
        nanos = nanos.saturating_add(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(nanos as f64 / 1e9)
}

/// What `/proc/PID/stat` says of a process. CPU of its ended children is in it, so that none is lost when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    own_ticks: u64,
    child_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// Source: proc(5). The name in parentheses may hold anything.
    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        // Fields 14 to 17 (utime, stime, cutime, cstime), 20 and 24 of the page, where the state is 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            own_ticks: number(14)?.saturating_add(number(15)?),
            child_ticks: number(16)?.saturating_add(number(17)?),
            threads: number(20)?,
            resident_pages: number(24)?,
        })
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            own_ticks: self.own_ticks.saturating_add(other.own_ticks),
            child_ticks: self.child_ticks.saturating_add(other.child_ticks),
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
        assert_eq!(
            Stat::of(text),
            Some(Stat { own_ticks: 33, child_ticks: 7, threads: 7, resident_pages: 1_234 })
        );
        assert_eq!(Stat::of("42 (short) S 1"), None);
        assert_eq!(Stat::of(""), None);
    }

    #[test]
    fn time_is_known_to_less_than_a_tick_and_threads_that_ended_are_not_lost() {
        // (by the living threads, by ticks of 10 ms, what counts)
        for (by_threads, by_ticks, expected) in [
            (Some(1.2345), 1.22, 1.2345),
            // Out of date by a tick of the scheduler, on two cores.
            (Some(1.212), 1.22, 1.212),
            // A thread ended after half a second of work.
            (Some(0.734), 1.22, 1.22),
            (None, 1.22, 1.22),
        ] {
            assert_eq!(whole(by_threads, by_ticks, 0.01), expected, "{by_threads:?}");
        }
        assert!(by_threads(std::process::id()).is_none_or(|seconds| seconds.is_finite()));
        assert_eq!(by_threads(u32::MAX), None);
    }
}
