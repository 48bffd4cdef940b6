//! Conversations within TLS that rustls encrypts, and whose secrets it writes down.

use std::fmt::{self, Debug, Write as _};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::*;

/// The secrets, in the format of NSS.
#[derive(Default)]
struct Written(Mutex<String>);

impl Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secrets")
    }
}

impl rustls::KeyLog for Written {
    fn log(&self, label: &str, random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        writeln!(self.0.lock().unwrap(), "{label} {} {}", hex(random), hex(secret)).unwrap();
    }
}

/// What both parties sent, as it stood on the wire, and the secrets.
struct Tapped {
    said: Vec<(bool, Vec<u8>)>,
    secrets: Arc<Written>,
    client: ClientConnection,
    server: ServerConnection,
}

impl Tapped {
    /// A connection of this version and suite, of which the handshake is over.
    fn opened(version: &'static SupportedProtocolVersion, suite: CipherSuite) -> Self {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        let provider: Arc<CryptoProvider> = Arc::new(provider);
        let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let secrets = Arc::new(Written::default());

        let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let client = client.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
        let mut client = client.with_no_client_auth();
        client.key_log = Arc::clone(&secrets) as Arc<dyn rustls::KeyLog>;
        let server =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let server =
            server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let server = ServerConnection::new(Arc::new(server)).unwrap();

        let mut tapped = Self { said: Vec::new(), secrets, client, server };
        tapped.pass();
        assert!(!tapped.client.is_handshaking() && !tapped.server.is_handshaking());
        tapped
    }

    /// Carries over what both want to send, until neither has anything left.
    fn pass(&mut self) {
        loop {
            let mut bytes = [Vec::new(), Vec::new()];
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes[0]).unwrap();
            }
            self.server.read_tls(&mut &bytes[0][..]).unwrap();
            self.server.process_new_packets().unwrap();
            while self.server.wants_write() {
                self.server.write_tls(&mut bytes[1]).unwrap();
            }
            self.client.read_tls(&mut &bytes[1][..]).unwrap();
            self.client.process_new_packets().unwrap();
            if bytes.iter().all(Vec::is_empty) {
                return;
            }
            let [by_client, by_server] = bytes;
            self.said.push((true, by_client));
            self.said.push((false, by_server));
        }
    }

    fn ask(&mut self, request: &[u8], answer: &[u8]) {
        self.client.writer().write_all(request).unwrap();
        self.pass();
        let mut heard = vec![0; request.len()];
        self.server.reader().read_exact(&mut heard).unwrap();
        assert_eq!(heard, request);
        self.server.writer().write_all(answer).unwrap();
        self.pass();
        self.client.reader().read_exact(&mut vec![0; answer.len()]).unwrap();
    }

    /// In segments of `most` bytes.
    fn segments(&self, most: usize) -> Vec<Sent> {
        let mut sent = super::opened();
        let mut places = [0, 0];
        for (by_client, bytes) in &self.said {
            for piece in bytes.chunks(most) {
                let (own, other) = if *by_client { (0, 1) } else { (1, 0) };
                let segment = if *by_client { client } else { server };
                sent.push(segment(places[own], places[other], piece));
                places[own] += length(piece);
            }
        }
        sent
    }

    fn keys(&self) -> KeyLog {
        let mut keys = KeyLog::default();
        keys.read(self.secrets.0.lock().unwrap().as_bytes()).unwrap();
        keys
    }
}

fn read_with(sent: &[Sent], keys: KeyLog) -> (Vec<Exchange>, WireCounts) {
    read_packets(&sent.iter().map(packet).collect::<Vec<_>>(), keys)
}

const SUITES: [(&SupportedProtocolVersion, CipherSuite); 6] = [
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    (&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
    (&version::TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
    (&version::TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

#[test]
fn with_its_secrets_a_connection_is_read_by_every_version_and_suite() {
    for (version, suite) in SUITES {
        let mut tapped = Tapped::opened(version, suite);
        tapped.ask(GET_A, OK_A);
        if version.version == rustls::ProtocolVersion::TLSv1_3 {
            tapped.client.refresh_traffic_keys().unwrap();
            tapped.server.refresh_traffic_keys().unwrap();
        }
        tapped.ask(GET_B, NO_B);
        for most in [7, 1_400, 20_000] {
            let (found, counts) = read_with(&tapped.segments(most), tapped.keys());
            assert_eq!(shown(&found), TWO, "{suite:?} in pieces of {most}");
            assert!(found.iter().all(|exchange| exchange.passage.secure));
            let tls = (counts.tls_connections, counts.tls_connections_read, counts.tls_connections_lost);
            assert_eq!((tls, counts.http_connections, counts.unread_bytes), ((1, 1, 0), 1, 0));
        }
    }
}

#[test]
fn http2_within_tls_is_read() {
    let mut tapped = Tapped::opened(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    // A request and its answer as RFC 7541 codes them: GET / of www.example.com, and 200.
    let block = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let request =
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], &[0, 0, 17, 1, 5, 0, 0, 0, 1], block];
    let answer = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01ok";
    tapped.ask(&request.concat(), answer);
    let (found, counts) = read_with(&tapped.segments(1_400), tapped.keys());
    assert_eq!(shown(&found), ["/ 200 ok completed"]);
    assert_eq!((counts.http2_connections, counts.tls_connections_read), (1, 1));
}

#[test]
fn without_its_secrets_or_with_others_a_connection_is_counted_and_left_alone() {
    let mut tapped = Tapped::opened(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    tapped.ask(GET_A, OK_A);
    let other = Tapped::opened(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    let wrong = {
        let text = tapped.secrets.0.lock().unwrap().clone();
        let shifted: String =
            text.lines().map(|line| format!("{}0\n", line.split_at(line.len() - 1).0)).collect();
        let mut keys = KeyLog::default();
        keys.read(shifted.as_bytes()).unwrap();
        keys
    };
    for keys in [KeyLog::default(), other.keys(), wrong] {
        let (found, counts) = read_with(&tapped.segments(1_400), keys);
        assert_eq!((found.len(), counts.tls_connections, counts.tls_connections_read), (0, 1, 0));
        assert_eq!((counts.other_connections, counts.http_connections), (0, 0));
    }
}

#[test]
fn a_connection_on_which_nothing_was_said_is_of_tls_and_no_other() {
    let tapped = Tapped::opened(&version::TLS12, SUITES[0].1);
    let (found, counts) = read_with(&tapped.segments(1_400), tapped.keys());
    assert_eq!((found.len(), counts.tls_connections, counts.other_connections), (0, 1, 0));
}

#[test]
fn tls_within_tls_stays_closed_with_all_keys() {
    let [mut inner, mut outer] = [3, 4].map(|at| Tapped::opened(SUITES[at].0, SUITES[at].1));
    inner.ask(GET_A, OK_A);
    for (by_client, bytes) in &inner.said {
        let writer: &mut dyn Write =
            if *by_client { &mut outer.client.writer() } else { &mut outer.server.writer() };
        writer.write_all(bytes).unwrap();
        outer.pass();
    }
    let mut keys = outer.keys();
    keys.read(inner.secrets.0.lock().unwrap().as_bytes()).unwrap();
    let (found, counts) = read_with(&outer.segments(1_400), keys);
    assert_eq!((found.len(), counts.tls_connections, counts.tls_connections_read), (0, 2, 1));
}

#[test]
fn behind_a_gap_nothing_is_read_and_what_was_read_before_it_stays() {
    let mut tapped = Tapped::opened(&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    tapped.ask(GET_A, OK_A);
    let before = tapped.segments(1_400).len();
    tapped.ask(GET_B, NO_B);
    let mut sent = tapped.segments(1_400);
    sent.remove(before);
    let (found, counts) = read_with(&sent, tapped.keys());
    assert_eq!(shown(&found), TWO[..1]);
    assert_eq!((counts.tls_connections_read, counts.tls_connections_lost, counts.gaps), (1, 1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn flipped_bytes_within_tls_are_survived(
        flips in proptest::collection::vec((0..12_usize, 0..600_usize, any::<u8>()), 1..6),
        latest: bool,
    ) {
        let (version, suite) = SUITES[if latest { 3 } else { 0 }];
        let mut tapped = Tapped::opened(version, suite);
        tapped.ask(GET_A, OK_A);
        let mut sent = tapped.segments(1_400);
        for (at, place, value) in flips {
            let at = at % sent.len();
            let content = &mut sent[at].content;
            if !content.is_empty() {
                let place = place % content.len();
                content[place] = value;
            }
        }
        read_with(&sent, tapped.keys());
    }
}
