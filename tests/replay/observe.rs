//! What a replay observes of its target and writes down beside the requests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use captures::{ObservedKind, Run};

use super::even;
use crate::support::{PoolServer, free_port, highwater, replayed, run, stderr, write_capture};

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
    let page = format!("prometheus=http://{exporter}/metrics,pool_busy,served_total,nosuch");
    let target = format!("http://{}", server.address);
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--out"];
    let output = run(&[&args[..], &[out.to_str().unwrap(), "--observe", &own, "--observe", &page]].concat());
    let summary = replayed(&output);
    // What was named and is not there may come yet: it is said at the start, and at the end that it never came.
    let source = format!("prometheus=http://{exporter}/metrics");
    let said = stderr(&output);
    assert!(said.contains(&format!("--observe {source}: no metric called nosuch is there yet")), "{said}");
    assert!(said.contains(&format!("never observed: nosuch of {source}")), "{said}");
    assert_eq!(summary["never_observed"], serde_json::json!([format!("nosuch of {source}")]));

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
    // A page for people, of a server that is not the target.
    let pages = TcpListener::bind("127.0.0.1:0").unwrap();
    let no_page = format!("prometheus=http://{}/", pages.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in pages.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0_u8; 1024]);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n<html>\n<p> 5\n</html>\n");
        }
    });
    for (source, code) in [("pid=4294967295", 4), (page.as_str(), 4), (no_page.as_str(), 4), ("load", 2)] {
        let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--quiet", "--out"];
        let output = run(&[&args[..], &[out.to_str().unwrap(), "--observe", source]].concat());
        assert_eq!(output.status.code(), Some(code), "{source}: {}", stderr(&output));
        assert!(stderr(&output).contains("--observe") && !out.exists(), "{}", stderr(&output));
    }
    assert_eq!(server.served.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// An engine that answers as Docker's does, for tests must not want Docker: of `web` that its first process is this
/// very process, whose control group is a real one. That the true engine says the same was watched by hand.
fn engine(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0_u8; 1024];
            let length = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let id = std::process::id();
            let answer = match asked.split(' ').nth(1) {
                Some("/containers/web/json") => {
                    format!("200 OK\r\n\r\n{{\"Name\":\"/web\",\"State\":{{\"Running\":true,\"Pid\":{id}}}}}")
                }
                Some("/containers/old/json") => {
                    "200 OK\r\n\r\n{\"State\":{\"Running\":false,\"Pid\":0}}".to_owned()
                }
                _ => "404 Not Found\r\n\r\n{\"message\":\"No such container\"}".to_owned(),
            };
            let _ = write!(stream, "HTTP/1.0 {answer}");
        }
    });
}

#[test]
fn a_container_is_observed_by_its_name() {
    let server = PoolServer::start(4, Duration::from_millis(1));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    write_capture(&file("c.capture"), &even(20, 2));
    engine(&file("docker.sock"));
    let observing = |name: &str, host: &str, out: &str| -> Output {
        highwater()
            .args(["replay", file("c.capture").to_str().unwrap(), "--json", "--target"])
            .args([&format!("http://{}", server.address), "--observe", &format!("docker={name}"), "--out"])
            .arg(file(out))
            .env("DOCKER_HOST", host)
            .output()
            .unwrap()
    };
    let socket = format!("unix://{}", file("docker.sock").display());
    let nowhere = format!("unix://{}", file("none").display());
    for (name, host, code, why) in [
        ("none", socket.as_str(), 4, "there is no such container"),
        ("old", socket.as_str(), 4, "the container is not running"),
        ("web", nowhere.as_str(), 4, "No such file"),
        ("web", "tcp://127.0.0.1:1", 2, "DOCKER_HOST is no socket of this machine"),
    ] {
        let output = observing(name, host, "no.run");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        let line = said.lines().last().unwrap();
        assert!(line.contains(why) && line.contains(&format!("--observe docker={name}")), "{said}");
        assert!(!file("no.run").exists());
    }
    let output = observing("web", &socket, "r.run");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    if stderr(&output).contains("no account of CPU or memory")
        && groups.lines().any(|line| line.ends_with(":/"))
    {
        eprintln!("skipped: this process is in no control group of its own that can be seen");
        return;
    }
    replayed(&output);
    let run = Run::read(std::fs::File::open(file("r.run")).unwrap()).unwrap();
    let observed = run.intervals.iter().flat_map(|interval| &interval.observed);
    let names: Vec<&str> = observed.map(|one| one.name.as_str()).collect();
    assert!(names.iter().any(|name| name.starts_with("docker:web/")), "{names:?}");
}
