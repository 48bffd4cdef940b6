//! How true the moments are at which requests arrive.
//!
//! Deviation: arrival minus plan, with the least such offset that nobody is early; dispersion: variance over
//! mean of the arrivals in 1 ms; rate error: by how much the slope of the arrivals over the plan is not one; KS: the largest distance between the distributions of gaps, arrived and planned.
//!
//! The stamping server comes before ordinary work; both run where the system puts them, and where others want the
//! processors, too, their turns are in the numbers. With `--realtime` the server has the first processor and the generator
//! the last, ahead of everything else there: its planning then waits for its sending.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use captures::Offset;
use replayer::{Planner, Rewrites, Rewriting, Selection, Share, Unit};

use crate::sides::{on_the_first_processor, on_the_last_processor};
use crate::sink::Sink;
use crate::support::{Recorded, has, now, pause, write_capture};

const SECONDS: u64 = 5;
const CONNECTIONS: u64 = 64;
const ROUNDS: usize = 3;
/// So many sessions of the capture made here go on at a time, of so many requests each, on a connection of its own.
const AT_A_TIME: u64 = 50;
const SESSION: u64 = 20;
/// Requests that were captured in production, with their moments; where they are not, their rows are left out.
const REAL: &str = "../shared/corpus/gor/isucon5-requests.gor";
const REAL_WINDOW: Duration = Duration::from_secs(10);

/// A capture, and what of it is replayed.
struct Source {
    path: PathBuf,
    selection: Selection,
    flags: &'static [&'static str],
}

/// Prints it for constant rates, and for a real and a bursty capture at 1x and 10x.
pub(crate) fn measure(realtime: bool) {
    let realtime = realtime && has("chrt");
    println!(
        "\narrivals at a server that stamps them ({ROUNDS} rounds each; deviations in µs){}",
        if realtime { ", both in real time" } else { "" }
    );
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>11} {:>10} {:>8}",
        "", "p50", "p99", "p99.9", "rate error", "dispersion", "KS"
    );
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, requests: &[Recorded]| {
        let path = folder.path().join(name);
        write_capture(&path, requests);
        Source { path, selection: Selection::ALL, flags: &[] }
    };
    for rate in [10_000_u64, 50_000] {
        let even: Vec<Recorded> =
            (0..rate * SECONDS).map(|at| recorded(at * 1_000_000_000 / rate, at)).collect();
        let source = made(&format!("{rate}.capture"), &even);
        (0..ROUNDS).for_each(|_| row(&format!("constant {rate} a second"), &source, "1x", realtime));
    }
    println!(
        "goals: 10 k: p50 ≤ 50, p99 ≤ 250; 50 k: p50 ≤ 100, p99 ≤ 1000; rate error ≤ 0.01 %; dispersion ≤ 0.3"
    );
    let sources =
        [("real capture", real(folder.path())), ("bursty capture", Some(made("bursty.capture", &bursty())))];
    for (name, source) in &sources {
        for scale in ["1x", "10x"] {
            match source {
                Some(source) => {
                    (0..ROUNDS).for_each(|_| row(&format!("{name} at {scale}"), source, scale, realtime))
                }
                None => println!("{name} at {scale}: skipped, {REAL} is not here"),
            }
        }
    }
    println!(
        "goal: KS ≤ 0.02. Real: the busiest {} s of requests to a web shop of a contest; bursty: about {} a second in sessions of {SESSION} requests, a connection each",
        REAL_WINDOW.as_secs(),
        1_200
    );
}

fn recorded(nanos: u64, at: u64) -> Recorded {
    Recorded {
        arrived: Duration::from_nanos(nanos),
        connection: at % CONNECTIONS,
        method: "GET",
        target: "/".to_owned(),
        body: Vec::new(),
    }
}

/// The real capture, imported.
fn real(folder: &Path) -> Option<Source> {
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
    if !requests.exists() {
        return None;
    }
    let path = folder.join("real.capture");
    let imported = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["--quiet", "import", requests.to_str()?, "--out", path.to_str()?])
        .status();
    assert!(imported.unwrap().success());
    let selection = Selection { busiest: Some(REAL_WINDOW), ..Selection::ALL };
    Some(Source { path, selection, flags: &["--busiest", "10s"] })
}

/// Exponential gaps of 1 ms in the mean, and of half of that in every fifth 100 ms.
fn bursty() -> Vec<Recorded> {
    let (mut draw, mut at, mut requests) = (1_u64, 0.0_f64, Vec::new());
    while at < SECONDS as f64 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((draw >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let mean = if (at * 10.0) as u64 % 5 == 4 { 0.0005 } else { 0.001 };
        at += -uniform.ln() * mean;
        let number = requests.len() as u64;
        // Sessions end and begin one after another, not all at once.
        let (slot, turn) = (number % AT_A_TIME, number / AT_A_TIME);
        let connection = slot + AT_A_TIME * ((turn + slot * SESSION / AT_A_TIME) / SESSION);
        requests.push(Recorded { connection, ..recorded((at * 1e9) as u64, number) });
    }
    requests
}

fn row(name: &str, source: &Source, scale: &str, realtime: bool) {
    let planned = planned(source, scale);
    let sink = if realtime { on_the_first_processor(Sink::in_real_time) } else { Sink::start() };
    let folder = tempfile::tempdir().unwrap();
    let placed = if realtime { format!("chrt --fifo 10 {}", on_the_last_processor()) } else { String::new() };
    let program = env!("CARGO_BIN_EXE_highwater");
    let mut words = placed.split_whitespace().chain([program]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .args(["replay", source.path.to_str().unwrap(), "--scale", scale])
        .args(["--threads", "1", "--quiet", "--allow-unsafe", "--no-correlate"])
        .args(source.flags)
        .args(["--target", &format!("http://{}", sink.address), "--out"])
        .arg(folder.path().join("r.run"))
        .output()
        .unwrap();
    let patience = now();
    let mut arrivals = Vec::new();
    while arrivals.len() < planned.len() && patience.elapsed() < Duration::from_secs(2) {
        pause(Duration::from_millis(60));
        let more = sink.take();
        if arrivals.is_empty() {
            arrivals = more;
        }
    }
    if arrivals.len() != planned.len() {
        println!(
            "{name:<28} {} of {} requests arrived: {}",
            arrivals.len(),
            planned.len(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        return;
    }
    let mut deviations: Vec<f64> =
        arrivals.iter().zip(&planned).map(|(arrived, due)| arrived - due).collect();
    let least = deviations.iter().copied().fold(f64::INFINITY, f64::min);
    deviations.iter_mut().for_each(|deviation| *deviation = (*deviation - least) * 1e6);
    deviations.sort_by(f64::total_cmp);
    let quantile = |share: f64| deviations[((deviations.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<28} {:>9.0} {:>9.0} {:>9.0} {:>10.4} % {:>10.3} {:>8.4}{}",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        100.0 * (slope(&planned, &arrivals) - 1.0).abs(),
        dispersion(&arrivals),
        ks(&gaps(&arrivals), &gaps(&planned)),
        if output.status.code() == Some(5) {
            format!("  ({})", invalid(&output.stderr))
        } else {
            String::new()
        },
    );
}

/// Why the run calls itself invalid.
fn invalid(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let line =
        said.lines().find_map(|line| line.split_once("run invalid, ")).map_or("run invalid", |(_, why)| why);
    line.split(';').next().unwrap_or(line).to_owned()
}

/// The slope of the least-squares line of `ys` over `xs`.
fn slope(xs: &[f64], ys: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (x, y) = (mean(xs), mean(ys));
    let products = |a: &[f64], a_mean: f64, b: &[f64], b_mean: f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - a_mean) * (b - b_mean)).sum()
    };
    products(xs, x, ys, y) / products(xs, x, xs, x)
}

/// The due moments of the plan that the program makes of the capture.
fn planned(source: &Source, scale: &str) -> Vec<f64> {
    let rewriting = Rewriting {
        http2: false,
        authority: "sink".to_owned(),
        base_path: String::new(),
        secure: false,
        allow_unsafe: true,
        rewrites: Rewrites::default(),
    };
    let mut planner = Planner::new(rewriting, source.selection.clone());
    let reader = captures::CaptureReader::open(std::fs::File::open(&source.path).unwrap()).unwrap();
    reader.for_each(|exchange| planner.add(&exchange.unwrap()));
    let plan = planner.finish(Share::ALL).unwrap();
    let stages = replayer::hold(replayer::parse_scale(scale).unwrap(), plan.span());
    replayer::due_moments(&plan, Unit::Session, &stages, 1).into_iter().map(Offset::as_secs_f64).collect()
}

fn dispersion(moments: &[f64]) -> f64 {
    let mut bins = vec![0.0_f64; (moments[moments.len() - 1] * 1e3) as usize + 1];
    moments.iter().for_each(|at| bins[(at * 1e3) as usize] += 1.0);
    let mean = bins.iter().sum::<f64>() / bins.len() as f64;
    bins.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / bins.len() as f64 / mean
}

fn gaps(moments: &[f64]) -> Vec<f64> {
    let mut gaps: Vec<f64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    gaps
}

/// Kolmogorov's and Smirnov's distance between two sorted samples. Gaps are compared to the microsecond: a
/// constant rate has one gap only, and no clock hits it to the nanosecond.
fn ks(one: &[f64], other: &[f64]) -> f64 {
    let share =
        |sample: &[f64], at: f64| sample.partition_point(|&gap| gap <= at) as f64 / sample.len() as f64;
    one.iter().chain(other).map(|&at| (share(one, at) - share(other, at)).abs()).fold(0.0, f64::max)
}
