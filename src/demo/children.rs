//! The demo's parts as processes: started, heard, awaited, and never left behind.
//!
//! Invariants: a [`Part`] that is dropped is killed and reaped; every wait has an end, and ends early when
//! the demo itself is asked to stop; a part that fails is named together with the last thing it said.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use crate::complain::{Complaint, Exit, reason};

/// How many lines of a part are remembered.
const TAIL_LINES: usize = 12;
/// The longest line that is remembered; the rest is cut off.
const LINE_LIMIT: usize = 500;
/// How often a wait looks whether the demo was asked to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// Starts parts: the program they all are, and what they have in common.
pub(crate) struct Stage {
    program: PathBuf,
    seed: u64,
    verbose: bool,
    stop: Arc<AtomicBool>,
}

/// A running part.
pub(crate) struct Part {
    name: String,
    child: Child,
    said: Receiver<String>,
    tail: VecDeque<String>,
    verbose: bool,
    stop: Arc<AtomicBool>,
}

/// How a part ended.
pub(crate) struct Ended {
    name: String,
    status: ExitStatus,
    tail: VecDeque<String>,
}

impl Stage {
    /// Parts are this very program; they are killed once `stop` is set. With `verbose`, what they say is
    /// passed on to stderr.
    ///
    /// # Errors
    /// When the system does not say where the program is.
    pub(crate) fn new(seed: u64, verbose: bool, stop: Arc<AtomicBool>) -> Result<Self, Complaint> {
        let program = std::env::current_exe().map_err(|error| {
            Complaint::new(
                Exit::Fault,
                "demo",
                format!("cannot find its own program: {}", reason(&error)),
                "start it by its full path",
            )
        })?;
        Ok(Self { program, seed, verbose, stop })
    }

    /// Starts a part. `name` is what it is called when it fails.
    ///
    /// # Errors
    /// When the system starts no more processes or threads.
    pub(crate) fn start(&self, name: &str, arguments: &[OsString]) -> Result<Part, Complaint> {
        let refused = |error: io::Error| {
            Complaint::new(
                Exit::Fault,
                format!("demo: {name}"),
                format!("cannot be started: {}", reason(&error)),
                "free some processes and try again",
            )
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args(["--seed", &self.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        let (tell, said) = mpsc::channel();
        let (output, complaints) = (child.stdout.take(), child.stderr.take());
        let part = Part {
            name: name.to_owned(),
            child,
            said,
            tail: VecDeque::new(),
            verbose: self.verbose,
            stop: Arc::clone(&self.stop),
        };
        if let Some(output) = output {
            listen(output, tell.clone()).map_err(refused)?;
        }
        if let Some(complaints) = complaints {
            listen(complaints, tell).map_err(refused)?;
        }
        Ok(part)
    }
}

impl Part {
    /// Waits until the part says a line that begins with `opening`, and gives the rest of that line.
    ///
    /// # Errors
    /// When it ends or `patience` does before it has said so.
    pub(crate) fn hear(&mut self, opening: &str, patience: Duration) -> Result<String, Complaint> {
        let deadline = clock::now() + patience;
        while let Some(line) = self.next_line(deadline)? {
            if let Some(rest) = line.strip_prefix(opening) {
                return Ok(rest.trim().to_owned());
            }
        }
        let status = self.child.wait().map_err(|error| self.lost(&error))?;
        Err(self.ended(status).complaint())
    }

    /// Waits until the part has ended by itself.
    ///
    /// # Errors
    /// When `patience` ends first.
    pub(crate) fn finish(mut self, patience: Duration) -> Result<Ended, Complaint> {
        let deadline = clock::now() + patience;
        while self.next_line(deadline)?.is_some() {}
        let status = self.child.wait().map_err(|error| self.lost(&error))?;
        Ok(self.ended(status))
    }

    /// Asks the part to end in order, as a service manager does (SIGTERM).
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub(crate) fn ask_to_end(&mut self) -> Result<(), Complaint> {
        // The shell's own `kill`: a bare system has no other.
        let sent =
            Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.complaint(format!("cannot be asked to end: {status}"))),
            Err(error) => Err(self.complaint(format!("cannot be asked to end: {}", reason(&error)))),
        }
    }

    /// The next line of either output; `None` when the part has closed both.
    fn next_line(&mut self, deadline: Instant) -> Result<Option<String>, Complaint> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            if clock::now() >= deadline {
                return Err(self.complaint(format!("took too long; it last said: {}", last(&self.tail))));
            }
            match self.said.recv_timeout(GLANCE) {
                Ok(line) => {
                    if self.tail.len() >= TAIL_LINES {
                        self.tail.pop_front();
                    }
                    self.tail.push_back(line.clone());
                    if self.verbose {
                        // A closed stderr must not end the story.
                        let _ = writeln!(io::stderr(), "      {}: {line}", self.name);
                    }
                    return Ok(Some(line));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        Ended { name: self.name.clone(), status, tail: std::mem::take(&mut self.tail) }
    }

    fn lost(&self, error: &io::Error) -> Complaint {
        self.complaint(format!("cannot be awaited: {}", reason(error)))
    }

    fn complaint(&self, what: String) -> Complaint {
        Complaint::new(Exit::Fault, format!("demo: {}", self.name), what, "try again on an idle machine")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only when the part has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Whether it ended with success.
    pub(crate) fn is_success(&self) -> bool {
        self.status.success()
    }

    /// Whether it ended with this exit code.
    pub(crate) fn is(&self, exit: Exit) -> bool {
        self.status.code() == Some(exit as i32)
    }

    /// The last thing it said.
    pub(crate) fn last_words(&self) -> &str {
        let words = last(&self.tail);
        words.strip_prefix("highwater: ").unwrap_or(words)
    }

    /// That it failed, and with what words.
    pub(crate) fn complaint(&self) -> Complaint {
        Complaint::new(
            Exit::Fault,
            format!("demo: {}", self.name),
            format!("failed ({}): {}", self.status, self.last_words()),
            "mend what it names, then run the demo again",
        )
    }
}

/// That the demo was asked to stop.
pub(crate) fn interrupted() -> Complaint {
    Complaint::new(Exit::Fault, "demo", "was interrupted, and its parts were ended", "run it again")
}

/// The last complaint in what was said, or else the last line.
fn last(tail: &VecDeque<String>) -> &str {
    let complaint = |line: &&str| line.starts_with("highwater: ") || line.starts_with("error: ");
    let lines = || tail.iter().rev().map(|line| line.trim());
    lines().find(complaint).or_else(|| lines().next()).unwrap_or("nothing")
}

/// Passes on what is said, line by line; a carriage return ends a line too, as progress lines do.
fn listen(source: impl Read + Send + 'static, tell: Sender<String>) -> io::Result<()> {
    thread::Builder::new().spawn(move || {
        let mut line = Vec::new();
        for byte in BufReader::new(source).bytes().map_while(Result::ok) {
            if byte != b'\n' && byte != b'\r' {
                if line.len() < LINE_LIMIT {
                    line.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if !text.trim().is_empty() && tell.send(text).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
