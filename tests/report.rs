//! `highwater report` of several runs, by the real binary: beside a baseline, and over releases.

use std::path::Path;
use std::time::Duration;

use captures::{Interval, Offset, Rate, RunEnd, RunHeader, RunWriter, Stage};

use crate::support::{json, run, stderr};

const LEVELS: [f64; 9] = [1.0, 2.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0];
const SECONDS: u64 = 12;

/// A run against a service that carries `ceiling` requests a second, of two routes, by the fluid approximation:
/// what is not carried waits. `release` counts weeks.
fn write_run(path: &Path, release: i128, ceiling: f64, checkout_ms: f64) {
    let stage = |(at, level): (usize, &f64)| Stage {
        begin: Offset::from_secs(at as u64 * SECONDS),
        end: Offset::from_secs((at as u64 + 1) * SECONDS),
        from: *level,
        to: *level,
    };
    let header = RunHeader {
        tool: "tests".to_owned(),
        started: 1_790_000_000_000_000_000 + release * 604_800_000_000_000,
        target: "http://staging".to_owned(),
        capture: "c.capture".to_owned(),
        capture_digest: [7; 32],
        capture_span: Duration::from_secs(60),
        capture_rate: Rate::per_second(100.0).unwrap(),
        seed: 1,
        stages: LEVELS.iter().enumerate().map(stage).collect(),
        routes: vec!["GET /".to_owned(), "POST /checkout".to_owned()],
        held_back_ratio: 0.0,
        configuration: "{}".to_owned(),
    };
    let mut writer = RunWriter::create(std::fs::File::create(path).unwrap(), &header).unwrap();
    let mut queue = 0.0_f64;
    let length = SECONDS * LEVELS.len() as u64;
    for second in 0..length {
        let planned = 100.0 * LEVELS[(second / SECONDS) as usize];
        let carried = (planned + queue).min(ceiling);
        queue += planned - carried;
        let load = (planned / ceiling).min(0.98);
        let waiting_ms = 6.0 * load.powi(3) / (1.0 - load) + 1e3 * queue / ceiling;
        let mut interval =
            Interval { second, planned: planned as u64, completed: carried as u64, ..Interval::default() };
        let mut in_service = 0.0;
        for at in 0..planned as u64 {
            let number = u16::from(at % 5 == 0);
            let base = if number == 1 { checkout_ms } else { 8.0 };
            // A low-discrepancy sequence in place of chance.
            let luck = (at as f64 * 0.618_034 + second as f64 * 0.414_214).fract();
            let ms = (base + waiting_ms) * (0.6 - 0.6 * (1.0 - 0.999 * luck).ln());
            in_service += ms / 1e3;
            let route = interval.route_mut(number);
            route.statuses = vec![(200, route.statuses.first().map_or(1, |it| it.1 + 1))];
            for histogram in [&mut route.response, &mut route.latency, &mut route.service] {
                histogram.record(Duration::from_secs_f64(ms / 1e3));
            }
            route.lag.record(Duration::from_micros(40));
        }
        interval.in_flight = in_service;
        writer.push(&interval).unwrap();
    }
    writer.finish(&RunEnd { ended: Offset::from_secs(length), ..RunEnd::default() }).unwrap();
}

fn report(args: &[&str], out: &Path) -> (serde_json::Value, String) {
    let mut all = vec!["report"];
    all.extend(args);
    all.extend(["--quiet", "--slo", "p95<200ms,errors<1%", "--out", out.to_str().unwrap()]);
    let output = run(&all);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    (serde_json::from_str(&read("report.json")).unwrap(), read("index.html"))
}

#[test]
fn releases_are_a_history_and_what_got_worse_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    // The third release carries a fifth less, the fourth has a slower checkout. Names tell nothing of the order.
    // At 7x all of them still carry the load.
    for (name, release, ceiling, checkout) in [
        ("d.run", 0, 1_000.0, 30.0),
        ("c.run", 1, 1_000.0, 30.0),
        ("b.run", 2, 750.0, 30.0),
        ("a.run", 3, 750.0, 45.0),
    ] {
        write_run(&runs.join(name), release, ceiling, checkout);
    }
    let out = folder.path().join("out");
    let (facts, page) = report(&[runs.to_str().unwrap(), "--over-time"], &out);

    let releases = facts["releases"].as_array().unwrap();
    let names: Vec<&str> = releases.iter().map(|release| release["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["d.run", "c.run", "b.run", "a.run"]);
    let worse: Vec<String> = releases.iter().map(|release| release["regressions"].to_string()).collect();
    assert_eq!(worse[..2], ["[]", "[]"]);
    assert!(worse[2].contains("capacity went from"), "{}", facts["releases"]);
    assert!(worse[3].contains("p95 of POST /checkout went from"), "{}", facts["releases"]);
    // The capacity that is found lies below the ceiling of the service, and near it.
    for (release, ceiling) in releases.iter().zip([1_000.0, 1_000.0, 750.0, 750.0]) {
        let capacity = release["capacity_per_second"].as_f64().unwrap();
        assert!((0.85..1.05).contains(&(capacity / ceiling)), "{release}");
    }
    assert!(page.contains("Runs over time") && out.join("trend.csv").exists());
}

#[test]
fn a_run_is_shown_beside_its_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    write_run(&file("main.run"), 0, 1_000.0, 60.0);
    write_run(&file("branch.run"), 1, 1_000.0, 60.0);
    let out = file("out");
    let (facts, page) = report(
        &[file("branch.run").to_str().unwrap(), "--baseline", file("main.run").to_str().unwrap()],
        &out,
    );
    assert_eq!(facts["comparison"]["baseline"], "main.run");
    assert_eq!(facts["comparison"]["regressions"], 0, "{}", facts["comparison"]);
    assert!(page.contains("Beside the baseline") && out.join("shift.svg").exists());
    // What binds is named: by its longer service, the checkout reaches the limit first.
    let lead = facts["verdict"]["lead"].as_str().unwrap();
    assert_eq!(lead, "p95 of POST /checkout binds (reaches 200 ms).");

    let output = run(&[
        "report",
        file("branch.run").to_str().unwrap(),
        "--baseline",
        file("nothing.run").to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let wrong =
        run(&["report", file("branch.run").to_str().unwrap(), "--max-regression", "much", "--out", "x"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    let compared = json(
        &run(&[
            "compare",
            file("main.run").to_str().unwrap(),
            file("branch.run").to_str().unwrap(),
            "--json",
        ]),
        0,
    );
    assert_eq!(compared["regressions"], facts["comparison"]["regressions"]);
}
