//! Flags of how a recorder is watched and steered.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;

use recorder::Upgrade;

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
    /// A socket by which a newer process takes over, with no connection refused: it is started with the same flags
    ///
    /// Who is started with it takes over the listening sockets (of --listen and --admin), the name of the recording
    /// and the key of its masks from the process that is there, if any, and goes on in a file of its own: where
    /// --out exists, in one with a number beside it. The old process goes on when the new one fails before it is
    /// ready; then it asks its clients to connect again, closes its file and ends. Idle connections have --grace,
    /// and requests in flight once more. Sessions end at the seam. The socket is for the same user alone.
    #[arg(long, value_name = "FILE")]
    upgrade_socket: Option<PathBuf>,
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

    /// What an older process gives away and a newer one may take, if that is wanted.
    pub(super) fn upgrade(&self, args: &RecordArgs) -> Result<Option<Upgrade>, Complaint> {
        let upgrade = self.upgrade_socket.as_deref().map(Upgrade::claim).transpose();
        upgrade.map_err(|error| complaint(args, &error))
    }

    /// The listener, if there is to be one.
    pub(super) fn listener(
        &self,
        args: &RecordArgs,
        upgrade: Option<&mut Upgrade>,
    ) -> Result<Option<TcpListener>, Complaint> {
        let bind =
            |address| upgrade.map_or_else(|| recorder::bind(address), |upgrade| upgrade.listen(address));
        let listener = self.address()?.map(bind).transpose();
        listener.map_err(|error| complaint(args, &error))
    }
}
