//! The recorder under test: the real binary, what it says, and what the machine says of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::chaos;
use crate::proc::{cpu_seconds, descriptors, resident_kib, threads};
use crate::support::{Running, free_port, now, pause, until};

/// What was said: when, by which process, and the line.
type Said = Arc<Mutex<Vec<(Instant, u32, String)>>>;

/// A recorder at work.
pub(crate) struct Subject {
    pub(crate) address: SocketAddr,
    /// Where its metrics are.
    admin: SocketAddr,
    pub(crate) process: Running,
    command: Command,
    said: Said,
    watch: Option<Watch>,
}

impl Subject {
    /// Starts `command`, which ends in the binary, in front of `upstream`; into `out`, or unrecorded.
    pub(crate) fn start(
        mut command: Command,
        upstream: SocketAddr,
        out: Option<&Path>,
        more: &[String],
    ) -> Result<Self, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let common = [
            "record",
            "--admin",
            &admin.to_string(),
            "--listen",
            &address.to_string(),
            "--upstream",
            &upstream.to_string(),
        ];
        command.args(common).args(more);
        match out {
            Some(out) => command.args(["--mask", "none", "--out"]).arg(out),
            None => command.args(["--recording", "off"]),
        };
        let said: Said = Arc::default();
        let process = spawn(&mut command, &said);
        let mut subject = Self { address, admin, process, command, said, watch: None };
        until("the recorder to be ready or gone", || {
            let gone = subject.process.0.try_wait().unwrap().is_some();
            (gone || TcpStream::connect(address).is_ok()).then_some(())
        });
        if subject.process.0.try_wait().unwrap().is_some() {
            pause(Duration::from_millis(50));
            return Err(subject.lines().first().map_or_else(String::new, |(_, line)| line.clone()));
        }
        Ok(subject)
    }

    /// Starts the same command once more, as its own successor, and waits until the predecessor has ended.
    ///
    /// # Errors
    /// What the one of them said that ended when it should not have, or did not end when it should.
    pub(crate) fn succeed(&mut self) -> Result<(), String> {
        let successor = spawn(&mut self.command, &self.said);
        let mut predecessor = std::mem::replace(&mut self.process, successor);
        let start = now();
        loop {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                self.process = predecessor;
                let said = self.lines().last().map_or_else(String::new, |(_, line)| line.clone());
                return Err(format!("the successor ended with {status}: {said}"));
            }
            match predecessor.0.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the predecessor ended with {status}")),
                None if start.elapsed() > Duration::from_secs(20) => {
                    return Err("the predecessor did not end within 20 s".to_owned());
                }
                None => pause(Duration::from_millis(20)),
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// What it printed so far, and when.
    pub(crate) fn lines(&self) -> Vec<(Instant, String)> {
        let said = self.said.lock().unwrap();
        said.iter().map(|(at, _, line)| (*at, line.clone())).collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        chaos::signal(self.id(), signal);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the recorder to end", || self.process.0.try_wait().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// Begins to write down what it uses, and when the metrics whose lines begin with `metric` first rise;
    /// `folder` is where it writes.
    pub(crate) fn watch(&mut self, folder: Option<PathBuf>, metric: Option<&'static str>) {
        let metric = metric.map(|metric| (self.admin, metric));
        self.watch = Some(Watch::start(self.id(), folder, metric));
    }

    /// What it used since then.
    pub(crate) fn used(&mut self) -> Used {
        self.watch.take().map(Watch::stop).unwrap_or_default()
    }

    /// Causes of which it said more than a line a second.
    pub(crate) fn chatter(&self) -> Vec<String> {
        let mut causes: Vec<(String, Vec<Instant>)> = Vec::new();
        for (at, process, line) in self.said.lock().unwrap().iter() {
            // What each process says as it starts and ends is no flood where many follow one another.
            let letters: String = line.chars().filter(|letter| !letter.is_ascii_digit()).collect();
            let (at, cause) = (*at, format!("process {process}: {letters}"));
            match causes.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, moments)) => moments.push(at),
                None => causes.push((cause, vec![at])),
            }
        }
        let too_many = |(cause, moments): (String, Vec<Instant>)| {
            let span = moments[moments.len() - 1].duration_since(moments[0]).as_secs_f64();
            (moments.len() as f64 > span + 2.0)
                .then(|| format!("{} lines in {span:.1} s: {cause}", moments.len()))
        };
        causes.into_iter().filter_map(too_many).collect()
    }
}

/// Starts `command` and writes down what it says.
fn spawn(command: &mut Command, said: &Said) -> Running {
    let mut process = Running(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let stderr = BufReader::new(process.0.stderr.take().unwrap());
    let (heard, id) = (Arc::clone(said), process.0.id());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            heard.lock().unwrap().push((now(), id, line));
        }
    });
    process
}

/// The most that it used, and how it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used {
    pub(crate) resident_kib_at_first: u64,
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) descriptors_at_last: u64,
    pub(crate) threads_at_first: u64,
    pub(crate) threads: u64,
    pub(crate) disk: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) seconds: f64,
    /// When the metric that was asked for rose.
    pub(crate) metric_rose: Option<Instant>,
}

struct Watch {
    over: Arc<AtomicBool>,
    samples: JoinHandle<Used>,
}

impl Watch {
    fn start(process: u32, folder: Option<PathBuf>, metric: Option<(SocketAddr, &'static str)>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let samples = std::thread::spawn(move || {
            let (began, cpu) = (now(), cpu_seconds(process).unwrap_or(0.0));
            let mut used = Used {
                resident_kib_at_first: resident_kib(process).unwrap_or(0),
                threads_at_first: threads(process).unwrap_or(0),
                ..Used::default()
            };
            let value = || metric.and_then(|(admin, name)| metric_sum(admin, name));
            let at_first = value();
            while !stop.load(Ordering::SeqCst) {
                if used.metric_rose.is_none() && value() > at_first {
                    used.metric_rose = Some(now());
                }
                let Some(resident) = resident_kib(process) else { break };
                used.resident_kib = used.resident_kib.max(resident);
                used.threads = used.threads.max(threads(process).unwrap_or(0));
                used.descriptors_at_last = descriptors(process).unwrap_or(0);
                used.descriptors = used.descriptors.max(used.descriptors_at_last);
                used.disk = used.disk.max(folder.as_deref().map_or(0, captures_bytes));
                used.cpu_seconds = cpu_seconds(process).map_or(used.cpu_seconds, |so_far| so_far - cpu);
                pause(Duration::from_millis(100));
            }
            used.seconds = began.elapsed().as_secs_f64();
            used
        });
        Self { over, samples }
    }

    fn stop(self) -> Used {
        self.over.store(true, Ordering::SeqCst);
        self.samples.join().unwrap()
    }
}

/// The sum of the metrics whose lines begin with `name`; those that are not there are zero.
fn metric_sum(admin: SocketAddr, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let values = page.lines().filter(|line| line.starts_with(name));
    Some(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// The bytes of the captures in a folder.
fn captures_bytes(folder: &Path) -> u64 {
    captures_in(folder).iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The captures in a folder, rotated ones among them.
pub(crate) fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "capture"))
        .collect();
    found.sort();
    found
}
