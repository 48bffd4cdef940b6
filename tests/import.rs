//! What others recorded becomes a capture, and captures leave again: the real binary on files made here, and on
//! the material of others where it lies beside the project.

mod corpus;
mod packets;
mod parquet;
mod score;
mod sniff;
mod spoilt;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{highwater, json, run, stderr};

/// The folder of real material, when it is there.
fn material(folder: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus").join(folder);
    if !found.is_dir() {
        eprintln!("skipped: there is no ../shared/corpus/{folder}");
        return None;
    }
    Some(found)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Imports `file`; gives what the import says of itself.
fn imported(file: &Path, out: &Path, more: &[&str]) -> Value {
    let args = [&["import", text(file), "--out", text(out), "--json", "--mask", "none"], more].concat();
    json(&run(&args), 0)
}

/// The exchanges of a capture, in order of arrival.
fn exchanges(capture: &Path) -> Vec<Value> {
    let output = run(&["inspect", "--exchanges", "--json", text(capture)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const LOG: &str = concat!(
    "10.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"x\" 0.250\n",
    "10.0.0.2 - - [10/Oct/2000:13:55:37 +0000] \"GET /b HTTP/1.1\" 404 7 \"-\" \"y\" 0.125\n",
    "10.0.0.1 - - [10/Oct/2000:13:55:39 +0000] \"GET /c HTTP/1.1\" 200 9 \"-\" \"x\" 0.500\n",
    "not a line of a log\n",
);

#[test]
fn a_log_becomes_sessions_by_address_and_agent_and_its_other_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (log, out) = (folder.path().join("access.log"), folder.path().join("log.capture"));
    std::fs::write(&log, LOG).unwrap();

    let said = imported(&log, &out, &[]);

    assert_eq!(said["exchanges"], 3);
    assert_eq!(said["files"][0]["entries"], 4);
    assert_eq!(said["files"][0]["skipped"]["unknown_format"], 1);
    let found = exchanges(&out);
    let targets: Vec<&str> = found.iter().map(|exchange| exchange["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["/a", "/b", "/c"]);
    assert_eq!(found[0]["session"], found[2]["session"]);
    assert_ne!(found[0]["session"], found[1]["session"]);
    assert_eq!(found[0]["arrived"].to_string(), "971186135.750000000");
}

#[test]
fn files_come_compressed_in_any_order_and_from_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = LOG.lines().collect();
    let (early, late) = (folder.path().join("b.log.gz"), folder.path().join("a.log.zst"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines[0].as_bytes()).unwrap();
    std::fs::write(&early, gzip.finish().unwrap()).unwrap();
    std::fs::write(&late, zstd::encode_all(lines[2].as_bytes(), 1).unwrap()).unwrap();
    let out = folder.path().join("both.capture");

    let output = run(&["import", text(&late), text(&early), "--out", text(&out), "--json"]);

    let said = json(&output, 0);
    assert_eq!(said["exchanges"], 2);
    assert!(said["files"][0]["path"].as_str().unwrap().ends_with("b.log.gz"));

    let out = folder.path().join("stdin.capture");
    let mut child = highwater()
        .args([
            "import",
            "-",
            "--out",
            text(&out),
            "--log-format",
            "$msec $request_method $request_uri $status",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"1700000000.5 GET /x?y=1 200\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(exchanges(&out)[0]["target"], "/x?y=1");
}

#[test]
fn secrets_of_what_is_imported_are_masked_unless_one_asks_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (gor, out) = (folder.path().join("x.gor"), folder.path().join("x.capture"));
    let record = "1 aaaaaaaaaaaaaaaaaaaaaaaa 1500000000000000000 0\nGET /?token=s3cr3tvalue HTTP/1.1\r\nHost: h\r\nCookie: sid=topsecret\r\n\r\n\n🐵🙈🙉\n";
    std::fs::write(&gor, record).unwrap();
    assert_eq!(run(&["import", text(&gor), "--out", text(&out)]).status.code(), Some(0));
    let bytes = run(&["export", text(&out), "--format", "jsonl", "--out", "-"]).stdout;
    let stored = String::from_utf8_lossy(&bytes);
    assert!(stored.contains("/?token=") && stored.contains("sid="), "{stored}");
    assert!(!stored.contains("s3cr3tvalue") && !stored.contains("topsecret"), "{stored}");
}

#[test]
fn what_cannot_be_imported_is_refused_in_one_line_and_what_can_is_not_lost_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("noise"), b"\x00\x01\x02nothing").unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::write(at("torn.pcap"), b"\xd4\xc3\xb2\xa1\x02\x00").unwrap();
    std::fs::write(at("not.har"), b"{\"log\": [1]}").unwrap();
    std::fs::write(at("good.log"), LOG).unwrap();
    for name in ["noise", "empty", "torn.pcap", "not.har", "missing"] {
        let output = run(&["import", text(&at(name)), "--out", text(&at("none.capture"))]);
        assert_eq!(output.status.code(), Some(3), "{name}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{name}: {}", stderr(&output));
        assert!(!at("none.capture").exists(), "{name}");
    }
    let output =
        run(&["import", text(&at("noise")), text(&at("good.log")), "--out", text(&at("some.capture"))]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("noise: "), "{}", stderr(&output));
    assert_eq!(exchanges(&at("some.capture")).len(), 3);
    let again = run(&["import", text(&at("good.log")), "--out", text(&at("some.capture"))]);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
}

#[test]
fn the_busiest_stretch_and_a_route_can_be_cut_out_and_captures_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let line = |second: u64, path: &str| {
        format!("1.1.1.1 - - [10/Oct/2000:13:55:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 5\n")
    };
    let quiet: String = (0..30).map(|second| line(second, "/quiet/1")).collect();
    let busy: String = (0..20).map(|_| line(40, "/busy/1")).collect();
    std::fs::write(at("a.log"), quiet + &busy).unwrap();
    imported(&at("a.log"), &at("a.capture"), &[]);

    let cut = |more: &[&str], out: &str| {
        let (whole, part) = (at("a.capture"), at(out));
        let args = [&["cut", text(&whole), "--out", text(&part)], more].concat();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        json(&run(&["inspect", "--json", text(&at(out))]), 0)
    };

    let peak = cut(&["--busiest", "5s"], "peak.capture");
    assert_eq!((&peak["exchanges"], &peak["filtered"]), (&20.into(), &30.into()));
    assert!(peak["recorded_from"].to_string().starts_with("971186136.0"), "{}", peak["recorded_from"]);
    let route =
        cut(&["--route", "/quiet/{id}", "--from", "10s", "--to", "2000-10-10T13:55:20Z"], "quiet.capture");
    assert_eq!(route["exchanges"], 10);

    let merged =
        run(&["cut", text(&at("peak.capture")), text(&at("quiet.capture")), "--out", text(&at("m.capture"))]);
    // Parts of one recording cannot be told from the same part twice.
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
    assert_eq!(exchanges(&at("m.capture")).len(), 30);
}
