//! Flags of where requests go.

use std::time::Duration;

use recorder::{Balance, Check, Forwarding, HealthChecks, HostHeader, Network, Upstream, Upstreams};

use super::RecordArgs;
use super::protocol::ProtocolArgs;
use super::units::time;
use crate::complain::{Complaint, Exit};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamArgs {
    /// Where requests go: HOST:PORT or http:// in clear, https:// by TLS, h2c:// in clear HTTP/2; may be
    /// repeated, with `=3` behind it for three times the share of requests
    ///
    /// A name is looked up once, at the start. Its addresses are one server's: the one that took a connection
    /// last is used, the others when it takes none. A server that takes no connection is passed over for 10 s
    /// while there are others; when all are down the request is tried all the same.
    #[arg(long, value_name = "HOST:PORT[=WEIGHT]", required_unless_present = "explain_policy")]
    upstream: Vec<String>,
    /// Which server gets the next request
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Dealt::RoundRobin)]
    balance: Dealt,
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Check servers while they serve: tcp (takes a connection) or http:/PATH (answers a GET with 2xx or 3xx)
    #[arg(long, value_name = "CHECK", value_parser = check)]
    health: Option<Check>,
    /// Time between two checks of a server
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    health_interval: Duration,
    /// How long a check may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    health_timeout: Duration,
    /// Passed checks in a row after which a server is up again
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    health_rise: u32,
    /// Failed checks in a row after which a server is down
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    health_fall: u32,
    /// How long a connection to a server may take; after it the next server is tried, or the answer is 504
    ///
    /// When a server takes no connection, requests that may be repeated (GET, HEAD, PUT, DELETE, OPTIONS, TRACE)
    /// go to the next server, others only to the next address of the same name. Requests that may be repeated
    /// are also sent again when the connection broke before the answer: to the next server, or to the same one
    /// when the connection came from the pool.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    connect_timeout: Duration,
    /// How long a server may stay silent within an exchange; before the answer, the client gets 504 then
    /// [default: --timeout]
    #[arg(long, value_name = "TIME", value_parser = time)]
    read_timeout: Option<Duration>,
    /// How long a server may take nothing of a request [default: --timeout]
    #[arg(long, value_name = "TIME", value_parser = time)]
    write_timeout: Option<Duration>,
    /// The most idle connections to servers that each worker keeps
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pool: usize,
    /// How long an idle connection is kept; less than the servers keep it, or requests meet it as it dies
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = time)]
    pool_idle: Duration,
    /// Tell the servers this Host instead of the client's
    #[arg(long, value_name = "NAME", value_parser = host)]
    host_header: Option<HostHeader>,
    /// What becomes of X-Forwarded-For, -Proto, -Host and Forwarded
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Told::Off)]
    forwarded: Told,
    /// A proxy before us whose X-Forwarded-For or Forwarded names the client; may be repeated
    ///
    /// The client is the right-most address there that is no trusted proxy's; X-Forwarded-For is read first,
    /// Forwarded in its absence, so such a proxy must set or drop both. Its connections are nobody's session.
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trusted_proxy: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dealt {
    /// In turn, by weight
    RoundRobin,
    /// The one with the fewest requests for its weight
    LeastConnections,
    /// The same for the same session cookie, else Authorization, else client address; a server that goes away
    /// moves only its own sessions
    Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Told {
    /// They pass as they came
    Off,
    /// Who connected is added to the lists; a trusted proxy's Proto and Host stay
    Append,
    /// What came is dropped; the client's address, our scheme and the Host are told
    Replace,
}

impl UpstreamArgs {
    pub(super) fn resolve(&self, args: &RecordArgs) -> Result<Upstreams, Complaint> {
        let servers = self.upstream.iter().map(|typed| self.server(typed, args));
        Ok(Upstreams {
            servers: servers.collect::<Result<_, _>>()?,
            balance: match self.balance {
                Dealt::RoundRobin => Balance::RoundRobin,
                Dealt::LeastConnections => Balance::LeastConnections,
                Dealt::Hash => Balance::Hash,
            },
            health: self.health.clone().map(|check| HealthChecks {
                check,
                interval: self.health_interval,
                timeout: self.health_timeout,
                rise: self.health_rise,
                fall: self.health_fall,
            }),
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout.unwrap_or(args.downstream.timeout),
            write_timeout: self.write_timeout.unwrap_or(args.downstream.timeout),
            pool: self.pool,
            pool_idle: self.pool_idle,
            host_header: self.host_header.clone(),
            forwarding: match self.forwarded {
                Told::Off => Forwarding::Off,
                Told::Append => Forwarding::Append,
                Told::Replace => Forwarding::Replace,
            },
            trusted_proxies: self.trusted_proxy.clone(),
        })
    }

    fn server(&self, typed: &str, args: &RecordArgs) -> Result<Upstream, Complaint> {
        let (place, weight) = match typed.rsplit_once('=') {
            None => (typed, 1),
            Some((place, weight)) => {
                let wrong = || {
                    let mend = "give a whole number from 1 to 1000, e.g. 10.0.0.7:8080=3";
                    Complaint::new(Exit::Usage, format!("--upstream {typed}"), "the weight is none", mend)
                };
                let weight = weight.parse().ok().filter(|weight| (1..=1_000).contains(weight));
                (place, weight.ok_or_else(wrong)?)
            }
        };
        Ok(Upstream { weight, ..self.protocol.server(place, args)? })
    }
}

/// A range of addresses.
fn network(typed: &str) -> Result<Network, String> {
    Network::parse(typed).ok_or_else(|| "give an address or a range, e.g. 10.0.0.0/8".to_owned())
}

fn host(typed: &str) -> Result<HostHeader, String> {
    HostHeader::parse(typed).ok_or_else(|| "give a name, with or without a port, e.g. shop.test".to_owned())
}

fn check(typed: &str) -> Result<Check, String> {
    match typed.strip_prefix("http:") {
        _ if typed == "tcp" => Ok(Check::Tcp),
        Some(path) if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Check::Http { path: path.to_owned() })
        }
        _ => Err("give tcp or http:/PATH, e.g. http:/healthz".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_connection_or_a_path() {
        assert_eq!(check("tcp"), Ok(Check::Tcp));
        assert_eq!(check("http:/healthz?x=1"), Ok(Check::Http { path: "/healthz?x=1".to_owned() }));
        assert!(check("http:healthz").is_err() && check("http:/a b").is_err() && check("").is_err());
    }
}
