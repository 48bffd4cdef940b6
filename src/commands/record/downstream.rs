//! Flags of how clients are served.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use captures::Bytes;
use clap::builder::ArgPredicate;
use recorder::Downstream;

use super::host_and_port;
use super::units::{size, time};
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct DownstreamArgs {
    /// Where clients connect; port 0 lets the machine choose
    #[arg(
        long,
        value_name = "HOST:PORT",
        required = false,
        required_unless_present = "explain_policy",
        default_value_if("explain_policy", ArgPredicate::IsPresent, "127.0.0.1:0")
    )]
    listen: String,
    /// How long requests in flight may go on after a signal
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    grace: Duration,
    /// How long client or upstream may stay silent within an exchange
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub(super) timeout: Duration,
    /// How long the head of an HTTP/1 request may take from its first byte to its last; 408 after that
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    header_timeout: Duration,
    /// The largest head of an HTTP/1 request; 431 above, and above 256 fields
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    max_head: Bytes,
    /// How long an HTTP/1 connection may lie idle between two requests; longer than the 60s of common load balancers in front
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = time)]
    keepalive: Duration,
}

impl DownstreamArgs {
    pub(super) fn resolve(&self) -> Downstream {
        Downstream {
            grace: self.grace,
            patience: self.timeout,
            head_time: self.header_timeout,
            head_size: self.max_head,
            keepalive: self.keepalive,
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Complaint> {
        let found = host_and_port("--listen", &self.listen)?.to_socket_addrs();
        found.ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
            Complaint::new(
                Exit::Usage,
                format!("--listen {}", self.listen),
                "is no address",
                "give HOST:PORT, e.g. 127.0.0.1:8080",
            )
        })
    }
}
