//! The replayer under every fault that the project knows of, against what it promises.
//!
//! A row is a fault, a column a promise: Q1 safe (nothing but safe methods, no connection outside the target, no
//! 100 ms above the plan's own peak), Q2 true (every planned request has one outcome, the target saw what was
//! sent), Q3 bounded (connections, memory), Q4 usable (a readable run, one line, the documented exit code).

pub(crate) mod lab;
mod rows;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::now;
use crate::table::Verdict;
use lab::Lab;

/// The cells that must hold for `make faults` to end well.
const FLOOR: usize = 72;

/// Rows that are quick enough for every test run.
const QUICK: [&str; 3] = ["L1", "L17", "L18"];

/// The verdicts of one fault: safe, true, bounded, usable.
pub(crate) type Cells = [Verdict; 4];

type Row = (&'static str, &'static str, fn(&Lab) -> Cells);

const ROWS: [Row; 20] = [
    ("L1", "target down from the start", rows::down),
    ("L2", "target dies at half", rows::dies),
    ("L3", "target accepts and never answers", rows::hangs),
    ("L4", "target drips", rows::drips),
    ("L5", "target resets after k bytes", rows::resets),
    ("L6", "target closes as requests leave", rows::races),
    ("L7", "no address; the origin in 20 spellings", rows::names),
    ("L8", "TLS fails", rows::tls),
    ("L9", "local ports run out", rows::ports),
    ("L10", "no descriptors left", rows::descriptors),
    ("L11", "3 000 open connections", rows::many),
    ("L12", "SIGINT, SIGTERM", rows::signals),
    ("L13", "kill -9", rows::killed),
    ("L14", "wall clock set by an hour", rows::clock),
    ("L15", "suspended for 2 s", rows::suspended),
    ("L16", "hostile answers", rows::hostile),
    ("L17", "redirects, 401, 429, 503", rows::statuses),
    ("L18", "damaged, empty, simultaneous captures", rows::captures),
    ("L19", "no room for the run", rows::no_room),
    ("L20", "target slower than the load", rows::slow),
];

const PROMISES: [&str; 4] = ["Q1 safe", "Q2 true", "Q3 bounded", "Q4 usable"];

/// Runs the rows that are `wanted` (or the quick ones) and prints the table; whether it is good enough.
pub(crate) fn run(all: bool, named: Option<&str>) -> bool {
    let wanted = |id: &str| match named {
        Some(named) => named.split(',').any(|name| name == id),
        None => all || QUICK.contains(&id),
    };
    let mut table = Table::default();
    for (id, title, row) in ROWS.into_iter().filter(|(id, ..)| wanted(id)) {
        let began = now();
        eprint!("{id:<4} {title} … ");
        let tried = catch_unwind(AssertUnwindSafe(|| row(&Lab::new())));
        let cells = tried.unwrap_or_else(|_| {
            std::array::from_fn(|_| Verdict::Fails("the harness stumbled; see above".to_owned()))
        });
        let words: Vec<&str> = cells.iter().map(Verdict::word).collect();
        eprintln!("{} in {:.0} s", words.join(" "), began.elapsed().as_secs_f64());
        table.rows.push((id, title, cells));
    }
    if table.rows.is_empty() {
        return true;
    }
    println!("{table}");
    let safe = table.rows.iter().all(|(_, _, cells)| cells[0].word() != "FAILS");
    if all { table.count("holds") >= FLOOR && safe } else { table.count("FAILS") == 0 }
}

#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, &'static str, Cells)>,
}

impl Table {
    fn count(&self, word: &str) -> usize {
        self.rows.iter().flat_map(|(_, _, cells)| cells).filter(|cell| cell.word() == word).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4} {:<44}", "", "")?;
        for promise in PROMISES {
            write!(f, " {promise:<12}")?;
        }
        writeln!(f)?;
        for (id, title, cells) in &self.rows {
            write!(f, "{id:<4} {title:<44}")?;
            for cell in cells {
                write!(f, " {:<12}", cell.word())?;
            }
            writeln!(f)?;
        }
        for (word, about) in [("skipped", "What could not be tried here:"), ("FAILS", "What does not hold:")]
        {
            if self.count(word) > 0 {
                writeln!(f, "\n{about}")?;
            }
            for (id, title, cells) in &self.rows {
                for (cell, promise) in cells.iter().zip(PROMISES).filter(|(cell, _)| cell.word() == word) {
                    writeln!(f, "  {id:<4} {title}, {promise}: {}", cell.why())?;
                }
            }
        }
        writeln!(f, "\nreplayer: {}/{} cells hold", self.count("holds"), self.rows.len() * PROMISES.len())
    }
}
