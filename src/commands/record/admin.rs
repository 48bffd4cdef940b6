//! Flags of how a recorder is watched and steered.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use super::{RecordArgs, complaint, host_and_port};
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Operation")]
pub(super) struct AdminArgs {
    /// Serve /metrics (Prometheus), /healthz, /readyz, POST /recording/pause and /recording/resume there
    ///
    /// Off unless given. It asks for no password: give it a loopback address, e.g. 127.0.0.1:9900, or one that
    /// only your scraper reaches. Requests whose Host is a name, but not `localhost`, are refused unless
    /// --admin-host gives it. /readyz answers 503 from the first signal on. Port 0 lets the machine choose.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// A name by which --admin may be called; may be repeated
    #[arg(long, value_name = "NAME", requires = "admin")]
    pub(super) admin_host: Vec<String>,
}

impl AdminArgs {
    /// Where it is to listen, if it is to.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>, Complaint> {
        let Some(typed) = &self.admin else { return Ok(None) };
        let found = host_and_port("--admin", typed)?.to_socket_addrs();
        let address = found.ok().and_then(|mut addresses| addresses.next());
        let mend = "give HOST:PORT, e.g. 127.0.0.1:9900";
        address
            .map(Some)
            .ok_or_else(|| Complaint::new(Exit::Usage, format!("--admin {typed}"), "is no address", mend))
    }

    /// The listener, if there is to be one.
    pub(super) fn listener(&self, args: &RecordArgs) -> Result<Option<TcpListener>, Complaint> {
        let listener = self.address()?.map(recorder::bind).transpose();
        listener.map_err(|error| complaint(args, &error))
    }
}
