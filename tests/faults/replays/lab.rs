//! What a row of the replayer's table is made with: a capture, a target that misbehaves, the real binary.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use captures::Run;
use serde_json::Value;

use super::Cells;
use crate::support::{Recorded, highwater, json, now, run, stderr, write_capture_of};
use crate::table::Verdict;

/// A folder for one row, and a server that stands for where the capture was recorded.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) origin: Target,
}

/// What a request at a target was.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) line: String,
}

/// A server that notes every connection and request, and answers as it is told.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

/// What a server does with a request: its turn on the connection, counted from 0, and its turn overall. `false`
/// ends the connection.
pub(crate) type Behaviour = dyn Fn(&mut TcpStream, usize, usize) -> bool + Send + Sync;

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Target {
    pub(crate) fn start(
        behaviour: impl Fn(&mut TcpStream, usize, usize) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, Arc::new(behaviour))
    }

    fn on(listener: TcpListener, behaviour: Arc<Behaviour>) -> Self {
        let target = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (Arc::clone(&target.seen), Arc::clone(&target.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::Relaxed);
                let (seen, behaviour) = (Arc::clone(&seen), Arc::clone(&behaviour));
                let _ = std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || converse(stream, &seen, &*behaviour));
            }
        });
        target
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn converse(stream: TcpStream, seen: &Mutex<Vec<Seen>>, behaviour: &Behaviour) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    for turn in 0.. {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0_usize);
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if first.is_empty() {
                first = line.trim_end().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        if std::io::Read::read_exact(&mut reader, &mut vec![0; length]).is_err() {
            return;
        }
        let overall = {
            let mut seen = seen.lock().unwrap();
            seen.push(Seen { at: now(), line: first });
            seen.len() - 1
        };
        if !behaviour(&mut writer, turn, overall) {
            let _ = writer.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Answers that all is well.
pub(crate) fn well(stream: &mut TcpStream, _: usize, _: usize) -> bool {
    std::io::Write::write_all(stream, OK).is_ok()
}

/// What a replay left.
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) summary: Value,
    pub(crate) run: Option<Run>,
    pub(crate) took: Duration,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), origin: Target::start(well) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rate` requests a second for `seconds`, five to a connection; every tenth one a POST.
    pub(crate) fn capture(&self, rate: u64, seconds: u64) -> PathBuf {
        let requests: Vec<Recorded> = (0..rate * seconds)
            .map(|at| Recorded {
                arrived: Duration::from_nanos(at * 1_000_000_000 / rate),
                connection: at / (rate * 5) * rate + at % rate,
                method: if at % 10 == 9 { "POST" } else { "GET" },
                target: format!("/{at}"),
                body: if at % 10 == 9 { b"x=1".to_vec() } else { Vec::new() },
            })
            .collect();
        self.written(&requests)
    }

    pub(crate) fn written(&self, requests: &[Recorded]) -> PathBuf {
        let path = self.path("c.capture");
        write_capture_of(&path, requests, &self.origin.address.to_string());
        path
    }

    /// The command that replays the capture to `target`.
    pub(crate) fn command(&self, target: &str, more: &[&str]) -> Command {
        self.wrapped(&[], target, more)
    }

    /// The same, started by other programs.
    pub(crate) fn wrapped(&self, by: &[&str], target: &str, more: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_highwater");
        let mut command = match by.split_first() {
            None => highwater(),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program).stdin(Stdio::null());
                command
            }
        };
        command
            .args(["replay", self.path("c.capture").to_str().unwrap(), "--target", target, "--json"])
            .args(["--threads", "1", "--out", self.path("r.run").to_str().unwrap()])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn replay(&self, target: &str, more: &[&str]) -> Left {
        let began = now();
        let output = self.command(target, more).output().unwrap();
        self.left(&output, began)
    }

    /// What a child left that may have been ended from outside.
    pub(crate) fn waited(&self, child: Child, began: Instant) -> Left {
        self.left(&child.wait_with_output().unwrap(), began)
    }

    pub(crate) fn left(&self, output: &Output, began: Instant) -> Left {
        let run = std::fs::File::open(self.path("r.run")).ok().and_then(|file| Run::read(file).ok());
        Left {
            code: output.status.code(),
            stderr: stderr(output),
            summary: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            run,
            took: began.elapsed(),
        }
    }

    /// The most requests that the plan has within 100 ms.
    fn planned_peak(&self, more: &[&str]) -> u64 {
        let kept: Vec<&str> = more.iter().copied().filter(|flag| !flag.starts_with("--json")).collect();
        let capture = self.path("c.capture");
        let args =
            ["replay", capture.to_str().unwrap(), "--target", "http://127.0.0.1:9", "--dry-run", "--json"];
        json(&run(&[&args, &kept[..]].concat()), 0)["peak_per_100_ms"].as_u64().unwrap()
    }

    /// Q1: what the target saw was safe, nobody else saw anything, and no 100 ms saw more than planned.
    pub(crate) fn safe(&self, target: &Target, more: &[&str]) -> Vec<String> {
        let mut problems = Vec::new();
        let seen = target.requests();
        let unsafe_ones = seen.iter().filter(|seen| !seen.line.starts_with("GET")).count();
        if unsafe_ones > 0 && !more.contains(&"--allow-unsafe") {
            problems.push(format!("{unsafe_ones} unsafe requests reached the target"));
        }
        if self.origin.connections() > 0 {
            problems.push("the recorded origin was touched".to_owned());
        }
        let peak = self.planned_peak(more);
        // The stamps are the server's threads', which wake up late and together: a tenth of a second may see
        // what left in two.
        let allowed = 2 * (peak + peak / 10 + 8);
        let mut moments: Vec<Instant> = seen.iter().map(|seen| seen.at).collect();
        moments.sort();
        let most = moments
            .iter()
            .enumerate()
            .map(|(at, &from)| {
                moments[at..]
                    .iter()
                    .take_while(|to| to.duration_since(from) < Duration::from_millis(100))
                    .count()
            })
            .max()
            .unwrap_or(0) as u64;
        if most > allowed {
            problems.push(format!("{most} requests in 100 ms, {peak} were planned at most"));
        }
        problems
    }
}

impl Left {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.summary[name].as_u64().unwrap_or(u64::MAX)
    }

    pub(crate) fn error(&self, name: &str) -> u64 {
        self.summary["errors"][name].as_u64().unwrap_or(0)
            + self.summary["skipped"][name].as_u64().unwrap_or(0)
    }

    fn sum(&self, of: &str) -> u64 {
        self.summary[of].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// Q2: `scheduled = ok + errors + skips`, in the summary and in the run; the target saw no more than was sent.
    pub(crate) fn truthful(&self, target: &Target) -> Vec<String> {
        let mut problems = Vec::new();
        let planned = self.number("planned");
        let accounted =
            self.number("ok").saturating_add(self.sum("errors")).saturating_add(self.sum("skipped"));
        if planned != accounted {
            problems.push(format!("{planned} planned, {accounted} accounted for"));
        }
        if let Some(run) = &self.run
            && run.overall().total() != planned
        {
            problems.push(format!("{planned} planned, {} outcomes in the run", run.overall().total()));
        }
        let seen = target.requests().len() as u64;
        let left = self.number("sent").saturating_add(self.summary["retried"].as_u64().unwrap_or(0));
        if seen > left {
            problems.push(format!("the target saw {seen} requests, {left} left by our account"));
        }
        if self.number("ok") > seen {
            problems.push(format!("{} answered well, the target saw {seen}", self.number("ok")));
        }
        problems
    }

    /// Q3: memory by the number of connections.
    pub(crate) fn bounded(&self) -> Vec<String> {
        let resident = self.summary["generator_resident_bytes"].as_u64().unwrap_or(u64::MAX);
        let allowed = (128 << 20) + self.summary["connections_most"].as_u64().unwrap_or(0) * (32 << 10);
        if resident > allowed {
            vec![format!("{resident} bytes resident, {allowed} allowed")]
        } else {
            Vec::new()
        }
    }

    /// Q4: a whole run, one of the exit codes, no panic, the last words are one line.
    pub(crate) fn usable(&self, codes: &[i32]) -> Vec<String> {
        let mut problems = Vec::new();
        // A busy machine makes any run invalid, which is a usable answer.
        let late = self.stderr.contains("left late") || self.stderr.contains("so late");
        if !self.code.is_some_and(|code| codes.contains(&code) || (code == 5 && late)) {
            problems.push(format!("exit code {:?}, not one of {codes:?}: {}", self.code, self.stderr.trim()));
        }
        if self.stderr.contains("panicked") {
            problems.push(format!("a panic: {}", self.stderr));
        }
        match &self.run {
            None => problems.push("there is no readable run".to_owned()),
            Some(run) if !run.damage.is_empty() => {
                problems.push(format!("the run is damaged: {:?}", run.damage))
            }
            Some(run) if run.end.is_none() => problems.push("the run has no end".to_owned()),
            Some(_) => {}
        }
        problems
    }

    /// Q2, for a replay that sent nothing.
    pub(crate) fn without_run(&self) -> Verdict {
        Verdict::of(
            &unless(self.run.is_none(), || "a run of nothing was left".to_owned()),
            "no run of nothing",
        )
    }

    /// All four, for a replay that ran to some end.
    pub(crate) fn judged(
        &self,
        lab: &Lab,
        target: &Target,
        more: &[&str],
        codes: &[i32],
        extra: &[String],
    ) -> Cells {
        let mut truthful = self.truthful(target);
        truthful.extend_from_slice(extra);
        let measured = format!("{} planned, {} ok", self.number("planned"), self.number("ok"));
        [
            Verdict::of(&lab.safe(target, more), "nothing but what was planned"),
            Verdict::of(&truthful, measured),
            Verdict::of(&self.bounded(), "within bounds"),
            Verdict::of(&self.usable(codes), format!("exit code {:?}", self.code)),
        ]
    }
}

/// A problem, unless it holds.
pub(crate) fn unless(holds: bool, problem: impl FnOnce() -> String) -> Vec<String> {
    if holds { Vec::new() } else { vec![problem()] }
}
