//! Ratios, measured side by side in one run: `make bench`.
//!
//! The machine is shared and noisy, so that absolute numbers mean little: both sides of a ratio run in turn,
//! round by round, and the median of the rounds' ratios is what to quote.
//!
//! 1. The recording proxy against the same proxy with recording off: requests a second that wrk gets through
//!    it, and the proxy's CPU time per request.
//! 2. The replayer against wrk: CPU time per request of the whole process, both with 64 connections that ask
//!    back to back, one sending thread, the same nginx and the same answer.

#![expect(clippy::print_stderr, reason = "says what it skips and what it measured")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

#[path = "../tests/support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::nginx::Nginx;
use support::{Recorded, Running, has, highwater, write_capture};

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
    recorder(folder.path(), &nginx);
    replayer(folder.path(), &nginx);
}

/// The recording proxy against the same proxy with recording off.
fn recorder(folder: &Path, nginx: &Nginx) {
    println!("recording proxy vs the same proxy not recording ({CONNECTIONS} connections, 1 kB answers)");
    println!(
        "{:>6} {:>12} {:>12} {:>8} {:>14} {:>14} {:>8}",
        "round", "off req/s", "on req/s", "ratio", "off µs CPU", "on µs CPU", "ratio"
    );
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let off = through_proxy(folder, nginx, &["--recording", "off"], &format!("off-{round}"));
        let on = through_proxy(folder, nginx, &[], &format!("on-{round}"));
        let (rate, cost) = (on.0 / off.0, on.1 / off.1);
        println!(
            "{:>6} {:>12.0} {:>12.0} {rate:>8.3} {:>14.1} {:>14.1} {cost:>8.3}",
            round + 1,
            off.0,
            on.0,
            off.1,
            on.1
        );
        rates.push(rate);
        costs.push(cost);
    }
    println!(
        "median: throughput ratio {:.3} (goal ≥ 0.92), CPU ratio {:.3}\n",
        median(&mut rates),
        median(&mut costs)
    );
}

/// Requests a second and microseconds of the proxy's CPU per request.
fn through_proxy(folder: &Path, nginx: &Nginx, flags: &[&str], name: &str) -> (f64, f64) {
    let out = folder.join(format!("{name}.capture"));
    let mut child = highwater()
        .args(["record", "--listen", "127.0.0.1:0", "--upstream", &nginx.address(), "--out"])
        .arg(&out)
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let proxy = Running(child);
    let mut ready = String::new();
    stderr.read_line(&mut ready).unwrap();
    // "recording 127.0.0.1:PORT -> …", or "proxying …" with recording off.
    let address = ready.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
    let rest = std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let before = cpu_seconds(proxy.0.id());
    let requests = wrk(&address).0;
    let cpu = cpu_seconds(proxy.0.id()) - before;
    Command::new("kill").arg(proxy.0.id().to_string()).status().unwrap();
    let mut proxy = proxy;
    proxy.0.wait().unwrap();
    rest.join().unwrap().unwrap();
    let _ = std::fs::remove_file(out);
    (requests / WRK_SECONDS as f64, cpu * 1e6 / requests)
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

/// The CPU seconds that a process has used so far.
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
