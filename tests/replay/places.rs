//! Where a replay goes, and what can be seen of it from outside: several targets, WebSockets, metrics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::even;
use crate::support::{
    PoolServer, Running, free_port, highwater, replayed, run, stderr, until, write_capture,
};

/// A server that answers each request with `status` and keeps the heads it was sent.
fn keeper(status: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                loop {
                    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    if head.is_empty() {
                        return;
                    }
                    kept.lock().unwrap().push(head.join("\n"));
                    let _ = write!(writer, "HTTP/1.1 {status}\r\n\r\n");
                }
            });
        }
    });
    (address, heads)
}

#[test]
fn several_targets_get_the_connections_in_turn_and_the_host_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(40, 1));
    let (one, at_one) = keeper("200 OK\r\nContent-Length: 0");
    let (other, at_other) = keeper("200 OK\r\nContent-Length: 0");
    let (first, second) = (format!("http://{one}"), format!("http://{other}"));

    let args = ["replay", capture.to_str().unwrap(), "--target", &first, "--target", &second, "--json"];
    let output = run(&[&args[..], &["--threads", "1", "--quiet", "--out", out.to_str().unwrap()]].concat());

    assert_eq!(replayed(&output)["ok"], 40);
    for heads in [at_one, at_other] {
        let heads = heads.lock().unwrap();
        assert_eq!(heads.len(), 20);
        assert!(heads.iter().all(|head| head.contains(&format!("\nHost: {one}"))), "{heads:?}");
    }
    let elsewhere = ["--target", "http://127.0.0.1:1/base"];
    let refused = run(&[&args[..], &elsewhere[..], &["--out", "x.run"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("is not the same service as"), "{}", stderr(&refused));
}

#[test]
fn the_handshake_of_a_websocket_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let field = |name: &str, value: &str| serde_json::json!({ "name": name, "value": value });
    let har = serde_json::json!({ "log": { "version": "1.2", "creator": { "name": "t", "version": "1" }, "entries": [{
        "startedDateTime": "2026-11-21T08:00:00.000Z", "time": 5, "cache": {},
        "timings": { "send": 0, "wait": 5, "receive": 0 },
        "request": { "method": "GET", "url": "http://192.0.2.1/chat", "httpVersion": "HTTP/1.1",
            "cookies": [], "queryString": [], "headersSize": -1, "bodySize": 0,
            "headers": [field("Host", "192.0.2.1"), field("Connection", "Upgrade"), field("Upgrade", "websocket"),
                field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), field("Sec-WebSocket-Version", "13")] },
        "response": { "status": 101, "statusText": "Switching Protocols", "httpVersion": "HTTP/1.1",
            "cookies": [], "headers": [field("Upgrade", "websocket")], "redirectURL": "", "headersSize": -1,
            "bodySize": 0, "content": { "size": 0, "mimeType": "" } },
    }] } });
    std::fs::write(file("a.har"), har.to_string()).unwrap();
    let imported = run(&["import", &file("a.har"), "--mask", "none", "--out", &file("a.capture")]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let (address, heads) = keeper("101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket");
    let target = format!("http://{address}");

    let args =
        ["replay", &file("a.capture"), "--target", &target, "--quiet", "--json", "--out", &file("a.run")];
    let shown = replayed(&run(&args));

    assert_eq!((&shown["planned"], &shown["ok"]), (&1.into(), &1.into()), "{shown}");
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /chat HTTP/1.1"), "{heads:?}");
    for line in ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"] {
        assert!(heads[0].lines().any(|each| each == line), "{heads:?}");
    }
}

#[test]
fn a_replay_that_goes_on_can_be_watched_by_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(50, 2));
    let server = PoolServer::start(8, Duration::from_millis(1));
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut command = highwater();
    command.args(["replay", capture.to_str().unwrap(), "--duration", "60s", "--quiet"]);
    command
        .args(["--metrics", &metrics, "--target", &format!("http://{}", server.address), "--out"])
        .arg(&out);
    let _replay = Running(command.stderr(Stdio::null()).spawn().unwrap());

    let page = until("metrics of settled seconds", || {
        let mut stream = TcpStream::connect(&metrics).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.contains("highwater_replay_in_flight ").then_some(text)
    });

    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    let value = |name: &str| -> f64 {
        let line =
            page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("highwater_replay_planned_total") >= 50.0);
    assert!(value("highwater_replay_requests_total{route=\"GET /{}\",result=\"200\"}") > 0.0, "{page}");
    assert!(value("highwater_replay_response_seconds_bucket{route=\"GET /{}\",le=\"+Inf\"}") > 0.0);
    assert!((value("highwater_replay_scale") - 1.0).abs() < 1e-9);
}
