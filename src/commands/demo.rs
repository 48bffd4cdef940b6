//! `highwater demo`: .

use crate::complain::{Complaint, Exit};

/// Shows the whole story on loopback with a built-in shop.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}

/// Runs the command.
pub(crate) fn run(_args: &DemoArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "demo", "not built yet", "wait"))
}
