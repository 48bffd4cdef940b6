//! How true the moments are at which requests arrive.
//!
//! Deviation: arrival minus plan, with the least such offset that nobody is early; dispersion: variance over
//! mean of the arrivals in 1 ms; rate error: by how much the slope of the arrivals over the plan is not one; KS: the largest distance between the distributions of gaps, arrived and planned.
//!
//! Arrivals are stamped by the system as they reach the server's sockets; the last two columns are deviations of the
//! moments at which the server's thread had read them. Under each kind of row is what a sender comes to that does nothing
//! but spin and send: the limit of machine and measurement.
//!
//! Where gaps are compared the server spins, on the first processor: on loopback it is the sender who wakes a sleeping
//! server, which takes longer than to send, so that no two requests could be closer than about 15 µs. Constant rates meet a
//! server that sleeps, for a spinning one would leave one processor to all else. It comes before ordinary work, and
//! where others want the processors, too, their turns are in the numbers. With `--realtime` the server has the first
//! processor and the generator the last, ahead of everything else there: its planning then waits for its sending.

use std::io::Write;
use std::net::TcpStream;
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
    scale: &'static str,
    server: Server,
}

/// How the server is run.
#[derive(Clone, Copy)]
enum Server {
    Sleeping,
    Spinning,
    InRealTime,
}

impl Server {
    fn start(self) -> Sink {
        match self {
            Self::Sleeping => Sink::start(),
            Self::Spinning => on_the_first_processor(Sink::spinning),
            Self::InRealTime => on_the_first_processor(Sink::in_real_time),
        }
    }

    /// What the generator's command begins with, so that it is not where such a server is.
    fn beside(self) -> String {
        match self {
            Self::Sleeping => String::new(),
            Self::Spinning => on_the_last_processor(),
            Self::InRealTime => format!("chrt --fifo 10 {}", on_the_last_processor()),
        }
    }
}

/// Prints it for constant rates, and for a real and a bursty capture at 1x and 10x.
pub(crate) fn measure(realtime: bool) {
    let realtime = realtime && has("chrt");
    let server = |usual| if realtime { Server::InRealTime } else { usual };
    println!(
        "\narrivals at a server that stamps them ({ROUNDS} rounds each; deviations in µs){}",
        if realtime { ", both in real time" } else { "" }
    );
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>12} {:>10} {:>8} {:>9} {:>9}",
        "", "p50", "p99", "p99.9", "rate error", "dispersion", "KS", "read p50", "read p99"
    );
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, requests: &[Recorded]| {
        let path = folder.path().join(name);
        write_capture(&path, requests);
        path
    };
    for rate in [10_000_u64, 50_000] {
        let even: Vec<Recorded> =
            (0..rate * SECONDS).map(|at| recorded(at * 1_000_000_000 / rate, at)).collect();
        let path = made(&format!("{rate}.capture"), &even);
        let server = server(Server::Sleeping);
        let source = Source { path, selection: Selection::ALL, flags: &[], scale: "1x", server };
        rows(&format!("constant {rate} a second"), &source);
    }
    println!(
        "goals: 10 k: p50 ≤ 50, p99 ≤ 250; 50 k: p50 ≤ 100, p99 ≤ 1000; rate error ≤ 0.01 %; dispersion ≤ 0.3"
    );
    let busiest = Selection { busiest: Some(REAL_WINDOW), ..Selection::ALL };
    let sources = [
        ("real capture", real(folder.path()), busiest, &["--busiest", "10s"][..]),
        ("bursty capture", Some(made("bursty.capture", &bursty())), Selection::ALL, &[][..]),
    ];
    for (name, path, selection, flags) in sources {
        for scale in ["1x", "10x"] {
            let (Some(path), selection) = (path.clone(), selection.clone()) else {
                println!("{name} at {scale}: skipped, {REAL} is not here");
                continue;
            };
            let source = Source { path, selection, flags, scale, server: server(Server::Spinning) };
            rows(&format!("{name} at {scale}"), &source);
        }
    }
    println!(
        "goal: KS ≤ 0.02. Real: the busiest {} s of requests to a web shop of a contest; bursty: about {} a second in sessions of {SESSION} requests, a connection each",
        REAL_WINDOW.as_secs(),
        1_200
    );
}

/// The program's rows, and then the ideal sender's.
fn rows(name: &str, source: &Source) {
    let planned = planned(source);
    (0..ROUNDS).for_each(|_| row(name, source, &planned));
    (0..ROUNDS).for_each(|_| ideal(source.server, &planned));
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
fn real(folder: &Path) -> Option<PathBuf> {
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
    if !requests.exists() {
        return None;
    }
    let path = folder.join("real.capture");
    let imported = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["--quiet", "import", requests.to_str()?, "--out", path.to_str()?])
        .status();
    assert!(imported.unwrap().success());
    Some(path)
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

fn row(name: &str, source: &Source, planned: &[f64]) {
    let sink = source.server.start();
    let folder = tempfile::tempdir().unwrap();
    let placed = source.server.beside();
    let program = env!("CARGO_BIN_EXE_highwater");
    let mut words = placed.split_whitespace().chain([program]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .args(["replay", source.path.to_str().unwrap(), "--scale", source.scale])
        .args(["--threads", "1", "--quiet", "--allow-unsafe", "--no-correlate"])
        .args(source.flags)
        .args(["--target", &format!("http://{}", sink.address), "--out"])
        .arg(folder.path().join("r.run"))
        .output()
        .unwrap();
    let remark = match output.status.code() {
        Some(0) => String::new(),
        Some(5) => format!("  ({})", invalid(&output.stderr)),
        _ => format!("  ({})", String::from_utf8_lossy(&output.stderr).trim()),
    };
    print(name, planned, &sink, &remark);
}

/// The same plan by a sender that does nothing but wait for due moments, spinning, and send, a request on each of its
/// connections in turn, and never reads: what this machine and this way of measuring allow at best.
fn ideal(server: Server, planned: &[f64]) {
    let sink = server.start();
    let address = sink.address;
    let connections: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        })
        .collect();
    let moments = planned.to_vec();
    let sending = std::thread::spawn(move || {
        let _ = rustix::process::nice(-10);
        let began = now();
        for (at, mut connection) in moments.into_iter().zip(connections.iter().cycle()) {
            while began.elapsed().as_secs_f64() < at {
                std::hint::spin_loop();
            }
            connection.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\n\r\n").unwrap();
        }
        connections
    });
    let connections = sending.join().unwrap();
    print("  an ideal sender", planned, &sink, "");
    drop(connections);
}

/// How far the arrivals at `sink` were from what was planned.
fn print(name: &str, planned: &[f64], sink: &Sink, remark: &str) {
    let patience = now();
    while sink.count() < planned.len() && patience.elapsed() < Duration::from_secs(2) {
        pause(Duration::from_millis(60));
    }
    let arrivals = sink.take();
    if arrivals.reached.len() != planned.len() {
        println!("{name:<28} {} of {} requests arrived{remark}", arrivals.reached.len(), planned.len());
        return;
    }
    let reached = deviations(&arrivals.reached, planned);
    let read = deviations(&arrivals.read, planned);
    println!(
        "{:<28} {:>9.0} {:>9.0} {:>9.0} {:>10.4} % {:>10.3} {:>8.4} {:>9.0} {:>9.0}{remark}",
        name,
        quantile(&reached, 0.5),
        quantile(&reached, 0.99),
        quantile(&reached, 0.999),
        100.0 * (slope(planned, &arrivals.reached) - 1.0).abs(),
        dispersion(&arrivals.reached),
        ks(&gaps(&arrivals.reached), &gaps(planned)),
        quantile(&read, 0.5),
        quantile(&read, 0.99),
    );
}

/// How long after its due moment each request arrived, in microseconds and in order, by the offset with which none is
/// early.
fn deviations(arrivals: &[f64], planned: &[f64]) -> Vec<f64> {
    let mut deviations: Vec<f64> = arrivals.iter().zip(planned).map(|(arrived, due)| arrived - due).collect();
    let least = deviations.iter().copied().fold(f64::INFINITY, f64::min);
    deviations.iter_mut().for_each(|deviation| *deviation = (*deviation - least) * 1e6);
    deviations.sort_by(f64::total_cmp);
    deviations
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
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
fn planned(source: &Source) -> Vec<f64> {
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
    let stages = replayer::hold(replayer::parse_scale(source.scale).unwrap(), plan.span());
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
