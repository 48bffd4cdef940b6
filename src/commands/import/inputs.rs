//! Opens what is to be imported, and finds out what it is.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use crate::complain::{Complaint, Exit, reason};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Auto,
    /// Packets: pcap or pcapng
    Pcap,
    /// HTTP archives of browsers and proxies
    Har,
    /// GoReplay's files
    Gor,
    /// Access logs
    Log,
}

impl Format {
    /// The name in machine-readable output.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pcap => "pcap",
            Self::Har => "har",
            Self::Gor => "gor",
            Self::Log => "log",
        }
    }
}

/// A file that is to be imported.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// What it holds, without its compression.
    pub(super) content: Box<dyn BufRead + Send>,
    /// Whether it can be opened again, and is read faster so.
    pub(super) is_plain: bool,
}

impl Input {
    /// Opens the file at `path`; `-` is stdin.
    pub(super) fn open(path: &Path, wanted: Format) -> Result<Self, Complaint> {
        let is_stdin = path == Path::new("-");
        let source: Box<dyn Read + Send> = if is_stdin {
            Box::new(io::stdin())
        } else {
            if path.is_dir() {
                let what = "is a folder";
                return Err(Complaint::new(Exit::Input, path.display(), what, "name the files in it"));
            }
            Box::new(File::open(path).map_err(|error| Complaint::cannot_open(path, &error))?)
        };
        let mut content = captures::uncompressed(source).map_err(|error| unreadable(path, &error))?;
        let start = content.fill_buf().map_err(|error| unreadable(path, &error))?;
        if start.is_empty() {
            return Err(Complaint::new(
                Exit::Input,
                path.display(),
                "is empty",
                "give a file with something in it",
            ));
        }
        let format = match wanted {
            Format::Auto => format_of(path, start)?,
            told => told,
        };
        let is_plain = !is_stdin && is_packets(&first_bytes(path));
        Ok(Self { path: path.to_owned(), format, content, is_plain })
    }

    /// Its name for people.
    pub(super) fn shown(&self) -> String {
        if self.path == Path::new("-") { "stdin".to_owned() } else { self.path.display().to_string() }
    }
}

/// A file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let what = format!("cannot be read: {}", reason(error));
    Complaint::new(Exit::Input, path.display(), what, "check that the file is whole")
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // A pipe is read once only.
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = file.take(4).read_to_end(&mut start);
    }
    start
}

/// What a file is that begins so; what is nothing else is taken for a log, which then is refused line by line.
fn format_of(path: &Path, start: &[u8]) -> Result<Format, Complaint> {
    let is = |what: &str, mend: &str| Err(Complaint::new(Exit::Input, path.display(), what, mend));
    if is_packets(start) {
        return Ok(Format::Pcap);
    }
    if start.starts_with(b"\x89HWTR") {
        return is("is a capture already", "`highwater cut` merges and filters captures");
    }
    if is_flow_dump(start) {
        let mend = "`mitmdump -nr FILE --set hardump=FILE.har` makes a HAR of it";
        return is("is a flow dump of mitmproxy, whose format changes with its versions", mend);
    }
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    let first_line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if is_gor(first_line) {
        return Ok(Format::Gor);
    }
    // A log has an object a line; an archive is one object, which ends with the file.
    let is_object =
        text.starts_with(b"{") && serde_json::from_slice::<serde_json::Value>(first_line).is_err();
    let names_log =
        text.starts_with(b"{") && text.trim_ascii_start()[1..].trim_ascii_start().starts_with(b"\"log\"");
    if is_object || names_log || text.starts_with(b"[") && !first_line.contains(&b'"') {
        return Ok(Format::Har);
    }
    Ok(Format::Log)
}

/// `1 ID TIMESTAMP`, with a latency or without.
fn is_gor(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.trim_ascii().split(|&byte| byte == b' ').collect();
    matches!(words[..], [[b'1'..=b'3'], id, time, ..]
        if id.len() >= 8 && !time.is_empty() && time.iter().all(u8::is_ascii_digit) && words.len() <= 4)
}

/// A length, a colon and more of both: mitmproxy's netstrings.
fn is_flow_dump(start: &[u8]) -> bool {
    let digits = start.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = start.get(digits..).unwrap_or_default();
    digits > 0
        && rest.first() == Some(&b':')
        && rest.get(1).is_some_and(u8::is_ascii_digit)
        && rest.contains(&b';')
}

/// Whether a file that begins so holds packets: pcap in both byte orders and both resolutions, Kuznetzov's, pcapng.
fn is_packets(start: &[u8]) -> bool {
    const MAGICS: [u32; 4] = [0xA1B2_C3D4, 0xA1B2_3C4D, 0xA1B2_CD34, 0x0A0D_0D0A];
    let Some(magic) = start.first_chunk::<4>() else { return false };
    MAGICS.contains(&u32::from_be_bytes(*magic)) || MAGICS.contains(&u32::from_le_bytes(*magic))
}
