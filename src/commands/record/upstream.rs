//! Flags of where requests go.

use recorder::{Upstream, Upstreams};

use super::{RecordArgs, complaint, host_and_port};
use crate::complain::Complaint;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamArgs {
    /// Where requests go; a name is looked up once, at the start
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
}

impl UpstreamArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<Upstreams, Complaint> {
        let server = host_and_port("--upstream", &self.upstream)?;
        let server = Upstream::resolve(server).map_err(|error| complaint(args, &error))?;
        Ok(Upstreams { servers: vec![server], patience: args.downstream.timeout })
    }
}
