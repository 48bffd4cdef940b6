//! `highwater record`: .

use crate::complain::{Complaint, Exit};

/// Records real traffic through a reverse proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct RecordArgs {}

/// Runs the command.
pub(crate) fn run(_args: &RecordArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "record", "not built yet", "wait"))
}
