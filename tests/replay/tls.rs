//! Replays to targets that speak TLS: what is trusted, and what is not.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::even;
use crate::support::{run, stderr, write_capture};

/// A certificate with its key, in PEM.
struct Made {
    certificate: String,
    key: String,
}

/// An authority that signs.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, params: &CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Made { certificate, key: key.serialize_pem() }
    }
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// A server that answers `ok`; how many requests it saw.
fn server(shown: &Made, wants: Option<&str>) -> (SocketAddr, Arc<AtomicUsize>) {
    let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), config, counter) = (stream, Arc::clone(&config), Arc::clone(&counter)) else {
                return;
            };
            std::thread::spawn(move || serve(stream, config, &counter));
        }
    });
    (address, seen)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, seen: &AtomicUsize) {
    let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut reader = BufReader::new(tls);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            seen.fetch_add(1, Ordering::Relaxed);
            // Two records, of which the second holds what is left of the body.
            let tls = reader.get_mut();
            let first =
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n").and_then(|()| tls.flush());
            if first.and_then(|()| tls.write_all(&[b'x'; 20_000])).and_then(|()| tls.flush()).is_err() {
                return;
            }
        }
        line.clear();
    }
}

fn replay(folder: &Path, target: &str, more: &[&str]) -> Value {
    let (capture, out) = (folder.join("c.capture"), folder.join("r.run"));
    let mut requests = even(20, 1);
    requests.iter_mut().for_each(|request| request.connection %= 4);
    write_capture(&capture, &requests);
    let args = ["replay", capture.to_str().unwrap(), "--target", target, "--json", "--quiet"];
    let output = run(&[&args[..], &["--out", out.to_str().unwrap()], more].concat());
    let _ = std::fs::remove_file(out);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_https_target_is_replayed_to_when_its_authority_is_trusted_and_clients_may_show_who_they_are() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = file("ca.pem", &authority.certificate);
    let (address, seen) = server(&authority.sign(&params("localhost")), None);
    let target = format!("https://localhost:{}", address.port());
    let summary = replay(folder.path(), &target, &["--ca", &ca]);
    assert_eq!((&summary["ok"], seen.load(Ordering::Relaxed)), (&20.into(), 20), "{summary}");
    assert_eq!((&summary["connections_opened"], &summary["reused"]), (&4.into(), &16.into()), "{summary}");
    assert!(summary["tls_ms"]["p50"].as_f64().unwrap() > 0.0, "{summary}");
    assert!(summary["bytes_in"].as_u64().unwrap() > 20 * 20_000, "{summary}");
    // By its address, with the name that its certificate bears.
    let by_address = format!("https://127.0.0.1:{}", address.port());
    assert_eq!(replay(folder.path(), &by_address, &["--ca", &ca, "--sni", "localhost"])["ok"], 20);

    // A server that wants to know who we are.
    let clients = Authority::new();
    let (address, seen) = server(&authority.sign(&params("localhost")), Some(&clients.certificate));
    let target = format!("https://localhost:{}", address.port());
    let refused = replay(folder.path(), &target, &["--ca", &ca]);
    assert_eq!((&refused["ok"], seen.load(Ordering::Relaxed)), (&0.into(), 0), "{refused}");
    let me = clients.sign(&params("replayer"));
    let (chain, key) = (file("me.pem", &me.certificate), file("me.key", &me.key));
    let known = replay(folder.path(), &target, &["--ca", &ca, "--client-cert", &chain, "--client-key", &key]);
    assert_eq!(known["ok"], 20, "{known}");
}

#[test]
fn eight_of_eight_bad_certificates_are_refused_before_a_request_is_sent() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.certificate).unwrap();
    let own_key = KeyPair::generate().unwrap();
    let own = |params: CertificateParams| Made {
        certificate: params.self_signed(&own_key).unwrap().pem(),
        key: own_key.serialize_pem(),
    };
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = params("localhost");
        change(&mut params);
        params
    };
    // A leaf that poses as an authority signs another leaf.
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = Issuer::new(params("localhost"), leaf_key);
    let key = KeyPair::generate().unwrap();
    let by_leaf = Made {
        certificate: params("localhost").signed_by(&key, &leaf).unwrap().pem(),
        key: key.serialize_pem(),
    };
    let bad = [
        ("of an unknown authority", stranger.sign(&params("localhost"))),
        ("signed by itself", own(params("localhost"))),
        ("for another name", authority.sign(&params("other.test"))),
        ("for a wildcard that does not fit", authority.sign(&params("*.localhost"))),
        ("expired", authority.sign(&with(|params| params.not_after = date_time_ymd(2020, 1, 1)))),
        ("not valid yet", authority.sign(&with(|params| params.not_before = date_time_ymd(4000, 1, 1)))),
        (
            "for clients only",
            authority
                .sign(&with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])),
        ),
        ("signed by a leaf", by_leaf),
    ];
    for (what, shown) in bad {
        let (address, seen) = server(&shown, None);
        let target = format!("https://localhost:{}", address.port());
        let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
        write_capture(&capture, &even(20, 1));
        let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--ca", ca.to_str().unwrap()];
        let output = run(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
        let said = stderr(&output);
        assert_eq!((output.status.code(), seen.load(Ordering::Relaxed)), (Some(4), 0), "{what}: {said}");
        assert!(said.contains("no TLS connection can be made: ") && said.contains("certificate"), "{said}");
        assert!(!out.exists(), "{what}");
    }
}
