//! `highwater replay`: .

use crate::complain::{Complaint, Exit};

/// Re-issues a capture against a target at scale.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {}

/// Runs the command.
pub(crate) fn run(_args: &ReplayArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "replay", "not built yet", "wait"))
}
