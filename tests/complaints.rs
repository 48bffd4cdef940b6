//! Bad input: one line (where, what, how to mend), the documented exit code, no panic, nothing lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::support::{Recorded, json, run, stderr, write_capture};

fn requests(count: u64) -> Vec<Recorded> {
    (0..count)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 10),
            connection: at,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect()
}

/// The command's single line of complaint, which must hold all of `parts`.
#[track_caller]
fn check(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(text.starts_with("highwater: ") && text.contains("; "), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: {text:?} lacks {part:?}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn files_that_are_no_captures_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::write(at("foreign"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    write_capture(&at("good"), &requests(2_000));
    let bytes = std::fs::read(at("good")).unwrap();
    std::fs::write(at("header-cut"), &bytes[..40]).unwrap();
    std::fs::write(at("cut"), &bytes[..bytes.len() / 2]).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x10;
    std::fs::write(at("flipped"), &flipped).unwrap();
    write_capture(&at("no-exchange"), &[]);

    for command in [&["inspect"][..], &["replay", "--target", "http://127.0.0.1:9", "--dry-run"]] {
        let with = |file: &str| -> Vec<String> {
            let mut args: Vec<String> = command.iter().map(|arg| (*arg).to_owned()).collect();
            args.insert(1, at(file).display().to_string());
            args
        };
        for (file, part) in [
            ("missing", "no such file"),
            ("empty", "is empty"),
            ("foreign", "is not a Highwater file"),
            ("header-cut", "header"),
        ] {
            let args = with(file);
            check(&args.iter().map(String::as_str).collect::<Vec<_>>(), 3, &[path(&at(file)), part]);
        }
    }
    for file in ["cut", "flipped"] {
        check(&["inspect", path(&at(file))], 3, &[path(&at(file)), "byte ", "--salvage"]);
        let salvaged = json(&run(&["inspect", path(&at(file)), "--salvage", "--json"]), 0);
        assert!(!salvaged["damage"].as_array().unwrap().is_empty(), "{salvaged}");
    }
    check(
        &["replay", path(&at("no-exchange")), "--target", "http://127.0.0.1:9", "--dry-run"],
        3,
        &["no exchange"],
    );
}

#[test]
fn what_is_salvaged_is_a_whole_capture_again() {
    let folder = tempfile::tempdir().unwrap();
    let (torn, whole) = (folder.path().join("torn"), folder.path().join("whole"));
    write_capture(&torn, &requests(50_000));
    let bytes = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() - 400]).unwrap();
    let before = json(&run(&["inspect", path(&torn), "--salvage", "--json", "--out", path(&whole)]), 0);
    let after = json(&run(&["inspect", path(&whole), "--json"]), 0);
    assert!(before["exchanges"].as_u64().unwrap() > 10_000);
    assert_eq!(before["exchanges"], after["exchanges"]);
    assert_eq!(after["closed"], true);
    let balance = |of: &serde_json::Value| {
        let dropped: u64 =
            of["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        (of["seen"].as_u64().unwrap(), of["recorded"].as_u64().unwrap() + dropped)
    };
    for of in [&before, &after] {
        assert_eq!(balance(of).0, balance(of).1, "{of}");
        assert_eq!(of["recorded"], of["exchanges"]);
    }
}

#[test]
fn points_that_identify_no_model_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (table, out) = (folder.path().join("load.csv"), folder.path().join("out"));
    for (rows, part) in [
        ("n,x\n1,100\n2,100\n4,100\n8,100\n", "the same at all loads"),
        ("n,x\n1,100\n2,190\n", "2 load levels"),
        ("n,x\n1,100\n2,90\n4,70\n8,40\n", "falls from the smallest load on"),
        ("n,x\n1,100\n2,NaN\n4,300\n", "'NaN'"),
        ("n,x\n1,100\n2,-5\n4,300\n", "'-5'"),
        ("n,x\n1,100\n2,190\n2,190\n4,300\n", "the same as line 3"),
        ("rate,p95,errors\n100,20,0\n200,20,0\n300,9,1\n", "load.csv: line 4: every request failed"),
    ] {
        std::fs::write(&table, rows).unwrap();
        check(&["model", "--points", path(&table), "--out", path(&out)], 3, &[path(&table), part]);
        assert!(!out.exists(), "{rows:?}");
    }
}

#[test]
fn flags_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &requests(10));
    let capture = path(&capture);
    let out = folder.path().join("r.run");
    let replay = |more: &[&'static str]| -> Vec<&str> {
        let mut args = vec!["replay", capture, "--out", path(&out)];
        args.extend(more);
        args
    };
    check(&replay(&["--target", "ftp://x"]), 2, &["--target ftp://x", "write e.g."]);
    check(&replay(&["--target", "https://"]), 2, &["--target https://", "write e.g."]);
    check(&replay(&["--target", "http://127.0.0.1:9", "--scale", "0x"]), 2, &["--scale 0x"]);
    check(&replay(&["--target", "http://127.0.0.1:9", "--stages", "10s"]), 2, &["--stages 10s", "=10s:4x"]);
    check(
        &replay(&["--target", "http://127.0.0.1:9", "--stages", "=1h:99999x,=1h:999999x"]),
        2,
        &["999999x"],
    );
    check(&replay(&["--target", "http://127.0.0.1:9", "--timeout", "soon"]), 2, &["--timeout soon"]);
    check(&["replay", capture, "--speedup", "2"], 2, &["--speedup"]);
    check(&["replay", capture], 2, &["--target"]);
    check(&["record", "--listen", "127.0.0.1:0", "--upstream", "x:1", "--threads", "0"], 2, &["--threads"]);
    check(&["no-such-command"], 2, &["no-such-command"]);
    check(&[], 2, &["a command is missing"]);
}

#[test]
fn nothing_that_exists_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &requests(10));
    let server = crate::support::PoolServer::start(4, Duration::from_millis(1));
    let target = format!("http://{}", server.address);
    let before = std::fs::read(&capture).unwrap();
    check(
        &["replay", path(&capture), "--target", &target, "--quiet", "--out", path(&capture)],
        2,
        &["exists already"],
    );
    assert_eq!(std::fs::read(&capture).unwrap(), before);
    check(
        &["replay", path(&capture), "--target", &target, "--quiet", "--out", "/proc/no/such/place.run"],
        1,
        &["/proc/no/such/place.run", "cannot be written"],
    );
    let out = folder.path().join("r.run");
    let replayed = run(&["replay", path(&capture), "--target", &target, "--quiet", "--out", path(&out)]);
    assert!(matches!(replayed.status.code(), Some(0 | 5)), "{}", stderr(&replayed));
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn help_has_an_example_for_every_command() {
    let help = run(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["record", "inspect", "replay", "model", "forecast", "report", "demo"] {
        assert!(text.contains(command), "{command} is not in --help");
        let of_command = run(&[command, "--help"]);
        assert_eq!(of_command.status.code(), Some(0));
        let text = String::from_utf8(of_command.stdout).unwrap();
        assert!(text.contains("Example: highwater"), "{command} --help has no example");
    }
}

#[test]
fn an_output_that_nobody_reads_to_its_end_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    write_capture(&capture, &requests(20_000));
    let binary = env!("CARGO_BIN_EXE_highwater");
    let script = format!(
        "set -o pipefail; {binary} inspect {0} --json --exchanges | head -n 1; {binary} inspect {0} 2>/dev/full",
        capture.display()
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let missing = format!("{binary} inspect {}/missing 2>/dev/full", folder.path().display());
    let output = std::process::Command::new("bash").args(["-c", &missing]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}
