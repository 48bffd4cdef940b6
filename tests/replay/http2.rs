//! Replays over HTTP/2, counted at servers of two makes: nginx, and one that a test can look into.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use captures::{Exchange, Version};
use h2::Reason;
use h2::server::{Builder, SendResponse};
use http::{Request, Response};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::*;
use crate::support::write_capture_changed;

/// What a server saw.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Paths as they began, and as they ended with a `.` before them.
    events: Vec<String>,
    now: usize,
    most: usize,
    bodies: Vec<usize>,
}

type Shared = Arc<Mutex<Seen>>;

/// A server over HTTP/2 in the clear, which does with each request as its path says:
/// `/N/…` is answered when N requests have come, `/slow` after half a second, `/refuse` is refused the first time,
/// `/reset` is given up, `/never` is not answered, `/last` says GOAWAY.
fn server(runtime: &Runtime, builder: &Builder) -> (SocketAddr, Shared) {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Shared::default();
    let (shared, builder) = (Arc::clone(&seen), builder.clone());
    let (came, _) = watch::channel(0_usize);
    let came = Arc::new(came);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, builder, came) = (Arc::clone(&shared), builder.clone(), Arc::clone(&came));
            tokio::spawn(async move {
                // One that says nothing asks whether somebody is there.
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                seen.lock().unwrap().connections += 1;
                while let Some(Ok((request, answer))) = connection.accept().await {
                    if request.uri().path() == "/last" {
                        connection.graceful_shutdown();
                    }
                    assert_eq!(request.version(), http::Version::HTTP_2);
                    assert_eq!(request.headers()["highwater-replay"], "1");
                    let begun = begin(&seen, request.uri().path());
                    tokio::spawn(answer_one(begun, request, answer, Arc::clone(&seen), Arc::clone(&came)));
                }
            });
        }
    });
    (address, seen)
}

/// Notes that a request began; how often its path had been asked for before.
fn begin(seen: &Shared, path: &str) -> usize {
    let mut seen = seen.lock().unwrap();
    let before = seen.events.iter().filter(|known| *known == path).count();
    seen.events.push(path.to_owned());
    seen.now += 1;
    seen.most = seen.most.max(seen.now);
    before
}

async fn answer_one(
    before: usize,
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    seen: Shared,
    came: Arc<watch::Sender<usize>>,
) {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        length += piece.len();
    }
    came.send_modify(|count| *count += 1);
    if let Some(wanted) = path[1..].split('/').next().and_then(|first| first.parse::<usize>().ok()) {
        let mut came = came.subscribe();
        let _ = came.wait_for(|count| *count >= wanted).await;
    }
    match path.as_str() {
        "/refuse" if before == 0 => {
            seen.lock().unwrap().now -= 1;
            return answer.send_reset(Reason::REFUSED_STREAM);
        }
        "/reset" => return answer.send_reset(Reason::INTERNAL_ERROR),
        "/never" => std::future::pending().await,
        // The service itself: the one place where the passing of time is the point.
        "/slow" => tokio::time::sleep(Duration::from_millis(500)).await,
        _ => {}
    }
    {
        let mut seen = seen.lock().unwrap();
        seen.now -= 1;
        seen.events.push(format!(".{path}"));
        if length > 0 {
            seen.bodies.push(length);
        }
    }
    let mut out = answer.send_response(Response::new(()), false).unwrap();
    let _ = out.send_data(Bytes::from_static(&[b'x'; 20_000]), true);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A request at `at_ms` of connection 1.
fn asked(at_ms: u64, target: &str) -> Recorded {
    Recorded {
        arrived: Duration::from_millis(at_ms),
        connection: 1,
        method: "GET",
        target: target.to_owned(),
        body: Vec::new(),
    }
}

/// Replays requests that were recorded over HTTP/2, each of which had taken `took`.
fn replay_overlapping(requests: &[Recorded], took: Duration, target: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture_changed(&capture, requests, "192.0.2.1:80", |exchange: &mut Exchange| {
        exchange.request.version = Version::Http2;
        exchange.ended = exchange.arrived.plus(took);
    });
    replay_capture(&capture, target, more)
}

fn replay_capture(capture: &Path, target: &str, more: &[&str]) -> Value {
    let out = capture.with_extension("run");
    let args = ["replay", capture.to_str().unwrap(), "--target", target, "--json", "--quiet"];
    let version = if more.contains(&"--http") { &[][..] } else { &["--http", "2"] };
    let out_of = ["--breaker", "off", "--out", out.to_str().unwrap()];
    let output = run(&[&args[..], version, &out_of, more].concat());
    assert!(!output.stdout.is_empty(), "{}", stderr(&output));
    let run = Run::read(std::io::BufReader::new(std::fs::File::open(&out).unwrap())).unwrap();
    let mut summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let configuration: Value = serde_json::from_str(&run.header.configuration).unwrap();
    summary["http"] = configuration["http"].clone();
    summary
}

#[test]
fn what_overlapped_on_a_connection_overlaps_again_and_what_followed_a_page_follows_it() {
    let runtime = runtime();
    let (address, seen) = server(&runtime, &Builder::new());
    // A page that took 50 ms, and now takes ten times that; then six parts at a time, of which none is answered
    // before all seven requests have come.
    let mut requests = vec![asked(0, "/slow")];
    requests.extend((0..6).map(|part| asked(100 + part, &format!("/7/{part}"))));
    let shown = replay_overlapping(&requests, Duration::from_millis(50), &format!("http://{address}"), &[]);
    assert_eq!(
        (&shown["planned"], &shown["ok"], &shown["connections_opened"]),
        (&7.into(), &7.into(), &1.into())
    );
    let seen = seen.lock().unwrap();
    assert_eq!((seen.connections, seen.most), (1, 6));
    assert_eq!(seen.events[..2], ["/slow", "./slow"], "the parts wait for the page");
    // In which order the server's tasks take them up is the server's affair.
    let mut parts = seen.events[2..8].to_vec();
    parts.sort();
    assert_eq!(parts, (0..6).map(|part| format!("/7/{part}")).collect::<Vec<_>>());
}

#[test]
fn a_server_that_takes_two_at_a_time_gets_no_more() {
    let runtime = runtime();
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let (address, seen) = server(&runtime, &builder);
    let requests: Vec<Recorded> = (0..20).map(|at| asked(at, &format!("/2/{at}"))).collect();
    let shown = replay_overlapping(&requests, Duration::from_secs(1), &format!("http://{address}"), &[]);
    assert_eq!((&shown["ok"], &shown["retried"]), (&20.into(), &0.into()), "{shown:#}");
    let seen = seen.lock().unwrap();
    assert_eq!((seen.connections, seen.most), (1, 2));
}

#[test]
fn what_a_server_refuses_is_sent_once_more_and_what_it_gives_up_is_not() {
    let runtime = runtime();
    let (address, seen) = server(&runtime, &Builder::new());
    let requests = [asked(0, "/refuse"), asked(1, "/reset"), asked(2, "/4/a")];
    let shown = replay_overlapping(&requests, Duration::from_secs(1), &format!("http://{address}"), &[]);
    assert_eq!((&shown["ok"], &shown["retried"]), (&2.into(), &1.into()), "{shown:#}");
    assert_eq!(shown["errors"]["reset"], 1, "{shown:#}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.connections, 1);
    assert_eq!(seen.events.iter().filter(|event| *event == "/reset").count(), 1);
    // A server that says that it goes away finishes what it has, and gets the rest on another connection.
    let (address, seen) = server(&runtime, &Builder::new());
    let requests = [asked(0, "/last"), asked(600, "/a"), asked(601, "/b")];
    let shown = replay_overlapping(&requests, Duration::from_millis(5), &format!("http://{address}"), &[]);
    assert_eq!(shown["ok"], 3, "{shown:#}");
    assert_eq!(seen.lock().unwrap().connections, 2);
}

#[test]
fn a_request_that_is_not_answered_ends_alone() {
    let runtime = runtime();
    let (address, seen) = server(&runtime, &Builder::new());
    let requests = [asked(0, "/never"), asked(1, "/a"), asked(1_500, "/b")];
    let target = format!("http://{address}");
    let shown = replay_overlapping(&requests, Duration::from_secs(9), &target, &["--timeout", "1s"]);
    assert_eq!((&shown["ok"], &shown["errors"]["timed_out"]), (&2.into(), &1.into()), "{shown:#}");
    assert_eq!(seen.lock().unwrap().connections, 1);
}

#[test]
fn bodies_go_through_small_windows() {
    let runtime = runtime();
    let mut builder = Builder::new();
    builder.initial_window_size(1_000);
    let (address, seen) = server(&runtime, &builder);
    let requests: Vec<Recorded> = (0..8)
        .map(|at| Recorded { method: "POST", body: vec![b'b'; 30_000 + at as usize], ..asked(at, "/upload") })
        .collect();
    let target = format!("http://{address}");
    let shown = replay_overlapping(&requests, Duration::from_secs(1), &target, &["--allow-unsafe"]);
    assert_eq!(shown["ok"], 8, "{shown:#}");
    let mut bodies = seen.lock().unwrap().bodies.clone();
    bodies.sort_unstable();
    assert_eq!(bodies, (30_000..30_008).collect::<Vec<_>>());
}

#[test]
fn connections_are_shared_by_so_many_requests_and_sessions_keep_their_order() {
    let runtime = runtime();
    let (address, seen) = server(&runtime, &Builder::new());
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    // Twelve connections of HTTP/1.1 with two requests each; none is answered before the first twelve have come.
    let requests: Vec<Recorded> =
        (0..24).map(|at| Recorded { connection: at % 12, ..asked(at * 2, &format!("/12/{at}")) }).collect();
    write_capture(&capture, &requests);
    let shown =
        replay_capture(&capture, &format!("http://{address}"), &["--http2-streams", "4", "--threads", "1"]);
    assert_eq!(shown["ok"], 24, "{shown:#}");
    let seen = seen.lock().unwrap();
    assert_eq!((seen.connections, seen.most), (3, 12));
    let place = |event: String| seen.events.iter().position(|known| *known == event).unwrap();
    for first in 0..12 {
        assert!(place(format!("./12/{first}")) < place(format!("/12/{}", first + 12)), "{:?}", seen.events);
    }
}

#[test]
fn nginx_is_spoken_to_in_the_clear_and_by_tls() {
    if !has("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let secure = format!("ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}");
    let requests: Vec<Recorded> =
        (0..400).map(|at| Recorded { connection: at % 4, ..asked(at * 2, &format!("/{at}")) }).collect();
    let tls = ["--ca", &certificate, "--sni", "shop.test"];
    for (how, scheme, more) in [("http2", "http", &[][..]), (secure.as_str(), "https", &tls[..])] {
        let nginx = Nginx::listening(folder.path(), None, how);
        let target = format!("{scheme}://{}", nginx.address());
        let shown = replay_overlapping(&requests, Duration::from_millis(30), &target, more);
        assert_eq!((&shown["ok"], &shown["connections_opened"]), (&400.into(), &4.into()), "{shown:#}");
        assert_eq!(shown["http"], "2");
        let lines =
            until("nginx to write its log", || Some(nginx.lines()).filter(|lines| lines.len() == 400));
        let mut connections: Vec<u64> = lines.iter().map(|line| line.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        assert_eq!(connections.len(), 4);
        assert!(lines.iter().all(|line| line.status == 200 && line.marker == "1"));
    }
    // One that speaks HTTP/1.1 alone is told apart, and everything is accounted for.
    let plain = Nginx::start(folder.path(), None);
    let shown =
        replay_overlapping(&requests, Duration::from_millis(30), &format!("http://{}", plain.address()), &[]);
    let errors = ["invalid", "reset"].map(|kind| shown["errors"][kind].as_u64().unwrap());
    assert_eq!((&shown["ok"], errors.iter().sum::<u64>()), (&0.into(), 400), "{shown:#}");
    assert!(errors[0] > 0, "{shown:#}");
}

#[test]
fn an_https_target_picks_the_version_and_one_in_the_clear_is_not_asked() {
    if !has("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let requests: Vec<Recorded> =
        (0..40).map(|at| Recorded { connection: at % 4, ..asked(at * 2, &format!("/{at}")) }).collect();
    let by_tls = format!("ssl_certificate {certificate}; ssl_certificate_key {key}");
    for (how, scheme, expected) in [
        (format!("ssl http2; {by_tls}"), "https", "2"),
        (format!("ssl; {by_tls}"), "https", "1.1"),
        (String::new(), "http", "1.1"),
    ] {
        let nginx = Nginx::listening(folder.path(), None, &how);
        let tls = ["--ca", &certificate, "--sni", "shop.test"];
        let more = [&["--http", "auto"][..], if scheme == "https" { &tls } else { &[] }].concat();
        let target = format!("{scheme}://{}", nginx.address());
        let shown = replay_overlapping(&requests, Duration::from_millis(30), &target, &more);
        assert_eq!((&shown["http"], &shown["ok"]), (&expected.into(), &40.into()), "{how}: {shown:#}");
    }
}

/// The paths of a certificate for shop.test and of its key.
fn certificate(folder: &Path) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made =
        rcgen::CertificateParams::new(vec!["shop.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("c.pem"), made.pem()).unwrap();
    std::fs::write(path("k.pem"), key.serialize_pem()).unwrap();
    (path("c.pem"), path("k.pem"))
}
