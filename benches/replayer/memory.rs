//! Memory: of open connections, in one process and in several, and whether it grows with the number of requests.
//!
//! *Resident* is all that the system counts, when the most descriptors were open; *own* is what of it no file stands
//! behind, *files* the rest: pages of the program itself and of the libraries, which all processes share and the system
//! takes back when it needs them. How many of those there are depends on how the file came into the page cache: where it
//! lies there in larger pieces (Linux 6.18, a file that was copied), each is mapped whole, and they are twice as many.
//! *Peak* is the most that was ever resident, mostly while it planned.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use captures::Run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::proc;
use crate::sink::{Apart, Sink};
use crate::support::{Recorded, pause, write_capture};

/// So many processes at a time, with so many connections each.
const PROCESSES: u8 = 5;
const EACH: u64 = 10_000;
/// How the growth with the number of requests is looked at: so many a second.
const RATE: u64 = 25_000;

/// The memory of a process, in MB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Most {
    /// When the most descriptors were open; the most of it then.
    pub(crate) resident: f64,
    pub(crate) own: f64,
    /// The most while it ran.
    pub(crate) peak: f64,
    pub(crate) own_peak: f64,
    descriptors: u64,
}

/// Two requests on each connection, so far apart that all are open at once.
fn idle(connections: u64, seconds: u64) -> Vec<Recorded> {
    let step = 1_000_000_000 * seconds / connections;
    let of = |turn: u64| {
        (0..connections).map(move |connection| Recorded {
            arrived: Duration::from_nanos(turn * seconds * 1_000_000_000 + connection * step),
            connection,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
    };
    of(0).chain(of(1)).collect()
}

/// A replay of `capture` against `target`, begun.
pub(crate) fn begin(capture: &Path, target: SocketAddr, run: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["replay", capture.to_str().unwrap(), "--threads", "1", "--quiet", "--json"])
        .args(more)
        .args(["--target", &format!("http://{target}"), "--out", run.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The summary of a replay, and the most memory that it was seen to have.
pub(crate) fn watched(mut replay: Child) -> (Value, Most) {
    let mut most = Most::default();
    let megabytes = |kib: Option<u64>| kib.map_or(0.0, |kib| kib as f64 * 1_024.0 / 1e6);
    while replay.try_wait().unwrap().is_none() {
        let own = megabytes(proc::anonymous_kib(replay.id()));
        most.peak = most.peak.max(megabytes(proc::peak_kib(replay.id())));
        most.own_peak = most.own_peak.max(own);
        let descriptors = proc::descriptors(replay.id()).unwrap_or(0);
        let resident = megabytes(proc::resident_kib(replay.id()));
        if descriptors > most.descriptors || (descriptors == most.descriptors && resident > most.resident) {
            (most.descriptors, most.resident, most.own) = (descriptors, resident, own);
        }
        pause(Duration::from_millis(50));
    }
    let output = replay.wait_with_output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), most)
}

/// Prints it; ten million requests only when `long`.
pub(crate) fn measure(long: bool) {
    println!("\nmemory of the generator, in MB");
    println!("{:>18} {:>9} {:>7} {:>7} {:>7}", "", "resident", "own", "files", "peak");
    let few = open(100);
    let many = open(9_500);
    let each = (many.own - few.own) * 1e6 / 9_400.0;
    println!(
        "{each:>18.0} B for each connection, its two planned requests included; goal: 12 MB resident at 9500"
    );
    spread();
    growth(long);
}

fn open(connections: u64) -> Most {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &idle(connections, 4));
    let sink = Sink::start();
    let (summary, most) = watched(begin(&capture, sink.address, &folder.path().join("r.run"), &[]));
    row(&format!("{connections} connections"), most, &summary);
    most
}

fn row(what: &str, most: Most, summary: &Value) {
    let errors = summary["planned"].as_u64().unwrap() - summary["ok"].as_u64().unwrap();
    println!(
        "{what:>18} {:>9.1} {:>7.1} {:>7.1} {:>7.1} at most {} open, {errors} errors",
        most.resident,
        most.own,
        most.resident - most.own,
        most.peak,
        summary["connections_most"]
    );
}

/// Several processes at once, each from an address of its own to a server of its own.
fn spread() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let room = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if room < EACH + 100 {
        println!("{:>18} skipped: a process may open {room} descriptors, not {}", "", EACH + 100);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &idle(EACH, 10));
    let servers: Vec<Apart> = (0..PROCESSES).map(|_| Apart::start()).collect();
    let before = kernel();
    let running: Vec<Child> = (2..)
        .zip(&servers)
        .map(|(number, server)| {
            let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, number)).to_string();
            let run = folder.path().join(format!("{number}.run"));
            begin(&capture, server.address, &run, &["--source-ip", &source])
        })
        .collect();
    let (ended, in_kernel) = std::thread::scope(|scope| {
        let watching: Vec<_> =
            running.into_iter().map(|replay| scope.spawn(move || watched(replay))).collect();
        let mut most: f64 = before;
        while !watching.iter().all(|watch| watch.is_finished()) {
            most = most.max(kernel());
            pause(Duration::from_millis(100));
        }
        let ended: Vec<_> = watching.into_iter().map(|watch| watch.join().unwrap()).collect();
        (ended, most - before)
    });
    let mut all = (Most::default(), 0.0);
    for (number, (summary, most)) in ended.iter().enumerate() {
        row(&format!("process {} of {PROCESSES}", number + 1), *most, summary);
        all.0.resident += most.resident;
        all.0.own += most.own;
        all.1 += summary["connections_most"].as_f64().unwrap();
    }
    let per = |megabytes: f64| megabytes * 1e6 / all.1;
    println!(
        "{:>18} {:>9.1} {:>7.1} {} connections: {:.0} B resident and {:.0} B own for each, and {:.0} B in the kernel for both its ends",
        "together",
        all.0.resident,
        all.0.own,
        all.1,
        per(all.0.resident),
        per(all.0.own),
        per(in_kernel)
    );
}

/// What the kernel holds and cannot give back, in MB.
fn kernel() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0 / 1e6
}

/// Whether a long run holds more than a short one: one run, looked at after so many requests.
fn growth(long: bool) {
    let even: Vec<Recorded> = (0..RATE)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at * 1_000_000_000 / RATE),
            connection: at % 64,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &even);
    let sink = Sink::start();
    let requests = if long { 10_000_000 } else { 1_000_000 };
    let duration = format!("{}s", requests / RATE + 2);
    let path = folder.path().join("r.run");
    let (summary, most) = watched(begin(&capture, sink.address, &path, &["--duration", &duration]));
    row(&format!("{requests} requests"), most, &summary);
    let run = Run::read(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
    let mut marks = [100_000, 1_000_000, 10_000_000].into_iter().peekable();
    let mut ended = 0;
    for interval in &run.intervals {
        ended += interval.completed;
        let Some(load) = &interval.generator else { continue };
        if marks.next_if(|&mark| ended >= mark).is_some() {
            println!(
                "{ended:>9} requests ended: {:>6.1} MB resident then",
                load.resident.as_u64() as f64 / 1e6
            );
        }
    }
    if long {
        println!("goal: after 10 M requests as much as after 1 M, ±1 MB");
    }
}
