//! Opens and makes the files that commands share, and shows what is in them as plain text.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use captures::{
    CaptureHeader, CaptureSet, CaptureWriter, ReadError, Run, RunHeader, RunWriter, SetError, Sha256, sha256,
};

use crate::complain::{Complaint, Exit, reason};

/// Captures, opened to be read as one.
pub(crate) fn open_captures(paths: &[PathBuf]) -> Result<CaptureSet, Complaint> {
    CaptureSet::open(paths).map_err(|error| not_a_set(&error))
}

/// Captures that cannot be read as one.
pub(crate) fn not_a_set(error: &SetError) -> Complaint {
    match error {
        SetError::Unreadable { path, error: ReadError::Io(error) } => Complaint::cannot_open(path, error),
        SetError::Unreadable { path, error } => Complaint::unreadable(path, error),
        other => {
            let place = other.path().unwrap_or(Path::new("captures")).display();
            Complaint::new(Exit::Input, place, other, other.mend())
        }
    }
}

/// Paths as one text, for people.
pub(crate) fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A run, read whole.
pub(crate) fn read_run(path: &Path) -> Result<Run, Complaint> {
    let file = File::open(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    Run::read(BufReader::new(file)).map_err(|error| Complaint::unreadable(path, &error))
}

/// A new capture. An existing file is never written over.
pub(crate) fn create_capture(
    path: &Path,
    header: &CaptureHeader,
) -> Result<CaptureWriter<BufWriter<File>>, Complaint> {
    let file = create_new(path)?;
    CaptureWriter::create(BufWriter::new(file), header).map_err(|error| Complaint::cannot_write(path, &error))
}

/// A new run. An existing file is never written over.
pub(crate) fn create_run(path: &Path, header: &RunHeader) -> Result<RunWriter<BufWriter<File>>, Complaint> {
    let file = create_new(path)?;
    RunWriter::create(BufWriter::new(file), header).map_err(|error| Complaint::cannot_write(path, &error))
}

/// A new file that only its owner can read: it holds what customers sent.
fn create_new(path: &Path) -> Result<File, Complaint> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Complaint::new(
                Exit::Usage,
                path.display(),
                "exists already",
                "give another --out, or remove it first",
            )
        } else {
            Complaint::cannot_write(path, &error)
        }
    })
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn to_stdout(
    write: impl FnOnce(&mut BufWriter<io::StdoutLock<'_>>) -> io::Result<()>,
) -> Result<(), Complaint> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Complaint::new(Exit::Fault, "stdout", reason(&error), "make room, or send it elsewhere"))
        }
        _ => Ok(()),
    }
}

/// SHA-256 of a whole file; of several, that of their digests in order.
pub(crate) fn digest(paths: &[PathBuf]) -> Result<[u8; 32], Complaint> {
    let mut digests = Vec::new();
    for path in paths {
        digests.push(digest_of(path)?);
    }
    Ok(if let [only] = digests[..] { only } else { sha256(&digests.concat()) })
}

fn digest_of(path: &Path) -> Result<[u8; 32], Complaint> {
    let mut file = File::open(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.finish()),
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Complaint::cannot_open(path, &error)),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Epoch nanoseconds as UTC, to the second.
pub(crate) fn utc(nanos: i128) -> String {
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or_else(|_| "an unknown date".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Text from a file without control characters: nothing that is shown can steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}
