//! The replayer against wrk, side by side in one run: `make bench`.
//!
//! CPU time per request of the whole process, both with 64 connections that ask back to back, one sending
//! thread, the same nginx and the same answer. The machine is shared and noisy, so that absolute numbers mean
//! little: both sides of the ratio run in turn, round by round, and the median of the rounds' ratios is what
//! to quote. (The recorder is measured by `make bench-recorder`.)

#![expect(clippy::print_stderr, reason = "says what it skips and what it measured")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

#[path = "../tests/support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::nginx::Nginx;
use support::{Recorded, has, write_capture};

const ROUNDS: usize = 5;
const CONNECTIONS: u64 = 64;
const WRK_SECONDS: u64 = 4;
const REPLAYED_PER_CONNECTION: u64 = 3_000;

fn main() {
    if !["nginx", "wrk", "bash"].iter().all(|program| has(program)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("page.json"), "x".repeat(1_024)).unwrap();
    let nginx = Nginx::start(folder.path(), Some(&root));
    replayer(folder.path(), &nginx);
}

/// The replayer against wrk.
fn replayer(folder: &Path, nginx: &Nginx) {
    println!("replayer vs wrk: CPU per request ({CONNECTIONS} connections back to back, one thread)");
    println!("{:>6} {:>14} {:>14} {:>8}", "round", "wrk µs", "replayer µs", "ratio");
    // Everything is due in the first milliseconds: each connection then sends as soon as it is answered.
    let capture = folder.join("back-to-back.capture");
    let requests: Vec<Recorded> = (0..CONNECTIONS * REPLAYED_PER_CONNECTION)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at),
            connection: at % CONNECTIONS,
            method: "GET",
            target: "/page.json".to_owned(),
            body: Vec::new(),
        })
        .collect();
    write_capture(&capture, &requests);
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let (count, wrk_cpu) = wrk(&nginx.address());
        let run = folder.join(format!("{round}.run"));
        let command = format!(
            "{} replay {} --target http://{} --threads 1 --quiet --out {}",
            env!("CARGO_BIN_EXE_highwater"),
            capture.display(),
            nginx.address(),
            run.display()
        );
        let (_, replay_cpu) = timed(&command);
        let sent = captures::Run::read(std::fs::File::open(&run).unwrap()).unwrap().overall().service.len();
        assert_eq!(sent, CONNECTIONS * REPLAYED_PER_CONNECTION);
        let (wrk_cost, replay_cost) = (wrk_cpu * 1e6 / count, replay_cpu * 1e6 / sent as f64);
        println!("{:>6} {wrk_cost:>14.2} {replay_cost:>14.2} {:>8.3}", round + 1, replay_cost / wrk_cost);
        ratios.push(replay_cost / wrk_cost);
    }
    println!("median: CPU ratio {:.3} (goal ≤ 1.0)", median(&mut ratios));
}

/// Requests that wrk got answered, and the CPU seconds that it used.
fn wrk(address: &str) -> (f64, f64) {
    let (output, cpu) =
        timed(&format!("wrk -t1 -c{CONNECTIONS} -d{WRK_SECONDS}s http://{address}/page.json"));
    let line = output.lines().find(|line| line.contains(" requests in ")).unwrap();
    (line.split_whitespace().next().unwrap().parse().unwrap(), cpu)
}

/// What a command printed, and the user and system seconds of its whole process.
fn timed(command: &str) -> (String, f64) {
    let script = format!("TIMEFORMAT='%3U %3S'; time {command}");
    let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let seconds = stderr.lines().last().unwrap().split(' ').map(|text| text.parse::<f64>().unwrap()).sum();
    (String::from_utf8(output.stdout).unwrap(), seconds)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
