//! What a replay observes of its target and writes down beside the requests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use captures::{ObservedKind, Run};

use super::even;
use crate::support::{PoolServer, free_port, replayed, run, stderr, write_capture};

/// A page of metrics whose counter grows by 500 with each look.
fn exporter() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (look, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0_u8; 1024]);
            let page = format!(
                "# TYPE pool_busy gauge\npool_busy 3\n# TYPE served_total counter\nserved_total {}\nother 1\n",
                look * 500
            );
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{page}");
        }
    });
    address.to_string()
}

#[test]
fn the_target_is_observed_second_by_second_into_the_run() {
    let server = PoolServer::start(8, Duration::from_millis(2));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    let mut requests = even(50, 4);
    requests.iter_mut().for_each(|request| request.connection %= 10);
    write_capture(&capture, &requests);
    let exporter = exporter();
    // The server lives in this process.
    let own = format!("pid={}", std::process::id());
    let page = format!("prometheus=http://{exporter}/metrics,pool_busy,served_total");
    let target = format!("http://{}", server.address);
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--out"];
    let output = run(&[&args[..], &[out.to_str().unwrap(), "--observe", &own, "--observe", &page]].concat());
    let summary = replayed(&output);

    let run = Run::read(std::fs::File::open(&out).unwrap()).unwrap();
    assert!(run.damage.is_empty());
    let named = |end: &str| {
        let observed = run.intervals.iter().flat_map(|interval| &interval.observed);
        observed.filter(|one| one.name.ends_with(end)).collect::<Vec<_>>()
    };
    let busy = named("/pool_busy");
    assert!(busy.len() >= 3 && busy.iter().all(|one| one.value == 3.0 && one.kind == ObservedKind::Gauge));
    // 500 more with each look, which is once a second, whatever the machine does to single looks.
    let served = named("/served_total");
    let mean = served.iter().map(|one| one.value).sum::<f64>() / served.len() as f64;
    assert!(served.len() >= 2 && served.iter().all(|one| one.kind == ObservedKind::Rate), "{served:?}");
    assert!((100.0..2_500.0).contains(&mean), "{served:?}");
    // Whole seconds more when all was answered, which are no part of what the run came to.
    let ended = run.end.as_ref().unwrap().ended.second();
    let resting: Vec<_> = run.intervals.iter().filter(|interval| interval.second > ended).collect();
    assert!(!resting.is_empty(), "{ended}: {:?}", run.intervals.last());
    assert!(resting.iter().all(|interval| interval.planned == 0));
    assert!(resting.iter().any(|interval| !interval.observed.is_empty()));
    assert!(
        summary["observed"][format!("prometheus:{exporter}/pool_busy")]["seconds"].as_u64().unwrap()
            <= ended + 1
    );
    assert!(named("/other").is_empty(), "what was not named is left out");
    assert!(!named("/cpu").is_empty() && named("/memory_bytes")[0].value > 1e6);
    assert_eq!(summary["observed"][format!("prometheus:{exporter}/pool_busy")]["max"], 3.0, "{summary}");

    // What the generator was like, and what became of its connections: ten were opened, the rest is reuse.
    assert!(run.intervals.iter().any(|interval| interval.generator.is_some_and(|load| load.connections > 0)));
    assert!(summary["generator_resident_bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!((&summary["connections_opened"], &summary["reused"]), (&10.into(), &190.into()), "{summary}");
    let connects: u64 = run.intervals.iter().map(|interval| interval.connect.len()).sum();
    assert_eq!((connects, run.overall().first_byte.len()), (10, 200));
    let sample = run.samples.iter().find(|sample| sample.first_byte.is_some()).unwrap();
    assert_eq!(sample.received.as_u64(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".len() as u64);
}

#[test]
fn what_cannot_be_observed_is_said_before_anything_is_sent() {
    let server = PoolServer::start(1, Duration::from_millis(1));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    write_capture(&capture, &even(10, 1));
    let target = format!("http://{}", server.address);
    let page = format!("prometheus=http://127.0.0.1:{}/metrics", free_port());
    for (source, code) in [("pid=4294967295", 4), (page.as_str(), 4), ("load", 2)] {
        let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--quiet", "--out"];
        let output = run(&[&args[..], &[out.to_str().unwrap(), "--observe", source]].concat());
        assert_eq!(output.status.code(), Some(code), "{source}: {}", stderr(&output));
        assert!(stderr(&output).contains("--observe") && !out.exists(), "{}", stderr(&output));
    }
    assert_eq!(server.served.load(std::sync::atomic::Ordering::Relaxed), 0);
}
