//! The certificates that TLS clients are shown, chosen by the name they ask for.
//!
//! Files that change are read again, so that a renewal needs no restart. A new file that is of no use leaves
//! the old certificate in service and is named once. A certificate and its key are two files and do not
//! change in one moment: a change counts once it has stood still for one look.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use pingora::tls::sign::CertifiedKey;
use pingora::tls::{
    CertificateDer, ClientHello, CryptoProvider, PrivateKeyDer, ResolvesServerCert, ServerConfig,
    TlsAcceptor, install_default_crypto_provider, version,
};
use rustls_pki_types::pem::{self, PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::RecordError;
use crate::notice::Notice;

/// A certificate with its chain, and its private key: two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate and those that lead to the authority.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The certificates to show.
#[derive(Debug)]
pub struct Certificates {
    pairs: Mutex<Vec<Pair>>,
    shown: RwLock<Shown>,
}

#[derive(Debug)]
struct Pair {
    files: KeyPair,
    loaded: Loaded,
    /// The state of the files that was taken over, or given up on.
    settled: Stamp,
    /// Another state that was of no use when it was first seen.
    doubtful: Option<Stamp>,
}

#[derive(Clone, Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// The names it is for, in lower case; one may begin with `*.`.
    names: Vec<String>,
}

/// By name; the first is for clients that ask for none, or for one that nobody has.
#[derive(Debug)]
struct Shown {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads `pairs`, of which there must be one.
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing of use, or the two do not belong together.
    pub fn read(pairs: Vec<KeyPair>) -> Result<Self, RecordError> {
        install_default_crypto_provider();
        let read = |files: KeyPair| {
            // Before the files are read: a change after this is seen later.
            let settled = Stamp::of(&files);
            Ok(Pair { loaded: Loaded::read(&files)?, files, settled, doubtful: None })
        };
        let pairs = pairs.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let shown = Shown::of(&pairs).ok_or_else(|| RecordError::Certificate {
            file: PathBuf::from("--tls-cert"),
            reason: "is missing".to_owned(),
        })?;
        Ok(Self { pairs: Mutex::new(pairs), shown: RwLock::new(shown) })
    }

    /// Looks whether the files changed, and takes over what is new.
    pub(crate) fn look(&self) -> Vec<Notice> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<Notice> = pairs.iter_mut().filter_map(Pair::look).collect();
        if found.iter().any(|notice| matches!(notice, Notice::CertificateRenewed { .. }))
            && let Some(shown) = Shown::of(&pairs)
        {
            *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        }
        found
    }

    /// Speaks TLS 1.2 and 1.3 with these, for HTTP/2 and HTTP/1.
    pub(crate) fn acceptor(self: Arc<Self>) -> TlsAcceptor {
        let versions = [&version::TLS12, &version::TLS13];
        let mut config = ServerConfig::builder_with_protocol_versions(&versions)
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn shown_for(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let named = name.map(str::to_ascii_lowercase).and_then(|name| {
            let wildcard = || Some(format!("*.{}", name.split_once('.')?.1));
            shown.by_name.get(&name).or_else(|| shown.by_name.get(&wildcard()?))
        });
        Arc::clone(named.unwrap_or(&shown.first))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown_for(hello.server_name()))
    }
}

impl Pair {
    fn look(&mut self) -> Option<Notice> {
        let stamp = Stamp::of(&self.files);
        if stamp == self.settled {
            return None;
        }
        let error = match Loaded::read(&self.files) {
            Ok(loaded) => {
                (self.loaded, self.settled, self.doubtful) = (loaded, stamp, None);
                return Some(Notice::CertificateRenewed { file: self.files.certificate.clone() });
            }
            Err(error) => error,
        };
        if self.doubtful.as_ref() != Some(&stamp) {
            self.doubtful = Some(stamp);
            return None;
        }
        (self.settled, self.doubtful) = (stamp, None);
        Some(Notice::CertificateKept(error))
    }
}

impl Loaded {
    fn read(files: &KeyPair) -> Result<Self, RecordError> {
        let unusable =
            |file: &Path, reason: String| RecordError::Certificate { file: file.to_owned(), reason };
        let certificate = |reason: String| unusable(&files.certificate, reason);
        let key = |reason: String| unusable(&files.key, reason);

        let text = fs::read(&files.certificate).map_err(|error| certificate(error.to_string()))?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| certificate("holds no certificate".to_owned()))?;
        let names = names_of(leaf).map_err(certificate)?;

        let text = fs::read(&files.key).map_err(|error| key(error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => key("holds no private key that is not encrypted".to_owned()),
            error => key(error.to_string()),
        })?;
        let provider = CryptoProvider::get_default().ok_or_else(|| key("no cryptography".to_owned()))?;
        let pair = CertifiedKey::from_der(chain, secret, provider).map_err(|error| key(error.to_string()))?;
        Ok(Self { key: Arc::new(pair), names })
    }
}

/// The DNS names that a certificate is for, in lower case.
fn names_of(certificate: &[u8]) -> Result<Vec<String>, String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

impl Shown {
    fn of(pairs: &[Pair]) -> Option<Self> {
        let mut by_name = HashMap::new();
        for pair in pairs {
            for name in &pair.loaded.names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&pair.loaded.key));
            }
        }
        Some(Self { first: Arc::clone(&pairs.first()?.loaded.key), by_name })
    }
}

/// By what a change of two files is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    fn of(files: &KeyPair) -> Self {
        let of = |path: &Path| {
            // Through links: what some platforms renew is a link to a folder.
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        Self([of(&files.certificate), of(&files.key)])
    }
}

#[cfg(test)]
mod tests;
