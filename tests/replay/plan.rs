//! What of a capture is replayed, how often, and how a dry run shows it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::even;
use crate::support::{PoolServer, Recorded, json, replayed, run, stderr, write_capture, write_capture_of};

/// 20 requests a second for 10 s, on one connection each; every fourth a checkout; in the fifth second 40.
fn shop() -> Vec<Recorded> {
    let mut requests = even(20, 10);
    requests.extend(even(20, 1).into_iter().enumerate().map(|(at, request)| Recorded {
        arrived: request.arrived + Duration::from_millis(4_010),
        connection: 1_000 + at as u64,
        ..request
    }));
    for (at, request) in requests.iter_mut().enumerate() {
        request.target = if at % 4 == 3 { "/checkout".to_owned() } else { format!("/product/{at}") };
    }
    requests
}

/// The plan that `more` flags make of it.
fn planned(more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &shop());
    let args = ["replay", capture.to_str().unwrap(), "--target", "http://127.0.0.1:9", "--dry-run", "--json"];
    json(&run(&[&args, more].concat()), 0)
}

fn of_route(plan: &Value, route: &str) -> u64 {
    let mix = plan["mix"].as_array().unwrap();
    mix.iter().find(|entry| entry["route"] == route).map_or(0, |entry| entry["requests"].as_u64().unwrap())
}

#[test]
fn the_plan_is_what_the_flags_say() {
    let whole = planned(&[]);
    assert_eq!((&whole["planned"], &whole["unit"]), (&220.into(), &"session".into()));
    assert_eq!((of_route(&whole, "GET /product/{}"), of_route(&whole, "GET /checkout")), (165, 55));
    assert_eq!(whole["planned_connections"], 220);

    // Three times as many checkouts, and nothing else.
    let more = planned(&["--mix", "/checkout=3x"]);
    assert_eq!((of_route(&more, "GET /product/{}"), of_route(&more, "GET /checkout")), (165, 165));

    // The busiest second is the fifth.
    let busiest = planned(&["--busiest", "1s"]);
    assert_eq!((&busiest["planned"], &busiest["span_seconds"]), (&40.into(), &1.0.into()));
    assert_eq!(planned(&["--from", "1s", "--to", "3s"])["planned"], 40);
    // A window ends where the capture ends: what comes after it is no silence.
    for (flags, requests, seconds) in [
        (&["--busiest", "5m"][..], 220, 10.0),
        (&["--to", "10m"], 220, 10.0),
        (&["--from", "9s", "--to", "10m"], 20, 1.0),
    ] {
        let plan = planned(flags);
        assert_eq!(plan["planned"], requests, "{flags:?}");
        assert!((plan["span_seconds"].as_f64().unwrap() - seconds).abs() < 0.1, "{flags:?}: {plan}");
    }
    let rate = planned(&["--busiest", "5m", "--rate", "220rps"]);
    assert!((rate["planned"].as_f64().unwrap() / 2_200.0 - 1.0).abs() < 0.05, "{rate}");
    let at = planned(&["--exclude-route", "/checkout"]);
    assert_eq!((&at["planned"], &at["held_back"]["route"]), (&165.into(), &55.into()));
    assert_eq!(planned(&["--route", "/product/*"])["planned"], 165);

    // An absolute rate, whatever the capture's: 22 a second are 1x.
    let rate = planned(&["--rate", "220rps"]);
    assert!((rate["stages"][0]["from"].as_f64().unwrap() - 10.0).abs() < 0.2, "{rate}");
    assert!((rate["planned"].as_f64().unwrap() / 2_200.0 - 1.0).abs() < 0.05, "{rate}");

    // Twice as fast: the same requests in half of the time.
    let fast = planned(&["--speed", "2"]);
    assert_eq!(fast["planned"], 220);
    assert!((fast["span_seconds"].as_f64().unwrap() - 5.0).abs() < 0.1);

    // A profile at another height and length keeps its shape.
    let spike = planned(&["--profile", "spike", "--scale", "4x", "--duration", "36s"]);
    let stages = spike["stages"].as_array().unwrap();
    assert_eq!((stages.len(), &stages[2]["to"], &stages[4]["end_seconds"]), (5, &4.0.into(), &36.0.into()));
}

#[test]
fn a_dry_run_writes_the_plan_and_its_chart_and_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("plan.json"));
    write_capture(&capture, &shop());
    let server = PoolServer::start(1, Duration::from_millis(1));
    let target = format!("http://{}", server.address);
    let args =
        ["replay", capture.to_str().unwrap(), "--target", &target, "--dry-run", "--scale", "2x", "--out"];
    let output = run(&[&args[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let plan: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let curve = plan["curve"].as_array().unwrap();
    assert_eq!(curve.iter().map(|second| second["planned"].as_u64().unwrap()).sum::<u64>(), 440);
    let chart = std::fs::read_to_string(out.with_extension("svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("requests per second"), "{chart:.200}");
    assert_eq!(server.served.load(Ordering::Relaxed), 0);
}

#[test]
fn what_makes_no_plan_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    let mut requests = shop();
    requests[7].method = "POST";
    requests[7].target = "/pay".to_owned();
    write_capture(&capture, &requests);
    for (flags, place) in [
        (&["--mix", "/nowhere=2x"][..], "--mix /nowhere=2x"),
        (&["--mix", "/checkout"], "--mix /checkout"),
        (&["--speed", "0"], "--speed 0"),
        (&["--from", "5s", "--to", "2s"], "--from and --to"),
        (&["--users", "10"], "--users 10"),
        (&["--rate", "-5rps"], "--rate -5rps"),
        (&["--header", "no colon"], "--header no colon"),
        (&["--rewrite-path", "/a"], "--rewrite-path /a"),
        (&["--threshold", "fast"], "--threshold fast"),
        (&["--breaker", "sometimes"], "--breaker sometimes"),
        // What frames a request is the replay's own, and a request has one Host.
        (&["--header", "Content-Length: 3"], "--header Content-Length: 3: is set for each request"),
        (&["--header", "Transfer-Encoding: chunked"], "--header Transfer-Encoding: chunked: is set"),
        (&["--header", "Connection: close"], "leave it out"),
        (&["--header", "Host: foo"], "write --host NAME instead"),
        // What fits nothing is told beside what there is.
        (&["--from", "100s"], "the capture goes from 0.0 s to 9.9 s"),
        (&["--from", "100s", "--to", "200s"], "the capture goes from 0.0 s to 9.9 s"),
        (&["--route", "GET /nope"], "its routes are GET /checkout, GET /product/{}"),
        (&["--mix", "POST /pay=3x"], "fits POST /pay only, which is held back; --allow-unsafe also"),
        (&["--mix", "/checkout=3x", "--mix", "GET /checkout=5x"], "--mix GET /checkout=5x: changes nothing"),
        (&["--rate", "30000/min"], "\"30000/min\" is not a scale"),
    ] {
        let args = ["replay", capture.to_str().unwrap(), "--target", "http://127.0.0.1:9", "--dry-run"];
        let typed: Vec<String> = flags.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let output = run(&[&args[..], &typed].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(place), "{flags:?}: {}", stderr(&output));
    }
}

#[test]
fn a_plan_of_years_is_shown_in_a_bounded_number_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    let mut requests = even(5, 2);
    requests.last_mut().unwrap().arrived = Duration::from_secs(4 * 365 * 86_400);
    write_capture(&capture, &requests);
    let args = ["replay", capture.to_str().unwrap(), "--target", "http://127.0.0.1:9", "--dry-run", "--json"];
    let plan = json(&run(&args), 0);
    let (curve, step) = (plan["curve"].as_array().unwrap(), plan["curve_step_seconds"].as_u64().unwrap());
    assert!(curve.len() <= 100_000 && step > 1_000, "{} steps of {step} s", curve.len());
    assert_eq!(curve.iter().map(|each| each["planned"].as_u64().unwrap()).sum::<u64>(), 10);
    assert_eq!((&plan["planned"], &plan["peak_per_second"]), (&10.into(), &5.into()));
    assert_eq!(curve.last().unwrap()["second"].as_u64().unwrap(), (curve.len() as u64 - 1) * step);
}

#[test]
fn the_origin_in_brackets_can_be_named_as_safe() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture_of(&capture, &even(5, 1), "[::1]:9");
    let args = ["replay", capture.to_str().unwrap(), "--target", "http://[::1]:9", "--dry-run"];
    let refused = run(&args);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--origin-is-safe [::1]:9 if"), "{}", stderr(&refused));
    let output = run(&[&args[..], &["--origin-is-safe", "[::1]:9"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn requests_are_rewritten_on_their_way() {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if !head.is_empty() && sender.send(head).is_err() {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let (capture, out, tokens) =
        (folder.path().join("c.capture"), folder.path().join("r.run"), folder.path().join("tokens"));
    std::fs::write(&tokens, "Bearer one\nBearer two\n").unwrap();
    let mut requests = even(20, 1);
    requests.iter_mut().for_each(|request| request.target = "/v1/a?key=old".to_owned());
    write_capture(&capture, &requests);
    let target = format!("http://{address}/base");
    let auth = format!("@{}", tokens.display());
    let args =
        ["replay", capture.to_str().unwrap(), "--target", &target, "--json", "--out", out.to_str().unwrap()];
    let more = [
        "--host",
        "shop.test",
        "--header",
        "X-Test: yes",
        "--rewrite-path",
        "/v1/=/v2/",
        "--set-query",
        "key=new",
    ];
    let summary = replayed(&run(&[&args[..], &more, &["--auth", &auth]].concat()));
    assert_eq!(summary["ok"], 20, "{summary}");
    let heads: Vec<Vec<String>> = heads.try_iter().collect();
    assert_eq!(heads.len(), 20);
    for head in &heads {
        assert_eq!(head[0], "GET /base/v2/a?key=new HTTP/1.1");
        assert!(head.contains(&"Host: shop.test".to_owned()) && head.contains(&"X-Test: yes".to_owned()));
    }
    for token in ["one", "two"] {
        let line = format!("Authorization: Bearer {token}");
        assert_eq!(heads.iter().filter(|head| head.contains(&line)).count(), 10, "sessions take turns");
    }
    // The credentials are nowhere in the run.
    let bytes = std::fs::read(out).unwrap();
    assert!(!bytes.windows(10).any(|window| window == b"Bearer one"));
}
