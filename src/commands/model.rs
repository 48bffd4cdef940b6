//! `highwater model`: .

use crate::complain::{Complaint, Exit};

/// Finds capacity from runs.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {}

/// Runs the command.
pub(crate) fn run(_args: &ModelArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "model", "not built yet", "wait"))
}
