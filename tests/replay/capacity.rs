//! The search for the highest load, against servers whose limit is known by construction.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::even;
use crate::support::{json, now, run, stderr, write_capture};

/// A server that `decides` each request: the status of the answer, or `None` for a server that is gone for good.
fn server(decides: impl Fn() -> Option<u16> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let decides = Arc::new(decides);
    let gone = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if gone.load(Ordering::Relaxed) > 0 {
                return;
            }
            let (Ok(stream), decides, gone) = (stream, Arc::clone(&decides), Arc::clone(&gone)) else {
                return;
            };
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn(move || {
                    if answer(stream, &*decides).is_none() && gone.fetch_add(1, Ordering::Relaxed) == 0 {
                        // Wakes the loop up, so that the port is closed.
                        let _ = TcpStream::connect(address);
                    }
                })
                .unwrap();
        }
    });
    address
}

/// Answers the requests of a connection; `None` when the server is gone.
fn answer(stream: TcpStream, decides: &dyn Fn() -> Option<u16>) -> Option<()> {
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        let mut asked = false;
        for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            asked |= !line.is_empty();
        }
        if !asked {
            return Some(());
        }
        let status = decides()?;
        write!(writer, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").ok();
    }
}

#[test]
fn the_limit_of_a_server_that_lets_so_many_through_is_found_within_a_twentieth() {
    // A bucket of 26 tokens that fills at 130 a second; who finds none gets a 503.
    const RATE: f64 = 130.0;
    const DEPTH: f64 = 26.0;
    let bucket = Mutex::new((DEPTH, now()));
    let address = server(move || {
        let mut bucket = bucket.lock().unwrap();
        let at = now();
        bucket.0 = (bucket.0 + RATE * at.duration_since(bucket.1).as_secs_f64()).min(DEPTH);
        bucket.1 = at;
        let served = bucket.0 >= 1.0;
        bucket.0 -= f64::from(u8::from(served));
        Some(if served { 200 } else { 503 })
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("found"));
    write_capture(&capture, &even(20, 3));
    let target = format!("http://{address}");
    let args =
        ["capacity", capture.to_str().unwrap(), "--target", &target, "--slo", "errors<1%", "--plateau", "3s"];
    let more = ["--start", "4x", "--resolution", "6%", "--json", "--quiet", "--out", out.to_str().unwrap()];
    let output = run(&[&args[..], &more].concat());
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for valid runs: {}", stderr(&output));
        return;
    }
    let found = json(&output, 0);
    assert_eq!(found["ended"], "bracketed", "{found}");
    // In 3 s a full bucket gives 26 + 3·130; 99 of 100 requests must get one.
    let expected = (DEPTH + 3.0 * RATE) / 3.0 / 0.99;
    let limit = found["limit_rate_per_second"].as_f64().unwrap();
    assert!((limit / expected - 1.0).abs() < 0.05, "found {limit}, built for {expected}: {found}");
    // Every plateau is a run, and both ends were tried twice.
    let plateaus = found["plateaus"].as_array().unwrap();
    for end in ["passed_scale", "failed_scale"] {
        assert!(plateaus.iter().filter(|plateau| plateau["scale"] == found[end]).count() >= 2, "{found}");
    }
    assert!(plateaus.iter().all(|plateau| std::path::Path::new(plateau["run"].as_str().unwrap()).exists()));
    assert!(out.join("model/model.json").exists(), "{}", stderr(&output));
}

#[test]
fn the_search_ends_by_itself_when_the_target_falls_over() {
    // Gone for good once 120 requests came within two seconds.
    let recent = Mutex::new(Vec::new());
    let address = server(move || {
        let mut recent = recent.lock().unwrap();
        let at = now();
        recent.retain(|earlier| at.duration_since(*earlier) < Duration::from_secs(2));
        recent.push(at);
        (recent.len() < 120).then_some(200)
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("found"));
    write_capture(&capture, &even(20, 4));
    let target = format!("http://{address}");
    let args =
        ["capacity", capture.to_str().unwrap(), "--target", &target, "--slo", "errors<1%", "--plateau", "4s"];
    let more = ["--json", "--quiet", "--out", out.to_str().unwrap()];
    let output = run(&[&args[..], &more].concat());
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for valid runs: {}", stderr(&output));
        return;
    }
    let found = json(&output, 0);
    assert_eq!((&found["ended"], &found["passed_scale"]), (&"fell_over".into(), &2.0.into()), "{found}");
    assert_eq!(found["failed_scale"], 4.0, "{found}");
}
