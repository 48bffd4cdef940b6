//! Which certificate is shown, before and after the files change.

use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn pair(&self, stem: &str) -> KeyPair {
        KeyPair {
            certificate: self.folder.path().join(format!("{stem}.pem")),
            key: self.folder.path().join(format!("{stem}.key")),
        }
    }

    /// Writes a certificate for `names`; returns it.
    fn write(&self, stem: &str, names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let Made { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let files = self.pair(stem);
        fs::write(files.certificate, cert.pem()).unwrap();
        fs::write(files.key, signing_key.serialize_pem()).unwrap();
        cert.der().to_vec()
    }
}

fn shown(certificates: &Certificates, name: Option<&str>) -> Vec<u8> {
    certificates.shown_for(name).cert[0].to_vec()
}

#[test]
fn the_certificate_follows_the_name() {
    let files = Files::new();
    let first = files.write("first", &["shop.test"]);
    let second = files.write("second", &["api.test", "*.api.test"]);
    let certificates = Certificates::read(vec![files.pair("first"), files.pair("second")]).unwrap();
    let check = |name, expected: &Vec<u8>| assert_eq!(&shown(&certificates, name), expected, "{name:?}");

    check(None, &first);
    check(Some("shop.test"), &first);
    check(Some("API.test"), &second);
    check(Some("eu.api.test"), &second);
    check(Some("west.eu.api.test"), &first);
    check(Some("nobody.test"), &first);
}

#[test]
fn a_renewed_file_is_shown_and_a_broken_one_is_named_once() {
    let files = Files::new();
    let old = files.write("shop", &["shop.test"]);
    let certificates = Certificates::read(vec![files.pair("shop")]).unwrap();
    assert!(certificates.look().is_empty());

    // The certificate is there before its key is.
    let key = fs::read(files.pair("shop").key).unwrap();
    let new = files.write("shop", &["shop.test"]);
    let new_key = fs::read(files.pair("shop").key).unwrap();
    fs::write(files.pair("shop").key, key).unwrap();
    assert!(certificates.look().is_empty());
    assert_eq!(shown(&certificates, None), old);
    fs::write(files.pair("shop").key, new_key).unwrap();
    assert!(matches!(certificates.look()[..], [Notice::CertificateRenewed { .. }]));
    assert_eq!(shown(&certificates, None), new);

    fs::write(files.pair("shop").certificate, "no certificate").unwrap();
    assert!(certificates.look().is_empty());
    assert!(matches!(certificates.look()[..], [Notice::CertificateKept(_)]));
    assert!(certificates.look().is_empty());
    assert_eq!(shown(&certificates, None), new);
}

#[test]
fn files_of_no_use_are_refused_by_name() {
    let files = Files::new();
    files.write("one", &["one.test"]);
    files.write("two", &["two.test"]);
    let mixed = KeyPair { certificate: files.pair("one").certificate, key: files.pair("two").key };
    let swapped = KeyPair { certificate: files.pair("one").key, key: files.pair("one").key };
    let check = |pair: KeyPair, expected: &str| {
        let error = Certificates::read(vec![pair]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(mixed, "KeyMismatch");
    check(swapped, "holds no certificate");
    check(files.pair("missing"), "No such file");
}
