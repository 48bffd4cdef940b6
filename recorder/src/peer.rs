//! How one upstream server is spoken to: in clear or by TLS, with HTTP/1.1 or HTTP/2.
//!
//! A request goes on in the version it came in where the server offers it, because that alters least: HTTP/1
//! keeps the case and order of its header names, HTTP/2 keeps its trailers. In clear nothing is negotiated:
//! HTTP/2 is spoken where the user says that the server takes it (prior knowledge).
//!
//! Invariant: TLS is never spoken without a name, for the engine would skip verification then.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pingora::http::RequestHeader;
use pingora::protocols::tls::CaType;
use pingora::tls::RootCertStore;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};
use pingora::utils::tls::WrappedX509;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::RecordError;

/// Requests that share one HTTP/2 connection to a server; each worker has connections of its own.
const STREAMS: usize = 100;

/// What of a response may be under way on a connection, per stream and in all: a client that reads slowly
/// costs no more memory than this.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A certificate of nobody, whose key was thrown away: the engine wants an authority even where it is told to
/// verify nothing.
const NOBODY: &[u8] = include_bytes!("peer/nobody.der");

/// How a server is spoken to.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// TLS; in clear without.
    pub tls: Option<UpstreamTls>,
    /// When HTTP/2 is spoken.
    pub http2: Http2,
}

/// When HTTP/2 is spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Never.
    Never,
    /// For requests that came in HTTP/2, where TLS negotiates it; in clear never.
    LikeTheClient,
    /// For every request but upgrades: by TLS where it is negotiated, in clear by prior knowledge.
    Always,
}

/// TLS to a server.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The name that is asked for (SNI) and that the certificate must bear; not empty.
    pub name: String,
    /// Whose certificates are believed.
    pub trust: Trust,
}

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those of the authorities that the machine trusts.
    Machine,
    /// Those of some authorities alone.
    Authorities(Authorities),
    /// Anybody's, for any name.
    Anybody,
}

/// Certificates of authorities; at least one.
#[derive(Clone)]
pub struct Authorities {
    certificates: Arc<CaType>,
}

impl Authorities {
    /// Reads the certificates in a PEM file; what else it holds is passed over.
    ///
    /// # Errors
    /// When the file cannot be read, holds no certificate or one that is broken.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let broken = |reason: String| RecordError::Certificate { file: path.to_owned(), reason };
        let text = fs::read(path).map_err(|error| broken(error.to_string()))?;
        let mut anchors = RootCertStore::empty();
        let mut certificates = Vec::new();
        for found in CertificateDer::pem_slice_iter(&text) {
            let certificate = found.map_err(|error| broken(error.to_string()))?;
            anchors.add(certificate.clone()).map_err(|error| broken(error.to_string()))?;
            certificates.push(engine_certificate(certificate.to_vec()).map_err(broken)?);
        }
        if certificates.is_empty() {
            return Err(broken("holds no certificate".to_owned()));
        }
        Ok(Self { certificates: certificates.into() })
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} authorities", self.certificates.len())
    }
}

impl Trust {
    /// That of the machine, once it is sure that the machine trusts somebody.
    ///
    /// # Errors
    /// When the machine has no certificates, or broken ones.
    pub fn of_the_machine() -> Result<Self, RecordError> {
        let mut anchors = RootCertStore::empty();
        match pingora::tls::load_platform_certs_incl_env_into_store(&mut anchors) {
            Err(error) => Err(RecordError::NoTrust { reason: error.to_string() }),
            Ok(()) if anchors.is_empty() => Err(RecordError::NoTrust { reason: "there are none".to_owned() }),
            Ok(()) => Ok(Self::Machine),
        }
    }
}

fn engine_certificate(der: Vec<u8>) -> Result<WrappedX509, String> {
    WrappedX509::try_new(der, |der| {
        X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|error| error.to_string())
    })
}

/// One address of a server, for each version of HTTP that requests may take.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    http1: HttpPeer,
    http2: HttpPeer,
    when: Http2,
}

impl Peers {
    /// The peers of `address`; `settle` sets what is not about the protocol, such as timeouts.
    pub(crate) fn new(address: SocketAddr, protocol: &Protocol, settle: impl Fn(&mut PeerOptions)) -> Self {
        let name = protocol.tls.as_ref().map_or_else(String::new, |tls| tls.name.clone());
        let mut http1 = HttpPeer::new(address, protocol.tls.is_some(), name);
        settle(&mut http1.options);
        match protocol.tls.as_ref().map(|tls| &tls.trust) {
            None | Some(Trust::Machine) => {}
            Some(Trust::Authorities(authorities)) => {
                http1.options.ca = Some(Arc::clone(&authorities.certificates));
            }
            Some(Trust::Anybody) => {
                let nobody = engine_certificate(NOBODY.to_vec()).expect("it was made to be read");
                http1.options.ca = Some(Arc::new([nobody]));
                http1.options.verify_cert = false;
                http1.options.verify_hostname = false;
            }
        }
        http1.options.set_http_version(1, 1);
        let mut http2 = http1.clone();
        let in_clear = protocol.tls.is_none();
        let only = in_clear || protocol.http2 == Http2::Always;
        http2.options.set_http_version(2, if only { 2 } else { 1 });
        // Also keeps the two apart in the pool of idle connections.
        http2.options.max_h2_streams = STREAMS;
        http2.options.h2_stream_window_size = Some(STREAM_WINDOW);
        http2.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        let when = match protocol.http2 {
            Http2::LikeTheClient if in_clear => Http2::Never,
            when => when,
        };
        Self { http1, http2, when }
    }

    /// The peer that a request with this head goes to. An upgrade is HTTP/1.1's own.
    pub(crate) fn for_request(&self, request: &RequestHeader) -> &HttpPeer {
        let came_in_http2 = request.version == http::Version::HTTP_2;
        match self.when {
            Http2::Never => &self.http1,
            Http2::LikeTheClient if came_in_http2 => &self.http2,
            Http2::LikeTheClient => &self.http1,
            Http2::Always if request.headers.contains_key(http::header::UPGRADE) => &self.http1,
            Http2::Always => &self.http2,
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::{ALPN, Peer};

    use super::*;

    fn protocol(tls: bool, http2: Http2) -> Protocol {
        let tls = tls.then(|| UpstreamTls { name: "shop.test".to_owned(), trust: Trust::Anybody });
        Protocol { tls, http2 }
    }

    #[test]
    fn a_request_goes_on_in_its_version_where_that_can_be_known() {
        let check = |tls, http2, version, expected| {
            let peers = Peers::new(SocketAddr::from(([127, 0, 0, 1], 443)), &protocol(tls, http2), |_| {});
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.set_version(version);
            assert_eq!(peers.for_request(&request).options.alpn, expected, "{tls} {http2:?} {version:?}");
        };
        let (one, two) = (http::Version::HTTP_11, http::Version::HTTP_2);
        check(true, Http2::LikeTheClient, one, ALPN::H1);
        check(true, Http2::LikeTheClient, two, ALPN::H2H1);
        check(false, Http2::LikeTheClient, two, ALPN::H1);
        check(true, Http2::Never, two, ALPN::H1);
        check(true, Http2::Always, one, ALPN::H2);
        check(false, Http2::Always, one, ALPN::H2);
    }

    #[test]
    fn an_upgrade_stays_with_http_1() {
        let peers =
            Peers::new(SocketAddr::from(([127, 0, 0, 1], 80)), &protocol(false, Http2::Always), |_| {});
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header("upgrade", "websocket").unwrap();
        assert_eq!(peers.for_request(&request).options.alpn, ALPN::H1);
    }

    #[test]
    fn connections_of_the_two_versions_are_not_mixed_up() {
        let peers =
            Peers::new(SocketAddr::from(([127, 0, 0, 1], 443)), &protocol(true, Http2::Always), |_| {});
        assert_ne!(peers.http1.reuse_hash(), peers.http2.reuse_hash());
    }
}
