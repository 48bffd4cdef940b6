//! Flags of what is recorded.

use captures::Bytes;
use recorder::Policy;

use super::units::size;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is recorded")]
pub(super) struct PolicyArgs {
    /// The most bytes of a body that are stored; of longer ones also the length and a digest
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    body_limit: Bytes,
    /// Record requests that a replay sent, too
    #[arg(long)]
    record_replayed: bool,
}

impl PolicyArgs {
    pub(super) fn resolve(&self) -> Policy {
        Policy { body_limit: self.body_limit, record_replayed: self.record_replayed }
    }
}
