//! Watching and steering a recorder: metrics, health, pause, drain.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use captures::{CaptureReader, DropReason, EventKind};

use super::faults::limited;
use super::{GET, OK, Recorder, answering, next_head, upstream};
use crate::support::{Running, highwater, now, pause, run, stderr, until};

/// A recorder with an admin listener, and where that is.
pub(crate) fn watched(folder: &Path, server: impl ToString, more: &[&str]) -> (Recorder, u16) {
    let recorder = Recorder::start(folder, server, &[&["--admin", "127.0.0.1:0"], more].concat());
    let port = until("the admin listener", || {
        let said = recorder.said();
        let port = said.split("admin at http://127.0.0.1:").nth(1)?.split('/').next()?;
        port.parse().ok()
    });
    (recorder, port)
}

/// Status and body of what `port` answers to a request.
fn ask(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (line, headers) = request.split_once('\n').unwrap_or((request, "Host: 127.0.0.1"));
    let headers = headers.replace('\n', "\r\n");
    stream
        .write_all(format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// All samples of `/metrics`, by name and labels.
pub(crate) fn metrics(port: u16) -> BTreeMap<String, f64> {
    let (status, text) = ask(port, "GET /metrics");
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// What is seen, and what became of it.
fn accounts(metrics: &BTreeMap<String, f64>) -> (f64, f64) {
    let sum = |start: &str| {
        metrics
            .range(start.to_owned()..)
            .take_while(|(name, _)| name.starts_with(start))
            .map(|(_, value)| value)
            .sum::<f64>()
    };
    let became = ["recorded_total", "filtered_total", "sampled_out_total", "dropped_total"];
    (
        sum("highwater_exchanges_seen_total"),
        became.iter().map(|name| sum(&format!("highwater_exchanges_{name}"))).sum(),
    )
}

#[test]
fn metrics_tell_what_passed_and_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, admin) = watched(folder.path(), answering(OK), &[]);
    for target in ["/", "/product/4711?token=s3cret", "/product/4712", "/cart;jsessionid=s3cret"] {
        let replayed = if target == "/" { "Highwater-Replay: 1\r\n" } else { "" };
        recorder.ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: shop\r\nCookie: sid=s3cret\r\n{replayed}Content-Length: 5\r\nConnection: close\r\n\r\nabcde"
        ));
    }

    let metrics = until("the accounts to agree", || {
        let metrics = metrics(admin);
        (accounts(&metrics) == (4.0, 4.0)).then_some(metrics)
    });

    let requests = |route: &str| {
        metrics[&format!("highwater_requests_total{{method=\"POST\",route=\"{route}\",class=\"2xx\"}}")]
    };
    assert_eq!((requests("/"), requests("/product/{}"), requests("/{}")), (1.0, 2.0, 1.0));
    assert!(!metrics.keys().any(|name| name.contains("s3cret")), "{metrics:?}");
    for (name, expected) in [
        ("highwater_responses_total{code=\"200\"}", 4.0),
        ("highwater_exchange_seconds_count", 4.0),
        ("highwater_upstream_first_byte_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("highwater_request_body_bytes_total", 20.0),
        ("highwater_response_body_bytes_total", 8.0),
        ("highwater_requests_in_flight", 0.0),
        ("highwater_connections", 0.0),
        ("highwater_connections_accepted_total", 4.0),
        ("highwater_exchanges_recorded_total", 3.0),
        ("highwater_exchanges_filtered_total", 1.0),
        ("highwater_recording_paused", 0.0),
        ("highwater_ready", 1.0),
    ] {
        assert_eq!(metrics[name], expected, "{name}");
    }
    assert!(metrics["highwater_file_bytes"] > 0.0);
    assert!(metrics["process_resident_memory_bytes"] > 1e6);
    assert!(metrics["process_cpu_seconds_total"] >= 0.0 && metrics["process_open_fds"] > 5.0);
    recorder.stop();
}

#[test]
fn a_recorder_that_records_nothing_counts_what_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, admin) = watched(folder.path(), answering(OK), &["--recording", "off"]);
    recorder.ask(GET);

    let metrics = metrics(admin);

    assert_eq!(accounts(&metrics), (1.0, 1.0));
    assert_eq!(metrics["highwater_requests_total{method=\"GET\",route=\"/\",class=\"2xx\"}"], 1.0);
}

#[test]
fn what_passes_while_recording_is_paused_is_counted_as_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut recorder, admin) = watched(folder.path(), answering(OK), &[]);
    recorder.ask(GET);
    assert_eq!(ask(admin, "POST /recording/pause"), (200, "paused\n".to_owned()));
    assert_eq!(metrics(admin)["highwater_recording_paused"], 1.0);
    for _ in 0..3 {
        assert!(recorder.ask(GET).ends_with("ok"));
    }
    assert_eq!(ask(admin, "POST /recording/resume"), (200, "recording\n".to_owned()));
    recorder.ask(GET);
    until("the accounts to agree", || (accounts(&metrics(admin)) == (5.0, 5.0)).then_some(()));

    recorder.signal("TERM");
    assert_eq!(recorder.ended().code(), Some(0));
    let mut reader = recorder.reader();
    assert_eq!(reader.by_ref().count(), 2);
    assert_eq!(reader.tallies().last().unwrap().dropped, [(DropReason::Paused, 3)]);
    let noted: Vec<(EventKind, i64)> =
        reader.events().iter().map(|event| (event.kind, event.amount)).collect();
    assert_eq!(noted, [(EventKind::Paused, 0), (EventKind::Resumed, 3)]);
}

#[test]
fn the_admin_listener_is_changed_by_nobody_who_was_led_astray() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, admin) = watched(folder.path(), answering(OK), &["--admin-host", "recorder.shop"]);

    for (request, status) in [
        ("GET /healthz", 200),
        ("GET /metrics\nHost: localhost:9900", 200),
        ("GET /metrics\nHost: recorder.shop", 200),
        ("GET /metrics\nHost: evil.test", 421),
        ("GET /metrics\nHost: 127.0.0.1.evil.test:9900", 421),
        ("POST /recording/pause\nHost: evil.test", 421),
        ("POST /recording/pause\nHost: 127.0.0.1\nOrigin: http://evil.test", 403),
        ("GET /recording/pause", 405),
        ("HEAD /recording/pause", 405),
        ("GET /", 404),
    ] {
        assert_eq!(ask(admin, request).0, status, "{request}");
    }

    assert_eq!(metrics(admin)["highwater_recording_paused"], 0.0);
    recorder.stop();
}

#[test]
fn without_the_flag_nothing_else_listens() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &[]);

    let sockets = listening_ports(recorder.process.0.id());

    assert_eq!(sockets, [recorder.port]);
}

/// The ports on which a process listens.
fn listening_ports(process: u32) -> Vec<u16> {
    let links = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets: Vec<String> = links
        .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{process}/net/{table}")));
    let mut ports = Vec::new();
    for line in tables.iter().flatten().flat_map(|table| table.lines().skip(1)) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // State 0A is "listen".
        if fields[3] == "0A" && sockets.iter().any(|socket| socket == fields[9]) {
            ports.push(u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap());
        }
    }
    ports
}

#[test]
fn a_draining_recorder_says_that_it_is_not_ready_and_lets_requests_end() {
    let folder = tempfile::tempdir().unwrap();
    let (arrived, arrivals) = mpsc::channel();
    let (answer, answers) = mpsc::channel::<()>();
    let (arrived, answers) = (Mutex::new(arrived), Mutex::new(answers));
    let server = upstream(move |mut stream| {
        while next_head(&mut stream).is_some() {
            arrived.lock().unwrap().send(()).unwrap();
            let _ = answers.lock().unwrap().recv();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let (mut recorder, admin) = watched(folder.path(), server, &["--grace", "1m"]);
    assert_eq!(ask(admin, "GET /readyz").0, 200);
    let mut client = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    client.write_all(GET.as_bytes()).unwrap();
    arrivals.recv().unwrap();
    assert_eq!(metrics(admin)["highwater_requests_in_flight"], 1.0);

    recorder.signal("TERM");
    until("not to be ready", || (ask(admin, "GET /readyz").0 == 503).then_some(()));
    assert_eq!(ask(admin, "GET /healthz").0, 200);
    answer.send(()).unwrap();

    let mut answered = String::new();
    client.read_to_string(&mut answered).unwrap();
    assert!(answered.ends_with("ok"), "{answered}");
    assert_eq!(recorder.ended().code(), Some(0));
    assert_eq!(recorder.reader().count(), 1);
}

#[test]
fn as_json_every_line_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = highwater();
    command.args(["--log-format", "json"]);
    let args = ["record", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--out"];
    command.args(args).arg(folder.path().join("\u{1b}[31m.capture")).stderr(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let mut said = BufReader::new(process.0.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", process.0.id())]).status();
    assert!(sent.unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let failed = run(&[
        "--log-format",
        "json",
        "record",
        "--listen",
        "nowhere",
        "--upstream",
        "127.0.0.1:9",
        "--out",
        "x",
    ]);

    let lines: Vec<serde_json::Value> = [first, rest, stderr(&failed)]
        .concat()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let of = |at: usize, field: &str| lines[at][field].as_str().unwrap().to_owned();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(of(0, "message").starts_with("recording 127.0.0.1:") && of(1, "message").starts_with("seen 0, "));
    assert_eq!((of(0, "level"), of(2, "level")), ("info".to_owned(), "error".to_owned()));
    assert_eq!(of(2, "place"), "--listen nowhere");
    assert!(lines.iter().all(|line| line["at"].as_str().unwrap().ends_with('Z')));
    assert!(!lines.iter().any(|line| line["message"].as_str().unwrap().contains('\u{1b}')));
}

/// Clients that keep their connections, and connect again when they are asked to.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    fn start(port: u16, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut done, mut failed, mut open) = (0, Vec::new(), None);
                while !over.load(Ordering::Relaxed) {
                    match ask_on(&mut open, port) {
                        Ok(()) => done += 1,
                        Err(error) => {
                            failed.push(error);
                            open = None;
                        }
                    }
                    pause(Duration::from_millis(2));
                }
                (done, failed)
            })
        };
        Self { clients: (0..clients).map(client).collect(), over }
    }

    /// The requests that were answered, and what went wrong with others.
    fn end(self) -> (u64, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.clients.into_iter().map(|client| client.join().unwrap());
        ended.fold((0, Vec::new()), |(sum, all), (done, failed)| (sum + done, [all, failed].concat()))
    }
}

fn ask_on(open: &mut Option<TcpStream>, port: u16) -> Result<(), String> {
    let mut stream = match open.take() {
        Some(stream) => stream,
        None => TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("connect: {error}"))?,
    };
    stream
        .write_all(b"GET /load HTTP/1.1\r\nHost: shop\r\n\r\n")
        .map_err(|error| format!("send: {error}"))?;
    let head = next_head(&mut stream).ok_or("no answer")?;
    let mut body = [0; 2];
    stream.read_exact(&mut body).map_err(|error| format!("body: {error}"))?;
    if !head.starts_with("HTTP/1.1 200 ") || body != *b"ok" {
        return Err(head);
    }
    if !head.to_ascii_lowercase().contains("connection: close") {
        *open = Some(stream);
    }
    Ok(())
}

#[test]
fn newer_processes_take_over_and_no_request_fails() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("upgrade.sock");
    let flags = ["--upgrade-socket", socket.to_str().unwrap(), "--grace", "2s"];
    let server = answering(OK);
    let (mut recorder, admin) = watched(folder.path(), server, &flags);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let load = Load::start(recorder.port, 8);

    for _ in 0..3 {
        let before = metrics(admin)["process_start_time_seconds"];
        until("some load", || (metrics(admin)["highwater_exchanges_seen_total"] > 200.0).then_some(()));
        // One that cannot start costs nothing.
        let bad =
            ["record", "--listen", "127.0.0.1:0", "--upstream", "no-such-name.invalid:80", "--out", "x"];
        assert_eq!(run(&[&bad[..], &flags].concat()).status.code(), Some(4));

        let (newer, port) = watched(folder.path(), server, &flags);

        assert_eq!((newer.port, port), (recorder.port, admin));
        assert_eq!(recorder.ended().code(), Some(0), "{}", recorder.said());
        assert!(recorder.said().contains("a newer process goes on"), "{}", recorder.said());
        assert!(metrics(admin)["process_start_time_seconds"] >= before);
        recorder = newer;
    }
    until("some load", || (metrics(admin)["highwater_exchanges_seen_total"] > 200.0).then_some(()));
    let (answered, failed) = load.end();
    recorder.signal("TERM");
    assert_eq!(recorder.ended().code(), Some(0));

    assert_eq!(failed, Vec::<String>::new());
    assert!(!socket.exists());
    let mut ids = Vec::new();
    let mut segments = Vec::new();
    let mut marked = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "capture") {
            continue;
        }
        let mut reader = CaptureReader::open(BufReader::new(std::fs::File::open(path).unwrap())).unwrap();
        ids.extend(reader.by_ref().map(|exchange| exchange.unwrap().id.0));
        assert!(reader.closed() && reader.damage().is_empty());
        marked += reader.events().iter().filter(|event| event.kind == EventKind::TakenOver).count();
        segments.push((reader.header().recording, reader.header().segment, reader.header().masking.clone()));
    }
    assert_eq!((segments.len(), marked), (4, 3));
    assert!(
        segments
            .iter()
            .all(|(recording, _, masking)| *recording == segments[0].0 && *masking == segments[0].2)
    );
    segments.sort_by_key(|(_, segment, _)| *segment);
    assert!(segments.windows(2).all(|pair| pair[0].1 < pair[1].1));
    let count = ids.len() as u64;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len() as u64, count), (count, answered));
}

#[test]
fn without_descriptors_connections_wait_and_one_line_a_second_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start_as(limited("-n 60"), folder.path(), answering(OK), &["--threads", "1"]);
    let began = now();
    let connect = |_| TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    let clients: Vec<TcpStream> = (0..80).map(connect).collect();
    let lines = || recorder.said().lines().filter(|line| line.contains("cannot accept connections")).count();
    until("several lines", || (lines() >= 2).then_some(()));
    assert!(lines() as f64 <= began.elapsed().as_secs_f64() + 1.0, "{}", recorder.said());
    assert!(recorder.said().contains("more like it were not said"), "{}", recorder.said());

    drop(clients);

    assert!(recorder.ask(GET).ends_with("ok"));
    recorder.stop();
}
