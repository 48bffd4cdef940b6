//! Flags of how an upstream server is spoken to.

use std::net::IpAddr;
use std::path::PathBuf;

use recorder::{Authorities, Http2, Protocol, Trust, Upstream, UpstreamTls};

use super::{RecordArgs, complaint, host_and_port};
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct ProtocolArgs {
    /// The name to ask an https upstream for (SNI), and that its certificate must bear [default: its host]
    #[arg(long, value_name = "NAME")]
    upstream_sni: Option<String>,
    /// Trust the certificates of the authorities in this PEM file, not those of the machine
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// Believe whatever certificate an https upstream shows: anybody on the way can read and change what passes
    #[arg(long, conflicts_with = "upstream_ca")]
    upstream_insecure: bool,
    /// When to speak HTTP/2 to the upstream
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    upstream_http2: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// For requests that came in HTTP/2, where an https upstream offers it
    Auto,
    /// Never
    Never,
    /// For all requests but upgrades; with http:// the upstream must take it unasked
    Always,
}

impl ProtocolArgs {
    /// The server that `typed` means: `HOST:PORT`, or the same behind `http://`, `h2c://` or `https://`.
    pub(super) fn server(&self, typed: &str, args: &RecordArgs) -> Result<Upstream, Complaint> {
        let flag = "--upstream";
        let (place, secure, http2) = if let Some(rest) = typed.strip_prefix("https://") {
            (rest, true, self.http2())
        } else if let Some(rest) = typed.strip_prefix("h2c://") {
            (rest, false, Http2::Always)
        } else {
            (typed, false, self.http2())
        };
        let place = host_and_port(flag, place)?;
        let tls = secure.then(|| self.tls(flag, typed, place, args)).transpose()?;
        Upstream::resolve(place, Protocol { tls, http2 }).map_err(|error| complaint(args, &error))
    }

    const fn http2(&self) -> Http2 {
        match self.upstream_http2 {
            When::Auto => Http2::LikeTheClient,
            When::Never => Http2::Never,
            When::Always => Http2::Always,
        }
    }

    fn tls(&self, flag: &str, typed: &str, place: &str, args: &RecordArgs) -> Result<UpstreamTls, Complaint> {
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let name = self.upstream_sni.as_deref().unwrap_or(host);
        if name.is_empty() || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let what = "is an address, and a certificate is checked by a name";
            let mend = "add --upstream-sni NAME, the name in the server's certificate";
            return Err(Complaint::new(Exit::Usage, format!("{flag} {typed}"), what, mend));
        }
        let trust = match &self.upstream_ca {
            _ if self.upstream_insecure => Ok(Trust::Anybody),
            Some(file) => Authorities::read(file).map(Trust::Authorities),
            None => Trust::of_the_machine(),
        };
        let trust = trust.map_err(|error| complaint(args, &error))?;
        Ok(UpstreamTls { name: name.to_owned(), trust })
    }
}
