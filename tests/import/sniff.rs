//! Listening on loopback, where the machine lets us.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use super::{exchanges, text};
use crate::support::{PATIENCE, PoolServer, Running, highwater, run, stderr, until};

#[test]
fn what_passes_on_loopback_is_recorded_and_a_signal_closes_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.capture");
    let server = PoolServer::start(4, Duration::from_millis(1));
    let port = server.address.port().to_string();
    let mut child = highwater()
        .args(["sniff", "--interface", "lo", "--port", &port, "--out", text(&out), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut says = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    if !line.contains("listening on lo") {
        // Without the right to capture, or without a loopback of that name.
        assert!(line.contains("lo"), "{line}");
        eprintln!("skipped: {line}");
        child.wait().unwrap();
        return;
    }
    let mut child = Running(child);

    let mut client = TcpStream::connect(server.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for at in 0..50 {
        write!(client, "GET /page/{at}?token=abcdefgh HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 40];
        client.read_exact(&mut answer).unwrap();
    }
    drop(client);
    // What was captured reaches the file within half a second or so.
    until("the exchanges in the file", || {
        let output = run(&["inspect", "--exchanges", "--json", "--salvage", text(&out)]);
        (String::from_utf8_lossy(&output.stdout).lines().count() == 50).then_some(())
    });
    let id = rustix::process::Pid::from_raw(child.0.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let mut said = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let mut rest = String::new();
    says.read_to_string(&mut rest).unwrap();
    assert!(child.0.wait().unwrap().success(), "{rest}");

    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["recorded"], &said["kernel_drops"]), (&50.into(), &0.into()), "{said}");
    let found = exchanges(&out);
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|exchange| exchange["status"] == 200 && exchange["ending"] == "completed"));
    assert!(found.iter().all(|exchange| !exchange["target"].to_string().contains("abcdefgh")));
}

#[test]
fn an_interface_or_a_filter_that_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.capture");
    let none = run(&["sniff", "-i", "no-such-interface", "--out", text(&out)]);
    assert!(matches!(none.status.code(), Some(1 | 2)), "{}", stderr(&none));
    let filter = run(&["sniff", "-i", "lo", "--filter", "tcp prot 80", "--out", text(&out)]);
    assert!(matches!(filter.status.code(), Some(1 | 2)), "{}", stderr(&filter));
    assert!(!out.exists());
}
