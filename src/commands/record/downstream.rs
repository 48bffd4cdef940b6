//! Flags of how clients are served.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use captures::Bytes;
use clap::builder::ArgPredicate;
use recorder::{Certificates, Downstream, KeyPair, Listener, RecordError, Upgrade};

use super::units::{some_size, time};
use super::{RecordArgs, complaint, host_and_port};
use crate::complain::{Complaint, Exit};

/// What a listener that speaks TLS begins with.
const SECURE: &str = "https://";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct DownstreamArgs {
    /// Where clients connect: HOST:PORT or http:// in clear, https:// by TLS; port 0 lets the machine choose;
    /// may be repeated
    ///
    /// HTTP/1 and HTTP/2 are served on either: by TLS as negotiated (ALPN), in clear by what the client begins
    /// with (prior knowledge); `Upgrade: h2c` is served in HTTP/1.
    #[arg(
        long,
        value_name = "HOST:PORT",
        required = false,
        required_unless_present = "explain_policy",
        default_value_if("explain_policy", ArgPredicate::IsPresent, "127.0.0.1:0")
    )]
    listen: Vec<String>,
    /// A PEM file with the certificate for https:// and those that lead to its authority; may be repeated
    ///
    /// Clients are shown the one with the name they ask for (SNI), and the first when none has it. A file that
    /// changes is read again within two seconds; where it is of no use, the old one stays and a line says so.
    #[arg(long, value_name = "FILE")]
    tls_cert: Vec<PathBuf>,
    /// A PEM file with the private key of the --tls-cert in the same place
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<PathBuf>,
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
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = some_size)]
    max_head: Bytes,
    /// How long a connection may lie idle between two requests; longer than the 60s of common load balancers in front
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = time)]
    keepalive: Duration,
}

impl DownstreamArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<Downstream, Complaint> {
        Ok(Downstream {
            grace: self.grace,
            patience: self.timeout,
            head_time: self.header_timeout,
            head_size: self.max_head,
            keepalive: self.keepalive,
            certificates: self.certificates(args)?.map(Arc::new),
        })
    }

    fn certificates(&self, args: &RecordArgs) -> Result<Option<Certificates>, Complaint> {
        let refuse = |flag: &str, what: &str, mend: &str| Err(Complaint::new(Exit::Usage, flag, what, mend));
        let wanted = self.listen.iter().any(|typed| typed.starts_with(SECURE));
        if self.tls_cert.len() != self.tls_key.len() {
            return refuse(
                "--tls-key",
                "does not go with --tls-cert",
                "give one --tls-key for each --tls-cert",
            );
        }
        match (wanted, self.tls_cert.is_empty()) {
            (false, true) => return Ok(None),
            (true, true) => {
                let mend = "give --tls-cert FILE and --tls-key FILE";
                return refuse("--listen", "wants TLS and has no certificate", mend);
            }
            (false, false) => {
                let mend = "add --listen https://HOST:PORT";
                return refuse("--tls-cert", "is of no use without TLS", mend);
            }
            (true, false) => {}
        }
        let pairs = self.tls_cert.iter().zip(&self.tls_key);
        let pairs =
            pairs.map(|(certificate, key)| KeyPair { certificate: certificate.clone(), key: key.clone() });
        Certificates::read(pairs.collect()).map(Some).map_err(|error| complaint(args, &error))
    }

    /// Where to listen.
    pub(super) fn places(&self) -> Result<Vec<Place>, Complaint> {
        let place = |typed: &String| {
            let secure = typed.starts_with(SECURE);
            Ok(Place { address: address(typed.strip_prefix(SECURE).unwrap_or(typed))?, secure })
        };
        self.listen.iter().map(place).collect()
    }

    /// How `addresses`, those of the listeners, are shown.
    pub(super) fn shown(&self, addresses: &[SocketAddr]) -> String {
        let shown = self.listen.iter().zip(addresses).map(|(typed, address)| {
            if typed.starts_with(SECURE) { format!("{SECURE}{address}") } else { address.to_string() }
        });
        shown.collect::<Vec<_>>().join(" ")
    }
}

/// Where to listen.
#[derive(Debug)]
pub(super) struct Place {
    address: SocketAddr,
    secure: bool,
}

impl Place {
    /// Listens there.
    pub(super) fn bind(&self, upgrade: Option<&mut Upgrade>) -> Result<Listener, RecordError> {
        let socket = match upgrade {
            Some(upgrade) => upgrade.listen(self.address)?,
            None => recorder::bind(self.address)?,
        };
        Ok(Listener { socket, secure: self.secure })
    }
}

fn address(typed: &str) -> Result<SocketAddr, Complaint> {
    let found = host_and_port("--listen", typed)?.to_socket_addrs();
    found.ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        let mend = "give HOST:PORT, e.g. 127.0.0.1:8080";
        Complaint::new(Exit::Usage, format!("--listen {typed}"), "is no address", mend)
    })
}
