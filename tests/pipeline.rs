//! The whole line: record → replay → model → report, and a forecast, each by the real binary.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    PoolServer, Recorded, Running, highwater, pause, quiet_machine, run, stderr, write_capture,
};

fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

#[track_caller]
fn succeed(args: &[&str]) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
}

/// A report must hold together on its own: one page, its charts, nothing from outside.
fn check_report(folder: &Path) {
    let page = std::fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("</html>"));
    for forbidden in ["<script src", "src=\"http", "href=\"http", "url(http", "@import", "<link"] {
        assert!(!page.contains(forbidden), "the page holds {forbidden}");
    }
    let mut charts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.trim_start().starts_with("<svg") || text.starts_with("<?xml"), "{}", path.display());
            assert!(text.contains("<title") && text.trim_end().ends_with("</svg>"), "{}", path.display());
            charts += 1;
        }
    }
    assert!(charts >= 4, "{charts} charts");
    assert!(read_json(&folder.join("report.json")).is_object());
}

#[test]
fn traffic_through_the_recorder_becomes_a_capacity_with_a_report() {
    let _quiet = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();

    // Record: 40 visitors, a few requests each, about 20 requests a second for 6 s.
    let production = PoolServer::start(8, Duration::from_millis(2));
    let mut child = highwater()
        .args(["record", "--listen", "127.0.0.1:0", "--upstream", &production.address.to_string()])
        .args(["--out", &at("c.capture")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut recorder = Running(child);
    let mut ready = String::new();
    lines.read_line(&mut ready).unwrap();
    let proxy = ready.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
    std::thread::scope(|scope| {
        for visitor in 0..40_u64 {
            let proxy = &proxy;
            scope.spawn(move || {
                pause(Duration::from_millis(visitor * 130));
                let mut stream = TcpStream::connect(proxy).unwrap();
                for step in 0..3 {
                    let target = ["/", "/product/17", "/cart"][step];
                    write!(stream, "GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n").unwrap();
                    let mut answer = [0_u8; 4096];
                    let mut read = 0;
                    while !answer[..read].ends_with(b"ok") {
                        let more = stream.read(&mut answer[read..]).unwrap();
                        assert!(more > 0, "closed");
                        read += more;
                    }
                    pause(Duration::from_millis(200));
                }
            });
        }
    });
    let status = std::process::Command::new("kill").arg(recorder.0.id().to_string()).status().unwrap();
    assert!(status.success());
    assert_eq!(recorder.0.wait().unwrap().code(), Some(0));

    // Replay against a server whose capacity is 4 / 50 ms = 80 requests a second, and which answers in 50 ms.
    let staging = PoolServer::start(4, Duration::from_millis(50));
    let output = run(&[
        "replay",
        &at("c.capture"),
        "--target",
        &format!("http://{}", staging.address),
        "--stages",
        "=5s:0.5x,=5s:1x,=5s:2x,=5s:2.5x,=5s:3x,=5s:3.4x,=5s:4x,=5s:5x",
        "--out",
        &at("r.run"),
    ]);
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", stderr(&output));
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for a valid run");
        return;
    }
    succeed(&["model", &at("r.run"), "--slo", "p95<250ms,errors<1%", "--out", &at("report"), "--quiet"]);
    check_report(&folder.path().join("report"));
    let model = read_json(&folder.path().join("report/model.json"));
    let capacity = model["capacity"]["rate_per_second"].as_f64().unwrap();
    // p95 < 250 ms lets a queue of 200 ms form: only just below the ceiling of 80 does the p95 pass it.
    assert!((64.0..=84.0).contains(&capacity), "{model}");
    assert!(model["families"].as_array().unwrap().len() >= 4);

    // The same runs and seed give the same bytes.
    succeed(&["model", &at("r.run"), "--slo", "p95<250ms,errors<1%", "--out", &at("again"), "--quiet"]);
    for name in ["model.json", "index.html"] {
        let read = |of: &str| std::fs::read(folder.path().join(of).join(name)).unwrap();
        assert!(read("report") == read("again"), "{name} differs");
    }
    succeed(&["report", &at("r.run"), "--out", &at("plain"), "--quiet"]);
    check_report(&folder.path().join("plain"));
}

#[test]
fn a_known_law_is_found_again_within_its_own_interval() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("points.csv");
    // X(N) = λN / (1 + σ(N−1) + κN(N−1)), Gunther (2007), with noise of ±1 %.
    let (contention, coherency, rate) = (0.03, 0.000_2, 50.0);
    let mut text = "n,x\n".to_owned();
    for (at, n) in
        [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0_f64].into_iter().enumerate()
    {
        let noise =
            [0.004, -0.008, 0.006, -0.003, 0.009, -0.005, 0.002, -0.007, 0.005, -0.002, 0.007, -0.004][at];
        let throughput =
            rate * n / (1.0 + contention * (n - 1.0) + coherency * n * (n - 1.0)) * (1.0 + noise);
        writeln!(text, "{n},{throughput}").unwrap();
    }
    std::fs::write(&table, text).unwrap();
    let out = folder.path().join("out");
    succeed(&["model", "--points", table.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"]);
    let model = read_json(&out.join("model.json"));
    let usl = model["families"].as_array().unwrap().iter().find(|family| family["name"] == "usl").unwrap();
    for (name, truth) in [("contention", contention), ("coherency", coherency), ("rate", rate)] {
        let interval: Vec<f64> =
            usl["intervals"][name].as_array().unwrap().iter().map(|bound| bound.as_f64().unwrap()).collect();
        assert!(interval[0] <= truth && truth <= interval[1], "{name} = {truth} is not in {interval:?}");
        let found = usl["parameters"][name].as_f64().unwrap();
        assert!((found / truth - 1.0).abs() < 0.25, "{name}: {found}, truth {truth}");
    }
}

#[test]
fn steady_growth_reaches_capacity_when_arithmetic_says() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("requests.csv");
    // 1 % more a week, from 300 req/s on average, with quiet weekends; daily totals over 80 weeks.
    let first: jiff::civil::Date = "2025-01-06".parse().unwrap();
    let mut text = "ds,y\n".to_owned();
    for day in 0..560_i32 {
        let growth = 300.0 * 1.01_f64.powf(f64::from(day) / 7.0);
        let week = [1.05, 1.05, 1.05, 1.05, 1.05, 0.875, 0.875][day as usize % 7];
        let date = first.checked_add(jiff::Span::new().days(day)).unwrap();
        writeln!(text, "{date},{:.0}", growth * week * 86_400.0).unwrap();
    }
    std::fs::write(&history, text).unwrap();
    let out = folder.path().join("out");
    let forecast = |more: &[&str]| {
        let mut args =
            vec!["forecast", "--history", history.to_str().unwrap(), "--horizon", "26w", "--quiet"];
        args.extend(["--peak-factor", "1", "--out", out.to_str().unwrap()]);
        args.extend(more);
        succeed(&args);
        read_json(&out.join("forecast.json"))
    };
    // Day 560 is 2026-07-20, at 300·1.01^80 = 665 req/s; on weekdays 698. 750 is passed after
    // ln(750 / 698) / ln 1.01 = 7.2 weeks: in the middle of September 2026.
    let without = forecast(&["--capacity", "750rps"]);
    let median = without["exhaustion"]["p50"].as_str().unwrap_or_default();
    assert!(("2026-08-24".."2026-10-05").contains(&median), "{without}");
    // Ten times the traffic on one day is beyond any capacity near today's.
    let with_event = forecast(&["--capacity", "2000rps", "--event", "Black Friday=2026-11-27:10x"]);
    let shortage = with_event["exhaustion"]["p50"].as_str().unwrap();
    assert!(shortage.starts_with("2026-11-27"), "{with_event}");
    let table = std::fs::read_to_string(out.join("forecast.csv")).unwrap();
    assert_eq!(table.lines().next(), Some("ds,yhat,lo80,hi80,lo95,hi95"));
    assert_eq!(table.lines().count(), 1 + 26 * 7);
}

#[test]
fn too_little_to_fit_is_said() {
    let _quiet = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let requests: Vec<Recorded> = (0..60)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 50),
            connection: at,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    write_capture(&folder.path().join("c.capture"), &requests);
    let server = PoolServer::start(4, Duration::from_millis(1));
    let target = format!("http://{}", server.address);
    let replayed = run(&["replay", &at("c.capture"), "--target", &target, "--out", &at("r.run"), "--quiet"]);
    assert!(matches!(replayed.status.code(), Some(0 | 5)), "{}", stderr(&replayed));
    if replayed.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for a valid run");
        return;
    }
    let modelled = run(&["model", &at("r.run"), "--out", &at("out"), "--quiet"]);
    assert_eq!(modelled.status.code(), Some(3), "{}", stderr(&modelled));
    assert_eq!(stderr(&modelled).lines().count(), 1);
    assert!(stderr(&modelled).contains("--stages"), "{}", stderr(&modelled));
}
