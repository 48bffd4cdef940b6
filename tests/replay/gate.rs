//! What ends a run, what fails it, and what CI is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use captures::{Interval, Offset, Rate, Run, RunEnd, RunHeader, RunWriter, Stage};
use serde_json::Value;

use super::even;
use crate::support::{PoolServer, json, run, stderr, write_capture};

#[test]
fn thresholds_of_routes_and_stages_are_judged_and_written_for_ci() {
    let server = PoolServer::start(8, Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    write_capture(&file("c.capture"), &even(40, 2));
    let target = format!("http://{}", server.address);
    let output = run(&[
        "replay",
        file("c.capture").to_str().unwrap(),
        "--target",
        &target,
        "--out",
        file("r.run").to_str().unwrap(),
        "--junit",
        file("r.xml").to_str().unwrap(),
        "--markdown",
        file("r.md").to_str().unwrap(),
        "--json",
        "--threshold",
        "errors<1%",
        "route:GET /{}:p50<1ms",
        "stage:1:throughput>1rps",
        "route:/*:errors=0",
        "throughput>1e6rps",
    ]);
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for a valid run");
        return;
    }
    let summary = json(&output, 99);
    let met: Vec<&Value> = summary["thresholds"].as_array().unwrap().iter().map(|one| &one["met"]).collect();
    assert_eq!(met, [true, false, true, true, false], "{summary}");
    assert!(stderr(&output).contains("threshold missed: route:GET /{}:p50<1ms"), "{}", stderr(&output));
    let xml = std::fs::read_to_string(file("r.xml")).unwrap();
    assert!(xml.contains("tests=\"6\" failures=\"2\" errors=\"0\""), "{xml}");
    assert!(xml.contains("name=\"route:GET /{}:p50&lt;1ms\"><failure"), "{xml}");
    let comment = std::fs::read_to_string(file("r.md")).unwrap();
    assert!(comment.contains("❌ a threshold was missed") && comment.contains("`GET /{}`"), "{comment}");
}

#[test]
fn thresholds_that_can_never_apply_are_refused_before_anything_is_sent() {
    let server = PoolServer::start(1, Duration::from_millis(1));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(10, 1));
    let target = format!("http://{}", server.address);
    for (threshold, mend) in [
        ("stage:3:p95<1s", "there is no stage 3: the run has 1"),
        ("route:GET /nope:p95<1s", "the nearest are: GET /{}"),
        ("observe:cpu<85%", "add --observe"),
        ("p50<1us for 2m", "less than 2 min"),
        ("errors<1", "write errors<1% or errors<0.01"),
        ("rate>10rps", "throughput>10rps"),
    ] {
        let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--quiet", "--out"];
        let output = run(&[&args[..], &[out.to_str().unwrap(), "--threshold", threshold]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{threshold}: {said}");
        assert!(said.contains(threshold) && said.contains(mend) && said.lines().count() == 1, "{said}");
        assert!(!out.exists());
    }
    assert_eq!(server.served.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_target_that_fails_ends_the_run_and_the_run_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0_u8; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(40, 2));
    let target = format!("http://{address}");
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--out", out.to_str().unwrap()];
    let output =
        run(&[&args[..], &["--duration", "10m", "--abort-on", "errors<10% for 2s", "--quiet"]].concat());
    assert!(matches!(output.status.code(), Some(99 | 5)), "{}", stderr(&output));
    let run = Run::read(std::fs::File::open(out).unwrap()).unwrap();
    let end = run.end.as_ref().unwrap();
    assert!(end.interrupted && end.stopped_by.as_ref().unwrap().contains("errors<10%"), "{end:?}");
    assert!(end.ended < Offset::from_secs(60), "{end:?}");
    let planned: u64 = run.intervals.iter().map(|interval| interval.planned).sum();
    assert_eq!(run.overall().total(), planned, "every planned request has an outcome");
}

/// A run of 40 s with 30 requests a second that took 20 ms, or so many times as long, with some spread.
fn write_run(path: &Path, slower: f64) {
    let header = RunHeader {
        tool: "tests".to_owned(),
        started: 0,
        target: "http://staging".to_owned(),
        capture: "c.capture".to_owned(),
        capture_digest: [7; 32],
        capture_span: Duration::from_secs(40),
        capture_rate: Rate::per_second(30.0).unwrap(),
        seed: 1,
        stages: vec![Stage { begin: Offset::ZERO, end: Offset::from_secs(40), from: 1.0, to: 1.0 }],
        routes: vec!["GET /".to_owned()],
        held_back_ratio: 0.0,
        configuration: "{}".to_owned(),
    };
    let mut writer = RunWriter::create(std::fs::File::create(path).unwrap(), &header).unwrap();
    for second in 0..40 {
        let mut interval = Interval { second, planned: 30, ..Interval::default() };
        let route = interval.route_mut(0);
        route.statuses = vec![(200, 30)];
        for at in 0..30 {
            let ms = 20.0 * slower + f64::from((at * 7 + second as u32 * 3) % 30) / 10.0;
            route.response.record(Duration::from_secs_f64(ms / 1e3));
        }
        writer.push(&interval).unwrap();
    }
    let end = RunEnd { ended: Offset::from_secs(40), ..RunEnd::default() };
    writer.finish(&end).unwrap();
}

#[test]
fn a_slower_candidate_is_a_regression_and_an_equal_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, slower) in [("base", 1.0), ("same", 1.005), ("slow", 1.2)] {
        write_run(&folder.path().join(name), slower);
    }
    let same = json(&run(&["compare", &file("base"), &file("same"), "--json"]), 0);
    assert_eq!(same["regressions"], 0, "{same}");
    let slow = run(&["compare", &file("base"), &file("slow"), "--json", "--markdown", &file("c.md")]);
    let shown = json(&slow, 99);
    assert!(shown["differences"][0]["change"].as_f64().unwrap() > 1.1, "{shown}");
    assert!(stderr(&slow).contains("regressions, the first: GET / p50"), "{}", stderr(&slow));
    assert!(std::fs::read_to_string(file("c.md")).unwrap().contains("SLOWER"));
    assert_eq!(
        json(&run(&["compare", &file("base"), &file("slow"), "--json", "--max-regression", "50%"]), 0)["regressions"],
        0
    );
    let wrong = run(&["compare", &file("base"), &file("slow"), "--max-regression", "much"]);
    assert_eq!(wrong.status.code(), Some(2));
}
