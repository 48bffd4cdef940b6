//! Flags of how the capture is written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{Bytes, Compression};
use recorder::{Files, OutError, Quota, Rotation, Segments, Syncing, Upgrade, WhenFull};

use super::units::{some_size, time};
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(in crate::commands) struct FilesArgs {
    /// The capture to write; a symbolic link or a folder that everybody may write is refused
    ///
    /// With --rotate-size or --rotate-every: what the captures are named after, e.g. shop.capture gives
    /// shop-000001-20261121T081500Z.capture, shop-000002-… and so on. A number is used then, too, when it
    /// becomes impossible to go on in --out. On SIGHUP a file that was moved away (logrotate) is closed and
    /// --out begun anew; not moved, nothing happens, and rotating files rotate.
    #[arg(long, value_name = "FILE")]
    pub(in crate::commands) out: Option<PathBuf>,
    /// Replace --out when it exists (rotating files never replace any)
    #[arg(long)]
    force: bool,
    /// Begin a new capture when one has about this size [default: never]
    #[arg(long, value_name = "SIZE", value_parser = some_size)]
    rotate_size: Option<Bytes>,
    /// Begin a new capture when one is this old and holds anything [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    rotate_every: Option<Duration>,
    /// The most that all captures named after --out may take, those of earlier recordings among them
    ///
    /// Exceeded by no more than one rotated capture, or what is written in half a second. Captures that were
    /// renamed do not count.
    #[arg(long, value_name = "SIZE", value_parser = some_size)]
    quota: Option<Bytes>,
    /// When the quota is used up: `remove` the oldest rotated capture, or `stop` recording (and count) until
    /// there is room [default: remove when captures rotate, otherwise stop]
    #[arg(long, value_enum, value_name = "remove|stop", requires = "quota", hide_possible_values = true)]
    quota_action: Option<QuotaAction>,
    /// When to bring captures safely onto the disk: `never` (left to the system), at `close`, or every TIME
    ///
    /// It happens beside the writing: a slow disk delays no request. What is not yet there is lost when the
    /// power fails, not when the recorder is killed; the capture can be read in any case.
    #[arg(long, value_name = "never|close|TIME", default_value = "close", value_parser = syncing)]
    fsync: Syncing,
    /// How captures are compressed: `lz4` costs about half the CPU of `zstd`, and half as much disk again
    #[arg(long, value_enum, value_name = "zstd|lz4", default_value = "zstd", hide_possible_values = true)]
    compression: CompressionArg,
    /// The most bytes that may wait to be written; above it, records are dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = some_size)]
    queue_bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CompressionArg {
    Zstd,
    Lz4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum QuotaAction {
    Remove,
    Stop,
}

impl FilesArgs {
    pub(in crate::commands) fn resolve(&self) -> Result<Files, Complaint> {
        let mut rotation = Rotation { size: self.rotate_size, every: self.rotate_every };
        let usage = |flag: &str, what: &str, mend: &str| Err(Complaint::new(Exit::Usage, flag, what, mend));
        if self.rotate_size.is_some_and(|size| size < LEAST) {
            return usage("--rotate-size", "is too small for a capture", "give at least 64KiB");
        }
        if self.rotate_every.is_some_and(|every| every < Duration::from_secs(1)) {
            return usage("--rotate-every", "is too short for a capture", "give at least 1s");
        }
        let rotates = self.rotate_size.is_some() || self.rotate_every.is_some();
        if self.quota_action == Some(QuotaAction::Remove) && !rotates {
            return usage(
                "--quota-action",
                "removes rotated captures, and there are none",
                "add --rotate-size",
            );
        }
        let quota = self.quota.map(|limit| Quota {
            limit,
            when_full: match self.quota_action {
                Some(QuotaAction::Remove) => WhenFull::RemoveOldest,
                None if rotates => WhenFull::RemoveOldest,
                _ => WhenFull::Stop,
            },
        });
        if let Some(Quota { limit, when_full: WhenFull::RemoveOldest }) = quota {
            if limit.as_u64() < 4 * LEAST.as_u64() {
                return usage("--quota", "is too small for several captures", "give at least 256KiB");
            }
            if self.rotate_size.is_some_and(|size| size.as_u64() > limit.as_u64() / 2) {
                return usage("--rotate-size", "is more than half of --quota", "give a smaller one");
            }
            // Otherwise one capture could outgrow the quota before its time is over.
            rotation.size = rotation.size.or(Some(Bytes::new(limit.as_u64() / 4)));
        }
        let compression = match self.compression {
            CompressionArg::Zstd => Compression::Zstd,
            CompressionArg::Lz4 => Compression::Lz4,
        };
        Ok(Files { queue: self.queue_bytes, rotation, quota, compression, syncing: self.fsync })
    }

    /// Makes or opens what is to be written.
    pub(in crate::commands) fn open(
        &self,
        out: &Path,
        files: &Files,
        upgrade: Option<&mut Upgrade>,
    ) -> Result<Segments, Complaint> {
        Segments::open(out, self.force, files, upgrade).map_err(|error| match &error {
            OutError::Io(cause) => Complaint::cannot_write(out, cause),
            _ => Complaint::new(Exit::Usage, out.display(), &error, error.mend()),
        })
    }
}

/// The smallest size at which captures rotate.
const LEAST: Bytes = Bytes::new(64 << 10);

fn syncing(typed: &str) -> Result<Syncing, String> {
    match typed {
        "never" => Ok(Syncing::Never),
        "close" => Ok(Syncing::Close),
        _ => match time(typed) {
            Ok(length) if length >= Duration::from_millis(10) => Ok(Syncing::Every(length)),
            _ => Err("give never, close or a time of at least 10ms, e.g. 1s".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        files: FilesArgs,
        // Flags of other groups that those of this one speak of.
        #[arg(long)]
        recording: bool,
        #[arg(long)]
        explain_policy: bool,
    }

    fn resolved(flags: &str) -> Result<Files, String> {
        let typed = ["x", "--out", "shop.capture"].into_iter().chain(flags.split_whitespace());
        let typed = Typed::try_parse_from(typed).map_err(|error| error.to_string())?;
        // As the command itself does when --recording is not given.
        typed.files.resolve().map_err(|complaint| complaint.to_string())
    }

    #[test]
    fn flags_that_contradict_one_another_are_refused_by_name() {
        for (flags, named) in [
            ("--rotate-size 1k", "--rotate-size"),
            ("--rotate-every 10ms", "--rotate-every"),
            ("--quota 1GiB --quota-action remove", "--quota-action"),
            ("--quota 1GiB --rotate-size 1GiB", "--rotate-size"),
            ("--quota-action stop", "--quota"),
            ("--quota 1k --rotate-every 1s", "--quota"),
            ("--fsync 5", "--fsync"),
        ] {
            assert!(resolved(flags).unwrap_err().contains(named), "{flags}");
        }
    }

    #[test]
    fn a_quota_removes_where_files_rotate_and_stops_where_not() {
        let when_full = |flags: &str| resolved(flags).unwrap().quota.unwrap().when_full;
        assert_eq!(when_full("--quota 1GiB"), WhenFull::Stop);
        assert_eq!(when_full("--quota 1GiB --rotate-every 1h"), WhenFull::RemoveOldest);
        assert_eq!(when_full("--quota 1GiB --rotate-every 1h --quota-action stop"), WhenFull::Stop);
        let files = resolved("--quota 1GiB --rotate-every 1h").unwrap();
        assert_eq!(files.rotation.size, Some(Bytes::new(256 << 20)));
    }
}
