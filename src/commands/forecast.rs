//! `highwater forecast`: .

use crate::complain::{Complaint, Exit};

/// Says when growth exhausts capacity.
#[derive(Debug, clap::Args)]
pub(crate) struct ForecastArgs {}

/// Runs the command.
pub(crate) fn run(_args: &ForecastArgs, _globals: &crate::Globals) -> Result<(), Complaint> {
    Err(Complaint::new(Exit::Fault, "forecast", "not built yet", "wait"))
}
