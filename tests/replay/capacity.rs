//! The search for the highest load, against servers whose limit is known by construction.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::even;
use crate::support::{highwater, json, run, stderr, write_capture};

/// A server that `decides` each request by its number since it was last asked whether it is there (which is how
/// each load begins): the status of the answer, or `None` for a server that is gone for good. It counts and knows
/// no time, so that a busy machine changes nothing.
fn server(decides: impl Fn(u64) -> Option<u16> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let decides = Arc::new(decides);
    let (gone, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if gone.load(Ordering::Relaxed) > 0 {
                return;
            }
            let Ok(stream) = stream else { return };
            let (decides, gone, count) = (Arc::clone(&decides), Arc::clone(&gone), Arc::clone(&count));
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn(move || {
                    if answer(stream, &count, &*decides).is_none()
                        && gone.fetch_add(1, Ordering::Relaxed) == 0
                    {
                        // Wakes the loop up, so that the port is closed.
                        let _ = TcpStream::connect(address);
                    }
                })
                .unwrap();
        }
    });
    address
}

/// Answers the requests of a connection; `None` when the server is gone.
fn answer(stream: TcpStream, count: &AtomicU64, decides: &dyn Fn(u64) -> Option<u16>) -> Option<()> {
    let mut writer = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines();
    for turn in 0.. {
        let asked = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).count() > 0;
        if !asked {
            // A connection without a request asks whether we are there.
            if turn == 0 {
                count.store(0, Ordering::Relaxed);
            }
            return Some(());
        }
        let status = decides(count.fetch_add(1, Ordering::Relaxed))?;
        write!(writer, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").ok();
    }
    Some(())
}

#[test]
fn the_limit_of_a_server_that_lets_so_many_through_is_found_within_a_twentieth() {
    // 416 requests of each load are served, the others get a 503.
    const SERVED: u64 = 416;
    let address = server(|number| Some(if number < SERVED { 200 } else { 503 }));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("found"));
    write_capture(&capture, &even(20, 3));
    let target = format!("http://{address}");
    let args =
        ["capacity", capture.to_str().unwrap(), "--target", &target, "--slo", "errors<1%", "--plateau", "3s"];
    let more = ["--start", "4x", "--resolution", "6%", "--json", "--quiet", "--out", out.to_str().unwrap()];
    let output = run(&[&args[..], &more].concat());
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for valid runs: {}", stderr(&output));
        return;
    }
    let found = json(&output, 0);
    assert_eq!(found["ended"], "bracketed", "{found}");
    // Of a load of 3 s, 99 of 100 requests must be among them.
    let expected = SERVED as f64 / 3.0 / 0.99;
    let limit = found["limit_rate_per_second"].as_f64().unwrap();
    assert!((limit / expected - 1.0).abs() < 0.05, "found {limit}, built for {expected}: {found}");
    // Every plateau is a run, and both ends were tried twice.
    let plateaus = found["plateaus"].as_array().unwrap();
    for end in ["passed_scale", "failed_scale"] {
        assert!(plateaus.iter().filter(|plateau| plateau["scale"] == found[end]).count() >= 2, "{found}");
    }
    assert!(plateaus.iter().all(|plateau| std::path::Path::new(plateau["run"].as_str().unwrap()).exists()));
    assert!(out.join("model/model.json").exists(), "{}", stderr(&output));
}

#[test]
fn the_search_ends_by_itself_when_the_target_falls_over() {
    // Twice the capture is 160 requests; the 201st of a load is the end.
    let address = server(|number| (number < 200).then_some(200));
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("found"));
    write_capture(&capture, &even(20, 4));
    let target = format!("http://{address}");
    let args =
        ["capacity", capture.to_str().unwrap(), "--target", &target, "--slo", "errors<1%", "--plateau", "4s"];
    let more = ["--json", "--quiet", "--out", out.to_str().unwrap()];
    let output = run(&[&args[..], &more].concat());
    if output.status.code() == Some(5) {
        eprintln!("skipped: the machine was too busy for valid runs: {}", stderr(&output));
        return;
    }
    let found = json(&output, 0);
    assert_eq!((&found["ended"], &found["passed_scale"]), (&"fell_over".into(), &2.0.into()), "{found}");
    assert_eq!(found["failed_scale"], 4.0, "{found}");
}

#[test]
fn without_a_folder_the_runs_go_to_one_named_after_the_capture() {
    let address = server(|_| Some(503));
    let folder = tempfile::tempdir().unwrap();
    write_capture(&folder.path().join("shop.capture"), &even(20, 1));
    std::fs::create_dir(folder.path().join("shop.capacity")).unwrap();
    let target = format!("http://{address}");
    let search = |more: &[&str]| {
        let args = ["capacity", "shop.capture", "--target", &target, "--slo", "errors<1%", "--plateau", "1s"];
        highwater().current_dir(folder.path()).args([&args[..], more].concat()).output().unwrap()
    };
    // Whatever the verdict: the first name is taken.
    let output = search(&["--most", "1x"]);
    assert!(stderr(&output).contains("the runs and the model go to shop-2.capacity"), "{}", stderr(&output));
    assert!(folder.path().join("shop-2.capacity/01.run").exists() || output.status.code() == Some(5));
    // A search that could only begin beyond its end does not begin.
    let output = search(&["--start", "5x", "--most", "2x"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--start 5x --most 2x"), "{}", stderr(&output));
    assert!(!folder.path().join("shop-3.capacity").exists());
}
