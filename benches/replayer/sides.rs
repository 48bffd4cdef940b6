//! CPU per request beside other generators, against the same nginx.
//!
//! The server has the first processor for itself, as far as we go, and every generator takes the last. Ours raises the
//! priority of its sending threads, and so is woken for each answer, where an ordinary process is woken for several at
//! once when the processor is wanted by others; a wake-up costs about a seventh of a request. So that like is compared with like,
//! all run at that priority. `sending` is what ours takes without reading the capture, finding its bindings and planning:
//! what a longer run comes down to. `10x` sends as many requests from a capture of a tenth of them, ten copies of each:
//! what more users than were recorded cost.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::median;
use crate::support::nginx::Nginx;
use crate::support::{Recorded, has, write_capture};

pub(crate) const CONNECTIONS: u64 = 64;
pub(crate) const REQUESTS: u64 = 192_000;
/// Of the capture that is replayed ten times over: the next below a tenth of the connections.
const CONNECTIONS_OF_TENTH: u64 = CONNECTIONS / 10;
/// The mix of the capture: some pages, one of them often.
const PAGES: [&str; 8] =
    ["/a.json", "/a.json", "/a.json", "/b.json", "/a.json", "/c.json", "/b.json", "/d.json"];

/// A generator: its name, its program, and what it is told; `URL` and `N` are filled in.
struct Side {
    name: &'static str,
    program: PathBuf,
    command: &'static str,
}

/// Those that are here.
fn sides() -> Vec<Side> {
    let known: [(&str, &str, &str, &str); 6] = [
        ("wrk", "wrk", "", "-t1 -c64 -d3s URL"),
        ("h2load", "h2load", "", "--h1 -t1 -c64 -nN URL"),
        ("ab", "ab", "", "-q -k -c64 -nN URL"),
        ("hey", "hey", "HEY", "-c 64 -n N URL"),
        ("oha", "oha", "OHA", "--no-tui -c 64 -n N URL"),
        ("k6", "", "K6", "run --quiet --vus 64 --iterations N SCRIPT"),
    ];
    known
        .into_iter()
        .filter_map(|(name, program, variable, command)| {
            let named = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
            let found =
                named.or_else(|| (!program.is_empty() && installed(program)).then(|| PathBuf::from(program)));
            if found.is_none() {
                eprintln!(
                    "left out: {name} is not here{}",
                    if variable.is_empty() { String::new() } else { format!(" (name it by {variable}=…)") }
                );
            }
            found.map(|program| Side { name, program, command })
        })
        .collect()
}

fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

/// Prints the cost of a request, ours and theirs, and the ratios.
pub(crate) fn compare(rounds: usize) {
    if !has("nginx") || !has("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for page in ["a.json", "b.json", "c.json", "d.json"] {
        std::fs::write(root.join(page), "x".repeat(1_024)).unwrap();
    }
    let nginx = on_the_first_processor(|| Nginx::start(folder.path(), Some(&root)));
    let capture = folder.path().join("mix.capture");
    write_capture(&capture, &mixed(REQUESTS, CONNECTIONS));
    let tenth = folder.path().join("tenth.capture");
    write_capture(&tenth, &mixed(REQUESTS / 10, CONNECTIONS_OF_TENTH));
    let others = sides();
    println!(
        "CPU per request in µs, whole process: {CONNECTIONS} connections back to back, one thread, nginx, 1 KiB answers"
    );
    println!(
        "ours replays a capture of {} requests with a mix of pages; the others ask for one page",
        REQUESTS
    );
    println!(
        "at 10x ours replays one of {} requests on {CONNECTIONS_OF_TENTH} connections, ten copies of each: {} connections",
        REQUESTS / 10,
        CONNECTIONS_OF_TENTH * 10
    );
    let mut ratios: Vec<Vec<[f64; 3]>> = others.iter().map(|_| Vec::new()).collect();
    let mut spent: Vec<Vec<Cost>> = vec![Vec::new(); others.len() + 2];
    for round in 1..=rounds {
        let (at_1x, sending) = ours(folder.path(), &capture, "1x", &nginx.address(), round);
        let (at_10x, sending_10x) = ours(folder.path(), &tenth, "10x", &nginx.address(), round);
        spent[others.len()].push(at_1x);
        spent[others.len() + 1].push(at_10x);
        let mut line = format!(
            "round {round}: ours {:.2} (sending {sending:.2})  at 10x {:.2} (sending {sending_10x:.2})",
            at_1x.total(),
            at_10x.total()
        );
        for (at, side) in others.iter().enumerate() {
            match theirs(side, folder.path(), &nginx.address()) {
                Some(cost) => {
                    ratios[at].push([at_1x.total(), sending, at_10x.total()].map(|ours| ours / cost.total()));
                    spent[at].push(cost);
                    line.push_str(&format!("  {} {:.2}", side.name, cost.total()));
                }
                None => line.push_str(&format!("  {} failed", side.name)),
            }
        }
        println!("{line}");
    }
    for (side, ratios) in others.iter().zip(&ratios).filter(|(_, ratios)| !ratios.is_empty()) {
        let goal = if side.name == "wrk" { " (goal ≤ 1.0)" } else { "" };
        let middle = |at: usize| median(&mut ratios.iter().map(|ratio| ratio[at]).collect::<Vec<_>>());
        println!(
            "ours ÷ {}: median {:.3}{goal}; sending alone {:.3}; at 10x {:.3}",
            side.name,
            middle(0),
            middle(1),
            middle(2)
        );
    }
    println!("where it goes, medians in µs per request:");
    let names = others.iter().map(|side| side.name).chain(["ours", "at 10x"]);
    for (name, spent) in names.zip(&spent).filter(|(_, spent)| !spent.is_empty()) {
        let middle = |of: fn(&Cost) -> f64| median(&mut spent.iter().map(of).collect::<Vec<_>>());
        println!(
            "{name:>8}  {:>6.2} in the program  {:>6.2} in the kernel",
            middle(|cost| cost.user),
            middle(|cost| cost.kernel)
        );
    }
}

/// CPU, in seconds or in microseconds per request.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    user: f64,
    kernel: f64,
}

impl Cost {
    const fn total(self) -> f64 {
        self.user + self.kernel
    }

    fn per_request(self, requests: f64) -> Self {
        Self { user: self.user * 1e6 / requests, kernel: self.kernel * 1e6 / requests }
    }
}

/// Starts something that stays on the first processor, and what it starts, too.
pub(crate) fn on_the_first_processor<T>(start: impl FnOnce() -> T) -> T {
    let Ok(before) = sched_getaffinity(None) else { return start() };
    let mut first = CpuSet::new();
    if let Some(number) = (0..CpuSet::MAX_CPU).find(|&number| before.is_set(number)) {
        first.set(number);
    }
    let _ = sched_setaffinity(None, &first);
    let started = start();
    let _ = sched_setaffinity(None, &before);
    started
}

/// What goes before the command of a generator: the last processor, and the priority that ours takes.
pub(crate) fn placed() -> String {
    format!("nice -n -10 {}", on_the_last_processor())
}

/// What goes before a command that is to stay on the last processor.
pub(crate) fn on_the_last_processor() -> String {
    let before = sched_getaffinity(None).ok();
    let last = before.and_then(|set| (0..CpuSet::MAX_CPU).rev().find(|&number| set.is_set(number)));
    match last.filter(|_| has("taskset")) {
        Some(number) => format!("taskset -c {number}"),
        None => String::new(),
    }
}

/// Everything is due in the first milliseconds: each connection then sends as soon as it is answered.
fn mixed(requests: u64, connections: u64) -> Vec<Recorded> {
    (0..requests)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at),
            connection: at % connections,
            method: "GET",
            target: PAGES[usize::try_from(at / connections % 8).unwrap()].to_owned(),
            body: Vec::new(),
        })
        .collect()
}

/// Of the whole process, and of its sending alone.
fn ours(folder: &Path, capture: &Path, scale: &str, address: &str, round: usize) -> (Cost, f64) {
    let run = folder.join(format!("{scale}-{round}.run"));
    let command = format!(
        "{} {} replay {} --target http://{address} --scale {scale} --threads 1 --timeout 120s --quiet --json --out {}",
        placed(),
        env!("CARGO_BIN_EXE_highwater"),
        capture.display(),
        run.display()
    );
    let (output, cost) = timed(&command);
    let summary: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(summary["sent"], REQUESTS);
    let sending = summary["generator_cpu_seconds"].as_f64().unwrap() * 1e6 / REQUESTS as f64;
    (cost.per_request(REQUESTS as f64), sending)
}

fn theirs(side: &Side, folder: &Path, address: &str) -> Option<Cost> {
    let url = format!("http://{address}/a.json");
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let command = side.command.replace("URL", &url).replace(
        "SCRIPT",
        &file("k6.js", format!("import http from 'k6/http'; export default () => http.get('{url}');\n")),
    );
    let words: Vec<String> =
        command
            .split(' ')
            .map(|word| {
                if word == "N" { REQUESTS.to_string() } else { word.replace("-nN", &format!("-n{REQUESTS}")) }
            })
            .collect();
    let (output, cost) = timed(&format!("{} {} {}", placed(), side.program.display(), words.join(" ")));
    let count = if side.name == "wrk" {
        let line = output.lines().find(|line| line.contains(" requests in "))?;
        line.split_whitespace().next()?.parse::<f64>().ok()?
    } else {
        REQUESTS as f64
    };
    Some(cost.per_request(count))
}

/// What a command printed, and the user and system seconds of its whole process.
pub(crate) fn timed(command: &str) -> (String, Cost) {
    let script = format!("TIMEFORMAT='%3U %3S'; time {command}");
    let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = stderr.lines().last().unwrap_or_default();
    let mut seconds = last.split(' ').filter_map(|text| text.parse::<f64>().ok());
    let mut next = || seconds.next().unwrap_or(f64::NAN);
    let cost = Cost { user: next(), kernel: next() };
    (String::from_utf8_lossy(&output.stdout).into_owned(), cost)
}
