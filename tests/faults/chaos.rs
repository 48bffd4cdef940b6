//! What breaks things: mounts, limits, signals, injected errors of system calls.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::proc::thread_names;
use crate::support::Running;

/// The connection is reset when it is closed next.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Runs a command; what it says when it fails.
pub(crate) fn sh(script: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{script}`: {}", said.lines().next().unwrap_or("failed")))
}

/// Whether a program is on this machine.
pub(crate) fn installed(program: &str) -> Result<(), String> {
    sh(&format!("command -v {program} >/dev/null")).map_err(|_| format!("{program} is not installed"))
}

pub(crate) fn signal(process: u32, signal: &str) {
    let _ = sh(&format!("kill -{signal} {process}"));
}

/// A file system of its own, in memory.
pub(crate) struct Mount {
    pub(crate) folder: PathBuf,
}

impl Mount {
    /// One of `mebibytes` under `folder`.
    pub(crate) fn of(folder: &Path, mebibytes: u64) -> Result<Self, String> {
        let folder = folder.join("mount");
        std::fs::create_dir(&folder).unwrap();
        sh(&format!("mount -t tmpfs -o size={mebibytes}m,mode=0755 none {}", folder.display()))
            .map_err(|error| format!("no mounts here ({error})"))?;
        Ok(Self { folder })
    }

    /// Takes all room that is left, until the filler is removed.
    pub(crate) fn fill(&self) {
        let mut filler = std::fs::File::create(self.folder.join("filler")).unwrap();
        let zeros = vec![0; 4_096];
        while filler.write_all(&zeros).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = sh(&format!("umount -l {}", self.folder.display()));
    }
}

/// Errors and delays in the system calls of the threads that write, on the file that is being written.
///
/// The workers are left alone: they write nothing but to sockets, and tracing would slow them down.
pub(crate) struct Injection(Running);

impl Injection {
    /// E.g. `write:error=EIO`.
    pub(crate) fn begin(process: u32, what: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-P"]).arg(capture_of(process).expect("a capture is open"));
        for rule in what {
            strace.args(["-e", &format!("inject={rule}")]);
        }
        let calls: Vec<&str> = what.iter().flat_map(|rule| rule.split(':').take(1)).collect();
        strace.args(["-e", &format!("trace={}", calls.join(","))]);
        let mut count = 0;
        for (thread, name) in thread_names(process) {
            if name.starts_with("record-write") || name.starts_with("record-sync") {
                strace.args(["-p", &thread.to_string()]);
                count += 1;
            }
        }
        assert!(count > 0, "no thread writes: {:?}", thread_names(process));
        let mut child = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        // It says a line for each thread it has attached to.
        for _ in 0..count {
            let line = said.next().map(Result::unwrap).unwrap_or_default();
            assert!(line.contains("attached"), "strace: {line}");
        }
        std::thread::spawn(move || said.for_each(drop));
        Self(Running(child))
    }

    /// Whether it can be done on this machine.
    pub(crate) fn possible() -> Result<(), String> {
        installed("strace")?;
        sh("strace -o /dev/null true").map_err(|error| format!("no tracing here ({error})"))
    }

    pub(crate) fn end(mut self) {
        signal(self.0.0.id(), "INT");
        let _ = self.0.0.wait();
    }
}

/// The capture that a process has open.
pub(crate) fn capture_of(process: u32) -> Option<PathBuf> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let mut files = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    files.find(|path| path.extension().is_some_and(|extension| extension == "capture"))
}

/// A group of processes whose memory is limited together.
pub(crate) struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    pub(crate) fn of(mebibytes: u64) -> Result<Self, String> {
        let name = format!("highwater-faults-{}", std::process::id());
        let (folder, limit) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            (Path::new("/sys/fs/cgroup/memory").join(name), "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup").join(name), "memory.max")
        };
        let made = std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(folder.join(limit), (mebibytes << 20).to_string()));
        match made {
            Ok(()) => Ok(Self { folder }),
            Err(error) => {
                let _ = std::fs::remove_dir(&folder);
                Err(format!("no memory cgroup here ({error})"))
            }
        }
    }

    pub(crate) fn add(&self, process: u32) {
        std::fs::write(self.folder.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// A wall clock that can be set, for one process; its monotonic clock is left alone.
pub(crate) struct WallClock {
    file: PathBuf,
}

const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1"];

impl WallClock {
    pub(crate) fn of(folder: &Path) -> Result<Self, String> {
        if !FAKETIME.iter().any(|library| Path::new(library).exists()) {
            return Err("faketime is not installed".to_owned());
        }
        let clock = Self { file: folder.join("wall-clock") };
        clock.set_off_by(0);
        Ok(clock)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let library = FAKETIME.iter().find(|library| Path::new(library).exists()).unwrap();
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        command
    }

    pub(crate) fn set_off_by(&self, seconds: i64) {
        // Written aside and moved: it is read at any moment.
        let aside = self.file.with_extension("new");
        std::fs::write(&aside, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(aside, &self.file).unwrap();
    }
}
