//! What goes wrong around a recorder: clients and servers that break off, disks that fill, signals.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use captures::{DamageKind, DropReason, Ending};

use super::{GET, OK, Recorder, answering, next_head, noise, upstream};
use crate::support::nginx::Nginx;
use crate::support::{free_port, has, now, quiet_machine, run, stderr, until};

#[test]
fn how_an_exchange_ended_says_who_broke_off() {
    let refused = format!("127.0.0.1:{}", free_port());
    let cut = upstream(|mut stream| {
        next_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.").unwrap();
    });
    let silent = upstream(|mut stream| {
        next_head(&mut stream);
    });
    let babbling = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let slow = upstream(|mut stream| while next_head(&mut stream).is_some() {});
    for (server, flags, status, body, ending) in [
        (refused, &[][..], Some(502), 0, Ending::UpstreamRefused),
        (cut.to_string(), &[], Some(200), 10, Ending::UpstreamReset),
        (silent.to_string(), &[], Some(502), 0, Ending::UpstreamReset),
        (babbling.to_string(), &[], Some(502), 0, Ending::UpstreamInvalid),
        (slow.to_string(), &["--timeout", "200ms"], Some(502), 0, Ending::UpstreamTimedOut),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path(), &server, flags);
        recorder.ask(GET);

        let (exchanges, _) = recorder.stop();

        let exchange = &exchanges[0];
        let response = exchange.response.as_ref();
        assert_eq!(exchange.ending, ending, "{exchange:?}");
        assert_eq!(response.map(|response| response.status), status, "{exchange:?}");
        assert_eq!(response.map_or(0, |response| response.body.length), body, "{exchange:?}");
        assert_eq!(exchange.attempts, u32::from(ending != Ending::UpstreamRefused));
    }
}

#[test]
fn a_client_that_goes_away_is_recorded_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let recorder = Recorder::start(folder.path(), server, &[]);

    let mut download = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    download.write_all(GET.as_bytes()).unwrap();
    download.read_exact(&mut [0; 100_000]).unwrap();
    drop(download);
    let mut upload = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    upload.write_all(b"PUT /up HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    drop(upload);
    until("both exchanges to reach the file", || (recorder.reader().count() == 2).then_some(()));

    let (mut exchanges, _) = recorder.stop();

    exchanges.sort_by_key(|exchange| exchange.id);
    assert_eq!(
        exchanges.iter().map(|exchange| exchange.ending).collect::<Vec<_>>(),
        [Ending::ClientAborted; 2]
    );
    assert!(exchanges[0].response.as_ref().unwrap().body.length < 1_000_000_000);
    assert_eq!((exchanges[1].request.body.length, exchanges[1].request_done), (10, None));
}

#[test]
fn a_pooled_connection_that_died_is_retried_and_the_attempts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let connections = AtomicUsize::new(0);
    let server = upstream(move |mut stream| {
        let first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        next_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        next_head(&mut stream);
        if !first {
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &["--threads", "1"]);

    assert!(recorder.ask(GET).ends_with("ok"));
    assert!(recorder.ask(GET).ends_with("ok"));

    let (exchanges, _) = recorder.stop();
    assert_eq!(exchanges.iter().map(|exchange| exchange.attempts).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(exchanges[1].ending, Ending::Completed);
}

#[test]
fn a_stop_lets_requests_in_flight_end_and_does_not_wait_for_idle_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (arrived, answer) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (here, now_answer) = (Arc::clone(&arrived), Arc::clone(&answer));
    let server = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            if head.starts_with("GET /slow") {
                here.wait();
                now_answer.wait();
            }
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let mut recorder = Recorder::start(folder.path(), server, &["--grace", "60s"]);
    let mut idle = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    idle.write_all(b"GET /idle HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    next_head(&mut idle).unwrap();
    let mut busy = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    arrived.wait();

    let asked = now();
    recorder.signal("TERM");
    // The idle connection is closed although a request elsewhere goes on, and nothing new is accepted.
    idle.read_to_end(&mut Vec::new()).unwrap();
    until("the port to be closed", || TcpStream::connect(("127.0.0.1", recorder.port)).err());
    answer.wait();
    let mut rest = String::new();
    busy.read_to_string(&mut rest).unwrap();

    assert!(rest.ends_with("ok"), "{rest}");
    assert_eq!(recorder.ended().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20));
    let endings: Vec<Ending> = recorder.reader().map(|exchange| exchange.unwrap().ending).collect();
    assert_eq!(endings, [Ending::Completed; 2]);
}

#[test]
fn what_outlives_the_grace_is_cut_off_and_recorded_so() {
    let second_signal: (&[&str], &[&str]) = (&["--grace", "1h"], &["INT", "INT"]);
    for (flags, signals) in [(&["--grace", "100ms"][..], &["INT"][..]), second_signal] {
        let folder = tempfile::tempdir().unwrap();
        let (arrived, arrivals) = mpsc::channel();
        let arrived = Mutex::new(arrived);
        let server = upstream(move |mut stream| {
            while next_head(&mut stream).is_some() {
                arrived.lock().unwrap().send(()).unwrap();
            }
        });
        let mut recorder = Recorder::start(folder.path(), server, flags);
        let mut stuck = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stuck.write_all(GET.as_bytes()).unwrap();
        arrivals.recv().unwrap();

        for signal in signals {
            recorder.signal(signal);
            until("the port to be closed", || TcpStream::connect(("127.0.0.1", recorder.port)).err());
        }

        assert_eq!(recorder.ended().code(), Some(0));
        let mut reader = recorder.reader();
        let exchange = reader.next().unwrap().unwrap();
        assert_eq!((exchange.ending, exchange.response), (Ending::ProxyFailed, None));
        assert!(reader.next().is_none() && reader.closed());
        assert_eq!(reader.tallies().last().unwrap().seen, 1);
    }
}

#[test]
fn a_killed_recorder_leaves_all_but_the_last_second() {
    if !has("nginx") || !has("wrk") {
        return;
    }
    let _alone = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(folder.path(), None);
    let mut recorder = Recorder::start(folder.path(), nginx.address(), &[]);
    let url = format!("http://127.0.0.1:{}/", recorder.port);
    let mut wrk = Command::new("wrk")
        .args(["-t1", "-c64", "-d5s", &url])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("some load", || (nginx.lines().len() > 10_000).then_some(()));

    recorder.signal("KILL");
    recorder.ended();
    let _ = wrk.kill();
    wrk.wait().unwrap();

    let lines = nginx.lines();
    let killed = lines.iter().map(|line| line.at).fold(0.0, f64::max);
    let before = lines.iter().filter(|line| line.at < killed - 1.0).count();
    let mut reader = recorder.reader();
    let read = reader.by_ref().map(Result::unwrap).count();
    assert!(read >= before, "read {read}, but {before} were older than a second");
    assert!(!reader.closed());
    assert!(reader.damage().iter().all(|damage| damage.kind == DamageKind::Torn), "{:?}", reader.damage());
}

#[test]
fn a_full_disk_breaks_no_request_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let body = String::from_utf8(noise(60_000).iter().map(|byte| b' ' + byte % 90).collect()).unwrap();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).leak();
    let server = answering(response);
    // In blocks of 512 bytes: a few of the bodies, which are alike and therefore compress.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 400; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_highwater")]);
    let recorder = Recorder::start_as(limited, folder.path(), server, &[]);

    for _ in 0..100 {
        assert!(recorder.ask(GET).ends_with(&body));
    }
    until("the disk to be full", || recorder.said().contains("cannot be written").then_some(()));
    let said = recorder.said();
    let (exchanges, tally) = recorder.stop();

    assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
    assert_eq!(tally.seen, 100);
    assert!(matches!(tally.dropped[..], [(DropReason::WriteFailed, 1..)]), "{tally:?}");
    assert!(!exchanges.is_empty());
}

#[test]
fn a_body_of_half_a_gigabyte_streams_in_constant_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream);
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 536870912\r\nConnection: close\r\n\r\n");
        for _ in 0..8_192 {
            let _ = stream.write_all(&[b'x'; 65_536]);
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    next_head(&mut stream).unwrap();

    let read = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();

    let status = std::fs::read_to_string(format!("/proc/{}/status", recorder.process.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert_eq!(read, 512 << 20);
    assert!(peak_kib < 100 << 10, "{peak_kib} KiB");
    assert_eq!(recorder.stop().0[0].response.as_ref().unwrap().body.length, 512 << 20);
}

#[test]
fn a_recording_that_cannot_start_says_why_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let existing = folder.path().join("existing.capture");
    std::fs::write(&existing, b"precious").unwrap();
    let new = folder.path().join("new.capture");
    let (existing, new) = (existing.to_str().unwrap(), new.to_str().unwrap());
    let free = format!("127.0.0.1:{}", free_port());

    let check = |listen: &str, upstream: &str, out: &str, code: i32, part: &str| {
        let output = run(&["record", "--listen", listen, "--upstream", upstream, "--out", out]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("highwater: ") && said.contains(part) && said.contains("; "), "{said}");
    };
    check(&taken, "127.0.0.1:9", new, 1, &format!("{taken}: address in use"));
    check(&free, &free, new, 2, "upstream is the address to listen on");
    check(&free.replace("127.0.0.1", "0.0.0.0"), &free, new, 2, "upstream is the address to listen on");
    check(&free, "no-such-name.invalid:80", new, 4, "no-such-name.invalid:80: no address");
    check(&free, "shop", new, 2, "has no port");
    check("nowhere", "127.0.0.1:9", new, 2, "--listen nowhere");
    check("192.0.2.1:80", "127.0.0.1:9", new, 1, "192.0.2.1:80: cannot listen");
    check(&free, "127.0.0.1:9", existing, 2, "exists already");
    check(&free, "127.0.0.1:9", "/no/such/folder/x.capture", 1, "cannot be written");
    assert_eq!(std::fs::read(existing).unwrap(), b"precious");
    assert!(!std::path::Path::new(new).exists());
}

#[test]
fn a_file_is_replaced_only_by_force_and_never_under_another_recorder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.capture"), vec![b'x'; 100_000]).unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--force"]);
    recorder.ask(GET);

    let capture = folder.path().join("test.capture");
    let args = ["record", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--force", "--out"];
    let second = run(&[&args[..], &[capture.to_str().unwrap()]].concat());

    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    assert_eq!(recorder.stop().0.len(), 1);
}
