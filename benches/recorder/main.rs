//! The recorder beside other proxies, side by side on this machine: `make bench-recorder`.
//!
//! The machine is shared and noisy, so that absolute numbers mean little: all sides of a ratio run in turn,
//! round by round, and the median of the rounds' ratios is what to quote; the lowest and the highest stand
//! beside it.
//!
//! Where `taskset` is, traffic and service share the first processor and the proxy has the second, with one
//! worker: its writer thread then competes with the worker, so that nothing of what recording costs is hidden
//! by an idle processor. `--unpinned` lets everything run everywhere instead, with two workers.
//!
//! 1. Throughput and CPU per request, wrk back to back, once with 1 000 distinct requests of about 700 bytes
//!    that are answered without a body, once with 2 kB bodies (half of them up, half of them down).
//! 2. Latency at a fixed rate, half of what the slowest side carried, open loop.
//! 3. Bytes of file for each small GET.
//! 4. Memory for each idle connection, and how much of it is given back.
//!
//!     cargo bench --bench recorder -- [--rounds 5] [--seconds 3] [--idle 8000] [--only throughput,latency,idle] [--unpinned]

#![expect(clippy::print_stderr, reason = "says what it skips and what it measured")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

#[path = "../../tests/support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

#[path = "../../tests/support/proc.rs"]
#[expect(dead_code, reason = "shared with the fault harness, which uses all of it")]
mod proc;

mod idle;
mod load;
mod sides;

use std::path::Path;

use load::{Load, Measured, Open};
use proc::load_average;
use sides::{Origin, Side};
use support::has;

/// What was asked for on the command line.
struct Settings {
    rounds: usize,
    seconds: u64,
    idle: usize,
    only: Option<String>,
    pinned: bool,
}

impl Settings {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].clone());
        let number = |flag: &str, default: u64| value(flag).map_or(default, |text| text.parse().unwrap());
        Self {
            rounds: number("--rounds", 5) as usize,
            seconds: number("--seconds", 3),
            idle: number("--idle", 8_000) as usize,
            only: value("--only"),
            pinned: !args.iter().any(|arg| arg == "--unpinned") && has("taskset") && processors() > 1,
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|name| name == part))
    }
}

fn main() {
    let settings = Settings::from_args();
    if !["nginx", "wrk", "bash"].iter().all(|program| has(program)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(folder.path(), settings.pinned);
    let sides: Vec<Side> = Side::ALL.into_iter().filter(|side| side.is_here()).collect();
    println!(
        "{} processors, load average {:.1}; {}",
        processors(),
        load_average(),
        if settings.pinned { "traffic and service on one, the proxy on another" } else { "nothing pinned" }
    );
    if settings.wants("throughput") {
        for load in [Load::Heads, Load::Bodies] {
            throughput(folder.path(), &origin, &sides, load, &settings);
        }
    }
    if settings.wants("latency") {
        latency(folder.path(), &origin, &sides, &settings);
    }
    if settings.wants("size") || settings.only.is_none() {
        size(folder.path(), &origin, &settings);
    }
    if settings.wants("idle") {
        idle::measure(folder.path(), &origin, settings.idle, settings.pinned);
    }
    println!("load average at the end {:.1}", load_average());
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Requests a second and CPU of every side, and what recording costs.
fn throughput(folder: &Path, origin: &Origin, sides: &[Side], load: Load, settings: &Settings) {
    println!("\nthroughput, {}: {}", load.name(), load.about());
    println!(
        "{:>6} {:<22} {:>10} {:>18} {:>9} {:>9}",
        "round", "", "req/s", "CPU s per 100 000", "p50 ms", "p99 ms"
    );
    let mut rounds: Vec<Vec<Measured>> = Vec::new();
    for round in 0..settings.rounds {
        let measured: Vec<Measured> = turns(sides, round)
            .into_iter()
            .map(|side| {
                let proxy = side.start(folder, origin, settings.pinned, &[]);
                let measured = load.drive(folder, &proxy, settings.seconds, settings.pinned);
                println!(
                    "{:>6} {:<22} {:>10.0} {:>18.2} {:>9.2} {:>9.2}",
                    round + 1,
                    side.name(),
                    measured.rate,
                    measured.cpu_per_100k,
                    measured.p50_ms,
                    measured.p99_ms
                );
                assert_eq!(measured.errors, 0, "{}: answers were missing", side.name());
                measured
            })
            .collect();
        rounds.push(measured);
    }
    let of = |side: Side, read: fn(&Measured) -> f64| -> Vec<f64> {
        rounds.iter().map(|round| read(round.iter().find(|one| one.side == side).unwrap())).collect()
    };
    println!();
    let rate = |one: &Measured| one.rate;
    let cpu = |one: &Measured| one.cpu_per_100k;
    let goal = if load == Load::Bodies { "goal ≥ 0.92" } else { "no goal of its own" };
    verdict("throughput, recording on / off", &of(Side::On, rate), &of(Side::Off, rate), goal);
    verdict(
        "CPU per request, recording on / off",
        &of(Side::On, cpu),
        &of(Side::Off, cpu),
        "no goal of its own",
    );
    for (side, goal) in
        [(Side::Stock, "goal ≤ 1.05"), (Side::Nginx, "shown beside"), (Side::Haproxy, "shown beside")]
    {
        if sides.contains(&side) {
            let about = format!("CPU per request, recording on / {}", side.name());
            verdict(&about, &of(Side::On, cpu), &of(side, cpu), goal);
        }
    }
}

/// All sides, beginning with another one each round: who comes first or last must not matter.
fn turns(sides: &[Side], round: usize) -> Vec<Side> {
    let mut turns = sides.to_vec();
    turns.rotate_left(round % sides.len());
    turns
}

/// How long answers take at half load, and what recording adds.
fn latency(folder: &Path, origin: &Origin, sides: &[Side], settings: &Settings) {
    let slowest = Side::On.start(folder, origin, settings.pinned, &[]);
    let peak = Load::Bodies.drive(folder, &slowest, settings.seconds, settings.pinned).rate;
    drop(slowest);
    let rate = (peak / 2.0).round();
    println!(
        "\nlatency at {rate:.0} requests/s, open loop, from the moment at which each was due (2 kB bodies)"
    );
    println!("{:>6} {:<22} {:>9} {:>9} {:>9}", "round", "", "p50 µs", "p99 µs", "sent");
    let open = Open::new(folder, rate, settings.seconds);
    let mut rounds: Vec<Vec<(Side, f64, f64)>> = Vec::new();
    for round in 0..settings.rounds {
        let measured = turns(sides, round).into_iter().map(|side| {
            let proxy = side.start(folder, origin, settings.pinned, &["--record-replayed"]);
            let (p50, p99, sent) = open.drive(folder, &proxy, settings.pinned);
            println!("{:>6} {:<22} {p50:>9.0} {p99:>9.0} {sent:>9}", round + 1, side.name());
            (side, p50, p99)
        });
        rounds.push(measured.collect());
    }
    let of = |side: Side| -> Vec<f64> {
        rounds.iter().map(|round| round.iter().find(|one| one.0 == side).unwrap().2).collect()
    };
    println!();
    for (from, to, goal) in [(Side::Off, Side::On, "goal ≤ 100 µs"), (Side::Stock, Side::On, "shown beside")]
    {
        if sides.contains(&from) {
            let added: Vec<f64> = of(to).iter().zip(of(from)).map(|(with, without)| with - without).collect();
            let (low, middle, high) = spread(added);
            println!(
                "p99 of {} above {}: {middle:.0} µs ({low:.0} to {high:.0}; {goal})",
                to.name(),
                from.name()
            );
        }
    }
}

/// What small GETs take in the file.
fn size(folder: &Path, origin: &Origin, settings: &Settings) {
    println!();
    for (load, goal) in [(Load::Small, "goal ≤ 40 B"), (Load::Heads, "no goal"), (Load::Bodies, "no goal")]
    {
        let proxy = Side::On.start(folder, origin, settings.pinned, &[]);
        load.drive(folder, &proxy, settings.seconds, settings.pinned);
        let (bytes, exchanges) = proxy.recorded();
        println!(
            "{}: {:.1} B of file for each of {exchanges} exchanges ({goal}): {}",
            load.name(),
            bytes as f64 / exchanges as f64,
            load.about()
        );
    }
}

/// Prints the median of the rounds' ratios, and the lowest and the highest of them.
fn verdict(about: &str, with: &[f64], without: &[f64], goal: &str) {
    let (low, middle, high) =
        spread(with.iter().zip(without).map(|(with, without)| with / without).collect());
    println!("{about}: {middle:.3} ({low:.3} to {high:.3}; {goal})");
}

fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
