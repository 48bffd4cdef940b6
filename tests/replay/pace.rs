//! When requests leave: the ceiling of the rate, and users who think.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::even;
use crate::support::{PoolServer, now, run, stderr, write_capture};

#[test]
fn no_hundred_milliseconds_see_more_requests_than_the_ceiling() {
    // All on connections of their own, at a server that notes when each came in: 200 in the first half second,
    // where 20 in 100 ms are allowed.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrivals) = std::sync::mpsc::channel::<Instant>();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), sender) = (stream, sender.clone()) else { return };
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let _ = sender.send(now());
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    let mut requests = even(200, 1);
    requests.iter_mut().for_each(|request| request.arrived /= 2);
    write_capture(&capture, &requests);
    let target = format!("http://{address}");
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--ceiling", "200rps"];
    let output = run(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (sent, clipped) =
        (summary["sent"].as_u64().unwrap(), summary["skipped"]["ceiling"].as_u64().unwrap());
    assert_eq!(sent + clipped, 200, "{summary}");
    // Half a second and the patience of 100 ms: 20 in each tenth, and one tenth more at the edges; fewer where the
    // machine let the replay sleep.
    assert!((20..=160).contains(&sent), "{summary}");
    let arrived = arrivals.try_iter().count() as u64;
    assert_eq!(arrived, sent, "{summary}");
    let reason = summary["invalid_reason"].as_str().unwrap_or_default();
    assert!(!reason.contains("ceiling"), "a ceiling that was asked for is no fault: {}", stderr(&output));
}

#[test]
fn users_who_think_ask_again_only_after_their_pause() {
    // One connection; a request every 50 ms, recorded with answers after 1 ms; the server takes 100 ms.
    let server = PoolServer::start(1, Duration::from_millis(100));
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    let mut requests = even(20, 1);
    requests.iter_mut().for_each(|request| request.connection = 1);
    write_capture(&capture, &requests);
    let target = format!("http://{}", server.address);
    let elapsed = |pacing: &str| {
        let out = folder.path().join(format!("{pacing}.run"));
        let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--pacing", pacing];
        let output = run(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["ok"], 20, "{summary}");
        summary["elapsed_seconds"].as_f64().unwrap()
    };
    // Twenty answers of 100 ms one after another; with 49 ms of thinking between them 19 · 49 ms more.
    let (plan, think) = (elapsed("plan"), elapsed("think"));
    assert!(plan >= 2.0 - 0.02 && think >= 2.0 + 19.0 * 0.049 - 0.05, "{plan} s, {think} s");
}

#[test]
fn a_pool_of_connections_is_shared_by_all_sessions_and_each_session_stays_in_order() {
    let server = PoolServer::start(8, Duration::from_millis(10));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    // 100 sessions of two requests; four connections at 10 ms carry 400 a second.
    let mut requests = even(100, 2);
    requests.iter_mut().for_each(|request| request.connection %= 100);
    write_capture(&capture, &requests);
    let target = format!("http://{}", server.address);
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--connections", "4"];
    let output = run(&[&args[..], &["--threads", "1", "--out", out.to_str().unwrap()]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["ok"], &summary["sent"]), (&200.into(), &200.into()), "{summary}");
    let opened = summary["connections_opened"].as_u64().unwrap();
    assert!((1..=4).contains(&opened) && summary["connections_most"].as_u64().unwrap() <= 4, "{summary}");
    assert_eq!(summary["reused"].as_u64().unwrap(), 200 - opened, "{summary}");
}
