//! Flags of where requests go.

use recorder::{Network, Upstream, Upstreams};

use super::{RecordArgs, complaint, host_and_port};
use crate::complain::Complaint;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamArgs {
    /// Where requests go; a name is looked up once, at the start
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    /// A proxy before us whose X-Forwarded-For or Forwarded names the client; may be repeated
    ///
    /// The client is the right-most address there that is no trusted proxy's; X-Forwarded-For is read first,
    /// Forwarded in its absence, so such a proxy must set or drop both. Its connections are nobody's session.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trusted_proxy: Vec<Network>,
}

impl UpstreamArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<Upstreams, Complaint> {
        let server = host_and_port("--upstream", &self.upstream)?;
        let server = Upstream::resolve(server).map_err(|error| complaint(args, &error))?;
        Ok(Upstreams {
            servers: vec![server],
            patience: args.downstream.timeout,
            trusted_proxies: self.trusted_proxy.clone(),
        })
    }
}

/// A range of addresses.
fn network(typed: &str) -> Result<Network, String> {
    Network::parse(typed).ok_or_else(|| "give an address or a range, e.g. 10.0.0.0/8".to_owned())
}
