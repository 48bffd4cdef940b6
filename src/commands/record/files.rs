//! Flags of how the capture is written.

use std::path::PathBuf;

use captures::Bytes;
use recorder::Files;

use super::units::size;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct FilesArgs {
    /// The capture to write
    #[arg(long, value_name = "FILE", required_unless_present = "recording")]
    pub(super) out: Option<PathBuf>,
    /// Replace --out when it exists
    #[arg(long)]
    pub(super) force: bool,
    /// The most bytes that may wait to be written; above it, records are dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    queue_bytes: Bytes,
}

impl FilesArgs {
    pub(super) fn resolve(&self) -> Files {
        Files { queue: self.queue_bytes }
    }
}
