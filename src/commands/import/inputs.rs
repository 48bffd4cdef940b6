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
        let mut content = recorder::uncompressed(source).map_err(|error| unreadable(path, &error))?;
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
            Format::Auto => format_of(start).ok_or_else(|| {
                let mend = "say what it is with --format";
                Complaint::new(Exit::Input, path.display(), "is of no format that is known", mend)
            })?,
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

fn format_of(start: &[u8]) -> Option<Format> {
    is_packets(start).then_some(Format::Pcap)
}

/// Whether a file that begins so holds packets: pcap in both byte orders and both resolutions, Kuznetzov's, pcapng.
fn is_packets(start: &[u8]) -> bool {
    const MAGICS: [u32; 4] = [0xA1B2_C3D4, 0xA1B2_3C4D, 0xA1B2_CD34, 0x0A0D_0D0A];
    let Some(magic) = start.first_chunk::<4>() else { return false };
    MAGICS.contains(&u32::from_be_bytes(*magic)) || MAGICS.contains(&u32::from_le_bytes(*magic))
}
