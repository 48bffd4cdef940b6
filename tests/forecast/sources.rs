//! Histories of other kinds than tables: captures, runs, and the logs of many servers, compressed or not.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use captures::{Interval, Offset, Rate, RunEnd, RunHeader, RunWriter, Stage};
use jiff::ToSpan as _;

use crate::support::{Recorded, json, run, stderr, write_capture};

/// Sixty hours and a minute of minutes: two requests in each, eight in the first of each hour.
fn minutes() -> impl Iterator<Item = (u64, u64)> {
    (0..3_601).map(|minute| (minute, if minute % 60 == 0 { 8 } else { 2 }))
}

/// What the history in `path` is continued with, and that it was understood: hours whose busiest minute has 8
/// requests, and whose mean is (8 + 59 · 2) / 60 = 2.1.
fn check(path: &Path, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut args = vec!["forecast", "--history", path.to_str().unwrap(), "--horizon", "12h", "--json"];
    args.extend(["--out", out.to_str().unwrap()]);
    args.extend(more);
    let facts = json(&run(&args), 0);
    assert_eq!(facts["step_seconds"], 3_600, "{facts}");
    let factor = facts["peak_factor"].as_f64().unwrap();
    assert!((factor / (8.0 / 2.1) - 1.0).abs() < 0.02, "{factor}");
    for step in facts["steps"].as_array().unwrap() {
        assert!((step["yhat"].as_f64().unwrap() / 126.0 - 1.0).abs() < 0.03, "{step}");
    }
}

#[test]
fn a_capture_is_a_history_by_the_arrival_of_its_exchanges() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.capture");
    let requests: Vec<Recorded> = minutes()
        .flat_map(|(minute, count)| (0..count).map(move |at| (minute, at)))
        .map(|(minute, at)| Recorded {
            // The capture begins 800 seconds after a full hour.
            arrived: Duration::from_secs(2_800 + 60 * minute + 7 * at),
            connection: 1,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    write_capture(&path, &requests);
    check(&path, &[]);
}

#[test]
fn a_run_is_a_history_by_what_was_planned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soak.run");
    let end = Offset::from_secs(3_601 * 60);
    let header = RunHeader {
        tool: "tests".to_owned(),
        // Midnight of 2026-03-02 UTC.
        started: 1_772_409_600_000_000_000,
        target: "http://staging".to_owned(),
        capture: "c.capture".to_owned(),
        capture_digest: [7; 32],
        capture_span: Duration::from_secs(60),
        capture_rate: Rate::per_second(1.0).unwrap(),
        seed: 1,
        stages: vec![Stage { begin: Offset::ZERO, end, from: 1.0, to: 1.0 }],
        routes: vec!["GET /".to_owned()],
        held_back_ratio: 0.0,
        configuration: "{}".to_owned(),
    };
    let mut writer = RunWriter::create(std::fs::File::create(&path).unwrap(), &header).unwrap();
    for (minute, planned) in minutes() {
        let mut interval = Interval { second: 60 * minute, planned, ..Interval::default() };
        interval.route_mut(0).statuses = vec![(200, planned)];
        writer.push(&interval).unwrap();
    }
    writer.finish(&RunEnd { ended: end, ..RunEnd::default() }).unwrap();
    check(&path, &[]);
}

#[test]
fn logs_of_other_servers_are_histories_too() {
    let folder = tempfile::tempdir().unwrap();
    let begin: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    let log = |line: &dyn Fn(jiff::Timestamp) -> String| -> String {
        let moments = minutes().flat_map(|(minute, count)| (0..count).map(move |at| 60 * minute + 7 * at));
        moments.map(|second| line(begin.checked_add((second as i64).seconds()).unwrap()) + "\n").collect()
    };
    let caddy = log(&|at| {
        format!(
            "{{\"ts\":{}.25,\"request\":{{\"method\":\"GET\",\"uri\":\"/\",\"host\":\"a\"}},\"status\":200,\"duration\":0.1}}",
            at.as_second()
        )
    });
    let path = folder.path().join("caddy.log.gz");
    let file = std::fs::File::create(&path).unwrap();
    let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gz.write_all(caddy.as_bytes()).unwrap();
    gz.finish().unwrap();
    check(&path, &[]);

    let fields = log(&|at| format!("{}\tGET\t/\t200", at.strftime("%Y-%m-%d\t%H:%M:%S")));
    let path = folder.path().join("cloudfront.log");
    let head = "#Version: 1.0\n#Fields: date time cs-method cs-uri-stem sc-status\n";
    std::fs::write(&path, format!("{head}{fields}")).unwrap();
    check(&path, &[]);

    let own = log(&|at| format!("{}|GET / HTTP/1.1|200", at.as_second()));
    let path = folder.path().join("own.log");
    std::fs::write(&path, own).unwrap();
    check(&path, &["--log-format", "$msec|$request|$status"]);
    let output = run(&["forecast", "--history", path.to_str().unwrap(), "--out", "/nowhere"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}
