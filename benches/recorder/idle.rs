//! What an idle connection takes of a proxy's memory, and whether it is given back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::proc::resident_kib;
use crate::sides::{Origin, Side};
use crate::support::{now, pause};

/// How long memory may take to come back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(10);

/// Connections that have had one answer each and then say nothing.
pub(crate) fn measure(folder: &Path, origin: &Origin, wanted: usize, pinned: bool) {
    let count = wanted.min(descriptors_left());
    println!("\nidle connections: {count} that have had an answer and are kept alive");
    for side in [Side::Stock, Side::Off, Side::On] {
        if !side.is_here() {
            continue;
        }
        let proxy = side.start(folder, origin, pinned, &[]);
        // What the first requests allocate is not the connections'.
        drop((0..64).map(|_| asked(&proxy.address)).collect::<Vec<_>>());
        let resident = || proxy.processes().into_iter().filter_map(resident_kib).sum::<u64>() as f64;
        let before = settled(&resident);
        let connections: Vec<TcpStream> = (0..count).map(|_| asked(&proxy.address)).collect();
        let open = settled(&resident);
        drop(connections);
        let closed = lowest(&resident, GIVEN_BACK_WITHIN);
        println!(
            "{:<22} {:>6.1} KiB each{} ({:.1} MiB before, {:.1} open, {:.1} within {} s of closing: {:.0} % given back)",
            side.name(),
            (open - before) / count as f64,
            if side == Side::On { " (goal ≤ 56)" } else { "" },
            before / 1024.0,
            open / 1024.0,
            closed / 1024.0,
            GIVEN_BACK_WITHIN.as_secs(),
            100.0 * (open - closed) / (open - before).max(1.0)
        );
    }
}

/// A connection after its first answer.
fn asked(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /small HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1_024];
    while !answer.windows(6).any(|six| six == b"\r\n\r\nok") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    stream
}

/// The value when it no longer changes by much.
fn settled(value: &impl Fn() -> f64) -> f64 {
    let mut last = value();
    for _ in 0..50 {
        pause(Duration::from_millis(100));
        let next = value();
        if (next - last).abs() < 64.0 {
            return next;
        }
        last = next;
    }
    last
}

fn lowest(value: &impl Fn() -> f64, within: Duration) -> f64 {
    let start = now();
    let mut lowest = f64::INFINITY;
    while start.elapsed() < within {
        lowest = lowest.min(value());
        pause(Duration::from_millis(200));
    }
    lowest
}

/// How many more files this process may open.
fn descriptors_left() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: usize = line.split_whitespace().next().unwrap().parse().unwrap_or(1_024);
    soft.saturating_sub(200)
}
