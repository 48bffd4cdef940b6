//! `highwater inspect`: .

use crate::complain::{Complaint, Exit};

/// Says what is in a capture.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {}

/// Runs the command.
pub(crate) fn run(_args: &InspectArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "inspect", "not built yet", "wait"))
}
