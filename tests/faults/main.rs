//! The recorder and the replayer under every fault that the project knows of, against what they promise: `make faults`.
//!
//! A row is a fault, a column a promise; rows and promises are those of the project's research on reliability.
//! Each row runs the real binary three times under the same traffic: with recording off, with recording on, and
//! once more until a kill -9 in the middle of the fault.
//!
//!     cargo test --test faults                   a few rows, briefly
//!     cargo test --test faults -- --all          all of it; ends with 1 below the floor
//!     cargo test --test faults -- --rows R1,L13  some rows in full; add --quick for a tenth of it

#![expect(clippy::print_stderr, reason = "says what it skips and how far it is")]
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::unwrap_used, reason = "a harness that cannot go on says so by panicking")]

#[path = "../support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

#[path = "../support/proc.rs"]
#[expect(dead_code, reason = "shared with the benchmark, which uses the rest")]
mod proc;

mod accounts;
mod chaos;
mod drive;
mod mix;
mod origin;
mod replays;
mod rows;
mod scenario;
mod subject;
mod table;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rows::life::{Damage, Rot};
use rows::{clients, clock, disk, life, machine, rest, upstream};
use scenario::{Effort, Fault, examine};
use support::now;
use table::{Table, failed};

/// The cells that must hold for `make faults` to end well.
const FLOOR: usize = 135;

/// Rows that are quick enough for every test run.
const QUICK: [&str; 3] = ["R1", "R13", "R29"];

type Row = (&'static str, &'static str, fn() -> Box<dyn Fault>);

const ROWS: [Row; 30] = [
    ("R1", "disk full", || Box::new(disk::Full::default())),
    ("R2", "quota reached", || Box::new(life::Quota)),
    ("R3", "every write fails (EIO)", || Box::new(disk::Broken::default())),
    ("R4", "fsync takes 30 s", || Box::new(disk::Stalled::default())),
    ("R5", "slow disk", || Box::new(disk::Slow::default())),
    ("R6", "kill -9 while writing, 200 times", || Box::new(life::Kills)),
    ("R7", "power cut: pages lost", || Box::new(Rot { how: Damage::PowerCut })),
    ("R8", "bit rot: every byte flipped", || Box::new(Rot { how: Damage::Flip })),
    ("R9", "file cut at every byte", || Box::new(Rot { how: Damage::Cut })),
    ("R10", "wall clock set by hours and years", || Box::new(clock::Jumps::default())),
    ("R11", "suspended for 10 s", || Box::new(clock::Suspended)),
    ("R12", "recorder's queue overflows", || Box::new(disk::Slow::with_a_small_queue())),
    ("R13", "upstream resets mid-body", || Box::new(upstream::Resets)),
    ("R14", "upstream hangs or drips", || Box::new(upstream::Hangs)),
    ("R15", "upstream gone", || Box::new(upstream::Gone)),
    ("R16", "uploads broken off at every KiB", || Box::new(clients::UploadsBreakOff)),
    ("R17", "10 000 downloads broken off", || Box::new(clients::DownloadsBreakOff)),
    ("R18", "2 000 slow heads", || Box::new(clients::Dripping::default())),
    ("R19", "huge heads", || Box::new(clients::HugeHeads)),
    ("R20", "1 GiB up and down", || Box::new(clients::LongBodies::default())),
    ("R21", "8 000 idle connections", || Box::new(clients::Idle::default())),
    ("R22", "1 000 upgrades, 300 for two minutes", || Box::new(rest::WebSockets)),
    ("R23", "1xx, HEAD, 204, 304, trailers, CONNECT …", || Box::new(rest::Unusual)),
    ("R24", "no descriptors left", || Box::new(machine::Descriptors::default())),
    ("R25", "256 MiB of memory, disk at a standstill", || Box::new(machine::Memory::default())),
    ("R26", "20 upgrades under load", || Box::new(machine::Upgrades::default())),
    ("R27", "SIGTERM under load", || Box::new(machine::Stop::default())),
    ("R28", "a new file each second, some moved away", || Box::new(life::Rotation::default())),
    ("R29", "two recorders, one file", || Box::new(life::Second)),
    ("R30", "files of other formats", || Box::new(life::Formats)),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let all = args.iter().any(|arg| arg == "--all");
    let named = args.iter().position(|arg| arg == "--rows").map(|at| args[at + 1].clone());
    // The other test targets are given the names of tests to run; there are none here.
    if !all && named.is_none() && args.iter().any(|arg| !arg.starts_with('-')) {
        return ExitCode::SUCCESS;
    }
    let in_full = (all || named.is_some()) && !args.iter().any(|arg| arg == "--quick");
    let effort = if in_full { Effort::FULL } else { Effort::QUICK };
    let wanted = |id: &str| match &named {
        Some(named) => named.split(',').any(|name| name == id),
        None => all || QUICK.contains(&id),
    };
    let mut table = Table::default();
    for (id, title, fault) in ROWS.into_iter().filter(|(id, ..)| wanted(id)) {
        let began = now();
        eprint!("{id:<4} {title} … ");
        // A row that the harness itself stumbles over is no reason not to try the others.
        let tried = catch_unwind(AssertUnwindSafe(|| examine(&mut *fault(), effort)));
        let cells = tried.unwrap_or_else(|_| failed("the harness stumbled; see above"));
        table.push(id, title, cells);
        eprintln!("{} in {:.0} s", table.last(), began.elapsed().as_secs_f64());
    }
    if table.last() != "" {
        println!("{table}");
    }
    let good = if all { table.count("holds") >= FLOOR } else { table.count("FAILS") == 0 };
    let replays = replays::run(all, named.as_deref());
    if good && replays { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
