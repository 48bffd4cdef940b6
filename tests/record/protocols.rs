//! TLS and HTTP/2 on both sides, with clients that are not ours.

mod grpc;

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use captures::{Exchange, Version};

use super::*;
use crate::support::free_port;

/// A certificate and its key in files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    /// A self-signed one for `name`.
    fn new(folder: &Path, name: &str) -> Self {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { certificate, key }
    }

    fn certificate(&self) -> &str {
        self.certificate.to_str().unwrap()
    }

    fn flags(&self) -> [&str; 4] {
        ["--tls-cert", self.certificate(), "--tls-key", self.key.to_str().unwrap()]
    }
}

const SECURE: [&str; 2] = ["--listen", "https://127.0.0.1:0"];

impl Recorder {
    /// The port of its second listener, which speaks TLS.
    fn secure_port(&self) -> u16 {
        let said = self.said();
        let (_, after) = said.split_once("https://127.0.0.1:").unwrap();
        after.split(' ').next().unwrap().parse().unwrap()
    }
}

/// Runs curl; the body, the status and the version of HTTP, or what went wrong.
fn get(url: &str, args: &[&str]) -> Result<(Vec<u8>, String), String> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--write-out",
            "\n%{http_code} %{http_version}",
        ])
        .args(args)
        .arg(url)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let split = output.stdout.iter().rposition(|&byte| byte == b'\n').unwrap();
    Ok((output.stdout[..split].to_vec(), String::from_utf8_lossy(&output.stdout[split + 1..]).into_owned()))
}

/// The arguments by which curl finds `name` at `port`, and whom it trusts.
fn at(name: &str, port: u16, trusted: &Identity) -> [String; 4] {
    let place = format!("{name}:{port}:127.0.0.1");
    ["--resolve".to_owned(), place, "--cacert".to_owned(), trusted.certificate().to_owned()]
}

fn get_secure(name: &str, port: u16, trusted: &Identity, path: &str) -> Result<(Vec<u8>, String), String> {
    let args = at(name, port, trusted);
    get(&format!("https://{name}:{port}/{path}"), &args.each_ref().map(String::as_str))
}

#[test]
fn curl_gets_the_same_in_every_protocol() {
    if !has("nginx") || !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for place in [folder.path(), &root] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o1777)).unwrap();
    }
    let big = noise(5_000_000);
    std::fs::write(root.join("big"), &big).unwrap();
    let upload = folder.path().join("big");
    std::fs::write(&upload, &big).unwrap();
    let nginx = Nginx::start(folder.path(), Some(&root));
    let shop = Identity::new(folder.path(), "shop.test");
    let recorder = Recorder::start(folder.path(), nginx.address(), &[&SECURE[..], &shop.flags()].concat());
    let clear = format!("http://127.0.0.1:{}", recorder.port);
    let secure = format!("https://shop.test:{}", recorder.secure_port());
    let trust = at("shop.test", recorder.secure_port(), &shop);

    let direct = get(&format!("http://{}/missing", nginx.address()), &[]).unwrap();
    let cases = [
        (&clear, "--http1.0", "1.1"),
        (&clear, "--http1.1", "1.1"),
        // Asks for an upgrade to HTTP/2, which is not offered.
        (&clear, "--http2", "1.1"),
        (&clear, "--http2-prior-knowledge", "2"),
        (&secure, "--http1.0", "1.1"),
        (&secure, "--http1.1", "1.1"),
        (&secure, "--http2", "2"),
    ];
    for (place, protocol, version) in cases {
        let mut args: Vec<&str> = trust.iter().map(String::as_str).collect();
        args.push(protocol);
        assert_eq!(
            get(&format!("{place}/big"), &args),
            Ok((big.clone(), format!("200 {version}"))),
            "{place} {protocol}"
        );
        let (body, status) = get(&format!("{place}/missing"), &args).unwrap();
        assert_eq!((body, status), (direct.0.clone(), format!("404 {version}")), "{place} {protocol}");
        args.extend(["--upload-file", upload.to_str().unwrap()]);
        get(&format!("{place}/up"), &args).unwrap();
        assert!(std::fs::read(root.join("up")).unwrap() == big, "{place} {protocol}");
    }

    let through = 3 * cases.len();
    until("nginx to write its log", || (nginx.lines().len() == through + 1).then_some(()));
    let (exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, through as u64);
    assert!(exchanges.iter().all(|exchange| exchange.attempts == 1 && exchange.ending == Ending::Completed));
    let spoken = |secure, version| {
        let fits =
            |exchange: &&Exchange| exchange.passage.secure == secure && exchange.request.version == version;
        exchanges.iter().filter(fits).count()
    };
    assert_eq!((spoken(false, Version::Http2), spoken(true, Version::Http2)), (3, 3));
    assert_eq!((spoken(false, Version::Http10), spoken(true, Version::Http10)), (3, 3));
    let named = |exchange: &Exchange| header_value(&exchange.request.headers, "host").is_some();
    assert!(exchanges.iter().all(named));
}

#[test]
fn clients_are_shown_the_certificate_they_ask_for_and_a_renewed_one() {
    if !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (shop, api) = (Identity::new(folder.path(), "shop.test"), Identity::new(folder.path(), "api.test"));
    let flags = [&SECURE[..], &shop.flags(), &api.flags()].concat();
    let recorder = Recorder::start(folder.path(), answering(OK), &flags);
    let port = recorder.secure_port();

    assert_eq!(get_secure("shop.test", port, &shop, "").unwrap().0, b"ok");
    assert_eq!(get_secure("api.test", port, &api, "").unwrap().0, b"ok");
    assert!(get_secure("api.test", port, &shop, "").is_err());

    let old = folder.path().join("old");
    std::fs::create_dir(&old).unwrap();
    let replaced = Identity::new(&old, "shop.test");
    std::fs::copy(&shop.certificate, &replaced.certificate).unwrap();
    let renewed = Identity::new(folder.path(), "shop.test");
    until("the renewed certificate", || get_secure("shop.test", port, &renewed, "").ok());
    assert!(get_secure("shop.test", port, &replaced, "").is_err());

    std::fs::write(&renewed.key, "no key").unwrap();
    until("the complaint", || recorder.said().contains("shop.test.key: holds no private key").then_some(()));
    assert_eq!(get_secure("shop.test", port, &renewed, "").unwrap().0, b"ok");
    recorder.stop();
}

#[test]
fn the_beginning_of_a_connection_may_come_as_it_likes() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &[]);

    // Shorter than the preface of HTTP/2, and nothing follows it.
    assert!(recorder.ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 OK"));
    // Begins like the preface.
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in ["P", "R", "OPFIND / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // Asks for nothing.
    drop(TcpStream::connect(("127.0.0.1", recorder.port)).unwrap());

    let (exchanges, _) = recorder.stop();
    let methods: Vec<&[u8]> = exchanges.iter().map(|exchange| exchange.request.method.as_slice()).collect();
    assert_eq!(methods, [b"GET".as_slice(), b"PROPFIND"]);
}

#[test]
fn an_upstream_is_believed_only_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        place
    };
    let shop = Identity::new(folder.path(), "shop.test");
    let stranger = Identity::new(folder.path(), "stranger.test");
    // A recorder is a server that speaks TLS, too.
    let server = Recorder::start(&place("server"), answering(OK), &[&SECURE[..], &shop.flags()].concat());
    let upstream = format!("https://127.0.0.1:{}", server.secure_port());
    let check = |flags: &[&str], status: &str, detail: &str| {
        let recorder = Recorder::start(&place(&flags.join("_").replace('/', "_")), &upstream, flags);
        let answer = recorder.ask("GET / HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{flags:?}: {answer}");
        let (exchanges, _) = recorder.stop();
        let refused = exchanges[0].ending == Ending::UpstreamRefused;
        assert_eq!(refused, status == "502", "{flags:?}");
        assert!(exchanges[0].passage.detail.contains(detail), "{}", exchanges[0].passage.detail);
    };
    check(&["--upstream-sni", "shop.test", "--upstream-ca", shop.certificate()], "200", "");
    check(&["--upstream-sni", "shop.test", "--upstream-ca", stranger.certificate()], "502", "tls: ");
    check(
        &["--upstream-sni", "other.test", "--upstream-ca", shop.certificate()],
        "502",
        "not valid for name",
    );
    check(&["--upstream-sni", "other.test", "--upstream-insecure"], "200", "");

    let nameless =
        crate::support::run(&["record", "--listen", "127.0.0.1:0", "--upstream", &upstream, "--out", "x"]);
    assert_eq!(nameless.status.code(), Some(2));
    assert!(crate::support::stderr(&nameless).contains("--upstream-sni NAME"));
    server.stop();
}

#[test]
fn under_load_of_http_2_the_capture_counts_what_nginx_counts() {
    if !has("nginx") || !has("h2load") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(folder.path(), None);
    let shop = Identity::new(folder.path(), "shop.test");
    let recorder = Recorder::start(folder.path(), nginx.address(), &[&SECURE[..], &shop.flags()].concat());
    for url in [
        format!("http://127.0.0.1:{}/clear", recorder.port),
        format!("https://127.0.0.1:{}/secure", recorder.secure_port()),
    ] {
        let h2load =
            Command::new("h2load").args(["-n", "3000", "-c", "8", "-m", "32", &url]).output().unwrap();
        let report = String::from_utf8(h2load.stdout).unwrap();
        assert!(report.contains("3000 succeeded, 0 failed"), "{report}");
    }
    until("nginx to write its log", || (nginx.lines().len() == 6000).then_some(()));
    let (exchanges, tally) = recorder.stop();
    assert_eq!((tally.seen, tally.dropped.len()), (6000, 0));
    let whole = |exchange: &Exchange| {
        exchange.ending == Ending::Completed && exchange.response.as_ref().unwrap().body.stored == b"ok"
    };
    assert!(exchanges.iter().all(whole));
}

#[test]
fn a_listener_for_tls_needs_a_certificate() {
    let port = free_port();
    let listen = format!("https://127.0.0.1:{port}");
    let refused =
        crate::support::run(&["record", "--listen", &listen, "--upstream", "127.0.0.1:9", "--out", "x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(crate::support::stderr(&refused).contains("--tls-cert FILE"));
}
