//! Checks the servers, when asked to, and tells of every change of their state once.
//!
//! A change that the workers found (a connection refused, a connection taken again) is told from here, too,
//! because a worker must never wait for whoever reads the notices. What flips back within [`LOOK`] is not
//! told.

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use tokio::task::JoinSet;

use super::health::Streak;
use super::{Check, HealthChecks, Servers};
use crate::notice::Notice;
use crate::peer::Peers;

/// How often the states are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is checked, and how.
pub(crate) struct Checks {
    pub(crate) settings: HealthChecks,
    /// In the order of the servers' addresses.
    pub(crate) peers: Vec<Peers>,
    /// What an HTTP check names as its host, for each of them.
    pub(crate) hosts: Vec<String>,
    pub(crate) options: ConnectorOptions,
}

/// Watches until it is dropped.
pub(crate) async fn watch(servers: Arc<Servers>, checks: Option<Checks>, tell: impl Fn(Notice)) {
    let mut running = JoinSet::new();
    if let Some(Checks { settings, peers, hosts, options }) = checks {
        for (at, (peers, host)) in peers.into_iter().zip(hosts).enumerate() {
            let servers = Arc::clone(&servers);
            let prober = Prober::new(&settings.check, &peers, &host, options.clone());
            running.spawn(check_for_ever(servers, at, prober, settings.clone()));
        }
    }
    let mut told = vec![true; servers.states().len()];
    loop {
        tokio::time::sleep(LOOK).await;
        for (told, state) in told.iter_mut().zip(servers.states()) {
            if *told != state.up {
                *told = state.up;
                let (server, address) = (state.server, state.address);
                tell(if state.up {
                    Notice::UpstreamUp { server, address }
                } else {
                    Notice::UpstreamDown { server, address }
                });
            }
        }
    }
}

async fn check_for_ever(servers: Arc<Servers>, at: usize, prober: Option<Prober>, settings: HealthChecks) {
    let Some(prober) = prober else { return };
    let mut streak = Streak::new(settings.rise, settings.fall);
    loop {
        let passed = tokio::time::timeout(settings.timeout, prober.passes()).await.unwrap_or(false);
        servers.addresses[at].health.on_checked(streak.on_check(passed), passed);
        tokio::time::sleep(settings.interval).await;
    }
}

/// Makes one check.
enum Prober {
    Tcp(Box<TransportConnector>, Box<HttpPeer>),
    Http(Box<Connector>, Box<HttpPeer>, Box<RequestHeader>),
}

impl Prober {
    fn new(check: &Check, peers: &Peers, host: &str, options: ConnectorOptions) -> Option<Self> {
        let path = match check {
            Check::Tcp => "/",
            Check::Http { path } => path.as_str(),
        };
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(3)).ok()?;
        request.insert_header(http::header::HOST, host).ok()?;
        request.insert_header(http::header::USER_AGENT, "highwater health check").ok()?;
        let peer = Box::new(peers.for_request(&request).clone());
        if peer.options.alpn.get_max_http_version() == 1 {
            request.insert_header(http::header::CONNECTION, "close").ok()?;
        }
        Some(match check {
            Check::Tcp => Self::Tcp(Box::new(TransportConnector::new(Some(options))), peer),
            Check::Http { .. } => {
                Self::Http(Box::new(Connector::new(Some(options))), peer, Box::new(request))
            }
        })
    }

    /// Whether a connection comes about and, where asked for, the answer is a success or a redirection.
    async fn passes(&self) -> bool {
        match self {
            Self::Tcp(connector, peer) => connector.new_stream(&**peer).await.is_ok(),
            Self::Http(connector, peer, request) => {
                let status = answer(connector, peer, request).await;
                status.is_ok_and(|status| (200..400).contains(&status))
            }
        }
    }
}

async fn answer(connector: &Connector, peer: &HttpPeer, request: &RequestHeader) -> pingora::Result<u16> {
    let (mut session, _) = connector.get_http_session(peer).await?;
    session.write_request_header(Box::new(request.clone())).await?;
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        match session.response_header().map(|head| head.status) {
            Some(status) if status.is_informational() => {}
            status => return Ok(status.map_or(0, |status| status.as_u16())),
        }
    }
}
