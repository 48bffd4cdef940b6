//! Memory: of open connections, and whether it grows with the number of requests.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::sink::Sink;
use crate::support::{Recorded, write_capture};

/// Two requests on each connection, so far apart that all are open at once.
fn idle(connections: u64, seconds: u64) -> Vec<Recorded> {
    let step = 1_000_000_000 * seconds / connections;
    let of = |turn: u64| {
        (0..connections).map(move |connection| Recorded {
            arrived: Duration::from_nanos(turn * seconds * 1_000_000_000 + connection * step),
            connection,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
    };
    of(0).chain(of(1)).collect()
}

fn replay(requests: &[Recorded], more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, requests);
    let sink = Sink::start();
    let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["replay", capture.to_str().unwrap(), "--threads", "1", "--quiet", "--json"])
        .args(more)
        .args(["--target", &format!("http://{}", sink.address), "--out"])
        .arg(folder.path().join("r.run"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn megabytes(summary: &Value) -> f64 {
    summary["generator_resident_bytes"].as_f64().unwrap() / 1e6
}

/// Prints it; ten million requests only when `long`.
pub(crate) fn measure(long: bool) {
    println!("\nresident memory of the generator");
    let base = replay(&idle(100, 4), &[]);
    println!("{:>8} connections: {:>7.1} MB", 100, megabytes(&base));
    let many = replay(&idle(9_500, 4), &[]);
    let each = (megabytes(&many) - megabytes(&base)) * 1e6 / 9_400.0;
    println!(
        "{:>8} connections: {:>7.1} MB, {each:.0} B for each, its two planned requests included (goal ≤ 12 MB); at most {} open, {} errors",
        9_500,
        megabytes(&many),
        many["connections_most"],
        many["planned"].as_u64().unwrap() - many["ok"].as_u64().unwrap()
    );
    let even: Vec<Recorded> = (0..20_000_u64)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at * 50_000),
            connection: at % 64,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    for duration in if long { &["5s", "50s", "500s"][..] } else { &["5s", "50s"] } {
        let summary = replay(&even, &["--duration", duration]);
        println!("{:>8} requests:    {:>7.1} MB", summary["sent"].as_u64().unwrap(), megabytes(&summary));
    }
}
