//! `highwater replay` against real servers.

mod capacity;
mod continued;
mod gate;
mod http2;
mod made;
mod observe;
mod pace;
mod places;
mod plan;
mod tls;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use captures::{Offset, Run};

use crate::support::nginx::{Line, Nginx};
use crate::support::{
    PoolServer, Recorded, Running, free_port, has, highwater, now, quiet_machine, replayed, run, stderr,
    until, write_capture, write_capture_of,
};

/// `rate` requests a second for `seconds`, each on a connection of its own, evenly spaced.
fn even(rate: u64, seconds: u64) -> Vec<Recorded> {
    (0..rate * seconds)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at * 1_000_000_000 / rate),
            connection: at,
            method: "GET",
            target: format!("/{at}"),
            body: Vec::new(),
        })
        .collect()
}

/// About 200 requests a second over five routes for `seconds`, in sessions of one to six requests with think
/// times, with a burst of twice the rate in every fifth second.
fn shop(seconds: u64) -> Vec<Recorded> {
    let mut requests = Vec::new();
    let mut draw = 1_u64;
    let mut next = move |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    for second in 0..seconds {
        let sessions = if second % 5 == 4 { 100 } else { 50 };
        for session in 0..sessions {
            let mut at = Duration::from_millis(second * 1_000 + next(1_000));
            for step in 0..1 + next(6) {
                let (method, target) = match next(10) {
                    0..=3 => ("GET", "/".to_owned()),
                    4..=6 => ("GET", format!("/product/{}", next(1_000))),
                    7 => ("GET", "/search?q=x".to_owned()),
                    8 => ("POST", "/cart/items".to_owned()),
                    _ => ("HEAD", "/style.css".to_owned()),
                };
                let body = if method == "POST" { b"item=1".to_vec() } else { Vec::new() };
                if at < Duration::from_secs(seconds) {
                    requests.push(Recorded {
                        arrived: at,
                        connection: second * 1_000 + session,
                        method,
                        target,
                        body,
                    });
                }
                at += Duration::from_millis(100 + next(400) + step);
            }
        }
    }
    requests.sort_by_key(|request| request.arrived);
    requests
}

fn routes<'a>(requests: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (method, target) in requests {
        let first = target.trim_start_matches('/').split(['/', '?']).next().unwrap();
        *counts.entry(format!("{method} {first}")).or_default() += 1;
    }
    counts
}

fn per_second(lines: &[Line]) -> Vec<u64> {
    let first = lines.iter().map(|line| line.at).fold(f64::INFINITY, f64::min);
    let mut counts = Vec::new();
    for line in lines {
        let second = (line.at - first) as usize;
        counts.resize(counts.len().max(second + 1), 0);
        counts[second] += 1;
    }
    counts
}

#[test]
fn a_capture_is_replayed_with_its_mix_its_curve_and_its_order() {
    if !has("nginx") {
        return;
    }
    let _quiet = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("shop.capture");
    let recorded = shop(10);
    write_capture(&capture, &recorded);
    let expected = routes(recorded.iter().map(|request| (request.method, request.target.as_str())));
    let mut curve = [0_u64; 10];
    recorded.iter().for_each(|request| curve[request.arrived.as_secs() as usize] += 1);

    for scale in [1_u64, 10] {
        let nginx = Nginx::start(folder.path(), None);
        let out = folder.path().join(format!("{scale}.run"));
        let output = run(&[
            "replay",
            capture.to_str().unwrap(),
            "--target",
            &format!("http://{}", nginx.address()),
            "--scale",
            &format!("{scale}x"),
            "--allow-unsafe",
            "--out",
            out.to_str().unwrap(),
            "--json",
        ]);
        let summary = replayed(&output);
        let planned = recorded.len() as u64 * scale;
        assert_eq!(summary["planned"], planned);
        assert_eq!(summary["sent"], planned, "{summary}");
        assert_eq!(summary["ok"], planned, "{summary}");

        // The same mix, times the scale: exactly, since a span holds every request of every copy once.
        let lines = until("the access log to be complete", || {
            Some(nginx.lines()).filter(|lines| lines.len() as u64 >= planned)
        });
        let got = routes(lines.iter().map(|line| (line.method.as_str(), line.target.as_str())));
        let wanted: BTreeMap<String, u64> =
            expected.iter().map(|(route, count)| (route.clone(), count * scale)).collect();
        assert_eq!(got, wanted, "at {scale}x");
        assert!(lines.iter().all(|line| line.marker == "1"), "unmarked traffic");

        // The same curve, times the scale, but for the copies' shifts of up to half a second.
        let rate = per_second(&lines);
        for (second, count) in curve.iter().enumerate().take(9) {
            let around = curve[second.saturating_sub(1)..=(second + 1).min(9)].iter();
            let (low, high) = (around.clone().min().unwrap() * scale, around.max().unwrap() * scale);
            let got = rate.get(second).copied().unwrap_or(0);
            assert!(
                got as f64 >= low as f64 * 0.85 && got as f64 <= high as f64 * 1.15,
                "second {second} at {scale}x: {got} requests, {} recorded",
                count * scale
            );
        }

        // In order: each connection of the replay sends the requests of one recorded connection.
        let mut sent: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        lines.iter().for_each(|line| sent.entry(line.connection).or_default().push(&line.target));
        let mut sessions: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        recorded
            .iter()
            .for_each(|request| sessions.entry(request.connection).or_default().push(&request.target));
        let mut unmatched: BTreeMap<Vec<&str>, i64> = BTreeMap::new();
        sessions.into_values().for_each(|session| *unmatched.entry(session).or_default() += scale as i64);
        let mut torn = 0;
        for session in sent.into_values() {
            match unmatched.get_mut(&session) {
                Some(count) => *count -= 1,
                // A copy that began before the run: its tail opens the run, its head ends it.
                None => torn += 1,
            }
        }
        let missing: i64 = unmatched.values().filter(|count| **count > 0).sum();
        assert!(torn == 0 || scale > 1, "{torn} sessions out of order at 1x");
        assert!(
            missing <= torn && torn < planned as i64 / 20,
            "{missing} sessions missing, {torn} torn at {scale}x"
        );
    }
}

#[test]
fn an_overloaded_target_shows_growing_latency_that_a_closed_loop_client_hides() {
    // A pool of 4 with 50 ms each: 80 requests a second, by construction.
    let _quiet = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let replay = |rate: u64| {
        let server = PoolServer::start(4, Duration::from_millis(50));
        let capture = folder.path().join(format!("{rate}.capture"));
        let out = folder.path().join(format!("{rate}.run"));
        write_capture(&capture, &even(rate, 10));
        let output = run(&[
            "replay",
            capture.to_str().unwrap(),
            "--target",
            &format!("http://{}", server.address),
            "--out",
            out.to_str().unwrap(),
            "--json",
        ]);
        assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
        assert_eq!(server.served.load(Ordering::Relaxed) as u64, rate * 10);
        Run::read(std::fs::File::open(out).unwrap()).unwrap()
    };

    // At 60 requests a second nobody waits long: the median is the service time.
    let calm = replay(60).overall();
    let median = calm.latency.quantile(0.5).as_secs_f64();
    assert!((0.050..0.075).contains(&median), "p50 at 60 req/s: {median}");

    // At 120 a second 40 more come in each second than go out: a request that is due at second t waits for
    // (120 − 80)·t others, at 80 a second: t/2. At the end of 10 s that is 5 s.
    let run = replay(120);
    let mut grown = Vec::new();
    for interval in run.intervals.iter().filter(|interval| interval.planned > 0) {
        let due = interval.second as f64 + 0.5;
        let measured = interval.overall().latency.quantile(0.5).as_secs_f64();
        let expected = due * (120.0 - 80.0) / 80.0 + 0.05;
        grown.push(measured);
        assert!(
            (measured - expected).abs() < 0.25 + 0.1 * expected,
            "due in second {due}: {measured} s, not {expected} s"
        );
    }
    assert!(grown.windows(2).all(|pair| pair[1] > pair[0]), "{grown:?}");
    let open_loop_p99 = run.overall().latency.quantile(0.99).as_secs_f64();

    // Eight closed-loop clients ask the same server as fast as it answers, and see no more than twice the
    // service time: they slow down with the target.
    let server = PoolServer::start(4, Duration::from_millis(50));
    let begin = now();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(server.address).unwrap();
                    let (mut slowest, mut buffer) = (Duration::ZERO, [0_u8; 256]);
                    while begin.elapsed() < Duration::from_secs(3) {
                        let asked = now();
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                        assert!(stream.read(&mut buffer).unwrap() > 0);
                        slowest = slowest.max(asked.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        slowest = clients.into_iter().map(|client| client.join().unwrap()).max().unwrap();
    });
    eprintln!(
        "at 60 req/s p50 {:.1} ms; at 120 req/s p99 {:.0} ms open loop, longest {:.0} ms closed loop",
        median * 1e3,
        open_loop_p99 * 1e3,
        slowest.as_secs_f64() * 1e3
    );
    assert!(open_loop_p99 > 4.0, "{open_loop_p99}");
    assert!(slowest.as_secs_f64() < open_loop_p99 / 4.0, "{slowest:?}");
}

#[test]
fn the_origin_and_unsafe_methods_are_refused_until_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    let server = PoolServer::start(4, Duration::from_millis(1));
    let mut requests = even(50, 1);
    requests.iter_mut().step_by(2).for_each(|request| request.method = "DELETE");
    write_capture_of(&capture, &requests, &server.address.to_string());
    let replay = |more: &[&str]| {
        let target = format!("http://localhost:{}", server.address.port());
        let out = folder.path().join(format!("{}.run", more.len()));
        let mut args = vec![
            "replay",
            capture.to_str().unwrap(),
            "--json",
            "--target",
            &target,
            "--out",
            out.to_str().unwrap(),
        ];
        args.extend(more);
        run(&args)
    };

    let refused = replay(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("it is the recorded origin"), "{}", stderr(&refused));
    assert_eq!(server.served.load(Ordering::Relaxed), 0, "the origin was touched");

    let named = format!("localhost:{}", server.address.port());
    let safe_only = replay(&["--origin-is-safe", &named]);
    assert!(stderr(&safe_only).starts_with("partial mix: 50.0 %"), "{}", stderr(&safe_only));
    assert_eq!(replayed(&safe_only)["sent"], 25);
    assert_eq!(replayed(&replay(&["--origin-is-safe", &named, "--allow-unsafe"]))["sent"], 50);
}

#[test]
fn every_planned_request_has_one_outcome_whatever_the_target_does() {
    // Answers, closes without one, resets in the middle, sends nonsense, never answers, refuses new
    // connections for a while: by turns.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                let _ = stream.read(&mut buffer);
                let answer: &[u8] = match turn % 6 {
                    0 => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                    1 => b"",
                    2 => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all",
                    3 => b"SSH-2.0-nonsense\r\n\r\n",
                    4 => b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nuntil the end",
                    _ => {
                        // Longer than the client's time limit.
                        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                        let _ = stream.read(&mut buffer);
                        return;
                    }
                };
                let _ = stream.write_all(answer);
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(60, 2));
    let output = run(&[
        "replay",
        capture.to_str().unwrap(),
        "--target",
        &format!("http://{address}"),
        "--timeout",
        "500ms",
        "--out",
        out.to_str().unwrap(),
        "--json",
    ]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // One connection more than requests: the one that looks whether the target is there takes the first turn.
    let errors = &summary["errors"];
    assert_eq!(summary["planned"], 120);
    assert_eq!(summary["ok"].as_u64().unwrap(), 20, "{summary}");
    assert_eq!(errors["reset"], 40, "{summary}");
    assert_eq!(errors["invalid"], 20, "{summary}");
    assert_eq!(errors["status_5xx"], 20, "{summary}");
    assert_eq!(errors["timed_out"], 20, "{summary}");
    let run = Run::read(std::fs::File::open(out).unwrap()).unwrap();
    assert_eq!(run.overall().total(), 120);
    assert_eq!(run.samples.iter().filter(|sample| sample.is_error()).count(), 100);
}

#[test]
fn a_missed_threshold_is_exit_code_99_and_the_run_is_there_all_the_same() {
    let _quiet = quiet_machine();
    let server = PoolServer::start(8, Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &even(50, 2));
    for (threshold, code) in [("p95<2s,errors<1%", 0), ("p95<10ms", 99), ("fast", 2)] {
        let out = folder.path().join(format!("{code}.run"));
        let output = run(&[
            "replay",
            capture.to_str().unwrap(),
            "--target",
            &format!("http://{}", server.address),
            "--threshold",
            threshold,
            "--out",
            out.to_str().unwrap(),
        ]);
        if output.status.code() == Some(5) {
            eprintln!("skipped: the machine was too busy for a valid run");
            continue;
        }
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(out.exists(), code != 2);
    }
}

#[test]
fn an_interrupted_replay_leaves_a_readable_run() {
    // A user's wish, a supervisor's, and a terminal that is gone; and more than one wish.
    for signals in [&["-INT"][..], &["-TERM"], &["-HUP", "-HUP"], &["-INT", "-TERM"]] {
        let server = PoolServer::start(8, Duration::from_millis(5));
        let folder = tempfile::tempdir().unwrap();
        let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
        write_capture(&capture, &even(100, 2));
        let child = highwater()
            .args(["replay", capture.to_str().unwrap(), "--duration", "10m", "--json"])
            .args(["--target", &format!("http://{}", server.address), "--out", out.to_str().unwrap()])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("traffic", || (server.served.load(Ordering::Relaxed) > 150).then_some(()));
        signals.iter().for_each(|signal| send(signal, child.id()));
        let output = child.wait_with_output().unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["interrupted"], true);
        let run = Run::read(std::fs::File::open(out).unwrap()).unwrap();
        assert!(run.end.as_ref().unwrap().interrupted);
        assert!(run.end.as_ref().unwrap().ended < Offset::from_secs(60));
        assert_eq!(run.overall().total(), summary["planned"].as_u64().unwrap());
    }
}

/// Sends a signal to a child of ours.
fn send(signal: &str, process: u32) {
    let _ = std::process::Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
}

#[test]
fn what_an_interruption_cuts_off_misses_no_threshold() {
    // Answers after a time that is longer than the last answers are waited for.
    let server = PoolServer::start(200, Duration::from_millis(1_500));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(20, 60));
    let child = highwater()
        .args(["replay", capture.to_str().unwrap(), "--threshold", "errors<1%", "--json"])
        .args(["--connections", "100", "--target", &format!("http://{}", server.address), "--out"])
        .arg(&out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("answers", || (server.served.load(Ordering::Relaxed) >= 60).then_some(()));
    send("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["errors"]["cut_off"].as_u64().unwrap() > 0, "{summary}");
    assert!(stderr(&output).contains("met     errors<1%"), "{}", stderr(&output));
}

#[test]
fn what_is_in_flight_at_an_interruption_was_sent_and_is_no_skip() {
    // A server that takes every request and answers none.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let counter = std::sync::Arc::clone(&counter);
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(20, 60));
    let child = highwater()
        .args([
            "replay",
            capture.to_str().unwrap(),
            "--json",
            "--target",
            &format!("http://{address}"),
            "--out",
        ])
        .arg(&out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("some requests", || (asked.load(Ordering::Relaxed) >= 20).then_some(()));
    send("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sent"].as_u64().unwrap(), asked.load(Ordering::Relaxed) as u64, "{summary}");
    assert_eq!(summary["errors"]["cut_off"], summary["sent"], "{summary}");
    let reason = summary["invalid_reason"].as_str().unwrap_or_default();
    assert!(!reason.contains("skip") && !reason.contains("never sent"), "{summary}");
}

#[test]
fn a_target_that_lets_requests_down_late_is_not_the_generators_fault() {
    // Answers the first request of a connection at once; sits on the second for 300 ms and closes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0_u8; 4096];
                if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
                        let _ = stream.read(&mut buffer);
                    }
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    let mut requests = even(40, 2);
    requests.iter_mut().enumerate().for_each(|(at, request)| request.connection = at as u64 / 2);
    write_capture(&capture, &requests);
    let output = run(&[
        "replay",
        capture.to_str().unwrap(),
        "--json",
        "--target",
        &format!("http://{address}"),
        "--out",
        out.to_str().unwrap(),
    ]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["ok"], 40, "{summary}");
    assert_eq!(summary["errors"]["reset"], 40, "{summary}");
    assert_eq!(summary["retried"], 0, "{summary}");
    let service = summary["service_ms"]["p99"].as_f64().unwrap();
    assert!(service >= 290.0, "the time the target took is its own: {summary}");
    // Nor is it lag, of which a busy machine makes some.
    let lag = summary["lag_ms"]["p99"].as_f64().unwrap();
    assert!(lag < 200.0, "{summary}");
}

#[test]
fn a_killed_replay_keeps_all_but_its_last_seconds() {
    let server = PoolServer::start(8, Duration::from_millis(5));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(100, 2));
    let mut child = Running(
        highwater()
            .args(["replay", capture.to_str().unwrap(), "--duration", "10m", "--quiet"])
            .args(["--target", &format!("http://{}", server.address), "--out", out.to_str().unwrap()])
            .spawn()
            .unwrap(),
    );
    until("four seconds of traffic", || (server.served.load(Ordering::Relaxed) > 400).then_some(()));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let run = Run::read(std::fs::File::open(out).unwrap()).unwrap();
    assert!(run.end.is_none());
    assert!(run.overall().total() >= 200, "{}", run.overall().total());
}

#[test]
fn a_target_that_is_not_there_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(10, 1));
    let target = format!("http://127.0.0.1:{}", free_port());
    let output = run(&[
        "replay",
        capture.to_str().unwrap(),
        "--target",
        &target,
        "--quiet",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("connection refused"), "{}", stderr(&output));
    assert!(!out.exists(), "a run of nothing was left");
}
