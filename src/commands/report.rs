//! `highwater report`: .

use crate::complain::{Complaint, Exit};

/// Draws a report from what the others wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {}

/// Runs the command.
pub(crate) fn run(_args: &ReportArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "report", "not built yet", "wait"))
}
