//! How long a model takes: all fits with 1 000 draws of a run of 12 levels and 20 routes, and one fit of a USL.
//!
//! CPU time of this thread, so that a busy machine does not count; the median of several repeats.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

#[path = "../tests/fixtures/run.rs"]
mod fixture;

use std::hint::black_box;
use std::time::Duration;

use captures::{Interval, Observed, ObservedKind, Offset, RouteInterval, Run, Stage};
use modeler::{Model, ModelRequest, Objective, StoredModel, model, points, points_from_table};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LEVELS: usize = 12;
const ROUTES: usize = 20;
const SECONDS: usize = 30;

fn run() -> Run {
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut intervals = Vec::new();
    for level in 0..LEVELS {
        let rate = 60.0 * (level + 1) as f64;
        let carried = rate.min(640.0);
        for second in 0..SECONDS {
            let mut interval = Interval { second: (level * SECONDS + second) as u64, ..Interval::default() };
            for route in 0..ROUTES {
                let mut entry = RouteInterval { route: route as u16, ..RouteInterval::default() };
                let count = (rate / ROUTES as f64 * (0.7 + 0.6 * chance.random::<f64>())).round() as u64;
                entry.statuses = vec![(200, count)];
                for _ in 0..count {
                    let wait = 0.002 / (1.02 - (rate / 700.0).min(1.0));
                    let seconds = (0.004 + wait) * -(1.0 - chance.random::<f64>()).ln() + 0.002;
                    entry.response.record(Duration::from_secs_f64(seconds));
                }
                interval.planned += count;
                interval.routes.push(entry);
            }
            interval.completed = (interval.planned as f64 * carried / rate).round() as u64;
            interval.in_flight = carried * 0.01 + if carried < rate { 40.0 * second as f64 } else { 0.0 };
            interval.observed = vec![Observed {
                name: "pid:1/cpu".to_owned(),
                kind: ObservedKind::Rate,
                value: 0.02 + carried / 660.0 * (0.98 + 0.04 * chance.random::<f64>()),
            }];
            intervals.push(interval);
        }
    }
    let at = |index: usize| Offset::from_secs((index * SECONDS) as u64);
    let stage = |index: usize| {
        let scale = (index + 1) as f64;
        Stage { begin: at(index), end: at(index + 1), from: scale, to: scale }
    };
    fixture::run(
        (0..LEVELS).map(stage).collect(),
        (0..ROUTES).map(|route| format!("GET /{route}")).collect(),
        intervals,
    )
}

fn request(slo: Option<&str>) -> ModelRequest {
    ModelRequest {
        objective: slo.map(|text| Objective::parse(text).expect("is an objective")),
        ..ModelRequest::plain(1)
    }
}

/// CPU seconds of this process so far. Source: proc(5), in hundredths.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() {
    let run = run();
    let modeled = || -> Model {
        let points = points(&run, "bench.run").expect("is a run");
        model(points, &request(Some("p95<60ms,errors<1%"))).expect("has enough loads")
    };
    let mut spent: Vec<f64> = (0..5)
        .map(|_| {
            let before = cpu_seconds();
            black_box(modeled());
            cpu_seconds() - before
        })
        .collect();
    spent.sort_by(f64::total_cmp);
    println!(
        "{LEVELS} levels, {ROUTES} routes, 1 000 draws: {:.2} s of CPU (median of 5; bar 2 s)",
        spent[2]
    );
    let text = |model: &Model| format!("{:?}", StoredModel::from(model));
    println!("same seed, same text: {}", text(&modeled()) == text(&modeled()));
    let rows: String = [1, 18, 36, 72, 108, 144, 216]
        .iter()
        .zip([64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
        .map(|(n, x)| format!("{n},{x}\n"))
        .collect();
    let table = points_from_table(&format!("n,x\n{rows}"), "sdm91").expect("is a table");
    let before = cpu_seconds();
    for _ in 0..5_000 {
        black_box(modeler::fit_usl(&table));
    }
    println!("one USL fit: {:.3} ms of CPU (mean of 5 000; bar 1 ms)", (cpu_seconds() - before) / 5.0);
}
