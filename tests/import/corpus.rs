//! The files of others: everything in them is read, or counted by reason.

use std::path::Path;

use serde_json::Value;

use super::{exchanges, imported, material, text};
use crate::support::{run, stderr};

/// What the import says of `file`; `None` when it refuses it with exit code 3.
fn tried(file: &Path, out: &Path) -> Option<Value> {
    let output = run(&["import", text(file), "--out", text(out), "--json", "--mask", "none"]);
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) => None,
        code => panic!("{}: {code:?} {}", file.display(), stderr(&output)),
    }
}

fn accounted(said: &Value) -> (u64, u64) {
    let file = &said["files"][0];
    let skipped: u64 = file["skipped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    (file["entries"].as_u64().unwrap(), said["exchanges"].as_u64().unwrap() + skipped)
}

#[test]
fn every_entry_of_every_har_is_read_or_counted() {
    let Some(folder) = material("har") else { return };
    let outs = tempfile::tempdir().unwrap();
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|end| end != "har") {
            continue;
        }
        // Counted by a reader of its own.
        let expected =
            std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let expected = expected.and_then(|har| Some(har["log"]["entries"].as_array()?.len() as u64));
        let out = outs.path().join(file.file_name().unwrap());
        let said = tried(&file, &out).map(|said| accounted(&said));
        assert_eq!(said, expected.map(|count| (count, count)), "{}", file.display());
        read += u64::from(expected.is_some());
    }
    assert!(read >= 25, "{read}");
}

#[test]
fn every_request_of_goreplay_is_read() {
    let Some(folder) = material("gor") else { return };
    let outs = tempfile::tempdir().unwrap();
    for (name, expected) in [("isucon5-requests.gor", 1_051), ("orcid-working.gor", 1)] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let separators = String::from_utf8_lossy(&bytes).matches("🐵🙈🙉").count();
        assert_eq!(separators, expected);
        let said = imported(&folder.join(name), &outs.path().join(name), &[]);
        assert_eq!(said["exchanges"].as_u64(), Some(expected as u64));
    }
}

#[test]
fn every_line_of_every_log_is_read_or_counted() {
    let Some(folder) = material("accesslog") else { return };
    let outs = tempfile::tempdir().unwrap();
    for (name, least) in [
        ("elastic-apache_combined.log", 10_000),
        ("ocatak-acunetix.log", 6_538),
        ("crowdsec-apache-probing.log", 75),
        ("crowdsec-nginx-http-generic-bf.log", 6),
        ("crowdsec-nginx-proxy-manager-logs.log", 7),
        ("crowdsec-caddy.log", 3),
    ] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let lines =
            String::from_utf8_lossy(&bytes).lines().filter(|line| !line.trim().is_empty()).count() as u64;
        let out = outs.path().join(name);
        let said = tried(&folder.join(name), &out).unwrap();
        assert_eq!(accounted(&said), (lines, lines), "{name}");
        assert!(said["exchanges"].as_u64().unwrap() >= least, "{name}: {said}");
    }
    let other = folder.join("NEGATIVE-elastic-nginxplus-status-not-an-access-log.json");
    assert!(tried(&other, &outs.path().join("other")).is_none());
}

#[test]
fn a_capture_comes_back_from_har_and_gor_as_it_left() {
    let Some(folder) = material("pcap") else { return };
    let outs = tempfile::tempdir().unwrap();
    let at = |name: &str| outs.path().join(name);
    imported(&folder.join("zeek__pipelined-requests.pcap"), &at("a.capture"), &[]);
    let shown = |name: &str, with_answers: bool| -> Vec<String> {
        let show = |exchange: &Value| {
            let answer =
                if with_answers { exchange["response_body_sha256"].to_string() } else { String::new() };
            format!("{} {} {} {answer}", exchange["method"], exchange["target"], exchange["status"])
        };
        exchanges(&at(name)).iter().map(show).collect()
    };
    for format in ["gor", "har"] {
        let (file, back) = (format!("a.{format}"), format!("{format}.capture"));
        let output = run(&["export", text(&at("a.capture")), "--format", format, "--out", text(&at(&file))]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        imported(&at(&file), &at(&back), &[]);
        // HAR holds bodies without their content coding.
        assert_eq!(shown(&back, format == "gor"), shown("a.capture", format == "gor"), "{format}");
    }
}
