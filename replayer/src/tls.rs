//! TLS to the target: what is trusted, who we are, and one connection's state over a non-blocking socket.
//!
//! Certificates are always verified, against the system's roots or a given authority: there is no switch that
//! turns it off. A connection of a replay offers one version of HTTP only: which one is settled before, by asking
//! for both on a connection that carries no request.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use captures::Failure;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::client::Moved;

/// What TLS connections need, as PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificates that are trusted instead of the system's.
    pub authority: Option<Vec<u8>>,
    /// A certificate chain and its key, to show to the target.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// How to speak TLS with a target.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why TLS cannot be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The name of the server is neither a host name nor an address.
    Name,
    /// The authority's file holds no certificate.
    Authority,
    /// No certificate of the system can be trusted: there are none.
    NoRoots,
    /// Certificate and key do not make an identity.
    Identity {
        /// Why.
        why: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(f, "is no name of a server"),
            Self::Authority => write!(f, "holds no certificate"),
            Self::NoRoots => write!(f, "no certificates of the system were found to trust"),
            Self::Identity { why } => write!(f, "is no certificate with its key: {why}"),
        }
    }
}

impl TlsError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Name => "give the name that stands in the target's certificate",
            Self::Authority => "give certificates in PEM",
            Self::NoRoots => "install ca-certificates, or give the authority with --ca FILE",
            Self::Identity { .. } => "give a certificate chain and its unencrypted key, both in PEM",
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// For a target of this name, which its certificate must bear.
    ///
    /// # Errors
    /// When a file does not hold what it should.
    pub fn new(name: &str, files: &TlsFiles) -> Result<Self, TlsError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name)?;
        let mut roots = RootCertStore::empty();
        match &files.authority {
            Some(pem) => {
                let given: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
                if roots.add_parsable_certificates(given).0 == 0 {
                    return Err(TlsError::Authority);
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs().unwrap_or_default();
                if roots.add_parsable_certificates(system).0 == 0 {
                    return Err(TlsError::NoRoots);
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let wrong = |error: &dyn fmt::Display| TlsError::Identity { why: error.to_string() };
        let builder = versions.map_err(|error| wrong(&error))?.with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).filter_map(Result::ok).collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong(&error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// The same, but connections offer HTTP/2.
    pub(crate) fn with_http2(self) -> Self {
        self.offering(&[b"h2"])
    }

    fn offering(&self, versions: &[&[u8]]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    /// Whether the target at `address` picks HTTP/2 where it is offered beside HTTP/1.1 (ALPN, RFC 7301). Shakes
    /// hands once and sends no request; each step may take as long as `patience`.
    ///
    /// # Errors
    /// When no connection is made, or the handshake fails.
    pub fn picks_http2(&self, address: SocketAddr, patience: Duration) -> io::Result<bool> {
        self.offering(&[b"h2", b"http/1.1"]).shake_once(address, patience)
    }

    /// Shakes hands once with the target at `address`, as a connection of a replay does, and sends no request; each
    /// step may take as long as `patience`.
    ///
    /// # Errors
    /// Why no connection of this kind would carry a request.
    pub fn greet(&self, address: SocketAddr, http2: bool, patience: Duration) -> io::Result<()> {
        let version: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let agreed = self.offering(&[version]).shake_once(address, patience)?;
        if http2 && !agreed {
            return Err(io::Error::other("it does not agree to HTTP/2 (ALPN)"));
        }
        Ok(())
    }

    /// Whether the target then agreed to HTTP/2.
    fn shake_once(&self, address: SocketAddr, patience: Duration) -> io::Result<bool> {
        let mut socket = TcpStream::connect_timeout(&address, patience)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let mut tls = self.begin().ok_or_else(|| io::Error::other("no handshake can be begun"))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        tls.send_close_notify();
        let picked = chose_http2(&tls);
        // The end is said for politeness; what was picked is known.
        let _ = tls.complete_io(&mut socket);
        Ok(picked)
    }

    /// A connection that has not shaken hands yet; `None` when it cannot be begun.
    pub(crate) fn begin(&self) -> Option<Box<ClientConnection>> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).ok().map(Box::new)
    }
}

/// Goes on with a handshake; whether it is done.
pub(crate) fn shake(tls: &mut ClientConnection, socket: &OwnedFd) -> Result<bool, Failure> {
    loop {
        flush(tls, socket).map_err(|_| Failure::Tls)?;
        if !tls.is_handshaking() {
            return Ok(true);
        }
        match tls.read_tls(&mut Wire(socket)) {
            Ok(0) => return Err(Failure::Tls),
            Ok(_) => {
                if tls.process_new_packets().is_err() {
                    // The alert tells the target why.
                    let _ = flush(tls, socket);
                    return Err(Failure::Tls);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(Failure::Tls),
        }
    }
}

/// Whether the target agreed to HTTP/2.
pub(crate) fn chose_http2(tls: &ClientConnection) -> bool {
    tls.alpn_protocol() == Some(b"h2")
}

/// Sends, as far as the buffers take it.
pub(crate) fn send(tls: &mut ClientConnection, socket: &OwnedFd, bytes: &[u8]) -> Moved {
    if flush(tls, socket).is_err() {
        return Moved::Broken;
    }
    let taken = tls.writer().write(bytes).unwrap_or(0);
    match flush(tls, socket) {
        Err(_) => Moved::Broken,
        Ok(()) if taken == 0 => Moved::Blocked,
        Ok(()) => Moved::Bytes(taken),
    }
}

/// Sends what is encrypted already; what the socket does not take now stays for the next call.
pub(crate) fn flush(tls: &mut ClientConnection, socket: &OwnedFd) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Wire(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives; none is the end of the stream, if the target said so. An end that was only TCP's is a break: the
/// answer may have been cut.
pub(crate) fn receive(tls: &mut ClientConnection, socket: &OwnedFd, buffer: &mut [u8]) -> Moved {
    loop {
        match tls.reader().read(buffer) {
            Ok(count) => return Moved::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Moved::Broken,
        }
        match tls.read_tls(&mut Wire(socket)) {
            // The reader says on the next turn what kind of end it was.
            Ok(_) => match tls.process_new_packets() {
                Ok(_) if flush(tls, socket).is_ok() => {}
                Err(rustls::Error::AlertReceived(_)) => return Moved::Alert,
                Ok(_) | Err(_) => return Moved::Broken,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Moved::Blocked,
            Err(_) => return Moved::Broken,
        }
    }
}

/// The socket, as the library wants it.
struct Wire<'a>(&'a OwnedFd);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(self.0, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_material_for_tls_is_named() {
        let none = TlsFiles::default();
        assert!(matches!(Tls::new("not a name", &none), Err(TlsError::Name)));
        let authority = TlsFiles { authority: Some(b"no PEM".to_vec()), identity: None };
        assert_eq!(Tls::new("shop.test", &authority).unwrap_err(), TlsError::Authority);
    }
}
