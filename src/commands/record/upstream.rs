//! Flags of where requests go.

use recorder::{Network, Upstreams};

use super::RecordArgs;
use super::protocol::ProtocolArgs;
use crate::complain::Complaint;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamArgs {
    /// Where requests go: HOST:PORT or http:// in clear, https:// by TLS, h2c:// in clear HTTP/2; a name is
    /// looked up once, at the start
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// A proxy before us whose X-Forwarded-For or Forwarded names the client; may be repeated
    ///
    /// The client is the right-most address there that is no trusted proxy's; X-Forwarded-For is read first,
    /// Forwarded in its absence, so such a proxy must set or drop both. Its connections are nobody's session.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trusted_proxy: Vec<Network>,
}

impl UpstreamArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<Upstreams, Complaint> {
        let server = self.protocol.server(&self.upstream, args)?;
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
